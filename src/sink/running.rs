//! A sink in its thread, behind its queue, and an alert in the form that it wants.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::queue::{Queue, Report};
use super::{Form, Sink};
use crate::alert::document::Document;
use crate::alert::{fit, text};
use crate::error::{Error, Result};
use crate::escape;

/// How long one sink's failure is not told again.
const FAILING_INTERVAL: Duration = Duration::from_secs(60);

/// A thread that nobody joins.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map(drop).map_err(|error| Error::os("start", format!("thread {name}"), error))
}

/// When it may be told that a sink fails, so that one that fails and works by turns is not told each time.
#[derive(Debug, Default)]
pub(super) struct Failure {
    told: Option<Instant>,
    /// It has failed again since, and that was not told yet: why.
    again: Option<String>,
}

impl Failure {
    /// What is to be told now that it fails; else that is kept for when it may.
    pub(super) fn tell(&mut self, why: String, now: Instant) -> Option<String> {
        if self.told.is_some_and(|told| now.duration_since(told) < FAILING_INTERVAL) {
            self.again = Some(why);
            return None;
        }
        (self.told, self.again) = (Some(now), None);
        Some(why)
    }

    /// When what is kept may be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again.as_ref().and(self.told).map(|told| told + FAILING_INTERVAL)
    }

    /// What was kept, if it may be told by now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<String> {
        self.due().filter(|due| *due <= now).and_then(|_| self.again.take())
    }

    /// It works: what it lost is told by its number.
    pub(super) fn end(&mut self) {
        self.again = None;
    }
}

/// A sink in its thread.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) queue: Arc<Queue>,
    /// Disconnected once the thread has ended.
    pub(super) ended: Receiver<()>,
    pub(super) failure: Failure,
}

impl Running {
    /// Starts it with a queue of its own. Fails where there are no descriptors or threads left.
    pub(super) fn start(mut sink: Box<dyn Sink>, reports: &Sender<Report>) -> Result<Self> {
        let (name, form) = (sink.name(), sink.form());
        let queue = Queue::new(name, reports.clone()).map_err(|error| Error::os("make", "a sink's queue", error))?;
        let queue = Arc::new(queue);
        let (running, ended) = bounded(0);
        let run = {
            let queue = Arc::clone(&queue);
            move || {
                let _running: Sender<()> = running;
                // A message that makes a sink panic must not end the sink: that one is given up.
                while catch_unwind(AssertUnwindSafe(|| sink.run(&queue))).is_err() {
                    log::error!("{name}: the sink panicked and starts anew");
                    queue.give_up("the sink panicked");
                    queue.wait(&[], Some(Duration::from_secs(1)));
                }
                match queue.end() {
                    0 => {}
                    1 => log::warn!("{name}: 1 alert was not delivered"),
                    waiting => log::warn!("{name}: {waiting} alerts were not delivered"),
                }
            }
        };
        spawn(&format!("sink-{name}"), run)?;
        Ok(Self { name, form, queue, ended, failure: Failure::default() })
    }

    /// Gives what waits for it to the one that takes its place, in its order and in the form that it has. Waits up to
    /// `patience` for its end; what it is still in the middle of then it delivers, or reports at its end.
    pub(super) fn hand_over(&self, heir: &Self, patience: Duration) {
        self.queue.leave();
        // Disconnected or not: the queue knows.
        let _ = self.ended.recv_timeout(patience);
        for message in self.queue.take_over() {
            heir.queue.push(message);
        }
    }

    /// Whether its thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }
}

/// One alert in the forms that were asked for so far.
pub(super) struct Rendered<'a> {
    document: &'a Document,
    line: Option<Arc<[u8]>>,
    text: Option<Arc<[u8]>>,
}

impl<'a> Rendered<'a> {
    /// In none yet.
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, line: None, text: None }
    }

    /// The alert as a sink wants it.
    pub(super) fn body(&mut self, form: Form) -> Arc<[u8]> {
        match form {
            Form::Ecs { limit } => {
                let whole = self.line.get_or_insert_with(|| fit::fit(self.document, fit::LINE_LIMIT).into());
                if whole.len() <= limit { Arc::clone(whole) } else { fit::fit(self.document, limit).into() }
            }
            Form::Text { limit } => {
                let whole = self.text.get_or_insert_with(|| text::line(self.document).into_bytes().into());
                match std::str::from_utf8(whole) {
                    Ok(line) if line.len() > limit => escape::cut(line, limit).as_bytes().into(),
                    _ => Arc::clone(whole),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_comes_again_is_told_a_minute_later_unless_it_has_ended() {
        let (mut failure, start) = (Failure::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(failure.tell("full".into(), at(0)).as_deref(), Some("full"));
        assert_eq!((failure.due(), failure.take_due(at(100))), (None, None));
        assert_eq!(failure.tell("full again".into(), at(20)), None);
        assert_eq!((failure.due(), failure.take_due(at(59))), (Some(at(60)), None));
        let due = failure.take_due(at(60)).and_then(|why| failure.tell(why, at(60)));
        assert_eq!(due.as_deref(), Some("full again"));
        assert_eq!(failure.tell("full".into(), at(70)), None);
        failure.end();
        assert_eq!(failure.due(), None);
    }
}

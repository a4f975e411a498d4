//! The bounded queue between dispatch and one sink. It never blocks the one that fills it; what it refuses, and what the
//! sink gives up, is counted here until it has been told.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read, write};

use crate::alert::Severity;
use crate::host::clock::poll_timeout;

/// Messages that wait for one sink.
pub const MAX_MESSAGES: usize = 10_000;

/// Bytes of their bodies: a dead syslog must not make the watcher large.
pub const MAX_BYTES: usize = 8 << 20;

/// One alert in a sink's form.
#[derive(Debug, Clone)]
pub struct Message {
    /// On one line, without the line's end.
    pub body: Arc<[u8]>,
    /// For syslog's priority.
    pub severity: Severity,
    /// It tells that this many alerts were not delivered to this sink. If it is lost itself, they are untold again.
    pub tells: u64,
}

/// What a sink's queue reports to dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Alerts begin to get lost, and why.
    Failing(&'static str, String),
    /// An alert went through while a loss is untold.
    Working(&'static str),
    /// A sink that was taken out has ended, and so many alerts did not reach it.
    Left(&'static str, u64),
}

/// Alerts that a sink did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// When the first of them was refused or given up.
    pub since: SystemTime,
}

/// What a sink is to do next.
#[derive(Debug)]
pub enum Next {
    /// Open files anew (SIGHUP).
    Reopen,
    /// Deliver this one.
    Message(Message),
    /// Nothing: wait.
    Idle,
    /// Leave.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    sink: &'static str,
    inner: Mutex<Inner>,
    /// A byte in this pipe wakes the sink out of poll(2), where a condition variable could not.
    bell: OwnedFd,
    ring: OwnedFd,
    reports: Sender<Report>,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Message>,
    bytes: usize,
    loss: Option<Loss>,
    /// Dispatch knows that alerts get lost, or that one went through again.
    said_failing: bool,
    said_working: bool,
    reopen: bool,
    closing: Option<Instant>,
    stopping: bool,
    /// Another sink of this name takes its place, or none: what it loses it says at its end.
    replaced: bool,
    /// What waits is to be taken over.
    has_heir: bool,
    ended: bool,
    rung: bool,
}

impl Inner {
    fn lose(&mut self, count: u64) {
        self.loss.get_or_insert_with(|| Loss { count: 0, since: SystemTime::now() }).count += count;
    }
}

impl Queue {
    /// An empty one for the sink of this name, bounded by [`MAX_MESSAGES`] and [`MAX_BYTES`]. Fails where the process
    /// has no descriptors left.
    pub fn new(sink: &'static str, reports: Sender<Report>) -> io::Result<Self> {
        Self::with_bounds(sink, reports, MAX_MESSAGES, MAX_BYTES)
    }

    /// With other bounds.
    pub fn with_bounds(
        sink: &'static str,
        reports: Sender<Report>,
        max_messages: usize,
        max_bytes: usize,
    ) -> io::Result<Self> {
        let (bell, ring) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { sink, inner: Mutex::default(), bell, ring, reports, max_messages, max_bytes })
    }

    /// Puts a message at the end; false where there is no room, which is counted and reported.
    pub fn push(&self, message: Message) -> bool {
        let mut inner = self.lock();
        let room = inner.messages.len() < self.max_messages
            && inner.bytes.saturating_add(message.body.len()) <= self.max_bytes
            && inner.closing.is_none();
        if !room {
            self.lose(&mut inner, message.tells, "its queue is full");
            return false;
        }
        inner.bytes += message.body.len();
        inner.messages.push_back(message);
        if inner.messages.len() == 1 {
            self.ring(&mut inner);
        }
        true
    }

    /// Asks the sink to open its files anew.
    pub fn reopen(&self) {
        let mut inner = self.lock();
        inner.reopen = true;
        self.ring(&mut inner);
    }

    /// Takes no more messages; the sink delivers what is there until `deadline`, and may wait until then for whoever
    /// takes them.
    pub fn retire(&self, deadline: Instant) {
        let mut inner = self.lock();
        inner.closing = Some(deadline);
        self.ring(&mut inner);
    }

    /// As [`Queue::retire`], for the watcher's end: a sink whose receiver is known to be missing tries once more and
    /// leaves.
    pub fn stop(&self, deadline: Instant) {
        self.lock().stopping = true;
        self.retire(deadline);
    }

    /// Another sink of its name comes, or none: from now on nothing is reported but, at its end, what did not reach it.
    pub fn replace(&self) {
        self.lock().replaced = true;
    }

    /// Has its sink leave at once: what waits is taken over by [`Queue::take_over`].
    pub fn leave(&self) {
        self.lock().has_heir = true;
        self.retire(Instant::now());
    }

    /// Takes what waits, in its order. The sink keeps the message that it may be in the middle of.
    pub fn take_over(&self) -> Vec<Message> {
        let mut inner = self.lock();
        inner.has_heir = false;
        let kept = usize::from(!inner.ended).min(inner.messages.len());
        let rest = inner.messages.split_off(kept);
        inner.bytes = inner.messages.iter().map(|message| message.body.len()).sum();
        rest.into()
    }

    /// The sink has ended; how many alerts it leaves that nobody takes over.
    pub fn end(&self) -> u64 {
        let mut inner = self.lock();
        inner.ended = true;
        if inner.has_heir {
            return 0;
        }
        if !inner.replaced {
            return inner.messages.len() as u64;
        }
        let waiting: u64 = std::mem::take(&mut inner.messages).iter().map(|message| 1 + message.tells).sum();
        let left = waiting + inner.loss.take().map_or(0, |loss| loss.count);
        if left > 0 {
            // Where dispatch has ended, the log has it.
            let _ = self.reports.try_send(Report::Left(self.sink, left));
        }
        left
    }

    /// Whether the watcher ends.
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Messages that still wait.
    pub fn waiting(&self) -> usize {
        self.lock().messages.len()
    }

    /// Takes the loss that has not been told yet. Whoever takes it has to tell it.
    pub fn take_loss(&self) -> Option<Loss> {
        let mut inner = self.lock();
        inner.said_failing = false;
        inner.loss.take()
    }

    /// What the sink is to do. A message stays the first until it is delivered or given up.
    pub fn next(&self) -> Next {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.reopen) {
            return Next::Reopen;
        }
        match (inner.messages.front(), inner.closing) {
            (Some(_), Some(deadline)) if Instant::now() >= deadline => Next::Closed,
            (Some(message), _) => Next::Message(message.clone()),
            (None, Some(_)) => Next::Closed,
            (None, None) => Next::Idle,
        }
    }

    /// The first message went through.
    pub fn delivered(&self) {
        let mut inner = self.lock();
        if let Some(message) = self.pop(&mut inner)
            && message.tells > 0
        {
            inner.said_working = false;
        }
        if inner.loss.is_some() && !inner.said_working && !inner.replaced {
            // Once until it is told: a loss that goes on must not make an alert for each one that goes through.
            inner.said_working = self.reports.try_send(Report::Working(self.sink)).is_ok();
        }
    }

    /// The first message cannot be delivered, and why.
    pub fn give_up(&self, why: &str) {
        let mut inner = self.lock();
        if let Some(message) = self.pop(&mut inner) {
            self.lose(&mut inner, message.tells, why);
        }
    }

    /// Waits until there may be something new to do, one of `fds` is ready, `timeout` or the deadline of closing has
    /// passed. True where one of `fds` is ready, errors included.
    pub fn wait<'a>(&'a self, fds: &[PollFd<'a>], timeout: Option<Duration>) -> bool {
        let left = self.lock().closing.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = match (timeout, left) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = timeout.map_or(PollTimeout::NONE, poll_timeout);
        let mut all = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        all.extend(fds.iter().cloned());
        // An error here is EINTR or ENOMEM: the caller looks again either way.
        if poll(&mut all, timeout).is_err() {
            return false;
        }
        let mut inner = self.lock();
        if std::mem::take(&mut inner.rung) {
            let _ = read(&self.bell, &mut [0; 8]);
        }
        all.iter().skip(1).any(|fd| fd.any() == Some(true))
    }

    fn pop(&self, inner: &mut Inner) -> Option<Message> {
        let message = inner.messages.pop_front()?;
        inner.bytes = inner.bytes.saturating_sub(message.body.len());
        Some(message)
    }

    /// Counts one message, and again those that it would have told.
    fn lose(&self, inner: &mut Inner, told: u64, why: &str) {
        if told > 0 {
            inner.said_working = false;
        }
        inner.lose(1 + told);
        if !inner.said_failing && !inner.replaced {
            inner.said_failing = self.reports.try_send(Report::Failing(self.sink, why.into())).is_ok();
        }
    }

    /// A message of which this sink was not to know, and whose number it misses: told with what it lost.
    pub fn pass_over(&self) {
        self.lock().lose(1);
    }

    fn ring(&self, inner: &mut Inner) {
        if !inner.rung {
            inner.rung = write(&self.ring, &[1]).is_ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking thread leaves behind here is whole: no field depends on another in mid-change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

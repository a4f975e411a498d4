//! The thread itself: what becomes of an alert, of an order, and of what a sink reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, at, never, select};

use super::{GRACE, RETIREMENT};
use crate::alert::compose::{self, Stamp};
use crate::alert::document::Document;
use crate::alert::id::IdSource;
use crate::alert::own::Lost;
use crate::alert::{Action, Alert, Severity, time};
use crate::escape;
use crate::host::identity::HostFacts;
use crate::sink::life::Life;
use crate::sink::queue::{Loss, Message, Report};
use crate::sink::running::{Rendered, Running};
use crate::sink::state::State;
use crate::sink::watched::Last;

/// Orders to it.
#[derive(Debug)]
pub(super) enum Control {
    Reopen,
    Replace(Vec<(&'static str, Option<Running>)>),
    Tell(Life),
    /// A sign of life is asked for: the number of alerts so far.
    Pulse(Sender<u64>),
    Stop(Instant),
}

/// Its state.
pub(super) struct Worker {
    pub(super) alerts: Receiver<Box<Alert>>,
    pub(super) control: Receiver<Control>,
    pub(super) reports: Receiver<Report>,
    pub(super) refused: Arc<AtomicU64>,
    pub(super) host: HostFacts,
    pub(super) ids: IdSource,
    pub(super) state: State,
    /// When a watcher watched before this one.
    pub(super) last: Option<Last>,
    /// It was told that the watcher watches: its end is to be told too.
    pub(super) watching: bool,
    pub(super) sent: u64,
    pub(super) sinks: Vec<Running>,
    /// Those that another configuration ended, until their threads have come back.
    pub(super) replaced: Vec<Running>,
}

impl Worker {
    /// Tells what the last run left.
    pub(super) fn begin(&mut self, interrupted: Vec<Document>, trouble: Option<String>) {
        if let Some(trouble) = trouble {
            log::warn!("{trouble}");
            let lost = Lost { sensor: Some("state".into()), ..Lost::default() };
            self.tell(Action::SensorDegraded, "state-unusable", &trouble, lost, |_| Some(0));
        }
        for last in interrupted {
            let stamp = self.stamp();
            let closed = compose::killed(last, SystemTime::now(), stamp);
            self.emit(&closed, |_| Some(0));
            self.state.remember(&closed);
        }
    }

    /// Until it is stopped; how many alerts were not delivered.
    pub(super) fn run(&mut self) -> u64 {
        loop {
            let overdue = self.sinks.iter().filter_map(|sink| sink.failure.due()).min().map_or_else(never, at);
            select! {
                recv(overdue) -> _ => self.tell_failing_again(),
                recv(self.alerts) -> alert => match alert {
                    Ok(alert) => self.handle(&alert),
                    Err(_) => return self.stop(Instant::now() + RETIREMENT),
                },
                recv(self.reports) -> report => if let Ok(report) = report {
                    self.report(report);
                },
                recv(self.control) -> control => match control {
                    Ok(Control::Reopen) => self.sinks.iter().for_each(|sink| sink.queue.reopen()),
                    Ok(Control::Replace(sinks)) => self.replace(sinks),
                    Ok(Control::Tell(life)) => self.live(&life),
                    Ok(Control::Pulse(answer)) => self.pulse(&answer),
                    Ok(Control::Stop(deadline)) => return self.stop(deadline),
                    Err(_) => return self.stop(Instant::now() + RETIREMENT),
                },
            }
        }
    }

    fn handle(&mut self, alert: &Alert) {
        let stamp = self.stamp();
        let document = compose::document(alert, &self.host, stamp);
        self.emit(&document, |_| Some(0));
        // After it went out: an alert waits for no directory.
        self.state.remember(&document);
        let refused = self.refused.swap(0, Ordering::Relaxed);
        if refused > 0 {
            let sentence = format!("{refused} alerts were dropped: more came at once than could be taken");
            log::warn!("{sentence}");
            let lost = Lost { sensor: Some("dispatch".into()), count: Some(refused), ..Lost::default() };
            self.tell(Action::EventsLost, "alerts-not-delivered", &sentence, lost, |_| Some(0));
        }
    }

    fn live(&mut self, life: &Life) {
        let now = SystemTime::now();
        let told = life.tell(self.last, now);
        self.watching = *life != Life::Stopped;
        // Whoever hears of the start may kill it at once.
        if self.watching {
            self.state.mark(now, false);
        }
        self.tell(told.action, told.reason, &told.sentence, told.lost, |_| Some(0));
        if !self.watching {
            self.state.mark(now, true);
        }
    }

    fn pulse(&mut self, answer: &Sender<u64>) {
        if self.watching {
            self.state.mark(SystemTime::now(), false);
        }
        // Who asked may have given up.
        let _ = answer.send(self.sent);
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Failing(name, why) => self.tell_failing(name, why),
            Report::Working(name) => self.tell_loss(name),
            Report::Left(name, count) => {
                let s = if count == 1 { "" } else { "s" };
                let sentence =
                    format!("{count} alert{s} did not reach the sink {name}, which another configuration ended");
                let lost = Lost { sensor: Some(name.into()), count: Some(count), ..Lost::default() };
                self.tell(Action::EventsLost, "alerts-not-delivered", &sentence, lost, |_| Some(0));
            }
        }
    }

    /// Tells all sinks but the one concerned: it learns of that once it works again, with the count.
    fn tell_failing(&mut self, name: &'static str, why: String) {
        let Some(sink) = self.sinks.iter_mut().find(|sink| sink.name == name) else { return };
        let Some(why) = sink.failure.tell(why, Instant::now()) else { return };
        let sentence = format!("Alerts do not reach the sink {name}: {why}");
        log::warn!("{}", escape::text(&sentence));
        let lost = Lost { sensor: Some(name.into()), ..Lost::default() };
        let others = |sink: &str| (sink != name).then_some(0);
        let is_told = self.tell(Action::SensorDegraded, "sink-failed", &sentence, lost, others);
        if is_told && let Some(sink) = self.sinks.iter().find(|sink| sink.name == name) {
            // Its number is missing there.
            sink.queue.pass_over();
        }
    }

    /// What failed again too soon after it was told, and does not work yet.
    fn tell_failing_again(&mut self) {
        let now = Instant::now();
        let due = self.sinks.iter_mut().filter_map(|sink| Some((sink.name, sink.failure.take_due(now)?)));
        let due: Vec<_> = due.collect();
        due.into_iter().for_each(|(name, why)| self.tell_failing(name, why));
    }

    fn take_in_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.report(report);
        }
    }

    /// Tells all sinks, the one concerned too, what it did not get.
    fn tell_loss(&mut self, name: &'static str) {
        let Some(sink) = self.sinks.iter_mut().find(|sink| sink.name == name) else { return };
        sink.failure.end();
        let loss = sink.queue.take_loss();
        self.tell_lost(name, loss);
    }

    fn tell_lost(&mut self, name: &'static str, loss: Option<Loss>) {
        let Some(Loss { count, since }) = loss else { return };
        let s = if count == 1 { "" } else { "s" };
        let sentence = format!("{count} alert{s} did not reach the sink {name} since {}", time::seconds(since));
        log::warn!("{sentence}");
        let lost =
            Lost { sensor: Some(name.into()), count: Some(count), since: Some(time::micros(since)), ..Lost::default() };
        let tells = |sink: &str| Some(if sink == name { count } else { 0 });
        self.tell(Action::EventsLost, "alerts-not-delivered", &sentence, lost, tells);
    }

    /// Whether there is anybody to tell.
    fn tell(
        &mut self,
        action: Action,
        reason: &str,
        sentence: &str,
        lost: impl Into<Option<Lost>>,
        tells: impl Fn(&str) -> Option<u64>,
    ) -> bool {
        if !self.sinks.iter().any(|sink| tells(sink.name).is_some()) {
            // No number for what nobody gets: it would be a gap.
            return false;
        }
        let stamp = self.stamp();
        let document = compose::health(action, reason, sentence, lost.into(), SystemTime::now(), &self.host, stamp);
        self.emit(&document, tells);
        true
    }

    /// Queues a document for each sink for which `tells` is not `None`; see [`Message::tells`].
    fn emit(&self, document: &Document, tells: impl Fn(&str) -> Option<u64>) {
        let severity = Severity::from_number(document.event.severity);
        let mut rendered = Rendered::new(document);
        for sink in &self.sinks {
            if let Some(tells) = tells(sink.name) {
                // What is refused the queue counts and reports.
                sink.queue.push(Message { body: rendered.body(sink.form), severity, tells });
            }
        }
    }

    fn stamp(&mut self) -> Stamp {
        self.sent += 1;
        Stamp { id: self.ids.next(SystemTime::now()), sequence: self.state.next_sequence() }
    }

    fn replace(&mut self, sinks: Vec<(&'static str, Option<Running>)>) {
        self.replaced.retain(|old| !old.has_ended());
        for (name, new) in sinks {
            // What is reported by name from here on is the new one's.
            self.sinks.iter().filter(|sink| sink.name == name).for_each(|sink| sink.queue.replace());
            self.take_in_reports();
            let Some(at) = self.sinks.iter().position(|sink| sink.name == name) else {
                self.sinks.extend(new);
                continue;
            };
            if let Some(new) = new {
                self.sinks.push(new);
                let old = self.sinks.swap_remove(at);
                if let Some(heir) = self.sinks.get(at) {
                    old.hand_over(heir, GRACE);
                }
                self.tell_lost(name, old.queue.take_loss());
                self.replaced.push(old);
            } else {
                self.tell_loss(name);
                let old = self.sinks.remove(at);
                old.queue.retire(Instant::now() + RETIREMENT);
                self.replaced.push(old);
            }
        }
    }

    fn stop(&mut self, deadline: Instant) -> u64 {
        while let Ok(alert) = self.alerts.try_recv() {
            self.handle(&alert);
        }
        self.take_in_reports();
        if self.watching {
            self.live(&Life::Stopped);
        }
        let names: Vec<_> = self.sinks.iter().map(|sink| sink.name).collect();
        names.into_iter().for_each(|name| self.tell_loss(name));
        let all = || self.sinks.iter().chain(&self.replaced);
        all().for_each(|sink| sink.queue.stop(deadline));
        let mut undelivered = 0;
        for sink in all() {
            let hangs =
                matches!(sink.ended.recv_deadline(deadline + GRACE), Err(crossbeam_channel::RecvTimeoutError::Timeout));
            let waiting = sink.queue.waiting() as u64;
            if hangs {
                log::warn!("{}: does not answer; {waiting} alerts were not delivered", sink.name);
            }
            let lost = sink.queue.take_loss().map_or(0, |loss| loss.count);
            if lost > 0 {
                log::warn!("{}: {lost} alerts were lost and not told", sink.name);
            }
            undelivered += waiting + lost;
        }
        undelivered
    }
}

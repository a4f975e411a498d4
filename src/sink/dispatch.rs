//! The thread between detection and the sinks: numbers each alert, renders it once a form, and queues it for each sink.
//! It waits for no sink, but a moment for one that is replaced; what one of them loses is told to it and to the others.
//! What an alert says is `alert`'s affair, and a sink's thread is `running`'s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select, unbounded};

use super::Sink;
use super::file::AlertFile;
use super::life::Life;
use super::queue::{Loss, Message, Report};
use super::running::{Rendered, Running, spawn};
use super::state::{Opened, State};
use super::stdout::Stdout;
use super::syslog::Syslog;
use super::watched::Last;
use crate::alert::compose::{self, Stamp};
use crate::alert::document::Document;
use crate::alert::id::IdSource;
use crate::alert::own::Lost;
use crate::alert::{Action, Alert, Severity, time};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::escape;
use crate::host::identity::HostFacts;

/// Alerts that may wait for their number: all sessions of a large host closing at once.
const ALERTS: usize = 4096;

/// What a sink that is replaced or left behind still gets.
const RETIREMENT: Duration = Duration::from_secs(5);

/// For the threads to come back once the deadline has passed.
const GRACE: Duration = Duration::from_millis(100);

/// Where detection puts its alerts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outlet {
    // Boxed: the channel's slots exist from the start.
    alerts: Sender<Box<Alert>>,
    refused: Arc<AtomicU64>,
}

impl Outlet {
    /// Hands an alert over, without waiting. False where there was no room: that is counted, and told as `events-lost`
    /// by dispatch itself.
    pub fn send(&self, alert: Alert) -> bool {
        let sent = self.alerts.try_send(Box::new(alert)).is_ok();
        if !sent {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

/// The running thread and its sinks.
#[derive(Debug)]
pub struct Dispatch {
    outlet: Outlet,
    control: Sender<Control>,
    undelivered: Receiver<u64>,
    reports: Sender<Report>,
    sections: Mutex<(config::Syslog, config::AlertFile)>,
}

#[derive(Debug)]
enum Control {
    Reopen,
    Replace(Vec<(&'static str, Option<Running>)>),
    Tell(Life),
    /// A sign of life is asked for: the number of alerts so far.
    Pulse(Sender<u64>),
    Stop(Instant),
}

impl Dispatch {
    /// Opens the state directory and starts a sink for each section that is enabled, and one for `stdout` if it is
    /// asked for. Sessions that a killed watcher left open are closed before anything else goes out.
    ///
    /// Fails for a configuration that cannot be used, where another watcher holds the state directory, and where no
    /// thread can be started; a missing syslog, directory or file is told and tried again.
    pub fn start(config: &Config, host: HostFacts, stdout: Option<config::Message>) -> Result<Self> {
        let Opened { state, interrupted, last, trouble } = State::open(&config.state.directory, SystemTime::now())?;
        let (reports_in, reports) = unbounded();
        let mut sinks = Vec::new();
        sinks.extend(syslog(&config.syslog)?);
        sinks.extend(alert_file(&config.alert_file));
        if let Some(message) = stdout {
            sinks.push(Box::new(Stdout::new(message)?) as Box<dyn Sink>);
        }
        let sinks = sinks.into_iter().map(|sink| Running::start(sink, &reports_in)).collect::<Result<_>>()?;
        let (alerts_in, alerts) = bounded(ALERTS);
        let (control_in, control) = bounded(16);
        let (result, undelivered) = bounded(1);
        let outlet = Outlet { alerts: alerts_in, refused: Arc::default() };
        let mut worker = Worker {
            alerts,
            control,
            reports,
            refused: Arc::clone(&outlet.refused),
            host,
            ids: IdSource::new(),
            state,
            last,
            watching: false,
            sent: 0,
            sinks,
            replaced: Vec::new(),
        };
        let run = move || {
            worker.begin(interrupted, trouble);
            // Nobody may wait for the number any more.
            let _ = result.send(worker.run());
        };
        spawn("dispatch", run)?;
        let sections = Mutex::new((config.syslog.clone(), config.alert_file.clone()));
        Ok(Self { outlet, control: control_in, undelivered, sections, reports: reports_in })
    }

    /// For detection.
    pub fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Tells of the watcher's own life.
    pub fn tell(&self, life: Life) {
        if self.control.send_timeout(Control::Tell(life), RETIREMENT).is_err() {
            log::warn!("dispatch does not answer");
        }
    }

    /// How many alerts were made since the start; `None` where dispatch does not answer within `within`. Keeps for the
    /// next watcher that this one still watches.
    pub fn pulse(&self, within: Duration) -> Option<u64> {
        let deadline = Instant::now() + within;
        let (answer, asked) = bounded(1);
        self.control.send_deadline(Control::Pulse(answer), deadline).ok()?;
        asked.recv_deadline(deadline).ok()
    }

    /// Opens the alert file anew, after a rotation (SIGHUP).
    pub fn reopen(&self) {
        if self.control.send_timeout(Control::Reopen, RETIREMENT).is_err() {
            log::warn!("dispatch does not answer: the alert file is not opened anew");
        }
    }

    /// Replaces the sinks whose section has changed: what still waits for an old one, the new one delivers; without a new
    /// one it has 5 s, and what it did not deliver then is told. Fails and changes nothing where a section cannot be used.
    /// `[state]` stays as it is until the next start.
    pub fn reconfigure(&self, config: &Config) -> Result<()> {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut replace = Vec::new();
        let start = |sink: Option<Box<dyn Sink>>| sink.map(|sink| Running::start(sink, &self.reports)).transpose();
        if sections.0 != config.syslog {
            replace.push(("syslog", start(syslog(&config.syslog)?)?));
        }
        if sections.1 != config.alert_file {
            replace.push(("alert-file", start(alert_file(&config.alert_file))?));
        }
        if !replace.is_empty() {
            self.control
                .send_timeout(Control::Replace(replace), RETIREMENT)
                .map_err(|_| Error::os("replace", "sinks", std::io::ErrorKind::TimedOut))?;
            *sections = (config.syslog.clone(), config.alert_file.clone());
        }
        Ok(())
    }

    /// Delivers what was sent until `within` has passed, and ends all threads that can be ended. Returns how many alerts
    /// were not delivered, over all sinks; they are said by the log too.
    pub fn flush_and_stop(&self, within: Duration) -> u64 {
        let deadline = Instant::now() + within;
        let _ = self.control.send_deadline(Control::Stop(deadline), deadline);
        self.undelivered.recv_deadline(deadline + GRACE * 3).unwrap_or_else(|_| {
            log::warn!("dispatch did not end in time; its alerts may not have been delivered");
            1
        })
    }
}

fn syslog(section: &config::Syslog) -> Result<Option<Box<dyn Sink>>> {
    section.enabled.then(|| Syslog::new(section).map(|sink| Box::new(sink) as Box<dyn Sink>)).transpose()
}

fn alert_file(section: &config::AlertFile) -> Option<Box<dyn Sink>> {
    section.enabled.then(|| Box::new(AlertFile::new(&section.path)) as Box<dyn Sink>)
}

struct Worker {
    alerts: Receiver<Box<Alert>>,
    control: Receiver<Control>,
    reports: Receiver<Report>,
    refused: Arc<AtomicU64>,
    host: HostFacts,
    ids: IdSource,
    state: State,
    /// When a watcher watched before this one.
    last: Option<Last>,
    /// It was told that the watcher watches: its end is to be told too.
    watching: bool,
    sent: u64,
    sinks: Vec<Running>,
    /// Those that another configuration ended, until their threads have come back.
    replaced: Vec<Running>,
}

impl Worker {
    /// Tells what the last run left.
    fn begin(&mut self, interrupted: Vec<Document>, trouble: Option<String>) {
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
    fn run(&mut self) -> u64 {
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

#[cfg(test)]
mod tests;

//! The thread between detection and the sinks: numbers each alert, renders it once a form, and queues it for each sink.
//! It waits for no sink, but a moment for one that is replaced; what one of them loses is told to it and to the others.
//! What an alert says is `alert`'s affair, and a sink's thread is `running`'s.

mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use worker::{Control, Worker};

use super::Sink;
use super::file::AlertFile;
use super::life::Life;
use super::queue::Report;
use super::running::{Running, spawn};
use super::state::{Opened, State};
use super::stdout::Stdout;
use super::syslog::Syslog;
use crate::alert::Alert;
use crate::alert::id::IdSource;
use crate::config::{self, Config};
use crate::error::{Error, Result};
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

#[cfg(test)]
mod tests;

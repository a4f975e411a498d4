//! Whether the running watcher moves: what is asked for it, and what the service manager is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::detect::{Command, Pulse};
use crate::event::SensorKind;
use crate::host::clock;
use crate::sensor::health::PartHealth;
use crate::sensor::mounts::Mounts;
use crate::sensor::{Controls, Moves, Outlet};
use crate::sink::dispatch::Dispatch;

/// The thread that marks mounts reads nothing for so long.
const MARKING_HANGS: Duration = Duration::from_secs(10);

/// Asks detection, dispatch and the sensors' threads for a sign of life.
pub(super) struct Vitals {
    pub(super) commands: Sender<Command>,
    pub(super) dispatch: Arc<Dispatch>,
    /// For people.
    pub(super) sensors: String,
    pub(super) readers: Vec<ReaderPulse>,
    pub(super) marking: MarkingPulse,
    pub(super) outlet: Outlet,
}

/// Asks a sensor's thread for a sign of life, and tells where there is none: nobody may be there to restart the watcher.
pub(super) struct ReaderPulse {
    name: String,
    orders: Controls,
    health: PartHealth,
}

impl ReaderPulse {
    /// Of the thread of this name, and of the sensor that it stands for.
    pub(super) fn new(name: &str, orders: &Controls) -> Self {
        let sensor = match name {
            "fanotify" => SensorKind::Fanotify,
            "connector" => SensorKind::Connector,
            _ => SensorKind::Poll,
        };
        Self { name: name.to_owned(), orders: orders.clone(), health: PartHealth::new(sensor, "thread") }
    }

    /// What is the matter with it.
    fn ask(&self, outlet: &Outlet) -> Option<String> {
        let stuck = match self.orders.pulse() {
            Moves::Yes => None,
            Moves::No => Some(format!("the thread {} does not answer", self.name)),
            Moves::Ended => Some(format!("the thread {} has ended", self.name)),
        };
        // What finds no room is told at the next pulse.
        self.health.set(stuck.clone(), outlet);
        stuck
    }
}

/// Asks the thread that marks mounts for a sign of life, and tells where there is none: nothing new is marked then.
pub(super) struct MarkingPulse {
    mounts: Arc<Mounts>,
    health: PartHealth,
}

impl MarkingPulse {
    /// Of whoever keeps this table.
    pub(super) fn new(mounts: Arc<Mounts>) -> Self {
        Self { mounts, health: PartHealth::new(SensorKind::Fanotify, "mounts") }
    }

    fn ask(&self, outlet: &Outlet) {
        let silent = self.mounts.requests.pulse(clock::now());
        let hangs = silent >= MARKING_HANGS;
        let seconds = silent.as_secs();
        let degraded =
            hangs.then(|| format!("the thread that marks mounts has not moved for {seconds} s: nothing new is marked"));
        self.health.set(degraded, outlet);
    }
}

impl Vitals {
    /// What is watched, as a line for people, before anything was counted.
    pub(super) fn first(&self) -> String {
        format!("Watching, {}", self.sensors)
    }

    /// The same with numbers. Detection and dispatch have `within` for their answer, a sensor's thread until the next call.
    ///
    /// # Errors
    /// What does not move, for people: the watcher is stuck.
    pub(super) fn pulse(&mut self, within: Duration) -> Result<String, String> {
        self.marking.ask(&self.outlet);
        let mut stuck: Vec<String> = self.readers.iter().filter_map(|reader| reader.ask(&self.outlet)).collect();
        let detection = self.detection(within / 2);
        if detection.is_none() {
            stuck.push("detection does not answer".to_owned());
        }
        let Some(pulse) = detection.filter(|_| stuck.is_empty()) else { return Err(stuck.join(", ")) };
        // Last, as it keeps for the next watcher that this one still watches.
        let alerts = self.dispatch.pulse(within / 2).ok_or("dispatch does not answer")?;
        Ok(self.line(&pulse, alerts))
    }

    fn detection(&self, within: Duration) -> Option<Pulse> {
        let deadline = Instant::now() + within;
        let (answer, asked) = bounded(1);
        self.commands.send_deadline(Command::Pulse(answer), deadline).ok()?;
        asked.recv_deadline(deadline).ok()
    }

    fn line(&self, pulse: &Pulse, alerts: u64) -> String {
        let Pulse { containers, sessions, degraded } = pulse;
        let degraded: Vec<&str> = degraded.iter().map(|sensor| sensor.as_str()).collect();
        let degraded =
            if degraded.is_empty() { String::new() } else { format!(" (degraded: {})", degraded.join(", ")) };
        let sensors = &self.sensors;
        format!("Watching, {sensors}{degraded}; {containers} containers met, {sessions} builds open, {alerts} alerts")
    }
}

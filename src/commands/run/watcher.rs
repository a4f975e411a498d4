//! All the threads of a running watcher, from the sensors to the sinks: started in the order in which they need each
//! other, and stopped so that what is under way still arrives.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};

use super::sensors::Shared;
use super::vitals::{MarkingPulse, ReaderPulse, Vitals};
use crate::alert::id::IdSource;
use crate::cli::RunOptions;
use crate::config::{Config, Switch};
use crate::container::registry::{HostIdentity, Registry};
use crate::container::runtimes::Runtimes;
use crate::detect::enrich::{Job, Outcome, Reads};
use crate::detect::judged::Judged;
use crate::detect::telling::{Telling, Walks};
use crate::detect::triage::Screen;
use crate::detect::{Command, Detection, Inlets, Parts, Share};
use crate::error::{Error, Result};
use crate::fingerprint::{Database, SharedDatabase};
use crate::host::clock;
use crate::host::identity::HostFacts;
use crate::host::process::Proc;
use crate::host::worker::{Limits, Pool};
use crate::sensor::counters::Counters;
use crate::sensor::ledger::Ledger;
use crate::sensor::mounts::Mounts;
use crate::sensor::procfs_poll::Walker;
use crate::sensor::{Control, Controls, Outlet, channel, controls};
use crate::sink::dispatch::Dispatch;
use crate::sink::life::Life;
use crate::sys::process::run_early;

/// Reads that are quick, or hang: one container may hold two of the threads.
const READS: Limits = Limits { threads: 3, threads_per_share: 2, stuck: 16, queue: 256, early: true };
/// Whole files: one container may hold one of the threads.
const CONTENTS: Limits = Limits { threads: 2, threads_per_share: 1, stuck: 8, queue: 64, early: false };
/// What is still under way at the stop has so long to leave.
const FLUSH: Duration = Duration::from_secs(5);
/// The start waits so long for the baseline: half of what the unit gives it.
const BASELINE: Duration = Duration::from_secs(30);

/// A watcher at work.
pub(super) struct Watcher {
    dispatch: Arc<Dispatch>,
    commands: Sender<Command>,
    counters: Arc<Counters>,
    detection: JoinHandle<()>,
    pub(super) sensors: Vec<(Controls, JoinHandle<()>)>,
    database: SharedDatabase,
    judged: Arc<Judged>,
    /// Held so that detection's channel stays open while there is no sensor.
    outlet: Outlet,
    mounts: Arc<Mounts>,
    /// For people: which sensor runs, and how.
    pub(super) sensor_lines: Vec<String>,
}

impl Watcher {
    /// Starts everything; returns once the sensors are up, or reported as degraded, and the baseline is taken.
    ///
    /// # Errors
    /// /proc cannot be opened, a sensor that must run does not, or a sink cannot be set up.
    pub(super) fn start(config: &Config, database: Database, options: &RunOptions) -> Result<Self> {
        let proc_root = Path::new("/proc");
        let proc = Arc::new(Proc::open(proc_root)?);
        let host = HostIdentity::read(proc_root);
        let database = SharedDatabase::new(ArcSwap::from_pointee(database));
        let dispatch = Dispatch::start(config, HostFacts::read(Path::new("/")), super::stdout_form(options))?;
        let counters = Arc::new(Counters::default());
        let (ledger, mounts): (Arc<Ledger>, Arc<Mounts>) = Default::default();
        let (outlet, facts) = channel();
        let (outcome_sender, outcomes) = unbounded();
        let (commands, command_receiver) = bounded(16);
        let (walker_controls, walker_inlet) = controls()?;
        let (connector_orders, connector_inlet) = controls()?;
        let (fanotify_orders, fanotify_inlet) = controls()?;
        let judged: Arc<Judged> = Arc::default();
        let (reads, contents) = pools(&proc, &database, (&judged, &mounts), outcome_sender);
        let reads = Arc::new(reads);
        let screen = Arc::new(Screen::new(host, Arc::clone(&database), Arc::clone(&judged), Arc::clone(&reads)));
        let mut ids = IdSource::new();
        let always_in_rounds = config.sensors.procfs_poll == Switch::On;
        let walks = (config.sensors.procfs_poll != Switch::Off)
            .then(|| Walks { controls: walker_controls.clone(), always_in_rounds });
        let parts = Parts {
            config: config.clone(),
            database: Arc::clone(&database),
            registry: Registry::new(host),
            screen: Arc::clone(&screen),
            judged: Arc::clone(&judged),
            reads,
            contents,
            counters: Arc::clone(&counters),
            ledger: Arc::clone(&ledger),
            mounts: Arc::clone(&mounts),
            connector: connector_orders.clone(),
            fanotify: fanotify_orders.clone(),
            telling: Telling::new(dispatch.outlet(), walks, Arc::clone(&screen)),
            new_id: Box::new(move || ids.next(std::time::SystemTime::now())),
        };
        let inlets = Inlets { facts, outcomes, commands: command_receiver };
        let detection = move || {
            if let Err(e) = run_early() {
                log::debug!("detection runs like any other thread: {e}");
            }
            Detection::new(parts).run(&inlets);
        };
        let detection = spawn("detection", detection)?;
        let mut watcher = Self {
            dispatch: Arc::new(dispatch),
            commands,
            counters: Arc::clone(&counters),
            detection,
            sensors: Vec::new(),
            database,
            judged,
            outlet: outlet.clone(),
            mounts: Arc::clone(&mounts),
            sensor_lines: Vec::new(),
        };
        let shared = Shared {
            proc: Arc::clone(&proc),
            screen: Arc::clone(&screen),
            outlet: outlet.clone(),
            counters,
            ledger,
            mounts,
        };
        let connected = watcher.start_connector(config, &shared, (connector_orders, connector_inlet))?;
        let by_file = watcher.start_fanotify(config, &shared, connected.as_ref(), (fanotify_orders, fanotify_inlet))?;
        if !by_file {
            watcher.start_telling(config, &shared)?;
        }
        let connected = connected.is_some();
        let walker = Walker::new(proc, screen, Arc::clone(&shared.mounts), outlet, walker_inlet);
        watcher.start_walker(config, walker, walker_controls, connected, by_file)?;
        Ok(watcher)
    }

    /// Takes the baseline, and lets the walker run: in rounds where it is the only sensor.
    fn start_walker(
        &mut self,
        config: &Config,
        walker: Walker,
        orders: Controls,
        connected: bool,
        by_file: bool,
    ) -> Result<()> {
        let switch = config.sensors.procfs_poll;
        let in_rounds = switch == Switch::On || (!connected && switch == Switch::Auto);
        if !connected && !by_file && !in_rounds {
            let (act, object) = ("start", "the sensors".to_owned());
            return Err(Error::Config { act, object, reason: "no sensor is left to run".into() });
        }
        if in_rounds {
            orders.send(Control::Eager);
        }
        let (ready, baseline) = bounded::<()>(1);
        let run = move || {
            let mut walker = walker;
            if switch != Switch::Off {
                walker.sweep(None);
            }
            drop(ready);
            walker.run();
        };
        self.sensors.push((orders, spawn("procfs-poll", run)?));
        // Nothing is ever sent: it ends when the walker lets go of its end.
        let is_late = baseline.recv_timeout(BASELINE) == Err(RecvTimeoutError::Timeout);
        if is_late {
            log::warn!("the baseline is not taken yet: /proc is very large, or a file server does not answer");
        }
        self.sensor_lines.push(match (switch, in_rounds) {
            (Switch::Off, _) => "/proc poll: off by configuration".into(),
            (_, true) => "/proc poll: in rounds; what lives shorter than a round is not seen".into(),
            (_, false) if is_late => "/proc poll: the baseline is still being taken; again after every loss".into(),
            (_, false) => "/proc poll: baseline taken; again after every loss".into(),
        });
        Ok(())
    }

    /// Tells of the watcher's own life.
    pub(super) fn tell(&self, life: Life) {
        self.dispatch.tell(life);
    }

    /// What asks whether it moves.
    pub(super) fn vitals(&self) -> Vitals {
        Vitals {
            commands: self.commands.clone(),
            dispatch: Arc::clone(&self.dispatch),
            sensors: self.sensors(),
            readers: self.readers().map(|(name, orders)| ReaderPulse::new(name, orders)).collect(),
            marking: MarkingPulse::new(Arc::clone(&self.mounts)),
            outlet: self.outlet.clone(),
        }
    }

    /// The sensors that run, for people.
    pub(super) fn sensors(&self) -> String {
        let names: Vec<&str> = self.readers().map(|(name, _)| name).collect();
        format!("sensors {}", names.join(", "))
    }

    /// The sensors' threads, by name.
    fn readers(&self) -> impl Iterator<Item = (&str, &Controls)> {
        self.sensors.iter().filter_map(|(orders, thread)| match thread.thread().name() {
            // No sensors of their own: one keeps fanotify's marks where they belong, one reads its second group. Both may
            // have to wait for a server, and tell of that themselves. The third answers doctor.
            Some("mounts" | "far" | "coverage") | None => None,
            Some(name) => Some((name, orders)),
        })
    }

    /// Reopens the files that log rotation moves.
    pub(super) fn reopen(&self) {
        self.dispatch.reopen();
    }

    /// Takes over a changed configuration.
    ///
    /// # Errors
    /// A sink cannot be set up as it says; then nothing is changed.
    pub(super) fn reconfigure(&self, config: &Config) -> Result<()> {
        self.dispatch.reconfigure(config)?;
        let _ = self.commands.send(Command::Reconfigure(Box::new(config.clone())));
        Ok(())
    }

    /// Takes over another database: what was judged by the old one is judged anew.
    pub(super) fn replace_database(&self, database: Database) {
        let database = Arc::new(database);
        self.database.store(Arc::clone(&database));
        self.judged.forget(database);
        for (orders, _) in &self.sensors {
            orders.send(Control::Forget);
        }
    }

    /// Stops the sensors, closes all sessions, and waits until the sinks have delivered, at most 5 s.
    pub(super) fn stop(self) {
        for (orders, _) in &self.sensors {
            orders.send(Control::Stop);
        }
        for (_, thread) in self.sensors {
            join(thread);
        }
        let _ = self.commands.send(Command::Stop);
        join(self.detection);
        self.dispatch.flush_and_stop(FLUSH);
        let (execs, dead) = (self.counters.execs(), self.counters.unexamined(clock::now()).total);
        log::info!("{execs} execs of the host were counted, {dead} of them had ended before they could be looked at");
    }
}

type Workers = Pool<Share, Job>;

fn pools(
    proc: &Arc<Proc>,
    database: &SharedDatabase,
    (judged, mounts): (&Arc<Judged>, &Arc<Mounts>),
    outcomes: Sender<Outcome>,
) -> (Workers, Workers) {
    let runtimes = Runtimes::new("/".into(), "/proc".into());
    let known = (Arc::clone(judged), Arc::clone(mounts));
    let reads = Arc::new(Reads::new(Arc::clone(proc), runtimes, Arc::clone(database), known, outcomes));
    let files = Arc::clone(&reads);
    let quick = Pool::start("reads", READS, move |share, ticket, job| reads.run(share, ticket, job));
    (quick, Pool::start("contents", CONTENTS, move |share, ticket, job| files.run(share, ticket, job)))
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|e| Error::os("start", format!("thread {name}"), e))
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("a").to_owned();
    if thread.join().is_err() {
        log::error!("the thread {name} panicked");
    }
}

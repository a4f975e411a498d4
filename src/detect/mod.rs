//! Detection: merges what the sensors say, asks the workers, judges, and keeps sessions. One thread, no I/O: it owns
//! all of this state, and everything else reaches it through channels.

pub mod degraded;
mod due;
pub mod enrich;
pub mod exception;
pub mod executable;
pub mod gathered;
mod hearing;
mod held;
mod inside;
mod intake;
pub mod judged;
pub mod limits;
pub mod member;
pub mod merge;
mod outcomes;
pub mod pending;
pub mod policy;
pub mod programs;
mod reads;
pub mod repeats;
pub mod root_command;
pub mod session;
pub mod sessions;
mod settle;
pub mod slate;
pub mod telling;
pub mod triage;
mod unconfirmed;
mod user_names;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select_biased};
use lru::LruCache;

use crate::config::Config;
use crate::container::registry::Registry;
use crate::container::{ContainerKey, Payer};
use crate::detect::enrich::{Job, Outcome};
use crate::detect::hearing::Hearing;
use crate::detect::held::Held;
use crate::detect::judged::Judged;
use crate::detect::limits::AlertLimits;
use crate::detect::merge::Merge;
use crate::detect::pending::{Pending, Standing};
use crate::detect::policy::Rules;
use crate::detect::reads::BeingRead;
use crate::detect::sessions::Sessions;
use crate::detect::telling::Telling;
use crate::detect::triage::Screen;
use crate::detect::unconfirmed::Unconfirmed;
use crate::event::{Fact, FileId, ImageId, Monotonic, Pid, SensorKind, StartTime};
use crate::fingerprint::SharedDatabase;
use crate::host::clock;
use crate::host::worker::{self, Pool, Ticket};
use crate::sensor::CHANNEL;
use crate::sensor::Controls;
use crate::sensor::counters::Counters;
use crate::sensor::ledger::{Ledger, OLD};
use crate::sensor::mounts::Mounts;

/// An alert waits no longer for what must be read about its exec.
const DEADLINE: Duration = Duration::from_millis(50);
const RECENT: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// After so many execs or read files, memory is given back once none has come for [`QUIET`].
const MANY: u32 = 1000;
const QUIET: Duration = Duration::from_secs(3);
/// Rounds of taking in before others have their turn.
const TURNS: usize = 4;
/// Execs that wait for workers; beyond, they go on with what the look told.
const PENDING: usize = 256;

/// Orders from the main thread.
#[derive(Debug)]
pub enum Command {
    /// Take over what can be changed at run time.
    Reconfigure(Box<Config>),
    /// A sign of life is asked for.
    Pulse(Sender<Pulse>),
    /// Close all sessions and end.
    Stop,
}

/// Detection moves, and this is what it knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulse {
    /// Containers that it has met and remembers.
    pub containers: usize,
    /// Build sessions that are open.
    pub sessions: usize,
    /// Sensors that do not work.
    pub degraded: Vec<SensorKind>,
}

/// A share of the workers: a container's, for jobs that may hang on what that controls, or for others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Share {
    container: ContainerKey,
    /// The outermost container, and whether the job may hang.
    group: (ContainerKey, bool),
}

impl Share {
    /// For a job that may hang, or cannot.
    pub fn new(payer: Payer, may_hang: bool) -> Self {
        Self { container: payer.container, group: (payer.outermost, may_hang) }
    }
}

impl worker::Share for Share {
    type Group = (ContainerKey, bool);

    fn group(&self) -> &Self::Group {
        &self.group
    }
}

/// What detection is made of.
pub struct Parts {
    /// The configuration at start.
    pub config: Config,
    /// Names.
    pub database: SharedDatabase,
    /// Containers.
    pub registry: Registry,
    /// Where reads are begun.
    pub screen: Arc<Screen>,
    /// What was read of files.
    pub judged: Arc<Judged>,
    /// Threads for what is quick, or hangs.
    pub reads: Arc<Pool<Share, Job>>,
    /// Threads for whole files.
    pub contents: Pool<Share, Job>,
    /// The sensors' numbers.
    pub counters: Arc<Counters>,
    /// The connector's execs that no sighting tells of.
    pub ledger: Arc<Ledger>,
    /// Which filesystems fanotify covers.
    pub mounts: Arc<Mounts>,
    /// The connector's reader, where there is one.
    pub connector: Controls,
    /// fanotify's, where there is one.
    pub fanotify: Controls,
    /// Where alerts go, and how losses are answered.
    pub telling: Telling,
    /// Makes session ids.
    pub new_id: Box<dyn FnMut() -> String + Send>,
}

/// The channels that detection listens to.
pub struct Inlets {
    /// From the sensors.
    pub facts: Receiver<Fact>,
    /// From the workers.
    pub outcomes: Receiver<Outcome>,
    /// From the main thread.
    pub commands: Receiver<Command>,
}

/// Detection's state.
pub struct Detection {
    /// When it began to watch.
    began: Monotonic,
    database: SharedDatabase,
    registry: Registry,
    rules: Rules,
    read_bytes: u64,
    sessions: Sessions,
    limits: AlertLimits,
    screen: Arc<Screen>,
    reads: Arc<Pool<Share, Job>>,
    contents: Pool<Share, Job>,
    counters: Arc<Counters>,
    ledger: Arc<Ledger>,
    mounts: Arc<Mounts>,
    connector: Controls,
    fanotify: Controls,
    unconfirmed: Unconfirmed,
    hearing: Hearing,
    merge: Merge,
    telling: Telling,
    judged: Arc<Judged>,
    held: Held,
    /// Files being read.
    reading: HashMap<FileId, BeingRead>,
    pending: BTreeMap<u64, Pending>,
    /// Whose exec a job belongs to.
    jobs: HashMap<Ticket, u64>,
    /// Jobs that nobody waits for, and when each is given up.
    orphans: VecDeque<(Monotonic, Ticket)>,
    /// Questions for containers' metadata, and when each is given up.
    questions: VecDeque<(Monotonic, Ticket)>,
    /// Execs that were told before their reads had ended.
    unfinished: LruCache<(Pid, Monotonic), Pending>,
    /// Images of toolchain processes counted lately.
    recent: LruCache<(Pid, StartTime), (Option<ImageId>, SensorKind)>,
    next: u64,
    /// Execs and read files since memory was given back, and when the last one came.
    settled: u32,
    last_settled: Monotonic,
}

impl Detection {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let config = parts.config;
        let screen = Arc::clone(&parts.screen);
        Self {
            began: clock::now(),
            database: parts.database,
            registry: parts.registry,
            rules: Rules::new(&config.policy),
            read_bytes: config.limits.read_bytes,
            sessions: Sessions::new(config.session.gap, config.session.max, parts.new_id),
            limits: AlertLimits::new(&config.limits, clock::now()),
            screen: parts.screen,
            reads: parts.reads,
            contents: parts.contents,
            counters: parts.counters,
            ledger: parts.ledger,
            mounts: parts.mounts,
            connector: parts.connector,
            fanotify: parts.fanotify,
            unconfirmed: Unconfirmed::default(),
            hearing: Hearing::new(clock::now()),
            merge: Merge::new(move |comm| screen.name_is(comm)),
            telling: parts.telling,
            judged: parts.judged,
            held: Held::default(),
            reading: HashMap::new(),
            pending: BTreeMap::new(),
            jobs: HashMap::new(),
            orphans: VecDeque::new(),
            questions: VecDeque::new(),
            unfinished: LruCache::unbounded(),
            recent: LruCache::new(RECENT),
            next: 0,
            settled: 0,
            last_settled: Monotonic::default(),
        }
    }

    /// Works until told to stop. Outcomes go first: they free descriptors and workers.
    pub fn run(mut self, inlets: &Inlets) {
        loop {
            let wait = self.next_due().map_or(Duration::from_secs(3600), |due| due.since(clock::now()));
            let wait = if self.merge.is_lossy() { wait.min(OLD / 4) } else { wait };
            select_biased! {
                recv(inlets.commands) -> command => match command {
                    Ok(Command::Reconfigure(config)) => self.reconfigure(&config),
                    Ok(Command::Pulse(answer)) => self.pulse(&answer),
                    Ok(Command::Stop) | Err(_) => return self.stop(inlets),
                },
                recv(inlets.outcomes) -> outcome => if let Ok(outcome) = outcome { self.outcome(outcome) },
                recv(inlets.facts) -> fact => match fact {
                    Ok(fact) => self.take_in(Some(fact), inlets),
                    // The main thread holds an outlet too: it is gone.
                    Err(_) => return self.stop(inlets),
                },
                default(wait) => {}
            }
            // Whose attempt was lost is told by the EXECs that stay alone, and an attempt only where no EXEC has come.
            let mut dues = [self.merge.next_due(), self.unconfirmed.next_due()].into_iter().flatten();
            if self.merge.is_lossy() || dues.any(|due| due <= clock::now()) {
                self.take_in(None, inlets);
            }
            self.due(clock::now());
        }
    }

    /// All facts that are there, and then the execs that the connector had counted before: it sends the sightings of a
    /// drain first, and they are to be merged first.
    fn take_in(&mut self, first: Option<Fact>, inlets: &Inlets) {
        let mut first = first;
        for _ in 0..TURNS {
            let counted = self.ledger.take();
            if !counted.is_empty() {
                self.hear();
            }
            for fact in first.take().into_iter().chain(inlets.facts.try_iter().take(CHANNEL)) {
                self.fact(fact);
            }
            for counted in counted {
                let merged = self.merge.exec(counted);
                self.merged(merged);
            }
            // Where there is something already, nobody will be told of the next.
            if !self.merge.is_waiting() || self.ledger.is_waited_for() {
                return;
            }
        }
    }

    fn pulse(&self, answer: &Sender<Pulse>) {
        let (containers, sessions) = (self.registry.containers(), self.sessions.open());
        // Who asked may have given up.
        let _ = answer.try_send(Pulse { containers, sessions, degraded: self.telling.degraded() });
    }

    fn reconfigure(&mut self, config: &Config) {
        self.rules = Rules::new(&config.policy);
        self.read_bytes = config.limits.read_bytes;
        self.sessions.reconfigure(config.session.gap, config.session.max);
        self.limits.reconfigure(&config.limits);
    }

    /// Judges with what is known, closes every session, and lets go of the channels.
    fn stop(mut self, inlets: &Inlets) {
        self.take_in(None, inlets);
        // No EXEC will come any more.
        self.merge.set_behind(None);
        let merged = self.merge.due(Monotonic(u64::MAX));
        self.merged(merged);
        self.give_up_parked(Monotonic(u64::MAX));
        while let Ok(outcome) = inlets.outcomes.try_recv() {
            self.outcome(outcome);
        }
        // Whose exec is pending as well is not told as an attempt.
        let next = |pending: &BTreeMap<u64, Pending>| {
            let exec = pending.iter().find(|(_, pending)| !pending.awaits_exec);
            exec.or_else(|| pending.first_key_value()).map(|(number, _)| *number)
        };
        // What a loader runs, and whose child it is, is asked for once.
        while let Some(number) = next(&self.pending) {
            self.settle(number);
        }
        self.give_up_all();
        self.counters.add_unexamined(self.merge.take_unexamined(), clock::now());
        self.telling.leave_unrepaired();
        self.tell_losses(Monotonic(u64::MAX));
        self.note_unexamined();
        let effects = self.sessions.stop(clock::now());
        self.carry_out(effects);
        self.tell_suppressed(true);
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Exec(sighting) => {
                if sighting.known_by == SensorKind::Connector {
                    self.hear();
                }
                self.exec(*sighting);
            }
            Fact::Attempts { attempts, files } => {
                drop(files);
                self.attempts(attempts);
            }
            // Taken in with every fact.
            Fact::Counted => {}
            Fact::Lost(lost) => {
                self.sessions.mark_inexact();
                if lost.sensor == SensorKind::Fanotify && self.ledger.is_connected() {
                    self.merge.lose(lost.since, clock::now());
                }
                let unexamined = self.counters.unexamined(clock::now());
                self.telling.lost(&lost, unexamined.total);
            }
            Fact::Swept { after, seen } => self.telling.swept(after, seen),
            Fact::Health { sensor, part, lacks } => self.telling.health(sensor, part, lacks),
        }
    }

    fn hear(&mut self) {
        for attempt in self.hearing.hear(clock::now()) {
            self.attempted(attempt, Standing::Attempted);
        }
    }

    fn note_unexamined(&mut self) {
        self.ledger.age(clock::now(), &self.counters);
        self.sessions.set_unexamined(self.counters.unexamined(clock::now()));
    }
}

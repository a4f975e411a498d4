//! Detection: merges what the sensors say, asks the workers, judges, and keeps sessions. One thread, no I/O: it owns
//! all of this state, and everything else reaches it through channels.

pub mod enrich;
pub mod exception;
pub mod limits;
pub mod merge;
pub mod pending;
pub mod policy;
pub mod root_command;
pub mod session;
pub mod sessions;
pub mod telling;
pub mod triage;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, select_biased};
use lru::LruCache;

use crate::alert::{ExecFacts, SessionState};
use crate::config::Config;
use crate::container::registry::Registry;
use crate::container::{ContainerKey, Home, Runtime};
use crate::detect::enrich::{Job, Outcome};
use crate::detect::exception::Subject;
use crate::detect::limits::AlertLimits;
use crate::detect::merge::{Looked, Merge, Merged};
use crate::detect::pending::{Nested, Pending};
use crate::detect::policy::{Case, Rules, Ruling};
use crate::detect::session::Member;
use crate::detect::sessions::{Draft, Effect, Sessions};
use crate::detect::telling::Telling;
use crate::detect::triage::Screen;
use crate::event::{Attempt, Fact, FileId, Monotonic, Pid, SensorKind, Sighting, StartTime};
use crate::fingerprint::{Candidate, Content, Database, Judgement, Request};
use crate::host::clock::{self, Ticks};
use crate::host::worker::{Pool, Ticket};
use crate::sensor::CHANNEL;
use crate::sensor::counters::Counters;
use crate::sensor::ledger::Ledger;
use crate::sensor::mounts::Mounts;
use crate::sys::process::return_free_memory;

/// An alert waits no longer for what must be read about its exec.
const DEADLINE: Duration = Duration::from_millis(50);
/// The same for a file never read before that is as large as cc1plus.
const LARGE_DEADLINE: Duration = Duration::from_millis(200);
const LARGE: u64 = 8 << 20;
/// A read of a whole file that takes longer hangs.
const CONTENT_HANGS: Duration = Duration::from_secs(30);
const CONTENTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const RECENT: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Of these, what was read late is kept for their session's last alert.
const UNFINISHED: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// After so many execs, memory is given back once none has come for [`QUIET`].
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
    /// Close all sessions and end.
    Stop,
}

/// A share of the workers: a container, and whether the job may hang on what that controls.
pub type Share = (ContainerKey, bool);

/// What detection is made of.
pub struct Parts {
    /// The configuration at start.
    pub config: Config,
    /// Names.
    pub database: Arc<Database>,
    /// Containers.
    pub registry: Registry,
    /// Where reads are begun.
    pub screen: Arc<Screen>,
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
    database: Arc<Database>,
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
    merge: Merge,
    telling: Telling,
    known_contents: LruCache<FileId, Content>,
    /// Files being read, and when that hangs.
    reading: HashMap<FileId, (Ticket, Monotonic)>,
    pending: BTreeMap<u64, Pending>,
    /// Whose exec a job belongs to.
    jobs: HashMap<Ticket, u64>,
    /// Jobs that nobody waits for, and when each is given up.
    orphans: VecDeque<(Monotonic, Ticket)>,
    /// Execs that were told before their reads had ended.
    unfinished: LruCache<(Pid, Monotonic), Pending>,
    /// Images of toolchain processes counted lately.
    recent: LruCache<(Pid, StartTime), (u64, SensorKind)>,
    next: u64,
    /// Execs since memory was given back, and when the last one happened.
    settled: u32,
    last_settled: Monotonic,
}

impl Detection {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let config = parts.config;
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
            merge: Merge::default(),
            telling: parts.telling,
            known_contents: LruCache::new(CONTENTS),
            reading: HashMap::new(),
            pending: BTreeMap::new(),
            jobs: HashMap::new(),
            orphans: VecDeque::new(),
            unfinished: LruCache::new(UNFINISHED),
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
            select_biased! {
                recv(inlets.commands) -> command => match command {
                    Ok(Command::Reconfigure(config)) => self.reconfigure(&config),
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
            if self.merge.next_due().is_some_and(|due| due <= clock::now()) {
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
        let merged = self.merge.due(Monotonic(u64::MAX));
        self.merged(merged);
        while let Ok(outcome) = inlets.outcomes.try_recv() {
            self.outcome(outcome);
        }
        let numbers: Vec<u64> = self.pending.keys().copied().collect();
        for number in numbers {
            self.settle(number);
        }
        self.note_unexamined();
        let effects = self.sessions.stop(clock::now());
        self.carry_out(effects);
        self.tell_suppressed(true);
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Exec(sighting) => self.exec(*sighting),
            Fact::Attempts(attempts) => self.attempts(attempts),
            // Taken in with every fact.
            Fact::Counted => {}
            Fact::Lost(lost) => {
                self.sessions.doubt();
                let unexamined = self.counters.unexamined(clock::now());
                self.telling.lost(&lost, unexamined.total);
            }
            Fact::Swept { after, seen } => self.telling.swept(after, seen),
            Fact::Health { sensor, degraded } => self.telling.health(sensor, degraded),
        }
    }

    /// The attempt that belongs to a sighting, where it came first; else it is remembered for when it comes.
    fn attempt_of(&mut self, sighting: &Sighting) -> Option<Attempt> {
        let by_name = self.database.candidate(&triage::invocation(&sighting.look)) == Candidate::ByName;
        if !by_name || !self.ledger.is_kept() {
            return None;
        }
        let file = sighting.look.exe.as_ref().ok().and_then(|exe| exe.id.ok()).map(|id| id.inode());
        let comm = sighting.look.stat.as_ref().map_or_else(|_| Vec::new(), |stat| stat.comm.clone());
        // The image ran when it was looked at, of whichever exec it is.
        self.merge.look(Looked { pid: sighting.pid, at: sighting.look.at, file, comm })
    }

    /// What fanotify saw: each waits for its EXEC.
    fn attempts(&mut self, attempts: Vec<Attempt>) {
        let connected = self.ledger.is_connected();
        for attempt in attempts {
            let merged = if connected { self.merge.attempt(attempt) } else { Some(Merged::Unconfirmed(attempt)) };
            self.merged(merged);
        }
    }

    fn merged(&mut self, merged: impl IntoIterator<Item = Merged>) {
        for one in merged {
            let (attempt, confirmed) = match one {
                Merged::Confirmed(attempt) => (attempt, true),
                Merged::Unconfirmed(attempt) => (attempt, false),
            };
            self.exec_unseen(attempt, confirmed);
        }
    }

    /// An exec whose process nobody saw: its file and its filesystem are all that is known.
    fn exec_unseen(&mut self, attempt: Attempt, confirmed: bool) {
        let Some(nested) = self.owner_of(&attempt) else { return self.counters.add_unexamined(1, clock::now()) };
        self.screen.count(attempt.at, &nested.0);
        let known_by =
            if confirmed { vec![SensorKind::Fanotify, SensorKind::Connector] } else { vec![SensorKind::Fanotify] };
        let number = self.number();
        let mut pending = Pending::of_attempt(attempt, known_by, nested, clock::now().plus(DEADLINE));
        pending.confirmed = confirmed;
        if self.pending.len() < PENDING {
            self.ask_metadata(number, &mut pending);
            self.ask_content(&mut pending);
        }
        self.pending.insert(number, pending);
        self.settle_if_complete(number);
    }

    /// The containers of an attempt: by its filesystem, else by its process.
    fn owner_of(&mut self, attempt: &Attempt) -> Option<Nested> {
        if let Some(nested) = attempt.mounted.and_then(|id| self.screen.owner(id)) {
            return Some(nested);
        }
        let look = attempt.look.as_deref()?;
        let Home::Container { inner, outer, .. } = self.registry.place(look, None) else { return None };
        // Its root directory lies there: so the filesystem is its container's.
        if let Some(id) = attempt.mounted
            && look.root.is_ok_and(|root| root.dev == attempt.file.dev)
        {
            self.screen.learn(id, (inner.clone(), outer.clone()));
        }
        Some((inner, outer))
    }

    fn note_unexamined(&mut self) {
        self.sessions.set_unexamined(self.counters.unexamined(clock::now()));
    }

    /// One sighting: where it belongs, whether it is new, and which reads it waits for.
    fn exec(&mut self, sighting: Sighting) {
        let reading = self.screen.take(sighting.begun);
        let ticket = reading.as_ref().and_then(|r| r.ticket);
        let deadline = clock::now().plus(DEADLINE);
        let attempt = self.attempt_of(&sighting);
        let Some((nested, candidate)) = self.new_candidate(&sighting) else {
            // Nobody waits for it; if it hangs, it must not keep its thread.
            return self.orphans.extend(ticket.map(|ticket| (deadline, ticket)));
        };
        let slate = reading.map_or_else(Arc::default, |r| r.slate);
        let number = self.number();
        // What the mount says goes before what the process says; of the same container, that knows more.
        let by_mount = attempt.as_ref().and_then(|a| self.screen.owner(a.mounted?));
        let nested = by_mount.filter(|(inner, _)| inner.id != nested.0.id).unwrap_or(nested);
        let mut pending = Pending::new(sighting, slate, nested, deadline);
        if attempt.is_some() {
            pending.known_by.insert(0, SensorKind::Fanotify);
        }
        if self.pending.len() >= PENDING {
            self.orphans.extend(ticket.map(|ticket| (deadline, ticket)));
            self.pending.insert(number, pending);
            return self.settle(number);
        }
        // Whatever ends from here on says so by an outcome, and that is handled after this.
        if let Some(ticket) = ticket.filter(|_| !pending.slate.is_done()) {
            self.jobs.insert(ticket, number);
            pending.waiting.push(ticket);
        }
        self.ask_metadata(number, &mut pending);
        self.ask_kin(number, &mut pending);
        if candidate == Candidate::ByName {
            self.ask_content(&mut pending);
        }
        self.pending.insert(number, pending);
        self.settle_if_complete(number);
    }

    /// The containers of a sighting that may be a compiler's and that nobody counted before.
    fn new_candidate(&mut self, sighting: &Sighting) -> Option<(Nested, Candidate)> {
        let parent = sighting.parent.as_ref().and_then(|p| p.look.as_deref());
        let nested = match self.registry.place(&sighting.look, parent) {
            Home::Host => return None,
            Home::Container { inner, outer, .. } => (inner, outer),
            Home::Unknown => {
                self.counters.add_unexamined(1, clock::now());
                return None;
            }
        };
        let candidate = self.database.candidate(&triage::invocation(&sighting.look));
        let wanted = candidate != Candidate::No && !self.is_known(sighting);
        wanted.then_some((nested, candidate))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether this very image was counted before: a sweep or the baseline adds nothing to what the connector saw,
    /// and the connector nothing to what the baseline saw after the exec.
    fn is_known(&mut self, sighting: &Sighting) -> bool {
        let Ok(stat) = &sighting.look.stat else { return false };
        let (key, image) = ((sighting.pid, stat.start), stat.start_stack);
        let before = self.recent.put(key, (image, sighting.known_by));
        let Some((seen, by)) = before else { return false };
        seen == image && (sighting.known_by == SensorKind::Poll || by == SensorKind::Poll)
    }

    /// Has the runtimes' files read where the containers are not known, or not lately.
    fn ask_metadata(&mut self, number: u64, pending: &mut Pending) {
        let now = clock::now();
        let keys = [Some(pending.inner.clone()), pending.outer.clone()];
        let wanted: Vec<ContainerKey> = keys.into_iter().flatten().filter(|k| self.registry.wants(k, now)).collect();
        if wanted.is_empty() {
            return;
        }
        self.ask(number, pending, false, Job::Metadata(wanted));
    }

    /// Has the ancestors read for a session that was not reported yet.
    fn ask_kin(&mut self, number: u64, pending: &mut Pending) {
        let posix = pending.look.stat.as_ref().ok().and_then(|stat| stat.session);
        if !self.sessions.is_reported(&pending.inner, posix) {
            let job = Job::Kin(Arc::clone(&pending.look), Arc::clone(&pending.slate));
            self.ask(number, pending, true, job);
        }
    }

    fn ask(&mut self, number: u64, pending: &mut Pending, may_hang: bool, job: Job) {
        if let Some(ticket) = self.reads.submit((pending.inner.clone(), may_hang), job) {
            self.jobs.insert(ticket, number);
            pending.waiting.push(ticket);
        }
    }

    /// Has the executed file read, unless it was or is being read.
    fn ask_content(&mut self, pending: &mut Pending) {
        let Some((exe, id)) = pending.look.exe.as_ref().ok().and_then(|e| Some((e, e.id.ok()?))) else { return };
        let Ok(file) = &exe.file else { return };
        if self.known_contents.contains(&id) {
            return;
        }
        if !self.reading.contains_key(&id) {
            let job = Job::Content(id, Arc::clone(file), self.read_bytes);
            let Some(ticket) = self.contents.submit((pending.inner.clone(), true), job) else { return };
            self.reading.insert(id, (ticket, clock::now().plus(CONTENT_HANGS)));
        }
        pending.content = Some(id);
        if id.size >= LARGE {
            pending.deadline = pending.deadline.max(clock::now().plus(LARGE_DEADLINE));
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done(ticket) => {
                if let Some(number) = self.jobs.remove(&ticket) {
                    if let Some(pending) = self.pending.get_mut(&number) {
                        pending.waiting.retain(|t| *t != ticket);
                    }
                    self.settle_if_complete(number);
                }
            }
            Outcome::Metadata(key, metadata) => self.registry.learn(&key, metadata, clock::now()),
            Outcome::Alive(session, alive) => self.sessions.answer(session, &alive, clock::now()),
            Outcome::Content(id, content) => {
                self.reading.remove(&id);
                if let Ok(content) = content {
                    self.known_contents.put(id, content);
                }
                let waiting: Vec<u64> =
                    self.pending.iter().filter(|(_, p)| p.content == Some(id)).map(|(n, _)| *n).collect();
                for number in waiting {
                    if let Some(pending) = self.pending.get_mut(&number) {
                        pending.content = None;
                    }
                    self.settle_if_complete(number);
                }
            }
        }
    }

    fn settle_if_complete(&mut self, number: u64) {
        let complete = self.pending.get(&number).is_some_and(|p| p.waiting.is_empty() && p.content.is_none());
        if complete {
            self.settle(number);
        }
    }

    /// Judges one exec with what is known by now, and hands it to its session.
    fn settle(&mut self, number: u64) {
        let Some(mut pending) = self.pending.remove(&number) else { return };
        self.settled = self.settled.saturating_add(1);
        self.last_settled = pending.at;
        let content = pending.file().and_then(|id| self.known_contents.get(&id)).cloned();
        let judged = self.judge(&pending, content.as_ref());
        if !judged.verdict.kind.is_toolchain() {
            return;
        }
        let late = clock::now() >= pending.deadline || self.pending.len() >= PENDING;
        if content.is_none() && pending.content.is_none() && !late {
            // A program that its arguments made a compiler: its file was not asked for yet.
            self.ask_content(&mut pending);
            if pending.content.is_some() {
                self.pending.insert(number, pending);
                return;
            }
        }
        let outermost = pending.outer.as_ref().unwrap_or(&pending.inner);
        let ticks = Ticks::read();
        let assembled = pending.assemble(judged, content.as_ref(), ticks);
        // Whatever the session did before the watcher began was seen by nobody.
        let older = assembled.session_start.is_some_and(|start| ticks.moment(start) < self.began);
        let mut facts = assembled.facts;
        let severity = match self.rule(&facts, outermost) {
            Ruling::Ignored => return,
            Ruling::Silenced { .. } => return self.limits.hold_back(&pending.inner),
            Ruling::Finding { severity, exception } => {
                facts.exception = exception;
                severity
            }
        };
        let member = Member {
            container: pending.inner.clone(),
            outermost: outermost.clone(),
            posix: assembled.posix,
            pid: pending.pid,
            start: pending.look.stat.as_ref().ok().map(|s| s.start),
            parent: assembled.parent,
            at: pending.at,
            name: pending.name(),
            severity,
            inexact: older || pending.known_by == [SensorKind::Poll] || !self.ledger.is_connected(),
            covered: pending.file().is_some_and(|file| self.mounts.covers(file.dev)),
            counts: pending.confirmed || !self.ledger.is_connected(),
            root_command: assembled.root_command,
            file: pending.file(),
            facts,
        };
        if pending.unfinished {
            self.unfinished.put((pending.pid, pending.at), pending.keep());
        }
        self.note_unexamined();
        let effects = self.sessions.add(member, clock::now());
        self.carry_out(effects);
    }

    fn judge(&self, pending: &Pending, content: Option<&Content>) -> Judgement {
        let mut judged = pending.invocation(|call| self.database.judge(call, content));
        if pending.arguments_were_cut() {
            // What makes it a compile may stand where nobody read.
            judged.request = Request::Compile;
        }
        judged
    }

    /// A session's last alert shows what the workers have read of its lead since.
    fn complete(&mut self, draft: &mut Draft) {
        let Some(late) = self.unfinished.pop(&(draft.lead.pid, draft.lead.at)) else { return };
        let content = draft.lead.file.and_then(|id| self.known_contents.peek(&id));
        let assembled = late.assemble(self.judge(&late, content), content, Ticks::read());
        let mut lead = Member::clone(&draft.lead);
        if !assembled.facts.ancestors.is_empty() && draft.session.root_command == lead.root_command {
            draft.session.root_command = assembled.root_command;
        }
        let exception = lead.facts.exception.take();
        lead.facts = ExecFacts { exception, ..assembled.facts };
        draft.lead = Arc::new(lead);
    }

    fn rule(&self, facts: &ExecFacts, outermost: &ContainerKey) -> Ruling {
        let metadata = self.registry.metadata(outermost);
        let subject = Subject {
            container: metadata.and_then(|m| m.name.as_deref()),
            image: metadata.and_then(|m| m.image_name.as_deref()),
            labels: metadata.map(|m| &m.labels),
            host_uid: facts.host_uid,
            family: Some(&facts.verdict.family),
            ..Subject::default()
        };
        let (query, origin, runtime) = (facts.query, facts.origin, outermost.runtime);
        self.rules.rule(Case { verdict: &facts.verdict, query, origin, runtime }, &subject, SystemTime::now())
    }

    fn next_due(&self) -> Option<Monotonic> {
        let pending = self.pending.values().map(|p| p.deadline).min();
        let reading = self.reading.values().map(|(_, hangs)| *hangs).min();
        let orphan = self.orphans.front().map(|(due, _)| *due);
        let trim = (self.settled >= MANY).then(|| self.last_settled.plus(QUIET));
        let others = [
            trim,
            orphan,
            self.merge.next_due(),
            self.sessions.next_due(),
            self.limits.next_due(),
            self.telling.next_due(),
        ];
        [pending, reading].into_iter().chain(others).flatten().min()
    }

    fn due(&mut self, now: Monotonic) {
        let merged = self.merge.due(now);
        self.merged(merged);
        self.counters.add_unexamined(self.merge.take_unexamined(), now);
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(n, _)| *n).collect();
        for number in late {
            if let Some(pending) = self.pending.get_mut(&number) {
                pending.unfinished = !pending.waiting.is_empty();
                // Whoever has not answered by now is left behind.
                for ticket in pending.waiting.drain(..) {
                    self.jobs.remove(&ticket);
                    self.reads.abandon(ticket);
                }
                pending.content = None;
            }
            self.settle(number);
        }
        while self.orphans.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, ticket)) = self.orphans.pop_front() {
                self.reads.abandon(ticket);
            }
        }
        let hung: Vec<FileId> = self.reading.iter().filter(|(_, (_, at))| *at <= now).map(|(id, _)| *id).collect();
        for id in hung {
            if let Some((ticket, _)) = self.reading.remove(&id) {
                self.contents.abandon(ticket);
            }
        }
        self.note_unexamined();
        let effects = self.sessions.due(now);
        self.carry_out(effects);
        self.tell_suppressed(false);
        self.telling.due(now, &self.registry);
        if self.settled >= MANY && now.since(self.last_settled) >= QUIET {
            self.settled = 0;
            return_free_memory();
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(mut draft) => {
                    let suppressed = self.limits.suppressed();
                    if draft.session.state == SessionState::Closed {
                        self.complete(&mut draft);
                    } else if !self.limits.allow(&draft.lead.container) {
                        continue;
                    }
                    let content = draft.lead.file.and_then(|id| self.known_contents.peek(&id));
                    self.telling.session(*draft, content, &self.registry, suppressed);
                }
                Effect::AskAlive(number, living) => self.ask_alive(number, living),
            }
        }
    }

    fn ask_alive(&mut self, number: sessions::SessionNumber, living: Vec<crate::event::ProcessId>) {
        let nobody = ContainerKey { runtime: Runtime::Unknown, id: "".into() };
        if self.reads.submit((nobody, false), Job::Alive(number, living.clone())).is_none() {
            // Nobody can say: they are taken to live, and asked for again after the gap.
            self.sessions.answer(number, &living, clock::now());
        }
    }

    fn tell_suppressed(&mut self, all: bool) {
        for (container, count) in self.limits.due(clock::now(), all) {
            self.telling.suppressed(&container, count, &self.registry);
        }
    }
}

//! One exec on its way to a verdict: what was seen, what the workers have read so far, and the facts that its alert
//! shows, each with the reason where it is missing. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::fit::ARGS_LIMIT;
use crate::alert::{Ancestor, ContainerFacts, ExecFacts, Origin, ProcessFacts, Relative};
use crate::container::{ContainerKey, Metadata, Payer};
use crate::detect::root_command;
use crate::detect::slate::{Facts, Memory, Slate};
use crate::event::{
    Attempt, FileId, Look, Missing, Monotonic, MountNumber, Pid, SensorKind, Sighting, StartTime, basename,
};
use crate::fingerprint::{Content, Invocation, Judgement, Request, plain_name};
use crate::hex;
use crate::host::ancestry::Kin;
use crate::host::clock::{self, Ticks};
use crate::host::process::memory::split_arguments;
use crate::host::worker::Ticket;

/// What is known of an exec's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It succeeded, and this file is what ran.
    Confirmed,
    /// It succeeded, and the record of the process' end bears this file's name, or a compiler's.
    Recorded,
    /// An exec succeeded, and another file may be what ran.
    Joined,
    /// It was attempted, and no exec followed.
    Attempted,
    /// It was attempted, and whether an exec followed nobody heard.
    Unheard,
}

/// An exec that waits for its workers.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Which process.
    pub pid: Pid,
    /// When it executed.
    pub at: Monotonic,
    /// Who saw it.
    pub known_by: Vec<SensorKind>,
    /// Whether it succeeded.
    pub standing: Standing,
    /// The look.
    pub look: Arc<Look>,
    /// The POSIX session of a parent, for a process whose own is not known.
    pub parent_session: Option<Pid>,
    /// The innermost container.
    pub inner: ContainerKey,
    /// The outermost, where they nest.
    pub outer: Option<ContainerKey>,
    /// What the workers write to.
    pub slate: Arc<Slate>,
    /// Jobs not yet done.
    pub waiting: Vec<Ticket>,
    /// Containers whose metadata was asked for, for this exec or another.
    pub unnamed: Vec<ContainerKey>,
    /// The file whose content is awaited.
    pub content: Option<FileId>,
    /// The program that the executed file, a loader, runs.
    pub program: Option<FileId>,
    /// When it goes on without them.
    pub deadline: Monotonic,
    /// It was only attempted so far, and is told as that at its deadline.
    pub awaits_exec: bool,
    /// It went on without some of them.
    pub unfinished: bool,
    /// It went on before its file was read.
    pub unread: bool,
    /// Its ancestors were asked for.
    pub asked_kin: bool,
}

/// The innermost container, and the outermost where they nest.
pub type Nested = (ContainerKey, Option<ContainerKey>);

/// What the alert shows of an exec, and what its session needs of it.
pub struct Assembled {
    /// The exec.
    pub facts: ExecFacts,
    /// Its parent.
    pub parent: Option<Pid>,
    /// The POSIX session.
    pub posix: Option<Pid>,
    /// What started it all.
    pub root_command: String,
    /// When the process was forked from which all of the POSIX session comes, as far as that is known.
    pub session_start: Option<StartTime>,
}

impl Pending {
    fn begin(
        (pid, at): (Pid, Monotonic),
        known_by: SensorKind,
        look: Look,
        slate: Arc<Slate>,
        (inner, outer): Nested,
        deadline: Monotonic,
    ) -> Self {
        Self {
            pid,
            at,
            known_by: vec![known_by],
            standing: Standing::Confirmed,
            look: Arc::new(look),
            parent_session: None,
            inner,
            outer,
            slate,
            waiting: Vec::new(),
            unnamed: Vec::new(),
            content: None,
            program: None,
            deadline,
            awaits_exec: false,
            unfinished: false,
            unread: false,
            asked_kin: false,
        }
    }

    /// Whether nothing is waited for any more.
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.unnamed.is_empty() && self.content.is_none() && !self.awaits_exec
    }

    /// The outermost container.
    pub fn outermost(&self) -> &ContainerKey {
        self.outer.as_ref().unwrap_or(&self.inner)
    }

    /// Whose limits hold.
    pub fn payer(&self) -> Payer {
        Payer::new(&self.inner, self.outer.as_ref())
    }

    /// Takes in a sighting whose container is known.
    pub fn new(sighting: Sighting, slate: Arc<Slate>, nested: Nested, deadline: Monotonic) -> Self {
        let parent_look = sighting.parent.as_ref().and_then(|p| p.look.as_ref());
        let parent_session = parent_look.and_then(|l| l.stat.as_ref().ok()).and_then(|s| s.session);
        let who = (sighting.pid, sighting.at);
        Self { parent_session, ..Self::begin(who, sighting.known_by, sighting.look, slate, nested, deadline) }
    }

    /// Takes in an attempt whose process was not seen.
    pub fn of_attempt(attempt: Attempt, standing: Standing, nested: Nested, deadline: Monotonic) -> Self {
        // Without a known success its process may be in the midst of it.
        let why = match standing {
            Standing::Attempted | Standing::Unheard => Missing::Deadline,
            Standing::Confirmed | Standing::Recorded | Standing::Joined => Missing::Gone,
        };
        let mut look = Look::nothing(attempt.at, why);
        look.exe = Ok(attempt.exe());
        let slate: Arc<Slate> = Arc::default();
        slate.refuse_facts(why);
        slate.refuse_memory(why);
        let who = (attempt.pid, attempt.at);
        let mut pending = Self::begin(who, SensorKind::Fanotify, look, slate, nested, deadline);
        pending.standing = standing;
        pending.known_by.extend(match standing {
            Standing::Confirmed | Standing::Joined => &[SensorKind::Connector][..],
            Standing::Recorded => &[SensorKind::Connector, SensorKind::Taskstats],
            Standing::Attempted | Standing::Unheard => &[],
        });
        pending
    }

    /// What is kept of it for its session's end.
    pub fn keep(mut self) -> Self {
        Arc::make_mut(&mut self.look).let_go(Missing::Deadline);
        self.slate.take_program();
        self
    }

    /// Identity of the executed file.
    pub fn file(&self) -> Option<FileId> {
        self.look.file()
    }

    /// The mount through which it was executed.
    pub fn mount(&self) -> Option<MountNumber> {
        self.look.exe.as_ref().ok()?.mount
    }

    /// Whether there is more of its arguments than was kept.
    pub fn arguments_were_cut(&self) -> bool {
        self.slate.memory().args.as_ref().is_ok_and(|a| a.cut)
    }

    /// Calls `judge` with all that is known.
    pub fn invocation<R>(&self, judge: impl FnOnce(&Invocation<'_>) -> R) -> R {
        let memory = self.slate.memory();
        let mut invocation = Invocation::of(&self.look);
        invocation.args = memory.args.as_ref().ok().map(|a| a.kept.as_slice());
        judge(&invocation)
    }

    /// Puts together what is known by now.
    pub fn assemble(&self, judged: Judgement, content: Option<&Content>, ticks: Ticks) -> Assembled {
        let (facts, memory) = (self.slate.facts(), self.slate.memory());
        let stat = self.look.stat.as_ref().ok();
        let posix = stat.and_then(|s| s.session).or(self.parent_session);
        let ancestors = merge_kin(&facts.kin, &memory.kin);
        let own = self.own_command(&memory);
        let root_command = root_command::root_command(&own, posix, &ancestors);
        let mut process = self.process(&facts, &memory, ticks);
        if let Some(content) = content {
            process.sha256 = content.sha256.map(|hash| hex::lower(&hash));
        }
        let nearest = ancestors.first().or(facts.parent.as_ref());
        process.parent = nearest.map(relative).or_else(|| stat.filter(|s| s.ppid.0 > 0).map(|s| nameless(s.ppid)));
        process.session_leader = posix.map(|session| self.leader(session, &ancestors, &own));
        let mut missing = self.missing(&facts, &memory, content);
        let why = self.look.stat.as_ref().err().copied().unwrap_or(Missing::Absent);
        let relatives = [("process.parent", &process.parent), ("process.session_leader", &process.session_leader)];
        missing.extend(relatives.iter().filter(|(_, who)| who.is_none()).map(|(field, _)| (*field, why)));
        if self.unfinished {
            let unread = |who: &Option<Relative>| who.as_ref().is_some_and(|r| r.command_line.is_none());
            let kin = [
                ("process.parent.command_line", unread(&process.parent)),
                ("process.session_leader.command_line", unread(&process.session_leader)),
                ("ccwatch.ancestors", ancestors.is_empty()),
            ];
            missing.extend(kin.iter().filter(|(_, unread)| *unread).map(|(field, _)| (*field, Missing::Deadline)));
        }
        let facts = ExecFacts {
            build_id: content.and_then(|c| c.build_id.as_deref()).map(hex::lower),
            process,
            container: container(&self.inner),
            outer: self.outer.as_ref().map(container),
            verdict: judged.verdict,
            confirmed: matches!(self.standing, Standing::Confirmed | Standing::Recorded),
            known_by: self.known_by.clone(),
            query: judged.request == Request::Query,
            arguments_known: memory.args.is_ok(),
            origin: self.origin(),
            pid_namespace: self.look.pid_ns.ok().map(|n| n.0),
            mnt_namespace: self.look.mnt_ns.ok().map(|n| n.0),
            latency: None,
            host_uid: facts.status.as_ref().ok().map(|s| s.uid),
            ancestors: ancestors.iter().map(|k| Ancestor { pid: k.pid, name: text(&k.comm) }).collect(),
            exception: None,
            missing,
        };
        let own_start = stat.filter(|_| posix == Some(self.pid)).map(|s| s.start);
        let session_start = ancestors.iter().rfind(|k| posix.is_some() && k.session == posix).map(|k| k.start);
        Assembled {
            facts,
            parent: stat.map(|s| s.ppid),
            posix,
            root_command,
            session_start: session_start.or(own_start),
        }
    }

    fn process(&self, facts: &Facts, memory: &Memory, ticks: Ticks) -> ProcessFacts {
        let stat = self.look.stat.as_ref().ok();
        let exe = self.look.exe.as_ref().ok();
        ProcessFacts {
            pid: self.pid.0,
            vpid: facts.status.as_ref().ok().and_then(|s| s.vpid),
            start_ticks: stat.map(|s| s.start.0),
            start: stat.map(|s| clock::wall(ticks.moment(s.start))),
            name: self.name(),
            executable: exe.map(|e| text(&e.path)),
            args: memory.args.as_ref().ok().map(|a| shown(&a.kept)),
            args_count: memory.args.as_ref().ok().map(|a| a.count),
            working_directory: facts.cwd.as_ref().ok().map(|d| text(d)),
            interactive: stat.map(|s| s.tty != 0),
            uid: facts.uid.ok(),
            user_name: memory.user_name.clone().ok(),
            ..ProcessFacts::default()
        }
    }

    /// comm, else what its file is called by.
    pub fn name(&self) -> String {
        let base = || self.look.exe.as_ref().ok().map(|exe| plain_name(basename(&exe.path)));
        text(self.comm().or_else(base).unwrap_or_default())
    }

    /// The name under which it was called, where somebody saw that.
    pub fn comm(&self) -> Option<&[u8]> {
        self.look.stat.as_ref().ok().map(|stat| stat.comm.as_slice()).filter(|comm| !comm.is_empty())
    }

    fn own_command(&self, memory: &Memory) -> String {
        match &memory.args {
            Ok(args) => root_command::join(args.kept.iter().map(Vec::as_slice)),
            Err(_) => self.name(),
        }
    }

    fn leader(&self, session: Pid, ancestors: &[Kin], own: &str) -> Relative {
        if session == self.pid {
            return Relative { pid: session, name: Some(self.name()), command_line: Some(own.to_owned()) };
        }
        ancestors.iter().find(|k| k.pid == session).map_or_else(|| nameless(session), relative)
    }

    fn origin(&self) -> Origin {
        let memfd = self.look.exe.as_ref().is_ok_and(|e| e.deleted && e.path.starts_with(b"/memfd:"));
        if memfd { Origin::Memfd } else { Origin::Unknown }
    }

    fn missing(&self, facts: &Facts, memory: &Memory, content: Option<&Content>) -> BTreeMap<&'static str, Missing> {
        let mut missing = BTreeMap::new();
        let mut note = |field, why: Option<Missing>| {
            if let Some(why) = why {
                missing.insert(field, why);
            }
        };
        note("process.executable", self.look.exe.as_ref().err().copied());
        note("process.args", memory.args.as_ref().err().copied());
        note("process.working_directory", facts.cwd.as_ref().err().copied());
        note("process.user.id", facts.uid.err());
        note("process.user.name", memory.user_name.as_ref().err().copied());
        let vpid = match &facts.status {
            Ok(status) if status.vpid.is_none() => Some(Missing::Unsupported),
            Ok(_) => None,
            Err(why) => Some(*why),
        };
        note("process.vpid", vpid);
        for field in ["process.start", "process.entity_id", "process.interactive"] {
            note(field, self.look.stat.as_ref().err().copied());
        }
        note("ccwatch.namespaces.pid", self.look.pid_ns.err());
        note("ccwatch.namespaces.mnt", self.look.mnt_ns.err());
        let hash = match (content, &self.look.exe) {
            (Some(content), _) if content.changed => Some(Missing::Malformed),
            (Some(content), _) if content.sha256.is_none() => Some(Missing::TooLarge),
            (Some(_), _) => None,
            (None, Ok(exe)) => Some(exe.file.as_ref().err().copied().unwrap_or(Missing::Deadline)),
            (None, Err(why)) => Some(*why),
        };
        note("process.hash.sha256", hash);
        missing
    }
}

/// The longer of two climbs, with the command lines that either has read.
fn merge_kin(plain: &[Kin], with_args: &[Kin]) -> Vec<Kin> {
    let (long, short) = if with_args.len() >= plain.len() { (with_args, plain) } else { (plain, with_args) };
    let mut merged = long.to_vec();
    for kin in &mut merged {
        if kin.command_line.is_err()
            && let Some(other) = short.iter().find(|k| k.pid == kin.pid)
        {
            kin.command_line = other.command_line.clone();
        }
    }
    merged
}

/// The arguments of which an alert shows any.
fn shown(args: &[Vec<u8>]) -> Vec<String> {
    let mut left = ARGS_LIMIT;
    let has_room = |arg: &&Vec<u8>| {
        let has_room = left > 0;
        left = left.saturating_sub(arg.len() + 1);
        has_room
    };
    let cut = |arg: &Vec<u8>| text(arg.get(..ARGS_LIMIT).unwrap_or(arg));
    args.iter().take_while(has_room).map(cut).collect()
}

/// A container of which nothing is known yet but its key.
fn container(key: &ContainerKey) -> ContainerFacts {
    ContainerFacts { key: key.clone(), metadata: Metadata::default() }
}

fn relative(kin: &Kin) -> Relative {
    let command_line = kin.command_line.as_ref().ok().map(|line| root_command::join(split_arguments(line)));
    Relative { pid: kin.pid, name: Some(text(&kin.comm)), command_line }
}

fn nameless(pid: Pid) -> Relative {
    Relative { pid, name: None, command_line: None }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

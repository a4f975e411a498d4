//! One build session: the toolchain execs of one container in one POSIX session, counted, with what was reported of
//! it and what was not. When it is opened, joined and closed is [`super::sessions`]' affair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lru::LruCache;

use crate::alert::{Escalation, Origin, SessionFacts, SessionState, Severity};
use crate::container::ContainerKey;
use crate::detect::member::Member;
use crate::detect::programs::Programs;
use crate::event::{Monotonic, Pid, ProcessId, StartTime};
use crate::fingerprint::Kind;

/// Living processes remembered.
const MEMBERS: usize = 4096;
const USERS: usize = 64;
/// An endless string of new users or toolchains must not become an endless string of alerts.
const ESCALATIONS: u32 = 8;

/// Users, as their container sees them, with their names where somebody knew them.
#[derive(Debug, Clone, Default)]
pub struct Users(BTreeMap<u32, Option<String>>);

impl Users {
    fn add(&mut self, uid: u32, name: Option<&String>) {
        if self.0.len() < USERS || self.0.contains_key(&uid) {
            let known = self.0.entry(uid).or_default();
            *known = known.take().or_else(|| name.cloned());
        }
    }

    /// Takes in those of another session.
    pub fn merge(&mut self, others: &Self) {
        others.0.iter().for_each(|(uid, name)| self.add(*uid, name.as_ref()));
    }

    /// By uid.
    pub fn listed(&self) -> Vec<(u32, Option<String>)> {
        self.0.iter().map(|(uid, name)| (*uid, name.clone())).collect()
    }
}

/// What escalates when it is new: toolchain, origin, uid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Had {
    toolchains: BTreeSet<String>,
    origins: Vec<Origin>,
    uids: BTreeSet<u32>,
    grade: Option<(Severity, bool)>,
}

/// An alert about a session, before it is completed with what others know.
#[derive(Debug)]
pub struct Draft {
    /// As it stands.
    pub session: SessionFacts,
    /// The exec that it is about.
    pub lead: Arc<Member>,
    /// How bad.
    pub severity: Severity,
    /// `event.reason`.
    pub reason: &'static str,
    /// Execs of the host that died unseen in its time.
    pub unexamined: u64,
}

/// A session that is open.
#[derive(Debug)]
pub struct Session {
    /// Unique for all time.
    pub id: String,
    /// The innermost container.
    pub container: ContainerKey,
    /// The outermost one.
    pub outermost: ContainerKey,
    /// The POSIX session; unknown until a member supplies it.
    pub posix: Option<Pid>,
    /// Its first exec.
    pub first: Monotonic,
    /// Its last.
    pub last: Monotonic,
    /// `opened` has gone out.
    pub reported: bool,
    /// When `opened` goes out even if only queries were seen.
    pub open_due: Option<Monotonic>,
    /// Like one that was reported within the hour: it reports nothing by itself.
    pub muted: bool,
    /// A worker was asked which members live.
    pub asked: bool,
    /// Members were alive at this moment; the gap counts from here too.
    pub alive_at: Monotonic,
    /// All members were found dead at this moment, and nothing was executed since.
    pub dead_since: Option<Monotonic>,
    /// Takes every new POSIX session of its container until this moment.
    pub catch_all_until: Option<Monotonic>,
    /// The unexamined execs of the host shortly before it began.
    pub unexamined_before: u64,
    /// The exec that its alerts are about.
    pub lead: Arc<Member>,
    exact: bool,
    /// All members' files are covered by fanotify.
    covered: bool,
    /// Somebody saw whose descendants its members are.
    rooted: bool,
    execs: u64,
    programs: Programs,
    users: Users,
    had: Had,
    escalations: u32,
    compiled: bool,
    members: LruCache<Pid, (Option<StartTime>, Option<String>)>,
}

/// What a member changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that needs telling.
    Counted,
    /// It is worse than what the session had, or other.
    Worse(Escalation),
}

impl Session {
    /// Begins with its first member, which is still to be [added](Self::add).
    pub fn begin(id: String, first: &Arc<Member>, unexamined_before: u64) -> Self {
        Self {
            id,
            container: first.container.clone(),
            outermost: first.outermost.clone(),
            posix: first.posix,
            first: first.at,
            last: first.at,
            reported: false,
            open_due: None,
            muted: false,
            asked: false,
            alive_at: first.at,
            dead_since: None,
            catch_all_until: None,
            unexamined_before,
            lead: Arc::clone(first),
            exact: true,
            covered: true,
            rooted: false,
            execs: 0,
            programs: Programs::default(),
            users: Users::default(),
            had: Had::default(),
            escalations: 0,
            compiled: false,
            members: LruCache::unbounded(),
        }
    }

    /// Counts a member.
    pub fn add(&mut self, member: &Arc<Member>) -> Change {
        self.first = self.first.min(member.at);
        self.last = self.last.max(member.at);
        self.dead_since = None;
        self.exact &= !member.inexact;
        self.covered &= member.covered;
        self.compiled |= !member.facts.query;
        if (member.was_seen() && !self.lead.was_seen()) || member.confirms(&self.lead) {
            self.lead = Arc::clone(member);
        }
        if !self.rooted && !member.facts.ancestors.is_empty() && member.posix == self.posix {
            self.rooted = true;
            if self.lead.facts.ancestors.is_empty() {
                Arc::make_mut(&mut self.lead).root_command.clone_from(&member.root_command);
            }
        }
        let execs = u64::from(member.counts);
        self.execs += execs;
        self.programs.add(member, execs);
        if let Some(uid) = member.uid() {
            self.users.add(uid, member.facts.process.user_name.as_ref());
        }
        let toolchain = self.toolchain_of(member);
        // What is not known to have succeeded, nor to belong here, makes nothing worse; where it is all there is, it is told.
        let is_guess = member.posix.is_none() && !member.counts && self.had.grade.is_some();
        let change = if is_guess { Change::Counted } else { self.weigh(member, toolchain.as_deref()) };
        if !is_guess {
            self.learn(member, toolchain.as_ref());
        }
        // One that was never seen alive cannot be asked for, and must push out none that can.
        if member.start.is_some() || member.parent.is_some() {
            self.members.push(member.pid, (member.start, toolchain));
            if self.members.len() > MEMBERS {
                self.members.pop_lru();
            }
        }
        change
    }

    /// Whether an `escalated` would go out for this member.
    pub fn would_escalate(&self, member: &Member) -> bool {
        let change = self.weigh(member, self.toolchain_of(member).as_deref());
        self.reported && self.escalations < ESCALATIONS && change != Change::Counted
    }

    /// Takes in what is known by now of a member that was counted before.
    pub fn weigh_again(&mut self, member: &Arc<Member>) -> Change {
        if (self.lead.pid, self.lead.at) == (member.pid, member.at) {
            let before = std::mem::replace(&mut self.lead, Arc::clone(member));
            if member.facts.ancestors.is_empty() {
                // Others have told what it does not know.
                let lead = Arc::make_mut(&mut self.lead);
                lead.root_command.clone_from(&before.root_command);
                lead.facts.process.session_leader.clone_from(&before.facts.process.session_leader);
            }
        }
        let is_worse = member.severity > self.severity();
        self.had.grade = self.had.grade.max(Some(member.grade()));
        if is_worse { Change::Worse(Escalation::Severity) } else { Change::Counted }
    }

    /// A member called by a member joins its toolchain (rustc runs cc); an assembler or linker joins any.
    fn toolchain_of(&self, member: &Member) -> Option<String> {
        let parent = member.parent.and_then(|p| self.members.peek(&p)).and_then(|(_, t)| t.clone());
        let own = match member.facts.verdict.kind {
            Kind::Assembler | Kind::Linker if !self.had.toolchains.is_empty() => None,
            _ => member.facts.verdict.toolchain.clone(),
        };
        parent.or(own)
    }

    /// What is worse with this member, or other.
    fn weigh(&self, member: &Member, toolchain: Option<&str>) -> Change {
        let Some(before) = self.had.grade else { return Change::Counted };
        let Had { toolchains, origins, uids, .. } = &self.had;
        // The first one that is known is no change.
        let new_toolchain = !toolchains.is_empty() && toolchain.is_some_and(|t| !toolchains.contains(t));
        let new_uid = !uids.is_empty() && uids.len() < USERS && member.uid().is_some_and(|uid| !uids.contains(&uid));
        let news = [
            (member.severity > before.0, Escalation::Severity),
            (member.facts.origin != Origin::Unknown && !origins.contains(&member.facts.origin), Escalation::Origin),
            (new_uid, Escalation::User),
            (new_toolchain, Escalation::Toolchain),
            (member.grade() > before, Escalation::Compile),
        ];
        news.into_iter().find(|(is_new, _)| *is_new).map_or(Change::Counted, |(_, what)| Change::Worse(what))
    }

    fn learn(&mut self, member: &Member, toolchain: Option<&String>) {
        let had = &mut self.had;
        had.toolchains.extend(toolchain.cloned());
        if had.uids.len() < USERS {
            had.uids.extend(member.uid());
        }
        if !had.origins.contains(&member.facts.origin) {
            had.origins.push(member.facts.origin);
        }
        had.grade = had.grade.max(Some(member.grade()));
    }

    /// Whether one more `escalated` may go out; counts it.
    pub fn may_escalate(&mut self) -> bool {
        self.escalations += 1;
        self.escalations <= ESCALATIONS
    }

    /// Something was lost while it was open: its counts are not certain any more.
    pub fn mark_inexact(&mut self) {
        self.exact = false;
    }

    /// Whether any member did more than ask.
    pub fn compiled(&self) -> bool {
        self.compiled
    }

    /// The highest severity so far.
    pub fn severity(&self) -> Severity {
        self.had.grade.map_or(Severity::Low, |(severity, _)| severity)
    }

    /// Families seen.
    pub fn families(&self) -> &BTreeSet<String> {
        self.programs.families()
    }

    /// Whether it has members of this toolchain.
    pub fn has_toolchain(&self, toolchain: Option<&str>) -> bool {
        toolchain.is_some_and(|t| self.had.toolchains.contains(t))
    }

    /// Its programs, counted.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The users seen in it.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The members that may live; those whose start is not known cannot be asked for.
    pub fn living(&self) -> Vec<ProcessId> {
        self.members.iter().filter_map(|(pid, (start, _))| start.map(|start| ProcessId { pid: *pid, start })).collect()
    }

    /// Forgets all members but these.
    pub fn keep(&mut self, alive: &[ProcessId]) {
        let known: Vec<Pid> = self.members.iter().map(|(pid, _)| *pid).collect();
        for pid in known.into_iter().filter(|pid| !alive.iter().any(|p| p.pid == *pid)) {
            self.members.pop(&pid);
        }
    }

    /// As its alerts show it.
    pub fn facts(&self, state: SessionState, unexamined_now: u64) -> SessionFacts {
        SessionFacts {
            id: self.id.clone(),
            state,
            execs: self.execs,
            exact: self.exact && (self.covered || unexamined_now == self.unexamined_before),
            repeats: 0,
            root_command: self.lead.root_command.clone(),
            duration: self.last.max(self.alive_at).since(self.first),
            users: self.users.listed(),
            programs: self.programs.listed(),
        }
    }
}

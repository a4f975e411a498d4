//! All build sessions: which exec joins which, when a session is reported, when it ends, and what is held back as a
//! repetition. No I/O and no clock of its own: `now` comes in, [`Effect`]s go out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::SessionState;
use crate::alert::compose::RULE_EXECUTED;
use crate::container::ContainerKey;
use crate::detect::member::Member;
use crate::detect::repeats::Repeats;
use crate::detect::session::{Change, Draft, Session};
use crate::event::{Monotonic, Pid, ProcessId};
use crate::sensor::counters::Unexamined;

/// A first exec that only asks waits so long for one that compiles: a configure script asks five times before.
const QUERY_WAIT: Duration = Duration::from_secs(1);
/// A session whose members are all dead ends so much later: an exec that preceded their death may still be on its way
/// through the reader and the workers.
const LINGER: Duration = Duration::from_millis(300);
/// Sessions of one container that are reported in [`CAP_WINDOW`]; the last one takes the rest.
const CAP: usize = 16;
/// The same for all containers within an outermost one.
const OUTER_CAP: usize = 16 * CAP;
const CAP_WINDOW: Duration = Duration::from_secs(600);
/// Sessions of one container that may be open, reported or not; a further one joins the last.
const OPEN: usize = 64;

/// Names an open session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(u64);

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Tell this.
    Emit(Box<Draft>),
    /// Ask a worker which of these live, and call [`Sessions::answer`].
    AskAlive(SessionNumber, Vec<ProcessId>),
}

impl Effect {
    fn emit(draft: Draft) -> Self {
        Self::Emit(Box::new(draft))
    }
}

/// The open sessions.
pub struct Sessions {
    gap: Duration,
    max: Duration,
    new_id: Box<dyn FnMut() -> String + Send>,
    open: HashMap<SessionNumber, Session>,
    next: u64,
    opened: HashMap<ContainerKey, VecDeque<Monotonic>>,
    opened_pruned: Monotonic,
    repeats: Repeats,
    /// Execs of the host that died unseen, as of now.
    unexamined: Unexamined,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(gap: Duration, max: Duration, new_id: impl FnMut() -> String + Send + 'static) -> Self {
        Self {
            gap,
            max,
            new_id: Box::new(new_id),
            open: HashMap::new(),
            next: 0,
            opened: HashMap::new(),
            opened_pruned: Monotonic::default(),
            repeats: Repeats::default(),
            unexamined: Unexamined::default(),
        }
    }

    /// New bounds; open sessions obey them too.
    pub fn reconfigure(&mut self, gap: Duration, max: Duration) {
        (self.gap, self.max) = (gap, max);
    }

    /// How many execs of the host died unseen, as of now.
    pub fn set_unexamined(&mut self, unexamined: Unexamined) {
        self.unexamined = unexamined;
    }

    /// Takes in one exec.
    pub fn add(&mut self, member: Member, now: Monotonic) -> Vec<Effect> {
        let (number, mut member) = self.place(member, now);
        if let Some(session) = self.open.get(&number)
            && member.facts.ancestors.is_empty()
            && session.posix == member.posix
        {
            // Ancestors are read once a session: its leader is this one's too.
            member.facts.process.session_leader.clone_from(&session.lead.facts.process.session_leader);
            member.root_command.clone_from(&session.lead.root_command);
        }
        let member = Arc::new(member);
        let unexamined = self.unexamined.total;
        let (query, mut effects) = (member.facts.query, Vec::new());
        let fresh = !self.open.contains_key(&number);
        if fresh {
            let id = (self.new_id)();
            self.open.insert(number, Session::begin(id, &member, unexamined - self.unexamined.lately.min(unexamined)));
        }
        let Some(session) = self.open.get_mut(&number) else { return effects };
        // First: it may be the one whose ancestors tell what began the session.
        session.posix = session.posix.or(member.posix);
        let change = session.add(&member);
        if session.reported {
            if let Change::Worse(what) = change
                && session.may_escalate()
            {
                effects.push(draft(session, SessionState::Escalated, &member, what.as_str(), unexamined));
            }
        } else if query {
            session.open_due = session.open_due.or(Some(now.plus(QUERY_WAIT)));
        } else {
            if member.was_seen() || !session.lead.was_seen() {
                session.lead = Arc::clone(&member);
            }
            effects.extend(self.report(number, now));
        }
        effects
    }

    /// The session that an exec belongs to; one that does not exist yet where it is a new one.
    fn place(&mut self, mut member: Member, now: Monotonic) -> (SessionNumber, Member) {
        let of_container = |s: &&Session| s.container == member.container;
        let exact = self.find(|s| of_container(s) && s.posix.is_some() && s.posix == member.posix);
        if let Some(number) = exact {
            return (number, member);
        }
        if member.posix.is_none() {
            member.inexact |= member.counts;
            let toolchain = member.facts.verdict.toolchain.as_deref();
            let same = self.latest(|s| s.container == member.container && s.has_toolchain(toolchain));
            if let Some(number) = same.or_else(|| self.latest(|s| s.container == member.container)) {
                return (number, member);
            }
        } else if let Some(leaderless) = self.find(|s| of_container(s) && s.posix.is_none()) {
            return (leaderless, member);
        }
        let catch_all = self.find(|s| of_container(s) && s.catch_all_until.is_some_and(|until| now < until));
        let outer =
            self.find(|s| s.outermost == member.outermost && s.catch_all_until.is_some_and(|until| now < until));
        let crowded = self.open.values().filter(of_container).count() >= OPEN;
        let joined = catch_all
            .or_else(|| if self.capped(&member, now) { outer } else { None })
            .or_else(|| if crowded { self.latest(|s| s.container == member.container) } else { None });
        if let Some(number) = joined {
            member.inexact = true;
            return (number, member);
        }
        self.next += 1;
        (SessionNumber(self.next), member)
    }

    fn find(&self, matches: impl Fn(&&Session) -> bool) -> Option<SessionNumber> {
        self.open.iter().find(|(_, s)| matches(s)).map(|(n, _)| *n)
    }

    fn latest(&self, matches: impl Fn(&Session) -> bool) -> Option<SessionNumber> {
        self.open.iter().filter(|(_, s)| matches(s)).max_by_key(|(_, s)| s.last).map(|(n, _)| *n)
    }

    fn capped(&mut self, member: &Member, now: Monotonic) -> bool {
        member.container != member.outermost && self.reported_lately(&member.outermost, now) >= OUTER_CAP
    }

    fn reported_lately(&mut self, container: &ContainerKey, now: Monotonic) -> usize {
        let Some(times) = self.opened.get_mut(container) else { return 0 };
        while times.front().is_some_and(|t| now.since(*t) >= CAP_WINDOW) {
            times.pop_front();
        }
        let count = times.len();
        if count == 0 {
            self.opened.remove(container);
        }
        count
    }

    /// Sends `opened`, unless the session is a repetition.
    fn report(&mut self, number: SessionNumber, now: Monotonic) -> Option<Effect> {
        let unexamined = self.unexamined.total;
        let session = self.open.get_mut(&number)?;
        session.open_due = None;
        if !session.compiled() {
            session.muted = self.repeats.has(session, now);
            if session.muted {
                return None;
            }
        }
        if !session.compiled() {
            // The next may come before this one is closed.
            self.repeats.remember(session, now);
        }
        (session.reported, session.muted) = (true, false);
        let lead = Arc::clone(&session.lead);
        let effect = draft(session, SessionState::Opened, &lead, RULE_EXECUTED, unexamined);
        let (container, outermost) = (session.container.clone(), session.outermost.clone());
        self.opened.entry(container.clone()).or_default().push_back(now);
        let mut full = self.reported_lately(&container, now) >= CAP;
        if container != outermost {
            self.opened.entry(outermost.clone()).or_default().push_back(now);
            full |= self.reported_lately(&outermost, now) >= OUTER_CAP;
        }
        if full {
            let oldest = self.opened.get(&container).and_then(|t| t.front()).copied().unwrap_or(now);
            if let Some(session) = self.open.get_mut(&number) {
                session.catch_all_until = Some(oldest.plus(CAP_WINDOW));
            }
        }
        Some(effect)
    }

    /// Whether the session of this container and POSIX session is open and was reported: then nobody asks for the
    /// ancestors of its members.
    pub fn is_reported(&self, container: &ContainerKey, posix: Option<Pid>) -> bool {
        posix.is_some() && self.open.values().any(|s| s.reported && s.posix == posix && s.container == *container)
    }

    /// Whether an `escalated` would go out for this member, whose POSIX session is known.
    pub fn would_escalate(&self, member: &Member) -> bool {
        let is_its = |s: &Session| s.posix == member.posix && s.container == member.container;
        member.posix.is_some() && self.open.values().any(|s| is_its(s) && s.would_escalate(member))
    }

    /// Takes in what is known by now of an exec that was added before: its file was read late.
    pub fn weigh_again(&mut self, member: Member) -> Option<Effect> {
        let is_its = |s: &&mut Session| {
            let is_lead = (s.lead.pid, s.lead.at) == (member.pid, member.at);
            s.container == member.container && (is_lead || (s.posix.is_some() && s.posix == member.posix))
        };
        let unexamined = self.unexamined.total;
        let session = self.open.values_mut().find(is_its)?;
        let member = Arc::new(member);
        let Change::Worse(what) = session.weigh_again(&member) else { return None };
        let tells = session.reported && session.may_escalate();
        tells.then(|| draft(session, SessionState::Escalated, &member, what.as_str(), unexamined))
    }

    /// How many sessions are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The next moment at which [`Sessions::due`] has something to do.
    pub fn next_due(&self) -> Option<Monotonic> {
        let sessions = self.open.values().map(|s| self.session_due(s));
        sessions.chain(self.repeats.next_due()).min()
    }

    fn session_due(&self, s: &Session) -> Monotonic {
        let max = s.first.plus(self.max);
        let gap = match s.dead_since {
            Some(dead) => dead.plus(LINGER),
            None if s.asked => max,
            None => s.last.max(s.alive_at).plus(self.gap),
        };
        let gap = s.catch_all_until.map_or(gap, |until| gap.max(until));
        // Nothing ends before it was decided whether it is to be reported.
        s.open_due.unwrap_or(gap).min(max)
    }

    /// Does what is due.
    pub fn due(&mut self, now: Monotonic) -> Vec<Effect> {
        // Of two that are due at once the sum goes first: what repeats it belongs to the next.
        let mut effects: Vec<Effect> = self.repeats.due(now, false).into_iter().map(Effect::emit).collect();
        let numbers: Vec<SessionNumber> =
            self.open.iter().filter(|(_, s)| self.session_due(s) <= now).map(|(n, _)| *n).collect();
        for number in numbers {
            let Some(session) = self.open.get_mut(&number) else { continue };
            if session.open_due.is_some_and(|due| due <= now) {
                effects.extend(self.report(number, now));
                continue;
            }
            let aged = session.first.plus(self.max) <= now;
            let living = session.living();
            if aged || session.dead_since.is_some() || living.is_empty() {
                effects.extend(self.close(number, now, if aged { "session-max" } else { "session-ended" }));
            } else {
                session.asked = true;
                effects.push(Effect::AskAlive(number, living));
            }
        }
        if now.since(self.opened_pruned) >= CAP_WINDOW {
            self.opened_pruned = now;
            self.opened.retain(|_, times| times.back().is_some_and(|t| now.since(*t) < CAP_WINDOW));
        }
        effects
    }

    /// Which members of a session a worker found alive.
    pub fn answer(&mut self, number: SessionNumber, alive: &[ProcessId], now: Monotonic) {
        let Some(session) = self.open.get_mut(&number) else { return };
        session.asked = false;
        // An exec that came while the worker looked has opened the gap anew.
        if now.since(session.last) < self.gap {
            return;
        }
        session.keep(alive);
        if alive.is_empty() {
            session.dead_since = Some(now);
        } else {
            session.alive_at = now;
        }
    }

    fn close(&mut self, number: SessionNumber, now: Monotonic, reason: &'static str) -> Option<Effect> {
        let session = self.open.remove(&number)?;
        let untold = session.muted || !session.reported;
        if untold && self.repeats.add(&session, self.unexamined.total) {
            return None;
        }
        if untold || !session.compiled() {
            self.repeats.remember(&session, now);
        }
        let lead = Arc::clone(&session.lead);
        Some(draft(&session, SessionState::Closed, &lead, reason, self.unexamined.total))
    }

    /// Events were lost: no open session's counts are certain any more.
    pub fn mark_inexact(&mut self) {
        self.open.values_mut().for_each(Session::mark_inexact);
    }

    /// Closes everything: the watcher stops.
    pub fn stop(&mut self, now: Monotonic) -> Vec<Effect> {
        let numbers: Vec<SessionNumber> = self.open.keys().copied().collect();
        let mut effects: Vec<Effect> =
            numbers.into_iter().filter_map(|n| self.close(n, now, "watcher-stopped")).collect();
        effects.extend(self.repeats.due(now, true).into_iter().map(Effect::emit));
        effects
    }
}

fn draft(
    session: &Session,
    state: SessionState,
    lead: &Arc<Member>,
    reason: &'static str,
    unexamined_now: u64,
) -> Effect {
    let severity =
        if state == SessionState::Escalated { lead.severity.max(session.severity()) } else { session.severity() };
    Effect::emit(Draft {
        session: session.facts(state, unexamined_now),
        lead: Arc::clone(lead),
        severity,
        reason,
        unexamined: unexamined_now.saturating_sub(session.unexamined_before),
    })
}

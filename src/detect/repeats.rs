//! Sessions that report nothing by themselves, as they repeat one that was reported: a probe that asks every few seconds.
//! Their sum is told once an hour; one that is worse than what was told is no repetition. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{SessionFacts, SessionState, Severity};
use crate::container::ContainerKey;
use crate::detect::member::Member;
use crate::detect::programs::Programs;
use crate::detect::session::{Draft, Session, Users};
use crate::event::Monotonic;

/// Repetitions are told after this.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Sorts of sessions remembered; beyond, each session is reported for itself.
const SORTS: usize = 4096;
/// Of one container.
const SORTS_OF_ONE: usize = 64;

/// What makes one session the repetition of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sort {
    container: ContainerKey,
    root_command: String,
    families: BTreeSet<String>,
    uid: Option<u32>,
}

impl Sort {
    fn of(session: &Session) -> Self {
        Self {
            container: session.container.clone(),
            root_command: session.lead.root_command.clone(),
            families: session.families().clone(),
            uid: session.lead.facts.process.uid,
        }
    }
}

/// What was reported, and the sessions like it since.
#[derive(Debug)]
struct Repeated {
    until: Monotonic,
    id: String,
    severity: Severity,
    sum: Option<Sum>,
}

#[derive(Debug)]
struct Sum {
    /// Of the worst session, and of these the last.
    lead: Arc<Member>,
    severity: Severity,
    sessions: u64,
    execs: u64,
    exact: bool,
    unexamined: u64,
    duration: Duration,
    programs: Programs,
    users: Users,
}

impl Sum {
    fn add(&mut self, other: Self) {
        if other.severity >= self.severity {
            (self.lead, self.severity) = (other.lead, other.severity);
        }
        self.sessions += other.sessions;
        self.execs += other.execs;
        self.exact &= other.exact;
        self.unexamined += other.unexamined;
        self.duration += other.duration;
        self.programs.merge(&other.programs);
        self.users.merge(&other.users);
    }
}

/// The sessions of which there may be repetitions.
#[derive(Debug, Default)]
pub struct Repeats {
    sorts: HashMap<Sort, Repeated>,
}

impl Repeats {
    /// Whether a session that is to be reported only repeats what was.
    pub fn has(&self, session: &Session, now: Monotonic) -> bool {
        self.sorts
            .get(&Sort::of(session))
            .is_some_and(|known| now < known.until && session.severity() <= known.severity)
    }

    /// A session was reported: those like it are repetitions from now on, for an hour.
    pub fn remember(&mut self, session: &Session, now: Monotonic) {
        let sort = Sort::of(session);
        if let Some(known) = self.sorts.get_mut(&sort) {
            known.severity = known.severity.max(session.severity());
        } else if self.sorts.len() < SORTS && self.of(&sort.container) < SORTS_OF_ONE {
            let (id, severity) = (session.id.clone(), session.severity());
            self.sorts.insert(sort, Repeated { until: now.plus(INTERVAL), id, severity, sum: None });
        }
    }

    fn of(&self, container: &ContainerKey) -> usize {
        self.sorts.keys().filter(|sort| sort.container == *container).count()
    }

    /// Adds a session that has ended and reported nothing to those that it repeats; false where there are none.
    pub fn add(&mut self, session: &Session, unexamined_now: u64) -> bool {
        let Some(known) = self.sorts.get_mut(&Sort::of(session)) else { return false };
        if session.severity() > known.severity {
            return false;
        }
        let facts = session.facts(SessionState::Closed, unexamined_now);
        let mut programs = Programs::default();
        programs.merge(session.programs());
        let one = Sum {
            lead: Arc::clone(&session.lead),
            severity: session.severity(),
            sessions: 1,
            execs: facts.execs,
            exact: facts.exact,
            unexamined: unexamined_now.saturating_sub(session.unexamined_before),
            duration: facts.duration,
            programs,
            users: session.users().clone(),
        };
        match &mut known.sum {
            None => known.sum = Some(one),
            Some(sum) => sum.add(one),
        }
        true
    }

    /// When the next sum is to be told.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.sorts.values().map(|known| known.until).min()
    }

    /// One `closed` for all repetitions of an hour; of all that there are where `all` is asked for.
    pub fn due(&mut self, now: Monotonic, all: bool) -> Vec<Draft> {
        let mut drafts = Vec::new();
        self.sorts.retain(|_, known| {
            if !all && now < known.until {
                return true;
            }
            let Some(sum) = known.sum.take() else { return false };
            known.until = now.plus(INTERVAL);
            let session = SessionFacts {
                id: known.id.clone(),
                state: SessionState::Closed,
                execs: sum.execs,
                exact: sum.exact,
                repeats: sum.sessions,
                root_command: sum.lead.root_command.clone(),
                duration: sum.duration,
                users: sum.users.listed(),
                programs: sum.programs.listed(),
            };
            let (lead, severity, unexamined) = (sum.lead, sum.severity, sum.unexamined);
            drafts.push(Draft { session, lead, severity, reason: "repeated", unexamined });
            true
        });
        drafts
    }
}

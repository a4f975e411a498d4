//! Build sessions on a clock of the test's own: what joins what, what is reported, what is held back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use ccwatch::alert::{Ancestor, ContainerFacts, ExecFacts, Origin, ProcessFacts, SessionState, Severity};
use ccwatch::container::{ContainerKey, Metadata, Runtime};
use ccwatch::detect::member::Member;
use ccwatch::detect::session::Draft;
use ccwatch::detect::sessions::{Effect, SessionNumber, Sessions};
use ccwatch::event::{FileId, Monotonic, Pid, ProcessId, StartTime};
use ccwatch::fingerprint::{Confidence, Kind, Verdict};
use ccwatch::sensor::counters::Unexamined;

const GAP: Duration = Duration::from_secs(5);
const MAX: Duration = Duration::from_secs(600);

fn at(seconds: f64) -> Monotonic {
    Monotonic(0).plus(Duration::from_secs_f64(seconds + 1000.0))
}

struct World {
    sessions: Sessions,
    next_pid: i32,
    told: Vec<Draft>,
    asked: Vec<(SessionNumber, Vec<ProcessId>)>,
    alive: Vec<Pid>,
}

#[derive(Clone)]
struct Exec {
    container: &'static str,
    outermost: Option<&'static str>,
    posix: Option<i32>,
    pid: Option<i32>,
    parent: i32,
    name: String,
    kind: Kind,
    toolchain: Option<&'static str>,
    query: bool,
    /// Its file was seen.
    seen: bool,
    /// Which file, where that matters, and that nobody saw under which name it was called.
    file: Option<u64>,
    named_by_file: bool,
    ancestors: bool,
    /// It is known to have succeeded.
    confirmed: bool,
    severity: Severity,
    uid: Option<u32>,
    root: &'static str,
}

impl Default for Exec {
    fn default() -> Self {
        Self {
            container: "web",
            outermost: None,
            posix: Some(10),
            pid: None,
            parent: 10,
            name: "gcc".into(),
            kind: Kind::Compiler,
            toolchain: Some("gnu"),
            query: false,
            seen: true,
            file: None,
            named_by_file: false,
            ancestors: false,
            confirmed: true,
            severity: Severity::Low,
            uid: Some(0),
            root: "make -j8",
        }
    }
}

fn key(id: &str) -> ContainerKey {
    ContainerKey { runtime: Runtime::Docker, id: id.into() }
}

fn facts(e: &Exec, pid: i32) -> ExecFacts {
    let verdict = Verdict {
        kind: e.kind,
        family: if e.seen { format!("{}-family", e.name) } else { "unknown".into() },
        toolchain: e.toolchain.map(Into::into),
        version: None,
        confidence: Confidence::Low,
        evidence: Vec::new(),
        masquerade: false,
        packed: false,
    };
    ExecFacts {
        process: ProcessFacts {
            pid,
            uid: e.uid,
            executable: e.seen.then(|| format!("/usr/bin/{}", e.name)),
            ..ProcessFacts::default()
        },
        container: ContainerFacts { key: key(e.container), metadata: Metadata::default() },
        outer: None,
        verdict,
        build_id: None,
        confirmed: e.confirmed,
        known_by: Vec::new(),
        query: e.query,
        arguments_known: true,
        origin: Origin::Unknown,
        pid_namespace: None,
        mnt_namespace: None,
        latency: None,
        host_uid: None,
        ancestors: e.ancestors.then(|| Ancestor { pid: Pid(10), name: "make".into() }).into_iter().collect(),
        exception: None,
        missing: BTreeMap::new(),
    }
}

impl World {
    fn new() -> Self {
        let mut n = 0;
        let new_id = move || {
            n += 1;
            format!("S{n}")
        };
        let sessions = Sessions::new(GAP, MAX, new_id);
        Self { sessions, next_pid: 100, told: Vec::new(), asked: Vec::new(), alive: Vec::new() }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(draft) => self.told.push(*draft),
                Effect::AskAlive(number, living) => self.asked.push((number, living)),
            }
        }
    }

    fn exec(&mut self, seconds: f64, e: &Exec) {
        self.run_to(seconds);
        self.next_pid += 1;
        let member = Self::member(seconds, e, e.pid.unwrap_or(self.next_pid));
        let effects = self.sessions.add(member, at(seconds));
        self.take(effects);
    }

    fn member(seconds: f64, e: &Exec, pid: i32) -> Member {
        Member {
            container: key(e.container),
            outermost: key(e.outermost.unwrap_or(e.container)),
            posix: e.posix.map(Pid),
            pid: Pid(pid),
            start: Some(StartTime(u64::from(pid.unsigned_abs()))),
            parent: Some(Pid(e.parent)),
            at: at(seconds),
            name: e.name.clone(),
            named_by_file: e.named_by_file,
            severity: e.severity,
            inexact: false,
            covered: false,
            counts: e.confirmed,
            root_command: e.root.into(),
            file: e.file.map(|ino| FileId { dev: 1, ino, size: 1, mtime_ns: 0, ctime_ns: 0 }),
            facts: facts(e, pid),
        }
    }

    /// Lets time pass, carrying out what is due, answering for the living.
    fn run_to(&mut self, seconds: f64) {
        while let Some(due) = self.sessions.next_due().filter(|due| *due <= at(seconds)) {
            let effects = self.sessions.due(due);
            self.take(effects);
            for (number, living) in std::mem::take(&mut self.asked) {
                let alive: Vec<ProcessId> = living.into_iter().filter(|p| self.alive.contains(&p.pid)).collect();
                self.sessions.answer(number, &alive, due);
            }
        }
    }

    fn states(&self) -> Vec<SessionState> {
        self.told.iter().map(|d| d.session.state).collect()
    }

    fn closed_execs(&self) -> u64 {
        self.told.iter().filter(|d| d.session.state == SessionState::Closed).map(|d| d.session.execs).sum()
    }
}

use SessionState::{Closed, Escalated, Opened};

#[test]
fn a_build_is_two_alerts_with_exact_counts() {
    let mut w = World::new();
    for n in 0..300 {
        for (name, kind) in [("gcc", Kind::Compiler), ("cc1", Kind::CompilerInternal), ("as", Kind::Assembler)] {
            let t = f64::from(n) * 0.01;
            w.exec(t, &Exec { name: name.into(), kind, parent: 20 + n, ..Exec::default() });
        }
    }
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed]);
    let closed = &w.told[1].session;
    let counts: Vec<(&str, u64)> = closed.programs.iter().map(|p| (p.name.as_str(), p.execs)).collect();
    assert_eq!(counts, [("as", 300), ("cc1", 300), ("gcc", 300)]);
    assert_eq!((closed.execs, closed.exact, closed.id.as_str()), (900, true, "S1"));
    assert_eq!(closed.duration, Duration::from_millis(2990));
    assert_eq!(closed.root_command, "make -j8");
}

#[test]
fn a_session_lasts_while_a_member_lives() {
    let mut w = World::new();
    w.exec(0.0, &Exec { pid: Some(500), ..Exec::default() });
    w.alive = vec![Pid(500)];
    w.run_to(63.0);
    assert_eq!(w.states(), [Opened]);
    w.alive.clear();
    w.exec(64.0, &Exec::default());
    w.run_to(120.0);
    assert_eq!(w.states(), [Opened, Closed]);
    assert_eq!(w.told[1].session.execs, 2);
}

#[test]
fn a_session_ends_at_its_maximum_age() {
    let mut w = World::new();
    w.exec(0.0, &Exec { pid: Some(500), ..Exec::default() });
    w.alive = vec![Pid(500)];
    w.run_to(601.0);
    assert_eq!(w.states(), [Opened, Closed]);
    assert_eq!(w.told[1].reason, "session-max");
    w.exec(602.0, &Exec::default());
    assert_eq!(w.states(), [Opened, Closed, Opened]);
    assert_ne!(w.told[2].session.id, w.told[0].session.id);
}

#[test]
fn containers_and_posix_sessions_do_not_mix() {
    let mut w = World::new();
    for n in 0..10 {
        let t = f64::from(n) * 0.1;
        w.exec(t, &Exec::default());
        w.exec(t, &Exec { container: "db", ..Exec::default() });
        w.exec(t, &Exec { posix: Some(11), ..Exec::default() });
    }
    w.run_to(60.0);
    let mut closed: Vec<(String, u64)> = Vec::new();
    for draft in w.told.iter().filter(|d| d.session.state == Closed) {
        closed.push((draft.lead.container.id.to_string(), draft.session.execs));
    }
    closed.sort();
    assert_eq!(closed, [("db".into(), 10), ("web".into(), 10), ("web".into(), 10)]);
    assert_eq!(w.told.len(), 6);
}

#[test]
fn a_configure_script_that_asks_first_is_two_alerts() {
    let mut w = World::new();
    for n in 0..5 {
        w.exec(f64::from(n) * 0.1, &Exec { query: true, ..Exec::default() });
    }
    assert_eq!(w.states(), []);
    w.exec(0.6, &Exec { severity: Severity::Medium, ..Exec::default() });
    assert_eq!(w.states(), [Opened]);
    assert_eq!(w.told[0].severity, Severity::Medium);
    assert!(!w.told[0].lead.facts.query, "the compile is what the alert is about");
    w.exec(0.7, &Exec { query: true, ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed]);
    assert_eq!(w.told[1].session.execs, 7);
}

#[test]
fn a_compile_after_a_reported_query_escalates_once() {
    let mut w = World::new();
    w.exec(0.0, &Exec { query: true, ..Exec::default() });
    w.run_to(2.0);
    assert_eq!(w.states(), [Opened]);
    w.exec(3.0, &Exec::default());
    w.exec(3.1, &Exec::default());
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Escalated, Closed]);
    assert_eq!(w.told[1].reason, "compile-after-queries");
    assert!(w.told.iter().all(|d| d.session.id == "S1"));
}

#[test]
fn new_toolchains_users_and_severities_escalate_at_most_eight_times() {
    let mut w = World::new();
    w.exec(0.0, &Exec::default());
    w.exec(0.1, &Exec { toolchain: Some("llvm"), ..Exec::default() });
    assert_eq!(w.states(), [Opened, Escalated]);
    w.exec(0.2, &Exec { severity: Severity::High, ..Exec::default() });
    assert_eq!(w.states(), [Opened, Escalated, Escalated]);
    assert_eq!((w.told[1].severity, w.told[1].reason), (Severity::Low, "new-toolchain"));
    assert_eq!((w.told[2].severity, w.told[2].reason), (Severity::High, "higher-severity"));
    for uid in 1..30 {
        w.exec(0.3, &Exec { uid: Some(uid), ..Exec::default() });
    }
    w.run_to(60.0);
    assert_eq!(w.states().iter().filter(|s| **s == Escalated).count(), 8);
    assert_eq!(w.told[3].reason, "new-user");
    let closed = &w.told.last().unwrap().session;
    assert_eq!((closed.execs, closed.users.len()), (32, 30));
}

#[test]
fn an_exec_that_is_worse_than_its_name_said_escalates_once_its_file_is_read() {
    let mut w = World::new();
    let exec = |pid, severity| Exec { pid: Some(pid), severity, ..Exec::default() };
    w.exec(0.0, &exec(1, Severity::Medium));
    w.exec(1.0, &exec(2, Severity::Medium));
    for (seconds, pid, severity) in [(0.0, 1, Severity::Low), (1.0, 2, Severity::High), (0.0, 1, Severity::High)] {
        let effect = w.sessions.weigh_again(World::member(seconds, &exec(pid, severity), pid));
        w.take(effect.into_iter().collect());
    }
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Escalated, Closed]);
    assert_eq!((w.told[1].reason, w.told[1].lead.pid), ("higher-severity", Pid(2)));
    assert_eq!([w.told[1].severity, w.told[2].severity], [Severity::High; 2]);
    assert_eq!((w.told[2].session.execs, w.told[2].lead.severity), (2, Severity::High), "the lead as it is known now");
    let nobodys = World::member(0.0, &exec(1, Severity::High), 1);
    assert!(w.sessions.weigh_again(nobodys).is_none(), "it has ended");
}

#[test]
fn whose_member_would_escalate_is_known_before_it_is_added() {
    let mut w = World::new();
    let gcc = Exec { toolchain: Some("gnu"), ..Exec::default() };
    let rustc = Exec { toolchain: Some("rust"), ..Exec::default() };
    let would = |w: &World, e: &Exec| w.sessions.would_escalate(&World::member(1.0, e, 50));
    assert!(!would(&w, &gcc), "it would be the first");
    w.exec(0.0, &gcc);
    assert!(!would(&w, &gcc) && would(&w, &rustc));
    assert!(!would(&w, &Exec { posix: Some(99), ..rustc.clone() }), "in another session it would be the first too");
    w.exec(1.0, &rustc);
    assert!(!would(&w, &rustc));
    assert_eq!(w.states(), [Opened, Escalated]);
}

#[test]
fn what_becomes_known_later_is_no_escalation() {
    let mut w = World::new();
    w.exec(0.0, &Exec { uid: None, toolchain: None, ..Exec::default() });
    w.exec(0.1, &Exec::default());
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed]);
}

#[test]
fn a_gap_shorter_than_the_wait_for_a_compile_ends_nothing_unreported() {
    let mut w = World::new();
    w.sessions.reconfigure(Duration::from_millis(500), MAX);
    w.exec(0.0, &Exec { query: true, ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed]);
}

#[test]
fn helpers_join_their_callers_toolchain() {
    let mut w = World::new();
    w.exec(0.0, &Exec { name: "rustc".into(), toolchain: Some("rust"), pid: Some(50), ..Exec::default() });
    w.exec(0.1, &Exec { name: "cc".into(), parent: 50, pid: Some(51), ..Exec::default() });
    w.exec(0.2, &Exec { name: "ld".into(), kind: Kind::Linker, parent: 51, ..Exec::default() });
    w.exec(0.3, &Exec { name: "ld.lld".into(), kind: Kind::Linker, toolchain: Some("llvm"), ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed]);
}

#[test]
fn a_liveness_probe_is_one_pair_then_one_line_an_hour() {
    let mut w = World::new();
    let probes = 800;
    for n in 0..probes {
        w.exec(
            f64::from(n) * 10.0,
            &Exec { query: true, posix: Some(1000 + n), root: "gcc --version", ..Exec::default() },
        );
    }
    let states = w.states();
    assert_eq!(states, [Opened, Closed, Closed, Closed], "a pair, and after each of two hours a line");
    let (hour, two) = (w.told[2].session.repeats, w.told[3].session.repeats);
    assert!(hour > 300 && hour < 400, "{hour}");
    let effects = w.sessions.stop(at(f64::from(probes) * 10.0));
    w.take(effects);
    let rest = &w.told[4].session;
    assert_eq!(1 + hour + two + rest.repeats, 800);
    assert_eq!(w.closed_execs(), 800);
}

/// Each is asked before the one before is closed.
#[test]
fn a_probe_of_every_second_is_one_pair_too() {
    let mut w = World::new();
    for n in 0..100 {
        let probe = Exec { query: true, posix: Some(1000 + n), root: "gcc --version", ..Exec::default() };
        w.exec(f64::from(n), &probe);
    }
    w.run_to(200.0);
    assert_eq!(w.states(), [Opened, Closed]);
    w.run_to(4000.0);
    assert_eq!(w.states(), [Opened, Closed, Closed]);
    assert_eq!(w.told[2].session.repeats, 99);
}

/// As an exec of which nothing is known but that it was attempted.
#[test]
fn what_is_not_known_to_have_succeeded_makes_nothing_worse() {
    let mut w = World::new();
    w.exec(0.0, &Exec::default());
    let clang = Exec { toolchain: Some("llvm"), name: "clang".into(), ..Exec::default() };
    w.exec(0.1, &Exec { posix: None, confirmed: false, ..clang.clone() });
    assert_eq!(w.states(), [Opened]);
    w.exec(0.2, &clang);
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Escalated, Closed]);
    assert_eq!((w.told[2].session.execs, w.told[2].session.exact), (2, true));
}

#[test]
fn a_query_worse_than_those_that_it_repeats_is_reported() {
    let mut w = World::new();
    let probe = |n: i32, severity| Exec { query: true, posix: Some(1000 + n), severity, ..Exec::default() };
    for n in 0..5 {
        let severity = if n == 2 { Severity::High } else { Severity::Low };
        w.exec(f64::from(n) * 100.0, &probe(n, severity));
    }
    w.run_to(450.0);
    assert_eq!(w.states(), [Opened, Closed, Opened, Closed]);
    assert_eq!([w.told[2].severity, w.told[3].severity], [Severity::High; 2]);
    w.run_to(4000.0);
    assert_eq!((w.told[4].session.repeats, w.told[4].severity), (3, Severity::Low));
}

#[test]
fn the_sum_of_repetitions_is_bounded_and_lists_the_most_frequent() {
    let mut w = World::new();
    let probe = |n: i32, name: &str| Exec {
        query: true,
        posix: Some(n),
        // Of no family, so that one repeats the other whatever it is called.
        seen: false,
        name: name.into(),
        ..Exec::default()
    };
    for n in 0..200 {
        let seconds = f64::from(n) * 10.0;
        w.exec(seconds, &probe(1000 + n, &format!("odd-{n}")));
        w.exec(seconds, &probe(1000 + n, "often"));
    }
    w.run_to(4000.0);
    assert_eq!(w.states(), [Opened, Closed, Closed]);
    let sum = &w.told[2].session;
    assert_eq!((sum.repeats, sum.execs), (199, 398));
    let listed: Vec<(&str, u64)> = sum.programs.iter().map(|p| (&*p.name, p.execs)).collect();
    assert_eq!((listed[0], listed.len()), (("often", 199), 33));
    assert_eq!(listed[32], ("other", 398 - 199 - 31));
}

#[test]
fn a_compile_like_an_earlier_one_is_reported_again() {
    let mut w = World::new();
    for n in 0..3 {
        w.exec(f64::from(n) * 100.0, &Exec { posix: Some(1000 + n), ..Exec::default() });
    }
    w.run_to(1000.0);
    assert_eq!(w.states(), [Opened, Closed, Opened, Closed, Opened, Closed]);
}

#[test]
fn a_compile_in_a_muted_session_is_reported() {
    let mut w = World::new();
    let probe = |posix| Exec { query: true, posix: Some(posix), ..Exec::default() };
    w.exec(0.0, &probe(1));
    w.exec(10.0, &probe(2));
    w.run_to(12.0);
    assert_eq!(w.states(), [Opened, Closed]);
    w.exec(12.5, &Exec { posix: Some(2), ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed, Opened, Closed]);
    assert_eq!(w.told[3].session.execs, 2);
}

#[test]
fn an_unknown_posix_session_joins_and_a_leader_may_come_later() {
    let mut w = World::new();
    w.exec(0.0, &Exec { posix: None, ..Exec::default() });
    w.exec(0.1, &Exec { posix: Some(10), ..Exec::default() });
    w.exec(0.2, &Exec { posix: Some(20), toolchain: Some("go"), name: "go".into(), ..Exec::default() });
    w.exec(0.3, &Exec { posix: None, ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.states().iter().filter(|s| **s == Opened).count(), 2);
    let mut counts: Vec<(u64, bool)> =
        w.told.iter().filter(|d| d.session.state == Closed).map(|d| (d.session.execs, d.session.exact)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(1, true), (3, false)], "the gnu exec joined the gnu session, and says so");
}

#[test]
fn sixteen_sessions_in_ten_minutes_and_the_last_takes_the_rest() {
    let mut w = World::new();
    for n in 0..200 {
        w.exec(f64::from(n) * 0.5, &Exec { posix: Some(1000 + n), ..Exec::default() });
        w.exec(f64::from(n) * 0.5, &Exec { container: "db", posix: Some(5000), ..Exec::default() });
    }
    w.run_to(700.0);
    let of =
        |id: &str, state| w.told.iter().filter(|d| &*d.lead.container.id == id && d.session.state == state).count();
    assert_eq!((of("web", Opened), of("web", Closed)), (16, 16));
    assert_eq!((of("db", Opened), of("db", Closed)), (1, 1));
    assert_eq!(w.closed_execs(), 400, "no exec is left out of the counts");
    w.exec(900.0, &Exec { posix: Some(9000), ..Exec::default() });
    assert_eq!(w.told.last().unwrap().session.state, Opened);
}

#[test]
fn names_beyond_256_are_counted_as_other() {
    let mut w = World::new();
    for n in 0..400 {
        w.exec(0.001, &Exec { name: format!("gcc-{n}"), ..Exec::default() });
    }
    w.run_to(60.0);
    let closed = &w.told.last().unwrap().session;
    assert_eq!(closed.programs.len(), 33);
    let last = closed.programs.last().unwrap();
    assert_eq!((last.name.as_str(), last.execs), ("other", 400 - 32));
    assert_eq!(closed.execs, 400);
}

#[test]
fn what_was_unexamined_or_lost_makes_counts_uncertain() {
    let mut w = World::new();
    w.sessions.set_unexamined(Unexamined { total: 7, lately: 1 });
    w.exec(0.0, &Exec::default());
    w.sessions.set_unexamined(Unexamined { total: 9, lately: 3 });
    w.run_to(60.0);
    assert_eq!((w.told[1].unexamined, w.told[1].session.exact), (3, false));
    w.sessions.set_unexamined(Unexamined { total: 9, lately: 0 });
    w.exec(100.0, &Exec { posix: Some(11), ..Exec::default() });
    w.sessions.mark_inexact();
    w.run_to(160.0);
    assert_eq!((w.told[3].unexamined, w.told[3].session.exact), (0, false));
}

#[test]
fn an_exec_on_its_way_while_the_last_member_died_stays_in_its_session() {
    let mut w = World::new();
    w.exec(0.0, &Exec::default());
    w.run_to(5.0);
    assert_eq!(w.states(), [Opened], "its members were found dead just now");
    w.exec(5.1, &Exec { name: "as".into(), kind: Kind::Assembler, ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.states(), [Opened, Closed]);
    assert_eq!(w.closed_execs(), 2);
}

#[test]
fn a_program_seen_later_names_the_family_of_those_that_died_unseen() {
    let mut w = World::new();
    w.exec(0.0, &Exec::default());
    w.exec(0.1, &Exec { name: "as".into(), kind: Kind::Assembler, toolchain: None, seen: false, ..Exec::default() });
    w.exec(0.2, &Exec { name: "as".into(), kind: Kind::Assembler, ..Exec::default() });
    w.run_to(60.0);
    let programs = &w.told.last().unwrap().session.programs;
    assert_eq!(programs.iter().map(|p| (p.name.as_str(), p.execs)).collect::<Vec<_>>(), [("as", 2), ("gcc", 1)]);
}

#[test]
fn the_lead_is_one_that_was_seen() {
    let mut w = World::new();
    w.exec(0.0, &Exec { name: "unseen".into(), seen: false, ..Exec::default() });
    w.exec(0.1, &Exec { name: "seen".into(), ..Exec::default() });
    w.exec(0.2, &Exec { name: "later".into(), ..Exec::default() });
    w.run_to(60.0);
    assert_eq!(w.told.iter().map(|d| d.lead.name.as_str()).collect::<Vec<_>>(), ["unseen", "seen"]);
}

#[test]
fn at_the_stop_everything_open_is_closed() {
    let mut w = World::new();
    w.exec(0.0, &Exec::default());
    w.exec(0.1, &Exec { container: "db", query: true, ..Exec::default() });
    let effects = w.sessions.stop(at(0.5));
    w.take(effects);
    assert_eq!(w.states().iter().filter(|s| **s == Closed).count(), 2);
    assert!(w.told.iter().skip(1).all(|d| d.reason == "watcher-stopped"));
}

#[test]
fn what_died_before_its_name_was_seen_is_counted_with_its_namesakes() {
    let assembler = || Exec { name: "as".into(), kind: Kind::Assembler, file: Some(7), ..Exec::default() };
    let nameless = || Exec { name: "x86_64-linux-gnu-as".into(), named_by_file: true, ..assembler() };
    let (gcc, cxx) =
        (Exec { file: Some(8), ..Exec::default() }, Exec { name: "c++".into(), file: Some(8), ..Exec::default() });
    let driver = Exec { name: "x86_64-linux-gnu-gcc-12".into(), file: Some(8), named_by_file: true, ..Exec::default() };
    let mut world = World::new();
    for exec in [&nameless(), &assembler(), &nameless(), &gcc, &cxx, &driver] {
        world.exec(0.0, exec);
    }
    world.run_to(60.0);
    let closed = world.told.iter().find(|d| d.session.state == Closed).unwrap();
    let counts: Vec<(&str, u64)> = closed.session.programs.iter().map(|p| (p.name.as_str(), p.execs)).collect();
    let several_names = [("c++", 1), ("gcc", 1), ("x86_64-linux-gnu-gcc-12", 1)];
    assert_eq!(counts, [&[("as", 3)], several_names.as_slice()].concat());
}

#[test]
fn a_session_whose_first_died_unseen_is_rooted_by_the_next() {
    let mut world = World::new();
    world.exec(0.0, &Exec { root: "x86_64-linux-gnu-gcc-12", ..Exec::default() });
    world.exec(0.1, &Exec { ancestors: true, ..Exec::default() });
    world.exec(0.2, &Exec { root: "sh -c cc1", ancestors: true, ..Exec::default() });
    world.run_to(60.0);
    let closed = world.told.iter().find(|d| d.session.state == Closed).unwrap();
    assert_eq!(closed.session.root_command, "make -j8");
}

#[test]
fn an_attempt_whose_exec_comes_late_is_confirmed_at_the_end() {
    let attempt = || {
        let (pid, file) = (Some(50), Some(7));
        Exec { posix: None, pid, file, uid: None, confirmed: false, root: "gcc", ..Exec::default() }
    };
    let told = |late: Exec| {
        let mut world = World::new();
        world.exec(0.0, &attempt());
        world.exec(0.03, &late);
        world.run_to(60.0);
        assert_eq!(world.states(), [Opened, Closed]);
        let closed = world.told.pop().unwrap();
        let facts = &closed.lead.facts;
        assert_eq!(closed.session.execs, 1);
        (facts.confirmed, facts.process.uid, closed.session.root_command)
    };
    let late = || Exec { confirmed: true, ..attempt() };
    assert_eq!(told(late()), (true, None, "gcc".into()), "it had ended");
    let living = Exec { posix: Some(10), uid: Some(0), ancestors: true, root: "make -j8", ..late() };
    assert_eq!(told(living.clone()), (true, Some(0), "make -j8".into()));
    let other = Exec { pid: Some(51), ..living };
    assert_eq!(told(other), (false, None, "make -j8".into()), "another's success is none of this one");
}

//! Alerts for tests: one of each sort that leaves the machine.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::container::Runtime;
use crate::fingerprint::{Confidence, Evidence};
use crate::host::identity::HostFacts;

/// 2026-11-24T10:15:08.411204Z
pub(crate) fn moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_795_515_308_411_204)
}

pub(crate) fn host() -> HostFacts {
    HostFacts {
        hostname: "node7".into(),
        id: Some("0123456789abcdef0123456789abcdef".into()),
        architecture: "x86_64".into(),
        os_type: "linux".into(),
        kernel: "3.10.0-1160.el7.x86_64".into(),
    }
}

pub(crate) fn container() -> ContainerFacts {
    ContainerFacts {
        key: ContainerKey { runtime: Runtime::Docker, id: "c0ffee00".repeat(8).into() },
        metadata: Metadata {
            name: Some("web-1".into()),
            image_name: Some("shop/web".into()),
            image_tag: Some("1.4".into()),
            image_id: Some(format!("sha256:{}", "1".repeat(64))),
            labels: BTreeMap::from([("com.docker.compose.project".into(), "shop".into())]),
            labels_cut: false,
        },
    }
}

pub(crate) fn verdict(family: &str, kind: Kind) -> Verdict {
    Verdict {
        kind,
        family: family.into(),
        toolchain: Some("gnu".into()),
        version: None,
        confidence: Confidence::Low,
        evidence: vec![Evidence::Name],
        masquerade: false,
        packed: false,
    }
}

pub(crate) fn exec(args: &[&str]) -> ExecFacts {
    ExecFacts {
        process: ProcessFacts {
            pid: 20117,
            vpid: Some(41),
            start_ticks: Some(8_817_423),
            start: Some(moment() - Duration::from_micros(5_201_204)),
            name: "gcc".into(),
            executable: Some("/usr/bin/x86_64-linux-gnu-gcc-12".into()),
            args: Some(args.iter().map(|arg| (*arg).into()).collect()),
            args_count: Some(args.len()),
            working_directory: Some("/tmp".into()),
            interactive: Some(false),
            uid: Some(0),
            user_name: Some("root".into()),
            sha256: Some("0".repeat(64)),
            parent: Some(Relative {
                pid: Pid(20110),
                name: Some("sh".into()),
                command_line: Some("sh -c gcc hello.c".into()),
            }),
            session_leader: Some(Relative { pid: Pid(19001), name: Some("node".into()), command_line: None }),
        },
        container: container(),
        outer: None,
        verdict: Verdict {
            version: Some("12.2.0".into()),
            confidence: Confidence::Certain,
            evidence: vec![Evidence::Name, Evidence::Sha256],
            ..verdict("gcc-driver", Kind::Compiler)
        },
        build_id: Some("7c1f0000000000000000000000000000000000aa".into()),
        confirmed: true,
        known_by: vec![SensorKind::Connector],
        query: false,
        arguments_known: true,
        origin: Origin::Unknown,
        pid_namespace: Some(4_026_532_633),
        mnt_namespace: Some(4_026_532_630),
        latency: Some(Duration::from_micros(731)),
        host_uid: Some(0),
        ancestors: vec![
            Ancestor { pid: Pid(20110), name: "sh".into() },
            Ancestor { pid: Pid(19001), name: "node".into() },
        ],
        exception: None,
        missing: BTreeMap::new(),
    }
}

pub(crate) fn program(name: &str, family: &str, kind: Kind, execs: u64) -> Program {
    Program { name: name.into(), family: family.into(), kind: Some(kind), execs }
}

pub(crate) fn session(state: SessionState) -> SessionFacts {
    SessionFacts {
        id: "01JDEXAMPLE0000000000000001".into(),
        state,
        execs: 1,
        exact: true,
        repeats: 0,
        root_command: "sh -c gcc hello.c".into(),
        duration: Duration::ZERO,
        users: vec![(0, Some("root".into()))],
        programs: vec![program("gcc", "gcc-driver", Kind::Compiler, 1)],
    }
}

/// A finding about `gcc hello.c`.
pub(crate) fn opened() -> Alert {
    Alert {
        made: moment(),
        action: Action::CompilerExecuted,
        severity: Severity::Medium,
        reason: "container-compiler-executed".into(),
        exec: Some(Box::new(exec(&["gcc", "hello.c"]))),
        session: Some(session(SessionState::Opened)),
        loss: None,
        busiest: None,
        unexamined: 0,
        suppressed: 0,
        remediation: vec![
            "Build the image in two stages and copy only the result into the last one".into(),
            "Or remove the package in the layer that brought it".into(),
        ],
    }
}

pub(crate) fn closed() -> Alert {
    Alert {
        reason: "session-ended".into(),
        session: Some(SessionFacts {
            execs: 5,
            duration: Duration::from_millis(196),
            programs: vec![
                program("gcc", "gcc-driver", Kind::Compiler, 1),
                program("cc1", "gcc-cc1", Kind::CompilerInternal, 1),
                program("as", "gas", Kind::Assembler, 1),
                program("collect2", "gcc-collect2", Kind::CompilerInternal, 1),
                program("ld", "ld.bfd", Kind::Linker, 1),
            ],
            ..session(SessionState::Closed)
        }),
        ..opened()
    }
}

/// What the watcher says of itself.
pub(crate) fn health(action: Action, sentence: &str) -> Alert {
    Alert {
        made: moment(),
        action,
        severity: Severity::High,
        reason: action.as_str().into(),
        exec: None,
        session: None,
        loss: Some(LossFacts {
            sensor: Some(SensorKind::Connector),
            count: 0,
            since: None,
            recovered: None,
            sentence: sentence.into(),
        }),
        busiest: None,
        unexamined: 0,
        suppressed: 0,
        remediation: Vec::new(),
    }
}

/// Text that no reader should have to meet.
pub(crate) fn hostile() -> String {
    "x\u{1b}]0;evil\u{7}\n' as nobody\u{202e}\u{1f469}\"\\\u{fffd}".into()
}

/// Each sort of alert under the name of its golden files.
pub(crate) fn all() -> Vec<(&'static str, Alert)> {
    let query = |state, repeats| Alert {
        severity: Severity::Low,
        reason: if state == SessionState::Closed { "repeated" } else { "container-compiler-executed" }.into(),
        exec: Some(Box::new(ExecFacts { query: true, ..exec(&["gcc", "--version"]) })),
        session: Some(SessionFacts { repeats, root_command: "gcc --version".into(), ..session(state) }),
        ..opened()
    };
    let escalated = {
        let mut exec = exec(&["./tcc", "-run", "a.c"]);
        exec.process.name = "tcc".into();
        exec.process.executable = Some("/memfd:x".into());
        exec.process.user_name = None;
        exec.process.uid = Some(1000);
        exec.host_uid = Some(101_000);
        exec.origin = Origin::Memfd;
        exec.verdict = Verdict {
            toolchain: Some("tcc".into()),
            confidence: Confidence::High,
            evidence: vec![Evidence::Marker],
            ..verdict("tcc", Kind::Compiler)
        };
        exec.outer = Some(ContainerFacts {
            key: ContainerKey { runtime: Runtime::Lxc, id: "ci".into() },
            metadata: Metadata::default(),
        });
        Alert {
            severity: Severity::High,
            reason: "higher-severity".into(),
            exec: Some(Box::new(exec)),
            session: Some(SessionFacts { execs: 8, exact: false, ..session(SessionState::Escalated) }),
            unexamined: 3,
            suppressed: 2,
            ..opened()
        }
    };
    let build = {
        let mut alert = closed();
        if let Some(session) = &mut alert.session {
            session.execs = 1507;
            session.duration = Duration::from_secs(250);
            session.root_command = "make -j8".into();
            session.users = (0..5).map(|uid| (uid, (uid == 0).then(|| "root".into()))).collect();
            session.programs = (0..40)
                .map(|n| program(&format!("g++-{n}"), "gcc-driver", Kind::Compiler, 300 - n))
                .chain([Program { name: "other".into(), family: String::new(), kind: None, execs: 7 }])
                .collect();
        }
        alert
    };
    let dead = {
        let mut facts = exec(&[]);
        facts.process = ProcessFacts { pid: 20117, ..ProcessFacts::default() };
        facts.container = ContainerFacts {
            key: ContainerKey { runtime: Runtime::Sandbox, id: "mnt-4026532630".into() },
            metadata: Metadata::default(),
        };
        facts.verdict = Verdict { toolchain: None, ..verdict("unknown", Kind::Assembler) };
        facts.build_id = None;
        facts.arguments_known = false;
        facts.confirmed = false;
        facts.pid_namespace = None;
        facts.mnt_namespace = None;
        facts.latency = None;
        facts.host_uid = None;
        facts.ancestors.clear();
        facts.missing = BTreeMap::from([
            ("process.args", Missing::Gone),
            ("process.executable", Missing::Gone),
            ("process.user.id", Missing::Deadline),
        ]);
        Alert {
            severity: Severity::Low,
            exec: Some(Box::new(facts)),
            session: Some(SessionFacts {
                root_command: String::new(),
                users: Vec::new(),
                programs: Vec::new(),
                exact: false,
                ..session(SessionState::Opened)
            }),
            remediation: Vec::new(),
            ..opened()
        }
    };
    let evil = {
        let mut alert = Alert { severity: Severity::High, ..closed() };
        if let Some(exec) = &mut alert.exec {
            exec.process.args_count = Some(4);
            exec.process.name = hostile();
            exec.process.args = Some(vec!["gcc".into(), hostile(), String::new(), "-DX=\"a b\"".into()]);
            exec.process.user_name = Some(hostile());
            exec.process.working_directory = Some(hostile());
            exec.container.metadata.name = Some(hostile());
            exec.container.metadata.image_tag = Some(hostile());
            exec.container.metadata.labels = BTreeMap::from([(format!("a.{}", hostile()), hostile())]);
            exec.verdict.masquerade = true;
            exec.verdict.packed = true;
        }
        if let Some(session) = &mut alert.session {
            session.root_command = hostile();
        }
        alert
    };
    let mut lost = health(Action::EventsLost, "The connector lost 1234 events; container web-1 executed most then");
    if let Some(loss) = &mut lost.loss {
        loss.count = 1234;
        loss.since = Some(moment() - Duration::from_secs(2));
    }
    lost.busiest = Some(container());
    lost.unexamined = 99;
    let sentence = "after a loss of the sensor connector all 211 living processes were looked at";
    let mut recovered = Alert { reason: "swept".into(), ..health(Action::SensorRecovered, sentence) };
    if let Some(loss) = &mut recovered.loss {
        loss.recovered = Some(211);
    }
    let sentence = "17 alerts of one container were held back by a limit; each session's end is told";
    let mut suppressed = Alert { reason: "limit".into(), ..health(Action::Suppressed, sentence) };
    if let Some(loss) = &mut suppressed.loss {
        loss.sensor = None;
        loss.count = 17;
    }
    suppressed.busiest = Some(container());
    suppressed.suppressed = 17;
    vec![
        ("opened", opened()),
        ("closed", closed()),
        ("escalated", escalated),
        ("query-opened", query(SessionState::Opened, 0)),
        ("query-closed", query(SessionState::Closed, 359)),
        ("build-closed", build),
        ("dead-sandbox", dead),
        ("hostile", evil),
        ("events-lost", lost),
        ("sensor-degraded", health(Action::SensorDegraded, "The kernel has no process connector (CONFIG_PROC_EVENTS)")),
        ("sensor-recovered", recovered),
        ("suppressed", suppressed),
    ]
}

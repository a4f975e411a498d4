//! Reports of hosts that lack this or that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::commands::doctor::Sensing;
use crate::container::Runtime;
use crate::event::Missing;
use crate::sensor::status::Uncovered;

fn well() -> Report {
    Report {
        kernel: Kernel {
            release: Ok("4.18.0-553.el8".into()),
            version: Ok(procfs::KernelVersion::new(4, 18, 0)),
            capabilities: Ok(Capabilities(u64::MAX)),
            pid_ns: Initial::Yes,
            user_ns: Initial::Yes,
            cgroup_ns: Initial::Yes,
            net_ns: Initial::Yes,
            connector: true,
            proc_events: Some(true),
            hidepid: None,
            ptrace_scope: None,
        },
        call_filters: true,
        config: ("/etc/ccwatch/ccwatch.toml".into(), false),
        sensors: Sensors::default(),
        connector: Some(Ok(())),
        fanotify: Some(Ok(Way::Mount)),
        coverage: None,
        runtimes: vec!["docker (/var/lib/docker)".into()],
        containers: [(Runtime::Docker, "aa"), (Runtime::Docker, "cc"), (Runtime::Podman, "aa")]
            .map(|(runtime, id)| ContainerKey { runtime, id: id.into() })
            .into(),
        own: None,
        syslog: Some(("unix:/dev/log".into(), Ok(None))),
        alert_file: None,
        state: ("/var/lib/ccwatch".into(), Ok(None)),
        database: Ok(("/etc/ccwatch/fingerprints.d".into(), 2)),
        watcher: None,
    }
}

fn degraded(report: &Report) -> Vec<&'static str> {
    assert_eq!(report.is_degraded(), report.findings().iter().any(|f| f.state == State::Degraded));
    report.findings().iter().filter(|f| f.state == State::Degraded).map(|f| f.subject).collect()
}

#[test]
fn memory_that_nobody_may_read_is_worth_knowing() {
    let says = |scope| {
        let mut report = well();
        report.kernel.ptrace_scope = scope;
        report.findings().into_iter().find(|finding| finding.subject == "memory").map(|finding| finding.state)
    };
    assert_eq!([None, Some(0), Some(2), Some(3)].map(says), [None, None, None, Some(State::Note)]);
}

#[test]
fn all_well() {
    let text = well().render();
    assert_eq!(
            text.split("\nnot covered").next().unwrap(),
            "\
ok        kernel          4.18.0-553.el8
ok        capabilities    all that are needed
ok        system calls    the watcher's are filtered by seccomp
ok        namespaces      the host's
ok        proc-connector  available
ok        fanotify        available: exec events, a mark on each mount of a container (no marks on filesystems before 4.20)
ok        procfs-poll     available: baseline and repair
note      coverage        no watcher with this state directory tells of it now
note      runtimes        docker (/var/lib/docker)
note      containers      3 running: docker 2, podman 1
ok        syslog          unix:/dev/log
note      alert file      switched off
ok        state           /var/lib/ccwatch
ok        database        compiled in, and 2 files of /etc/ccwatch/fingerprints.d
note      watcher         none runs with this state directory
note      config          /etc/ccwatch/ccwatch.toml is not there, the defaults hold
"
        );
    assert!(text.ends_with("\nall well\n"), "{text}");
    assert!(text.contains("counted as unexamined"));
}

#[test]
fn coverage_is_listed_by_container() {
    let mut report = well();
    let uncovered = Uncovered { point: "/far".into(), fs_type: "nfs4".into(), why: "a network filesystem".into() };
    let near =
        ContainerCoverage { name: "docker/aa".into(), by_filesystem: true, mounts: 5, far: 1, uncovered: vec![] };
    let far =
        ContainerCoverage { name: "docker/bb".into(), uncovered: vec![uncovered], mounts: 0, far: 0, ..near.clone() };
    let containers = vec![near, far];
    let fanotify = Some(Way::Filesystem.describe().into());
    let counted = Coverage { connector: true, eager: true, execs: 9, unexamined: 2, ..Coverage::default() };
    report.coverage = Some(Coverage { fanotify, containers, ..counted.clone() });
    let text = report.render();
    assert!(text.contains("looks at each exec at once (eager); 2 of"), "{text}");
    assert_eq!(text.matches("connector (eager)").count(), 4, "it is one reader, for those without a mark too: {text}");
    report.coverage.as_mut().unwrap().eager = false;
    let text = report.render();
    assert!(text.contains("rests in a storm (lazy); 2 of the host's 9 execs unexamined\n"), "{text}");
    let near = "docker/aa: connector (lazy), fanotify by a mark on its filesystem, fanotify on 5 of its mounts, \
                    by a group of its own on 1 that a server answers for\n";
    assert!(text.contains(near), "{text}");
    let far = "docker/bb: connector (lazy), fanotify by a mark on its filesystem; by the connector alone: /far (nfs4: a \
                   network filesystem)\n";
    assert!(text.contains(far), "{text}");
    report.coverage = Some(counted);
    let text = report.render();
    assert!(
        text.contains("no fanotify; the connector looks at each exec at once (eager); 2 of the host's 9"),
        "{text}"
    );
    assert!(text.contains("docker/aa: connector (eager)\n"), "{text}");
    report.coverage = Some(Coverage::default());
    let text = report.render();
    assert!(text.contains("no fanotify; no connector that would count the host's execs; 0 unexamined\n"), "{text}");
    assert!(text.contains("docker/aa: no connector\n"), "{text}");
}

#[test]
fn fanotify_covers_what_is_short() {
    let mut report = well();
    report.fanotify = Some(Ok(Way::Open));
    assert!(report.render().contains("executed from memory"));
    report.connector = Some(Err("none".into()));
    assert!(report.render().contains("note      fanotify        not to be had: this kernel has no exec events"));
    report.connector = Some(Ok(()));
    report.fanotify = Some(Ok(Way::Filesystem));
    let text = report.render();
    assert!(text.contains("ok        fanotify        available"), "{text}");
    assert!(text.contains("executed from memory"), "{text}");
    report.fanotify = None;
    assert!(report.render().contains("note      fanotify        switched off"));
}

#[test]
fn no_connector_is_degraded_and_says_why() {
    let mut report = well();
    report.fanotify = None;
    report.connector = Some(Err("no answer within 100 ms".into()));
    report.kernel.connector = false;
    assert_eq!(degraded(&report), ["proc-connector"]);
    let text = report.render();
    assert!(text.contains("no answer within 100 ms (/proc/net/connector does not list cn_proc"), "{text}");
    assert!(text.contains("available: the only sensor"), "{text}");
    assert!(text.contains("less than the poll's interval"), "{text}");
    assert!(text.ends_with("\n1 degraded\n"), "{text}");
    report.connector = None;
    assert_eq!(degraded(&report), [""; 0]);
}

/// What a watcher differs in from what this host offers.
fn differences(report: &Report) -> Vec<String> {
    let findings = report.findings();
    let differing = findings.iter().filter(|f| f.subject == "its sensors" && f.state == State::Degraded);
    differing.map(|f| f.text.clone()).collect()
}

#[test]
fn a_watcher_that_has_less_than_the_host_is_degraded() {
    let mut report = well();
    let running = |connector, fanotify| {
        let sensors = Some(Sensing { connector, fanotify });
        Some(Running { pid: crate::event::Pid(9), privileges: None, sensors })
    };
    report.coverage = Some(Coverage { fanotify: Some(Way::Mount.describe().into()), ..Coverage::default() });
    report.watcher = running(true, true);
    assert!(report.render().contains("ok        its sensors     proc-connector, fanotify, procfs-poll\n"));
    assert_eq!(degraded(&report), [""; 0]);
    report.watcher = running(false, true);
    assert!(differences(&report)[0].starts_with("it has no proc-connector, which this host offers"));
    report.coverage = None;
    report.watcher = running(true, false);
    assert!(differences(&report)[0].starts_with("it has no fanotify, which this host offers"));
    // What the host does not offer is told of the host.
    report.fanotify = Some(Err("fanotify_init: EPERM".into()));
    assert_eq!(degraded(&report), ["fanotify"]);
    report.fanotify = None;
    assert_eq!(degraded(&report), [""; 0]);
    report.watcher = running(true, true);
    assert_eq!(differences(&report).len(), 2, "switched off since, and says nothing");
    report.fanotify = Some(Ok(Way::Filesystem));
    report.coverage = Some(Coverage { fanotify: Some(Way::Open.describe().into()), ..Coverage::default() });
    assert!(differences(&report)[0].starts_with("its fanotify has open events"));
}

#[test]
fn a_renamed_compiler_is_not_said_to_be_missed() {
    let text = well().render();
    assert!(text.contains("- a compiler of a family that the database does not know"), "{text}");
    assert!(!text.contains("not judged"), "{text}");
}

#[test]
fn everything_else_that_degrades() {
    let mut report = well();
    report.kernel.capabilities = Ok(Capabilities(1 << 12 | 1 << 19));
    report.kernel.version = Ok(procfs::KernelVersion::new(2, 6, 32));
    report.kernel.pid_ns = Initial::No;
    report.kernel.net_ns = Initial::Unknown;
    report.own = Some(ContainerKey { runtime: Runtime::Docker, id: "a\x1bb".into() });
    report.syslog = Some(("unix:/dev/log".into(), Err("No such file or directory".into())));
    report.alert_file = Some(("/var/log/x".into(), Err("Read-only file system".into())));
    report.state.1 = Err("Permission denied".into());
    report.database = Err("/etc/ccwatch/fingerprints.d/a.toml: nonsense".into());
    report.fanotify = Some(Err("fanotify_init: ENOSYS: Function not implemented".into()));
    report.sensors.procfs_poll = Switch::Off;
    let subjects = [
        "kernel",
        "capabilities",
        "capabilities",
        "place",
        "namespaces",
        "fanotify",
        "procfs-poll",
        "syslog",
        "alert file",
        "state",
        "database",
    ];
    assert_eq!(degraded(&report), subjects);
    let text = report.render();
    assert!(text.contains("docker/a\\x1bb"), "{text}");
    assert!(text.contains("not known whether they are the host's: network"), "{text}");
    report.kernel.capabilities = Err(Missing::Denied);
    assert!(report.render().contains("capabilities    unknown: denied"));
}

//! The watcher's own life: what ran before it, signals, a kill and the start after it, sensors switched off, and a
//! storm of execs beside the one that matters.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::docker::Held;
use crate::common::watcher::Setup;
use crate::common::{Alert, Container, Watcher, eventually, program};
use nix::sys::signal::Signal;

const ONE_OBJECT: &[(&str, u64)] = &[("gcc", 1), ("cc1", 1), ("as", 1)];

/// A real gcc whose cc1 waits for the rest of its source: both live until released.
fn waiting_gcc(container: &Container) -> Held {
    let mut gcc = container.hold(&["gcc", "-x", "c", "-c", "-", "-o", "/tmp/a.o"]);
    gcc.write(b"int a;\n");
    eventually("cc1", || container.processes().contains(&"cc1".to_owned()).then_some(()));
    gcc
}

#[test]
fn what_already_runs_is_found_at_the_start() {
    let container = Container::start();
    let gcc = waiting_gcc(&container);
    let watcher = Watcher::start();
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.list("ccwatch.known_by"), ["poll"], "{opened}");
    assert_eq!(opened.text("ccwatch.session.root_command"), "gcc -x c -c - -o /tmp/a.o");
    assert!(gcc.release());
    // gcc and cc1 by the baseline, as by the connector; one session.
    watcher.await_closed(&container.id).assert_counts(ONE_OBJECT);
}

#[test]
fn a_session_older_than_the_watcher_has_no_exact_counts() {
    let container = Container::start();
    container.put("a.c", "int a;\n");
    let mut shell = container.hold(&["sh", "-c", "gcc -c a.c; echo compiled; read word; gcc -c a.c; read word"]);
    shell.await_line("compiled");
    let watcher = Watcher::start();
    shell.write(b"again\n");
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(ONE_OBJECT);
    assert_eq!(closed.at("ccwatch.session.exact"), false, "{closed}");
    drop(shell);
}

#[test]
fn a_killed_watcher_is_continued_by_the_next() {
    let container = Container::start();
    let setup = Setup::new();
    let first = setup.start();
    let gcc = waiting_gcc(&container);
    let opened = first.await_opened(&container.id);
    // An alert waits for no directory: it is kept after it went out.
    let kept = setup.home().join(format!("state/sessions/{}.json", opened.text("ccwatch.session.id")));
    eventually("its session is kept", || kept.exists().then_some(()));
    let last = first.kill().iter().map(|a| a.number("event.sequence")).max().unwrap();

    let second = setup.start();
    let closed = second.await_closed(&container.id);
    assert_eq!(closed.at("ccwatch.session.id"), opened.at("ccwatch.session.id"));
    assert_eq!(closed.text("event.reason"), "watcher-killed");
    let again = second.await_opened(&container.id);
    assert_eq!(again.list("ccwatch.known_by"), ["poll"]);
    assert_ne!(again.at("ccwatch.session.id"), opened.at("ccwatch.session.id"));
    assert!(gcc.release());
    let id = again.text("ccwatch.session.id");
    second.await_alert("its end", |a| a.text("ccwatch.session.id") == id && a.state() == "closed");
    let alerts = second.stop();
    let sequence: Vec<u64> = alerts.iter().map(|a| a.number("event.sequence")).collect();
    assert!(sequence[0] > last && sequence.is_sorted(), "{last}, then {sequence:?}");
}

#[test]
fn a_second_watcher_with_the_same_state_is_refused() {
    let setup = Setup::new();
    let first = setup.start();
    let second = setup.spawn(&mut setup.command());
    let (status, alerts, story) = second.end();
    assert_eq!(status.code(), Some(70), "{story}");
    assert!(alerts.is_empty(), "{story}");
    let lock = setup.home().join("state/sequence");
    assert!(story.contains(&format!("lock {}: another watcher runs", lock.display())), "{story}");
    first.stop();
}

#[test]
fn sigterm_closes_what_is_open() {
    let container = Container::start();
    let watcher = Watcher::start();
    let gcc = waiting_gcc(&container);
    let opened = watcher.await_opened(&container.id);
    let alerts = watcher.stop();
    let closed = alerts.iter().rfind(|a| a.is_of(&container.id)).unwrap();
    assert_eq!(closed.state(), "closed", "{alerts:#?}");
    assert_eq!(closed.at("ccwatch.session.id"), opened.at("ccwatch.session.id"));
    assert!(gcc.release());
}

/// A bound datagram socket that nobody reads and whose queue is full.
fn deaf_socket(path: &Path) -> UnixDatagram {
    let deaf = UnixDatagram::bind(path).unwrap();
    // A sender may not have more than its own buffer's worth under way: a fresh one each time, until one fails at once.
    loop {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        sender.connect(path).unwrap();
        if sender.send(b"x").is_err() {
            return deaf;
        }
        while sender.send(b"x").is_ok() {}
    }
}

/// Lets `end` signal a watcher that has something to say to a syslog which takes nothing; how it ended, and its story.
fn ended_before_a_deaf_syslog(end: impl Fn(&Watcher)) -> (Option<i32>, String) {
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let setup = Setup::new();
    let socket = setup.home().join("log");
    let _deaf = deaf_socket(&socket);
    let target = format!("unix:{}", socket.display());
    let watcher = setup.set("syslog", "enabled", true).set("syslog", "target", target).start();
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id);
    end(&watcher);
    let (status, _, story) = watcher.end();
    (status.code(), story)
}

/// While it waits for a syslog that takes nothing, a second signal ends it.
#[test]
fn a_second_signal_leaves_at_once() {
    let (code, story) = ended_before_a_deaf_syslog(|watcher| {
        watcher.signal(Signal::SIGTERM);
        // From here on it waits for that syslog alone.
        watcher.await_alert("the stop", |a| a.text("event.action") == "watcher-stopped");
        watcher.signal(Signal::SIGINT);
    });
    assert_eq!(code, Some(130), "{story}");
}

/// Stopped, it takes both in one breath, and which thread sees which first is chance.
#[test]
fn two_signals_in_one_breath_are_no_panic() {
    let (code, story) = ended_before_a_deaf_syslog(|watcher| {
        watcher.signal(Signal::SIGSTOP);
        watcher.signal(Signal::SIGTERM);
        watcher.signal(Signal::SIGINT);
        watcher.signal(Signal::SIGCONT);
    });
    assert!(matches!(code, Some(0 | 130)), "{code:?}\n{story}");
}

#[test]
fn sighup_reopens_the_alert_file() {
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let watcher = Watcher::start();
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id);
    let (file, rotated) = (watcher.alert_file(), watcher.home().join("alerts.json.1"));
    let in_file = |path: &std::path::Path, count: usize| {
        eventually("alerts in the file", || {
            (Alert::of_file(path).iter().filter(|alert| alert.is_of(&container.id)).count() == count).then_some(())
        });
    };
    in_file(&file, 2);
    std::fs::rename(&file, &rotated).unwrap();
    watcher.signal(Signal::SIGHUP);
    eventually("a new alert file", || file.exists().then_some(()));
    container.exec(&["sh", "-c", "gcc -c f.c"]);
    in_file(&file, 2);
    in_file(&rotated, 2);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
    watcher.stop();
}

/// The logrotate snippet's script, asked whom it would signal: there may be other watchers on this machine.
#[test]
fn log_rotation_finds_the_watcher() {
    let rotation =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/logrotate/ccwatch")).unwrap();
    let (_, script) = rotation.split_once("postrotate\n").unwrap();
    let (script, _) = script.split_once("endscript").unwrap();
    assert!(script.contains("kill -HUP "), "{script}");
    let script = script.replace("kill -HUP ", "echo ");
    let ask = || {
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    };
    let watcher = Watcher::start();
    assert!(ask().contains(&watcher.pid()), "{:?}", ask());
    // Its own name in another pid namespace, and another command of its.
    let container = Container::start();
    std::fs::copy(program::hold(), container.work().join("ccwatch")).unwrap();
    let inside = container.hold(&["./ccwatch", "run"]);
    inside.await_line("ready");
    let beside = container.work().join("ccwatch");
    let mut doctor = Command::new(beside).arg("doctor").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let outside = i32::try_from(doctor.id()).unwrap();
    let found = ask();
    assert!(found.contains(&watcher.pid()) && !found.contains(&outside), "{found:?}");
    let is_of_container = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|cgroup| cgroup.contains(&container.id))
    };
    assert!(!found.iter().any(is_of_container), "{found:?}");
    drop(doctor.stdin.take());
    doctor.wait().unwrap();
    drop(inside);
    watcher.stop();
}

#[test]
fn an_error_in_the_configuration_keeps_the_old_one() {
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let setup = Setup::new();
    let watcher = setup.start();
    let config = setup.home().join("ccwatch.toml");
    std::fs::write(&config, "[syslog]\nfacilty = \"daemon\"\n").unwrap();
    watcher.signal(Signal::SIGHUP);
    let line = watcher.await_stderr("the error", |line| line.contains("facilty"));
    assert!(line.contains(config.to_str().unwrap()) && line.contains("facility"), "{line}");
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id).assert_counts(ONE_OBJECT);
    watcher.stop();
}

/// What can be taken over is, and what cannot is named.
#[test]
fn a_changed_configuration_is_taken_over_but_for_what_a_start_needs() {
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let setup = Setup::new();
    let watcher = setup.start();
    let other = setup.home().join("other.json");
    let path = other.display().to_string();
    setup.set("alert-file", "path", path).set("sensors", "procfs-poll", "on").write();
    watcher.signal(Signal::SIGHUP);
    watcher.await_stderr("what waits", |line| line.contains("[sensors] was changed: that holds from the next start"));
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id);
    eventually("alerts in the other file", || {
        Alert::of_file(&other).iter().any(|alert| alert.is_of(&container.id)).then_some(())
    });
    watcher.stop();
}

#[test]
fn without_the_connector_the_poll_sees_what_lives() {
    let container = Container::start();
    let setup = Setup::new().set("sensors", "proc-connector", "off").set("sensors", "fanotify", "off");
    let watcher = setup.start();
    let gcc = waiting_gcc(&container);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.list("ccwatch.known_by"), ["poll"], "{opened}");
    assert!(gcc.release());
    let closed = watcher.await_closed(&container.id);
    assert_eq!(closed.at("ccwatch.session.exact"), false, "{closed}");
    watcher.stop();
}

/// A thousand short execs a second in one container hide nothing that another one does.
fn beside_a_storm(name: &str) {
    let (noisy, quiet) = (Container::start(), Container::start());
    std::fs::copy(program::storm(), noisy.work().join("storm")).unwrap();
    std::fs::copy(program::tiny(), noisy.work().join(name)).unwrap();
    quiet.put("f.c", "int f;\n");
    let watcher = Watcher::start();
    let storm = noisy.hold(&["./storm", "1000000", &format!("/work/{name}"), "900"]);
    eventually("the storm", || noisy.processes().contains(&"storm".to_owned()).then_some(()));
    quiet.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&quiet.id).assert_counts(ONE_OBJECT);
    drop(noisy);
    drop(storm);
    let alerts = watcher.stop();
    assert_eq!(alerts.iter().filter(|a| a.is_of(&quiet.id)).count(), 2, "{alerts:#?}");
}

#[test]
fn a_storm_of_tools_hides_nothing() {
    beside_a_storm("tool");
}

#[test]
fn a_storm_of_compilers_hides_nothing() {
    beside_a_storm("gcc");
}

//! The process connector fails while the watcher runs: a stream that falls silent is told and opened anew, messages
//! that the kernel drops are counted and told, and what happened meanwhile and still runs is found.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::process::Command;

use common::watcher::Setup;
use common::{Alert, Container, Watcher, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn change_sockets(act: &str, watcher: &Watcher) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/connector.pl");
    common::run(Command::new("perl").arg(script).arg(act).arg(watcher.pid().to_string()));
}

/// Without fanotify, which sees what the connector misses.
fn start() -> Watcher {
    Setup::new().set("sensors", "fanotify", "off").start()
}

fn is(action: &'static str) -> impl Fn(&Alert) -> bool {
    move |alert| alert.text("event.action") == action
}

#[test]
fn a_stream_that_falls_silent_is_told_and_opened_anew() {
    let container = Container::start();
    container.put("a.c", "int a;\n");
    let watcher = start();
    change_sockets("silence", &watcher);
    // Nobody hears of this one; it lives until the sweep finds it.
    let mut gcc = container.hold(&["gcc", "-x", "c", "-c", "-", "-o", "/tmp/a.o"]);
    gcc.write(b"int a;\n");
    let degraded = watcher.await_alert("sensor-degraded", is("sensor-degraded"));
    let lost = watcher.await_alert("events-lost", is("events-lost"));
    for alert in [&degraded, &lost] {
        assert_eq!(alert.text("ccwatch.lost.sensor"), "connector", "{alert}");
        assert!(alert.at("ccwatch.lost.count").is_null(), "nobody can count them: {alert}");
    }
    watcher.await_alert("sensor-recovered", is("sensor-recovered"));
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.list("ccwatch.known_by"), ["poll"], "{opened}");
    assert!(gcc.release());
    let other = Container::start();
    other.put("a.c", "int a;\n");
    other.exec(&["gcc", "-c", "a.c"]);
    assert_eq!(watcher.await_opened(&other.id).list("ccwatch.known_by"), ["connector"]);
    assert!(watcher.stop().iter().filter(|a| is("sensor-degraded")(a)).count() == 1);
}

#[test]
fn dropped_messages_are_counted_and_told() {
    let container = Container::start();
    std::fs::copy(program::storm(), container.work().join("storm")).unwrap();
    std::fs::copy(program::tiny(), container.work().join("tool")).unwrap();
    let watcher = start();
    change_sockets("shrink", &watcher);
    let pid = Pid::from_raw(watcher.pid());
    kill(pid, Signal::SIGSTOP).unwrap();
    container.exec(&["./storm", "3000", "/work/tool", "0"]);
    let mut gcc = container.hold(&["gcc", "-x", "c", "-c", "-", "-o", "/tmp/a.o"]);
    gcc.write(b"int a;\n");
    common::eventually("cc1", || container.processes().contains(&"cc1".to_owned()).then_some(()));
    kill(pid, Signal::SIGCONT).unwrap();
    let lost = watcher.await_alert("events-lost", is("events-lost"));
    assert_eq!(lost.text("ccwatch.lost.sensor"), "connector", "{lost}");
    assert!(lost.number("ccwatch.lost.count") > 1000, "{lost}");
    watcher.await_alert("sensor-recovered", is("sensor-recovered"));
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.list("ccwatch.known_by"), ["poll"], "{opened}");
    assert!(gcc.release());
}

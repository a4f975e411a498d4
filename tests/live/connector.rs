//! The process connector fails while the watcher runs: messages that the kernel drops are counted and told, and what
//! happened meanwhile and still runs is found.

use crate::common::alert::is;
use crate::common::watcher::Setup;
use crate::common::{self, Alert, Container, Watcher, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Without fanotify, which sees what the connector misses.
fn start() -> Watcher {
    Setup::new().set("sensors", "fanotify", "off").start()
}

/// fanotify goes on seeing what is executed, and that no EXEC follows says soon enough who is deaf.
#[test]
fn what_fanotify_saw_meanwhile_is_counted() {
    let container = Container::start();
    std::fs::copy(program::storm(), container.work().join("storm")).unwrap();
    std::fs::copy(program::disguised(20), container.work().join("gcc")).unwrap();
    let watcher = Setup::new().start();
    container.exec(&["./storm", "1", "/work/gcc"]);
    watcher.await_opened(&container.id);
    watcher.change_connector("silence");
    container.exec(&["./storm", "20", "/work/gcc"]);
    watcher.await_alert("sensor-degraded", is("sensor-degraded"));
    watcher.await_alert("sensor-recovered", is("sensor-recovered"));
    let is_closed = |a: &Alert| a.is_of(&container.id) && a.state() == "closed";
    let closed: Vec<Alert> = watcher.stop().into_iter().filter(is_closed).collect();
    // Five and no more run in the tenth of a second in which it might be late and not deaf.
    let execs: u64 = closed.iter().map(|a| a.number("ccwatch.session.execs")).sum();
    assert!((15..=21).contains(&execs), "{closed:?}");
    assert!(closed.iter().any(|a| a.at("ccwatch.session.exact") == &serde_json::json!(false)), "{closed:?}");
}

/// Without a random stack two images of one process differ by their files alone.
#[test]
fn a_process_that_becomes_a_compiler_without_a_random_stack() {
    let container = Container::idle(&["--security-opt", "seccomp=unconfined"]);
    std::fs::copy(program::inside(), container.work().join("inside")).unwrap();
    std::fs::copy(program::disguised(400), container.work().join("tooled")).unwrap();
    let watcher = start();
    let acts = ["/work/inside", "say", "up", "wait", "become", "/work/tooled"];
    let mut held = container.hold(&[&["/work/inside", "unrandom", "--"], &acts[..]].concat());
    held.await_line("up");
    held.write(b"x");
    watcher.await_opened(&container.id);
    held.release();
}

#[test]
fn dropped_messages_are_counted_and_told() {
    let container = Container::start();
    std::fs::copy(program::storm(), container.work().join("storm")).unwrap();
    std::fs::copy(program::tiny(), container.work().join("tool")).unwrap();
    let watcher = start();
    watcher.change_connector("shrink");
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

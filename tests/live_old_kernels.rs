//! The ways in which older kernels let execs be seen, forced on this one: exec events with mount marks, as on RHEL 8's
//! 4.18, and open events with mount marks, as before 5.0. The counts are those of tests/live_fanotify.rs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::docker::{Container, Plan};
use common::watcher::{Setup, Watcher};
use common::{Alert, image};

/// Every watcher sees every container: the storm of one test would be all others' too.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exec events with mount marks.
fn by_mount() -> Setup {
    Setup::new().without("filesystem-marks")
}

/// Open events with mount marks.
fn by_open() -> Setup {
    Setup::new().set("sensors", "fanotify", "open")
}

fn tiny(command: &[&str]) -> Container {
    Container::run(&Plan { options: vec![], image: image::tiny(), command })
}

/// A container that waits in `storm`, whose program does not exist.
fn idle() -> Container {
    tiny(&["/usr/bin/storm", "1000000", "/none", "999000"])
}

/// Execs of the closed sessions of a container.
fn closed(alerts: &[Alert], container: &str) -> u64 {
    let of = alerts.iter().filter(|a| a.is_of(container) && a.state() == "closed");
    of.map(|a| a.number("ccwatch.session.execs")).sum()
}

fn await_counted(watcher: &Watcher, container: &str, count: u64) {
    watcher.await_alerts("all execs", |alerts| closed(alerts, container) >= count);
}

/// Storms in a container that ran before, innocent ones in between.
fn storms(setup: &Setup) {
    let _turn = alone();
    let container = idle();
    let watcher = setup.start();
    for round in 1..=5 {
        container.exec_with(&["-w", "/"], &["/usr/bin/storm", "5000", "/usr/bin/tool"]);
        container.exec_with(&["-w", "/"], &["/usr/bin/storm", "20000", "/usr/bin/gcc"]);
        await_counted(&watcher, &container.id, round * 20_000);
    }
    let alerts = watcher.stop();
    assert_eq!(closed(&alerts, &container.id), 100_000);
    let lost = alerts.iter().find(|a| a.text("event.action") == "events-lost");
    assert!(lost.is_none(), "{lost:?}");
}

/// Containers that live some milliseconds, one after another and fifty at once, and one that is removed in its storm.
fn short_lives(setup: &Setup) {
    let _turn = alone();
    image::tiny();
    let watcher = setup.start();
    let one = tiny(&["/usr/bin/gcc"]);
    await_counted(&watcher, &one.id, 1);
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..50).map(|_| scope.spawn(|| tiny(&["/usr/bin/gcc"]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for container in containers.iter().chain([&one]) {
        await_counted(&watcher, &container.id, 1);
    }
    let stormy = idle();
    stormy.exec_with(&["-w", "/"], &["/usr/bin/storm", "5000", "/usr/bin/gcc"]);
    let id = stormy.id.clone();
    drop(stormy);
    await_counted(&watcher, &id, 5000);
    let alerts = watcher.stop();
    assert_eq!(closed(&alerts, &id), 5000);
    for container in containers.iter().chain([&one]) {
        assert_eq!(closed(&alerts, &container.id), 1, "{}", container.id);
    }
}

#[test]
fn storms_by_mount() {
    storms(&by_mount());
}

#[test]
fn storms_by_open() {
    storms(&by_open());
}

#[test]
fn short_lives_by_mount() {
    short_lives(&by_mount());
}

#[test]
fn short_lives_by_open() {
    short_lives(&by_open());
}

/// A compiler that is opened, copied and searched is not executed.
#[test]
fn an_opened_compiler_is_no_exec() {
    let _turn = alone();
    let container = Container::start();
    let watcher = by_open().start();
    for command in ["exec 3</usr/bin/gcc; exec /bin/ls /", "cp /usr/bin/gcc /tmp/other", "grep -q x /usr/bin/gcc; true"]
    {
        for _ in 0..20 {
            container.exec(&["sh", "-c", command]);
        }
    }
    container.put("a.c", "int a;\n");
    container.exec(&["gcc", "-c", "a.c"]);
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(|a| a.is_of(&container.id)).collect();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
}

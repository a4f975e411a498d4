//! Programs that live 30 microseconds: each is counted, and with the right container, in a real Docker container.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::docker::{Container, Plan, docker};
use common::watcher::{Setup, Watcher};
use common::{Alert, image};

/// Every watcher sees every container: the storm of one test would be all others' too.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Waits until the sessions of a container that are closed have counted so many.
fn await_counted(watcher: &Watcher, container: &str, count: u64) {
    watcher.await_alerts("all execs", |alerts| closed(alerts, container) >= count);
}

#[test]
fn a_storm_of_20000_is_counted_to_the_last() {
    let _turn = alone();
    let container = idle();
    let watcher = Watcher::start();
    for round in 1..=5 {
        container.exec_with(&["-w", "/"], &["/usr/bin/storm", "20000", "/usr/bin/gcc"]);
        await_counted(&watcher, &container.id, round * 20_000);
    }
    let alerts = watcher.stop();
    assert_eq!(closed(&alerts, &container.id), 100_000);
    let lost = alerts.iter().find(|a| a.text("event.action") == "events-lost");
    assert!(lost.is_none(), "{lost:?}");
}

/// The container is gone when the last of its execs are judged.
#[test]
fn a_storm_in_a_container_that_is_removed_at_once() {
    let _turn = alone();
    let container = idle();
    let watcher = Watcher::start();
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", "5000", "/usr/bin/gcc"]);
    let id = container.id.clone();
    drop(container);
    await_counted(&watcher, &id, 5000);
    assert_eq!(closed(&watcher.stop(), &id), 5000);
}

#[test]
fn an_entrypoint_that_is_gone_at_once() {
    let _turn = alone();
    let watcher = Watcher::start();
    for _ in 0..5 {
        let container = tiny(&["/usr/bin/gcc"]);
        // On a busy machine its EXEC may come after the alert has gone; it is counted all the same.
        watcher.await_opened(&container.id);
        await_counted(&watcher, &container.id, 1);
    }
}

#[test]
fn fifty_containers_at_once() {
    let _turn = alone();
    // Made before, as the image is made but once.
    image::tiny();
    let watcher = Watcher::start();
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..50).map(|_| scope.spawn(|| tiny(&["/usr/bin/gcc"]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for container in &containers {
        await_counted(&watcher, &container.id, 1);
    }
    let alerts = watcher.stop();
    for container in &containers {
        assert_eq!(closed(&alerts, &container.id), 1, "{}", container.id);
    }
}

/// What is no compiler is silent, however often it runs.
#[test]
fn a_storm_of_tools_is_silent() {
    let _turn = alone();
    let container = idle();
    let watcher = Watcher::start();
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", "5000", "/usr/bin/tool"]);
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", "10", "/usr/bin/gcc"]);
    await_counted(&watcher, &container.id, 10);
    assert_eq!(closed(&watcher.stop(), &container.id), 10);
}

/// A container can be removed, and its filesystem unmounted, while it is watched.
#[test]
fn nothing_is_kept_alive() {
    let _turn = alone();
    let watcher = Watcher::start();
    let container = idle();
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", "100", "/usr/bin/gcc"]);
    let merged = common::run(docker().args(["inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", &container.id]));
    let id = container.id.clone();
    common::run(docker().args(["stop", "-t", "0", &id]));
    common::run(docker().args(["rm", &id]));
    assert!(!std::path::Path::new(&merged).exists(), "{merged}");
    await_counted(&watcher, &id, 100);
    watcher.stop();
}

/// Without the connector nothing tells whether an exec succeeded: it is counted, and says so.
#[test]
fn without_the_connector_execs_are_attempts() {
    let _turn = alone();
    let container = idle();
    let watcher = Setup::new().set("sensors", "proc-connector", "off").set("sensors", "procfs-poll", "off").start();
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", "1000", "/usr/bin/gcc"]);
    await_counted(&watcher, &container.id, 1000);
    let alerts = watcher.stop();
    let last = alerts.iter().rfind(|a| a.is_of(&container.id)).unwrap();
    assert_eq!(last.number("ccwatch.session.execs"), 1000);
    assert_eq!(last.at("ccwatch.session.exact"), false);
    assert_eq!(last.at("ccwatch.confirmed"), false);
    assert_eq!(last.list("ccwatch.known_by"), ["fanotify"]);
}

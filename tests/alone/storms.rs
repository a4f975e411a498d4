//! Programs that live 30 microseconds: each is counted, and with the right container, in a real Docker container. In
//! each of the ways in which kernels let fanotify see execs; those of older ones are forced on this one, which is also made
//! to believe that it is one of those.

use crate::common::alert::{self, Alert};
use crate::common::docker::{Container, Plan, docker};
use crate::common::watcher::Setup;
use crate::common::{image, run};
use crate::{alone, watch};

/// Exec events with mount marks.
fn by_mount() -> Setup {
    Setup::new().kernel("4.18-el8")
}

/// Open events with mount marks.
fn by_open() -> Setup {
    Setup::new().set("sensors", "fanotify", "open")
}

fn tiny(command: &[&str]) -> Container {
    Container::run(&Plan { options: vec![], image: image::tiny(), command })
}

fn storm(container: &Container, count: u64, program: &str) {
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", &count.to_string(), program]);
}

/// Storms in a container that ran before, innocent ones in between; what each of the watchers says, that watch at once.
fn storms<const N: usize>(setups: [Setup; N], rounds: u64) -> [Vec<Alert>; N] {
    let _turn = alone();
    let container = Container::idle(&[]);
    let watchers = setups.map(|setup| setup.brief().start());
    for _ in 0..rounds {
        storm(&container, 5000, "/usr/bin/tool");
        storm(&container, 20_000, "/usr/bin/gcc");
    }
    watchers.map(|watcher| {
        watcher.await_counted(&container.id, rounds * 20_000);
        let alerts = watcher.stop();
        assert_eq!(alert::closed_execs(&alerts, &container.id), rounds * 20_000);
        let lost = alerts.iter().find(|a| a.text("event.action") == "events-lost");
        assert!(lost.is_none(), "{lost:?}");
        alerts
    })
}

/// Containers that live some milliseconds, one after another and many at once, and one that is removed in its storm.
#[test]
fn short_lives_by_each_way() {
    let _turn = alone();
    // Made before, as the image is made but once.
    image::tiny();
    let watchers = [Setup::new(), by_mount(), Setup::new().kernel("3.10-bare")].map(|setup| setup.brief().start());
    let mut containers = Vec::new();
    for _ in 0..5 {
        let one = tiny(&["/usr/bin/gcc"]);
        // On a busy machine its EXEC may come after the alert has gone; it is counted all the same.
        for watcher in &watchers {
            watcher.await_opened(&one.id);
        }
        containers.push(one);
    }
    containers.extend(std::thread::scope(|scope| {
        let runs: Vec<_> = (0..50).map(|_| scope.spawn(|| tiny(&["/usr/bin/gcc"]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    }));
    let stormy = Container::idle(&[]);
    storm(&stormy, 5000, "/usr/bin/gcc");
    let id = stormy.id.clone();
    drop(stormy);
    for (watcher, marks_before) in watchers.into_iter().zip([true, false, false]) {
        watcher.await_counted(&id, 5000);
        let alerts = watcher.stop();
        assert_eq!(alert::closed_execs(&alerts, &id), 5000);
        let counts = containers.iter().map(|container| alert::closed_execs(&alerts, &container.id));
        let (counted, others): (Vec<u64>, Vec<u64>) = counts.partition(|count| *count == 1);
        assert!(others.iter().all(|count| *count == 0), "{others:?}");
        // A mark on a mount comes after the container's namespace was found, which may have ended by then: that is told.
        let unexamined = alerts.iter().map(|alert| alert.number("ccwatch.coverage.unexamined")).max().unwrap();
        let told = if marks_before { 0 } else { unexamined.min(containers.len() as u64 / 10) };
        assert!(others.len() as u64 <= told, "{} of {} counted, {told} told", counted.len(), containers.len());
    }
}

#[test]
fn storms_by_each_way() {
    let [_, _, by_open] = storms([Setup::new(), by_mount(), by_open()], 5);
    // An open and an exec of the same process may be two things: the record of its end says that they are one.
    assert!(by_open.iter().any(|a| a.list("ccwatch.known_by") == ["fanotify", "connector", "taskstats"]));
    let unconfirmed = by_open.iter().find(|a| a.at("ccwatch.confirmed") == false);
    assert!(unconfirmed.is_none(), "{unconfirmed:?}");
}

#[test]
fn a_container_that_is_removed_in_its_storm() {
    let _turn = alone();
    let container = Container::idle(&[]);
    let watcher = Setup::new().brief().start();
    let storm = container.hold(&["/usr/bin/storm", "1000000", "/usr/bin/gcc"]);
    watcher.await_opened(&container.id);
    run(docker().args(["rm", "-f", &container.id]));
    let closed = watcher.await_closed(&container.id);
    assert_eq!(closed.text("container.name"), container.name);
    assert!(closed.execs_of("gcc") > 0, "{closed}");
    drop(storm);
    let others: Vec<_> = watcher.stop().into_iter().filter(|a| !a.is_of(&container.id) && a.state() != "").collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// A compiler that is opened, copied and searched is not executed.
#[test]
fn an_opened_compiler_is_no_exec() {
    let _turn = alone();
    let container = Container::start();
    let watcher = by_open().start();
    for command in ["exec 3</usr/bin/gcc; exec /bin/ls /", "cp /usr/bin/gcc /tmp/other", "grep -q x /usr/bin/gcc; true"]
    {
        let again = format!("for i in 1 2 3 4 5 6 7 8 9 10; do ({command}); done");
        container.exec(&["sh", "-c", &again]);
        container.exec(&["sh", "-c", command]);
    }
    container.put("a.c", "int a;\n");
    container.exec(&["gcc", "-c", "a.c"]);
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
    let alerts = watcher.stop();
    let alerts: Vec<_> = alerts.iter().filter(|a| a.is_of(&container.id)).collect();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
}

/// What is no compiler is silent, however often it runs.
#[test]
fn a_storm_of_tools_is_silent() {
    let _turn = alone();
    let container = Container::idle(&[]);
    let watcher = watch();
    storm(&container, 5000, "/usr/bin/tool");
    storm(&container, 10, "/usr/bin/gcc");
    watcher.await_counted(&container.id, 10);
    assert_eq!(alert::closed_execs(&watcher.stop(), &container.id), 10);
}

/// A container can be removed, and its filesystem unmounted, while it is watched.
#[test]
fn nothing_is_kept_alive() {
    let _turn = alone();
    let watcher = watch();
    let container = Container::idle(&[]);
    storm(&container, 100, "/usr/bin/gcc");
    let merged = container.merged();
    let id = container.id.clone();
    run(docker().args(["stop", "-t", "0", &id]));
    run(docker().args(["rm", &id]));
    assert!(!merged.exists(), "{merged:?}");
    watcher.await_counted(&id, 100);
    watcher.stop();
}

/// Without the connector nothing tells whether an exec succeeded: it is counted, and says so.
#[test]
fn without_the_connector_execs_are_attempts() {
    let _turn = alone();
    let container = Container::idle(&[]);
    let watcher = Setup::new().set("sensors", "proc-connector", "off").set("sensors", "procfs-poll", "off").start();
    storm(&container, 1000, "/usr/bin/gcc");
    watcher.await_counted(&container.id, 1000);
    let alerts = watcher.stop();
    let last = alerts.iter().rfind(|a| a.is_of(&container.id)).unwrap();
    assert_eq!(last.number("ccwatch.session.execs"), 1000);
    assert_eq!(last.at("ccwatch.session.exact"), false);
    assert_eq!(last.at("ccwatch.confirmed"), false);
    assert_eq!(last.list("ccwatch.known_by"), ["fanotify"]);
}

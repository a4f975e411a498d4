//! What `[policy]`, `[limits]` and `session.max` say is what is told.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::common::docker::docker;
use crate::common::watcher::Setup;
use crate::common::{Alert, Container, Watcher, image, program, run};

/// A container with a C file.
fn container() -> Container {
    let container = Container::start();
    container.put("f.c", "int f;\n");
    container
}

/// Stops it; the alerts of this container.
fn told(watcher: Watcher, container: &Container) -> Vec<Alert> {
    watcher.stop().into_iter().filter(|alert| alert.is_of(&container.id)).collect()
}

/// Has the engine's BuildKit run a command in the gcc image, asked as its own command line would, which may lack the
/// plugin for it. The image that it makes is labelled as that one is, and is gone at the end.
fn build(command: &str) {
    let dockerfile = format!("FROM {}\nRUN {command}\n", image::gcc());
    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let archive = context.path().join("context.tar");
    run(std::process::Command::new("tar").arg("-C").arg(context.path()).arg("-cf").arg(&archive).arg("Dockerfile"));
    let tar = std::fs::read(archive).unwrap();
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let mut engine = UnixStream::connect(host.strip_prefix("unix://").unwrap()).unwrap();
    let head = format!(
        "POST /build?version=2&networkmode=none&nocache=1 HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        tar.len()
    );
    engine.write_all(&[head.as_bytes(), &tar].concat()).unwrap();
    let mut said = String::new();
    engine.read_to_string(&mut said).unwrap();
    assert!(said.contains(r#""ID":""#), "no image was built: {said}");
    let (_, id) = said.split_once(r#""ID":""#).unwrap();
    run(docker().args(["rmi", id.split('"').next().unwrap()]));
}

#[test]
fn what_a_build_executes_is_low_or_is_not_told() {
    let is_of_build = |alert: &Alert| alert.text("container.runtime") == "buildkit";
    let (low, deaf) = (Watcher::start(), Setup::new().set("policy", "build-containers", "ignore").start());
    build("echo 'int f;' >/f.c && gcc -c /f.c -o /f.o");
    let closed = low.await_alert("the build", |alert| is_of_build(alert) && alert.state() == "closed");
    assert_eq!((closed.text("ccwatch.severity"), closed.execs_of("gcc")), ("low", 1), "{closed}");
    let container = container();
    container.exec(&["gcc", "-c", "f.c"]);
    deaf.await_closed(&container.id);
    let of_builds: Vec<Alert> = deaf.stop().into_iter().filter(is_of_build).collect();
    assert!(of_builds.is_empty(), "{of_builds:#?}");
    low.stop();
}

#[test]
fn queries_can_be_ignored() {
    let container = container();
    // It lives until its arguments are read for certain.
    std::fs::copy(program::hold(), container.work().join("gcc")).unwrap();
    let watcher = Setup::new().set("policy", "queries", "ignore").start();
    let held = container.hold(&["./gcc", "--version"]);
    held.await_line("ready");
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
    assert!(held.release());
    let alerts = told(watcher, &container);
    assert_eq!(alerts.iter().map(Alert::state).collect::<Vec<_>>(), ["opened", "closed"], "{alerts:#?}");
}

#[test]
fn kinds_that_are_no_findings_are_neither_told_nor_counted() {
    let container = container();
    let watcher = Setup::new().set("policy", "findings", vec!["compiler"]).start();
    container.exec(&["as", "/dev/null", "-o", "/dev/null"]);
    container.exec(&["gcc", "-c", "f.c"]);
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 1)]);
    assert_eq!(told(watcher, &container).len(), 2);
}

#[test]
fn what_a_limit_holds_back_is_counted_and_its_ends_are_told() {
    let container = container();
    let watcher = Setup::new().set("limits", "alerts-per-container", 2).start();
    for _ in 0..5 {
        container.exec(&["gcc", "-c", "f.c"]);
    }
    let is_closed = |alert: &&Alert| alert.is_of(&container.id) && alert.state() == "closed";
    watcher.await_alerts("five ends", |alerts| alerts.iter().filter(is_closed).count() == 5);
    let alerts = told(watcher, &container);
    let of_state = |state: &str| alerts.iter().filter(|alert| alert.state() == state).count();
    assert_eq!((of_state("opened"), of_state("closed")), (2, 5), "{alerts:#?}");
    let held_back = alerts.iter().find(|alert| alert.text("event.action") == "suppressed").unwrap();
    assert_eq!(held_back.number("ccwatch.suppressed"), 3, "{held_back}");
}

#[test]
fn a_session_is_closed_at_its_age_and_another_opened() {
    let container = container();
    let watcher = Setup::new().set("session", "max", "1s").start();
    let held = container.hold(&["sh", "-c", "while ! [ -e /work/enough ]; do gcc -c f.c; done; cat"]);
    let is_of = |state: &'static str| {
        let container = &container;
        move |alert: &&Alert| alert.is_of(&container.id) && alert.state() == state
    };
    watcher.await_alerts("a third session", |alerts| alerts.iter().filter(is_of("opened")).count() == 3);
    container.put("enough", "");
    assert!(held.release());
    watcher.await_alerts("its end", |alerts| alerts.iter().filter(is_of("closed")).count() >= 3);
    let alerts = told(watcher, &container);
    let closed: Vec<&Alert> = alerts.iter().filter(is_of("closed")).collect();
    assert_eq!(closed.len(), alerts.iter().filter(is_of("opened")).count());
    let execs_of = |program| closed.iter().map(|alert| alert.execs_of(program)).sum::<u64>();
    assert!(closed.iter().all(|alert| alert.number("ccwatch.session.execs") > 0), "{closed:#?}");
    // One may end in the middle of a compile.
    assert!(execs_of("gcc") > 0 && execs_of("gcc").abs_diff(execs_of("as")) <= 1, "{closed:#?}");
}

#[test]
fn what_is_larger_than_may_be_read_is_judged_by_its_name_and_says_so() {
    let container = container();
    container.exec(&["cp", "/usr/bin/gcc", "report"]);
    let watcher = Setup::new().set("limits", "read-bytes", 65_536).start();
    container.exec(&["/work/report", "--version"]);
    container.exec(&["gcc", "-c", "f.c"]);
    let closed = watcher.await_closed(&container.id);
    let of_gcc = watcher.await_opened(&container.id);
    assert_eq!(of_gcc.text("process.name"), "gcc", "{of_gcc}");
    assert_eq!(of_gcc.list("ccwatch.verdict.evidence"), ["name", "read-limit"], "{of_gcc}");
    assert_eq!(of_gcc.text("ccwatch.severity"), "low", "{of_gcc}");
    assert!(closed.number("ccwatch.coverage.unexamined") >= 1, "{closed}");
    watcher.stop();
}

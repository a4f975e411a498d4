//! One `gcc hello.c -o hello` in a real container, by every way it can come there: two alerts, every program counted,
//! every fact of the contract that a process' short life allows. Builds of many files are builds.rs's.

use crate::common::docker::{Plan, put};
use crate::common::{self, Alert, Container, image};
use crate::{alone, watch};

const HELLO: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n";

/// The five execs of compiling and linking one C file.
const ONE_FILE: &[(&str, u64)] = &[("gcc", 1), ("cc1", 1), ("as", 1), ("collect2", 1), ("ld", 1)];

/// Fails unless these are the container's only alerts.
fn assert_pair(alerts: &[Alert], container: &str, counts: &[(&str, u64)]) {
    let states: Vec<&str> = alerts.iter().filter(|a| a.is_of(container)).map(Alert::state).collect();
    assert_eq!(states, ["opened", "closed"], "{alerts:#?}");
    alerts.iter().rfind(|a| a.is_of(container)).unwrap().assert_counts(counts);
}

#[test]
fn docker_exec_makes_one_pair() {
    let _turn = alone();
    let container = Container::start();
    container.put("hello.c", HELLO);
    let watcher = watch();
    container.exec(&["sh", "-c", "gcc hello.c -o hello && ./hello"]);
    let opened = watcher.await_opened(&container.id);
    let closed = watcher.await_closed(&container.id);
    assert_eq!(opened.at("ccwatch.session.id"), closed.at("ccwatch.session.id"));
    assert_eq!(closed.at("ccwatch.session.exact"), true, "{closed}");
    assert_eq!(closed.at("ccwatch.session.users"), &serde_json::json!([{"id": "0", "name": "root"}]), "{closed}");
    assert_pair(&watcher.stop(), &container.id, ONE_FILE);
}

#[test]
fn labels_beyond_the_limit_are_told() {
    let _turn = alone();
    let labels: Vec<String> = (0..400).flat_map(|n| ["--label".to_owned(), format!("k{n}=v")]).collect();
    let container = Container::with(&labels.iter().map(String::as_str).collect::<Vec<_>>());
    container.put("f.c", "int f;\n");
    let watcher = watch();
    container.exec(&["gcc", "-c", "f.c"]);
    let closed = watcher.await_closed(&container.id);
    assert_eq!(closed.at("container.labels").as_object().unwrap().len(), 64, "{closed}");
    assert_eq!(closed.list("ccwatch.cut"), ["container.labels"], "{closed}");
}

/// The contract's fields, on an alert about a compiler that lives as long as the test wants.
#[test]
fn opened_tells_who_ran_what_where() {
    let _turn = alone();
    let container = Container::with(&["--label", "com.example.team=blue"]);
    let watcher = watch();
    // gcc that reads its source from a pipe: gcc and cc1 live until the pipe is closed. The `:` keeps sh from exec.
    let script = "cd /tmp && gcc -x c - -o hello; :";
    let mut shell = container.hold(&["sh", "-c", script]);
    shell.write(HELLO.as_bytes());
    let opened = watcher.await_opened(&container.id);
    let (tag, image) = image_of(&container);
    for (name, expected) in [
        ("event.kind", "alert"),
        ("event.action", "compiler-executed"),
        ("event.reason", "container-compiler-executed"),
        ("rule.id", "container-compiler-executed"),
        ("host.os.type", "linux"),
        ("container.name", container.name.as_str()),
        ("container.runtime", "docker"),
        ("container.image.name", image.as_str()),
        ("container.labels.com_example_team", "blue"),
        ("process.name", "gcc"),
        ("process.command_line", "gcc -x c - -o hello"),
        ("process.working_directory", "/tmp"),
        ("process.user.id", "0"),
        ("process.user.name", "root"),
        ("process.parent.name", "sh"),
        ("process.parent.command_line", format!("sh -c {script}").as_str()),
        ("process.session_leader.name", "sh"),
        ("ccwatch.session.root_command", format!("sh -c {script}").as_str()),
        ("ccwatch.verdict.kind", "compiler"),
        ("ccwatch.verdict.family", "gcc-driver"),
        ("ccwatch.verdict.toolchain", "gnu"),
        ("ccwatch.arguments", "known"),
    ] {
        assert_eq!(opened.text(name), expected, "{name} in {opened}");
    }
    assert_eq!(opened.list("process.args"), ["gcc", "-x", "c", "-", "-o", "hello"]);
    assert_eq!(opened.number("process.args_count"), 6);
    assert_eq!(opened.list("container.image.tag"), [tag]);
    assert_eq!(opened.list("ccwatch.known_by"), ["fanotify", "connector"]);
    assert!(opened.text("process.executable").contains("gcc"), "{opened}");
    assert_eq!(opened.text("process.hash.sha256").len(), 64, "{opened}");
    for (name, expected) in [("ccwatch.confirmed", true), ("ccwatch.query", false), ("process.interactive", false)] {
        assert_eq!(opened.at(name), expected, "{name} in {opened}");
    }
    assert_eq!(opened.number("ccwatch.schema"), 1);
    assert_eq!(opened.number("ccwatch.host_uid"), 0);
    assert!(opened.number("ccwatch.latency_us") > 0);
    assert_graded(&opened);
    // The host sees the shell as the session's leader and gcc's parent; the container counts from 1.
    assert_eq!(opened.at("process.parent.pid"), opened.at("process.session_leader.pid"));
    assert!(opened.number("process.vpid") < opened.number("process.pid"), "{opened}");
    assert_eq!(opened.at("ccwatch.ancestors.0"), &serde_json::Value::Null);
    assert_eq!(opened.at("ccwatch.ancestors")[0]["name"], "sh", "{opened}");
    assert!(opened.number("ccwatch.namespaces.pid") > 0 && opened.number("ccwatch.namespaces.mnt") > 0);
    assert!(shell.release());
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(ONE_FILE);
    assert_graded(&closed);
}

/// The word, the number and the log level of a severity agree, and a name alone is never high.
fn assert_graded(alert: &Alert) {
    let severity = alert.text("ccwatch.severity");
    let number = [("low", 21), ("medium", 47), ("high", 73), ("critical", 99)].iter().find(|(s, _)| *s == severity);
    assert_eq!(alert.number("event.severity"), number.unwrap().1, "{alert}");
    if alert.text("ccwatch.verdict.confidence") == "low" {
        assert!(["low", "medium"].contains(&severity), "{alert}");
    }
}

/// Tag and name of the image that the test container came from.
fn image_of(container: &Container) -> (String, String) {
    let id = common::run(common::docker::docker().args(["inspect", "-f", "{{.Config.Image}}", &container.id]));
    let (name, tag) = id.rsplit_once(':').unwrap();
    (tag.to_owned(), name.to_owned())
}

#[test]
fn an_entrypoint_is_seen_like_any_other() {
    let _turn = alone();
    let watcher = watch();
    let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    put(work.path(), "hello.c", HELLO);
    let command = ["gcc", "hello.c", "-o", "hello"];
    let container = Container::run_in(&Plan { options: vec![], image: image::gcc(), command: &command }, work);
    assert_eq!(container.wait(), 0);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.text("ccwatch.session.root_command"), "gcc hello.c -o hello");
    assert_eq!(opened.text("container.name"), container.name);
    assert_eq!(opened.number("process.vpid"), 1);
    watcher.await_closed(&container.id);
    assert_pair(&watcher.stop(), &container.id, ONE_FILE);
}

#[test]
fn another_user_is_named_as_the_container_names_him() {
    let _turn = alone();
    let container = Container::start();
    container.put("hello.c", HELLO);
    let watcher = watch();
    container.exec_with(&["-u", "1000"], &["gcc", "hello.c", "-o", "hello"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.text("process.user.id"), "1000", "{opened}");
    assert_eq!(opened.text("process.user.name"), "builder");
    assert_eq!(opened.number("ccwatch.host_uid"), 1000);
    let closed = watcher.await_closed(&container.id);
    assert_eq!(closed.at("ccwatch.session.users"), &serde_json::json!([{"id": "1000", "name": "builder"}]));
}

#[test]
fn two_containers_at_once_do_not_mix() {
    let _turn = alone();
    let (one, two) = (Container::start(), Container::start());
    for container in [&one, &two] {
        container.put("hello.c", HELLO);
    }
    let watcher = watch();
    std::thread::scope(|scope| {
        scope.spawn(|| one.exec(&["sh", "-c", "for i in 1 2 3; do gcc hello.c -o hello; done"]));
        scope.spawn(|| two.exec(&["sh", "-c", "for i in 1 2 3; do gcc -c hello.c; done"]));
    });
    watcher.await_closed(&one.id);
    watcher.await_closed(&two.id);
    let alerts = watcher.stop();
    assert_pair(&alerts, &one.id, &[("gcc", 3), ("cc1", 3), ("as", 3), ("collect2", 3), ("ld", 3)]);
    assert_pair(&alerts, &two.id, &[("gcc", 3), ("cc1", 3), ("as", 3)]);
}

/// What is no compiler makes no alert, and a compiler of the host makes none either.
#[test]
fn innocent_programs_and_the_host_are_silent() {
    let _turn = alone();
    let container = Container::start();
    container.put("hello.c", HELLO);
    let watcher = watch();
    container.exec(&["sh", "-c", "ls; cat hello.c; make --version; cp hello.c gcc; env true"]);
    let on_host = container.work().join("on-host");
    common::run(std::process::Command::new("gcc").arg(container.work().join("hello.c")).arg("-o").arg(on_host));
    // A later session of the same container proves that all before it was looked at.
    container.exec(&["gcc", "-c", "hello.c"]);
    watcher.await_closed(&container.id);
    let alerts = watcher.stop();
    assert_pair(&alerts, &container.id, &[("gcc", 1), ("cc1", 1), ("as", 1)]);
    let homeless =
        alerts.iter().find(|a| a.text("event.action") == "compiler-executed" && a.text("container.id").is_empty());
    assert!(homeless.is_none(), "{homeless:?}");
}

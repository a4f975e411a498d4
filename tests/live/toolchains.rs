//! Compilers of many languages, each the real one of this machine, shown to a container read-only: each is seen, with
//! its family and toolchain.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::common::docker::{Plan, put};
use crate::common::{Alert, Container, Watcher, image, run};

const C: &str = "int main(void) { return 0; }\n";

/// Runs one compiler in two containers, as the entrypoint of one and by `docker exec` in the other: `opened` and `closed`
/// of each. One compiler at a time: several at once keep a machine busy for longer than `opened` waits for what a file is.
fn compile(source: &str, content: &str, command: &[&str]) -> [(Alert, Alert); 2] {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = image::host_options();
    options.extend(["-e", "HOME=/tmp", "-e", "GO111MODULE=off", "-e", "GOCACHE=/tmp/go"].map(str::to_owned));
    let sleeper = Plan { options: options.clone(), image: image::host(), command: &["sleep", "1000000"] };
    let idle = Container::run(&sleeper);
    idle.put(source, content);
    let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    put(work.path(), source, content);
    let watcher = Watcher::start();
    if command[0] == "go" {
        // Before a busy machine has read its 13 MB for the first time, what it executes at once is told.
        let other = Container::run(&Plan { options: options.clone(), ..sleeper });
        other.exec(&["go", "version"]);
        watcher.await_closed(&other.id);
    }
    let entered = Container::run_in(&Plan { options, image: image::host(), command }, work);
    assert_eq!(entered.wait(), 0);
    idle.exec(command);
    let told = [&entered, &idle].map(|c| (watcher.await_opened(&c.id), watcher.await_closed(&c.id)));
    let alerts = watcher.stop();
    for container in [&entered, &idle] {
        let alerts: Vec<&Alert> = alerts.iter().filter(|a| a.is_of(&container.id)).collect();
        assert_eq!(alerts.len(), 2, "{alerts:#?}");
        assert_eq!(alerts[0].text("container.name"), container.name);
    }
    told
}

/// Fails unless the alert is about this family, and the session counted an exec of each of these.
fn assert_seen((opened, closed): &(Alert, Alert), family: &str, toolchain: &str, families: &[&str]) {
    assert_eq!(opened.text("ccwatch.verdict.family"), family, "{opened}");
    assert_eq!(opened.text("ccwatch.verdict.toolchain"), toolchain, "{opened}");
    for family in families {
        assert!(closed.families().contains(family), "no {family} in {closed}");
    }
}

#[test]
fn gpp() {
    let source = "#include <string>\nint main() { return std::string().size(); }\n";
    for pair in compile("a.cc", source, &["g++", "a.cc"]) {
        assert_seen(&pair, "gcc-driver", "gnu", &["gcc-driver", "gcc-cc1", "gas", "gcc-collect2", "ld.bfd"]);
        pair.1.assert_counts(&[("g++", 1), ("cc1plus", 1), ("as", 1), ("collect2", 1), ("ld", 1)]);
    }
}

#[test]
fn clang() {
    for pair in compile("a.c", C, &["clang", "a.c"]) {
        assert_seen(&pair, "clang", "llvm", &["clang", "ld.bfd"]);
        // The driver, itself again as the compiler proper, and the linker.
        pair.1.assert_counts(&[("clang", 2), ("ld", 1)]);
    }
}

#[test]
fn tcc() {
    for pair in compile("a.c", C, &["tcc", "-c", "a.c"]) {
        assert_seen(&pair, "tcc", "tcc", &["tcc"]);
        pair.1.assert_counts(&[("tcc", 1)]);
    }
}

#[test]
fn go() {
    let source = "package main\n\nfunc main() { println(1) }\n";
    for pair in compile("a.go", source, &["go", "build", "-o", "a", "a.go"]) {
        assert_seen(&pair, "go-cmd", "go", &["go-cmd", "go-compile", "go-link"]);
    }
}

#[test]
fn javac() {
    for pair in compile("A.java", "class A { }\n", &["javac", "A.java"]) {
        assert_seen(&pair, "javac", "java", &["javac"]);
        pair.1.assert_counts(&[("javac", 1)]);
    }
}

#[test]
fn rustc() {
    let rustc = format!("{}/bin/rustc", run(Command::new("rustc").args(["--print", "sysroot"])));
    for pair in compile("a.rs", "fn main() {}\n", &[&rustc, "a.rs"]) {
        // Its link step runs the system's cc; all of that is rust's work.
        assert_seen(&pair, "rustc", "rust", &["rustc", "gcc-collect2"]);
        assert_eq!(pair.1.execs_of("rustc"), 1);
    }
}

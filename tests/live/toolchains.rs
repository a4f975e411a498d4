//! Compilers of many languages, each the real one of this machine, shown to a container read-only: each is seen, with
//! its family and toolchain.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::common::docker::Plan;
use crate::common::{Alert, Container, Watcher, image, run};

const C: &str = "int main(void) { return 0; }\n";

/// Runs one compiler in a container of its own: its `opened` and `closed`. One at a time: several of these at once keep a
/// machine busy for longer than `opened` waits for what a file is.
fn compile(source: &str, content: &str, command: &[&str]) -> (Alert, Alert) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = image::host_options();
    options.extend(["-e", "HOME=/tmp", "-e", "GO111MODULE=off", "-e", "GOCACHE=/tmp/go"].map(str::to_owned));
    let container = Container::run(&Plan { options, image: image::host(), command: &["sleep", "1000000"] });
    container.put(source, content);
    let watcher = Watcher::start();
    container.exec(command);
    let opened = watcher.await_opened(&container.id);
    let closed = watcher.await_closed(&container.id);
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(|a| a.is_of(&container.id)).collect();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    assert_eq!(opened.text("container.name"), container.name);
    (opened, closed)
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
    let pair = compile("a.cc", "#include <string>\nint main() { return std::string().size(); }\n", &["g++", "a.cc"]);
    assert_seen(&pair, "gcc-driver", "gnu", &["gcc-driver", "gcc-cc1", "gas", "gcc-collect2", "ld.bfd"]);
    pair.1.assert_counts(&[("g++", 1), ("cc1plus", 1), ("as", 1), ("collect2", 1), ("ld", 1)]);
}

#[test]
fn clang() {
    let pair = compile("a.c", C, &["clang", "a.c"]);
    assert_seen(&pair, "clang", "llvm", &["clang", "ld.bfd"]);
    // The driver, itself again as the compiler proper, and the linker.
    pair.1.assert_counts(&[("clang", 2), ("ld", 1)]);
}

#[test]
fn tcc() {
    let pair = compile("a.c", C, &["tcc", "-c", "a.c"]);
    assert_seen(&pair, "tcc", "tcc", &["tcc"]);
    pair.1.assert_counts(&[("tcc", 1)]);
}

#[test]
fn go() {
    let pair = compile("a.go", "package main\n\nfunc main() { println(1) }\n", &["go", "build", "-o", "a", "a.go"]);
    assert_seen(&pair, "go-cmd", "go", &["go-cmd", "go-compile", "go-link"]);
}

#[test]
fn javac() {
    let pair = compile("A.java", "class A { }\n", &["javac", "A.java"]);
    assert_seen(&pair, "javac", "java", &["javac"]);
    pair.1.assert_counts(&[("javac", 1)]);
}

#[test]
fn rustc() {
    let rustc = format!("{}/bin/rustc", run(Command::new("rustc").args(["--print", "sysroot"])));
    let pair = compile("a.rs", "fn main() {}\n", &[&rustc, "a.rs"]);
    // Its link step runs the system's cc; all of that is rust's work.
    assert_seen(&pair, "rustc", "rust", &["rustc", "gcc-collect2"]);
    assert_eq!(pair.1.execs_of("rustc"), 1);
}

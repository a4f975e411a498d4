//! Arguments made to break whoever reads or prints them: the alert comes, in time, as one valid line.

use crate::common::docker::Held;
use crate::common::fuse::NeverAnswers;
use crate::common::watcher::Setup;
use crate::common::{Alert, Container, Watcher, program};
use nix::sys::signal::Signal;

/// A container whose /work/gcc lives until released, so that its arguments can be read however late the reader comes.
fn container() -> Container {
    let container = Container::start();
    std::fs::copy(program::hold(), container.work().join("gcc")).unwrap();
    container
}

/// Runs a script that ends in /work/gcc; returns when that runs.
fn script(container: &Container, script: &str) -> Held {
    container.put("script", script);
    let held = container.hold(&["sh", "./script"]);
    held.await_line("ready");
    held
}

#[test]
fn control_characters_and_broken_utf8_are_escaped() {
    let container = container();
    let setup = Setup::new();
    let watcher = setup.start();
    let held =
        script(&container, "exec ./gcc \"$(printf 'a\\nb\\033[31m\\377\\302\\205c')\" \"$(printf '\\t\"\\\\')\"\n");
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.number("process.args_count"), 3, "{opened}");
    // One object a line is `Alert::parse`'s own check. The sentence is for terminals; the arguments are told as they
    // are, by JSON's own escapes.
    assert!(!opened.text("message").chars().any(char::is_control), "{opened}");
    assert_eq!(opened.list("process.args")[1], "a\nb\u{1b}[31m\u{fffd}\u{85}c");
    assert!(held.release());
    watcher.stop();
}

#[test]
fn the_text_form_stays_one_line() {
    let container = container();
    let watcher = Setup::new().text().start();
    let held = script(&container, "exec ./gcc \"$(printf 'first\\nsecond\\033[31m\\r\\377')\"\n");
    let line = watcher.await_text("the alert", |line| line.contains(&container.name));
    assert!(line.contains("gcc") && line.contains("second"), "{line:?}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(held.release());
    watcher.stop();
}

/// Two mebibytes of arguments, each as long as the kernel takes one.
#[test]
fn two_mebibytes_of_arguments_are_cut() {
    let container = container();
    let watcher = Watcher::start();
    let text = "x=$(printf '%0131000d' 0)\nulimit -s 65536\nset -- $x $x $x $x $x $x $x $x $x $x $x $x $x $x $x $x\n\
                exec ./gcc \"$@\"\n";
    let held = script(&container, text);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.text("process.name"), "gcc");
    assert!(opened.0.to_string().len() < 100_000, "{} bytes", opened.0.to_string().len());
    assert!(held.release());
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(&[("gcc", 1)]);
    assert!(Alert::of_file(&watcher.alert_file()).iter().any(|alert| alert.is_of(&container.id)));
    watcher.stop();
}

/// The most memory that a process ever had resident, bytes.
fn most_resident(pid: i32) -> u64 {
    let status = procfs::process::Process::new(pid).and_then(|process| process.status()).unwrap();
    status.vmhwm.unwrap() * 1024
}

/// A chain of processes, each with as many arguments as have room in 128 KiB.
#[test]
fn many_arguments_of_many_ancestors_take_little_memory() {
    let container = container();
    container.put("chain", "n=$1\nshift\n[ $n = 0 ] && exec ./gcc a.c\nsh ./chain $((n - 1)) \"$@\"\nexit\n");
    let watcher = Watcher::start();
    let before = most_resident(watcher.pid());
    let text = "t='a a a a a a a a a a '\nfor n in 1 2 3; do t=$t$t$t$t$t$t$t$t$t$t; done\nset -- $t $t $t $t $t $t\n\
                sh ./chain 40 \"$@\"\nexit\n";
    let held = script(&container, text);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.list("process.args"), ["./gcc", "a.c"], "{opened}");
    assert!(held.release());
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(&[("gcc", 1)]);
    assert!(closed.text("process.parent.command_line").starts_with("sh ./chain 1 a a"), "{closed}");
    let grown = most_resident(watcher.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{} KiB more than {}", grown >> 10, before >> 10);
    watcher.stop();
}

/// Reading the arguments hangs, because the process keeps its memory locked for a FUSE server that never answers. The
/// alert goes without them, and nobody else waits.
#[test]
fn arguments_that_hang_hold_up_nothing() {
    // Declared first, dropped after the server: a process that waits for it cannot be killed.
    let container;
    let fuse = NeverAnswers::mount();
    container = Container::with(&["-v", &format!("{}:/hang", fuse.path().display())]);
    std::fs::copy(program::stuck_memory(), container.work().join("gcc")).unwrap();
    let other = Container::start();
    other.put("f.c", "int f;\n");
    let watcher = Watcher::start();
    // Stopped, it cannot read the arguments before they are out of reach.
    watcher.signal(Signal::SIGSTOP);
    let mut held = container.hold(&["/work/gcc", "/hang/file"]);
    fuse.said.await_line("read");
    held.write(b"x");
    held.await_line("stuck");
    watcher.signal(Signal::SIGCONT);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.at("process.args"), &serde_json::Value::Null, "{opened}");
    assert_eq!(opened.at("ccwatch.missing")["process.args"], "deadline", "{opened}");
    assert_eq!(opened.text("ccwatch.arguments"), "unknown");
    // Another container's compile is seen in full while that read hangs.
    other.exec(&["gcc", "-c", "f.c"]);
    let closed = watcher.await_closed(&other.id);
    closed.assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
    watcher.stop();
    // Its server's end lets the process go on to its own.
    drop(fuse);
    assert!(held.release());
}

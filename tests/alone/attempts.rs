//! What is attempted and not executed: told, and never counted.

use std::fs;

use crate::common::program::{self, Frozen};
use crate::common::{Alert, Container};
use crate::{alone, beside_others, watch};

/// fanotify sees each attempt, and no EXEC follows: not because the connector is deaf, which it is asked to prove.
fn is_no_exec(prepare: impl Fn(&Container), act: &[&str]) {
    let _turn = beside_others();
    let container = Container::start();
    fs::copy(program::inside(), container.work().join("inside")).unwrap();
    prepare(&container);
    let watcher = watch();
    container.exec(&[&["/work/inside"], act].concat());
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.at("ccwatch.confirmed"), false, "{opened}");
    let ours = |alert: &Alert| alert.is_of(&container.id);
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(ours).collect();
    let execs: u64 = alerts.iter().filter(|a| a.state() == "closed").map(|a| a.number("ccwatch.session.execs")).sum();
    assert_eq!(execs, 0, "{alerts:#?}");
}

/// In its root directory there is nothing that could load it.
#[test]
fn failed_execs_are_no_execs_however_many() {
    let prepare = |container: &Container| {
        container.exec(&["sh", "-c", "mkdir root && cp -L /usr/bin/gcc root/gcc"]);
    };
    is_no_exec(prepare, &["chroot", "/work/root", "attempt", "/gcc"]);
}

#[test]
fn a_file_that_the_kernel_does_not_execute_is_no_exec() {
    let prepare = |container: &Container| {
        container.exec(&["cp", "-L", "/usr/bin/gcc", "gcc"]);
        let file = container.work().join("gcc");
        let mut content = fs::read(&file).unwrap();
        // e_machine: one that nobody has made.
        content.splice(18..20, [0xfe, 0xfe]);
        fs::write(&file, content).unwrap();
    };
    is_no_exec(prepare, &["attempt", "/work/gcc"]);
}

/// Before Linux 6.14 nobody can ask so: then it is a system call that fails, and nothing is attempted.
#[test]
fn to_ask_whether_it_could_be_executed_is_no_exec() {
    is_no_exec(|_| (), &["ask", "/usr/bin/gcc", "attempt", "/usr/bin"]);
}

/// As on a slow disk, and on a machine that has other things to do.
#[test]
fn an_exec_that_is_heard_of_late_is_told_with_all_that_it_tells() {
    let _turn = alone();
    let container = Container::start();
    let watcher = watch();
    let frozen = Frozen::thread(watcher.pid(), "connector");
    let gcc = container.hold(&["sh", "-c", "echo begun; exec gcc -x c - -o a"]);
    gcc.await_line("begun");
    // By its end an attempt would be told, were it told at once.
    container.exec(&["true"]);
    frozen.release();
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.at("ccwatch.confirmed"), true, "{opened}");
    assert_eq!(opened.list("ccwatch.known_by"), ["fanotify", "connector"], "{opened}");
    assert_eq!(opened.text("process.command_line"), "gcc -x c - -o a", "{opened}");
    drop(gcc);
}

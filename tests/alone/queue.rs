//! fanotify's queue overflows: what was lost is told with its number and its container, and what still lives is found.

use std::fs;

use crate::common::docker::Container;
use crate::common::{self, Alert};
use crate::{alone, watch};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: &str = "/proc/sys/fs/fanotify/max_queued_events";
const STORM: u64 = 3000;

/// Sets the limit that groups take over when they are made, and puts it back.
struct Limit(String);

impl Limit {
    fn set(events: u32) -> Self {
        let before = fs::read_to_string(LIMIT).unwrap();
        fs::write(LIMIT, events.to_string()).unwrap();
        Self(before)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        fs::write(LIMIT, &self.0).unwrap();
    }
}

#[test]
fn a_queue_that_overflows_is_told() {
    let _turn = alone();
    let container = Container::idle(&[]);
    let living = Container::start();
    let watcher = {
        let _limit = Limit::set(64);
        watch()
    };
    let pid = Pid::from_raw(watcher.pid());
    kill(pid, Signal::SIGSTOP).unwrap();
    container.exec_with(&["-w", "/"], &["/usr/bin/storm", &STORM.to_string(), "/usr/bin/gcc"]);
    let mut gcc = living.hold(&["gcc", "-x", "c", "-c", "-", "-o", "/tmp/a.o"]);
    gcc.write(b"int a;\n");
    common::eventually("cc1", || living.processes().contains(&"cc1".to_owned()).then_some(()));
    kill(pid, Signal::SIGCONT).unwrap();
    let is = |action: &'static str| {
        move |a: &Alert| a.text("event.action") == action && a.text("ccwatch.lost.sensor") == "fanotify"
    };
    let lost = watcher.await_alert("events-lost", is("events-lost"));
    watcher.await_alert("sensor-recovered", is("sensor-recovered"));
    assert_eq!(lost.text("container.id"), container.id, "{lost}");
    watcher.await_opened(&living.id);
    assert!(gcc.release());
    watcher.await_closed(&container.id);
    let alerts = watcher.stop();
    let of = alerts.iter().filter(|a| a.is_of(&container.id) && a.state() == "closed");
    let counted: u64 = of.map(|a| a.number("ccwatch.session.execs")).sum();
    let all: u64 = alerts.iter().filter(|a| is("events-lost")(a)).map(|a| a.number("ccwatch.lost.count")).sum();
    // Others' execs of that time that nobody saw may be among the lost, and some of the storm seen alive.
    assert!(counted + all >= STORM && counted + all <= STORM + STORM / 20, "{counted} counted, {all} lost of {STORM}");
}

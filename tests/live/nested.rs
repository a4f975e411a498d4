//! Containers within containers: both are named, whoever sees an exec, and whatever a container calls its own cgroups.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::docker::Container;
use crate::common::watcher::Watcher;
use crate::common::{self, Alert, alert, program};
use crate::mounts::{PRIVILEGES, STORM, container, is_held, pid_of, storm_from};

/// Where a process' cgroups lie that name this container, with a directory `name` made in each.
fn below_cgroups(pid: &str, container: &Container, name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounted = |controllers: &str| {
        let is_it = |line: &&str| {
            let (_, filesystem) = line.split_once(" - ").unwrap();
            let words: Vec<&str> = filesystem.split(' ').collect();
            match controllers {
                "" => words[0] == "cgroup2",
                named => words[0] == "cgroup" && words[2].split(',').any(|option| option == named),
            }
        };
        mounts.lines().find(is_it).map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()))
    };
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let lines = cgroups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    // A new directory of cpuset's has no processor.
    let lines = lines.filter(|words| words[2].contains(&*container.id) && !words[1].starts_with("cpuset"));
    lines.map(|words| mounted(words[1]).unwrap().join(&words[2][1..]).join(name)).collect()
}

/// Processes with a root directory of their own, which is mounted in the outer container's namespace first, as an engine
/// within a container does, in a cgroup of this name. What ends before it is looked at is known by its mount alone.
fn storm_within(outer: &Container, inner: &str, counted_as: &str) -> Vec<Alert> {
    let watcher = Watcher::start();
    let put = ["put", "/inner/gcc", "load", "storm", "put", "/inner/storm"];
    outer.exec(&[&["./inside", "load", "gcc", "tmpfs", "/inner"][..], &put].concat());
    let acts = ["./inside", "say", "ready", "wait", "unshare-mounts", "chroot", "/inner"];
    let mut held = outer.hold(&[&acts[..], &["say", "there", "wait", "--", "/storm", "2000", "/gcc"]].concat());
    held.await_line("ready");
    let pid = pid_of("inside", outer);
    let cgroups = below_cgroups(&pid, outer, &format!("docker-{inner}.scope"));
    assert!(!cgroups.is_empty());
    for cgroup in &cgroups {
        fs::create_dir(cgroup).unwrap();
        fs::write(cgroup.join("cgroup.procs"), &pid).unwrap();
    }
    held.write(b"x");
    held.await_line("there");
    common::eventually("its mounts are watched", || {
        // What lives too short to be looked at: somebody may have died there whom nobody knows.
        common::run(Command::new(program::storm()).arg("100").arg(program::tiny()));
        is_held(&watcher, &pid).then_some(())
    });
    assert!(storm_from(held));
    watcher.await_counted(counted_as, STORM);
    for cgroup in &cgroups {
        fs::remove_dir(cgroup).unwrap();
    }
    let alerts = watcher.stop();
    assert_eq!(alert::closed_execs(&alerts, counted_as), STORM, "{alerts:#?}");
    alerts
}

#[test]
fn a_container_within_another() {
    let outer = container(PRIVILEGES);
    let inner = "c".repeat(64);
    let alerts = storm_within(&outer, &inner, &inner);
    let of_it: Vec<&Alert> = alerts.iter().filter(|alert| alert.is_of(&inner)).collect();
    assert!(of_it.iter().all(|alert| alert.text("ccwatch.outer.id") == &*outer.id), "{of_it:#?}");
}

/// Whoever can name cgroups calls his own after another container, to be told in its name: its own mounts know better.
#[test]
fn a_name_that_is_another_containers() {
    let (outer, other) = (container(PRIVILEGES), container(&[]));
    let alerts = storm_within(&outer, &other.id, &outer.id);
    assert!(!alerts.iter().any(|alert| alert.is_of(&other.id)), "{alerts:#?}");
}

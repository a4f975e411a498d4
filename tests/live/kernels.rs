//! Kernels that came before this one, by what they know of system calls and flags (tests/common/older.c): a build is
//! counted there as it is here, by the way that such a kernel has, with nothing degraded.

use std::path::Path;

use crate::common::watcher::Setup;
use crate::common::{self, Container, Watcher};

const OPEN: &str = "fanotify: open events, a mark on each mount of a container";
const MOUNT: &str = "fanotify: exec events, a mark on each mount of a container";
const FILESYSTEM: &str = "fanotify: exec events, a mark on each container's overlay";

/// FAN_REPORT_FD_ERROR of a group, Linux 6.13.
const REPORT_FD_ERROR: u32 = 0x2000;
/// FAN_MARK_EVICTABLE and FAN_MARK_IGNORE, Linux 5.19 and 6.0.
const NEW_MARKS: u32 = 0x600;

/// The flags of the watcher's fanotify groups, or of their marks, one for each.
fn flags(watcher: &Watcher, of: &str) -> Vec<u32> {
    let shown = common::marks(Path::new(&format!("/proc/{}", watcher.pid())));
    let words = shown.lines().filter(|line| line.starts_with("fanotify ")).flat_map(|line| line.split(' '));
    words.filter_map(|word| word.strip_prefix(of)).map(|flags| u32::from_str_radix(flags, 16).unwrap()).collect()
}

/// A compile in a container that ran before; what is not to be had must be had otherwise: by `way`, and with these of
/// the newer marks at most.
fn a_build_on(version: &'static str, way: &str, marks: u32) {
    let container = Container::start();
    container.put("a.c", "int main(void) { return 0; }\n");
    let watcher = Setup::new().kernel(version).start();
    assert!(watcher.stderr().iter().any(|line| line.contains(way)), "{way}\n{}", watcher.story());
    container.exec(&["gcc", "a.c"]);
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1), ("collect2", 1), ("ld", 1)]);
    assert_eq!(closed.text("container.name"), container.name);
    let (groups, marked) = (flags(&watcher, "flags:"), flags(&watcher, "mflags:"));
    assert!(!groups.is_empty() && groups.iter().all(|flags| flags & REPORT_FD_ERROR == 0), "{groups:x?}");
    assert!(!marked.is_empty() && marked.iter().all(|flags| flags & NEW_MARKS & !marks == 0), "{marked:x?}");
    let alerts = watcher.stop();
    let of_container = alerts.iter().filter(|alert| alert.is_of(&container.id)).count();
    assert_eq!(of_container, 2, "{alerts:#?}");
    let degraded = alerts.iter().find(|alert| alert.text("event.action") == "sensor-degraded");
    assert!(degraded.is_none(), "{degraded:?}");
}

#[test]
fn of_rhel_7() {
    a_build_on("3.10", OPEN, 0);
}

#[test]
fn of_debian_9() {
    a_build_on("4.9", OPEN, 0);
}

#[test]
fn of_rhel_8() {
    a_build_on("4.18-el8", MOUNT, 0);
}

#[test]
fn of_ubuntu_20() {
    a_build_on("5.4", FILESYSTEM, 0);
}

#[test]
fn of_debian_12() {
    a_build_on("6.1", FILESYSTEM, NEW_MARKS);
}

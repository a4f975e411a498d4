//! Kernels that came before this one, by what they know of system calls and flags (tests/common/older.c): a build is
//! counted there as it is here, with nothing degraded.

use crate::common::docker::Container;
use crate::common::watcher::Setup;

/// A compile in a container that ran before; what is not to be had must be had otherwise.
fn a_build_on(version: &'static str) {
    let container = Container::start();
    container.put("a.c", "int main(void) { return 0; }\n");
    let watcher = Setup::new().kernel(version).start();
    container.exec(&["gcc", "a.c"]);
    let closed = watcher.await_closed(&container.id);
    closed.assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1), ("collect2", 1), ("ld", 1)]);
    assert_eq!(closed.text("container.name"), container.name);
    let alerts = watcher.stop();
    let of_container = alerts.iter().filter(|alert| alert.is_of(&container.id)).count();
    assert_eq!(of_container, 2, "{alerts:#?}");
    let degraded = alerts.iter().find(|alert| alert.text("event.action") == "sensor-degraded");
    assert!(degraded.is_none(), "{degraded:?}");
}

#[test]
fn of_rhel_7() {
    a_build_on("3.10");
}

#[test]
fn of_debian_9() {
    a_build_on("4.9");
}

#[test]
fn of_rhel_8() {
    a_build_on("4.18-el8");
}

#[test]
fn of_ubuntu_20() {
    a_build_on("5.4");
}

#[test]
fn of_debian_12() {
    a_build_on("6.1");
}

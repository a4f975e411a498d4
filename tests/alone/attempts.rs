//! What is attempted and not executed: told, and never counted.

use crate::alone;
use crate::common::{Alert, Container, Watcher, program};

/// fanotify sees each attempt, and no EXEC follows: not because the connector is deaf, which it is asked to prove.
#[test]
fn failed_execs_are_no_execs_however_many() {
    let _turn = alone();
    let container = Container::start();
    std::fs::copy(program::inside(), container.work().join("inside")).unwrap();
    // In its root directory there is nothing that could load it.
    container.exec(&["sh", "-c", "mkdir root && cp -L /usr/bin/gcc root/gcc"]);
    let watcher = Watcher::start();
    container.exec(&["/work/inside", "chroot", "/work/root", "attempt", "/gcc"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.at("ccwatch.confirmed"), false, "{opened}");
    let ours = |alert: &Alert| alert.is_of(&container.id);
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(ours).collect();
    let execs: u64 = alerts.iter().filter(|a| a.state() == "closed").map(|a| a.number("ccwatch.session.execs")).sum();
    assert_eq!(execs, 0, "{alerts:#?}");
}

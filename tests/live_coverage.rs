//! `ccwatch doctor` beside a running watcher: which sensors cover each container, by which mark, and what they miss.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::process::Command;

use common::docker::{Container, Plan};
use common::watcher::{BINARY, Setup};
use common::{image, said};

/// What doctor says of one container.
fn line_of(setup: &Setup, id: &str) -> Option<String> {
    let output = Command::new(BINARY).arg("doctor").arg("--config").arg(setup.write()).output().unwrap();
    let text = said(&output);
    assert!(text.contains("of the host's"), "{text}");
    text.lines().find(|line| line.contains(id)).map(str::to_owned)
}

#[test]
fn doctor_lists_what_covers_each_container() {
    let options = vec!["--tmpfs".to_owned(), "/memory:exec".to_owned()];
    let command = &["/usr/bin/storm", "1000000", "/none", "999000"];
    let container = Container::run(&Plan { options, image: image::tiny(), command });
    let setup = Setup::new();
    let watcher = setup.start();
    // What was executed before the marks stood keeps the connector eager for a while.
    let covered = "connector (lazy), fanotify by a mark on its filesystem, fanotify on";
    common::eventually("doctor finds the container covered", || {
        line_of(&setup, &container.id).filter(|line| line.contains(covered))
    });
    watcher.stop();
    let output = Command::new(BINARY).arg("doctor").arg("--config").arg(setup.write()).output().unwrap();
    assert!(said(&output).contains("no watcher with this state directory"), "{}", said(&output));
}

#[test]
fn doctor_names_what_is_not_covered() {
    let command = &["/usr/bin/storm", "1000000", "/none", "999000"];
    let container = Container::run(&Plan { options: vec![], image: image::tiny(), command });
    let setup = Setup::new().set("sensors", "fanotify", "open");
    let watcher = setup.start();
    let line = common::eventually("doctor knows the container", || line_of(&setup, &container.id));
    assert!(line.contains("connector (eager)"), "{line}");
    assert!(line.contains("by the connector alone: /dev (tmpfs: opens of devices are not asked for)"), "{line}");
    watcher.stop();
}

//! `ccwatch doctor` beside a running watcher: which sensors cover each container, by which mark, and what they miss.

use std::fs;
use std::process::Command;

use crate::alone;
use crate::common::docker::{Container, IDLE, Plan};
use crate::common::watcher::{BINARY, Setup};
use crate::common::{self, image, program, said};

/// What doctor says of one container.
fn line_of(setup: &Setup, id: &str) -> Option<String> {
    setup.coverage().into_iter().find(|line| line.contains(id))
}

#[test]
fn doctor_lists_what_covers_each_container() {
    let _turn = alone();
    let container = Container::idle(&["--tmpfs", "/memory:exec"]);
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
    let setup = Setup::new().set("sensors", "fanotify", "off");
    let watcher = setup.start();
    assert!(line_of(&setup, &container.id).is_some_and(|line| line.ends_with("connector (eager)")));
    let counted = setup.coverage().first().cloned().unwrap();
    assert!(counted.contains("no fanotify; the connector looks at each exec at once (eager)"), "{counted}");
    watcher.stop();
}

/// The execs by which the sensors prove themselves are none that nobody examined: the first session's counts are exact. What
/// else this machine does may go unseen, but not at each start.
#[test]
fn the_sensors_own_execs_are_not_unexamined() {
    let _turn = alone();
    let is_clean = || {
        let watcher = Setup::new().start();
        watcher.signal(nix::sys::signal::Signal::SIGTERM);
        let (_, _, story) = watcher.end();
        assert!(story.contains(" execs of the host were counted, "), "{story}");
        story.contains(" execs of the host were counted, 0 of them ")
    };
    assert!((0..10).any(|_| is_clean()));
}

/// A FUSE filesystem appears in a container, and goes with it: nothing at all is executed meanwhile, so nothing but the
/// table of the container's mounts tells that the connector alone would see it.
#[test]
fn the_connector_does_not_rest_while_it_alone_covers_a_mount() {
    let _turn = alone();
    let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    fs::copy(program::never_answers(), work.path().join("never_answers")).unwrap();
    fs::create_dir(work.path().join("far")).unwrap();
    let begin = work.path().join("begin");
    nix::unistd::mkfifo(&begin, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let options = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--device", "/dev/fuse"];
    let options = options.map(str::to_owned).into();
    let command = &["./never_answers", "/work/far", "/work/begin"];
    let container = Container::run_in(&Plan { options, image: image::tiny(), command }, work);
    let setup = Setup::new();
    let watcher = setup.start();
    let await_pace = |pace: &str| {
        common::eventually(pace, || setup.coverage().first().filter(|line| line.contains(pace)).cloned());
    };
    await_pace("rests in a storm (lazy)");
    fs::write(&begin, "").unwrap();
    await_pace("looks at each exec at once (eager)");
    let line = line_of(&setup, &container.id).unwrap();
    assert!(line.contains("connector (eager)"), "{line}");
    common::eventually("doctor says why", || {
        let why = "by the connector alone: /work/far (fuse: its server admits nobody else";
        line_of(&setup, &container.id).filter(|line| line.contains(why))
    });
    drop(container);
    await_pace("rests in a storm (lazy)");
    watcher.stop();
}

/// Where opens are all that the kernel reports, the container's /dev is marked too: opens of devices are not reported.
#[test]
fn a_program_in_dev_by_its_opens() {
    let _turn = alone();
    let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    fs::copy(program::tiny(), work.path().join("gcc")).unwrap();
    fs::copy(program::inside(), work.path().join("inside")).unwrap();
    let container = Container::run_in(&Plan { options: vec![], image: image::tiny(), command: IDLE }, work);
    container.exec(&["./inside", "load", "gcc", "put", "/dev/gcc"]);
    let setup = Setup::new().set("sensors", "fanotify", "open");
    let watcher = setup.start();
    let line = common::eventually("doctor knows the container", || line_of(&setup, &container.id));
    assert!(!line.contains("by the connector alone"), "{line}");
    container.exec(&["/usr/bin/storm", "2000", "/dev/gcc"]);
    assert_eq!(watcher.await_closed(&container.id).number("ccwatch.session.execs"), 2000);
    watcher.stop();
}

/// There, whoever opens very many files that may not be ignored has his mount left to the connector for a while.
/// Also where a file's state tells no mount.
#[test]
fn a_mount_whose_opens_are_too_many_rests() {
    let _turn = alone();
    std::thread::scope(|scope| {
        for setup in [Setup::new().kernel("4.9"), Setup::new().set("sensors", "fanotify", "open")] {
            scope.spawn(move || assert_that_it_rests(&setup));
        }
    });
}

fn assert_that_it_rests(setup: &Setup) {
    let container = Container::start();
    container.put("a.c", "int a;\n");
    let watcher = setup.start();
    let many = "mkdir /tmp/many; i=0; while [ $i -lt 9000 ]; do : >/tmp/many/$i; i=$((i+1)); done";
    container.exec(&["sh", "-c", many]);
    let resting = "by the connector alone: / (overlay: more of its files are opened than can be heard of)";
    common::eventually("its mount rests", || {
        container.exec(&["sh", "-c", "cat /tmp/many/*"]);
        line_of(setup, &container.id).filter(|line| line.contains(resting))
    });
    container.exec(&["gcc", "-c", "a.c"]);
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
    common::eventually("it is marked again", || {
        line_of(setup, &container.id).filter(|line| !line.contains("by the connector alone"))
    });
    watcher.stop();
}

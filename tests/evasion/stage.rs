//! A container in which somebody wants to compile unseen, and its watcher.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::docker::Container;
use crate::common::watcher::{Setup, Watcher};
use crate::common::{self, Alert, program};

/// Each program is executed so often after the act.
pub(crate) const EXECS: u64 = 20;

/// A container that may mount, and a watcher that has seen it work for a while.
pub(crate) struct Stage {
    pub(crate) container: Container,
    pub(crate) watcher: Watcher,
}

impl Stage {
    /// What was put there just now may be warm.
    pub(crate) fn set(without: &str, options: &[&str]) -> Self {
        Self::set_wholly_without(&format!("{without},rest"), options)
    }

    pub(crate) fn set_wholly_without(without: &str, options: &[&str]) -> Self {
        Self::watched_by(&Setup::new().without(without).brief(), options)
    }

    pub(crate) fn watched_by(setup: &Setup, options: &[&str]) -> Self {
        let mut all = vec!["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
        all.extend(["--tmpfs", "/memory:exec"]);
        all.extend(options);
        let container = Container::idle(&all);
        let copy = |from: &Path, name: &str| fs::copy(from, container.work().join(name)).unwrap();
        copy(program::inside(), "inside");
        copy(program::storm(), "storm");
        copy(program::tiny(), "tool");
        for milliseconds in [0, 1, 20] {
            copy(&program::disguised(milliseconds), &format!("compile-{milliseconds}"));
        }
        let watcher = setup.start();
        Self { container, watcher }
    }

    pub(crate) fn inside(&self, acts: &[&str]) {
        self.container.exec(&[&["./inside"], acts].concat());
    }

    pub(crate) fn storm(&self, count: u64, program: &str) {
        self.container.exec(&["./storm", &count.to_string(), program]);
    }

    /// Executes a file often enough for it to be read, and ignored where that is allowed.
    pub(crate) fn use_for_a_while(&self, program: &str) {
        self.container.exec(&["./storm", "40", program, "5000"]);
    }

    /// Maps a file, does `first`, stores a compiler through the mapping once the file was used for a while, and executes it
    /// while it is mapped.
    pub(crate) fn store_through_a_mapping(&self, path: &str, first: &[&str]) {
        self.store_later(path, &[&["map", path], first].concat(), "store");
    }

    /// Keeps hold of a file, does `store` once the file was used for a while, and executes it while it is held.
    pub(crate) fn store_later(&self, path: &str, keep: &[&str], store: &str) {
        let then = ["say", "kept", "wait", store, "say", "stored", "wait"];
        let mut held = self.container.hold(&[&["./inside", "load", "compile-0"], keep, &then[..]].concat());
        held.await_line("kept");
        self.use_for_a_while(path);
        held.write(b"x");
        held.await_line("stored");
        self.storm(EXECS, path);
        held.write(b"x");
        assert!(held.release());
    }

    /// Executes a file until its execs are ignored, or all of its mount where that is all there is to ignore.
    pub(crate) fn warm(&self, path: &str) {
        let pid = self.container.init();
        let inode = fs::metadata(format!("/proc/{pid}/root{path}")).unwrap().ino();
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mut mounts = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let point = if path.starts_with("/work/") { "/work" } else { "/" };
        let mount = mounts.find(|mount| mount[4] == point).unwrap()[0].parse().unwrap();
        common::eventually("its execs are ignored", || {
            self.use_for_a_while(path);
            let by_file = common::ignored(&self.watcher).contains(&inode);
            (by_file || common::ignored_mounts(&self.watcher).contains(&mount)).then_some(())
        });
    }

    /// How many compiles were counted, and how many execs of the host stayed unexamined, once a compile that cannot be
    /// missed is told. Their content is tcc's, or their name is cc.
    pub(crate) fn seen(self) -> (u64, u64) {
        self.seen_before("/usr/bin/gcc")
    }

    pub(crate) fn seen_before(self, last: &str) -> (u64, u64) {
        // In a session of its own, which is closed after the others.
        self.container.exec(&["/usr/bin/storm", "1", last]);
        let is_closed = |a: &Alert| a.is_of(&self.container.id) && a.state() == "closed";
        let last = self.watcher.await_alert("the last compile", |a| is_closed(a) && a.execs_of("gcc") > 0);
        let alerts: Vec<Alert> = self.watcher.stop().into_iter().filter(|a| is_closed(a)).collect();
        let all: u64 = alerts.iter().map(|a| a.number("ccwatch.session.execs")).sum();
        let unexamined = alerts.iter().filter_map(|a| a.at("ccwatch.coverage.unexamined").as_u64()).max();
        (all - last.execs_of("gcc"), unexamined.unwrap_or(0))
    }
}

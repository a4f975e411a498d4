//! What the live tests share: the built watcher as a process, containers of a real Docker Engine, a real rsyslog, and
//! small C programs. Nothing here judges an alert; that is each test's own.
//!
//! Everything made here is ended by its own pid or name when its value is dropped.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub(crate) mod alert;
pub(crate) mod docker;
pub(crate) mod fuse;
pub(crate) mod image;
pub(crate) mod program;
pub(crate) mod rsyslog;
pub(crate) mod turn;
pub(crate) mod watcher;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub(crate) use alert::Alert;
pub(crate) use docker::Container;
pub(crate) use watcher::Watcher;

/// How long anything awaited may take before the test fails. Far beyond what is expected: no test judges speed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Fails where the test is not root's: a test that is left out must be left out by name (`tests/run.sh --unprivileged`
/// leaves out tests/live, tests/alone and tests/evasion), never by itself.
pub(crate) fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root: run tests/run.sh as root, or with --unprivileged");
}

/// Runs a command to its end; its standard output, trimmed. Fails with all it said where it failed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What the kernel shows of a process' descriptors, the marks of its fanotify groups among it; `process` is /proc/PID.
pub(crate) fn marks(process: &std::path::Path) -> String {
    let entries = std::fs::read_dir(process.join("fdinfo")).unwrap().flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
}

/// The inode numbers of the files whose execs are ignored for a watcher.
pub(crate) fn ignored(watcher: &Watcher) -> HashSet<u64> {
    ignored_by(watcher, "fanotify ino:")
}

/// The numbers of the mounts on which all execs are.
pub(crate) fn ignored_mounts(watcher: &Watcher) -> HashSet<u64> {
    ignored_by(watcher, "fanotify mnt_id:")
}

fn ignored_by(watcher: &Watcher, key: &str) -> HashSet<u64> {
    let marks = marks(std::path::Path::new(&format!("/proc/{}", watcher.pid())));
    let lines = marks.lines().filter(|line| line.contains("ignored_mask:1000"));
    let number = |line: &str| u64::from_str_radix(line.strip_prefix(key)?.split(' ').next()?, 16).ok();
    lines.filter_map(number).collect()
}

/// Both streams of a finished command.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asks again and again, for what gives no sign of its own: a file that appears, a process that starts.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A value that threads change and tests wait for.
#[derive(Default)]
pub(crate) struct Shared<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Shared<T> {
    /// Changes the value and wakes who waits for it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock().unwrap());
        self.changed.notify_all();
    }

    /// Looks at the value as it is.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value.lock().unwrap())
    }

    /// Waits until `ask` has an answer; `None` when the deadline has passed.
    pub(crate) fn wait<R>(&self, mut ask: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let end = Instant::now() + DEADLINE;
        let mut value = self.value.lock().unwrap();
        loop {
            if let Some(found) = ask(&mut value) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            value = self.changed.wait_timeout(value, left).unwrap().0;
        }
    }
}

/// The lines of a stream, read by a thread, so that waiting for one has an end.
pub(crate) struct Lines(Arc<Shared<Vec<String>>>);

impl Lines {
    /// Reads `stream` to its end.
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let lines: Arc<Shared<Vec<String>>> = Arc::default();
        let shared = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                shared.change(|lines| lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
        });
        Self(lines)
    }

    /// Waits for a line that starts so, among those already read and those to come.
    pub(crate) fn await_line(&self, start: &str) {
        let found = self.0.wait(|lines| lines.iter().any(|line| line.starts_with(start)).then_some(()));
        assert!(found.is_some(), "no line \"{start}\" but {:?}", self.0.look(Vec::clone));
    }
}

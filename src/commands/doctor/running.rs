//! The watcher that runs on this host, found by its lock on the state directory, and what it may do: its capabilities,
//! whether it can gain others, and whether its system calls are filtered.

use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::event::Pid;
use crate::host::bounded;
use crate::host::kernel::{Capabilities, NEEDED};

/// Bounds what is read of /proc/locks: a host has hundreds of locks, a line has 60 bytes.
const MAX_LOCKS: usize = 1 << 20;

/// A watcher at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub pid: Pid,
    /// What it may do; `None` where its status cannot be read.
    pub privileges: Option<Privileges>,
    /// The sensors that it has; `None` where its threads cannot be read.
    pub sensors: Option<Sensing>,
}

/// The sensors that hear of an exec as it happens, of those that a watcher has: each has a thread of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sensing {
    /// The process connector.
    pub connector: bool,
    /// fanotify.
    pub fanotify: bool,
}

/// From /proc/PID/status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    /// The effective set.
    pub capabilities: Capabilities,
    /// No program that it executes gets more.
    pub no_new_privs: bool,
    /// Its system calls are filtered.
    pub filtered: bool,
}

impl Running {
    /// Whoever holds the lock in the state directory and is called ccwatch.
    pub(super) fn find(proc: &Path, state: &Path) -> Option<Self> {
        let inode = std::fs::metadata(state.join("sequence")).ok()?.st_ino();
        let locks = bounded::read(None, &proc.join("locks"), MAX_LOCKS).ok()?;
        let is_watcher = |pid: &Pid| {
            let comm = bounded::read(None, &proc.join(pid.0.to_string()).join("comm"), 64);
            comm.is_ok_and(|comm| comm.trim_ascii() == b"ccwatch")
        };
        let pid = holders(&locks, inode).find(is_watcher)?;
        let status = bounded::read(None, &proc.join(pid.0.to_string()).join("status"), MAX_LOCKS);
        let sensors = Sensing::find(&proc.join(pid.0.to_string()).join("task"));
        Some(Self { pid, privileges: status.ok().and_then(|status| Privileges::parse(&status)), sensors })
    }

    /// The root directory as it sees it.
    pub(super) fn root(&self, proc: &Path) -> PathBuf {
        proc.join(self.pid.0.to_string()).join("root")
    }

    /// One line for people, and whether all is as it should be.
    pub(super) fn describe(&self) -> (bool, String) {
        let pid = self.pid.0;
        let Some(Privileges { capabilities, no_new_privs, filtered }) = self.privileges else {
            return (true, format!("runs as process {pid}; what it may do cannot be read"));
        };
        let needed = NEEDED.iter().fold(0, |bits, capability| bits | 1u64 << capability.bit);
        let more = (capabilities.0 & !needed).count_ones();
        let capabilities = match more {
            0 => format!("{} capabilities", capabilities.0.count_ones()),
            more => format!("{more} capabilities more than the {} that it needs", NEEDED.len()),
        };
        let gain = if no_new_privs { "no new privileges" } else { "may gain new privileges" };
        let calls = if filtered { "system calls filtered" } else { "system calls not filtered" };
        let text = format!("runs as process {pid}: {capabilities}, {gain}, {calls}");
        (more == 0 && no_new_privs && filtered, text)
    }
}

impl Sensing {
    fn find(tasks: &Path) -> Option<Self> {
        let mut found = Self::default();
        for task in std::fs::read_dir(tasks).ok()?.flatten() {
            match bounded::read(None, &task.path().join("comm"), 64).as_deref().map(<[u8]>::trim_ascii) {
                Ok(b"connector") => found.connector = true,
                Ok(b"fanotify") => found.fanotify = true,
                _ => {}
            }
        }
        Some(found)
    }

    /// For people.
    pub(super) fn describe(self) -> String {
        let names = [(self.connector, "proc-connector"), (self.fanotify, "fanotify"), (true, "procfs-poll")];
        let names: Vec<&str> = names.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

impl Privileges {
    fn parse(status: &[u8]) -> Option<Self> {
        let number = |key: &[u8]| {
            let text = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(key))?;
            std::str::from_utf8(text).ok()?.trim().parse::<u8>().ok()
        };
        // Neither line is there on kernels that do not have the thing, or do not tell (NoNewPrivs: 4.10).
        let no_new_privs = number(b"NoNewPrivs:") != Some(0);
        let filtered = number(b"Seccomp:").is_some_and(|mode| mode == 2);
        Some(Self { capabilities: Capabilities::parse_effective(status).ok()?, no_new_privs, filtered })
    }
}

/// The processes with a flock(2) on the inode of this number, in the bytes of /proc/locks (proc(5)):
/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`. The device in it is not always what stat(2) says.
fn holders(locks: &[u8], inode: u64) -> impl Iterator<Item = Pid> {
    let text = String::from_utf8_lossy(locks).into_owned();
    let lines: Vec<Pid> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (kind, pid, file) = (fields.nth(1)?, fields.nth(2)?, fields.next()?);
            let of = file.rsplit(':').next()?.parse() == Ok(inode);
            (kind == "FLOCK" && of).then_some(Pid(pid.parse().ok()?))
        })
        .collect();
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    const STATUS: &str = "Name:\tccwatch\nCapEff:\t0000000000281004\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn found_by_its_lock() {
        let (proc, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(state.path().join("sequence"), "").unwrap();
        let inode = fs::metadata(state.path().join("sequence")).unwrap().st_ino();
        let locks = format!(
            "1: POSIX  ADVISORY  WRITE 7 fe:00:{inode} 0 EOF\nx\n2: FLOCK  ADVISORY  WRITE 8 fe:00:{inode} 0 EOF\n\
             2: -> FLOCK  ADVISORY  WRITE 10 fe:00:{inode} 0 EOF\n3: FLOCK  ADVISORY  WRITE 9 fe:00:{inode} 0 EOF\n"
        );
        fs::write(proc.path().join("locks"), locks).unwrap();
        for (pid, comm) in [("8", "cat\n"), ("9", "ccwatch\n")] {
            fs::create_dir(proc.path().join(pid)).unwrap();
            fs::write(proc.path().join(pid).join("comm"), comm).unwrap();
        }
        let found = Running::find(proc.path(), state.path()).unwrap();
        assert_eq!(found, Running { pid: Pid(9), privileges: None, sensors: None });
        for (task, comm) in [("9", "ccwatch\n"), ("10", "fanotify\n"), ("11", "mounts\n"), ("12", "procfs-poll\n")] {
            fs::create_dir_all(proc.path().join("9/task").join(task)).unwrap();
            fs::write(proc.path().join("9/task").join(task).join("comm"), comm).unwrap();
        }
        let sensors = Running::find(proc.path(), state.path()).unwrap().sensors.unwrap();
        assert_eq!(sensors, Sensing { connector: false, fanotify: true });
        assert_eq!(sensors.describe(), "fanotify, procfs-poll");
        fs::write(proc.path().join("9/status"), STATUS).unwrap();
        let (fine, text) = Running::find(proc.path(), state.path()).unwrap().describe();
        assert_eq!(text, "runs as process 9: 4 capabilities, no new privileges, system calls filtered");
        assert!(fine);
        assert_eq!(Running::find(proc.path(), proc.path()), None);
    }

    #[test]
    fn what_it_has_too_much_is_told() {
        let status = STATUS.replace("281004", "281006").replace("Seccomp:\t2", "Seccomp:\t0");
        let running = Running { pid: Pid(3), privileges: Privileges::parse(status.as_bytes()), sensors: None };
        let (fine, text) = running.describe();
        assert!(!fine);
        assert!(text.contains("1 capabilities more than the 4") && text.ends_with("not filtered"), "{text}");
    }
}

//! The words that flow from the sensors to detection: who executed what, as far as the kernel still told.
//! Plain data, no I/O: filling a [`Look`] is `host::process`'s work, judging it `detect`'s.

pub mod claim;
pub mod comm;
mod look;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use claim::Claim;
use serde::{Deserialize, Serialize};

pub use comm::{Comm, basename};
pub use look::{Exe, ImageId, Look, Stat};

/// A process id in the initial pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a process was forked: clock ticks since boot, field 22 of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StartTime(pub u64);

/// A process for all time: its pid may be reused, pid and start time together are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The host's pid.
    pub pid: Pid,
    /// When it was forked.
    pub start: StartTime,
}

/// Nanoseconds of CLOCK_MONOTONIC, the clock of the process connector's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Time passed since `earlier`; zero where that is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `d` more.
    pub fn plus(self, d: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment `d` before this one.
    pub fn minus(self, d: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The inode number of a namespace, as in `mnt:[4026531832]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(pub u64);

/// A directory's identity: device and inode. Serves to tell a root directory from the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootId {
    /// `st_dev` as the kernel encodes it in statx (major, minor packed by makedev).
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

/// A file's identity and state; a change of content changes at least one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last modification, nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Last status change, nanoseconds since the epoch.
    pub ctime_ns: i128,
}

impl FileId {
    /// What tells the file from every other one, whatever is written to it.
    pub fn inode(&self) -> Inode {
        Inode { dev: self.dev, ino: self.ino }
    }

    /// Whether the one is an overlay's and the other that of the layer which it shows: only the device differs (Inode
    /// properties in Documentation/filesystems/overlayfs.rst).
    pub fn is_layer_of(&self, other: &Self) -> bool {
        self.dev != other.dev && Self { dev: other.dev, ..*self } == *other
    }
}

/// Which file, whatever its content: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inode {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

/// Names a mount as statx(2) does: for all time from Linux 6.8 on; before that numbers are used again, as soon as the
/// mount is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountNumber(pub u64);

/// Names a mounted filesystem for all time: mount ids and device numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountedId(pub u64);

/// Why a field is not known. Its name stands in the alert's `ccwatch.missing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Missing {
    /// The process was dead, or another one under its pid, before it could be read.
    Gone,
    /// The kernel refused.
    Denied,
    /// The read did not answer within its deadline.
    Deadline,
    /// No worker was free: the queue of reads was full.
    Busy,
    /// What was read is not what the format promises.
    Malformed,
    /// Larger than the limit on what is read.
    TooLarge,
    /// This kernel or host does not tell.
    Unsupported,
    /// Nothing of the kind was there to read.
    Absent,
    /// Any other error of the operating system.
    Unreadable,
}

impl Missing {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Deadline => "deadline",
            Self::Busy => "busy",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Unsupported => "unsupported",
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
        }
    }

    /// Classifies an error of the operating system, for the whole crate: a process that vanished is `Gone`.
    pub fn from_os(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Self::Gone,
            Some(libc::EACCES | libc::EPERM) => Self::Denied,
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => Self::Unsupported,
            _ if error.kind() == std::io::ErrorKind::InvalidData => Self::Malformed,
            _ if error.kind() == std::io::ErrorKind::TimedOut => Self::Deadline,
            _ => Self::Unreadable,
        }
    }
}

/// A value, or the reason why it is not known.
pub type Field<T> = Result<T, Missing>;

/// Which sensor saw an exec; `ccwatch.known_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SensorKind {
    /// Exec events of fanotify.
    Fanotify,
    /// The netlink process connector.
    Connector,
    /// The periodic or one-time walk over /proc.
    Poll,
    /// The kernel's records of ended processes.
    Taskstats,
}

impl SensorKind {
    /// The word used in alerts and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fanotify => "fanotify",
            Self::Connector => "connector",
            Self::Poll => "poll",
            Self::Taskstats => "taskstats",
        }
    }
}

/// What lineage tells of a process' parent, for the case that the process itself was too short to be asked.
#[derive(Debug, Clone)]
pub struct Parent {
    /// The parent's pid.
    pub pid: Pid,
    /// The look that was taken at the parent, where it lived.
    pub look: Option<Arc<Look>>,
}

/// What one sensor says about one exec.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The host's pid.
    pub pid: Pid,
    /// When the exec happened; for poll, when it was looked at.
    pub at: Monotonic,
    /// Who saw it.
    pub known_by: SensorKind,
    /// What the look told.
    pub look: Look,
    /// What is known of the parent from FORK events.
    pub parent: Option<Parent>,
    /// The reads that were begun at once, because what they read dies with the process.
    pub begun: BegunReads,
}

/// Names reads that are under way before detection knows of their exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BegunReads(pub u64);

/// What fanotify says: a process opened a file to execute it. Whether that succeeded, the connector's EXEC tells.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The host's pid; perhaps dead by now.
    pub pid: Pid,
    /// It happened after this moment: then there was no event left to read.
    pub after: Monotonic,
    /// It was read at this moment, and happened before.
    pub at: Monotonic,
    /// Which file.
    pub file: FileId,
    /// Its path, as the root of its mount shows it.
    pub path: Arc<[u8]>,
    /// The file, open for reading, or its parcel ([`crate::sys::passing`]), where its content may not be known yet. Keeps its
    /// mount alive until it is closed.
    pub open: Option<Arc<OwnedFd>>,
    /// Its name says nothing, and its content is not known yet.
    pub unjudged: bool,
    /// What was read of it before this moment may not be what was executed.
    pub doubted: bool,
    /// It is a script: what runs is what its first line names.
    pub script: bool,
    /// It was opened, for whatever purpose: this kernel has no exec events.
    pub by_open: bool,
    /// By a process of the host: nothing is to be done but to read the file, so that its execs can be ignored.
    pub on_host: bool,
    /// The mount through which it was opened, where that is known.
    pub mount: Option<MountNumber>,
    /// The filesystem on which it lies.
    pub mounted: Option<MountedId>,
    /// The process, where the filesystem does not tell whose it is.
    pub look: Option<Arc<Look>>,
}

impl Attempt {
    /// Of a file of which nothing else is known yet; `after` and `at` as there.
    pub fn new(pid: Pid, (after, at): (Monotonic, Monotonic), file: FileId, path: Arc<[u8]>) -> Self {
        let (unjudged, doubted, script, by_open, on_host) = Default::default();
        let (open, mount, mounted, look) = Default::default();
        Self { pid, after, at, file, path, open, unjudged, doubted, script, by_open, on_host, mount, mounted, look }
    }

    /// Whether this file is what was attempted, be it through an overlay.
    pub fn is_on(&self, file: &FileId) -> bool {
        file.inode() == self.file.inode() || file.is_layer_of(&self.file)
    }

    /// Its file, as a look in time would have shown it.
    pub fn exe(&self) -> Exe {
        let file = self.open.clone().ok_or(Missing::Gone);
        Exe { path: self.path.to_vec(), deleted: false, id: Ok(self.file), mount: self.mount, file }
    }
}

/// Events that the kernel or we dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Which sensor lost them.
    pub sensor: SensorKind,
    /// How many; 0 where nobody can know.
    pub count: u64,
    /// The last moment at which nothing was lost yet.
    pub since: Monotonic,
    /// Where they were lost: `socket buffer`, `channel`.
    pub at: &'static str,
}

/// What flows from the sensors to detection.
#[derive(Debug)]
pub enum Fact {
    /// One exec, as one sensor saw it.
    Exec(Box<Sighting>),
    /// Attempts to execute what may be compilers, in their order.
    Attempts {
        /// As many as one reading gave.
        attempts: Vec<Attempt>,
        /// Their open files, counted as under way until they are taken in.
        files: Option<Claim>,
    },
    /// The connector has counted execs since somebody asked: see `sensor::ledger`.
    Counted,
    /// Events were dropped.
    Lost(Lost),
    /// A walk over /proc has ended: the baseline, or the repair after a loss.
    Swept {
        /// The sensor whose loss it repaired; `None` for the baseline.
        after: Option<SensorKind>,
        /// Processes looked at; else why not all could be.
        seen: Field<u64>,
    },
    /// A part of a sensor began to work, or stopped working, and why.
    Health {
        /// Which one.
        sensor: SensorKind,
        /// Which part of it: it works once all of them do.
        part: &'static str,
        /// `None`: the part works; else the reason in one sentence.
        lacks: Option<String>,
    },
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A file of an overlay.
    pub(crate) fn file(ino: u64) -> FileId {
        FileId { dev: 39, ino, size: 1, mtime_ns: 0, ctime_ns: 0 }
    }

    /// An attempt of `pid` on file `ino`, read at `read` ms after a moment without events at `after` ms.
    pub(crate) fn attempt(pid: i32, ino: u64, after: u64, read: u64) -> Attempt {
        let path = format!("/usr/bin/prog-{ino}").into_bytes().into();
        Attempt::new(Pid(pid), (Monotonic(after * MS), Monotonic(read * MS)), file(ino), path)
    }
}

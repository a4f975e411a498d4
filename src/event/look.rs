//! What was found at a process: the look, and its parts.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Comm, Field, FileId, Inode, Missing, Monotonic, MountNumber, Namespace, Pid, RootId, StartTime};

/// What /proc/PID/stat tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// `comm`: at most 15 bytes, chosen by the process.
    pub comm: Vec<u8>,
    /// State letter: `R`, `S`, `Z`, ...
    pub state: u8,
    /// Parent's pid; 0 where it lies outside the reader's pid namespace.
    pub ppid: Pid,
    /// POSIX session: the host's pid of its leader. Not known of a process that was released while it was read
    /// (fs/proc/array.c, do_task_stat: -1), nor of one whose leader lies outside the reader's pid namespace (0).
    pub session: Option<Pid>,
    /// Controlling terminal's device number, 0 for none.
    pub tty: i32,
    /// When the process was forked.
    pub start: StartTime,
    /// Where its stack began: differs after each exec where addresses are random, so it tells two images of one
    /// process apart. 0 where the kernel hides it.
    pub start_stack: u64,
}

impl Stat {
    /// The image of which it tells, executed from this file.
    pub fn image(&self, file: Option<Inode>) -> Option<ImageId> {
        let Self { start, start_stack, .. } = *self;
        (start_stack != 0).then_some(ImageId { start, start_stack, file })
    }

    /// Whether the process had ended: a zombie keeps stat and comm, and on cgroup v1 shows a false `/`.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// The executed file: what /proc/PID/exe leads to.
#[derive(Debug, Clone)]
pub struct Exe {
    /// Path as the process' own root shows it, without ` (deleted)`.
    pub path: Vec<u8>,
    /// The link carried ` (deleted)`.
    pub deleted: bool,
    /// Identity of the file.
    pub id: Field<FileId>,
    /// The mount through which it was executed, where the kernel says that at once (5.8).
    pub mount: Option<MountNumber>,
    /// An `O_PATH` descriptor on it: pins the inode, asks no file server. Closed with its last owner.
    pub file: Field<Arc<OwnedFd>>,
}

/// What the first look at /proc/PID told, each part with its own reason where it is missing. Taken by the sensor
/// through one descriptor on the directory, so that all of it is about one process.
#[derive(Debug, Clone)]
pub struct Look {
    /// When it was taken.
    pub at: Monotonic,
    /// The descriptor on /proc/PID: later reads through it fail with ESRCH instead of meeting another process.
    pub dir: Field<Arc<OwnedFd>>,
    /// stat.
    pub stat: Field<Stat>,
    /// exe.
    pub exe: Field<Exe>,
    /// The bytes of /proc/PID/cgroup.
    pub cgroup: Field<Vec<u8>>,
    /// ns/mnt.
    pub mnt_ns: Field<Namespace>,
    /// ns/pid.
    pub pid_ns: Field<Namespace>,
    /// The root directory.
    pub root: Field<RootId>,
}

/// Which program image a process shows. Each exec gives a process a new random stack, unless that is switched off
/// (personality(2), `ADDR_NO_RANDOMIZE`): then two files of the same arguments tell by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageId {
    /// When the process began.
    pub start: StartTime,
    /// Where its stack begins.
    pub start_stack: u64,
    /// The executed file, where that is known.
    pub file: Option<Inode>,
}

impl Look {
    /// Which image it saw; `None` for a process that hides where its stack is, or had none any more.
    pub fn image(&self) -> Option<ImageId> {
        self.stat.as_ref().ok().and_then(|stat| stat.image(self.file().map(|id| id.inode())))
    }

    /// Identity of the executed file.
    pub fn file(&self) -> Option<FileId> {
        self.exe.as_ref().ok().and_then(|exe| exe.id.ok())
    }

    /// The process' name; empty where it is not known.
    pub fn comm(&self) -> Comm {
        Comm::new(self.stat.as_ref().map_or(&[], |stat| &stat.comm))
    }

    /// Closes its descriptors: a look that is kept must keep nobody's mount alive. `why` the file is not open any more.
    pub fn let_go(&mut self, why: Missing) {
        self.dir = Err(Missing::Gone);
        if let Ok(exe) = &mut self.exe {
            exe.file = Err(why);
        }
    }

    /// The look at a process of which nothing is known.
    pub fn nothing(at: Monotonic, why: Missing) -> Self {
        Self {
            at,
            dir: Err(why),
            stat: Err(why),
            exe: Err(why),
            cgroup: Err(why),
            mnt_ns: Err(why),
            pid_ns: Err(why),
            root: Err(why),
        }
    }
}

//! How one process sees the mounts of its namespace: those below its root directory.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use crate::event::{Field, Missing, Namespace, Pid, RootId};
use crate::host::file::{file_status, mount_of_descriptor};
use crate::host::mountinfo::{self, Mount};
use crate::host::process::{Proc, ProcessDir};
use crate::sys::file::FileStatus;

/// A container's table is read up to here.
const MAX_TABLE: u64 = 8 << 20;

/// Another process of the namespace, with a root directory of its own.
#[derive(Debug)]
pub struct Viewer {
    dir: ProcessDir,
    root: RootId,
}

impl Viewer {
    /// This process, if it is in the namespace.
    ///
    /// # Errors
    /// `Gone` where it is not, or has ended.
    pub fn open(proc: &Proc, pid: Pid, namespace: Namespace) -> Field<Self> {
        let dir = proc.process(pid)?;
        let root = dir.root()?;
        if dir.namespace(c"ns/mnt")? == namespace { Ok(Self { dir, root }) } else { Err(Missing::Gone) }
    }

    /// Its root directory.
    pub fn root(&self) -> RootId {
        self.root
    }

    /// What it sees now; `None` where it has ended, or has gone elsewhere. `vouched` as for [`View::read`].
    pub fn view(&self, namespace: Namespace, vouched: impl Fn(&Mount, &[Vec<u8>]) -> bool) -> Option<View> {
        let mut table = self.dir.mount_table().ok()?;
        let same = self.dir.namespace(c"ns/mnt") == Ok(namespace) && self.dir.root() == Ok(self.root);
        if same { View::read(&self.dir, &mut table, vouched).ok() } else { None }
    }
}

/// What a process sees.
#[derive(Debug)]
pub struct View {
    /// The mounts, in the order in which they were made.
    pub mounts: Vec<Mount>,
    /// Who sees them.
    pub process: ProcessDir,
    /// From where their paths start.
    pub directory: OwnedFd,
    /// Whether there are more than were read.
    pub is_cut: bool,
    /// The numbers of those that only a server can be asked about, or that lie below one.
    hanging: HashSet<u64>,
    /// The numbers of overlays of which nobody knows where their layers lie.
    unvouched: HashSet<u64>,
    numbers: OnceCell<HashSet<u64>>,
}

impl View {
    /// Reads a table that was opened just now; `vouched` says of an overlay whether its layers are known to lie on what
    /// answers, and is given the places where the process sees what may not.
    ///
    /// # Errors
    /// `Gone` where the process has ended.
    pub fn read(dir: &ProcessDir, table: &mut File, vouched: impl Fn(&Mount, &[Vec<u8>]) -> bool) -> Field<Self> {
        let mut text = Vec::new();
        let size = table.take(MAX_TABLE).read_to_end(&mut text).map_err(|e| Missing::from_os(&e))?;
        let is_cut = size as u64 >= MAX_TABLE;
        let mounts = mountinfo::parse(&text);
        let hanging = mountinfo::hanging(&mounts);
        let servers = mountinfo::points(&mounts, &hanging);
        let overlays = mounts.iter().filter(|mount| mount.is_overlay() && !vouched(mount, &servers));
        let unvouched = overlays.map(|mount| mount.id).collect();
        let (directory, numbers) = (dir.root_dir()?, OnceCell::new());
        Ok(Self { process: dir.clone(), mounts, directory, is_cut, hanging, unvouched, numbers })
    }

    /// Whether to open one of its files is to ask a server, or may be: anybody can lay an overlay over a FUSE mount in a user
    /// namespace of his own (Linux 5.11), and what it shows of its layers are names.
    pub fn is_far(&self, mount: &Mount) -> bool {
        self.hanging.contains(&mount.id) || self.unvouched.contains(&mount.id)
    }

    /// Where its root directory is, and the number of that mount, if none that its namespace `shows` is that.
    pub fn unseen_root(&self, shows: &HashSet<u64>) -> Option<(Option<u64>, FileStatus)> {
        let number = mount_of_descriptor(self.directory.as_fd());
        let unseen = mountinfo::is_root_unseen(number, &self.mounts, shows);
        unseen.then(|| file_status(self.directory.as_fd(), c"").ok()).flatten().map(|status| (number, status))
    }

    /// Enters the mount on which its root directory is, which the table does not show.
    pub fn enter_root(&mut self, mount: Mount, is_far: bool) {
        if is_far {
            self.hanging.insert(mount.id);
        }
        self.mounts.insert(0, mount);
    }

    /// Whether a mount of this number is among them, and nobody has to be asked to look a name up in it.
    pub fn is_safe(&self, number: u64) -> bool {
        let numbers = || self.mounts.iter().map(|mount| mount.id).collect();
        self.numbers.get_or_init(numbers).contains(&number)
            && !self.hanging.contains(&number)
            && !self.unvouched.contains(&number)
    }
}

//! One mount namespace of a container, seen through one process in it: what that shows as executable is marked. Nothing
//! is kept alive: its table, which would keep the namespace, is closed when that process ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::Epoll;

use super::book::{Book, Key};
use super::host::HostTable;
use super::mountinfo::{self, Mount};
use super::status::{ContainerCoverage, Uncovered};
use super::{Mounted, Mounts};
use crate::event::{Field, Look, Missing, Monotonic, MountNumber, MountedId, Namespace, Pid, RootId};
use crate::host::process::{Proc, ProcessDir, file_status, mount_number, mount_of_descriptor};
use crate::host::{clock, rooted};
use crate::sensor::FileTriage;
use crate::sensor::fanotify::group::{Group, Way};
use crate::sys::file::FileStatus;

/// What tells a mount that stays from one that took its place: numbers are used again.
pub type Place = (u64, u64, Vec<u8>);

/// A container's table is read up to here.
const MAX_TABLE: u64 = 8 << 20;
/// Mounts of one namespace that are marked.
const MARKS: usize = 512;

/// A mark, and what it is on.
#[derive(Debug)]
struct Marked {
    keys: Vec<Key>,
    mounted: Arc<Mounted>,
}

/// The namespace.
pub struct Space {
    /// Its number.
    pub namespace: Namespace,
    /// The process through which it is seen.
    pub pid: Pid,
    dir: ProcessDir,
    /// Where its root directory is, as it was last seen.
    root: Option<RootId>,
    /// Readable at that process' end; `None` before Linux 5.3.
    exit: Option<OwnedFd>,
    /// Open to be polled for changes, only where `exit` tells when to close it.
    table: Option<File>,
    /// Its mounts are the host's own: nothing of it is marked.
    pub of_host: bool,
    known: HashMap<Place, Marked>,
    /// What is not covered.
    uncovered: Vec<Uncovered>,
    /// What it runs from; with this it names its container.
    pub root_mounted: Option<MountedId>,
    /// When it was read last.
    pub read_at: Monotonic,
    /// The look that tells whose it is.
    look: Look,
}

/// What marking needs.
pub struct Tools<'a> {
    /// Where descriptors are polled.
    pub epoll: &'a Epoll,
    /// The table.
    pub book: &'a mut Book,
    /// The marks.
    pub group: &'a Group,
    /// What is mounted on the host too.
    pub host: &'a HostTable,
}

impl Space {
    /// The namespace of this process.
    ///
    /// # Errors
    /// `Gone` where the process has ended.
    pub fn open(proc: &Proc, pid: Pid, namespace: Namespace, exit: Option<OwnedFd>) -> Field<Self> {
        let dir = proc.process(pid)?;
        // Asked after `exit` was opened: a process that still lives is the one that it is about.
        if dir.namespace(c"ns/mnt")? != namespace {
            return Err(Missing::Gone);
        }
        let mut look = proc.look(pid, clock::now());
        look.let_go(Missing::Gone);
        Ok(Self {
            namespace,
            pid,
            dir,
            root: None,
            exit,
            table: None,
            of_host: false,
            known: HashMap::new(),
            uncovered: Vec::new(),
            root_mounted: None,
            read_at: Monotonic::default(),
            look,
        })
    }

    /// To be polled for its process' end.
    pub fn exit(&self) -> Option<BorrowedFd<'_>> {
        self.exit.as_ref().map(AsFd::as_fd)
    }

    /// To be polled for changes; another one after each reading.
    pub fn table(&self) -> Option<BorrowedFd<'_>> {
        self.table.as_ref().map(AsFd::as_fd)
    }

    /// The process' look.
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// Whether its process still lives.
    pub fn is_alive(&self) -> bool {
        self.dir.namespace(c"ns/mnt") == Ok(self.namespace)
    }

    /// Whether its process has another root directory than the host's.
    pub fn has_moved(&self, host_root: Option<RootId>) -> bool {
        self.dir.root().is_ok_and(|root| Some(root) != host_root)
    }

    /// Marks what is new, and lets go of what is gone. `host_root` is the host's root directory.
    ///
    /// # Errors
    /// `Gone` where its process has ended.
    pub fn read(&mut self, host_root: Option<RootId>, tools: &mut Tools<'_>) -> Field<()> {
        self.read_at = clock::now();
        // Opened anew each time: what it shows is relative to the root directory of the moment of its opening.
        let mut table = self.dir.mount_table()?;
        let root = self.dir.root()?;
        if self.root != Some(root) {
            self.root = Some(root);
            self.look.root = Ok(root);
        }
        if Some(root) == host_root {
            // A runtime that is about to make a container's root, or a service of the host.
            self.of_host = tools.book.triage().lives_on_host(&self.look);
            self.keep(table);
            return Ok(());
        }
        self.of_host = false;
        let mut text = Vec::new();
        (&mut table).take(MAX_TABLE).read_to_end(&mut text).map_err(|e| Missing::from_os(&e))?;
        self.keep(table);
        let directory = self.dir.root_dir()?;
        let all = mountinfo::parse(&text);
        self.mark_all(&all, root, directory.as_fd(), tools);
        Ok(())
    }

    fn keep(&mut self, table: File) {
        // An open table keeps its namespace alive, so it is held only while the process' end is heard of.
        self.table = if self.exit.is_some() && !self.of_host { Some(table) } else { None };
    }

    fn mark_all(&mut self, all: &[Mount], root: RootId, directory: BorrowedFd<'_>, tools: &mut Tools<'_>) {
        let mut old = std::mem::take(&mut self.known);
        self.uncovered.clear();
        self.root_mounted = tools.book.mounts().of(root.dev, None).map(|mounted| mounted.id);
        let hanging = mountinfo::hanging(all);
        for mount in all.iter().filter(|mount| mount.is_executable()) {
            let place = (mount.id, mount.dev, mount.point.clone());
            if hanging.contains(&mount.id) {
                self.miss(mount, "a network or FUSE filesystem, or below one");
                continue;
            }
            if tools.group.way == Way::Open && mount.point == b"/dev" {
                // Each event brings an open file of ours: that must not be a device.
                self.miss(mount, "opens of devices are not asked for");
                continue;
            }
            if is_covered_as_a_whole(mount, tools) {
                continue;
            }
            if self.known.len() >= MARKS {
                self.miss(mount, "too many mounts");
                continue;
            }
            let is_root = mount.point == b"/";
            let owner = Owner { root: self.root_mounted, look: &self.look };
            let known = old.remove(&place);
            let reached = match (reach(mount, directory), known) {
                // Something is mounted over it, and its mark stands.
                (Err(_), Some(known)) => {
                    self.known.insert(place, known);
                    continue;
                }
                (reached, known) => reached.map(|(at, status)| (at, status, known)),
            };
            match reached.and_then(|(at, status, known)| mark(mount, known, at.as_fd(), status, &owner, tools)) {
                Ok(marked) => {
                    if is_root {
                        self.root_mounted = self.root_mounted.or(Some(marked.mounted.id));
                    }
                    self.known.insert(place, marked);
                }
                Err(Errno::ESTALE) => self.miss(mount, "something is mounted over it"),
                Err(Errno::EAGAIN) => self.miss(mount, "the way to it is not in memory"),
                Err(e) => self.miss(mount, e.desc()),
            }
        }
        leave(old, tools.book);
    }

    fn miss(&mut self, mount: &Mount, why: &str) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (point, fs_type) = (text(&mount.point), text(&mount.fs_type));
        log::debug!("execs on {point:?} ({fs_type:?}) of process {}'s mounts are not marked: {why}", self.pid);
        if self.uncovered.len() < MARKS {
            self.uncovered.push(Uncovered { point, fs_type, why: why.to_owned() });
        }
    }

    /// What covers it, as far as it is a container's.
    pub fn coverage(&self, mounts: &Mounts, triage: &dyn FileTriage) -> Option<ContainerCoverage> {
        let name = triage.name_of(self.root_mounted?)?;
        let by_filesystem = self.root.is_some_and(|root| mounts.covers(root.dev, None));
        Some(ContainerCoverage { name, by_filesystem, mounts: self.known.len(), uncovered: self.uncovered.clone() })
    }

    /// It is not watched any more.
    pub fn close(mut self, book: &mut Book) {
        leave(std::mem::take(&mut self.known), book);
    }
}

fn leave(gone: HashMap<Place, Marked>, book: &mut Book) {
    gone.into_values().for_each(|marked| forget(marked, book));
}

fn forget(marked: Marked, book: &mut Book) {
    for key in marked.keys {
        book.leave(key, Arc::clone(&marked.mounted), clock::now());
    }
}

/// What tells whose a mount is.
struct Owner<'a> {
    /// What its namespace's root directory lies on.
    root: Option<MountedId>,
    /// A process of the namespace.
    look: &'a Look,
}

/// Whether the mark on its filesystem sees every mount of it; whose it is is known by its device.
fn is_covered_as_a_whole(mount: &Mount, tools: &Tools<'_>) -> bool {
    let Tools { book, group, host, .. } = tools;
    group.way == Way::Filesystem && host.has(mount.dev) && book.mounts().covers(mount.dev, None)
}

/// A descriptor that is proven to lie on a mount.
fn reach(mount: &Mount, root: BorrowedFd<'_>) -> nix::Result<(OwnedFd, FileStatus)> {
    let path = Path::new(std::ffi::OsStr::from_bytes(&mount.point));
    let found = match rooted::locate_mount_point(root, path) {
        // These ask for their own names each time (fs/proc/generic.c, `proc_misc_d_revalidate`; fs/kernfs/dir.c).
        Err(Missing::Busy) if [&b"/proc/"[..], b"/sys/"].iter().any(|own| mount.point.starts_with(own)) => {
            rooted::locate(root, path)
        }
        other => other,
    };
    let place = found.map_err(|why| match why {
        Missing::Absent | Missing::Gone => Errno::ESTALE,
        Missing::Busy => Errno::EAGAIN,
        _ => Errno::EACCES,
    })?;
    let status = file_status(place.as_fd(), c"").map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    // Before 3.15 a descriptor does not tell its mount.
    if mount_of_descriptor(place.as_fd()).map_or(status.dev != mount.dev, |id| id != mount.id) {
        return Err(Errno::ESTALE);
    }
    Ok((place, status))
}

/// Marks one mount, by a descriptor on it.
fn mark(
    mount: &Mount,
    known: Option<Marked>,
    place: BorrowedFd<'_>,
    status: FileStatus,
    owner: &Owner<'_>,
    tools: &mut Tools<'_>,
) -> nix::Result<Marked> {
    let Tools { book, group, host, .. } = tools;
    let by_filesystem = group.way == Way::Filesystem;
    let number = mount_number(status).unwrap_or(MountNumber(mount.id));
    let private = by_filesystem && !host.has(mount.dev);
    let mut keys = vec![Key::Mount(number)];
    if private && !book.mounts().covers(mount.dev, None) {
        keys.push(Key::Device(mount.dev));
    }
    let known = match known {
        Some(other) if other.keys.first() != keys.first() => {
            forget(other, book);
            None
        }
        same => same,
    };
    let marked = known.unwrap_or_else(|| {
        let layers = book.mounts().of(mount.dev, None).and_then(|on| on.layers.clone());
        let plain = mount.is_plain() && (mount.fs_type == b"tmpfs" || host.has(mount.dev));
        let mounted = book.make(layers, plain);
        // Whose it is has to be known before its first exec is reported.
        book.triage().mounted_within(mounted.id, owner.root, owner.look);
        for key in &keys {
            book.enter(*key, &mounted);
        }
        Marked { keys, mounted }
    });
    // Asked for again where it stands: before Linux 6.8 a mount may have taken the place and the number of another.
    let done = if private { group.mark_filesystem(place) } else { group.mark_mount(place) };
    if let Err(e) = done {
        forget(marked, book);
        return Err(e);
    }
    marked.mounted.set_marked(true);
    Ok(marked)
}

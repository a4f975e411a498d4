//! One mount namespace of a container, seen through a process in it: what that shows as executable is marked. Nothing
//! is kept alive: its table, which would keep the namespace, is closed when that process ends.

mod marks;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::Mounts;
use super::book::Book;
use super::far_mounts::FarMounts;
use super::layers::Layers;
use super::marking::{self, Marked};
use super::spending::Spending;
use super::tools::{HostSide, Tools};
use super::view::{View, Viewer};
use crate::event::{Field, Look, Missing, Monotonic, MountedId, Namespace, Pid, RootId};
use crate::host::clock;
use crate::host::mountinfo::{Mount, Place};
use crate::host::process::{Proc, ProcessDir};
use crate::sensor::FileTriage;
use crate::sensor::status::{ContainerCoverage, Uncovered};

/// A runtime on its way into a container has the host's root directory for less than this.
const ENTERING: Duration = Duration::from_millis(200);
/// Processes with other root directories through which a namespace is seen too.
const VIEWERS: usize = 3;

/// The namespace.
pub struct Space {
    /// Its number.
    pub namespace: Namespace,
    /// The process through which it is seen.
    pub pid: Pid,
    dir: ProcessDir,
    /// Where its root directory is, as it was last seen.
    root: Option<RootId>,
    /// Since when it has the host's, though it is none of the host's.
    on_host_root: Option<Monotonic>,
    /// Processes that see what lies outside its root directory.
    others: Vec<Viewer>,
    /// Readable at that process' end; `None` before Linux 5.3.
    exit: Option<OwnedFd>,
    /// Open to be polled for changes, only where `exit` tells when to close it.
    table: Option<File>,
    /// Its mounts are the host's own: nothing of it is marked.
    pub of_host: bool,
    known: HashMap<Place, Marked>,
    /// Those that only a server can be asked about, and those below them.
    far: FarMounts,
    /// What is not covered, by the mount's number.
    uncovered: Vec<(u64, Uncovered)>,
    /// What it runs from; with this it names its container.
    pub root_mounted: Option<MountedId>,
    /// When it was read last.
    pub read_at: Monotonic,
    /// When it is to be read again, though nobody tells of a change.
    pub again: Option<Monotonic>,
    /// What its readings take.
    pub spending: Spending,
    /// The look that tells whose it is.
    look: Look,
    /// The cgroup that it was found with, and the outermost container's name: for whom it counts.
    family: Vec<u8>,
    outermost: Vec<u8>,
}

impl Space {
    /// The namespace of this process.
    ///
    /// # Errors
    /// `Gone` where the process has ended.
    pub fn open(
        proc: &Proc,
        pid: Pid,
        namespace: Namespace,
        exit: Option<OwnedFd>,
        triage: &dyn FileTriage,
    ) -> Field<Self> {
        let dir = proc.process(pid)?;
        // Asked after `exit` was opened: a process that still lives is the one that it is about.
        if dir.namespace(c"ns/mnt")? != namespace {
            return Err(Missing::Gone);
        }
        let mut look = proc.look(pid, clock::now());
        // One of the kernel's own threads: kdevtmpfs has a namespace to itself.
        if matches!(look.exe, Err(Missing::Gone | Missing::Absent)) {
            return Err(Missing::Gone);
        }
        look.let_go(Missing::Gone);
        let family = look.cgroup.clone().unwrap_or_default();
        let outermost = triage.outermost_of(&look).unwrap_or_default().into_bytes();
        Ok(Self {
            namespace,
            pid,
            dir,
            root: None,
            on_host_root: None,
            others: Vec::new(),
            exit,
            table: None,
            of_host: false,
            known: HashMap::new(),
            far: FarMounts::default(),
            uncovered: Vec::new(),
            root_mounted: None,
            read_at: Monotonic::default(),
            again: None,
            spending: Spending::default(),
            look,
            family,
            outermost,
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

    /// It has changed, and is not read before its rest is over: what is mounted meanwhile is not covered.
    pub fn leave_unread(&mut self) {
        // It would only tell of more changes.
        self.table = None;
        let why = "its mounts change too often to be read";
        let new_ones = (0, Uncovered { point: "/".to_owned(), fs_type: "any".to_owned(), why: why.to_owned() });
        if !self.uncovered.contains(&new_ones) {
            self.uncovered.push(new_ones);
        }
    }

    /// The process' look.
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// The cgroup that it was found with.
    pub fn family(&self) -> &[u8] {
        &self.family
    }

    /// The outermost container that it was found in; empty where no runtime made that.
    pub fn outermost(&self) -> &[u8] {
        &self.outermost
    }

    /// Whether its process still lives, in this namespace.
    pub fn is_alive(&self) -> bool {
        self.dir.namespace(c"ns/mnt") == Ok(self.namespace)
    }

    /// Whether its process lives in another namespace.
    pub fn has_left(&self) -> bool {
        self.dir.namespace(c"ns/mnt").is_ok_and(|namespace| namespace != self.namespace)
    }

    /// Whether it was last seen with the host's root directory, and now has another.
    pub fn has_moved(&self, host_root: Option<RootId>) -> bool {
        self.root == host_root && self.dir.root().is_ok_and(|root| Some(root) != host_root)
    }

    /// Whether its process sees the host's root directory, and not the container's own.
    pub fn is_on_host_root(&self) -> bool {
        self.on_host_root.is_some() && !self.of_host
    }

    /// Another process of the namespace: true where it sees something else, so that the namespace is to be read.
    pub fn look_through(&mut self, proc: &Proc, pid: Pid) -> bool {
        let Ok(viewer) = Viewer::open(proc, pid, self.namespace) else { return false };
        let known = self.root == Some(viewer.root()) || self.others.iter().any(|other| other.root() == viewer.root());
        if known || self.of_host || self.others.len() >= VIEWERS {
            return false;
        }
        self.others.push(viewer);
        true
    }

    /// Marks what is new, and lets go of what is gone.
    ///
    /// # Errors
    /// `Gone` where its process has ended, or left the namespace.
    pub fn read(&mut self, side: HostSide, tools: &mut Tools<'_>) -> Field<()> {
        self.read_at = clock::now();
        self.again = None;
        // Opened anew each time: what it shows is relative to the root directory of the moment of its opening.
        let mut table = self.dir.mount_table()?;
        if !self.is_alive() {
            return Err(Missing::Gone);
        }
        let root = self.dir.root()?;
        self.root = Some(root);
        self.look.root = Ok(root);
        // A runtime puts its process into cgroup and namespaces one after the other.
        if let Ok(cgroup) = self.dir.small_file(c"cgroup") {
            self.look.cgroup = Ok(cgroup);
        }
        self.look.pid_ns = self.dir.namespace(c"ns/pid").or(self.look.pid_ns);
        self.of_host = Some(root) == side.root && tools.book.triage().lives_on_host(&self.look);
        self.on_host_root = self.on_host_root.or(Some(self.read_at)).filter(|_| Some(root) == side.root);
        if self.of_host {
            self.uncovered.clear();
            marking::leave(std::mem::take(&mut self.known), tools.book);
            self.far.begin().leave(tools.book);
            self.table = None;
            return Ok(());
        }
        // What a runtime sees that is about to make a container's root is the host's.
        let settled = self.on_host_root.map(|since| since.plus(ENTERING));
        if settled.is_some_and(|settled| self.read_at < settled) {
            self.again = settled;
            self.keep(table);
            return Ok(());
        }
        // Who may mount an overlay in the host's user namespace needs no server to hold us up.
        let users = self.dir.namespace(c"ns/user");
        // A kernel without CONFIG_USER_NS has one, and no file for it.
        let may_mount_anything =
            if side.users.is_some() { users.ok() == side.users } else { users == Err(Missing::Gone) };
        let host = tools.host;
        let vouched = |mount: &Mount, servers: &[Vec<u8>]| match host.has(mount.dev) {
            true => host.vouches_for(mount.dev),
            false => may_mount_anything && !Layers::lie_below(mount, servers),
        };
        let mut views = vec![View::read(&self.dir, &mut table, vouched)?];
        self.keep(table);
        let namespace = self.namespace;
        self.others.retain(|other| {
            let view = other.view(namespace, vouched);
            let lives = view.is_some();
            views.extend(view);
            lives
        });
        self.mark_all(&mut views, root, tools);
        Ok(())
    }

    fn keep(&mut self, table: File) {
        // An open table keeps its namespace alive, so it is held only while the process' end is heard of.
        self.table = self.exit.is_some().then_some(table);
    }

    /// Whether one of its mounts is marked that is to rest.
    pub fn is_to_rest(&self, now: Monotonic) -> bool {
        self.known.values().any(|marked| marked.mounted.is_marked() && marked.mounted.rests_until(now).is_some())
    }

    /// Whether something can be executed in it that no mark sees.
    pub fn has_uncovered(&self) -> bool {
        !self.uncovered.is_empty() || self.far.has_uncovered()
    }

    /// What covers it, as far as it is a container's.
    pub fn coverage(&self, mounts: &Mounts, triage: &dyn FileTriage) -> Option<ContainerCoverage> {
        let name = triage.name_of(self.root_mounted, &self.look).filter(|_| !self.of_host)?;
        let by_filesystem = self.root.is_some_and(|root| mounts.covers(root.dev, None));
        let near = self.uncovered.iter().map(|(_, uncovered)| uncovered.clone());
        let uncovered = near.chain(self.far.uncovered()).collect();
        let mounts = self.known.values().filter(|marked| marked.mounted.is_marked()).count();
        Some(ContainerCoverage { name, by_filesystem, mounts, far: self.far.covered(), uncovered })
    }

    /// It is not watched any more.
    pub fn close(mut self, book: &mut Book) {
        marking::leave(std::mem::take(&mut self.known), book);
        self.far.leave(book);
    }
}

//! The mount namespaces of all containers: found through the processes in them, watched while those live, forgotten with
//! them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::Mounts;
use super::book::Book;
use super::space::Space;
use super::tools::{HostSide, Tools};
use crate::event::{Monotonic, Namespace, Pid, RootId};
use crate::host::clock;
use crate::host::counts::Counts;
use crate::host::mountinfo::Place;
use crate::host::process::Proc;
use crate::sensor::FileTriage;
use crate::sensor::far::marks::Outcome;
use crate::sensor::status::ContainerCoverage;
use crate::sys::process::{pidfd_open, thread_cpu_ns};

/// Namespaces that are watched, of all containers, of one, and of one with all that are nested in it, which names their
/// cgroups as it likes, or of all sandboxes: whoever makes more of them is watched by the connector.
const SPACES: usize = 4096;
const PER_CONTAINER: usize = 64;
const PER_OUTERMOST: usize = 1024;
/// A namespace is not read again before this because somebody asks for it.
const AGAIN: Duration = Duration::from_millis(20);
/// Reading all namespaces of one container may take one part in so many of a core.
const SHARE: u32 = 20;
/// A container's namespace is searched so long after its overlay was mounted: `docker create` mounts one and makes none.
const SEARCH: Duration = Duration::from_secs(3);
/// A far mount whose server has not answered is tried again after this.
const UNANSWERED: Duration = Duration::from_secs(30);
/// Ancestors that are asked whether they are in the same namespace.
const ANCESTORS: usize = 64;
/// Pids that are asked for one by one; where there are more, all processes are listed.
const YOUNG: i32 = 512;

/// The first token of a namespace's descriptors: its table, and its process' end at the next.
const FIRST: u64 = 16;

/// The namespaces.
pub struct Spaces {
    proc: Arc<Proc>,
    own: HashSet<Namespace>,
    host: HostSide,
    spaces: HashMap<Namespace, Space>,
    /// Which namespace a token is of.
    slots: HashMap<u64, Namespace>,
    tokens: HashMap<Namespace, u64>,
    next: u64,
    /// How many there are of each container, by its processes' cgroup.
    families: Counts<Vec<u8>>,
    /// And of each outermost one.
    outermost: Counts<Vec<u8>>,
    /// Those in which something can be executed that no mark sees.
    uncovered: HashSet<Namespace>,
    /// Those of containers that see the host's processes.
    sharing: HashSet<Namespace>,
    /// Which are to be read, and when.
    due: BTreeSet<(Monotonic, Namespace)>,
    /// Devices of overlays whose namespace is searched, and since when.
    awaited: HashMap<u64, Monotonic>,
    /// The youngest process when the first of them began to be awaited: none that is older makes the container.
    youngest: Option<Pid>,
    /// Namespaces for which there was no room.
    refused: HashSet<Namespace>,
}

impl Spaces {
    /// Seen through this procfs. The host's own namespace, and ours, are not among them.
    pub fn new(proc: Arc<Proc>) -> Self {
        let of = |pid| proc.mount_namespace(Pid(pid)).ok();
        let own = [1, nix::unistd::getpid().as_raw()].into_iter().filter_map(of).collect();
        let host_root = proc.process(Pid(1)).and_then(|dir| dir.root()).ok();
        let host_root =
            host_root.or_else(|| nix::sys::stat::stat("/").ok().map(|s| RootId { dev: s.st_dev, ino: s.st_ino }));
        // Of process 1, or where the kernel does not show that, ours.
        let users = |pid| proc.process(Pid(pid)).and_then(|dir| dir.namespace(c"ns/user")).ok();
        let users = users(1).or_else(|| users(nix::unistd::getpid().as_raw()));
        Self {
            proc,
            own,
            host: HostSide { root: host_root, users },
            spaces: HashMap::new(),
            slots: HashMap::new(),
            tokens: HashMap::new(),
            next: FIRST,
            families: Counts::default(),
            outermost: Counts::default(),
            uncovered: HashSet::new(),
            sharing: HashSet::new(),
            due: BTreeSet::new(),
            awaited: HashMap::new(),
            youngest: None,
            refused: HashSet::new(),
        }
    }

    /// The host's own mount namespace, and ours.
    pub fn own(&self) -> impl Iterator<Item = Namespace> {
        self.own.iter().copied()
    }

    /// Whether some container sees the host's processes.
    pub fn share_host(&self) -> bool {
        !self.sharing.is_empty()
    }

    /// Whether a container can execute something that no mark sees.
    pub fn have_uncovered(&self, mounts: &Mounts) -> bool {
        !self.refused.is_empty() || !self.uncovered.is_empty() || self.far_silent(mounts)
    }

    /// Whether a far mount is marked whose execs are not heard of.
    fn far_silent(&self, mounts: &Mounts) -> bool {
        !mounts.far.is_heard() && self.spaces.values().any(Space::has_uncovered)
    }

    /// Something was heard of a far mount; true where it is still wanted.
    pub fn hear(&mut self, namespace: Namespace, place: &Place, outcome: Outcome, book: &mut Book) -> bool {
        let Some(space) = self.spaces.get_mut(&namespace) else { return false };
        let wanted = space.hear(place, outcome, book);
        set(&mut self.uncovered, namespace, space.has_uncovered());
        if matches!(outcome, Outcome::Late | Outcome::Refused(Errno::EAGAIN)) {
            self.want(namespace, clock::now().plus(UNANSWERED));
        }
        wanted
    }

    /// What covers each container, in the order of their names: a container may have several namespaces.
    pub fn coverage(&self, mounts: &Mounts, triage: &dyn FileTriage) -> Vec<ContainerCoverage> {
        let mut containers: BTreeMap<String, ContainerCoverage> = BTreeMap::new();
        for space in self.spaces.values().filter_map(|space| space.coverage(mounts, triage)) {
            match containers.entry(space.name.clone()) {
                Entry::Vacant(new) => {
                    new.insert(space);
                }
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.by_filesystem &= space.by_filesystem;
                    known.mounts += space.mounts;
                    known.far += space.far;
                    known.uncovered.extend(
                        space.uncovered.into_iter().filter(|u| !known.uncovered.contains(u)).collect::<Vec<_>>(),
                    );
                }
            }
        }
        containers.into_values().collect()
    }

    /// An overlay was mounted on the host: some container will run from it.
    pub fn expect(&mut self, dev: u64, now: Monotonic) {
        if self.awaited.insert(dev, now).is_none() && self.awaited.len() == 1 {
            self.youngest = self.proc.newest_pid().ok();
        }
    }

    /// Whether a container's namespace is still to come.
    pub fn are_awaited(&mut self, now: Monotonic) -> bool {
        self.awaited.retain(|_, since| now.since(*since) < SEARCH);
        !self.awaited.is_empty()
    }

    /// Looks through all processes for namespaces that are not known; `young`: through those alone that may make the
    /// containers that are awaited. Whether there was one.
    pub fn sweep(&mut self, young: bool, tools: &mut Tools<'_>) -> bool {
        self.refused.clear();
        self.close_ended(tools.book);
        self.read_moved();
        let mut seen: HashSet<Namespace> = HashSet::new();
        let young = self.young().filter(|_| young);
        let one_by_one = young.is_some();
        for pid in young.unwrap_or_else(|| self.proc.pids().unwrap_or_default()) {
            let Ok(namespace) = self.proc.mount_namespace(pid) else { continue };
            if self.own.contains(&namespace) {
                continue;
            }
            match self.spaces.get_mut(&namespace) {
                // What the container's own root directory shows, another of its processes may see.
                Some(space) => {
                    if space.is_on_host_root() && space.look_through(&self.proc, pid) {
                        self.want(namespace, Monotonic::default());
                    }
                }
                None if seen.contains(&namespace) || (one_by_one && !self.proc.is_listed(pid)) => {}
                None => {
                    seen.insert(namespace);
                    self.add(namespace, pid, tools);
                }
            }
        }
        !seen.is_empty()
    }

    /// The pids that were given away since a container is awaited: whether they are processes, and live, will be seen.
    /// `None` where they are many, or their numbers began anew.
    fn young(&self) -> Option<Vec<Pid>> {
        let (before, newest) = (self.youngest?, self.proc.newest_pid().ok()?);
        let count = newest.0.checked_sub(before.0).filter(|count| (0..=YOUNG).contains(count))?;
        Some((before.0 + 1..=before.0 + count).map(Pid).collect())
    }

    /// A process executed something in this namespace, which is not known or has a mount that is not marked.
    pub fn ask(&mut self, namespace: Namespace, pid: Pid, tools: &mut Tools<'_>) {
        if self.own.contains(&namespace) || self.refused.contains(&namespace) {
            return;
        }
        match self.spaces.get_mut(&namespace) {
            Some(space) if !space.is_alive() => {
                self.close(namespace, tools.book);
                self.add(namespace, pid, tools);
            }
            Some(space) => {
                space.look_through(&self.proc, pid);
                let at = space.read_at.plus(AGAIN).max(space.spending.rest);
                self.want(namespace, at);
            }
            None => self.add(namespace, pid, tools),
        }
    }

    fn add(&mut self, namespace: Namespace, pid: Pid, tools: &mut Tools<'_>) {
        let pid = self.eldest(pid, namespace);
        let exit = pidfd_open(pid.0).ok();
        let Ok(space) = Space::open(&self.proc, pid, namespace, exit, tools.book.triage()) else { return };
        let like =
            self.families.of(space.family()) >= PER_CONTAINER || self.outermost.of(space.outermost()) >= PER_OUTERMOST;
        if self.spaces.len() >= SPACES || (like && !tools.book.triage().lives_on_host(space.look())) {
            self.refused.insert(namespace);
            return;
        }
        let token = self.next;
        self.next += 2;
        if let Some(exit) = space.exit()
            && let Err(e) = tools.epoll.add(exit, EpollEvent::new(EpollFlags::EPOLLIN, token + 1))
        {
            log::debug!("wait for the end of {pid}: {e}");
            self.refused.insert(namespace);
            return;
        }
        self.families.add(space.family().to_vec());
        self.outermost.add(space.outermost().to_vec());
        self.spaces.insert(namespace, space);
        self.slots.insert(token, namespace);
        self.tokens.insert(namespace, token);
        tools.book.know(namespace);
        self.want(namespace, Monotonic::default());
    }

    /// Those with a mount that is to rest are read at once.
    pub fn let_rest(&mut self, now: Monotonic) {
        let due = self.spaces.iter().filter(|(_, space)| space.is_to_rest(now)).map(|(namespace, _)| (now, *namespace));
        self.due.extend(due);
    }

    /// It is to be read at this moment.
    fn want(&mut self, namespace: Namespace, at: Monotonic) {
        self.due.insert((at, namespace));
    }

    /// When the next is to be read.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Reads one that is to be read by now, of several that which took the least time before: so a table that takes long
    /// holds up nobody else's. False where there is none.
    pub fn read_next(&mut self, tools: &mut Tools<'_>) -> bool {
        let now = clock::now();
        let cost =
            |namespace: &Namespace| self.spaces.get(namespace).map_or(Duration::ZERO, |space| space.spending.last);
        let due = || self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, namespace)| namespace);
        let cheapest = due().find(|namespace| cost(namespace).is_zero()).or_else(|| due().min_by_key(|n| cost(n)));
        let Some(namespace) = cheapest.copied() else { return false };
        self.due.retain(|(_, other)| *other != namespace);
        self.read(namespace, tools);
        true
    }

    /// The outermost ancestor in the same namespace: it lives longest.
    fn eldest(&self, pid: Pid, namespace: Namespace) -> Pid {
        let mut eldest = pid;
        for _ in 0..ANCESTORS {
            let parent = self.proc.process(eldest).and_then(|dir| dir.stat()).map(|stat| stat.ppid);
            let Ok(parent) = parent else { break };
            let is_in = self.proc.mount_namespace(parent) == Ok(namespace);
            if parent.0 <= 1 || !is_in {
                break;
            }
            eldest = parent;
        }
        eldest
    }

    fn read(&mut self, namespace: Namespace, tools: &mut Tools<'_>) {
        let (Some(space), Some(token)) = (self.spaces.get_mut(&namespace), self.tokens.get(&namespace)) else { return };
        let began = thread_cpu_ns().unwrap_or(0);
        if space.read(self.host, tools).is_err() {
            // Another process may still be in it.
            if space.has_left() {
                tools.book.mounts().requests.note_unseen_death();
            }
            return self.close(namespace, tools.book);
        }
        let cost = Duration::from_nanos(thread_cpu_ns().unwrap_or(0).saturating_sub(began));
        let like = u32::try_from(self.families.of(space.family())).unwrap_or(u32::MAX).max(1);
        space.spending.spend(cost, like.saturating_mul(SHARE), clock::now());
        if let Some(again) = space.again {
            self.due.insert((again.max(space.spending.rest), namespace));
        }
        set(&mut self.uncovered, namespace, space.has_uncovered());
        set(&mut self.sharing, namespace, !space.of_host && tools.book.triage().shares_host(space.look()));
        // The former table went with its closing.
        if let Some(table) = space.table()
            && let Err(e) = tools.epoll.add(table, EpollEvent::new(EpollFlags::EPOLLPRI, *token))
        {
            log::debug!("watch the mounts of {}: {e}", space.pid);
        }
        let device = space.look().root.ok().map(|root| root.dev);
        if let Some(device) = device {
            self.awaited.remove(&device);
        }
    }

    /// Reads those anew that had the host's root directory when they were read, and have one of their own by now.
    fn read_moved(&mut self) {
        let moved = self.spaces.values().filter(|space| space.has_moved(self.host.root));
        for namespace in moved.map(|space| space.namespace).collect::<Vec<_>>() {
            self.want(namespace, Monotonic::default());
        }
    }

    /// Closes those whose process has ended (before 5.3) or left the namespace, of which nobody tells.
    fn close_ended(&mut self, book: &mut Book) {
        let ended = self.spaces.values().filter(|space| !space.is_alive());
        for namespace in ended.map(|space| space.namespace).collect::<Vec<_>>() {
            self.close(namespace, book);
        }
    }

    fn close(&mut self, namespace: Namespace, book: &mut Book) {
        if let Some(token) = self.tokens.remove(&namespace) {
            self.slots.remove(&token);
        }
        if let Some(space) = self.spaces.remove(&namespace) {
            self.families.remove(space.family());
            self.outermost.remove(space.outermost());
            space.close(book);
        }
        self.uncovered.remove(&namespace);
        self.sharing.remove(&namespace);
        self.due.retain(|(_, other)| *other != namespace);
        book.unknow(namespace);
    }

    /// What epoll told of a token; true where a process has ended that others in its namespace may outlive.
    pub fn event(&mut self, token: u64, tools: &mut Tools<'_>) -> bool {
        let ended = !token.is_multiple_of(2);
        let Some(namespace) = self.slots.get(&(token - u64::from(ended))).copied() else { return false };
        if ended {
            self.close(namespace, tools.book);
        } else if let Some(space) = self.spaces.get_mut(&namespace) {
            if space.spending.rest > clock::now() {
                space.leave_unread();
                self.uncovered.insert(namespace);
            }
            let at = space.spending.rest;
            self.want(namespace, at);
        }
        ended
    }
}

fn set(all: &mut HashSet<Namespace>, namespace: Namespace, is_in: bool) {
    if is_in {
        all.insert(namespace);
    } else {
        all.remove(&namespace);
    }
}

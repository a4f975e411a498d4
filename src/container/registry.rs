//! Which container a process belongs to, from what its look and its parent's tell, and what is known of each container.
//! Owned by the detection thread; does no I/O but for [`HostIdentity::read`], which is called once at start.

mod asked;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use asked::Asked;
use lru::LruCache;

use super::cgroup::{self, Membership};
use super::{Attribution, ContainerKey, Home, Metadata, Runtime};
use crate::event::{Field, Look, Missing, Monotonic, Namespace, RootId};
use crate::host::counts::Counts;
use crate::host::process::namespace_number;

/// Containers remembered; the one that was not met for longest goes.
const CONTAINERS: usize = 4096;
/// Of them, those that may lie in one outermost container, or be bare sandboxes: nobody can push out the others'.
const NESTED: usize = 256;
/// Mount or pid namespaces remembered for each container.
const NAMESPACES: usize = 8;
/// What tells the host's own processes from those in containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostIdentity {
    /// The mount namespace of pid 1.
    pub mnt_ns: Option<Namespace>,
    /// The pid namespace of pid 1.
    pub pid_ns: Option<Namespace>,
    /// The root directory of pid 1.
    pub root: Option<RootId>,
    /// No hierarchy of cgroups is mounted, or the kernel has none: pid 1 shows no cgroup either.
    pub without_cgroups: bool,
}

impl HostIdentity {
    /// Asks pid 1; where the kernel refuses (EACCES in a sandbox, or without CAP_SYS_PTRACE), our own process. `proc_root` is
    /// `/proc`.
    pub fn read(proc_root: &Path) -> Self {
        let first = |what: &str| ["1", "self"].iter().find_map(|who| namespace(&proc_root.join(who).join(what)));
        let root = ["1", "self"].iter().find_map(|who| {
            let stat = nix::sys::stat::stat(&proc_root.join(who).join("root")).ok()?;
            Some(RootId { dev: stat.st_dev, ino: stat.st_ino })
        });
        let cgroup = ["1", "self"].iter().find_map(|who| std::fs::read(proc_root.join(who).join("cgroup")).ok());
        let without_cgroups = cgroup.map_or_else(|| proc_root.join("self/stat").exists(), |cgroup| cgroup.is_empty());
        Self { mnt_ns: first("ns/mnt"), pid_ns: first("ns/pid"), root, without_cgroups }
    }
}

fn namespace(link: &Path) -> Option<Namespace> {
    namespace_number(std::fs::read_link(link).ok()?.as_os_str().as_bytes()).ok()
}

/// Whether a process lives on the host for certain: alive, its cgroup names no container, and its mount namespace or root
/// directory is the host's. False when in doubt.
pub fn is_host(look: &Look, host: &HostIdentity) -> bool {
    let on_host = same(look.mnt_ns, host.mnt_ns) || same(look.root, host.root);
    on_host
        && is_alive(look)
        && !matches!(membership(look, host), Membership::Container { .. } | Membership::Unreadable)
}

/// What a look's cgroup says; where the host has none, each process is at the top.
fn membership(look: &Look, host: &HostIdentity) -> Membership {
    match look.cgroup.as_deref().map_or(Membership::Unreadable, cgroup::identify) {
        Membership::Unreadable if host.without_cgroups => Membership::RootOnly,
        said => said,
    }
}

/// The containers in which a living process is, by what it shows of itself alone: its cgroup, or a mount namespace and a
/// root directory of its own.
pub fn nested_of(look: &Look, host: &HostIdentity) -> Option<(ContainerKey, Option<ContainerKey>)> {
    let stands_alone = || {
        let (ns, root) = (look.mnt_ns.ok()?, look.root.ok()?);
        (host.mnt_ns? != ns && host.root? != root).then_some(ns)
    };
    match membership(look, host) {
        Membership::Container { inner, outer } => Some((inner, outer)),
        Membership::Candidate(key) => stands_alone().map(|_| (key, None)),
        Membership::Unreadable => None,
        Membership::RootOnly | Membership::NoContainer => {
            let id = format!("mnt-{}", stands_alone()?.0).into();
            Some((ContainerKey { runtime: Runtime::Sandbox, id }, None))
        }
    }
}

/// The containers that were met, and where their processes are to be found when their cgroup cannot be read.
#[derive(Debug)]
pub struct Registry {
    host: HostIdentity,
    containers: LruCache<ContainerKey, Entry>,
    /// Mount namespaces with a root directory of their own, and that directory: numbers are used again at once.
    by_mnt: HashMap<Namespace, (ContainerKey, RootId)>,
    /// Pid namespaces; containers may share one, then it names nobody.
    by_pid: HashMap<Namespace, Vec<ContainerKey>>,
    /// How many containers each [`Quota`] has.
    used: Counts<Quota>,
}

/// Who pays for a container's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Quota {
    /// Containers of the host's runtimes: only the whole is bounded.
    Host,
    /// Those in one outermost container.
    Within(ContainerKey),
    /// Bare sandboxes, which any user may make.
    Sandboxes,
}

#[derive(Debug)]
struct Entry {
    outer: Option<ContainerKey>,
    quota: Quota,
    mnt: VecDeque<Namespace>,
    pid: VecDeque<Namespace>,
    /// What the runtime's files said last, else why nothing is known.
    metadata: Field<Metadata>,
    asked: Asked,
}

/// A container and the outermost around it.
type Nested = (ContainerKey, Option<ContainerKey>);

impl Registry {
    /// A registry that knows the host and no container yet.
    pub fn new(host: HostIdentity) -> Self {
        Self {
            host,
            containers: LruCache::new(NonZeroUsize::new(CONTAINERS).unwrap_or(NonZeroUsize::MIN)),
            by_mnt: HashMap::new(),
            by_pid: HashMap::new(),
            used: Counts::default(),
        }
    }

    /// How many containers are remembered.
    pub fn containers(&self) -> usize {
        self.containers.len()
    }

    /// Where a process lives, by the first of: its cgroup, the container of its parent, a mount or pid namespace known to
    /// belong to a container, a mount namespace and a root directory of its own. The host only if all of that was asked of a
    /// living process and says so; that is never remembered, for a process may yet move into its container.
    pub fn place(&mut self, look: &Look, parent: Option<&Look>) -> Home {
        if let Some(nested) = self.by_cgroup(look) {
            return home(nested, Attribution::Cgroup);
        }
        if let Some(nested) = parent.and_then(|parent| self.by_cgroup(parent).or_else(|| self.by_namespace(parent))) {
            return home(nested, Attribution::Lineage);
        }
        if let Some(nested) = self.by_namespace(look) {
            return home(nested, Attribution::Namespace);
        }
        if let Some(nested) = self.sandbox(look) {
            return home(nested, Attribution::Namespace);
        }
        // A sandbox has no cgroup that would show it; its member that cannot be asked is where its parent is.
        if look.mnt_ns.is_err()
            && let Some(nested) = parent.and_then(|parent| self.sandbox(parent))
        {
            return home(nested, Attribution::Lineage);
        }
        if is_host(look, &self.host) { Home::Host } else { Home::Unknown }
    }

    /// What the runtime's files said of a container, the last time that they said something.
    pub fn metadata(&self, key: &ContainerKey) -> Option<&Metadata> {
        self.containers.peek(key)?.metadata.as_ref().ok()
    }

    /// Why a container's name is not known; `None` where it is.
    pub fn missing_name(&self, key: &ContainerKey) -> Option<Missing> {
        if key.is_sandbox() {
            return Some(Missing::Absent);
        }
        match self.containers.peek(key).map(|entry| &entry.metadata) {
            Some(Ok(metadata)) => metadata.name.is_none().then_some(Missing::Absent),
            Some(Err(why)) => Some(*why),
            None => Some(Missing::Deadline),
        }
    }

    /// Whether a container's metadata is to be asked for now: never asked, failed and its pause is over, or grown old. The
    /// question then counts as asked until [`Registry::learn`], so that there is one at a time.
    pub fn wants(&mut self, key: &ContainerKey, now: Monotonic) -> bool {
        // No runtime made it, so no runtime's file tells of it.
        if key.is_sandbox() {
            return false;
        }
        self.meet(key, None).asked.ask(now)
    }

    /// Whether a container's metadata is not known, and the answer to the first question is still to come.
    pub fn is_first_asked(&self, key: &ContainerKey) -> bool {
        self.containers.peek(key).is_some_and(|entry| entry.metadata.is_err() && entry.asked.is_first())
    }

    /// Takes the answer. After a failure what was known before stays.
    pub fn learn(&mut self, key: &ContainerKey, answer: Field<Metadata>, now: Monotonic) {
        let entry = self.meet(key, None);
        entry.asked.answered(answer.as_ref().map(drop).map_err(|why| *why), now);
        if answer.is_ok() || entry.metadata.is_err() {
            entry.metadata = answer;
        }
    }

    /// The container that the process' cgroup names; its namespaces are remembered.
    fn by_cgroup(&mut self, look: &Look) -> Option<Nested> {
        let nested = match membership(look, &self.host) {
            Membership::Container { inner, outer } => (inner, outer),
            Membership::Candidate(key) if is_alive(look) && self.stands_alone(look).is_some() => (key, None),
            _ => return None,
        };
        self.remember(&nested, look);
        Some(nested)
    }

    /// The container that was seen in the process' mount namespace, or alone in its pid namespace.
    fn by_namespace(&mut self, look: &Look) -> Option<Nested> {
        // A service with a mount namespace of its own and the host's root stays on the host, whatever was known of the number.
        if same(look.root, self.host.root) {
            return None;
        }
        let by_mnt = look.mnt_ns.ok().and_then(|ns| self.by_mnt.get(&ns));
        let by_mnt = by_mnt.filter(|(_, root)| look.root.is_err() || look.root == Ok(*root)).map(|(key, _)| key);
        // The number may be another's by now: what has a root directory of its own has to show the container's.
        let is_its_root = |only: &ContainerKey| {
            look.root.is_err() || self.by_mnt.values().any(|(key, root)| key == only && look.root == Ok(*root))
        };
        let by_pid = || match self.by_pid.get(&look.pid_ns.ok()?)?.as_slice() {
            [only] if is_its_root(only) => Some(only),
            _ => None,
        };
        let key = by_mnt.or_else(by_pid)?.clone();
        let outer = self.containers.get(&key)?.outer.clone();
        Some((key, outer))
    }

    /// A process of no known container with a mount namespace and a root directory of its own.
    fn sandbox(&mut self, look: &Look) -> Option<Nested> {
        // Without its cgroup it might be any container's; then it is asked again.
        let known = membership(look, &self.host) != Membership::Unreadable;
        let (ns, _) = self.stands_alone(look).filter(|_| known && is_alive(look))?;
        let key = ContainerKey { runtime: Runtime::Sandbox, id: format!("mnt-{}", ns.0).into() };
        self.meet(&key, None);
        Some((key, None))
    }

    /// Mount namespace and root directory, if both are known to be others than the host's.
    fn stands_alone(&self, look: &Look) -> Option<(Namespace, RootId)> {
        let (ns, root) = (look.mnt_ns.ok()?, look.root.ok()?);
        (self.host.mnt_ns? != ns && self.host.root? != root).then_some((ns, root))
    }

    fn remember(&mut self, (key, outer): &Nested, look: &Look) {
        let own = self.stands_alone(look);
        let pid_ns = look.pid_ns.ok().filter(|ns| self.host.pid_ns.is_some_and(|host| host != *ns));
        let entry = self.meet(key, outer.as_ref());
        // Whoever asked for its metadata first did not know.
        entry.outer.clone_from(outer);
        let Some((mnt_ns, root)) = own else { return };
        let forgotten = push_recent(&mut entry.mnt, mnt_ns);
        let forgotten_pid = pid_ns.and_then(|ns| push_recent(&mut entry.pid, ns));
        // The number may have been another container's, which is gone by now.
        self.by_mnt.insert(mnt_ns, (key.clone(), root));
        if let Some(ns) = forgotten {
            self.drop_mnt(ns, key);
        }
        if let Some(ns) = pid_ns {
            let sharers = self.by_pid.entry(ns).or_default();
            if !sharers.contains(key) {
                sharers.push(key.clone());
            }
        }
        if let Some(ns) = forgotten_pid {
            self.drop_pid(ns, key);
        }
    }

    /// The entry of a container, made where there is none, and the most recent one from now on.
    fn meet(&mut self, key: &ContainerKey, outer: Option<&ContainerKey>) -> &mut Entry {
        if !self.containers.contains(key) {
            self.make_room(key, outer);
        }
        self.containers.get_or_insert_mut(key.clone(), || Entry {
            outer: outer.cloned(),
            quota: quota(key, outer),
            mnt: VecDeque::new(),
            pid: VecDeque::new(),
            metadata: Err(Missing::Deadline),
            asked: Asked::default(),
        })
    }

    fn make_room(&mut self, key: &ContainerKey, outer: Option<&ContainerKey>) {
        let quota = quota(key, outer);
        if quota != Quota::Host && self.used.of(&quota) >= NESTED {
            let oldest =
                self.containers.iter().rev().find(|(_, entry)| entry.quota == quota).map(|(key, _)| key.clone());
            if let Some((key, entry)) = oldest.and_then(|key| self.containers.pop_entry(&key)) {
                self.forget(&key, &entry);
            }
        } else if self.containers.len() == self.containers.cap().get()
            && let Some((key, entry)) = self.containers.pop_lru()
        {
            self.forget(&key, &entry);
        }
        self.used.add(quota);
    }

    fn forget(&mut self, key: &ContainerKey, entry: &Entry) {
        for ns in &entry.mnt {
            self.drop_mnt(*ns, key);
        }
        for ns in &entry.pid {
            self.drop_pid(*ns, key);
        }
        self.used.remove(&entry.quota);
    }

    fn drop_mnt(&mut self, ns: Namespace, key: &ContainerKey) {
        if self.by_mnt.get(&ns).is_some_and(|(owner, _)| owner == key) {
            self.by_mnt.remove(&ns);
        }
    }

    fn drop_pid(&mut self, ns: Namespace, key: &ContainerKey) {
        if let Some(sharers) = self.by_pid.get_mut(&ns) {
            sharers.retain(|sharer| sharer != key);
            if sharers.is_empty() {
                self.by_pid.remove(&ns);
            }
        }
    }
}

fn home((inner, outer): Nested, by: Attribution) -> Home {
    Home::Container { inner, outer, by }
}

fn quota(key: &ContainerKey, outer: Option<&ContainerKey>) -> Quota {
    match outer {
        Some(outer) => Quota::Within(outer.clone()),
        None if key.is_sandbox() => Quota::Sandboxes,
        None => Quota::Host,
    }
}

/// Both known and equal.
fn same<T: PartialEq>(seen: Field<T>, host: Option<T>) -> bool {
    matches!((seen, host), (Ok(seen), Some(host)) if seen == host)
}

/// Neither dead nor dying when it was looked at: a process that exits loses its exe before it becomes a zombie.
fn is_alive(look: &Look) -> bool {
    matches!(&look.stat, Ok(stat) if !stat.is_dead()) && !matches!(look.exe, Err(Missing::Gone))
}

/// Makes `ns` the last of the list, and gives back the first if that has grown too long.
fn push_recent(list: &mut VecDeque<Namespace>, ns: Namespace) -> Option<Namespace> {
    if list.back() == Some(&ns) {
        return None;
    }
    list.retain(|known| *known != ns);
    list.push_back(ns);
    if list.len() > NAMESPACES { list.pop_front() } else { None }
}

#[cfg(test)]
mod tests;

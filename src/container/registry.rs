//! The containers that were seen, owned by detection: where a process belongs, and what its container is called as
//! far as workers have read it. No I/O but [`HostIdentity::read`], once at the start.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use lru::LruCache;

use crate::container::{Attribution, ContainerKey, Home, Metadata, Runtime, cgroup};
use crate::event::{Field, Look, Monotonic, Namespace, RootId};
use crate::host::process::ProcessDir;

const CONTAINERS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Mount namespaces of containers remembered.
const NAMESPACES: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
/// The kernel gives a namespace's number to the next one once it is gone, so it is believed only for a while.
const BELIEVED: Duration = Duration::from_secs(600);
/// A container may be renamed.
const FRESH: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What tells the host from a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostIdentity {
    /// The host's mount namespace.
    pub mnt_ns: Option<Namespace>,
    /// The host's root directory.
    pub root: Option<RootId>,
}

impl HostIdentity {
    /// Asks pid 1, or, where that is denied, a kernel thread, or this process itself.
    pub fn read(proc_root: &Path) -> Self {
        let dirs = ["1", "2", "self"].map(|who| crate::host::rooted::open_root(&proc_root.join(who)));
        let dirs: Vec<ProcessDir> = dirs.into_iter().flatten().map(|fd| ProcessDir(fd.into())).collect();
        Self {
            mnt_ns: dirs.iter().find_map(|dir| dir.namespace(c"ns/mnt").ok()),
            root: dirs.iter().find_map(|dir| dir.root().ok()),
        }
    }
}

/// Whether a look, be it only its first half, surely shows a process of the host: alive, in no container's cgroup,
/// and in the host's mount namespace or with its root directory (a service with PrivateTmp has a namespace of its
/// own). False when in doubt.
pub fn is_host(look: &Look, host: &HostIdentity) -> bool {
    let Ok(bytes) = &look.cgroup else { return false };
    let dead = look.exe.is_err() || look.stat.as_ref().is_ok_and(crate::event::Stat::is_dead);
    !dead && has_host_view(look, host) && cgroup::identify(bytes).inner.is_none()
}

fn has_host_view(look: &Look, host: &HostIdentity) -> bool {
    let same_ns = look.mnt_ns.is_ok_and(|ns| Some(ns) == host.mnt_ns);
    same_ns || look.root.is_ok_and(|root| Some(root) == host.root)
}

#[derive(Debug, Default)]
struct Known {
    metadata: Option<Metadata>,
    /// When it may be asked for again.
    ask_at: Monotonic,
    retry: Duration,
}

/// The containers.
#[derive(Debug)]
pub struct Registry {
    host: HostIdentity,
    containers: LruCache<ContainerKey, Known>,
    namespaces: LruCache<Namespace, (ContainerKey, Option<ContainerKey>, Monotonic)>,
}

impl Registry {
    /// On this host.
    pub fn new(host: HostIdentity) -> Self {
        Self { host, containers: LruCache::new(CONTAINERS), namespaces: LruCache::new(NAMESPACES) }
    }

    /// Where a process belongs: by its cgroup, else by its parent's, else by its mount namespace.
    pub fn place(&mut self, look: &Look, parent: Option<&Look>) -> Home {
        let member = look.cgroup.as_ref().map(|bytes| cgroup::identify(bytes)).ok();
        let dead = look.exe.is_err() || look.stat.as_ref().is_ok_and(crate::event::Stat::is_dead);
        let told = member.filter(|m| m.inner.is_some() || !(dead && m.root_only));
        if let Some((inner, outer)) = told.as_ref().and_then(|m| Some((m.inner.clone()?, m.outer.clone()))) {
            self.remember(look, &inner, outer.as_ref());
            return Home::Container { inner, outer, by: Attribution::Cgroup };
        }
        if told.is_none()
            && let Some(Home::Container { inner, outer, .. }) = parent.map(|parent| self.place(parent, None))
        {
            return Home::Container { inner, outer, by: Attribution::Lineage };
        }
        if let Some((inner, outer)) = self.by_namespace(look) {
            return Home::Container { inner, outer, by: Attribution::Namespace };
        }
        if has_host_view(look, &self.host) {
            return if told.is_some() { Home::Host } else { Home::Unknown };
        }
        match (look.mnt_ns, look.root) {
            (Ok(ns), Ok(_)) => {
                let inner = ContainerKey { runtime: Runtime::Sandbox, id: format!("mnt-{}", ns.0).into() };
                Home::Container { inner, outer: None, by: Attribution::Namespace }
            }
            _ => Home::Unknown,
        }
    }

    fn remember(&mut self, look: &Look, inner: &ContainerKey, outer: Option<&ContainerKey>) {
        if let Ok(ns) = look.mnt_ns
            && Some(ns) != self.host.mnt_ns
        {
            self.namespaces.put(ns, (inner.clone(), outer.cloned(), look.at));
        }
    }

    fn by_namespace(&mut self, look: &Look) -> Option<(ContainerKey, Option<ContainerKey>)> {
        let (inner, outer, seen) = self.namespaces.get(&look.mnt_ns.ok()?)?;
        (look.at.since(*seen) < BELIEVED).then(|| (inner.clone(), outer.clone()))
    }

    /// What is known of a container.
    pub fn metadata(&self, key: &ContainerKey) -> Option<&Metadata> {
        self.containers.peek(key)?.metadata.as_ref()
    }

    /// Whether a worker should read its metadata now; the next question is then a while off.
    pub fn wants(&mut self, key: &ContainerKey, now: Monotonic) -> bool {
        let known = self.containers.get_or_insert_mut(key.clone(), Known::default);
        let wanted = now >= known.ask_at;
        if wanted {
            // A worker that never answers must not keep the question open for ever.
            known.ask_at = now.plus(FRESH);
        }
        wanted
    }

    /// A worker's answer. What failed is asked for again, soon at first: a runtime may write its files late.
    pub fn learn(&mut self, key: &ContainerKey, metadata: Field<Metadata>, now: Monotonic) {
        let known = self.containers.get_or_insert_mut(key.clone(), Known::default);
        match metadata {
            Ok(metadata) => {
                (known.metadata, known.retry) = (Some(metadata), Duration::ZERO);
                known.ask_at = now.plus(FRESH);
            }
            Err(_) => {
                known.retry = (known.retry * 2).clamp(FIRST_RETRY, LAST_RETRY);
                known.ask_at = now.plus(known.retry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{Exe, Missing, Pid, StartTime, Stat};

    const ID: &str = "3ad7b26ded6d8e7b23da7d48fe889434573036c27ae5a74837233de441c3601e";
    const HOST_NS: Namespace = Namespace(1);
    const HOST_ROOT: RootId = RootId { dev: 1, ino: 2 };

    fn host() -> HostIdentity {
        HostIdentity { mnt_ns: Some(HOST_NS), root: Some(HOST_ROOT) }
    }

    fn look(cgroup: &str, ns: u64, root: u64) -> Look {
        let exe = Exe { path: b"/x".to_vec(), deleted: false, id: Err(Missing::Gone), file: Err(Missing::Gone) };
        let stat = Stat {
            comm: b"x".to_vec(),
            state: b'S',
            ppid: Pid(1),
            session: Pid(1),
            tty: 0,
            start: StartTime(1),
            start_stack: 1,
        };
        Look {
            stat: Ok(stat),
            exe: Ok(exe),
            cgroup: Ok(cgroup.as_bytes().to_vec()),
            mnt_ns: Ok(Namespace(ns)),
            root: Ok(RootId { dev: 1, ino: root }),
            ..Look::nothing(Monotonic(1), Missing::Gone)
        }
    }

    fn zombie(cgroup: &str) -> Look {
        let mut zombie = look(cgroup, 0, 0);
        zombie.stat.as_mut().unwrap().state = b'Z';
        let gone = Missing::Gone;
        Look { exe: Err(gone), mnt_ns: Err(gone), root: Err(gone), ..zombie }
    }

    fn container() -> String {
        format!("0::/docker/{ID}")
    }

    fn by(home: &Home) -> Option<(Attribution, String)> {
        match home {
            Home::Container { inner, by, .. } => Some((*by, inner.id.to_string())),
            _ => None,
        }
    }

    #[test]
    fn the_order_of_evidence() {
        let mut registry = Registry::new(host());
        assert_eq!(registry.place(&look("0::/", 1, 2), None), Home::Host);
        assert_eq!(registry.place(&look("0::/x.service", 9, 2), None), Home::Host, "PrivateTmp");
        let inside = look(&container(), 7, 3);
        assert_eq!(by(&registry.place(&inside, None)), Some((Attribution::Cgroup, ID.into())));
        let parent = by(&registry.place(&zombie("1:pids:/\n"), Some(&inside)));
        assert_eq!(parent, Some((Attribution::Lineage, ID.into())));
        let entered = look("0::/session.scope", 7, 3);
        assert_eq!(by(&registry.place(&entered, None)), Some((Attribution::Namespace, ID.into())));
        let mut late = entered.clone();
        late.at = Monotonic(1).plus(BELIEVED);
        assert_eq!(by(&registry.place(&late, None)), Some((Attribution::Namespace, "mnt-7".into())));
        let sandbox = by(&registry.place(&look("0::/", 8, 5), None));
        assert_eq!(sandbox, Some((Attribution::Namespace, "mnt-8".into())));
        assert_eq!(by(&registry.place(&look(&container(), 1, 2), None)), Some((Attribution::Cgroup, ID.into())));
    }

    #[test]
    fn a_zombies_root_cgroup_is_unknown_never_host() {
        let mut registry = Registry::new(host());
        assert_eq!(registry.place(&zombie("1:pids:/\n0::/\n"), None), Home::Unknown);
        let on_host = look("0::/", 1, 2);
        assert_eq!(registry.place(&zombie("1:pids:/\n"), Some(&on_host)), Home::Unknown);
        assert!(!is_host(&zombie("1:pids:/\n"), &host()));
        let v2 = zombie(&format!("0::/docker/{ID}"));
        assert_eq!(by(&registry.place(&v2, None)), Some((Attribution::Cgroup, ID.into())));
    }

    #[test]
    fn host_is_said_only_without_doubt() {
        let host = host();
        assert!(is_host(&look("0::/", 1, 9), &host));
        assert!(is_host(&look("0::/", 9, 2), &host));
        assert!(!is_host(&look("0::/", 9, 9), &host));
        assert!(!is_host(&look(&container(), 1, 2), &host), "a host file run in a container's cgroup");
        let mut unreadable = look("0::/", 1, 2);
        unreadable.cgroup = Err(Missing::Gone);
        assert!(!is_host(&unreadable, &host));
        let half = Look { stat: Err(Missing::Gone), root: Err(Missing::Gone), ..look("0::/", 1, 2) };
        assert!(is_host(&half, &host));
    }

    #[test]
    fn metadata_is_asked_for_once_then_again_after_a_failure() {
        let mut registry = Registry::new(host());
        let key = ContainerKey { runtime: Runtime::Docker, id: ID.into() };
        let at = |s: u64| Monotonic(0).plus(Duration::from_secs(1000 + s));
        assert!(registry.wants(&key, at(0)));
        assert!(!registry.wants(&key, at(0)), "one question at a time");
        registry.learn(&key, Err(Missing::Gone), at(0));
        assert!(!registry.wants(&key, at(0)));
        assert!(registry.wants(&key, at(1)));
        registry.learn(&key, Err(Missing::Gone), at(1));
        assert!(!registry.wants(&key, at(2)));
        assert!(registry.wants(&key, at(3)));
        let web = Metadata { name: Some("web".into()), ..Metadata::default() };
        registry.learn(&key, Ok(web.clone()), at(3));
        assert_eq!(registry.metadata(&key), Some(&web));
        assert!(!registry.wants(&key, at(4)));
        assert!(registry.wants(&key, at(63)), "it may have been renamed");
        registry.learn(&key, Err(Missing::Gone), at(63));
        assert_eq!(registry.metadata(&key), Some(&web), "what was known stays");
    }

    #[test]
    fn the_host_is_found_where_pid_1_is_denied() {
        let host = HostIdentity::read(Path::new("/proc"));
        assert!(host.mnt_ns.is_some() && host.root.is_some());
    }
}

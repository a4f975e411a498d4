//! What a worker asks about a container: one question, answered from the files of whichever runtime made it.
//! When to ask, and what is done with the answer, is [`super::Registry`]'s affair.

use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::cgroup::shape::is_digest;
use super::docker::Docker;
use super::{ContainerKey, Metadata, Runtime};
use crate::event::{Field, Missing};

/// The share of one core that looking for runtimes again may take: 1 in so many.
const SEARCH_SHARE: u32 = 200;

/// The runtimes of this host and where they keep their files. Shared by the workers.
#[derive(Debug)]
pub struct Runtimes {
    host_root: PathBuf,
    proc_root: PathBuf,
    docker: ArcSwap<Docker>,
    search: Mutex<Search>,
}

/// When we looked for runtimes, and what that cost.
#[derive(Debug)]
struct Search {
    ended: Instant,
    took: Duration,
}

/// A runtime on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFound {
    /// Which.
    pub runtime: Runtime,
    /// Where it keeps its containers, a path on the host; `None` where there is no such directory yet.
    pub state: Option<PathBuf>,
    /// Its daemon runs.
    pub running: bool,
}

impl Runtimes {
    /// Looks for runtimes. `host_root` is the host's root directory as we see it, `proc_root` its /proc.
    pub fn new(host_root: PathBuf, proc_root: PathBuf) -> Self {
        let begun = Instant::now();
        let docker = ArcSwap::from_pointee(Docker::discover(&host_root, &proc_root));
        let search = Mutex::new(Search { ended: Instant::now(), took: begun.elapsed() });
        Self { host_root, proc_root, docker, search }
    }

    /// Name, image and labels of a container. Reads files: a worker's task. A daemon that was started, or started anew with
    /// other arguments, since the last look is found when a container is not.
    ///
    /// # Errors
    /// [`Missing::Unsupported`] for runtimes whose files we do not read, [`Missing::Absent`] where the runtime's files do
    /// not have it, else what kept us from reading them.
    pub fn metadata(&self, key: &ContainerKey) -> Field<Metadata> {
        match key.runtime {
            Runtime::Docker => self.docker(&key.id),
            // The shape does not tell: a custom --cgroup-parent, and a pod's cgroupfs shape under dockershim.
            Runtime::Unknown | Runtime::Containerd if is_digest(key.id.as_bytes()) => {
                // What Docker does not have is somebody else's.
                self.docker(&key.id).map_err(|why| if why == Missing::Absent { Missing::Unsupported } else { why })
            }
            Runtime::Unknown | Runtime::Containerd => Err(Missing::Unsupported),
            Runtime::BuildKit
            | Runtime::Buildah
            | Runtime::Crio
            | Runtime::Podman
            | Runtime::Nerdctl
            | Runtime::Lxc
            | Runtime::LibvirtLxc
            | Runtime::Nspawn
            | Runtime::Ecs
            | Runtime::Nomad
            | Runtime::Garden
            | Runtime::Sandbox => Err(Missing::Unsupported),
        }
    }

    /// The runtimes that are on this host now.
    pub fn found(&self) -> Vec<RuntimeFound> {
        let docker = Docker::discover(&self.host_root, &self.proc_root);
        let state = docker.data_root().map(PathBuf::from);
        let running = docker.is_running();
        let is_here = running || state.is_some();
        is_here.then_some(RuntimeFound { runtime: Runtime::Docker, state, running }).into_iter().collect()
    }

    fn docker(&self, id: &str) -> Field<Metadata> {
        let known = self.docker.load().metadata(id);
        if known == Err(Missing::Absent) && self.search_again() { self.docker.load().metadata(id) } else { known }
    }

    /// Whether there is something new. One at a time, as seldom as its cost demands, and nobody waits for another's.
    fn search_again(&self) -> bool {
        let mut last = match self.search.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if last.ended.elapsed() < last.took.saturating_mul(SEARCH_SHARE) {
            return false;
        }
        let begun = Instant::now();
        let docker = Docker::discover(&self.host_root, &self.proc_root);
        *last = Search { ended: Instant::now(), took: begun.elapsed() };
        let is_new = docker != **self.docker.load();
        if is_new {
            self.docker.store(docker.into());
        }
        is_new
    }
}

#[cfg(test)]
mod tests;

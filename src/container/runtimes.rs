//! The runtimes of this host, for workers: which of them knows a container, and what it says of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::container::docker::{self, Docker};
use crate::container::{ContainerKey, Metadata, Runtime};
use crate::event::{Field, Missing};
use crate::host::process::Proc;

/// A runtime found on this host, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFound {
    /// Which.
    pub runtime: Runtime,
    /// Where it keeps its containers.
    pub root: PathBuf,
    /// Whether its daemon runs now.
    pub running: bool,
}

/// Where each runtime keeps its files.
#[derive(Debug)]
pub struct Runtimes {
    host_root: PathBuf,
    proc: Option<Arc<Proc>>,
    docker: Mutex<Vec<Docker>>,
}

impl Runtimes {
    /// Looks for them below `host_root`, and for their daemons in `proc`.
    pub fn new(host_root: PathBuf, proc: Option<Arc<Proc>>) -> Self {
        let docker = Mutex::new(Docker::discover(&host_root, proc.as_deref()));
        Self { host_root, proc, docker }
    }

    /// What its runtime says of a container.
    ///
    /// # Errors
    /// `Unsupported` for a runtime whose files are not read.
    pub fn metadata(&self, key: &ContainerKey) -> Field<Metadata> {
        match key.runtime {
            // A bare id under a parent of its own is what Docker makes with --cgroup-parent.
            Runtime::Docker | Runtime::Unknown => self.docker(&key.id),
            Runtime::Sandbox => Err(Missing::Absent),
            _ => Err(Missing::Unsupported),
        }
    }

    fn docker(&self, id: &str) -> Field<Metadata> {
        let known = self.known();
        first(&known, id).or_else(|why| {
            // An engine may have been started, or moved, after us.
            let found = Docker::discover(&self.host_root, self.proc.as_deref());
            if found == known {
                return Err(why);
            }
            self.docker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
            first(&found, id)
        })
    }

    fn known(&self) -> Vec<Docker> {
        self.docker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The runtimes that are here.
    pub fn found(&self) -> Vec<RuntimeFound> {
        let running = self.proc.as_deref().is_some_and(|proc| !docker::running_daemons(proc).is_empty());
        let here = self.known().into_iter().filter(|d| d.data_root().join("containers").is_dir());
        here.map(|d| RuntimeFound { runtime: Runtime::Docker, root: d.data_root().into(), running }).collect()
    }
}

/// What the engine that knows the container says; else what the first one said.
fn first(engines: &[Docker], id: &str) -> Field<Metadata> {
    let mut answers = engines.iter().map(|engine| engine.metadata(id));
    let first = answers.next().unwrap_or(Err(Missing::Absent));
    if first.is_ok() { first } else { answers.find(Result::is_ok).unwrap_or(first) }
}

//! What Docker Engine's own files say of a container: its name, image and labels, without asking the daemon.
//! Finds where dockerd keeps them; when to look again is [`super::runtimes`]' affair.

mod config;
mod dockerd;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::Metadata;
use super::cgroup::shape::is_digest;
use crate::event::{Field, Missing};
use crate::host::rooted;

/// Bytes of a config.v2.json that are read; real ones have some 3 KiB, most of it environment and labels.
const CONFIG_LIMIT: usize = 1024 * 1024;
/// Entries of a data root that are looked at for those of remapped users.
const ENTRIES: usize = 1024;

/// The data roots of the dockerds on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    host_root: PathBuf,
    roots: Vec<PathBuf>,
    running: bool,
}

impl Docker {
    /// Looks for data roots: in /etc/docker/daemon.json, in the arguments of running dockerds, and where they are by
    /// default. `host_root` is the host's root directory as we see it, mostly `/`, and `proc_root` its /proc.
    pub fn discover(host_root: &Path, proc_root: &Path) -> Self {
        let mut found = Self { host_root: host_root.to_owned(), roots: Vec::new(), running: false };
        found.add(dockerd::configured(host_root, Path::new("/etc/docker/daemon.json")));
        for daemon in dockerd::running(proc_root) {
            found.running = true;
            found.add(daemon.config_file.and_then(|file| dockerd::configured(host_root, &file)));
            found.add(daemon.data_root);
        }
        found.add(Some(PathBuf::from("/var/lib/docker")));
        // Ubuntu's snap, whose dockerd has a root directory of its own.
        found.add(Some(PathBuf::from("/var/snap/docker/common/var-lib-docker")));
        found
    }

    /// Name, image and labels of the container with this 64-digit id.
    ///
    /// # Errors
    /// [`Missing::Absent`] where no data root has it, [`Missing::Malformed`] for what is no id or no configuration, else
    /// what kept us from reading it.
    pub fn metadata(&self, id: &str) -> Field<Metadata> {
        // It becomes part of a path.
        if !is_digest(id.as_bytes()) {
            return Err(Missing::Malformed);
        }
        let mut why = Missing::Absent;
        for root in &self.roots {
            match self.read(root, id) {
                Ok(bytes) => return config::parse(&bytes),
                Err(Missing::Absent) => {}
                Err(other) => why = other,
            }
        }
        Err(why)
    }

    /// The first data root that exists, as a path on the host; for `doctor`.
    pub fn data_root(&self) -> Option<&Path> {
        let host = rooted::open_root(&self.host_root).ok()?;
        let exists = |root: &&PathBuf| rooted::locate(host.as_fd(), &root.join("containers")).is_ok();
        self.roots.iter().find(exists).map(PathBuf::as_path)
    }

    /// Whether a dockerd ran on the host when we looked.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// A root, and those below it that userns-remap makes, named `<uid>.<gid>`.
    fn add(&mut self, root: Option<PathBuf>) {
        let Some(root) = root.filter(|root| root.is_absolute() && !self.roots.contains(root)) else { return };
        let remapped = remapped(&self.host_root, &root);
        self.roots.push(root);
        self.roots.extend(remapped);
    }

    fn read(&self, root: &Path, id: &str) -> Field<Vec<u8>> {
        let host = rooted::open_root(&self.host_root)?;
        // An administrator may move the data root, or this directory, by a link; below it nothing leads out.
        let containers = rooted::locate(host.as_fd(), &root.join("containers"))?;
        rooted::read(containers.as_fd(), &Path::new(id).join("config.v2.json"), CONFIG_LIMIT)
    }
}

fn remapped(host_root: &Path, root: &Path) -> Vec<PathBuf> {
    let list = || {
        let host = rooted::open_root(host_root).ok()?;
        let place = rooted::locate(host.as_fd(), root).ok()?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(place.as_fd(), ".", flags, Mode::empty()).ok()?;
        let names = dir.iter().take(ENTRIES).flatten().filter_map(|entry| {
            let name = entry.file_name().to_str().ok()?;
            let (uid, gid) = name.split_once('.')?;
            (uid.parse::<u32>().is_ok() && gid.parse::<u32>().is_ok()).then(|| root.join(name))
        });
        Some(names.collect())
    };
    list().unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;

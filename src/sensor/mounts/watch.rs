//! Watches the host's mount table, where container runtimes mount what their containers run from, and has each overlay
//! marked as soon as it is there: before the first exec in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::layers::Layers;
use super::mountinfo::{self, Mount};
use super::{GRACE, Mounted, Mounts, Table};
use crate::error::{Error, Result};
use crate::event::MountedId;
use crate::host::clock;
use crate::sensor::fanotify::group::Group;
use crate::sensor::{Control, ControlInlet, FileTriage};

/// Changes that follow each other are read once: a runtime mounts, unmounts and mounts again.
const COALESCE: Duration = Duration::from_millis(5);
/// A table of 100,000 mounts.
const MAX_TABLE: u64 = 64 << 20;

/// What tells a mount that stays from one that took its place: numbers are used again.
type Place = (u64, u64, Vec<u8>);

/// The watcher; [`Watcher::run`] is its thread.
pub struct Watcher {
    table: File,
    mounts: Arc<Mounts>,
    group: Arc<Group>,
    triage: Arc<dyn FileTriage>,
    control: ControlInlet,
    known: HashMap<Place, Arc<Mounted>>,
    next: u64,
}

impl Watcher {
    /// Opens process 1's table below `proc_root`, and takes in what it shows now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(
        proc_root: &Path,
        mounts: Arc<Mounts>,
        group: Arc<Group>,
        triage: Arc<dyn FileTriage>,
        control: ControlInlet,
    ) -> Result<Self> {
        let open = |who: &str| File::open(proc_root.join(who).join("mountinfo"));
        let path: PathBuf = proc_root.join("1/mountinfo");
        let table = open("1").or_else(|_| open("self")).map_err(|e| Error::file("open", &path, e))?;
        let mut watcher = Self { table, mounts, group, triage, control, known: HashMap::new(), next: 1 };
        watcher.read().map_err(|e| Error::file("read", &path, e))?;
        Ok(watcher)
    }

    /// Watches until told to stop.
    pub fn run(mut self) {
        loop {
            let mut fds = [
                PollFd::new(self.table.as_fd(), PollFlags::POLLPRI),
                PollFd::new(self.control.wake.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, self.timeout());
            let [table, orders] = fds;
            // A change shows as POLLPRI and POLLERR (fs/proc_namespace.c, `mounts_poll`).
            let changed = table.any().unwrap_or(false);
            let stop = orders.any().unwrap_or(false) && self.control.drain().contains(&Control::Stop);
            if stop {
                return;
            }
            if changed {
                if let Err(e) = self.read() {
                    log::error!("read the mount table: {e}");
                }
                std::thread::sleep(COALESCE);
            }
            self.forget();
        }
    }

    /// Wakes up to forget, only if there is something to be forgotten.
    fn timeout(&self) -> PollTimeout {
        let gone = self.mounts.snapshot().values().any(|m| m.gone.is_some());
        if gone { PollTimeout::try_from(GRACE).unwrap_or(PollTimeout::MAX) } else { PollTimeout::NONE }
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut text = Vec::new();
        self.table.rewind()?;
        (&self.table).take(MAX_TABLE).read_to_end(&mut text)?;
        let mounts: Vec<Mount> = mountinfo::parse(&text).into_iter().filter(is_containers).collect();
        let mut table = self.mounts.snapshot();
        let mut now_known = HashMap::with_capacity(mounts.len());
        let mut fresh = Vec::new();
        for mount in mounts {
            let place = (mount.id, mount.dev, mount.point.clone());
            if let Some(known) = self.known.remove(&place) {
                // All three may be the same and the filesystem another one, without its mark: asked for again, which is
                // nothing where it stands.
                let marked = self.group.mark_filesystem(&mount);
                if marked.is_ok() == known.marked {
                    now_known.insert(place, known);
                    continue;
                }
            }
            fresh.push((place, mount));
        }
        for gone in self.known.values() {
            if let Some(entry) = table.get_mut(&gone.dev).filter(|entry| entry.id == gone.id) {
                let (layers, ignored) = (None, Arc::clone(&gone.ignored));
                *entry = Arc::new(Mounted { gone: Some(clock::now()), layers, ignored, ..**gone });
            }
        }
        self.known = now_known;
        for (place, mount) in fresh {
            let id = MountedId(self.next);
            self.next += 1;
            // Whose it is has to be known before its first exec is reported.
            self.triage.mounted(id, &mount);
            let unmarked = Mounted {
                id,
                dev: mount.dev,
                layers: Layers::of(&mount),
                marked: false,
                ignored: Arc::default(),
                gone: None,
            };
            let (layers, ignored) = (unmarked.layers.clone(), Arc::clone(&unmarked.ignored));
            table.insert(mount.dev, Arc::new(unmarked));
            self.mounts.publish(table.clone());
            let marked = self.group.mark_filesystem(&mount);
            if let Err(e) = &marked {
                log::debug!("mark {}: {e}", String::from_utf8_lossy(&mount.point));
            }
            let (dev, marked) = (mount.dev, marked.is_ok());
            let mounted = Arc::new(Mounted { id, dev, layers, marked, ignored, gone: None });
            table.insert(mount.dev, Arc::clone(&mounted));
            self.known.insert(place, mounted);
        }
        self.mounts.publish(table);
        Ok(())
    }

    fn forget(&self) {
        let now = clock::now();
        let is_old = |m: &Mounted| m.gone.is_some_and(|gone| now.since(gone) >= GRACE);
        let table = self.mounts.snapshot();
        let (old, rest): (Table, Table) = table.into_iter().partition(|(_, m)| is_old(m));
        if old.is_empty() {
            return;
        }
        self.mounts.publish(rest);
        for mounted in old.values() {
            self.triage.unmounted(mounted.id);
        }
    }
}

/// Whether a container may execute from it, to be marked as a whole.
fn is_containers(mount: &Mount) -> bool {
    mount.fs_type == b"overlay" && !mount.noexec
}

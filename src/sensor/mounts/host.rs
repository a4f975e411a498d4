//! The host's own mount table, where container runtimes mount the overlays that their containers run from: each is known,
//! and marked where the kernel marks filesystems, before the first exec in it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::book::{Book, Key};
use super::layers::Layers;
use super::mountinfo::{self, Mount};
use super::{Mounted, space};
use crate::error::{Error, Result};
use crate::host::clock;
use crate::sensor::fanotify::group::{Group, Way, open_place};

/// A table of 100,000 mounts.
const MAX_TABLE: u64 = 64 << 20;

/// Process 1's table.
pub struct HostTable {
    table: File,
    known: HashMap<space::Place, Arc<Mounted>>,
    /// Devices of everything that is mounted on the host.
    devices: HashSet<u64>,
}

impl HostTable {
    /// Opens it below `proc_root`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(proc_root: &Path) -> Result<Self> {
        let open = |who: &str| File::open(proc_root.join(who).join("mountinfo"));
        let path: PathBuf = proc_root.join("1/mountinfo");
        let table = open("1").or_else(|_| open("self")).map_err(|e| Error::file("open", &path, e))?;
        Ok(Self { table, known: HashMap::new(), devices: HashSet::new() })
    }

    /// To be polled for what is mounted and unmounted.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// Whether a filesystem is mounted on the host too.
    pub fn has(&self, dev: u64) -> bool {
        self.devices.contains(&dev)
    }

    /// Takes in what it shows now; the devices of overlays that were not there before.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, book: &mut Book, group: &Group) -> std::io::Result<Vec<u64>> {
        let mut text = Vec::new();
        self.table.rewind()?;
        (&self.table).take(MAX_TABLE).read_to_end(&mut text)?;
        let all = mountinfo::parse(&text);
        self.devices = all.iter().map(|mount| mount.dev).collect();
        let mounts: Vec<Mount> = all.into_iter().filter(is_containers).collect();
        let mut now_known = HashMap::with_capacity(mounts.len());
        let mut fresh = Vec::new();
        for mount in mounts {
            let place = (mount.id, mount.dev, mount.point.clone());
            if let Some(known) = self.known.remove(&place) {
                // All three may be the same and the filesystem another one, without its mark: asked for again, which is
                // nothing where it stands.
                if mark(group, &mount) == known.is_covered() {
                    now_known.insert(place, known);
                    continue;
                }
            }
            fresh.push((place, mount));
        }
        for ((_, dev, _), gone) in std::mem::replace(&mut self.known, now_known) {
            book.leave(Key::Device(dev), gone, clock::now());
        }
        let mut devices = Vec::with_capacity(fresh.len());
        for (place, mount) in fresh {
            let mounted = book.make(Layers::of(&mount).map(Arc::new), false);
            // Whose it is has to be known before its first exec is reported.
            book.triage().mounted(mounted.id, &mount);
            book.enter(Key::Device(mount.dev), &mounted);
            mounted.set_marked(mark(group, &mount));
            self.known.insert(place, mounted);
            devices.push(mount.dev);
        }
        Ok(devices)
    }
}

/// Marks its filesystem; false where that cannot be done.
fn mark(group: &Group, mount: &Mount) -> bool {
    if group.way != Way::Filesystem {
        return false;
    }
    let marked = open_place(mount).and_then(|place| group.mark_filesystem(place.as_fd()));
    if let Err(e) = &marked {
        log::debug!("mark {}: {e}", String::from_utf8_lossy(&mount.point));
    }
    marked.is_ok()
}

/// Whether containers may run from it.
fn is_containers(mount: &Mount) -> bool {
    mount.fs_type == b"overlay" && !mount.noexec
}

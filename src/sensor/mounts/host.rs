//! The host's own mount table, where container runtimes mount the overlays that their containers run from: each is known,
//! and marked where the kernel marks filesystems, before the first exec in it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use super::book::{Book, Key};
use super::layers::Layers;
use super::mountinfo::{self, Mount};
use super::{Mounted, space};
use crate::error::{Error, Result};
use crate::event::MountNumber;
use crate::host::clock;
use crate::host::process::{file_status, mount_number, mount_of_descriptor};
use crate::sensor::fanotify::group::{Group, Way, open_place};
use crate::sys::file::FileStatus;

/// A table of 100,000 mounts.
const MAX_TABLE: u64 = 64 << 20;

/// Process 1's table.
pub struct HostTable {
    table: File,
    known: HashMap<space::Place, Arc<Mounted>>,
    /// Devices of everything that is mounted on the host.
    devices: HashSet<u64>,
    /// Mounts that are no containers', from which something can be executed.
    own: Vec<Mount>,
    /// Those of them that are marked.
    marked: HashMap<space::Place, (Key, Arc<Mounted>)>,
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
        Ok(Self { table, known: HashMap::new(), devices: HashSet::new(), own: Vec::new(), marked: HashMap::new() })
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
        let hanging = mountinfo::hanging(&all);
        let (mounts, own): (Vec<Mount>, Vec<Mount>) = all.into_iter().partition(is_containers);
        self.own = own.into_iter().filter(|mount| mount.is_executable() && !hanging.contains(&mount.id)).collect();
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

impl HostTable {
    /// Marks the host's own mounts, as long as a container may execute from them. Mounts and not filesystems: the layers
    /// of containers lie on those too, and each exec in a container would be reported twice.
    pub fn mark_own(&mut self, wanted: bool, book: &mut Book, group: &Group) {
        let mut old = std::mem::take(&mut self.marked);
        for mount in self.own.iter().filter(|_| wanted) {
            let place = (mount.id, mount.dev, mount.point.clone());
            if let Some(known) = old.remove(&place) {
                self.marked.insert(place, known);
                continue;
            }
            match mark_own(mount, book, group) {
                Ok(marked) => {
                    self.marked.insert(place, marked);
                }
                Err(e) => log::debug!("mark {}: {e}", String::from_utf8_lossy(&mount.point)),
            }
        }
        for ((id, dev, point), (key, mounted)) in old {
            book.leave(key, mounted, clock::now());
            let still = self.own.iter().find(|mount| (mount.id, mount.dev, &mount.point) == (id, dev, &point));
            // What is unmounted has lost its mark by that.
            let _ = still.map(|mount| reach(mount).and_then(|(place, _)| group.unmark_mount(place.as_fd())));
        }
    }
}

/// A descriptor that is proven to lie on a mount of the host.
fn reach(mount: &Mount) -> nix::Result<(OwnedFd, FileStatus)> {
    let place =
        openat(AT_FDCWD, mount.point.as_slice(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let status = file_status(place.as_fd(), c"").map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    if mount_of_descriptor(place.as_fd()).map_or(status.dev != mount.dev, |id| id != mount.id) {
        return Err(Errno::ESTALE);
    }
    Ok((place, status))
}

fn mark_own(mount: &Mount, book: &mut Book, group: &Group) -> nix::Result<(Key, Arc<Mounted>)> {
    let (place, status) = reach(mount)?;
    let key = Key::Mount(mount_number(status).unwrap_or(MountNumber(mount.id)));
    let mounted = book.make_of_host(mount.is_plain());
    book.enter(key, &mounted);
    if let Err(e) = group.mark_mount(place.as_fd()) {
        book.leave(key, mounted, clock::now());
        return Err(e);
    }
    mounted.set_marked(true);
    Ok((key, mounted))
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

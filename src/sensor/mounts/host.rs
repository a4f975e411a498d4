//! The host's own mount table, where container runtimes mount the overlays that their containers run from: each is known,
//! and marked where the kernel marks filesystems, before the first exec in it.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::book::{Book, Key};
use super::layers::Layers;
use super::listing::Listing;
use super::{Mounted, Trust};
use crate::error::{Error, Result};
use crate::event::{Monotonic, MountNumber};
use crate::host::clock;
use crate::host::file::mount_number;
use crate::host::mountinfo::{self, Mount, Place};
use crate::host::reach;
use crate::sensor::fanotify_group::{Group, Way};

/// Process 1's table.
pub struct HostTable {
    listing: Listing,
    /// Process 1's root directory.
    root: OwnedFd,
    known: HashMap<Place, Arc<Mounted>>,
    /// All that is mounted on the host.
    all: Vec<Arc<Mount>>,
    /// The devices of it.
    devices: HashSet<u64>,
    /// Devices of the overlays whose layers all lie on what answers.
    vouched: HashSet<u64>,
    /// What lies below another mount: device, and directory of the filesystem.
    hidden: HashSet<(u64, Vec<u8>)>,
    /// Mounts that are no containers', from which something can be executed.
    own: Vec<Arc<Mount>>,
    /// Those of them that are marked.
    marked: HashMap<Place, (Key, Arc<Mounted>)>,
}

impl HostTable {
    /// Opens it below `proc_root`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(proc_root: &Path) -> Result<Self> {
        let listing = Listing::open(proc_root)?;
        let root = reach::host_root(proc_root).map_err(|e| Error::os("open", "the host's root directory", e))?;
        let (known, all, devices, vouched, hidden, own, marked) = Default::default();
        Ok(Self { listing, root, known, all, devices, vouched, hidden, own, marked })
    }

    /// To be polled for what is mounted and unmounted.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.listing.fd()
    }

    /// When it is to be read again although nothing tells of a change.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.listing.due()
    }

    /// Whether a filesystem is mounted on the host too.
    pub fn has(&self, dev: u64) -> bool {
        self.devices.contains(&dev)
    }

    /// Whether one of its mounts has this number.
    pub fn has_mount(&self, number: u64) -> bool {
        self.all.iter().any(|mount| mount.id == number)
    }

    /// A mount of this filesystem on the host, and whether no server has to be asked for its files.
    pub fn mount_of(&self, dev: u64) -> Option<(&Mount, bool)> {
        let mount = self.all.iter().find(|mount| mount.dev == dev)?;
        Some((mount, !mount.may_hang() && (!mount.is_overlay() || self.vouches_for(dev))))
    }

    /// Whether a device is an overlay's of which is known that all its layers lie on what answers.
    pub fn vouches_for(&self, dev: u64) -> bool {
        self.vouched.contains(&dev)
    }

    /// Whether no path leads to it on the host either.
    pub fn hides(&self, mount: &Mount) -> bool {
        self.hidden.iter().any(|(dev, root)| *dev == mount.dev && *root == mount.root)
    }

    /// Whether something was mounted or unmounted since this was last asked.
    pub fn has_changed(&self) -> bool {
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Takes in what it shows now; the devices of overlays that were not there before.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, book: &mut Book, group: &Group) -> std::io::Result<Vec<u64>> {
        let (stayed, all): (Vec<bool>, Vec<Arc<Mount>>) = self.listing.read(clock::now())?.into_iter().unzip();
        self.devices = all.iter().map(|mount| mount.dev).collect();
        self.all.clone_from(&all);
        let hidden = mountinfo::hidden(&all);
        let places = all.iter().filter(|mount| hidden.contains(&mount.id));
        self.hidden = places.map(|mount| (mount.dev, mount.root.clone())).collect();
        let hanging = mountinfo::hanging(&all);
        let mut servers = mountinfo::points(&all, &hanging);
        let before = std::mem::take(&mut self.vouched);
        let mut now_known = HashMap::new();
        let (mut fresh, mut own) = (Vec::new(), Vec::new());
        for (stayed, mount) in stayed.into_iter().zip(all) {
            if mount.is_overlay() {
                // What is mounted over its layers later is no matter of its own.
                let is_far = match stayed {
                    true => !before.contains(&mount.dev),
                    false => hanging.contains(&mount.id) || Layers::lie_below(&mount, &servers),
                };
                if is_far {
                    servers.push(mount.point.clone());
                } else {
                    self.vouched.insert(mount.dev);
                }
            }
            if !is_containers(&mount) {
                own.push(mount);
                continue;
            }
            let place = mount.place();
            if let Some(known) = self.known.remove(&place) {
                if stayed || self.mark(group, &mount) == known.is_covered() {
                    now_known.insert(place, known);
                    continue;
                }
                self.known.insert(place.clone(), known);
            }
            fresh.push((place, mount));
        }
        self.own = own.into_iter().filter(|mount| mount.is_executable() && !hanging.contains(&mount.id)).collect();
        for ((_, dev, _), gone) in std::mem::replace(&mut self.known, now_known) {
            let was_entered = book.mounts().of(dev, None).is_some_and(|entered| Arc::ptr_eq(&entered, &gone));
            book.leave(Key::Device(dev), gone, clock::now());
            // It may be mounted elsewhere too.
            let other = self.known.iter().find(|((_, other, _), _)| was_entered && *other == dev);
            if let Some((_, other)) = other {
                book.enter(Key::Device(dev), other);
            }
        }
        let mut devices = Vec::with_capacity(fresh.len());
        for (place, mount) in fresh {
            // A look into the layers of one that is not vouched for may take for ever.
            let layers = Layers::of(&mount).filter(|_| self.vouches_for(mount.dev));
            let layers = layers.map(|layers| Arc::new(layers.looked_at()));
            let mounted = book.make(mount.device(), layers, Trust::Nothing);
            // Whose it is has to be known before its first exec is reported.
            book.triage().mounted(mounted.id, &mount);
            book.enter(Key::Device(mount.dev), &mounted);
            mounted.set_marked(self.mark(group, &mount));
            self.known.insert(place, mounted);
            devices.push(mount.dev);
        }
        Ok(devices)
    }
}

impl HostTable {
    /// Marks its filesystem; false where that cannot be done.
    fn mark(&self, group: &Group, mount: &Mount) -> bool {
        if group.way != Way::Filesystem || !self.vouches_for(mount.dev) {
            return false;
        }
        let reached = reach::on_host(self.root.as_fd(), mount);
        let marked = reached.and_then(|(place, _)| group.mark_filesystem(place.as_fd()));
        if let Err(e) = &marked {
            log::debug!("mark {}: {e}", String::from_utf8_lossy(&mount.point));
        }
        marked.is_ok()
    }

    /// Marks the host's own mounts, as long as a container may execute from them. Mounts and not filesystems: the layers
    /// of containers lie on those too, and each exec in a container would be reported twice.
    pub fn mark_own(&mut self, wanted: bool, book: &mut Book, group: &Group) {
        if !wanted && self.marked.is_empty() {
            return;
        }
        let mut old = std::mem::take(&mut self.marked);
        for mount in self.own.iter().filter(|_| wanted) {
            let place = mount.place();
            if let Some(known) = old.remove(&place) {
                self.marked.insert(place, known);
                continue;
            }
            match mark_own(self.root.as_fd(), mount, book, group) {
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
            let _ = still.map(|mount| {
                reach::on_host(self.root.as_fd(), mount).and_then(|(place, _)| group.unmark_mount(place.as_fd()))
            });
        }
    }
}

fn mark_own(root: BorrowedFd<'_>, mount: &Mount, book: &mut Book, group: &Group) -> nix::Result<(Key, Arc<Mounted>)> {
    let (place, status) = reach::on_host(root, mount)?;
    let key = Key::Mount(mount_number(status).unwrap_or(MountNumber(mount.id)));
    // A host whose root directory is an overlay would have all that it executes read again.
    let trust = if mount.is_overlay() { Trust::State } else { Trust::of(mount) };
    let mounted = book.make_of_host(mount.device(), trust);
    book.enter(key, &mounted);
    if let Err(e) = group.mark_mount(place.as_fd()) {
        book.leave(key, mounted, clock::now());
        return Err(e);
    }
    mounted.set_marked(true);
    Ok((key, mounted))
}

/// Whether containers may run from it. A root directory, or what lies directly below it, is made by the host for itself: by
/// a system image that is mounted so, or by systemd-sysext.
fn is_containers(mount: &Mount) -> bool {
    let is_hosts_own = mount.point.iter().filter(|b| **b == b'/').count() <= 1;
    mount.is_overlay() && !mount.noexec && !is_hosts_own
}

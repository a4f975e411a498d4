//! Which mounts containers execute from: the mount tables read, watched, and kept as a table by mount and by device that
//! the sensor threads consult. Whose a mount is, the table does not know: it gives each a [`MountedId`].

pub mod book;
pub mod far_mounts;
pub mod host;
pub mod ignored;
pub mod layers;
pub mod listing;
pub mod marking;
pub mod requests;
pub mod space;
pub mod spaces;
pub mod spending;
pub mod tools;
pub mod view;
pub mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::event::{Monotonic, MountNumber, MountedId, Namespace};
use crate::host::mountinfo::{Device, Mount};
use crate::sensor::far::Far;
use ignored::Ignored;
use layers::Layers;
use requests::Requests;

/// A mount that is gone is remembered so long: execs in it may still be on their way.
pub const GRACE: Duration = Duration::from_secs(60);

/// What the state of a file (size, times, number) says of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is what was read of it, and nobody executes a file that somebody can write to (ETXTBSY): its execs may be ignored.
    Marks,
    /// It is what was read of it.
    State,
    /// Nothing since io_uring (5.1): a page in memory that is pinned as its registered buffer, or that comes later
    /// (userfaultfd), is changed by whoever has neither a descriptor nor a mapping any more.
    Memory,
    /// Nothing: on an overlay a mapping outlives its descriptor.
    Nothing,
}

impl Trust {
    /// As far as the filesystem's kind tells.
    pub fn of(mount: &Mount) -> Self {
        match mount.fs_type.as_slice() {
            b"ext2" | b"ext3" | b"ext4" | b"xfs" => Self::Marks,
            b"tmpfs" | b"ramfs" | b"hugetlbfs" => Self::Memory,
            b"overlay" => Self::Nothing,
            _ => Self::State,
        }
    }
}

/// A filesystem or a mount that is, or was lately, mounted.
#[derive(Debug)]
pub struct Mounted {
    /// Its name for all time.
    pub id: MountedId,
    /// What its files show.
    pub device: Device,
    /// Of an overlay whose layers are to be found on this host: where they lie.
    pub layers: Option<Arc<Layers>>,
    /// Whether its files are what was read of them; of an overlay whose layers are known these tell more.
    pub trust: Trust,
    /// A mount of the host's own: what is executed on it concerns nobody unless a container's process does so.
    pub of_host: bool,
    /// A far one, and whether execs on such are heard of.
    pub far: Option<Arc<Far>>,
    /// Its files whose execs are ignored.
    pub ignored: Mutex<Ignored>,
    marked: AtomicBool,
    gone: AtomicBool,
    rests: AtomicU64,
}

impl Mounted {
    /// Not marked yet.
    pub fn new(id: MountedId, device: Device, layers: Option<Arc<Layers>>, trust: Trust) -> Self {
        let (marked, gone, rests) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        Self { id, device, layers, trust, of_host: false, far: None, ignored: Mutex::default(), marked, gone, rests }
    }

    /// All execs on it are reported from now on, or not any more.
    pub fn set_marked(&self, marked: bool) {
        self.marked.store(marked, Ordering::Release);
    }

    /// Whether it is a plain filesystem on a local disk, where a file shows every change once nobody can write to it.
    pub fn is_on_disk(&self) -> bool {
        self.far.is_none() && self.layers.is_none() && self.trust == Trust::Marks
    }

    /// Whether its files are those of layers.
    pub fn is_overlay(&self) -> bool {
        self.layers.is_some() || self.trust == Trust::Nothing
    }

    /// It is not to be marked before this moment.
    pub fn rest_until(&self, end: Monotonic) {
        self.rests.store(end.0, Ordering::Release);
    }

    /// Until when it is not to be marked.
    pub fn rests_until(&self, now: Monotonic) -> Option<Monotonic> {
        Some(Monotonic(self.rests.load(Ordering::Acquire))).filter(|end| *end > now)
    }

    /// It is mounted no more.
    pub fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether all execs on it are reported.
    pub fn is_covered(&self) -> bool {
        let heard = self.far.as_ref().is_none_or(|far| far.is_heard());
        self.is_marked() && heard && !self.is_gone()
    }

    /// Whether it is mounted no more.
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether it bears a mark.
    pub fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }
}

/// Whether what a file holds is a server's affair, who may never answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It lies on what is known to have none.
    No,
    /// It lies on what is not known, or not yet.
    Perhaps,
    /// It may answer everybody differently.
    Yes,
}

impl Served {
    /// What a file lies on says of it.
    pub fn of(on: Option<&Mounted>) -> Self {
        match on {
            Some(on) if on.far.is_some() => Self::Yes,
            Some(on) if !on.is_gone() => Self::No,
            _ => Self::Perhaps,
        }
    }
}

/// What is mounted. A device number, and before Linux 6.8 a mount's number, names a new one only when nobody holds a file
/// of the old one: what is gone and still stands here may by now be another's number, and gives way to all that is there.
#[derive(Debug, Default)]
pub struct Table {
    /// Filesystems that belong to one container, by `st_dev`.
    pub devices: HashMap<u64, Arc<Mounted>>,
    /// Mounts of filesystems that do not, by their number.
    pub mounts: HashMap<MountNumber, Arc<Mounted>>,
    /// Mount namespaces that are watched, or known to be the host's.
    pub namespaces: HashSet<Namespace>,
}

/// The table, shared with the sensor threads.
#[derive(Debug, Default)]
pub struct Mounts {
    table: RwLock<Table>,
    watched: AtomicBool,
    /// Whether execs on far mounts are heard of.
    pub far: Arc<Far>,
    /// What the sensors ask the watcher for.
    pub requests: Requests,
}

impl Table {
    /// What has this number, unless a file of this device cannot lie on it: the number may be another's by now.
    fn by_mount(&self, dev: u64, mount: Option<MountNumber>) -> Option<&Arc<Mounted>> {
        let mounted = self.mounts.get(&mount?)?;
        let Device { number, is_files } = mounted.device;
        let is_anothers = || self.devices.get(&dev).is_some_and(|on| !on.is_gone());
        (number == dev || !is_files && !is_anothers()).then_some(mounted)
    }
}

impl Mounts {
    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an open file lies on: the mount through which it was opened, else its filesystem; where neither is there any
    /// more, what was.
    pub fn of(&self, dev: u64, mount: Option<MountNumber>) -> Option<Arc<Mounted>> {
        self.read(|t| {
            let (by_mount, by_device) = (t.by_mount(dev, mount), t.devices.get(&dev));
            let there = by_mount.filter(|m| !m.is_gone()).or_else(|| by_device.filter(|m| !m.is_gone()));
            there.or(by_mount).or(by_device).cloned()
        })
    }

    /// Nothing is to be heard of a mount for a while: by its number, else all of that filesystem.
    pub fn rest(&self, on: &Mounted, dev: u64, number: Option<MountNumber>, until: Monotonic) {
        self.read(|t| match t.by_mount(dev, number) {
            Some(marked) => marked.rest_until(until),
            None => {
                on.rest_until(until);
                let all = t.mounts.values().filter(|other| number.is_none() && other.device.number == on.device.number);
                all.for_each(|other| other.rest_until(until));
            }
        });
    }

    /// What is mounted under this device's number now.
    pub fn mounted(&self, dev: u64) -> Option<Arc<Mounted>> {
        self.read(|t| t.devices.get(&dev).filter(|m| !m.is_gone()).cloned())
    }

    /// Whether a server answers for the files of a device, or of what was reached through this mount.
    pub fn served(&self, dev: u64, mount: Option<MountNumber>) -> Served {
        Served::of(self.of(dev, mount).as_deref())
    }

    /// Whether a filesystem is known by its device alone.
    pub fn knows_device(&self, dev: u64) -> bool {
        self.read(|t| t.devices.contains_key(&dev))
    }

    /// Whether all execs on this device, or through this mount, are reported by fanotify.
    pub fn covers(&self, dev: u64, mount: Option<MountNumber>) -> bool {
        self.read(|t| {
            t.by_mount(dev, mount).is_some_and(|m| m.is_covered())
                || t.devices.get(&dev).is_some_and(|m| m.is_covered())
        })
    }

    /// Whether a mount of this number stands here and is not gone.
    pub fn has_mount(&self, number: MountNumber) -> bool {
        self.read(|t| t.mounts.get(&number).is_some_and(|m| !m.is_gone()))
    }

    /// No exec on any of them is ignored any more.
    pub fn forget_ignored(&self) {
        self.read(|t| {
            let all = t.devices.values().chain(t.mounts.values());
            all.for_each(|on| on.ignored.lock().unwrap_or_else(PoisonError::into_inner).clear());
        });
    }

    /// Whether a mount namespace is watched, or known to be the host's.
    pub fn knows_namespace(&self, namespace: Namespace) -> bool {
        self.read(|t| t.namespaces.contains(&namespace))
    }

    /// Whether there is anybody who marks.
    pub fn are_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Changes the table; nothing else is done meanwhile.
    pub fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        self.watched.store(true, Ordering::Relaxed);
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_that_is_used_again_names_what_is_there() {
        let made = |id, number| {
            let device = Device { number, is_files: true };
            Arc::new(Mounted::new(MountedId(id), device, None, Trust::State))
        };
        let (volume, root, mounts) = (made(1, 78), made(2, 77), Mounts::default());
        let number = MountNumber(612);
        mounts.change(|table| {
            table.mounts.insert(number, Arc::clone(&volume));
            table.devices.insert(77, Arc::clone(&root));
        });
        let of = |dev, mount| mounts.of(dev, mount).map(|mounted| mounted.id);
        assert_eq!(of(78, Some(number)), Some(MountedId(1)));
        assert_eq!(of(77, Some(number)), Some(MountedId(2)), "the filesystem is another container's");
        assert_eq!(of(79, Some(number)), None, "it lies on what is not known yet");
        volume.set_gone();
        assert_eq!(of(77, Some(number)), Some(MountedId(2)));
        assert_eq!(of(78, Some(number)), Some(MountedId(1)), "a late exec on what is gone");
        root.set_gone();
        assert_eq!(of(77, None), Some(MountedId(2)));
    }

    #[test]
    fn an_overlays_file_may_show_a_device_of_its_layers() {
        let device = Device { number: 77, is_files: false };
        let made = |id| Arc::new(Mounted::new(MountedId(id), device, None, Trust::Nothing));
        let (overlay, mounts, number) = (made(1), Mounts::default(), MountNumber(612));
        mounts.change(|table| table.mounts.insert(number, overlay));
        let of = |dev| mounts.of(dev, Some(number)).map(|mounted| mounted.id);
        assert_eq!((of(77), of(91)), (Some(MountedId(1)), Some(MountedId(1))));
        mounts.change(|table| table.devices.insert(91, made(2)));
        assert_eq!(of(91), Some(MountedId(2)), "another's");
    }
}

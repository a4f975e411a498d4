//! Which filesystems containers execute from: the mount tables read, watched, and kept as a table by device that the
//! sensor threads consult. Whose a filesystem is, the table does not know: it gives each a [`MountedId`].

pub mod layers;
pub mod mountinfo;
pub mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::event::{Monotonic, MountedId};
use layers::Layers;

/// A filesystem that is gone is remembered so long: execs in it may still be on their way.
pub const GRACE: Duration = Duration::from_secs(60);

/// A filesystem that is, or was lately, mounted.
#[derive(Debug)]
pub struct Mounted {
    /// Its name for all time.
    pub id: MountedId,
    /// `st_dev` of its files.
    pub dev: u64,
    /// Of an overlay: where its layers lie.
    pub layers: Option<Layers>,
    /// All execs on it are reported.
    pub marked: bool,
    /// Its files whose execs are ignored: the marks go with it, and so does their number.
    pub ignored: Arc<AtomicU32>,
    /// When it was seen to be gone.
    pub gone: Option<Monotonic>,
}

/// The filesystems by device. A device number names a new filesystem only when nobody holds a file of the old one, so
/// what the table says of an open file's device is right as long as that is open.
pub type Table = HashMap<u64, Arc<Mounted>>;

/// The table as it was last published.
#[derive(Debug, Default)]
pub struct Mounts {
    table: ArcSwap<Table>,
    watched: AtomicBool,
}

impl Mounts {
    /// The filesystem of a device.
    pub fn of(&self, dev: u64) -> Option<Arc<Mounted>> {
        self.table.load().get(&dev).cloned()
    }

    /// Whether all execs on this device are reported by fanotify.
    pub fn covers(&self, dev: u64) -> bool {
        self.table.load().get(&dev).is_some_and(|m| m.marked && m.gone.is_none())
    }

    /// Whether there is anybody who marks: a table was published.
    pub fn are_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Replaces the table.
    pub fn publish(&self, table: Table) {
        self.watched.store(true, Ordering::Relaxed);
        self.table.store(Arc::new(table));
    }

    /// A copy that can be changed and published.
    pub fn snapshot(&self) -> Table {
        Table::clone(&self.table.load())
    }
}

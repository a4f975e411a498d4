//! Which innocent files have their execs ignored, so that they cost nothing, and which never will: what an ignore mark
//! must not hide. A written file loses its mark in the kernel, but not by a store through a shared mapping or by native
//! AIO; so a mark for writes stands first, and what was ever written to on an overlay is never ignored again. On a local
//! filesystem on a disk a writer, or a mapping, keeps the file from being executed as long as it lives, and at its end the
//! file is judged again. Who has neither can still change a page that was pinned before: on a disk for as long as some
//! other I/O takes, so that what is read of a file is believed only when it had lain unchanged for a while; in memory for
//! ever (io_uring's registered buffers), so that execs are not ignored there, and no verdict holds from one to the next.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use lru::LruCache;
use procfs::KernelVersion;

use super::bounds::{Bounds, Candidate};
use crate::event::{Field, FileId, Inode, Missing, Monotonic, Pid};
use crate::host::file::{SETTLED, age, file_id, file_status, mount_of_descriptor};
use crate::host::process::Proc;
use crate::host::{clock, rooted};
use crate::sensor::fanotify_group::{Group, Way};
use crate::sensor::mounts::layers::Layers;
use crate::sensor::mounts::{Mounted, Trust};
use crate::sensor::without::{Part, without};
use crate::sys::process::writers_block_exec;

/// So long a file lies unchanged before it is believed. What fills a pinned page from a disk, or from a process that hardly
/// ever runs (process_vm_writev(2) pins them too), is done by then.
const RESTED: Duration = Duration::from_secs(10);
const WRITTEN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const QUIET: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
const REFUSED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// What was decided of which file.
#[derive(Debug)]
pub struct Innocents {
    /// Files that somebody wrote to.
    written: LruCache<Inode, ()>,
    /// Files in this state cannot be ignored: asked once.
    refused: LruCache<FileId, ()>,
    /// Files of writable layers whose writers would be heard of, and that had none in this state. An inode's number is
    /// given to another file as soon as it is free, so the number alone says nothing.
    quiet: LruCache<Inode, FileId>,
    bounds: Bounds,
    proc: Arc<Proc>,
    /// What is opened in memory is ignored where each open is an event: that is before io_uring, unless it is forced.
    ignores_memory: bool,
    /// A file must have lain unchanged for [`RESTED`]. Not so where each open is an event: all that was just unpacked would
    /// be heard of again and again.
    wants_rest: bool,
    /// An overlay's files are opened as those of its layers, so that an ignore mark on one has no effect.
    opens_layers: bool,
    /// A file that somebody can write to cannot be executed, unless it lies on an overlay (not so in 6.11 and 6.12).
    writers_block_exec: bool,
}

/// A file that was judged innocent.
pub struct Innocent<'a> {
    /// Open.
    pub file: BorrowedFd<'a>,
    /// Which.
    pub id: FileId,
    /// Its names.
    pub links: u64,
    /// One of them.
    pub path: &'a [u8],
    /// What it lies on.
    pub on: &'a Mounted,
    /// Of whoever executes or opens it just now.
    pub pid: Option<Pid>,
}

impl Innocents {
    /// None, by marks of a group of this way.
    pub fn new(way: Way, proc: Arc<Proc>) -> Self {
        let (written, refused) = (LruCache::new(WRITTEN), LruCache::new(REFUSED));
        let (quiet, bounds) = (LruCache::new(QUIET), Bounds::new(way, clock::now()));
        let ignores_memory = way == Way::Open || without(Part::Leases);
        let wants_rest = way != Way::Open && !without(Part::Rest);
        let writers_block_exec = writers_block_exec();
        Self {
            written,
            refused,
            quiet,
            bounds,
            proc,
            opens_layers: opens_layers(),
            ignores_memory,
            wants_rest,
            writers_block_exec,
        }
    }

    /// Has a file ignored that was judged innocent, if nothing can be hidden by that; whether it is.
    pub fn ignore(&mut self, group: &Group, innocent: &Innocent<'_>) -> bool {
        let Innocent { file, id, links, path, on, .. } = innocent;
        if (*links != 1 && !without(Part::Links)) || age(*id, SystemTime::now()) <= SETTLED || self.refused.contains(id)
        {
            return false;
        }
        if on.layers.is_some() && self.written.contains(&id.inode()) && !without(Part::Layers) {
            return false;
        }
        if self.opens_layers && on.is_overlay() {
            return false;
        }
        if !self.hides_nothing(innocent) {
            self.refused.put(*id, ());
            return false;
        }
        if !self.admit(group, innocent, innocent.path, on.layers.is_none()) {
            return false;
        }
        let done = group.watch_writes(*file, false).and_then(|()| {
            // Asked again: it may have been written to before that mark stood.
            let is_same = file_status(*file, c"").is_ok_and(|status| file_id(status) == *id);
            let hides_nothing = is_same && self.hides_nothing(innocent);
            if hides_nothing { group.ignore(*file).map(|()| true) } else { Ok(false) }
        });
        done.unwrap_or_else(|e| {
            log::debug!("ignore {}: {e}", String::from_utf8_lossy(path));
            false
        })
    }

    /// Whether what was read of a file may have changed without a trace: it had `rested` too short then, or lies where its
    /// state says nothing of that, or in an overlay's writable layer, where a mapping outlives its descriptor, and a second
    /// store through it moves no time stamp.
    pub fn may_have_changed(&mut self, group: &Group, innocent: &Innocent<'_>, rested: Duration) -> bool {
        if self.holds(innocent, rested) {
            return false;
        }
        let Innocent { file, id, path, on, .. } = innocent;
        let Some(layers) = on.layers.as_ref().filter(|_| !self.is_young(rested)) else { return true };
        // This mark is to stay: without a name it is not taken away for another's.
        if !self.admit(group, innocent, b"", false) {
            return true;
        }
        // The mark first: whoever begins to write from now on is heard of, at the latest when the descriptor is closed.
        if group.watch_writes(*file, true).is_ok() && layers.has_no_writer(path, id.ino) {
            self.quiet.put(id.inode(), *id);
        }
        // What was read before may be of a time when there was one.
        true
    }

    /// Whether what was read of a file cannot have changed without a trace, as far as is known by now.
    pub fn holds(&mut self, innocent: &Innocent<'_>, rested: Duration) -> bool {
        let Innocent { id, path, on, .. } = innocent;
        if without(Part::Leases) {
            return true;
        }
        let Some(layers) = &on.layers else {
            return !self.is_young(rested) && self.state_tells(on);
        };
        self.quiet.get(&id.inode()) == Some(id)
            || without(Part::Layers)
            || !self.refused.contains(id) && layers.are_original(path, *id)
    }

    fn is_young(&self, rested: Duration) -> bool {
        self.wants_rest && rested < RESTED
    }

    /// Whether a file of no image layer may change without a trace while it is read for the first time.
    pub fn may_change(&self, innocent: Option<&Innocent<'_>>) -> bool {
        let lies_still = |id| age(id, SystemTime::now()) >= RESTED;
        let is_trusted = |i: &Innocent<'_>| i.on.layers.is_none() && self.state_tells(i.on) && lies_still(i.id);
        self.wants_rest && !innocent.is_some_and(is_trusted)
    }

    /// Whether a change to a file of what has no layers shows in its state, once no writer is left.
    fn state_tells(&self, on: &Mounted) -> bool {
        match on.trust {
            Trust::Marks | Trust::State => true,
            Trust::Memory => self.ignores_memory,
            Trust::Nothing => false,
        }
    }

    /// All marks were taken away, those that tell of writers among them.
    pub fn forget_marks(&mut self, now: Monotonic) {
        self.quiet.clear();
        self.bounds.begin_anew(now);
    }

    /// Whether nobody can change the file without its mark going.
    fn hides_nothing(&self, innocent: &Innocent<'_>) -> bool {
        match &innocent.on.layers {
            Some(layers) => without(Part::Layers) || layers.are_original(innocent.path, innocent.id),
            None => match innocent.on.trust {
                Trust::Marks => self.writers_block_exec,
                Trust::Memory => self.ignores_memory && self.writers_block_exec,
                Trust::State | Trust::Nothing => false,
            },
        }
    }

    /// Whether a file may be marked, for which others may have to lose their marks.
    fn admit(&mut self, group: &Group, innocent: &Innocent<'_>, name: &[u8], lasting: bool) -> bool {
        let Self { bounds, proc, .. } = self;
        let Innocent { id, on, .. } = innocent;
        let mut ignored = on.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let reported = innocent.pid.is_some();
        bounds.admit(&mut ignored, &Candidate { ino: id.ino, name, lasting, reported }, || {
            let place = Place::of(innocent, proc).ok()?;
            Some(move |ino, name: &[u8]| {
                let inode = Inode { dev: id.dev, ino };
                let found = place.find(name, inode);
                if let Some(file) = &found {
                    group.let_go(file.as_fd());
                }
                // A file that has another name by now keeps its mark: the kernel takes it where it needs the memory.
                found.is_some() || group.are_evictable()
            })
        })
    }

    /// Whether all marks are to be taken away: some filesystem has no room for more.
    pub fn are_to_begin_anew(&self, now: Monotonic) -> bool {
        self.bounds.are_to_begin_anew(now)
    }

    /// Somebody who could write to a file has closed it.
    pub fn written(&mut self, group: &Group, file: BorrowedFd<'_>, inode: Inode) {
        self.written.put(inode, ());
        self.quiet.pop(&inode);
        // ENOENT: the kernel has taken the mark away already.
        let _ = group.regard(file);
    }
}

/// Where files are found by the names that were noted of them.
struct Place<'a> {
    root: OwnedFd,
    layers: Option<&'a Layers>,
    /// On the way to a file there are these mounts alone.
    mounts: [Option<u64>; 2],
}

impl<'a> Place<'a> {
    /// Where files are that lie on what this one lies on.
    fn of(innocent: &Innocent<'a>, proc: &Proc) -> Field<Self> {
        let layers = innocent.on.layers.as_deref();
        let root = match layers {
            Some(layers) => layers.root_dir()?,
            None => proc.process(innocent.pid.ok_or(Missing::Gone)?)?.root_dir()?,
        };
        let mounts = [mount_of_descriptor(root.as_fd()), mount_of_descriptor(innocent.file)];
        Ok(Self { root, layers, mounts })
    }

    /// The file of this name, if it is still the same.
    fn find(&self, name: &[u8], inode: Inode) -> Option<OwnedFd> {
        let name = self.layers.map_or(Some(name), |layers| layers.inside(name))?;
        let is_safe = |mount| self.mounts.contains(&Some(mount));
        let file = rooted::locate_in_memory(self.root.as_fd(), Path::new(OsStr::from_bytes(name)), is_safe).ok()?;
        file_status(file.as_fd(), c"").is_ok_and(|status| file_id(status).inode() == inode).then_some(file)
    }
}

/// From Linux 4.2 to 4.8 (d_real and its forerunners in fs/open.c; 4.9 has fsnotify see the overlay's file).
fn opens_layers() -> bool {
    let of = |major, minor| KernelVersion::new(major, minor, 0);
    KernelVersion::current().is_ok_and(|version| (of(4, 2)..of(4, 9)).contains(&version))
}

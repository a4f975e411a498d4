//! Which innocent files have their execs ignored, so that they cost nothing, and which never will: what an ignore mark
//! must not hide. A written file loses its mark in the kernel, but not by a store through a shared mapping or by native
//! AIO; so a mark for writes stands first, and what was ever written to is never ignored again.

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lru::LruCache;

use super::group::Group;
use crate::event::{FileId, Inode};
use crate::sensor::mounts::Mounted;

/// Marks set for one filesystem: a container cannot use up the kernel's, or ours.
const PER_FILESYSTEM: u32 = 8192;
const WRITTEN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const REFUSED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Two clock ticks at the slowest clock: a later change within one of them does not show in ctime.
const SETTLED: Duration = Duration::from_millis(20);

/// What was decided of which file.
#[derive(Debug)]
pub struct Innocents {
    /// Files that somebody wrote to.
    written: LruCache<Inode, ()>,
    /// Files in this state cannot be ignored: asked once.
    refused: LruCache<FileId, ()>,
}

impl Default for Innocents {
    fn default() -> Self {
        Self { written: LruCache::new(WRITTEN), refused: LruCache::new(REFUSED) }
    }
}

impl Innocents {
    /// Has a file ignored that was judged innocent, if nothing can be hidden by that. `links`: its names.
    pub fn ignore(&mut self, group: &Group, file: BorrowedFd<'_>, id: FileId, links: u64, path: &[u8], on: &Mounted) {
        if links != 1 || !is_settled(&id) || self.refused.contains(&id) || self.written.contains(&id.inode()) {
            return;
        }
        let Some(layers) = &on.layers else { return };
        if on.ignored.load(Ordering::Relaxed) >= PER_FILESYSTEM {
            return;
        }
        if !layers.are_original(path, id.ino) {
            self.refused.put(id, ());
            return;
        }
        on.ignored.fetch_add(1, Ordering::Relaxed);
        let done = group.watch_writes(file).and_then(|()| {
            // Asked again: it may have been written to before that mark stood.
            if layers.are_original(path, id.ino) { group.ignore(file) } else { Ok(()) }
        });
        if let Err(e) = done {
            log::debug!("ignore {}: {e}", String::from_utf8_lossy(path));
        }
    }

    /// Somebody who could write to a file has closed it.
    pub fn written(&mut self, group: &Group, file: BorrowedFd<'_>, inode: Inode) {
        self.written.put(inode, ());
        // ENOENT: the kernel has taken the mark away already.
        let _ = group.regard(file);
    }
}

/// Whether any later change shows in the file's ctime.
fn is_settled(id: &FileId) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    i128::try_from(now).is_ok_and(|now| now - id.ctime_ns > SETTLED.as_nanos().cast_signed())
}

//! What was read of executables: asked by the sensors for each exec, told by the workers. A verdict on a content holds as
//! long as the file's identity (device, inode, size, mtime, ctime) does, and for each container that has the file from the
//! same image layer.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lru::LruCache;

use crate::detect::enrich::Finding;
use crate::event::FileId;
use crate::fingerprint::{Content, ContentSays};

const FILES: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
/// Files of image layers that are being read.
const LAYERS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Two clock ticks at the slowest clock: a later change within one of them does not show in ctime.
const SETTLED: Duration = Duration::from_millis(20);

/// Files by their identity.
#[derive(Debug)]
pub struct Judged {
    files: Mutex<LruCache<FileId, Known>>,
    /// Of files that are to be read, which of an image layer each is.
    layers: Mutex<LruCache<FileId, FileId>>,
}

#[derive(Debug, Clone)]
struct Known {
    says: ContentSays,
    content: Option<Arc<Content>>,
    /// Whether a change since it was read would show.
    settled: bool,
}

impl Default for Judged {
    fn default() -> Self {
        Self { files: Mutex::new(LruCache::new(FILES)), layers: Mutex::new(LruCache::new(LAYERS)) }
    }
}

impl Judged {
    fn files(&self) -> MutexGuard<'_, LruCache<FileId, Known>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a file is by its content; `None` where it is to be read, for the first time or again.
    pub fn says(&self, id: FileId) -> Option<ContentSays> {
        self.files().get(&id).filter(|known| known.settled).map(|known| known.says)
    }

    /// What was read of a file.
    pub fn content(&self, id: FileId) -> Option<Arc<Content>> {
        self.files().get(&id).and_then(|known| known.content.clone())
    }

    /// Takes in what a worker has read. What cannot be read is asked for no more than any other file.
    pub fn learn(&self, id: FileId, finding: Finding) {
        let settled = is_settled(id, finding.began) && !finding.open;
        let content = finding.content.ok().map(Arc::new);
        let known = Known { says: finding.says, content, settled };
        let layer = self.layers.lock().unwrap_or_else(PoisonError::into_inner).pop(&id);
        let mut files = self.files();
        // That it cannot be read may be one container's matter.
        if let Some(layer) = layer.filter(|_| known.content.is_some()) {
            files.put(layer, known.clone());
        }
        files.put(id, known);
    }

    /// A file that an overlay shows is this one of an image layer: takes over what was read of that, now, or for the
    /// next one when this one is read. Whether there was anything.
    pub fn adopt(&self, id: FileId, layer: FileId) -> bool {
        let mut files = self.files();
        let known = files.get(&layer).filter(|known| known.settled).cloned();
        let Some(known) = known else {
            drop(files);
            self.layers.lock().unwrap_or_else(PoisonError::into_inner).put(id, layer);
            return false;
        };
        files.put(id, known);
        true
    }

    /// A file is to be read again, though nothing shows that it has changed.
    pub fn doubt(&self, id: FileId) {
        if let Some(known) = self.files().get_mut(&id) {
            known.settled = false;
        }
    }

    /// Forgets all: the database has changed.
    pub fn forget(&self) {
        self.files().clear();
    }
}

/// Whether any change to a file after `now` shows in its ctime.
pub fn is_settled(id: FileId, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    i128::try_from(now).is_ok_and(|now| now - id.ctime_ns > SETTLED.as_nanos().cast_signed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fingerprint::Database;

    fn id(ctime_ns: i128) -> FileId {
        FileId { dev: 1, ino: 2, size: 3, mtime_ns: 0, ctime_ns }
    }

    fn innocent() -> Finding {
        let database = Arc::new(Database::builtin().unwrap());
        let says = ContentSays::Innocent;
        Finding { content: Ok(Content::default()), says, began: SystemTime::now(), open: false, database }
    }

    #[test]
    fn a_layers_file_is_read_once() {
        let judged = Judged::default();
        let of = |dev| FileId { dev, ..id(0) };
        let (one, other, layer) = (of(1), of(2), of(3));
        assert!(!judged.adopt(one, layer));
        judged.learn(one, innocent());
        assert_eq!(judged.says(other), None);
        assert!(judged.adopt(other, layer));
        assert_eq!(judged.says(other), Some(ContentSays::Innocent));
        judged.forget();
        assert!(!judged.adopt(of(4), layer));
    }

    #[test]
    fn a_file_changed_just_now_is_read_again() {
        let (judged, now) = (Judged::default(), SystemTime::now());
        let now_ns = i128::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        let (old, fresh) = (id(now_ns - 1_000_000_000), id(now_ns - 1_000_000));
        for id in [old, fresh] {
            judged.learn(id, Finding { began: now, ..innocent() });
        }
        assert_eq!(judged.says(old), Some(ContentSays::Innocent));
        assert_eq!(judged.says(fresh), None);
        assert!(judged.content(fresh).is_some());
        judged.forget();
        assert_eq!(judged.says(old), None);
    }
}

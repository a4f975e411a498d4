//! Hands attempts over to detection, and tells what was lost on the way.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use lru::LruCache;

use crate::event::{Attempt, Fact, FileId, Monotonic, SensorKind};
use crate::host::clock;
use crate::sensor::Outlet;
use crate::sensor::losses::Losses;

/// A file is handed over open, to be read, once in this time.
const OPEN_AGAIN: Duration = Duration::from_secs(30);
const HANDED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Detection may be so late before attempts are dropped; until then the kernel's queue holds them.
const PATIENCE: Duration = Duration::from_millis(200);

/// The way to detection.
pub struct Handing {
    /// Where facts go.
    pub outlet: Outlet,
    /// Files handed over open, and when.
    handed: LruCache<FileId, Monotonic>,
    /// When there was no event left to read.
    pub empty: Monotonic,
    /// What is not told yet.
    pub losses: Losses,
}

impl Handing {
    /// Nothing was handed over yet.
    pub fn new(outlet: Outlet) -> Self {
        let losses = Losses::new(SensorKind::Fanotify);
        Self { outlet, handed: LruCache::new(HANDED), empty: clock::now(), losses }
    }

    /// Whether a file's content is to be read: not handed over lately.
    pub fn is_to_be_read(&mut self, id: FileId, at: Monotonic) -> bool {
        if self.handed.get(&id).is_some_and(|handed| at.since(*handed) < OPEN_AGAIN) {
            return false;
        }
        self.handed.put(id, at);
        true
    }

    /// Waits for room as long as detection may be late: what is not read yet is safe in the kernel's queue.
    pub fn hand_over(&mut self, attempts: Vec<Attempt>) {
        if attempts.is_empty() {
            return;
        }
        let count = attempts.len() as u64;
        let mut fact = Fact::Attempts(attempts);
        let deadline = clock::now().plus(PATIENCE);
        loop {
            match self.outlet.try_tell(fact) {
                Ok(()) => return,
                Err(back) if clock::now() < deadline => fact = *back,
                Err(_) => return self.lose(count, "the channel to detection"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// So many events are lost; 0 where nobody can know.
    pub fn lose(&mut self, count: u64, at: &'static str) {
        self.losses.add(count, at, self.empty);
    }
}

/// Where an open file lies, as the root of its mount or our own shows it; empty where the kernel does not say.
pub fn path_of(file: &OwnedFd) -> Vec<u8> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::fcntl::readlink(link.as_str()).map(OsStringExt::into_vec).unwrap_or_default()
}

//! Hands attempts over to detection, and tells what was lost on the way.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use lru::LruCache;

use crate::event::{Attempt, Fact, FileId, Monotonic, SensorKind};
use crate::host::clock;
use crate::host::file::link_to;
use crate::sensor::losses::Losses;
use crate::sensor::{FILES, Outlet};

/// A file is handed over open, to be read, once in this time.
const OPEN_AGAIN: Duration = Duration::from_secs(30);
const HANDED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Detection may be so late before attempts are dropped; until then the kernel's queue holds them.
const PATIENCE: Duration = Duration::from_millis(200);
/// It is asked again after this.
const PAUSE: Duration = Duration::from_millis(1);
/// Attempts handed over at once, of which each may have an open file.
pub const BATCH: usize = FILES;

/// Where events are lost, for both groups.
pub const QUEUE: &str = "the kernel's queue";
/// The same.
pub const UNOPENED: &str = "an event whose file could not be opened";

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
        let mut attempts = attempts;
        while !attempts.is_empty() {
            let rest = attempts.split_off(attempts.len().min(BATCH));
            self.hand_over_some(std::mem::replace(&mut attempts, rest));
        }
    }

    fn hand_over_some(&mut self, mut attempts: Vec<Attempt>) {
        let count = attempts.len() as u64;
        let open = attempts.iter().filter(|attempt| attempt.open.is_some()).count();
        let deadline = clock::now().plus(PATIENCE);
        let mut files = self.outlet.files.claim(open);
        while files.is_none() && clock::now() < deadline {
            std::thread::sleep(PAUSE);
            files = self.outlet.files.claim(open);
        }
        if files.is_none() {
            // The exec is told all the same; whoever executes a file next brings it again.
            for attempt in &mut attempts {
                if attempt.open.take().is_some() {
                    self.handed.pop(&attempt.file);
                }
            }
        }
        let mut fact = Fact::Attempts { attempts, files };
        loop {
            match self.outlet.try_tell(fact) {
                Ok(()) => return,
                Err(back) if clock::now() < deadline => fact = *back,
                Err(_) => return self.lose(count, "the channel to detection"),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// So many events are lost; 0 where nobody can know.
    pub fn lose(&mut self, count: u64, at: &'static str) {
        self.losses.add(count, at, self.empty);
    }
}

/// Where an open file lies, as the root of its mount or our own shows it; empty where the kernel does not say.
pub fn path_of(file: &OwnedFd) -> Vec<u8> {
    let link = link_to(file);
    nix::fcntl::readlink(link.as_str()).map(OsStringExt::into_vec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::event::samples;
    use crate::sensor::channel;

    fn attempt(ino: u64) -> Attempt {
        let open = Some(Arc::new(File::open("/dev/null").unwrap().into()));
        Attempt { open, unjudged: true, ..samples::attempt(1, ino, 0, 1) }
    }

    #[test]
    fn few_files_are_open_while_detection_is_late_and_no_attempt_is_lost() {
        let (outlet, facts) = channel();
        let mut handing = Handing::new(outlet);
        assert!(handing.is_to_be_read(attempt(700).file, Monotonic(1)));
        handing.hand_over((0..200).map(attempt).collect());
        handing.hand_over((500..701).map(attempt).collect());
        let taken = || {
            let mut open = Vec::new();
            for fact in facts.try_iter() {
                let Fact::Attempts { attempts, files } = fact else { unreachable!("{fact:?}") };
                open.extend(attempts.iter().map(|attempt| attempt.open.is_some()));
                drop(files);
            }
            (open.len(), open.iter().filter(|open| **open).count())
        };
        assert_eq!(taken(), (401, 200));
        assert!(handing.is_to_be_read(attempt(700).file, Monotonic(1)), "it was not handed over open");
        handing.hand_over((0..FILES as u64).map(attempt).collect());
        assert_eq!(taken(), (FILES, FILES));
        assert!(handing.losses.is_empty());
    }
}

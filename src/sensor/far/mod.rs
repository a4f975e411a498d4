//! FUSE and network filesystems, and what is mounted below them: far, because somebody else answers for their files, when
//! and as he likes. A thread that asks him and is not answered can be ended by nothing, and a process with such a thread
//! does not end either. So whatever asks is done by processes of their own ([`errand`]): reading the group in which their
//! mounts are marked, which opens a file for each event; marking them; and finding and reading files there, or where nobody
//! knows yet whether it is far.

pub mod errand;
pub mod files;
pub mod marks;
pub mod messenger;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Monotonic;

/// Whether execs on far filesystems are heard of.
#[derive(Debug, Default)]
pub struct Far {
    /// Since when a server holds what reads the group; 0 where none does.
    silent: AtomicU64,
}

impl Far {
    /// Whether nothing holds what reads the group.
    pub fn is_heard(&self) -> bool {
        self.silent.load(Ordering::Acquire) == 0
    }

    /// Something holds it since this moment, or does no more.
    pub fn set_silent(&self, since: Option<Monotonic>) {
        self.silent.store(since.map_or(0, |since| since.0.max(1)), Ordering::Release);
    }
}

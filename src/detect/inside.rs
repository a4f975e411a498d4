//! Files inside a container's root directory, for one job of a worker. What a server may have to answer for is found and read
//! by a process that may hang in the worker's place.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::detect::Share;
use crate::event::{Field, Missing};
use crate::host::file::{file_status, mount_number, spares_servers};
use crate::host::{bounded, rooted};
use crate::sensor::far::files::Errands;
use crate::sensor::mounts::{Mounts, Served};
use crate::sys::file::FileStatus;

/// The container's files, as far as a job asks for them.
pub(super) struct Inside<'a, 'f> {
    root: BorrowedFd<'a>,
    mounts: &'a Mounts,
    errands: &'a mut Errands<'f, Share>,
}

impl<'a, 'f> Inside<'a, 'f> {
    /// Below this root directory.
    pub(super) fn new(root: BorrowedFd<'a>, mounts: &'a Mounts, errands: &'a mut Errands<'f, Share>) -> Self {
        Self { root, mounts, errands }
    }

    /// A place, `O_PATH`, on what a path names, and its state. Errors as [`rooted::locate`].
    pub(super) fn find(&mut self, path: &[u8]) -> Field<(OwnedFd, FileStatus)> {
        let in_memory = rooted::find_in_memory(self.root, path).and_then(|place| {
            let status = spares_servers().then(|| file_status(place.as_fd(), c"").ok()).flatten();
            Ok((place, status.ok_or(Missing::Busy)?))
        });
        match in_memory {
            Err(Missing::Busy) => self.errands.find(self.root, path),
            other => other,
        }
    }

    /// The whole of a regular file of at most `limit` bytes. Errors as [`rooted::read`].
    pub(super) fn read(&mut self, path: &[u8], limit: usize) -> Field<Vec<u8>> {
        let (place, status) = self.find(path)?;
        if self.mounts.served(status.dev, mount_number(status)) == Served::No {
            bounded::read_place(place.as_fd(), limit)
        } else {
            self.errands.read(place.as_fd(), limit)
        }
    }
}

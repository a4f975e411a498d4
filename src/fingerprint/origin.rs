//! Where a file's bytes come from: the file itself, open here, or somebody who reads it for us.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};

/// What a write to a file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Neither a directory nor a device nor anything else that is not read like a file.
    pub is_regular: bool,
    /// Bytes.
    pub size: u64,
    /// Last modification and last status change: seconds since the epoch, and nanoseconds.
    pub times: [i64; 4],
}

/// A file that can be read.
pub trait Origin {
    /// Its state by now.
    ///
    /// # Errors
    /// The system's.
    fn state(&self) -> io::Result<State>;

    /// Reads some bytes into the buffer; none at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills the buffer as far as the file goes.
    ///
    /// # Errors
    /// The system's.
    fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(filled as u64) else { break };
            // What ends where no offset is any more lies beyond the end of any file, and pread(2) calls it an error.
            if at.checked_add(rest.len() as u64).is_none_or(|end| i64::try_from(end).is_err()) {
                break;
            }
            match self.read_some(rest, at) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Where the next bytes from an offset on are that are no hole; `None` where only holes follow.
    fn data(&self, from: u64) -> Option<Range<u64>> {
        Some(from..u64::MAX)
    }
}

/// One that is open for reading (not `O_PATH`); its position is moved.
impl Origin for File {
    fn state(&self) -> io::Result<State> {
        let of = self.metadata()?;
        let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
        Ok(State { is_regular: of.is_file(), size: of.len(), times })
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    /// By lseek(2), SEEK_DATA: all are data where the filesystem does not say.
    fn data(&self, from: u64) -> Option<Range<u64>> {
        let seek = |to: u64, whence| match i64::try_from(to) {
            Ok(to) => lseek(self, to, whence).map(i64::unsigned_abs),
            Err(_) => Err(Errno::EOVERFLOW),
        };
        match seek(from, Whence::SeekData) {
            Ok(start) => Some(start..seek(start, Whence::SeekHole).unwrap_or(u64::MAX)),
            Err(Errno::ENXIO) => None,
            Err(_) => Some(from..u64::MAX),
        }
    }
}

/// Bytes in memory: a file that never changes.
impl Origin for [u8] {
    fn state(&self) -> io::Result<State> {
        Ok(State { is_regular: true, size: self.len() as u64, times: [0; 4] })
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let both = buffer.iter_mut().zip(rest);
        Ok(both.map(|(to, from)| *to = *from).count())
    }
}

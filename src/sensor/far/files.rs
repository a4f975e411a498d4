//! Reads a far file for a worker that has a deadline: by a process that may hang in its place.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::errand::{BLOCK, FRAME, Order, Report};
use super::messenger::Messenger;
use crate::event::Monotonic;
use crate::host::clock;

/// One file must be read within this time.
const DEADLINE: Duration = Duration::from_secs(5);
/// Processes that wait for the next file: no more workers than this read files.
const IDLE: usize = 2;

/// Those that read.
#[derive(Debug, Default)]
pub struct FarFiles {
    idle: Mutex<Vec<Messenger>>,
}

/// An open file. Dropped while it was not read to its end, what was asked last may still be on its way.
#[derive(Debug)]
pub struct FarFile {
    messenger: Messenger,
    deadline: Monotonic,
    /// Bytes.
    pub size: u64,
}

impl FarFiles {
    /// Opens the file that this descriptor is on, be it open already or not.
    ///
    /// # Errors
    /// `TimedOut` where the server has not answered, else the system's.
    pub fn open(&self, file: &OwnedFd) -> io::Result<FarFile> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let messenger = idle.map_or_else(Messenger::start, Ok)?;
        let deadline = clock::now().plus(DEADLINE);
        messenger.send(&Order::Open, &[file.as_fd()])?;
        let mut buffer = [0; 256];
        let report = serde_json::from_slice(messenger.bytes(&mut buffer, deadline.since(clock::now()))?)?;
        match report {
            Report::Opened { size, error: 0 } => Ok(FarFile { messenger, deadline, size }),
            Report::Opened { error, .. } => {
                self.keep(messenger);
                Err(io::Error::from_raw_os_error(error))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// A file was read without a failure: who read it may read the next.
    pub fn close(&self, file: FarFile) {
        self.keep(file.messenger);
    }

    fn keep(&self, messenger: Messenger) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(messenger);
        }
    }
}

impl FarFile {
    /// Fills the buffer as far as the file goes.
    ///
    /// # Errors
    /// `TimedOut` where the server has not answered within the file's deadline, else the system's.
    pub fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        let mut frame = [0; FRAME];
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(filled as u64) else { break };
            self.messenger.send(&Order::Block { offset: at, length: rest.len().min(BLOCK) }, &[])?;
            let left = self.deadline.since(clock::now());
            let answer = self.messenger.bytes(&mut frame, left)?;
            let (error, bytes) = answer.split_first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
            match i32::from_ne_bytes(*error) {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
            let Some(room) = rest.get_mut(..bytes.len()).filter(|_| !bytes.is_empty()) else { break };
            room.copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(filled)
    }
}

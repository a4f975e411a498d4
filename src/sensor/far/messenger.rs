//! Sends a process of our own on errands and hears what it reports. It may never come back: then it is left to itself, and
//! another one goes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use super::errand::{ERRAND, FRAME, Order, Report};
use crate::host::clock;
use crate::sys::passing;

/// Processes that were ended and may not have come to their end: each is to be waited for, and none is waited on.
static ENDED: Mutex<Vec<Ended>> = Mutex::new(Vec::new());

/// The process, and the way to it. Dropped, it is ended; one that a server holds ends when that lets go of it.
#[derive(Debug)]
pub struct Messenger {
    socket: OwnedFd,
    child: Option<Child>,
}

impl Messenger {
    /// Starts the process.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> io::Result<Self> {
        bury(None);
        let (socket, theirs) = passing::pair()?;
        let quiet = Stdio::null;
        let mut command = Command::new("/proc/self/exe");
        // As people look for it.
        command.arg0("ccwatch").arg(ERRAND).stdin(Stdio::from(theirs)).stdout(quiet()).stderr(quiet());
        Ok(Self { socket, child: Some(command.spawn()?) })
    }

    /// To be polled for reports.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends it on an errand with these files.
    ///
    /// # Errors
    /// It has ended, or does not take orders.
    pub fn send(&self, order: &Order, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        passing::send(self.fd(), &[&serde_json::to_vec(order)?], files, false)
    }

    /// A report, and the files that came along; `None` where there is none yet.
    ///
    /// # Errors
    /// It has ended.
    pub fn report(&self) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
        let mut buffer = [0; FRAME];
        match passing::receive(self.fd(), &mut buffer, false) {
            Ok(([], _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((bytes, files)) => Ok(Some((serde_json::from_slice(bytes)?, files))),
            Err(e) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&e.kind()) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits for a message, at most for `timeout`: its bytes, and the files that came along.
    ///
    /// # Errors
    /// `TimedOut`, or it has ended.
    pub fn answer<'b>(&self, buffer: &'b mut [u8], timeout: Duration) -> io::Result<(&'b [u8], Vec<OwnedFd>)> {
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
        if poll(&mut fds, clock::poll_timeout(timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match passing::receive(self.fd(), buffer, false)? {
            ([], _) => Err(io::ErrorKind::UnexpectedEof.into()),
            answer => Ok(answer),
        }
    }

    /// Whether it can be sent.
    pub fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Ends it; a server may hold what remains.
    pub fn end(mut self) -> Option<Ended> {
        self.child.take().map(Ended::of)
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            bury(Some(Ended::of(child)));
        }
    }
}

/// A process that was ended: a server may hold it for longer.
#[derive(Debug)]
pub struct Ended(Child);

impl Ended {
    fn of(mut child: Child) -> Self {
        let _ = child.kill();
        Self(child)
    }

    /// Whether it has not come to its end.
    pub fn is_held(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// Takes note of those that have come to their end by now.
fn bury(last: Option<Ended>) {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    ended.extend(last);
    ended.retain_mut(Ended::is_held);
}

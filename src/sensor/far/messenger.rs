//! Sends a process of our own on errands and hears what it reports. It may never come back: then it is left to itself, and
//! another one goes.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::errand::{ERRAND, Order, REPORT, Report, WAITS};
use crate::event::Monotonic;
use crate::host::clock;
use crate::sys::passing;

/// All that have not come to their end, each by a number of ours: every one is to be waited for, and none is waited on.
static CHILDREN: Mutex<Vec<(u64, Child)>> = Mutex::new(Vec::new());

/// The process, and the way to it. Dropped, it is ended; one that a server holds ends when that lets go of it.
#[derive(Debug)]
pub struct Messenger {
    socket: OwnedFd,
    number: u64,
    /// When it was sent last.
    sent: Cell<Monotonic>,
}

impl Messenger {
    /// Starts the process.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> io::Result<Self> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let (socket, theirs) = passing::pair()?;
        let quiet = Stdio::null;
        let mut command = Command::new("/proc/self/exe");
        // As people look for it.
        command.arg0("ccwatch").arg(ERRAND).stdin(Stdio::from(theirs)).stdout(quiet()).stderr(quiet());
        let (child, number) = (command.spawn()?, STARTED.fetch_add(1, Ordering::Relaxed));
        children().push((number, child));
        Ok(Self { socket, number, sent: Cell::new(clock::now()) })
    }

    /// One that has waited, if it lives and does not end just now for having waited, else a new one.
    ///
    /// # Errors
    /// As [`Messenger::start`].
    pub fn or_start(waiting: Option<Self>) -> io::Result<Self> {
        waiting.filter(|messenger| messenger.stays() && is_there(messenger.number)).map_or_else(Self::start, Ok)
    }

    fn stays(&self) -> bool {
        clock::now().since(self.sent.get()) < WAITS / 2
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
        self.sent.set(clock::now());
        passing::send(self.fd(), &[&serde_json::to_vec(order)?], files, false)
    }

    /// A report, and the files that came along; `None` where there is none yet.
    ///
    /// # Errors
    /// It has ended.
    pub fn report(&self) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
        let mut buffer = [0; REPORT];
        match passing::receive(self.fd(), &mut buffer, false) {
            Ok(([], _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((bytes, files)) => Ok(Some((serde_json::from_slice(bytes)?, files))),
            Err(e) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&e.kind()) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits for a message, at most for `timeout`: how many bytes it has, as far as the parts have room for them one after the
    /// other, and the files that came along.
    ///
    /// # Errors
    /// `TimedOut`, or it has ended.
    pub fn answer(&self, parts: &mut [IoSliceMut<'_>], timeout: Duration) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, clock::poll_timeout(timeout)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        match passing::receive_parts(self.fd(), parts, false)? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            answer => Ok(answer),
        }
    }

    /// Ends it.
    pub fn end(self) -> Ended {
        Ended(self.number)
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        if let Some((_, child)) = children().iter_mut().find(|(number, _)| *number == self.number) {
            let _ = child.kill();
        }
    }
}

/// A process that was ended: a server may hold it for longer.
#[derive(Debug)]
pub struct Ended(u64);

impl Ended {
    /// Whether it has not come to its end.
    pub fn is_held(&self) -> bool {
        is_there(self.0)
    }
}

/// Takes note of those that have come to their end by now.
pub fn reap() {
    children().retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
}

fn is_there(number: u64) -> bool {
    reap();
    children().iter().any(|(other, _)| *other == number)
}

fn children() -> MutexGuard<'static, Vec<(u64, Child)>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_may_end_just_now_is_sent_nowhere() {
        let now = clock::now();
        let (socket, _theirs) = passing::pair().unwrap();
        let messenger = Messenger { socket, number: u64::MAX, sent: Cell::new(now) };
        assert!(messenger.stays());
        messenger.sent.set(now.minus(WAITS));
        assert!(!messenger.stays());
    }
}

//! Finds and reads files for a worker, where a server may have to answer for them: by a process that may hang in its place.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::errand::{BLOCK, Order, REPORT, Report};
use super::messenger::{Ended, Messenger};
use crate::event::{Field, Missing, Monotonic};
use crate::fingerprint::origin::{Origin, State};
use crate::host::worker::Share;
use crate::host::{bounded, clock};
use crate::sys::file::FileStatus;

/// A server must have let its file be found, read or closed within this time.
const DEADLINE: Duration = Duration::from_secs(5);
/// What may just lie on a slow disk must have been read within this time.
const SLOW: Duration = Duration::from_secs(30);
/// Processes that wait for the next job, a megabyte each.
const IDLE: usize = 2;
/// So many may be held by servers before nobody is sent any more: one for each share, a quarter of them for a group.
const HELD: usize = 32;
/// A path, with the NUL at its end, that the kernel takes (PATH_MAX in linux/limits.h).
const PATH: usize = 4096;

/// Those who go, for shares `K`.
#[derive(Debug)]
pub struct FarFiles<K> {
    idle: Mutex<Vec<Messenger>>,
    /// Whom a server holds, and for which share.
    held: Mutex<Vec<(K, Ended)>>,
}

/// What one job asks; a process goes for it when the first is asked.
#[derive(Debug)]
pub struct Errands<'f, K> {
    files: &'f FarFiles<K>,
    share: &'f K,
    sent: Option<Sent>,
}

/// Who goes.
#[derive(Debug)]
struct Sent {
    messenger: Messenger,
    deadline: Cell<Monotonic>,
    /// What he was asked last has no answer yet.
    is_late: Cell<bool>,
    /// He may have a file open.
    has_file: Cell<bool>,
}

/// A file that is open elsewhere.
#[derive(Debug)]
pub struct FarFile<'e> {
    sent: &'e Sent,
    opened: State,
    is_far: bool,
}

impl<K> Default for FarFiles<K> {
    fn default() -> Self {
        Self { idle: Mutex::default(), held: Mutex::default() }
    }
}

impl<K: Share> FarFiles<K> {
    /// For one job of a share.
    pub fn errands<'f>(&'f self, share: &'f K) -> Errands<'f, K> {
        Errands { files: self, share, sent: None }
    }

    /// Whether a server holds too many for somebody to go.
    fn is_held(&self, share: &K) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(_, ended)| ended.is_held());
        let of_group = held.iter().filter(|(other, _)| other.group() == share.group()).count();
        held.len() >= HELD || of_group >= HELD / 4 || held.iter().any(|(other, _)| other == share)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Messenger>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Share> Errands<'_, K> {
    /// A place, `O_PATH`, on what a path names inside a root directory, and its state.
    ///
    /// # Errors
    /// As [`crate::host::rooted::locate`]; [`Missing::Deadline`] where the server has not answered, [`Missing::Busy`] where
    /// it has not answered before.
    pub fn find(&mut self, root: BorrowedFd<'_>, path: &[u8]) -> Field<(OwnedFd, FileStatus)> {
        if path.len() >= PATH {
            return Err(Missing::Malformed);
        }
        let sent = self.sent(DEADLINE)?;
        let (Report::Found(status), mut files) = sent.ask(&Order::Find { path: path.to_vec() }, &[root])? else {
            return Err(Missing::Malformed);
        };
        let status = status?;
        Ok((files.pop().ok_or(Missing::Unreadable)?, status))
    }

    /// Opens the regular file that a descriptor is on, be it open already or not, or its parcel. One that is far is asked
    /// once for its state, and for no holes: its server says of them what it likes.
    ///
    /// # Errors
    /// As [`bounded::open_place`]; [`Missing::Deadline`] and [`Missing::Busy`] as [`Errands::find`].
    pub fn open(&mut self, file: BorrowedFd<'_>, is_far: bool) -> Field<FarFile<'_>> {
        let sent = self.sent(if is_far { DEADLINE } else { SLOW })?;
        sent.has_file.set(true);
        match sent.ask(&Order::Open, &[file])?.0 {
            Report::State(state) => Ok(FarFile { sent, opened: state?, is_far }),
            _ => Err(Missing::Malformed),
        }
    }

    /// Reads the whole of a regular file of at most `limit` bytes that an `O_PATH` descriptor points at.
    ///
    /// # Errors
    /// As [`Errands::open`] and [`bounded::read_fd`].
    pub fn read(&mut self, place: BorrowedFd<'_>, limit: usize) -> Field<Vec<u8>> {
        let file = self.open(place, true)?;
        // Its size is what its server says.
        bounded::read_by(limit, |part, offset| file.read_some(part, offset))
    }

    /// Whoever has brought all that he was asked for, and closed its file, may go for the next job. Any other is ended, and
    /// while a server holds him nobody else goes for this share.
    pub fn end(self) {
        let Some(sent) = self.sent else { return };
        if sent.has_file.get() {
            sent.allow(DEADLINE);
            let _ = sent.ask(&Order::Close, &[]);
        }
        if sent.is_late.get() {
            let mut held = self.files.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.push((self.share.clone(), sent.messenger.end()));
            return;
        }
        let mut idle = self.files.idle();
        if idle.len() < IDLE {
            idle.push(sent.messenger);
        }
    }

    fn sent(&mut self, patience: Duration) -> Field<&Sent> {
        if self.sent.is_none() {
            if self.files.is_held(self.share) {
                return Err(Missing::Busy);
            }
            let waiting = self.files.idle().pop();
            let messenger = Messenger::or_start(waiting).map_err(|e| Missing::from_os(&e))?;
            let deadline = Cell::new(clock::now());
            self.sent = Some(Sent { messenger, deadline, is_late: Cell::new(false), has_file: Cell::new(false) });
        }
        let sent = self.sent.as_ref().ok_or(Missing::Busy)?;
        sent.allow(patience);
        Ok(sent)
    }
}

impl Sent {
    /// What is asked from now on is to be answered within this time.
    fn allow(&self, patience: Duration) {
        self.deadline.set(clock::now().plus(patience));
    }

    fn ask(&self, order: &Order, files: &[BorrowedFd<'_>]) -> Field<(Report, Vec<OwnedFd>)> {
        let mut report = [0; REPORT];
        let answer = self.answer(order, files, &mut [IoSliceMut::new(&mut report)]);
        let (bytes, files) = answer.map_err(|e| Missing::from_os(&e))?;
        let report = report.get(..bytes).ok_or(Missing::Malformed)?;
        Ok((serde_json::from_slice(report).map_err(|_| Missing::Malformed)?, files))
    }

    fn answer(
        &self,
        order: &Order,
        files: &[BorrowedFd<'_>],
        parts: &mut [IoSliceMut<'_>],
    ) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.is_late.replace(true) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.messenger.send(order, files)?;
        let answer = self.messenger.answer(parts, self.deadline.get().since(clock::now()))?;
        self.is_late.set(false);
        Ok(answer)
    }
}

impl Origin for FarFile<'_> {
    fn state(&self) -> io::Result<State> {
        if self.is_far {
            return Ok(self.opened);
        }
        match self.sent.ask(&Order::State, &[]) {
            Ok((Report::State(Ok(state)), _)) => Ok(state),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut error = [0; 4];
        let order = Order::Block { offset, length: buffer.len().min(BLOCK) };
        let (bytes, _) = self.sent.answer(&order, &[], &mut [IoSliceMut::new(&mut error), IoSliceMut::new(buffer)])?;
        match i32::from_ne_bytes(error) {
            0 => bytes.checked_sub(error.len()).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn data(&self, from: u64) -> Option<Range<u64>> {
        let all = Some(from..u64::MAX);
        if self.is_far {
            return all;
        }
        match self.sent.ask(&Order::Data { from }, &[]) {
            Ok((Report::Data(data), _)) => data,
            _ => all,
        }
    }
}

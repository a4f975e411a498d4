//! The errands, as the process does them that is sent: one at a time, for as long as a server takes. It knows nothing and
//! judges nothing, and ends when nobody is left to report to.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::ExitCode;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::fanotify::MaskFlags;
use serde::{Deserialize, Serialize};

use crate::event::{Field, Missing};
use crate::fingerprint::origin::{Origin, State};
use crate::host::file::{file_status, link_to};
use crate::host::rooted::Resolver;
use crate::host::{bounded, clock, reach};
use crate::sys::file::FileStatus;
use crate::sys::{fanotify, passing};

/// The argument with which this program is executed to be sent on errands.
pub const ERRAND: &str = "errand";
/// Bytes of a file in one message.
pub const BLOCK: usize = 64 << 10;
/// Bytes of a message: before those of a file stands an error number.
const FRAME: usize = 4 + BLOCK;
/// Bytes of a report.
pub const REPORT: usize = 1024;
/// Whoever is not sent for so long is not needed.
pub const WAITS: Duration = Duration::from_secs(10);
/// Events of one errand.
const EVENTS: usize = 32;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Read some events of the group that comes along; [`Report::Event`] for each, and [`Report::Read`].
    Read,
    /// Go to a mount below the root directory that comes along; [`Report::Reached`].
    Reach {
        /// Its number in mountinfo.
        id: u64,
        /// `st_dev` of its files.
        dev: u64,
        /// Its place.
        point: Vec<u8>,
    },
    /// Mark the mount that was reached last, in the group that comes along; [`Report::Marked`].
    Mark,
    /// Find a path inside the root directory that comes along; [`Report::Found`].
    Find {
        /// As its processes have it.
        path: Vec<u8>,
    },
    /// Open the file that comes along, or whose parcel does; [`Report::State`].
    Open,
    /// The state of the file that was opened last; [`Report::State`].
    State,
    /// Close it; [`Report::Closed`].
    Close,
    /// Where data of that file begin, from this offset on; [`Report::Data`].
    Data {
        /// In bytes.
        from: u64,
    },
    /// Read a block of the file that was opened last: answered by an error number and bytes.
    Block {
        /// From where.
        offset: u64,
        /// At most so many bytes.
        length: usize,
    },
}

/// What became of it. Error numbers are the system's, 0 where there was none.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// An event; a place where its file is, `O_PATH`, and its parcel come along, if it could be opened.
    Event {
        /// As in [`fanotify::Event`].
        mask: u64,
        /// As in [`fanotify::Event`].
        pid: i32,
    },
    /// No event is left, or `more` may be.
    Read {
        /// Why the last one could not be read.
        error: i32,
        /// Whether to ask again.
        more: bool,
    },
    /// The mount is reached, by this number for its files.
    Reached {
        /// As statx(2) gives it, or mountinfo.
        number: u64,
        /// Why it is not.
        error: i32,
    },
    /// The mount is marked.
    Marked {
        /// Why it is not.
        error: i32,
    },
    /// What is there; a place on it, `O_PATH`, comes along.
    Found(Field<FileStatus>),
    /// The state of the regular file that is open.
    State(Field<State>),
    /// No file is open.
    Closed,
    /// The next bytes that are no hole.
    Data(Option<Range<u64>>),
}

/// What the process holds from one errand to the next.
#[derive(Default)]
struct Hands {
    /// The mount that was reached.
    place: Option<OwnedFd>,
    /// The file that was opened.
    file: Option<File>,
}

/// The process: does what it is told through its standard input.
pub fn run() -> ExitCode {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    let (mut hands, mut buffer) = (Hands::default(), vec![0; FRAME]);
    loop {
        let is_idle = hands.file.is_none() && hands.place.is_none();
        if is_idle && poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], clock::poll_timeout(WAITS)) == Ok(0) {
            return ExitCode::SUCCESS;
        }
        let done = match passing::receive(socket, &mut buffer, true) {
            Ok(([], _)) => return ExitCode::SUCCESS,
            Ok((bytes, files)) => match serde_json::from_slice(bytes) {
                Ok(order) => hands.run(socket, &order, files),
                Err(_) => return ExitCode::FAILURE,
            },
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        };
        if done.is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn report(socket: BorrowedFd<'_>, report: &Report, files: &[OwnedFd]) -> io::Result<()> {
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    passing::send(socket, &[&serde_json::to_vec(report)?], &files, true)
}

/// The system's number for what went wrong.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Hands {
    fn run(&mut self, socket: BorrowedFd<'_>, order: &Order, mut files: Vec<OwnedFd>) -> io::Result<()> {
        let file = files.pop();
        let brought = || file.as_ref().ok_or(io::ErrorKind::InvalidInput);
        match order {
            Order::Read => read(socket, brought()?.as_fd()),
            Order::Reach { id, dev, point } => {
                let found = reach::far(brought()?.as_fd(), *id, *dev, point);
                // Gone before it is marked, so that nothing of it is held but the mount itself.
                drop(file);
                let (told, place) = match found {
                    Ok((place, number)) => (Report::Reached { number, error: 0 }, Some(place)),
                    Err(e) => (Report::Reached { number: 0, error: e as i32 }, None),
                };
                self.place = place;
                report(socket, &told, &[])
            }
            Order::Mark => {
                let place = self.place.take().ok_or(io::ErrorKind::InvalidInput)?;
                let mask = MaskFlags::FAN_OPEN_EXEC.bits();
                let error =
                    fanotify::mark_mount(brought()?.as_fd(), mask, place.as_fd()).map_or_else(|e| number(&e), |()| 0);
                drop(place);
                report(socket, &Report::Marked { error }, &[])
            }
            Order::Find { path } => {
                let found = Resolver::best().locate(brought()?.as_fd(), path).and_then(|place| {
                    let status = file_status(place.as_fd(), c"").map_err(|e| Missing::from_os(&e))?;
                    Ok((place, status))
                });
                drop(file);
                match found {
                    Ok((place, status)) => report(socket, &Report::Found(Ok(status)), &[place]),
                    Err(why) => report(socket, &Report::Found(Err(why)), &[]),
                }
            }
            Order::Open => {
                let opened = open(file.ok_or(io::ErrorKind::InvalidInput)?);
                let state = opened.as_ref().map_err(|why| *why).and_then(state);
                self.file = opened.ok();
                report(socket, &Report::State(state), &[])
            }
            Order::State => {
                let state = self.file.as_ref().ok_or(Missing::Gone).and_then(state);
                report(socket, &Report::State(state), &[])
            }
            Order::Close => {
                self.file = None;
                report(socket, &Report::Closed, &[])
            }
            Order::Data { from } => {
                report(socket, &Report::Data(self.file.as_ref().and_then(|file| file.data(*from))), &[])
            }
            Order::Block { offset, length } => {
                let mut block = vec![0; (*length).min(BLOCK)];
                let read = self.file.as_ref().map_or(Ok(0), |file| file.read_at(&mut block, *offset));
                let (size, error) = read.map_or_else(|e| (0, number(&e)), |size| (size, 0));
                let bytes = block.get(..size).unwrap_or_default();
                passing::send(socket, &[&error.to_ne_bytes(), bytes], &[], true)
            }
        }
    }
}

/// One event a read, so that nobody's event waits for another's server.
fn read(socket: BorrowedFd<'_>, group: BorrowedFd<'_>) -> io::Result<()> {
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        if let Err(e) = fanotify::read::<1>(group, &mut events) {
            return report(socket, &Report::Read { error: number(&e), more: true }, &[]);
        }
        let Some(event) = events.pop() else {
            return report(socket, &Report::Read { error: 0, more: false }, &[]);
        };
        let files = event.file.as_ref().and_then(|file| hand_over(file).ok());
        report(socket, &Report::Event { mask: event.mask, pid: event.pid }, files.as_ref().map_or(&[], |f| &f[..]))?;
        // Its server may answer nobody who closes it: by now all is told.
        drop(event);
    }
    report(socket, &Report::Read { error: 0, more: true }, &[])
}

/// What can be had of an open file without having it open.
fn hand_over(file: &OwnedFd) -> io::Result<[OwnedFd; 2]> {
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(link_to(file))?;
    Ok([place.into(), passing::parcel(file.as_fd())?])
}

/// The regular file, open for reading. What an event brought is open already.
fn open(file: OwnedFd) -> Field<File> {
    let file = passing::unpack(file.as_fd()).unwrap_or(file);
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|e| Missing::from_os(&e.into()))?;
    let is_open = !OFlag::from_bits_retain(flags).contains(OFlag::O_PATH);
    if is_open { Ok(File::from(file)) } else { bounded::open_place(file.as_fd()).map(|(file, _)| file) }
}

fn state(file: &File) -> Field<State> {
    file.state().map_err(|e| Missing::from_os(&e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Does one errand, and takes what is reported.
    fn send(hands: &mut Hands, order: &Order, file: Option<OwnedFd>) -> Vec<u8> {
        let (here, there) = passing::pair().unwrap();
        hands.run(there.as_fd(), order, file.into_iter().collect()).unwrap();
        let mut buffer = vec![0; FRAME];
        passing::receive(here.as_fd(), &mut buffer, false).unwrap().0.to_vec()
    }

    fn report(bytes: &[u8]) -> Report {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_file_is_read_in_blocks_whether_it_is_open_or_not() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, [b"x".repeat(BLOCK), b"end".to_vec()].concat()).unwrap();
        let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
        for file in [File::open(&path).unwrap(), place] {
            let mut hands = Hands::default();
            let opened = report(&send(&mut hands, &Order::Open, Some(file.into())));
            assert!(matches!(opened, Report::State(Ok(state)) if state.size == BLOCK as u64 + 3), "{opened:?}");
            assert_eq!(report(&send(&mut hands, &Order::State, None)), opened);
            let data = report(&send(&mut hands, &Order::Data { from: 7 }, None));
            assert!(matches!(&data, Report::Data(Some(data)) if data.start == 7), "{data:?}");
            let mut block = |offset, length| send(&mut hands, &Order::Block { offset, length }, None);
            assert_eq!(block(0, usize::MAX).len(), FRAME);
            assert_eq!(block(BLOCK as u64, 100), b"\0\0\0\0end");
            assert_eq!(block(BLOCK as u64 + 3, 100), [0; 4], "its end");
            assert_eq!(report(&send(&mut hands, &Order::Close, None)), Report::Closed);
            assert!(hands.file.is_none(), "nobody is left with another's");
        }
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/").unwrap();
        let opened = report(&send(&mut Hands::default(), &Order::Open, Some(directory.into())));
        assert_eq!(opened, Report::State(Err(Missing::Malformed)));
    }

    #[test]
    fn a_path_is_found_inside_a_root_directory() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), b"content").unwrap();
        std::os::unix::fs::symlink("/../file", root.path().join("link")).unwrap();
        let find = |path: &[u8]| {
            let (here, there) = passing::pair().unwrap();
            let root = File::open(root.path()).unwrap().into();
            Hands::default().run(there.as_fd(), &Order::Find { path: path.to_vec() }, vec![root]).unwrap();
            let mut buffer = vec![0; FRAME];
            let (bytes, files) = passing::receive(here.as_fd(), &mut buffer, false).unwrap();
            (report(bytes), files)
        };
        let (found, files) = find(b"link");
        assert!(matches!(found, Report::Found(Ok(status)) if status.is_regular && status.size == 7), "{found:?}");
        let status = file_status(files.first().unwrap().as_fd(), c"").unwrap();
        assert!(matches!(found, Report::Found(Ok(found)) if found.ino == status.ino));
        assert_eq!(find(b"nothing").0, Report::Found(Err(Missing::Absent)));
    }

    #[test]
    fn a_mount_is_reached_by_its_number() {
        let root = || OwnedFd::from(File::open("/").unwrap());
        let all = crate::host::mountinfo::parse(&std::fs::read("/proc/self/mountinfo").unwrap());
        let proc = all.iter().rfind(|mount| mount.point == b"/proc").unwrap();
        let reach = |id| Order::Reach { id, dev: proc.dev, point: proc.point.clone() };
        let mut hands = Hands::default();
        let reached = report(&send(&mut hands, &reach(proc.id), Some(root())));
        assert!(matches!(reached, Report::Reached { error: 0, .. }) && hands.place.is_some(), "{reached:?}");
        let other = report(&send(&mut hands, &reach(proc.id + 100_000), Some(root())));
        assert!(matches!(other, Report::Reached { error: libc::ESTALE, .. }) && hands.place.is_none(), "{other:?}");
        // What was reached is not there any more.
        let (here, there) = passing::pair().unwrap();
        assert!(hands.run(there.as_fd(), &Order::Mark, vec![root()]).is_err());
        drop(here);
    }
}

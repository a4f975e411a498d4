//! Reads one process from /proc, as bytes and through one descriptor on its directory, so that all of it is about
//! the same process. What may hang (cmdline and whatever else lies in the process' memory) is in [`memory`], and for workers
//! only.

pub mod memory;

use std::ffi::CStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::event::{Field, FileId, Missing, Namespace, Pid, RootId, Stat};
use crate::host::DELETED;
use crate::host::file::{file_id, file_status};
use crate::host::stat::{Status, parse_stat, parse_status};

/// Larger than any stat, status, cgroup or uid_map that a sane system shows.
const SMALL_FILE: usize = 64 << 10;
/// What the kernel renders of a file of /proc at once.
const PAGE: usize = 4096;
/// A read ends before the file does only where the next line has no room (seq_read_iter in fs/seq_file.c), and none is
/// longer than this.
const LINE: usize = 1024;
/// Longer than any name below /proc that is asked for.
pub(super) const NAME: usize = 24;

/// A mounted procfs, or a tree that looks like one.
#[derive(Debug)]
pub struct Proc {
    pub(super) root: OwnedFd,
}

/// One process' directory below a [`Proc`].
#[derive(Debug, Clone)]
pub struct ProcessDir(pub Arc<OwnedFd>);

fn path_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_CLOEXEC
}

pub(super) fn os(error: nix::Error) -> Missing {
    Missing::from_os(&io::Error::from(error))
}

impl Proc {
    /// Opens the tree at `root`, normally `/proc`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(root: &Path) -> Result<Self> {
        let flags = path_flags() | OFlag::O_DIRECTORY;
        let root_fd = nix::fcntl::open(root, flags, Mode::empty()).map_err(|e| Error::file("open", root, e))?;
        Ok(Self { root: root_fd })
    }

    /// Opens one process.
    ///
    /// # Errors
    /// `Gone` where there is none.
    pub fn process(&self, pid: Pid) -> Field<ProcessDir> {
        let mut buffer = [0u8; 12];
        let name = decimal(pid.0, &mut buffer);
        let flags = path_flags() | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        openat(&self.root, name, flags, Mode::empty()).map(|fd| ProcessDir(Arc::new(fd))).map_err(os)
    }

    /// Whether this is a process, and not one thread of several, which has a directory too though it is not listed.
    pub fn is_listed(&self, pid: Pid) -> bool {
        let status = self.process(pid).and_then(|dir| dir.small_file(c"status"));
        let group = format!("Tgid:\t{}", pid.0);
        status.is_ok_and(|status| status.split(|b| *b == b'\n').any(|line| line == group.as_bytes()))
    }

    /// Every process there is, in one walk over the directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pids(&self) -> Field<Vec<Pid>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::dir::Dir::openat(&self.root, c".", flags, Mode::empty()).map_err(os)?;
        let number = |name: &CStr| std::str::from_utf8(name.to_bytes()).ok()?.parse().ok().map(Pid);
        Ok(dir.into_iter().filter_map(|entry| number(entry.ok()?.file_name())).collect())
    }

    /// The pid that was given away last, in our own pid namespace (proc(5), /proc/loadavg).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn newest_pid(&self) -> Field<Pid> {
        let file = openat(&self.root, c"loadavg", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(os)?;
        let mut text = [0; 128];
        let got = nix::unistd::read(&file, &mut text).map_err(os)?;
        let last = text.get(..got).and_then(|text| text.trim_ascii().rsplit(|b| *b == b' ').next());
        let number = last.and_then(|last| std::str::from_utf8(last).ok()?.parse().ok());
        number.map(Pid).ok_or(Missing::Malformed)
    }

    /// Whether this very process still lives: same start time, and neither zombie nor dead.
    pub fn lives(&self, process: crate::event::ProcessId) -> bool {
        let stat = self.process(process.pid).and_then(|dir| dir.stat());
        stat.is_ok_and(|s| s.start == process.start && !s.is_dead())
    }

    /// The mount namespace of a process.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn mount_namespace(&self, pid: Pid) -> Field<Namespace> {
        let link = readlinkat(&self.root, below(pid, b"/ns/mnt", &mut [0; NAME])?).map_err(os)?;
        namespace_number(&link.into_vec())
    }
}

/// The name of a process' file: its number and `file`.
pub(super) fn below<'b>(pid: Pid, file: &[u8], buffer: &'b mut [u8; NAME]) -> Field<&'b CStr> {
    let mut digits = [0; 12];
    let digits = decimal(pid.0, &mut digits);
    let name = digits.iter().chain(file);
    buffer.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    CStr::from_bytes_until_nul(buffer).map_err(|_| Missing::Malformed)
}

/// Writes `number` in decimal without allocating: the hot path opens a directory for every exec.
fn decimal(number: i32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = buffer.len();
    for (i, digit) in buffer.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start = i;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or(&[])
}

/// The number in the text of a namespace's link, `mnt:[4026531832]` (namespaces(7)).
///
/// # Errors
/// `Malformed`.
pub fn namespace_number(text: &[u8]) -> Field<Namespace> {
    let inside = text.split(|b| *b == b'[').nth(1).and_then(|t| t.strip_suffix(b"]"));
    let number = inside.and_then(|t| std::str::from_utf8(t).ok()).and_then(|t| t.parse().ok());
    number.map(Namespace).ok_or(Missing::Malformed)
}

impl ProcessDir {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn open_file(&self, name: &CStr) -> Field<std::fs::File> {
        openat(self.as_fd(), name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(Into::into).map_err(os)
    }

    /// One of the small files, whole: most by one read.
    ///
    /// # Errors
    /// `TooLarge` beyond 64 KiB.
    pub fn small_file(&self, name: &CStr) -> Field<Vec<u8>> {
        let mut file = self.open_file(name)?;
        let mut first = [0; PAGE];
        let got = file.read(&mut first).map_err(|e| Missing::from_os(&e))?;
        let mut bytes = first.get(..got).unwrap_or(&[]).to_vec();
        if got + LINE < PAGE {
            return Ok(bytes);
        }
        let limit = (SMALL_FILE + 1 - got) as u64;
        file.take(limit).read_to_end(&mut bytes).map_err(|e| Missing::from_os(&e))?;
        if bytes.len() > SMALL_FILE { Err(Missing::TooLarge) } else { Ok(bytes) }
    }

    fn link(&self, name: &CStr) -> Field<Vec<u8>> {
        readlinkat(self.as_fd(), name).map(OsStringExt::into_vec).map_err(os)
    }

    /// /proc/PID/stat.
    ///
    /// # Errors
    /// `Gone`, or `Malformed`.
    pub fn stat(&self) -> Field<Stat> {
        parse_stat(&self.small_file(c"stat")?)
    }

    /// /proc/PID/status.
    ///
    /// # Errors
    /// `Gone`, or `Malformed`.
    pub fn status(&self) -> Field<Status> {
        parse_status(&self.small_file(c"status")?)
    }

    /// The link's text without ` (deleted)`, and whether it was there.
    ///
    /// # Errors
    /// `Gone` also for a zombie.
    pub fn exe_link(&self) -> Field<(Vec<u8>, bool)> {
        let mut path = self.link(c"exe")?;
        let deleted = path.ends_with(DELETED);
        if deleted {
            path.truncate(path.len() - DELETED.len());
        }
        Ok((path, deleted))
    }

    /// The executed file's identity.
    ///
    /// # Errors
    /// `Gone` also for a zombie.
    pub fn exe_id(&self) -> Field<FileId> {
        file_status(self.as_fd(), c"exe").map(file_id).map_err(|e| Missing::from_os(&e))
    }

    /// An `O_PATH` descriptor on the executed file: the link leads to the inode, no name is looked up.
    ///
    /// # Errors
    /// `Gone` also for a zombie.
    pub fn exe_file(&self) -> Field<Arc<OwnedFd>> {
        openat(self.as_fd(), c"exe", path_flags(), Mode::empty()).map(Arc::new).map_err(os)
    }

    /// An `O_PATH` descriptor on the process' root directory.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn root_dir(&self) -> Field<OwnedFd> {
        openat(self.as_fd(), c"root", path_flags() | OFlag::O_DIRECTORY, Mode::empty()).map_err(os)
    }

    /// The root directory's identity.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn root(&self) -> Field<RootId> {
        let status = file_status(self.as_fd(), c"root").map_err(|e| Missing::from_os(&e))?;
        Ok(RootId { dev: status.dev, ino: status.ino })
    }

    /// The table of the mounts that it sees. As long as that is open its mount namespace lives, and every mount in it.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn mount_table(&self) -> Field<std::fs::File> {
        self.open_file(c"mountinfo")
    }

    /// A namespace's number: `ns/mnt`, `ns/pid`.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn namespace(&self, name: &CStr) -> Field<Namespace> {
        namespace_number(&self.link(name)?)
    }

    /// The working directory as the process' root shows it. For workers.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn cwd(&self) -> Field<Vec<u8>> {
        self.link(c"cwd")
    }
}

#[cfg(test)]
mod tests;

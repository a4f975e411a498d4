//! The one way to read a whole small file that somebody else wrote: never more than a limit, never from anything but a
//! regular file, never waiting for a writer. Where the file lies, and what its bytes mean, is the caller's affair.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::uio::pread;

use crate::event::{Field, Missing};
use crate::host::file::reopen;

/// The least that one pread asks for; files of /proc state no size.
const CHUNK: usize = 4096;

/// Reads the whole of a regular file of at most `limit` bytes; `dir` is where a relative `path` starts, `None` for the
/// working directory. The last component is not followed where it is a link; see [`crate::host::rooted`] for the others.
///
/// # Errors
/// [`Missing::Absent`] where there is no such file, [`Missing::Malformed`] for anything but a regular file,
/// [`Missing::TooLarge`] above the limit, else what the operating system says.
pub fn read(dir: Option<BorrowedFd<'_>>, path: &Path, limit: usize) -> Field<Vec<u8>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let place = openat(dir.unwrap_or(AT_FDCWD), path, flags, Mode::empty()).map_err(missing)?;
    read_place(place.as_fd(), limit)
}

/// Reads the whole of a regular file that an `O_PATH` descriptor points at. Errors as [`read`].
pub fn read_place(place: BorrowedFd<'_>, limit: usize) -> Field<Vec<u8>> {
    let (file, size) = open_place(place)?;
    if usize::try_from(size).map_or(true, |size| size > limit) {
        return Err(Missing::TooLarge);
    }
    read_fd(file.as_fd(), limit)
}

/// Opens for reading the regular file that an `O_PATH` descriptor points at, and gives its size in bytes.
///
/// The descriptor is looked at before anything is opened: opening a device already acts (a watchdog starts to count, a
/// tape rewinds), and a container may put a device node where a file is expected.
pub fn open_place(place: BorrowedFd<'_>) -> Field<(File, u64)> {
    let stat = fstat(place).map_err(missing)?;
    if !is_regular(&stat) {
        return Err(Missing::Malformed);
    }
    let file = reopen(&place).map_err(|e| missing_of(&e))?;
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

/// Reads an open file from its beginning, whatever size it states (files of /proc state 0), wherever its position is.
///
/// # Errors
/// [`Missing::TooLarge`] when there are more than `limit` bytes, of which at most one is read.
pub fn read_fd(file: BorrowedFd<'_>, limit: usize) -> Field<Vec<u8>> {
    read_by(limit, |part, offset| {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(pread(file, part, offset)?)
    })
}

/// The same by whoever fills a part of what is read from an offset on; 0 bytes are the end.
pub fn read_by(limit: usize, mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> Field<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut filled = 0;
    loop {
        // One byte more than allowed tells a file of that size from a larger one.
        let want = limit.saturating_add(1).saturating_sub(filled).min(CHUNK.max(filled));
        if want == 0 {
            return Err(Missing::TooLarge);
        }
        bytes.resize(filled + want, 0);
        let Some(free) = bytes.get_mut(filled..) else { return Err(Missing::Unreadable) };
        match read(free, filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(missing_of(&e)),
        }
    }
    bytes.truncate(filled);
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Classifies an error met on a path: what is not there is `Absent`, where a vanished process is `Gone`.
pub(crate) fn missing(errno: Errno) -> Missing {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => Missing::Absent,
        Errno::EINVAL | Errno::ELOOP | Errno::ENAMETOOLONG => Missing::Malformed,
        other => Missing::from_os(&other.into()),
    }
}

fn missing_of(error: &io::Error) -> Missing {
    error.raw_os_error().map_or_else(|| Missing::from_os(error), |number| missing(Errno::from_raw(number)))
}

fn is_regular(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFREG
}

/// The file's type alone, without its mode bits.
pub(crate) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::unix::net::UnixListener;

    use nix::unistd::mkfifo;

    #[test]
    fn reads_up_to_the_limit_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        for (size, limit, fits) in
            [(0, 0, true), (0, 10, true), (1, 0, false), (10, 10, true), (11, 10, false), (9000, 9000, true)]
        {
            let path = dir.path().join("f");
            std::fs::write(&path, vec![7; size]).unwrap();
            let expected = if fits { Ok(vec![7; size]) } else { Err(Missing::TooLarge) };
            assert_eq!(read(None, &path, limit), expected, "{size} bytes, limit {limit}");
            let file = File::open(&path).unwrap();
            assert_eq!(read_fd(file.as_fd(), limit), expected, "{size} bytes through a descriptor, limit {limit}");
        }
    }

    #[test]
    fn a_sparse_gibibyte_is_refused_by_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(read(None, &path, 1 << 20), Err(Missing::TooLarge));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR).unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        for path in [&fifo, &socket, &link, dir.path(), Path::new("/dev/zero")] as [&Path; 5] {
            assert_eq!(read(None, path, 100), Err(Missing::Malformed), "{}", path.display());
        }
        assert_eq!(read(None, &dir.path().join("none"), 100), Err(Missing::Absent));
        assert_eq!(read(None, Path::new("/dev/zero/x"), 100), Err(Missing::Absent));
    }

    #[test]
    fn a_relative_path_starts_at_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"here").unwrap();
        let at = File::open(dir.path()).unwrap();
        assert_eq!(read(Some(at.as_fd()), Path::new("f"), 100), Ok(b"here".to_vec()));
    }

    #[test]
    fn proc_files_are_read_though_they_state_no_size() {
        let bytes = read(None, Path::new("/proc/self/status"), 1 << 16).unwrap();
        assert!(bytes.starts_with(b"Name:"));
        assert_eq!(read(None, Path::new("/proc/self/status"), 100), Err(Missing::TooLarge));
    }

    #[test]
    fn the_position_of_a_descriptor_does_not_matter() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(read_fd(file.as_fd(), 100), Ok(b"abc".to_vec()));
    }

    #[test]
    fn a_file_replaced_after_the_look_is_still_the_one_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"first").unwrap();
        let place = openat(AT_FDCWD, &path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        std::fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRUSR).unwrap();
        assert_eq!(read_place(place.as_fd(), 100), Ok(b"first".to_vec()));
    }
}

//! The one way to read a whole small file that somebody else may have made: never more than a limit, never from what
//! is no regular file, never waiting for one.

use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::event::{Field, Missing};

/// How every foreign file is opened: a FIFO does not block, a link at the end is not followed, no terminal is taken.
pub fn open_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY
}

/// Opens with `open`, without touching the access time where the kernel lets us (EPERM: not the owner's file).
///
/// # Errors
/// The second attempt's.
pub fn without_atime<T>(flags: OFlag, open: impl Fn(OFlag) -> nix::Result<T>) -> nix::Result<T> {
    open(flags | OFlag::O_NOATIME).or_else(|_| open(flags))
}

/// The bytes of the regular file at `path`, below `dir` where one is given.
///
/// # Errors
/// `Malformed` for what is no regular file or a link; `TooLarge` above `limit` bytes, without reading them.
pub fn read(dir: Option<BorrowedFd<'_>>, path: &Path, limit: usize) -> Field<Vec<u8>> {
    let opened = without_atime(open_flags(), |flags| match dir {
        Some(dir) => openat(dir, path, flags, Mode::empty()),
        None => open(path, flags, Mode::empty()),
    });
    match opened {
        Ok(fd) => read_fd(fd, limit),
        // ELOOP: a symbolic link; ENXIO: a socket or a device without a driver.
        Err(nix::Error::ELOOP | nix::Error::ENXIO) => Err(Missing::Malformed),
        Err(e) => Err(Missing::from_os(&e.into())),
    }
}

/// The bytes of what is already open.
///
/// # Errors
/// As [`read`].
pub fn read_fd(fd: OwnedFd, limit: usize) -> Field<Vec<u8>> {
    let status = fstat(&fd).map_err(|e| Missing::from_os(&e.into()))?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Missing::Malformed);
    }
    if usize::try_from(status.st_size).map_or(true, |size| size > limit) {
        return Err(Missing::TooLarge);
    }
    let mut bytes = Vec::new();
    // It may have grown since, and files of /proc say that they are empty.
    File::from(fd).take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| Missing::from_os(&e))?;
    if bytes.len() > limit { Err(Missing::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_regular_files_within_the_limit() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        std::fs::write(at("ok"), b"12345").unwrap();
        std::os::unix::fs::symlink(at("ok"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        File::create(at("sparse")).unwrap().set_len(1 << 30).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(read(None, &at("ok"), 5), Ok(b"12345".to_vec()));
        assert_eq!(read(None, &at("ok"), 4), Err(Missing::TooLarge));
        assert_eq!(read(None, &at("sparse"), 1 << 20), Err(Missing::TooLarge));
        for odd in ["link", "fifo", "socket", "."] {
            assert_eq!(read(None, &at(odd), 100), Err(Missing::Malformed), "{odd}");
        }
        assert_eq!(read(None, &at("none"), 100), Err(Missing::Gone));
        let dir = File::open(tree.path()).unwrap();
        assert_eq!(read(Some(dir.as_fd()), Path::new("ok"), 5), Ok(b"12345".to_vec()));
    }

    #[test]
    fn files_of_proc_say_that_they_are_empty() {
        assert!(read(None, Path::new("/proc/self/stat"), 4096).unwrap().len() > 20);
        assert_eq!(read(None, Path::new("/proc/self/stat"), 10), Err(Missing::TooLarge));
    }
}

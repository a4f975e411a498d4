//! File state without asking a file server: statx(2), which glibc 2.17 does not have.

use std::ffi::CStr;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use serde::{Deserialize, Serialize};

/// What statx(2) or fstatat(2) told of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Device, as makedev(3) packs it.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// The mount through which it was reached, where statx(2) tells (5.8): a number that is never used again from Linux
    /// 6.8 on, before that the one that mountinfo shows.
    pub mount: Option<u64>,
    /// Neither a directory nor a device nor anything else that is not read like a file.
    pub is_regular: bool,
    /// Names that lead to it; 0 where it was deleted.
    pub nlink: u64,
    /// Bytes.
    pub size: u64,
    /// Last modification, nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Last status change, nanoseconds since the epoch.
    pub ctime_ns: i128,
}

/// STATX_MNT_ID and STATX_MNT_ID_UNIQUE of linux/stat.h: where both are asked for the kernel answers the better one that
/// it has.
const MOUNT: u32 = 0x1000 | 0x4000;

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// The state of `path` below `dir`, following links, from the kernel's cache where the file lies on a network or
/// FUSE filesystem whose server may hang.
///
/// # Errors
/// `ENOSYS` before Linux 4.11: see [`status`].
pub fn status_cached(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<FileStatus> {
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    // SAFETY: struct statx is plain data, for which zero is a valid value.
    let mut buffer: libc::statx = unsafe { zeroed() };
    let mask = libc::STATX_BASIC_STATS | MOUNT;
    // SAFETY: `path` is NUL-terminated, `buffer` is a whole struct statx; both live through the call.
    let done = unsafe { libc::syscall(libc::SYS_statx, dir.as_raw_fd(), path.as_ptr(), flags, mask, &raw mut buffer) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(FileStatus {
        dev: libc::makedev(buffer.stx_dev_major, buffer.stx_dev_minor),
        ino: buffer.stx_ino,
        mount: (buffer.stx_mask & MOUNT != 0).then_some(buffer.stx_mnt_id),
        is_regular: u32::from(buffer.stx_mode) & libc::S_IFMT == libc::S_IFREG,
        nlink: u64::from(buffer.stx_nlink),
        size: buffer.stx_size,
        mtime_ns: nanoseconds(buffer.stx_mtime.tv_sec, i64::from(buffer.stx_mtime.tv_nsec)),
        ctime_ns: nanoseconds(buffer.stx_ctime.tv_sec, i64::from(buffer.stx_ctime.tv_nsec)),
    })
}

/// The same by fstatat(2), for kernels without statx. Those let nobody mount FUSE in a user namespace (Linux 4.18),
/// so that no container without privileges can hold the call.
///
/// # Errors
/// The kernel's.
pub fn status(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<FileStatus> {
    let flags = nix::fcntl::AtFlags::AT_NO_AUTOMOUNT | nix::fcntl::AtFlags::AT_EMPTY_PATH;
    let got = nix::sys::stat::fstatat(dir, path, flags)?;
    Ok(FileStatus {
        dev: got.st_dev,
        ino: got.st_ino,
        mount: None,
        is_regular: got.st_mode & libc::S_IFMT == libc::S_IFREG,
        nlink: got.st_nlink as u64,
        size: got.st_size.unsigned_abs(),
        mtime_ns: nanoseconds(got.st_mtime, got.st_mtime_nsec),
        ctime_ns: nanoseconds(got.st_ctime, got.st_ctime_nsec),
    })
}

/// The number of an open file's mount as mountinfo has it, by name_to_handle_at(2), which tells it with the handle that
/// nobody wants here. `None` where the filesystem gives no handles.
pub fn mount_by_handle(file: BorrowedFd<'_>) -> Option<u64> {
    let mut handle = libc::file_handle { handle_bytes: 0, handle_type: 0, f_handle: [] };
    let mut mount: libc::c_int = -1;
    let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: `path` is NUL-terminated, the header of `handle` says that nothing follows it, `mount` is an int; all live
    // through the call.
    let done = unsafe {
        libc::syscall(libc::SYS_name_to_handle_at, file.as_raw_fd(), path, &raw mut handle, &raw mut mount, flags)
    };
    let is_told = done == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EOVERFLOW);
    u64::try_from(mount).ok().filter(|_| is_told)
}

/// Whether nobody can write to a file: neither through a descriptor nor through a shared mapping, which outlives its
/// descriptor. A lease is asked for, which the kernel grants under that condition alone, and given back at once (fcntl(2),
/// `F_SETLEASE`). False where it may not be asked for: another's file without CAP_LEASE.
pub fn has_no_writer(file: BorrowedFd<'_>) -> bool {
    let lease = |kind: libc::c_int| {
        // SAFETY: the call takes three integers.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) == 0 }
    };
    static IGNORED: std::sync::Once = std::sync::Once::new();
    // Whoever opens the file for writing between the two calls has SIGIO sent to us, which would end us.
    IGNORED.call_once(|| {
        // SAFETY: nobody here waits for SIGIO, and ignoring a signal runs no code of ours.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    });
    let granted = lease(libc::F_RDLCK);
    if granted {
        lease(libc::F_UNLCK);
    }
    granted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_mapping_is_a_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let reader = || std::fs::File::open(file.path()).unwrap();
        let temporary = file.path();
        let writer = std::fs::OpenOptions::new().write(true).open(temporary).unwrap();
        assert!(!has_no_writer(reader().as_fd()));
        drop(writer);
        let (_, path) = file.into_parts();
        assert!(has_no_writer(std::fs::File::open(&path).unwrap().as_fd()));
    }

    #[test]
    fn both_ways_tell_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"12345").unwrap();
        let fd = file.as_file().as_fd();
        let (new, old) = (status_cached(fd, c"").unwrap(), status(fd, c"").unwrap());
        assert_eq!(format!("{:?}", FileStatus { mount: None, ..new }), format!("{old:?}"));
        let directory = std::fs::File::open(file.path().parent().unwrap()).unwrap();
        assert_eq!(new.mount, status_cached(directory.as_fd(), c"").unwrap().mount, "of one mount");
        assert_eq!(new.size, 5);
    }
}

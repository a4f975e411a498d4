//! What a file is, and through which mount it was reached: the state that tells one content from another, asked so that
//! no file server has to answer where the kernel can do without.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::event::{FileId, MountNumber};
use crate::sys::file::{self, FileStatus};

static HAS_STATX: AtomicBool = AtomicBool::new(true);

/// Whether [`file_status`] can do without a file server, as far as is known.
pub fn has_statx() -> bool {
    HAS_STATX.load(Ordering::Relaxed)
}

/// The state of `path` below `dir` without waiting for a file server, where the kernel can.
///
/// # Errors
/// The kernel's.
pub fn file_status(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<FileStatus> {
    if has_statx() {
        match file::status_cached(dir, path) {
            // ENOSYS: older than 4.11; EPERM: a seccomp filter that does not know the call.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                HAS_STATX.store(false, Ordering::Relaxed);
            }
            other => return other,
        }
    }
    file::status(dir, path)
}

/// Two clock ticks at the slowest clock: a later change within one of them does not show in the times of a file.
pub const SETTLED: Duration = Duration::from_millis(20);

/// How long a file has lain unchanged; zero where its ctime lies ahead.
pub fn age(id: FileId, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let age = u128::try_from(now.cast_signed() - id.ctime_ns).unwrap_or(0);
    Duration::from_nanos(age.try_into().unwrap_or(u64::MAX))
}

/// The part of a file's state that tells one content from another.
pub fn file_id(s: FileStatus) -> FileId {
    FileId { dev: s.dev, ino: s.ino, size: s.size, mtime_ns: s.mtime_ns, ctime_ns: s.ctime_ns }
}

/// The mount through which a file was reached, where the kernel says that with its state.
pub fn mount_number(s: FileStatus) -> Option<MountNumber> {
    s.mount.map(MountNumber)
}

/// The number of an open file's mount as mountinfo has it, from /proc/self/fdinfo; `None` before 3.15.
pub fn mount_of_descriptor(file: BorrowedFd<'_>) -> Option<u64> {
    let text = std::fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    mountinfo_number(&text)
}

/// In the text of /proc/self/fdinfo/N.
fn mountinfo_number(fdinfo: &[u8]) -> Option<u64> {
    let line = fdinfo.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::fd::AsFd;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_descriptor_tells_its_mount() {
        assert_eq!(mountinfo_number(b"pos:\t0\nflags:\t010000000\nmnt_id:\t47\nino:\t2\n"), Some(47));
        assert_eq!(mountinfo_number(b"pos:\t0\nflags:\t0100000\n"), None, "before 3.15");
        let root = std::fs::File::open("/").unwrap();
        let table = procfs::process::Process::myself().unwrap().mountinfo().unwrap();
        let number = mount_of_descriptor(root.as_fd()).unwrap();
        let at = table.into_iter().find(|mount| mount.mnt_id.cast_unsigned() == u32::try_from(number).unwrap());
        assert_eq!(at.unwrap().mount_point, Path::new("/"));
    }

    #[test]
    fn both_kinds_of_stat_serve() {
        let root = std::fs::File::open("/").unwrap();
        let by_statx = file_status(root.as_fd(), c"").unwrap();
        HAS_STATX.store(false, Ordering::Relaxed);
        let by_fstatat = file_status(root.as_fd(), c"").unwrap();
        HAS_STATX.store(true, Ordering::Relaxed);
        assert_eq!((by_statx.dev, by_statx.ino), (by_fstatat.dev, by_fstatat.ino));
    }
}

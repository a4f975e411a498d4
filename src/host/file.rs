//! What a file is, and through which mount it was reached: the state that tells one content from another, asked so that
//! no file server has to answer where the kernel can do without.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::KernelVersion;

use crate::event::{FileId, MountNumber};
use crate::sys::file::{self, FileStatus};

static HAS_STATX: AtomicBool = AtomicBool::new(true);

fn has_statx() -> bool {
    HAS_STATX.load(Ordering::Relaxed)
}

/// Whether [`file_status`] asks no file server, as far as is known.
pub fn spares_servers() -> bool {
    static IS_HEEDED: OnceLock<bool> = OnceLock::new();
    let read = || nix::sys::utsname::uname().is_ok_and(|name| heeds_caches(&name.release().to_string_lossy()));
    has_statx() && *IS_HEEDED.get_or_init(read)
}

/// Whether statx(2)'s wish for what is cached is heeded by FUSE: from 4.20 on (fuse_getattr in fs/fuse/dir.c). What RHEL 8's
/// 4.18 has taken over of that is not known.
fn heeds_caches(release: &str) -> bool {
    release.parse::<KernelVersion>().is_ok_and(|version| version >= KernelVersion::new(4, 20, 0))
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

/// The link that leads to what a descriptor is on, without a name being looked up.
pub fn link_to(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Opens for reading what a descriptor is on. A device or a FIFO in its place does not block.
///
/// # Errors
/// The system's.
pub fn reopen(file: &impl AsRawFd) -> io::Result<File> {
    // The magic link leads to that very inode, whatever has since happened to its name (proc(5), /proc/pid/fd).
    let path = link_to(file);
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(&path);
    match open(flags | libc::O_NOATIME) {
        // open(2): neither the file's owner nor CAP_FOWNER.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => open(flags),
        other => other,
    }
}

/// The number of an open file's mount as mountinfo has it, from /proc/self/fdinfo; before 3.15 `None` for an overlay's.
pub fn mount_of_descriptor(file: BorrowedFd<'_>) -> Option<u64> {
    let text = std::fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    mountinfo_number(&text).or_else(|| file::mount_by_handle(file))
}

/// In the text of /proc/self/fdinfo/N.
fn mountinfo_number(fdinfo: &[u8]) -> Option<u64> {
    let line = fdinfo.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::fd::{AsFd, AsRawFd};
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
    fn a_handle_tells_the_mount_too() {
        // Such a file is of no overlay, wherever this runs.
        let file = nix::sys::memfd::memfd_create(c"a", nix::sys::memfd::MFdFlags::empty()).unwrap();
        let text = std::fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        assert_eq!(file::mount_by_handle(file.as_fd()), mountinfo_number(&text));
        assert!(mountinfo_number(&text).is_some());
    }

    #[test]
    fn caches_are_heeded_from_linux_4_20_on() {
        for (release, heeds) in [("6.1.0-44-amd64", true), ("4.20.0", true), ("4.19.0-27-amd64", false), ("", false)] {
            assert_eq!(heeds_caches(release), heeds, "{release}");
        }
        assert!(!heeds_caches("4.18.0-553.el8_10.x86_64"));
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

//! The way to a mount: a descriptor that is proven to lie on it. While one is held, for some calls, its mount cannot be
//! unmounted.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::event::Missing;
use crate::host::file::{file_status, mount_number, mount_of_descriptor};
use crate::host::mountinfo::Mount;
use crate::host::rooted;
use crate::sys::file::FileStatus;

/// The root directory of process 1: a service manager may have given us a mount namespace of our own, in which every mount
/// is a copy, and no mark on a copy sees what is executed through the host's. Ours, where the kernel does not show it.
///
/// # Errors
/// Neither can be opened.
pub fn host_root(proc_root: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |path: &Path| openat(AT_FDCWD, path, flags, Mode::empty());
    open(&proc_root.join("1/root")).or_else(|_| open(Path::new("/")))
}

/// To a mount as the host's root directory shows it.
///
/// # Errors
/// `ESTALE` where something else is mounted there by now; else the kernel's.
pub fn on_host(root: BorrowedFd<'_>, mount: &Mount) -> nix::Result<(OwnedFd, FileStatus)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let below = mount.point.strip_prefix(b"/").filter(|below| !below.is_empty()).unwrap_or(b".");
    prove(openat(root, below, flags, Mode::empty())?, mount)
}

/// To a mount as another root directory shows it, without asking a server that somebody mounts on the way meanwhile;
/// `is_safe` says of a mount's number that it was there before, and asks nobody.
///
/// # Errors
/// `ESTALE` where something else is mounted there by now, `EAGAIN` where the way is not in memory; else the kernel's.
pub fn within(
    root: BorrowedFd<'_>,
    mount: &Mount,
    is_safe: impl Fn(u64) -> bool,
) -> nix::Result<(OwnedFd, FileStatus)> {
    let path = Path::new(OsStr::from_bytes(&mount.point));
    let found = match rooted::locate_in_memory(root, path, &is_safe) {
        // These ask for their own names each time (fs/proc/generic.c, `proc_misc_d_revalidate`; fs/kernfs/dir.c).
        Err(Missing::Busy) if [&b"/proc/"[..], b"/sys/"].iter().any(|own| mount.point.starts_with(own)) => {
            rooted::walk_safe_mounts(root, path, &is_safe)
        }
        other => other,
    };
    let place = found.map_err(|why| match why {
        Missing::Absent | Missing::Gone => Errno::ESTALE,
        Missing::Busy => Errno::EAGAIN,
        _ => Errno::EACCES,
    })?;
    prove(place, mount)
}

/// To a mount of this number and device that only a server can be asked about, or that lies below one, as another root
/// directory shows it, and the number by which its files tell it. For who may wait for as long as a server likes.
///
/// # Errors
/// `ESTALE` where something else is mounted there by now; else the kernel's.
pub fn far(root: BorrowedFd<'_>, id: u64, dev: u64, point: &[u8]) -> nix::Result<(OwnedFd, u64)> {
    let place = rooted::walk_safe_mounts(root, Path::new(OsStr::from_bytes(point)), |_| true);
    let place = place.map_err(|why| if why == Missing::Denied { Errno::EACCES } else { Errno::ESTALE })?;
    let (place, status) = prove_that(place, id, dev)?;
    Ok((place, mount_number(status).map_or(id, |number| number.0)))
}

fn prove(place: OwnedFd, mount: &Mount) -> nix::Result<(OwnedFd, FileStatus)> {
    prove_that(place, mount.id, mount.dev)
}

fn prove_that(place: OwnedFd, id: u64, dev: u64) -> nix::Result<(OwnedFd, FileStatus)> {
    let status = file_status(place.as_fd(), c"").map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    // Before 3.15 an overlay's descriptor does not tell its mount.
    if mount_of_descriptor(place.as_fd()).map_or(status.dev != dev, |number| number != id) {
        return Err(Errno::ESTALE);
    }
    Ok((place, status))
}

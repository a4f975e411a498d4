//! Opens a path inside somebody else's root directory so that no link leads out: an absolute link below
//! /proc/PID/root, followed by path, ends on the host.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::event::{Field, Missing};
use crate::host::bounded::{open_flags, without_atime};

/// As many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;
/// Each open directory of the walk takes a descriptor.
const COMPONENTS: usize = 128;

/// How a path is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// By the kernel: openat2 with RESOLVE_IN_ROOT, Linux 5.6.
    Kernel,
    /// By ourselves, component by component.
    Walk,
}

static HAS_OPENAT2: AtomicBool = AtomicBool::new(true);

/// Opens `path` for reading as a process with the root directory `root` would, final links included.
///
/// # Errors
/// `Malformed` for too many links.
pub fn open(root: BorrowedFd<'_>, path: &Path) -> Field<OwnedFd> {
    if HAS_OPENAT2.load(Ordering::Relaxed) {
        match open_by(Resolver::Kernel, root, path) {
            // ENOSYS before 5.6; EPERM from a seccomp filter that does not know the call.
            Err(nix::Error::ENOSYS | nix::Error::EPERM) => HAS_OPENAT2.store(false, Ordering::Relaxed),
            other => return other.map_err(missing),
        }
    }
    open_by(Resolver::Walk, root, path).map_err(missing)
}

fn missing(error: nix::Error) -> Missing {
    match error {
        nix::Error::ELOOP | nix::Error::ENXIO => Missing::Malformed,
        e => Missing::from_os(&e.into()),
    }
}

fn open_by(resolver: Resolver, root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    // The kernel must follow a link at the end inside the root; the walk has followed it already.
    let flags = open_flags();
    match resolver {
        Resolver::Kernel => without_atime(flags & !OFlag::O_NOFOLLOW, |flags| {
            let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            openat2(root, path, OpenHow::new().flags(flags).resolve(resolve))
        }),
        Resolver::Walk => {
            let (dir, name) = walk(root, path)?;
            without_atime(flags, |flags| openat(&dir, name.as_os_str(), flags, Mode::empty()))
        }
    }
}

/// The directory that holds the end of the path, and the end's name, no link any more.
fn walk(root: BorrowedFd<'_>, path: &Path) -> nix::Result<(OwnedFd, OsString)> {
    let top = || root.try_clone_to_owned().map_err(|_| nix::Error::EMFILE);
    let mut todo: VecDeque<OsString> = components(path.as_os_str());
    // The way from the root to here; `..` goes one back and stays at the root.
    let mut way: Vec<OwnedFd> = vec![top()?];
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if way.len() + todo.len() > COMPONENTS {
            return Err(nix::Error::ENAMETOOLONG);
        }
        if name == ".." {
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let here = way.last().ok_or(nix::Error::ENOENT)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let next = openat(here, name.as_os_str(), flags, Mode::empty())?;
        let kind = SFlag::from_bits_truncate(fstat(&next)?.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFLNK {
            links += 1;
            if links > LINKS {
                return Err(nix::Error::ELOOP);
            }
            let target = readlinkat(&next, "")?;
            if target.as_bytes().starts_with(b"/") {
                way.truncate(1);
            }
            for name in components(&target).into_iter().rev() {
                todo.push_front(name);
            }
        } else if todo.is_empty() {
            let dir = way.pop().ok_or(nix::Error::ENOENT)?;
            return Ok((dir, name));
        } else {
            way.push(next);
        }
    }
    // The path ends at a directory: the root, or where `..` led.
    Ok((way.pop().ok_or(nix::Error::ENOENT)?, ".".into()))
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".");
    parts.map(|p| OsStr::from_bytes(p).to_os_string()).collect()
}

/// Opens a root directory to start from.
///
/// # Errors
/// It is not there, or no directory.
pub fn open_root(path: &Path) -> Field<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).map_err(missing)
}

/// Reads a regular file of at most `limit` bytes inside `root`.
///
/// # Errors
/// As [`open`] and [`crate::host::bounded::read_fd`].
pub fn read(root: BorrowedFd<'_>, path: &Path, limit: usize) -> Field<Vec<u8>> {
    crate::host::bounded::read_fd(open(root.as_fd(), path)?, limit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::bounded::read_fd;

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().join("root");
        std::fs::create_dir_all(root.join("etc/deep")).unwrap();
        std::fs::write(tree.path().join("secret"), b"host").unwrap();
        std::fs::write(root.join("etc/passwd"), b"inside").unwrap();
        std::fs::write(root.join("secret"), b"inside").unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("../../../../secret", root.join("etc/deep/up")).unwrap();
        symlink("/secret", root.join("etc/out")).unwrap();
        symlink("/etc", root.join("dir")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
        tree
    }

    #[test]
    fn no_way_leads_out() {
        let tree = tree();
        let root = open_root(&tree.path().join("root")).unwrap();
        for resolver in [Resolver::Kernel, Resolver::Walk] {
            let read = |path: &str| {
                open_by(resolver, root.as_fd(), Path::new(path)).map_err(missing).and_then(|fd| read_fd(fd, 100))
            };
            let inside = ["etc/passwd", "/etc/passwd", "absolute", "etc/deep/up", "etc/out", "dir/passwd", "../secret"];
            for path in inside {
                assert_eq!(read(path), Ok(b"inside".to_vec()), "{resolver:?} {path}");
            }
            assert_eq!(read("loop"), Err(Missing::Malformed), "{resolver:?}");
            assert_eq!(read("fifo"), Err(Missing::Malformed), "{resolver:?}");
            for absent in ["none", "etc/none", "magic", "etc/passwd/x/y"] {
                assert!(read(absent).is_err(), "{resolver:?} {absent}");
            }
            assert_eq!(read("etc/deep/.."), Err(Missing::Malformed), "{resolver:?}: a directory");
            assert_eq!(read("/"), Err(Missing::Malformed), "{resolver:?}: the root");
        }
    }

    #[test]
    fn the_fallback_is_taken_without_openat2() {
        let tree = tree();
        let root = open_root(&tree.path().join("root")).unwrap();
        HAS_OPENAT2.store(false, Ordering::Relaxed);
        let read = read(root.as_fd(), Path::new("absolute"), 100);
        HAS_OPENAT2.store(true, Ordering::Relaxed);
        assert_eq!(read, Ok(b"inside".to_vec()));
    }
}

//! Opens a path inside a root directory, a container's for one, so that no link leads out of it.
//! Says where a file is; reading it with bounds is [`crate::host::bounded`]'s work.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::event::{Field, Missing};
use crate::host::bounded;
use crate::host::file::mount_of_descriptor;

/// Links followed in one path, as the kernel has it (MAXSYMLINKS, include/linux/namei.h).
const MAX_LINKS: usize = 40;
/// Directories below the root that a walk holds open at a time.
const MAX_DEPTH: usize = 128;
/// Components still to be looked up; a path has at most 4,096 bytes.
const MAX_PENDING: usize = 4096;
/// How often the kernel may say that the tree moved under it (openat2(2), EAGAIN) before we walk ourselves.
const MAX_RACES: usize = 8;
const RESOLUTION: ResolveFlag = ResolveFlag::RESOLVE_IN_ROOT.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);
/// linux/openat2.h, Linux 5.12.
const RESOLVE_CACHED: u64 = 0x20;

/// Set when openat2(2) proved to be missing: before 5.6, or hidden by a seccomp filter.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// How a path is resolved inside a root. Both ways give the same file or an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// openat2(2) with RESOLVE_IN_ROOT, kernel 5.6 and newer; falls back to [`Resolver::Walk`] without it.
    Kernel,
    /// Component by component, for the kernels before.
    Walk,
}

impl Resolver {
    /// The best one that this kernel has, as far as it is known by now.
    pub fn best() -> Self {
        if NO_OPENAT2.load(Ordering::Relaxed) { Self::Walk } else { Self::Kernel }
    }

    /// An `O_PATH` descriptor on what `path` names inside `root`: links are followed, absolute ones start at the root,
    /// `..` at the root stays there, and links of /proc that are more than text lead nowhere. Nothing is opened for
    /// reading, so neither a FIFO nor a device can do harm.
    ///
    /// # Errors
    /// [`Missing::Absent`] where a component is missing, `Malformed` for a loop of links, a magic link or a
    /// path that is too long, else what the operating system says.
    pub fn locate(self, root: BorrowedFd<'_>, path: &[u8]) -> Field<OwnedFd> {
        if path.contains(&0) {
            return Err(Missing::Malformed);
        }
        let found = match self {
            Self::Kernel => by_kernel(root, path),
            Self::Walk => walk(root, path),
        };
        found.map_err(bounded::missing)
    }
}

/// An `O_PATH` descriptor on a root directory: the host's, or `/proc/PID/root`.
pub fn open_root(path: &Path) -> Field<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty()).map_err(bounded::missing)
}

/// [`Resolver::locate`] by the best way there is.
pub fn locate(root: BorrowedFd<'_>, path: &Path) -> Field<OwnedFd> {
    Resolver::best().locate(root, path.as_os_str().as_bytes())
}

/// An `O_PATH` descriptor on a place inside `root`, as far as the kernel finds the way in its memory, where it keeps every
/// way to a mount. So no server is asked that somebody mounts on that way meanwhile, and who may never answer. Before
/// Linux 5.12 as [`walk_safe_mounts`].
///
/// # Errors
/// `Busy` where the way is not in memory, else as [`walk_safe_mounts`].
pub fn locate_in_memory(root: BorrowedFd<'_>, path: &Path, is_safe: impl Fn(u64) -> bool) -> Field<OwnedFd> {
    by_memory(root, path.as_os_str().as_bytes()).unwrap_or_else(|| walk_safe_mounts(root, path, is_safe))
}

/// [`locate`], as far as the kernel finds the way in its memory, so that no server is asked.
///
/// # Errors
/// `Busy` where the way is not in memory, or before Linux 5.12; else as [`Resolver::locate`].
pub fn find_in_memory(root: BorrowedFd<'_>, path: &[u8]) -> Field<OwnedFd> {
    by_memory(root, path).unwrap_or(Err(Missing::Busy))
}

/// `None` where the kernel has no such call.
fn by_memory(root: BorrowedFd<'_>, path: &[u8]) -> Option<Field<OwnedFd>> {
    let how = how().resolve(RESOLUTION | ResolveFlag::from_bits_retain(RESOLVE_CACHED));
    for _ in 0..MAX_RACES {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => return None,
            other => return Some(other.map_err(bounded::missing)),
        }
    }
    Some(Err(Missing::Busy))
}

/// The same, name by name: none is looked up in a directory whose mount, by its number in mountinfo, is not `is_safe`.
/// Such a way has no links. Before Linux 3.15 an overlay's descriptor does not tell its mount, and nobody without
/// privileges mounts FUSE.
///
/// # Errors
/// `Gone` where something else is mounted on the way, else as [`locate`].
pub fn walk_safe_mounts(root: BorrowedFd<'_>, path: &Path, is_safe: impl Fn(u64) -> bool) -> Field<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut here = root.try_clone_to_owned().map_err(|e| Missing::from_os(&e))?;
    for name in path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        if mount_of_descriptor(here.as_fd()).is_some_and(|mount| !is_safe(mount)) {
            return Err(Missing::Gone);
        }
        here = openat(&here, name, flags, Mode::empty()).map_err(bounded::missing)?;
    }
    Ok(here)
}

/// Reads a regular file of at most `limit` bytes inside `root`. Errors as [`Resolver::locate`] and [`bounded::read`].
pub fn read(root: BorrowedFd<'_>, path: &Path, limit: usize) -> Field<Vec<u8>> {
    bounded::read_place(locate(root, path)?.as_fd(), limit)
}

fn how() -> OpenHow {
    OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
}

fn by_kernel(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
    let how = how().resolve(RESOLUTION);
    for _ in 0..MAX_RACES {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ENOSYS | Errno::EINVAL) => {
                NO_OPENAT2.store(true, Ordering::Relaxed);
                break;
            }
            // An old seccomp filter refuses a system call that it does not know this way.
            Err(Errno::EPERM) => break,
            other => return other,
        }
    }
    walk(root, path)
}

fn walk(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    // The directories from below the root to where we stand. `..` goes back to the one we came through, never to what
    // the tree shows by now, so a directory that is moved meanwhile cannot carry us out.
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut pending = Vec::new();
    push_components(&mut pending, path)?;
    let mut links = 0;
    while let Some(name) = pending.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                way.pop();
                continue;
            }
            _ => {}
        }
        let here = way.last().map_or(root, AsFd::as_fd);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = openat(here, name.as_slice(), flags, Mode::empty())?;
        let kind = bounded::kind(&fstat(&found)?);
        if kind == SFlag::S_IFLNK {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            // An empty path means the descriptor itself, since 2.6.39 (readlink(2)). A magic link's text is resolved
            // like any other's, inside the root: it is not followed to where it really leads.
            let target = readlinkat(&found, "")?;
            if target.as_bytes().starts_with(b"/") {
                way.clear();
            }
            push_components(&mut pending, target.as_bytes())?;
        } else if pending.is_empty() {
            return Ok(found);
        } else if kind != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR);
        } else if way.len() == MAX_DEPTH {
            return Err(Errno::ENAMETOOLONG);
        } else {
            way.push(found);
        }
    }
    match way.pop() {
        Some(directory) => Ok(directory),
        None => root.try_clone_to_owned().map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
    }
}

/// Puts the components of a path on the stack, the first on top; a slash at the end asks for a directory, as `.` does.
fn push_components(pending: &mut Vec<Vec<u8>>, path: &[u8]) -> nix::Result<()> {
    if path.ends_with(b"/") {
        pending.push(b".".to_vec());
    }
    pending.extend(path.split(|b| *b == b'/').rev().filter(|name| !name.is_empty()).map(<[u8]>::to_vec));
    if pending.len() > MAX_PENDING { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use nix::unistd::mkfifo;

    const BOTH: [Resolver; 2] = [Resolver::Kernel, Resolver::Walk];

    /// A directory `root` with a secret beside it.
    fn tree() -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("root");
        fs::create_dir_all(root.join("etc/deep/er")).unwrap();
        fs::create_dir_all(root.join("data")).unwrap();
        fs::write(top.path().join("secret"), b"host").unwrap();
        fs::write(root.join("secret"), b"inside").unwrap();
        fs::write(root.join("etc/passwd"), b"users").unwrap();
        symlink("../../../../secret", root.join("etc/up")).unwrap();
        symlink(top.path().join("secret"), root.join("etc/out")).unwrap();
        symlink("/etc/passwd", root.join("data/absolute")).unwrap();
        symlink("../etc", root.join("data/dir")).unwrap();
        symlink("passwd/", root.join("etc/file-as-dir")).unwrap();
        symlink("loop-b", root.join("loop-a")).unwrap();
        symlink("loop-a", root.join("loop-b")).unwrap();
        symlink("/", root.join("top")).unwrap();
        symlink("etc/nothing", root.join("dangling")).unwrap();
        mkfifo(&root.join("fifo"), Mode::S_IRUSR).unwrap();
        for n in 0..50 {
            let target = if n == 0 { "secret".into() } else { format!("chain-{}", n - 1) };
            symlink(target, root.join(format!("chain-{n}"))).unwrap();
        }
        top
    }

    #[test]
    fn the_way_to_a_mount_is_in_memory() {
        let root = open_root(Path::new("/")).unwrap();
        for path in ["/proc", "/sys", "/dev"] {
            let place = locate_in_memory(root.as_fd(), Path::new(path), |_| true).unwrap();
            assert_eq!(fstat(&place).unwrap().st_ino, fs::metadata(path).unwrap().ino());
        }
        let unread = tempfile::tempdir().unwrap();
        let nowhere = unread.path().join("never/looked/for");
        assert_eq!(locate_in_memory(root.as_fd(), &nowhere, |_| true).map(drop), Err(Missing::Busy));
        let nowhere = nowhere.as_os_str().as_bytes();
        assert_eq!(find_in_memory(root.as_fd(), nowhere).map(drop), Err(Missing::Busy));
        assert_eq!(Resolver::best().locate(root.as_fd(), nowhere).map(drop), Err(Missing::Absent));
        assert!(find_in_memory(root.as_fd(), b"proc").is_ok());
    }

    #[test]
    fn a_walk_to_a_mount_looks_nothing_up_in_what_is_not_safe() {
        let root = open_root(Path::new("/")).unwrap();
        let number = |path: &str| mount_of_descriptor(fs::File::open(path).unwrap().as_fd());
        let (top, proc) = (number("/"), number("/proc"));
        assert_ne!(top, proc);
        let walk = |path: &str, unsafe_mount: Option<u64>| {
            walk_safe_mounts(root.as_fd(), Path::new(path), |mount| Some(mount) != unsafe_mount)
        };
        assert_eq!(mount_of_descriptor(walk("/proc/sys/fs", None).unwrap().as_fd()), proc);
        assert!(walk("/proc", proc).is_ok(), "nothing is looked up in it");
        assert_eq!(walk("/proc/sys/fs", proc).map(drop), Err(Missing::Gone));
        assert_eq!(walk("/proc", top).map(drop), Err(Missing::Gone));
        assert_eq!(mount_of_descriptor(walk("/", None).unwrap().as_fd()), top);
        let directory = tempfile::tempdir().unwrap();
        symlink("/proc", directory.path().join("link")).unwrap();
        let through = directory.path().join("link/sys").display().to_string();
        assert!(walk(&through, None).is_err(), "a mount's way has no links");
    }

    #[test]
    fn no_path_leads_out() {
        let top = tree();
        let root = open_root(&top.path().join("root")).unwrap();
        let first = by_kernel(root.as_fd(), b"etc").is_ok().then(Resolver::best);
        let table: &[(&str, Field<&[u8]>)] = &[
            ("etc/passwd", Ok(b"users")),
            ("/etc/passwd", Ok(b"users")),
            ("//etc/./deep//../passwd", Ok(b"users")),
            ("../secret", Ok(b"inside")),
            ("/../../secret", Ok(b"inside")),
            ("etc/../../secret", Ok(b"inside")),
            ("etc/deep/er/../../../../../secret", Ok(b"inside")),
            ("etc/up", Ok(b"inside")),
            ("etc/out", Err(Missing::Absent)),
            ("data/absolute", Ok(b"users")),
            ("data/dir/passwd", Ok(b"users")),
            ("data/dir/../secret", Ok(b"inside")),
            ("top/top/top/secret", Ok(b"inside")),
            ("chain-39", Ok(b"inside")),
            ("chain-40", Err(Missing::Malformed)),
            ("loop-a", Err(Missing::Malformed)),
            ("loop-a/x", Err(Missing::Malformed)),
            ("dangling", Err(Missing::Absent)),
            ("nothing", Err(Missing::Absent)),
            ("etc/nothing/passwd", Err(Missing::Absent)),
            ("etc/passwd/", Err(Missing::Absent)),
            ("etc/passwd/.", Err(Missing::Absent)),
            ("etc/passwd/..", Err(Missing::Absent)),
            ("etc/file-as-dir", Err(Missing::Absent)),
            ("", Err(Missing::Absent)),
            ("fifo", Err(Missing::Malformed)),
            ("etc", Err(Missing::Malformed)),
            (".", Err(Missing::Malformed)),
            ("/", Err(Missing::Malformed)),
            ("etc/..", Err(Missing::Malformed)),
            ("..", Err(Missing::Malformed)),
            ("a\0b", Err(Missing::Malformed)),
        ];
        for resolver in BOTH {
            for (path, expected) in table {
                let got = resolver
                    .locate(root.as_fd(), path.as_bytes())
                    .and_then(|place| bounded::read_place(place.as_fd(), 100));
                assert_eq!(got.as_deref(), expected.as_ref().map(|b| &**b), "{path:?} by {resolver:?}");
            }
        }
        assert_eq!(Some(Resolver::best()), first, "no path of the table makes openat2 seem missing");
        assert_eq!(read(root.as_fd(), Path::new("etc/up"), 100), Ok(b"inside".to_vec()));
        assert_eq!(read(root.as_fd(), Path::new("secret"), 5), Err(Missing::TooLarge));
    }

    #[test]
    fn magic_links_are_not_followed() {
        // As root directory a directory of /proc: `exe` and `cwd` there lead out of it by magic.
        let root = open_root(Path::new("/proc/self")).unwrap();
        for resolver in BOTH {
            for path in ["exe", "cwd/Cargo.toml", "root/etc/passwd", "fd/0"] {
                let got = resolver.locate(root.as_fd(), path.as_bytes());
                assert!(matches!(got, Err(Missing::Malformed | Missing::Absent)), "{path} by {resolver:?}: {got:?}");
            }
            assert!(resolver.locate(root.as_fd(), b"status").is_ok(), "by {resolver:?}");
        }
    }

    #[test]
    fn a_hostile_depth_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let root = open_root(top.path()).unwrap();
        let mut deep = top.path().to_path_buf();
        for _ in 0..200 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        assert!(Resolver::Walk.locate(root.as_fd(), "d/".repeat(100).as_bytes()).is_ok());
        assert_eq!(Resolver::Walk.locate(root.as_fd(), "d/".repeat(200).as_bytes()).map(drop), Err(Missing::Malformed));
        // Going down and up again for ever holds no descriptors.
        assert!(Resolver::Walk.locate(root.as_fd(), "d/../".repeat(500).as_bytes()).is_ok());
        assert_eq!(
            Resolver::Walk.locate(root.as_fd(), "d/".repeat(5000).as_bytes()).map(drop),
            Err(Missing::Malformed)
        );
    }

    #[test]
    fn a_missing_root_is_absent() {
        assert_eq!(open_root(Path::new("/nonexistent/root")).map(drop), Err(Missing::Absent));
    }
}

//! The names of users in their containers, remembered for a while: a build asks for the same one again and again.

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::container::{ContainerKey, cgroup, passwd};
use crate::event::{Field, Look, Missing, Monotonic, Namespace, RootId};
use crate::host::file::file_status;
use crate::host::process::ProcessDir;

const NAMES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const FRESH: Duration = Duration::from_secs(30);
/// Bytes of a passwd file that are read.
const PASSWD: usize = 256 * 1024;

/// Whose /etc/passwd was read, and for which uid of the host. The kernel uses a namespace's number again at once.
type Key = (Option<ContainerKey>, Namespace, RootId, u32);

/// Names, and when each was read.
pub(super) struct UserNames(Mutex<LruCache<Key, (Field<String>, Monotonic)>>);

impl Default for UserNames {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(NAMES)))
    }
}

impl UserNames {
    fn lock(&self) -> MutexGuard<'_, LruCache<Key, (Field<String>, Monotonic)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a host's uid in the container of the process of which `look`, `dir` and `root` are; `read` reads a file
    /// inside that directory, of at most so many bytes. For workers.
    ///
    /// # Errors
    /// `Absent` where it has none there, and why it could not be asked for.
    pub(super) fn name(
        &self,
        look: &Look,
        dir: &ProcessDir,
        root: BorrowedFd<'_>,
        (uid, now): (u32, Monotonic),
        read: impl FnOnce(&[u8], usize) -> Field<Vec<u8>>,
    ) -> Field<String> {
        let place = look.root.or_else(|_| {
            let status = file_status(root, c"").map_err(|e| Missing::from_os(&e))?;
            Ok(RootId { dev: status.dev, ino: status.ino })
        })?;
        let key = (cgroup::container_of(look), look.mnt_ns?, place, uid);
        if let Some((name, read)) = self.lock().get(&key)
            && now.since(*read) < FRESH
        {
            return name.clone();
        }
        let mapped = dir.small_file(c"uid_map").ok().and_then(|map| passwd::map_uid(&map, uid)).unwrap_or(uid);
        let name = match read(b"etc/passwd", PASSWD) {
            Ok(passwd) => passwd::user_name(&passwd, mapped).ok_or(Missing::Absent),
            Err(Missing::Absent) => Err(Missing::Absent),
            Err(why) => return Err(why),
        };
        self.lock().put(key, (name.clone(), now));
        name
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;
    use crate::event::Pid;
    use crate::host::process::Proc;
    use crate::host::rooted;

    /// A process' directory whose root directory has this name for uid 1000.
    fn put(tree: &Path, pid: i32, name: &str) {
        let dir = tree.join(pid.to_string());
        fs::create_dir_all(dir.join("root/etc")).unwrap();
        rename(tree, pid, name);
    }

    fn rename(tree: &Path, pid: i32, name: &str) {
        fs::write(tree.join(format!("{pid}/root/etc/passwd")), format!("{name}:x:1000:1000::/:/bin/sh\n")).unwrap();
    }

    #[test]
    fn a_passwd_file_stays_in_its_root_and_has_a_limit() {
        let tree = tempfile::tempdir().unwrap();
        let (proc, names) = (Proc::open(tree.path()).unwrap(), UserNames::default());
        put(tree.path(), 7, "unused");
        let passwd = tree.path().join("7/root/etc/passwd");
        let name = |now: u64| {
            let dir = proc.process(Pid(7)).unwrap();
            let mut look = Look::nothing(Monotonic(now), Missing::Gone);
            look.mnt_ns = Ok(Namespace(4_026_532_000));
            let root = dir.root_dir().unwrap();
            let read = |path: &[u8], limit| rooted::read(root.as_fd(), Path::new(OsStr::from_bytes(path)), limit);
            names.name(&look, &dir, root.as_fd(), (1000, Monotonic(now)), read)
        };
        fs::remove_file(&passwd).unwrap();
        fs::write(&passwd, vec![b'x'; PASSWD + 1]).unwrap();
        assert_eq!(name(1), Err(Missing::TooLarge));
        fs::remove_file(&passwd).unwrap();
        fs::write(tree.path().join("passwd"), "host:x:1000:1000::/:\n").unwrap();
        std::os::unix::fs::symlink(tree.path().join("passwd"), &passwd).unwrap();
        assert_eq!(name(2), Err(Missing::Absent));
    }

    #[test]
    fn a_name_is_of_its_container_though_a_number_is_used_again() {
        let tree = tempfile::tempdir().unwrap();
        let (proc, names) = (Proc::open(tree.path()).unwrap(), UserNames::default());
        let name = |pid: i32, cgroup: &str, now: u64| {
            let dir = proc.process(Pid(pid)).unwrap();
            let mut look = Look::nothing(Monotonic(now), Missing::Gone);
            (look.mnt_ns, look.cgroup) = (Ok(Namespace(4_026_532_000)), Ok(cgroup.as_bytes().to_vec()));
            let root = dir.root_dir().unwrap();
            let read = |path: &[u8], limit| rooted::read(root.as_fd(), Path::new(OsStr::from_bytes(path)), limit);
            names.name(&look, &dir, root.as_fd(), (1000, Monotonic(now)), read).unwrap()
        };
        put(tree.path(), 7, "alice");
        put(tree.path(), 8, "bob");
        assert_eq!([name(7, "0::/\n", 1), name(8, "0::/\n", 2)], ["alice", "bob"], "other root directories");
        rename(tree.path(), 7, "carol");
        assert_eq!(name(7, "0::/\n", 3), "alice", "it was read a moment ago");
        let other = format!("0::/docker/{}\n", "ab".repeat(32));
        assert_eq!(name(7, &other, 4), "carol", "another container, though all numbers are used again");
        assert_eq!(name(7, "0::/\n", FRESH.as_nanos() as u64 + 1), "carol");
    }
}

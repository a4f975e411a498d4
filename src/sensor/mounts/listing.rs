//! All mounts that process 1 sees. Where the kernel lists them by numbers that are never used again (Linux 6.11), only those
//! that are new are asked for, so that the starts of many containers cost what is new each time and not all that is there;
//! elsewhere its mountinfo is read as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::Monotonic;
use crate::host::mountinfo::{self, Mount, unescape};
use crate::sys::mounts::{self, MountNamespace, MountStatus};

/// A table of 100,000 mounts.
const MAX_TABLE: u64 = 64 << 20;
/// A mount that is changed or moved keeps its number: after so long all are asked for again.
const BELIEVED: Duration = Duration::from_secs(1);

/// The mounts, as they were last seen.
pub struct Listing {
    table: File,
    /// Whose mounts the kernel is asked to list.
    namespace: MountNamespace,
    /// By number; `None` where the kernel does not list them.
    known: Option<HashMap<u64, Arc<Mount>>>,
    /// When all are asked for again.
    due: Option<Monotonic>,
    /// Where it does not: device by the number that mountinfo shows.
    seen: HashMap<u64, u64>,
}

impl Listing {
    /// Opens process 1's table below `proc_root`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(proc_root: &Path) -> Result<Self> {
        let open = |who: &str| File::open(proc_root.join(who).join("mountinfo"));
        let path: PathBuf = proc_root.join("1/mountinfo");
        let table = open("1").or_else(|_| open("self")).map_err(|e| Error::file("open", &path, e))?;
        let namespace = namespace(proc_root);
        let known = namespace.is_some().then(HashMap::new);
        let namespace = namespace.unwrap_or(MountNamespace::OWN);
        Ok(Self { table, namespace, known, due: None, seen: HashMap::new() })
    }

    /// To be polled for what is mounted and unmounted.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// When it is to be read again although nothing tells of a change.
    pub fn due(&self) -> Option<Monotonic> {
        self.due
    }

    /// All mounts that there are now, in the order of their making, each with whether it is known to be one that was there at
    /// the last call.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read(&mut self, now: Monotonic) -> io::Result<Vec<(bool, Arc<Mount>)>> {
        if let Some(known) = self.known.take() {
            match self.list(known, now) {
                Ok(all) => return Ok(all),
                Err(e) => log::debug!("the kernel does not list mounts, mountinfo is read instead: {e}"),
            }
        }
        self.due = None;
        let mut text = Vec::new();
        self.table.rewind()?;
        (&self.table).take(MAX_TABLE).read_to_end(&mut text)?;
        let all = mountinfo::parse(&text);
        let settled = settled(&all, &self.seen);
        self.seen = all.iter().map(|mount| (mount.id, mount.dev)).collect();
        Ok(all.into_iter().enumerate().map(|(n, mount)| (n < settled, Arc::new(mount))).collect())
    }

    fn list(&mut self, known: HashMap<u64, Arc<Mount>>, now: Monotonic) -> io::Result<Vec<(bool, Arc<Mount>)>> {
        let numbers = mounts::list(self.namespace)?;
        // Something has changed: if no mount came or went, one of those that stayed.
        let same = numbers.len() == known.len() && numbers.iter().all(|number| known.contains_key(number));
        let anew = known.is_empty() || same || self.due.is_some_and(|due| due <= now);
        self.due = if anew { None } else { self.due.or(Some(now.plus(BELIEVED))) };
        let mut all = Vec::with_capacity(numbers.len());
        let mut still = HashMap::with_capacity(numbers.len());
        for number in numbers {
            let before = known.get(&number);
            let mount = match before.filter(|_| !anew) {
                Some(mount) => Arc::clone(mount),
                None => match mounts::status(self.namespace, number) {
                    Ok(status) => Arc::new(mount(status)?),
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
                    Err(e) => return Err(e),
                },
            };
            still.insert(number, Arc::clone(&mount));
            all.push((before.is_some(), mount));
        }
        self.known = Some(still);
        Ok(all)
    }
}

/// As mountinfo has it.
fn mount(status: MountStatus) -> io::Result<Mount> {
    let MountStatus { number, parent, dev, noexec, root, point, mut fs_type, fs_subtype, options } = status;
    // An overlay's tell its layers; before 6.11 they are not told at all.
    if fs_type == b"overlay" && options.is_none() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    if !fs_subtype.is_empty() {
        fs_type.push(b'.');
        fs_type.extend(fs_subtype);
    }
    Ok(Mount { id: number, parent, dev, root, point, noexec, fs_type, options: unescape(&options.unwrap_or_default()) })
}

/// So many of a table's last mounts, of those that were there before, may be others that took the place, the number and
/// the device of a mount that went: all of them would have been made since.
const TAIL: usize = 16;

/// How many of the first mounts are those that were there before. A table is in the order of making (`commit_tree` of
/// fs/namespace.c; by number from 6.8 on), so whatever was made since stands behind all that stayed. A mount that is gone
/// and was made again, of which nothing tells by itself, is not followed by any that stayed.
fn settled(all: &[Mount], before: &HashMap<u64, u64>) -> usize {
    let known = all.iter().enumerate().rev().filter(|(_, mount)| before.get(&mount.id) == Some(&mount.dev));
    known.map(|(n, _)| n).nth(TAIL).map_or(0, |last| last + 1)
}

/// The mount namespace of process 1, in which the service manager has not put us.
fn namespace(proc_root: &Path) -> Option<MountNamespace> {
    let of_first = File::open(proc_root.join("1/ns/mnt")).and_then(|link| MountNamespace::of(link.as_fd()));
    of_first.ok().or_else(|| is_ours(proc_root).then_some(MountNamespace::OWN))
}

/// Whether process 1 sees what this one sees. By the tables themselves, for links below /proc/1 are not everywhere ours to
/// read; their numbers are one namespace's alone.
fn is_ours(proc_root: &Path) -> bool {
    let places = |who: &str| {
        let text = std::fs::read(proc_root.join(who).join("mountinfo")).ok()?;
        Some(mountinfo::parse(&text).into_iter().map(|mount| (mount.id, mount.point)).collect::<Vec<_>>())
    };
    // Something may be mounted between the two.
    (0..3).any(|_| places("1").is_some_and(|first| Some(first) == places("self")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::host::clock;

    /// Those that others mount and unmount meanwhile aside.
    #[test]
    fn the_kernels_list_is_what_mountinfo_shows() {
        let mut listing = Listing::open(Path::new("/proc")).unwrap();
        if procfs::KernelVersion::current().unwrap() < procfs::KernelVersion::new(6, 11, 0) {
            assert!(!listing.read(clock::now()).unwrap().is_empty());
            return;
        }
        assert!(listing.known.is_some());
        let shown = || mountinfo::parse(&std::fs::read("/proc/1/mountinfo").unwrap());
        let before = shown();
        let listed = listing.read(clock::now()).unwrap();
        let again = listing.read(clock::now()).unwrap();
        let after = shown();
        let stayed: Vec<&Mount> = before.iter().filter(|mount| after.contains(mount)).collect();
        assert!(stayed.len() > 2, "{before:?}");
        assert!(listed.iter().all(|(stayed, _)| !stayed));
        for all in [listed, again] {
            for mount in &stayed {
                let found = all.iter().map(|(_, listed)| listed).find(|listed| listed.id == mount.id).unwrap();
                // mountinfo has the super block's read-only state before the filesystem's options.
                let options: &[u8] = mount.options.get(3..).unwrap_or_default();
                let expected = Mount { options: options.to_vec(), ..(*mount).clone() };
                assert_eq!(**found, expected);
            }
        }
    }

    #[test]
    fn what_stands_before_enough_that_stayed_has_stayed() {
        let line = |id: usize| format!("{id} 1 0:{id} / /m{id} rw - overlay overlay rw\n");
        let table = |ids: &[usize]| mountinfo::parse(ids.iter().map(|id| line(*id)).collect::<String>().as_bytes());
        let first: Vec<usize> = (10..40).collect();
        let before = table(&first).iter().map(|mount| (mount.id, mount.dev)).collect();
        assert_eq!(settled(&table(&first), &before), 30 - TAIL);
        assert_eq!(settled(&table(&first), &HashMap::new()), 0, "nothing was known");
        let few: Vec<usize> = first.iter().copied().take(TAIL).collect();
        let more: Vec<usize> = first.iter().copied().chain([1, 2, 3]).collect();
        assert_eq!(settled(&table(&few), &before), 0);
        assert_eq!(settled(&table(&more), &before), 30 - TAIL, "what is new says nothing of those before it");
    }
}

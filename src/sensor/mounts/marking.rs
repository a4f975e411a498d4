//! Marks one mount of a container: what stands in the table for it, and when both go.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::book::{Book, Key};
use super::tools::Tools;
use super::{Mounted, Trust};
use crate::event::{Look, MountNumber, MountedId};
use crate::host::clock;
use crate::host::file::mount_number;
use crate::host::mountinfo::{Mount, Place};
use crate::sensor::fanotify_group::Way;
use crate::sys::file::FileStatus;

/// A mark, and what it is on.
#[derive(Debug)]
pub struct Marked {
    keys: Vec<Key>,
    /// What stands in the table.
    pub mounted: Arc<Mounted>,
}

impl Marked {
    /// Enters what has this number.
    pub fn enter(number: MountNumber, mounted: Arc<Mounted>, book: &Book) -> Self {
        book.enter(Key::Mount(number), &mounted);
        Self { keys: vec![Key::Mount(number)], mounted }
    }

    /// Whether it has this number.
    pub fn is_of(&self, number: MountNumber) -> bool {
        self.keys.first() == Some(&Key::Mount(number))
    }
}

/// What tells whose a mount is.
pub struct Owner<'a> {
    /// What its namespace's root directory lies on.
    pub root: Option<MountedId>,
    /// A process of the namespace.
    pub look: &'a Look,
}

/// Marks one mount, by a descriptor on it.
///
/// # Errors
/// The kernel's; then it is not in the table either.
pub fn mark(
    mount: &Mount,
    known: Option<Marked>,
    place: BorrowedFd<'_>,
    status: FileStatus,
    owner: &Owner<'_>,
    tools: &mut Tools<'_>,
) -> nix::Result<Marked> {
    let private = is_private(mount, tools);
    let Tools { book, group, host, .. } = tools;
    let number = mount_number(status).unwrap_or(MountNumber(mount.id));
    let mut keys = vec![Key::Mount(number)];
    if private && !book.mounts().covers(mount.dev, None) {
        keys.push(Key::Device(mount.dev));
    }
    let known = match known {
        Some(other) if other.keys.first() != keys.first() => {
            forget(other, book);
            None
        }
        Some(mut same) => {
            // By now its process may be where its runtime wants it.
            book.triage().mounted_within(same.mounted.id, owner.root, owner.look);
            // The mount under whose name the device stood may have gone.
            for key in keys.iter().filter(|key| !same.keys.contains(key)).copied().collect::<Vec<_>>() {
                book.enter(key, &same.mounted);
                same.keys.push(key);
            }
            Some(same)
        }
        None => None,
    };
    let marked = known.unwrap_or_else(|| {
        let layers = book.mounts().mounted(mount.dev).and_then(|on| on.layers.clone());
        // Of a device that the host has not mounted, whoever has it can write to it beside its filesystem.
        let trust = Trust::of(mount);
        let trust = if trust == Trust::Marks && !host.has(mount.dev) { Trust::State } else { trust };
        let mounted = book.make(mount.device(), layers, trust);
        // Whose it is has to be known before its first exec is reported.
        book.triage().mounted_within(mounted.id, owner.root, owner.look);
        for key in &keys {
            book.enter(*key, &mounted);
        }
        Marked { keys, mounted }
    });
    if marked.mounted.rests_until(clock::now()).is_some() {
        if marked.mounted.is_marked() {
            marked.mounted.set_marked(false);
            if let Err(e) = group.unmark_mount(place) {
                log::debug!("take the mark from mount {}: {e}", mount.id);
            }
        }
        return Ok(marked);
    }
    // Asked for again where it stands: before Linux 6.8 a mount may have taken the place and the number of another.
    let done = if private { group.mark_filesystem(place) } else { group.mark_mount(place) };
    if let Err(e) = done {
        forget(marked, book);
        return Err(e);
    }
    marked.mounted.set_marked(true);
    Ok(marked)
}

/// Whether the mark on its filesystem sees every mount of it; whose it is is known by the device that its files show.
pub fn is_covered_as_a_whole(mount: &Mount, tools: &Tools<'_>) -> bool {
    let Tools { book, group, host, .. } = tools;
    let shows_its_own = |on: Arc<Mounted>| on.is_covered() && on.layers.as_ref().is_some_and(|all| all.lie_together());
    group.way == Way::Filesystem && host.has(mount.dev) && book.mounts().mounted(mount.dev).is_some_and(shows_its_own)
}

/// Whether the filesystem is the container's alone, and marked by another of its mounts.
pub fn is_covered_by_another(mount: &Mount, tools: &Tools<'_>) -> bool {
    is_private(mount, tools) && tools.book.mounts().covers(mount.dev, None)
}

/// Whether its filesystem can be marked as a whole, because it is not mounted on the host.
fn is_private(mount: &Mount, tools: &Tools<'_>) -> bool {
    tools.group.way == Way::Filesystem && !tools.host.has(mount.dev)
}

/// They are not mounted any more.
pub fn leave(gone: HashMap<Place, Marked>, book: &mut Book) {
    gone.into_values().for_each(|marked| forget(marked, book));
}

/// It is not mounted any more.
pub fn forget(marked: Marked, book: &mut Book) {
    for key in marked.keys {
        book.leave(key, Arc::clone(&marked.mounted), clock::now());
    }
}

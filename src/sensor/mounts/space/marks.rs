//! Which mounts of a namespace are marked at a reading, and why others are not.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use super::Space;
use crate::event::{Monotonic, MountNumber, RootId};
use crate::host::file::mount_number;
use crate::host::mountinfo::{Mount, Place};
use crate::host::reach;
use crate::sensor::far::marks::{Outcome, Request};
use crate::sensor::mounts::book::Book;
use crate::sensor::mounts::marking::{self, Marked, Owner, is_covered_as_a_whole, is_covered_by_another, mark};
use crate::sensor::mounts::tools::Tools;
use crate::sensor::mounts::view::View;
use crate::sensor::status::Uncovered;

/// Mounts of one namespace that are marked.
const MARKS: usize = 512;
/// And that are tried: what cannot be reached is asked for anew at each reading.
const TRIES: usize = 2 * MARKS;
/// A mount whose way was not in memory is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

impl Space {
    /// Enters the mount of a root directory that is no mount point as one at `/`: `unshare -m; chroot DIR` leaves DIR on the
    /// namespace's own copy of the host's mount, which no table shows. The mark is on that copy alone: the filesystem is
    /// the host's, or another's. `is_ours` tells what was marked here before.
    fn enter_roots(&mut self, views: &mut [View], is_ours: impl Fn(&Place) -> bool, tools: &Tools<'_>) {
        let mut shown: HashSet<u64> = views.iter().flat_map(|view| &view.mounts).map(|mount| mount.id).collect();
        for view in views {
            let Some((number, status)) = view.unseen_root(&shown) else { continue };
            let on_host = tools.host.mount_of(status.dev);
            let mount = Mount {
                id: number.unwrap_or(0),
                parent: 0,
                dev: status.dev,
                root: Vec::new(),
                point: b"/".to_vec(),
                noexec: false,
                fs_type: on_host.map_or_else(|| b"unknown".to_vec(), |(mount, _)| mount.fs_type.clone()),
                options: Vec::new(),
            };
            if !mount.is_executable() || is_covered_as_a_whole(&mount, tools) {
                continue;
            }
            let Some(id) = number else {
                self.miss(&mount, "this kernel does not tell the mount of a root directory that is no mount point");
                continue;
            };
            // A descriptor from before leads to a directory of another namespace, be it the host's.
            let as_files_tell = mount_number(status).unwrap_or(MountNumber(id));
            let is_hosts = tools.host.has_mount(id) || tools.host.has_mount(as_files_tell.0);
            if is_hosts || (!is_ours(&mount.place()) && tools.book.mounts().has_mount(as_files_tell)) {
                self.miss(&mount, "a mount of another namespace");
                continue;
            }
            shown.insert(id);
            view.enter_root(mount, !on_host.is_some_and(|(_, is_near)| is_near));
        }
    }

    pub(super) fn mark_all(&mut self, views: &mut [View], root: RootId, tools: &mut Tools<'_>) {
        let mut old = std::mem::take(&mut self.known);
        let mut old_far = self.far.begin();
        self.uncovered.clear();
        self.root_mounted = tools.book.mounts().mounted(root.dev).map(|mounted| mounted.id);
        if let Some(id) = self.root_mounted {
            tools.book.triage().mounted_within(id, None, &self.look);
        }
        self.enter_roots(views, |place| old.contains_key(place) || old_far.has(place), tools);
        let mut tries = 0;
        // Mounts with which there is nothing more to be done.
        let mut done = HashSet::new();
        for (n, view) in views.iter().enumerate() {
            for mount in view.mounts.iter().filter(|mount| mount.is_executable()) {
                if done.contains(&mount.id) || is_covered_as_a_whole(mount, tools) {
                    continue;
                }
                // LXC's own: numbers in files that nobody may execute. Another's of this name is not mounted on the host.
                if mount.fs_type == b"fuse.lxcfs" && tools.host.has(mount.dev) {
                    continue;
                }
                let is_far = view.is_far(mount);
                if is_far && !tools.far.are_possible() {
                    self.miss(mount, "a network or FUSE filesystem, below or over one");
                    continue;
                }
                tries += 1;
                if self.known.len() + self.far.count() >= MARKS || tries > TRIES {
                    self.miss(mount, "too many mounts");
                    continue;
                }
                let place = mount.place();
                if is_far {
                    self.far.see(mount, &mut old_far);
                    let (process, outermost) = (view.process.clone(), self.outermost().to_vec());
                    tools.far.ask(Request { namespace: self.namespace, place, process, outermost });
                    done.insert(mount.id);
                    continue;
                }
                match self.try_mark(mount, old.remove(&place), view, tools) {
                    Ok(marked) => {
                        if n == 0 && mount.point == b"/" {
                            self.root_mounted = self.root_mounted.or(Some(marked.mounted.id));
                        }
                        let rests = marked.mounted.rests_until(self.read_at);
                        // Or it rested, and could not be reached when that was over.
                        let again = || rests.unwrap_or_else(|| self.read_at.plus(RETRY));
                        let unmarked_until = (!marked.mounted.is_marked()).then(again);
                        self.known.insert(place, marked);
                        done.insert(mount.id);
                        self.uncovered.retain(|(id, _)| *id != mount.id);
                        if let Some(end) = unmarked_until {
                            self.read_again(end);
                            self.miss(mount, "more of its files are opened than can be heard of");
                        }
                    }
                    // Another mount of its filesystem could be reached; or nobody can reach it on the host either.
                    Err(Errno::ESTALE) if is_covered_by_another(mount, tools) || tools.host.hides(mount) => {}
                    Err(Errno::ESTALE) => self.miss(mount, "something is mounted over it"),
                    Err(Errno::EAGAIN) => {
                        self.read_again(self.read_at.plus(RETRY));
                        self.miss(mount, "the way to it is not in memory");
                    }
                    Err(e) => self.miss(mount, e.desc()),
                }
            }
            if let Some(last) = view.mounts.last().filter(|_| view.is_cut) {
                self.miss(last, "the mounts after it are too many to be read");
            }
        }
        marking::leave(old, tools.book);
        old_far.leave(tools.book);
    }

    /// Something was heard of a far mount; true where it is still wanted.
    pub fn hear(&mut self, place: &Place, outcome: Outcome, book: &mut Book) -> bool {
        let owner = Owner { root: self.root_mounted, look: &self.look };
        self.far.hear(place, outcome, &owner, book)
    }

    fn try_mark(
        &self,
        mount: &Mount,
        known: Option<Marked>,
        view: &View,
        tools: &mut Tools<'_>,
    ) -> nix::Result<Marked> {
        let owner = Owner { root: self.root_mounted, look: &self.look };
        match (reach::within(view.directory.as_fd(), mount, |number| view.is_safe(number)), known) {
            // Something is mounted over it, and its mark stands, unless it rested.
            (Err(_), Some(known)) => Ok(known),
            (reached, known) => reached.and_then(|(at, status)| mark(mount, known, at.as_fd(), status, &owner, tools)),
        }
    }

    fn read_again(&mut self, at: Monotonic) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    fn miss(&mut self, mount: &Mount, why: &str) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if self.uncovered.len() < MARKS && !self.uncovered.iter().any(|(id, _)| *id == mount.id) {
            let (point, fs_type) = (text(&mount.point), text(&mount.fs_type));
            log::debug!("execs on {point:?} ({fs_type:?}) of process {}'s mounts are not marked: {why}", self.pid);
            self.uncovered.push((mount.id, Uncovered { point, fs_type, why: why.to_owned() }));
        }
    }
}

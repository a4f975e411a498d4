//! The far mounts of one namespace: which are marked, and why the others are not.

use std::collections::HashMap;
use std::sync::Arc;

use nix::errno::Errno;

use super::book::Book;
use super::marking::{self, Marked, Owner};
use crate::event::MountNumber;
use crate::host::mountinfo::{Device, Mount, Place};
use crate::sensor::far::marks::Outcome;
use crate::sensor::status::Uncovered;

/// One of them.
#[derive(Debug)]
pub struct FarMount {
    device: Device,
    fs_type: Vec<u8>,
    /// What stands in the table, once its number is known.
    entered: Option<Marked>,
    refused: Option<&'static str>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct FarMounts {
    known: HashMap<Place, FarMount>,
}

impl FarMounts {
    /// How many.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// How many are marked.
    pub fn covered(&self) -> usize {
        self.known.values().filter(|far| far.is_covered()).count()
    }

    /// Whether there is one whose execs nobody reports.
    pub fn has_uncovered(&self) -> bool {
        self.known.values().any(|far| !far.is_covered())
    }

    /// Takes all that was known, to be compared with what is there now.
    pub fn begin(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Whether this one is among them.
    pub fn has(&self, place: &Place) -> bool {
        self.known.contains_key(place)
    }

    /// This one is there; `before` is what was known before.
    pub fn see(&mut self, mount: &Mount, before: &mut Self) {
        let place = mount.place();
        let known = before.known.remove(&place);
        let new = || FarMount { device: mount.device(), fs_type: mount.fs_type.clone(), entered: None, refused: None };
        self.known.insert(place, known.unwrap_or_else(new));
    }

    /// Something was heard of one; true where it is still wanted.
    pub fn hear(&mut self, place: &Place, outcome: Outcome, owner: &Owner<'_>, book: &mut Book) -> bool {
        let Some(far) = self.known.get_mut(place) else { return false };
        match outcome {
            Outcome::Reached(number) => far.enter(number, owner, book),
            Outcome::Marked => {
                far.refused = None;
                far.entered.iter().for_each(|entered| entered.mounted.set_marked(true));
            }
            Outcome::Refused(why) => far.refuse(reason(why)),
            Outcome::Late => far.refuse("its server does not answer"),
        }
        true
    }

    /// What is not covered, and why.
    pub fn uncovered(&self) -> impl Iterator<Item = Uncovered> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.known.iter().filter(|(_, far)| !far.is_covered()).map(move |((_, _, point), far)| Uncovered {
            point: text(point),
            fs_type: text(&far.fs_type),
            why: far.why().to_owned(),
        })
    }

    /// They are not mounted any more.
    pub fn leave(self, book: &mut Book) {
        self.known.into_values().filter_map(|far| far.entered).for_each(|entered| marking::forget(entered, book));
    }
}

impl FarMount {
    fn is_covered(&self) -> bool {
        self.entered.as_ref().is_some_and(|entered| entered.mounted.is_covered())
    }

    fn why(&self) -> &'static str {
        match self.refused {
            Some(why) => why,
            None if self.entered.as_ref().is_some_and(|entered| entered.mounted.is_marked()) => {
                "a server holds up what reads of such filesystems"
            }
            None => "it is being marked",
        }
    }

    fn refuse(&mut self, why: &'static str) {
        self.refused = Some(why);
        self.entered.iter().for_each(|entered| entered.mounted.set_marked(false));
    }

    /// In the table before it is marked; another one that took its place begins anew.
    fn enter(&mut self, number: MountNumber, owner: &Owner<'_>, book: &mut Book) {
        if self.entered.as_ref().is_some_and(|entered| entered.is_of(number)) {
            return;
        }
        if let Some(other) = self.entered.take() {
            marking::forget(other, book);
        }
        let mounted = book.make_far(self.device);
        // Whose it is has to be known before its first exec is reported.
        book.triage().mounted_within(mounted.id, owner.root, owner.look);
        self.entered = Some(Marked::enter(number, Arc::clone(&mounted), book));
    }
}

fn reason(why: Errno) -> &'static str {
    match why {
        // fs/fuse/dir.c, `fuse_allow_current_process`.
        Errno::EACCES | Errno::EPERM => "its server admits nobody else (FUSE without allow_other)",
        Errno::ESTALE => "something is mounted over it",
        Errno::EAGAIN => "too many servers do not answer",
        other => other.desc(),
    }
}

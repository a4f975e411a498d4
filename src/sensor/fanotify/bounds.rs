//! How many files bear a mark of ours. Each filesystem has a bound of its own, and what one has no room for is reported at
//! each exec: its containers pay for that themselves. The kernel drops marks with their files and tells nobody, and a mark
//! can be taken away through its open file alone; so where one has run out of room, all begin anew, but rarely. Pure.

use std::collections::HashSet;
use std::time::Duration;

use crate::event::Monotonic;
use crate::sensor::fanotify_group::Way;

/// Files of one filesystem, where execs alone are reported.
const EXECUTED: usize = 8192;
/// And where whatever is opened is.
const OPENED: usize = 65_536;
/// So many of them it may have where all together have [`LASTING`].
const ASSURED: usize = 1024;
/// Of filesystems that outlive their containers: nobody can use up the kernel's memory.
const LASTING: usize = 65_536;
/// Where even those that are assured come to so many, which takes ever new mounts, all begin anew at once.
const UTMOST: usize = 4 * LASTING;
/// All begin anew no more often than that.
const AGAIN: Duration = Duration::from_secs(3600);

/// The marks since all began anew.
#[derive(Debug)]
pub struct Bounds {
    /// Of each filesystem.
    room: usize,
    lasting: usize,
    refused: bool,
    began: Monotonic,
}

impl Bounds {
    /// None is set.
    pub fn new(way: Way, now: Monotonic) -> Self {
        let room = if way == Way::Open { OPENED } else { EXECUTED };
        Self { room, lasting: 0, refused: false, began: now }
    }

    /// All marks were taken away.
    pub fn begin_anew(&mut self, now: Monotonic) {
        (self.lasting, self.refused, self.began) = (0, false, now);
    }

    /// Whether a file may be marked beside those of its filesystem that are; counts it then. `lasting`: the filesystem
    /// outlives its containers.
    pub fn admit(&mut self, marked: &mut HashSet<u64>, ino: u64, lasting: bool) -> bool {
        if marked.contains(&ino) {
            return true;
        }
        let room = if lasting && self.lasting >= LASTING { ASSURED } else { self.room };
        if marked.len() >= room {
            self.refused = true;
            return false;
        }
        self.lasting += usize::from(lasting);
        marked.insert(ino)
    }

    /// Whether all marks are to be taken away, so that what is gone counts no more.
    pub fn are_to_begin_anew(&self, now: Monotonic) -> bool {
        (self.refused && now.since(self.began) >= AGAIN) || self.lasting >= UTMOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(bounds: &mut Bounds, marked: &mut HashSet<u64>, files: u64, lasting: bool) -> usize {
        (0..files).filter(|ino| bounds.admit(marked, *ino, lasting)).count()
    }

    #[test]
    fn one_filesystem_with_many_files_takes_nobody_elses_marks() {
        let (mut bounds, hour) = (Bounds::new(Way::Filesystem, Monotonic(0)), Monotonic(0).plus(AGAIN));
        let (mut loud, mut quiet) = (HashSet::new(), HashSet::new());
        assert_eq!(fill(&mut bounds, &mut quiet, 100, false), 100);
        assert!(!bounds.are_to_begin_anew(hour), "there is room");
        assert_eq!(fill(&mut bounds, &mut loud, 100_000, false), EXECUTED);
        assert!(bounds.admit(&mut loud, 7, false), "it has its mark");
        assert!(!bounds.are_to_begin_anew(hour.minus(Duration::from_nanos(1))), "whatever one of them does");
        assert_eq!(fill(&mut bounds, &mut quiet, 200, false), 200);
        assert!(bounds.are_to_begin_anew(hour));
        bounds.begin_anew(hour);
        assert!(!bounds.are_to_begin_anew(hour.plus(AGAIN)));
    }

    #[test]
    fn those_that_last_are_bounded_and_leave_room_to_each() {
        let mut bounds = Bounds::new(Way::Filesystem, Monotonic(0));
        let taken: usize = (0..9).map(|_| fill(&mut bounds, &mut HashSet::new(), 100_000, true)).sum();
        assert_eq!(taken, 8 * EXECUTED + ASSURED);
        assert_eq!(fill(&mut bounds, &mut HashSet::new(), 100_000, true), ASSURED);
        assert_eq!(fill(&mut bounds, &mut HashSet::new(), 100_000, false), EXECUTED, "it goes with its container");
        let mut mounts = 0;
        while !bounds.are_to_begin_anew(Monotonic(1)) {
            fill(&mut bounds, &mut HashSet::new(), 100_000, true);
            mounts += 1;
        }
        assert_eq!(bounds.lasting, UTMOST);
        assert!(mounts > 100);
    }
}

//! How many files bear a mark of ours. Each filesystem has a bound of its own, and what one has no room for is reported at
//! each exec: its containers pay for that themselves, until those that were heard of longest ago make room, a few for many
//! such reports, so that more files in turn than there is room for do not chase each other. A mark is taken away by its
//! file's name; where none of these leads to its file any more, all begin anew, but rarely. Pure.

use std::time::Duration;

use crate::event::Monotonic;
use crate::sensor::fanotify_group::Way;
use crate::sensor::mounts::ignored::Ignored;
use crate::sensor::without::{Part, without};

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
/// Where all of a filesystem's room is used, and half as many reports have come of what found none, this part of it is
/// made free.
const PART: usize = 16;
/// The room where a test takes it away.
const NEXT_TO_NONE: usize = 64;
/// All begin anew no more often than that.
const AGAIN: Duration = Duration::from_secs(3600);

/// A file that is to be marked.
pub struct Candidate<'a> {
    /// Its inode's number.
    pub ino: u64,
    /// One of its names.
    pub name: &'a [u8],
    /// Its filesystem outlives its containers.
    pub lasting: bool,
    /// It was reported just now, so that others may have to make room for it.
    pub reported: bool,
}

/// The marks since all began anew.
#[derive(Debug)]
pub struct Bounds {
    /// Of each filesystem.
    room: usize,
    /// Not of all that is opened: memory.
    keeps_names: bool,
    lasting: usize,
    refused: bool,
    began: Monotonic,
}

impl Bounds {
    /// None is set.
    pub fn new(way: Way, now: Monotonic) -> Self {
        let keeps_names = way != Way::Open;
        let room = match way {
            _ if without(Part::Room) => NEXT_TO_NONE,
            Way::Open => OPENED,
            Way::Filesystem | Way::Mount => EXECUTED,
        };
        Self { room, keeps_names, lasting: 0, refused: false, began: now }
    }

    /// All marks were taken away.
    pub fn begin_anew(&mut self, now: Monotonic) {
        (self.lasting, self.refused, self.began) = (0, false, now);
    }

    /// Whether a file may be marked beside those of its filesystem that are; counts it then. `taker` makes what takes the
    /// mark from others, by their inode numbers and names, where that can be done just now.
    pub fn admit<T: FnMut(u64, &[u8]) -> bool>(
        &mut self,
        ignored: &mut Ignored,
        file: &Candidate<'_>,
        taker: impl FnOnce() -> Option<T>,
    ) -> bool {
        if ignored.hear_of(file.ino) {
            return true;
        }
        let room = if file.lasting && self.lasting >= LASTING { ASSURED } else { self.room };
        if ignored.count() >= room {
            if !file.reported || ignored.refuse() < self.room / 2 {
                return false;
            }
            let gone = taker().map_or(0, |take_away| ignored.let_go(self.room / PART, take_away));
            self.lasting -= if file.lasting { gone } else { 0 };
            self.refused |= gone == 0;
            if ignored.count() >= room {
                return false;
            }
        }
        self.lasting += usize::from(file.lasting);
        ignored.add(file.ino, if self.keeps_names { file.name } else { b"" });
        true
    }

    /// Whether all marks are to be taken away, so that what is gone counts no more.
    pub fn are_to_begin_anew(&self, now: Monotonic) -> bool {
        (self.refused && now.since(self.began) >= AGAIN) || self.lasting >= UTMOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many files, the first of this number.
    fn fill(bounds: &mut Bounds, ignored: &mut Ignored, first: u64, files: u64, lasting: bool) -> usize {
        let admit = |ino: &u64| {
            bounds.admit(ignored, &Candidate { ino: *ino, name: b"/tool", lasting, reported: true }, || {
                Some(|_, _: &[u8]| true)
            })
        };
        (first..first + files).filter(admit).count()
    }

    #[test]
    fn one_filesystem_with_many_files_takes_nobody_elses_marks() {
        let (mut bounds, hour) = (Bounds::new(Way::Open, Monotonic(0)), Monotonic(0).plus(AGAIN));
        let (mut loud, mut quiet) = (Ignored::default(), Ignored::default());
        assert_eq!(fill(&mut bounds, &mut quiet, 0, 100, false), 100);
        assert!(!bounds.are_to_begin_anew(hour), "there is room");
        assert_eq!(fill(&mut bounds, &mut loud, 0, 100_000, false), OPENED);
        assert_eq!(fill(&mut bounds, &mut loud, 7, 1, false), 1, "it has its mark");
        assert!(!bounds.are_to_begin_anew(hour.minus(Duration::from_nanos(1))), "whatever one of them does");
        assert_eq!(fill(&mut bounds, &mut quiet, 0, 200, false), 200);
        assert!(bounds.are_to_begin_anew(hour), "no names");
        bounds.begin_anew(hour);
        assert!(!bounds.are_to_begin_anew(hour.plus(AGAIN)));
    }

    #[test]
    fn those_heard_of_longest_ago_make_room_for_what_is_executed_again_and_again() {
        let mut bounds = Bounds::new(Way::Filesystem, Monotonic(0));
        let mut ignored = Ignored::default();
        let room = EXECUTED as u64;
        assert_eq!(fill(&mut bounds, &mut ignored, 0, room, false), EXECUTED);
        assert_eq!(fill(&mut bounds, &mut ignored, 0, 1, false), 1, "heard of again");
        let mut taken = Vec::new();
        let tool = Candidate { ino: room, name: b"/tool", lasting: false, reported: true };
        let reports = (0..room)
            .take_while(|_| {
                let take_away = |ino, _: &[u8]| {
                    taken.push(ino);
                    true
                };
                !bounds.admit(&mut ignored, &tool, || Some(take_away))
            })
            .count();
        assert_eq!(reports, EXECUTED / 2 - 1);
        assert_eq!(taken, (1..=room / 16).collect::<Vec<_>>());
        assert_eq!(ignored.count(), EXECUTED - EXECUTED / 16 + 1);
        assert!(!bounds.are_to_begin_anew(Monotonic(0).plus(AGAIN)));
        // A quarter more files than there is room for, in turn.
        let mut turn = || fill(&mut bounds, &mut ignored, 0, room + room / 4, false);
        turn();
        assert!((0..4).all(|_| turn() > EXECUTED / 2), "most are ignored");
    }

    #[test]
    fn marks_whose_files_are_found_no_more_are_taken_away_with_all() {
        let mut bounds = Bounds::new(Way::Filesystem, Monotonic(0));
        let mut ignored = Ignored::default();
        let mut admit = |ino| {
            let file = Candidate { ino, name: b"/tool", lasting: true, reported: true };
            bounds.admit(&mut ignored, &file, || Some(|_, _: &[u8]| false))
        };
        assert_eq!((0..2 * EXECUTED as u64).filter(|ino| admit(*ino)).count(), EXECUTED);
        assert!(bounds.are_to_begin_anew(Monotonic(0).plus(AGAIN)));
    }

    #[test]
    fn those_that_last_are_bounded_and_leave_room_to_each() {
        let mut bounds = Bounds::new(Way::Filesystem, Monotonic(0));
        // Too few of them to make others go.
        let more = (ASSURED + EXECUTED / 2) as u64 - 1;
        for _ in 0..8 {
            assert_eq!(fill(&mut bounds, &mut Ignored::default(), 0, EXECUTED as u64, true), EXECUTED);
        }
        for _ in 0..2 {
            assert_eq!(fill(&mut bounds, &mut Ignored::default(), 0, more, true), ASSURED);
        }
        let all = fill(&mut bounds, &mut Ignored::default(), 0, EXECUTED as u64, false);
        assert_eq!(all, EXECUTED, "it goes with its container");
        let mut mounts = 0;
        while !bounds.are_to_begin_anew(Monotonic(1)) {
            fill(&mut bounds, &mut Ignored::default(), 0, ASSURED as u64, true);
            mounts += 1;
        }
        assert_eq!(bounds.lasting, UTMOST);
        assert!(mounts > 100);
    }
}

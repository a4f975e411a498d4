//! Where each open of a file is an event, whoever opens very many files that may not be ignored pays for each, and
//! everybody pays for the reader: such a mount is left to the connector for a while. One file that is opened again and
//! again, as a program is that runs often, is no reason for that. Pure, clock passed in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::event::{Monotonic, MountedId};

/// So many innocent files opened on one mount within [`WITHIN`].
const ENOUGH: usize = 4096;
/// Or so many, where there are [`CROWD`] on all mounts together.
const ENOUGH_IN_A_CROWD: usize = 1024;
const CROWD: usize = 8192;
const WITHIN: Duration = Duration::from_secs(1);
/// So long its opens are not asked for.
pub const REST: Duration = Duration::from_secs(5);
/// Files remembered at a time, of all mounts.
const FILES: usize = 32_768;

/// Counts the files.
#[derive(Debug, Default)]
pub struct Breaker {
    since: Monotonic,
    opened: HashMap<MountedId, HashSet<u64>>,
    files: usize,
    /// Mounts that had enough.
    resting: HashSet<MountedId>,
}

impl Breaker {
    /// Counts the open of an innocent file, by its inode number, that cannot be ignored; true where its mount has had enough.
    pub fn opened(&mut self, on: MountedId, ino: u64, at: Monotonic) -> bool {
        if at.since(self.since) > WITHIN || self.files >= FILES {
            *self = Self { since: at, ..Self::default() };
        }
        let files = self.opened.entry(on).or_default();
        let is_new = files.insert(ino);
        self.files += usize::from(is_new);
        let enough = if self.files >= CROWD { ENOUGH_IN_A_CROWD } else { ENOUGH };
        is_new && files.len() >= enough && self.resting.insert(on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(3_600_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn one_mounts_files_of_a_second_are_enough_once() {
        let mut breaker = Breaker::default();
        let mut told = |on, ms, files: std::ops::Range<usize>| {
            files.filter(|ino| breaker.opened(MountedId(on), *ino as u64, at(ms))).count()
        };
        assert_eq!(told(1, 0, 0..ENOUGH - 1), 0);
        assert_eq!(told(1, 0, 0..ENOUGH - 1), 0, "the same again");
        assert_eq!(told(2, 500, 0..ENOUGH - 1), 0);
        assert_eq!(told(1, 900, 0..2 * ENOUGH), 1);
        assert_eq!(told(2, 1001, 0..ENOUGH - 1), 0, "another second");
        assert_eq!(told(2, 1500, ENOUGH..ENOUGH + 1), 1);
    }

    #[test]
    fn many_mounts_together_are_enough() {
        let mut breaker = Breaker::default();
        let mut told = |on, files: std::ops::Range<usize>| {
            files.filter(|ino| breaker.opened(MountedId(on), *ino as u64, at(1))).count()
        };
        let each = CROWD / 9;
        assert_eq!((0..9).map(|on| told(on, 0..each)).sum::<usize>(), 0);
        assert_eq!((0..9).map(|on| told(on, each..ENOUGH / 2)).sum::<usize>(), 9, "each once");
        assert_eq!(told(9, 0..ENOUGH_IN_A_CROWD - 1), 0, "a mount that opens few");
    }

    #[test]
    fn few_files_are_remembered() {
        let mut breaker = Breaker::default();
        for on in 0..1000 {
            for ino in 0..100 {
                breaker.opened(MountedId(on), ino, at(0));
            }
        }
        assert!(breaker.opened.values().map(HashSet::len).sum::<usize>() <= FILES);
    }
}

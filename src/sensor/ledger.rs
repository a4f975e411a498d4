//! The execs that the connector counted and could not, or need not, tell of: dead before their look, or settled by it.
//! Whoever has attempts of fanotify to confirm takes them from here; what nobody wants grows old and is counted as
//! unexamined. So a storm of innocent programs costs no message.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::{Comm, Inode, Monotonic, Pid, SensorKind};
use crate::sensor::counters::Counters;

/// An EXEC older than this has no attempt that is still on its way, once all that the kernel's queue had then was read:
/// the reader's patience and detection's channel hold less.
pub const OLD: Duration = Duration::from_secs(1);
/// A reader that is behind for longer has hung.
const BEHIND: Duration = Duration::from_secs(10);
/// A storm of 20,000 execs a second for so long.
const ROOM: usize = 20_000;

/// What the look told of an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// It was dead, or another image had taken its place.
    Unknown,
    /// It had ended: what file that was nobody saw, but its name.
    Ended(LastName),
    /// Our own canary's: nobody waits for it.
    Canary,
    /// This file, under this name: it may interpret a script that is called so.
    File(Inode, Comm),
}

/// The name under which a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastName {
    /// The name.
    pub comm: Comm,
    /// Who saw it.
    pub known_by: SensorKind,
}

impl Image {
    /// The file that runs, where it was seen.
    pub fn file(self) -> Option<Inode> {
        if let Self::File(inode, _) = self { Some(inode) } else { None }
    }

    /// Whether it is the record of an end that tells of it.
    pub fn is_recorded(self) -> bool {
        matches!(self, Self::Ended(LastName { known_by: SensorKind::Taskstats, .. }))
    }

    /// Whether nobody saw what was executed.
    pub fn is_unseen(self) -> bool {
        matches!(self, Self::Unknown | Self::Ended(_))
    }
}

/// One EXEC of the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The host's pid.
    pub pid: Pid,
    /// The kernel's time stamp.
    pub at: Monotonic,
    /// What became of it.
    pub image: Image,
}

/// Shared by the connector's reader and detection.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<VecDeque<Counted>>,
    /// Somebody waits for the next entry.
    wanted: AtomicBool,
    /// fanotify runs: without it there is nothing to confirm.
    kept: AtomicBool,
    /// The connector runs: without it nothing is ever confirmed.
    connected: AtomicBool,
    /// The moment up to which attempts were read, where there are later ones; else 0.
    behind: AtomicU64,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Counted>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on entries are kept for a while.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// There is nothing to confirm after all.
    pub fn let_go(&self) {
        self.kept.store(false, Ordering::Release);
        self.lock().clear();
    }

    /// The connector runs, or does not.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    /// Whether the connector runs.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// All attempts up to this moment were read, and there are later ones; `None`: all that there are.
    pub fn set_behind(&self, since: Option<Monotonic>) {
        self.behind.store(since.map_or(0, |since| since.0), Ordering::Release);
    }

    /// Up to when all attempts were read, where there are later ones.
    pub fn behind(&self, now: Monotonic) -> Option<Monotonic> {
        let since = Some(self.behind.load(Ordering::Acquire)).filter(|since| *since > 0)?;
        Some(Monotonic(since).max(now.minus(BEHIND)))
    }

    /// Whether entries are kept.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// Counts as unexamined what has grown old.
    pub fn age(&self, now: Monotonic, counters: &Counters) {
        if self.is_kept() {
            self.make_room(&mut self.lock(), 0, now, counters);
        }
    }

    fn make_room(&self, entries: &mut VecDeque<Counted>, room: usize, now: Monotonic, counters: &Counters) {
        let until = self.behind(now).unwrap_or(now);
        let old = entries.iter().take_while(|e| until.since(e.at) > OLD).count();
        let beyond = (entries.len() + room).saturating_sub(ROOM).min(entries.len());
        let gone = unexamined(entries.range(..old.max(beyond)));
        entries.drain(..old.max(beyond));
        counters.add_unexamined(gone, now);
    }

    /// Adds what one drain found; true where somebody waits for it.
    pub fn add(&self, counted: &[Counted], now: Monotonic, counters: &Counters) -> bool {
        if counted.is_empty() {
            return false;
        }
        if !self.is_kept() {
            counters.add_unexamined(unexamined(counted), now);
            return false;
        }
        let mut entries = self.lock();
        self.make_room(&mut entries, counted.len(), now, counters);
        entries.extend(counted);
        // Under the lock, so that whoever asks sees the entries or is told of them.
        self.wanted.swap(false, Ordering::AcqRel)
    }

    /// Takes all entries.
    pub fn take(&self) -> VecDeque<Counted> {
        std::mem::take(&mut *self.lock())
    }

    /// Asks to be told of the next entry; false where there is one already.
    pub fn is_waited_for(&self) -> bool {
        let entries = self.lock();
        self.wanted.store(entries.is_empty(), Ordering::Release);
        entries.is_empty()
    }
}

/// How many of them nobody saw.
pub fn unexamined<'a>(counted: impl IntoIterator<Item = &'a Counted>) -> u64 {
    counted.into_iter().filter(|c| c.image.is_unseen()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, image: Image) -> Counted {
        Counted { pid: Pid(1), at: Monotonic(ms * 1_000_000), image }
    }

    #[test]
    fn what_nobody_wants_is_unexamined_when_it_is_old() {
        let (ledger, counters) = (Ledger::default(), Counters::default());
        ledger.keep();
        let now = Monotonic(2_000_000_000);
        assert!(!ledger.add(&[at(950, Image::Unknown), at(980, Image::Canary)], now, &counters));
        assert_eq!(counters.unexamined(Monotonic(2_000_000_000)).total, 0);
        ledger.add(&[at(1999, Image::Unknown)], now, &counters);
        assert_eq!(counters.unexamined(Monotonic(2_000_000_000)).total, 1);
        assert!(!ledger.is_waited_for());
        assert_eq!(ledger.take().len(), 1);
        assert!(ledger.is_waited_for());
        assert!(ledger.add(&[at(2000, Image::Unknown)], now, &counters), "somebody waits");
        assert!(!ledger.add(&[at(2000, Image::Unknown)], now, &counters), "and was told");
    }

    #[test]
    fn without_fanotify_each_counts_at_once() {
        let (ledger, counters) = (Ledger::default(), Counters::default());
        let file = Image::File(Inode { dev: 1, ino: 2 }, Comm::new(b"cc"));
        let name = LastName { comm: Comm::new(b"ls"), known_by: SensorKind::Connector };
        ledger.add(
            &[Image::Unknown, Image::Ended(name), Image::Canary, file].map(|image| at(1, image)),
            Monotonic(0),
            &counters,
        );
        assert_eq!(counters.unexamined(Monotonic(2_000_000_000)).total, 2);
        assert!(ledger.take().is_empty());
    }

    #[test]
    fn what_grows_old_without_a_further_exec_is_counted_when_somebody_asks() {
        let (ledger, counters) = (Ledger::default(), Counters::default());
        ledger.keep();
        ledger.add(&[at(0, Image::Unknown), at(1, Image::Canary)], at(2, Image::Canary).at, &counters);
        ledger.age(at(900, Image::Canary).at, &counters);
        assert_eq!(counters.unexamined(Monotonic(0)).total, 0);
        ledger.set_behind(Some(Monotonic(1)));
        ledger.age(at(1002, Image::Canary).at, &counters);
        assert_eq!(counters.unexamined(Monotonic(0)).total, 0, "its attempt may be among those that are not read yet");
        ledger.set_behind(None);
        ledger.age(at(1002, Image::Canary).at, &counters);
        assert_eq!(counters.unexamined(Monotonic(0)).total, 1);
        assert!(ledger.take().is_empty());
        ledger.add(&[at(2000, Image::Unknown)], at(2000, Image::Canary).at, &counters);
        ledger.set_behind(Some(Monotonic(1)));
        ledger.age(at(14_000, Image::Canary).at, &counters);
        assert_eq!(counters.unexamined(Monotonic(0)).total, 2, "who is behind for so long has hung");
    }

    #[test]
    fn it_is_bounded() {
        let (ledger, counters) = (Ledger::default(), Counters::default());
        ledger.keep();
        let many = vec![at(0, Image::Unknown); ROOM];
        ledger.add(&many, Monotonic(0), &counters);
        ledger.add(&many, Monotonic(0), &counters);
        assert_eq!((ledger.take().len(), counters.unexamined(Monotonic(2_000_000_000)).total), (ROOM, ROOM as u64));
    }
}

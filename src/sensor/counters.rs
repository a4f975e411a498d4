//! The numbers that sensors count and others read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::Monotonic;

/// What died unseen so shortly before a session's first exec may have been part of the session.
const LATELY: Duration = Duration::from_secs(1);

/// Counted by the sensors.
#[derive(Debug, Default)]
pub struct Counters {
    execs: AtomicU64,
    eager: AtomicBool,
    unexamined: Mutex<Recent>,
}

/// Execs that the connector counted and that were dead before their look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unexamined {
    /// Since the start.
    pub total: u64,
    /// Of these, those of the last one to two seconds.
    pub lately: u64,
}

/// Two windows of [`LATELY`]: the one that runs, and the one before.
#[derive(Debug, Default)]
struct Recent {
    total: u64,
    began: Monotonic,
    running: u64,
    before: u64,
}

impl Recent {
    fn turn(&mut self, now: Monotonic) {
        let passed = now.since(self.began);
        if passed >= LATELY {
            self.before = if passed >= 2 * LATELY { 0 } else { self.running };
            self.running = 0;
            self.began = now;
        }
    }
}

impl Counters {
    /// Adds to the execs that nobody could look at.
    pub fn add_unexamined(&self, count: u64, now: Monotonic) {
        if count == 0 {
            return;
        }
        let mut recent = self.unexamined.lock().unwrap_or_else(PoisonError::into_inner);
        recent.turn(now);
        recent.total += count;
        recent.running += count;
    }

    /// The execs that nobody could look at.
    pub fn unexamined(&self, now: Monotonic) -> Unexamined {
        let mut recent = self.unexamined.lock().unwrap_or_else(PoisonError::into_inner);
        recent.turn(now);
        Unexamined { total: recent.total, lately: recent.running + recent.before }
    }

    /// Whether the connector's reader looks at each exec at once, or rests.
    pub fn set_eager(&self, eager: bool) {
        self.eager.store(eager, Ordering::Relaxed);
    }

    /// Whether the connector's reader looks at each exec at once.
    pub fn is_eager(&self) -> bool {
        self.eager.load(Ordering::Relaxed)
    }

    /// Execs that the connector counted.
    pub fn execs(&self) -> u64 {
        self.execs.load(Ordering::Relaxed)
    }

    /// Adds to the execs that the connector counted.
    pub fn add_execs(&self, count: usize) {
        self.execs.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lately_is_a_second_or_two() {
        let counters = Counters::default();
        let at = |ms: u64| Monotonic(3_600_000_000_000 + ms * 1_000_000);
        let lately = |ms| counters.unexamined(at(ms));
        counters.add_unexamined(3, at(0));
        assert_eq!(lately(900), Unexamined { total: 3, lately: 3 });
        counters.add_unexamined(4, at(1500));
        assert_eq!(lately(1600), Unexamined { total: 7, lately: 7 });
        assert_eq!(lately(2600), Unexamined { total: 7, lately: 4 });
        assert_eq!(lately(9000), Unexamined { total: 7, lately: 0 });
    }
}

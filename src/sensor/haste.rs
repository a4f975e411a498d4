//! Whether the connector may rest: what its looks find in containers and no mark of fanotify covers keeps it eager for a
//! while. Pure, clock passed in.

use std::time::Duration;

use crate::event::Monotonic;
use crate::sensor::pace::Mode;

/// So many uncovered execs within [`WITHIN`]: a runtime's own, when it enters a container, is one.
const ENOUGH: u32 = 3;
const WITHIN: Duration = Duration::from_secs(1);
/// Haste lasts so long after the last reason for it.
const LASTS: Duration = Duration::from_secs(10);

/// Turns the reader eager and lazy.
#[derive(Debug)]
pub struct Haste {
    /// What the reader is to be where everything is covered.
    base: Mode,
    hits: u32,
    since: Monotonic,
    until: Monotonic,
}

impl Haste {
    /// Begins in this mode; [`Mode::Eager`] is never left.
    pub fn new(base: Mode) -> Self {
        Self { base, hits: 0, since: Monotonic(0), until: Monotonic(0) }
    }

    /// Whether anything else covers the containers at all has changed.
    pub fn set_base(&mut self, base: Mode) {
        self.base = base;
    }

    /// So many looks found an exec of a container on a filesystem that is not marked.
    pub fn uncovered(&mut self, hits: u32, now: Monotonic) {
        if hits == 0 {
            return;
        }
        if now.since(self.since) > WITHIN {
            (self.since, self.hits) = (now, 0);
        }
        self.hits += hits;
        if self.hits >= ENOUGH || now < self.until {
            self.until = now.plus(LASTS);
        }
    }

    /// What the reader is to be.
    pub fn mode(&self, now: Monotonic) -> Mode {
        if self.base == Mode::Lazy && now >= self.until { Mode::Lazy } else { Mode::Eager }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(3_600_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn some_uncovered_execs_make_haste_for_a_while() {
        let mut coverage = Haste::new(Mode::Lazy);
        coverage.uncovered(1, at(0));
        coverage.uncovered(0, at(10));
        coverage.uncovered(1, at(20));
        coverage.uncovered(1, at(2000));
        assert_eq!(coverage.mode(at(2001)), Mode::Lazy, "a docker exec now and then");
        coverage.uncovered(2, at(2100));
        assert_eq!(coverage.mode(at(2101)), Mode::Eager);
        coverage.uncovered(1, at(9000));
        assert_eq!(coverage.mode(at(18_900)), Mode::Eager, "it lasts");
        assert_eq!(coverage.mode(at(19_001)), Mode::Lazy);
    }

    #[test]
    fn without_another_sensor_it_is_always_eager() {
        let mut coverage = Haste::new(Mode::Eager);
        assert_eq!(coverage.mode(at(0)), Mode::Eager);
        coverage.set_base(Mode::Lazy);
        assert_eq!(coverage.mode(at(0)), Mode::Lazy);
    }
}

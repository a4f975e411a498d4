//! How often something may be said. A small value that its owner keeps beside what it limits; it reads no clock and
//! says nothing itself.

use std::time::Duration;

use crate::event::Monotonic;

/// At most so many in each window; the window begins with the first that is admitted after the last has ended.
#[derive(Debug, Clone)]
pub struct RateLimit {
    burst: u32,
    window: Duration,
    began: Option<Monotonic>,
    admitted: u32,
    suppressed: u64,
}

impl RateLimit {
    /// `burst` in each `window`; a burst of 0 admits nothing, ever.
    pub fn new(burst: u32, window: Duration) -> Self {
        Self { burst, window, began: None, admitted: 0, suppressed: 0 }
    }

    /// Asks for one. `Some` admits it and tells how many were suppressed since the last that was admitted; `None`
    /// suppresses and counts it.
    pub fn admit(&mut self, now: Monotonic) -> Option<u64> {
        if self.began.is_none_or(|began| now.since(began) >= self.window) {
            self.began = Some(now);
            self.admitted = 0;
        }
        if self.admitted >= self.burst {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// How many were suppressed since the last that was admitted.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_a_burst_then_counts() {
        let mut limit = RateLimit::new(2, Duration::from_secs(10));
        let at = |seconds: u64| Monotonic(seconds * 1_000_000_000);
        assert_eq!(limit.admit(at(100)), Some(0));
        assert_eq!(limit.admit(at(101)), Some(0));
        assert_eq!(limit.admit(at(102)), None);
        assert_eq!(limit.admit(at(109)), None);
        assert_eq!(limit.suppressed(), 2);
        assert_eq!(limit.admit(at(110)), Some(2));
        assert_eq!(limit.suppressed(), 0);
        assert_eq!(limit.admit(at(119)), Some(0));
        assert_eq!(limit.admit(at(119)), None);
    }

    #[test]
    fn a_clock_that_goes_back_suppresses_rather_than_floods() {
        let mut limit = RateLimit::new(1, Duration::from_secs(10));
        assert_eq!(limit.admit(Monotonic(5_000_000_000)), Some(0));
        assert_eq!(limit.admit(Monotonic(1)), None);
    }

    #[test]
    fn zero_admits_nothing() {
        let mut limit = RateLimit::new(0, Duration::ZERO);
        assert_eq!(limit.admit(Monotonic(1)), None);
        assert_eq!(limit.admit(Monotonic(2)), None);
        assert_eq!(limit.suppressed(), 2);
    }
}

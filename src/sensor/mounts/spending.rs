//! How much of the processor the readings of one namespace take, and how long it is left alone for that. Pure, clock
//! passed in.

use std::time::Duration;

use crate::event::Monotonic;

/// Time for readings that a namespace is given in advance: it is new, or was quiet for long.
const CREDIT: Duration = Duration::from_millis(20);

/// The account of one namespace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spending {
    /// What the last reading took.
    pub last: Duration,
    /// What readings took, as far as time has not paid for it yet.
    debt: Duration,
    paid: Monotonic,
    /// It is not read before this.
    pub rest: Monotonic,
}

impl Spending {
    /// A reading took so long; one part in `share` of the time may go into readings.
    pub fn spend(&mut self, took: Duration, share: u32, now: Monotonic) {
        let paid = now.since(self.paid) / share.max(1);
        self.debt = self.debt.saturating_sub(paid) + took;
        (self.last, self.paid) = (took, now);
        self.rest = now.plus(self.debt.saturating_sub(CREDIT) * share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: u32 = 20;

    fn at(ms: u64) -> Monotonic {
        Monotonic(3_600_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn what_a_runtime_mounts_is_read_at_once() {
        let mut spending = Spending::default();
        for n in 0..30 {
            spending.spend(Duration::from_micros(500), SHARE, at(n * 5));
            assert_eq!(spending.rest, at(n * 5), "{n}");
        }
    }

    #[test]
    fn whoever_mounts_without_end_has_his_share() {
        let (mut spending, mut now, mut took) = (Spending::default(), at(0), Duration::ZERO);
        let reading = Duration::from_millis(50);
        while now < at(60_000) {
            spending.spend(reading, SHARE, now);
            took += reading;
            now = spending.rest.max(now.plus(reading));
        }
        assert!(took <= Duration::from_millis(3100), "{took:?} of a minute");
        spending.spend(Duration::from_millis(1), SHARE, at(120_000));
        assert_eq!(spending.rest, at(120_000), "he was quiet since");
    }
}

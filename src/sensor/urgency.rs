//! Whether a reader runs in the real-time class. A build's short processes are gone before a normal thread has run on a
//! busy machine; but to wake a real-time thread costs a tenth of a look more, which innocent programs on an idle machine
//! need not pay. In a storm it is the other way round: a normal one is put where the storm's programs run. Pure, clock
//! passed in.

use std::time::Duration;

use crate::event::Monotonic;

/// A wake-up that comes so late shows a busy machine.
const LATE: Duration = Duration::from_millis(1);
/// Urgency lasts so long after its last reason.
const LASTS: Duration = Duration::from_secs(60);

/// Decides it.
#[derive(Debug)]
pub struct Urgency {
    until: Monotonic,
    at_once: bool,
}

impl Urgency {
    /// Begins with haste: what ran before the start may be a build.
    pub fn new(now: Monotonic) -> Self {
        Self { until: now.plus(LASTS), at_once: false }
    }

    /// Something was executed that somebody wants to see, or very much is.
    pub fn press(&mut self, now: Monotonic) {
        self.until = now.plus(LASTS);
    }

    /// So long an event has waited for a reader that waited for it.
    pub fn woke_after(&mut self, waited: Duration, now: Monotonic) {
        if waited >= LATE {
            self.press(now);
        }
    }

    /// What is to become of the thread where that changes: whether it is to run at once.
    pub fn change(&mut self, now: Monotonic) -> Option<bool> {
        let at_once = now < self.until;
        (std::mem::replace(&mut self.at_once, at_once) != at_once).then_some(at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_a_while_after_each_reason() {
        let at = |ms: u64| Monotonic(3_600_000_000_000 + ms * 1_000_000);
        let mut urgency = Urgency::new(at(0));
        assert_eq!(urgency.change(at(1)), Some(true));
        assert_eq!(urgency.change(at(60_001)), Some(false));
        urgency.woke_after(Duration::from_micros(200), at(70_000));
        assert_eq!(urgency.change(at(70_000)), None);
        urgency.woke_after(Duration::from_millis(2), at(70_001));
        assert_eq!(urgency.change(at(70_001)), Some(true));
        urgency.press(at(100_000));
        assert_eq!(urgency.change(at(159_000)), None);
        urgency.press(at(159_000));
        assert_eq!(urgency.change(at(160_001)), None);
        assert_eq!(urgency.change(at(219_001)), Some(false));
    }
}

//! How long the connector's reader rests before it polls again. A wake-up costs the machine more than an event:
//! lazy, a storm is read in coalesced drains; eager, only a budget of CPU time ends the haste. Pure, clock passed in.

use std::time::Duration;

use crate::event::Monotonic;

/// Share of a core that the eager reader may take.
const EAGER_SHARE: f64 = 0.05;
/// CPU time that it may have saved up: a build is read without rest, a storm that lasts is not.
const EAGER_SAVINGS_NS: f64 = 500e6;
/// Rest of an eager reader that has used up its share.
const EAGER_REST: Duration = Duration::from_millis(1);
/// CPU time is asked for so often at least, and at each turn above [`BUSY`] execs a second: the call is a part of what a
/// lone exec costs.
const ACCOUNTED: Duration = Duration::from_secs(1);
/// Below so many execs a second there is no rest.
const BUSY: f64 = 200.0;
/// The rate is an average over about this long.
const RATE_WINDOW_NS: f64 = 250e6;

/// Whether anything but the connector covers the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Some container is covered by nothing else: look at once.
    Eager,
    /// Everything is covered by another sensor too.
    Lazy,
}

/// Decides the rest after each drain.
#[derive(Debug)]
pub struct Pace {
    mode: Mode,
    last: Monotonic,
    execs_per_second: f64,
    savings_ns: f64,
    /// When CPU time was asked for last, and what it was.
    accounted: (Monotonic, Option<u64>),
    throttled: bool,
}

impl Pace {
    /// Starts with all savings and no rate.
    pub fn new(mode: Mode, now: Monotonic) -> Self {
        Self {
            mode,
            last: now,
            execs_per_second: 0.0,
            savings_ns: EAGER_SAVINGS_NS,
            accounted: (now, None),
            throttled: false,
        }
    }

    /// Changes the mode.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.accounted.1 = None;
    }

    /// Whether the last rest was forced on an eager reader: its containers are covered in part.
    pub fn throttled(&self) -> bool {
        self.throttled
    }

    /// Whether so many programs are executed that a lazy reader rests.
    pub fn is_busy(&self) -> bool {
        self.execs_per_second >= BUSY
    }

    /// Execs a second, on average over the last quarter of one.
    pub fn execs_per_second(&self) -> f64 {
        self.execs_per_second
    }

    /// Accounts one drain of `execs` events, and says how long to rest; `cpu` tells this thread's CPU time so far,
    /// nanoseconds.
    #[allow(clippy::cast_precision_loss)] // counts and nanoseconds far below 2^52
    pub fn rest(&mut self, now: Monotonic, execs: usize, cpu: impl FnOnce() -> Option<u64>) -> Duration {
        let passed = (now.since(self.last).as_nanos() as f64).max(1.0);
        self.last = now;
        let keep = keep_of(passed / RATE_WINDOW_NS);
        self.execs_per_second = self.execs_per_second * keep + execs as f64 / RATE_WINDOW_NS * 1e9;
        // Only eagerness has a budget.
        let is_due = self.is_busy() || now.since(self.accounted.0) >= ACCOUNTED;
        if self.mode == Mode::Eager && is_due {
            self.account(now, cpu());
        }
        self.throttled = self.mode == Mode::Eager && self.savings_ns < 0.0;
        match self.mode {
            Mode::Eager if self.throttled => EAGER_REST,
            Mode::Eager => Duration::ZERO,
            Mode::Lazy if !self.is_busy() => Duration::ZERO,
            Mode::Lazy if self.execs_per_second < 1000.0 => Duration::from_millis(2),
            Mode::Lazy => Duration::from_millis(5),
        }
    }

    #[allow(clippy::cast_precision_loss)] // nanoseconds far below 2^52
    fn account(&mut self, now: Monotonic, cpu: Option<u64>) {
        let passed = now.since(self.accounted.0).as_nanos() as f64;
        let spent = cpu.zip(self.accounted.1).map_or(0, |(cpu, before)| cpu.saturating_sub(before));
        self.savings_ns = (self.savings_ns + passed * EAGER_SHARE - spent as f64).min(EAGER_SAVINGS_NS);
        self.accounted = (now, cpu);
    }
}

/// About exp(-windows), without the call: (1 + x/8)^-8.
fn keep_of(windows: f64) -> f64 {
    let square = |x: f64| x * x;
    square(square(square(1.0 / (1.0 + windows / 8.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `seconds` of a load of `rate` execs a second, `cpu_us` each, and returns the last rest.
    fn steady(pace: &mut Pace, rate: u64, seconds: u64, cpu_us: u64) -> Duration {
        let mut rest = Duration::ZERO;
        let start = pace.last.0;
        for n in 1..=rate * seconds {
            rest = pace.rest(Monotonic(start + n * 1_000_000_000 / rate), 1, || Some(n * cpu_us * 1000));
        }
        rest
    }

    #[test]
    fn lazy_rests_by_the_rate() {
        for (rate, want_ms) in [(50, 0), (150, 0), (400, 2), (800, 2), (1500, 5), (20_000, 5)] {
            let mut pace = Pace::new(Mode::Lazy, Monotonic(0));
            assert_eq!(steady(&mut pace, rate, 2, 10), Duration::from_millis(want_ms), "{rate}");
            assert!(!pace.throttled());
        }
    }

    #[test]
    fn lazy_forgets_a_storm() {
        let mut pace = Pace::new(Mode::Lazy, Monotonic(0));
        steady(&mut pace, 5000, 1, 10);
        assert_eq!(steady(&mut pace, 20, 3, 10), Duration::ZERO);
    }

    #[test]
    fn eager_rests_only_when_its_share_is_used_up() {
        let mut pace = Pace::new(Mode::Eager, Monotonic(0));
        assert_eq!(steady(&mut pace, 1000, 20, 25), Duration::ZERO, "2.5 % of a core for ever");
        assert_eq!(steady(&mut pace, 10_000, 1, 25), Duration::ZERO, "a burst is paid from savings");
        assert_eq!(steady(&mut pace, 10_000, 4, 25), Duration::from_millis(1), "25 % of a core is too much");
        assert!(pace.throttled());
        assert_eq!(steady(&mut pace, 10, 60, 25), Duration::ZERO);
    }
}

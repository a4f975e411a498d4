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
    throttled: bool,
}

impl Pace {
    /// Starts with all savings and no rate.
    pub fn new(mode: Mode, now: Monotonic) -> Self {
        Self { mode, last: now, execs_per_second: 0.0, savings_ns: EAGER_SAVINGS_NS, throttled: false }
    }

    /// Changes the mode.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Whether the last rest was forced on an eager reader: its containers are covered in part.
    pub fn throttled(&self) -> bool {
        self.throttled
    }

    /// Execs a second, on average over the last quarter of one.
    pub fn execs_per_second(&self) -> f64 {
        self.execs_per_second
    }

    /// Accounts one drain of `execs` events that took `cpu_ns` of this thread's time, and says how long to rest.
    #[allow(clippy::cast_precision_loss)] // counts and nanoseconds far below 2^52
    pub fn rest(&mut self, now: Monotonic, execs: usize, cpu_ns: u64) -> Duration {
        let passed = (now.since(self.last).as_nanos() as f64).max(1.0);
        self.last = now;
        let keep = keep_of(passed / RATE_WINDOW_NS);
        self.execs_per_second = self.execs_per_second * keep + execs as f64 / RATE_WINDOW_NS * 1e9;
        self.savings_ns = (self.savings_ns + passed * EAGER_SHARE).min(EAGER_SAVINGS_NS) - cpu_ns as f64;
        self.throttled = self.mode == Mode::Eager && self.savings_ns < 0.0;
        match self.mode {
            Mode::Eager if self.throttled => EAGER_REST,
            Mode::Eager => Duration::ZERO,
            Mode::Lazy if self.execs_per_second < 200.0 => Duration::ZERO,
            Mode::Lazy if self.execs_per_second < 1000.0 => Duration::from_millis(2),
            Mode::Lazy => Duration::from_millis(5),
        }
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
            rest = pace.rest(Monotonic(start + n * 1_000_000_000 / rate), 1, cpu_us * 1000);
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

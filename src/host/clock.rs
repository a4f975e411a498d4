//! The crate's one clock: CLOCK_MONOTONIC, as in the connector's timestamps, and its relation to the wall clock and
//! to the boot clock of /proc/PID/stat.

use std::time::{Duration, SystemTime};

use nix::poll::PollTimeout;
use nix::time::{ClockId, clock_gettime};

use crate::event::{Monotonic, StartTime};

fn nanoseconds(clock: ClockId) -> u64 {
    // clock_gettime cannot fail for the clocks used here (clock_gettime(2): EINVAL only for an unknown clock).
    clock_gettime(clock).map_or(0, |t| t.tv_sec().unsigned_abs() * 1_000_000_000 + t.tv_nsec().unsigned_abs())
}

/// Now.
pub fn now() -> Monotonic {
    Monotonic(nanoseconds(ClockId::CLOCK_MONOTONIC))
}

/// For poll(2), which counts in milliseconds; rounded up, as a wait that ends too early would only be repeated.
pub fn poll_timeout(wait: Duration) -> PollTimeout {
    PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}

/// The wall-clock time of a monotonic moment, by the offset of now: right also after the clock was stepped.
pub fn wall(at: Monotonic) -> SystemTime {
    let (mono, wall) = (now(), SystemTime::now());
    if at <= mono { wall.checked_sub(mono.since(at)) } else { wall.checked_add(at.since(mono)) }.unwrap_or(wall)
}

/// Converts the boot clock's ticks of /proc/PID/stat.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    per_second: u64,
    /// CLOCK_BOOTTIME minus CLOCK_MONOTONIC: the time that the machine was suspended.
    suspended_ns: u64,
}

impl Ticks {
    /// Reads the tick rate and how long the machine has been suspended until now.
    pub fn read() -> Self {
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
        let boot = nanoseconds(ClockId::CLOCK_BOOTTIME);
        let suspended_ns = boot.saturating_sub(nanoseconds(ClockId::CLOCK_MONOTONIC));
        Self { per_second: per_second.map_or(100, i64::unsigned_abs).max(1), suspended_ns }
    }

    /// One tick.
    pub fn length(self) -> Duration {
        Duration::from_nanos(1_000_000_000 / self.per_second)
    }

    /// The monotonic moment of a start time, at the beginning of its tick.
    pub fn moment(self, start: StartTime) -> Monotonic {
        let boot_ns = u128::from(start.0) * 1_000_000_000 / u128::from(self.per_second);
        Monotonic(u64::try_from(boot_ns).unwrap_or(u64::MAX).saturating_sub(self.suspended_ns))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_start_lies_before_now() {
        let own = procfs::process::Process::myself().unwrap().stat().unwrap();
        let moment = Ticks::read().moment(StartTime(own.starttime));
        assert!(moment <= now());
    }

    #[test]
    fn wall_follows_monotonic() {
        let (a, b) = (wall(Monotonic(0)), wall(Monotonic(2_000_000_000)));
        let apart = b.duration_since(a).unwrap();
        assert!(apart > Duration::from_millis(1900) && apart < Duration::from_millis(2100));
    }
}

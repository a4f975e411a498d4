//! Moments as RFC 3339 writes them, in UTC. Only for what is printed: nothing is measured with this clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-24T10:15:08.411204Z`
pub fn micros(moment: SystemTime) -> String {
    let (seconds, nanos) = since_epoch(moment);
    format!("{}.{:06}Z", civil(seconds), nanos / 1000)
}

/// `2026-11-24T10:15:08Z`
pub fn seconds(moment: SystemTime) -> String {
    format!("{}Z", civil(since_epoch(moment).0))
}

/// Seconds since the epoch, rounded down, and the nanoseconds beyond. Clamped to the years 0000 to 9999 of RFC 3339.
fn since_epoch(moment: SystemTime) -> (i64, u32) {
    let signed = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    let (seconds, nanos) = match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => (signed(after), after.subsec_nanos()),
        Err(before) => match before.duration() {
            d if d.subsec_nanos() == 0 => (-signed(d), 0),
            d => (-signed(d) - 1, 1_000_000_000 - d.subsec_nanos()),
        },
    };
    (seconds.clamp(-62_167_219_200, 253_402_300_799), nanos)
}

/// Date and time of day, by Howard Hinnant's days-to-civil algorithm (howardhinnant.github.io/date_algorithms.html).
fn civil(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months counted from March, so that the leap day is the year's last.
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u32) -> SystemTime {
        let nanos = Duration::from_nanos(nanos.into());
        match u64::try_from(seconds) {
            Ok(after) => UNIX_EPOCH + Duration::from_secs(after) + nanos,
            Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + nanos,
        }
    }

    #[test]
    fn known_moments() {
        // By date -u -d @SECONDS.
        for (moment, text) in [
            (at(0, 0), "1970-01-01T00:00:00.000000Z"),
            (at(1_795_515_308, 411_204_999), "2026-11-24T10:15:08.411204Z"),
            (at(951_782_400, 0), "2000-02-29T00:00:00.000000Z"),
            (at(4_107_542_399, 999_999_999), "2100-02-28T23:59:59.999999Z"),
            (at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z"),
            (at(-1, 500_000_000), "1969-12-31T23:59:59.500000Z"),
            (at(253_402_300_799, 0), "9999-12-31T23:59:59.000000Z"),
            (at(253_402_300_800, 0), "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(micros(moment), text);
        }
        assert_eq!(seconds(at(1_795_515_308, 411_204_999)), "2026-11-24T10:15:08Z");
    }
}

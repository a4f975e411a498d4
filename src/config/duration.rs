//! Durations as strings: `"500ms"`, `"5s"`, `"10min"` or `"10m"`, `"1h 30min"`. Written back in the largest units that
//! are exact; what length a setting allows is `check`'s affair.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;

/// Units, largest first, with their length in milliseconds; of two spellings the first is written.
const UNITS: [(&[&str], u64); 5] =
    [(&["d"], 86_400_000), (&["h"], 3_600_000), (&["min", "m"], 60_000), (&["s"], 1_000), (&["ms"], 1)];

/// For `#[serde(serialize_with)]`.
pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"5s\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).ok_or_else(|| {
                E::custom(format_args!(
                    "{text:?} is no duration: write numbers with d, h, min, s or ms, such as \"500ms\", \"5s\", \"10min\" or \"1h 30min\""
                ))
            })
        }
    }
    deserializer.deserialize_str(Text)
}

/// Numbers and units, each unit at most once and the larger before the smaller; blanks between them or not.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len()));
        let number: u64 = digits.parse().ok()?;
        let (_, length) = units.find(|(spellings, _)| spellings.contains(&unit))?;
        total = total.checked_add(number.checked_mul(*length)?)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(total))
}

/// The shortest exact form, down to a millisecond.
pub(super) fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (spellings, length) in UNITS {
        let (number, left) = (rest / length, rest % length);
        if let (true, Some(unit)) = (number > 0, spellings.first()) {
            parts.push(format!("{number}{unit}"));
        }
        rest = left;
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("10min", 600_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1h 30min", 5_400_000),
            ("1h30m", 5_400_000),
            (" 2d ", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in
            ["", " ", "5", "s", "5 s", "-5s", "1.5s", "5S", "5sec", "1s 1h", "1s 2s", "9999999999999999999s", "5s,"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_the_natural_form_and_reads_it_again() {
        for (millis, text) in
            [(5_000, "5s"), (600_000, "10min"), (90_000, "1min 30s"), (1_500, "1s 500ms"), (3_600_000, "1h"), (0, "0s")]
        {
            assert_eq!(format(Duration::from_millis(millis)), text);
            assert_eq!(parse(text), Some(Duration::from_millis(millis)));
        }
    }
}

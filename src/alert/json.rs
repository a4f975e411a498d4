//! JSON on one line and in ASCII alone: syslog daemons, terminals and old parsers pass that on unharmed.
//! What stands in it is `document`'s affair.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// `value` on one line, without a newline at its end.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    // Neither a Vec nor types without maps of odd keys can fail here; an empty object beats a broken one.
    if value.serialize(&mut Serializer::with_formatter(&mut out, Ascii)).is_err() {
        return b"{}".to_vec();
    }
    out
}

/// How many bytes [`line()`] writes for this character within a string.
pub fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        ' '..='~' => 1,
        _ => 6 * c.len_utf16(),
    }
}

/// The longest beginning of `text` that takes at most `max` bytes as [`line()`] writes it, without quotes.
pub fn cut(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += width(c);
        if used > max {
            return text.get(..at).unwrap_or("");
        }
    }
    text
}

/// Compact, with everything beyond ASCII as `\uXXXX`, in UTF-16 pairs above U+FFFF (RFC 8259, section 7). DEL too.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !c.is_ascii() || c == '\x7f') {
            let (plain, tail) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn all_characters_come_back_and_only_ascii_goes_out() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let out = line(&all);
        assert!(out.iter().all(|b| (b' '..=b'~').contains(b)));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
        assert_eq!(out.len(), all.chars().map(width).sum::<usize>() + 2);
    }

    #[test]
    fn cuts_by_what_is_written() {
        assert_eq!(cut("aé\u{1f469}b", 1), "a");
        assert_eq!(cut("aé\u{1f469}b", 6), "a");
        assert_eq!(cut("aé\u{1f469}b", 7), "aé");
        assert_eq!(cut("aé\u{1f469}b", 19), "aé\u{1f469}");
        assert_eq!(cut("aé\u{1f469}b", 20), "aé\u{1f469}b");
        assert_eq!(cut("\"\"", 3), "\"");
    }
}

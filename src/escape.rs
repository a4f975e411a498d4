//! The one place where text from outside is made fit for a person's eyes: what could steer a terminal, split a line or
//! hide is written visibly. JSON has escapes of its own (`json`); this serves sentences and text lines.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands at the end of a text that was cut.
const ELLIPSIS: &str = "...";

/// `input` with control characters as `\x1b` (ASCII) or `\u{9b}` (C1), and invisible or direction-changing ones as
/// `\u{202e}`. All else stays, the backslash too: this is a form to read, the record is the JSON.
pub fn text(input: &str) -> Cow<'_, str> {
    if input.chars().all(is_shown) {
        return Cow::Borrowed(input);
    }
    let mut out = String::with_capacity(input.len() + 16);
    input.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

/// Like [`text`], for bytes: each byte that is not UTF-8 becomes `\xff`.
pub fn bytes(input: &[u8]) -> String {
    let mut out = String::with_capacity(input.len());
    for chunk in input.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Like [`text`], but at most `max` bytes long, with `...` in place of what was cut. No escape is cut in two.
pub fn bounded(input: &str, max: usize) -> Cow<'_, str> {
    if input.len() <= max && input.chars().all(is_shown) {
        return Cow::Borrowed(input);
    }
    Cow::Owned(shortened(input, max, push))
}

/// `input` as one word of a sentence: bare where it is plain, else between single quotes with `'` and `\` escaped, so
/// that a name cannot pretend to be the sentence that goes on. Its content is at most `max` bytes long.
pub fn word(input: &str, max: usize) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@+=%~".contains(c);
    if !input.is_empty() && input.len() <= max && input.chars().all(plain) {
        return input.into();
    }
    let content = shortened(input, max, |out, c| {
        if matches!(c, '\'' | '\\') {
            out.push('\\');
            out.push(c);
        } else {
            push(out, c);
        }
    });
    format!("'{content}'")
}

/// `input` written by `push`, up to `max` bytes; stops reading where they are used up.
fn shortened(input: &str, max: usize, push: impl Fn(&mut String, char)) -> String {
    let mut out = String::new();
    // Where the text ends if the ellipsis has to follow.
    let mut end = 0;
    for c in input.chars() {
        push(&mut out, c);
        if out.len() > max {
            out.truncate(end);
            out.push_str(cut(ELLIPSIS, max));
            break;
        }
        if out.len() + ELLIPSIS.len() <= max {
            end = out.len();
        }
    }
    out
}

/// The longest beginning of `input` that has at most `max` bytes and ends between two characters.
pub fn cut(input: &str, max: usize) -> &str {
    if input.len() <= max {
        return input;
    }
    let end = (0..=max).rev().find(|&i| input.is_char_boundary(i)).unwrap_or(0);
    input.get(..end).unwrap_or("")
}

/// Appends one character in its visible form.
fn push(out: &mut String, c: char) {
    if is_shown(c) {
        out.push(c);
    } else if c.is_ascii() {
        let _ = write!(out, "\\x{:02x}", u32::from(c));
    } else {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    }
}

/// Whether a character shows itself and leaves its neighbours where they are.
fn is_shown(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Unicode's general categories Cc, Zl, Zp, and of Cf and the blank letters those that hide or reorder text
    // (Unicode Technical Report 36, section 2.10; CVE-2021-42574).
    !matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_stays() {
        for plain in ["gcc -o a a.c", "naïve ☃ 東京 👩", "C:\\x", ""] {
            assert!(matches!(text(plain), Cow::Borrowed(t) if t == plain));
        }
    }

    #[test]
    fn what_steers_or_hides_is_shown() {
        for (input, shown) in [
            ("a\nb", "a\\x0ab"),
            ("\x1b[2J", "\\x1b[2J"),
            ("\x7f\0\r", "\\x7f\\x00\\x0d"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}cba", "\\u{202e}cba"),
            ("g\u{200b}cc", "g\\u{200b}cc"),
            ("\u{2028}", "\\u{2028}"),
            ("\u{feff}x", "\\u{feff}x"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(text(input), shown);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named() {
        assert_eq!(bytes(b"s\xff:lp\xc3\xa9\xc3\n"), "s\\xff:lp\u{e9}\\xc3\\x0a");
    }

    #[test]
    fn every_single_character_leaves_no_control_behind() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let out = text(c.encode_utf8(&mut [0; 4])).into_owned();
            assert!(out.chars().all(|c| !c.is_control()), "{:x}", u32::from(c));
        }
    }

    #[test]
    fn bounds_hold_and_cut_nothing_in_two() {
        let hostile = "é\x1b\u{202e}x'\\".repeat(50);
        for max in 0..600 {
            let short = bounded(&hostile, max);
            assert!(short.len() <= max, "{max}: {short}");
            let whole = text(&hostile).into_owned();
            let kept = short.strip_suffix(ELLIPSIS).unwrap_or(&short);
            assert!(max < 3 || whole.starts_with(kept));
            assert!(word(&hostile, max).len() <= max + 2);
        }
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("longer", 5), "lo...");
    }

    #[test]
    fn a_word_cannot_leave_its_quotes() {
        assert_eq!(word("web-1", 64), "web-1");
        assert_eq!(word("", 64), "''");
        assert_eq!(word("sh -c gcc", 64), "'sh -c gcc'");
        assert_eq!(word("a' as root: \\", 64), "'a\\' as root: \\\\'");
        assert_eq!(word("x\ny", 64), "'x\\x0ay'");
    }
}

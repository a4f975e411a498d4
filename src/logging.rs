//! The watcher's own diagnostics: the backend of the `log` facade, one line on stderr each, for people or for journald.
//! Alerts never come this way, and nothing of it ever goes to stdout.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::escape;

/// Where the lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// At people: `ccwatch: warning: ...`.
    Plain,
    /// In the journal, which reads the priority in front: `<4>...` (sd-daemon(3)).
    Journal,
}

struct Stderr(Style);

/// Sends the `log` facade's records to stderr, from level info. A second call changes nothing.
pub fn init() {
    let style = if stderr_is_journal() { Style::Journal } else { Style::Plain };
    if log::set_boxed_logger(Box::new(Stderr(style))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Writes one line to stderr as it is, without name and level, control characters escaped: what the program says to
/// whoever started it, such as `watching`.
pub fn say(text: &str) {
    write(escape::text(text).into_owned());
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            write(line(self.0, record.level(), &record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// One write(2), so that lines of several threads and processes do not mix. An error has nowhere to go.
fn write(mut line: String) {
    line.push('\n');
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// The line of one record, without its end.
fn line(style: Style, level: Level, message: &str) -> String {
    let mut line = String::with_capacity(message.len() + 24);
    match style {
        // Priorities of syslog(3): err 3, warning 4, info 6, debug 7.
        Style::Journal => line.push_str(match level {
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        }),
        Style::Plain => line.push_str(match level {
            Level::Error => "ccwatch: error: ",
            Level::Warn => "ccwatch: warning: ",
            Level::Info => "ccwatch: ",
            Level::Debug | Level::Trace => "ccwatch: debug: ",
        }),
    }
    // Much of what a message names was named by a container.
    line.push_str(&escape::text(message));
    line
}

/// Whether systemd tied stderr to the journal: JOURNAL_STREAM holds its device and inode (systemd.exec(5)), and a
/// redirection after that gives it others.
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::File::from(match std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned() {
        Ok(descriptor) => descriptor,
        Err(_) => return false,
    });
    stderr.metadata().is_ok_and(|m| stream.to_str().and_then(parse_journal_stream) == Some((m.dev(), m.ino())))
}

/// `DEVICE:INODE`, both decimal.
fn parse_journal_stream(text: &str) -> Option<(u64, u64)> {
    let (dev, ino) = text.split_once(':')?;
    Some((dev.parse().ok()?, ino.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        assert_eq!(line(Style::Plain, Level::Warn, "syslog is gone"), "ccwatch: warning: syslog is gone");
        assert_eq!(line(Style::Plain, Level::Error, "x"), "ccwatch: error: x");
        assert_eq!(line(Style::Plain, Level::Info, "x"), "ccwatch: x");
    }

    #[test]
    fn lines_for_the_journal() {
        assert_eq!(line(Style::Journal, Level::Error, "x"), "<3>x");
        assert_eq!(line(Style::Journal, Level::Warn, "x"), "<4>x");
        assert_eq!(line(Style::Journal, Level::Info, "x"), "<6>x");
    }

    #[test]
    fn one_message_is_one_line() {
        let hostile = "a\nccwatch: error: b\u{1b}[2J\u{202e}\r\0\u{85}é";
        assert_eq!(
            line(Style::Plain, Level::Warn, hostile),
            "ccwatch: warning: a\\x0accwatch: error: b\\x1b[2J\\u{202e}\\x0d\\x00\\u{85}é"
        );
    }

    #[test]
    fn journal_stream() {
        assert_eq!(parse_journal_stream("8:12345"), Some((8, 12345)));
        for text in ["", "8", "8:", ":8", "a:b", "8:1:2"] {
            assert_eq!(parse_journal_stream(text), None, "{text}");
        }
    }
}

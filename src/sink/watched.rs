//! When the watcher was last known to watch, in the state directory's file `watched`: how long nobody watched is told by
//! the next one. Written at each sign of life and at the stop; what is found there is not trusted.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// `MICROSECONDS running`: more is not read.
const LIMIT: u64 = 64;

/// What the watcher before left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    /// When it was last known to watch, by the wall clock.
    pub(super) at: SystemTime,
    /// It ended in order; else it was killed, or the machine lost power.
    pub(super) stopped: bool,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Watched {
    file: File,
    path: PathBuf,
}

impl Watched {
    /// Opens or makes the file in `directory`, and reads what stands there; `None` for nothing that can be read.
    pub(super) fn open(directory: &Path) -> Result<(Self, Option<Last>)> {
        let path = directory.join("watched");
        let failed = |error: std::io::Error| Error::file("open", &path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = super::state::plain(&mut options, &path).map_err(failed)?;
        let mut text = String::new();
        // Bytes that are no text are nothing that a watcher wrote.
        let last = (&file).take(LIMIT).read_to_string(&mut text).ok().and_then(|_| parse(&text));
        Ok((Self { file, path }, last))
    }

    /// Writes that the watcher watches at `now`, or ends in order.
    pub(super) fn mark(&self, now: SystemTime, stopped: bool) -> Result<()> {
        // One write of one length: no reader finds half of it.
        self.file.write_all_at(render(now, stopped).as_bytes(), 0).map_err(|e| Error::file("write", &self.path, e))
    }
}

fn render(now: SystemTime, stopped: bool) -> String {
    let micros = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    format!("{micros:020} {}\n", if stopped { "stopped" } else { "running" })
}

fn parse(text: &str) -> Option<Last> {
    let (micros, state) = text.lines().next()?.split_once(' ')?;
    let at = UNIX_EPOCH.checked_add(Duration::from_micros(micros.parse().ok()?))?;
    match state {
        "stopped" => Some(Last { at, stopped: true }),
        "running" => Some(Last { at, stopped: false }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_next_one_knows_when_and_how_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let at = UNIX_EPOCH + Duration::from_micros(1_795_611_977_123_456);
        let (first, last) = Watched::open(dir.path()).unwrap();
        assert_eq!(last, None);
        first.mark(at, false).unwrap();
        let (second, last) = Watched::open(dir.path()).unwrap();
        assert_eq!(last, Some(Last { at, stopped: false }));
        second.mark(at + Duration::from_secs(1), true).unwrap();
        let (_, last) = Watched::open(dir.path()).unwrap();
        assert_eq!(last, Some(Last { at: at + Duration::from_secs(1), stopped: true }));
    }

    #[test]
    fn what_no_watcher_wrote_is_nothing() {
        for text in ["", "x", "12", "12 asleep", "-1 running", "18446744073709551616 running", "\u{0} stopped"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("watched"), [0xff; 200]).unwrap();
        assert_eq!(Watched::open(dir.path()).unwrap().1, None);
    }
}

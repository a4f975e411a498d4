//! What the alert stream tells of the watcher's own life: that it watches, and for how long nobody did; that it ends;
//! that it took over another configuration, or refused it.

use std::time::{Duration, SystemTime};

use super::watched::Last;
use crate::alert::own::Lost;
use crate::alert::{Action, time};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It watches from now on.
    Started {
        /// The sensors that run, for people.
        sensors: String,
    },
    /// A changed configuration holds, or a changed database, or both.
    Reloaded {
        /// The configuration is another.
        config: bool,
        /// The database is.
        database: bool,
    },
    /// A changed configuration cannot be used, and the old one holds.
    Refused {
        /// Why.
        why: String,
    },
    /// It ends.
    Stopped,
}

/// As an alert has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) action: Action,
    pub(super) reason: &'static str,
    pub(super) sentence: String,
    pub(super) lost: Option<Lost>,
}

impl Life {
    /// Tells it; `last` is when a watcher was known to watch before this one.
    pub(super) fn tell(&self, last: Option<Last>, now: SystemTime) -> Told {
        let told = |action, reason, sentence| Told { action, reason, sentence, lost: None };
        match self {
            Self::Started { sensors } => started(sensors, last, now),
            Self::Reloaded { config, database } => {
                let (reason, what) = match (config, database) {
                    (false, true) => ("database-changed", "database"),
                    (_, false) => ("configuration-changed", "configuration"),
                    (true, true) => ("configuration-changed", "configuration and a changed database"),
                };
                let verb = if *config && *database { "were" } else { "was" };
                told(Action::WatcherReloaded, reason, format!("A changed {what} {verb} taken over"))
            }
            Self::Refused { why } => {
                let sentence = format!("A changed configuration was refused and the old one kept: {why}");
                told(Action::WatcherReloaded, "configuration-refused", sentence)
            }
            Self::Stopped => {
                told(Action::WatcherStopped, "stopped", "The watcher ends: from now on nobody watches".into())
            }
        }
    }
}

fn started(sensors: &str, last: Option<Last>, now: SystemTime) -> Told {
    let action = Action::WatcherStarted;
    let Some(Last { at, stopped }) = last else {
        let sentence = format!("The watcher has started, with no other before it that is known; {sensors}");
        return Told { action, reason: "first-start", sentence, lost: None };
    };
    // The clock may have been set back meanwhile.
    let gap = now.duration_since(at).unwrap_or_default();
    let (since, long) = (time::seconds(at), span(gap));
    let (reason, sentence) = if stopped {
        ("after-stop", format!("The watcher has started; nobody had watched for {long}, since {since}; {sensors}"))
    } else {
        let known = format!("the one before was killed and last known to watch {long} before, at {since}");
        ("after-kill", format!("The watcher has started; {known}; {sensors}"))
    };
    let gap_ms = u64::try_from(gap.as_millis()).ok();
    Told { action, reason, sentence, lost: Some(Lost { since: Some(time::micros(at)), gap_ms, ..Lost::default() }) }
}

/// `0.3 s`, `12 s`, `4 min`, `7 h`, `3 days`
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f32()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples;

    fn start(last: Option<Last>) -> Told {
        Life::Started { sensors: "sensors connector, fanotify".into() }.tell(last, samples::moment())
    }

    #[test]
    fn a_start_tells_how_long_nobody_watched() {
        let at = samples::moment() - Duration::from_secs(250);
        let told = start(Some(Last { at, stopped: true }));
        assert_eq!(told.reason, "after-stop");
        assert!(told.sentence.contains("nobody had watched for 4 min, since "), "{}", told.sentence);
        assert_eq!(told.lost.and_then(|lost| lost.gap_ms), Some(250_000));
        let told = start(Some(Last { at, stopped: false }));
        assert_eq!(told.reason, "after-kill");
        assert!(told.sentence.contains("was killed and last known to watch 4 min before"), "{}", told.sentence);
        let told = start(None);
        assert_eq!((told.reason, told.lost), ("first-start", None));
    }

    #[test]
    fn a_clock_that_was_set_back_is_no_gap() {
        let told = start(Some(Last { at: samples::moment() + Duration::from_secs(9), stopped: true }));
        assert_eq!(told.lost.and_then(|lost| lost.gap_ms), Some(0));
    }

    #[test]
    fn spans_read_well() {
        let all = [340, 9_960, 12_000, 250_000, 7_200_000, 259_200_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(all, ["0.3 s", "10.0 s", "12 s", "4 min", "2 h", "3 days"]);
    }
}

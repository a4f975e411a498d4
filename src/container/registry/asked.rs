//! When a container's metadata is to be asked for: at once, again after a failure, and again when it has grown old.
//! Pure; who asks and whom is the registry's and the workers' affair.

use std::time::Duration;

use crate::event::{Field, Missing, Monotonic};

/// First pause after a question that failed; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An answer older than this is asked for again, so that a rename is noticed.
const FRESH: Duration = Duration::from_secs(60);
/// A question without an answer for so long was lost with its worker.
const LOST: Duration = Duration::from_secs(60);

/// Where the question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Asked {
    #[default]
    Never,
    UnderWay {
        since: Monotonic,
        failures: u32,
    },
    Failed {
        at: Monotonic,
        failures: u32,
    },
    Answered {
        at: Monotonic,
    },
}

impl Asked {
    /// Whether to ask now; if so, it counts as asked.
    pub(super) fn ask(&mut self, now: Monotonic) -> bool {
        let (due, failures) = match *self {
            Self::Never => (true, 0),
            Self::UnderWay { since, failures } => (now.since(since) >= LOST, failures),
            Self::Failed { at, failures } => (now.since(at) >= pause(failures), failures),
            Self::Answered { at } => (now.since(at) >= FRESH, 0),
        };
        if due {
            *self = Self::UnderWay { since: now, failures };
        }
        due
    }

    /// Whether the first answer is still to come.
    pub(super) fn is_first(self) -> bool {
        matches!(self, Self::UnderWay { failures: 0, .. })
    }

    /// Takes note of how it went.
    pub(super) fn answered(&mut self, how: Field<()>, now: Monotonic) {
        let before = match *self {
            Self::UnderWay { failures, .. } | Self::Failed { failures, .. } => failures,
            Self::Never | Self::Answered { .. } => 0,
        };
        *self = match how {
            Ok(()) => Self::Answered { at: now },
            // Nothing changes that within a second.
            Err(Missing::Unsupported) => Self::Failed { at: now, failures: u32::MAX },
            Err(_) => Self::Failed { at: now, failures: before.saturating_add(1) },
        };
    }
}

fn pause(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

//! Where alerts go. `dispatch` numbers and renders them, and hands each sink its form through a bounded queue of its
//! own; a sink runs in its own thread, may wait there as long as it must, and says what it could not deliver.
//!
//! ```text
//! detection ─ Alert ─> dispatch ─┬─ queue ─> syslog
//!                                ├─ queue ─> file
//!                                └─ queue ─> stdout
//! ```

pub mod dispatch;
pub mod file;
mod header;
pub mod life;
pub mod queue;
mod running;
mod socket;
mod state;
pub mod stdout;
pub mod syslog;
mod watch;
mod watched;

use queue::Queue;

/// How a sink wants its alerts, and how many bytes one may have, without the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The contract's JSON, made smaller in the order of [`crate::alert::fit::fit()`] until it fits.
    Ecs {
        /// Bytes.
        limit: usize,
    },
    /// The line for a person, cut where it does not fit.
    Text {
        /// Bytes.
        limit: usize,
    },
}

/// A destination of alerts.
pub trait Sink: Send {
    /// Its name in messages, alerts and thread names: `syslog`, `alert-file`, `stdout`.
    fn name(&self) -> &'static str;

    /// What it wants to be given.
    fn form(&self) -> Form;

    /// Delivers what the queue holds until that says it is closed. Each message is either
    /// [delivered](Queue::delivered) or [given up](Queue::give_up); while it is neither, it stays the queue's first.
    fn run(&mut self, queue: &Queue);
}

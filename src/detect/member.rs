//! One toolchain exec, as a session counts it.

use crate::alert::{ExecFacts, Severity};
use crate::container::ContainerKey;
use crate::event::{FileId, Monotonic, Pid, StartTime};

/// One judged exec that is a finding.
#[derive(Debug, Clone)]
pub struct Member {
    /// The innermost container.
    pub container: ContainerKey,
    /// The outermost one; the same where they do not nest.
    pub outermost: ContainerKey,
    /// The POSIX session, where it is known.
    pub posix: Option<Pid>,
    /// Which process.
    pub pid: Pid,
    /// When that was forked, where it is known.
    pub start: Option<StartTime>,
    /// Its parent.
    pub parent: Option<Pid>,
    /// When it executed.
    pub at: Monotonic,
    /// comm, else the file's basename.
    pub name: String,
    /// Nobody saw under which name it was called.
    pub named_by_file: bool,
    /// How bad.
    pub severity: Severity,
    /// Its count may be off: not from the connector, or the session is guessed.
    pub inexact: bool,
    /// fanotify reports every exec of its file: one that nobody looked at cannot be missing.
    pub covered: bool,
    /// It is known to have succeeded; else it is told, and not counted.
    pub counts: bool,
    /// Root command as seen from here.
    pub root_command: String,
    /// Identity of the executed file.
    pub file: Option<FileId>,
    /// Everything that its alert shows.
    pub facts: ExecFacts,
}

impl Member {
    /// Its file was seen; one that died in its look left its name at best.
    pub fn was_seen(&self) -> bool {
        self.facts.process.executable.is_some()
    }

    /// Whether it is the exec that an attempt was for, told before that was known: it succeeded, and has its process' facts
    /// where that still lived.
    pub(super) fn confirms(&self, attempt: &Self) -> bool {
        let is_same = self.pid == attempt.pid && self.file == attempt.file;
        is_same && self.facts.confirmed && !attempt.facts.confirmed
    }

    pub(super) fn uid(&self) -> Option<u32> {
        self.facts.process.uid
    }

    /// A query that nothing makes worse counts below everything else, a compile of the same severity included.
    pub(super) fn grade(&self) -> (Severity, bool) {
        (self.severity, !self.facts.query)
    }
}

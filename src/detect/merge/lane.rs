//! What is remembered of one process: its attempts, its EXECs, the looks at it, and what it has become.

use std::collections::{HashMap, VecDeque};

use crate::event::{Attempt, Comm, FileId, Inode, Monotonic, Pid};
use crate::sensor::ledger::Counted;

/// What a look told of an exec that is counted by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The host's pid.
    pub pid: Pid,
    /// When it was taken: the image had been attempted before.
    pub at: Monotonic,
    /// The image.
    pub file: Option<FileId>,
    /// Its name for itself: of a script, the script's.
    pub comm: Comm,
    /// That name, or the image's, is a compiler's: it is a finding by itself.
    pub is_named: bool,
}

impl Looked {
    /// Whether it shows the interpreter of an attempted script, of which it tells nothing.
    pub(super) fn is_silent_about(&self, attempt: &Attempt) -> bool {
        attempt.script && !self.is_named && self.file.is_some_and(|file| !attempt.is_on(&file))
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) attempt: Attempt,
    pub(super) told: bool,
    /// Told as part of an exec that has its EXEC: none is to come.
    pub(super) done: bool,
}

/// One process.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) attempts: VecDeque<Waiting>,
    pub(super) execs: VecDeque<Counted>,
    pub(super) looks: VecDeque<Looked>,
    pub(super) succeeded: Option<Success>,
}

/// The last attempt of a process that became an exec.
#[derive(Debug)]
pub(super) struct Success {
    /// What was attempted before this moment may be part of it.
    pub(super) until: Monotonic,
    /// What was attempted, and whether that is a script.
    file: FileId,
    script: bool,
    /// It was counted for its name.
    named: bool,
    /// It was not known yet what it is.
    unjudged: bool,
    /// What runs, where that was seen.
    image: Option<Inode>,
}

impl Success {
    pub(super) fn new(attempt: &Attempt, seen: Monotonic, image: Option<Inode>) -> Self {
        let (until, file) = (attempt.at.max(seen), attempt.file);
        let (script, unjudged) = (attempt.script, attempt.unjudged);
        Self { until, file, script, named: false, unjudged, image }
    }

    pub(super) fn seen_by(look: &Looked, attempt: &Attempt) -> Self {
        let image = look.file.map(|file| file.inode());
        Self { named: look.is_named, ..Self::new(attempt, look.at, image) }
    }

    /// Whether the kernel tells of this attempt beside that which succeeded, as both are of one file: an overlay's and its
    /// layer's.
    pub(super) fn is_twin_of(&self, attempt: &Attempt) -> bool {
        self.script == attempt.script && self.file.is_layer_of(&attempt.file)
    }

    /// Whether the attempt is on another part of this exec, of which nothing is counted yet: a script or program, and what
    /// interprets it.
    pub(super) fn is_on_other_part(&self, attempt: &Attempt) -> bool {
        let is_other = self.file.inode() != attempt.file.inode() && self.image != Some(attempt.file.inode());
        self.unjudged && is_other && !attempt.by_open && !(self.named && attempt.script)
    }
}

/// Removes one; an empty queue gives its memory back, as a lane outlives what it held.
pub(super) fn take<T>(queue: &mut VecDeque<T>, index: usize) -> Option<T> {
    let taken = queue.remove(index);
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
    taken
}

/// The lane of a process, made where there is none.
pub(super) fn enter<'a>(
    lanes: &'a mut HashMap<Pid, Lane>,
    ages: &mut VecDeque<(Monotonic, Pid)>,
    pid: Pid,
    at: Monotonic,
) -> &'a mut Lane {
    lanes.entry(pid).or_insert_with(|| {
        ages.push_back((at, pid));
        Lane::default()
    })
}

/// Whether a look shows what was attempted: the file itself, or the interpreter of a script of that name. One that came
/// too late to see a file may have been of any.
pub(super) fn is_of(attempt: &Attempt, look: &Looked) -> bool {
    look.file.is_none_or(|file| file.inode() == attempt.file.inode()) || look.comm.is_of(&attempt.path)
}

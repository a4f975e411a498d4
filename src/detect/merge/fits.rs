//! Which EXEC an attempt belongs to, by what was seen of the two: a file, a name, or nothing but their times.

use std::fmt;
use std::time::Duration;

use super::Merged;
use crate::event::{Attempt, Comm};
use crate::sensor::ledger::{Counted, Image};

/// An open and the EXEC that it was for lie no further apart, unless the machine is very busy or the disk very slow.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What a process' name says of the file that it executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameIs {
    /// That of a compiler, assembler or linker, or of a part of one.
    Toolchains,
    /// That of a file which is known to be something else.
    Others,
    /// Nothing: a file may be executed under a link's name, or a script's.
    Unknown,
}

/// Whether an EXEC is this attempt's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fits {
    /// It is not.
    No,
    /// It may be, and an attempt that is still to come may fit better.
    Perhaps,
    /// As far as can be known.
    Yes,
}

/// Whose names are.
pub(super) struct Names(pub(super) Box<dyn Fn(Comm) -> NameIs + Send>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// An open may be for anything: where nothing tells which file was executed, the EXEC must follow at once.
    pub(super) fn fits(&self, attempt: &Attempt, exec: &Counted) -> Fits {
        if exec.at <= attempt.after {
            return Fits::No;
        }
        let at_once = exec.at <= attempt.at.plus(AT_ONCE);
        let in_time = !attempt.by_open || at_once;
        match exec.image {
            Image::File(inode, _) if inode == attempt.file.inode() => Fits::Yes,
            Image::File(_, comm) if attempt.script && at_once && comm.is_of(&attempt.path) => Fits::Yes,
            // A script may be called by a link, or interpret another.
            Image::File(..) if attempt.script && at_once && !attempt.by_open => Fits::Perhaps,
            Image::Ended(name) if !attempt.by_open || name.comm.is_of(&attempt.path) => Fits::Yes,
            Image::File(..) | Image::Canary => Fits::No,
            Image::Ended(name) if in_time && (self.0)(name.comm) != NameIs::Others => Fits::Perhaps,
            Image::Unknown if in_time => Fits::Yes,
            Image::Ended(_) | Image::Unknown => Fits::No,
        }
    }

    /// What an EXEC makes of an attempt.
    pub(super) fn succeeded(&self, attempt: Attempt, image: Image) -> Merged {
        let is_guessed = attempt.by_open
            && match image {
                Image::Unknown => true,
                Image::Ended(name) => !name.comm.is_of(&attempt.path) && (self.0)(name.comm) == NameIs::Unknown,
                Image::File(..) | Image::Canary => false,
            };
        match image {
            _ if is_guessed => Merged::Joined(attempt),
            image if image.is_recorded() => Merged::Recorded(attempt),
            _ => Merged::Confirmed(attempt),
        }
    }
}

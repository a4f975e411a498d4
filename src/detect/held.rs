//! Execs of files whose names say nothing and whose contents are being read: held until it is known what they are. What
//! dies with their processes is read meanwhile.

use std::collections::HashMap;

use crate::detect::Detection;
use crate::detect::pending::{Nested, Standing};
use crate::detect::triage::Reading;
use crate::event::{Attempt, FileId, Sighting};
use crate::fingerprint::ContentSays;
use crate::host::clock;

/// Execs held at once; a worker reads a file in a few milliseconds.
const HELD: usize = 1024;

/// An exec, as far as it came.
#[derive(Debug)]
pub(super) enum Unjudged {
    /// Its process was seen, and perhaps the attempt before.
    Seen { sighting: Box<Sighting>, reading: Option<Reading>, attempted: bool, nested: Nested },
    /// Nobody saw its process; what became of its attempt.
    Unseen { attempt: Attempt, standing: Standing },
}

/// Execs by the file that they wait for.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_file: HashMap<FileId, Vec<Unjudged>>,
    count: usize,
}

impl Held {
    fn take(&mut self, id: FileId) -> Vec<Unjudged> {
        let held = self.by_file.remove(&id).unwrap_or_default();
        self.count -= held.len();
        held
    }
}

impl Detection {
    /// Holds an exec until its file was read; where nobody can read that, it goes as unexamined.
    pub(super) fn hold(&mut self, id: FileId, exec: Unjudged) {
        if self.held.count >= HELD || !self.reading.contains_key(&id) {
            return self.drop_unjudged([exec]);
        }
        self.held.count += 1;
        self.held.by_file.entry(id).or_default().push(exec);
    }

    /// A file was read: its execs are a toolchain's, or nobody's.
    pub(super) fn release(&mut self, id: FileId, says: ContentSays) {
        for exec in self.held.take(id) {
            match (says, exec) {
                (
                    ContentSays::Toolchain | ContentSays::ByArguments | ContentSays::Loader,
                    Unjudged::Seen { sighting, reading, attempted, nested },
                ) => self.admit(*sighting, reading, attempted, nested),
                (ContentSays::Toolchain, Unjudged::Unseen { attempt, standing }) => {
                    self.exec_unseen(attempt, standing);
                }
                (_, Unjudged::Seen { reading, .. }) => self.leave(reading),
                (_, Unjudged::Unseen { .. }) => {}
            }
        }
    }

    /// A file cannot be read in time.
    pub(super) fn give_up(&mut self, id: FileId) {
        let held = self.held.take(id);
        self.drop_unjudged(held);
    }

    fn drop_unjudged(&mut self, execs: impl IntoIterator<Item = Unjudged>) {
        for exec in execs {
            self.counters.add_unexamined(1, clock::now());
            if let Unjudged::Seen { reading, .. } = exec {
                self.leave(reading);
            }
        }
    }
}

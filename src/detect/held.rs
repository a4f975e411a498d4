//! Execs of files whose names say nothing and whose contents are being read, and of loaders that run such a file: held
//! until it is known what they are. What dies with their processes is read meanwhile.

use std::collections::HashMap;

use crate::container::{ContainerKey, Payer};
use crate::detect::Detection;
use crate::detect::pending::{Nested, Pending, Standing};
use crate::detect::triage::Reading;
use crate::event::{Attempt, FileId, Sighting};
use crate::fingerprint::ContentSays;
use crate::host::clock;
use crate::host::counts::Counts;

/// Execs held at once; a worker reads a file in a few milliseconds.
const HELD: usize = 1024;
/// Of one container, so that its new files make nobody else's go unexamined.
const HELD_OF_ONE: usize = HELD / 4;
/// And of all that lie in one outermost container.
const HELD_WITHIN: usize = HELD / 2;

/// An exec, as far as it came.
#[derive(Debug)]
pub(super) enum Unjudged {
    /// Its process was seen, and perhaps the attempt before.
    Seen { sighting: Box<Sighting>, reading: Option<Reading>, attempted: bool, nested: Nested },
    /// Its process was seen, and what that interprets is read.
    Script { script: Box<Attempt>, sighting: Box<Sighting>, reading: Option<Reading>, nested: Nested },
    /// Nobody saw its process; what became of its attempt.
    Unseen { attempt: Attempt, standing: Standing },
    /// A loader, that waits for what it runs.
    Loading(Box<Pending>),
}

/// Execs by the file that they wait for.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_file: HashMap<FileId, Vec<(Payer, Unjudged)>>,
    /// How many of each container that has any.
    counts: Counts<ContainerKey>,
    /// How many within each outermost one, its own among them.
    within: Counts<ContainerKey>,
    count: usize,
}

impl Held {
    /// Holds an exec; gives it back where there is no room.
    fn put(&mut self, id: FileId, payer: Payer, exec: Unjudged) -> Option<Unjudged> {
        let (of_one, within) = (self.counts.of(&payer.container), self.within.of(&payer.outermost));
        if self.count >= HELD || of_one >= HELD_OF_ONE || within >= HELD_WITHIN {
            return Some(exec);
        }
        self.count += 1;
        self.counts.add(payer.container.clone());
        self.within.add(payer.outermost.clone());
        self.by_file.entry(id).or_default().push((payer, exec));
        None
    }

    fn files(&self) -> Vec<FileId> {
        self.by_file.keys().copied().collect()
    }

    /// How many wait for a file.
    pub(super) fn of(&self, id: FileId) -> usize {
        self.by_file.get(&id).map_or(0, Vec::len)
    }

    fn take(&mut self, id: FileId) -> Vec<Unjudged> {
        let held = self.by_file.remove(&id).unwrap_or_default();
        self.let_go(held)
    }

    /// All but the first ones.
    pub(super) fn take_from(&mut self, id: FileId, first: usize) -> Vec<Unjudged> {
        let held = self.by_file.get_mut(&id);
        let later = held.map(|held| held.split_off(first.min(held.len()))).unwrap_or_default();
        self.let_go(later)
    }

    fn let_go(&mut self, held: Vec<(Payer, Unjudged)>) -> Vec<Unjudged> {
        self.count -= held.len();
        let let_go = |(payer, exec): (Payer, _)| {
            self.counts.remove(&payer.container);
            self.within.remove(&payer.outermost);
            exec
        };
        held.into_iter().map(let_go).collect()
    }
}

impl Detection {
    /// Holds an exec until its file was read; where nobody can read that, it goes as unexamined.
    pub(super) fn hold(&mut self, id: FileId, exec: Unjudged) {
        let refused = match (self.reading.get(&id), &exec) {
            (None, _) => Some(exec),
            (Some(_), Unjudged::Seen { nested, .. } | Unjudged::Script { nested, .. }) => {
                let payer = Payer::new(&nested.0, nested.1.as_ref());
                self.held.put(id, payer, exec)
            }
            (Some(_), Unjudged::Loading(pending)) => self.held.put(id, pending.payer(), exec),
            (Some(read), Unjudged::Unseen { .. }) => self.held.put(id, read.payer.clone(), exec),
        };
        self.drop_unjudged(refused);
    }

    /// A file was read: its execs are a toolchain's, or nobody's, or it cannot be said whose.
    pub(super) fn release(&mut self, id: FileId, says: ContentSays) {
        for exec in self.held.take(id) {
            match (says, exec) {
                (_, Unjudged::Script { script, sighting, reading, nested }) => {
                    self.exec_of_script(says, &script, *sighting, reading, nested);
                }
                (
                    ContentSays::Toolchain | ContentSays::ByArguments | ContentSays::Loader,
                    Unjudged::Seen { sighting, reading, attempted, nested },
                ) => self.admit(*sighting, reading, attempted, nested),
                (ContentSays::Toolchain, Unjudged::Unseen { attempt, standing }) => {
                    self.merge.recognise(attempt.pid, id);
                    self.exec_unseen(attempt, standing);
                }
                (ContentSays::Unknown, exec) => self.drop_unjudged([exec]),
                (ContentSays::ByArguments, exec @ Unjudged::Unseen { standing: Standing::Confirmed, .. }) => {
                    self.drop_unjudged([exec]);
                }
                (_, Unjudged::Loading(pending)) => {
                    let number = self.number();
                    self.pending.insert(number, *pending);
                    self.settle(number);
                }
                (_, Unjudged::Seen { reading, .. }) => self.leave(reading),
                (_, Unjudged::Unseen { .. }) => {}
            }
        }
    }

    /// No file is read any more.
    pub(super) fn give_up_all(&mut self) {
        for id in self.held.files() {
            self.give_up(id);
        }
    }

    /// A file cannot be read in time.
    pub(super) fn give_up(&mut self, id: FileId) {
        let held = self.held.take(id);
        self.drop_unjudged(held);
    }

    /// Nobody can say what these execs are: they are counted as unexamined.
    pub(super) fn drop_unjudged(&mut self, execs: impl IntoIterator<Item = Unjudged>) {
        for exec in execs {
            self.counters.add_unexamined(1, clock::now());
            if let Unjudged::Seen { reading, .. } | Unjudged::Script { reading, .. } = exec {
                self.leave(reading);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Runtime;
    use crate::event::samples::attempt;

    fn exec(ino: u64) -> (FileId, Unjudged) {
        let attempt = Attempt { unjudged: true, ..attempt(1, ino, 0, 0) };
        (attempt.file, Unjudged::Unseen { attempt, standing: Standing::Confirmed })
    }

    #[test]
    fn one_container_takes_no_more_than_its_part() {
        let mut held = Held::default();
        let put = |held: &mut Held, name: &str, ino| {
            let (file, exec) = exec(ino);
            let key = |id: &str| ContainerKey { runtime: Runtime::Docker, id: id.into() };
            let (outer, inner) = name.split_once('/').unwrap_or((name, name));
            held.put(file, Payer { container: key(inner), outermost: key(outer) }, exec).is_none()
        };
        assert_eq!((0..2000).filter(|ino| put(&mut held, "loud", *ino)).count(), HELD_OF_ONE);
        assert!((10_000..10_050).all(|ino| put(&mut held, "quiet", ino)));
        let nested = |held: &mut Held, ino: u64| put(held, &format!("engine/{ino}"), 30_000 + ino);
        for ino in 0..40_000 {
            held.take(exec(ino).0);
        }
        assert!(held.by_file.is_empty() && held.counts.is_empty() && held.within.is_empty() && held.count == 0);
        assert_eq!((0..2000).filter(|ino| nested(&mut held, *ino)).count(), HELD_WITHIN);
        assert!(put(&mut held, "quiet", 10_000));
        for ino in 0..40_000 {
            held.take(exec(ino).0);
        }
        let others = (0..10_000).filter(|ino| put(&mut held, &ino.to_string(), *ino)).count();
        assert_eq!(others, HELD);
    }
}

//! Execs of files whose names say nothing and whose contents are being read: held until it is known what they are. What
//! dies with their processes is read meanwhile.

use std::collections::HashMap;

use crate::container::ContainerKey;
use crate::detect::Detection;
use crate::detect::pending::{Nested, Standing};
use crate::detect::triage::Reading;
use crate::event::{Attempt, FileId, Sighting};
use crate::fingerprint::ContentSays;
use crate::host::clock;

/// Execs held at once; a worker reads a file in a few milliseconds.
const HELD: usize = 1024;
/// Of one container, so that its new files make nobody else's go unexamined.
const HELD_OF_ONE: usize = HELD / 4;

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
    by_file: HashMap<FileId, Vec<(ContainerKey, Unjudged)>>,
    /// How many of each container that has any.
    counts: HashMap<ContainerKey, usize>,
    count: usize,
}

impl Held {
    /// Holds an exec; gives it back where there is no room.
    fn put(&mut self, id: FileId, container: ContainerKey, exec: Unjudged) -> Option<Unjudged> {
        let of_one = self.counts.get(&container).copied().unwrap_or_default();
        if self.count >= HELD || of_one >= HELD_OF_ONE {
            return Some(exec);
        }
        self.count += 1;
        self.counts.insert(container.clone(), of_one + 1);
        self.by_file.entry(id).or_default().push((container, exec));
        None
    }

    fn take(&mut self, id: FileId) -> Vec<Unjudged> {
        let held = self.by_file.remove(&id).unwrap_or_default();
        self.count -= held.len();
        let let_go = |(container, exec)| {
            if let Some(count) = self.counts.get_mut(&container) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&container);
                }
            }
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
            (Some(_), Unjudged::Seen { nested, .. }) => {
                let container = nested.0.clone();
                self.held.put(id, container, exec)
            }
            (Some(read), Unjudged::Unseen { .. }) => self.held.put(id, read.container.clone(), exec),
        };
        self.drop_unjudged(refused);
    }

    /// A file was read: its execs are a toolchain's, or nobody's, or it cannot be said whose.
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
                (ContentSays::Unknown, exec) => self.drop_unjudged([exec]),
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

    /// Nobody can say what these execs are: they are counted as unexamined.
    pub(super) fn drop_unjudged(&mut self, execs: impl IntoIterator<Item = Unjudged>) {
        for exec in execs {
            self.counters.add_unexamined(1, clock::now());
            if let Unjudged::Seen { reading, .. } = exec {
                self.leave(reading);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Runtime;
    use crate::event::{Monotonic, Pid};

    fn exec(ino: u64) -> (FileId, Unjudged) {
        let file = FileId { dev: 1, ino, size: 3, mtime_ns: 0, ctime_ns: 0 };
        let (pid, at) = (Pid(1), Monotonic::default());
        let attempt = Attempt {
            pid,
            after: at,
            at,
            file,
            path: b"/x"[..].into(),
            open: None,
            unjudged: true,
            by_open: false,
            on_host: false,
            mount: None,
            mounted: None,
            look: None,
        };
        (file, Unjudged::Unseen { attempt, standing: Standing::Confirmed })
    }

    #[test]
    fn one_container_takes_no_more_than_its_part() {
        let mut held = Held::default();
        let put = |held: &mut Held, name: &str, ino| {
            let (file, exec) = exec(ino);
            held.put(file, ContainerKey { runtime: Runtime::Docker, id: name.into() }, exec).is_none()
        };
        assert_eq!((0..2000).filter(|ino| put(&mut held, "loud", *ino)).count(), HELD_OF_ONE);
        assert!((10_000..10_050).all(|ino| put(&mut held, "quiet", ino)));
        for ino in 0..20_000 {
            held.take(exec(ino).0);
        }
        assert!(held.by_file.is_empty() && held.counts.is_empty() && held.count == 0);
        let others = (0..10_000).filter(|ino| put(&mut held, &ino.to_string(), *ino)).count();
        assert_eq!(others, HELD);
    }
}

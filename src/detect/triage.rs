//! What the sensors may settle by themselves: processes of the host, and programs that are no compilers. Consulted on
//! the sensors' threads, so it does no I/O and holds its locks for a few instructions; for what
//! it lets through it has the workers begin at once, as a `gcc --version` is gone in a millisecond.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use lru::LruCache;

use crate::container::mounted::MountOwners;
use crate::container::registry::{HostIdentity, is_host, nested_of};
use crate::container::{ContainerKey, Payer, cgroup};
use crate::detect::Share;
use crate::detect::enrich::Job;
use crate::detect::judged::Judged;
use crate::detect::merge::NameIs;
use crate::detect::pending::Nested;
use crate::detect::slate::Slate;
use crate::event::{BegunReads, Comm, FileId, Look, Missing, Monotonic, MountedId};
use crate::fingerprint::{Candidate, ContentSays, Database, Invocation, SharedDatabase};
use crate::host::mountinfo::Mount;
use crate::host::worker::{Pool, Ticket};
use crate::sensor::{FileIs, FileTriage, Triage};

/// A loss names the container that was the busiest since it began, in steps of this, and so many of them at most.
const STEP: Duration = Duration::from_secs(1);
const STEPS: usize = 20;
/// Containers of one step.
const TALLIED: usize = 256;
const NAMES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Reads whose exec did not arrive at detection are given up when so many others have begun.
const BEGUN: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// The screen before detection.
pub struct Screen {
    host: HostIdentity,
    database: SharedDatabase,
    judged: Arc<Judged>,
    reads: Arc<Pool<Share, Job>>,
    begun: Mutex<LruCache<BegunReads, Reading>>,
    next: AtomicU64,
    innocent_names: Mutex<InnocentNames>,
    tally: Mutex<Tally>,
    mount_owners: MountOwners,
    /// Whose each mounted filesystem is, and the outermost container where they nest.
    owned: RwLock<HashMap<MountedId, Nested>>,
}

/// Reads about one exec that are under way.
#[derive(Debug)]
pub struct Reading {
    /// What they write to.
    pub slate: Arc<Slate>,
    /// The job that does so, where a worker was free.
    pub ticket: Option<Ticket>,
}

/// Names of files that by name and content are no compilers.
struct InnocentNames {
    /// By which they were judged.
    database: Weak<Database>,
    names: LruCache<Comm, ()>,
}

impl Default for InnocentNames {
    fn default() -> Self {
        Self { database: Weak::new(), names: LruCache::new(NAMES) }
    }
}

impl InnocentNames {
    fn contain(&mut self, database: &Arc<Database>, comm: Comm) -> bool {
        self.go_by(database);
        self.names.get(&comm).is_some()
    }

    fn learn(&mut self, database: &Arc<Database>, comm: Comm) {
        self.go_by(database);
        self.names.put(comm, ());
    }

    fn go_by(&mut self, database: &Arc<Database>) {
        if self.database.as_ptr() != Arc::as_ptr(database) {
            self.names.clear();
            self.database = Arc::downgrade(database);
        }
    }
}

/// Execs of each container, by the step of time in which they were.
#[derive(Default)]
struct Tally(VecDeque<(Monotonic, HashMap<ContainerKey, u64>)>);

impl Tally {
    fn add(&mut self, at: Monotonic, key: &ContainerKey, execs: u64) {
        if self.0.back().is_none_or(|(began, _)| at.since(*began) >= STEP) {
            if self.0.len() == STEPS {
                self.0.pop_front();
            }
            self.0.push_back((at, HashMap::new()));
        }
        let Some((_, step)) = self.0.back_mut() else { return };
        if let Some(count) = step.get_mut(key) {
            *count += execs;
        } else if step.len() < TALLIED {
            step.insert(key.clone(), execs);
        }
    }

    fn busiest(&self, since: Monotonic) -> Option<ContainerKey> {
        let is_since = |began: &Monotonic| began.plus(STEP) > since;
        let mut counts: HashMap<&ContainerKey, u64> = HashMap::new();
        for (key, execs) in self.0.iter().filter(|(began, _)| is_since(began)).flat_map(|(_, step)| step) {
            *counts.entry(key).or_default() += execs;
        }
        counts.into_iter().max_by_key(|(_, execs)| *execs).map(|(key, _)| key.clone())
    }
}

fn named(database: &Database, comm: Comm) -> Candidate {
    database.candidate(&Invocation { path: &[], comm: comm.as_bytes(), args: None })
}

impl Screen {
    /// For this host, with this database and these workers; `judged` by what was read before.
    pub fn new(
        host: HostIdentity,
        database: SharedDatabase,
        judged: Arc<Judged>,
        reads: Arc<Pool<Share, Job>>,
    ) -> Self {
        let (begun, next) = (Mutex::new(LruCache::new(BEGUN)), AtomicU64::new(0));
        let (mount_owners, owned) = (MountOwners::default(), RwLock::default());
        let (innocent_names, tally) = (Mutex::default(), Mutex::default());
        Self { host, database, judged, reads, begun, next, innocent_names, tally, mount_owners, owned }
    }

    fn innocent_names(&self) -> MutexGuard<'_, InnocentNames> {
        self.innocent_names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reads that were begun for an exec; `None` where they were given up.
    pub fn take(&self, begun: BegunReads) -> Option<Reading> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).pop(&begun)
    }

    fn drop_reading(&self, reading: Reading) {
        // An open file keeps its mount; one that is found after this is closed at once.
        drop(reading.slate.take_program());
        if let Some(ticket) = reading.ticket {
            self.reads.abandon(ticket);
        }
    }

    /// The container with most execs since then, as far as they were counted.
    pub fn busiest(&self, since: Monotonic) -> Option<ContainerKey> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).busiest(since)
    }

    /// Whose a mounted filesystem is.
    pub fn owner(&self, id: MountedId) -> Option<Nested> {
        self.owned.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// What cgroups say of two containers, as far as it is credible: who can name them in the outer one could call his own
    /// after a container that lies elsewhere, as its mounts tell, and is in the outer one then.
    pub fn credible(&self, (inner, outer): Nested) -> Nested {
        let Some(outer) = outer else { return (inner, None) };
        let owned = self.owned.read().unwrap_or_else(PoisonError::into_inner);
        let lies_elsewhere = owned.values().any(|(other, around)| *other == inner && around.as_ref() != Some(&outer));
        if lies_elsewhere { (outer, None) } else { (inner, Some(outer)) }
    }

    /// A process told whose a filesystem is that its mount does not tell of. The first word stands, but for that of a
    /// process whose runtime had not yet put it into its cgroup, and for that of a container around the one whose it is.
    pub fn learn(&self, id: MountedId, nested: Nested) {
        let is_around = |known: &ContainerKey| nested.1.as_ref() == Some(known);
        let known = self.owner(id);
        if known.is_none_or(|(inner, _)| inner.gives_way_to(&nested.0) || is_around(&inner)) {
            self.owned.write().unwrap_or_else(PoisonError::into_inner).insert(id, nested);
        }
    }

    /// Whose a mount is in a namespace whose root directory lies on `root`, as one of its processes shows it.
    fn nested_within(&self, root: Option<MountedId>, look: &Look) -> Option<Nested> {
        let by_root = root.and_then(|root| self.owner(root));
        match by_root {
            Some((inner, outer)) if !inner.is_sandbox() => Some((inner, outer)),
            sandbox => nested_of(look, &self.host).map(|nested| self.credible(nested)).or(sandbox),
        }
    }

    /// Whose a name is.
    pub fn name_is(&self, comm: Comm) -> NameIs {
        let database = self.database.load();
        match named(&database, comm) {
            Candidate::ByName => NameIs::Toolchains,
            Candidate::IfArguments => NameIs::Others,
            Candidate::No if self.innocent_names().contain(&database, comm) => NameIs::Others,
            Candidate::No => NameIs::Unknown,
        }
    }

    /// Counts execs of a container, for the case of a loss.
    pub fn tally(&self, at: Monotonic, key: &ContainerKey, execs: u64) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(at, key, execs);
    }
}

impl Triage for Screen {
    fn is_contained(&self, look: &Look) -> bool {
        cgroup::container_of(look).is_some()
    }

    fn is_host(&self, look: &Look) -> bool {
        is_host(look, &self.host)
    }

    fn count(&self, look: &Look, execs: u64) {
        if let Some(key) = cgroup::container_of(look) {
            self.tally(look.at, &key, execs);
        }
    }

    fn count_on(&self, mounted: MountedId, at: Monotonic) {
        let owned = self.owned.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((inner, _)) = owned.get(&mounted) {
            self.tally(at, inner, 1);
        }
    }

    fn innocent_name(&self, file: FileId) -> Option<Comm> {
        self.judged.innocent_name(file)
    }

    fn is_innocent(&self, look: &Look) -> bool {
        let database = self.database.load();
        if database.candidate(&Invocation::of(look)) != Candidate::No {
            return false;
        }
        // Whose file cannot be named cannot be read either.
        let Some(file) = look.file() else { return true };
        let innocent = self.judged.says(file) == Some(ContentSays::Innocent);
        if let (true, Ok(stat)) = (innocent, &look.stat) {
            self.judged.learn_name(file, Comm::new(&stat.comm), &database);
        }
        innocent
    }

    fn is_innocent_end(&self, comm: Comm) -> bool {
        named(&self.database.load(), comm) == Candidate::No
    }

    fn may_be_entering(&self, look: &Look) -> bool {
        let on_host = self.host.root.is_some_and(|root| look.root == Ok(root));
        let unknown = || look.file().is_none_or(|id| self.judged.says(id).is_none());
        on_host && self.database.load().candidate(&Invocation::of(look)) == Candidate::No && unknown()
    }

    fn begin(&self, look: &Look) -> BegunReads {
        let begun = BegunReads(self.next.fetch_add(1, Ordering::Relaxed));
        let payer = cgroup::payer_of(look).unwrap_or_else(Payer::host);
        let look = Arc::new(look.clone());
        let slate: Arc<Slate> = Arc::default();
        let whole =
            self.reads.submit(Share::new(payer.clone(), true), Job::Process(Arc::clone(&look), Arc::clone(&slate)));
        let ticket = whole.or_else(|| {
            slate.refuse_memory(Missing::Busy);
            self.reads.submit(Share::new(payer, false), Job::Facts(look, Arc::clone(&slate)))
        });
        if ticket.is_none() {
            slate.refuse_facts(Missing::Busy);
        }
        let reading = Reading { slate, ticket };
        let pushed_out = self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(begun, reading);
        if let Some((_, reading)) = pushed_out {
            self.drop_reading(reading);
        }
        begun
    }

    fn leave(&self, begun: BegunReads) {
        if let Some(reading) = self.take(begun) {
            self.drop_reading(reading);
        }
    }
}

impl FileTriage for Screen {
    fn judge(&self, path: &[u8], id: FileId) -> FileIs {
        let database = self.database.load();
        match (database.file_candidate(path), self.judged.says(id)) {
            (Candidate::ByName, _) | (_, Some(ContentSays::Toolchain)) => FileIs::Toolchain,
            // What cannot be said of it is counted for each exec, by whoever gets its attempts.
            (_, None) if self.judged.is_doubted(id) => FileIs::Doubted,
            (_, None | Some(ContentSays::Unknown)) => FileIs::Unjudged,
            (Candidate::No, Some(ContentSays::Innocent | ContentSays::Loader)) => {
                self.innocent_names().learn(&database, Comm::of(path));
                FileIs::Innocent
            }
            (_, Some(_)) => FileIs::ByArguments,
        }
    }

    fn adopt(&self, id: FileId, layer: FileId) -> bool {
        self.judged.adopt(id, layer)
    }

    fn rested(&self, id: FileId) -> Duration {
        self.judged.rested(id)
    }

    fn invalidate(&self, id: FileId) {
        self.judged.invalidate(id);
    }

    fn mounted(&self, id: MountedId, mount: &Mount) {
        if let Some(key) = self.mount_owners.of(&mount.point) {
            self.learn(id, (key, None));
        }
    }

    fn mounted_within(&self, id: MountedId, root: Option<MountedId>, look: &Look) {
        if let Some(nested) = self.nested_within(root, look) {
            self.learn(id, nested);
        }
    }

    fn lives_on_host(&self, look: &Look) -> bool {
        is_host(look, &self.host)
    }

    fn shares_host(&self, look: &Look) -> bool {
        let same = self.host.pid_ns.is_some_and(|host| look.pid_ns == Ok(host));
        same && cgroup::container_of(look).is_some()
    }

    fn unmounted(&self, id: MountedId) {
        self.owned.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn name_of(&self, root: Option<MountedId>, look: &Look) -> Option<String> {
        self.nested_within(root, look).map(|(inner, _)| inner.to_string())
    }

    fn outermost_of(&self, look: &Look) -> Option<String> {
        let (inner, outer) = nested_of(look, &self.host)?;
        Some(outer.unwrap_or(inner)).filter(|key| !key.is_sandbox()).map(|key| key.to_string())
    }

    fn owns(&self, id: MountedId) -> bool {
        self.owned.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::container::Runtime;

    #[test]
    fn the_busiest_is_that_of_the_time_asked_for() {
        let (mut tally, key) = (Tally::default(), |id: &str| ContainerKey { runtime: Runtime::Docker, id: id.into() });
        let second = |n: u64| Monotonic(n * 1_000_000_000);
        tally.add(second(100), &key("gone"), 5000);
        tally.add(second(105), &key("quiet"), 2);
        tally.add(second(105), &key("loud"), 70);
        tally.add(second(106), &key("loud"), 1);
        assert_eq!(tally.busiest(second(90)), Some(key("gone")));
        assert_eq!(tally.busiest(second(105)), Some(key("loud")));
        assert_eq!(tally.busiest(second(200)), None);
        (0..100).for_each(|n| tally.add(second(200 + n), &key("later"), 1));
        assert_eq!((tally.0.len(), tally.busiest(second(0))), (STEPS, Some(key("later"))));
    }

    #[test]
    fn a_name_is_innocent_until_the_database_changes() {
        let made = || Arc::new(Database::builtin().unwrap());
        let (database, other, ls) = (made(), made(), Comm::new(b"ls"));
        let mut names = InnocentNames::default();
        assert!(!names.contain(&database, ls));
        names.learn(&database, ls);
        assert!(names.contain(&database, ls) && !names.contain(&database, Comm::new(b"sh")));
        assert!(!names.contain(&other, ls) && !names.contain(&database, ls));
    }
}

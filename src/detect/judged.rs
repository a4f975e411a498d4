//! What was read of executables: asked by the sensors for each exec, told by the workers. A verdict on a content holds as
//! long as the file's identity (device, inode, size, mtime, ctime) does, and for each container that has the file from the
//! same image layer. No container can push out what was read of the others' files, however many it makes.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lru::LruCache;

use crate::container::{ContainerKey, Payer};
use crate::event::{Comm, Field, FileId};
use crate::fingerprint::{Content, ContentSays, Database};
use crate::host::file::{SETTLED, age};

const FILES: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Of one share; an image with all its compilers and tools has some hundreds of programs, and a layer's file counts twice.
const FILES_OF_ONE: usize = 4096;
/// Of all containers within one outermost one.
const FILES_WITHIN: usize = FILES.get() / 2;
/// Files of image layers that are being read.
const LAYERS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// What was read of a file.
pub struct Finding {
    /// Its content.
    pub content: Field<Content>,
    /// What that says.
    pub says: ContentSays,
    /// When reading began.
    pub began: SystemTime,
    /// Another process that executes it may tell more.
    pub open: bool,
    /// The database that judged it.
    pub database: Arc<Database>,
}

/// Files by their identity.
#[derive(Debug)]
pub struct Judged {
    table: Mutex<Table>,
    /// Of files that are to be read, which of an image layer each is.
    layers: Mutex<LruCache<FileId, FileId>>,
}

#[derive(Debug)]
struct Table {
    files: LruCache<FileId, Known>,
    /// The files of each share that has one here, in the order in which they came.
    shares: HashMap<Share, VecDeque<FileId>>,
    /// What judges now, once it has changed.
    database: Option<Arc<Database>>,
}

impl Share {
    fn room(&self) -> usize {
        if matches!(self, Self::Within(_)) { FILES_WITHIN } else { FILES_OF_ONE }
    }
}

/// Who pays for a file's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Share {
    /// For whom it was read.
    Container(ContainerKey),
    /// The outermost container around that, where it is another: what lies within chooses its own names.
    Within(ContainerKey),
    /// Where it lies: what was read for another container is taken over for the overlay of this one.
    Filesystem(u64),
}

#[derive(Debug, Clone)]
struct Known {
    says: ContentSays,
    content: Option<Arc<Content>>,
    /// How long it had lain unchanged when it was read. Within [`SETTLED`] a change since then may not show.
    rested: Duration,
    /// When reading began.
    began: SystemTime,
    /// The name of a process that executed it, by which it was innocent too: comm is also what a script that it interprets is
    /// called.
    comm: Option<Comm>,
    share: Share,
    /// One that pays too.
    within: Option<Share>,
}

impl Known {
    fn holds(&self) -> bool {
        self.rested > SETTLED
    }

    fn shares(&self) -> impl Iterator<Item = &Share> {
        [&self.share].into_iter().chain(&self.within)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { files: LruCache::new(FILES), shares: HashMap::new(), database: None }
    }
}

impl Default for Judged {
    fn default() -> Self {
        Self { table: Mutex::default(), layers: Mutex::new(LruCache::new(LAYERS)) }
    }
}

impl Table {
    fn is_judged_by(&self, database: &Arc<Database>) -> bool {
        self.database.as_ref().is_none_or(|now| Arc::ptr_eq(now, database))
    }

    fn put(&mut self, id: FileId, known: Known) {
        let shares: Vec<Share> = known.shares().cloned().collect();
        if let Some((old, gone)) = self.files.push(id, known) {
            self.leave(old, &gone);
        }
        for share in shares {
            let room = share.room();
            let files = self.shares.entry(share).or_default();
            files.push_back(id);
            // The oldest of its own goes first: whether it is still used, no other share can say.
            if files.len() > room
                && let Some(oldest) = files.front().copied()
                && let Some(gone) = self.files.pop(&oldest)
            {
                self.leave(oldest, &gone);
            }
        }
    }

    fn leave(&mut self, id: FileId, known: &Known) {
        for share in known.shares() {
            let Some(files) = self.shares.get_mut(share) else { continue };
            if let Some(at) = files.iter().position(|other| *other == id) {
                files.remove(at);
            }
            if files.is_empty() {
                self.shares.remove(share);
            }
        }
    }
}

impl Judged {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a file is by its content; `None` where it is to be read, for the first time or again.
    pub fn says(&self, id: FileId) -> Option<ContentSays> {
        self.says_since(id, UNIX_EPOCH)
    }

    /// Whether what was read of a file does not hold any more.
    pub fn is_doubted(&self, id: FileId) -> bool {
        self.table().files.peek(&id).is_some_and(|known| !known.holds())
    }

    /// As [`Judged::says`], of what was read from a moment on.
    pub fn says_since(&self, id: FileId, since: SystemTime) -> Option<ContentSays> {
        self.table().files.get(&id).filter(|known| known.holds() && known.began >= since).map(|known| known.says)
    }

    /// The name of a process that executed this file and was found to be innocent, as far as that holds: by one question, as
    /// it is asked at each exec.
    pub fn innocent_name(&self, id: FileId) -> Option<Comm> {
        let mut table = self.table();
        let known = table.files.get(&id).filter(|known| known.holds() && known.says == ContentSays::Innocent);
        known.and_then(|known| known.comm)
    }

    /// By this database the file was executed under an innocent name.
    pub fn learn_name(&self, id: FileId, comm: Comm, database: &Arc<Database>) {
        let mut table = self.table();
        if table.is_judged_by(database)
            && let Some(known) = table.files.get_mut(&id)
        {
            known.comm = Some(comm);
        }
    }

    /// How long a file had lain unchanged when what is known of it was read; zero where that is nothing.
    pub fn rested(&self, id: FileId) -> Duration {
        self.table().files.peek(&id).map_or(Duration::ZERO, |known| known.rested)
    }

    /// What was read of a file.
    pub fn content(&self, id: FileId) -> Option<Arc<Content>> {
        self.table().files.get(&id).and_then(|known| known.content.clone())
    }

    /// Takes in what a worker has read for a container, which pays for it. What cannot be read is asked for no more than any other file.
    pub fn learn(&self, id: FileId, payer: Payer, finding: Finding) {
        let rested = if finding.open { Duration::ZERO } else { age(id, finding.began) };
        // What it was recognised by is needed no more, and may be a lot.
        let content = finding.content.ok().map(|content| Arc::new(Content { needed: Vec::new(), ..content }));
        let is_nested = payer.container != payer.outermost;
        let within = is_nested.then_some(Share::Within(payer.outermost));
        let (says, began, share) = (finding.says, finding.began, Share::Container(payer.container));
        let known = Known { says, content, rested, began, comm: None, share, within };
        let layer = self.layers.lock().unwrap_or_else(PoisonError::into_inner).pop(&id);
        let mut table = self.table();
        if !table.is_judged_by(&finding.database) {
            return;
        }
        // That it cannot be read may be one container's matter.
        if let Some(layer) = layer.filter(|_| known.content.is_some()) {
            table.put(layer, known.clone());
        }
        table.put(id, known);
    }

    /// A file that an overlay shows is this one of an image layer: takes over what was read of that, now, or for the
    /// next one when this one is read. Whether there was anything.
    pub fn adopt(&self, id: FileId, layer: FileId) -> bool {
        let mut table = self.table();
        let known = table.files.get(&layer).filter(|known| known.holds()).cloned();
        let Some(known) = known else {
            drop(table);
            self.layers.lock().unwrap_or_else(PoisonError::into_inner).put(id, layer);
            return false;
        };
        table.put(id, Known { comm: None, share: Share::Filesystem(id.dev), within: None, ..known });
        true
    }

    /// A file is to be read again, though nothing shows that it has changed.
    pub fn invalidate(&self, id: FileId) {
        if let Some(known) = self.table().files.get_mut(&id) {
            known.rested = Duration::ZERO;
        }
    }

    /// Forgets all: the database has changed to this one, and what another has said of a file is taken in no more.
    pub fn forget(&self, database: Arc<Database>) {
        *self.table() = Table { database: Some(database), ..Table::default() };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::container::Runtime;
    use crate::fingerprint::Database;

    fn id(ctime_ns: i128) -> FileId {
        FileId { dev: 1, ino: 2, size: 3, mtime_ns: 0, ctime_ns }
    }

    fn file(ino: u64) -> FileId {
        FileId { ino, ..id(0) }
    }

    fn key(name: &str) -> ContainerKey {
        ContainerKey { runtime: Runtime::Docker, id: name.into() }
    }

    fn container(name: &str) -> Payer {
        Payer::new(&key(name), None)
    }

    fn innocent(database: &Arc<Database>) -> Finding {
        let (content, database) = (Ok(Content::default()), Arc::clone(database));
        Finding { content, says: ContentSays::Innocent, began: SystemTime::now(), open: false, database }
    }

    fn database() -> Arc<Database> {
        Arc::new(Database::builtin().unwrap())
    }

    #[test]
    fn a_name_is_innocent_as_long_as_the_file_and_the_database_are() {
        let (judged, database, other) = (Judged::default(), database(), database());
        let (comm, name) = (Comm::new(b"ls"), |judged: &Judged| judged.innocent_name(id(0)));
        judged.learn_name(id(0), comm, &database);
        judged.learn(id(0), container("a"), innocent(&database));
        assert_eq!(name(&judged), None, "nothing was known of the file");
        judged.learn_name(id(0), comm, &database);
        assert_eq!(name(&judged), Some(comm));
        judged.invalidate(id(0));
        assert_eq!(name(&judged), None);
        judged.forget(Arc::clone(&other));
        judged.learn(id(0), container("a"), innocent(&other));
        judged.learn_name(id(0), comm, &database);
        assert_eq!(name(&judged), None, "another database judged it");
        let toolchain = Finding { says: ContentSays::Toolchain, ..innocent(&other) };
        judged.learn(id(0), container("a"), toolchain);
        judged.learn_name(id(0), comm, &other);
        assert_eq!(name(&judged), None);
    }

    #[test]
    fn a_layers_file_is_read_once() {
        let (judged, database) = (Judged::default(), database());
        let of = |dev| FileId { dev, ..id(0) };
        let (one, other, layer) = (of(1), of(2), of(3));
        assert!(!judged.adopt(one, layer));
        judged.learn(one, container("a"), innocent(&database));
        assert_eq!(judged.says(other), None);
        assert!(judged.adopt(other, layer));
        assert_eq!(judged.says(other), Some(ContentSays::Innocent));
        judged.forget(Arc::clone(&database));
        assert!(!judged.adopt(of(4), layer));
    }

    #[test]
    fn a_file_changed_just_now_is_read_again() {
        let (judged, now, database) = (Judged::default(), SystemTime::now(), database());
        let now_ns = i128::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        let (old, fresh) = (id(now_ns - 1_000_000_000), id(now_ns - 1_000_000));
        for id in [old, fresh] {
            judged.learn(id, container("a"), Finding { began: now, ..innocent(&database) });
        }
        assert_eq!(judged.says(old), Some(ContentSays::Innocent));
        let later = now + Duration::from_nanos(1);
        assert_eq!([now, later].map(|since| judged.says_since(old, since)), [Some(ContentSays::Innocent), None]);
        assert_eq!(judged.says(fresh), None);
        assert!(judged.content(fresh).is_some());
        let other = Arc::new(Database::builtin().unwrap());
        judged.forget(Arc::clone(&other));
        assert_eq!(judged.says(old), None);
        judged.learn(old, container("a"), Finding { began: now, ..innocent(&database) });
        assert_eq!(judged.says(old), None, "another database says so no more");
        judged.learn(old, container("a"), Finding { began: now, ..innocent(&other) });
        assert_eq!(judged.says(old), Some(ContentSays::Innocent));
    }

    #[test]
    fn a_container_with_many_files_pushes_out_its_own_alone() {
        let (judged, database) = (Judged::default(), database());
        let learn = |name: &str, ino| judged.learn(file(ino), container(name), innocent(&database));
        (0..100).for_each(|ino| learn("quiet", ino));
        (1_000_000..1_020_000).for_each(|ino| learn("loud", ino));
        assert!((0..100).all(|ino| judged.says(file(ino)).is_some()));
        let kept = (1_000_000..1_020_000).filter(|ino| judged.says(file(*ino)).is_some()).count();
        assert_eq!(kept, FILES_OF_ONE);
        assert!(judged.says(file(1_019_999)).is_some());
        // What is read again is one file as before.
        (0..10_000).for_each(|_| learn("quiet", 7));
        assert!((0..100).all(|ino| judged.says(file(ino)).is_some()));
        assert_eq!(judged.table().shares[&Share::Container(key("quiet"))].len(), 100);
    }

    #[test]
    fn an_overlay_that_takes_over_many_files_pushes_out_its_own_alone() {
        let (judged, database) = (Judged::default(), database());
        judged.adopt(file(0), file(1));
        judged.learn(file(0), container("quiet"), innocent(&database));
        for ino in 0..20_000 {
            assert!(judged.adopt(FileId { dev: 7, ..file(ino) }, file(1)));
        }
        assert!(judged.says(file(0)).is_some());
        assert_eq!(judged.table().shares[&Share::Filesystem(7)].len(), FILES_OF_ONE);
    }

    #[test]
    fn containers_within_another_push_out_their_own_alone() {
        let (judged, database) = (Judged::default(), database());
        (0..100).for_each(|ino| judged.learn(file(ino), container("quiet"), innocent(&database)));
        for ino in 1000..21_000 {
            let payer = Payer::new(&key(&format!("{}", ino / 10)), Some(&key("engine")));
            judged.learn(file(ino), payer, innocent(&database));
        }
        assert!((0..100).all(|ino| judged.says(file(ino)).is_some()));
        let table = judged.table();
        assert_eq!(
            (table.files.len(), table.shares[&Share::Within(key("engine"))].len()),
            (FILES_WITHIN + 100, FILES_WITHIN)
        );
        assert_eq!(table.shares.len(), 2 + FILES_WITHIN / 10 + 1, "of those that have files");
    }

    #[test]
    fn all_together_are_bounded_and_the_least_used_goes_first() {
        let (judged, database) = (Judged::default(), database());
        for ino in 0..20_000 {
            judged.learn(file(ino), container(&format!("{}", ino / 10)), innocent(&database));
            judged.says(file(5));
        }
        let table = judged.table();
        assert_eq!(table.files.len(), FILES.get());
        assert_eq!(table.shares.values().map(VecDeque::len).sum::<usize>(), FILES.get());
        assert!(table.files.contains(&file(5)) && !table.files.contains(&file(6)));
    }
}

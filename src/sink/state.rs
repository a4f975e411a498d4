//! What outlives the watcher: the sequence number, when it watched last, and the last document of each session that is
//! still open. Without a usable directory it goes on and says so; beside another watcher on the same directory it does
//! not start.
//!
//! `sequence` holds the last number given, written before the alert goes out, so that a kill never repeats one. Nothing
//! here is flushed to the disk (an alert does not wait for one): after a power failure a number may come again, an
//! `event.id` never does. `sessions/ID.json` is written after the alert and removed with `closed`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::watched::{Last, Watched};
use crate::alert::document::Document;
use crate::alert::json;
use crate::error::{Error, Result};

/// Bytes read of a session's file; a document is smaller by [`crate::alert::fit::bound`] in all but absurd cases.
const SESSION_LIMIT: u64 = 1 << 20;

/// Files of sessions that are looked at.
const SESSIONS_LIMIT: usize = 4096;

/// How long a watcher that was killed may hold its lock, and how often it is asked for.
const LETTING_GO: Duration = Duration::from_secs(2);
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// The largest number that every JSON reader keeps (2^53, RFC 8259 section 6).
const SEQUENCE_MAX: u64 = 1 << 53;

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    last: u64,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Locked as long as we run: two watchers on one directory would use the same numbers.
    sequence: Flock<File>,
    path: PathBuf,
    sessions: PathBuf,
    watched: Watched,
    /// A failure to write was said already.
    said: bool,
}

/// What was found in the directory.
#[derive(Debug)]
pub(super) struct Opened {
    /// To go on with.
    pub(super) state: State,
    /// The last documents of the sessions that a killed watcher left open.
    pub(super) interrupted: Vec<Document>,
    /// When a watcher watched last, and how it ended; `None` where none is known.
    pub(super) last: Option<Last>,
    /// What the operator should know, in one sentence: the numbers made a jump.
    pub(super) trouble: Option<String>,
}

impl State {
    /// Opens or makes `directory`. Where numbers cannot be kept or the last one cannot be read, they go on from the
    /// milliseconds since the epoch: higher than any number given before, and still exact in every JSON reader.
    ///
    /// Fails where another watcher runs on the directory: each alert would go out twice.
    pub(super) fn open(directory: &Path, now: SystemTime) -> Result<Opened> {
        let opened = match Kept::open(directory) {
            Ok(Found { kept, sequence, last }) => {
                let interrupted = kept.interrupted();
                let trouble = sequence
                    .is_none()
                    .then(|| format!("{} holds no number; event.sequence goes on from the clock", kept.path.display()));
                Opened {
                    state: Self { last: sequence.unwrap_or_else(|| clock(now)), kept: Some(kept) },
                    interrupted,
                    last,
                    trouble,
                }
            }
            Err(Unusable::Held(error)) => return Err(error),
            Err(Unusable::Broken(error)) => Opened {
                state: Self { last: clock(now), kept: None },
                interrupted: Vec::new(),
                last: None,
                trouble: Some(format!("{error}; event.sequence goes on from the clock and open sessions are not kept")),
            },
        };
        Ok(opened)
    }

    /// The next number, kept before it is given.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        if let Some(kept) = &mut self.kept {
            let written = kept.sequence.write_all_at(format!("{:020}\n", self.last).as_bytes(), 0);
            kept.check(written.map_err(|error| Error::file("write", &kept.path, error)));
        }
        self.last
    }

    /// Keeps that the watcher watches at `now`, or ends in order.
    pub(super) fn mark(&mut self, now: SystemTime, stopped: bool) {
        if let Some(kept) = &mut self.kept {
            let result = kept.watched.mark(now, stopped);
            kept.check(result);
        }
    }

    /// Keeps the document of a session that is open, forgets one that is closed.
    pub(super) fn remember(&mut self, document: &Document) {
        let (Some(kept), Some(session)) = (&mut self.kept, &document.ccwatch.session) else { return };
        // The id becomes a file's name: nothing but what an identifier of ours consists of.
        if !is_id(&session.id) {
            return;
        }
        let path = kept.sessions.join(format!("{}.json", session.id));
        let result = if session.state == "closed" {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &path, error)),
                _ => Ok(()),
            }
        } else {
            replace(&path, &json::line(document))
        };
        kept.check(result);
    }
}

/// Why a directory cannot be used.
#[derive(Debug)]
enum Unusable {
    /// Another process has locked it.
    Held(Error),
    Broken(Error),
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// What a usable directory held.
struct Found {
    kept: Kept,
    /// The last number; `None` where the file holds something else.
    sequence: Option<u64>,
    last: Option<Last>,
}

impl Kept {
    fn open(directory: &Path) -> std::result::Result<Found, Unusable> {
        let sessions = directory.join("sessions");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&sessions);
        made.map_err(|error| Error::file("make", &sessions, error))?;
        let path = directory.join("sequence");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = plain(&mut options, &path).map_err(|error| Error::file("open", &path, error))?;
        let sequence = lock(file).map_err(|error| refused(&path, error))?;
        let mut text = String::new();
        let read = (&*sequence).take(64).read_to_string(&mut text);
        let last = match read {
            Ok(0) => Some(0),
            Ok(_) => text.lines().next().and_then(|line| line.parse().ok()).filter(|last| *last <= SEQUENCE_MAX),
            Err(_) => None,
        };
        let (watched, known) = Watched::open(directory)?;
        Ok(Found { kept: Self { sequence, path, sessions, watched, said: false }, sequence: last, last: known })
    }

    /// The documents of open sessions, oldest name first (identifiers sort by time). A file that is none is removed
    /// and said.
    fn interrupted(&self) -> Vec<Document> {
        let Ok(entries) = fs::read_dir(&self.sessions) else { return Vec::new() };
        let mut paths: Vec<_> = entries.flatten().take(SESSIONS_LIMIT).map(|entry| entry.path()).collect();
        paths.sort();
        let mut documents = Vec::new();
        for path in paths {
            match read_session(&path) {
                Ok(document) => documents.push(document),
                Err(error) => {
                    log::warn!("ignored: {}", Error::file("read", &path, error));
                    // Without success it is ignored again the next time.
                    let _ = fs::remove_file(&path);
                }
            }
        }
        documents
    }

    /// Says the first failure; the state directory's disk being full must not fill the log as well.
    fn check(&mut self, result: Result<()>) {
        match result {
            Err(error) if !self.said => {
                log::warn!("{error}; a kill of the watcher may now repeat event.sequence or leave sessions open");
                self.said = true;
            }
            Err(_) => {}
            Ok(()) => self.said = false,
        }
    }
}

/// Locks once a watcher that was killed has let go: the kernel closes its files after /proc shows it without a program,
/// and only when each of its threads and fanotify marks is gone.
fn lock(mut file: File) -> std::result::Result<Flock<File>, Errno> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((held, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = held,
            Err((_, error)) => return Err(error),
        }
        thread::sleep(LOCK_AGAIN);
    }
}

/// Why flock(2) on `path` failed.
fn refused(path: &Path, error: Errno) -> Unusable {
    match error {
        Errno::EWOULDBLOCK => {
            let held = io::Error::other("another watcher runs with this state directory");
            Unusable::Held(Error::file("lock", path, held))
        }
        // ENOLCK, ENOSYS: a filesystem without locks.
        other => Unusable::Broken(Error::file("lock", path, other)),
    }
}

/// Opens without following a link at the path's end or waiting for a FIFO's other side; only a regular file.
pub(super) fn plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

fn read_session(path: &Path) -> io::Result<Document> {
    let mut bytes = Vec::new();
    plain(OpenOptions::new().read(true), path)?.take(SESSION_LIMIT).read_to_end(&mut bytes)?;
    let document: Document = serde_json::from_slice(&bytes)?;
    let id = document.ccwatch.session.as_ref().map_or("", |session| &session.id);
    // The name is what is removed with `closed`: it must be that session's.
    if is_id(id) && path.file_name().is_some_and(|name| name == format!("{id}.json").as_str()) {
        Ok(document)
    } else {
        Err(io::Error::other("not the session that its name says"))
    }
}

/// The file's new content is there whole or not at all.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    // One that a kill left behind is no obstacle, and a link in its place is not followed.
    let _ = fs::remove_file(&new);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| io::Write::write_all(&mut file, content))
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| Error::file("write", &new, error))
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn clock(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)).min(SEQUENCE_MAX)
}

#[cfg(test)]
mod tests;

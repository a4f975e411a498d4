//! Reads the file: which, whether it can be trusted, and whether it has changed. What its bytes mean is `parse`'s affair.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Config, DEFAULT_PATH, Problem, parse};
use crate::error::{Error, Result};

/// More than any file of ours ever needs; a bound on what a wrong path can cost.
const MAX_BYTES: u64 = 1 << 20;

/// Group and others may write: anybody of them could switch the watcher off.
const FOREIGN_WRITE: u32 = 0o022;

/// Followed one after another, as the kernel does (path_resolution(7)).
const LINKS: usize = 40;

/// Beside the configuration file.
const FINGERPRINTS: &str = "fingerprints.d";

/// A configuration, and enough of where it came from to tell later whether that has changed.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says, over the defaults.
    pub config: Config,
    source: Source,
    /// SHA-256 of the bytes; `None` where there was no file.
    digest: Option<[u8; 32]>,
}

/// Which file, and whether it must exist.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    named: bool,
}

impl Config {
    /// Reads `path`, which must exist, or else [`DEFAULT_PATH`], which need not: without it the defaults hold.
    ///
    /// # Errors
    /// Of several problems the first, and how many more there are; [`Config::load_all`] tells all.
    pub fn load(path: Option<&Path>) -> Result<Loaded> {
        Self::load_all(path).map_err(first)
    }

    /// As [`Config::load`], with every problem.
    ///
    /// # Errors
    /// One [`Error`] a problem, in the order of the file's lines; never an empty list.
    pub fn load_all(path: Option<&Path>) -> std::result::Result<Loaded, Vec<Error>> {
        let source = Source { path: path.unwrap_or(Path::new(DEFAULT_PATH)).to_path_buf(), named: path.is_some() };
        source.load()
    }
}

/// The bytes of a file that must exist, and that is held to what the configuration is held to: root's or ours, for
/// nobody else to change. At most `max` bytes.
///
/// # Errors
/// As [`Config::load`].
pub(crate) fn read_trusted(path: &Path, max: u64) -> Result<Vec<u8>> {
    let source = Source { path: path.to_path_buf(), named: true };
    Ok(source.read_up_to(max)?.unwrap_or_default())
}

impl Loaded {
    /// The file that was read, or would have been.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// The directory beside it in which an operator adds to the database of compilers.
    pub fn fingerprints(&self) -> PathBuf {
        self.source.path.with_file_name(FINGERPRINTS)
    }

    /// Whether there was a file.
    pub fn exists(&self) -> bool {
        self.digest.is_some()
    }

    /// Reads the file again. `None` where its bytes are the same, so that a SIGHUP that only rotates logs changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Config::load`]: the caller keeps what it has.
    pub fn reload(&self) -> Result<Option<Self>> {
        let bytes = self.source.read()?;
        if bytes.as_deref().map(digest) == self.digest {
            return Ok(None);
        }
        self.source.clone().interpret(bytes).map(Some).map_err(first)
    }
}

impl Source {
    fn load(self) -> std::result::Result<Loaded, Vec<Error>> {
        let bytes = self.read().map_err(|error| vec![error])?;
        self.interpret(bytes)
    }

    fn interpret(self, bytes: Option<Vec<u8>>) -> std::result::Result<Loaded, Vec<Error>> {
        let Some(bytes) = bytes else {
            return Ok(Loaded { config: Config::default(), source: self, digest: None });
        };
        match parse::parse(&bytes) {
            Ok(config) => Ok(Loaded { config, source: self, digest: Some(digest(&bytes)) }),
            Err(problems) => Err(problems.iter().map(|problem| self.refuse(problem)).collect()),
        }
    }

    fn read(&self) -> Result<Option<Vec<u8>>> {
        self.read_up_to(MAX_BYTES)
    }

    /// The file's bytes; `None` where it is missing and may be.
    fn read_up_to(&self, max: u64) -> Result<Option<Vec<u8>>> {
        let whole = |reason: String| self.refuse(&Problem { line: None, reason });
        let os = |error: std::io::Error| Error::file("read", &self.path, error);
        // O_NONBLOCK: a FIFO under this name must not hang the start. Symbolic links are followed: administrators use
        // them, and what counts is whose the file is that was opened.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = match options.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match (dangles(&self.path), self.named) {
                    (true, _) => Err(whole("a link to no file".into())),
                    (false, true) => Err(whole("no such file".into())),
                    (false, false) => Ok(None),
                };
            }
            Err(error) => return Err(os(error)),
        };
        let metadata = file.metadata().map_err(os)?;
        let euid = nix::unistd::geteuid().as_raw();
        if let Some(reason) = distrust(&metadata, euid) {
            return Err(whole(reason));
        }
        if let Some(reason) = distrust_way(&self.path, euid).map_err(os)? {
            return Err(whole(reason));
        }
        read_bounded(file, max).map_err(os)?.map(Some).ok_or_else(|| whole(format!("larger than {max} bytes")))
    }

    fn refuse(&self, problem: &Problem) -> Error {
        Error::Config { act: "read", object: self.path.display().to_string(), reason: problem.to_string() }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// One error for all: the first, and how many more there are.
fn first(problems: Vec<Error>) -> Error {
    let more = problems.len().saturating_sub(1);
    match problems.into_iter().next() {
        Some(Error::Config { act, object, reason }) if more > 0 => {
            Error::Config { act, object, reason: format!("{reason} (and {more} more: see ccwatch config check)") }
        }
        Some(only) => only,
        None => Error::Config { act: "read", object: "configuration".into(), reason: "no reason was given".into() },
    }
}

/// Why the file that was opened must not be obeyed: somebody else than root and us can write to it.
fn distrust(metadata: &Metadata, euid: u32) -> Option<String> {
    if !metadata.is_file() {
        return Some("not a regular file".into());
    }
    foreign("it", metadata.uid(), metadata.mode(), euid)
}

/// Why another file may stand under this name tomorrow: somebody else than root and us can write to a directory on the way
/// to it, or owns a link.
fn distrust_way(path: &Path, euid: u32) -> std::io::Result<Option<String>> {
    let mut links = 0;
    let mut at = PathBuf::new();
    let mut rest: VecDeque<OsString> = names(&std::path::absolute(path)?).collect();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(name);
        let of = fs::symlink_metadata(&at)?;
        let reason = if of.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(nix::errno::Errno::ELOOP.into());
            }
            let link = format!("the link {}", at.display());
            let target = fs::read_link(&at)?;
            at.pop();
            names(&target).rev().for_each(|name| rest.push_front(name));
            foreign(&link, of.uid(), 0, euid)
        } else if of.is_dir() {
            foreign_directory(&format!("the directory {}", at.display()), of.uid(), of.mode(), euid)
        } else {
            None
        };
        if reason.is_some() {
            return Ok(reason);
        }
    }
    Ok(None)
}

/// Whether a link on the way leads to nothing, so that it is not known what would lie there.
pub(crate) fn dangles(path: &Path) -> bool {
    path.ancestors().any(|at| at.is_symlink() && !at.exists())
}

/// The names of a path one after another, the first `/` where it is absolute.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter(|name| *name != Component::CurDir).map(|name| name.as_os_str().to_owned())
}

/// As [`foreign`]; but in root's /tmp and its like nobody can touch what is another's (sticky, inode(7)).
fn foreign_directory(what: &str, uid: u32, mode: u32, euid: u32) -> Option<String> {
    let guarded = uid == 0 && mode & libc::S_ISVTX != 0;
    foreign(what, uid, if guarded { mode & !FOREIGN_WRITE } else { mode }, euid)
}

/// Why `what` with this owner and mode is not for root and us alone to change.
fn foreign(what: &str, uid: u32, mode: u32, euid: u32) -> Option<String> {
    if uid != 0 && uid != euid {
        return Some(format!("{what} belongs to uid {uid}: it must belong to root or to the user that runs ccwatch"));
    }
    let permissions = mode & 0o7777;
    (mode & FOREIGN_WRITE != 0)
        .then(|| format!("group or others may write to {what} (mode {permissions:04o}): chmod go-w would do"))
}

/// `None` where it is too large.
fn read_bounded(file: File, max: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

#[cfg(test)]
mod tests;

//! The database as its files make it: what is compiled in, and what an operator adds in a directory of his own.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::content::{self, Limit};
use super::raw::RawDatabase;
use super::{Content, ContentSays, Database, Evidence};
use crate::config::{dangles, read_trusted};
use crate::error::{Error, Result};

/// A file of ten thousand hashes has a megabyte.
const MAX_FILE: u64 = 16 << 20;
const MAX_FILES: usize = 256;
/// One that is everywhere and compiles nothing.
const ANY_PROGRAM: &str = "/bin/sh";
const ANY_SCRIPT: &[u8] = b"#!/bin/sh\nexec true\n";

/// An operator's files, as they were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// In the order of their names.
    files: Vec<(PathBuf, String)>,
}

impl Files {
    /// Reads every `*.toml` of a directory; one that is not there has none.
    ///
    /// # Errors
    /// A file that cannot be read, that others than root and we may change, that is larger than 16 MiB or not UTF-8; more than 256 of them.
    pub fn read(directory: &Path) -> Result<Self> {
        let listed = match std::fs::read_dir(directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !dangles(directory) => return Ok(Self::default()),
            listed => listed.map_err(|e| Error::file("read", directory, e))?,
        };
        let mut paths = Vec::new();
        for entry in listed {
            let path = entry.map_err(|e| Error::file("read", directory, e))?.path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                paths.push(path);
            }
        }
        if paths.len() > MAX_FILES {
            return Err(wrong(directory, format!("holds more than {MAX_FILES} files")));
        }
        paths.sort();
        let read = |path: PathBuf| {
            // Whoever can write to it can switch families off, so it has to be root's as the configuration has.
            let bytes = read_trusted(&path, MAX_FILE)?;
            let text = String::from_utf8(bytes).map_err(|_| wrong(&path, "is not UTF-8".to_owned()))?;
            Ok((path, text))
        };
        Ok(Self { files: paths.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// The database of what is compiled in and these files, each of which may add to those before it and disable their
    /// families.
    ///
    /// # Errors
    /// The first file that is wrong, and why: also one by which `/bin/sh`, or any script, would be a compiler.
    pub fn compile(&self) -> Result<Database> {
        let Some((last, before)) = self.files.split_last() else { return Database::builtin() };
        let mut all = Database::builtin_entries().map_err(|reason| wrong(Path::new("fingerprints.toml"), reason))?;
        // One after another, so that an error is told of the file that makes it.
        for (path, text) in before {
            add(&mut all, text).map_err(|reason| wrong(path, reason))?;
        }
        add(&mut all, &last.1).map_err(|reason| wrong(&last.0, reason))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.files.len()
    }
}

/// Adds a file's entries to those before it.
fn add(all: &mut RawDatabase, text: &str) -> std::result::Result<Database, String> {
    all.add(RawDatabase::parse(text)?)?;
    let database = Database::compile(all)?;
    refuse_what_any_program_is(&database)?;
    Ok(database)
}

/// A mark such as `GLIBC_` is long enough, and stands in all that is linked: refused is what makes a compiler of a program
/// or script that is none, or by marks anything that is known, which would be known of all others too.
fn refuse_what_any_program_is(database: &Database) -> std::result::Result<(), String> {
    for (what, read) in [(ANY_PROGRAM, any_program as fn(&Database) -> _), ("a script of two words", any_script)] {
        let Some(content) = read(database) else { continue };
        let family = content.recognised.as_ref().map(|recognition| recognition.family.as_str());
        if database.content_says(&content) == ContentSays::Toolchain {
            let family = family.unwrap_or("one by its structure");
            return Err(format!("it makes {what} a compiler, {family}: so it would any program"));
        }
        let by_marks = content.recognised.as_ref().is_some_and(|r| r.evidence.contains(&Evidence::Marker));
        let Some(family) = family.filter(|_| by_marks) else { continue };
        let known = Database::builtin().map_err(|error| error.to_string())?;
        let before = read(&known).and_then(|content| content.recognised);
        if before.is_none_or(|before| before.family != family) {
            return Err(format!("its marks make {what} one of {family}: so they would any program"));
        }
    }
    Ok(())
}

fn any_program(database: &Database) -> Option<Content> {
    let limit = Limit { bytes: MAX_FILE, time: None };
    File::open(ANY_PROGRAM).ok().and_then(|file| content::read(&file, limit, database).ok())
}

fn any_script(database: &Database) -> Option<Content> {
    let limit = Limit { bytes: MAX_FILE, time: None };
    content::read(ANY_SCRIPT, limit, database).ok()
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Config { act: "read", object: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::fingerprint::{Candidate, Invocation};

    fn candidate(database: &Database, path: &[u8]) -> Candidate {
        database.candidate(&Invocation { path, comm: b"", args: None })
    }

    fn put(directory: &Path, name: &str, text: &str) {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    #[test]
    fn what_others_may_write_or_is_no_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let refused = || Files::read(directory.path()).unwrap_err().to_string();
        put(directory.path(), "a.toml", "schema = 1\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(refused().contains("may write to it"), "{}", refused());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"schema = 1 # \xff").unwrap();
        assert!(refused().contains("not UTF-8"), "{}", refused());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(refused().contains("not a regular file"), "{}", refused());
    }

    #[test]
    fn a_directory_adds_and_switches_off() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| put(directory.path(), name, text);
        assert_eq!(Files::read(&directory.path().join("none")).unwrap().count(), 0);
        put("10-own.toml", "schema = 1\n[[family]]\nfamily = 'ourcc'\nkind = 'compiler'\nnames = ['ourcc']\n");
        put("20-off.toml", "schema = 1\ndisable = ['tcc']\n");
        put("notes.txt", "no database");
        let files = Files::read(directory.path()).unwrap();
        assert_eq!(files.count(), 2);
        let database = files.compile().unwrap();
        assert_eq!(candidate(&database, b"/usr/bin/ourcc"), Candidate::ByName);
        assert_eq!(candidate(&database, b"/usr/bin/tcc"), Candidate::No);
        assert_eq!(candidate(&database, b"/usr/bin/gcc"), Candidate::ByName);
        assert_eq!(files, Files::read(directory.path()).unwrap());
        put("20-off.toml", "schema = 1\n");
        assert_ne!(files, Files::read(directory.path()).unwrap());
    }

    #[test]
    fn an_error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            put(directory.path(), "a.toml", text);
            put(directory.path(), "b.toml", "schema = 1\n");
            Files::read(directory.path()).unwrap().compile().unwrap_err().to_string()
        };
        for (text, reason) in [
            ("schema = 2", "schema 2 is not known"),
            ("nonsense", "a.toml: line 1: key with no value, expected `=`"),
            ("schema = 1\n[[family]]\nfamily = 'x'\nkind = 'compilr'", "a.toml: line 4: unknown variant"),
            (
                "schema = 1\n[[family]]\nfamliy = 'x'",
                "a.toml: line 3: unknown key \"famliy\", did you mean \"family\"?",
            ),
            ("schema = 1\n[[content]]\nfamily = 'tcc'\ncolour = 'x'", "a.toml: line 4: unknown key \"colour\""),
            ("schema = 1\n[[content]]\nfamily = 'tcc'\nmarks = 'x'", "a.toml: line 4: invalid type"),
            ("schema = 1\ndisable = ['nothing']", "there is no family \"nothing\""),
            ("schema = 1\n[[content]]\nfamily = 'tcc'\nmarks = ['x']", "fewer than"),
            ("schema = 1\n[[content]]\nfamily = 'tcc'\nneeded = ['libtcc*']", "prove nothing"),
            ("schema = 1\n[[family]]\nfamily = 'x'\nkind = 'compiler'\nnames = ['*']", "match"),
        ] {
            let error = refused(text);
            assert!(error.contains("a.toml") && error.contains(reason), "{text}: {error}");
            assert!(!error.contains('\n') && !error.contains("\\x0a"), "{text}: {error}");
        }
    }
}

//! The database's `[[content]]` and `[[known-good]]` entries compiled into tables. What they say of a file is the
//! parent's.

use std::collections::{HashMap, HashSet};

use crate::fingerprint::Kind;
use crate::fingerprint::elf::notes;
use crate::fingerprint::marks::{MarkId, Marks};
use crate::fingerprint::pages::Pages;
use crate::fingerprint::raw::{RawContent, RawKnownGood};
use crate::fingerprint::structure::Structure;

/// A mark that is shorter stands in too many files.
const MIN_MARK: usize = 6;

/// All entries, compiled.
#[derive(Debug, Default)]
pub(in crate::fingerprint) struct Contents {
    pub(in crate::fingerprint) marks: Marks,
    pub(super) entries: Vec<Entry>,
    /// Families by hash.
    pub(super) sha256: HashMap<Box<[u8]>, usize>,
    pub(super) code_hashes: HashMap<Box<[u8]>, usize>,
    pub(super) build_ids: HashMap<Box<[u8]>, usize>,
    pub(super) known_good: HashSet<Box<[u8]>>,
    /// Families by pages of code.
    pub(in crate::fingerprint) pages: Pages,
    /// What makes a compiler of no known family.
    pub(in crate::fingerprint) structure: Structure,
}

/// A compiled entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// Index of the family.
    pub(super) family: usize,
    pub(super) marks: Vec<MarkId>,
    pub(super) at_least: usize,
    pub(super) without: Vec<MarkId>,
    pub(super) needed: Vec<Glob>,
    pub(super) go_paths: Vec<Glob>,
    pub(super) version_after: Vec<MarkId>,
    /// Of a script, and of nothing else.
    pub(super) script: bool,
}

/// What the tables need to know of a family.
#[derive(Debug, Clone, Copy)]
pub(in crate::fingerprint) struct Claimant<'d> {
    pub(in crate::fingerprint) family: &'d str,
    pub(in crate::fingerprint) kind: Kind,
    pub(in crate::fingerprint) toolchain: Option<&'d str>,
}

/// A text with at most one star.
#[derive(Debug)]
pub(super) struct Glob {
    head: Box<str>,
    tail: Option<Box<str>>,
}

impl Glob {
    fn parse(text: &str) -> Result<Self, String> {
        let (head, tail) = match text.split_once('*') {
            Some((head, tail)) => (head, Some(tail.into())),
            None => (text, None),
        };
        if head.len() < 3 || tail.as_deref().is_some_and(|tail: &str| tail.contains('*')) {
            return Err(format!("{text:?} has fewer than three characters before its star, or more than one star"));
        }
        Ok(Self { head: head.into(), tail })
    }

    pub(super) fn fits(&self, text: &str) -> bool {
        match &self.tail {
            None => text == &*self.head,
            Some(tail) => text.strip_prefix(&*self.head).is_some_and(|rest| rest.ends_with(&**tail)),
        }
    }
}

impl Contents {
    /// Takes in an entry of a family, by its index. An error is a sentence about the entry.
    pub(in crate::fingerprint) fn add(
        &mut self,
        raw: &RawContent,
        family: usize,
        claimants: &[Claimant<'_>],
    ) -> Result<(), String> {
        let claimant = claimants.get(family).ok_or("its family is unknown")?;
        let hashes = !(raw.sha256.is_empty() && raw.build_ids.is_empty() && raw.code_hashes.is_empty());
        if raw.marks.is_empty() && raw.go_paths.is_empty() && !hashes {
            return Err(
                "it has neither marks, nor go-paths, nor hashes: needed libraries alone prove nothing".to_owned()
            );
        }
        let at_least = raw.at_least.unwrap_or(raw.marks.len());
        if !raw.marks.is_empty() && at_least == 0 || at_least > raw.marks.len() {
            return Err(format!("at-least is {at_least}, of {} marks", raw.marks.len()));
        }
        if !claimant.kind.is_toolchain() && !raw.build_ids.is_empty() {
            return Err("a build-id clears nobody: who owns a file can write one".to_owned());
        }
        let mut intern = |texts: &[String], what: &str, placed| {
            texts
                .iter()
                .map(|text| {
                    // What stands before a version is asked only of what is recognised already.
                    let fit = if placed { Ok(()) } else { check_mark(text) };
                    fit.and_then(|()| self.marks.add(text.as_bytes(), placed))
                        .map_err(|reason| format!("{what} {text:?}: {reason}"))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let mut marks = intern(&raw.marks, "mark", false)?;
        let without = intern(&raw.without, "without", false)?;
        let version_after = intern(&raw.version_after, "version-after", true)?;
        marks.sort_unstable();
        marks.dedup();
        if marks.len() < raw.marks.len() {
            return Err("a mark stands there twice".to_owned());
        }
        let globs = |texts: &[String], what: &str| {
            texts
                .iter()
                .map(|text| Glob::parse(text).map_err(|reason| format!("{what} {reason}")))
                .collect::<Result<Vec<_>, _>>()
        };
        if raw.script && !(raw.needed.is_empty() && raw.go_paths.is_empty()) {
            return Err("a script has neither needed libraries nor a go-path".to_owned());
        }
        let (needed, go_paths) = (globs(&raw.needed, "needed")?, globs(&raw.go_paths, "go-path")?);
        for (table, texts, what) in [
            (&mut self.sha256, &raw.sha256, "sha256"),
            (&mut self.code_hashes, &raw.code_hashes, "code-hash"),
            (&mut self.build_ids, &raw.build_ids, "build-id"),
        ] {
            for text in texts {
                let hash = parse_hash(text, what)?;
                if what == "sha256" && self.known_good.contains(&hash) {
                    return Err(format!("{what} {text} is known to be good"));
                }
                if let Some(other) = table.insert(hash, family).and_then(|other| claimants.get(other))
                    && other.family != claimant.family
                {
                    return Err(format!("{what} {text} is already {}'s", other.family));
                }
            }
        }
        let script = raw.script;
        self.entries.push(Entry { family, marks, at_least, without, needed, go_paths, version_after, script });
        Ok(())
    }

    /// Takes in a list of files that are no compilers.
    pub(in crate::fingerprint) fn add_known_good(&mut self, raw: &RawKnownGood) -> Result<(), String> {
        for text in &raw.sha256 {
            let hash = parse_hash(text, "sha256")?;
            if self.sha256.contains_key(&hash) {
                return Err(format!("sha256 {text} is a family's"));
            }
            self.known_good.insert(hash);
        }
        Ok(())
    }
}

/// Whether a string is fit to be a mark.
fn check_mark(text: &str) -> Result<(), String> {
    if text.len() < MIN_MARK {
        return Err(format!("a mark of fewer than {MIN_MARK} bytes stands in too many files"));
    }
    let mut bytes = text.bytes();
    let first = bytes.next();
    if bytes.all(|byte| Some(byte) == first) {
        return Err("one byte over and over stands in too many files".to_owned());
    }
    Ok(())
}

/// A hash in hexadecimal digits: 32 bytes, but for a build-id.
fn parse_hash(text: &str, what: &str) -> Result<Box<[u8]>, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect();
    let length = if what == "build-id" { 4..=notes::MAX_BUILD_ID } else { 32..=32 };
    match bytes {
        Some(bytes) if length.contains(&bytes.len()) => Ok(bytes.into()),
        _ => Err(format!("{what} {text:?} is no such hash in hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::fingerprint::Database;
    use crate::fingerprint::recognition::tests::FAMILIES;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_wrong_entry_is_refused_with_the_reason() {
        let marks = |marks: &str| format!("[[content]]\nfamily = 'one'\nmarks = [{marks}]\n");
        let hashes = |family: &str, hashes: &str| format!("[[content]]\nfamily = '{family}'\n{hashes}\n");
        for (entry, reason) in [
            (marks("'short'"), "fewer than 6 bytes"),
            (marks("'------'"), "one byte over and over"),
            (marks("'a mark', 'a mark'"), "twice"),
            (marks(&format!("'{}'", "ab".repeat(101))), "longer than 200"),
            (marks("'a mark'\n]\nat-least = 0\nwithout = ["), "at-least is 0"),
            (marks("'a mark'\n]\nat-least = 2\nwithout = ["), "at-least is 2, of 1 marks"),
            (marks("'a mark'\n]\nwithout = ['b'"), "without \"b\""),
            (marks("'a mark'\n]\nneeded = ['*'"), "fewer than three"),
            (marks("'a mark'\n]\nscript = true\nneeded = ['libLLVM*'"), "neither needed libraries"),
            (marks("'a mark'\n]\ngo-paths = ['cmd/*/*'"), "more than one star"),
            (marks("'a mark'\n]\nalso-named = ['*'"), "also-named"),
            (marks("'a mark'\n]\ncolour = ['red'"), "colour"),
            (marks(""), "neither marks"),
            (marks("\n]\nneeded = ['libLLVM*'"), "libraries alone prove nothing"),
            (hashes("three", "marks = ['a mark']"), "no such family"),
            (hashes("unknown", "marks = ['a mark']"), "no such family"),
            (hashes("one", "sha256 = ['abc']"), "no such hash"),
            (hashes("one", "sha256 = ['abcd']"), "no such hash"),
            (hashes("one", &format!("sha256 = ['{}g']", &HASH[1..])), "no such hash"),
            (hashes("one", "build-ids = ['abcdef']"), "no such hash"),
            (hashes("one", &format!("code-hashes = ['{HASH}ab']")), "no such hash"),
            (hashes("innocent", "build-ids = ['abcdef0123']"), "clears nobody"),
            (
                hashes("one", &format!("sha256 = ['{HASH}']")) + &hashes("two", &format!("sha256 = ['{HASH}']")),
                "already one's",
            ),
            (
                hashes("one", &format!("sha256 = ['{HASH}']")) + &format!("[[known-good]]\nsha256 = ['{HASH}']"),
                "is a family's",
            ),
            ("[[known-good]]\nsha256 = ['1']".to_owned(), "no such hash"),
        ] {
            let error = Database::parse(&format!("{FAMILIES}\n{entry}")).unwrap_err().to_string();
            assert!(error.contains(reason), "{entry}\n{error}");
        }
        let twice = hashes("one", &format!("sha256 = ['{HASH}']"));
        assert!(Database::parse(&format!("{FAMILIES}\n{twice}\n{twice}")).is_ok());
    }
}

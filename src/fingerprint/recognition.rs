//! What a file's content says that it is: the `[[content]]` and `[[known-good]]` entries of the database compiled into
//! tables, and the question put to them once a file has been read. No name is asked here.
//!
//! Where contents fit several families, a toolchain's goes before another's, as anybody can write an innocent program's
//! marks into a compiler, but for a SHA-256; then the most specific claim wins: SHA-256, code hash, code
//! pages, build-id, Go path, all
//! marks of an entry, the greater share of them, the greater number, the entry that stands first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;

use serde::Deserialize;

use super::elf::{Read, notes, part};
use super::marks::{Found, MarkId, Marks};
use super::pages::{Pages, Sample};
use super::structure::Structure;
use super::{Confidence, Content, Evidence, Kind, Recognition};

/// A mark that is shorter stands in too many files.
const MIN_MARK: usize = 6;
/// A version longer than this is no version.
pub(super) const MAX_VERSION: usize = 32;

/// One entry of the database: how a family's content is recognised.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawContent {
    pub(super) family: String,
    #[serde(default)]
    pub(super) marks: Vec<String>,
    pub(super) at_least: Option<usize>,
    #[serde(default)]
    pub(super) without: Vec<String>,
    #[serde(default)]
    pub(super) needed: Vec<String>,
    #[serde(default)]
    pub(super) go_paths: Vec<String>,
    #[serde(default)]
    pub(super) version_after: Vec<String>,
    #[serde(default)]
    pub(super) also_named: Vec<String>,
    /// For the reader of the file.
    #[serde(default, rename = "checked")]
    _checked: Vec<String>,
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(default)]
    pub(super) sha256: Vec<String>,
    #[serde(default)]
    pub(super) build_ids: Vec<String>,
    #[serde(default)]
    pub(super) code_hashes: Vec<String>,
}

/// Files that are known to be no compilers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawKnownGood {
    pub(super) sha256: Vec<String>,
    /// For the reader of the file.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

/// All entries, compiled.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) marks: Marks,
    entries: Vec<Entry>,
    /// Families by hash.
    sha256: HashMap<Box<[u8]>, usize>,
    code_hashes: HashMap<Box<[u8]>, usize>,
    build_ids: HashMap<Box<[u8]>, usize>,
    known_good: HashSet<Box<[u8]>>,
    /// Families by pages of code.
    pub(super) pages: Pages,
    /// What makes a compiler of no known family.
    pub(super) structure: Structure,
}

/// A compiled entry.
#[derive(Debug)]
struct Entry {
    /// Index of the family.
    family: usize,
    marks: Vec<MarkId>,
    at_least: usize,
    without: Vec<MarkId>,
    needed: Vec<Glob>,
    go_paths: Vec<Glob>,
    version_after: Vec<MarkId>,
}

/// What the tables need to know of a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant<'d> {
    pub(super) family: &'d str,
    pub(super) kind: Kind,
    pub(super) toolchain: Option<&'d str>,
}

/// A text with at most one star.
#[derive(Debug)]
struct Glob {
    head: Box<str>,
    tail: Option<Box<str>>,
}

/// How strong a claim is: the greatest wins.
type Claim = (bool, bool, Rank, u32, usize, Reverse<usize>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    SomeMarks,
    AllMarks,
    GoPath,
    BuildId,
    CodePages,
    CodeHash,
    Sha256,
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

    fn fits(&self, text: &str) -> bool {
        match &self.tail {
            None => text == &*self.head,
            Some(tail) => text.strip_prefix(&*self.head).is_some_and(|rest| rest.ends_with(&**tail)),
        }
    }
}

impl Contents {
    /// Takes in an entry of a family, by its index. An error is a sentence about the entry.
    pub(super) fn add(&mut self, raw: &RawContent, family: usize, claimants: &[Claimant<'_>]) -> Result<(), String> {
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
        self.entries.push(Entry { family, marks, at_least, without, needed, go_paths, version_after });
        Ok(())
    }

    /// Takes in a list of files that are no compilers.
    pub(super) fn add_known_good(&mut self, raw: &RawKnownGood) -> Result<(), String> {
        for text in &raw.sha256 {
            let hash = parse_hash(text, "sha256")?;
            if self.sha256.contains_key(&hash) {
                return Err(format!("sha256 {text} is a family's"));
            }
            self.known_good.insert(hash);
        }
        Ok(())
    }

    /// Whether a whole file is known to be no compiler.
    pub(super) fn is_known_good(&self, sha256: Option<&[u8; 32]>) -> bool {
        sha256.is_some_and(|hash| self.known_good.contains(&hash[..]))
    }

    /// Whether a content of no known family is built like a compiler.
    pub(super) fn is_like_a_compiler(&self, found: &Found) -> bool {
        let of_kin = |entry: &Entry| entry.marks.iter().chain(&entry.without).any(|&id| found.has(id));
        self.structure.fits(found) && !self.entries.iter().any(of_kin)
    }

    /// The family that a content is of. `content` has all that is not searched for, `found` what is, `pages` a
    /// sample of its code; `read` is asked for the version, at most 64 times 32 bytes.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn recognise(
        &self,
        content: &Content,
        found: &Found,
        pages: &Sample,
        claimants: &[Claimant<'_>],
        read: &mut Read<'_>,
    ) -> io::Result<Option<Recognition>> {
        let claims: Vec<_> = self.claims(content, found, pages, claimants).collect();
        let best = claims.iter().max_by_key(|(claim, _)| *claim);
        let Some(claimant) = best.and_then(|(_, family)| claimants.get(*family)) else { return Ok(None) };
        let mut evidence = Vec::new();
        for ((.., rank, _, _, Reverse(entry)), family) in claims {
            if claimants.get(family).is_some_and(|other| other.family == claimant.family) {
                evidence.push(rank.evidence());
                let marked = matches!(rank, Rank::SomeMarks | Rank::AllMarks | Rank::GoPath);
                if marked && self.entries.get(entry).is_some_and(|entry| !entry.needed.is_empty()) {
                    evidence.push(Evidence::Needed);
                }
            }
        }
        evidence.sort_unstable();
        evidence.dedup();
        let confidence = if evidence.contains(&Evidence::Sha256) { Confidence::Certain } else { Confidence::High };
        let by_go = evidence.contains(&Evidence::GoBuildInfo);
        let go_version = || content.go_version.as_deref()?.strip_prefix("go").map(str::to_owned).filter(|_| by_go);
        let version = match self.version(found, claimant, claimants, read)? {
            Some(version) => Some(version),
            None => go_version().filter(|version| version.len() <= MAX_VERSION),
        };
        Ok(Some(Recognition {
            family: claimant.family.to_owned(),
            kind: claimant.kind,
            toolchain: claimant.toolchain.map(str::to_owned),
            version,
            confidence,
            evidence,
        }))
    }

    /// All that a content could be, and how strong each claim is.
    fn claims<'c>(
        &'c self,
        content: &'c Content,
        found: &'c Found,
        pages: &Sample,
        claimants: &'c [Claimant<'c>],
    ) -> impl Iterator<Item = (Claim, usize)> + 'c {
        let claim = |family: usize, rank, share, count, entry| {
            let toolchain = claimants.get(family).is_some_and(|claimant| claimant.kind.is_toolchain());
            ((rank == Rank::Sha256, toolchain, rank, share, count, Reverse(entry)), family)
        };
        let by_hash = [
            (Rank::Sha256, content.sha256.as_ref().and_then(|hash| self.sha256.get(&hash[..]))),
            (Rank::CodeHash, content.code_hash.as_ref().and_then(|hash| self.code_hashes.get(&hash[..]))),
            (Rank::BuildId, content.build_id.as_ref().and_then(|id| self.build_ids.get(&id[..]))),
        ];
        let by_hash = by_hash.into_iter().filter_map(move |(rank, family)| Some(claim(*family?, rank, 0, 0, 0)));
        let by_entry = self.entries.iter().enumerate().filter_map(move |(index, entry)| {
            let (rank, count) = entry.fits(content, found)?;
            let share = u32::try_from(count * 1000 / entry.marks.len().max(1)).unwrap_or(0);
            Some(claim(entry.family, rank, share, count, index))
        });
        let by_pages = self.pages.family(pages).map(|(family, share)| claim(family, Rank::CodePages, share, 0, 0));
        let by_program = content.code_hash.as_ref().and_then(|hash| self.pages.program(hash, &content.needed));
        let by_program = by_program.map(|family| claim(family, Rank::CodeHash, 0, 0, 0));
        by_hash.chain(by_program).chain(by_pages).chain(by_entry)
    }

    /// The version that stands after one of a family's strings.
    fn version(
        &self,
        found: &Found,
        family: &Claimant<'_>,
        claimants: &[Claimant<'_>],
        read: &mut Read<'_>,
    ) -> io::Result<Option<String>> {
        let of_family = |entry: &&Entry| claimants.get(entry.family).is_some_and(|other| other.family == family.family);
        let strings = self.entries.iter().filter(of_family).flat_map(|entry| &entry.version_after);
        for end in strings.flat_map(|&id| found.ends(id)).take(64) {
            if let Some(version) = version_at(&part(read, end, MAX_VERSION + 1)?) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }
}

impl Entry {
    /// How well an entry fits, and how many of its marks were found.
    fn fits(&self, content: &Content, found: &Found) -> Option<(Rank, usize)> {
        if self.without.iter().any(|&id| found.has(id)) {
            return None;
        }
        if !self.needed.is_empty() && !self.needed.iter().any(|glob| content.needed.iter().any(|n| glob.fits(n))) {
            return None;
        }
        let count = found.count(&self.marks);
        if content.go_path.as_deref().is_some_and(|path| self.go_paths.iter().any(|glob| glob.fits(path))) {
            return Some((Rank::GoPath, count));
        }
        let enough = !self.marks.is_empty() && count >= self.at_least;
        enough.then_some((if count == self.marks.len() { Rank::AllMarks } else { Rank::SomeMarks }, count))
    }
}

impl Rank {
    fn evidence(self) -> Evidence {
        match self {
            Self::SomeMarks | Self::AllMarks => Evidence::Marker,
            Self::GoPath => Evidence::GoBuildInfo,
            Self::BuildId => Evidence::BuildId,
            Self::CodePages => Evidence::CodePages,
            Self::CodeHash => Evidence::CodeHash,
            Self::Sha256 => Evidence::Sha256,
        }
    }
}

/// Whether a string is fit to be a mark.
pub(super) fn check_mark(text: &str) -> Result<(), String> {
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

/// The version that bytes begin with: digits and dots, ending in a digit.
fn version_at(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| !(b.is_ascii_digit() || *b == b'.'))?;
    let run = std::str::from_utf8(bytes.get(..end)?).ok()?.trim_end_matches('.');
    run.starts_with(|c: char| c.is_ascii_digit()).then(|| run.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::fingerprint::Database;
    use crate::fingerprint::content::tests::of;
    use crate::fingerprint::elf::sample::Sample;

    const FAMILIES: &str = "
        schema = 1
        [[family]]
        family = 'one'
        kind = 'compiler'
        toolchain = 'both'
        [[family]]
        family = 'two'
        kind = 'linker'
        [[family]]
        family = 'innocent'
        kind = 'not-compiler'
    ";
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

    /// The family that wins, and all its evidence.
    fn recognised(entries: &str, body: &[u8]) -> Option<(String, Vec<Evidence>)> {
        let database = Database::parse(&format!("{FAMILIES}\n{entries}")).unwrap();
        of(&Sample::program(body), &database).recognised.map(|r| (r.family, r.evidence))
    }

    fn family(entries: &str, body: &[u8]) -> String {
        recognised(entries, body).map_or("none".to_owned(), |(family, _)| family)
    }

    #[test]
    fn enough_marks_of_an_entry_are_needed_and_none_that_excludes() {
        let entries = "
            [[content]]
            family = 'one'
            marks = ['mark alpha', 'mark beta', 'mark gamma']
            at-least = 2
            without = ['not this one']
        ";
        for (body, found) in [
            (&b"mark alpha mark beta"[..], "one"),
            (b"mark alpha mark alpha mark alpha", "none"),
            (b"mark beta, mark gamma, mark alpha", "one"),
            (b"mark beta, mark gamma, not this one", "none"),
            (b"", "none"),
        ] {
            assert_eq!(family(entries, body), found, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn needed_libraries_are_a_condition() {
        let entries = "
            [[content]]
            family = 'one'
            marks = ['mark alpha']
            needed = ['librustc_driver-*']
        ";
        assert_eq!(family(entries, b"mark alpha"), "none");
    }

    #[test]
    fn the_most_specific_claim_wins() {
        let body = b"mark alpha, mark beta, mark gamma";
        let program = Sample::program(body);
        let content = of(&program, &Database::parse(FAMILIES).unwrap());
        let hex = |hash: Option<[u8; 32]>| crate::alert::hex::lower(&hash.unwrap());
        let of_family = |family: &str, rest: &str| format!("[[content]]\nfamily = '{family}'\n{rest}\n");
        let some = of_family("one", "marks = ['mark alpha', 'mark delta']\nat-least = 1");
        let more = of_family("two", "marks = ['mark beta', 'mark gamma', 'mark delta']\nat-least = 1");
        let all = of_family("one", "marks = ['mark alpha', 'mark beta']");
        let all_three = of_family("two", "marks = ['mark alpha', 'mark beta', 'mark gamma']");
        let code = of_family("two", &format!("code-hashes = ['{}']", hex(content.code_hash)));
        let exact = of_family("one", &format!("sha256 = ['{}']", hex(content.sha256)));
        let innocent = of_family("innocent", "marks = ['mark alpha', 'mark beta', 'mark gamma']");
        let innocent_code = of_family("innocent", &format!("code-hashes = ['{}']", hex(content.code_hash)));
        let innocent_file = of_family("innocent", &format!("sha256 = ['{}']", hex(content.sha256)));
        for (entries, found) in [
            (vec![&some], "one"),
            (vec![&some, &more], "two"),
            (vec![&more, &all], "one"),
            (vec![&all, &all_three], "two"),
            (vec![&all, &code], "two"),
            (vec![&code, &exact], "one"),
            (vec![&innocent], "innocent"),
            (vec![&innocent, &some], "one"),
            (vec![&innocent_code, &some], "one"),
            (vec![&innocent_file, &all, &code], "innocent"),
        ] {
            let text: String = entries.iter().map(|entry| entry.as_str()).collect();
            assert_eq!(family(&text, body), found, "{text}");
        }
        let both = format!("{exact}{all}");
        assert_eq!(recognised(&both, body), Some(("one".to_owned(), vec![Evidence::Marker, Evidence::Sha256])));
    }

    #[test]
    fn a_version_is_digits_and_dots() {
        for (bytes, version) in [
            (&b"12.2.0-14) "[..], Some("12.2.0")),
            (b"3.", None),
            (b"3.\0", Some("3")),
            (b"1.2..\n", Some("1.2")),
            (b"v1.2\0", None),
            (b".5\0", None),
            (b"\0", None),
            (b"", None),
            (&[b'1'; MAX_VERSION + 1], None),
        ] {
            assert_eq!(version_at(bytes).as_deref(), version, "{}", String::from_utf8_lossy(bytes));
        }
    }
}

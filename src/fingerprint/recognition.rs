//! What a file's content says that it is: the question put to the tables of `[[content]]` and `[[known-good]]` entries
//! once a file has been read. No name is asked here.
//!
//! Where contents fit several families, a toolchain's goes before another's, as anybody can write an innocent program's
//! marks into a compiler, but for a SHA-256; then the most specific claim wins: SHA-256, code hash, code pages, build-id,
//! Go path, all marks of an entry, the greater share of them, the greater number, the entry that stands first.

use std::cmp::Reverse;
use std::io;

use super::elf::{Read, part};
use super::marks::Found;
use super::pages::Sample;
use super::{Confidence, Content, Evidence, Recognition};

mod table;

use table::Entry;
pub(super) use table::{Claimant, Contents};

/// A version longer than this is no version.
pub(super) const MAX_VERSION: usize = 32;

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

impl Contents {
    /// Whether a whole file is known to be no compiler.
    pub(super) fn is_known_good(&self, sha256: Option<&[u8; 32]>) -> bool {
        sha256.is_some_and(|hash| self.known_good.contains(&hash[..]))
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
        if self.script != content.script || self.without.iter().any(|&id| found.has(id)) {
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

    pub(super) const FAMILIES: &str = "
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
        let hex = |hash: Option<[u8; 32]>| crate::hex::lower(&hash.unwrap());
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

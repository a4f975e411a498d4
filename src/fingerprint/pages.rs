//! Known pages of code: a compiler some of whose code was changed is still that compiler. Of a file the 64 pages are
//! asked for whose hashes are least, which are much the same pages for all copies, whatever their size. A launcher of a few
//! pages is asked for by its code as a whole, and by the libraries that do the work: its code alone may be any launcher's.
//!
//! config/code-pages is made by tests/corpus/build-pages, which tells its format.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use sha2::{Digest, Sha256};

/// The table that is compiled in.
const BUILTIN: &[u8] = include_bytes!("../../config/code-pages");
/// Its first line.
const HEADER: &str = "code-pages 2\n";
/// Bytes of a page.
const PAGE: u64 = 4096;
/// How many pages of a file are asked for.
const KEPT: usize = 64;
/// Bytes of a record: a hash, and its family's number.
const RECORD: usize = 10;
/// Fewer known pages say nothing where others are not known: two programs may share a library's.
const MIN_KNOWN: usize = 8;
/// Nor do fewer, but where nearly all are known,
const MIN_NEARLY_ALL: usize = 4;
/// so many of a hundred,
const MIN_SHARE_OF_FEW: usize = 80;
/// or all.
const MIN_ALL: usize = 2;
/// Of a hundred pages that were asked for, so many must be one family's.
const MIN_SHARE: usize = 60;

/// Which pages are whose. The records stay where the program's file is mapped.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    /// The index in the database of each family in the table, where it has one.
    families: Vec<Option<usize>>,
    records: &'static [u8],
}

impl Pages {
    /// The table that is compiled in; `index` finds a family by its name.
    pub(super) fn builtin(index: impl Fn(&str) -> Option<usize>) -> Result<Self, String> {
        Self::parse(BUILTIN, index)
    }

    fn parse(table: &'static [u8], index: impl Fn(&str) -> Option<usize>) -> Result<Self, String> {
        let end = table.windows(2).position(|pair| pair == b"\n\n").ok_or("code-pages: no empty line")?;
        let (head, rest) = table.split_at_checked(end + 1).ok_or("code-pages: no table")?;
        let head = std::str::from_utf8(head).map_err(|error| format!("code-pages: {error}"))?;
        let names =
            head.strip_prefix(HEADER).ok_or_else(|| format!("code-pages: it does not begin with {HEADER:?}"))?;
        let records = rest.get(1..).unwrap_or_default();
        if !records.len().is_multiple_of(RECORD) {
            return Err(format!("code-pages: the last record has fewer than {RECORD} bytes"));
        }
        Ok(Self { families: names.lines().map(index).collect(), records })
    }

    /// The family to which most pages of a file belong, and how many of a thousand, if these are enough.
    pub(super) fn family(&self, sample: &Sample) -> Option<(usize, u32)> {
        self.family_of(&sample.whole).or_else(|| self.family_of(&sample.mapped))
    }

    fn family_of(&self, pages: &[u64]) -> Option<(usize, u32)> {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for page in pages {
            let mut whose: Vec<usize> = self.of(*page).collect();
            whose.dedup();
            for family in whose {
                *counts.entry(family).or_default() += 1;
            }
        }
        let (family, known) = counts.into_iter().max_by_key(|&(family, known)| (known, std::cmp::Reverse(family)))?;
        let is_share = |percent| known * 100 >= pages.len() * percent;
        let enough = known >= MIN_KNOWN && is_share(MIN_SHARE)
            || known >= MIN_NEARLY_ALL && is_share(MIN_SHARE_OF_FEW)
            || known >= MIN_ALL && is_share(100);
        let share = u32::try_from(known * 1000 / pages.len().max(1)).unwrap_or(0);
        enough.then_some((family, share))
    }

    /// The family whose program this is, by the SHA-256 of its code and the libraries that it needs, in their order.
    pub(super) fn program(&self, code_hash: &[u8; 32], needed: &[String]) -> Option<usize> {
        let mut hash = Sha256::new_with_prefix(code_hash);
        for library in needed {
            hash.update(library);
            hash.update([0]);
        }
        self.of(first_bytes(hash)).next()
    }

    /// The families that have a page, or a program.
    fn of(&self, page: u64) -> impl Iterator<Item = usize> {
        let (records, _) = self.records.as_chunks::<RECORD>();
        let hash = |record: &[u8; RECORD]| record.first_chunk().map_or(0, |hash| u64::from_be_bytes(*hash));
        let first = records.partition_point(|record| hash(record) < page);
        let same = records.get(first..).unwrap_or_default().iter().take_while(move |record| hash(record) == page);
        same.filter_map(|record| {
            let number = record.last_chunk().map(|number| u16::from_be_bytes(*number))?;
            *self.families.get(usize::from(number))?
        })
    }
}

/// The least hashes of a file's pages, in their order. Two samples: who splits a program into segments of a byte each has
/// no page that its headers ask for as a whole, and of few pages one more, half code, may be one too many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sample {
    /// Of the pages that are code from end to end.
    pub(super) whole: Vec<u64>,
    /// Of all that are mapped as code.
    pub(super) mapped: Vec<u64>,
}

/// Takes in the executable pages of a file in their order, and keeps the least hashes of them.
pub(super) struct Sampler<'p> {
    /// What of it is code.
    code: &'p [Range<u64>],
    /// The page that is begun, if its beginning was seen.
    page: Option<Sha256>,
    /// Where the next part begins if it goes on where the last one ended.
    next: u64,
    whole: BTreeSet<u64>,
    mapped: BTreeSet<u64>,
}

impl<'p> Sampler<'p> {
    /// `code` are the ranges of the file that are code, in their order.
    pub(super) fn new(code: &'p [Range<u64>]) -> Self {
        Self { code, page: None, next: 0, whole: BTreeSet::new(), mapped: BTreeSet::new() }
    }

    /// A part and where in the file it stands. Only pages of the file that are there as a whole count.
    pub(super) fn feed(&mut self, mut part: &[u8], mut offset: u64) {
        if offset != self.next {
            self.page = None;
        }
        while !part.is_empty() {
            let into = offset % PAGE;
            if into == 0 {
                self.page = Some(Sha256::new());
            }
            let left = usize::try_from(PAGE - into).unwrap_or(usize::MAX);
            let (bytes, rest) = part.split_at(left.min(part.len()));
            if let Some(page) = &mut self.page {
                page.update(bytes);
            }
            if bytes.len() == left
                && let Some(page) = self.page.take()
            {
                let hash = first_bytes(page);
                let start = offset - into;
                let first = self.code.partition_point(|range| range.end < start + PAGE);
                if self.code.get(first).is_some_and(|range| range.start <= start) {
                    keep(&mut self.whole, hash);
                }
                keep(&mut self.mapped, hash);
            }
            offset += bytes.len() as u64;
            part = rest;
        }
        self.next = offset;
    }

    /// What was kept.
    pub(super) fn finish(self) -> Sample {
        Sample { whole: self.whole.into_iter().collect(), mapped: self.mapped.into_iter().collect() }
    }
}

/// What a record has of a hash.
fn first_bytes(hash: Sha256) -> u64 {
    hash.finalize().first_chunk().map_or(u64::MAX, |hash| u64::from_be_bytes(*hash))
}

fn keep(least: &mut BTreeSet<u64>, hash: u64) {
    if least.len() < KEPT || least.last().is_some_and(|&last| hash < last) {
        least.insert(hash);
        if least.len() > KEPT {
            least.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::single_range_in_vec_init)]

    use super::*;

    const PAGE_BYTES: usize = PAGE as usize;

    fn sample(bytes: &[u8], offset: u64, step: usize) -> Vec<u64> {
        let mut sampler = Sampler::new(&[]);
        let mut at = offset;
        for part in bytes.chunks(step) {
            sampler.feed(part, at);
            at += part.len() as u64;
        }
        sampler.finish().mapped
    }

    fn code(pages: usize) -> Vec<u8> {
        (0..pages).flat_map(|page| vec![page.to_le_bytes()[0] ^ (page.to_le_bytes()[1] << 3); PAGE_BYTES]).collect()
    }

    #[test]
    fn only_whole_pages_count_and_parts_may_have_any_length() {
        let code = code(4);
        assert_eq!(sample(&code, 0, 1 << 20).len(), 4);
        for step in [1, 7, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 3 * PAGE_BYTES] {
            assert_eq!(sample(&code, 0, step), sample(&code, 0, 1 << 20), "{step}");
        }
        assert_eq!(sample(&code[..PAGE_BYTES - 1], 0, 1 << 20), [0; 0]);
        assert_eq!(sample(&code, 8 * PAGE + 1, 1 << 20).len(), 3, "the first and the last are cut");
        assert_eq!(sample(&code, PAGE - 1, 1 << 20).len(), 3);
        let hash = Sha256::digest(&code[..PAGE_BYTES]);
        assert_eq!(sample(&code[..PAGE_BYTES], PAGE, 1 << 20), [u64::from_be_bytes(hash[..8].try_into().unwrap())]);
    }

    #[test]
    fn pages_that_are_code_as_a_whole_are_a_sample_of_their_own() {
        let code = code(4);
        let all = sample(&code, 0, 1 << 20);
        for (ranges, whole) in [
            (Vec::from_iter(std::iter::once(0..4 * PAGE)), 4),
            (vec![0..PAGE, PAGE + 1..4 * PAGE], 3),
            (vec![1..PAGE, PAGE..PAGE + 1, 2 * PAGE..4 * PAGE - 1], 1),
            (vec![0..1, PAGE..PAGE + 1], 0),
        ] {
            let mut sampler = Sampler::new(&ranges);
            sampler.feed(&code, 0);
            let sample = sampler.finish();
            assert_eq!((sample.whole.len(), &sample.mapped), (whole, &all), "{ranges:?}");
        }
    }

    #[test]
    fn the_least_are_kept_of_many() {
        let mut least = BTreeSet::new();
        (0..1000).rev().for_each(|hash| keep(&mut least, hash));
        (0..1000).for_each(|hash| keep(&mut least, hash));
        assert_eq!(least.into_iter().collect::<Vec<_>>(), (0..KEPT as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_family_needs_its_share_of_the_pages() {
        let records: Vec<u8> = (0..100_u64)
            .flat_map(|page| [&(page * 10).to_be_bytes()[..], &[0, u8::from(page >= 50)]].concat())
            .collect();
        let table = [HEADER.as_bytes(), b"one\ntwo\n\n", &records].concat();
        let pages = Pages::parse(table.leak(), |name| Some(if name == "one" { 7 } else { 8 })).unwrap();
        let known = |range: std::ops::Range<u64>| range.map(|page| page * 10);
        let unknown = |count: u64| (0..count).map(|page| page * 10 + 1);
        let of = |pages: &Pages, known: &mut dyn Iterator<Item = u64>, others| {
            pages.family(&Sample { whole: known.chain(unknown(others)).collect(), ..Sample::default() })
        };
        assert_eq!(of(&pages, &mut known(0..20), 0), Some((7, 1000)));
        assert_eq!(of(&pages, &mut known(0..12), 8), Some((7, 600)));
        assert_eq!(of(&pages, &mut known(0..12), 9), None);
        assert_eq!(of(&pages, &mut known(0..7), 2), None, "too few");
        assert_eq!(of(&pages, &mut known(0..4), 1), Some((7, 800)), "all but one");
        assert_eq!(of(&pages, &mut known(0..3), 1), None);
        assert_eq!(of(&pages, &mut known(0..2), 0), Some((7, 1000)), "all of them");
        assert_eq!(of(&pages, &mut known(0..1), 0), None);
        assert_eq!(of(&pages, &mut known(40..80), 0), Some((8, 750)));
        assert_eq!(of(&pages, &mut known(0..0), 0), None);
        let disabled = Pages::parse(pages_of(&records), |name| (name == "two").then_some(8)).unwrap();
        assert_eq!(of(&disabled, &mut known(0..20), 0), None);
    }

    #[test]
    fn a_program_is_its_code_and_its_libraries() {
        let code: [u8; 32] = Sha256::digest(b"code").into();
        let libraries = ["liba.so", "libc.so.6"].map(str::to_owned);
        let hash = Sha256::digest([&code[..], b"liba.so\0libc.so.6\0"].concat());
        let table = [HEADER.as_bytes(), b"one\n\n", &hash[..8], &[0, 0]].concat();
        let pages = Pages::parse(table.leak(), |_| Some(7)).unwrap();
        assert_eq!(pages.program(&code, &libraries), Some(7));
        assert_eq!(pages.program(&code, &libraries[1..]), None);
        assert_eq!(pages.program(&[0; 32], &libraries), None);
    }

    fn pages_of(records: &[u8]) -> &'static [u8] {
        [HEADER.as_bytes(), b"one\ntwo\n\n", records].concat().leak()
    }

    #[test]
    fn a_wrong_table_is_refused_with_the_reason() {
        for (table, reason) in [
            (&b""[..], "no empty line"),
            (b"code-pages 1\n\n", "does not begin"),
            (b"code-pages 2\none\n\n123456789", "fewer than 10"),
        ] {
            assert!(Pages::parse(table, |_| None).unwrap_err().contains(reason));
        }
    }

    #[test]
    fn the_table_that_is_compiled_in_is_in_order_and_names_families_of_ours() {
        let database = crate::fingerprint::Database::builtin().unwrap();
        let pages = Pages::builtin(|name| {
            assert!(database.family(name).is_some_and(|family| family.kind.is_toolchain()), "{name}");
            Some(0)
        })
        .unwrap();
        let (records, _) = pages.records.as_chunks::<RECORD>();
        assert!(records.is_sorted() && !records.is_empty());
        assert!(records.iter().all(|r| usize::from(u16::from_be_bytes([r[8], r[9]])) < pages.families.len()));
    }
}

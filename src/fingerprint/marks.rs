//! The search for all marks of all families at once, in a stream that is fed the parts of a file as they are read. What
//! a mark stands for is `recognition`'s affair.
//!
//! Each four bytes of the file are asked for in a bitmap that holds four of each string and fits into the first-level
//! cache; what passes, one place in a hundred, is compared with the strings that have them. Those four are the ones that
//! fewest other strings have: else a file of nothing but `cmd/` would be compared with fifteen strings at each place. An
//! Aho-Corasick automaton, which follows its states byte by byte, took four times as long over cc1plus, and twenty times
//! the memory.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Strings are no shorter: each has a key.
pub(super) const MIN_STRING: usize = KEY;
/// Nor longer: what is kept from one part of a file to the next.
pub(super) const MAX_STRING: usize = 200;
/// What all strings together may take, in bytes.
const MAX_TOTAL: usize = 256 * 1024;
/// How many places are remembered of a string whose places are asked for.
const MAX_PLACES: usize = 8;
/// Bytes that are hashed.
const KEY: usize = 4;
/// Bits of a key's hash that the bitmap is indexed by.
const BITMAP_BITS: u32 = 17;
/// Words of the bitmap: so many that no index needs a check.
const BITMAP: usize = 1 << (BITMAP_BITS - 6);
/// Bits of them that the chains of strings are indexed by.
const CHAIN_BITS: u32 = 11;
/// The end of a chain.
const NOBODY: MarkId = MarkId::MAX;

/// One string's number.
pub(super) type MarkId = u16;

/// All strings that are searched for. The same string is held once, whoever wants it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    strings: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, MarkId>,
    /// Strings whose places are wanted.
    placed: Vec<bool>,
    total: usize,
    index: OnceLock<Index>,
}

/// Where the strings whose key is given bytes are found.
#[derive(Debug)]
struct Index {
    bitmap: Box<[u64; BITMAP]>,
    /// The first string of each chain.
    heads: Box<[MarkId]>,
    links: Box<[Link]>,
}

/// One string in its chain.
#[derive(Debug, Clone, Copy)]
struct Link {
    key: u32,
    /// Where in the string its key stands.
    at: u8,
    next: MarkId,
}

/// A multiplicative hash (Knuth, The Art of Computer Programming, 6.4); its upper bits are the good ones.
fn hash(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1)
}

fn key_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<KEY>().map(|key| u32::from_le_bytes(*key))
}

/// The four bytes at each place of a string.
fn keys_of(string: &[u8]) -> impl Iterator<Item = u32> {
    string.windows(KEY).filter_map(key_of)
}

impl Index {
    fn new(strings: &[Box<[u8]>]) -> Self {
        let mut bitmap = Box::new([0; BITMAP]);
        let mut heads = vec![NOBODY; 1 << CHAIN_BITS].into_boxed_slice();
        let mut links = Vec::with_capacity(strings.len());
        let mut shared: HashMap<u32, usize> = HashMap::new();
        for key in strings.iter().flat_map(|string| keys_of(string)) {
            *shared.entry(key).or_default() += 1;
        }
        for (id, string) in (0..).zip(strings) {
            let rarest = (0..).zip(keys_of(string)).min_by_key(|(_, key)| shared.get(key).copied());
            let (at, key) = rarest.unwrap_or_default();
            let hash = hash(key);
            let bit = hash >> (32 - BITMAP_BITS);
            if let Some(word) = bitmap.get_mut(bit as usize / 64) {
                *word |= 1_u64 << (bit % 64);
            }
            let head = heads.get_mut((hash >> (32 - CHAIN_BITS)) as usize);
            links.push(Link { key, at, next: head.map_or(NOBODY, |head| std::mem::replace(head, id)) });
        }
        Self { bitmap, heads, links: links.into() }
    }

    /// Whether a string may have a key of this hash.
    #[inline]
    fn may_be_key(&self, hash: u32) -> bool {
        let bit = hash >> (32 - BITMAP_BITS);
        self.bitmap.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    /// The strings with a key, and where in each it stands.
    fn with(&self, key: u32) -> impl Iterator<Item = (MarkId, usize)> {
        let mut next = self.heads.get((hash(key) >> (32 - CHAIN_BITS)) as usize).copied().unwrap_or(NOBODY);
        std::iter::from_fn(move || {
            while let Some(&link) = self.links.get(usize::from(next)) {
                let id = std::mem::replace(&mut next, link.next);
                if link.key == key {
                    return Some((id, usize::from(link.at)));
                }
            }
            None
        })
    }
}

impl Marks {
    /// Takes in a string, and wants to know its places if `placed`. An error is a sentence about it.
    pub(super) fn add(&mut self, string: &[u8], placed: bool) -> Result<MarkId, String> {
        if string.len() < MIN_STRING {
            return Err(format!("it is shorter than {MIN_STRING} bytes"));
        }
        if string.len() > MAX_STRING {
            return Err(format!("it is longer than {MAX_STRING} bytes"));
        }
        if let Some(&id) = self.ids.get(string) {
            if let Some(wanted) = self.placed.get_mut(usize::from(id)) {
                *wanted |= placed;
            }
            return Ok(id);
        }
        self.total += string.len();
        let id = MarkId::try_from(self.strings.len()).ok().filter(|&id| self.total <= MAX_TOTAL && id != NOBODY);
        let id = id.ok_or_else(|| format!("all strings together are longer than {MAX_TOTAL} bytes"))?;
        self.strings.push(string.into());
        self.ids.insert(string.into(), id);
        self.placed.push(placed);
        self.index.take();
        Ok(id)
    }

    /// No string is added any more: what only adding needs is given back.
    pub(super) fn seal(&mut self) {
        self.ids = HashMap::new();
        self.strings.shrink_to_fit();
        self.placed.shrink_to_fit();
    }

    /// A new search; the first one makes the index.
    pub(super) fn search(&self) -> Search<'_> {
        Search {
            marks: self,
            index: self.index.get_or_init(|| Index::new(&self.strings)),
            tail: Vec::with_capacity(2 * MAX_STRING),
            next: 0,
            found: Found { bits: vec![0; self.strings.len().div_ceil(64)], places: Vec::new() },
        }
    }
}

/// A search under way.
pub(super) struct Search<'m> {
    marks: &'m Marks,
    index: &'m Index,
    /// The last bytes that were fed, one fewer than the longest string has.
    tail: Vec<u8>,
    /// Where the next part begins if it goes on where the last one ended.
    next: u64,
    found: Found,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    bits: Vec<u64>,
    /// String, and the offset of the byte after it.
    places: Vec<(MarkId, u64)>,
}

impl Search<'_> {
    /// Searches a part of the file. Parts come in order; what does not go on where the last one ended begins anew.
    pub(super) fn feed(&mut self, part: &[u8], offset: u64) {
        if offset != self.next {
            self.tail.clear();
        }
        let kept = self.tail.len();
        if kept > 0 {
            // What begins before this part and ends in it.
            let mut across = std::mem::take(&mut self.tail);
            across.extend_from_slice(part.get(..MAX_STRING - 1).unwrap_or(part));
            self.look(&across, offset - kept as u64, kept, kept);
            across.truncate(kept);
            self.tail = across;
        }
        self.look(part, offset, part.len(), 0);
        self.next = offset + part.len() as u64;
        let fresh = part.get(part.len().saturating_sub(MAX_STRING - 1)..).unwrap_or(part);
        let surplus = (kept + fresh.len()).saturating_sub(MAX_STRING - 1).min(kept);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(fresh);
    }

    /// Notes the strings in `bytes`, which stand at `offset`, that begin before `begins` and end after `ends`.
    fn look(&mut self, bytes: &[u8], offset: u64, begins: usize, ends: usize) {
        let index = self.index;
        let places = (bytes.len() + 1).saturating_sub(KEY);
        let mut at = 0;
        // Four places by one read, and one branch for all of them.
        while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()).filter(|_| at + KEY <= places) {
            let word = u64::from_le_bytes(*word);
            let may_be_key = |shift: u32| index.may_be_key(hash((word >> shift) as u32));
            if may_be_key(0) | may_be_key(8) | may_be_key(16) | may_be_key(24) {
                (at..at + KEY).for_each(|at| self.compare(bytes, offset, at, begins, ends));
            }
            at += KEY;
        }
        (at..places).for_each(|at| self.compare(bytes, offset, at, begins, ends));
    }

    /// Notes the strings that have their keys at one place, begin before `begins` and end after `ends`.
    fn compare(&mut self, bytes: &[u8], offset: u64, at: usize, begins: usize, ends: usize) {
        let (index, marks) = (self.index, self.marks);
        let key = bytes.get(at..).and_then(key_of).filter(|&key| index.may_be_key(hash(key)));
        for (id, into) in key.into_iter().flat_map(|key| index.with(key)) {
            let Some(string) = marks.strings.get(usize::from(id)) else { continue };
            let Some(start) = at.checked_sub(into).filter(|&start| start < begins) else { continue };
            let end = start + string.len();
            if end > ends && bytes.get(start..end) == Some(string) {
                self.found.add(id, offset + end as u64, marks);
            }
        }
    }

    /// What was found in all parts.
    pub(super) fn finish(self) -> Found {
        self.found
    }
}

impl Found {
    fn add(&mut self, id: MarkId, end: u64, marks: &Marks) {
        if let Some(word) = self.bits.get_mut(usize::from(id) / 64) {
            *word |= 1 << (id % 64);
        }
        if marks.placed.get(usize::from(id)) == Some(&true)
            && self.places.iter().filter(|(other, _)| *other == id).count() < MAX_PLACES
        {
            self.places.push((id, end));
        }
    }

    /// Whether a string was found.
    pub(super) fn has(&self, id: MarkId) -> bool {
        self.bits.get(usize::from(id) / 64).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// How many different ones of these were found.
    pub(super) fn count(&self, ids: &[MarkId]) -> usize {
        ids.iter().filter(|&&id| self.has(id)).count()
    }

    /// The offsets of the bytes after a string whose places were wanted: the first few.
    pub(super) fn ends(&self, id: MarkId) -> impl Iterator<Item = u64> {
        self.places.iter().filter(move |(other, _)| *other == id).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::noise::Random;

    fn marks(strings: &[&[u8]]) -> Marks {
        let mut marks = Marks::default();
        for string in strings {
            marks.add(string, true).unwrap();
        }
        marks
    }

    #[test]
    fn a_string_is_found_across_any_border_and_within_another() {
        let marks = marks(&[b"mark-one", b"xmark-one-longer", b"one-longer", b"absent"]);
        let text = b"....xmark-one-longer...";
        for cut in 0..=text.len() {
            let mut search = marks.search();
            let (one, two) = text.split_at(cut);
            search.feed(one, 100);
            search.feed(two, 100 + cut as u64);
            let found = search.finish();
            assert_eq!(found.count(&[0, 1, 2, 3]), 3, "{cut}");
            assert!(!found.has(3));
            assert_eq!(found.ends(0).collect::<Vec<_>>(), [113], "{cut}");
        }
    }

    #[test]
    fn what_does_not_follow_begins_anew() {
        let marks = marks(&[b"mark-one"]);
        let mut search = marks.search();
        search.feed(b"mark", 0);
        search.feed(b"-one", 5);
        assert!(!search.finish().has(0));
    }

    /// A file made of one key over and over costs a comparison at each place, not one for each string that has it.
    #[test]
    fn no_key_is_many_strings() {
        let database = crate::fingerprint::Database::builtin().unwrap();
        let index = Index::new(&database.contents.marks.strings);
        let most = index.links.iter().map(|link| index.with(link.key).count()).max();
        assert!(most <= Some(3), "{most:?}");
    }

    #[test]
    fn few_places_are_remembered_of_many() {
        let marks = marks(&[b"abcdef"]);
        let mut search = marks.search();
        search.feed(&b"abcdef".repeat(1000), 0);
        assert_eq!(search.finish().ends(0).count(), MAX_PLACES);
    }

    #[test]
    fn a_string_stands_once_and_none_is_too_long() {
        let mut marks = marks(&[b"abcdef"]);
        assert_eq!(marks.add(b"abcdef", false), Ok(0));
        assert_eq!(marks.add(b"abcdeg", false), Ok(1));
        assert!(marks.add(&[b'a'; MAX_STRING + 1], false).unwrap_err().contains("longer than"));
        let refused = (0..=MAX_TOTAL as u64).find_map(|i| marks.add(format!("{i:0200}").as_bytes(), false).err());
        assert!(refused.unwrap().contains("together"));
    }

    /// Against the plain way, on noise of few letters, in parts of any length.
    #[test]
    fn finds_what_a_plain_search_finds() {
        let mut random = Random::new(3);
        let mut word =
            |length: usize| -> Vec<u8> { (0..length).map(|_| b'a' + u8::try_from(random.below(2)).unwrap()).collect() };
        for _ in 0..50 {
            let strings: Vec<Vec<u8>> = (0..20).map(|i| word(4 + i % 9)).collect();
            let text = word(300);
            let mut marks = Marks::default();
            let ids: Vec<_> = strings.iter().map(|s| marks.add(s, false).unwrap()).collect();
            let mut search = marks.search();
            let mut offset = 0;
            for part in text.chunks(1 + strings.len() % 7) {
                search.feed(part, offset);
                offset += part.len() as u64;
            }
            let found = search.finish();
            for (id, string) in ids.iter().zip(&strings) {
                assert_eq!(found.has(*id), text.windows(string.len()).any(|w| w == string.as_slice()));
            }
        }
    }
}

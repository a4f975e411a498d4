//! What is read of a file, with a bounded buffer and never by mmap: its hashes, and what the database recognises in it. A
//! disk may be slow: a worker with a deadline calls it.

use std::io;
use std::ops::Range;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::elf::{LEAST_PAGE, Layout, Read, part};
use super::marks::Search;
use super::origin::Origin;
use super::packed::{self, Evenness};
use super::pages::Sampler;
use super::ranges::{ends, length, overlaps, without};
use super::{Content, Database};
use crate::event::{Field, Missing};
use crate::sys::process::{page_size, thread_cpu_ns};

#[cfg(test)]
pub(super) mod tests;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;
/// Of a file larger than this what counts is searched first, and the whole is hashed after that.
const ONE_PASS: u64 = 64 << 20;
/// Holes that are looked for in a file.
const MAX_HOLES: usize = 65_536;

/// How much is done for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes that are read of it; of one larger than 64 MiB as many again, for its SHA-256.
    pub bytes: u64,
    /// CPU time that this may take; `None`: as long as it takes. A slow disk costs others nothing.
    pub time: Option<Duration>,
}

/// A file, as far as reading it goes.
struct Source<'s> {
    /// Fills its buffer as far as the file goes.
    read: &'s mut Read<'s>,
    /// The next bytes from an offset on that are no hole; `None` where only holes follow.
    data: &'s mut dyn FnMut(u64) -> Option<Range<u64>>,
    /// Whether its time is up.
    is_late: &'s mut dyn FnMut() -> bool,
}

/// Reads a file, and asks the database what it is. Of a file larger than `limit` only what is loaded is read, up to the
/// limit: what is executed goes first, holes are passed over, and of what is too much both ends are read. Besides, at most
/// 1.6 MiB of headers are read.
///
/// # Errors
/// `Unreadable` what is not a regular file, and any error of the operating system that has no word of its own;
/// `Malformed` a file that shrank while it was read.
pub fn read(file: &(impl Origin + ?Sized), limit: Limit, database: &Database) -> Field<Content> {
    let state = || file.state().map_err(|e| Missing::from_os(&e));
    let before = state()?;
    if !before.is_regular {
        return Err(Missing::Unreadable);
    }
    let mut is_late = lateness(limit.time);
    let source = Source {
        read: &mut |buffer, offset| file.read_full(buffer, offset),
        data: &mut |from| file.data(from),
        is_late: &mut is_late,
    };
    let mut content = contents(source, before.size, limit.bytes, database)?;
    if state() != Ok(before) {
        // Whoever owns it may change its times as often as it is read. What stood there stood there.
        (content.sha256, content.code_hash, content.known_good) = (None, None, false);
        content.changed = true;
    }
    Ok(content)
}

/// Tells whether so much CPU time of this thread has gone by.
fn lateness(time: Option<Duration>) -> impl FnMut() -> bool {
    let began = thread_cpu_ns().unwrap_or_default();
    let late = time.and_then(|time| u64::try_from(time.as_nanos()).ok()).map(|time| began.saturating_add(time));
    move || late.is_some_and(|late| thread_cpu_ns().is_ok_and(|now| now > late))
}

fn contents(mut source: Source<'_>, size: u64, limit: u64, database: &Database) -> Field<Content> {
    let os = |error: io::Error| Missing::from_os(&error);
    let layout = Layout::read(source.read).map_err(os)?;
    let script = layout.is_none() && part(source.read, 0, 2).map_err(os)? == b"#!";
    let (loaded, executable, code) = match &layout {
        Some(layout) => (layout.loaded(size, page()), layout.executable(size, page()), layout.code(size)),
        None => (Vec::from_iter(script.then_some(0..size)), Vec::new(), Vec::new()),
    };
    let mut pass = Pass {
        hash: Sha256::new(),
        search: database.contents.marks.search(),
        pages: Sampler::new(&code),
        evenness: Evenness::new(),
        loaded: &loaded,
        executable: &executable,
        code: &code,
    };
    let mut content = Content { truncated: size > limit, script, ..Content::default() };
    let (whole, mut is_code_read) = (0..size, true);
    let whole = std::slice::from_ref(&whole);
    let mut sha256 = Sha256::new();
    let in_one_pass = size <= limit.min(ONE_PASS);
    if in_one_pass {
        content.unsearched = !source.each(whole, |part, offset| {
            sha256.update(part);
            pass.take(part, offset);
        })?;
        is_code_read = !content.unsearched;
    } else {
        let rest = without(&loaded, &executable);
        let mut left = limit;
        for (what, is_code) in [(&executable, true), (&rest, false)] {
            let data = source.data(what);
            let part = ends(&data, left);
            left -= length(&part);
            let all = source.each(&part, |part, offset| pass.take(part, offset))? && part == data;
            content.unsearched |= !all;
            // A hole is code too, of zeros.
            is_code_read &= !is_code || all && data == *what;
        }
    }
    let has_hash = if in_one_pass || content.truncated || content.unsearched {
        in_one_pass && !content.unsearched
    } else {
        source.each(whole, |part, _| sha256.update(part))?
    };
    content.sha256 = has_hash.then(|| sha256.finalize().into());
    content.truncated |= !has_hash;
    content.code_hash = (is_code_read && !code.is_empty()).then(|| pass.hash.finalize().into());
    content.known_good = database.contents.is_known_good(content.sha256.as_ref());
    let is_even = pass.evenness.is_packed(layout.as_ref().is_some_and(Layout::has_interpreter));
    let (found, pages) = (pass.search.finish(), pass.pages.finish());
    if let Some(layout) = layout {
        content.elf = true;
        content.build_id = layout.build_id(source.read).map_err(os)?;
        content.needed = layout.needed(source.read).map_err(os)?;
        let magics: Vec<u64> = database.places_of_go_magic(&found).collect();
        if let Some(info) = layout.go_build_info(source.read, &magics).map_err(os)? {
            (content.go_version, content.go_path) = (Some(info.version), info.path);
        }
        content.packed = packed::has_mark(database, &found, &loaded) || is_even;
    }
    // Whatever it looks like.
    if !content.known_good {
        content.recognised = database.recognise_content(&content, &found, &pages, source.read).map_err(os)?;
        content.structure = content.elf && content.recognised.is_none() && database.contents.structure.fits(&found);
    }
    Ok(content)
}

/// Bytes of a page that this machine maps.
fn page() -> u64 {
    (page_size() as u64).max(LEAST_PAGE)
}

impl Source<'_> {
    /// Hands on the bytes of ranges, part by part, each with its offset; false where the time was up before their end.
    fn each(&mut self, ranges: &[Range<u64>], mut take: impl FnMut(&[u8], u64)) -> Field<bool> {
        let mut buffer = vec![0; BUFFER];
        for range in ranges {
            let mut offset = range.start;
            while offset < range.end {
                if (self.is_late)() {
                    return Ok(false);
                }
                let want = usize::try_from(range.end - offset).unwrap_or(BUFFER).min(BUFFER);
                let part = buffer.get_mut(..want).unwrap_or_default();
                let got = (self.read)(part, offset).map_err(|e| Missing::from_os(&e))?;
                if got < want {
                    return Err(Missing::Malformed);
                }
                take(part, offset);
                offset += got as u64;
            }
        }
        Ok(true)
    }

    /// What of ranges is no hole. What comes after too many holes is taken for data.
    fn data(&mut self, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let next = if found.len() < MAX_HOLES { (self.data)(at) } else { Some(at..u64::MAX) };
                let Some(data) = next.filter(|data| data.start < range.end) else { break };
                let (start, end) = (data.start.max(at), data.end.min(range.end));
                if start < end {
                    found.push(start..end);
                }
                at = end.max(at + 1);
            }
        }
        found
    }
}

/// All that is made of what a file has loaded, in one pass over it.
struct Pass<'p> {
    /// Of the code.
    hash: Sha256,
    search: Search<'p>,
    pages: Sampler<'p>,
    evenness: Evenness,
    loaded: &'p [Range<u64>],
    executable: &'p [Range<u64>],
    code: &'p [Range<u64>],
}

impl Pass<'_> {
    fn take(&mut self, part: &[u8], offset: u64) {
        for (bytes, at) in overlaps(self.loaded, part, offset) {
            self.search.feed(bytes, at);
        }
        for (bytes, at) in overlaps(self.executable, part, offset) {
            self.pages.feed(bytes, at);
            self.evenness.feed(bytes, at);
        }
        for (bytes, _) in overlaps(self.code, part, offset) {
            self.hash.update(bytes);
        }
    }
}

//! What is read of a file, through the descriptor of what was executed, in one pass by pread with a bounded buffer and
//! never by mmap: its hashes, and what the database recognises in it. It blocks as long as the file's server likes: a
//! worker with a deadline calls it.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use sha2::{Digest, Sha256};

use super::elf::{LEAST_PAGE, Layout, Read};
use super::marks::{Found, Search};
use super::pages::Sampler;
use super::{Content, Database};
use crate::event::{Field, Missing};

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;
/// A packer's mark stands so near to one end of what is loaded.
const PACKED_WITHIN: u64 = 4096;

/// Reads a file that is open for reading (not `O_PATH`), whose offset is left alone, and asks the database what it is. Of
/// a file larger than `limit` bytes only what is loaded is read, up to the limit, and its SHA-256 is not known
/// (`truncated`). Besides, at most 1.6 MiB of headers are read.
///
/// # Errors
/// `Unreadable` what is not a regular file, and any error of the operating system that has no word of its own;
/// `Malformed` a file that changed while it was read, for its hash would be that of no state it ever had.
pub fn read(file: &File, limit: u64, database: &Database) -> Field<Content> {
    let stat = || file.metadata().map_err(|e| Missing::from_os(&e));
    let before = stat()?;
    if !before.is_file() {
        return Err(Missing::Unreadable);
    }
    let mut read = |buffer: &mut [u8], offset| read_full(file, buffer, offset);
    let content = contents(&mut read, before.len(), limit, database)?;
    if state(&before) == state(&stat()?) { Ok(content) } else { Err(Missing::Malformed) }
}

/// What a write to a file changes.
fn state(of: &Metadata) -> [i64; 5] {
    [of.len().cast_signed(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()]
}

/// Fills the buffer as far as the file goes.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // An offset that overflows lies beyond the end of any file.
        let Some(at) = offset.checked_add(filled as u64).filter(|&at| i64::try_from(at).is_ok()) else { break };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// `read` fills its buffer as far as the file goes.
fn contents(read: &mut Read<'_>, size: u64, limit: u64, database: &Database) -> Field<Content> {
    let os = |error: io::Error| Missing::from_os(&error);
    let mut content = Content { truncated: size > limit, ..Content::default() };
    let layout = Layout::read(read).map_err(os)?;
    let (loaded, executable, code) = match &layout {
        Some(layout) => (layout.loaded(size, page()), layout.executable(size, page()), layout.code(size)),
        None => (Vec::new(), Vec::new(), Vec::new()),
    };
    let mut pass = Pass {
        whole: Sha256::new(),
        hash: Sha256::new(),
        search: database.contents.marks.search(),
        pages: Sampler::new(&code),
        loaded: &loaded,
        executable: &executable,
        code: &code,
    };
    let all_loaded = if content.truncated {
        let (within, all) = within(&loaded, limit);
        pass.read(read, &within)?;
        all
    } else {
        pass.read(read, std::slice::from_ref(&(0..size)))?;
        content.sha256 = Some(pass.whole.finalize().into());
        true
    };
    content.code_hash = (all_loaded && !code.is_empty()).then(|| pass.hash.finalize().into());
    content.known_good = database.contents.is_known_good(content.sha256.as_ref());
    let (found, pages) = (pass.search.finish(), pass.pages.finish());
    if let Some(layout) = layout {
        content.elf = true;
        content.build_id = layout.build_id(read).map_err(os)?;
        content.needed = layout.needed(read).map_err(os)?;
        let magics: Vec<u64> = database.places_of_go_magic(&found).collect();
        if let Some(info) = layout.go_build_info(read, &magics).map_err(os)? {
            (content.go_version, content.go_path) = (Some(info.version), info.path);
        }
        content.packed = is_packed(database, &found, &loaded);
    }
    content.recognised = database.recognise_content(&content, &found, &pages, read).map_err(os)?;
    Ok(content)
}

/// Bytes of a page that this machine maps.
fn page() -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|page| u64::try_from(page).ok()).filter(|&page| page >= LEAST_PAGE).unwrap_or(LEAST_PAGE)
}

/// Whether the mark of UPX stands in what is loaded and near to one of its ends. The packer itself carries it elsewhere.
fn is_packed(database: &Database, found: &Found, loaded: &[Range<u64>]) -> bool {
    let end = loaded.last().map_or(0, |range| range.end);
    database.places_of_packer(found).any(|at| at <= PACKED_WITHIN || at + PACKED_WITHIN >= end)
}

/// The first `limit` bytes of the ranges, and whether that is all of them.
fn within(ranges: &[Range<u64>], limit: u64) -> (Vec<Range<u64>>, bool) {
    let mut left = limit;
    let cut: Vec<_> = ranges
        .iter()
        .map(|range| {
            let length = (range.end - range.start).min(left);
            left -= length;
            range.start..range.start + length
        })
        .collect();
    let all = cut == ranges;
    (cut, all)
}

/// All that is made of a file's bytes, in one pass over them.
struct Pass<'p> {
    whole: Sha256,
    /// Of the code.
    hash: Sha256,
    search: Search<'p>,
    pages: Sampler<'p>,
    loaded: &'p [Range<u64>],
    executable: &'p [Range<u64>],
    code: &'p [Range<u64>],
}

impl Pass<'_> {
    fn read(&mut self, read: &mut Read<'_>, ranges: &[Range<u64>]) -> Field<()> {
        let mut buffer = vec![0; BUFFER];
        for range in ranges {
            let mut offset = range.start;
            while offset < range.end {
                let want = usize::try_from(range.end - offset).unwrap_or(BUFFER).min(BUFFER);
                let part = buffer.get_mut(..want).unwrap_or_default();
                let got = read(part, offset).map_err(|e| Missing::from_os(&e))?;
                if got < want {
                    return Err(Missing::Malformed);
                }
                self.whole.update(&*part);
                for (bytes, at) in overlaps(self.loaded, part, offset) {
                    self.search.feed(bytes, at);
                }
                for (bytes, at) in overlaps(self.executable, part, offset) {
                    self.pages.feed(bytes, at);
                }
                for (bytes, _) in overlaps(self.code, part, offset) {
                    self.hash.update(bytes);
                }
                offset += got as u64;
            }
        }
        Ok(())
    }
}

/// The bytes of a part that lie in the ranges, and where in the file they stand.
fn overlaps<'p>(ranges: &'p [Range<u64>], part: &'p [u8], offset: u64) -> impl Iterator<Item = (&'p [u8], u64)> + 'p {
    let first = ranges.partition_point(|range| range.end <= offset);
    let end = offset + part.len() as u64;
    let behind = ranges.get(first..).unwrap_or_default();
    behind.iter().take_while(move |range| range.start < end).filter_map(move |range| {
        let start = range.start.max(offset);
        let [from, to] = [start, range.end.min(end)].map(|at| usize::try_from(at - offset).ok());
        Some((part.get(from?..to?)?, start))
    })
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::io::Write;

    use super::*;
    use crate::alert::hex;
    use crate::fingerprint::elf::sample::{Sample, Segment, reader};
    use crate::fingerprint::noise::Random;
    use crate::fingerprint::{Confidence, Evidence, Kind};

    const LIMIT: u64 = 1 << 20;
    const DATABASE: &str = "
        schema = 1
        [[family]]
        family = 'demo'
        kind = 'compiler'
        [[content]]
        family = 'demo'
        marks = ['first mark of demo', 'second mark of demo', 'third mark of demo']
        at-least = 2
        version-after = ['demo version ']
        [[content]]
        family = 'demo'
        go-paths = ['cmd/demo*']
    ";

    fn database() -> Database {
        Database::parse(DATABASE).unwrap()
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// What a database makes of a file's bytes.
    pub(in crate::fingerprint) fn of(bytes: &[u8], database: &Database) -> Content {
        contents(&mut reader(bytes), bytes.len() as u64, LIMIT, database).unwrap()
    }

    /// What the database of these tests makes of them.
    pub(in crate::fingerprint) fn demo(bytes: &[u8]) -> Content {
        of(bytes, &database())
    }

    /// The same with a limit.
    pub(in crate::fingerprint) fn limited(bytes: &[u8], limit: u64) -> Content {
        contents(&mut reader(bytes), bytes.len() as u64, limit, &database()).unwrap()
    }

    /// The same of a file that is said to have `size` bytes, and how many were asked for.
    pub(in crate::fingerprint) fn asked(bytes: &[u8], size: u64, limit: u64) -> (Field<Content>, u64) {
        static DATABASE: std::sync::LazyLock<Database> = std::sync::LazyLock::new(database);
        let (mut asked, mut read) = (0, reader(bytes));
        let mut counted = |buffer: &mut [u8], offset| {
            asked += buffer.len() as u64;
            read(buffer, offset)
        };
        (contents(&mut counted, size, limit, &DATABASE), asked)
    }

    fn family(content: &Content) -> Option<&str> {
        content.recognised.as_ref().map(|r| r.family.as_str())
    }

    const MARKED: &[u8] = b"....second mark of demo\0demo version 1.20.3-beta\0first mark of demo....";

    #[test]
    fn hashes_whole_files() {
        // Test vectors of FIPS 180-2, and the empty file.
        for (bytes, expected) in [
            (b"abc".to_vec(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
            (Vec::new(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ] {
            let content = read(&file_of(&bytes), LIMIT, &database()).unwrap();
            assert_eq!(hex::lower(&content.sha256.unwrap()), expected);
            assert_eq!(content, Content { sha256: content.sha256, ..Content::default() });
        }
    }

    #[test]
    fn a_family_is_recognised_in_what_is_loaded() {
        let content = demo(&Sample::program(MARKED));
        let recognised = content.recognised.unwrap();
        assert_eq!((recognised.family.as_str(), recognised.kind), ("demo", Kind::Compiler));
        assert_eq!((recognised.confidence, recognised.evidence), (Confidence::High, vec![Evidence::Marker]));
        assert_eq!(recognised.version.as_deref(), Some("1.20.3"));
        assert!(content.elf && !content.packed && !content.truncated);
    }

    #[test]
    fn what_is_appended_or_lies_in_no_segment_is_not_searched() {
        let mut appended = Sample::program(b"nothing");
        appended.resize(page() as usize, 0);
        appended.extend_from_slice(MARKED);
        assert_eq!(family(&demo(&appended)), None);
        assert_eq!(family(&demo(MARKED)), None, "no ELF file");
        let script = [b"#!/bin/sh\n".as_slice(), &b"\0".repeat(70_000), MARKED].concat();
        assert_eq!((family(&demo(&script)), demo(&script).elf), (None, false));
    }

    /// Each page of a file as a segment of one byte: the kernel maps the rest of it too.
    #[test]
    fn a_family_is_recognised_in_all_that_is_mapped() {
        let page = page();
        let load = |number: u64| Segment {
            kind: elf::abi::PT_LOAD,
            flags: 5,
            offset: number * page,
            size: 1,
            address: 0x40_0000 + number * page,
            align: page,
        };
        let body = [vec![0; 3000], MARKED.to_vec(), vec![0; 3 * page as usize]].concat();
        let file = Sample { segments: (0..3).map(load).collect(), body, ..Sample::default() }.file();
        assert_eq!(family(&demo(&file)), Some("demo"));
        let three: Vec<u8> = (0..3).map(|number| file[number * page as usize]).collect();
        let expected: [u8; 32] = Sha256::digest(&three).into();
        assert_eq!(demo(&file).code_hash, Some(expected));
    }

    #[test]
    fn marks_are_found_across_the_borders_of_what_is_read() {
        for before in BUFFER - 200..BUFFER - 100 {
            let file = Sample::program(&[vec![b'.'; before], MARKED.to_vec()].concat());
            assert_eq!(family(&demo(&file)), Some("demo"), "{before}");
        }
    }

    #[test]
    fn the_code_hash_is_that_of_the_executable_segments() {
        let at = Sample::body_at(Sample::default().class, 3);
        let load = |flags, from: u64, size| Segment {
            kind: elf::abi::PT_LOAD,
            flags,
            offset: at + from,
            size,
            address: 0x1000 * (from + 1),
            align: 1,
        };
        let segments = vec![load(5, 6, 3), load(4, 3, 3), load(5, 0, 3)];
        let sample = Sample { segments, body: b"onetwosixappended".to_vec(), ..Sample::default() };
        let expected: [u8; 32] = Sha256::digest(b"onesix").into();
        assert_eq!(demo(&sample.file()).code_hash, Some(expected));
        let other_notes = Sample { body: b"oneTWOsix".to_vec(), ..sample };
        assert_eq!(demo(&other_notes.file()).code_hash, Some(expected));
        let file = other_notes.file();
        assert_eq!(limited(&file, 8).code_hash, None, "cut short");
        let longer = [&file[..], &vec![0; 2 * page() as usize]].concat();
        assert_eq!(limited(&longer, page()).code_hash, Some(expected), "all that is mapped of it");
    }

    #[test]
    fn a_file_larger_than_the_limit_is_searched_up_to_it() {
        let file = Sample::program(&[MARKED.to_vec(), vec![0; 200_000]].concat());
        let content = limited(&file, 100_000);
        assert_eq!((family(&content), content.sha256, content.truncated), (Some("demo"), None, true));
        let file = Sample::program(&[vec![0; 200_000], MARKED.to_vec()].concat());
        assert_eq!(family(&limited(&file, 100_000)), None);
    }

    #[test]
    fn reads_the_build_id_of_what_is_too_large_to_hash() {
        let own = File::open("/proc/self/exe").unwrap();
        let whole = read(&own, u64::MAX, &database()).unwrap();
        let part = read(&own, 1000, &database()).unwrap();
        assert!(whole.sha256.is_some() && !whole.truncated && whole.code_hash.is_some());
        assert!(part.sha256.is_none() && part.truncated);
        assert_eq!((&whole.build_id, &whole.needed), (&part.build_id, &part.needed));
        assert!(whole.needed.iter().any(|library| library.starts_with("libc.")), "{:?}", whole.needed);
    }

    #[test]
    fn a_packed_file_is_told_by_its_mark_at_an_end_of_what_is_loaded() {
        let middle = [vec![0; 10_000], b"UPX!".to_vec(), vec![0; 10_000]].concat();
        for (body, packed) in [
            (b"....UPX!....".to_vec(), true),
            ([vec![0; 10_000], b"UPX!....".to_vec()].concat(), true),
            (middle, false),
            (vec![0; 10_000], false),
        ] {
            assert_eq!(demo(&Sample::program(&body)).packed, packed);
        }
        let mut appended = Sample::program(&[0; 10_000]);
        appended.resize(appended.len().next_multiple_of(page() as usize), 0);
        appended.extend_from_slice(b"UPX!");
        assert!(!demo(&appended).packed);
    }

    #[test]
    fn go_build_info_is_read_in_both_forms() {
        let module = b"................path\tcmd/demo\nmod\tcmd\n................";
        let version = b"go1.19.8";
        let at = Sample::body_at(elf::file::Class::ELF64, 1);
        // Aligned to 16, as Go's linker does.
        let body = |info: Vec<u8>| [vec![0; (at.next_multiple_of(16) - at) as usize], info].concat();
        let inline = demo(&Sample::program(&body(inline_info(version, module))));
        assert_eq!((inline.go_version.as_deref(), inline.go_path.as_deref()), (Some("go1.19.8"), Some("cmd/demo")));
        assert_eq!(inline.recognised.unwrap().version.as_deref(), Some("1.19.8"));
        for big in [false, true] {
            for class in [elf::file::Class::ELF32, elf::file::Class::ELF64] {
                let content = demo(&go_by_pointers(class, big, version, module));
                assert_eq!(content.go_version.as_deref(), Some("go1.19.8"), "{class:?} {big}");
                assert_eq!(family(&content), Some("demo"));
                assert_eq!(content.recognised.unwrap().evidence, [Evidence::GoBuildInfo]);
            }
        }
    }

    fn inline_info(version: &[u8], module: &[u8]) -> Vec<u8> {
        let mut body = b"\xff Go buildinf:\x08\x02".to_vec();
        body.resize(32, 0);
        for text in [version, module] {
            body.push(u8::try_from(text.len()).unwrap());
            body.extend_from_slice(text);
        }
        body
    }

    /// As Go before 1.18 wrote it.
    fn go_by_pointers(class: elf::file::Class, big: bool, version: &[u8], module: &[u8]) -> Vec<u8> {
        let word = if class == elf::file::Class::ELF64 { 8 } else { 4 };
        let mut sample = Sample { class, big, ..Sample::default() };
        let (at, base) = (Sample::body_at(class, 1), 0x10_000);
        sample.body = vec![0; (at.next_multiple_of(16) - at) as usize];
        let info = at + sample.body.len() as u64;
        let headers = base + info + 32;
        let texts = headers + 4 * word as u64;
        sample.body.extend_from_slice(b"\xff Go buildinf:");
        sample.body.extend([word as u8, u8::from(big)]);
        let mut numbers = vec![headers, headers + 2 * word as u64];
        let filling = 16 - 2 * word;
        let pointers: Vec<u8> = numbers.drain(..).flat_map(|n| sample.number(n, word)).collect();
        sample.body.extend(pointers);
        sample.body.extend(vec![0; filling]);
        for (text, length) in [(texts, version.len()), (texts + version.len() as u64, module.len())] {
            let header = [sample.number(text, word), sample.number(length as u64, word)].concat();
            sample.body.extend(header);
        }
        sample.body.extend_from_slice(version);
        sample.body.extend_from_slice(module);
        let size = at + sample.body.len() as u64;
        let kind = elf::abi::PT_LOAD;
        sample.segments = vec![Segment { kind, flags: 6, offset: 0, size, address: base, align: 1 }];
        sample.file()
    }

    #[test]
    fn refuses_what_is_no_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |file: &File| assert_eq!(read(file, LIMIT, &database()), Err(Missing::Unreadable));
        refused(&File::open(directory.path()).unwrap());
        refused(&File::open("/dev/zero").unwrap());
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader: std::os::fd::OwnedFd = reader.into();
        refused(&File::from(reader));
    }

    #[test]
    fn a_file_that_shrinks_while_read_is_malformed() {
        let mut size = 200_000_u64;
        let mut shrinking = |buffer: &mut [u8], offset: u64| {
            size = size.min(100_000);
            Ok(buffer.len().min(usize::try_from(size.saturating_sub(offset)).unwrap()))
        };
        assert_eq!(contents(&mut shrinking, 200_000, LIMIT, &database()), Err(Missing::Malformed));
    }

    #[test]
    fn a_file_that_grows_while_read_is_told_by_its_state() {
        let file = file_of(b"abc");
        let before = file.metadata().unwrap();
        (&file).write_all(b"d").unwrap();
        assert_ne!(state(&before), state(&file.metadata().unwrap()));
    }

    #[test]
    fn a_file_that_another_thread_cuts_and_lengthens_is_read_or_told_to_change() {
        let program = Sample::program(&[MARKED.to_vec(), vec![7; 300_000]].concat());
        let file = file_of(&program);
        let (restless, stop) = (file.try_clone().unwrap(), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for size in [0, 50, 70_000, 1 << 30, program.len() as u64] {
                        restless.set_len(size).unwrap();
                    }
                }
            });
            for _ in 0..200 {
                match read(&file, LIMIT, &database()) {
                    Ok(content) => assert!(content.truncated || content.sha256.is_some()),
                    Err(why) => assert_eq!(why, Missing::Malformed),
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(read(&file, LIMIT, &database()).map(|content| content.truncated), Ok(false));
    }

    #[test]
    fn an_error_of_the_system_is_passed_on() {
        let mut denied = |_: &mut [u8], _| Err(io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(contents(&mut denied, 10, LIMIT, &database()), Err(Missing::Denied));
        let mut failing = |buffer: &mut [u8], offset| {
            if offset > 0 { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(buffer.len()) }
        };
        assert_eq!(contents(&mut failing, 100_000, LIMIT, &database()), Err(Missing::Unreadable));
    }

    #[test]
    fn a_sparse_file_of_more_than_the_limit_costs_no_more_than_it() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let content = read(&file, LIMIT, &database()).unwrap();
        assert_eq!(content, Content { truncated: true, ..Content::default() });
        let at = Sample::body_at(elf::file::Class::ELF64, 1);
        let load = Segment { kind: elf::abi::PT_LOAD, flags: 5, offset: 0, size: u64::MAX, address: 0, align: 1 };
        let header = Sample { segments: vec![load], ..Sample::default() }.file();
        assert_eq!(header.len() as u64, at);
        let mut asked = 0;
        let mut sparse = |buffer: &mut [u8], offset: u64| {
            asked += buffer.len() as u64;
            let rest = header.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            buffer.fill(0);
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(buffer.len())
        };
        let content = contents(&mut sparse, 1 << 40, LIMIT, &database()).unwrap();
        assert!(content.truncated && content.recognised.is_none());
        assert!((LIMIT..LIMIT + 1000).contains(&asked), "{asked}");
    }

    /// A small program cut at every byte, then with every byte of its headers hostile, then with several: no panic.
    #[test]
    fn survives_hostile_files() {
        let class = elf::file::Class::ELF64;
        let good = go_by_pointers(class, false, b"go1.17", &[b'x'; 100]);
        for cut in 0..good.len() {
            demo(&good[..cut]);
        }
        let mut random = Random::new(5);
        for round in 0..good.len() * 5 {
            let mut bad = good.clone();
            bad[round / 5] = [0, 1, 0x7f, 0x80, 0xff][round % 5];
            demo(&bad);
            for _ in 0..4 {
                let at = random.below(bad.len());
                bad[at] = random.byte();
            }
            demo(&bad);
            limited(&bad, 50);
        }
    }
}

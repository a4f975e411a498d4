//! Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::single_range_in_vec_init)]

use std::io::Write;

use super::*;
use crate::alert::hex;
use crate::fingerprint::elf::sample::{Sample, Segment, reader};
use crate::fingerprint::noise::Random;
use crate::fingerprint::{Confidence, Evidence, Kind};

const LIMIT: u64 = 1 << 20;
const NO_LIMIT: Limit = Limit { bytes: u64::MAX, time: None };
const A_MEGABYTE: Limit = Limit { bytes: LIMIT, time: None };
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

/// What is made of a file without holes.
fn all_data(read: &mut Read<'_>, size: u64, limit: u64, database: &Database) -> Field<Content> {
    let source = Source { read, data: &mut |from| Some(from..u64::MAX), is_late: &mut || false };
    contents(source, size, limit, database)
}

/// What a database makes of a file's bytes.
pub(in crate::fingerprint) fn of(bytes: &[u8], database: &Database) -> Content {
    all_data(&mut reader(bytes), bytes.len() as u64, LIMIT, database).unwrap()
}

/// What the database of these tests makes of them.
pub(in crate::fingerprint) fn demo(bytes: &[u8]) -> Content {
    of(bytes, &database())
}

/// The same with a limit.
pub(in crate::fingerprint) fn limited(bytes: &[u8], limit: u64) -> Content {
    all_data(&mut reader(bytes), bytes.len() as u64, limit, &database()).unwrap()
}

/// The same of a file that is said to have `size` bytes, and how many were asked for.
pub(in crate::fingerprint) fn asked(bytes: &[u8], size: u64, limit: u64) -> (Field<Content>, u64) {
    static DATABASE: std::sync::LazyLock<Database> = std::sync::LazyLock::new(database);
    let (mut asked, mut read) = (0, reader(bytes));
    let mut counted = |buffer: &mut [u8], offset| {
        asked += buffer.len() as u64;
        read(buffer, offset)
    };
    (all_data(&mut counted, size, limit, &DATABASE), asked)
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
        let content = read(&file_of(&bytes), A_MEGABYTE, &database()).unwrap();
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
    assert!(content.unsearched);
    let file = Sample::program(&[vec![0; 200_000], MARKED.to_vec()].concat());
    assert_eq!(family(&limited(&file, 100_000)), Some("demo"), "both ends are");
    let file = Sample::program(&[vec![0; 100_000], MARKED.to_vec(), vec![0; 100_000]].concat());
    let content = limited(&file, 100_000);
    assert_eq!((family(&content), content.unsearched), (None, true));
    let file = [Sample::program(MARKED), vec![0; 100_000]].concat();
    let content = limited(&file, 50_000);
    assert_eq!((family(&content), content.truncated, content.unsearched), (Some("demo"), true, false));
}

#[test]
fn reads_the_build_id_of_what_is_too_large_to_hash() {
    let own = File::open("/proc/self/exe").unwrap();
    let whole = read(&own, NO_LIMIT, &database()).unwrap();
    let part = read(&own, Limit { bytes: 1000, time: None }, &database()).unwrap();
    assert!(whole.sha256.is_some() && !whole.truncated && whole.code_hash.is_some());
    assert!(part.sha256.is_none() && part.truncated);
    assert_eq!((&whole.build_id, &whole.needed), (&part.build_id, &part.needed));
    assert!(whole.needed.iter().any(|library| library.starts_with("libc.")), "{:?}", whole.needed);
}

#[test]
fn whoever_reads_the_file_for_us_makes_no_difference() {
    let own = File::open("/proc/self/exe").unwrap();
    let (size, database) = (own.metadata().unwrap().len(), database());
    let by_us = read(&own, NO_LIMIT, &database).unwrap();
    let by_another = read_by(|buffer, offset| read_full(&own, buffer, offset), size, NO_LIMIT, &database).unwrap();
    assert_eq!(by_another, by_us);
    let silent = |_: &mut [u8], _| Err(io::ErrorKind::TimedOut.into());
    assert_eq!(read_by(silent, size, NO_LIMIT, &database), Err(Missing::Deadline));
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
    let refused = |file: &File| assert_eq!(read(file, A_MEGABYTE, &database()), Err(Missing::Unreadable));
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
    assert_eq!(all_data(&mut shrinking, 200_000, LIMIT, &database()), Err(Missing::Malformed));
}

#[test]
fn a_file_that_grows_while_read_is_told_by_its_state() {
    let file = file_of(b"abc");
    let before = file.metadata().unwrap();
    (&file).write_all(b"d").unwrap();
    assert_ne!(state(&before), state(&file.metadata().unwrap()));
}

/// Looks while another thread does something over and over, with the number of the round.
fn while_another<T>(does: impl Fn(u64) + Send, look: impl FnOnce() -> T) -> T {
    struct Stop<'s>(&'s std::sync::atomic::AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| (0..).take_while(|_| !stop.load(std::sync::atomic::Ordering::Relaxed)).for_each(does));
        look()
    })
}

#[test]
fn a_file_that_another_thread_cuts_and_lengthens_is_read_or_told_to_change() {
    let program = Sample::program(&[MARKED.to_vec(), vec![7; 300_000]].concat());
    let file = file_of(&program);
    let restless = file.try_clone().unwrap();
    let cut =
        |_| [0, 50, 70_000, 1 << 30, program.len() as u64].iter().for_each(|&size| restless.set_len(size).unwrap());
    while_another(cut, || {
        for _ in 0..200 {
            match read(&file, A_MEGABYTE, &database()) {
                Ok(content) => assert!(content.truncated || content.changed || content.sha256.is_some()),
                Err(why) => assert_eq!(why, Missing::Malformed),
            }
        }
    });
    let still = read(&file, A_MEGABYTE, &database()).unwrap();
    assert_eq!((still.truncated, still.changed), (false, false));
}

#[test]
fn an_error_of_the_system_is_passed_on() {
    let mut denied = |_: &mut [u8], _| Err(io::Error::from_raw_os_error(libc::EACCES));
    assert_eq!(all_data(&mut denied, 10, LIMIT, &database()), Err(Missing::Denied));
    let mut failing = |buffer: &mut [u8], offset| {
        if offset > 0 { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(buffer.len()) }
    };
    assert_eq!(all_data(&mut failing, 100_000, LIMIT, &database()), Err(Missing::Unreadable));
}

#[test]
fn a_sparse_file_of_more_than_the_limit_costs_no_more_than_it() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 40).unwrap();
    let content = read(&file, A_MEGABYTE, &database()).unwrap();
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
    let content = all_data(&mut sparse, 1 << 40, LIMIT, &database()).unwrap();
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

/// One header of a segment that no loader asks for must not hide the others.
#[test]
fn an_offset_as_far_as_can_be_is_beyond_the_end_and_no_error() {
    for kind in [elf::abi::PT_NOTE, elf::abi::PT_DYNAMIC, elf::abi::PT_LOAD] {
        for offset in [i64::MAX as u64, i64::MAX as u64 - 1, i64::MAX as u64 - 100, 1 << 62, 1 << 63, u64::MAX] {
            let segment = |kind, offset, size| Segment { kind, flags: 5, offset, size, address: offset, align: 1 };
            let segments = vec![segment(elf::abi::PT_LOAD, 0, 500), segment(kind, offset, 100)];
            let file = file_of(&Sample { segments, body: [MARKED, &[7; 500]].concat(), ..Sample::default() }.file());
            let content = read(&file, NO_LIMIT, &database());
            assert_eq!(content.as_ref().map(family), Ok(Some("demo")), "{kind} {offset:x}");
        }
    }
}

/// A program behind a hole of a gigabyte, which is loaded with it.
fn behind_a_hole(hole: u64) -> File {
    let load =
        |flags, offset, size, address| Segment { kind: elf::abi::PT_LOAD, flags, offset, size, address, align: 1 };
    let segments = vec![load(4, 0, hole, 0), load(5, hole, 70_000, 1 << 40)];
    let file = file_of(&Sample { segments, ..Sample::default() }.file());
    file.write_all_at(&[&vec![0; 1000], MARKED, &vec![7; 70_000]].concat(), hole).unwrap();
    file
}

#[test]
fn a_hole_does_not_use_up_the_limit() {
    let file = behind_a_hole(1 << 30);
    let content = read(&file, A_MEGABYTE, &database()).unwrap();
    assert_eq!((family(&content), content.truncated, content.unsearched), (Some("demo"), true, false));
    assert!(content.code_hash.is_some());
}

/// Where the filesystem does not say where its holes are.
#[test]
fn what_is_executed_is_searched_first() {
    let file = behind_a_hole(1 << 30);
    let source = Source {
        read: &mut |buffer, offset| read_full(&file, buffer, offset),
        data: &mut |from| Some(from..u64::MAX),
        is_late: &mut || false,
    };
    let content = contents(source, file.metadata().unwrap().len(), LIMIT, &database()).unwrap();
    assert_eq!((family(&content), content.truncated, content.unsearched), (Some("demo"), true, true));
    assert!(content.code_hash.is_some());
}

#[test]
fn holes_are_found_or_taken_for_data() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_all_at(&[1; 4096], 512 << 10).unwrap();
    let mut source =
        Source { read: &mut |_, _| Ok(0), data: &mut |from| next_data(&file, from), is_late: &mut || false };
    // In blocks of the filesystem's size.
    let data = source.data(std::slice::from_ref(&(0..1 << 20)));
    assert!(data.iter().any(|data| data.contains(&(512 << 10))) && length(&data) < 1 << 20, "{data:?}");
    let within = (512 << 10) + 1..(512 << 10) + 2;
    assert_eq!(source.data(std::slice::from_ref(&within)), std::slice::from_ref(&within));
    assert_eq!(next_data(&file, 1 << 20), None);
    assert_eq!(next_data(&file, u64::MAX), Some(u64::MAX..u64::MAX));
    let (pipe, _writer) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    assert_eq!(next_data(&pipe, 5), Some(5..u64::MAX), "nobody says");
    let mut every_other = |from: u64| Some(from.next_multiple_of(2)..from.next_multiple_of(2) + 1);
    let mut source = Source { read: &mut |_, _| Ok(0), data: &mut every_other, is_late: &mut || false };
    let data = source.data(std::slice::from_ref(&(0..1 << 30)));
    assert_eq!((data.len(), data.last().map(|last| last.end)), (MAX_HOLES + 1, Some(1 << 30)));
}

#[test]
fn a_read_that_takes_too_long_ends_and_says_so() {
    let program = Sample::program(&[MARKED.to_vec(), vec![7; 300_000]].concat());
    for (parts, found) in [(0, None), (1, Some("demo")), (4, Some("demo"))] {
        let mut left = parts;
        let source = Source {
            read: &mut reader(&program),
            data: &mut |from| Some(from..u64::MAX),
            is_late: &mut || {
                left -= 1;
                left < 0
            },
        };
        let content = contents(source, program.len() as u64, LIMIT, &database()).unwrap();
        assert_eq!((family(&content), content.truncated, content.unsearched), (found, true, true), "{parts}");
        assert_eq!((content.sha256, content.code_hash), (None, None));
    }
    let limit = Limit { bytes: u64::MAX, time: Some(Duration::ZERO) };
    assert!(read(&file_of(&program), limit, &database()).unwrap().unsearched);
}

/// What its owner does to its times must not hide it.
#[test]
fn what_is_recognised_in_a_file_that_changes_stays_recognised() {
    let program = Sample::program(&[MARKED.to_vec(), vec![7; 300_000]].concat());
    let file = file_of(&program);
    let restless = file.try_clone().unwrap();
    let touch = |round| {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(round);
        restless.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
    };
    let changed = while_another(touch, || {
        (0..10_000).map(|_| read(&file, NO_LIMIT, &database()).unwrap()).find(|content| content.changed)
    });
    let changed = changed.unwrap();
    assert_eq!(family(&changed), Some("demo"));
    assert_eq!((changed.sha256, changed.code_hash, changed.known_good), (None, None, false));
}

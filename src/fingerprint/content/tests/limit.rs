//! What a limit of bytes or of time leaves, and how holes count. Test only.

use std::os::unix::fs::FileExt;

use super::*;

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
        read: &mut |buffer, offset| file.read_full(buffer, offset),
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
    let mut source = Source { read: &mut |_, _| Ok(0), data: &mut |from| file.data(from), is_late: &mut || false };
    // In blocks of the filesystem's size.
    let data = source.data(std::slice::from_ref(&(0..1 << 20)));
    assert!(data.iter().any(|data| data.contains(&(512 << 10))) && length(&data) < 1 << 20, "{data:?}");
    let within = (512 << 10) + 1..(512 << 10) + 2;
    assert_eq!(source.data(std::slice::from_ref(&within)), std::slice::from_ref(&within));
    assert_eq!(file.data(1 << 20), None);
    assert_eq!(file.data(u64::MAX), Some(u64::MAX..u64::MAX));
    let (pipe, _writer) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    assert_eq!(pipe.data(5), Some(5..u64::MAX), "nobody says");
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

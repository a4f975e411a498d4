//! What of a file is searched for marks, and hashed as code. Test only.

use super::*;

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
fn what_is_known_good_is_nothing_else_whatever_marks_it_has() {
    let file = Sample::program(MARKED);
    let hash: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = Database::parse(&format!("{DATABASE}\n[[known-good]]\nsha256 = ['{hash}']\n")).unwrap();
    let content = of(&file, &listed);
    assert!(content.known_good && content.recognised.is_none() && !content.structure);
    assert_eq!(family(&of(&[&file[..], b"."].concat(), &listed)), Some("demo"));
}

#[test]
fn what_is_appended_or_lies_in_no_segment_is_not_searched() {
    let mut appended = Sample::program(b"nothing");
    appended.resize(page() as usize, 0);
    appended.extend_from_slice(MARKED);
    assert_eq!(family(&demo(&appended)), None);
    assert_eq!(family(&demo(MARKED)), None, "no ELF file");
}

#[test]
fn a_script_is_searched_whole_for_marks_of_scripts_alone() {
    let script = [b"#!/bin/sh\n".as_slice(), &b"\0".repeat(70_000), MARKED].concat();
    assert_eq!((family(&demo(&script)), demo(&script).elf), (None, false));
    let of_scripts = Database::parse(&DATABASE.replace("marks = ", "script = true\nmarks = ")).unwrap();
    for (file, found) in [(&script, Some("demo")), (&script[1..].to_vec(), None), (&Sample::program(MARKED), None)] {
        assert_eq!(family(&of(file, &of_scripts)), found, "{:?}", &file[..2]);
    }
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

//! Files that are made to mislead whoever reads them: ELF files with any value in any field, cut anywhere, of any noise,
//! and scripts. Nothing of it may panic, nor have more read than the limit allows. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use elf::abi::{DT_GNU_HASH, DT_HASH, DT_NEEDED, DT_NULL, DT_STRSZ, DT_STRTAB, DT_SYMTAB};
use elf::file::Class;
use proptest::prelude::*;

use super::content::tests::{asked, demo, limited};
use super::elf::sample::{Sample, Segment};
use super::{Content, ContentSays, Database};
use crate::event::Field;

/// What is read of headers besides the limit; see `content::read`.
const HEADERS: u64 = 1_677_721;
/// Values of a length or an offset that have broken other readers.
const VALUES: [u64; 14] = [
    0,
    1,
    7,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];
const BUILD_ID: &[u8] = b"0123456789abcdefghij";
const SHAPES: [(Class, bool); 4] =
    [(Class::ELF32, false), (Class::ELF32, true), (Class::ELF64, false), (Class::ELF64, true)];

/// A file that has all that is read: loaded code, a note, a dynamic section with its strings, Go's magic.
struct Good {
    file: Vec<u8>,
    /// Offset and size in bytes of each field of each header.
    fields: Vec<(usize, usize)>,
    /// Where the note begins, and where the dynamic section does.
    note: usize,
    dynamic: usize,
    word: usize,
}

fn good((class, big): (Class, bool)) -> Good {
    let wide = class == Class::ELF64;
    let (word, base) = (if wide { 8 } else { 4 }, 0x1000);
    let mut sample = Sample { class, big, ..Sample::default() };
    let at = Sample::body_at(class, 3) as usize;
    for length in [4, BUILD_ID.len() as u64, 3] {
        sample.body.extend(sample.number(length, 4));
    }
    sample.body.extend_from_slice(b"GNU\0");
    sample.body.extend_from_slice(BUILD_ID);
    let (dynamic, entries) = (at + sample.body.len(), 7);
    let strings = (dynamic + entries * 2 * word) as u64;
    let address = |offset: u64| base + offset;
    for (tag, value) in [
        (DT_NEEDED, 1),
        // Tables that lead to themselves, and to nothing: nobody asks for a symbol.
        (DT_HASH, address(dynamic as u64)),
        (DT_GNU_HASH, address(strings)),
        (DT_SYMTAB, 0),
        (DT_STRTAB, address(strings)),
        (DT_STRSZ, 11),
        (DT_NULL, 0),
    ] {
        for number in [tag.cast_unsigned(), value] {
            sample.body.extend(sample.number(number, word));
        }
    }
    sample.body.extend_from_slice(b"\0libc.so.6\0first mark of demo\0second mark of demo\0demo version 1.2\0");
    let at_magic = (at + sample.body.len()).next_multiple_of(16);
    sample.body.resize(at_magic - at, 0);
    sample.body.extend_from_slice(b"\xff Go buildinf:\x08\x02");
    sample.body.extend_from_slice(&[0; 100]);
    let size = (at + sample.body.len()) as u64;
    let segment = |kind, offset: usize, size| Segment {
        kind,
        flags: 7,
        offset: offset as u64,
        size,
        address: address(offset as u64),
        align: 4,
    };
    sample.segments = vec![
        segment(elf::abi::PT_LOAD, 0, size),
        segment(elf::abi::PT_NOTE, at, (dynamic - at) as u64),
        segment(elf::abi::PT_DYNAMIC, dynamic, (entries * 2 * word) as u64),
    ];
    // e_ident, then the fields of elf(5) in their order.
    let mut sizes = vec![1; 16];
    sizes.extend([2, 2, 4, word, word, word, 4, 2, 2, 2, 2, 2, 2]);
    for _ in &sample.segments {
        sizes.extend(if wide { [4, 4, 8, 8, 8, 8, 8, 8] } else { [4; 8] });
    }
    // The note's head, which stands first in the body; then the dynamic entries.
    let mut fields: Vec<(usize, usize)> = Vec::new();
    let mut offset = 0;
    for size in sizes {
        fields.push((offset, size));
        offset += size;
    }
    assert_eq!(offset, at);
    fields.extend([0, 4, 8, 12].map(|into| (at + into, 4)));
    fields.extend((0..2 * entries).map(|number| (dynamic + number * word, word)));
    Good { file: sample.file(), fields, note: at, dynamic, word }
}

impl Good {
    /// The file with another value in one place.
    fn with(&self, big: bool, at: usize, size: usize, value: u64) -> Vec<u8> {
        let mut file = self.file.clone();
        let number = Sample { big, ..Sample::default() }.number(value, size);
        file[at..at + size].copy_from_slice(&number);
        file
    }
}

/// Reads a file that is said to have `size` bytes, and fails if more is asked for than was promised.
fn bounded(file: &[u8], size: u64, limit: u64) -> Field<Content> {
    let (content, asked) = asked(file, size, limit);
    assert!(asked <= limit.min(size) + HEADERS, "{asked} bytes were asked for, of {size}, with a limit of {limit}");
    content
}

fn family(content: &Content) -> Option<&str> {
    content.recognised.as_ref().map(|recognition| recognition.family.as_str())
}

#[test]
fn the_good_file_has_all_that_the_hostile_ones_spoil() {
    for shape in SHAPES {
        let content = demo(&good(shape).file);
        assert_eq!(content.build_id.as_deref(), Some(BUILD_ID), "{shape:?}");
        assert_eq!((&content.needed[..], family(&content)), (&["libc.so.6".to_owned()][..], Some("demo")), "{shape:?}");
    }
}

#[test]
fn every_field_takes_every_value() {
    for shape in SHAPES {
        let good = good(shape);
        let size = good.file.len() as u64;
        for &(at, length) in &good.fields {
            for value in VALUES.into_iter().chain([size - 1, size, size + 1]) {
                let file = good.with(shape.1, at, length, value);
                for limit in [0, 100, size, 1 << 20] {
                    bounded(&file, size, limit).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_is_read_up_to_there() {
    for shape in SHAPES {
        let good = good(shape);
        let size = good.file.len() as u64;
        for cut in 0..good.file.len() {
            let content = bounded(&good.file[..cut], cut as u64, 1 << 20).unwrap();
            assert!(content.build_id.is_none() || cut >= good.dynamic, "{shape:?} {cut}");
            // Cut while it was read.
            bounded(&good.file[..cut], size, 1 << 20).unwrap_err();
        }
    }
}

#[test]
fn sections_are_not_asked_for_however_many_there_are() {
    for shape in SHAPES {
        let good = good(shape);
        let [offset, count, names] = match shape.0 {
            Class::ELF32 => [(32, 4), (48, 2), (50, 2)],
            Class::ELF64 => [(40, 8), (60, 2), (62, 2)],
        };
        for at in VALUES {
            let mut file = good.with(shape.1, offset.0, offset.1, at);
            for (field, value) in [(count, 0xffff), (names, 0xfffe)] {
                let number = Sample { big: shape.1, ..Sample::default() }.number(value, field.1);
                file[field.0..field.0 + field.1].copy_from_slice(&number);
            }
            let content = demo(&file);
            assert_eq!((family(&content), content.needed.len()), (Some("demo"), 1), "{shape:?} {at}");
            assert_eq!(content.build_id.as_deref(), Some(BUILD_ID));
        }
    }
}

#[test]
fn a_note_as_long_as_can_be_is_none() {
    for shape in SHAPES {
        let good = good(shape);
        for into in [0, 4] {
            let content = demo(&good.with(shape.1, good.note + into, 4, u64::from(u32::MAX)));
            assert_eq!((content.build_id.as_deref(), family(&content)), (None, Some("demo")), "{shape:?} {into}");
        }
    }
}

#[test]
fn tables_that_lead_to_themselves_are_not_followed() {
    for shape in SHAPES {
        let good = good(shape);
        // The string table is the dynamic section; then no table has an end.
        let own = 0x1000 + good.dynamic as u64;
        let content = demo(&good.with(shape.1, good.dynamic + 9 * good.word, good.word, own));
        assert!(content.needed.len() <= 1, "{shape:?} {:?}", content.needed);
        let mut endless = good.with(shape.1, good.dynamic + 12 * good.word, good.word, 1);
        let strings = good.dynamic + 14 * good.word;
        let end = endless.len();
        endless[strings..end].fill(b'a');
        assert_eq!(demo(&endless).needed, [""; 0], "{shape:?}: no terminator");
    }
}

#[test]
fn more_program_headers_than_a_kernel_takes_are_no_program() {
    for shape in SHAPES {
        let good = good(shape);
        let at = if shape.0 == Class::ELF32 { 44 } else { 56 };
        let mut file = good.with(shape.1, at, 2, 0xffff);
        file.resize(5 << 20, 0);
        assert!(!demo(&file).elf, "{shape:?}");
    }
}

#[test]
fn a_script_is_no_program_whatever_stands_in_its_lines() {
    let marks = b"first mark of demo second mark of demo";
    let database = Database::builtin().unwrap();
    for script in [
        &b"#!"[..],
        b"#!\0\0\0/usr/bin/gcc\n",
        b"#!/work/itself\n",
        b"#!\n\n",
        &[b"#!/bin/sh ", &vec![b'x'; 64 << 10][..], b"\n", marks].concat(),
        &[b"#!", &vec![0; 64 << 10][..], marks].concat(),
        &[b"#!", &vec![b'/'; 1 << 20][..]].concat(),
        &[b"#!/bin/sh\n", &good(SHAPES[2]).file[..]].concat(),
    ] {
        let content = bounded(script, script.len() as u64, 1 << 21).unwrap();
        assert_eq!(content, Content { sha256: content.sha256, script: true, ..Content::default() });
        assert_eq!(database.content_says(&content), ContentSays::Innocent);
        // As much of it as may be read tells nothing either.
        let cut = limited(script, 1);
        assert_eq!((cut.truncated, cut.elf, family(&cut)), (true, false, None));
    }
}

/// A number as headers have it: an edge, something near to what is there, or anything.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![proptest::sample::select(&VALUES[..]), 0..2000_u64, any::<u64>()]
}

fn segment() -> impl Strategy<Value = Segment> {
    let kinds = vec![elf::abi::PT_LOAD, elf::abi::PT_NOTE, elf::abi::PT_DYNAMIC, u32::MAX];
    let numbers = (number(), number(), number(), number());
    (proptest::sample::select(kinds), any::<u32>(), numbers)
        .prop_map(|(kind, flags, (offset, size, address, align))| Segment { kind, flags, offset, size, address, align })
}

/// No file of the failed cases is kept beside the sources: the case is printed.
fn settings(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings(2000))]

    #[test]
    fn a_good_file_changed_anywhere(
        shape in 0..4_usize,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..24),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        said in number(),
        limit in 0..4000_u64,
    ) {
        let mut file = good(SHAPES[shape]).file;
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len())));
        bounded(&file, file.len() as u64, limit).unwrap();
        let _ = bounded(&file, said, limit);
    }

    #[test]
    fn segments_of_any_kind_anywhere(
        shape in 0..4_usize,
        segments in proptest::collection::vec(segment(), 0..24),
        body in proptest::collection::vec(any::<u8>(), 0..600),
        said in number(),
        limit in 0..4000_u64,
    ) {
        let (class, big) = SHAPES[shape];
        let file = Sample { class, big, segments, body, ..Sample::default() }.file();
        bounded(&file, file.len() as u64, limit).unwrap();
        bounded(&file, file.len() as u64, 1 << 20).unwrap();
        let _ = bounded(&file, said, limit);
    }

    #[test]
    fn noise_behind_the_magic(noise in proptest::collection::vec(any::<u8>(), 0..4000), limit in 0..8000_u64) {
        let file = [b"\x7fELF", &noise[..]].concat();
        bounded(&file, file.len() as u64, limit).unwrap();
    }
}

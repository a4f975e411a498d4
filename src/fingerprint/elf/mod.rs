//! What an ELF file tells the kernel and the dynamic loader: which of its bytes are loaded, which of them are executed,
//! and where its notes and its dynamic section lie. Sections are for linkers and debuggers, may be stripped or lie, and
//! are never asked. Decoding is the `elf` crate's; the files here decide what is read, and how much.

pub(super) mod dynamic;
pub(super) mod go;
pub(super) mod notes;
#[cfg(test)]
mod readelf;
#[cfg(test)]
pub(super) mod sample;

use std::io;
use std::ops::Range;

use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;

/// The kernel executes no file whose program headers take more (load_elf_phdrs in fs/binfmt_elf.c).
const MAX_PROGRAM_HEADERS: usize = 65_536;
/// Ident and the longer of the two headers.
const HEADER_BYTES: usize = elf::abi::EI_NIDENT + elf::file::ELF64_EHDR_TAILSIZE;
/// The first bytes of each ELF file.
const MAGIC: &[u8] = b"\x7fELF";

/// Fills the buffer from an offset as far as the file goes, and says how far that was.
pub(super) type Read<'r> = dyn FnMut(&mut [u8], u64) -> io::Result<usize> + 'r;

/// A file's program headers, as far as they concern us.
#[derive(Debug)]
pub(super) struct Layout {
    endian: AnyEndian,
    class: Class,
    segments: Vec<ProgramHeader>,
}

/// `length` bytes from an offset, fewer where the file ends.
pub(super) fn part(read: &mut Read<'_>, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let got = read(&mut bytes, offset)?;
    bytes.truncate(got);
    Ok(bytes)
}

impl Layout {
    /// Reads the headers, at most 64 KiB: `None` where the file is no ELF file, or none that a kernel would execute.
    pub(super) fn read(read: &mut Read<'_>) -> io::Result<Option<Self>> {
        let bytes = part(read, 0, HEADER_BYTES)?;
        let Some(header) = file_header(&bytes).filter(|_| bytes.starts_with(MAGIC)) else { return Ok(None) };
        let entry = match header.class {
            Class::ELF32 => size_of::<elf::segment::Elf32_Phdr>(),
            Class::ELF64 => size_of::<elf::segment::Elf64_Phdr>(),
        };
        let length = entry * usize::from(header.e_phnum);
        if usize::from(header.e_phentsize) != entry || length > MAX_PROGRAM_HEADERS {
            return Ok(None);
        }
        let table = part(read, header.e_phoff, length)?;
        let wanted = [elf::abi::PT_LOAD, elf::abi::PT_NOTE, elf::abi::PT_DYNAMIC];
        let segments = ParsingTable::<_, ProgramHeader>::new(header.endianness, header.class, &table)
            .iter()
            .filter(|segment| wanted.contains(&segment.p_type))
            .collect();
        Ok(Some(Self { endian: header.endianness, class: header.class, segments }))
    }

    /// The file's bytes that are loaded, in a file of `size` bytes: ranges in order that neither overlap nor touch.
    pub(super) fn loaded(&self, size: u64) -> Vec<Range<u64>> {
        merged(self.loads(), size)
    }

    /// The same of those that may be executed.
    pub(super) fn executable(&self, size: u64) -> Vec<Range<u64>> {
        merged(self.loads().filter(|segment| segment.p_flags & elf::abi::PF_X != 0), size)
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == elf::abi::PT_LOAD)
    }

    /// Where in the file the byte lies that is loaded at an address, and how many follow it in its segment.
    fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        self.loads().find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr).filter(|&into| into < segment.p_filesz)?;
            Some((segment.p_offset.checked_add(into)?, segment.p_filesz - into))
        })
    }
}

fn file_header(bytes: &[u8]) -> Option<FileHeader<AnyEndian>> {
    let (ident, tail) = bytes.split_at_checked(elf::abi::EI_NIDENT)?;
    let ident = elf::file::parse_ident::<AnyEndian>(ident).ok()?;
    FileHeader::parse_tail(ident, tail).ok()
}

/// The segments' ranges in the file, cut at its end, sorted and joined: no byte stands in two of them.
fn merged<'s>(segments: impl Iterator<Item = &'s ProgramHeader>, size: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = segments
        .map(|s| s.p_offset.min(size)..s.p_offset.saturating_add(s.p_filesz).min(size))
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, kept| {
        let joined = next.start <= kept.end;
        if joined {
            kept.end = kept.end.max(next.end);
        }
        joined
    });
    ranges
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::single_range_in_vec_init)]

    use super::sample::{Sample, Segment, reader};
    use super::*;

    const PAST_END: u64 = u64::MAX - 7;

    fn layout(bytes: &[u8]) -> Option<Layout> {
        Layout::read(&mut reader(bytes)).unwrap()
    }

    #[test]
    fn ranges_are_cut_sorted_and_joined() {
        let load = |offset, size, flags| Segment { kind: elf::abi::PT_LOAD, flags, offset, size, address: 0, align: 4 };
        let (r, x) = (elf::abi::PF_R, elf::abi::PF_R | elf::abi::PF_X);
        for (segments, loaded, executable) in [
            (vec![], vec![], vec![]),
            (vec![load(0, 100, r), load(100, 50, x)], vec![0..150], vec![100..150]),
            (vec![load(500, 10, x), load(0, 100, x)], vec![0..100, 500..510], vec![0..100, 500..510]),
            (vec![load(0, 300, r), load(50, 100, x), load(60, 10, r)], vec![0..300], vec![50..150]),
            (vec![load(900, 5000, x)], vec![900..1000], vec![900..1000]),
            (vec![load(1000, 1, x), load(PAST_END, 100, x), load(5, 0, x)], vec![], vec![]),
            (vec![load(10, u64::MAX, x)], vec![10..1000], vec![10..1000]),
        ] {
            let file = Sample { segments, ..Sample::default() }.file();
            let layout = layout(&file).unwrap();
            assert_eq!((layout.loaded(1000), layout.executable(1000)), (loaded, executable));
        }
    }

    #[test]
    fn all_classes_byte_orders_and_machines_are_read() {
        for class in [Class::ELF32, Class::ELF64] {
            for big in [false, true] {
                for machine in [0, 8, 62, 0xffff] {
                    let load =
                        Segment { kind: elf::abi::PT_LOAD, flags: 5, offset: 8, size: 20, address: 0x400, align: 4 };
                    let file = Sample { class, big, machine, segments: vec![load], body: vec![] }.file();
                    let layout = layout(&file).unwrap();
                    assert_eq!(layout.loaded(1 << 20), [8..28], "{class:?} {big} {machine}");
                    assert_eq!(layout.offset_of(0x410), Some((24, 4)));
                    assert_eq!((layout.offset_of(0x3ff), layout.offset_of(0x414)), (None, None));
                }
            }
        }
    }

    #[test]
    fn what_no_kernel_executes_is_no_elf_file() {
        let good = Sample::default().file();
        for (at, value) in [(0, 0x7e), (3, b'G'), (4, 3), (5, 0), (54, 55), (57, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(layout(&bad).is_none(), "{at}");
        }
        assert!(layout(b"").is_none());
        assert!(layout(b"#!/bin/sh\n").is_none());
        assert!(layout(&good).is_some());
    }
}

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

/// The smallest page of any machine that Linux runs on.
pub(super) const LEAST_PAGE: u64 = 4096;

/// Fills the buffer from an offset as far as the file goes, and says how far that was.
pub(super) type Read<'r> = dyn FnMut(&mut [u8], u64) -> io::Result<usize> + 'r;

/// A file's program headers, as far as they concern us, in each way in which a kernel may read them: the first is that of
/// the longer class. No linker makes a file that can be read in both.
#[derive(Debug)]
pub(super) struct Layout {
    readings: Vec<Reading>,
}

/// One of them.
#[derive(Debug)]
struct Reading {
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
    /// Reads the headers, at most 128 KiB: `None` where the file is no ELF file, or none that a kernel would execute.
    ///
    /// What the first bytes say of class, byte order and version is not asked, for the kernel does not ask either: which
    /// of its loaders takes a file is told by the size of a program header (load_elf_phdrs in fs/binfmt_elf.c).
    pub(super) fn read(read: &mut Read<'_>) -> io::Result<Option<Self>> {
        let bytes = part(read, 0, HEADER_BYTES)?;
        let Some((_, tail)) = bytes.split_at_checked(elf::abi::EI_NIDENT).filter(|_| bytes.starts_with(MAGIC)) else {
            return Ok(None);
        };
        let mut readings = Vec::new();
        for header in [Class::ELF64, Class::ELF32].iter().filter_map(|class| file_header(*class, tail)) {
            readings.extend(Reading::read(read, &header)?);
        }
        Ok((!readings.is_empty()).then_some(Self { readings }))
    }

    /// The file's bytes that are loaded, in a file of `size` bytes: ranges in order that neither overlap nor touch. The
    /// kernel maps whole pages, of `page` bytes, however few of their bytes a header asks for (elf_map in
    /// fs/binfmt_elf.c).
    pub(super) fn loaded(&self, size: u64, page: u64) -> Vec<Range<u64>> {
        merged(self.loads().map(|segment| pages(segment, page)), size)
    }

    /// The same of those that may be executed.
    pub(super) fn executable(&self, size: u64, page: u64) -> Vec<Range<u64>> {
        merged(self.executed().map(|segment| pages(segment, page)), size)
    }

    /// Of those, what the headers ask for, to the byte: what a linker put there, whatever follows it in the file.
    pub(super) fn code(&self, size: u64) -> Vec<Range<u64>> {
        let exact = |segment: &ProgramHeader| segment.p_offset..segment.p_offset.saturating_add(segment.p_filesz);
        merged(self.executed().map(exact), size)
    }

    /// Whether the kernel starts a dynamic loader, in each way in which the file may be read.
    pub(super) fn has_interpreter(&self) -> bool {
        let names_one =
            |reading: &Reading| reading.segments.iter().any(|segment| segment.p_type == elf::abi::PT_INTERP);
        self.readings.iter().all(names_one)
    }

    fn executed(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.loads().filter(|segment| segment.p_flags & elf::abi::PF_X != 0)
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.readings.iter().flat_map(Reading::loads)
    }
}

impl Reading {
    /// `None` where the kernel would not take it.
    fn read(read: &mut Read<'_>, header: &FileHeader<AnyEndian>) -> io::Result<Option<Self>> {
        let length = usize::from(header.e_phentsize) * usize::from(header.e_phnum);
        if length == 0 || length > MAX_PROGRAM_HEADERS {
            return Ok(None);
        }
        let table = part(read, header.e_phoff, length)?;
        let wanted = [elf::abi::PT_LOAD, elf::abi::PT_NOTE, elf::abi::PT_DYNAMIC, elf::abi::PT_INTERP];
        let segments = ParsingTable::<_, ProgramHeader>::new(header.endianness, header.class, &table)
            .iter()
            .filter(|segment| wanted.contains(&segment.p_type))
            .collect();
        Ok(Some(Self { endian: header.endianness, class: header.class, segments }))
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == elf::abi::PT_LOAD)
    }

    /// Where in the file the byte lies that is loaded at an address, and how many follow it there and in the file.
    fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        let (offset, mut room) = self.place_of(address)?;
        for _ in 0..self.segments.len() {
            let next = address.checked_add(room).and_then(|next| self.place_of(next));
            match next.filter(|&(place, _)| offset.checked_add(room) == Some(place)) {
                Some((_, more)) => room = room.saturating_add(more),
                None => break,
            }
        }
        Some((offset, room))
    }

    /// The same within one segment. What it has for itself goes before what comes with its pages.
    fn place_of(&self, address: u64) -> Option<(u64, u64)> {
        let within = |segment: &ProgramHeader, range: Range<u64>| {
            let offset = address.wrapping_sub(segment.p_vaddr).wrapping_add(segment.p_offset);
            range.contains(&offset).then(|| (offset, range.end - offset))
        };
        let exact = |s: &ProgramHeader| within(s, s.p_offset..s.p_offset.saturating_add(s.p_filesz));
        self.loads().find_map(exact).or_else(|| self.loads().find_map(|s| within(s, pages(s, LEAST_PAGE))))
    }
}

/// The header as a kernel of one class reads it, in the byte order in which a program header has the right size.
fn file_header(class: Class, tail: &[u8]) -> Option<FileHeader<AnyEndian>> {
    let entry = match class {
        Class::ELF32 => size_of::<elf::segment::Elf32_Phdr>(),
        Class::ELF64 => size_of::<elf::segment::Elf64_Phdr>(),
    };
    [AnyEndian::Little, AnyEndian::Big]
        .into_iter()
        .filter_map(|endian| FileHeader::parse_tail((endian, class, 0, 0), tail).ok())
        .find(|header| usize::from(header.e_phentsize) == entry)
}

/// The whole pages that are mapped of a segment; one where it asks for nothing, but does not begin with a page.
fn pages(segment: &ProgramHeader, page: u64) -> Range<u64> {
    let (start, end) = (segment.p_offset, segment.p_offset.saturating_add(segment.p_filesz));
    start - start % page..end.checked_next_multiple_of(page).unwrap_or(u64::MAX)
}

/// Ranges of the file, cut at its end, sorted and joined: no byte stands in two of them.
fn merged(ranges: impl Iterator<Item = Range<u64>>, size: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> =
        ranges.map(|range| range.start.min(size)..range.end.min(size)).filter(|range| !range.is_empty()).collect();
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
            (vec![load(0, 100, r), load(100, 50, x)], vec![0..150], vec![100..150]),
            (vec![load(500, 10, x), load(0, 100, x)], vec![0..100, 500..510], vec![0..100, 500..510]),
            (vec![load(0, 300, r), load(50, 100, x), load(60, 10, r)], vec![0..300], vec![50..150]),
            (vec![load(900, 5000, x)], vec![900..1000], vec![900..1000]),
            (vec![load(1000, 1, x), load(PAST_END, 100, x), load(5, 0, x)], vec![], vec![]),
            (vec![load(10, u64::MAX, x)], vec![10..1000], vec![10..1000]),
        ] {
            let file = Sample { segments, ..Sample::default() }.file();
            let layout = layout(&file).unwrap();
            assert_eq!((layout.loaded(1000, 1), layout.executable(1000, 1)), (loaded, executable.clone()));
            assert_eq!(layout.code(1000), executable);
        }
    }

    #[test]
    fn whole_pages_are_loaded() {
        let load = |offset, size, flags| Segment { kind: elf::abi::PT_LOAD, flags, offset, size, address: 0, align: 4 };
        for (segments, loaded, executable) in [
            (vec![load(0, 1, 4), load(4096, 1, 5)], vec![0..8192], vec![4096..8192]),
            (vec![load(5000, 1, 5), load(9000, 0, 4)], vec![4096..10_000], vec![4096..8192]),
            // A page without a byte of its own, on kernels before 6.10.
            (vec![load(4097, 0, 5)], vec![4096..8192], vec![4096..8192]),
            (vec![load(4096, 0, 5)], vec![], vec![]),
            (vec![load(9999, u64::MAX, 5)], vec![8192..10_000], vec![8192..10_000]),
            (vec![load(PAST_END, 100, 5), load(10_000, 1, 5)], vec![8192..10_000], vec![8192..10_000]),
        ] {
            let layout = layout(&Sample { segments, ..Sample::default() }.file()).unwrap();
            assert_eq!((layout.loaded(10_000, 4096), layout.executable(10_000, 4096)), (loaded, executable));
        }
        let one = layout(&Sample { segments: vec![load(70_000, 1, 5)], ..Sample::default() }.file()).unwrap();
        assert_eq!((one.loaded(1 << 20, 65_536), one.code(1 << 20)), (vec![65_536..131_072], vec![70_000..70_001]));
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
                    assert_eq!(layout.loaded(1 << 20, 1), [8..28], "{class:?} {big} {machine}");
                    let [reading] = &layout.readings[..] else { unreachable!() };
                    assert_eq!((reading.class, reading.endian == AnyEndian::Big), (class, big));
                    assert_eq!(reading.place_of(0x410), Some((24, 4)));
                    assert_eq!(reading.offset_of(0x410), Some((24, 4072)), "with the rest of its page");
                    assert_eq!((reading.offset_of(0x3f7), reading.offset_of(0x13f8)), (None, None));
                    assert_eq!(
                        (reading.offset_of(0x3f8), reading.offset_of(0x414)),
                        (Some((0, 4096)), Some((28, 4068)))
                    );
                }
            }
        }
    }

    fn loaded_file() -> Sample {
        let load = Segment { kind: elf::abi::PT_LOAD, flags: 5, offset: 8, size: 20, address: 0x400, align: 4 };
        Sample { segments: vec![load], ..Sample::default() }
    }

    #[test]
    fn what_no_kernel_executes_is_no_elf_file() {
        let good = loaded_file().file();
        for (at, value) in [(0, 0x7e), (3, b'G'), (54, 55), (56, 0), (57, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(layout(&bad).is_none(), "{at}");
        }
        assert!(layout(b"").is_none());
        assert!(layout(b"#!/bin/sh\n").is_none());
        assert!(layout(&good).is_some());
    }

    /// The kernel asks for the magic number alone, of all that the identification says.
    #[test]
    fn what_the_identification_says_of_the_rest_is_not_asked() {
        for class in [Class::ELF32, Class::ELF64] {
            for big in [false, true] {
                let good = Sample { class, big, ..loaded_file() }.file();
                for at in 4..16 {
                    for value in [0, 1, 2, 3, 0xff] {
                        let mut odd = good.clone();
                        odd[at] = value;
                        assert_eq!(layout(&odd).unwrap().loaded(1 << 20, 1), [8..28], "{class:?} {big} {at} {value}");
                    }
                }
            }
        }
    }

    /// A file that both loaders of a kernel of 64 bits would take: the offset of sections, which no kernel asks for, is
    /// where the shorter header has the size and number of its program headers.
    #[test]
    fn a_file_that_can_be_read_in_two_ways_is_read_in_both() {
        let mut file = loaded_file().file();
        file[28..32].copy_from_slice(&200_u32.to_le_bytes());
        file[42..46].copy_from_slice(&[32, 0, 1, 0]);
        file.resize(200, 0);
        for value in [elf::abi::PT_LOAD, 100, 0, 0, 50, 50, 5, 4] {
            file.extend(value.to_le_bytes());
        }
        assert_eq!(layout(&file).unwrap().loaded(1000, 1), [8..28, 100..150]);
        // The longer one alone is refused.
        file[56..58].fill(0);
        assert_eq!(layout(&file).unwrap().loaded(1000, 1), [100..150]);
    }
}

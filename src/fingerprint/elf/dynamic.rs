//! The libraries that an ELF file needs (DT_NEEDED), found the way the dynamic loader does: PT_DYNAMIC, and from there by
//! addresses.

use std::io;

use elf::dynamic::Dyn;
use elf::parse::ParsingTable;

use super::{Layout, Read, Reading, part};

/// What is read of the dynamic section; a linker's takes less than a kilobyte.
const MAX_DYNAMIC_BYTES: usize = 65_536;
/// Libraries that are looked at; the most that a Debian compiler needs is 98.
const MAX_NEEDED: usize = 256;
/// No file name is longer (NAME_MAX in linux/limits.h).
const MAX_NAME: usize = 255;

impl Layout {
    /// The names in the order that they stand there; what lies outside of the string table is left out. At most 256 KiB
    /// are asked for.
    pub(in crate::fingerprint) fn needed(&self, read: &mut Read<'_>) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for reading in &self.readings {
            names.extend(reading.needed(read)?);
        }
        Ok(names)
    }
}

impl Reading {
    fn needed(&self, read: &mut Read<'_>) -> io::Result<Vec<String>> {
        // The loaders of glibc and musl take the last one, by its address, up to its end mark, and of each tag the last.
        let Some(segment) = self.segments.iter().rfind(|segment| segment.p_type == elf::abi::PT_DYNAMIC) else {
            return Ok(Vec::new());
        };
        let (offset, room) = self.offset_of(segment.p_vaddr).unwrap_or((segment.p_offset, segment.p_filesz));
        let length = usize::try_from(room).unwrap_or(MAX_DYNAMIC_BYTES).min(MAX_DYNAMIC_BYTES);
        let bytes = part(read, offset, length)?;
        let entries = || {
            let table = ParsingTable::<_, Dyn>::new(self.endian, self.class, &bytes);
            table.into_iter().take_while(|entry| entry.d_tag != elf::abi::DT_NULL)
        };
        let value = |tag| entries().filter(|entry| entry.d_tag == tag).last().map(|entry| entry.d_val());
        let Some((strings, in_segment)) = value(elf::abi::DT_STRTAB).and_then(|address| self.offset_of(address)) else {
            return Ok(Vec::new());
        };
        let size = value(elf::abi::DT_STRSZ).unwrap_or(u64::MAX).min(in_segment);
        let mut names = Vec::new();
        for entry in entries().filter(|entry| entry.d_tag == elf::abi::DT_NEEDED).take(MAX_NEEDED) {
            let at = entry.d_val();
            let Some(offset) = strings.checked_add(at).filter(|_| at < size) else { continue };
            let room = usize::try_from(size - at).unwrap_or(MAX_NAME + 1).min(MAX_NAME + 1);
            let bytes = part(read, offset, room)?;
            let end = bytes.iter().position(|&b| b == 0);
            if let Some(name) = end.and_then(|end| bytes.get(..end)).filter(|name| !name.is_empty()) {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use elf::file::Class;

    use super::super::sample::{Sample, Segment, reader};
    use super::*;
    use crate::noise::Random;

    const BASE: u64 = 0x1000;

    fn of(bytes: &[u8]) -> Vec<String> {
        let mut read = reader(bytes);
        Layout::read(&mut read).unwrap().map_or_else(Vec::new, |layout| layout.needed(&mut read).unwrap())
    }

    /// A file whose dynamic section stands first in the body, the string table behind it.
    fn elf_file(class: Class, big: bool, entries: &[(i64, u64)], strings: &[u8]) -> Vec<u8> {
        let mut sample = Sample { class, big, ..Sample::default() };
        let word = if class == Class::ELF64 { 8 } else { 4 };
        let at = Sample::body_at(class, 2);
        let length = (entries.len() + 1) as u64 * 2 * word as u64;
        for (tag, value) in entries.iter().chain(&[(elf::abi::DT_NULL, 0)]) {
            let value = if *tag == elf::abi::DT_STRTAB { BASE + at + length + value } else { *value };
            let bytes = [sample.number(tag.cast_unsigned(), word), sample.number(value, word)];
            sample.body.extend(bytes.concat());
        }
        sample.body.extend_from_slice(strings);
        let segment = |kind, offset, size| Segment { kind, flags: 4, offset, size, address: BASE + offset, align: 8 };
        let size = at + sample.body.len() as u64;
        sample.segments = vec![segment(elf::abi::PT_DYNAMIC, at, length), segment(elf::abi::PT_LOAD, 0, size)];
        sample.file()
    }

    #[test]
    fn names_are_found_in_all_classes_and_byte_orders() {
        use elf::abi::{DT_NEEDED, DT_STRSZ, DT_STRTAB};
        for class in [Class::ELF32, Class::ELF64] {
            for big in [false, true] {
                let entries = [(DT_NEEDED, 1), (DT_NEEDED, 11), (DT_STRTAB, 0), (DT_STRSZ, 19)];
                let file = elf_file(class, big, &entries, b"\0libm.so.6\0libc.so\0");
                assert_eq!(of(&file), ["libm.so.6", "libc.so"], "{class:?} {big}");
            }
        }
    }

    #[test]
    fn what_lies_outside_of_the_string_table_is_left_out() {
        use elf::abi::{DT_NEEDED, DT_STRSZ, DT_STRTAB};
        let strings = b"\0liba.so\0libb.so";
        let with = |entries: &[(i64, u64)]| of(&elf_file(Class::ELF64, false, entries, strings));
        // The last name has no terminator, in the table or in the file.
        assert_eq!(with(&[(DT_NEEDED, 1), (DT_NEEDED, 9), (DT_STRTAB, 0), (DT_STRSZ, 16)]), ["liba.so"]);
        assert_eq!(with(&[(DT_NEEDED, 1), (DT_NEEDED, 9), (DT_STRTAB, 0)]), ["liba.so"]);
        assert_eq!(with(&[(DT_NEEDED, 1), (DT_STRTAB, 0), (DT_STRSZ, 5)]), [""; 0]);
        assert_eq!(with(&[(DT_NEEDED, u64::MAX), (DT_NEEDED, 0), (DT_STRTAB, 0)]), [""; 0]);
        assert_eq!(with(&[(DT_NEEDED, 1), (DT_STRTAB, u64::MAX / 2)]), [""; 0]);
        assert_eq!(with(&[(DT_NEEDED, 1)]), [""; 0]);
        let many: Vec<_> = (0..3000).map(|_| (DT_NEEDED, 1)).chain([(DT_STRTAB, 0)]).collect();
        assert_eq!(with(&many).len(), MAX_NEEDED);
    }

    /// A table that lies on several pages, each a segment of one byte.
    #[test]
    fn names_are_found_on_any_of_the_pages() {
        use elf::abi::{DT_NEEDED, DT_STRTAB, PT_DYNAMIC, PT_LOAD};
        let at = Sample::body_at(Class::ELF64, 4);
        let mut sample = Sample::default();
        for (tag, value) in [(DT_NEEDED, 8000), (DT_STRTAB, BASE + at + 48), (0, 0)] {
            sample.body.extend([sample.number(tag.cast_unsigned(), 8), sample.number(value, 8)].concat());
        }
        sample.body.resize(48 + 8000, b'x');
        sample.body.extend_from_slice(b"liba.so\0");
        let segment = |kind, offset, size| Segment { kind, flags: 4, offset, size, address: BASE + offset, align: 8 };
        let page = |number: u64| segment(PT_LOAD, number * 4096, 1);
        sample.segments = vec![page(0), page(1), page(2), segment(PT_DYNAMIC, at, 48)];
        assert_eq!(of(&sample.file()), ["liba.so"]);
    }

    /// What the headers say besides is not asked by the loaders.
    #[test]
    fn the_last_dynamic_section_counts_by_its_address() {
        use elf::abi::{DT_NEEDED, DT_STRTAB, PT_DYNAMIC, PT_LOAD};
        let at = Sample::body_at(Class::ELF64, 3);
        let mut sample = Sample::default();
        let entries = [(DT_STRTAB, 5), (DT_NEEDED, 1), (DT_STRTAB, BASE + at + 64), (0, 0)];
        for (tag, value) in entries {
            sample.body.extend([sample.number(tag.cast_unsigned(), 8), sample.number(value, 8)].concat());
        }
        sample.body.extend_from_slice(b"\0liba.so\0");
        let segment = |kind, offset, size, address| Segment { kind, flags: 4, offset, size, address, align: 8 };
        let size = at + sample.body.len() as u64;
        sample.segments = vec![
            segment(PT_DYNAMIC, 0, 40, BASE),
            segment(PT_LOAD, 0, size, BASE),
            segment(PT_DYNAMIC, 7, 1, BASE + at),
        ];
        assert_eq!(of(&sample.file()), ["liba.so"]);
    }

    #[test]
    fn survives_hostile_files() {
        use elf::abi::{DT_NEEDED, DT_STRTAB};
        let good = elf_file(Class::ELF64, false, &[(DT_NEEDED, 1), (DT_STRTAB, 0)], b"\0liba.so\0");
        assert_eq!(of(&good), ["liba.so"]);
        for cut in 0..good.len() {
            assert_eq!(of(&good[..cut]), [""; 0], "cut at {cut}");
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                of(&bad);
            }
        }
        let mut random = Random::new(11);
        for _ in 0..2_000 {
            let mut bad = good.clone();
            for _ in 0..8 {
                let at = 32 + random.below(bad.len() - 32);
                bad[at] = random.byte();
            }
            of(&bad);
        }
    }
}

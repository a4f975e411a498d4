//! The GNU build-id of an ELF file, from its PT_NOTE segments: sections may be stripped, segments are what the kernel
//! loads. Decoding is the `elf` crate's; this file decides what is read, and how much.

use std::io;

use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader};
use elf::note::{Note, NoteIterator};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;

/// The kernel executes no file whose program headers take more (load_elf_phdrs in fs/binfmt_elf.c).
const MAX_PROGRAM_HEADERS: usize = 65_536;
/// Note segments that are looked at; a linker makes one or two.
const MAX_NOTE_SEGMENTS: usize = 8;
/// What is read of one note segment; a linker's are a few hundred bytes.
const MAX_NOTE_BYTES: usize = 65_536;
/// SHA-1 makes 20 bytes, nothing known makes more than 32.
const MAX_BUILD_ID: usize = 64;
/// Ident and the longer of the two headers.
const HEADER_BYTES: usize = elf::abi::EI_NIDENT + elf::file::ELF64_EHDR_TAILSIZE;

/// Reads the build-id: `None` where the file is no ELF file, is malformed, or has none. `read` fills the buffer from an
/// offset as far as the file goes and says how far that was; at most 0.6 MiB are asked for.
pub(super) fn build_id(mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    let mut read_part = |offset: u64, length: usize| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let got = read(&mut bytes, offset)?;
        bytes.truncate(got);
        Ok(bytes)
    };
    let Some(header) = file_header(&read_part(0, HEADER_BYTES)?) else { return Ok(None) };
    let entry = match header.class {
        Class::ELF32 => size_of::<elf::segment::Elf32_Phdr>(),
        Class::ELF64 => size_of::<elf::segment::Elf64_Phdr>(),
    };
    let length = entry * usize::from(header.e_phnum);
    if usize::from(header.e_phentsize) != entry || length > MAX_PROGRAM_HEADERS {
        return Ok(None);
    }
    let table = read_part(header.e_phoff, length)?;
    let segments = ParsingTable::<_, ProgramHeader>::new(header.endianness, header.class, &table);
    let notes = segments.iter().filter(|segment| segment.p_type == elf::abi::PT_NOTE).take(MAX_NOTE_SEGMENTS);
    for segment in notes {
        let length = usize::try_from(segment.p_filesz).unwrap_or(MAX_NOTE_BYTES).min(MAX_NOTE_BYTES);
        let bytes = read_part(segment.p_offset, length)?;
        // A segment aligned to 8 may hold notes padded to 4: ld.bfd of 2018 put both kinds into one.
        let padding: &[usize] = if segment.p_align == 8 { &[8, 4] } else { &[4] };
        if let Some(id) = padding.iter().find_map(|&p| in_notes(header.endianness, header.class, p, &bytes)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn file_header(bytes: &[u8]) -> Option<FileHeader<AnyEndian>> {
    let (ident, tail) = bytes.split_at_checked(elf::abi::EI_NIDENT)?;
    let ident = elf::file::parse_ident::<AnyEndian>(ident).ok()?;
    FileHeader::parse_tail(ident, tail).ok()
}

fn in_notes(endian: AnyEndian, class: Class, padding: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    NoteIterator::new(endian, class, padding, bytes).find_map(|note| match note {
        Note::GnuBuildId(id) if (1..=MAX_BUILD_ID).contains(&id.0.len()) => Some(id.0.to_vec()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::fingerprint::noise::Random;

    /// Reads from memory as a file would be read.
    fn of(bytes: &[u8]) -> Option<Vec<u8>> {
        build_id(|buffer, offset| {
            let rest = usize::try_from(offset).ok().and_then(|o| bytes.get(o..)).unwrap_or_default();
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        })
        .unwrap()
    }

    /// A minimal ELF file: header, one PT_LOAD, one PT_NOTE, the notes.
    fn elf_file(class: Class, big: bool, align: u64, notes: &[u8]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', if class == Class::ELF32 { 1 } else { 2 }, 1 + u8::from(big), 1, 0];
        file.resize(16, 0);
        let number = |file: &mut Vec<u8>, value: u64, size: usize| {
            let bytes = value.to_be_bytes();
            let mut bytes = bytes[8 - size..].to_vec();
            if !big {
                bytes.reverse();
            }
            file.extend(bytes);
        };
        let (word, header, entry) = if class == Class::ELF32 { (4, 52, 32) } else { (8, 64, 56) };
        for (value, size) in [(2, 2), (62, 2), (1, 4), (0, word), (header, word), (0, word), (0, 4), (header, 2)] {
            number(&mut file, value, size);
        }
        for value in [entry, 2, 0, 0, 0] {
            number(&mut file, value, 2);
        }
        let at = header + 2 * entry;
        for (kind, offset, size) in [(1, 0, at), (4, at, notes.len() as u64)] {
            number(&mut file, kind, 4);
            if class == Class::ELF64 {
                number(&mut file, 4, 4);
            }
            for value in [offset, 0, 0, size, size] {
                number(&mut file, value, word);
            }
            if class == Class::ELF32 {
                number(&mut file, 4, 4);
            }
            number(&mut file, align, word);
        }
        file.extend_from_slice(notes);
        file
    }

    fn note(big: bool, name: &[u8], kind: u32, desc: &[u8], align: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [name.len() as u32, desc.len() as u32, kind] {
            bytes.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
        }
        for part in [name, desc] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
        }
        bytes
    }

    const ID: [u8; 20] = *b"\x10\xf73c\xe9o\0d\xfcxu6\xa1\x07\xbb\xdc&\xcf\x80\x12";

    #[test]
    fn finds_it_in_all_classes_and_byte_orders() {
        for class in [Class::ELF32, Class::ELF64] {
            for big in [false, true] {
                let mut notes = note(big, b"GNU\0", 1, &[0; 16], 4);
                notes.extend(note(big, b"GNU\0", 3, &ID, 4));
                assert_eq!(of(&elf_file(class, big, 4, &notes)).as_deref(), Some(&ID[..]), "{class:?} {big}");
            }
        }
    }

    #[test]
    fn finds_it_behind_a_property_note_of_either_padding() {
        for align in [4, 8] {
            let mut notes = note(false, b"GNU\0", 5, &[0; 12], align);
            notes.extend(note(false, b"GNU\0", 3, &ID, align));
            assert_eq!(of(&elf_file(Class::ELF64, false, 8, &notes)).as_deref(), Some(&ID[..]), "{align}");
        }
    }

    #[test]
    fn finds_none_where_there_is_none() {
        for notes in [
            Vec::new(),
            note(false, b"GNU\0", 3, &[], 4),
            note(false, b"GNU\0", 3, &[1; 65], 4),
            note(false, b"Go\0\0", 4, b"abc/def", 4),
            vec![0xff; 64],
            vec![0; 4096],
        ] {
            assert_eq!(of(&elf_file(Class::ELF64, false, 4, &notes)), None, "{notes:x?}");
        }
        assert_eq!(of(b""), None);
        assert_eq!(of(b"#!/bin/sh\n"), None);
    }

    /// Cut at every byte, then with every byte of the headers hostile, then noise: no panic, and bounded reads.
    #[test]
    fn survives_hostile_files() {
        let good = elf_file(Class::ELF64, false, 4, &note(false, b"GNU\0", 3, &ID, 4));
        for cut in 0..good.len() {
            assert_eq!(of(&good[..cut]), None, "cut at {cut}");
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                of(&bad);
            }
        }
        let mut random = Random::new(7);
        for _ in 0..2_000 {
            let mut bad = good.clone();
            for _ in 0..8 {
                let at = random.below(bad.len());
                bad[at] = random.byte();
            }
            let mut asked = 0;
            build_id(|buffer, _| {
                asked += buffer.len();
                buffer.iter_mut().for_each(|b| *b = random.byte());
                let header = buffer.len().min(64);
                buffer[..header].copy_from_slice(&bad[..header]);
                Ok(buffer.len())
            })
            .unwrap();
            assert!(asked <= HEADER_BYTES + MAX_PROGRAM_HEADERS + MAX_NOTE_SEGMENTS * MAX_NOTE_BYTES);
        }
    }
}

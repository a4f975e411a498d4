//! The GNU build-id of an ELF file, from its PT_NOTE segments.

use std::io;

use elf::endian::AnyEndian;
use elf::file::Class;
use elf::note::{Note, NoteIterator};

use super::{Layout, Read, Reading, part};

/// Note segments that are looked at; a linker makes one or two.
const MAX_NOTE_SEGMENTS: usize = 8;
/// What is read of one note segment; a linker's are a few hundred bytes.
const MAX_NOTE_BYTES: usize = 65_536;
/// SHA-1 makes 20 bytes, nothing known makes more than 32.
pub(in crate::fingerprint) const MAX_BUILD_ID: usize = 64;

impl Layout {
    /// The build-id: `None` where there is none, or where the notes are malformed. At most 1 MiB is asked for.
    pub(in crate::fingerprint) fn build_id(&self, read: &mut Read<'_>) -> io::Result<Option<Vec<u8>>> {
        self.readings.iter().find_map(|reading| reading.build_id(read).transpose()).transpose()
    }
}

impl Reading {
    fn build_id(&self, read: &mut Read<'_>) -> io::Result<Option<Vec<u8>>> {
        let notes = self.segments.iter().filter(|segment| segment.p_type == elf::abi::PT_NOTE).take(MAX_NOTE_SEGMENTS);
        for segment in notes {
            let length = usize::try_from(segment.p_filesz).unwrap_or(MAX_NOTE_BYTES).min(MAX_NOTE_BYTES);
            let bytes = part(read, segment.p_offset, length)?;
            // A segment aligned to 8 may hold notes padded to 4: ld.bfd of 2018 put both kinds into one.
            let padding: &[usize] = if segment.p_align == 8 { &[8, 4] } else { &[4] };
            if let Some(id) = padding.iter().find_map(|&p| in_notes(self.endian, self.class, p, &bytes)) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
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

    use super::super::sample::{Sample, Segment, reader};
    use super::super::{HEADER_BYTES, MAX_PROGRAM_HEADERS};
    use super::*;
    use crate::noise::Random;

    fn of(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut read = reader(bytes);
        Layout::read(&mut read).unwrap().and_then(|layout| layout.build_id(&mut read).unwrap())
    }

    /// A minimal ELF file: header, one PT_LOAD, one PT_NOTE, the notes.
    fn elf_file(class: Class, big: bool, align: u64, notes: &[u8]) -> Vec<u8> {
        let at = Sample::body_at(class, 2);
        let segment = |kind, offset, size| Segment { kind, flags: 4, offset, size, address: 0, align };
        let segments = vec![segment(elf::abi::PT_LOAD, 0, at), segment(elf::abi::PT_NOTE, at, notes.len() as u64)];
        Sample { class, big, segments, body: notes.to_vec(), ..Sample::default() }.file()
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
            let mut read = |buffer: &mut [u8], _| {
                asked += buffer.len();
                buffer.iter_mut().for_each(|b| *b = random.byte());
                let header = buffer.len().min(64);
                buffer[..header].copy_from_slice(&bad[..header]);
                Ok(buffer.len())
            };
            if let Some(layout) = Layout::read(&mut read).unwrap() {
                layout.build_id(&mut read).unwrap();
            }
            assert!(asked <= HEADER_BYTES + 2 * (MAX_PROGRAM_HEADERS + MAX_NOTE_SEGMENTS * MAX_NOTE_BYTES));
        }
    }
}

//! Small ELF files made in memory. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io;

use elf::file::Class;

/// A file made of a header, program headers, and a body right after them.
#[derive(Debug, Clone)]
pub(in crate::fingerprint) struct Sample {
    pub(in crate::fingerprint) class: Class,
    pub(in crate::fingerprint) big: bool,
    pub(in crate::fingerprint) machine: u16,
    pub(in crate::fingerprint) segments: Vec<Segment>,
    pub(in crate::fingerprint) body: Vec<u8>,
}

/// One program header.
#[derive(Debug, Clone, Copy)]
pub(in crate::fingerprint) struct Segment {
    pub(in crate::fingerprint) kind: u32,
    pub(in crate::fingerprint) flags: u32,
    pub(in crate::fingerprint) offset: u64,
    pub(in crate::fingerprint) size: u64,
    pub(in crate::fingerprint) address: u64,
    pub(in crate::fingerprint) align: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { class: Class::ELF64, big: false, machine: 62, segments: Vec::new(), body: Vec::new() }
    }
}

impl Sample {
    /// Where the body of a file with so many segments begins.
    pub(in crate::fingerprint) fn body_at(class: Class, segments: usize) -> u64 {
        let (header, entry) = if class == Class::ELF32 { (52, 32) } else { (64, 56) };
        header + entry * segments as u64
    }

    /// A 64-bit file with one segment, loaded whole, readable and executable.
    pub(in crate::fingerprint) fn program(body: &[u8]) -> Vec<u8> {
        let size = Self::body_at(Class::ELF64, 1) + body.len() as u64;
        let load = Segment { kind: elf::abi::PT_LOAD, flags: 5, offset: 0, size, address: 0x40_0000, align: 4096 };
        Self { segments: vec![load], body: body.to_vec(), ..Self::default() }.file()
    }

    /// The bytes of a number, in this file's byte order.
    pub(in crate::fingerprint) fn number(&self, value: u64, size: usize) -> Vec<u8> {
        let mut bytes = value.to_be_bytes()[8 - size..].to_vec();
        if !self.big {
            bytes.reverse();
        }
        bytes
    }

    /// The file.
    pub(in crate::fingerprint) fn file(&self) -> Vec<u8> {
        let wide = self.class == Class::ELF64;
        let mut file = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(self.big), 1, 0];
        file.resize(16, 0);
        let (word, header, entry) = if wide { (8, 64, 56) } else { (4, 52, 32) };
        let machine = u64::from(self.machine);
        for (value, size) in [(2, 2), (machine, 2), (1, 4), (0, word), (header, word), (0, word), (0, 4), (header, 2)] {
            file.extend(self.number(value, size));
        }
        for value in [entry, self.segments.len() as u64, 0, 0, 0] {
            file.extend(self.number(value, 2));
        }
        for s in &self.segments {
            let mut fields = vec![(u64::from(s.kind), 4)];
            if wide {
                fields.push((u64::from(s.flags), 4));
            }
            fields.extend([s.offset, s.address, s.address, s.size, s.size].map(|value| (value, word)));
            if !wide {
                fields.push((u64::from(s.flags), 4));
            }
            fields.push((s.align, word));
            for (value, size) in fields {
                file.extend(self.number(value, size));
            }
        }
        file.extend_from_slice(&self.body);
        file
    }
}

/// Reads from memory as a file would be read.
pub(in crate::fingerprint) fn reader(bytes: &[u8]) -> impl FnMut(&mut [u8], u64) -> io::Result<usize> {
    move |buffer, offset| {
        let rest = usize::try_from(offset).ok().and_then(|o| bytes.get(o..)).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

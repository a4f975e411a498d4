//! What Go's linker writes into each program: the release of Go and the import path of its main package
//! (debug/buildinfo in Go's library). Where its magic stands, the search for marks tells.

use std::io;

use super::{Layout, Read, Reading, part};

/// Where the build info begins.
pub(in crate::fingerprint) const MAGIC: &[u8] = b"\xff Go buildinf:";
/// It is aligned to this.
const ALIGN: u64 = 16;
/// Magic, size of a pointer, flags, and two pointers or filling.
const HEADER: usize = 32;
/// Flag: the strings follow the header, each after its length as a varint (since Go 1.18).
const INLINE: u8 = 2;
/// Flag, of the older form: pointers are big-endian.
const BIG_ENDIAN: u8 = 1;
/// What is read of the strings: the path stands in the first line.
const MAX_STRING: usize = 1024;
/// What stands before the text that names path and modules (modload.ModInfoData).
const SENTINEL: usize = 16;

/// What the build info says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::fingerprint) struct BuildInfo {
    /// `go1.19.8`
    pub(in crate::fingerprint) version: String,
    /// `cmd/compile`; not before Go 1.16 for the toolchain's own programs.
    pub(in crate::fingerprint) path: Option<String>,
}

impl Layout {
    /// The build info of a program in which the magic stands at these offsets. At most 8 KiB are asked for an offset.
    pub(in crate::fingerprint) fn go_build_info(
        &self,
        read: &mut Read<'_>,
        magics: &[u64],
    ) -> io::Result<Option<BuildInfo>> {
        self.readings.iter().find_map(|reading| reading.go_build_info(read, magics).transpose()).transpose()
    }
}

impl Reading {
    /// Whether the program may write to what lies at an offset. The build info does; a program that looks for the build
    /// info of others has its magic among its constants.
    fn is_writable(&self, offset: u64) -> bool {
        let holds = |s: &elf::segment::ProgramHeader| offset.checked_sub(s.p_offset).is_some_and(|o| o < s.p_filesz);
        self.loads().any(|segment| segment.p_flags & elf::abi::PF_W != 0 && holds(segment))
    }

    fn go_build_info(&self, read: &mut Read<'_>, magics: &[u64]) -> io::Result<Option<BuildInfo>> {
        for writable in [true, false] {
            for &offset in magics.iter().filter(|&&o| o % ALIGN == 0 && self.is_writable(o) == writable) {
                if let Some(info) = self.go_build_info_at(read, offset)? {
                    return Ok(Some(info));
                }
            }
        }
        Ok(None)
    }

    fn go_build_info_at(&self, read: &mut Read<'_>, offset: u64) -> io::Result<Option<BuildInfo>> {
        let bytes = part(read, offset, HEADER + 2 * MAX_STRING)?;
        let Some((header, strings)) = bytes.split_at_checked(HEADER).filter(|(h, _)| h.starts_with(MAGIC)) else {
            return Ok(None);
        };
        let (Some(&pointer), Some(&flags)) = (header.get(14), header.get(15)) else { return Ok(None) };
        let (version, module) = if flags & INLINE != 0 {
            match inline(strings).and_then(|(version, rest)| Some((version.to_vec(), inline(rest)?.0.to_vec()))) {
                Some(both) => both,
                None => return Ok(None),
            }
        } else {
            let big = flags & BIG_ENDIAN != 0;
            let pointers = header.get(16..).unwrap_or_default();
            let size = usize::from(pointer);
            let [version, module] = [0, size].map(|at| pointers.get(at..).and_then(|p| number(p, size, big)));
            let (Some(version), Some(module)) = (version, module) else { return Ok(None) };
            (self.go_string(read, version, size, big)?, self.go_string(read, module, size, big)?)
        };
        let Some(version) = text(&version).filter(|v| v.starts_with("go") || v.starts_with("devel")) else {
            return Ok(None);
        };
        let path = module.get(SENTINEL..).and_then(|t| t.strip_prefix(b"path\t")).and_then(|t| {
            let end = t.iter().position(|&b| b == b'\n')?;
            text(t.get(..end)?)
        });
        Ok(Some(BuildInfo { version, path }))
    }

    /// The string whose header, a pointer and a length, is loaded at an address.
    fn go_string(&self, read: &mut Read<'_>, address: u64, size: usize, big: bool) -> io::Result<Vec<u8>> {
        let mut at = |address: u64, length: usize| match self.offset_of(address) {
            Some((offset, room)) => part(read, offset, length.min(usize::try_from(room).unwrap_or(length))),
            None => Ok(Vec::new()),
        };
        let header = at(address, 2 * size)?;
        let (Some(data), Some(length)) =
            (number(&header, size, big), header.get(size..).and_then(|rest| number(rest, size, big)))
        else {
            return Ok(Vec::new());
        };
        at(data, usize::try_from(length).unwrap_or(MAX_STRING).min(MAX_STRING))
    }
}

/// A string after its length, cut at [`MAX_STRING`], and what follows it: nothing, where it was cut.
fn inline(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let rest = bytes.get(index + 1..)?;
            return Some(rest.split_at(usize::try_from(length).ok()?.min(rest.len())));
        }
    }
    None
}

/// A pointer or length of 4 or 8 bytes.
fn number(bytes: &[u8], size: usize, big: bool) -> Option<u64> {
    let bytes = bytes.get(..size)?;
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(u64::from(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }));
    }
    let eight = <[u8; 8]>::try_from(bytes).ok()?;
    Some(if big { u64::from_be_bytes(eight) } else { u64::from_le_bytes(eight) })
}

/// Printable ASCII, and not too much of it.
fn text(bytes: &[u8]) -> Option<String> {
    let plain = !bytes.is_empty() && bytes.len() < MAX_STRING && bytes.iter().all(|b| matches!(b, b' '..=b'~'));
    plain.then(|| String::from_utf8_lossy(bytes).into_owned())
}

//! What of a process' memory is its program's own: /proc/PID/maps (fs/proc/task_mmu.c, show_map_vma). Pure.

use std::ops::Range;

use crate::event::basename;
use crate::host::DELETED;

/// A program in the memory of its process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MappedProgram {
    /// The readable ranges that belong to its file or to none, in order: a packed program writes itself there. What is not
    /// memory (`[vvar]`, `[vsyscall]`) is left out.
    pub ranges: Vec<Range<u64>>,
    /// Bytes of these that are executed and not as they lie in its file.
    pub written_code: u64,
    /// The names of the other files that are mapped, once each: its libraries.
    pub libraries: Vec<String>,
}

impl MappedProgram {
    /// Of the program `exe`, from the bytes of /proc/PID/maps; a malformed line ends them.
    pub fn parse(maps: &[u8], exe: &[u8]) -> Self {
        let mut image = Self::default();
        for mapping in maps.split(|b| *b == b'\n').map_while(line) {
            if mapping.is_own(exe) {
                let is_written = mapping.writable || mapping.name() != exe;
                image.written_code += if mapping.executable && is_written { mapping.bytes() } else { 0 };
                image.ranges.push(mapping.range);
            } else if let Some(name) = mapping.file() {
                let name = String::from_utf8_lossy(name).into_owned();
                if !image.libraries.contains(&name) {
                    image.libraries.push(name);
                }
            }
        }
        image
    }
}

struct Mapping<'m> {
    range: Range<u64>,
    readable: bool,
    writable: bool,
    executable: bool,
    path: &'m [u8],
}

impl Mapping<'_> {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn name(&self) -> &[u8] {
        self.path.strip_suffix(DELETED).unwrap_or(self.path)
    }

    fn is_own(&self, exe: &[u8]) -> bool {
        let name = self.name();
        let nameless = name.is_empty() || name == b"[heap]" || name.starts_with(b"/memfd:");
        self.readable && (nameless || name == exe)
    }

    fn file(&self) -> Option<&[u8]> {
        self.path.starts_with(b"/").then(|| basename(self.name()))
    }
}

/// `start-end perms offset dev inode path`, the path after blanks, and empty where there is none.
fn line(text: &[u8]) -> Option<Mapping<'_>> {
    let mut fields = text.splitn(6, |b| *b == b' ');
    let (range, permissions) = (std::str::from_utf8(fields.next()?).ok()?, fields.next()?);
    let (start, end) = range.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let range = number(start)?..number(end)?;
    let path = fields.nth(3).unwrap_or_default().trim_ascii_start();
    let is = |at: usize, letter: u8| permissions.get(at) == Some(&letter);
    let (readable, writable, executable) = (is(0, b'r'), is(1, b'w'), is(2, b'x'));
    (range.start < range.end).then_some(Mapping { range, readable, writable, executable, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_memory() {
        let maps = b"\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a b\n\
00651000-00652000 rw-p 00051000 08:02 173521      /usr/bin/a b (deleted)\n\
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n\
00e24000-011f7000 ---p 00000000 00:00 0 \n\
7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n\
7f0000002000-7f0000003000 r--p 00000000 08:02 135522 /usr/lib/libc.so.6\n\
7f0000004000-7f0000005000 r-xp 00000000 00:01 12  /memfd:upx (deleted)\n\
7fffb2c0d000-7fffb2c2e000 r--p 00000000 00:00 0   [vvar]\n\
nonsense\n\
7fffb2d48000-7fffb2d49000 r-xp 00000000 00:00 0 \n";
        let image = MappedProgram::parse(maps, b"/usr/bin/a b");
        assert_eq!(
            image.ranges.iter().map(|r| r.start).collect::<Vec<_>>(),
            [0x0040_0000, 0x0065_1000, 0x00e0_3000, 0x7f00_0000_0000, 0x7f00_0000_4000]
        );
        assert_eq!((image.written_code, image.libraries), (0x2000, vec!["libc.so.6".to_owned()]));
        assert_eq!(MappedProgram::parse(b"9-8 r--p 0 0 0 \n", b""), MappedProgram::default(), "backwards");
        let in_place = MappedProgram::parse(b"1000-5000 rwxp 0 08:02 7 /a\n5000-6000 r-xp 4000 08:02 7 /a\n", b"/a");
        assert_eq!(in_place.written_code, 0x4000);
    }
}

//! What of a process' memory is its program's own: /proc/PID/maps (fs/proc/task_mmu.c, show_map_vma). Pure.

use std::ops::Range;

/// Mappings beyond this are not looked at: a program has some dozens.
const MAPPINGS: usize = 1024;

/// The readable ranges of memory that belong to the program `exe` or to no file, in order: a packed program writes itself
/// there. Libraries and what is not memory (`[vvar]`, `[vsyscall]`) are left out. A malformed line ends the list.
pub fn own_ranges(maps: &[u8], exe: &[u8]) -> Vec<Range<u64>> {
    maps.split(|b| *b == b'\n').map_while(line).filter(|m| m.is_own(exe)).map(|m| m.range).take(MAPPINGS).collect()
}

struct Mapping<'m> {
    range: Range<u64>,
    readable: bool,
    path: &'m [u8],
}

impl Mapping<'_> {
    fn is_own(&self, exe: &[u8]) -> bool {
        let name = self.path.strip_suffix(b" (deleted)").unwrap_or(self.path);
        let nameless = name.is_empty() || name == b"[heap]" || name.starts_with(b"/memfd:");
        self.readable && (nameless || name == exe)
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
    (range.start < range.end).then_some(Mapping { range, readable: permissions.first() == Some(&b'r'), path })
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
        let own = own_ranges(maps, b"/usr/bin/a b");
        assert_eq!(
            own.iter().map(|r| r.start).collect::<Vec<_>>(),
            [0x0040_0000, 0x0065_1000, 0x00e0_3000, 0x7f00_0000_0000, 0x7f00_0000_4000]
        );
        assert!(own_ranges(b"9-8 r--p 0 0 0 \n", b"").is_empty(), "backwards");
    }
}

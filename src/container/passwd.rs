//! A user's name as the container knows it: its own /etc/passwd, and the map of its user namespace.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::event::{Field, Missing};
use crate::host::rooted;

const PASSWD: usize = 256 << 10;
/// Longer names are no names (useradd(8) allows 32).
const NAME: usize = 64;

/// The name of `uid` in the /etc/passwd inside `root`.
///
/// # Errors
/// `Absent` where it has none there; else why the file cannot be read.
pub fn lookup(root: BorrowedFd<'_>, uid: u32) -> Field<String> {
    let passwd = rooted::read(root, Path::new("etc/passwd"), PASSWD)?;
    user_name(&passwd, uid).ok_or(Missing::Absent)
}

/// The name of `uid` in a passwd file (passwd(5)).
pub fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next().filter(|n| (1..=NAME).contains(&n.len()))?;
        let number = std::str::from_utf8(fields.nth(1)?).ok()?;
        (number.parse() == Ok(uid)).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

/// The uid inside a user namespace of the host's `uid`, by /proc/PID/uid_map (user_namespaces(7)).
pub fn map_uid(uid_map: &[u8], uid: u32) -> Option<u32> {
    let text = std::str::from_utf8(uid_map).ok()?;
    text.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|w| w.parse::<u32>().ok());
        let (inside, outside, length) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = uid.checked_sub(outside).filter(|offset| *offset < length)?;
        inside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let file =
            b"root:x:0:0:root:/root:/bin/sh\nbad line\n:x:5:5\nd\xffb:x:33:33::/:\napp:x:1000:1000\napp2:x:1000:1\n";
        assert_eq!(user_name(file, 0).as_deref(), Some("root"));
        assert_eq!(user_name(file, 1000).as_deref(), Some("app"));
        assert_eq!(user_name(file, 33).as_deref(), Some("d\u{fffd}b"));
        assert_eq!(user_name(file, 5), None);
        assert_eq!(user_name(b"", 0), None);
    }

    #[test]
    fn maps_are_followed() {
        let map = b"         0     100000      65536\n     65536 1000 1\n";
        assert_eq!(map_uid(map, 100_005), Some(5));
        assert_eq!(map_uid(map, 1000), Some(65536));
        assert_eq!(map_uid(map, 7), None);
        assert_eq!(map_uid(b"0 0 4294967295", 7), Some(7));
        assert_eq!(map_uid(b"x y z\n\xff", 7), None);
        assert_eq!(map_uid(b"4294967295 0 10", 5), None);
    }
}

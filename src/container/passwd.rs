//! Names of users as a container's own /etc/passwd has them, and user ids as its user namespace shows them.
//! Pure: reading them is a worker's affair.

/// Bytes of a user's name; useradd(8) allows 256.
const NAME_LIMIT: usize = 256;

/// The first name that passwd(5) gives to `uid`. Bytes that are not UTF-8 become U+FFFD; a name that is empty or longer than
/// 256 bytes does not count, nor do NIS' lines.
pub fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        let usable = (1..=NAME_LIMIT).contains(&name.len()) && !matches!(name.first(), Some(b'+' | b'-' | b'#'));
        (usable && number(id)? == u64::from(uid)).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

/// The user id inside a user namespace that the host's `host_uid` is mapped from, by the bytes of /proc/PID/uid_map as a
/// process of the initial user namespace reads it: lines of first id inside, first id outside, length
/// (user_namespaces(7)).
pub fn map_uid(uid_map: &[u8], host_uid: u32) -> Option<u32> {
    uid_map.split(|b| *b == b'\n').find_map(|line| {
        let mut numbers = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).map(number);
        let (inside, outside, length) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = u64::from(host_uid).checked_sub(outside).filter(|offset| *offset < length)?;
        u32::try_from(inside.checked_add(offset)?).ok()
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    if digits.first().is_some_and(u8::is_ascii_digit) { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_of_users() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\n\
            # comment:x:5:\n\
            +nis:x:6:\n\
            :x:7:7::/:\n\
            broken\n\
            b:x\n\
            www-data:x:33:33:www:/var/www:/bin/sh\n\
            second:x:33:33::/:\n\
            b\xffd:x:40:40::/:\n\
            e\x1bsc:x:41:41::/:\n\
            signed:x:+42:42::/:\n\
            huge:x:99999999999999999999:0::/:\n\
            max:x:4294967295:0::/:";
        let table: &[(u32, Option<&str>)] = &[
            (0, Some("root")),
            (5, None),
            (6, None),
            (7, None),
            (33, Some("www-data")),
            (40, Some("b\u{fffd}d")),
            (41, Some("e\x1bsc")),
            (42, None),
            (1000, None),
            (u32::MAX, Some("max")),
        ];
        for (uid, expected) in table {
            assert_eq!(user_name(passwd, *uid).as_deref(), *expected, "{uid}");
        }
        let long = format!("{}:x:1:1::/:\n", "n".repeat(257));
        assert_eq!(user_name(long.as_bytes(), 1), None);
        assert_eq!(user_name(b"", 0), None);
        assert_eq!(user_name(&[b':'; 4096], 0), None);
    }

    #[test]
    fn our_own_passwd_file() {
        let passwd = std::fs::read("/etc/passwd").unwrap();
        assert_eq!(user_name(&passwd, 0).as_deref(), Some("root"));
    }

    #[test]
    fn ids_in_user_namespaces() {
        let whole = b"         0          0 4294967295\n";
        assert_eq!(map_uid(whole, 0), Some(0));
        assert_eq!(map_uid(whole, 4_294_967_294), Some(4_294_967_294));
        assert_eq!(map_uid(whole, u32::MAX), None);
        let rootless = b"         0       1000          1\n         1     100000      65536\n";
        let table =
            [(1000, Some(0)), (100_000, Some(1)), (165_535, Some(65_536)), (165_536, None), (0, None), (999, None)];
        for (host, expected) in table {
            assert_eq!(map_uid(rootless, host), expected, "{host}");
        }
        for broken in
            [&b""[..], b"0 0", b"a b c", b"-1 0 10", b"0 0 -1", b"4294967295 0 10", b"18446744073709551615 0 9"]
        {
            assert_eq!(map_uid(broken, 5), None, "{broken:?}");
        }
        assert_eq!(map_uid(b"garbage\n0 0 10\n", 5), Some(5));
        assert_eq!(map_uid(&std::fs::read("/proc/self/uid_map").unwrap(), 0), Some(0), "our own");
    }
}

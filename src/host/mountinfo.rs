//! The lines of /proc/PID/mountinfo (proc(5), Documentation/filesystems/proc.rst 3.5). Pure.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};

/// One mount, as one process' namespace shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Used again as soon as the mount is gone.
    pub id: u64,
    /// The mount on which it is mounted.
    pub parent: u64,
    /// `st_dev` of its files, as makedev(3) packs it. Also used again at once where it is anonymous (major 0).
    pub dev: u64,
    /// The directory of the filesystem that is mounted.
    pub root: Vec<u8>,
    /// Where, as the reader's root directory shows it.
    pub point: Vec<u8>,
    /// Its own options forbid execution.
    pub noexec: bool,
    /// `overlay`, `ext4`, `fuse.sshfs`, ...
    pub fs_type: Vec<u8>,
    /// The super block's options: `lowerdir=...,upperdir=...` of an overlay.
    pub options: Vec<u8>,
}

/// What tells a mount that stays from one that took its place: numbers are used again.
pub type Place = (u64, u64, Vec<u8>);

/// The device of a mount's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// As the table has it.
    pub number: u64,
    /// Whether `st_dev` is the same: btrfs gives one to each subvolume, and overlayfs to what lies on another filesystem.
    pub is_files: bool,
}

impl Mount {
    /// The device of its files.
    pub fn device(&self) -> Device {
        let is_files = !matches!(self.fs_type.as_slice(), b"overlay" | b"btrfs" | b"bcachefs");
        Device { number: self.dev, is_files }
    }

    /// Its place.
    pub fn place(&self) -> Place {
        (self.id, self.dev, self.point.clone())
    }

    /// An option of the super block, unescaped.
    pub fn option(&self, name: &[u8]) -> Option<Vec<u8>> {
        split_options(&self.options)
            .find_map(|option| option.strip_prefix(name)?.strip_prefix(b"=").map(unescape_backslash))
    }

    /// Whether a server that somebody else controls answers for its files, or may never answer.
    pub fn may_hang(&self) -> bool {
        const REMOTE: [&[u8]; 21] = [
            b"9p",
            b"afs",
            b"beegfs",
            b"ceph",
            b"cifs",
            b"coda",
            // It lies over another one, which may be any of these.
            b"ecryptfs",
            b"gfs2",
            b"gpfs",
            b"lustre",
            b"ncpfs",
            b"nfs",
            b"nfs4",
            b"ocfs2",
            b"orangefs",
            b"panfs",
            b"smb3",
            b"smbfs",
            b"vboxsf",
            b"virtiofs",
            b"vmhgfs",
        ];
        // A look at the path of a mount that autofs makes waits for the mount.
        REMOTE.contains(&self.fs_type.as_slice()) || self.fs_type.starts_with(b"fuse") || self.fs_type == b"autofs"
    }

    /// Whether other filesystems answer for its files, of which one may hang.
    pub fn is_overlay(&self) -> bool {
        self.fs_type == b"overlay"
    }

    /// Whether anything can be executed from it: neither forbidden, nor a filesystem that holds no programs.
    pub fn is_executable(&self) -> bool {
        const NO_FILES: [&[u8]; 21] = [
            b"autofs",
            b"binfmt_misc",
            b"bpf",
            b"cgroup",
            b"cgroup2",
            b"configfs",
            b"cpuset",
            b"debugfs",
            b"devpts",
            b"efivarfs",
            b"fusectl",
            b"hugetlbfs",
            b"mqueue",
            b"nsfs",
            b"proc",
            b"pstore",
            b"rpc_pipefs",
            b"securityfs",
            b"selinuxfs",
            b"sysfs",
            b"tracefs",
        ];
        !self.noexec && !NO_FILES.contains(&self.fs_type.as_slice())
    }
}

/// The numbers of mounts whose path cannot be walked without asking a server: those that may hang, and all below them.
pub fn hanging(all: &[impl Borrow<Mount>]) -> HashSet<u64> {
    let all = all.iter().map(Borrow::borrow);
    let mut below: HashMap<u64, Vec<u64>> = HashMap::new();
    for mount in all.clone() {
        below.entry(mount.parent).or_default().push(mount.id);
    }
    let mut hanging = HashSet::new();
    let mut found: Vec<u64> = all.filter(|m: &&Mount| m.may_hang()).map(|m| m.id).collect();
    while let Some(id) = found.pop() {
        if hanging.insert(id) {
            found.extend(below.remove(&id).unwrap_or_default());
        }
    }
    hanging
}

/// Where the mounts of these numbers are.
pub fn points(all: &[impl Borrow<Mount>], numbers: &HashSet<u64>) -> Vec<Vec<u8>> {
    let those = all.iter().map(Borrow::borrow).filter(|mount: &&Mount| numbers.contains(&mount.id));
    those.map(|mount| mount.point.clone()).collect()
}

/// The numbers of mounts over whose whole another is mounted: no path leads to them.
pub fn hidden(all: &[impl Borrow<Mount>]) -> HashSet<u64> {
    let all = all.iter().map(Borrow::borrow);
    let points: HashMap<u64, &[u8]> = all.clone().map(|mount: &Mount| (mount.id, mount.point.as_slice())).collect();
    let over = all.filter(|mount| points.get(&mount.parent) == Some(&mount.point.as_slice()));
    over.map(|mount| mount.parent).collect()
}

/// Whether the root directory of who sees `own` is no mount point: its mount, of this number, is none of those that his
/// namespace `shows`. A table leaves out what no path from the root directory leads to (fs/proc_namespace.c,
/// `show_mountinfo`), and that mount's own place is none. Before 3.15, without a number, what is mounted at `/` has to do.
pub fn is_root_unseen(number: Option<u64>, own: &[Mount], shows: &HashSet<u64>) -> bool {
    number.map_or_else(|| !own.iter().any(|mount| mount.point == b"/"), |number| !shows.contains(&number))
}

/// All mounts; a line that is not one is left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let mut next = || fields.next();
    let id = number(next()?)?;
    let parent = number(next()?)?;
    let device = next()?;
    let colon = device.iter().position(|b| *b == b':')?;
    let (major, minor) = (number(device.get(..colon)?)?, number(device.get(colon + 1..)?)?);
    let (root, point, own) = (next()?, next()?, next()?);
    // Optional fields end at the separator.
    while next()? != b"-" {}
    let (fs_type, _source, options) = (next()?, next()?, next().unwrap_or_default());
    let dev = libc::makedev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    Some(Mount {
        id,
        parent,
        dev,
        root: unescape(root),
        point: unescape(point),
        noexec: own.split(|b| *b == b',').any(|option| option == b"noexec"),
        fs_type: unescape(fs_type),
        options: unescape(options),
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `\040` for a space and so on (fs/seq_file.c, `mangle_path`).
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let octal = after
            .first_chunk::<3>()
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                plain.push(u8::try_from(value & 0xff).unwrap_or(0));
                rest = after.get(3..).unwrap_or_default();
            }
            None => plain.push(*first),
        }
    }
    plain
}

/// Overlayfs shows a comma or a backslash in a path with a backslash before it (fs/overlayfs/params.c).
fn split_options(options: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut escaped = false;
    options.split(move |b| {
        let separates = *b == b',' && !escaped;
        escaped = *b == b'\\' && !escaped;
        separates
    })
}

fn unescape_backslash(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    plain
}

/// The directories of a list such as `lowerdir`; a colon within one has a backslash before it, which is kept here and
/// taken away by the caller's [`Mount::option`] for all others.
pub fn lower_directories(mount: &Mount) -> Vec<Vec<u8>> {
    // Linux 6.5 and newer show each layer for itself where they were given so: `lowerdir+=`.
    let single: Vec<Vec<u8>> = split_options(&mount.options)
        .filter_map(|option| option.strip_prefix(b"lowerdir+=").map(unescape_backslash))
        .collect();
    if !single.is_empty() {
        return single;
    }
    let Some(list) = split_options(&mount.options).find_map(|option| option.strip_prefix(b"lowerdir=")) else {
        return Vec::new();
    };
    let mut escaped = false;
    let parts = list.split(move |b| {
        let separates = *b == b':' && !escaped;
        escaped = *b == b'\\' && !escaped;
        separates
    });
    // `a::b` parts the layers from those that hold data alone.
    parts.filter(|part| !part.is_empty()).map(unescape_backslash).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_overlay_of_docker() {
        let text = b"46 52 0:39 / /data/overlay2/dbee/merged rw,relatime shared:2 - overlay overlay rw,lowerdir=/data/overlay2/l/AJ:/data/overlay2/l/ZN,upperdir=/data/overlay2/dbee/diff,workdir=/data/overlay2/dbee/work\n";
        let all = parse(text);
        let [mount] = all.as_slice() else { unreachable!("{all:?}") };
        assert_eq!((mount.id, mount.dev), (46, libc::makedev(0, 39)));
        assert_eq!(mount.point, b"/data/overlay2/dbee/merged");
        assert_eq!(mount.fs_type, b"overlay");
        assert_eq!(mount.option(b"upperdir").unwrap(), b"/data/overlay2/dbee/diff");
        assert_eq!(mount.option(b"upper"), None);
        assert_eq!(lower_directories(mount), [b"/data/overlay2/l/AJ".to_vec(), b"/data/overlay2/l/ZN".to_vec()]);
        assert!(!mount.noexec && !mount.may_hang());
    }

    #[test]
    fn every_other_kind_of_line() {
        let text = b"36 35 98:0 /mnt1 /a\\040b\\134c rw,noexec,nosuid master:1 propagate_from:2 - fuse.sshfs x@y: rw\n\
            37 35 0:4 net:[4026532181] /run/netns/x rw - nsfs nsfs rw\n\
            38 35 259:1048575 / /big rw unbindable - ext4 /dev/nvme0n1p1\n\
            nonsense\n39 35 0:5 / /no-separator rw\n40 x 0:x / / rw - a b c\n\n";
        let all = parse(text);
        let points: Vec<&[u8]> = all.iter().map(|m| m.point.as_slice()).collect();
        assert_eq!(points, [&b"/a b\\c"[..], b"/run/netns/x", b"/big"]);
        assert!(all.first().unwrap().noexec && all.first().unwrap().may_hang());
        assert_eq!(all.last().unwrap().dev, libc::makedev(259, 1_048_575));
        assert_eq!(all.last().unwrap().options, b"");
    }

    #[test]
    fn escapes_within_overlay_options() {
        // A layer `/a,b:c` and a layer `/d\e`, as overlayfs shows them and mountinfo escapes them once more.
        let text =
            br"1 0 0:9 / /m rw - overlay overlay rw,lowerdir=/a\134,b\134:c:/d\134\134e::/data,upperdir=/u\134,v";
        let all = parse(text);
        let mount = all.first().unwrap();
        assert_eq!(lower_directories(mount), [b"/a,b:c".to_vec(), br"/d\e".to_vec(), b"/data".to_vec()]);
        assert_eq!(mount.option(b"upperdir").unwrap(), b"/u,v");
        let text = b"1 0 0:9 / /m rw - overlay overlay rw,lowerdir+=/a,lowerdir+=/b,upperdir=/u";
        assert_eq!(lower_directories(parse(text).first().unwrap()), [b"/a".to_vec(), b"/b".to_vec()]);
    }

    #[test]
    fn what_lies_below_a_server_hangs_with_it() {
        let text = b"1 0 8:1 / / rw - ext4 d rw\n5 4 0:6 / /far/a/b rw - tmpfs t rw\n2 1 0:4 / /far rw - nfs4 s rw\n\
            4 2 0:5 / /far/a rw - tmpfs t rw\n6 1 0:7 / /near rw - tmpfs t rw\n7 7 0:8 / /odd rw - tmpfs t rw\n";
        assert_eq!(hanging(&parse(text)), HashSet::from([2, 4, 5]));
        assert_eq!(hanging(&parse(b"7 8 0:8 / /a rw - tmpfs t rw\n8 7 0:8 / /b rw - tmpfs t rw\n")), HashSet::new());
    }

    #[test]
    fn what_another_is_mounted_over_is_hidden() {
        let text = b"1 0 8:1 / / rw - ext4 d rw\n2 1 0:4 / /a rw - tmpfs t rw\n3 2 0:5 / /a rw - tmpfs t rw\n\
            4 3 0:6 / /a/b rw - tmpfs t rw\n5 1 0:7 / /a/b rw - tmpfs t rw\n";
        assert_eq!(hidden(&parse(text)), HashSet::from([2]));
    }

    #[test]
    fn a_root_directory_that_is_no_mount_point() {
        let unseen = |number, tables: &[&[u8]]| {
            let tables: Vec<Vec<Mount>> = tables.iter().map(|text| parse(text)).collect();
            let shows = tables.iter().flatten().map(|mount| mount.id).collect();
            is_root_unseen(number, tables.first().unwrap(), &shows)
        };
        let container = b"7 3 0:9 / / rw - overlay o rw\n9 7 0:6 / /proc rw - proc p rw\n";
        let below = b"9 7 0:6 / /proc rw - proc p rw\n";
        assert!(!unseen(Some(7), &[container]));
        assert!(unseen(Some(7), &[b""]) && unseen(Some(7), &[below]));
        assert!(!unseen(Some(7), &[below, container]), "another process' root directory is above it");
        // A path from the root directory does not lead to what is mounted over that.
        let over = b"8 7 0:5 / / rw - tmpfs t rw\n";
        assert!(unseen(Some(7), &[over]));
        assert!(!unseen(None, &[container]) && unseen(None, &[below]));
    }

    #[test]
    fn noise_is_survived() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut text = b"36 35 98:0 / /m\\04 rw - overlay o rw,lowerdir=/a:\\,x".to_vec();
            for _ in 0..6 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(state >> 33).unwrap() % text.len();
                if let Some(byte) = text.get_mut(at) {
                    *byte = state.to_le_bytes()[1];
                }
            }
            for mount in parse(&text) {
                let _ = (lower_directories(&mount), mount.option(b"upperdir"), mount.may_hang());
            }
        }
    }
}

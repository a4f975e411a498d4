//! Mounts by their numbers that are never used again: listmount(2) and statmount(2), from Linux 6.8 on, which no C library
//! wraps yet. Layouts and values are those of linux/mount.h.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The same on every architecture but alpha.
pub const STATMOUNT: libc::c_long = 457;
/// As above.
pub const LISTMOUNT: libc::c_long = 458;

/// `LSMT_ROOT`: all that the caller's root directory reaches.
const FROM_ROOT: u64 = u64::MAX;
/// Numbers that are asked for at once.
const AT_ONCE: usize = 512;
/// Enough for an overlay of many layers.
const USUAL_TEXTS: usize = 8 << 10;
/// By this much more is tried where it is not, so often: up to 4 MiB.
const MORE: usize = 8;
const TEXTS: usize = USUAL_TEXTS * MORE * MORE * MORE;

const SB_BASIC: u64 = 0x1;
const MNT_BASIC: u64 = 0x2;
const MNT_ROOT: u64 = 0x8;
const MNT_POINT: u64 = 0x10;
const FS_TYPE: u64 = 0x20;
/// Linux 6.11.
const MNT_OPTS: u64 = 0x80;
/// Linux 6.13.
const FS_SUBTYPE: u64 = 0x100;
/// Without these it is no use to know a mount.
const NEEDED: u64 = SB_BASIC | MNT_BASIC | MNT_ROOT | MNT_POINT | FS_TYPE;
const MOUNT_ATTR_NOEXEC: u64 = 0x8;

/// `NS_GET_MNTNS_ID` of linux/nsfs.h, Linux 6.11.
const NS_GET_MNTNS_ID: libc::Ioctl = libc::_IOR::<u64>(0xb7, 0x5);

/// A mount namespace by its number that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountNamespace(u64);

impl MountNamespace {
    /// The caller's own.
    pub const OWN: Self = Self(0);

    /// The one that `ns/mnt` of a process' directory leads to, opened.
    ///
    /// # Errors
    /// `ENOTTY` before Linux 6.11, or the kernel's.
    pub fn of(link: BorrowedFd<'_>) -> io::Result<Self> {
        let mut number = 0u64;
        // SAFETY: this request writes one number of 64 bits, which lives through the call.
        let done = unsafe { libc::ioctl(link.as_raw_fd(), NS_GET_MNTNS_ID, &raw mut number) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(number)) }
    }
}

/// `struct mnt_id_req`, its version of Linux 6.11; older ones take it where the namespace is the caller's own.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount: u64,
    param: u64,
    namespace: u64,
}

impl Request {
    fn new(namespace: MountNamespace, mount: u64, param: u64) -> Self {
        // Four numbers of 64 bits: it fits.
        Self { size: size_of::<Self>() as u32, spare: 0, mount, param, namespace: namespace.0 }
    }
}

/// `struct statmount` as far as it is read here; texts follow it, and are told by where they begin among them.
#[repr(C)]
struct Answer {
    size: u32,
    options: u32,
    mask: u64,
    major: u32,
    minor: u32,
    magic: u64,
    sb_flags: u32,
    fs_type: u32,
    id: u64,
    parent_id: u64,
    number: u32,
    parent: u32,
    attributes: u64,
    propagation: u64,
    peer_group: u64,
    master: u64,
    propagate_from: u64,
    root: u32,
    point: u32,
    namespace: u64,
    fs_subtype: u32,
    rest: [u32; 97],
}

const _: () = assert!(size_of::<Answer>() == 512);

/// What statmount(2) tells of one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStatus {
    /// Its number in mountinfo, used again as soon as it is gone.
    pub number: u64,
    /// That of the mount on which it is mounted.
    pub parent: u64,
    /// Device of its files, as makedev(3) packs it.
    pub dev: u64,
    /// Its own options forbid execution.
    pub noexec: bool,
    /// The directory of the filesystem that is mounted.
    pub root: Vec<u8>,
    /// Where, as that root directory shows it.
    pub point: Vec<u8>,
    /// `overlay`, `ext4`, `fuse`, ...
    pub fs_type: Vec<u8>,
    /// `sshfs` of `fuse.sshfs`; empty where there is none.
    pub fs_subtype: Vec<u8>,
    /// The filesystem's own options, escaped as in mountinfo; `None` where the kernel tells none.
    pub options: Option<Vec<u8>>,
}

/// The numbers of all mounts that the root directory of this namespace reaches, or of its own ours, in the order of their
/// making.
///
/// # Errors
/// `ENOSYS` before Linux 6.8, or the kernel's.
pub fn list(namespace: MountNamespace) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    loop {
        let mut some = [0u64; AT_ONCE];
        let request = Request::new(namespace, FROM_ROOT, all.last().copied().unwrap_or(0));
        // SAFETY: `request` is a whole struct of the size it says, `some` has room for as many numbers as are asked for, and
        // both live through the call.
        let count = unsafe { libc::syscall(LISTMOUNT, &raw const request, some.as_mut_ptr(), AT_ONCE, 0) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        all.extend(some.iter().take(count));
        if count < AT_ONCE {
            return Ok(all);
        }
    }
}

/// One mount of a namespace.
///
/// # Errors
/// `ENOENT` where it is gone, `EOVERFLOW` where its texts are longer than 4 MiB, or the kernel's.
pub fn status(namespace: MountNamespace, mount: u64) -> io::Result<MountStatus> {
    let mut texts = USUAL_TEXTS;
    loop {
        match status_within(namespace, mount, texts) {
            Err(e) if e.raw_os_error() == Some(libc::EOVERFLOW) && texts < TEXTS => texts *= MORE,
            done => return done,
        }
    }
}

fn status_within(namespace: MountNamespace, mount: u64, texts: usize) -> io::Result<MountStatus> {
    let request = Request::new(namespace, mount, NEEDED | MNT_OPTS | FS_SUBTYPE);
    let mut buffer = vec![0u8; size_of::<Answer>() + texts];
    // SAFETY: `request` is a whole struct of the size it says, `buffer` is as long as is said, and both live through the call.
    let done = unsafe { libc::syscall(STATMOUNT, &raw const request, buffer.as_mut_ptr(), buffer.len(), 0) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the buffer is longer than the struct, which is plain data for which any bytes are a valid value.
    let answer = unsafe { buffer.as_ptr().cast::<Answer>().read_unaligned() };
    let bytes = buffer.get(size_of::<Answer>()..).unwrap_or_default();
    if answer.mask & NEEDED != NEEDED {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let text = |asked: u64, at: u32| {
        let told = answer.mask & asked != 0;
        let rest = usize::try_from(at).ok().filter(|_| told).and_then(|at| bytes.get(at..))?;
        rest.split(|b| *b == 0).next().map(<[u8]>::to_vec)
    };
    Ok(MountStatus {
        number: answer.number.into(),
        parent: answer.parent.into(),
        dev: libc::makedev(answer.major, answer.minor),
        noexec: answer.attributes & MOUNT_ATTR_NOEXEC != 0,
        root: text(MNT_ROOT, answer.root).unwrap_or_default(),
        point: text(MNT_POINT, answer.point).unwrap_or_default(),
        fs_type: text(FS_TYPE, answer.fs_type).unwrap_or_default(),
        fs_subtype: text(FS_SUBTYPE, answer.fs_subtype).unwrap_or_default(),
        options: text(MNT_OPTS, answer.options),
    })
}

//! Reading a fanotify group: the bytes of its events, and ownership of the descriptors that come with them. Groups and
//! marks are made through nix.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Bytes of one event's metadata, `FAN_EVENT_METADATA_LEN` in linux/fanotify.h; the same since 2.6.37.
pub const METADATA: usize = 24;
/// `FANOTIFY_METADATA_VERSION`.
const VERSION: u8 = 3;

/// One event as it stands in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawEvent {
    /// `FAN_OPEN_EXEC`, `FAN_Q_OVERFLOW`, ...; events of one process on one file are merged while they are queued.
    pub mask: u64,
    /// A descriptor of ours, `FAN_NOFD` (-1), or the negative error of a file that could not be opened
    /// (FAN_REPORT_FD_ERROR, Linux 6.13).
    pub fd: i32,
    /// The process, in the reader's pid namespace; 0 where it is not visible there.
    pub pid: i32,
}

/// The events in what read(2) returned. Ends at the first that is not whole, of another version, or of an impossible
/// length: what follows it cannot be found.
pub fn decode(mut bytes: &[u8]) -> impl Iterator<Item = RawEvent> {
    std::iter::from_fn(move || {
        let head: &[u8; METADATA] = bytes.first_chunk()?;
        let length = u32::from_ne_bytes(*head.first_chunk()?) as usize;
        let version = head.get(4).copied()?;
        if version != VERSION || length < METADATA {
            return None;
        }
        bytes = bytes.get(length..)?;
        let word = |at: usize| head.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        let mask = head.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes)?;
        Some(RawEvent { mask, fd: word(16)?, pid: word(20)? })
    })
}

/// One event and its file.
#[derive(Debug)]
pub struct Event {
    /// As in [`RawEvent`].
    pub mask: u64,
    /// The file, open for reading. The kernel reports no opens of this descriptor (FMODE_NONOTIFY).
    pub file: Option<OwnedFd>,
    /// As in [`RawEvent`].
    pub pid: i32,
}

/// Reads at most `N` events; none where there are none.
///
/// # Errors
/// The kernel's, `EAGAIN` apart. The event whose file could not be opened is gone then; the next read goes on after it
/// (fs/notify/fanotify/fanotify_user.c, `fanotify_read`).
pub fn read<const N: usize>(group: BorrowedFd<'_>, events: &mut Vec<Event>) -> io::Result<()> {
    let mut buffer = [[0u8; METADATA]; N];
    let bytes = buffer.as_flattened_mut();
    // SAFETY: pointer and length are of one slice that lives through the call.
    let got = unsafe { libc::read(group.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
    let Ok(got) = usize::try_from(got) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
    };
    events.extend(decode(bytes.get(..got).unwrap_or_default()).map(|raw| Event {
        mask: raw.mask,
        // SAFETY: a descriptor in an event was installed for us by this very read and belongs to nobody else.
        file: (raw.fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(raw.fd) }),
        pid: raw.pid,
    }));
    Ok(())
}

/// Has events reported of the mount of a place: `group` need not be one of nix's.
///
/// # Errors
/// The kernel's.
pub fn mark_mount(group: BorrowedFd<'_>, mask: u64, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT;
    let link = std::ffi::CString::new(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    // SAFETY: `link` is NUL-terminated and lives through the call; everything else is an integer.
    let marked = unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, mask, libc::AT_FDCWD, link.as_ptr()) };
    if marked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: u32, version: u8, mask: u64, fd: i32, pid: i32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([version, 0]);
        bytes.extend(24u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend(fd.to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes
    }

    /// As read on 6.18: an exec, an overflow without a file, an event with an information record behind it.
    #[test]
    fn decodes_what_the_kernel_writes() {
        let mut all = bytes(24, 3, 0x1000, 7, 4242);
        all.extend(bytes(24, 3, 0x4000, -1, 0));
        all.extend(bytes(32, 3, 0x1008, 8, 1));
        all.extend([0; 8]);
        let events: Vec<RawEvent> = decode(&all).collect();
        let expected = [(0x1000, 7, 4242), (0x4000, -1, 0), (0x1008, 8, 1)];
        assert_eq!(events, expected.map(|(mask, fd, pid)| RawEvent { mask, fd, pid }));
    }

    #[test]
    fn ends_at_what_is_not_an_event() {
        let good = bytes(24, 3, 1, 5, 6);
        for bad in [bytes(24, 4, 1, 5, 6), bytes(23, 3, 1, 5, 6), bytes(48, 3, 1, 5, 6), vec![0; 23], vec![]] {
            let all = [good.clone(), bad.clone()].concat();
            assert_eq!(decode(&all).count(), 1, "{bad:?}");
            assert_eq!(decode(&bad).count(), 0, "{bad:?}");
        }
    }
}

//! Messages between two of our own processes, with descriptors that come along (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

/// Descriptors that one message may bring.
pub const DESCRIPTORS: usize = 2;

/// Two ends that keep messages apart, closed on exec.
///
/// # Errors
/// No descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message; `waits`: until there is room for it.
///
/// # Errors
/// `EPIPE` where the other end is closed, `EAGAIN` where there is no room.
pub fn send(socket: BorrowedFd<'_>, parts: &[&[u8]], files: &[BorrowedFd<'_>], waits: bool) -> io::Result<()> {
    let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&files)];
    let rights = if files.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | if waits { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    sendmsg::<()>(socket.as_raw_fd(), &parts, rights, flags, None)?;
    Ok(())
}

/// Takes one message: its bytes, as far as `buffer` has room for them, and what came along; no bytes where the other end is
/// closed.
///
/// # Errors
/// `EAGAIN` where there is none and it does not wait; `ENOBUFS` where no descriptor was left for what came along.
pub fn receive<'b>(socket: BorrowedFd<'_>, buffer: &'b mut [u8], waits: bool) -> io::Result<(&'b [u8], Vec<OwnedFd>)> {
    let (bytes, files) = receive_parts(socket, &mut [IoSliceMut::new(buffer)], waits)?;
    Ok((buffer.get(..bytes).unwrap_or_default(), files))
}

/// The same into parts, one after the other; how many bytes it has.
///
/// # Errors
/// As [`receive`].
pub fn receive_parts(
    socket: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    waits: bool,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    take(socket, parts, if waits { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT })
}

/// A socket on which an open file waits. To close it asks no file server anything, where nobody may answer whoever closes the
/// file, or ends with it in his hands (`fuse_flush` in fs/fuse/file.c).
///
/// # Errors
/// No descriptor is left.
pub fn parcel(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (sender, parcel) = pair()?;
    send(sender.as_fd(), &[b"1"], &[file], false)?;
    Ok(parcel)
}

/// The file of a parcel, where it waits on.
///
/// # Errors
/// It is no parcel.
pub fn unpack(parcel: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let (_, mut files) = take(parcel, &mut [IoSliceMut::new(&mut byte)], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK)?;
    files.pop().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn take(socket: BorrowedFd<'_>, parts: &mut [IoSliceMut<'_>], flags: MsgFlags) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS]);
    let mut files = Vec::new();
    let message = recvmsg::<()>(socket.as_raw_fd(), parts, Some(&mut control), flags | MsgFlags::MSG_CMSG_CLOEXEC)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel installed these for us by this very call, and they belong to nobody else.
            files.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, files))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_file_comes_along() {
        let (here, there) = pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        send(here.as_fd(), &[b"one ", b"message"], &[file.as_fd()], false).unwrap();
        send(here.as_fd(), &[b"two"], &[], false).unwrap();
        let mut buffer = [0; 64];
        let (bytes, mut files) = receive(there.as_fd(), &mut buffer, false).unwrap();
        assert_eq!(bytes, b"one message");
        let (mut received, mut text) = (File::from(files.pop().unwrap()), String::new());
        received.rewind().unwrap();
        received.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), files.len()), ("content", 0));
        let (bytes, files) = receive(there.as_fd(), &mut buffer, true).unwrap();
        assert_eq!((bytes, files.len()), (&b"two"[..], 0));
        let none = receive(there.as_fd(), &mut buffer, false).map(drop).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        drop(here);
        assert!(receive(there.as_fd(), &mut buffer, true).unwrap().0.is_empty());
        let broken = send(there.as_fd(), &[b"x"], &[], true).unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_parcel_is_unpacked_more_than_once() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        let parcel = parcel(file.as_fd()).unwrap();
        for _ in 0..2 {
            let (mut unpacked, mut text) = (File::from(unpack(parcel.as_fd()).unwrap()), String::new());
            unpacked.rewind().unwrap();
            unpacked.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        }
        assert!(unpack(file.as_fd()).is_err());
    }
}

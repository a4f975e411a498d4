//! A connection to a local syslog socket, datagram or stream, that never blocks and says what became of each send.
//! When to try again is `syslog`'s affair.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, setsockopt, socket, sockopt,
};

use crate::error::{Error, Result};

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The peer's kernel has it.
    Sent,
    /// The reader does not keep up: wait until the socket is writable.
    Full,
    /// Larger than a datagram may be here.
    TooLong,
    /// There is no reader; the connection is closed.
    Broken(Errno),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Socket {
    address: UnixAddr,
    connection: Option<Connection>,
    send_buffer: Option<usize>,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    stream: bool,
    /// Bytes of the message in work that a stream has taken already.
    done: usize,
}

impl Socket {
    /// For the socket of this path; not connected yet. Fails where the path is longer than an address may be (107
    /// bytes, unix(7)).
    pub(super) fn new(path: &Path) -> Result<Self> {
        let address = UnixAddr::new(path).map_err(|error| Error::Config {
            act: "check",
            object: "syslog.target".into(),
            reason: format!("{}: {}", path.display(), std::io::Error::from(error)),
        })?;
        Ok(Self { address, connection: None, send_buffer: None })
    }

    /// With a send buffer of so many bytes, which bounds a datagram.
    #[cfg(test)]
    pub(super) fn with_send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Sends `message`, connecting first where that is needed. After [`Outcome::Full`] it must be called again with the
    /// same message: a stream may have taken a part of it.
    pub(super) fn send(&mut self, message: &[u8]) -> Outcome {
        if self.connection.is_none() {
            match self.connect() {
                Ok(connection) => self.connection = Some(connection),
                // A listener whose backlog is full; there is nothing to poll on.
                Err(error) => return Outcome::Broken(error),
            }
        }
        let Some(connection) = &mut self.connection else { return Outcome::Broken(Errno::ENOTCONN) };
        match connection.send(message) {
            Ok(()) => Outcome::Sent,
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Outcome::Full,
            Err(Errno::EMSGSIZE) => Outcome::TooLong,
            Err(error) => {
                self.connection = None;
                Outcome::Broken(error)
            }
        }
    }

    /// Closes the connection; the next send makes another.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// To wait for it to become writable.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(|connection| connection.fd.as_fd())
    }

    fn connect(&self) -> nix::Result<Connection> {
        match self.connect_as(SockType::Datagram) {
            // A stream listens there: syslog-ng's unix-stream().
            Err(Errno::EPROTOTYPE) => self.connect_as(SockType::Stream),
            other => other,
        }
    }

    fn connect_as(&self, kind: SockType) -> nix::Result<Connection> {
        let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        if let Some(bytes) = self.send_buffer {
            setsockopt(&fd, sockopt::SndBuf, &bytes)?;
        }
        connect(fd.as_raw_fd(), &self.address)?;
        Ok(Connection { fd, stream: kind == SockType::Stream, done: 0 })
    }
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> nix::Result<()> {
        // NOSIGNAL: a stream whose reader has left answers EPIPE, not SIGPIPE.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let fd = self.fd.as_raw_fd();
        if !self.stream {
            return retry(|| send(fd, message, flags)).map(drop);
        }
        // On a stream a newline ends a message, which holds none itself.
        let framed = [message, b"\n"].concat();
        while let Some(rest) = framed.get(self.done..).filter(|rest| !rest.is_empty()) {
            self.done += retry(|| send(fd, rest, flags))?;
        }
        self.done = 0;
        Ok(())
    }
}

fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        (dir, path)
    }

    #[test]
    fn datagrams_reach_the_reader_and_its_absence_is_told() {
        let (_dir, path) = place();
        let mut socket = Socket::new(&path).unwrap();
        assert_eq!(socket.send(b"a"), Outcome::Broken(Errno::ENOENT));
        let reader = UnixDatagram::bind(&path).unwrap();
        assert_eq!(socket.send(b"a"), Outcome::Sent);
        let mut buffer = [0; 16];
        assert_eq!(reader.recv(&mut buffer).unwrap(), 1);
        drop(reader);
        assert_eq!(socket.send(b"b"), Outcome::Broken(Errno::ECONNREFUSED));
        assert!(socket.fd().is_none());
    }

    #[test]
    fn a_reader_that_stalls_blocks_nobody() {
        let (_dir, path) = place();
        let _reader = UnixDatagram::bind(&path).unwrap();
        let mut socket = Socket::new(&path).unwrap();
        let full = (0..100_000).map(|_| socket.send(b"x")).find(|outcome| *outcome != Outcome::Sent);
        assert_eq!(full, Some(Outcome::Full));
    }

    #[test]
    fn too_long_is_told() {
        let (_dir, path) = place();
        let _reader = UnixDatagram::bind(&path).unwrap();
        let mut socket = Socket::new(&path).unwrap().with_send_buffer(1);
        assert_eq!(socket.send(&[b'x'; 8000]), Outcome::TooLong);
        assert_eq!(socket.send(&[b'x'; 1000]), Outcome::Sent);
    }

    #[test]
    fn streams_are_framed_and_go_on_where_they_stopped() {
        let (_dir, path) = place();
        let listener = UnixListener::bind(&path).unwrap();
        let mut socket = Socket::new(&path).unwrap();
        assert_eq!(socket.send(b"first"), Outcome::Sent);
        let (mut reader, _) = listener.accept().unwrap();
        let mut sent = 0;
        let body = [b'x'; 7001];
        while socket.send(&body) == Outcome::Sent {
            sent += 1;
        }
        let mut all = vec![0; 6 + sent * 7002];
        reader.read_exact(&mut all).unwrap();
        assert_eq!(socket.send(&body), Outcome::Sent);
        socket.close();
        reader.read_to_end(&mut all).unwrap();
        let lines: Vec<_> = all.split(|b| *b == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lines.first(), Some(&5));
        assert_eq!(lines.iter().filter(|len| **len == 7001).count(), sent + 1);
        assert_eq!(lines.len(), sent + 3);
    }
}

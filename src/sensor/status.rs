//! What a running watcher covers, for whoever may open its state directory: `ccwatch doctor` connects to a socket there and
//! is told. So nothing is written while nobody asks, and what is told is never old.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::host::clock;
use crate::sensor::ControlInlet;
use crate::sensor::counters::Counters;
use crate::sensor::ledger::Ledger;

/// In the state directory.
const SOCKET: &str = "coverage.sock";
/// Whoever asks and does not read is not waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// The watcher may be busy.
const ANSWER: Duration = Duration::from_secs(2);
const MAX_ANSWER: u64 = 16 << 20;

/// What is covered by what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// What fanotify marks, for people; `None` where it does not run.
    pub fanotify: Option<String>,
    /// Whether the connector runs.
    #[serde(default)]
    pub connector: bool,
    /// Whether the connector's reader looks at each exec at once; else it rests while there are many.
    pub eager: bool,
    /// Execs of the host since the watcher began.
    pub execs: u64,
    /// Of these, those that nobody saw.
    pub unexamined: u64,
    /// Where fanotify runs, each container that has a mount namespace of its own.
    pub containers: Vec<ContainerCoverage>,
}

impl Coverage {
    /// How many execs there were, and what became of them; what saw them is the caller's to add.
    pub fn counted(counters: &Counters, ledger: &Ledger) -> Self {
        let now = clock::now();
        ledger.age(now, counters);
        Self {
            eager: counters.is_eager(),
            execs: counters.execs(),
            unexamined: counters.unexamined(now).total,
            ..Self::default()
        }
    }
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerCoverage {
    /// Runtime and id.
    pub name: String,
    /// A mark on the whole filesystem sees what runs from its root.
    pub by_filesystem: bool,
    /// Its other mounts that are marked.
    pub mounts: usize,
    /// Its far mounts that are marked: of FUSE and network filesystems, and below them.
    #[serde(default)]
    pub far: usize,
    /// What is not.
    pub uncovered: Vec<Uncovered>,
}

/// A mount from which something can be executed without fanotify's seeing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// Where, as the container shows it.
    pub point: String,
    /// Its filesystem's type.
    pub fs_type: String,
    /// Why.
    pub why: String,
}

/// The answering end.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Makes the socket; one that a killed watcher left behind is replaced. `None`, and said, where the system refuses: a
    /// path of more than 107 bytes, for one.
    pub fn make(directory: &Path) -> Option<Self> {
        Self::bind(directory).map_err(|e| log::warn!("doctor will not be told the coverage: {e}")).ok()
    }

    fn bind(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// To be polled for who asks.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers until told to stop.
    pub fn serve(&self, control: &ControlInlet, coverage: impl Fn() -> Coverage) {
        loop {
            let mut fds = [self.fd(), control.wake.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::NONE);
            if control.is_stopped() {
                return;
            }
            self.answer(&coverage);
        }
    }

    /// Answers all who ask.
    pub fn answer(&self, coverage: impl Fn() -> Coverage) {
        while let Ok((mut peer, _)) = self.listener.accept() {
            let told = peer
                .set_nonblocking(false)
                .and_then(|()| peer.set_write_timeout(Some(PATIENCE)))
                .and_then(|()| peer.write_all(&serde_json::to_vec(&coverage())?));
            if let Err(e) = told {
                log::debug!("tell the coverage: {e}");
            }
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the watcher of this state directory covers; `None` where none runs, or it does not answer.
pub fn ask(directory: &Path) -> Option<Coverage> {
    let peer = UnixStream::connect(directory.join(SOCKET)).ok()?;
    peer.set_read_timeout(Some(ANSWER)).ok()?;
    let mut answer = Vec::new();
    peer.take(MAX_ANSWER).read_to_end(&mut answer).ok()?;
    serde_json::from_slice(&answer).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sensor::{Control, controls};

    #[test]
    fn who_asks_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ask(directory.path()), None);
        let uncovered = Uncovered { point: "/far".into(), fs_type: "nfs4".into(), why: "a network filesystem".into() };
        let container =
            ContainerCoverage { name: "docker/aa".into(), uncovered: vec![uncovered], ..Default::default() };
        let coverage = Coverage { execs: 7, containers: vec![container], ..Coverage::default() };
        // As a killed watcher leaves it.
        std::mem::forget(StatusSocket::make(directory.path()).unwrap());
        let socket = StatusSocket::make(directory.path()).unwrap();
        let (orders, control) = controls().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| socket.serve(&control, || coverage.clone()));
            for _ in 0..2 {
                assert_eq!(ask(directory.path()).as_ref(), Some(&coverage));
            }
            assert!(orders.send(Control::Stop));
        });
        drop(socket);
        assert_eq!(ask(directory.path()), None);
    }
}

//! Wakes a sink when the socket that it waits for is made. Exists only while it waits: an idle sink has no watch.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};

/// A watch on the directories in which a socket may appear.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    names: Vec<OsString>,
}

impl Watch {
    /// Watches the directory of `path`, and where that is a link (/dev/log under systemd) also its target's. Fails where
    /// none can be watched: not there, or no instance left.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let mut names = Vec::new();
        let mut result = Err(io::ErrorKind::NotFound.into());
        for path in [Some(path.to_owned()), target(path)].into_iter().flatten() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let added = inotify.watches().add(parent, WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ATTRIB);
            match added {
                Ok(_) => {
                    names.push(name.to_owned());
                    result = Ok(());
                }
                Err(error) if names.is_empty() => result = Err(error),
                Err(_) => {}
            }
        }
        result.map(|()| Self { inotify, names })
    }

    /// Whether the socket may have appeared since the last call; also true where events were dropped.
    pub(super) fn saw(&mut self) -> bool {
        let mut seen = false;
        let mut buffer = [0; 4096];
        while let Ok(events) = self.inotify.read_events(&mut buffer) {
            for event in events {
                seen |= event.name.is_none_or(|name| self.names.iter().any(|known| known == name));
            }
        }
        seen
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Where a link leads.
fn target(path: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(path).ok()?;
    Some(path.parent()?.join(target))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn sees_the_socket_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&dir.path().join("log")).unwrap();
        std::fs::write(dir.path().join("other"), "").unwrap();
        assert!(!watch.saw());
        let _socket = UnixDatagram::bind(dir.path().join("log")).unwrap();
        assert!(watch.saw());
        assert!(!watch.saw());
    }

    #[test]
    fn follows_one_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        symlink("run/dev-log", dir.path().join("log")).unwrap();
        let mut watch = Watch::new(&dir.path().join("log")).unwrap();
        let _socket = UnixDatagram::bind(dir.path().join("run/dev-log")).unwrap();
        assert!(watch.saw());
    }

    #[test]
    fn says_so_where_there_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Watch::new(&dir.path().join("none/log")).is_err());
    }
}

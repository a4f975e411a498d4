//! The alert file: one JSON object a line, appended with one write(2). A line is there whole or not at all; what a full
//! disk refuses is counted, and told once it takes alerts again.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::write;

use super::queue::{Next, Queue};
use super::{Form, Sink};
use crate::alert::fit;
use crate::error::{Error, Result};

/// Readable for the log group that an administrator may give it, and for nobody else, whatever the umask says.
const MODE: u32 = 0o640;

/// Of directories that are made for it.
const DIRECTORY_MODE: u32 = 0o750;

/// The sink.
#[derive(Debug)]
pub struct AlertFile {
    path: PathBuf,
    file: Option<File>,
    /// The file's last line has no end: the next one begins with it.
    torn: bool,
}

impl AlertFile {
    /// For the file of this path. It is opened when the sink runs, and again for each alert as long as that fails.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), file: None, torn: false }
    }

    /// Appends `body` and a newline, or leaves the file as it was.
    fn append(&mut self, body: &[u8]) -> Result<()> {
        // A file that was removed without a word is made anew; one that was renamed is logrotate's, who will send SIGHUP.
        if self.file.as_ref().is_none_or(|file| file.metadata().is_ok_and(|of| of.nlink() == 0)) {
            self.open()?;
        }
        let Some(file) = &self.file else { return Ok(()) };
        let start: &[u8] = if self.torn { b"\n" } else { b"" };
        let line = [start, body, b"\n"].concat();
        match write_all(file, &line) {
            Ok(()) => {
                self.torn = false;
                Ok(())
            }
            Err((written, error)) => {
                self.torn |= written > 0 && !undo(file, written);
                Err(Error::file("write", &self.path, error))
            }
        }
    }

    /// Opens the file, makes it and its directories where they are missing. Neither follows a link at its end nor takes
    /// anything but a regular file: a FIFO would block, a link could lead anywhere.
    fn open(&mut self) -> Result<()> {
        let failed = |act, error: io::Error| Error::file(act, &self.path, error);
        if let Some(parent) = self.path.parent().filter(|parent| !parent.is_dir()) {
            let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent);
            // Whatever the umask.
            let made = made.and_then(|()| std::fs::set_permissions(parent, Permissions::from_mode(DIRECTORY_MODE)));
            made.map_err(|error| Error::file("make", parent, error))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(MODE).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = options.create_new(true).open(&self.path).map_err(|error| failed("make", error))?;
                file.set_permissions(Permissions::from_mode(MODE)).map_err(|error| failed("set the mode of", error))?;
                file
            }
            opened => opened.map_err(|error| failed("open", error))?,
        };
        if !file.metadata().map_err(|error| failed("open", error))?.is_file() {
            return Err(failed("open", io::Error::other("not a regular file")));
        }
        // Whoever wrote before us may have been killed in the middle of a line.
        self.torn = !ends_a_line(&file).map_err(|error| failed("read", error))?;
        self.file = Some(file);
        Ok(())
    }
}

impl Sink for AlertFile {
    fn name(&self) -> &'static str {
        "alert-file"
    }

    fn form(&self) -> Form {
        Form::Ecs { limit: fit::LINE_LIMIT }
    }

    fn run(&mut self, queue: &Queue) {
        let opened = |result: Result<()>| {
            if let Err(error) = result {
                log::warn!("alert file: {error}; it is tried again for each alert");
            }
        };
        if self.file.is_none() {
            opened(self.open());
        }
        loop {
            match queue.next() {
                Next::Closed => return,
                Next::Idle => drop(queue.wait(&[], None)),
                // Where that fails the old one goes on: better a renamed file than none.
                Next::Reopen => opened(self.open()),
                Next::Message(message) => match self.append(&message.body) {
                    Ok(()) => queue.delivered(),
                    Err(error) => queue.give_up(&error.to_string()),
                },
            }
        }
    }
}

/// All of `line`, or how much of it was written and why no more. One write(2) is all it takes, but on a full disk.
fn write_all(file: &File, line: &[u8]) -> std::result::Result<(), (usize, io::Error)> {
    let mut done = 0;
    while let Some(rest) = line.get(done..).filter(|rest| !rest.is_empty()) {
        match write(file, rest) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(Errno::EINTR) => {}
            Err(error) => return Err((done, error.into())),
        }
    }
    Ok(())
}

/// Takes back the last `written` bytes, where they are still the file's last.
fn undo(mut file: &File, written: usize) -> bool {
    // O_APPEND leaves the position at the end of what was written (open(2)).
    let Ok(end) = file.stream_position() else { return false };
    let last = file.metadata().is_ok_and(|now| now.len() == end);
    end.checked_sub(written as u64).filter(|_| last).is_some_and(|before| file.set_len(before).is_ok())
}

/// Whether the file is empty or its last byte a newline.
fn ends_a_line(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn target() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("var/log/alerts.json");
        (dir, path)
    }

    #[test]
    fn makes_file_and_directories_with_their_modes() {
        let (_dir, path) = target();
        let mut sink = AlertFile::new(&path);
        sink.append(b"{\"a\":1}").unwrap();
        sink.append(b"{\"a\":2}").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, DIRECTORY_MODE);
    }

    #[test]
    fn reopens_after_rotation_and_keeps_an_existing_mode() {
        let (_dir, path) = target();
        let mut sink = AlertFile::new(&path);
        sink.append(b"1").unwrap();
        let rotated = path.with_extension("json.1");
        fs::rename(&path, &rotated).unwrap();
        sink.append(b"2").unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        sink.open().unwrap();
        sink.append(b"3").unwrap();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_removed_file_is_made_anew() {
        let (_dir, path) = target();
        let mut sink = AlertFile::new(&path);
        sink.append(b"1").unwrap();
        fs::remove_file(&path).unwrap();
        sink.append(b"2").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_half_line_of_a_killed_writer_is_ended_first() {
        let (_dir, path) = target();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{\"whole\":1}\n{\"ha").unwrap();
        AlertFile::new(&path).append(b"{\"next\":1}").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"whole\":1}\n{\"ha\n{\"next\":1}\n");
    }

    #[test]
    fn refuses_links_fifos_and_directories() {
        let (dir, path) = target();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        symlink(&elsewhere, &path).unwrap();
        assert!(AlertFile::new(&path).append(b"1").is_err());
        assert!(!elsewhere.exists());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = AlertFile::new(&path).append(b"1").unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        assert!(AlertFile::new(path.parent().unwrap()).append(b"1").is_err());
    }

    #[test]
    fn what_was_written_in_part_is_taken_back() {
        let (_dir, path) = target();
        let mut sink = AlertFile::new(&path);
        sink.append(b"whole").unwrap();
        let file = sink.file.as_ref().unwrap();
        write_all(file, b"par").unwrap();
        assert!(undo(file, 3));
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
        write_all(file, b"par").unwrap();
        OpenOptions::new().append(true).open(&path).and_then(|other| write(&other, b"x").map_err(Into::into)).unwrap();
        assert!(!undo(file, 3), "somebody else has written since");
    }
}

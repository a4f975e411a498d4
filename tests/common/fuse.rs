//! A filesystem that hangs.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, umount2};

use super::{Lines, program};

/// A FUSE mount on the host whose one file, `file`, never answers a read. Dropped, it is unmounted and its server ended.
pub(crate) struct NeverAnswers {
    directory: tempfile::TempDir,
    server: Child,
    /// `read` for each read that waits.
    pub(crate) said: Lines,
}

impl NeverAnswers {
    pub(crate) fn mount() -> Self {
        Self::serve(&[])
    }

    /// The file begins with this program and can be executed; the rest of it is never read.
    pub(crate) fn mount_program(program: &Path) -> Self {
        Self::serve(&["", program.to_str().unwrap()])
    }

    fn serve(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
        let mut command = Command::new(program::never_answers());
        let mut server = command.arg(directory.path()).args(options).stdout(Stdio::piped()).spawn().unwrap();
        let said = Lines::of(server.stdout.take().unwrap());
        let new = Self { directory, server, said };
        new.said.await_line("mounted");
        new
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for NeverAnswers {
    fn drop(&mut self) {
        // The server first: whoever waits for it gets an error then, and the unmount cannot hang.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

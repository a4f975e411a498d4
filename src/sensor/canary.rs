//! An exec of our own that a sensor must report.

use std::io;
use std::process::{Child, Command, Stdio};

use crate::event::Pid;

/// A process that lives until this is dropped: one that were gone at once would count as unexamined.
#[derive(Debug)]
pub struct Canary(Child);

impl Canary {
    /// Executes it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("canary").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid(self.0.id().cast_signed())
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! The watcher as a service: signs of life for the service manager, and the pid file for those hosts that have none.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::vitals::Vitals;
use super::watcher::spawn;
use crate::error::{Error, Result};
use crate::host::notify::{Notifier, keep_alive};

/// The service manager, told by a thread of its own, which ends when `running` is dropped.
pub(super) struct Service {
    notifier: Arc<Notifier>,
    running: Sender<()>,
    pid_file: Option<PidFile>,
}

impl Service {
    /// Says that the watcher watches, and from now on that it moves.
    ///
    /// # Errors
    /// The pid file cannot be written, or no thread started.
    pub(super) fn start(mut vitals: Vitals, pid_file: Option<&Path>) -> Result<Self> {
        let pid_file = pid_file.map(PidFile::write).transpose()?;
        let notifier = Arc::new(Notifier::from_environment());
        notifier.ready(&vitals.first());
        let (running, stop) = bounded(0);
        let told = Arc::clone(&notifier);
        // Nobody joins it: its question may wait for a detection that is stuck.
        spawn("service", move || keep_alive(&told, &stop, |within| vitals.pulse(within)))?;
        Ok(Self { notifier, running, pid_file })
    }

    /// Around what SIGHUP asks for.
    pub(super) fn reload(&self, reload: impl FnOnce() -> &'static str) {
        self.notifier.reloading();
        self.notifier.ready(reload());
    }

    /// Says that it ends. The pid file stays until [`Service::stop`]'s return value is dropped.
    pub(super) fn stop(self) -> Option<impl Drop> {
        self.notifier.stopping();
        drop(self.running);
        self.pid_file
    }
}

/// Removed when it is dropped.
struct PidFile(PathBuf);

impl PidFile {
    /// Writes our pid, in a file that is made anew: what stood there was a dead watcher's, or a link.
    fn write(path: &Path) -> Result<Self> {
        let failed = |error| Error::file("write", path, error);
        let _ = fs::remove_file(path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("{}", Error::file("remove", &self.0, error));
        }
    }
}

//! A real rsyslogd of the test's own: own socket, own configuration, never the machine's.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Alert, Shared, eventually};

/// One received message, as rsyslog understood it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) facility: String,
    pub(crate) severity: String,
    pub(crate) tag: String,
    pub(crate) pid: String,
    pub(crate) message: String,
}

impl Line {
    /// The message as an alert.
    pub(crate) fn alert(&self) -> Alert {
        Alert::parse(&self.message)
    }
}

/// The server's place, and what it has received. It may run or not.
pub(crate) struct Rsyslog {
    directory: TempDir,
    child: Option<Child>,
    received: Arc<Shared<Vec<Line>>>,
}

impl Rsyslog {
    /// Prepares one; it does not run yet, and its socket is not there.
    pub(crate) fn new() -> Self {
        super::need_root();
        let directory = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // A copy: where AppArmor confines rsyslogd it does so by its path, and to the machine's own sockets.
        let daemon = ["/usr/sbin/rsyslogd", "/sbin/rsyslogd"].iter().find(|path| Path::new(path).exists());
        fs::copy(daemon.expect("rsyslog is not installed: tests/run.sh installs it"), at("rsyslogd")).unwrap();
        // Received lines come through a FIFO, so that a test waits for them without looking again and again.
        nix::unistd::mkfifo(&at("received"), Mode::S_IRWXU).unwrap();
        let config = format!(
            "global(workDirectory=\"{home}\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{home}/log\" RateLimit.Interval=\"0\")\n\
             template(name=\"fields\" type=\"string\" string=\"%syslogfacility-text%\\t%syslogseverity-text%\\t\
             %programname%\\t%procid%\\t%msg%\\n\")\n\
             *.* action(type=\"ompipe\" Pipe=\"{home}/received\" template=\"fields\")\n",
            home = directory.path().display()
        );
        fs::write(at("rsyslog.conf"), config).unwrap();
        let received: Arc<Shared<Vec<Line>>> = Arc::default();
        let shared = Arc::clone(&received);
        // Open for writing too: the stream does not end when rsyslog does.
        let fifo = OpenOptions::new().read(true).write(true).open(at("received")).unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(fifo).lines() {
                let line = line.unwrap();
                let mut parts = line.splitn(5, '\t').map(str::to_owned);
                let mut next = || parts.next().unwrap_or_default();
                let line = Line { facility: next(), severity: next(), tag: next(), pid: next(), message: next() };
                shared.change(|lines| lines.push(line));
            }
        });
        Self { directory, child: None, received }
    }

    /// One that runs.
    pub(crate) fn started() -> Self {
        let mut new = Self::new();
        new.start();
        new
    }

    /// Its socket, where it listens once started.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Starts it and returns when its socket takes datagrams.
    pub(crate) fn start(&mut self) {
        let home = self.directory.path();
        let mut command = Command::new(home.join("rsyslogd"));
        command.args(["-n", "-iNONE", "-f"]).arg(home.join("rsyslog.conf")).stdin(Stdio::null());
        // A fork in another test's thread may hold the copy open for writing until it executes.
        let spawn = || match command.spawn() {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            child => Some(child.unwrap()),
        };
        self.child = Some(eventually("rsyslogd", spawn));
        let probe = std::os::unix::net::UnixDatagram::unbound().unwrap();
        eventually("rsyslog's socket", || probe.connect(self.socket()).ok());
    }

    /// Stops it by its pid and waits for its end; its socket is gone then.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM);
            child.wait().unwrap();
        }
        let _ = fs::remove_file(self.socket());
    }

    /// Waits for a line that `wanted` accepts.
    pub(crate) fn await_line(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        let found = self.received.wait(|lines| lines.iter().find(|line| wanted(line)).cloned());
        found.unwrap_or_else(|| panic!("rsyslog did not receive \"{what}\": {:#?}", self.lines()))
    }

    /// What it has received so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.received.look(Vec::clone)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.stop();
    }
}

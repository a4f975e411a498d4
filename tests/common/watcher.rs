//! The built watcher as a process of its own: started with a configuration in a directory of its own, listened to,
//! stopped by its pid. What it says is kept from its first line on, so nothing is missed between two questions.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::alert::closed_execs;
use super::{Alert, Shared, program};

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ccwatch");

/// What a watcher has said and how it ended.
#[derive(Default)]
struct Heard {
    alerts: Vec<Alert>,
    texts: Vec<String>,
    stderr: Vec<String>,
    exit: Option<ExitStatus>,
}

/// A running watcher. Dropped, it is killed.
pub(crate) struct Watcher {
    pid: Pid,
    heard: Arc<Shared<Heard>>,
    threads: Vec<JoinHandle<()>>,
    home: Arc<TempDir>,
}

/// A watcher to be: its directory and its configuration.
#[derive(Clone)]
pub(crate) struct Setup {
    home: Arc<TempDir>,
    config: toml::Table,
    text: bool,
    without: String,
    kernel: Option<&'static str>,
}

impl Setup {
    /// A directory of its own with state and alert file in it, no syslog, and sessions that end after 1 s.
    pub(crate) fn new() -> Self {
        let home = Arc::new(tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap());
        let at = |name: &str| home.path().join(name).display().to_string();
        let (config, home, without) = (toml::Table::new(), Arc::clone(&home), String::new());
        let new = Self { home, config, text: false, without, kernel: None };
        new.set("state", "directory", at("state"))
            .set("alert-file", "path", at("alerts.json"))
            .set("syslog", "enabled", false)
            .set("session", "gap", "1s")
    }

    /// Sets one key.
    pub(crate) fn set(mut self, section: &str, key: &str, value: impl Into<toml::Value>) -> Self {
        let table = self.config.entry(section).or_insert_with(|| toml::Table::new().into());
        table.as_table_mut().unwrap().insert(key.to_owned(), value.into());
        self
    }

    /// Sessions end soon: where only their sums are asked for.
    pub(crate) fn brief(self) -> Self {
        self.set("session", "gap", "500ms")
    }

    /// Asks for the form for people on stdout; `await_text` reads it.
    pub(crate) fn text(mut self) -> Self {
        self.text = true;
        self
    }

    /// Takes parts of the sensors away, to see that they are missed (src/sensor/without.rs): words with commas between.
    pub(crate) fn without(mut self, parts: &str) -> Self {
        self.without = parts.to_owned();
        self
    }

    /// Has it believe that the kernel is older than it is (tests/common/older.c).
    pub(crate) fn kernel(mut self, version: &'static str) -> Self {
        self.kernel = Some(version);
        self
    }

    /// The directory that lives as long as this or any watcher made of it.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes the configuration file; its path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.home.path().join("ccwatch.toml");
        std::fs::write(&path, self.config.to_string()).unwrap();
        path
    }

    /// The command line that `start` runs.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.program();
        let form = if self.text { "text" } else { "ecs" };
        command.arg("run").arg("--config").arg(self.write()).args(["--stdout", form]);
        // Under systemd its diagnostics would go to the journal, where no test reads them.
        if !self.without.is_empty() {
            command.env("CCWATCH_TEST_WITHOUT", &self.without);
        }
        command.env_remove("JOURNAL_STREAM").env_remove("INVOCATION_ID").env_remove("NOTIFY_SOCKET");
        // A system call that is missing in the watcher's own list ends it, and with it the test.
        command.env(ccwatch::host::privilege::REFUSED_CALL, "kill");
        command
    }

    fn program(&self) -> Command {
        let Some(version) = self.kernel else { return Command::new(BINARY) };
        let mut command = Command::new(program::older());
        command.args([version, BINARY]);
        command
    }

    /// What `ccwatch doctor` says of its watcher's coverage: of the connector, then of each container.
    pub(crate) fn coverage(&self) -> Vec<String> {
        let output = Command::new(BINARY).arg("doctor").arg("--config").arg(self.write()).output().unwrap();
        let text = super::said(&output);
        assert!(text.contains("the host's execs") || text.contains("of the host's"), "{text}");
        text.lines().filter(|line| line.starts_with("note      coverage")).map(str::to_owned).collect()
    }

    /// Starts a watcher and returns when it says that it watches. May be called again: the state directory stays.
    pub(crate) fn start(&self) -> Watcher {
        super::need_root();
        let watcher = self.spawn(&mut self.command());
        watcher.await_stderr("watching", |line| line.starts_with("watching"));
        watcher
    }

    /// Starts `command` as a watcher without waiting for its word.
    pub(crate) fn spawn(&self, command: &mut Command) -> Watcher {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Watcher::listen(command.spawn().expect("start ccwatch"), self)
    }
}

impl Watcher {
    /// Starts one as `Setup::new` describes it.
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    fn listen(mut child: Child, setup: &Setup) -> Self {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let heard: Arc<Shared<Heard>> = Arc::default();
        let take: fn(&mut Heard, String) = match setup.text {
            true => |heard, line| heard.texts.push(line),
            false => |heard, line| heard.alerts.push(Alert::parse(&line)),
        };
        let alerts = lines(child.stdout.take().unwrap(), &heard, take);
        let stderr = lines(child.stderr.take().unwrap(), &heard, |heard, line| heard.stderr.push(line));
        let shared = Arc::clone(&heard);
        let exit = std::thread::spawn(move || {
            let status = child.wait().unwrap();
            shared.change(|heard| heard.exit = Some(status));
        });
        Self { pid, heard, threads: vec![alerts, stderr, exit], home: Arc::clone(&setup.home) }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Its directory.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The alert file of `Setup::new`.
    pub(crate) fn alert_file(&self) -> PathBuf {
        self.home.path().join("alerts.json")
    }

    /// Waits for an alert that `wanted` accepts, among those already said and those to come.
    pub(crate) fn await_alert(&self, what: &str, wanted: impl Fn(&Alert) -> bool) -> Alert {
        self.await_in(what, |heard| heard.alerts.iter().find(|alert| wanted(alert)).cloned())
    }

    /// Waits until all that was said is enough for `enough`.
    pub(crate) fn await_alerts(&self, what: &str, enough: impl Fn(&[Alert]) -> bool) {
        self.await_in(what, |heard| enough(&heard.alerts).then_some(()));
    }

    /// Waits for a line of the form for people.
    pub(crate) fn await_text(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.await_in(what, |heard| heard.texts.iter().find(|line| wanted(line)).cloned())
    }

    /// Waits for a line of its diagnostics.
    pub(crate) fn await_stderr(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.await_in(what, |heard| heard.stderr.iter().find(|line| wanted(line)).cloned())
    }

    /// Waits for what `find` finds; gives up when it has ended.
    fn await_in<T>(&self, what: &str, find: impl Fn(&Heard) -> Option<T>) -> T {
        let found = self.heard.wait(|heard| match find(heard) {
            Some(found) => Some(Some(found)),
            None => heard.exit.map(|_| None),
        });
        // Its last words may be read after its end is known.
        let found = found.flatten().or_else(|| self.heard.look(find));
        found.unwrap_or_else(|| panic!("not said: {what}\n{}", self.story()))
    }

    /// Waits until the closed sessions of a container have counted so many execs.
    pub(crate) fn await_counted(&self, container: &str, count: u64) {
        self.await_alerts("all execs", |alerts| closed_execs(alerts, container) >= count);
    }

    /// Waits for the container's `opened`.
    pub(crate) fn await_opened(&self, container: &str) -> Alert {
        self.await_alert("opened", |a| a.is_of(container) && a.state() == "opened")
    }

    /// Waits for the container's `closed`.
    pub(crate) fn await_closed(&self, container: &str) -> Alert {
        self.await_alert("closed", |a| a.is_of(container) && a.state() == "closed")
    }

    /// All alerts so far.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.heard.look(|heard| heard.alerts.clone())
    }

    /// All diagnostics so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.heard.look(|heard| heard.stderr.clone())
    }

    /// Changes its connector sockets, as tests/common/connector.pl lists.
    pub(crate) fn change_connector(&self, act: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/connector.pl");
        super::run(Command::new("perl").arg(script).args([act, &self.pid.to_string()]));
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// SIGTERM; it must leave with 0. All its alerts, those of its last moments among them.
    pub(crate) fn stop(self) -> Vec<Alert> {
        self.signal(Signal::SIGTERM);
        let (status, alerts, story) = self.end();
        assert_eq!(status.code(), Some(0), "exit after SIGTERM: {status}\n{story}");
        alerts
    }

    /// SIGKILL. All its alerts.
    pub(crate) fn kill(self) -> Vec<Alert> {
        self.signal(Signal::SIGKILL);
        let (status, alerts, _) = self.end();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        alerts
    }

    /// Waits until it ends by itself: how, its alerts, and the story for a message.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<Alert>, String) {
        let status = self.heard.wait(|heard| heard.exit);
        let status = status.unwrap_or_else(|| panic!("it does not end\n{}", self.story()));
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        (status, self.alerts(), self.story())
    }

    /// What it said, for a failed test's message.
    pub(crate) fn story(&self) -> String {
        self.heard.look(|heard| {
            let alerts: Vec<String> = heard.alerts.iter().map(|a| a.0.to_string()).collect();
            let exit = heard.exit.map(|e| e.to_string()).unwrap_or_else(|| "it runs".to_owned());
            format!("alerts:\n{}\nstderr:\n{}\n{exit}", alerts.join("\n"), heard.stderr.join("\n"))
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Its exit is recorded by the thread that waits for it: until then the pid is nobody else's.
        if self.heard.look(|heard| heard.exit.is_none()) {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.heard.wait(|heard| heard.exit);
        }
    }
}

/// A thread that hands over each line of a stream. Bytes that are not UTF-8 fail the test: the watcher escapes them.
fn lines(
    stream: impl Read + Send + 'static,
    heard: &Arc<Shared<Heard>>,
    take: fn(&mut Heard, String),
) -> JoinHandle<()> {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let line = String::from_utf8(line.unwrap()).expect("output that is not UTF-8");
            heard.change(|heard| take(heard, line));
        }
    })
}

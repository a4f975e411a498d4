//! Containers of a real Docker Engine, driven by its command line as an operator would. The engine itself is
//! somebody else's: `tests/run.sh` starts one where none runs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::{Lines, image, run, said};

/// Every container carries it; its value is `tests/run.sh`'s pid, which removes what a killed test left behind.
const LABEL: &str = "ccwatch.test";

/// What waits in a container of `image::tiny`.
pub(crate) const IDLE: &[&str] = &["/usr/bin/storm", "1000000", "/none", "999000"];

/// `docker`, once it is known that an engine answers.
pub(crate) fn docker() -> Command {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    super::need_root();
    let answers = ANSWERS
        .get_or_init(|| Command::new("docker").args(["version"]).output().is_ok_and(|output| output.status.success()));
    assert!(answers, "no Docker Engine answers: tests/run.sh starts one");
    Command::new("docker")
}

/// A name that no other test of this run has.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("ccwatch-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// How a container is to be made.
pub(crate) struct Plan<'a> {
    /// Options of `docker run`.
    pub(crate) options: Vec<String>,
    /// The image.
    pub(crate) image: &'a str,
    /// Program and arguments.
    pub(crate) command: &'a [&'a str],
}

/// A container, removed when dropped.
pub(crate) struct Container {
    /// All 64 digits.
    pub(crate) id: String,
    /// The name given to it.
    pub(crate) name: String,
    work: TempDir,
}

impl Container {
    /// Where its overlay is mounted on the host.
    pub(crate) fn merged(&self) -> PathBuf {
        run(docker().args(["inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", &self.id])).into()
    }

    /// A container with the gcc toolchain in its image that does nothing until asked.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same with more options for `docker run`.
    pub(crate) fn with(options: &[&str]) -> Self {
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Self::run(&Plan { options, image: image::gcc(), command: &["sleep", "1000000"] })
    }

    /// A container of `image::tiny` that waits in `storm`, whose program does not exist.
    pub(crate) fn idle(options: &[&str]) -> Self {
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Self::run(&Plan { options, image: image::tiny(), command: IDLE })
    }

    /// Any container, in the background. Its working directory /work is a directory of the test's.
    pub(crate) fn run(plan: &Plan<'_>) -> Self {
        let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
        // Users of the container other than root write there too.
        std::fs::set_permissions(work.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        Self::run_in(plan, work)
    }

    /// Any container whose /work is prepared already: what its first process needs lies there.
    pub(crate) fn run_in(plan: &Plan<'_>, work: TempDir) -> Self {
        let name = unique_name();
        let mut command = docker();
        command.args(["run", "-d", "--name", &name, "--label"]).arg(label());
        if !plan.options.iter().any(|option| option == "--network") {
            command.args(["--network", "none"]);
        }
        command.arg("-v").arg(format!("{}:/work", work.path().display())).args(["-w", "/work"]);
        let id = run(command.args(&plan.options).arg(plan.image).args(plan.command));
        Self { id, name, work }
    }

    /// The host's path of /work.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Writes a file in /work; it may be executed.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        put(self.work.path(), name, content)
    }

    /// `docker exec`, in /work, to its end; it must succeed.
    pub(crate) fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(&[], command)
    }

    /// The same with options (`-u 1000`).
    pub(crate) fn exec_with(&self, options: &[&str], command: &[&str]) -> Output {
        let output = self.command(options, command).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", said(&output));
        output
    }

    /// `docker exec -i` that runs on until its standard input is closed, or as long as the command takes.
    pub(crate) fn hold(&self, command: &[&str]) -> Held {
        self.hold_with(&[], command)
    }

    /// The same with options.
    pub(crate) fn hold_with(&self, options: &[&str], command: &[&str]) -> Held {
        let options = [&["-i"], options].concat();
        let mut child = self.command(&options, command);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = child.spawn().unwrap();
        let said = Lines::of(child.stdout.take().unwrap());
        Held { child, said }
    }

    /// Names (comm) of the processes that run in it, from the host's /proc: asking the engine would run `ps`, which
    /// waits for what a hostile process keeps locked.
    pub(crate) fn processes(&self) -> Vec<String> {
        let init = self.init();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let inside = namespace(&init);
        let pids =
            std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let names = pids.filter(|pid| inside.is_some() && namespace(pid) == inside);
        names
            .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok())
            .map(|n| n.trim().to_owned())
            .collect()
    }

    /// The host's pid of its first process.
    pub(crate) fn init(&self) -> String {
        run(docker().args(["inspect", "-f", "{{.State.Pid}}", &self.id]))
    }

    /// Waits until its first process has ended; its exit code.
    pub(crate) fn wait(&self) -> i32 {
        run(docker().args(["wait", &self.id])).parse().unwrap()
    }

    fn command(&self, options: &[&str], command: &[&str]) -> Command {
        let mut docker = docker();
        docker.arg("exec").args(options).args(["-w", "/work", &self.id]).args(command);
        docker
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.id]).output();
    }
}

/// A `docker exec -i` that is still running.
pub(crate) struct Held {
    child: Child,
    said: Lines,
}

impl Held {
    /// Waits for a line of its standard output that starts so.
    pub(crate) fn await_line(&self, start: &str) {
        self.said.await_line(start);
    }

    /// Writes to its standard input.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap();
    }

    /// Closes its standard input and waits for its end; whether it succeeded.
    pub(crate) fn release(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The client alone: what it started in the container ends with the container.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The label of what this run makes.
pub(crate) fn label() -> String {
    format!("{LABEL}={}", std::env::var("CCWATCH_TEST_RUN").unwrap_or_else(|_| std::process::id().to_string()))
}

/// Writes an executable file, with the directories above it.
pub(crate) fn put(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

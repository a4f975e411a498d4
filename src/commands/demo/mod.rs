//! `ccwatch run --demo`: a throw-away container in which a compiler runs, so that a newcomer sees an alert in a second.
//! This file finds the compiler, starts the container and takes it away again; how it is made from the inside is
//! `stage`'s affair, its cgroup `cgroup`'s.
//!
//! ```text
//! this process ──> outer stage ──> init stage (pid 1 of the container) ──> sh -c 'gcc hello.c -o hello'
//!      lifeline: a pipe that nobody writes to. Its other end is init's stdin; when this process closes it, or dies,
//!      init ends, the kernel kills all that is in its pid namespace, and the outer stage removes what is left.
//! ```

mod cgroup;
pub(super) mod stage;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::{AccessFlags, access, mkdtemp};

use crate::cli::{DEMO_STAGE, DemoPlan};
use crate::error::{Error, Result};

/// What is looked for, in this order.
const COMPILERS: [&str; 4] = ["gcc", "cc", "clang", "tcc"];

/// Where a shell would look without PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the stages may take to end by themselves once they are told to; they need milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bounds a line that comes from the container.
const MAX_LINE: u64 = 4096;

/// Where from, and with what, the demo is played.
#[derive(Debug, Clone)]
pub struct Setting {
    /// This program, of which the stages are copies.
    pub program: PathBuf,
    /// Where compilers are looked for, as in PATH.
    pub path: std::ffi::OsString,
}

impl Default for Setting {
    /// The running program, and the PATH that it was given.
    fn default() -> Self {
        let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
        Self { program: own_program(), path: path.unwrap_or_else(|| DEFAULT_PATH.into()) }
    }
}

/// A running demo. Dropping it is [`Demo::stop`].
#[derive(Debug)]
pub struct Demo {
    /// Open as long as the container may live.
    lifeline: Option<ChildStdin>,
    /// The outer stage.
    outer: Arc<Mutex<Child>>,
    /// Repeats what comes from the container, waits for its end, and cleans up.
    keeper: Option<JoinHandle<Result<ExitStatus>>>,
    /// Disconnected when the outer stage has ended.
    ended: mpsc::Receiver<()>,
}

impl Demo {
    /// Makes the container and lets it compile; does not wait for it. `announce` gets one line at a time for the person
    /// in front: the first before this returns, the others on a thread of the demo's own.
    ///
    /// # Errors
    /// What keeps the container from being started. What goes wrong inside is announced.
    pub fn start(announce: impl FnMut(&str) + Send + 'static) -> Result<Self> {
        Self::start_in(&Setting::default(), announce)
    }

    /// As [`Demo::start`], in the given setting.
    ///
    /// # Errors
    /// As [`Demo::start`].
    pub fn start_in(setting: &Setting, mut announce: impl FnMut(&str) + Send + 'static) -> Result<Self> {
        let traces = Traces::make()?;
        let compiler = find_compiler(&setting.path);
        let plan = DemoPlan { root: traces.root.clone(), cgroup: traces.cgroup.clone(), compiler };
        prologue(&plan).iter().for_each(|line| announce(line));

        let mut command = stage_command(&setting.program, "outer", &plan);
        // A group of its own: Ctrl-C is for this process, which then ends the demo in good order.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| Error::os("execute", "the demo's outer stage", error))?;
        let (lifeline, stdout) = (child.stdin.take(), child.stdout.take());
        let outer = Arc::new(Mutex::new(child));
        let (ending, ended) = mpsc::channel();
        let kept = Arc::clone(&outer);
        let keeper = std::thread::Builder::new().name("demo".into()).spawn(move || {
            if let Some(stdout) = stdout {
                repeat(stdout, &mut announce);
            }
            let status = locked(&kept).wait();
            drop(ending);
            drop(traces);
            let status = status.map_err(|error| Error::os("wait for", "the demo's outer stage", error))?;
            announce(&format!("demo: {}; nothing of the container is left", epilogue(status)));
            Ok(status)
        });
        let keeper = keeper.map_err(|error| Error::os("start", "the demo's thread", error))?;
        Ok(Self { lifeline, outer, keeper: Some(keeper), ended })
    }

    /// Waits until the compile has ended by itself and all is cleaned up: the exit status is the compiler's.
    ///
    /// # Errors
    /// The outer stage could not be waited for.
    pub fn wait(mut self) -> Result<ExitStatus> {
        self.join()
    }

    /// Ends the container, where it still lives, and returns when nothing of it is left.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.lifeline = None;
        if self.keeper.is_some() && self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // Init has the outer stage's death as its own signal to die.
            let _ = locked(&self.outer).kill();
        }
        let _ = self.join();
    }

    fn join(&mut self) -> Result<ExitStatus> {
        let ended = || Error::os("wait for", "the demo's thread", std::io::Error::other("it has ended"));
        self.keeper.take().and_then(|keeper| keeper.join().ok()).ok_or_else(ended)?
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.end();
    }
}

/// A thread that panicked while it held the child leaves it as usable as it was.
fn locked(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the demo leaves in the filesystem while it runs.
#[derive(Debug)]
struct Traces {
    root: PathBuf,
    cgroup: Option<PathBuf>,
}

impl Traces {
    /// An empty directory for the root to be mounted on, and a cgroup where there can be one.
    fn make() -> Result<Self> {
        let template = format!("ccwatch-demo-{}-XXXXXX", std::process::id());
        let make = |parent: &Path| mkdtemp(&parent.join(&template));
        let temporary = std::env::temp_dir();
        let root = make(Path::new("/run")).or_else(|_| make(&temporary));
        let root = root.map_err(|error| Error::os("make", format!("a directory in {}", temporary.display()), error))?;
        let cgroup = root.file_name().and_then(|name| cgroup::make(Path::new("/proc"), Path::new(name)));
        Ok(Self { root, cgroup })
    }
}

impl Drop for Traces {
    /// Usually the outer stage has done it; where it was killed, this does.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.root);
        if let Some(cgroup) = &self.cgroup {
            cgroup::remove(cgroup);
        }
    }
}

/// Announces each line that comes from the container, until nobody is left who could write one.
fn repeat(stdout: ChildStdout, announce: &mut impl FnMut(&str)) {
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        announce(&format!("demo: {}", String::from_utf8_lossy(line.trim_ascii_end())));
        line.clear();
    }
}

/// The first lines, in plain words.
fn prologue(plan: &DemoPlan) -> Vec<String> {
    let cgroup = match &plan.cgroup {
        Some(cgroup) => format!("cgroup {}", cgroup.display()),
        None => "no cgroup of its own, since none could be made".into(),
    };
    let container = format!(
        "demo: making a throw-away container: own mount, pid, uts and ipc namespaces, root in memory, {cgroup}"
    );
    let compiler = match &plan.compiler {
        Some(compiler) => format!("demo: compiling a C file in it with {}", compiler.display()),
        None => format!(
            "demo: there is no compiler in PATH ({}): install one, as with \"apt-get install gcc\" or \"dnf install \
             gcc\"; for now a stand-in that compiles nothing runs under the name gcc",
            COMPILERS.join(", ")
        ),
    };
    vec![container, compiler]
}

/// The last line's beginning.
fn epilogue(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => "it has ended well".into(),
        Some(code) => format!("ended with status {code}"),
        None => "ended by a signal".into(),
    }
}

/// The command line of one stage.
fn stage_command(program: &Path, stage: &str, plan: &DemoPlan) -> Command {
    let mut command = Command::new(program);
    command.arg0("ccwatch").args([DEMO_STAGE, stage]).arg("--root").arg(&plan.root);
    for (option, value) in [("--cgroup", &plan.cgroup), ("--compiler", &plan.compiler)] {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    command
}

/// The running program: by its path, so that `ps` shows its name, or where that is gone (an upgrade) by /proc.
fn own_program() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// The first of [`COMPILERS`] that PATH has. Relative directories are no place for what root executes.
fn find_compiler(path: &OsStr) -> Option<PathBuf> {
    COMPILERS.iter().find_map(|name| {
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn compilers_by_their_order_and_not_by_the_path_s() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        for (directory, name, mode) in
            [(&first, "tcc", 0o755), (&first, "gcc", 0o644), (&second, "cc", 0o755), (&second, "clang", 0o755)]
        {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join(name), "").unwrap();
            fs::set_permissions(directory.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(second.join("gcc")).unwrap();
        let path = std::env::join_paths([Path::new("relative"), &first, &second]).unwrap();
        assert_eq!(find_compiler(&path), Some(second.join("cc")));
        assert_eq!(find_compiler(first.as_os_str()), Some(first.join("tcc")));
        assert_eq!(find_compiler(OsStr::new("")), None);
    }

    #[test]
    fn the_prologue_announces_a_stand_in_as_one() {
        let plan = |compiler: Option<&str>| DemoPlan {
            root: "/run/x".into(),
            cgroup: None,
            compiler: compiler.map(PathBuf::from),
        };
        assert!(prologue(&plan(None)).join("\n").contains("a stand-in that compiles nothing"));
        assert!(
            prologue(&plan(Some("/usr/bin/gcc"))).join("\n").ends_with("compiling a C file in it with /usr/bin/gcc")
        );
    }
}

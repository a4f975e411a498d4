//! The small C programs of the live tests, compiled once a test program with this machine's gcc, static so that they
//! run in any container.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use super::{Lines, run};

/// Stays until its standard input is closed.
pub(crate) fn hold() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("hold", &["-O2", "-static"], "tests/common/hold.c"))
}

/// Another program's bytes in memory under a packer's mark; stays until its standard input is closed.
pub(crate) fn packed() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("packed", &["-O2", "-static"], "tests/common/packed.c"))
}

/// The same without the mark, and with a megabyte among its code that is as good as random.
pub(crate) fn packed_without_mark() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let noise = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("noise-{}", std::process::id()));
        let blocks = (0..32_768_u32).flat_map(|number| Sha256::digest(number.to_le_bytes()));
        std::fs::write(&noise, blocks.collect::<Vec<u8>>()).unwrap();
        let define = format!("-DNOISE=\"{}\"", noise.display());
        let program = compile("packed_without_mark", &["-O2", "-static", &define], "tests/common/packed.c");
        std::fs::remove_file(noise).unwrap();
        program
    })
}

/// Lives 5 ms.
pub(crate) fn nap() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("nap", &["-O2", "-static"], "tests/bench/nap.c"))
}

/// Makes every read of its arguments hang, then stays until its standard input is closed.
pub(crate) fn stuck_memory() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("stuck_memory", &["-O2", "-static", "-pthread"], "tests/common/stuck_memory.c"))
}

/// A FUSE server whose one file never answers a read.
pub(crate) fn never_answers() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("never_answers", &["-O2", "-static"], "tests/common/never_answers.c"))
}

/// A FUSE server that holds whatever ccwatch asks, when it is told to.
pub(crate) fn far() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("far", &["-O2", "-static"], "tests/common/far.c"))
}

/// One thread of a process, held until this is released or dropped.
pub(crate) struct Frozen(Child);

impl Frozen {
    /// Holds the thread of this name.
    pub(crate) fn thread(pid: i32, name: &str) -> Self {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let program = BUILT.get_or_init(|| compile("freeze", &["-O2"], "tests/common/freeze.c"));
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let comm = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap();
        let thread = tasks.into_iter().find(|task| comm(task).trim() == name).expect("no such thread").file_name();
        let mut freezer = Command::new(program);
        let mut freezer = freezer.arg(thread).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Lines::of(freezer.stdout.take().unwrap()).await_line("frozen");
        Self(freezer)
    }

    /// Lets it go on.
    pub(crate) fn release(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Runs a program many times, one after another.
pub(crate) fn storm() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("storm", &["-O2", "-static"], "tests/bench/storm.c"))
}

/// Executes a program on a kernel that is older than it is.
pub(crate) fn older() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("older", &["-O2"], "tests/common/older.c"))
}

/// Leaves at once: about 30 us from exec to exit.
pub(crate) fn tiny() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("tiny", &["-nostdlib", "-static", "-s"], "tests/bench/tiny.S"))
}

/// Does what somebody in a container would do to compile unseen.
pub(crate) fn inside() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile("inside", &["-O2", "-static"], "tests/common/inside.c"))
}

/// A program of a compiler's content that lives for so many milliseconds, 30 us at least. What it is called is the test's.
pub(crate) fn disguised(milliseconds: u32) -> PathBuf {
    let options = ["-Os", "-nostdlib", "-static", "-fno-stack-protector", &format!("-DMS={milliseconds}")];
    compile(&format!("disguised-{milliseconds}"), &options, "tests/common/disguised.c")
}

fn compile(name: &str, options: &[&str], source: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    // Renamed when whole: several tests, and test programs, may compile it at the same time.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let unfinished = program.with_extension(format!("{}-{count}", std::process::id()));
    run(Command::new("gcc").args(["-Wall", "-Wextra", "-Werror"]).args(options).arg("-o").arg(&unfinished).arg(source));
    std::fs::rename(&unfinished, &program).unwrap();
    program
}

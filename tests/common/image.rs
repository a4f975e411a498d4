//! The images of the live tests, built from this machine's own files: no registry is asked. `gcc` holds the C toolchain
//! in an image layer, as a careless image would; `host` holds next to nothing and shows the machine's /usr, with every
//! compiler that is installed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::docker::{docker, label};
use super::{program, run};

/// The toolchain's programs, as gcc itself finds them.
const TOOLS: &[&str] = &["cc1", "collect2", "as", "ld"];

/// What gcc links into a C program, as gcc itself finds it.
const PARTS: &[&str] = &[
    "liblto_plugin.so",
    "libgcc.a",
    "libgcc_s.so",
    "libgcc_s.so.1",
    "crtbegin.o",
    "crtbeginS.o",
    "crtend.o",
    "crtendS.o",
    "crt1.o",
    "Scrt1.o",
    "crti.o",
    "crtn.o",
    "libc.so",
    "libc.so.6",
    "libc_nonshared.a",
];

/// Headers of the test programs; those that they include come along.
const HEADERS: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
                       #include <stdint.h>\n#include <stddef.h>\n#include <limits.h>\n#include <math.h>\n";

/// Programs of the scripts, and the compiler by all names that scripts call it.
const PROGRAMS: &[&str] = &[
    "gcc", "cc", "sh", "make", "cat", "cp", "mv", "rm", "ls", "mkdir", "sleep", "true", "env", "setsid", "expr", "sed",
    "grep", "seq", "id",
];

/// The image with gcc, as, ld and a shell: its tag. Made at the first call of a run, in a few seconds.
pub(crate) fn gcc() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        let files = toolchain();
        let mut key = Sha256::new();
        for file in &files {
            let status = fs::metadata(file).unwrap();
            key.update(format!("{} {} {}\n", file.display(), status.len(), status.mtime()));
        }
        import("gcc", &key.finalize(), |root| files.iter().for_each(|file| copy(file, root)))
    })
}

/// The image without programs: its tag. `host_options` shows it this machine's.
pub(crate) fn host() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| import("host", &Sha256::digest(b"1"), |_| {}))
}

/// The image of programs that are gone at once: `gcc` and `tool`, the same 30-us program, and `storm`, which runs them.
/// Its tag.
pub(crate) fn tiny() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        let (tiny, storm) = (program::tiny(), program::storm());
        let key = Sha256::new().chain_update(fs::read(tiny).unwrap()).chain_update(fs::read(storm).unwrap()).finalize();
        import("tiny", &key, |root| {
            for (program, name) in [(tiny, "gcc"), (tiny, "tool"), (storm, "storm")] {
                fs::copy(program, root.join("usr/bin").join(name)).unwrap();
            }
        })
    })
}

/// The same with so many programs in /many. Its tag.
pub(crate) fn many(count: usize) -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        let (tiny, storm) = (program::tiny(), program::storm());
        let key = Sha256::new().chain_update(fs::read(tiny).unwrap()).chain_update(fs::read(storm).unwrap());
        import("many", &key.chain_update(count.to_le_bytes()).finalize(), |root| {
            fs::create_dir(root.join("many")).unwrap();
            for number in 0..count {
                fs::copy(tiny, root.join(format!("many/{number}"))).unwrap();
            }
            fs::copy(tiny, root.join("usr/bin/tool")).unwrap();
            fs::copy(storm, root.join("usr/bin/storm")).unwrap();
        })
    })
}

/// Options of `docker run` that show a container the machine's compilers, read-only.
pub(crate) fn host_options() -> Vec<String> {
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"]));
    let mut shown = vec!["/usr".to_owned(), "/etc/alternatives".to_owned()];
    // The JVM finds its own configuration by links from /usr/lib/jvm into /etc.
    let java = fs::read_dir("/etc").unwrap().flatten().map(|e| e.path().display().to_string());
    shown.extend(java.filter(|path| path.starts_with("/etc/java-")));
    if !sysroot.starts_with("/usr/") {
        shown.push(sysroot);
    }
    shown.iter().flat_map(|path| ["-v".to_owned(), format!("{path}:{path}:ro")]).collect()
}

/// Makes the image of this content, unless the engine has it.
fn import(name: &str, key: &[u8], fill: impl FnOnce(&Path)) -> String {
    let hex: String = key.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("ccwatch-test/{name}:{hex}");
    // Several test programs may start at once (cargo-nextest gives each test a process).
    let lock = fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("image.lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    if docker().args(["image", "inspect", &tag]).output().unwrap().status.success() {
        return tag;
    }
    let root = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    skeleton(root.path());
    fill(root.path());
    let mut tar =
        Command::new("tar").arg("-C").arg(root.path()).args(["-c", "."]).stdout(Stdio::piped()).spawn().unwrap();
    run(docker()
        .args(["import", "-c", "ENV PATH=/usr/bin:/bin", "-c"])
        .arg(format!("LABEL {}", label()))
        .args(["-", &tag])
        .stdin(tar.stdout.take().unwrap()));
    assert!(tar.wait().unwrap().success());
    tag
}

/// Directories and links of the top, and the users' names.
fn skeleton(root: &Path) {
    for directory in ["usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "etc", "tmp", "work", "root", "var"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    for top in ["bin", "sbin", "lib", "lib64", "lib32"] {
        // Links where the machine has links (merged /usr), directories where it has directories.
        match fs::read_link(Path::new("/").join(top)) {
            Ok(target) => std::os::unix::fs::symlink(target, root.join(top)).unwrap(),
            Err(_) if Path::new("/").join(top).is_dir() => fs::create_dir_all(root.join(top)).unwrap(),
            Err(_) => {}
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000::/tmp:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nbuilder:x:1000:\n").unwrap();
}

/// Every file that compiling and linking a C program needs.
fn toolchain() -> BTreeSet<PathBuf> {
    let ask = |option: &str| run(Command::new("gcc").arg(option));
    let mut programs: Vec<PathBuf> = PROGRAMS.iter().filter_map(|name| in_path(name)).collect();
    for tool in TOOLS {
        let found = ask(&format!("-print-prog-name={tool}"));
        programs.push(if found.contains('/') { found.into() } else { in_path(tool).expect("binutils") });
    }
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    for part in PARTS {
        let found = ask(&format!("-print-file-name={part}"));
        if found.contains('/') {
            files.insert(found.into());
        }
    }
    let source = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
    fs::write(source.path(), HEADERS).unwrap();
    let rule = run(Command::new("gcc").arg("-M").arg(source.path()));
    files.extend(rule.split_whitespace().filter(|word| word.starts_with("/usr/")).map(PathBuf::from));
    for program in programs {
        let libraries = Command::new("ldd").arg(&program).output().unwrap();
        let text = String::from_utf8_lossy(&libraries.stdout).into_owned();
        files.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
        files.insert(program);
    }
    // The dynamic loader and the C library's parts that `libc.so`, a linker script, names.
    let script = fs::read_to_string(ask("-print-file-name=libc.so")).unwrap_or_default();
    files.extend(script.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    files.into_iter().filter(|file| file.is_file()).collect()
}

fn in_path(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/local/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// Copies a file to the same place below `root`, and every link on the way to it as a link.
fn copy(file: &Path, root: &Path) {
    // The directory without its links and dots; the last part may be a link and stays one.
    let directory = fs::canonicalize(file.parent().unwrap()).unwrap();
    let real = directory.join(file.file_name().unwrap());
    let target = root.join(real.strip_prefix("/").unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    // gcc looks for its parts as /usr/lib/gcc/TRIPLET/N/../../..: the directories before the dots must be there.
    make_dotted(file, root);
    if target.symlink_metadata().is_ok() {
        return;
    }
    match fs::read_link(&real) {
        Ok(link) => {
            std::os::unix::fs::symlink(&link, &target).unwrap();
            copy(&directory.join(link), root);
        }
        Err(_) => {
            fs::copy(&real, &target).unwrap();
        }
    }
}

fn make_dotted(file: &Path, root: &Path) {
    let mut walked = PathBuf::new();
    for part in file.parent().unwrap().components() {
        if part.as_os_str() == ".." {
            let _ = fs::create_dir_all(root.join(walked.strip_prefix("/").unwrap_or(&walked)));
            walked.pop();
        } else {
            walked.push(part);
        }
    }
}

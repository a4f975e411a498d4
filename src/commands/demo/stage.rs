//! The demo's container from the inside: the processes that make its namespaces, its root and its first process. They
//! are executions of this program, so no code runs between fork and exec; whoever started them is `super`'s affair.
//!
//! Lines for the person in front, errors too, go to stdout, which leads to [`super::Demo`].

use std::fs;
use std::io::{Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, chroot, getegid, pivot_root, sethostname, setsid};

use super::{cgroup, own_program, stage_command};
use crate::cli::{DEMO_STAGE, DemoPlan, DemoStage};
use crate::error::{Error, Result};

/// The host's directories that a compiler needs, bound read-only where they exist; a link becomes the same link.
const BOUND: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What of /etc a compiler needs: the links behind `cc`, and the loader's paths.
const ETC: [&str; 4] = ["alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"];

/// Devices that programs take for granted.
const DEVICES: [&str; 4] = ["null", "zero", "random", "urandom"];

/// Where the container compiles.
const WORK: &str = "build";

const HELLO: &str = "#include <stdio.h>\n\nint main(void)\n{\n    puts(\"hello\");\n    return 0;\n}\n";

/// How long the stand-in lives: about as long as a compile of [`HELLO`], so that it is found by the same look.
const STAND_IN_LIVES: Duration = Duration::from_millis(300);

/// One stage, as the hidden command names it. Its exit code is that of what it waited for, or of its own error, which
/// it has told.
pub(in crate::commands) fn run(stage: &DemoStage) -> ExitCode {
    let done = match stage {
        DemoStage::Outer(plan) => outer(plan),
        DemoStage::Init(plan) => init(plan),
        DemoStage::StandIn { .. } => {
            std::thread::sleep(STAND_IN_LIVES);
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::from(error.exit_code())
    })
}

/// Makes the container around its first process, waits for that, and removes what is left.
fn outer(plan: &DemoPlan) -> Result<ExitCode> {
    let built = build_and_wait(plan);
    // Mounted in no other mount namespace, now that the container's is gone with its last process.
    let _ = umount2(&plan.root, MntFlags::MNT_DETACH);
    let _ = fs::remove_dir(&plan.root);
    if let Some(cgroup) = &plan.cgroup {
        cgroup::remove(cgroup);
    }
    built.map(exit_code)
}

fn build_and_wait(plan: &DemoPlan) -> Result<ExitStatus> {
    let flags =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(flags).map_err(|error| Error::os("make", "the demo's namespaces", error))?;
    // Else the mounts that follow would propagate to the host.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    attach(None, Path::new("/"), None, private, None)?;
    build_root(plan)?;
    sethostname("ccwatch-demo").map_err(|error| Error::os("set", "the demo's host name", error))?;

    let mut command = stage_command(&own_program(), "init", plan);
    // Setting a group makes the standard library fork instead of vfork: kernels before 3.12 refuse vfork after
    // unshare(CLONE_NEWPID) (commit e79f525e99b0). Its stdin, inherited, is the lifeline.
    command.gid(getegid().as_raw());
    command.status().map_err(|error| Error::os("execute", "the demo's init", error))
}

/// The container's root: a tmpfs with the host's programs in it, read-only, and little else.
fn build_root(plan: &DemoPlan) -> Result<()> {
    let root = &plan.root;
    let options = "mode=755,size=256m";
    attach(Some(Path::new("tmpfs")), root, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))?;
    for name in ["dev", "etc", "proc", "root", "tmp", WORK] {
        make_directory(&root.join(name))?;
    }
    let sticky = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(root.join("tmp"), sticky).map_err(|error| Error::file("change", &root.join("tmp"), error))?;

    for name in BOUND {
        show(Path::new("/"), root, name)?;
    }
    for name in ETC {
        show(Path::new("/etc"), &root.join("etc"), name)?;
    }
    for name in DEVICES {
        show(Path::new("/dev"), &root.join("dev"), name)?;
    }
    // A compiler elsewhere (/opt, /nix) needs its own tree.
    let real = plan.compiler.as_ref().and_then(|compiler| compiler.canonicalize().ok());
    for path in plan.compiler.iter().chain(&real) {
        if let Some(name) = top_directory(path).filter(|name| !root.join(name).exists()) {
            show(Path::new("/"), root, name)?;
        }
    }
    write(&root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    write(&root.join("etc/group"), "root:x:0:\n")?;
    write(&root.join(WORK).join("hello.c"), HELLO)?;
    if plan.compiler.is_none() {
        let stand_in = root.join(WORK).join("gcc");
        write(&stand_in, "")?;
        bind(&own_program(), &stand_in)?;
    }
    Ok(())
}

/// The first process of the container: enters its root and cgroup, runs the compile, and ends with it or with the
/// lifeline, whichever ends first. The kernel then kills what is left in the pid namespace (pid_namespaces(7)).
fn init(plan: &DemoPlan) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).map_err(|error| Error::os("set", "the parent-death signal", error))?;
    // A session of its own, as every container's process has.
    setsid().map_err(|error| Error::os("start", "a session", error))?;
    if let Some(cgroup) = &plan.cgroup
        && let Err(error) = cgroup::enter(cgroup)
    {
        say(&format!("it stays in its parent's cgroup: {}: {error}", cgroup.display()));
    }
    // pivot_root(2) moves every process of the mount namespace whose root was the old one: the outer stage must stay.
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| Error::os("make", "the container's mount namespace", error))?;
    let proc = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    attach(Some(Path::new("proc")), &plan.root.join("proc"), Some("proc"), proc, None)?;
    enter_root(&plan.root)?;

    let (line, mut command) = compile(plan)?;
    say(&format!("in the container: {line}"));
    let mut compile = command.spawn().map_err(|error| Error::os("execute", "the container's /bin/sh", error))?;
    let (over, ends) = mpsc::channel();
    let cut = over.clone();
    std::thread::spawn(move || {
        let _ = over.send(compile.wait());
    });
    std::thread::spawn(move || {
        // Nobody writes: this returns when the other end is closed.
        let _ = std::io::stdin().read(&mut [0]);
        let _ = cut.send(Ok(ExitStatus::from_raw(libc::SIGTERM)));
    });
    let status = ends.recv().unwrap_or_else(|_| Ok(ExitStatus::from_raw(libc::SIGTERM)));
    status.map(exit_code).map_err(|error| Error::os("wait for", "the compile", error))
}

/// What the container runs: the line for people, and the command.
fn compile(plan: &DemoPlan) -> Result<(String, Command)> {
    let (directory, call) = match &plan.compiler {
        Some(compiler) => {
            let name = compiler.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (compiler.parent().map(Path::to_path_buf).unwrap_or_default(), name)
        }
        None => (PathBuf::from("/").join(WORK), format!("gcc {DEMO_STAGE} stand-in")),
    };
    let line = format!("{call} hello.c -o hello");
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.map_err(|error| Error::os("duplicate", "stdout", error))?;
    let mut path = directory.into_os_string();
    path.push(":");
    path.push(super::DEFAULT_PATH);
    let mut command = Command::new("/bin/sh");
    // The shell waits for the compiler instead of becoming it: a build as a container has it, with a parent.
    command.arg("-c").arg(format!("{line}; exit $?")).current_dir(Path::new("/").join(WORK));
    command.env_clear().env("PATH", path).env("HOME", "/root").env("LC_ALL", "C");
    command.stdin(Stdio::null()).stderr(Stdio::from(stdout));
    Ok((line, command))
}

/// Makes `root` the root directory, and the host's unreachable.
fn enter_root(root: &Path) -> Result<()> {
    let os = |error: Errno| Error::os("enter", "the container's root", error);
    chdir(root).map_err(os)?;
    match pivot_root(".", ".") {
        // pivot_root(2): the old root now lies over the new one, and goes.
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).map_err(os)?,
        // A host that runs from its initramfs has a root that cannot be pivoted: move over it instead.
        Err(Errno::EINVAL) => {
            mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(os)?;
            chroot(".").map_err(os)?;
        }
        Err(error) => return Err(os(error)),
    }
    chdir("/").map_err(os)
}

/// Shows `parent/name` of the host as `into/name`: a link as the same link, files and directories bound read-only.
/// Nothing where there is nothing.
fn show(parent: &Path, into: &Path, name: &str) -> Result<()> {
    let (source, target) = (parent.join(name), into.join(name));
    let Ok(metadata) = fs::symlink_metadata(&source) else { return Ok(()) };
    if metadata.is_symlink() {
        let link = fs::read_link(&source).map_err(|error| Error::file("read", &source, error))?;
        return std::os::unix::fs::symlink(link, &target).map_err(|error| Error::file("link", &target, error));
    }
    if metadata.is_dir() {
        make_directory(&target)?
    } else {
        write(&target, "")?
    }
    bind(&source, &target)
}

/// Binds `source` with what is mounted below it, then makes the topmost mount read-only: the kernel ignores that flag
/// in the first call (mount(2)).
fn bind(source: &Path, target: &Path) -> Result<()> {
    attach(Some(source), target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
    attach(None, target, None, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None)
}

/// mount(2), its error named by what should have been mounted.
fn attach(
    source: Option<&Path>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<()> {
    mount(source, target, kind, flags, options).map_err(|error| Error::file("mount", source.unwrap_or(target), error))
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(|error| Error::file("make", path, error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::file("write", path, error))
}

/// `opt` of `/opt/cc/bin/gcc`.
fn top_directory(path: &Path) -> Option<&str> {
    let mut components = path.strip_prefix("/").ok()?.components();
    let first = components.next()?.as_os_str().to_str()?;
    components.next().map(|_| first)
}

/// One line for the person in front. Where nobody reads any more there is nothing to say.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// As a shell has it: the code, or 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_compiler_s_own_tree() {
        assert_eq!(top_directory(Path::new("/opt/cc/bin/gcc")), Some("opt"));
        assert_eq!(top_directory(Path::new("/gcc")), None);
        assert_eq!(top_directory(Path::new("gcc")), None);
    }

    #[test]
    fn links_are_shown_as_links_and_what_is_missing_not_at_all() {
        let (host, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink("usr/bin", host.path().join("bin")).unwrap();
        show(host.path(), root.path(), "bin").unwrap();
        show(host.path(), root.path(), "lib32").unwrap();
        assert_eq!(fs::read_link(root.path().join("bin")).unwrap(), Path::new("usr/bin"));
        assert!(!root.path().join("lib32").exists());
    }

    #[test]
    fn the_command_is_a_shell_s() {
        let plan = |compiler: Option<&str>| DemoPlan {
            root: "/run/x".into(),
            cgroup: None,
            compiler: compiler.map(PathBuf::from),
        };
        let (line, command) = compile(&plan(Some("/opt/cc/bin/cc"))).unwrap();
        assert_eq!(line, "cc hello.c -o hello");
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
        assert!(path.to_str().unwrap().starts_with("/opt/cc/bin:"));
        assert_eq!(compile(&plan(None)).unwrap().0, "gcc demo-stage stand-in hello.c -o hello");
    }

    #[test]
    fn exit_codes_as_a_shell_has_them() {
        let code = |raw: i32| format!("{:?}", exit_code(ExitStatus::from_raw(raw)));
        assert_eq!(code(3 << 8), format!("{:?}", ExitCode::from(3)));
        assert_eq!(code(9), format!("{:?}", ExitCode::from(137)));
    }
}

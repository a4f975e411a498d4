//! The demo's container: it is made, it compiles, and nothing of it is left, however it ends. All of it needs root.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use ccwatch::commands::demo::{Demo, Setting};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ccwatch");

/// What the demo of the process `pid` has left: mounts, directories, cgroups and processes, each by its name.
fn traces(pid: u32) -> Vec<String> {
    let mark = format!("ccwatch-demo-{pid}-");
    let mut found: Vec<String> = Vec::new();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mountinfo.lines().filter(|line| line.contains(&mark)).map(String::from));
    let marked = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&mark));
    for parent in [Path::new("/run"), &std::env::temp_dir()] {
        let entries = fs::read_dir(parent).unwrap().flatten().map(|entry| entry.path());
        found.extend(entries.filter(|path| marked(path)).map(|path| path.display().to_string()));
    }
    let mut cgroups = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = cgroups.pop() {
        if marked(&directory) {
            found.push(directory.display().to_string());
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        cgroups.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&mark) {
            found.push(format!("process {}: {}", process.path().display(), String::from_utf8_lossy(&command)));
        }
    }
    found
}

/// One demo at a time in this process: their names begin alike.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    assert!(nix::unistd::geteuid().is_root(), "the demo's tests need root");
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A demo of this process, with the lines that it announces.
fn demo(path: Option<&Path>) -> (Demo, mpsc::Receiver<String>) {
    let (sender, lines) = mpsc::channel();
    let mut setting = Setting { program: PROGRAM.into(), ..Setting::default() };
    if let Some(path) = path {
        setting.path = path.into();
    }
    let announce = move |line: &str| {
        let _ = sender.send(line.to_string());
    };
    (Demo::start_in(&setting, announce).unwrap(), lines)
}

#[test]
fn demo_compiles_and_leaves_nothing() {
    let _alone = stage();
    let (demo, lines) = demo(None);
    let status = demo.wait().unwrap();
    let lines: Vec<String> = lines.iter().collect();
    assert!(status.success(), "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("demo: ")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.ends_with("hello.c -o hello")), "{lines:#?}");
    assert_eq!(traces(std::process::id()), [""; 0]);
}

#[test]
fn demo_without_a_compiler_announces_a_stand_in() {
    let _alone = stage();
    let empty = tempfile::tempdir().unwrap();
    let (demo, lines) = demo(Some(empty.path()));
    let status = demo.wait().unwrap();
    let lines: Vec<String> = lines.iter().collect();
    assert!(status.success(), "{lines:#?}");
    assert!(lines[1].contains("install one") && lines[1].contains("stand-in"), "{lines:#?}");
    assert_eq!(traces(std::process::id()), [""; 0]);
}

#[test]
fn a_stopped_demo_leaves_nothing() {
    let _alone = stage();
    // At once, while the container is being made; and while something runs in it: the stand-in lives long enough.
    let empty = tempfile::tempdir().unwrap();
    for until in ["demo: making", "demo: in the container"] {
        let (demo, lines) = demo(Some(empty.path()));
        lines.iter().find(|line| line.starts_with(until)).unwrap();
        demo.stop();
        assert_eq!(traces(std::process::id()), [""; 0], "{until}");
    }
    let (demo, _lines) = demo(None);
    drop(demo);
    assert_eq!(traces(std::process::id()), [""; 0]);
}

#[test]
fn a_demo_whose_outer_stage_is_killed_leaves_nothing() {
    let _alone = stage();
    let empty = tempfile::tempdir().unwrap();
    let (demo, lines) = demo(Some(empty.path()));
    lines.iter().find(|line| line.starts_with("demo: in the container")).unwrap();
    let all = traces(std::process::id());
    let outer = all.iter().find(|trace| trace.contains("\0outer\0")).unwrap();
    let pid = outer.strip_prefix("process /proc/").unwrap().split(':').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let status = demo.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert_eq!(traces(std::process::id()), [""; 0]);
}

#[test]
fn a_demo_whose_container_breaks_leaves_nothing() {
    let _alone = stage();
    let setting = Setting { program: "/nonexistent/ccwatch".into(), ..Setting::default() };
    let error = Demo::start_in(&setting, |_| ()).unwrap_err();
    assert!(error.to_string().contains("execute the demo's outer stage"), "{error}");
    assert_eq!(traces(std::process::id()), [""; 0]);
}

/// The program with its state in this directory, and no sink but stdout.
fn run_with_demo(directory: &Path) -> Command {
    let config = directory.join("ccwatch.toml");
    let quiet = "[syslog]\nenabled = false\n[alert-file]\nenabled = false\n";
    fs::write(&config, format!("{quiet}[state]\ndirectory = {:?}\n", directory.join("state"))).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let mut run = Command::new(PROGRAM);
    run.args(["run", "--demo", "--config"]).arg(&config);
    run
}

/// Also where stdout is no terminal.
#[test]
fn the_demos_alert_is_shown() {
    let _alone = stage();
    let directory = tempfile::tempdir().unwrap();
    let mut run = run_with_demo(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("is compiling in sandbox") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "ended early");
    }
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert!(run.wait().unwrap().success());
}

#[test]
fn however_run_ends_nothing_of_the_demo_is_left() {
    let _alone = stage();
    let empty = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
        let directory = tempfile::tempdir().unwrap();
        let mut run = run_with_demo(directory.path());
        let mut run = run
            .env("PATH", empty.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(run.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("demo: in the container") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "ended early");
        }
        assert_ne!(traces(run.id()), [""; 0]);
        kill(Pid::from_raw(run.id().try_into().unwrap()), signal).unwrap();
        // Its end is the end of all who hold it, the demo's stages included.
        stderr.read_to_end(&mut Vec::new()).unwrap();
        run.wait().unwrap();
        assert_eq!(traces(run.id()), [""; 0], "{signal}");
    }
}

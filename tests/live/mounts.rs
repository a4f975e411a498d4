//! What a container mounts beside its image: programs on volumes, bind mounts and tmpfs, in its own mount namespace and
//! in those made below it, are counted to the last, and nothing of it is kept alive.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::common::docker::{Container, Held, Plan, docker};
use crate::common::watcher::{Setup, Watcher};
use crate::common::{self, Alert, Lines, alert, image, program};

/// Long enough for what is awaited to be a matter of marks and not of luck.
pub(crate) const STORM: u64 = 2000;

/// What a container needs to mount something: less than `--privileged`, which not every machine can give.
pub(crate) const PRIVILEGES: &[&str] = &["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];

/// A container that waits, with the programs of these tests in /work, which is a bind mount.
pub(crate) fn container(options: &[&str]) -> Container {
    let container = Container::idle(options);
    for (name, file) in [("inside", program::inside()), ("storm", program::storm()), ("gcc", program::tiny())] {
        fs::copy(file, container.work().join(name)).unwrap();
    }
    container
}

/// Several storms at once are more than two cores take.
fn alone_among_storms<T>(storm: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    storm()
}

/// Lets a process go on that storms at once; whether it succeeded.
pub(crate) fn storm_from(mut held: Held) -> bool {
    alone_among_storms(|| {
        held.write(b"x");
        held.release()
    })
}

/// Runs a storm of a program: all of it is counted, and fanotify has seen it.
fn assert_counted(watcher: &Watcher, container: &Container, before: u64, command: &[&str]) {
    alone_among_storms(|| container.exec(command));
    watcher.await_counted(&container.id, before + STORM);
    assert_eq!(
        alert::closed_execs(&watcher.alerts(), &container.id),
        before + STORM,
        "{command:?}\n{}",
        watcher.story()
    );
}

/// Whether the watcher sees a mount namespace through this process.
pub(crate) fn is_held(watcher: &Watcher, pid: &str) -> bool {
    let table = format!("/proc/{pid}/mountinfo");
    let fds = fs::read_dir(format!("/proc/{}/fd", watcher.pid())).unwrap().flatten();
    fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| link == std::path::Path::new(&table))
}

/// The processes of this name in a container.
fn pids_of(name: &str, container: &Container) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let read = |pid: &String, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.filter(|pid| read(pid, "comm").trim() == name && read(pid, "cgroup").contains(&container.id)).collect()
}

/// The same; there is one.
pub(crate) fn pid_of(name: &str, container: &Container) -> String {
    let found = pids_of(name, container);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn storms_on_what_a_container_mounts() {
    let container = container(&["--tmpfs", "/memory:exec", "-v", "/volume"]);
    let watcher = Watcher::start();
    assert_counted(&watcher, &container, 0, &["./storm", "2000", "/work/gcc"]);
    for (n, directory) in (1..).zip(["/memory", "/volume"]) {
        let program = format!("{directory}/gcc");
        container.exec(&["./inside", "load", "gcc", "put", &program]);
        assert_counted(&watcher, &container, n * STORM, &["./storm", "2000", &program]);
    }
    watcher.stop();
}

/// The container is made when the watcher runs already: what it mounts is marked before its first process executes
/// anything.
#[test]
fn an_entrypoint_on_a_volume() {
    let watcher = Watcher::start();
    let containers: Vec<Container> = (0..10)
        .map(|_| {
            let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
            fs::copy(program::tiny(), work.path().join("gcc")).unwrap();
            let plan = Plan { options: vec![], image: image::tiny(), command: &["/work/gcc"] };
            Container::run_in(&plan, work)
        })
        .collect();
    for container in &containers {
        watcher.await_counted(&container.id, 1);
    }
    watcher.stop();
}

#[test]
fn a_tmpfs_mounted_in_the_container() {
    let container = container(PRIVILEGES);
    let watcher = Watcher::start();
    let acts = ["./inside", "load", "gcc", "tmpfs", "/fresh", "put", "/fresh/gcc", "say", "mounted"];
    container.exec(&acts);
    assert_counted(&watcher, &container, 0, &["./storm", "2000", "/fresh/gcc"]);
    // Nothing keeps it from being unmounted.
    container.exec(&["./inside", "umount", "/fresh"]);
    watcher.stop();
}

#[test]
fn a_cloned_namespace_with_a_tmpfs_of_its_own() {
    let container = container(PRIVILEGES);
    let watcher = Watcher::start();
    let held = container.hold(&[
        "./inside",
        "load",
        "gcc",
        "unshare",
        "tmpfs",
        "/tmp",
        "put",
        "/tmp/gcc",
        "say",
        "mounted",
        "wait",
        "--",
        "/work/storm",
        "2000",
        "/tmp/gcc",
    ]);
    held.await_line("mounted");
    // It executes nothing, so it is found because others die unseen.
    let pid = pid_of("inside", &container);
    common::eventually("its mounts are watched", || {
        container.exec(&["./storm", "10", "/usr/bin/tool"]);
        is_held(&watcher, &pid).then_some(())
    });
    assert!(storm_from(held));
    watcher.await_counted(&container.id, STORM);
    assert_eq!(alert::closed_execs(&watcher.stop(), &container.id), STORM);
}

/// The process through which the namespace is watched leaves it, and tells nobody.
#[test]
fn a_namespace_whose_eldest_leaves() {
    let container = container(PRIVILEGES);
    let watcher = Watcher::start();
    let acts = "load gcc unshare say there wait stay say left wait tmpfs /tmp put /tmp/gcc say mounted wait";
    let storm = "-- /work/storm 2000 /tmp/gcc";
    let words: Vec<&str> = ["./inside"].into_iter().chain(acts.split(' ')).chain(storm.split(' ')).collect();
    let mut held = container.hold(&words);
    let await_watched = |is_it: &dyn Fn(&String) -> bool| {
        common::eventually("its mounts are watched", || {
            container.exec(&["./storm", "10", "/usr/bin/tool"]);
            pids_of("inside", &container).iter().any(|pid| is_it(pid) && is_held(&watcher, pid)).then_some(())
        });
    };
    held.await_line("there");
    let eldest = pid_of("inside", &container);
    await_watched(&|_| true);
    held.write(b"x");
    held.await_line("left");
    held.write(b"x");
    held.await_line("mounted");
    await_watched(&|pid| *pid != eldest);
    assert!(storm_from(held));
    watcher.await_counted(&container.id, STORM);
    assert_eq!(alert::closed_execs(&watcher.stop(), &container.id), STORM);
}

/// The walk over /proc tells of a namespace that is new, where there is no connector to do so.
#[test]
fn a_volume_without_the_connector() {
    let setup = Setup::new().brief().set("sensors", "proc-connector", "off").set("sensors", "fanotify", "on");
    let watcher = setup.start();
    let container = container(&[]);
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", container.init())).unwrap();
    let volume = table.lines().find(|line| line.split(' ').nth(4) == Some("/work")).unwrap();
    let number: u32 = volume.split(' ').next().unwrap().parse().unwrap();
    let mark = format!("fanotify mnt_id:{number:x} ");
    common::eventually("a mark on its volume", || {
        let marks = common::marks(Path::new(&format!("/proc/{}", watcher.pid())));
        marks.lines().any(|line| line.starts_with(&mark)).then_some(())
    });
    // What the walk sees while it lives it may count as well.
    alone_among_storms(|| container.exec(&["./storm", "2000", "/work/gcc"]));
    watcher.await_counted(&container.id, STORM);
    watcher.stop();
}

/// A filesystem's number is given to the next one as soon as it is free.
#[test]
fn a_root_directory_whose_number_was_another_containers() {
    let watcher = Watcher::start();
    let containers = [container(PRIVILEGES), container(PRIVILEGES)];
    for container in &containers {
        fs::copy(program::disguised(20), container.work().join("compile")).unwrap();
        let acts = ["./inside", "unshare-mounts", "load", "compile", "tmpfs", "/root", "put", "/root/gcc"];
        let storm = ["load", "storm", "put", "/root/storm", "chroot", "/root", "--", "/storm", "20", "/gcc"];
        alone_among_storms(|| container.exec(&[&acts[..], &storm[..]].concat()));
        assert_eq!(watcher.await_closed(&container.id).execs_of("gcc"), 20, "{}", watcher.story());
    }
    watcher.stop();
}

/// Its first process has the host's root directory, as monitors have that are given the host's files: what that sees, and
/// what the container's other processes see, is marked all the same.
#[test]
fn a_first_process_in_the_hosts_root_directory() {
    let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    for (name, file) in [("inside", program::inside()), ("storm", program::storm()), ("gcc", program::tiny())] {
        fs::copy(file, work.path().join(name)).unwrap();
    }
    let on_host = |name: &str| work.path().join(name).display().to_string();
    let (storm, gcc) = (on_host("storm"), on_host("gcc"));
    let command = &["./inside", "chroot", "/host", "--", &storm, "1000000", "/none", "999000"];
    let options = ["-v", "/:/host", "--tmpfs", "/memory:exec"].map(str::to_owned).into();
    let container = Container::run_in(&Plan { options, image: image::tiny(), command }, work);
    let setup = Setup::new();
    let watcher = setup.start();
    let is_marked = |line: &String| line.contains(&container.id) && line.contains("fanotify on");
    let line = common::eventually("its mounts are marked", || setup.coverage().into_iter().find(is_marked));
    assert!(!line.contains("a mark on its filesystem"), "its root directory is the host's: {line}");
    assert_counted(&watcher, &container, 0, &["./inside", "chroot", "/host", "--", &storm, "2000", &gcc]);
    // Another of its processes has the container's own root directory, and a tmpfs that the first does not see.
    let mut held = container.hold(&["./inside", "load", "gcc", "put", "/memory/gcc", "say", "ready", "wait"]);
    held.await_line("ready");
    let marks = |line: &str| line.split("fanotify on ").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    let before = marks(&line).unwrap();
    common::eventually("the tmpfs is marked", || {
        container.exec(&["./storm", "10", "/usr/bin/tool"]);
        setup.coverage().iter().find(|line| is_marked(line)).and_then(|line| marks(line)).filter(|now| *now > before)
    });
    assert_counted(&watcher, &container, STORM, &["./storm", "2000", "/memory/gcc"]);
    held.write(b"x");
    assert!(held.release());
    watcher.stop();
}

/// Nothing tells then when its process ends, so its table is not held open.
#[test]
fn without_pidfds() {
    let container = container(&["--tmpfs", "/memory:exec"]);
    container.exec(&["./inside", "load", "gcc", "put", "/memory/gcc"]);
    let watcher = Setup::new().kernel("5.2").start();
    assert_counted(&watcher, &container, 0, &["./storm", "2000", "/memory/gcc"]);
    let pid = container.init();
    assert!(!is_held(&watcher, &pid));
    watcher.stop();
}

/// The way to each mount is walked name by name then.
#[test]
fn without_cached_walks() {
    let container = container(&["--tmpfs", "/memory:exec"]);
    container.exec(&["./inside", "load", "gcc", "put", "/memory/gcc"]);
    let watcher = Setup::new().kernel("5.5").start();
    assert_counted(&watcher, &container, 0, &["./storm", "2000", "/memory/gcc"]);
    watcher.stop();
}

/// An overlay is mounted at a second place of the host, and unmounted there: the container's own mount stays known.
#[test]
fn a_second_mount_of_an_overlay_that_goes() {
    let setup = Setup::new();
    let watcher = setup.start();
    let container = container(&[]);
    let marked = |id: &str| {
        let is_it = |line: &str| line.contains(id) && line.contains("a mark on its filesystem");
        setup.coverage().iter().any(|line| is_it(line))
    };
    // What is mounted later is read later.
    let await_reading = || {
        let other = self::container(&[]);
        common::eventually("a later container is marked", || marked(&other.id).then_some(()));
    };
    common::eventually("its overlay is marked", || marked(&container.id).then_some(()));
    let second = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    common::run(Command::new("mount").arg("--bind").arg(container.merged()).arg(second.path()));
    await_reading();
    common::run(Command::new("umount").arg(second.path()));
    await_reading();
    assert!(marked(&container.id), "{:#?}", setup.coverage());
    watcher.stop();
}

/// As a service manager starts it (PrivateMounts): what it sees of the host's mounts are copies, and containers execute
/// through none of them. `unshare`'s child is process 1 here, because the machine's may not be one that tests may look at.
#[test]
fn a_mount_namespace_of_its_own() {
    let container = container(&[]);
    let device = fs::metadata(container.merged()).unwrap().dev();
    let setup = Setup::new();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
    command.args([r#"unshare --mount --propagation slave "$@" & wait"#, "sh"]);
    let inner = setup.command();
    command.arg(inner.get_program()).args(inner.get_args());
    let watcher = setup.spawn(&mut command);
    watcher.await_stderr("watching", |line| line.starts_with("watching"));
    let config = setup.write().display().to_string();
    let pids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_it = |path: &std::path::PathBuf| {
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        read("comm").trim() == "ccwatch" && read("cmdline").contains(&config)
    };
    let watchers: Vec<_> = pids.filter(is_it).collect();
    assert_eq!(watchers.len(), 1, "{watchers:?}");
    let marks = common::marks(&watchers[0]);
    assert!(marks.contains(&format!("fanotify sdev:{device:x} ")), "{device:x} is not among {marks}");
}

/// The thread that marks is held: that is told, and that it goes on again.
#[test]
fn a_watch_over_mounts_that_hangs_is_told() {
    let setup = Setup::new();
    let mut command = setup.command();
    // Signs of life every 100 ms.
    let watcher = setup.spawn(command.env("WATCHDOG_USEC", "300000"));
    watcher.await_stderr("watching", |line| line.starts_with("watching"));
    let frozen = program::Frozen::thread(watcher.pid(), "mounts");
    let said =
        |alert: &Alert, what: &str| alert.text("event.action") == what && alert.0.to_string().contains("fanotify");
    let told = watcher.await_alert("that it hangs", |alert| said(alert, "sensor-degraded"));
    assert!(told.0.to_string().contains("has not moved for"), "{:?}", told.0);
    frozen.release();
    watcher.await_alert("that it goes on", |alert| said(alert, "sensor-recovered"));
    watcher.stop();
}

/// No runtime made it: it is found through its process.
#[test]
fn a_bare_sandbox() {
    assert_sandbox_counted(|top| vec!["tmpfs".to_owned(), top.to_owned()], "");
}

/// Its table shows no mount, as its root directory is none.
#[test]
fn a_bare_sandbox_in_a_plain_directory() {
    assert_sandbox_counted(|_| vec![], "");
}

/// Of its filesystem the host's table tells nothing.
#[test]
fn a_bare_sandbox_below_a_mount_of_its_own() {
    assert_sandbox_counted(|top| vec!["tmpfs".to_owned(), top.to_owned()], "below");
}

/// The files of such an overlay show the devices of what they lie on: its mount alone tells whose they are.
#[test]
fn an_overlay_whose_layers_lie_on_several_filesystems() {
    let directory = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mount = |arguments: &[&str]| common::run(Command::new("mount").args(arguments));
    for name in ["lower", "upper", "merged"] {
        fs::create_dir(at(name)).unwrap();
    }
    for (program, name) in [(program::tiny(), "gcc"), (program::storm(), "storm"), (program::inside(), "inside")] {
        fs::copy(program, at("lower").join(name)).unwrap();
    }
    let path = |name: &str| at(name).display().to_string();
    mount(&["-t", "tmpfs", "tmpfs", &path("upper")]);
    let _upper = Unmounted(at("upper"));
    for name in ["upper/upper", "upper/work"] {
        fs::create_dir(at(name)).unwrap();
    }
    let layers =
        format!("xino=off,lowerdir={},upperdir={},workdir={}", path("lower"), path("upper/upper"), path("upper/work"));
    mount(&["-t", "overlay", "-o", &layers, "overlay", &path("merged")]);
    let _merged = Unmounted(at("merged"));
    let devices = ["merged", "merged/gcc"].map(|name| fs::metadata(at(name)).unwrap().dev());
    assert_ne!(devices[0], devices[1], "its files show another device");
    let setup = Setup::new();
    let watcher = setup.start();
    let mut command = Command::new(program::inside());
    command.args(["unshare-mounts", "chroot", &path("merged"), "load", "/gcc", "put", "/tool"]);
    command.args(["say", "ready", "wait", "--", "/storm", "2000", "/gcc"]);
    Sandbox::start(&mut command, &setup, &watcher).storm(watcher);
}

/// Unmounts at the end of its test.
struct Unmounted(std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// In a mount namespace of its own, after these `acts`, with a root directory `below` the one that they were given.
fn assert_sandbox_counted(acts: impl Fn(&str) -> Vec<String>, below: &str) {
    let setup = Setup::new();
    let watcher = setup.start();
    let directory = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    let device = fs::metadata(directory.path()).unwrap().dev();
    let root = directory.path().join(below);
    let at = |name: &str| root.join(name).display().to_string();
    let (top, gcc, storm) = (root.display().to_string(), at("gcc"), at("storm"));
    let programs = [program::tiny(), program::storm()].map(|program| program.display().to_string());
    let mut command = Command::new(program::inside());
    command.arg("unshare-mounts").args(acts(&directory.path().display().to_string()));
    if !below.is_empty() {
        command.args(["mkdir", &top]);
    }
    command.args(["load", &programs[0], "put", &gcc, "load", &programs[1], "put", &storm]);
    command.args(["chroot", &top, "say", "ready", "wait", "--", "/storm", "2000", "/gcc"]);
    let sandbox = Sandbox::start(&mut command, &setup, &watcher);
    let marks = common::marks(Path::new(&format!("/proc/{}", watcher.pid())));
    assert!(!marks.contains(&format!("fanotify sdev:{device:x} ")), "the host's filesystem is marked: {marks}");
    sandbox.storm(watcher);
}

/// A process in a mount namespace of its own that awaits a byte before it executes compilers.
struct Sandbox {
    child: Child,
    id: String,
}

impl Sandbox {
    /// Returns once its mounts are watched.
    fn start(command: &mut Command, setup: &Setup, watcher: &Watcher) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Lines::of(child.stdout.take().unwrap()).await_line("ready");
        let pid = child.id().to_string();
        let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().display().to_string();
        let id = namespace.replace(":[", "-").replace(']', "");
        common::eventually("its mounts are watched", || {
            // What lives too short to be looked at: somebody may have died there whom nobody knows.
            common::run(Command::new(program::storm()).arg("100").arg(program::tiny()));
            let is_marked = |line: &String| line.contains(&id) && line.contains("of its ") && !line.contains("alone");
            (is_held(watcher, &pid) && setup.coverage().iter().any(is_marked)).then_some(())
        });
        Self { child, id }
    }

    /// All that it executes is counted.
    fn storm(mut self, watcher: Watcher) {
        let storm = || {
            self.child.stdin.take().unwrap().write_all(b"x").unwrap();
            self.child.wait().unwrap()
        };
        assert!(alone_among_storms(storm).success());
        watcher.await_counted(&self.id, STORM);
        assert_eq!(alert::closed_execs(&watcher.stop(), &self.id), STORM);
    }
}

/// What a container mounted is gone with it, and no namespace of it outlives it.
#[test]
fn nothing_is_kept_alive() {
    let container = container(&[PRIVILEGES, &["--tmpfs", "/memory:exec"]].concat());
    let watcher = Watcher::start();
    container.exec(&["./inside", "load", "gcc", "tmpfs", "/fresh", "put", "/fresh/gcc"]);
    container.exec(&["./storm", "10", "/fresh/gcc"]);
    watcher.await_counted(&container.id, 10);
    let id = container.id.clone();
    let pid = container.init();
    assert!(is_held(&watcher, &pid), "its mounts are watched through its first process");
    common::run(docker().args(["stop", "-t", "0", &id]));
    common::run(docker().args(["rm", &id]));
    common::eventually("its table is closed", || (!is_held(&watcher, &pid)).then_some(()));
    watcher.stop();
}

//! Programs on a FUSE filesystem: seen by a fanotify group of their own, and whoever answers for them, or does not, holds up
//! nobody else.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::docker::Container;
use crate::common::watcher::Setup;
use crate::common::{self, Alert, Lines, alert, program};
use crate::{alone, beside_others};
use nix::mount::{MntFlags, umount2};

const STORM: u64 = 2000;

/// A FUSE mount on the host that shows one program under any short name. Dropped, its server ends and it is unmounted.
struct Far {
    directory: tempfile::TempDir,
    server: Child,
    said: Lines,
}

impl Far {
    fn mount(file: &Path) -> Self {
        Self::with(file, &[])
    }

    fn with(file: &Path, options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
        let mut command = Command::new(program::far());
        command.arg(directory.path()).arg(file).args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let said = Lines::of(server.stdout.take().unwrap());
        said.await_line("mounted");
        Self { directory, server, said }
    }

    fn order(&mut self, order: u8, answer: &str) {
        self.server.stdin.as_mut().unwrap().write_all(&[order]).unwrap();
        self.said.await_line(answer);
    }

    /// A container that waits, with the mount at /far.
    fn container(&self) -> Container {
        Container::idle(&["-v", &format!("{}:/far", self.directory.path().display())])
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // The server first: whoever waits for it gets an error then, and the unmount cannot hang.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

/// What doctor says of the container, once it says `what`.
fn await_coverage(setup: &Setup, container: &Container, what: &str) -> String {
    let is_it = |line: &String| line.contains(&container.id) && line.contains(what);
    common::eventually(what, || setup.coverage().into_iter().find(is_it))
}

const MARKED: &str = "by a group of its own on 1 that a server answers for";

/// Everything that a server answers for is marked, in a container that has more than one such mount.
fn await_all_marked(setup: &Setup, container: &Container) {
    common::eventually("all is marked", || {
        let line = setup.coverage().into_iter().find(|line| line.contains(&container.id))?;
        (line.contains("that a server answers for") && !line.contains("by the connector alone")).then_some(())
    });
}

fn said(alert: &Alert, what: &str) -> bool {
    alert.text("event.action") == what && alert.0.to_string().contains("fanotify")
}

/// Without the connector, whose looks might find what its server makes live longer.
#[test]
fn a_storm_on_a_fuse_volume_seen_by_fanotify_alone() {
    let _turn = alone();
    let far = Far::mount(program::tiny());
    let container = far.container();
    let setup = Setup::new().brief().set("sensors", "proc-connector", "off").set("sensors", "procfs-poll", "off");
    let watcher = setup.start();
    await_coverage(&setup, &container, MARKED);
    container.exec(&["/usr/bin/storm", "2000", "/far/gcc"]);
    watcher.await_counted(&container.id, STORM);
    let alerts = watcher.stop();
    assert_eq!(alert::closed_execs(&alerts, &container.id), STORM);
    assert!(alerts.iter().filter(|a| a.state() == "closed").all(|a| a.at("ccwatch.known_by")[0] == "fanotify"));
}

#[test]
fn a_storm_on_a_fuse_volume() {
    let _turn = alone();
    let far = Far::mount(program::tiny());
    let container = far.container();
    let setup = Setup::new().brief();
    let watcher = setup.start();
    let line = await_coverage(&setup, &container, MARKED);
    assert!(!line.contains("by the connector alone"), "{line}");
    common::eventually("the connector may rest", || {
        setup.coverage().first().filter(|line| line.contains("rests in a storm (lazy)")).cloned()
    });
    container.exec(&["/usr/bin/storm", "2000", "/far/gcc"]);
    watcher.await_counted(&container.id, STORM);
    assert_eq!(alert::closed_execs(&watcher.stop(), &container.id), STORM);
}

/// A compiler by its content, under a name that says nothing: read anew at each exec, by somebody who may hang.
#[test]
fn a_disguised_compiler_on_a_fuse_volume() {
    let _turn = alone();
    let far = Far::mount(&program::disguised(0));
    let container = far.container();
    let setup = Setup::new().brief();
    let watcher = setup.start();
    await_coverage(&setup, &container, MARKED);
    container.exec(&["/usr/bin/storm", "1", "/far/tool"]);
    watcher.await_closed(&container.id);
    container.exec(&["/usr/bin/storm", "1", "/far/tool"]);
    watcher.await_counted(&container.id, 2);
    watcher.stop();
}

/// The server answers everybody but the watcher, and there is a storm elsewhere. `point` is where the container shows what it
/// answers for, of this type.
fn a_server_that_never_answers_holds_nobody_else(mut far: Far, container: &Container, point: &str, fs_type: &str) {
    let other = Container::idle(&[]);
    let setup = Setup::new().brief();
    let watcher = setup.start();
    await_all_marked(&setup, container);
    far.order(b'h', "holding");
    container.exec(&["/usr/bin/storm", "5", &format!("{point}/gcc")]);
    far.said.await_line("held");
    other.exec(&["/usr/bin/storm", "2000", "/usr/bin/gcc"]);
    watcher.await_counted(&other.id, STORM);
    watcher.await_alert("that it is held", |alert| said(alert, "sensor-degraded"));
    let held = format!("{point} ({fs_type}: a server holds up what reads of such filesystems)");
    let line = await_coverage(&setup, container, &held);
    assert!(line.contains("connector (eager)"), "{line}");
    far.order(b'r', "released");
    watcher.await_alert("that it is free again", |alert| said(alert, "sensor-recovered"));
    // Its EXEC is forgotten by then, so that it is told as an attempt.
    let late = |alert: &Alert| alert.is_of(&container.id) && alert.at("ccwatch.known_by")[0] == "fanotify";
    watcher.await_alert("what was held", late);
    await_all_marked(&setup, container);
    watcher.stop();
}

#[test]
fn a_fuse_volume_that_never_answers() {
    let _turn = alone();
    let far = Far::mount(program::tiny());
    let container = far.container();
    a_server_that_never_answers_holds_nobody_else(far, &container, "/far", "fuse");
}

/// What a runtime mounts, whose image's layers come from a server.
#[test]
fn an_overlay_over_a_server_that_never_answers() {
    let _turn = alone();
    let far = Far::mount(program::tiny());
    let [empty, over] = [0, 1].map(|_| tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap());
    let layers = format!("lowerdir={}:{}", far.directory.path().display(), empty.path().display());
    common::run(Command::new("mount").args(["-t", "overlay", "-o", &layers, "none"]).arg(over.path()));
    let container = Container::idle(&["-v", &format!("{}:/over", over.path().display())]);
    a_server_that_never_answers_holds_nobody_else(far, &container, "/over", "overlay");
    drop(container);
    umount2(over.path(), MntFlags::MNT_DETACH).unwrap();
}

/// Where anybody may mount, nothing tells for certain where an overlay's layers lie.
#[test]
fn an_overlay_in_a_user_namespace() {
    let _turn = alone();
    let container =
        Container::idle(&["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--tmpfs", "/over"]);
    std::fs::copy(program::inside(), container.work().join("inside")).unwrap();
    let setup = Setup::new().brief();
    let watcher = setup.start();
    let mut held = container.hold(&[
        "./inside",
        "unshare",
        "overlay",
        "/work",
        "/over",
        "say",
        "mounted",
        "wait",
        "--",
        "/usr/bin/storm",
        "2000",
        "/over/bin/gcc",
    ]);
    held.await_line("mounted");
    common::eventually("it is marked", || {
        // What lives too short to be looked at: somebody may have died there whom nobody knows.
        container.exec(&["/usr/bin/storm", "10", "/usr/bin/tool"]);
        let is_it = |line: &String| line.contains(&container.id) && line.contains(MARKED);
        setup.coverage().into_iter().find(is_it)
    });
    held.write(b"x");
    assert!(held.release());
    watcher.await_counted(&container.id, STORM);
    assert_eq!(alert::closed_execs(&watcher.stop(), &container.id), STORM);
}

#[test]
fn a_containers_own_overlay_over_a_server_that_never_answers() {
    let _turn = alone();
    let far = Far::mount(program::tiny());
    let volume = format!("{}:/far", far.directory.path().display());
    let options = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--tmpfs", "/over", "-v", &volume];
    let container = Container::idle(&options);
    std::fs::copy(program::inside(), container.work().join("inside")).unwrap();
    container.exec(&["./inside", "overlay", "/far", "/over"]);
    a_server_that_never_answers_holds_nobody_else(far, &container, "/over", "overlay");
}

/// The server does not even answer whoever marks its mount: that is left, and everything else marked.
#[test]
fn a_server_that_never_answers_holds_no_mark_of_others() {
    let _turn = beside_others();
    let mut far = Far::with(program::tiny(), &["strict"]);
    far.order(b'h', "holding");
    let container = far.container();
    let other = Container::idle(&["--tmpfs", "/memory:exec"]);
    let setup = Setup::new().brief();
    let watcher = setup.start();
    far.said.await_line("held");
    await_coverage(&setup, &other, "fanotify on");
    let line = await_coverage(&setup, &container, "by the connector alone: /far (fuse: its server does not answer)");
    assert!(line.contains("connector (eager)"), "{line}");
    watcher.stop();
    far.order(b'r', "released");
    let again = setup.start();
    await_coverage(&setup, &container, MARKED);
    again.stop();
}

/// Who closes a file waits for its server, and cannot be killed: whoever must not wait never has one in his hands, and nobody
/// is left with another's.
#[test]
fn a_server_that_never_lets_anybody_close_holds_nobody_else() {
    let _turn = alone();
    let mut far = Far::mount(&program::disguised(0));
    let container = far.container();
    let other = Container::idle(&[]);
    let mut passwd = tempfile::NamedTempFile::new().unwrap();
    passwd.write_all(b"captain:x:0:0::/:\n").unwrap();
    let users = Far::mount(passwd.path());
    let named = Container::idle(&["-v", &format!("{}/users:/etc/passwd", users.directory.path().display())]);
    std::fs::copy(program::disguised(300), named.work().join("tool")).unwrap();
    let setup = Setup::new().brief();
    let watcher = setup.start();
    await_all_marked(&setup, &container);
    far.order(b'c', "holding");
    container.exec(&["/usr/bin/storm", "1", "/far/tool"]);
    far.said.await_line("held");
    other.exec(&["/usr/bin/storm", "2000", "/usr/bin/gcc"]);
    watcher.await_counted(&other.id, STORM);
    watcher.await_closed(&container.id);
    named.exec(&["./tool"]);
    assert_eq!(watcher.await_closed(&named.id).text("process.user.name"), "captain");
    watcher.stop();
}

/// What a container's files tell is asked for where a server answers for them too, whether anything is known of that or not:
/// the content of what is executed, the users' names, and a launcher's file of arguments.
#[test]
fn a_watcher_ends_though_a_server_holds_what_a_containers_files_tell() {
    let _turn = beside_others();
    let mut far = Far::mount(&program::disguised(60_000));
    let mut strict = Far::with(program::tiny(), &["strict"]);
    let users = format!("{}/users:/etc/passwd", far.directory.path().display());
    let [content, names, arguments] = [far.container(), Container::idle(&["-v", &users]), strict.container()];
    std::fs::copy(program::hold(), arguments.work().join("java")).unwrap();
    let setup = Setup::new().brief().set("sensors", "fanotify", "off");
    let watcher = setup.start();
    far.order(b'h', "holding");
    strict.order(b'h', "holding");
    let held = content.hold(&["/far/tool"]);
    far.said.await_line("held");
    names.exec(&["/usr/bin/gcc"]);
    far.said.await_line("held");
    watcher.await_closed(&names.id);
    let more = arguments.hold(&["./java", "@/far/args"]);
    strict.said.await_line("held");
    watcher.stop();
    drop((far, strict));
    drop((held, more));
}

/// It ends in time while a server holds its event, and while one holds the content of a compiler that lives.
#[test]
fn a_watcher_ends_though_a_server_never_answers() {
    let _turn = beside_others();
    let mut far = Far::mount(&program::disguised(60_000));
    let container = far.container();
    let setup = Setup::new().brief();
    let watcher = setup.start();
    await_coverage(&setup, &container, MARKED);
    far.order(b'h', "holding");
    let held = container.hold(&["/far/tool"]);
    far.said.await_line("held");
    watcher.await_alert("that it is held", |alert| said(alert, "sensor-degraded"));
    watcher.stop();
    // The next one finds all as if there had been none before, and the process that hangs holds no place of its.
    let again = setup.start();
    again.stop();
    drop(far);
    drop(held);
}

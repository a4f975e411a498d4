//! Compilers under other names, and other programs under a compiler's: content tells, whatever they are called, on every
//! kind of filesystem that a container has.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::docker::Plan;
use crate::common::docker::put;
use crate::common::watcher::{BINARY, Setup};
use crate::common::{Alert, Container, Watcher, alert, image, program, run};
use crate::{alone, watch};

const C: &str = "int main(void) { return 0; }\n";

/// A container that sees this machine's compilers, /fresh a tmpfs of its own.
fn container() -> Container {
    let mut options = image::host_options();
    options.extend(["--tmpfs", "/fresh:exec"].map(str::to_owned));
    let container = Container::run(&Plan { options, image: image::host(), command: &["sleep", "1000000"] });
    container.put("a.c", C);
    container
}

/// This machine's compiler of that name, with all links followed.
fn compiler(name: &str) -> PathBuf {
    std::fs::canonicalize(run(Command::new("which").arg(name))).unwrap()
}

/// The first alert of a container that names this family.
fn await_family(watcher: &Watcher, container: &Container, family: &str) -> Alert {
    watcher.await_alert(family, |a| a.is_of(&container.id) && a.text("ccwatch.verdict.family") == family)
}

/// Fails unless the alert is about a renamed compiler.
fn assert_masquerade(alert: &Alert, executable: &str) {
    assert_eq!(alert.text("process.executable"), executable, "{alert}");
    assert_eq!(alert.at("ccwatch.masquerade"), true, "{alert}");
    assert_ne!(alert.text("ccwatch.verdict.confidence"), "low", "{alert}");
    assert_eq!(alert.text("ccwatch.severity"), "high", "{alert}");
}

#[test]
fn a_renamed_compiler_on_every_filesystem() {
    let _turn = alone();
    let tcc = compiler("tcc");
    for path in ["/opt/report", "/work/report", "/fresh/report"] {
        let container = container();
        container.exec(&["mkdir", "-p", "/opt"]);
        container.exec(&["cp", tcc.to_str().unwrap(), path]);
        let watcher = watch();
        container.exec(&[path, "-c", "a.c"]);
        assert_masquerade(&await_family(&watcher, &container, "tcc"), path);
        watcher.await_closed(&container.id).assert_counts(&[("report", 1)]);
        watcher.stop();
    }
}

/// While it runs, its interpreter has its name, or that of a link; afterwards nobody tells what that was.
#[test]
fn a_renamed_compiler_that_is_a_script() {
    let _turn = alone();
    let of_shell =
        |first: &str| format!("#!/bin/sh\n{first}\nrun_java org.eclipse.jdt.internal.compiler.batch.Main \"$@\"\n");
    let of_python = "#!/usr/bin/python3\nprint('ready', flush=True)\ninput()\nfrom Cython.Compiler.Main import main\n";
    // That an opened file is what runs its name alone can tell.
    for (fanotify, shorts) in [("auto", &["page", "link"][..]), ("open", &["page"])] {
        let container = container();
        container.put("report", of_shell("echo ready; read line; exit 0"));
        container.put("sheet", of_python);
        container.put("page", of_shell("exit"));
        container.exec(&["ln", "-s", "page", "link"]);
        // What a disk has yet to read may be confirmed later than its alert goes.
        container.exec(&["/usr/bin/python3", "-c", ""]);
        let closes = |a: &Alert, name| a.is_of(&container.id) && a.state() == "closed" && a.execs_of(name) > 0;
        let watcher = Setup::new().brief().set("sensors", "fanotify", fanotify).start();
        for (script, family) in [("report", "ecj"), ("sheet", "cython")] {
            let held = container.hold(&[&format!("/work/{script}"), "a"]);
            held.await_line("ready");
            let alert = await_family(&watcher, &container, family);
            assert_masquerade(&alert, &format!("/work/{script}"));
            assert_eq!(alert.at("ccwatch.confirmed"), true, "{alert}");
            drop(held);
            watcher.await_alert(script, |a| closes(a, script)).assert_counts(&[(script, 1)]);
        }
        for short in shorts {
            container.exec(&[&format!("/work/{short}"), "A.java"]);
        }
        watcher.await_alert("the short ones", |a| closes(a, "page"));
        let alerts = watcher.stop();
        let counted: u64 = alerts.iter().filter(|a| closes(a, "page")).map(|a| a.number("ccwatch.session.execs")).sum();
        assert_eq!(counted, shorts.len() as u64, "{alerts:#?}");
    }
}

/// Both the overlay's file and that of its layer are reported: one exec all the same.
#[test]
fn a_renamed_compiler_on_an_overlay_over_memory() {
    let _turn = alone();
    let memory = ["--tmpfs", "/memory:exec", "--tmpfs", "/over:exec"];
    let container =
        Container::idle(&[&["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"], &memory[..]].concat());
    for (program, name) in [(program::inside(), "inside"), (&program::disguised(0), "report")] {
        std::fs::copy(program, container.work().join(name)).unwrap();
    }
    let layers = ["lower", "upper", "work"].map(|layer| format!("/memory/{layer}"));
    let mkdir = layers.iter().flat_map(|layer| ["mkdir", layer]);
    let put = ["load", "report", "put", "/memory/lower/report", "writable", "/memory", "/over"];
    container.exec(&["./inside"].into_iter().chain(mkdir).chain(put).collect::<Vec<_>>());
    let watcher = watch();
    container.exec(&["/usr/bin/storm", "200", "/over/report"]);
    watcher.await_counted(&container.id, 200);
    assert_eq!(alert::closed_execs(&watcher.stop(), &container.id), 200);
}

/// This machine's dynamic loader.
fn loader() -> String {
    run(Command::new("sh").args(["-c", "ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -n 1"]))
}

/// Long enough to be looked at while it is compiled.
fn large() -> String {
    (0..20_000).map(|n| format!("int f{n}(int a) {{ return a * {n}; }}\n")).collect()
}

#[test]
fn a_renamed_compiler_without_fanotify() {
    let _turn = alone();
    let container = container();
    container.exec(&["cp", compiler("tcc").to_str().unwrap(), "/work/report"]);
    let watcher = Setup::new().set("sensors", "fanotify", "off").start();
    container.put("large.c", large());
    container.exec(&["/work/report", "-c", "large.c"]);
    assert_masquerade(&await_family(&watcher, &container, "tcc"), "/work/report");
    watcher.stop();
}

/// A runtime on its way into a container has the host's root directory as well.
#[test]
fn a_renamed_compiler_in_the_hosts_root_directory() {
    let _turn = alone();
    let mut options = image::host_options();
    options.extend(["-v", "/:/host"].map(str::to_owned));
    let container = Container::run(&Plan { options, image: image::host(), command: &["sleep", "1000000"] });
    let work = |name: &str| container.work().join(name).to_str().unwrap().to_owned();
    std::fs::copy(compiler("tcc"), work("report")).unwrap();
    container.put("large.c", large());
    let watcher = Setup::new().set("sensors", "fanotify", "off").start();
    let compile =
        format!("/usr/sbin/chroot /host {} -c {} -o {}; true", work("report"), work("large.c"), work("large.o"));
    container.exec(&["sh", "-c", &compile]);
    assert_masquerade(&await_family(&watcher, &container, "tcc"), &format!("/host{}", work("report")));
    watcher.stop();
}

/// Reading a compiler proper takes longer than an alert waits for what a loader runs.
#[test]
fn a_large_compiler_that_the_loader_runs_for_the_first_time() {
    let _turn = alone();
    let container = container();
    let cc1 = PathBuf::from(run(Command::new("gcc").arg("-print-prog-name=cc1")));
    for number in 0..3 {
        std::fs::copy(&cc1, container.work().join(format!("worker-{number}"))).unwrap();
    }
    let loader = loader();
    let watcher = watch();
    container.exec(&[
        "sh",
        "-c",
        &format!("for n in 0 1 2; do sleep 1 | {loader} /work/worker-$n -quiet - -o /dev/null; done"),
    ]);
    let alert = await_family(&watcher, &container, "gcc-cc1");
    assert_eq!((alert.at("ccwatch.masquerade"), alert.text("ccwatch.severity")), (&true.into(), "high"), "{alert}");
    let closed = watcher.await_closed(&container.id);
    assert_eq!(closed.number("ccwatch.session.execs"), 3, "{closed}");
    watcher.stop();
}

#[test]
fn a_renamed_compiler_of_more_than_200_megabytes() {
    let _turn = alone();
    let container = container();
    let report = container.put("report", std::fs::read(compiler("tcc")).unwrap());
    std::fs::OpenOptions::new().write(true).open(report).unwrap().set_len(201 << 20).unwrap();
    let watcher = watch();
    container.exec(&["/work/report", "-c", "a.c"]);
    assert_masquerade(&await_family(&watcher, &container, "tcc"), "/work/report");
    watcher.stop();
}

#[test]
fn a_driver_and_a_compiler_proper_renamed_and_stripped() {
    let _turn = alone();
    let container = container();
    let strip = |from: &Path, to: &str| {
        run(Command::new("objcopy")
            .args(["--strip-all", "--remove-section=.note.gnu.build-id", "--remove-section=.comment"])
            .arg(from)
            .arg(container.work().join(to)));
    };
    strip(&compiler("gcc"), "nginx");
    strip(Path::new(&run(Command::new("gcc").arg("-print-prog-name=cc1"))), "worker");
    std::fs::OpenOptions::new()
        .append(true)
        .open(container.work().join("nginx"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 5000]))
        .unwrap();
    let watcher = watch();
    container.exec(&["/work/worker", "-quiet", "a.c", "-o", "/dev/null"]);
    assert_masquerade(&await_family(&watcher, &container, "gcc-cc1"), "/work/worker");
    container.exec(&["/work/nginx", "-c", "a.c"]);
    assert_masquerade(&await_family(&watcher, &container, "gcc-driver"), "/work/nginx");
    watcher.stop();
}

fn a_packed_compiler(program: &Path) {
    let container = container();
    container.put("report", std::fs::read(program).unwrap());
    let watcher = watch();
    let held = container.hold(&["/work/report", compiler("tcc").to_str().unwrap()]);
    held.await_line("ready");
    let alert = await_family(&watcher, &container, "tcc");
    assert_masquerade(&alert, "/work/report");
    assert_eq!(alert.at("ccwatch.packed"), true, "{alert}");
    assert!(alert.list("ccwatch.verdict.evidence").contains(&"packed"), "{alert}");
    assert!(held.release());
    watcher.stop();
}

#[test]
fn a_packed_compiler_is_told_by_its_memory() {
    let _turn = alone();
    a_packed_compiler(program::packed());
}

/// As UPX's own program runs on when its mark was overwritten.
#[test]
fn a_packed_compiler_without_its_packers_mark() {
    let _turn = alone();
    a_packed_compiler(program::packed_without_mark());
}

/// Tells another thread to stop, also when this one panics.
struct Stop<'s>(&'s std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whose owner changes its times as fast as it can: each read of it ends with other times than it began with.
#[test]
fn a_renamed_compiler_whose_times_never_stand_still() {
    let _turn = alone();
    let container = container();
    container.exec(&["cp", compiler("tcc").to_str().unwrap(), "/work/report"]);
    let file = std::fs::File::open(container.work().join("report")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let watcher = watch();
    let alert = std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            for second in (1..).take_while(|_| !stop.load(std::sync::atomic::Ordering::Relaxed)) {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
                file.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
            }
        });
        container.exec(&["/work/report", "-c", "a.c"]);
        await_family(&watcher, &container, "tcc")
    });
    assert_masquerade(&alert, "/work/report");
    watcher.stop();
}

/// A copy of node under another name runs the compiler of TypeScript: a script of this name, and nothing else is known of it.
#[test]
fn a_script_that_a_renamed_interpreter_runs() {
    let _turn = alone();
    let container = container();
    container.exec(&["cp", compiler("node").to_str().unwrap(), "/work/report"]);
    container.put("tsc", "console.log('ready'); process.stdin.resume();\n");
    let watcher = watch();
    let held = container.hold(&["/work/report", "/work/tsc", "a.ts"]);
    held.await_line("ready");
    let alert = await_family(&watcher, &container, "tsc");
    assert_eq!(alert.text("process.executable"), "/work/report", "{alert}");
    assert_eq!(alert.list("ccwatch.verdict.evidence"), ["script"], "{alert}");
    assert!(held.release());
    watcher.stop();
}

/// `java @FILE`: the class stands in the file.
#[test]
fn a_compiler_that_a_file_of_arguments_names() {
    let _turn = alone();
    let container = container();
    container.put("java", std::fs::read(program::hold()).unwrap());
    container.put("arguments", "# of a build\n-cp \"a b\"\ncom.sun.tools.javac.Main A.java\n");
    let watcher = watch();
    let held = container.hold(&["/work/java", "-Xmx1g", "@arguments"]);
    let alert = await_family(&watcher, &container, "javac");
    assert_eq!(alert.list("ccwatch.verdict.evidence"), ["arguments"], "{alert}");
    assert_eq!(alert.list("process.args"), ["/work/java", "-Xmx1g", "@arguments"], "{alert}");
    assert!(held.release());
    watcher.stop();
}

/// `JDK_JAVA_OPTIONS=--source 17 java A`: that A is a source stands in the environment.
#[test]
fn a_compile_that_the_environment_asks_for() {
    let _turn = alone();
    let container = container();
    container.put("java", std::fs::read(program::hold()).unwrap());
    let watcher = watch();
    let held = container.hold(&["env", "JDK_JAVA_OPTIONS=--source 17", "/work/java", "A"]);
    let alert = await_family(&watcher, &container, "javac");
    assert_eq!(alert.list("ccwatch.verdict.evidence"), ["arguments"], "{alert}");
    assert_eq!(alert.list("process.args"), ["/work/java", "A"], "{alert}");
    assert!(held.release());
    watcher.stop();
}

/// It is gone before anybody could look at its memory.
#[test]
fn a_packed_program_that_ends_at_once_is_a_finding_of_its_own() {
    let _turn = alone();
    let container = container();
    container.put("report", [&std::fs::read(program::tiny()).unwrap()[..], b"UPX!"].concat());
    let watcher = watch();
    container.exec(&["/work/report"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.text("process.executable"), "/work/report", "{opened}");
    assert_eq!(
        (opened.text("ccwatch.verdict.family"), opened.text("ccwatch.severity")),
        ("unknown", "high"),
        "{opened}"
    );
    assert_eq!(opened.list("ccwatch.verdict.evidence"), ["packed"], "{opened}");
    watcher.await_closed(&container.id).assert_counts(&[("report", 1)]);
    watcher.stop();
}

/// It waits for longer than anybody looks, and nothing has shown what it is: each exec of it is a finding, also when it was
/// read before.
#[test]
fn a_packed_program_that_waits_before_it_unpacks_is_a_finding_of_its_own() {
    let _turn = alone();
    let container = container();
    container.put("report", std::fs::read(program::packed()).unwrap());
    container.exec(&["mkfifo", "/work/fifo"]);
    let watcher = watch();
    let waits = "/work/report /work/fifo & echo ready; read end; : >/work/fifo; wait; exit 0";
    for _ in 0..2 {
        let held = container.hold(&["/bin/sh", "-c", waits]);
        held.await_line("ready");
        let opened = watcher.await_opened(&container.id);
        assert_eq!(opened.text("ccwatch.verdict.family"), "unknown", "{opened}");
        assert_eq!(opened.list("ccwatch.verdict.evidence"), ["packed"], "{opened}");
        assert!(held.release());
        watcher.await_closed(&container.id).assert_counts(&[("report", 1)]);
    }
    watcher.stop();
}

/// The executed file is the loader's, under its own name or another; what it loads is in the arguments.
#[test]
fn a_renamed_compiler_that_the_loader_runs() {
    let _turn = alone();
    let container = container();
    container.put("large.c", large());
    container.exec(&["cp", compiler("tcc").to_str().unwrap(), "/work/report"]);
    container.exec(&["ln", "-s", "/work/report", "/fresh/link"]);
    let loader = loader();
    container.exec(&["cp", "-L", &loader, "/work/start"]);
    let watcher = watch();
    for command in [
        [&loader, "./report", "-c", "large.c"].as_slice(),
        &[&loader, "--library-path", "/nowhere", "--argv0", "nginx", "/work/report", "-c", "large.c"],
        &["/work/start", "/fresh/../fresh/link", "-c", "large.c"],
    ] {
        container.exec(command);
        let alert = watcher.await_alert("tcc", |a| {
            a.is_of(&container.id) && a.text("ccwatch.verdict.family") == "tcc" && a.list("process.args") == command
        });
        assert_eq!((alert.at("ccwatch.masquerade"), alert.text("ccwatch.severity")), (&true.into(), "high"), "{alert}");
        assert_eq!(alert.list("ccwatch.verdict.evidence")[..2], ["arguments", "marker"], "{alert}");
    }
    // What it says of others.
    container.exec(&[&loader, "/bin/true"]);
    container.exec(&["/work/start", "/bin/sleep", "0.1"]);
    container.exec(&["tcc", "-c", "a.c"]);
    watcher.await_alert("the last", |a| a.is_of(&container.id) && a.text("process.name") == "tcc");
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(|a| a.is_of(&container.id)).collect();
    assert!(alerts.iter().all(|a| a.families() == ["tcc"]), "{alerts:#?}");
}

#[test]
fn a_program_that_borrows_a_name_is_told_with_low_confidence() {
    let _turn = alone();
    let container = container();
    container.put("gcc", std::fs::read(program::tiny()).unwrap());
    let watcher = watch();
    container.exec(&["/work/gcc"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.text("ccwatch.verdict.confidence"), "low", "{opened}");
    assert_eq!(opened.list("ccwatch.verdict.evidence"), ["name"], "{opened}");
    watcher.stop();
}

/// Each script is the next one's interpreter; the kernel goes down so far (exec_binprm in fs/exec.c; 3.10 had four), and
/// the name is that of the first.
#[test]
fn a_script_whose_interpreters_are_scripts() {
    let _turn = alone();
    let container = container();
    container.put("one", "#!/bin/sh\nsleep 0.1\n");
    for (name, interpreter) in
        [("two", "one"), ("three", "two"), ("gcc", "three"), ("loop-a", "loop-b"), ("loop-b", "loop-a")]
    {
        container.put(name, format!("#!/work/{interpreter}\n"));
    }
    container.put("long", [b"#!", &vec![b'x'; 64 << 10][..], b"\n"].concat());
    container.put("empty", b"#!\0\0\0/usr/bin/gcc\n");
    let watcher = watch();
    container.exec(&["sh", "-c", "! /work/loop-a; /work/long; /work/empty; true"]);
    container.exec(&["/work/gcc"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!((opened.families(), opened.text("ccwatch.verdict.confidence")), (vec!["gcc-driver"], "low"), "{opened}");
    let args = opened.list("process.args");
    assert_eq!(args[1..], ["/work/one", "/work/two", "/work/three", "/work/gcc"], "{opened}");
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 1)]);
    watcher.stop();
}

#[test]
fn a_database_that_was_read_again_judges_anew() {
    let _turn = alone();
    let setup = Setup::new();
    let container = container();
    let watcher = setup.start();
    // Innocent, and ignored from then on: it lies in the image.
    for _ in 0..3 {
        container.exec(&["/bin/true"]);
    }
    let entry = run(Command::new(BINARY).args(["fingerprint", "--entry"]).arg(compiler("true")));
    put(setup.home(), "fingerprints.d/own.toml", entry);
    watcher.signal(nix::sys::signal::Signal::SIGHUP);
    watcher.await_stderr("the database was read again", |line| line.contains("the database was read again"));
    container.exec(&["/bin/true"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.text("ccwatch.verdict.confidence"), "certain", "{opened}");
    watcher.stop();
}

#[test]
fn what_is_known_good_is_silent_as_long_as_it_is_listed() {
    let _turn = alone();
    let container = container();
    // The shipped database has this machine's own by its hash: that is no file that a list may call good.
    container.put("report", [std::fs::read(compiler("tcc")).unwrap(), b"appended".to_vec()].concat());
    container.exec(&["cp", "report", "tcc"]);
    let sum = run(Command::new("sha256sum").arg(container.work().join("report")));
    let setup = Setup::new();
    let list = format!("schema = 1\n[[known-good]]\nsha256 = ['{}']\n", sum.split(' ').next().unwrap());
    put(setup.home(), "fingerprints.d/good.toml", list);
    let watcher = setup.start();
    container.exec(&["/work/tcc", "-c", "a.c"]);
    container.exec(&["/work/report", "-c", "a.c"]);
    // Once this is told, they were judged.
    container.exec(&["gcc", "-c", "a.c"]);
    let closed = watcher.await_closed(&container.id);
    assert!(!closed.families().contains(&"tcc"), "{closed}");
    put(setup.home(), "fingerprints.d/good.toml", "schema = 1\n");
    watcher.signal(nix::sys::signal::Signal::SIGHUP);
    watcher.await_stderr("the database was read again", |line| line.contains("the database was read again"));
    container.exec(&["/work/report", "-c", "a.c"]);
    assert_masquerade(&await_family(&watcher, &container, "tcc"), "/work/report");
    let of_tcc = |a: &&Alert| a.is_of(&container.id) && a.families().contains(&"tcc");
    assert_eq!(watcher.stop().iter().filter(of_tcc).count(), 2);
}

#[test]
fn innocent_programs_are_silent_under_names_that_nobody_knows() {
    let _turn = alone();
    let container = container();
    for program in ["bash", "sed", "tar", "grep", "perl"] {
        let from = compiler(program);
        container.exec(&["cp", from.to_str().unwrap(), &format!("/work/{program}-renamed")]);
        container.exec(&[&format!("/work/{program}-renamed"), "--version"]);
    }
    let watcher = watch();
    for program in ["bash", "sed", "tar", "grep", "perl"] {
        container.exec(&[&format!("/work/{program}-renamed"), "--version"]);
    }
    // What comes after them shows that they were judged.
    container.exec(&["tcc", "-c", "a.c"]);
    watcher.await_closed(&container.id);
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(|a| a.is_of(&container.id)).collect();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    assert!(alerts.iter().all(|a| a.families() == ["tcc"]), "{alerts:#?}");
}

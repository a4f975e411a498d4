//! What somebody in a container does to compile unseen, while every ignore mark is warm and the connector's reader rests:
//! each is seen or, where it lives too short, counted as unexamined. Each is tried a second time without what stands
//! against it (src/sensor/without.rs), and then it is missed: so that is what it was. Without leases, or against a copy that
//! comes late, that is so only where a file is read before it changes, and not when a busy machine comes to it: alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod stage;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::alert::is;
use common::docker::Container;
use common::turn::{alone, beside_others};
use common::watcher::Setup;
use stage::{EXECS, Stage};

/// Fails unless the act is seen each time by fanotify, and is missed without what stands against it. The connector's looks
/// see some of it in any case, so they are taken away.
fn assert_seen<T>(_turn: T, what: &str, countermeasure: &str, execs: u64, act: impl Fn(&Stage)) {
    for (without, expected) in [("looks", execs), (&format!("looks,{countermeasure}"), 0)] {
        let stage = Stage::set(without, &[]);
        act(&stage);
        assert_eq!(stage.seen().0, expected, "{what}, without {without}");
    }
}

/// An ignored file of an image layer, and of a plain filesystem.
const IGNORED: [&str; 2] = ["/usr/bin/tool", "/work/tool"];

fn overwritten(how: &str) {
    let execs = EXECS * IGNORED.len() as u64;
    assert_seen(beside_others(), how, "write-marks", execs, |stage| {
        for path in IGNORED {
            stage.warm(path);
            stage.inside(&["load", "compile-0", "overwrite", how, path]);
            stage.storm(EXECS, path);
        }
    });
}

#[test]
fn overwritten_by_write() {
    overwritten("write");
}

#[test]
fn overwritten_by_a_mapping() {
    overwritten("mapping");
}

#[test]
fn overwritten_by_native_aio() {
    overwritten("aio");
}

#[test]
fn overwritten_by_io_uring() {
    overwritten("io_uring");
}

#[test]
fn overwritten_by_splice() {
    overwritten("splice");
}

/// On an overlay a mapping outlives its descriptor, and the file can be executed meanwhile.
#[test]
fn overwritten_through_a_mapping_that_was_kept() {
    assert_seen(beside_others(), "a kept mapping", "layers", EXECS, |stage| {
        stage.warm("/usr/bin/tool");
        stage.store_through_a_mapping("/usr/bin/tool", &[]);
    });
}

/// A page that is dirty already moves no time stamp at the next store, so that what was read of it seems to hold.
#[test]
fn overwritten_after_it_was_read_through_a_mapping() {
    assert_seen(alone(), "a page that was dirty", "leases", EXECS, |stage| {
        stage.warm("/usr/bin/tool");
        stage.store_through_a_mapping("/usr/bin/tool", &["touch"]);
    });
}

/// On a disk nobody can execute it meanwhile, but to try is enough to have it read.
#[test]
fn overwritten_after_it_was_read_through_a_mapping_on_a_disk() {
    assert_seen(alone(), "a page that was dirty on a disk", "leases", EXECS, |stage| {
        let acts = ["./inside", "load", "compile-0", "map", "/work/tool", "touch", "say", "kept", "wait", "store"];
        let mut held = stage.container.hold(&acts);
        held.await_line("kept");
        stage.use_for_a_while("/work/tool");
        held.write(b"x");
        assert!(held.release());
        stage.storm(EXECS, "/work/tool");
    });
}

/// In memory, whoever has registered a page with io_uring can change it without a descriptor, a mapping or a time stamp.
#[test]
fn overwritten_through_a_page_that_was_pinned() {
    assert_seen(alone(), "a pinned page", "leases", EXECS, |stage| {
        stage.inside(&["load", "tool", "put", "/memory/tool"]);
        stage.store_later("/memory/tool", &["pin", "/memory/tool"], "fill");
    });
}

/// A copy whose source comes late keeps the pages that it fills, and moves no time stamp either.
#[test]
fn overwritten_by_a_copy_that_goes_on_late() {
    let _turn = alone();
    for (without, expected) in [("looks", 2 * EXECS), ("looks,rest", 0)] {
        let stage = Stage::set_wholly_without(without, &["--cap-add", "SYS_PTRACE"]);
        for path in ["/work/file", "/file"] {
            stage.inside(&["load", "tool", "put", path]);
            stage.store_later(path, &["pin-for-copy", path], "go-on");
        }
        assert_eq!(stage.seen().0, expected, "without {without}");
    }
}

/// While a file is read for one exec its pages change, and the next one comes: that reading says nothing of it.
#[test]
fn overwritten_while_it_is_read() {
    let _turn = alone();
    let stage = Stage::set_wholly_without("looks", &[]);
    stage.inside(&["load", "tool", "put", "/memory/tool", "lengthen", "/memory/tool"]);
    let acts = ["./inside", "load", "compile-0", "pin", "/memory/tool", "execute", "/memory/tool", "fill"];
    stage.container.exec(&[&acts[..], &["--", "/work/storm", &EXECS.to_string(), "/memory/tool"]].concat());
    assert_eq!(stage.seen().0, EXECS);
}

/// The layers of an overlay that a container mounts itself are nothing that anybody vouches for.
#[test]
fn overwritten_on_an_overlay_of_its_own() {
    assert_seen(alone(), "an overlay of its own", "leases", EXECS, |stage| {
        for directory in ["/work/lower", "/work/upper", "/work/work", "/memory/merged"] {
            stage.inside(&["mkdir", directory]);
        }
        stage.inside(&["load", "tool", "put", "/work/lower/tool", "writable", "/work", "/memory/merged"]);
        stage.store_through_a_mapping("/memory/merged/tool", &["touch"]);
    });
}

/// The number of an inode that is free is given to the next file: what was found of the one says nothing of the other.
#[test]
fn overwritten_in_an_inode_that_was_another_files() {
    let _turn = alone();
    let stage = Stage::set("looks", &[]);
    let pid = stage.container.init();
    let inode = || fs::metadata(format!("/proc/{pid}/root/file")).unwrap().ino();
    common::eventually("a new file has the old one's inode", || {
        stage.inside(&["load", "tool", "put", "/file"]);
        let before = inode();
        stage.use_for_a_while("/file");
        stage.inside(&["load", "tool", "put", "/file"]);
        (inode() == before).then_some(())
    });
    stage.store_through_a_mapping("/file", &["touch"]);
    assert_eq!(stage.seen().0, EXECS);
}

/// The kernel loads what a program names as its interpreter, and runs that: one exec of two files.
#[test]
fn as_the_interpreter_of_an_innocent_program() {
    let _turn = beside_others();
    let stage = Stage::set("looks", &[]);
    fs::write(stage.container.work().join("program"), interpreted_by("/work/compile-0")).unwrap();
    stage.inside(&["load", "program", "put", "/program"]);
    stage.storm(EXECS, "/program");
    assert_eq!(stage.seen().0, EXECS);
}

/// A program of nothing but headers.
fn interpreted_by(path: &str) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    let size = HEADERS + path.len() as u64 + 1;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, words: &[u16]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    let word = |file: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    let long = |file: &mut Vec<u8>, words: &[u64]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    // An executable for x86-64 with two program headers, which follow.
    half(&mut file, &[2, 62]);
    word(&mut file, &[1]);
    long(&mut file, &[0x1000_0000, 64, 0]);
    word(&mut file, &[0]);
    half(&mut file, &[64, 56, 2, 64, 0, 0]);
    // PT_INTERP, and PT_LOAD of the whole, to be read.
    for (kind, offset, size) in [(3, HEADERS, path.len() as u64 + 1), (1, 0, size)] {
        word(&mut file, &[kind, 4]);
        long(&mut file, &[offset, 0x1000_0000 + offset, 0x1000_0000 + offset, size, size, 0x1000]);
    }
    file.extend(path.as_bytes());
    file.push(0);
    file
}

#[test]
fn a_hard_link_of_a_compilers_name() {
    assert_seen(beside_others(), "a hard link", "links", EXECS, |stage| {
        // It has two names before it is first executed: an ignored file cannot be told from its copy afterwards.
        stage.inside(&["load", "tool", "put", "/work/linked", "link", "/work/linked", "/work/cc"]);
        stage.use_for_a_while("/work/linked");
        stage.storm(EXECS, "/work/cc");
    });
}

/// A container that sees the host's processes executes the host's files through them.
#[test]
fn a_host_file() {
    let _turn = beside_others();
    for (without, expected) in [("looks", EXECS), ("looks,host-marks", 0)] {
        let stage = Stage::set(without, &["--pid", "host", "--cap-add", "SYS_PTRACE"]);
        // Any process of the host does; that of pid 1 cannot be had everywhere.
        let file = format!("/proc/{}/root{}/compile-20", std::process::id(), stage.container.work().display());
        stage.storm(EXECS, &file);
        assert_eq!(stage.seen().0, expected, "without {without}");
    }
}

/// The mark lies on the inode, and the name leads to another one.
#[test]
fn replaced_by_rename() {
    let _turn = beside_others();
    for (without, expected) in [("looks", EXECS), ("looks,inodes", 0)] {
        let stage = Stage::set(without, &[]);
        stage.warm("/usr/bin/tool");
        stage.inside(&["load", "compile-0", "put", "/usr/bin/new", "rename", "/usr/bin/new", "/usr/bin/tool"]);
        stage.storm(EXECS, "/usr/bin/tool");
        // On a mount where nothing is ignored.
        stage.inside(&["load", "/usr/bin/gcc", "put", "/memory/gcc"]);
        assert_eq!(stage.seen_before("/memory/gcc").0, expected, "without {without}");
    }
}

/// Its inode stays the same, its content does not lie in the image any more.
#[test]
fn copied_up() {
    assert_seen(beside_others(), "a copy-up", "write-marks", EXECS, |stage| {
        stage.warm("/usr/bin/tool");
        stage.inside(&["chmod", "/usr/bin/tool"]);
        stage.use_for_a_while("/usr/bin/tool");
        stage.inside(&["load", "compile-0", "overwrite", "mapping", "/usr/bin/tool"]);
        stage.storm(EXECS, "/usr/bin/tool");
    });
}

/// Compiles that live for 20 ms are seen, all of them; of those that live for 1 ms what is not seen is unexamined.
fn living(countermeasure: &str, run: impl Fn(&Stage, &str)) {
    let _turn = alone();
    let seen = |stage: Stage, program: &str| {
        stage.warm("/usr/bin/tool");
        run(&stage, program);
        stage.seen()
    };
    let (long, _) = seen(Stage::set("", &[]), "compile-20");
    // What no sensor explains is called unexamined up to 2 s later: before its session is closed.
    let patient = Setup::new().without("rest").set("session", "gap", "2500ms");
    let (short, unexamined) = seen(Stage::watched_by(&patient, &[]), "compile-1");
    println!("of 20 ms {long} of {EXECS}, of 1 ms {short} of {EXECS} seen; {unexamined} unexamined on the host");
    assert_eq!(long, EXECS);
    assert!(short + unexamined >= EXECS, "{short} seen, {unexamined} unexamined");
    let (missed, _) = seen(Stage::set(countermeasure, &[]), "compile-20");
    assert!(missed < EXECS, "without {countermeasure}: {missed} of {EXECS}");
}

#[test]
fn a_file_in_memory() {
    living("looks", |stage, program| {
        stage.inside(&["load", program, "memfd", program, &EXECS.to_string()]);
    });
}

/// The first exec comes as soon as the mount is there.
#[test]
fn a_fresh_tmpfs() {
    living("namespaces,looks", |stage, program| {
        let (directory, file) = (format!("/fresh-{program}"), format!("/fresh-{program}/{program}"));
        let count = EXECS.to_string();
        stage.inside(&["load", program, "tmpfs", &directory, "put", &file, "--", "/work/storm", &count, &file]);
    });
}

#[test]
fn a_cloned_namespace_with_a_tmpfs() {
    living("namespaces,looks", |stage, program| {
        let (file, count) = (format!("/tmp/{program}"), EXECS.to_string());
        let acts = ["load", program, "unshare", "tmpfs", "/tmp", "put", &file, "--", "/work/storm", &count, &file];
        stage.inside(&acts);
    });
}

/// Somebody on the host takes the connector's events away. The canary that finds it flies once a minute: by its name this one
/// is among the first to begin, and the others need not wait for it.
#[test]
fn a_connector_that_is_silenced_is_told_and_opened_anew() {
    let container = Container::start();
    container.put("a.c", "int a;\n");
    let watcher = Setup::new().set("sensors", "fanotify", "off").start();
    watcher.change_connector("silence");
    // Nobody hears of this one; it lives until the sweep finds it.
    let mut gcc = container.hold(&["gcc", "-x", "c", "-c", "-", "-o", "/tmp/a.o"]);
    gcc.write(b"int a;\n");
    let degraded = watcher.await_alert("sensor-degraded", is("sensor-degraded"));
    let lost = watcher.await_alert("events-lost", is("events-lost"));
    for alert in [&degraded, &lost] {
        assert_eq!(alert.text("ccwatch.lost.sensor"), "connector", "{alert}");
        assert!(alert.at("ccwatch.lost.count").is_null(), "nobody can count them: {alert}");
    }
    watcher.await_alert("sensor-recovered", is("sensor-recovered"));
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.list("ccwatch.known_by"), ["poll"], "{opened}");
    assert!(gcc.release());
    let other = Container::start();
    other.put("a.c", "int a;\n");
    other.exec(&["gcc", "-c", "a.c"]);
    assert_eq!(watcher.await_opened(&other.id).list("ccwatch.known_by"), ["connector"]);
    assert!(watcher.stop().iter().filter(|a| is("sensor-degraded")(a)).count() == 1);
}

//! Files that are slow to read, or that are many: whose content is judged, nobody else waits for it.

use crate::common::docker::Plan;
use crate::common::fuse::NeverAnswers;
use crate::common::{Container, image, program, run};
use crate::{alone, watch};

/// This machine's compilers in a container.
fn container() -> Container {
    Container::run(&Plan { options: image::host_options(), image: image::host(), command: &["sleep", "1000000"] })
}

/// One container executes a file whose end no read ever gets, another one a thousand that nobody has seen, again and again.
/// Meanwhile a third executes a compiler, as new as those and under another name: its content is read, its alert comes.
#[test]
fn a_file_that_hangs_and_a_thousand_new_ones_delay_nobody() {
    let _turn = alone();
    // Declared first, dropped after the server: a process that waits for it cannot be killed.
    let slow;
    let fuse = NeverAnswers::mount_program(program::hold());
    slow = Container::with(&["-v", &format!("{}:/hang", fuse.path().display())]);
    let (many, quiet) = (container(), container());
    many.put("tool", std::fs::read(program::storm()).unwrap());
    let make = "i=0; while [ $i -lt 1000 ]; do cp tool tool-$i; echo $i >>tool-$i; i=$((i + 1)); done";
    many.exec(&["sh", "-c", make]);
    let tcc = std::fs::canonicalize(run(std::process::Command::new("which").arg("tcc"))).unwrap();
    quiet.put("report", [std::fs::read(tcc).unwrap(), b"as new as the others".to_vec()].concat());
    quiet.put("a.c", "int a;\n");
    let watcher = watch();

    let hangs = slow.hold(&["/hang/file"]);
    hangs.await_line("ready");
    // Somebody waits for the rest of it: the watcher, for the program has all that it needs.
    fuse.said.await_line("read");
    let storm = many.hold(&["sh", "-c", "echo begun; while :; do for tool in tool-*; do ./$tool 0 x; done; done"]);
    storm.await_line("begun");
    quiet.exec(&["/work/report", "-c", "a.c"]);
    let alert = watcher.await_opened(&quiet.id);
    assert_eq!(alert.text("ccwatch.verdict.family"), "tcc", "{alert}");
    assert!(alert.list("ccwatch.verdict.evidence").contains(&"marker"), "{alert}");
    assert_eq!(alert.at("ccwatch.masquerade"), true, "{alert}");
    watcher.await_closed(&quiet.id).assert_counts(&[("report", 1)]);
    drop(many);
    drop(storm);
    // Its server's end lets the watcher end as well: the kernel lets no process go whose read is with the server.
    drop(fuse);
    watcher.stop();
    drop(hangs);
}

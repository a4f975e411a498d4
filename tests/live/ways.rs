//! The ways in which Linux executes a file: each is counted once, in its container, whatever path led to it.

use crate::common::docker::Plan;
use crate::common::{Container, Watcher, alert, image};

/// What happens in the container's shell.
const WAYS: [(&str, &str); 9] = [
    ("a path", "exec /usr/bin/tcc -c a.c"),
    ("a relative path", "cd /usr/bin && exec ./tcc -c /work/a.c -o /work/a.o"),
    ("a symbolic link", "ln -s /usr/bin/tcc link && exec ./link -c a.c"),
    ("an open file", "exec 9</usr/bin/tcc && exec /proc/self/fd/9 -c a.c"),
    ("a deleted file", "cp /usr/bin/tcc gone && exec 9<gone && rm gone && exec /proc/self/fd/9 -c a.c"),
    ("a script", "printf '#!/bin/sh\nexec tcc -c a.c\n' >build && chmod +x build && exec ./build"),
    ("its interpreter", "printf '#!/usr/bin/tcc -run\n' | cat - a.c >run && chmod +x run && ./run; true"),
    ("the dynamic loader", "exec /lib64/ld-linux-x86-64.so.2 /usr/bin/tcc -c a.c"),
    ("a program before it", "exec env nice tcc -c a.c"),
];

#[test]
fn each_is_counted_once() {
    let watcher = Watcher::start();
    // Some hundredths of a second's work: the loader shows what it loads to a look alone.
    let source: String = (0..20_000).map(|n| format!("int f{n}(int a) {{ return a * {n}; }}\n")).collect();
    let executed = WAYS.map(|(way, command)| {
        let plan = Plan { options: image::host_options(), image: image::host(), command: &["sleep", "1000000"] };
        let container = Container::run(&plan);
        container.put("a.c", format!("{source}int main(void) {{ return 0; }}\n"));
        container.exec(&["sh", "-c", command]);
        (way, container)
    });
    for (way, container) in &executed {
        let closed = watcher.await_closed(&container.id);
        let (execs, family) = (closed.number("ccwatch.session.execs"), closed.text("ccwatch.verdict.family"));
        assert_eq!((execs, family), (1, "tcc"), "{way}: {closed}");
    }
    let alerts = watcher.stop();
    for (way, container) in &executed {
        assert_eq!(alert::closed_execs(&alerts, &container.id), 1, "{way}: {alerts:#?}");
    }
}

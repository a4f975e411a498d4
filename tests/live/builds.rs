//! Builds of many files in a real container: a thousand execs are two alerts, and every exec is in their counts, as a mark
//! on the container's overlay has fanotify report each. `ccwatch.session.exact` is not asked for: it is denied where a
//! member ended before its look and anything of the host, which the tests share, stayed unexamined meanwhile.

use std::fmt::Write as _;

use crate::common::watcher::Setup;
use crate::common::{self, Alert, Container, Watcher};

/// Writes `count` small C files.
fn sources(container: &Container, count: u32) {
    for i in 0..count {
        container.put(&format!("f{i}.c"), format!("int f{i}(int a) {{ return a + {i}; }}\n"));
    }
}

/// A build must not fall into two because the machine stalls for some seconds.
fn start() -> Watcher {
    Setup::new().set("session", "gap", "5s").start()
}

/// Awaits the end of the container's one session, stops the watcher, and fails unless there were two alerts.
fn closed_of_pair(watcher: Watcher, container: &Container) -> Alert {
    watcher.await_closed(&container.id);
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(|a| a.is_of(&container.id)).collect();
    let states: Vec<&str> = alerts.iter().map(Alert::state).collect();
    assert_eq!(states, ["opened", "closed"], "{alerts:#?}");
    alerts.into_iter().next_back().unwrap()
}

/// Fails unless the session counted exactly these programs, whether or not it says that it is exact.
fn assert_complete(closed: &Alert, expected: &[(&str, u64)]) {
    closed.assert_counts(expected);
    let counted: Vec<(&str, u64)> = expected.iter().map(|(name, _)| (*name, closed.execs_of(name))).collect();
    assert_eq!(counted, expected, "{closed}");
}

#[test]
fn make_of_300_files_is_two_alerts() {
    let container = Container::start();
    sources(&container, 300);
    let objects: Vec<String> = (0..300).map(|i| format!("f{i}.o")).collect();
    container.put("Makefile", format!("all: {}\n%.o: %.c\n\tgcc -c $< -o $@\n", objects.join(" ")));
    let watcher = start();
    container.exec(&["make", "-j8"]);
    let closed = closed_of_pair(watcher, &container);
    assert_eq!(closed.text("ccwatch.session.root_command"), "make -j8", "{closed}");
    assert_complete(&closed, &[("gcc", 300), ("cc1", 300), ("as", 300)]);
}

#[test]
fn recipes_that_change_directory_stay_in_their_session() {
    let container = Container::start();
    let mut makefile = "all:".to_owned();
    for i in 0..60 {
        container.put(&format!("d{i}/f.c"), "int f(void) { return 1; }\n");
        write!(makefile, " d{i}/f.o").unwrap();
    }
    makefile.push_str("\n%/f.o:\n\tcd $* && gcc -c f.c -o f.o\n");
    container.put("Makefile", makefile);
    let watcher = start();
    container.exec(&["make", "-j8"]);
    let closed = closed_of_pair(watcher, &container);
    assert_eq!(closed.text("ccwatch.session.root_command"), "make -j8", "{closed}");
    assert_complete(&closed, &[("gcc", 60), ("cc1", 60), ("as", 60)]);
}

/// What autoconf's scripts do: ask the compiler who it is, then a hundred small questions, half of them linked and run.
const CONFIGURE: &str = r#"#! /bin/sh
CC=gcc
$CC --version >/dev/null && $CC -v 2>/dev/null && $CC -dumpmachine >/dev/null || exit 1
i=0
while test $i -lt 50; do
  i=`expr $i + 1`
  rm -f conftest*
  cat >conftest.c <<_ACEOF
int have_$i (void) { return $i; }
_ACEOF
  (eval "$CC -c conftest.c") 2>conftest.err || exit 1
  cat >conftest.c <<_ACEOF
int main (void) { return $i == 0; }
_ACEOF
  if (eval "$CC -o conftest conftest.c") 2>conftest.err && ./conftest; then
    sed s/x/y/ conftest.err >/dev/null
  else
    exit 1
  fi
done
"#;

#[test]
fn a_configure_script_is_two_alerts() {
    let container = Container::start();
    container.put("configure", CONFIGURE);
    let watcher = start();
    container.exec(&["sh", "./configure"]);
    let closed = closed_of_pair(watcher, &container);
    assert_eq!(closed.text("ccwatch.session.root_command"), "sh ./configure");
    assert_complete(&closed, &[("gcc", 103), ("cc1", 100), ("as", 100), ("collect2", 50), ("ld", 50)]);
}

/// A compiler that runs longer than the gap keeps its session open, however long nothing is executed.
#[test]
fn a_file_that_takes_longer_than_the_gap_is_one_session() {
    let (slow, clock) = (Container::start(), Container::start());
    clock.put("f.c", "int f;\n");
    let watcher = Setup::new().set("session", "gap", "300ms").start();
    // The source comes through a pipe: cc1 runs until the test closes it.
    let mut compile = slow.hold(&["gcc", "-x", "c", "-c", "-", "-o", "slow.o"]);
    compile.write(b"int a;\n");
    let opened = watcher.await_opened(&slow.id);
    // Each session that ends meanwhile proves that a gap has passed.
    for round in 1..=3 {
        clock.exec(&["gcc", "-c", "f.c"]);
        let closed = |a: &&Alert| a.is_of(&clock.id) && a.state() == "closed";
        common::eventually("a gap", || (watcher.alerts().iter().filter(closed).count() == round).then_some(()));
    }
    assert!(compile.release());
    let closed = closed_of_pair(watcher, &slow);
    assert_eq!(closed.at("ccwatch.session.id"), opened.at("ccwatch.session.id"));
    closed.assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
}

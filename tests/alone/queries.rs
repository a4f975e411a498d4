//! Calls that only ask a compiler who it is: a liveness probe that runs `gcc --version` may not fill the log.

use crate::common::{Alert, Container};
use crate::{alone, watch};

#[test]
fn a_liveness_probe_is_one_pair_and_a_sum_at_the_end() {
    let _turn = alone();
    let container = Container::start();
    let watcher = watch();
    let probe = || container.exec(&["gcc", "--version"]);
    probe();
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.at("ccwatch.query"), true, "{opened}");
    assert_eq!(opened.text("ccwatch.severity"), "low");
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 1)]);
    for _ in 0..4 {
        probe();
    }
    let alerts: Vec<Alert> = watcher.stop().into_iter().filter(|a| a.is_of(&container.id)).collect();
    // On a busy machine it may be gone before its arguments are read, and then it could have been a compile.
    let (known, unknown): (Vec<Alert>, Vec<Alert>) =
        alerts.into_iter().partition(|a| a.text("ccwatch.arguments") == "known");
    let others = unknown.iter().filter(|a| a.state() == "opened").count() as u64;
    assert!(others < 4, "{unknown:#?}");
    let states: Vec<&str> = known.iter().map(Alert::state).collect();
    assert_eq!(states, ["opened", "closed", "closed"], "{known:#?}");
    let sum = &known[2];
    assert_eq!(sum.number("ccwatch.session.repeats"), 4 - others, "{sum}");
    assert_eq!(sum.execs_of("gcc"), 4 - others, "{sum}");
}

/// A question cannot cover the compile that follows it: in the same session the pair is about the compile.
#[test]
fn a_compile_after_a_query_is_graded_as_a_compile() {
    let _turn = alone();
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let watcher = watch();
    container.exec(&["sh", "-c", "gcc --version && gcc -c f.c"]);
    let opened = watcher.await_opened(&container.id);
    assert_eq!(opened.at("ccwatch.query"), false, "{opened}");
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 2), ("cc1", 1), ("as", 1)]);
}

/// `-v` beside a source compiles, whatever else it looks like.
#[test]
fn a_verbose_compile_is_no_query() {
    let _turn = alone();
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let watcher = watch();
    container.exec(&["gcc", "-v", "-c", "f.c"]);
    assert_eq!(watcher.await_opened(&container.id).at("ccwatch.query"), false);
    watcher.await_closed(&container.id).assert_counts(&[("gcc", 1), ("cc1", 1), ("as", 1)]);
}

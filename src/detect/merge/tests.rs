#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::event::SensorKind;
use crate::event::samples::{attempt, file};
use crate::sensor::ledger::LastName;

mod interleaved;

const MS: u64 = 1_000_000;

fn exec(pid: i32, at: u64, image: Image) -> Counted {
    Counted { pid: Pid(pid), at: Monotonic(at * MS), image }
}

/// A file whose process' name nobody saw.
fn image(ino: u64) -> Image {
    Image::File(file(ino).inode(), Comm::new(b""))
}

fn look(pid: i32, at: u64, ino: Option<u64>, comm: &str) -> Looked {
    Looked {
        pid: Pid(pid),
        at: Monotonic(at * MS),
        file: ino.map(file),
        comm: Comm::new(comm.as_bytes()),
        is_named: true,
    }
}

fn ended(comm: &str, known_by: SensorKind) -> Image {
    Image::Ended(LastName { comm: Comm::new(comm.as_bytes()), known_by })
}

fn merge() -> Merge {
    Merge::new(|comm| match comm.as_bytes() {
        b"gcc" => NameIs::Toolchains,
        b"ls" => NameIs::Others,
        _ => NameIs::Unknown,
    })
}

fn confirmed(merged: Option<Merged>) -> Option<u64> {
    match merged? {
        Merged::Confirmed(attempt) => Some(attempt.file.ino),
        Merged::Recorded(attempt) | Merged::Joined(attempt) | Merged::Unconfirmed(attempt) => {
            unreachable!("{attempt:?}")
        }
    }
}

#[test]
fn an_exec_confirms_in_either_order() {
    let mut merge = merge();
    assert!(merge.attempt(attempt(1, 7, 0, 2)).is_none());
    assert!(merge.is_waiting());
    assert_eq!(confirmed(merge.exec(exec(1, 1, Image::Unknown))), Some(7));
    assert!(merge.exec(exec(2, 1, Image::Unknown)).is_none());
    assert_eq!(confirmed(merge.attempt(attempt(2, 7, 0, 2))), Some(7));
    assert!(!merge.is_waiting() && merge.due(Monotonic(5000 * MS)).is_empty());
    assert_eq!(merge.take_unexamined(), 0);
}

#[test]
fn an_exec_before_the_attempt_confirms_nothing() {
    let mut merge = merge();
    merge.exec(exec(1, 3, Image::Unknown));
    assert!(merge.attempt(attempt(1, 7, 4, 6)).is_none());
    let told = merge.due(Monotonic(16 * MS));
    assert!(matches!(&told[..], [Merged::Unconfirmed(a)] if a.file.ino == 7), "{told:?}");
    assert!(merge.due(Monotonic(17 * MS)).is_empty(), "once");
    assert_eq!(confirmed(merge.exec(exec(1, 30, Image::Unknown))), Some(7), "a slow exec");
}

/// A queue that is read slower than it fills holds attempts for longer than an EXEC waits otherwise.
#[test]
fn an_exec_waits_as_long_as_attempts_are_behind() {
    let mut merge = merge();
    for pid in [1, 2] {
        merge.exec(exec(pid, 10, Image::Unknown));
    }
    merge.set_behind(Some(Monotonic(5 * MS)));
    merge.due(Monotonic(3000 * MS));
    assert_eq!(merge.take_unexamined(), 0);
    assert_eq!(confirmed(merge.attempt(attempt(1, 7, 5, 3000))), Some(7));
    merge.lose(Monotonic(5 * MS), Monotonic(3000 * MS));
    merge.set_behind(None);
    assert_eq!((merge.take_lost(Monotonic(3001 * MS)), merge.take_unexamined()), (1, 1));
}

#[test]
fn another_image_refutes() {
    let mut merge = merge();
    merge.attempt(attempt(1, 7, 0, 2));
    assert!(merge.exec(exec(1, 1, image(8))).is_none());
    assert!(merge.exec(exec(1, 1, Image::Canary)).is_none());
    assert_eq!(confirmed(merge.exec(exec(1, 2, image(7)))), Some(7));
}

#[test]
fn an_interpreter_under_a_scripts_name_confirms_the_script() {
    let under = |comm: &[u8]| exec(1, 1, Image::File(file(8).inode(), Comm::new(comm)));
    for (script, told) in [(true, Some(7)), (false, None)] {
        let mut merge = merge();
        merge.attempt(Attempt { script, ..attempt(1, 7, 0, 2) });
        assert!(merge.exec(under(b"a-link")).is_none());
        assert_eq!(confirmed(merge.exec(under(b"prog-7"))), told);
    }
    let mut merge = merge();
    merge.exec(under(b"a-link"));
    merge.attempt(Attempt { script: true, ..attempt(1, 7, 0, 2) });
    let told: Vec<_> = merge.due(Monotonic(20 * MS)).into_iter().map(|merged| confirmed(Some(merged))).collect();
    assert_eq!(told, [Some(7)], "by a link's name");
}

#[test]
fn a_look_at_an_interpreter_that_is_no_finding_leaves_the_script() {
    for (is_named, told) in [(false, Some(7)), (true, None)] {
        let mut merge = merge();
        assert!(merge.look(Looked { is_named, ..look(1, 4, Some(8), "prog-7") }).is_none());
        assert_eq!(confirmed(merge.attempt(Attempt { script: true, ..attempt(1, 7, 0, 2) })), told);
        assert!(!merge.is_waiting());
    }
}

#[test]
fn what_interprets_an_unknown_file_is_part_of_its_exec() {
    let told = |first_unjudged: bool, read_later: u64| {
        let mut merge = merge();
        merge.attempt(Attempt { unjudged: first_unjudged, ..attempt(1, 7, 0, 2) });
        merge.attempt(attempt(1, 8, read_later, read_later + 1));
        assert_eq!(confirmed(merge.exec(exec(1, 4, Image::Unknown))), Some(7));
        let told: Vec<Option<u64>> = merge.due(Monotonic(20 * MS)).into_iter().map(|m| confirmed(Some(m))).collect();
        assert!(merge.exec(exec(1, 30, Image::Unknown)).is_none(), "it waits no more");
        told
    };
    assert_eq!(told(true, 0), [Some(8)], "a script or program of which nothing is known yet");
    assert_eq!(told(true, 3), [Some(8)], "read on its own");
    for look_first in [false, true] {
        let mut merge = merge();
        let look = |merge: &mut Merge| merge.look(look(1, 4, Some(8), "prog-7")).is_some();
        let counted = look_first && look(&mut merge);
        merge.attempt(Attempt { unjudged: true, ..attempt(1, 7, 0, 2) });
        merge.attempt(attempt(1, 8, 0, 2));
        assert!(!counted && (look_first || look(&mut merge)));
        assert!(merge.due(Monotonic(20 * MS)).is_empty(), "its interpreter was seen");
    }
    let mut merge = merge();
    merge.attempt(attempt(1, 7, 0, 2));
    merge.attempt(attempt(1, 8, 0, 2));
    assert_eq!(confirmed(merge.exec(exec(1, 4, Image::Unknown))), Some(7));
    assert!(merge.due(Monotonic(20 * MS)).is_empty(), "a compiler and what loads it");
}

/// Where both are marked, the kernel tells of the file below first.
#[test]
fn an_overlays_file_and_its_layers_are_one_exec() {
    let below = Attempt { unjudged: true, ..attempt(1, 7, 0, 2) };
    let at_once = Attempt { file: FileId { dev: below.file.dev + 1, ..below.file }, ..below.clone() };
    let later = Attempt { after: Monotonic(6 * MS), at: Monotonic(7 * MS), ..at_once.clone() };
    let seen = Image::File(at_once.file.inode(), Comm::new(b""));
    for (above, image) in [(&at_once, Image::Unknown), (&at_once, seen), (&later, Image::Unknown)] {
        let mut merge = merge();
        merge.attempt(below.clone());
        let early = if above.after > below.after { merge.exec(exec(1, 4, image)) } else { None };
        merge.attempt(above.clone());
        assert_eq!(confirmed(early.or_else(|| merge.exec(exec(1, 4, image)))), Some(7));
        assert!(merge.due(Monotonic(20 * MS)).is_empty());
        assert!(merge.exec(exec(1, 30, Image::Unknown)).is_none(), "none waits");
    }
}

/// As on kernels without exec events.
fn opened(pid: i32, ino: u64, after: u64, read: u64) -> Attempt {
    Attempt { by_open: true, ..attempt(pid, ino, after, read) }
}

#[test]
fn an_open_is_joined_with_the_exec_that_follows_at_once() {
    let mut merge = merge();
    merge.attempt(opened(1, 7, 0, 2));
    let joined = merge.exec(exec(1, 3, Image::Unknown));
    assert!(matches!(&joined, Some(Merged::Joined(a)) if a.file.ino == 7), "{joined:?}");
    merge.attempt(opened(2, 7, 0, 2));
    assert_eq!(confirmed(merge.exec(exec(2, 3, image(7)))), Some(7), "it was seen");
    merge.exec(exec(3, 1, Image::Unknown));
    let joined = merge.attempt(opened(3, 7, 0, 2));
    assert!(matches!(joined, Some(Merged::Joined(_))), "in either order: {joined:?}");
}

#[test]
fn the_last_name_tells_which_of_the_opened_files_ran() {
    let recorded = |comm| exec(1, 3, ended(comm, SensorKind::Taskstats));
    let file_of = |merged: &Merged| match merged {
        Merged::Recorded(attempt) => (attempt.file.ino, "recorded"),
        Merged::Joined(attempt) => (attempt.file.ino, "joined"),
        other => unreachable!("{other:?}"),
    };
    let told = |opened_first: bool, exec: Counted, files: &[u64]| {
        let mut merge = merge();
        let early = if opened_first { None } else { merge.exec(exec) };
        let mut told: Vec<Merged> = files.iter().filter_map(|file| merge.attempt(opened(1, *file, 0, 2))).collect();
        told.extend(early);
        told.extend(if opened_first { merge.exec(exec) } else { None });
        told.extend(merge.due(Monotonic(15 * MS)));
        told.iter().map(file_of).collect::<Vec<_>>()
    };
    for opened_first in [true, false] {
        let told = |exec, files| told(opened_first, exec, files);
        assert_eq!(told(recorded("prog-8"), &[7, 8, 9]), [(8, "recorded")], "by its own name");
        assert_eq!(told(recorded("ls"), &[7]), [], "something else ran");
        assert_eq!(told(recorded("gcc"), &[7]), [(7, "recorded")], "by a link's name");
        assert_eq!(told(recorded("x"), &[7]), [(7, "joined")], "by a link's name, or something else");
        let slow = Counted { at: Monotonic(303 * MS), ..recorded("prog-7") };
        assert_eq!(told(slow, &[7]), [(7, "recorded")], "its name is enough");
        assert_eq!(told(Counted { at: Monotonic(303 * MS), ..recorded("x") }, &[7]), []);
    }
    for whose in [NameIs::Others, NameIs::Toolchains, NameIs::Unknown] {
        let mut merge = Merge::new(move |_| whose);
        merge.attempt(opened(1, 8, 0, 2));
        assert!(matches!(merge.exec(recorded("prog-8")), Some(Merged::Recorded(_))), "a file renamed to {whose:?}");
    }
    let mut merge = merge();
    merge.attempt(opened(2, 7, 0, 2));
    let zombie = ended("prog-7", SensorKind::Connector);
    assert_eq!(confirmed(merge.exec(exec(2, 3, zombie))), Some(7), "its look told");
}

#[test]
fn an_open_that_has_waited_takes_what_may_be_its_exec() {
    let mut merge = merge();
    merge.attempt(opened(1, 7, 0, 2));
    assert!(merge.due(Monotonic(15 * MS)).is_empty(), "no exec");
    let joined = merge.exec(exec(1, 20, ended("x", SensorKind::Taskstats)));
    assert!(matches!(joined, Some(Merged::Joined(_))), "{joined:?}");
}

#[test]
fn a_record_is_of_the_last_exec() {
    let mut merge = merge();
    let name = |comm| ended(comm, SensorKind::Taskstats);
    assert!(merge.exec(exec(1, 3, name("ls"))).is_none());
    assert!(merge.exec(exec(1, 4, name("ls"))).is_none());
    let told = merge.attempt(opened(1, 7, 0, 2));
    assert!(matches!(told, Some(Merged::Joined(_))), "what the first executed nobody knows: {told:?}");
}

#[test]
fn an_open_alone_is_nothing() {
    let mut merge = merge();
    // `exec 3</usr/bin/gcc; exec /bin/ls`
    merge.attempt(opened(1, 7, 0, 2));
    assert!(merge.exec(exec(1, 3, image(8))).is_none());
    assert!(merge.exec(exec(1, 3, Image::Canary)).is_none());
    let zombie = ended("ls", SensorKind::Connector);
    assert!(merge.exec(exec(1, 3, zombie)).is_none(), "its name was no compiler's");
    // `cp /usr/bin/gcc /tmp`, and something else by the same process later.
    merge.attempt(opened(2, 7, 0, 2));
    assert!(merge.exec(exec(2, 103, Image::Unknown)).is_none());
    assert!(merge.due(Monotonic(2000 * MS)).is_empty(), "nothing is told of it");
    assert_eq!(merge.take_unexamined(), 2, "the one that had ended, and the one of which nothing was seen");
}

#[test]
fn a_look_counts_and_takes_its_attempt() {
    let mut merge = merge();
    merge.attempt(attempt(1, 7, 0, 2));
    assert_eq!(merge.look(look(1, 1, Some(7), "gcc")).unwrap().file.ino, 7);
    assert!(merge.look(look(2, 1, Some(7), "gcc")).is_none());
    assert!(merge.attempt(attempt(2, 7, 0, 2)).is_none(), "it was counted by the look");
    assert!(!merge.is_waiting());
    // A script named prog-9: its interpreter is what the look shows. A zombie has no file.
    merge.attempt(attempt(3, 9, 0, 2));
    assert_eq!(merge.look(look(3, 1, Some(1), "prog-9")).unwrap().file.ino, 9);
    merge.attempt(attempt(4, 9, 0, 2));
    assert_eq!(merge.look(look(4, 1, None, "cc")).unwrap().file.ino, 9);
    merge.attempt(attempt(5, 9, 0, 2));
    assert!(merge.look(look(5, 1, Some(1), "sh")).is_none());
    assert!(merge.is_waiting());
}

#[test]
fn a_script_and_its_interpreter_are_one_exec() {
    let mut merge = merge();
    merge.attempt(attempt(1, 7, 0, 2));
    merge.attempt(attempt(1, 8, 0, 2));
    assert_eq!(confirmed(merge.exec(exec(1, 1, Image::Unknown))), Some(7));
    assert!(merge.due(Monotonic(20 * MS)).is_empty(), "no failed attempt");
    merge.attempt(attempt(1, 7, 3, 21));
    assert_eq!(merge.due(Monotonic(40 * MS)).len(), 1, "a later one may well fail");
}

#[test]
fn a_surplus_exec_is_unexamined() {
    let mut merge = merge();
    merge.attempt(attempt(1, 7, 0, 2));
    merge.exec(exec(1, 1, Image::Unknown));
    merge.exec(exec(1, 1, Image::Unknown));
    merge.exec(exec(2, 1, Image::Canary));
    merge.due(Monotonic(2000 * MS));
    assert_eq!(merge.take_unexamined(), 1);
    assert!(merge.lanes.is_empty() && merge.ages.is_empty());
}

#[test]
fn nothing_grows_without_end() {
    let mut merge = merge();
    for n in 0..10_000u64 {
        merge.attempt(attempt(1, n, n, n));
    }
    for pid in 0..100_000 {
        merge.exec(exec(pid + 10, 1, Image::Unknown));
        merge.due(Monotonic(10_001 * MS));
    }
    assert!(merge.lanes.len() <= LANES + 1 && merge.waiting <= DEPTH);
}

#[test]
fn what_was_lost_is_counted_by_the_execs_that_stay_alone() {
    let mut merge = merge();
    merge.exec(exec(1, 1, Image::Unknown));
    merge.lose(Monotonic(2 * MS), Monotonic(10 * MS));
    for pid in 2..7 {
        merge.exec(exec(pid, 5, Image::Unknown));
    }
    merge.exec(exec(7, 5, image(7)));
    merge.exec(exec(8, 11, Image::Unknown));
    assert!(merge.attempt(attempt(2, 7, 4, 6)).is_some(), "this one was not lost");
    merge.due(Monotonic(2000 * MS));
    assert_eq!((merge.take_lost(Monotonic(2000 * MS)), merge.take_unexamined()), (4, 6));
    assert!(!merge.is_lossy());
}

/// On a FUSE filesystem no verdict is remembered, and what is told keeps no file open to be read again.
#[test]
fn an_exec_that_comes_after_its_file_was_read_is_of_that_file() {
    let mut merge = merge();
    for pid in [1, 2] {
        assert!(merge.attempt(Attempt { unjudged: true, ..attempt(pid, 7, 0, 1) }).is_none());
    }
    assert_eq!(merge.due(Monotonic(20 * MS)).len(), 2);
    merge.recognise(Pid(1), file(7));
    merge.recognise(Pid(2), file(8));
    let unjudged = |merged| match merged {
        Some(Merged::Confirmed(attempt)) => attempt.unjudged,
        other => unreachable!("{other:?}"),
    };
    assert!(!unjudged(merge.exec(exec(1, 30, Image::Unknown))));
    assert!(unjudged(merge.exec(exec(2, 30, Image::Unknown))));
}

#[test]
fn what_was_lost_lately_is_counted_when_it_is_old() {
    let mut merge = merge();
    let lose = |merge: &mut Merge, pid, at| {
        merge.lose(Monotonic((at - 1) * MS), Monotonic((at + 1) * MS));
        merge.exec(exec(pid, at, Image::Unknown));
    };
    lose(&mut merge, 1, 10);
    // The same process once more: its lane is not asked again for a second.
    lose(&mut merge, 1, 900);
    merge.exec(exec(2, 1000, Image::Unknown));
    lose(&mut merge, 3, 1350);
    merge.due(Monotonic(1500 * MS));
    assert_eq!((merge.take_lost(Monotonic(1500 * MS)), merge.is_lossy()), (1, true), "two are too young");
    merge.due(Monotonic(2000 * MS));
    assert_eq!((merge.take_lost(Monotonic(2000 * MS)), merge.is_lossy()), (1, true), "between them nothing was lost");
    merge.due(Monotonic(2400 * MS));
    assert_eq!((merge.take_lost(Monotonic(2400 * MS)), merge.is_lossy()), (1, false));
    assert_eq!(merge.take_unexamined(), 4);
}

#[test]
fn times_of_losses_are_bounded() {
    let mut merge = merge();
    for at in (0..2000).step_by(2) {
        merge.lose(Monotonic(at * MS), Monotonic((at + 1) * MS));
    }
    assert_eq!((merge.lossy.len(), merge.lossy.back().unwrap().1), (LOSSY, Monotonic(1999 * MS)));
}

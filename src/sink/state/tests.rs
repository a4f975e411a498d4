//! What a directory keeps from one watcher to the next, and what it is not believed. Test only.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;

use super::*;
use crate::alert::compose::{Stamp, document};
use crate::alert::samples;

fn open(directory: &Path) -> Opened {
    State::open(directory, samples::moment()).unwrap()
}

#[test]
fn numbers_go_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lib/ccwatch");
    let mut first = open(&path);
    assert_eq!(first.trouble, None);
    assert_eq!([1, 2, 3], [(); 3].map(|()| first.state.next_sequence()));
    drop(first);
    assert_eq!(open(&path).state.next_sequence(), 4);
}

#[test]
fn a_second_watcher_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(dir.path());
    let error = State::open(dir.path(), samples::moment()).unwrap_err();
    let lock = dir.path().join("sequence");
    let said = format!("lock {}: another watcher runs with this state directory", lock.display());
    assert_eq!((error.to_string(), error.exit_code()), (said, 70));
    assert_eq!(first.state.next_sequence(), 1);
    drop(first);
    assert_eq!(open(dir.path()).state.next_sequence(), 2);
}

#[test]
fn a_killed_watcher_may_let_go_late() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    thread::scope(|scope| {
        let second = scope.spawn(|| open(dir.path()).state.next_sequence());
        thread::sleep(LOCK_AGAIN);
        drop(first);
        assert_eq!(second.join().unwrap(), 1);
    });
}

#[test]
fn a_filesystem_without_locks_is_no_second_watcher() {
    assert!(matches!(refused(Path::new("/x"), Errno::ENOLCK), Unusable::Broken(_)));
}

#[test]
fn hostile_sequences_are_not_believed() {
    let now = clock(samples::moment());
    for content in ["x", "-1", "18446744073709551615", "1 2", "\u{0}", "\n7", &"1".repeat(10_000)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sequence"), content).unwrap();
        let mut opened = open(dir.path());
        assert!(opened.trouble.is_some(), "{content}");
        assert_eq!(opened.state.next_sequence(), now + 1);
        drop(opened);
        assert_eq!(open(dir.path()).state.next_sequence(), now + 2);
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let mut opened = open(&dir.path().join("file/state"));
    assert!(opened.trouble.unwrap().contains("Not a directory"));
    assert!(opened.state.next_sequence() > 1_700_000_000_000);
    for make in [(|path| symlink("/dev/zero", path).unwrap()) as fn(&Path), |path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap()
    }] {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("sequence"));
        assert!(open(dir.path()).trouble.is_some());
    }
}

#[test]
fn open_sessions_come_back_and_closed_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(dir.path());
    let stamp = || Stamp { id: "1".into(), sequence: 1 };
    let mut other = samples::opened();
    other.session.as_mut().unwrap().id = "another".into();
    let other = document(&other, &samples::host(), stamp());
    first.state.remember(&document(&samples::opened(), &samples::host(), stamp()));
    first.state.remember(&other);
    first.state.remember(&document(&samples::closed(), &samples::host(), stamp()));
    drop(first);
    let mut second = open(dir.path());
    assert_eq!(second.interrupted, std::slice::from_ref(&other));
    second.state.remember(&crate::alert::compose::killed(other, samples::moment(), stamp()));
    drop(second);
    assert!(open(dir.path()).interrupted.is_empty());
}

#[test]
fn hostile_session_files_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let sessions = dir.path().join("sessions");
    let whole = document(&samples::opened(), &samples::host(), Stamp { id: "1".into(), sequence: 1 });
    let whole = json::line(&whole);
    fs::write(sessions.join("garbage.json"), b"\xff{{{").unwrap();
    fs::write(sessions.join("half.json"), whole.get(..500).unwrap()).unwrap();
    fs::write(sessions.join("elsewhere.json"), &whole).unwrap();
    fs::write(sessions.join("deep.json"), "[".repeat(100_000)).unwrap();
    File::create(sessions.join("sparse.json")).unwrap().set_len(1 << 30).unwrap();
    symlink("/dev/zero", sessions.join("link.json")).unwrap();
    nix::unistd::mkfifo(&sessions.join("fifo.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(sessions.join("directory.json")).unwrap();
    let opened = open(dir.path());
    assert!(opened.interrupted.is_empty());
    assert_eq!(fs::read_dir(&sessions).unwrap().count(), 1, "all but the directory are gone");
}

#[test]
fn a_session_id_never_becomes_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut alert = samples::opened();
    alert.session.as_mut().unwrap().id = "../../x".into();
    open(dir.path()).state.remember(&document(&alert, &samples::host(), Stamp { id: "1".into(), sequence: 1 }));
    assert_eq!(fs::read_dir(dir.path().join("sessions")).unwrap().count(), 0);
}

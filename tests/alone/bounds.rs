//! Programs are ignored once they were read, and bounded for each filesystem: those that were heard of longest ago make room.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

use crate::alone;
use crate::common::docker::{self, Container, IDLE, Plan};
use crate::common::watcher::Setup;
use crate::common::{self, image, program};

/// So many files of one filesystem are ignored where the room is taken away, and so many make room at a time.
const ROOM: usize = 64;
const PART: usize = ROOM / 16;

/// Fills the room with the programs of `directory`, and executes another one as often as it takes.
fn assert_that_the_oldest_make_room(container: &Container, directory: &str, other: &str) {
    let watcher = Setup::new().without("rest,room").brief().start();
    let shown = |path: &str| format!("/proc/{}/root{path}", container.init());
    let files: HashSet<u64> = fs::read_dir(shown(directory)).unwrap().map(|entry| entry.unwrap().ino()).collect();
    let count = || common::ignored(&watcher).intersection(&files).count();
    common::eventually("there is room for few more", || {
        container.exec(&["/work/inside", "every", directory]);
        (count() >= ROOM - 2 * PART).then_some(())
    });
    let inode = fs::metadata(shown(other)).unwrap().ino();
    common::eventually("another one is ignored", || {
        container.exec(&["/usr/bin/storm", "50", other]);
        common::ignored(&watcher).contains(&inode).then_some(())
    });
    assert!((ROOM - 4 * PART..ROOM).contains(&count()), "{} are ignored", count());
    watcher.stop();
}

/// It is not reported again to be ignored.
#[test]
fn a_program_is_ignored_once_it_was_read() {
    let _turn = alone();
    let container = Container::idle(&[]);
    let watcher = Setup::new().brief().start();
    let inode = fs::metadata(format!("/proc/{}/root/usr/bin/tool", container.init())).unwrap().ino();
    assert!(!common::ignored(&watcher).contains(&inode));
    container.exec(&["/usr/bin/tool"]);
    common::eventually("it is ignored", || common::ignored(&watcher).contains(&inode).then_some(()));
    watcher.stop();
}

#[test]
fn programs_of_an_image_make_room_for_others() {
    let _turn = alone();
    let work = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
    fs::copy(program::inside(), work.path().join("inside")).unwrap();
    let container = Container::run_in(&Plan { options: vec![], image: image::many(2 * ROOM), command: IDLE }, work);
    assert_that_the_oldest_make_room(&container, "/many", "/usr/bin/tool");
}

/// There they are found through a process that sees the volume.
#[test]
fn programs_of_a_volume_make_room_for_others() {
    let _turn = alone();
    let container = Container::idle(&[]);
    fs::copy(program::inside(), container.work().join("inside")).unwrap();
    let tiny = fs::read(program::tiny()).unwrap();
    for number in 0..2 * ROOM {
        docker::put(container.work(), &format!("many/{number}"), &tiny);
    }
    fs::copy(program::nap(), container.work().join("nap")).unwrap();
    assert_that_the_oldest_make_room(&container, "/work/many", "/work/nap");
}

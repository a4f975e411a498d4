//! Looks at processes that live, that have ended, and that are others by now. Test only.

#![allow(clippy::unwrap_used)]
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::*;
use crate::host::mountinfo::Device;
use crate::sensor::mounts::{Mounted, Trust};
use crate::sensor::tests::everything;

fn looker() -> ExecLook {
    ExecLook::new(Arc::new(Proc::open(Path::new("/proc")).unwrap()), everything(), Arc::default())
}

/// A process that waits for its end.
fn child() -> (Child, Pid) {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // spawn may return before the new stack is in its place: once it answers, it is.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = Pid(child.id().cast_signed());
    (child, pid)
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn what_executed_is_wanted_once() {
    let (cat, pid) = child();
    let mut looker = looker();
    assert!(matches!(looker.look(pid, clock::now()), Seen::Wanted(s) if s.look.exe.is_ok()));
    assert!(matches!(looker.look(pid, clock::now()), Seen::Earlier(_)), "the same image");
    end(cat);
    assert!(matches!(looker.look(pid, clock::now()), Seen::Dead), "it is gone");
}

/// As where statx(2) tells no mount, and the kernel marks mounts alone: RHEL 8.
#[test]
fn a_covered_file_is_known_by_its_mount_on_every_kernel() {
    let (cat, pid) = child();
    let looker = looker();
    let mut look = looker.proc().look(pid, clock::now());
    look.exe.as_mut().unwrap().mount = None;
    assert_eq!(looker.covered_file(&look), None);
    let file = look.file().unwrap();
    let device = Device { number: file.dev, is_files: false };
    let mounted = Arc::new(Mounted::new(MountedId(1), device, None, Trust::State));
    mounted.set_marked(true);
    let number = mount_of_program(&looker.proc().process(pid).unwrap()).unwrap();
    looker.mounts.change(|table| table.mounts.insert(number, mounted));
    assert_eq!(looker.covered_file(&look), Some(file.inode()));
    let asks = |major, mount| {
        let file = FileId { dev: nix::sys::stat::makedev(major, 7), ..file };
        looker.covered_after_asking(file, mount, || Some(number)).is_some()
    };
    assert!(asks(0, None) && !asks(8, None), "an overlay's or a tmpfs's, and a disk's");
    assert!(!asks(0, Some(MountNumber(u64::MAX))), "it was told");
    end(cat);
}

#[test]
fn a_pid_that_was_given_away_since_shows_another_process() {
    let (cat, pid) = child();
    let mut looker = looker();
    let before_its_fork = Monotonic(clock::now().0 - 60_000_000_000);
    assert!(matches!(looker.look(pid, before_its_fork), Seen::Dead));
    end(cat);
}

#[test]
fn of_one_that_has_ended_only_the_name_is_wanted_where_fanotify_covers() {
    let (mut cat, pid) = child();
    drop(cat.stdin.take());
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(nix::unistd::Pid::from_raw(pid.0)), ended).unwrap();
    for follows_one_that_was_gone in [false, true] {
        let mut looker = looker();
        looker.mounts.change(|_| ());
        looker.last_gone = follows_one_that_was_gone;
        assert!(matches!(looker.look(pid, clock::now()), Seen::Settled(Image::Ended(_))));
        assert!(!looker.last_gone && looker.mounts.requests.is_sweep_wanted());
    }
    end(cat);
}

#[test]
fn the_tick_of_the_fork_is_no_proof_of_another() {
    let (cat, pid) = child();
    let mut looker = looker();
    let stat = looker.proc().process(pid).unwrap().stat().unwrap();
    let tick = looker.ticks.moment(stat.start);
    assert!(matches!(looker.look(pid, tick), Seen::Wanted(_)));
    end(cat);
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::event::{Monotonic, ProcessId};

fn own() -> Pid {
    Pid(std::process::id().cast_signed())
}

#[test]
fn pids_are_given_to_processes_and_threads() {
    let proc = Proc::open(Path::new("/proc")).unwrap();
    let thread = || (Pid(nix::unistd::gettid().as_raw()), proc.newest_pid().unwrap());
    let (thread, newest) = std::thread::scope(|scope| scope.spawn(thread).join().unwrap());
    assert!(newest.0 > 0);
    assert!(proc.is_listed(own()) && !proc.is_listed(thread));
    assert!(proc.pids().unwrap().contains(&own()));
}

#[test]
fn decimal_is_like_display() {
    for n in [0, 1, 9, 10, 4021, 4_194_304, i32::MAX] {
        assert_eq!(decimal(n, &mut [0; 12]), n.to_string().as_bytes());
    }
}

#[test]
fn look_at_ourselves_knows_everything() {
    let proc = Proc::open(Path::new("/proc")).unwrap();
    let look = proc.look(own(), Monotonic(1));
    let exe = look.exe.unwrap();
    assert_eq!(exe.path, std::env::current_exe().unwrap().into_os_string().into_vec());
    assert_eq!(exe.id.unwrap().size, std::fs::metadata("/proc/self/exe").unwrap().len());
    assert!(!exe.deleted);
    let oracle = procfs::process::Process::myself().unwrap();
    let namespaces = oracle.namespaces().unwrap().0;
    let number = |name: &str| namespaces.iter().find(|(k, _)| *k == name).unwrap().1.identifier;
    assert_eq!(look.mnt_ns.unwrap().0, number("mnt"));
    assert_eq!(look.pid_ns.unwrap().0, number("pid"));
    assert!(look.root.is_ok() && look.cgroup.is_ok());
    let start = look.stat.unwrap().start;
    assert!(proc.lives(ProcessId { pid: own(), start }));
    assert!(!proc.lives(ProcessId { pid: own(), start: crate::event::StartTime(start.0 + 1) }));
    assert!(proc.pids().unwrap().contains(&own()));
}

#[test]
fn a_glance_sees_what_a_look_sees() {
    let proc = Proc::open(Path::new("/proc")).unwrap();
    let (status, stat) = (proc.glance_at_file(own()).unwrap(), proc.glance_at_stat(own()).unwrap());
    let look = proc.look(own(), Monotonic(1));
    assert_eq!(Some(file_id(status)), look.file());
    assert_eq!(stat.start, look.stat.as_ref().unwrap().start);
    assert_eq!(stat.start_stack, look.stat.unwrap().start_stack);
    assert_eq!(proc.mount_namespace(own()), look.mnt_ns);
    let nobody = Pid(i32::MAX);
    assert_eq!(proc.glance_at_file(nobody).err(), Some(Missing::Gone));
    assert_eq!(proc.glance_at_stat(nobody).err(), Some(Missing::Gone));
}

#[test]
fn a_dead_process_is_gone_at_every_stage() {
    let proc = Proc::open(Path::new("/proc")).unwrap();
    let mut child = std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let pid = Pid(child.id().cast_signed());
    let dir = proc.process(pid).unwrap();
    let mut look = proc.begin_look(pid, Monotonic(1));
    assert!(look.exe.is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    proc.complete_look(&mut look);
    assert_eq!(look.stat, Err(Missing::Gone));
    assert_eq!(look.root, Err(Missing::Gone));
    assert_eq!(look.exe.unwrap().id, Err(Missing::Gone));
    assert_eq!(dir.exe_link(), Err(Missing::Gone));
    assert_eq!(dir.arguments(), Err(Missing::Gone));
    assert_eq!(dir.command_line(), Err(Missing::Gone));
    assert_eq!(dir.status(), Err(Missing::Gone));
    assert_eq!(dir.cwd(), Err(Missing::Gone));
    assert!(dir.root_dir().is_err() && proc.process(pid).is_err());
    assert_eq!(proc.look(pid, Monotonic(1)).stat, Err(Missing::Gone));
}

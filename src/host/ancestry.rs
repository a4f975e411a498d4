//! The ancestors of a process, up to its container's init: who called the compiler.

use crate::event::{Field, Missing, Namespace, Pid, StartTime, Stat};
use crate::host::process::{Proc, ProcessDir};

/// Deeper trees exist only to hide something.
const GENERATIONS: usize = 32;

/// One relative of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kin {
    /// The host's pid.
    pub pid: Pid,
    /// When it was forked.
    pub start: StartTime,
    /// comm.
    pub comm: Vec<u8>,
    /// POSIX session: the host's pid of its leader.
    pub session: Option<Pid>,
    /// Its command line, as [`ProcessDir::command_line`] has it; not read unless asked for.
    pub command_line: Field<Vec<u8>>,
}

impl Kin {
    fn new(pid: Pid, stat: Stat) -> Self {
        let command_line = Err(Missing::Absent);
        Self { pid, start: stat.start, comm: stat.comm, session: stat.session, command_line }
    }
}

/// Climbs from a process to its container's init, nearest first. It stops where the pid namespace changes, or,
/// for a container in the host's pid namespace, where `inside` says no.
pub fn climb(
    proc: &Proc,
    child: &Stat,
    pid_ns: Field<Namespace>,
    inside: impl Fn(&ProcessDir) -> bool,
    mut each: impl FnMut(&ProcessDir, &mut Kin),
) -> Vec<Kin> {
    let mut kin: Vec<Kin> = Vec::new();
    let (mut next, mut younger) = (child.ppid, child.start);
    while next.0 > 0 && kin.len() < GENERATIONS {
        let Ok(dir) = proc.process(next) else { break };
        let Ok(stat) = dir.stat() else { break };
        let same_namespace = pid_ns.is_err() || dir.namespace(c"ns/pid") == pid_ns;
        // A parent that is younger than its child is somebody else under a pid used again.
        if !same_namespace || stat.start > younger || !inside(&dir) {
            break;
        }
        let parent = stat.ppid;
        younger = stat.start;
        let mut one = Kin::new(next, stat);
        each(&dir, &mut one);
        kin.push(one);
        next = parent;
    }
    kin
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    fn put(root: &Path, pid: i32, comm: &str, ppid: i32, start: u64, ns: &str) {
        let dir = root.join(pid.to_string());
        std::fs::create_dir_all(dir.join("ns")).unwrap();
        let middle = "0 ".repeat(14);
        let stat = format!("{pid} ({comm}) S {ppid} 1 77 0 {middle}{start} 0 0 0 0 0 1 0\n");
        std::fs::write(dir.join("stat"), stat).unwrap();
        std::fs::write(dir.join("cmdline"), format!("{comm}\0")).unwrap();
        std::os::unix::fs::symlink(ns, dir.join("ns/pid")).unwrap();
    }

    #[test]
    fn climbs_to_init_and_no_further() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path();
        put(root, 1, "systemd", 0, 1, "pid:[1]");
        put(root, 50, "shim", 1, 5, "pid:[1]");
        put(root, 60, "node", 50, 6, "pid:[2]");
        put(root, 70, "sh", 60, 7, "pid:[2]");
        put(root, 80, "gcc", 70, 8, "pid:[2]");
        let proc = Proc::open(root).unwrap();
        let child = proc.process(Pid(80)).unwrap().stat().unwrap();
        let names = |ns: Field<Namespace>, inside: &dyn Fn(&ProcessDir) -> bool| -> Vec<String> {
            let kin = climb(&proc, &child, ns, inside, |dir, kin| kin.command_line = dir.command_line());
            let line = |k: &Kin| String::from_utf8(k.command_line.clone().unwrap()).unwrap();
            kin.iter().map(|k| line(k).trim_end_matches('\0').to_owned()).collect()
        };
        assert_eq!(names(Ok(Namespace(2)), &|_| true), ["sh", "node"]);
        assert_eq!(names(Err(Missing::Denied), &|_| true), ["sh", "node", "shim", "systemd"]);
        let not_shim = |dir: &ProcessDir| dir.stat().unwrap().comm != b"shim";
        assert_eq!(names(Err(Missing::Denied), &not_shim), ["sh", "node"]);
        std::fs::remove_dir_all(root.join("70")).unwrap();
        put(root, 70, "late", 60, 9, "pid:[2]");
        assert_eq!(names(Ok(Namespace(2)), &|_| true), [""; 0], "a pid used again is no parent");
    }
}

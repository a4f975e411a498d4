//! The look at a process that executed something: its parts in the order in which they are needed, so that none is taken
//! in vain.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::event::{Comm, Exe, Field, Look, Missing, Monotonic, Pid, Stat};
use crate::host::DELETED;
use crate::host::file::{file_id, file_status, mount_number};
use crate::host::process::{NAME, Proc, ProcessDir, below, os};
use crate::host::stat::parse_stat;
use crate::sys::file::FileStatus;

/// Longer than stat's one line: 52 numbers, most of them short, and a name of at most 64 bytes.
const STAT: usize = 1024;

impl Proc {
    /// The file that a process executes, by one call.
    ///
    /// # Errors
    /// `Gone` also for a zombie; `Denied`.
    pub fn glance_at_file(&self, pid: Pid) -> Field<FileStatus> {
        file_status(self.root.as_fd(), below(pid, b"/exe", &mut [0; NAME])?).map_err(|e| Missing::from_os(&e))
    }

    /// The kernel's name for a process: cheaper by far than what else its state holds.
    ///
    /// # Errors
    /// `Gone`; `Denied`.
    pub fn glance_at_name(&self, pid: Pid) -> Field<Comm> {
        let mut text = [0; NAME];
        let text = self.read_at_once(below(pid, b"/comm", &mut [0; NAME])?, &mut text)?;
        Ok(Comm::new(text.strip_suffix(b"\n").unwrap_or(text)))
    }

    /// Who a process is, by as few calls as can be; another one than that of an earlier glance began later.
    ///
    /// # Errors
    /// `Gone`; `Denied`; `Malformed`.
    pub fn glance_at_stat(&self, pid: Pid) -> Field<Stat> {
        parse_stat(self.read_at_once(below(pid, b"/stat", &mut [0; NAME])?, &mut [0; STAT])?)
    }

    fn read_at_once<'a>(&self, path: &CStr, text: &'a mut [u8]) -> Field<&'a [u8]> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.root, path, flags, Mode::empty()).map_err(os)?;
        let got = nix::unistd::read(&file, text).map_err(os)?;
        Ok(text.get(..got).unwrap_or(&[]))
    }

    /// The first part of the look: which file it executes, without opening that.
    pub fn begin_look(&self, pid: Pid, at: Monotonic) -> Look {
        let mut look = self.open_look(pid, at);
        self.read_exe_state(&mut look);
        look
    }

    /// Of the first part what no file server is asked for: the executed file's path.
    pub fn open_look(&self, pid: Pid, at: Monotonic) -> Look {
        let dir = match self.process(pid) {
            Ok(dir) => dir,
            Err(why) => return Look::nothing(at, why),
        };
        let gone = Missing::Gone;
        let exe =
            dir.exe_link().map(|(path, deleted)| Exe { path, deleted, id: Err(gone), mount: None, file: Err(gone) });
        Look { dir: Ok(dir.0), exe, ..Look::nothing(at, gone) }
    }

    /// Of the first part the rest: the executed file's state, which before Linux 4.11 its file server is asked for.
    pub fn read_exe_state(&self, look: &mut Look) {
        if let (Ok(dir), Ok(exe)) = (&look.dir, &mut look.exe) {
            let status = file_status(dir.as_fd(), c"exe").map_err(|e| Missing::from_os(&e));
            (exe.id, exe.mount) = (status.map(file_id), status.ok().and_then(mount_number));
        }
    }

    /// The second: its cgroup, which tells most processes of a container from the host's.
    pub fn read_cgroup(&self, look: &mut Look) {
        if let Ok(dir) = look.dir.clone().map(ProcessDir) {
            look.cgroup = dir.small_file(c"cgroup");
        }
    }

    /// Its mount namespace, where the cgroup names no container; [`Proc::complete_look`] does so for the others.
    pub fn read_mnt_ns(&self, look: &mut Look) {
        if let Ok(dir) = look.dir.clone().map(ProcessDir) {
            look.mnt_ns = dir.namespace(c"ns/mnt");
        }
    }

    /// Its root directory, where neither the cgroup nor the mount namespace tells whose it is.
    pub fn read_root(&self, look: &mut Look) {
        if let Ok(dir) = look.dir.clone().map(ProcessDir) {
            look.root = dir.root();
        }
    }

    /// Who it is.
    pub fn read_stat(&self, look: &mut Look) {
        if let Ok(dir) = look.dir.clone().map(ProcessDir) {
            look.stat = dir.stat();
        }
    }

    /// The last: the executed file's descriptor, and where its root directory and its pid namespace are.
    pub fn complete_look(&self, look: &mut Look) {
        let Ok(dir) = look.dir.clone().map(ProcessDir) else { return };
        if let Ok(exe) = &mut look.exe {
            exe.file = dir.exe_file();
            let status = match &exe.file {
                Ok(file) => file_status(file.as_fd(), c"").map_err(|e| Missing::from_os(&e)),
                Err(why) => Err(*why),
            };
            exe.mount = status.ok().and_then(mount_number);
            exe.id = status.map(file_id);
            // A living file may be named so; only one without a name was deleted.
            if exe.deleted && status.is_ok_and(|s| s.nlink > 0) {
                exe.deleted = false;
                exe.path.extend_from_slice(DELETED);
            }
        }
        look.root = dir.root();
        look.pid_ns = dir.namespace(c"ns/pid");
        look.mnt_ns = look.mnt_ns.or_else(|_| dir.namespace(c"ns/mnt"));
    }

    /// The whole look at one process.
    pub fn look(&self, pid: Pid, at: Monotonic) -> Look {
        let mut look = self.begin_look(pid, at);
        self.read_cgroup(&mut look);
        self.read_stat(&mut look);
        self.complete_look(&mut look);
        look
    }
}

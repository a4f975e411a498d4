//! Reads one process from /proc, as bytes and through one descriptor on its directory, so that all of it is about
//! the same process. What may hang (cmdline and whatever else lies in the process' memory) is for workers only.

use std::ffi::CStr;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::event::{Field, FileId, Missing, Namespace, Pid, RootId, Stat};
use crate::host::file::{file_id, file_status};
use crate::host::maps;
use crate::host::stat::{Status, parse_stat, parse_status};

/// Larger than any stat, status, cgroup or uid_map that a sane system shows.
const SMALL_FILE: usize = 64 << 10;
/// What the kernel renders of a file of /proc at once.
const PAGE: usize = 4096;
/// A read ends before the file does only where the next line has no room (seq_read_iter in fs/seq_file.c), and none is
/// longer than this.
const LINE: usize = 1024;
/// Longer than any name below /proc that is asked for.
pub(super) const NAME: usize = 24;
/// Arguments are counted up to here; the kernel allows a quarter of the stack limit, 2 MiB by default.
const ARGUMENTS_COUNTED: usize = 4 << 20;
/// And kept up to here, and up to this number: a short one takes fifty times its length.
const ARGUMENTS_KEPT: usize = 128 << 10;
const NUMBER_KEPT: usize = 4096;
/// Of a command line that is shown to people and judged by nobody: twice what is shown.
const COMMAND_LINE: usize = 2 << 10;
/// The kernel executes nothing with a longer variable (MAX_ARG_STRLEN in linux/binfmts.h).
const VARIABLE: u64 = 128 << 10;
/// Nor with a longer environment (bprm_stack_limits in fs/exec.c).
const ENVIRONMENT: u64 = 6 << 20;

/// A mounted procfs, or a tree that looks like one.
#[derive(Debug)]
pub struct Proc {
    pub(super) root: OwnedFd,
}

/// The arguments of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// argv, as far as it was kept: 4,096 of them, 128 KiB.
    pub kept: Vec<Vec<u8>>,
    /// How many there are.
    pub count: usize,
}

/// One process' directory below a [`Proc`].
#[derive(Debug, Clone)]
pub struct ProcessDir(pub Arc<OwnedFd>);

fn path_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_CLOEXEC
}

pub(super) fn os(error: nix::Error) -> Missing {
    Missing::from_os(&io::Error::from(error))
}

impl Proc {
    /// Opens the tree at `root`, normally `/proc`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(root: &Path) -> Result<Self> {
        let flags = path_flags() | OFlag::O_DIRECTORY;
        let root_fd = nix::fcntl::open(root, flags, Mode::empty()).map_err(|e| Error::file("open", root, e))?;
        Ok(Self { root: root_fd })
    }

    /// Opens one process.
    ///
    /// # Errors
    /// `Gone` where there is none.
    pub fn process(&self, pid: Pid) -> Field<ProcessDir> {
        let mut buffer = [0u8; 12];
        let name = decimal(pid.0, &mut buffer);
        let flags = path_flags() | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        openat(&self.root, name, flags, Mode::empty()).map(|fd| ProcessDir(Arc::new(fd))).map_err(os)
    }

    /// Whether this is a process, and not one thread of several, which has a directory too though it is not listed.
    pub fn is_listed(&self, pid: Pid) -> bool {
        let status = self.process(pid).and_then(|dir| dir.small_file(c"status"));
        let group = format!("Tgid:\t{}", pid.0);
        status.is_ok_and(|status| status.split(|b| *b == b'\n').any(|line| line == group.as_bytes()))
    }

    /// Every process there is, in one walk over the directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pids(&self) -> Field<Vec<Pid>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::dir::Dir::openat(&self.root, c".", flags, Mode::empty()).map_err(os)?;
        let number = |name: &CStr| std::str::from_utf8(name.to_bytes()).ok()?.parse().ok().map(Pid);
        Ok(dir.into_iter().filter_map(|entry| number(entry.ok()?.file_name())).collect())
    }

    /// The pid that was given away last, in our own pid namespace (proc(5), /proc/loadavg).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn newest_pid(&self) -> Field<Pid> {
        let file = openat(&self.root, c"loadavg", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(os)?;
        let mut text = [0; 128];
        let got = nix::unistd::read(&file, &mut text).map_err(os)?;
        let last = text.get(..got).and_then(|text| text.trim_ascii().rsplit(|b| *b == b' ').next());
        let number = last.and_then(|last| std::str::from_utf8(last).ok()?.parse().ok());
        number.map(Pid).ok_or(Missing::Malformed)
    }

    /// Whether this very process still lives: same start time, and neither zombie nor dead.
    pub fn lives(&self, process: crate::event::ProcessId) -> bool {
        let stat = self.process(process.pid).and_then(|dir| dir.stat());
        stat.is_ok_and(|s| s.start == process.start && !s.is_dead())
    }

    /// The mount namespace of a process.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn mount_namespace(&self, pid: Pid) -> Field<Namespace> {
        let link = readlinkat(&self.root, below(pid, b"/ns/mnt", &mut [0; NAME])?).map_err(os)?;
        namespace_number(&link.into_vec())
    }
}

pub(super) const DELETED: &[u8] = b" (deleted)";

/// The name of a process' file: its number and `file`.
pub(super) fn below<'b>(pid: Pid, file: &[u8], buffer: &'b mut [u8; NAME]) -> Field<&'b CStr> {
    let mut digits = [0; 12];
    let digits = decimal(pid.0, &mut digits);
    let name = digits.iter().chain(file);
    buffer.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    CStr::from_bytes_until_nul(buffer).map_err(|_| Missing::Malformed)
}

/// Writes `number` in decimal without allocating: the hot path opens a directory for every exec.
fn decimal(number: i32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = buffer.len();
    for (i, digit) in buffer.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start = i;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or(&[])
}

/// The number in a namespace link's text, `mnt:[4026531832]`.
fn namespace_number(text: &[u8]) -> Field<Namespace> {
    let inside = text.split(|b| *b == b'[').nth(1).and_then(|t| t.strip_suffix(b"]"));
    let number = inside.and_then(|t| std::str::from_utf8(t).ok()).and_then(|t| t.parse().ok());
    number.map(Namespace).ok_or(Missing::Malformed)
}

/// Splits /proc/PID/cmdline: arguments end in NUL; a process that overwrote them may have left none.
pub fn split_arguments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|b| *b == 0)
}

impl ProcessDir {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn open_file(&self, name: &CStr) -> Field<std::fs::File> {
        openat(self.as_fd(), name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(Into::into).map_err(os)
    }

    /// One of the small files, whole: most by one read.
    ///
    /// # Errors
    /// `TooLarge` beyond 64 KiB.
    pub fn small_file(&self, name: &CStr) -> Field<Vec<u8>> {
        let mut file = self.open_file(name)?;
        let mut first = [0; PAGE];
        let got = file.read(&mut first).map_err(|e| Missing::from_os(&e))?;
        let mut bytes = first.get(..got).unwrap_or(&[]).to_vec();
        if got + LINE < PAGE {
            return Ok(bytes);
        }
        let limit = (SMALL_FILE + 1 - got) as u64;
        file.take(limit).read_to_end(&mut bytes).map_err(|e| Missing::from_os(&e))?;
        if bytes.len() > SMALL_FILE { Err(Missing::TooLarge) } else { Ok(bytes) }
    }

    fn link(&self, name: &CStr) -> Field<Vec<u8>> {
        readlinkat(self.as_fd(), name).map(OsStringExt::into_vec).map_err(os)
    }

    /// /proc/PID/stat.
    ///
    /// # Errors
    /// `Gone`, or `Malformed`.
    pub fn stat(&self) -> Field<Stat> {
        parse_stat(&self.small_file(c"stat")?)
    }

    /// /proc/PID/status.
    ///
    /// # Errors
    /// `Gone`, or `Malformed`.
    pub fn status(&self) -> Field<Status> {
        parse_status(&self.small_file(c"status")?)
    }

    /// The link's text without ` (deleted)`, and whether it was there.
    ///
    /// # Errors
    /// `Gone` also for a zombie.
    pub fn exe_link(&self) -> Field<(Vec<u8>, bool)> {
        let mut path = self.link(c"exe")?;
        let deleted = path.ends_with(DELETED);
        if deleted {
            path.truncate(path.len() - DELETED.len());
        }
        Ok((path, deleted))
    }

    /// The executed file's identity.
    ///
    /// # Errors
    /// `Gone` also for a zombie.
    pub fn exe_id(&self) -> Field<FileId> {
        file_status(self.as_fd(), c"exe").map(file_id).map_err(|e| Missing::from_os(&e))
    }

    /// An `O_PATH` descriptor on the executed file: the link leads to the inode, no name is looked up.
    ///
    /// # Errors
    /// `Gone` also for a zombie.
    pub fn exe_file(&self) -> Field<Arc<OwnedFd>> {
        openat(self.as_fd(), c"exe", path_flags(), Mode::empty()).map(Arc::new).map_err(os)
    }

    /// An `O_PATH` descriptor on the process' root directory.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn root_dir(&self) -> Field<OwnedFd> {
        openat(self.as_fd(), c"root", path_flags() | OFlag::O_DIRECTORY, Mode::empty()).map_err(os)
    }

    /// The root directory's identity.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn root(&self) -> Field<RootId> {
        let status = file_status(self.as_fd(), c"root").map_err(|e| Missing::from_os(&e))?;
        Ok(RootId { dev: status.dev, ino: status.ino })
    }

    /// The table of the mounts that it sees. As long as that is open its mount namespace lives, and every mount in it.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn mount_table(&self) -> Field<std::fs::File> {
        self.open_file(c"mountinfo")
    }

    /// A namespace's number: `ns/mnt`, `ns/pid`.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn namespace(&self, name: &CStr) -> Field<Namespace> {
        namespace_number(&self.link(name)?)
    }

    /// The working directory as the process' root shows it. For workers.
    ///
    /// # Errors
    /// `Gone`, or `Denied`.
    pub fn cwd(&self) -> Field<Vec<u8>> {
        self.link(c"cwd")
    }

    /// The memory, open for reading, and the ranges of it that are the program's own. For workers: it may be served by
    /// somebody who never answers.
    ///
    /// # Errors
    /// `Gone`, `Denied`, or `TooLarge` for maps beyond 64 KiB.
    pub fn memory(&self, exe: &[u8]) -> Field<(std::fs::File, Vec<Range<u64>>)> {
        let ranges = maps::own_ranges(&self.small_file(c"maps")?, exe);
        Ok((self.open_file(c"mem")?, ranges))
    }

    /// The arguments. They lie in the process' memory, which may be mapped from a file server that never answers:
    /// for workers with a deadline only.
    ///
    /// # Errors
    /// `Gone` also where there are none: a zombie, a kernel thread.
    pub fn arguments(&self) -> Field<Arguments> {
        let mut file = self.open_file(c"cmdline")?;
        let mut kept = Vec::new();
        let (mut total, mut ends, mut last) = (0, 0, 0);
        let mut chunk = vec![0u8; 16 << 10];
        while total < ARGUMENTS_COUNTED {
            let got = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Missing::from_os(&e)),
            };
            let part = chunk.get(..got).unwrap_or(&[]);
            ends += part.iter().filter(|b| **b == 0).count();
            last = part.last().copied().unwrap_or(last);
            let room = ARGUMENTS_KEPT.saturating_sub(kept.len()).min(got);
            kept.extend_from_slice(part.get(..room).unwrap_or(&[]));
            total += got;
        }
        if total == 0 {
            return Err(Missing::Gone);
        }
        let kept = split_arguments(&kept).take(NUMBER_KEPT).map(<[u8]>::to_vec).collect();
        Ok(Arguments { kept, count: ends + usize::from(last != 0) })
    }

    /// The first 2 KiB of the arguments, as /proc/PID/cmdline has them. For workers, as all of them.
    ///
    /// # Errors
    /// `Gone` also where there are none.
    pub fn command_line(&self) -> Field<Vec<u8>> {
        let mut line = Vec::new();
        let file = self.open_file(c"cmdline")?;
        file.take(COMMAND_LINE as u64).read_to_end(&mut line).map_err(|e| Missing::from_os(&e))?;
        line.shrink_to_fit();
        if line.is_empty() { Err(Missing::Gone) } else { Ok(line) }
    }

    /// What the environment that the process was executed with has of a variable; `name` ends with its `=`. It lies in the
    /// process' memory, as the arguments do.
    ///
    /// # Errors
    /// `Gone`, and what the operating system says; `None` is a variable that is not set.
    pub fn variable(&self, name: &[u8]) -> Field<Option<Vec<u8>>> {
        let mut environment = BufReader::new(self.open_file(c"environ")?.take(ENVIRONMENT));
        let mut variable = Vec::new();
        loop {
            variable.clear();
            let got = environment.by_ref().take(VARIABLE).read_until(0, &mut variable);
            if got.map_err(|e| Missing::from_os(&e))? == 0 {
                return Ok(None);
            }
            if let Some(value) = variable.strip_prefix(name) {
                return Ok(Some(value.strip_suffix(&[0]).unwrap_or(value).to_vec()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn arguments_are_bytes_counted_beyond_what_is_kept() {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join("7");
        std::fs::create_dir(&dir).unwrap();
        let proc = Proc::open(tree.path()).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(dir.join("cmdline"), bytes).unwrap();
            proc.process(Pid(7)).unwrap().arguments()
        };
        assert_eq!(read(b"").err(), Some(Missing::Gone));
        assert_eq!(read(b"gcc\0\xff\n\x1b[2J\0").unwrap().kept, [&b"gcc"[..], b"\xff\n\x1b[2J"]);
        assert_eq!(read(b"title without end").unwrap().count, 1);
        let many = read(&b"aaaaaaa\0".repeat(262_144)).unwrap();
        assert_eq!((many.count, many.kept.len()), (262_144, NUMBER_KEPT));
        let long = read(&[b"a".repeat(100), b"\0".to_vec()].concat().repeat(2000)).unwrap();
        assert_eq!((long.count, long.kept.len()), (2000, ARGUMENTS_KEPT.div_ceil(101)));
    }

    #[test]
    fn a_command_line_is_what_people_are_shown() {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join("7");
        std::fs::create_dir(&dir).unwrap();
        let proc = Proc::open(tree.path()).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(dir.join("cmdline"), bytes).unwrap();
            proc.process(Pid(7)).unwrap().command_line()
        };
        assert_eq!(read(b"").err(), Some(Missing::Gone));
        assert_eq!(read(b"make\0-j8\0").unwrap(), b"make\0-j8\0");
        let long = read(&b"a\0".repeat(65_000)).unwrap();
        assert_eq!((long.len(), long.capacity()), (COMMAND_LINE, COMMAND_LINE));
        assert_eq!(split_arguments(&long).count(), COMMAND_LINE / 2);
    }

    #[test]
    fn a_variable_is_the_first_of_its_name() {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join("7");
        std::fs::create_dir(&dir).unwrap();
        let proc = Proc::open(tree.path()).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(dir.join("environ"), bytes).unwrap();
            proc.process(Pid(7)).unwrap().variable(b"B=").unwrap()
        };
        assert_eq!(read(b""), None);
        assert_eq!(read(b"A=B=1\0BB=2\0"), None);
        assert_eq!(read(b"A=1\0B=\xff 2\0B=3\0").unwrap(), b"\xff 2");
        assert_eq!(read(b"B=without end").unwrap(), b"without end");
        let long = [b"A=".to_vec(), vec![b'B'; 1 << 20], b"\0B=1\0".to_vec()].concat();
        assert_eq!(read(&long).unwrap(), b"1");
        assert_eq!(read(&[b"B=".to_vec(), vec![b'B'; 1 << 20]].concat()).unwrap().len() as u64, VARIABLE - 2);
        assert_eq!(read(&vec![b'B'; 8 << 20]), None);
        std::fs::remove_file(dir.join("environ")).unwrap();
        assert_eq!(proc.process(Pid(7)).unwrap().variable(b"B="), Err(Missing::Gone));
    }
}

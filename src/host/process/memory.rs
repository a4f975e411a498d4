//! What lies in a process' memory, its arguments and environment among it: that may be mapped from a file server that never
//! answers, so it is for workers with a deadline alone.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::OnceLock;

use procfs::KernelVersion;

use super::ProcessDir;
use crate::event::{Field, Missing};
use crate::host::maps::MappedProgram;
use crate::host::stat::argument_area;
use crate::sys::process::page_size;

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

/// The arguments of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// argv, as far as it was kept: 4,096 of them, 128 KiB.
    pub kept: Vec<Vec<u8>>,
    /// How many there are, as far as anybody could read.
    pub count: usize,
    /// There are more, or longer ones, than were kept.
    pub cut: bool,
}

/// What was read of them so far.
#[derive(Debug, Default)]
struct Taken {
    kept: Vec<u8>,
    total: usize,
    ends: usize,
    last: u8,
}

impl Taken {
    fn all(&mut self, mut from: impl Read) -> Field<()> {
        let mut chunk = vec![0u8; 16 << 10];
        while self.total < ARGUMENTS_COUNTED {
            let got = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Missing::from_os(&e)),
            };
            let part = chunk.get(..got).unwrap_or(&[]);
            self.ends += part.iter().filter(|b| **b == 0).count();
            self.last = part.last().copied().unwrap_or(self.last);
            let room = ARGUMENTS_KEPT.saturating_sub(self.kept.len()).min(got);
            self.kept.extend_from_slice(part.get(..room).unwrap_or(&[]));
            self.total += got;
        }
        Ok(())
    }
}

impl ProcessDir {
    /// The memory, open for reading, and what of it is the program `exe`. For workers: it may be served by somebody who
    /// never answers.
    ///
    /// # Errors
    /// `Gone`, `Denied`, or `TooLarge` for maps beyond 64 KiB.
    pub fn memory(&self, exe: &[u8]) -> Field<(std::fs::File, MappedProgram)> {
        let image = MappedProgram::parse(&self.small_file(c"maps")?, exe);
        Ok((self.open_file(c"mem")?, image))
    }

    /// The arguments. They lie in the process' memory, which may be mapped from a file server that never answers:
    /// for workers with a deadline only.
    ///
    /// # Errors
    /// `Gone` also where there are none: a zombie, a kernel thread.
    pub fn arguments(&self) -> Field<Arguments> {
        self.arguments_of(shows_one_page())
    }

    fn arguments_of(&self, shows_one_page: bool) -> Field<Arguments> {
        let mut taken = Taken::default();
        taken.all(self.open_file(c"cmdline")?)?;
        if taken.total == 0 {
            return Err(Missing::Gone);
        }
        let is_whole = taken.total != page_size() || self.take_rest(&mut taken, shows_one_page).is_ok();
        let kept: Vec<Vec<u8>> = split_arguments(&taken.kept).take(NUMBER_KEPT).map(<[u8]>::to_vec).collect();
        let count = taken.ends + usize::from(taken.last != 0);
        let cut = !is_whole || kept.len() < count || taken.kept.len() < taken.total;
        Ok(Arguments { kept, count, cut })
    }

    /// The arguments beyond the first page, from where they lie. Where the file shows more than that, what it does not show
    /// are no arguments any more, but a file that is mapped in their place, for which a server may have to answer.
    fn take_rest(&self, taken: &mut Taken, shows_one_page: bool) -> Field<()> {
        let (start, end) = argument_area(&self.small_file(c"stat")?)?;
        let from = start.saturating_add(taken.total as u64);
        if from >= end {
            return Ok(());
        }
        if !shows_one_page {
            return Err(Missing::Malformed);
        }
        let mut memory = self.open_file(c"mem")?;
        memory.seek(SeekFrom::Start(from)).map_err(|e| Missing::from_os(&e))?;
        taken.all(memory.take(end - from))
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

/// Whether /proc/PID/cmdline shows one page at most: before Linux 4.2 (proc_pid_cmdline in fs/proc/base.c).
fn shows_one_page() -> bool {
    static SHOWN: OnceLock<bool> = OnceLock::new();
    *SHOWN.get_or_init(|| KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(4, 2, 0)))
}

/// Splits /proc/PID/cmdline: arguments end in NUL; a process that overwrote them may have left none.
pub fn split_arguments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Pid;
    use crate::host::process::Proc;

    /// A /proc with one process.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = tempfile::tempdir().unwrap();
            std::fs::create_dir(tree.path().join("7")).unwrap();
            Self(tree)
        }

        fn process(&self) -> ProcessDir {
            Proc::open(self.0.path()).unwrap().process(Pid(7)).unwrap()
        }

        fn with(&self, file: &str, bytes: &[u8]) -> ProcessDir {
            std::fs::write(self.0.path().join("7").join(file), bytes).unwrap();
            self.process()
        }
    }

    #[test]
    fn arguments_are_bytes_counted_beyond_what_is_kept() {
        let tree = Tree::new();
        let read = |bytes: &[u8]| tree.with("cmdline", bytes).arguments();
        assert_eq!(read(b"").err(), Some(Missing::Gone));
        assert_eq!(read(b"gcc\0\xff\n\x1b[2J\0").unwrap().kept, [&b"gcc"[..], b"\xff\n\x1b[2J"]);
        assert_eq!(read(b"title without end").unwrap().count, 1);
        let many = read(&b"aaaaaaa\0".repeat(262_144)).unwrap();
        assert_eq!((many.count, many.kept.len()), (262_144, NUMBER_KEPT));
        let long = read(&[b"a".repeat(100), b"\0".to_vec()].concat().repeat(2000)).unwrap();
        assert_eq!((long.count, long.kept.len()), (2000, ARGUMENTS_KEPT.div_ceil(101)));
    }

    #[test]
    fn what_lies_beyond_the_first_page_is_read_where_it_lies() {
        let (tree, page) = (Tree::new(), page_size());
        let all = [b"java\0-cp\0".to_vec(), b"x".repeat(page), b"\0com.sun.tools.javac.Main\0".to_vec()].concat();
        let shown = tree.with("cmdline", all.split_at(page).0);
        let cut = shown.arguments_of(true).unwrap();
        assert_eq!((cut.kept.len(), cut.cut), (3, true), "nobody tells where they lie");
        let stat = format!("7 (java) S {}4096 {} 0", "0 ".repeat(44), 4096 + all.len());
        tree.with("stat", stat.as_bytes());
        tree.with("mem", &[vec![0; 4096], all.clone(), b"A=environment\0".to_vec()].concat());
        let cut = shown.arguments_of(false).unwrap();
        assert_eq!((cut.kept.len(), cut.cut), (3, true), "what lies there is no argument");
        let whole = shown.arguments_of(true).unwrap();
        assert_eq!((whole.kept.last().unwrap().as_slice(), whole.count), (&b"com.sun.tools.javac.Main"[..], 4));
        assert!(!whole.cut);
    }

    #[test]
    fn our_own_arguments_lie_where_stat_says() {
        let (start, end) = argument_area(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
        memory.seek(SeekFrom::Start(start)).unwrap();
        let mut bytes = Vec::new();
        memory.take(end - start).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, std::fs::read("/proc/self/cmdline").unwrap());
    }

    #[test]
    fn a_command_line_is_what_people_are_shown() {
        let tree = Tree::new();
        let read = |bytes: &[u8]| tree.with("cmdline", bytes).command_line();
        assert_eq!(read(b"").err(), Some(Missing::Gone));
        assert_eq!(read(b"make\0-j8\0").unwrap(), b"make\0-j8\0");
        let long = read(&b"a\0".repeat(65_000)).unwrap();
        assert_eq!((long.len(), long.capacity()), (COMMAND_LINE, COMMAND_LINE));
        assert_eq!(split_arguments(&long).count(), COMMAND_LINE / 2);
    }

    #[test]
    fn a_variable_is_the_first_of_its_name() {
        let tree = Tree::new();
        let read = |bytes: &[u8]| tree.with("environ", bytes).variable(b"B=").unwrap();
        assert_eq!(read(b""), None);
        assert_eq!(read(b"A=B=1\0BB=2\0"), None);
        assert_eq!(read(b"A=1\0B=\xff 2\0B=3\0").unwrap(), b"\xff 2");
        assert_eq!(read(b"B=without end").unwrap(), b"without end");
        let long = [b"A=".to_vec(), vec![b'B'; 1 << 20], b"\0B=1\0".to_vec()].concat();
        assert_eq!(read(&long).unwrap(), b"1");
        assert_eq!(read(&[b"B=".to_vec(), vec![b'B'; 1 << 20]].concat()).unwrap().len() as u64, VARIABLE - 2);
        assert_eq!(read(&vec![b'B'; 8 << 20]), None);
        std::fs::remove_file(tree.0.path().join("7/environ")).unwrap();
        assert_eq!(tree.process().variable(b"B="), Err(Missing::Gone));
    }
}

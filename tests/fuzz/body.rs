//! What must hold of a file of any bytes, read and judged under any name and with any arguments: no panic, no read without
//! an end, and whatever is said of it is said twice. The first bytes say how: see [`Case`]. `tests/fuzz/run.sh` asks it
//! of cases that libFuzzer finds, and `tests/bytes.rs` of some that chance does.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use ccwatch::fingerprint::content::{self, Limit};
use ccwatch::fingerprint::{Database, Invocation, argfile};
use nix::sys::memfd::{MFdFlags, memfd_create};

static DATABASE: LazyLock<Database> = LazyLock::new(|| Database::builtin().expect("the database is our own"));

/// What the first bytes stand for, in their order.
struct Case<'d> {
    /// The limit on what is read: so many times 64.
    limit: u64,
    /// A hole is made before the file's second half: so many times 4096.
    hole: u64,
    /// How many words of the file's end are path, comm and arguments.
    words: usize,
    file: &'d [u8],
}

impl<'d> Case<'d> {
    fn of(data: &'d [u8]) -> Option<Self> {
        let (&[limit, hole, words], file) = data.split_first_chunk()?;
        Some(Self { limit: u64::from(limit) * 64, hole: u64::from(hole) * 4096, words: usize::from(words % 8), file })
    }

    fn open(&self) -> Option<File> {
        let mut file = File::from(memfd_create(c"case", MFdFlags::empty()).ok()?);
        let (head, tail) = self.file.split_at(self.file.len() / 2);
        file.write_all(head).ok()?;
        file.write_all_at(tail, head.len() as u64 + self.hole).ok()?;
        Some(file)
    }
}

/// Panics where something does not hold. Whether the bytes were a case at all.
pub(crate) fn hold(data: &[u8]) -> bool {
    let Some(case) = Case::of(data) else { return false };
    let Some(file) = case.open() else { return false };
    let words: Vec<Vec<u8>> = case.file.rsplit(|&b| b == 0).take(case.words).map(<[u8]>::to_vec).collect();
    let [path, comm] = [0, 1].map(|at| words.get(at).map(Vec::as_slice).unwrap_or_default());
    let expanded = argfile::expand(&words, |_| Some(case.file.to_vec()));
    for bytes in [case.limit, u64::MAX] {
        let read = || content::read(&file, Limit { bytes, time: None }, &DATABASE).expect("nobody else has it");
        let content = read();
        assert_eq!(content, read());
        for args in [None, Some(words.as_slice()), Some(expanded.as_slice())] {
            let call = Invocation { path, comm, args };
            assert_eq!(DATABASE.judge(&call, Some(&content)), DATABASE.judge(&call, Some(&content)));
            DATABASE.judge_loaded(&call, Some(&content), &content);
        }
        DATABASE.content_says(&content);
    }
    true
}

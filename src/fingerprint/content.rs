//! What is read of a file: its SHA-256 and its GNU build-id, through the descriptor of what was executed, by pread with
//! a bounded buffer and never by mmap. It blocks as long as the file's server likes: a worker with a deadline calls it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use sha2::{Digest, Sha256};

use super::{Content, elf};
use crate::event::{Field, Missing};

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// Reads a file that is open for reading (not `O_PATH`), whose offset is left alone. A file larger than `limit` bytes
/// is not hashed (`truncated`), but has its build-id read.
///
/// # Errors
/// `Unreadable` what is not a regular file, and any error of the operating system that has no word of its own;
/// `Malformed` a file that changed while it was read, for its hash would be that of no state it ever had.
pub fn read(file: &File, limit: u64) -> Field<Content> {
    let stat = || file.metadata().map_err(|e| Missing::from_os(&e));
    let before = stat()?;
    if !before.is_file() {
        return Err(Missing::Unreadable);
    }
    let content = contents(|buffer, offset| read_full(file, buffer, offset), before.len(), limit)?;
    if state(&before) == state(&stat()?) { Ok(content) } else { Err(Missing::Malformed) }
}

/// What a write to a file changes.
fn state(of: &Metadata) -> [i64; 5] {
    [of.len().cast_signed(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()]
}

/// Fills the buffer as far as the file goes.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // An offset that overflows lies beyond the end of any file.
        let Some(at) = offset.checked_add(filled as u64).filter(|&at| i64::try_from(at).is_ok()) else { break };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// `read` fills its buffer as far as the file goes.
fn contents(mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>, size: u64, limit: u64) -> Field<Content> {
    let build_id = elf::build_id(&mut read).map_err(|e| Missing::from_os(&e))?;
    if size > limit {
        return Ok(Content { sha256: None, build_id, truncated: true });
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    while offset < size {
        let want = usize::try_from(size - offset).unwrap_or(BUFFER).min(BUFFER);
        let part = buffer.get_mut(..want).unwrap_or_default();
        let got = read(part, offset).map_err(|e| Missing::from_os(&e))?;
        if got < want {
            return Err(Missing::Malformed);
        }
        hash.update(part);
        offset += got as u64;
    }
    Ok(Content { sha256: Some(hash.finalize().into()), build_id, truncated: false })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::io::Write;

    use super::*;
    use crate::alert::hex;

    const LIMIT: u64 = 1 << 20;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn hashes_whole_files() {
        // Test vectors of FIPS 180-2, and the empty file.
        for (bytes, expected) in [
            (b"abc".to_vec(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
            (Vec::new(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ] {
            let content = read(&file_of(&bytes), LIMIT).unwrap();
            assert_eq!(hex::lower(&content.sha256.unwrap()), expected);
            assert_eq!((content.build_id, content.truncated), (None, false));
        }
    }

    #[test]
    fn reads_the_build_id_of_what_is_too_large_to_hash() {
        let own = File::open("/proc/self/exe").unwrap();
        let whole = read(&own, u64::MAX).unwrap();
        let part = read(&own, 1000).unwrap();
        assert!(whole.sha256.is_some() && !whole.truncated);
        assert!(part.sha256.is_none() && part.truncated);
        assert_eq!(whole.build_id, part.build_id);
    }

    #[test]
    fn refuses_what_is_no_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(&File::open(directory.path()).unwrap(), LIMIT), Err(Missing::Unreadable));
        assert_eq!(read(&File::open("/dev/zero").unwrap(), LIMIT), Err(Missing::Unreadable));
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader: std::os::fd::OwnedFd = reader.into();
        assert_eq!(read(&File::from(reader), LIMIT), Err(Missing::Unreadable));
    }

    #[test]
    fn a_file_that_shrinks_while_read_is_malformed() {
        let mut size = 200_000_u64;
        let shrinking = |buffer: &mut [u8], offset: u64| {
            size = size.min(100_000);
            Ok(buffer.len().min(usize::try_from(size.saturating_sub(offset)).unwrap()))
        };
        assert_eq!(contents(shrinking, 200_000, LIMIT), Err(Missing::Malformed));
    }

    #[test]
    fn a_file_that_grows_while_read_is_told_by_its_state() {
        let file = file_of(b"abc");
        let before = file.metadata().unwrap();
        (&file).write_all(b"d").unwrap();
        assert_ne!(state(&before), state(&file.metadata().unwrap()));
    }

    #[test]
    fn an_error_of_the_system_is_passed_on() {
        let denied = |_: &mut [u8], _| Err(io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(contents(denied, 10, LIMIT), Err(Missing::Denied));
        let failing = |buffer: &mut [u8], offset| {
            if offset > 0 { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(buffer.len()) }
        };
        assert_eq!(contents(failing, 100_000, LIMIT), Err(Missing::Unreadable));
    }

    #[test]
    fn a_sparse_file_of_more_than_the_limit_costs_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let content = read(&file, LIMIT).unwrap();
        assert_eq!(content, Content { sha256: None, build_id: None, truncated: true });
    }
}

//! Reading what is no regular file, or cannot be read; and the small database that the tests below it share. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::single_range_in_vec_init)]

use std::fs::File;
use std::io::Write;

use super::*;
use crate::fingerprint::elf::sample::{Sample, Segment, reader};
use crate::fingerprint::origin::State;
use crate::fingerprint::{Confidence, Evidence, Kind};
use crate::hex;
use crate::noise::Random;

mod changing;
mod go;
mod limit;
mod searched;

const LIMIT: u64 = 1 << 20;
const NO_LIMIT: Limit = Limit { bytes: u64::MAX, time: None };
const A_MEGABYTE: Limit = Limit { bytes: LIMIT, time: None };
const DATABASE: &str = "
    schema = 1
    [[family]]
    family = 'demo'
    kind = 'compiler'
    [[content]]
    family = 'demo'
    marks = ['first mark of demo', 'second mark of demo', 'third mark of demo']
    at-least = 2
    version-after = ['demo version ']
    [[content]]
    family = 'demo'
    go-paths = ['cmd/demo*']
";

fn database() -> Database {
    Database::parse(DATABASE).unwrap()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What is made of a file without holes.
fn all_data(read: &mut Read<'_>, size: u64, limit: u64, database: &Database) -> Field<Content> {
    let source = Source { read, data: &mut |from| Some(from..u64::MAX), is_late: &mut || false };
    contents(source, size, limit, database)
}

/// What a database makes of a file's bytes.
pub(in crate::fingerprint) fn of(bytes: &[u8], database: &Database) -> Content {
    all_data(&mut reader(bytes), bytes.len() as u64, LIMIT, database).unwrap()
}

/// What the database of these tests makes of them.
pub(in crate::fingerprint) fn demo(bytes: &[u8]) -> Content {
    of(bytes, &database())
}

/// The same with a limit.
pub(in crate::fingerprint) fn limited(bytes: &[u8], limit: u64) -> Content {
    all_data(&mut reader(bytes), bytes.len() as u64, limit, &database()).unwrap()
}

/// The same of a file that is said to have `size` bytes, and how many were asked for.
pub(in crate::fingerprint) fn asked(bytes: &[u8], size: u64, limit: u64) -> (Field<Content>, u64) {
    static DATABASE: std::sync::LazyLock<Database> = std::sync::LazyLock::new(database);
    let (mut asked, mut read) = (0, reader(bytes));
    let mut counted = |buffer: &mut [u8], offset| {
        asked += buffer.len() as u64;
        read(buffer, offset)
    };
    (all_data(&mut counted, size, limit, &DATABASE), asked)
}

fn family(content: &Content) -> Option<&str> {
    content.recognised.as_ref().map(|r| r.family.as_str())
}

const MARKED: &[u8] = b"....second mark of demo\0demo version 1.20.3-beta\0first mark of demo....";

#[test]
fn hashes_whole_files() {
    // Test vectors of FIPS 180-2, and the empty file.
    for (bytes, expected) in [
        (b"abc".to_vec(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        (Vec::new(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ] {
        let content = read(&file_of(&bytes), A_MEGABYTE, &database()).unwrap();
        assert_eq!(hex::lower(&content.sha256.unwrap()), expected);
        assert_eq!(content, Content { sha256: content.sha256, ..Content::default() });
    }
}

#[test]
fn whoever_reads_the_file_for_us_makes_no_difference() {
    let (own, database) = (std::fs::read("/proc/self/exe").unwrap(), database());
    let by_us = read(&File::open("/proc/self/exe").unwrap(), NO_LIMIT, &database).unwrap();
    assert_eq!(read(own.as_slice(), NO_LIMIT, &database).unwrap(), by_us);
}

/// Whose server does not answer.
struct Silent;

impl Origin for Silent {
    fn state(&self) -> io::Result<State> {
        Ok(State { is_regular: true, size: 100, times: [0; 4] })
    }

    fn read_some(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::TimedOut.into())
    }
}

#[test]
fn a_file_that_nobody_reads_in_time_is_told_by_its_deadline() {
    assert_eq!(read(&Silent, NO_LIMIT, &database()), Err(Missing::Deadline));
}

#[test]
fn refuses_what_is_no_regular_file() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |file: &File| assert_eq!(read(file, A_MEGABYTE, &database()), Err(Missing::Unreadable));
    refused(&File::open(directory.path()).unwrap());
    refused(&File::open("/dev/zero").unwrap());
    let (reader, _writer) = std::io::pipe().unwrap();
    let reader: std::os::fd::OwnedFd = reader.into();
    refused(&File::from(reader));
}

#[test]
fn an_error_of_the_system_is_passed_on() {
    let mut denied = |_: &mut [u8], _| Err(io::Error::from_raw_os_error(libc::EACCES));
    assert_eq!(all_data(&mut denied, 10, LIMIT, &database()), Err(Missing::Denied));
    let mut failing = |buffer: &mut [u8], offset| {
        if offset > 0 { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(buffer.len()) }
    };
    assert_eq!(all_data(&mut failing, 100_000, LIMIT, &database()), Err(Missing::Unreadable));
}

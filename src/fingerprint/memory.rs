//! What a program is by its memory: of a packed one, the file tells nothing. It blocks as long as whoever serves that
//! memory likes: a worker with a deadline calls it.

use std::io;

use super::origin::Origin;
use super::pages::Sample;
use super::{Content, Database, Recognition};
use crate::host::maps::MappedProgram;

const BUFFER: usize = 64 * 1024;

/// Searches at most `limit` bytes of what of /proc/PID/mem is the program; what cannot be read is passed over, as a process
/// unmaps what it likes. `None` where nothing is recognised.
pub fn recognise(memory: &impl Origin, image: MappedProgram, limit: u64, database: &Database) -> Option<Recognition> {
    let mut search = database.contents.marks.search();
    let mut buffer = vec![0; BUFFER];
    let mut left = limit;
    for range in image.ranges {
        let mut at = range.start;
        while at < range.end && left > 0 {
            let want = usize::try_from((range.end - at).min(left)).unwrap_or(BUFFER).min(BUFFER);
            let got = match buffer.get_mut(..want).map(|part| memory.read_some(part, at)) {
                Some(Ok(got)) if got > 0 => got,
                _ => break,
            };
            search.feed(buffer.get(..got).unwrap_or_default(), at);
            at += got as u64;
            left -= got as u64;
        }
    }
    let mut read = |part: &mut [u8], at: u64| match memory.read_some(part, at) {
        // The end of a mapping is the end of a file.
        Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(0),
        other => other,
    };
    let content = Content { needed: image.libraries, ..Content::default() };
    let found: io::Result<_> = database.recognise_content(&content, &search.finish(), &Sample::default(), &mut read);
    found.ok().flatten()
}

//! Reads what was executed: its content, and of a packed program its process' memory.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::detect::Share;
use crate::detect::judged::Finding;
use crate::event::{Field, Missing, MountNumber};
use crate::fingerprint::content::{self, Limit};
use crate::fingerprint::origin::Origin;
use crate::fingerprint::{Content, ContentSays, Database, Recognition, memory};
use crate::host::file::{age, file_id, file_status, reopen};
use crate::host::process::ProcessDir;
use crate::sensor::far::files::Errands;
use crate::sensor::mounts::Served;
use crate::sensor::without::{Part, without};
use crate::sys::file::has_no_writer;

/// What was written to a mapped file is on the disk by then, by default after 30 s, and the next store into the page moves the
/// file's time stamps again (dirty_expire_centisecs, proc_sys_vm(5)).
const FLUSHED: Duration = Duration::from_secs(60);
/// CPU time for one file: hashing 256 MiB takes less, but on the slowest of machines.
const READ_TIME: Duration = Duration::from_secs(1);
/// How often a packed program is looked at while it unpacks itself: at once, after 10, 30, 70, 150 and 310 ms. Others wait
/// meanwhile for the thread that does it.
const UNPACKING: u32 = 6;
const UNPACKS: Duration = Duration::from_millis(10);
/// From this look on one that sleeps is left: it waits for something else.
const UNPACKED: u32 = 4;
/// Bytes of code in memory alone that are more than what unpacks: UPX takes two pages.
const UNPACKED_CODE: u64 = 16 << 10;

/// A file that is to be read.
#[derive(Debug, Clone)]
pub struct Executable {
    /// It, `O_PATH` or open for reading, or its parcel.
    pub file: Arc<OwnedFd>,
    /// The mount through which it was reached, where the kernel tells.
    pub mount: Option<MountNumber>,
    /// Whoever may have to wait for a server is another process; what was read of a far file does not count the next time.
    pub served: Served,
    /// It lies on a plain filesystem on a disk: what is read while somebody can write to dirty pages of it does not count the
    /// next time, as a store into one moves no time stamp.
    pub on_disk: bool,
    /// Its execs can be ignored, if it is innocent.
    pub ignorable: bool,
}

/// A process that executes a file: its directory below /proc, and the file's path as it sees it.
pub type RunningAs = (Arc<OwnedFd>, Vec<u8>);

impl Executable {
    /// Reads at most `limit` bytes of it; `image` runs it. Nothing but what is known to have no server is opened here.
    pub(super) fn read(
        &self,
        limit: u64,
        image: Option<RunningAs>,
        errands: &mut Errands<'_, Share>,
        database: Arc<Database>,
    ) -> Finding {
        let began = SystemTime::now();
        let Self { file, served, on_disk, .. } = self;
        let is_far = *served == Served::Yes;
        let mut is_written = false;
        let mut content = if *served == Served::No {
            reopen(file).map_err(|e| Missing::from_os(&e)).and_then(|file| {
                // Asked before it is read: whoever comes later moves its time stamps.
                is_written = *on_disk && may_be_written(&file, began);
                read_content(&file, limit, &database)
            })
        } else {
            errands.open(file.as_fd(), is_far).and_then(|file| read_content(&file, limit, &database))
        };
        let mut open = is_far
            || is_written
            || match &content {
                Ok(content) => content.changed,
                // Whoever reads it elsewhere may have failed himself.
                Err(why) => *served != Served::No || matches!(why, Missing::Malformed | Missing::Gone),
            };
        if let Ok(content) = &mut content
            && content.is_hidden()
            && !content.recognised.as_ref().is_some_and(|recognised| recognised.kind.is_toolchain())
        {
            match image.map_or(Err(Missing::Gone), |image| unpacked(&image, limit, &database, errands)) {
                Ok(recognised) => {
                    content.unpacked = true;
                    content.recognised = recognised.or(content.recognised.take());
                }
                Err(_) => open = true,
            }
        }
        let says = content.as_ref().map_or(ContentSays::Unknown, |content| database.content_says(content));
        Finding { content, says, began, open, database }
    }
}

/// What a packed program turns out to be, asked for again while it unpacks itself; an error where nobody saw it unpacked. A
/// server may have to answer for its memory, whatever its file lies on: it may have mapped another's in its place.
fn unpacked(
    (dir, exe): &RunningAs,
    limit: u64,
    database: &Database,
    errands: &mut Errands<'_, Share>,
) -> Field<Option<Recognition>> {
    let dir = ProcessDir(Arc::clone(dir));
    let mut is_unpacked = false;
    for round in 0..UNPACKING {
        if round > 0 {
            std::thread::sleep(UNPACKS * 2u32.pow(round - 1));
        }
        // Asked first: what it does until then is seen.
        let sleeps = dir.stat()?.state == b'S';
        let (file, image) = dir.memory(exe)?;
        is_unpacked = image.written_code >= UNPACKED_CODE;
        let recognition = memory::recognise(&errands.open(file.as_fd(), true)?, image, limit, database);
        if recognition.is_some() {
            return Ok(recognition);
        }
        if is_unpacked && sleeps && round >= UNPACKED {
            break;
        }
    }
    // Stopped, or kept waiting, it has shown nothing yet.
    if is_unpacked { Ok(None) } else { Err(Missing::Deadline) }
}

/// Whether a file can be changed without a trace: it has pages that are still dirty, and somebody who can write to them.
fn may_be_written(file: &File, now: SystemTime) -> bool {
    let is_flushed = || file_status(file.as_fd(), c"").is_ok_and(|status| age(file_id(status), now) >= FLUSHED);
    !without(Part::Leases) && !is_flushed() && !has_no_writer(file.as_fd())
}

fn read_content(file: &impl Origin, bytes: u64, database: &Database) -> Field<Content> {
    let read = || content::read(file, Limit { bytes, time: Some(READ_TIME) }, database);
    match read() {
        Ok(content) if !content.changed || database.content_says(&content) == ContentSays::Toolchain => Ok(content),
        // Whoever unlinks a file that runs changes its ctime, and nothing else: the second time it stands still.
        first => read().or(first),
    }
}

//! The fanotify group: which kinds of events and marks this kernel has, and the marks themselves.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use crate::host::file::link_to;
use crate::sensor::without::{Part, without};
use crate::sys::fanotify::{self, Event};

/// Events of one read: each brings a descriptor, and one that finds no room for it is lost.
pub const EVENTS: usize = 64;
/// FAN_REPORT_FD_ERROR of linux/fanotify.h, Linux 6.13: an event whose file cannot be opened is told all the same.
const REPORT_FD_ERROR: u32 = 0x2000;

/// Why a kernel before 5.0 has no part in this without its process connector.
pub const OPENS_ALONE: &str =
    "this kernel has no exec events, and there is no process connector to tell what was executed";

/// How execs are had, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// FAN_OPEN_EXEC with marks on whole filesystems, and on mounts where a filesystem is not the container's alone (5.0).
    Filesystem,
    /// FAN_OPEN_EXEC with marks on mounts (RHEL 8's 4.18).
    Mount,
    /// FAN_OPEN with marks on mounts: every open of what is not known to be innocent.
    Open,
}

impl Way {
    /// For people: what is marked.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Filesystem => "exec events, a mark on each container's overlay and on its other mounts",
            Self::Mount => "exec events, a mark on each mount of a container (no marks on filesystems before 4.20)",
            Self::Open => "open events, a mark on each mount of a container (no exec events before 5.0)",
        }
    }
}

/// The best way that there is here and now, not better than `best`.
///
/// # Errors
/// One sentence that says why there is none.
pub fn probe(best: Way) -> Result<Way, String> {
    Group::open(best).map(|group| group.way)
}

/// A group of class notification.
#[derive(Debug)]
pub struct Group {
    group: Fanotify,
    /// How execs are had.
    pub way: Way,
    /// How an event type is ignored on one file.
    ignore: MarkFlags,
    /// The event that tells of an exec.
    event: MaskFlags,
}

impl Group {
    /// Makes the group, asks the kernel what it has, and takes the best way that is not better than `best`.
    ///
    /// # Errors
    /// One sentence: why execs cannot be had from fanotify here.
    pub fn open(best: Way) -> Result<Self, String> {
        let group = init().map_err(|e| format!("fanotify_init: {e}"))?;
        let own = File::open("/proc/self/exe").map_err(|e| format!("open /proc/self/exe: {e}"))?;
        let mut way = best;
        // Our own executable is marked until the canary was seen.
        let add = |event| mark(&group, MarkFlags::FAN_MARK_ADD, event, own.as_fd());
        if way < Way::Open {
            match add(MaskFlags::FAN_OPEN_EXEC) {
                // Before 5.0, and not RHEL 8's 4.18.
                Err(Errno::EINVAL) => way = Way::Open,
                other => other.map_err(|e| format!("fanotify_mark: {e}"))?,
            }
        }
        if way == Way::Open {
            add(MaskFlags::FAN_OPEN).map_err(|e| format!("fanotify_mark: {e}"))?;
        }
        if way == Way::Filesystem && !marks_filesystems(&group) {
            way = Way::Mount;
        }
        let event = if way == Way::Open { MaskFlags::FAN_OPEN } else { MaskFlags::FAN_OPEN_EXEC };
        let ignore = ignore_style();
        Ok(Self { group, way, ignore, event })
    }

    /// Another one beside it, in which nothing is marked yet, and where a server can hold up its reading; `None` where the
    /// kernel reports no execs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn beside(&self) -> nix::Result<Option<Self>> {
        if self.way == Way::Open {
            return Ok(None);
        }
        Ok(Some(Self { group: init()?, way: Way::Mount, ..*self }))
    }

    /// To be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    /// Takes the mark from our own executable: the sensors execute it again and again, on no container's behalf.
    pub fn end_proof(&self) {
        let own = open("/proc/self/exe");
        if let Err(e) = own.and_then(|own| mark(&self.group, MarkFlags::FAN_MARK_REMOVE, self.event, own.as_fd())) {
            log::debug!("take the mark from our own executable: {e}");
        }
    }

    /// Reads some events; none where there are none.
    ///
    /// # Errors
    /// The kernel's: one event is lost by it.
    pub fn read(&self, events: &mut Vec<Event>) -> io::Result<()> {
        fanotify::read::<EVENTS>(self.fd(), events)
    }

    /// Whether an event tells of an exec, or of an open that may be for one.
    pub fn is_exec(&self, mask: MaskFlags) -> bool {
        mask.intersects(self.event)
    }

    /// Has all execs on the filesystem of a place reported, wherever else that is mounted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mark_filesystem(&self, place: BorrowedFd<'_>) -> nix::Result<()> {
        mark(&self.group, MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM, self.event, place)
    }

    /// Has all execs through the mount of a place reported.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mark_mount(&self, place: BorrowedFd<'_>) -> nix::Result<()> {
        mark(&self.group, MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_MOUNT, self.event, place)
    }

    /// Has execs through the mount of a place reported no more.
    ///
    /// # Errors
    /// `ENOENT` where they were not.
    pub fn unmark_mount(&self, place: BorrowedFd<'_>) -> nix::Result<()> {
        mark(&self.group, MarkFlags::FAN_MARK_REMOVE | MarkFlags::FAN_MARK_MOUNT, self.event, place)
    }

    /// Has writes to a file reported when its writer closes it; `lasting`: for as long as it is mounted, else as long as
    /// the kernel keeps it in memory. Asked for before [`Group::ignore`], which goes with it.
    ///
    /// # Errors
    /// The kernel's; `ENOSPC` at its limit on marks.
    pub fn watch_writes(&self, file: BorrowedFd<'_>, lasting: bool) -> nix::Result<()> {
        if without(Part::WriteMarks) {
            return Ok(());
        }
        let evictable = if lasting { MarkFlags::empty() } else { self.ignore & MarkFlags::FAN_MARK_EVICTABLE };
        mark(&self.group, MarkFlags::FAN_MARK_ADD | evictable, MaskFlags::FAN_CLOSE_WRITE, file)
    }

    /// Has a file's execs reported no more, until it is written to. Is silently not done while it is open for writing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ignore(&self, file: BorrowedFd<'_>) -> nix::Result<()> {
        let forever =
            if without(Part::WriteMarks) { MarkFlags::FAN_MARK_IGNORED_SURV_MODIFY } else { MarkFlags::empty() };
        if without(Part::Inodes) {
            let whole =
                MarkFlags::FAN_MARK_MOUNT | MarkFlags::FAN_MARK_IGNORED_MASK | MarkFlags::FAN_MARK_IGNORED_SURV_MODIFY;
            mark(&self.group, MarkFlags::FAN_MARK_ADD | whole, self.event, file)?;
        }
        mark(&self.group, MarkFlags::FAN_MARK_ADD | self.ignore | forever, self.event, file)
    }

    /// Has a file's execs reported again.
    ///
    /// # Errors
    /// `ENOENT` where they were not ignored.
    pub fn regard(&self, file: BorrowedFd<'_>) -> nix::Result<()> {
        let style = self.ignore & !MarkFlags::FAN_MARK_EVICTABLE;
        mark(&self.group, MarkFlags::FAN_MARK_REMOVE | style, self.event, file)
    }

    /// Has a file's execs reported again, and its writes no more.
    pub fn let_go(&self, file: BorrowedFd<'_>) {
        // ENOENT: the kernel has dropped either already.
        let _ = self.regard(file);
        let _ = mark(&self.group, MarkFlags::FAN_MARK_REMOVE, MaskFlags::FAN_CLOSE_WRITE, file);
    }

    /// Whether the kernel drops an ignore mark with its file where it needs the memory.
    pub fn are_evictable(&self) -> bool {
        self.ignore.contains(MarkFlags::FAN_MARK_EVICTABLE)
    }

    /// Has all files' execs reported again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn regard_all(&self) -> nix::Result<()> {
        let root = open("/")?;
        mark(&self.group, MarkFlags::FAN_MARK_FLUSH, MaskFlags::empty(), root.as_fd())
    }
}

fn open(path: &str) -> nix::Result<File> {
    File::open(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
}

/// Whether whole filesystems can be marked (4.20).
fn marks_filesystems(group: &Fanotify) -> bool {
    let Ok(proc) = File::open("/proc") else { return false };
    let (filesystem, exec) = (MarkFlags::FAN_MARK_FILESYSTEM, MaskFlags::FAN_OPEN_EXEC);
    mark(group, MarkFlags::FAN_MARK_ADD | filesystem, exec, proc.as_fd())
        .and_then(|()| mark(group, MarkFlags::FAN_MARK_REMOVE | filesystem, exec, proc.as_fd()))
        .is_ok()
}

fn init() -> nix::Result<Fanotify> {
    let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
    let unlimited = flags | InitFlags::FAN_UNLIMITED_MARKS;
    let files = EventFFlags::O_RDONLY
        | EventFFlags::O_CLOEXEC
        | EventFFlags::O_LARGEFILE
        | EventFFlags::O_NOATIME
        | EventFFlags::O_NONBLOCK;
    // Before 3.18 O_CLOEXEC is ignored there: nothing is executed here but the canary, which is gone at once.
    Fanotify::init(unlimited | InitFlags::from_bits_retain(REPORT_FD_ERROR), files)
        .or_else(|_| Fanotify::init(unlimited, files))
        .or_else(|e| if e == Errno::EPERM { Fanotify::init(flags, files) } else { Err(e) })
}

/// By the descriptor itself: no name is looked up.
fn mark(group: &Fanotify, flags: MarkFlags, mask: MaskFlags, file: BorrowedFd<'_>) -> nix::Result<()> {
    let link = link_to(&file);
    group.mark(flags, mask, file, Some(Path::new(&link)))
}

/// FAN_MARK_IGNORE (6.0) and FAN_MARK_EVICTABLE (5.19) where the kernel has them. Tried on a group that is closed again.
fn ignore_style() -> MarkFlags {
    let evictable = MarkFlags::FAN_MARK_EVICTABLE;
    let styles = [
        MarkFlags::FAN_MARK_IGNORE | evictable,
        MarkFlags::FAN_MARK_IGNORED_MASK | evictable,
        MarkFlags::FAN_MARK_IGNORED_MASK,
    ];
    let works = |style: &MarkFlags| {
        let Ok(own) = File::open("/proc/self/exe") else { return false };
        let add = MarkFlags::FAN_MARK_ADD | *style;
        init().is_ok_and(|group| mark(&group, add, MaskFlags::FAN_OPEN, own.as_fd()).is_ok())
    };
    styles.into_iter().find(works).unwrap_or(MarkFlags::FAN_MARK_IGNORED_MASK)
}

//! The fanotify group: which kinds of events and marks this kernel has, and the marks themselves.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::stat::{Mode, fstat};

use crate::sensor::mounts::mountinfo::Mount;
use crate::sys::fanotify::{self, Event};

/// Events of one read: each brings a descriptor, and one that finds no room for it is lost.
const EVENTS: usize = 64;
/// FAN_REPORT_FD_ERROR of linux/fanotify.h, Linux 6.13: an event whose file cannot be opened is told all the same.
const REPORT_FD_ERROR: u32 = 0x2000;

/// Whether whole filesystems can have their execs reported here and now.
///
/// # Errors
/// One sentence that says why not.
pub fn probe() -> Result<(), String> {
    Group::open().map(drop)
}

/// A group of class notification.
#[derive(Debug)]
pub struct Group {
    group: Fanotify,
    /// How an event type is ignored on one file.
    ignore: MarkFlags,
}

impl Group {
    /// Makes the group, and asks the kernel what it has.
    ///
    /// # Errors
    /// One sentence: why execs cannot be had from fanotify here.
    pub fn open() -> Result<Self, String> {
        let group = init().map_err(|e| format!("fanotify_init: {e}"))?;
        let own = File::open("/proc/self/exe").map_err(|e| format!("open /proc/self/exe: {e}"))?;
        let exec = MaskFlags::FAN_OPEN_EXEC;
        // Our own executable stays marked: the canary is seen by it.
        mark(&group, MarkFlags::FAN_MARK_ADD, exec, own.as_fd()).map_err(|e| match e {
            Errno::EINVAL => "this kernel has no FAN_OPEN_EXEC (5.0, or RHEL 8's 4.18)".to_owned(),
            e => format!("fanotify_mark: {e}"),
        })?;
        let proc = File::open("/proc").map_err(|e| format!("open /proc: {e}"))?;
        let filesystem = MarkFlags::FAN_MARK_FILESYSTEM;
        mark(&group, MarkFlags::FAN_MARK_ADD | filesystem, exec, proc.as_fd())
            .and_then(|()| mark(&group, MarkFlags::FAN_MARK_REMOVE | filesystem, exec, proc.as_fd()))
            .map_err(|_| "this kernel cannot mark a whole filesystem (4.20; not RHEL 8's 4.18)".to_owned())?;
        let ignore = ignore_style();
        Ok(Self { group, ignore })
    }

    /// To be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    /// Reads some events; none where there are none.
    ///
    /// # Errors
    /// The kernel's: one event is lost by it.
    pub fn read(&self, events: &mut Vec<Event>) -> io::Result<()> {
        fanotify::read::<EVENTS>(self.fd(), events)
    }

    /// Has all execs on a mount's filesystem reported, wherever else that is mounted.
    ///
    /// # Errors
    /// `ESTALE` where something else is mounted there by now; else the kernel's.
    pub fn mark_filesystem(&self, mount: &Mount) -> nix::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Held for two calls: a mount cannot be unmounted meanwhile.
        let place = openat(AT_FDCWD, mount.point.as_slice(), flags, Mode::empty())?;
        if fstat(&place)?.st_dev != mount.dev {
            return Err(Errno::ESTALE);
        }
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        mark(&self.group, flags, MaskFlags::FAN_OPEN_EXEC, place.as_fd())
    }

    /// Has writes to a file reported when its writer closes it. Asked for before [`Group::ignore`].
    ///
    /// # Errors
    /// The kernel's; `ENOSPC` at its limit on marks.
    pub fn watch_writes(&self, file: BorrowedFd<'_>) -> nix::Result<()> {
        let evictable = self.ignore & MarkFlags::FAN_MARK_EVICTABLE;
        mark(&self.group, MarkFlags::FAN_MARK_ADD | evictable, MaskFlags::FAN_CLOSE_WRITE, file)
    }

    /// Has a file's execs reported no more, until it is written to. Is silently not done while it is open for writing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ignore(&self, file: BorrowedFd<'_>) -> nix::Result<()> {
        mark(&self.group, MarkFlags::FAN_MARK_ADD | self.ignore, MaskFlags::FAN_OPEN_EXEC, file)
    }

    /// Has a file's execs reported again.
    ///
    /// # Errors
    /// `ENOENT` where they were not ignored.
    pub fn regard(&self, file: BorrowedFd<'_>) -> nix::Result<()> {
        let style = self.ignore & !MarkFlags::FAN_MARK_EVICTABLE;
        mark(&self.group, MarkFlags::FAN_MARK_REMOVE | style, MaskFlags::FAN_OPEN_EXEC, file)
    }
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
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
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

//! One listening connector socket: opened, answered, filtered, drained, counted. What its events mean is the
//! reader's affair.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use procfs::KernelVersion;

use crate::event::{Monotonic, Pid};
use crate::host::clock;
use crate::sensor::proc_event::{self, ProcEvent};
use crate::sys::netlink::{self, Batch, Instruction};

/// The kernel answers at once or never.
const ANSWER: Duration = Duration::from_millis(25);
/// Before Linux 6.6 the kernel counts its listeners, and nobody's IGNORE is asked whose it is: it answers once the count is
/// above 0 again (cn_proc_ack in drivers/connector/cn_proc.c).
const REQUESTS: u32 = 8;
/// Half of what the kernel then grants; an event costs 832 bytes of it on Linux 6.18, so 20,000 events fit.
const RECEIVE_BUFFER: i32 = 8 << 20;
/// One drain takes at most this much, so that a storm cannot keep the reader from looking.
const DRAIN: usize = 4096;
/// Mostly one event has arrived: the first call makes room for few, unless there were more the last time.
const FEW: usize = 4;

/// Which events a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// EXEC: must lose nothing.
    Execs,
    /// FORK and EXIT of processes: best effort.
    Lineage,
}

impl Purpose {
    fn filter(self) -> Vec<Instruction> {
        match self {
            Self::Execs => proc_event::exec_filter(),
            Self::Lineage => proc_event::lineage_filter(),
        }
    }

    fn mask(self) -> u32 {
        match self {
            Self::Execs => proc_event::EXEC_MASK,
            Self::Lineage => proc_event::LINEAGE_MASK,
        }
    }
}

/// Whether the first event that some listener's filter drops ends the stream for all of them: commit c46bfba1337d, taken
/// back by 8929f95b2b58 (proc_event_num_listeners in drivers/connector/cn_proc.c).
fn filters_silence(version: KernelVersion) -> bool {
    let is_within = |major, minor, patches: RangeInclusive<u16>| {
        (version.major, version.minor) == (major, minor) && patches.contains(&version.patch)
    };
    is_within(6, 6, 13..=17) || is_within(6, 7, 1..=5)
}

/// A socket that the kernel has answered.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    batch: Batch,
    /// Execs that arrived while the answer was awaited.
    early: Vec<(Pid, Monotonic)>,
    /// Messages of the last drain.
    drained: usize,
    drops: u64,
    /// The kernel counts it.
    is_counted: bool,
}

impl Listener {
    /// Opens a socket and waits until the kernel says that it is heard.
    ///
    /// # Errors
    /// One sentence that says why the connector cannot be had.
    pub fn open(purpose: Purpose) -> Result<Self, String> {
        let fd = netlink::open_connector().map_err(|e| match e.raw_os_error() {
            Some(libc::EPROTONOSUPPORT) => "the kernel was built without CONFIG_CONNECTOR".to_owned(),
            Some(libc::EPERM) => "binding the connector's socket needs CAP_NET_ADMIN".to_owned(),
            _ => format!("open the connector's socket: {e}"),
        })?;
        netlink::set_no_enobufs(fd.as_fd())
            .and_then(|()| netlink::force_receive_buffer(fd.as_fd(), RECEIVE_BUFFER))
            .map_err(|e| format!("set up the connector's socket: {e}"))?;
        Self::listen(fd, purpose)
    }

    fn listen(fd: OwnedFd, purpose: Purpose) -> Result<Self, String> {
        let mut listener =
            Self { fd, batch: Batch::default(), early: Vec::new(), drained: 0, drops: 0, is_counted: false };
        listener.request()?;
        if KernelVersion::current().is_ok_and(filters_silence) {
            return Ok(listener);
        }
        let fd = listener.fd.as_fd();
        netlink::attach_filter(fd, &purpose.filter()).map_err(|e| format!("attach the socket filter: {e}"))?;
        netlink::send(fd, &proc_event::listen_masked(purpose.mask()))
            .map_err(|e| format!("set the event mask: {e}"))?;
        Ok(listener)
    }

    fn request(&mut self) -> Result<(), String> {
        for _ in 0..REQUESTS {
            self.is_counted = self.is_answered()?;
            if self.is_counted {
                return Ok(());
            }
        }
        Err(why_silent())
    }

    fn is_answered(&mut self) -> Result<bool, String> {
        let ack = std::process::id();
        netlink::send(self.fd(), &proc_event::listen(ack)).map_err(|e| match e.raw_os_error() {
            Some(libc::ECONNREFUSED) => {
                "this is not the host's network namespace: the connector answers only there".into()
            }
            _ => format!("ask the connector for process events: {e}"),
        })?;
        let end = clock::now().plus(ANSWER);
        loop {
            let (mut answer, mut early) = (None, Vec::new());
            self.drain(|event| match event {
                ProcEvent::Ack { request, errno } if request == ack => answer = Some(errno),
                ProcEvent::Exec { pid, at } => early.push((pid, at)),
                _ => {}
            })?;
            self.early.append(&mut early);
            match answer.map(u32::cast_signed) {
                Some(0) => return Ok(true),
                Some(errno) => {
                    return Err(format!("the connector refused: {}", io::Error::from_raw_os_error(errno)));
                }
                None => {}
            }
            let left = end.since(clock::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut waiting = [PollFd::new(self.fd(), PollFlags::POLLIN)];
            let _ = poll(&mut waiting, clock::poll_timeout(left));
        }
    }

    /// Nothing is heard through it any more. If that is because somebody else ended listening once too often, the kernel
    /// counts it no longer: a second end would be that of whoever listens then.
    pub fn fall_silent(&mut self) {
        self.is_counted = false;
    }

    /// For poll(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Execs that arrived before the kernel's answer, once.
    pub fn take_early(&mut self) -> Vec<(Pid, Monotonic)> {
        std::mem::take(&mut self.early)
    }

    /// Passes on everything that has arrived, oldest first; how many messages that were.
    ///
    /// # Errors
    /// One sentence; the socket is of no use any more.
    pub fn drain(&mut self, mut pass_on: impl FnMut(ProcEvent)) -> Result<usize, String> {
        let (mut drained, mut room) = (0, if self.drained < FEW { FEW } else { netlink::BATCH });
        while drained < DRAIN {
            let received = match room {
                FEW => self.batch.receive::<FEW>(self.fd.as_fd()),
                _ => self.batch.receive::<{ netlink::BATCH }>(self.fd.as_fd()),
            };
            match received {
                Ok(received) => {
                    self.batch.from_kernel().filter_map(proc_event::decode).for_each(&mut pass_on);
                    drained += received;
                    // What comes after a batch that was not full wakes the reader again.
                    if received < room {
                        break;
                    }
                    room = netlink::BATCH;
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::ENOBUFS)) => {}
                Err(e) => return Err(format!("read the connector's socket: {e}")),
            }
        }
        self.drained = drained;
        Ok(drained)
    }

    /// Messages dropped since the last call.
    pub fn new_drops(&mut self) -> u64 {
        let total = netlink::drops(self.fd()).map(u64::from).ok().or_else(|| self.drops_from_proc());
        // The kernel's counter has 32 bits and may come round.
        let new = total.map_or(0, |t| t.wrapping_sub(self.drops) & u64::from(u32::MAX));
        self.drops = total.unwrap_or(self.drops);
        new
    }

    /// Before Linux 4.12: the line of /proc/net/netlink that has our inode.
    fn drops_from_proc(&self) -> Option<u64> {
        let inode = nix::sys::stat::fstat(&self.fd).ok()?.st_ino;
        parse_drops(&std::fs::read("/proc/net/netlink").ok()?, inode)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        if let Err(e) = netlink::send(self.fd(), &proc_event::ignore()) {
            log::debug!("end listening on descriptor {}: {e}", self.fd.as_raw_fd());
        }
    }
}

/// The `Drops` column of the socket with this inode, the last but one column.
fn parse_drops(table: &[u8], inode: u64) -> Option<u64> {
    let lines = table.split(|b| *b == b'\n').filter_map(|l| std::str::from_utf8(l).ok());
    let mut rows = lines.map(|l| l.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|r| r.last().and_then(|w| w.parse().ok()) == Some(inode))?;
    row.get(row.len().checked_sub(2)?)?.parse().ok()
}

/// The kernel ignores a request that it does not like without a word: what can be the reason?
fn why_silent() -> String {
    // This file exists in the initial network namespace alone (drivers/connector/connector.c).
    let listed = std::fs::read(Path::new("/proc/net/connector"));
    let reason = match listed {
        Ok(list) if list.windows(7).any(|w| w == b"cn_proc") => {
            "this is not the host's pid and user namespace: the connector answers only there"
        }
        Ok(_) => "the kernel was built without CONFIG_PROC_EVENTS",
        Err(_) => "the kernel was built without CONFIG_PROC_EVENTS, or this is not the host's network namespace",
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn no_filter_is_attached_where_it_would_silence_all() {
        let silenced = |release: &str| filters_silence(release.parse().unwrap());
        assert!(["6.6.13", "6.6.15-amd64", "6.6.17", "6.7.1", "6.7.5-arch1-1"].into_iter().all(silenced));
        assert!(
            !["6.6.12", "6.6.18", "6.7.0", "6.7.6", "6.1.15", "5.6.15", "6.8.0-31-generic"].into_iter().any(silenced)
        );
    }

    /// As the kernel before Linux 6.6: it counts its listeners, and answers while there are any.
    #[derive(Default, Clone)]
    struct Kernel {
        listeners: Arc<Mutex<i32>>,
    }

    impl Kernel {
        fn with(listeners: i32) -> Self {
            Self { listeners: Arc::new(Mutex::new(listeners)) }
        }

        /// Does `act` with the socket of a client, and returns when all that was sent is done.
        fn serve<R>(&self, act: impl FnOnce(OwnedFd) -> R) -> R {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (client, own) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
            let answer = || {
                let mut message = [0; 64];
                while let Ok(got @ 1..) = nix::unistd::read(&own, &mut message) {
                    let mut listeners = self.listeners.lock().unwrap();
                    let request = message.get(..got).unwrap();
                    match (request.get(28..32).unwrap(), request.get(36..).unwrap()) {
                        (number, [1, 0, 0, 0] | [0, 0, 0, 1]) => {
                            *listeners += 1;
                            if *listeners > 0 {
                                nix::unistd::write(&own, &answer_to(number)).unwrap();
                            }
                        }
                        (_, [2, 0, 0, 0] | [0, 0, 0, 2]) => *listeners -= 1,
                        (_, body) => assert_eq!(body.len(), 8, "which it does not know"),
                    }
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(answer);
                act(client)
            })
        }

        fn listeners(&self) -> i32 {
            *self.listeners.lock().unwrap()
        }
    }

    fn answer_to(number: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 76];
        answer.splice(16..24, [1u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat());
        let next = u32::from_ne_bytes(number.try_into().unwrap()) + 1;
        answer.splice(28..32, next.to_ne_bytes());
        answer
    }

    #[test]
    fn who_ends_listening_is_counted_no_longer() {
        let kernel = Kernel::default();
        kernel.serve(|fd| {
            let listener = Listener::listen(fd, Purpose::Execs).unwrap();
            assert_eq!(kernel.listeners(), 1);
            drop(listener);
        });
        assert_eq!(kernel.listeners(), 0);
    }

    #[test]
    fn who_fell_silent_ends_nobody_elses_listening() {
        let kernel = Kernel::default();
        kernel.serve(|fd| {
            let mut silent = Listener::listen(fd, Purpose::Execs).unwrap();
            *kernel.listeners.lock().unwrap() -= 1;
            kernel.serve(|fd| {
                let anew = Listener::listen(fd, Purpose::Lineage).unwrap();
                silent.fall_silent();
                drop((silent, anew));
            });
        });
        assert_eq!(kernel.listeners(), 0);
    }

    #[test]
    fn who_is_not_answered_asks_again() {
        let kernel = Kernel::with(-3);
        kernel.serve(|fd| drop(Listener::listen(fd, Purpose::Execs).unwrap()));
        assert_eq!(kernel.listeners(), 0);
        let kernel = Kernel::with(-1000);
        assert!(kernel.serve(|fd| Listener::listen(fd, Purpose::Execs)).is_err());
        assert_eq!(kernel.listeners(), -992, "nobody was heard, and nobody ends listening");
    }

    #[test]
    fn drops_are_found_by_inode() {
        let table = b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            0000000000000000 0   1          00000000 0        0        0     2        0        15   \n\
            0000000000000000 11  4025       00000001 832      0        0     2        4711     76543\n";
        assert_eq!(parse_drops(table, 76543), Some(4711));
        assert_eq!(parse_drops(table, 15), Some(0));
        assert_eq!(parse_drops(table, 1), None);
        assert_eq!(parse_drops(b"\xff 76543\n", 76543), None);
    }
}

//! Under which names processes ended, as taskstats records it: of one that was gone before its look this tells what ran,
//! where nothing but an open file does. Best effort: a record may be lost, and then the name is not known.

use std::fs;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use lru::LruCache;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};

use crate::event::{Comm, Pid};
use crate::sensor::taskstats::{self, Message};
use crate::sys::netlink;

const NAMES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Half of what the kernel then grants; a record costs some 2,300 bytes of it, so 7,000 fit.
const RECEIVE_BUFFER: usize = 8 << 20;
/// A record has 416 bytes (Linux 6.1), twice for a process of several threads.
const MESSAGE: usize = 4096;

/// What is read at once, so that no storm keeps the reader from looking.
const DRAIN: usize = 4096;

/// Names by process, of those that ended lately.
#[derive(Debug)]
pub struct LastNames {
    records: Option<Records>,
    names: LruCache<Pid, Comm>,
}

impl Default for LastNames {
    fn default() -> Self {
        Self { records: None, names: LruCache::new(NAMES) }
    }
}

impl LastNames {
    /// Listens from now on.
    pub fn open(&mut self) {
        if self.records.is_none() {
            self.records = Records::open().map_err(|why| log::warn!("no records of ended processes: {why}")).ok();
        }
    }

    /// Takes in what has arrived, so that there is room for what comes.
    pub fn drain(&mut self) {
        let Some(records) = &self.records else { return };
        let mut is_whole = true;
        for _ in 0..DRAIN {
            match records.receive() {
                Ok(messages) => {
                    for message in messages {
                        if let Message::Ended(pid, comm) = message {
                            self.names.put(pid, comm);
                        }
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => is_whole = false,
                Err(_) if is_whole => return,
                Err(_) => break,
            }
        }
        // What is missing came after what was here: it may be the end of one that was given a pid known here.
        log::debug!("names of ended processes are forgotten: there are more than could be taken in");
        self.names.clear();
    }

    /// The last name of a process that has ended: the kernel records it before anybody can see that it is gone.
    pub fn of(&mut self, pid: Pid) -> Option<Comm> {
        self.records.as_ref()?;
        self.drain();
        self.names.get(&pid).copied()
    }
}

/// A socket on which they arrive.
#[derive(Debug)]
struct Records {
    socket: OwnedFd,
    family: u16,
}

impl Records {
    fn open() -> Result<Self, String> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkGeneric)
            .map_err(|e| format!("open a netlink socket: {e}"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(|e| format!("set up its socket: {e}"))?;
        let mut records = Self { socket, family: 0 };
        records.family = records
            .ask(&taskstats::find_family(), |message| match message {
                Message::Family(family) => Some(Ok(*family)),
                Message::Answer(errno) if *errno != 0 => Some(Err(*errno)),
                _ => None,
            })
            .map_err(|e| format!("ask for taskstats (CONFIG_TASKSTATS, in the host's network namespace): {e}"))?;
        let cpus = fs::read_to_string("/sys/devices/system/cpu/possible")
            .map_err(|e| format!("read which CPUs there are: {e}"))?;
        records
            .ask(&taskstats::register(records.family, cpus.trim_end()), |message| match message {
                Message::Answer(0) => Some(Ok(())),
                Message::Answer(errno) => Some(Err(*errno)),
                _ => None,
            })
            .map_err(|e| format!("register with taskstats: {e}"))?;
        netlink::attach_filter(records.socket.as_fd(), &taskstats::filter())
            .map_err(|e| format!("attach the socket filter: {e}"))?;
        Ok(records)
    }

    /// The kernel answers a request before send(2) returns.
    fn ask<T>(&self, request: &[u8], answer: impl Fn(&Message) -> Option<Result<T, i32>>) -> nix::Result<T> {
        netlink::send(self.socket.as_fd(), request)
            .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
        loop {
            if let Some(answer) = self.receive()?.iter().find_map(&answer) {
                return answer.map_err(Errno::from_raw);
            }
        }
    }

    /// What one read gives, from the kernel alone: anybody may send to our port.
    fn receive(&self) -> nix::Result<Vec<Message>> {
        let mut bytes = [0; MESSAGE];
        let (length, sender) = recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut bytes)?;
        let is_kernel = sender.is_some_and(|sender| sender.pid() == 0);
        let message = bytes.get(..length).filter(|_| is_kernel);
        Ok(message.map(|message| taskstats::decode(message, self.family)).unwrap_or_default())
    }
}

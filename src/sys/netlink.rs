//! The connector's netlink socket: its protocol number, classic BPF filters, batches and the drop counter.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Multicast group of the process connector, `CN_IDX_PROC` in linux/connector.h.
const CN_IDX_PROC: u32 = 1;
/// `SK_MEMINFO_DROPS` in linux/sock_diag.h.
const SK_MEMINFO_DROPS: usize = 8;
/// `SO_MEMINFO`, Linux 4.12.
const SO_MEMINFO: libc::c_int = 55;

/// Messages received by one call, at most.
pub const BATCH: usize = 64;
/// Bytes kept of a message; an event has 76.
pub const MESSAGE: usize = 128;

/// Opens a non-blocking connector socket bound to the process events' multicast group.
///
/// # Errors
/// `EPROTONOSUPPORT`: the kernel has no connector. `EPERM`: binding needs CAP_NET_ADMIN (before Linux 6.6).
pub fn open_connector() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes three integers and touches no memory of ours.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned by socket(2) and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_nl is plain data, for which zero is a valid value.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = CN_IDX_PROC;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `address` is a valid sockaddr_nl of the length given, and lives through the call.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

fn set_int(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is an int, read from `value`, which lives through the call.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks that a full buffer drops messages without congesting the socket: otherwise the kernel refuses every further
/// message until the queue has been read empty (net/netlink/af_netlink.c, `netlink_rcv_wake`).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 2.6.30.
pub fn set_no_enobufs(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1)
}

/// Sets the receive buffer beyond `rmem_max`; the kernel doubles `bytes`.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN.
pub fn force_receive_buffer(fd: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

/// One instruction of a classic BPF program: code, jump if true, jump if false, operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction(pub u16, pub u8, pub u8, pub u32);

impl Instruction {
    /// The message is queued, whole.
    pub const KEEP: Self = Self(RETURN, 0, 0, u32::MAX);
    /// It is not.
    pub const DROP: Self = Self(RETURN, 0, 0, 0);
}

/// `BPF_LD | BPF_W | BPF_ABS`.
pub const LOAD: u16 = 0x20;
/// `BPF_LD | BPF_H | BPF_ABS`.
pub const LOAD_HALF: u16 = 0x28;
/// `BPF_LD | BPF_B | BPF_ABS`.
pub const LOAD_BYTE: u16 = 0x30;
/// `BPF_MISC | BPF_TAX`.
pub const LOAD_X: u16 = 0x07;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JEQ | BPF_X`.
pub const JUMP_EQUAL_X: u16 = 0x1d;
/// `BPF_JMP | BPF_JSET | BPF_K`.
pub const JUMP_SET: u16 = 0x45;
/// `BPF_RET | BPF_K`.
pub const RETURN: u16 = 0x06;

/// Attaches a classic BPF socket filter. It needs no bpf(2): the kernel runs it before a message is queued.
///
/// # Errors
/// `EINVAL` for a program that the kernel's checker refuses.
pub fn attach_filter(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> =
        program.iter().map(|&Instruction(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(code.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let option = libc::SO_ATTACH_FILTER;
    // SAFETY: `filter` points to `len` instructions in `code`; both live through the call, which copies them.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const filter).cast(), length) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends one message to the kernel.
///
/// # Errors
/// `ECONNREFUSED` in a network namespace that has no connector.
pub fn send(fd: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length are of one slice that lives through the call.
    let sent = unsafe { libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Messages the socket had to drop since it was opened.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 4.12: read /proc/net/netlink instead.
pub fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0u32; 16];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`, which is that large.
    let got = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) <= SK_MEMINFO_DROPS * size_of::<u32>() {
        return Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT));
    }
    Ok(info[SK_MEMINFO_DROPS])
}

/// Room for one batch of messages, reused from call to call.
#[derive(Debug)]
pub struct Batch {
    bytes: Box<[[u8; MESSAGE]; BATCH]>,
    lengths: [usize; BATCH],
    senders: [u32; BATCH],
    received: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: Box::new([[0; MESSAGE]; BATCH]), lengths: [0; BATCH], senders: [0; BATCH], received: 0 }
    }
}

impl Batch {
    /// Receives what is there, at most `N` messages and [`BATCH`], without waiting; returns how many. A small `N` touches
    /// less memory.
    ///
    /// # Errors
    /// The kernel's, `EAGAIN` apart, which is 0 messages.
    pub fn receive<const N: usize>(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        // SAFETY: sockaddr_nl, iovec and mmsghdr are plain data, for which zero is a valid value.
        let mut names: [libc::sockaddr_nl; N] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; N] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; N] = unsafe { zeroed() };
        let rooms = self.bytes.iter_mut().zip(&mut names).zip(&mut vectors);
        for (header, ((bytes, name), vector)) in headers.iter_mut().zip(rooms) {
            *vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: MESSAGE };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        let (flags, none) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
        // SAFETY: each header points to its own name, vector and bytes, all of which outlive the call; no time-out.
        let got = unsafe {
            libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), N.min(BATCH) as libc::c_uint, flags as _, none)
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        }
        self.received = got.unsigned_abs() as usize;
        let rooms = self.lengths.iter_mut().zip(&mut self.senders);
        for ((length, sender), (header, name)) in rooms.zip(headers.iter().zip(&names)).take(self.received) {
            *length = (header.msg_len as usize).min(MESSAGE);
            *sender = name.nl_pid;
        }
        Ok(self.received)
    }

    /// The messages of the last call that the kernel itself sent (`nl_pid` 0): anybody else may send to our port.
    pub fn from_kernel(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.bytes.iter().zip(&self.lengths).zip(&self.senders).take(self.received);
        all.filter(|(_, sender)| **sender == 0).filter_map(|((bytes, length), _)| bytes.get(..*length))
    }
}

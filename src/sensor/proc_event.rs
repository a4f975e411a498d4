//! The process connector's wire format: decoding of events, encoding of requests, and the classic BPF programs that
//! choose among them. Pure functions over bytes (linux/cn_proc.h, linux/connector.h).

use crate::event::{Monotonic, Pid};
use crate::sys::netlink::{Instruction, JUMP_EQUAL, JUMP_EQUAL_X, LOAD, LOAD_X};

/// Offsets in a message: nlmsghdr 16 bytes, cn_msg 20, then proc_event.
const CN_ACK: usize = 28;
const WHAT: usize = 36;
const TIMESTAMP: usize = 44;
const DATA: usize = 52;

const NONE: u32 = 0;
const FORK: u32 = 0x1;
const EXEC: u32 = 0x2;
const EXIT: u32 = 0x8000_0000;

/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `PROC_CN_MCAST_IGNORE`.
const IGNORE: u32 = 2;

/// The kernel's event mask for execs (struct proc_input).
pub const EXEC_MASK: u32 = EXEC;
/// The same for lineage.
pub const LINEAGE_MASK: u32 = FORK | EXIT;

/// What one message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcEvent {
    /// The answer to a request.
    Ack {
        /// The request's own `ack` number.
        request: u32,
        /// 0, or an errno: 1 is EPERM.
        errno: u32,
    },
    /// A process executed a program.
    Exec {
        /// Which: its thread group id.
        pid: Pid,
        /// When.
        at: Monotonic,
    },
    /// A process was forked.
    Fork {
        /// Its parent.
        parent: Pid,
        /// The process.
        child: Pid,
    },
    /// A process ended.
    Exit {
        /// Which.
        pid: Pid,
    },
    /// Anything else, threads' forks and exits among it.
    Other,
}

pub(super) fn u32_at(message: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(offset..offset + 4)?.try_into().ok()?))
}

fn pid_at(message: &[u8], offset: usize) -> Option<Pid> {
    u32_at(message, offset).map(|n| Pid(n.cast_signed()))
}

/// Decodes one message; `None` where it is too short or comes from another connector.
pub fn decode(message: &[u8]) -> Option<ProcEvent> {
    // cn_msg.id: idx 1, val 1 is the process connector.
    if u32_at(message, 16)? != 1 || u32_at(message, 20)? != 1 {
        return None;
    }
    // The timestamp is only 4-byte aligned.
    let at = Monotonic(u64::from_ne_bytes(message.get(TIMESTAMP..TIMESTAMP + 8)?.try_into().ok()?));
    let (first, second) = (pid_at(message, DATA)?, pid_at(message, DATA + 4));
    Some(match u32_at(message, WHAT)? {
        NONE => ProcEvent::Ack { request: u32_at(message, CN_ACK)?.wrapping_sub(1), errno: first.0.cast_unsigned() },
        EXEC => ProcEvent::Exec { pid: second?, at },
        FORK => {
            let (child, group) = (pid_at(message, DATA + 8)?, pid_at(message, DATA + 12)?);
            if child == group { ProcEvent::Fork { parent: second?, child } } else { ProcEvent::Other }
        }
        EXIT if second? == first => ProcEvent::Exit { pid: first },
        _ => ProcEvent::Other,
    })
}

fn request(body: &[u8], ack: u32) -> Vec<u8> {
    let length = 36 + u32::try_from(body.len()).unwrap_or(0);
    let mut m = Vec::with_capacity(44);
    m.extend_from_slice(&length.to_ne_bytes());
    m.extend_from_slice(&3u16.to_ne_bytes()); // NLMSG_DONE; then flags, sequence and port are 0
    m.extend_from_slice(&[0; 10]);
    for word in [1, 1, 0, ack] {
        m.extend_from_slice(&u32::to_ne_bytes(word));
    }
    m.extend_from_slice(&u16::try_from(body.len()).unwrap_or(0).to_ne_bytes());
    m.extend_from_slice(&0u16.to_ne_bytes());
    m.extend_from_slice(body);
    m
}

/// The request to listen, answered by an [`ProcEvent::Ack`] with the same number.
pub fn listen(ack: u32) -> Vec<u8> {
    request(&LISTEN.to_ne_bytes(), ack)
}

/// The same with the kernel's own event mask (struct proc_input, Linux 6.6): only those events are queued. Older
/// kernels ignore a body of 8 bytes. With a mask no answer comes, so it is sent after [`listen`]'s.
pub fn listen_masked(mask: u32) -> Vec<u8> {
    let mut body = LISTEN.to_ne_bytes().to_vec();
    body.extend_from_slice(&mask.to_ne_bytes());
    request(&body, 0)
}

/// The request to end listening: before Linux 6.6 the kernel counts listeners and does not notice one that died.
pub fn ignore() -> Vec<u8> {
    request(&IGNORE.to_ne_bytes(), 0)
}

const fn load(offset: usize) -> Instruction {
    #[allow(clippy::cast_possible_truncation)] // offsets below 128
    Instruction(LOAD, 0, 0, offset as u32)
}

/// A load converts from network order, the message is in host order: so the constants are swapped once.
const fn jump_if(value: u32, hit: u8, miss: u8) -> Instruction {
    Instruction(JUMP_EQUAL, hit, miss, value.to_be())
}

/// Keeps EXEC and the ACK.
pub fn exec_filter() -> Vec<Instruction> {
    vec![load(WHAT), jump_if(EXEC, 2, 0), jump_if(NONE, 1, 0), Instruction::DROP, Instruction::KEEP]
}

/// Keeps FORK and EXIT of processes, not of threads, and the ACK.
pub fn lineage_filter() -> Vec<Instruction> {
    vec![
        load(WHAT),
        jump_if(NONE, 11, 0),
        jump_if(FORK, 0, 4),
        load(DATA + 8),
        Instruction(LOAD_X, 0, 0, 0),
        load(DATA + 12),
        Instruction(JUMP_EQUAL_X, 6, 5, 0),
        jump_if(EXIT, 0, 4),
        load(DATA),
        Instruction(LOAD_X, 0, 0, 0),
        load(DATA + 4),
        Instruction(JUMP_EQUAL_X, 1, 0, 0),
        Instruction::DROP,
        Instruction::KEEP,
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::sys::netlink::{JUMP_SET, LOAD_BYTE, LOAD_HALF, RETURN};

    /// A message as the kernel sends it: `what`, then the words of its data.
    fn message(what: u32, words: &[u32]) -> Vec<u8> {
        let mut m = request(&[0; 40], 8);
        m[WHAT..WHAT + 4].copy_from_slice(&what.to_ne_bytes());
        m[40..44].copy_from_slice(&u32::MAX.to_ne_bytes()); // cpu of an ACK on 3.10
        m[TIMESTAMP..DATA].copy_from_slice(&77_000_000_000u64.to_ne_bytes());
        for (i, word) in words.iter().enumerate() {
            m[DATA + 4 * i..DATA + 4 * i + 4].copy_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(m.len(), 76);
        m
    }

    /// A classic BPF machine of the instructions used, on hosts of either byte order.
    pub(crate) fn keeps(program: &[Instruction], m: &[u8]) -> bool {
        let (mut pc, mut a, mut x) = (0, 0u32, 0u32);
        loop {
            let Instruction(code, jt, jf, k) = program[pc];
            pc += 1;
            match code {
                LOAD_BYTE => a = u32::from(m[k as usize]),
                LOAD_HALF => a = u32::from(u16::from_be_bytes(m[k as usize..k as usize + 2].try_into().unwrap())),
                LOAD => a = u32::from_be_bytes(m[k as usize..k as usize + 4].try_into().unwrap()),
                LOAD_X => x = a,
                JUMP_EQUAL => pc += usize::from(if a == k { jt } else { jf }),
                JUMP_SET => pc += usize::from(if a & k == 0 { jf } else { jt }),
                JUMP_EQUAL_X => pc += usize::from(if a == x { jt } else { jf }),
                RETURN => return k != 0,
                _ => panic!("code {code}"),
            }
        }
    }

    #[test]
    fn decodes_each_event() {
        let at = Monotonic(77_000_000_000);
        let rows = [
            (message(EXEC, &[12, 11]), ProcEvent::Exec { pid: Pid(11), at }),
            (message(FORK, &[5, 4, 9, 9]), ProcEvent::Fork { parent: Pid(4), child: Pid(9) }),
            (message(FORK, &[5, 4, 10, 9]), ProcEvent::Other),
            (message(EXIT, &[9, 9, 0, 17]), ProcEvent::Exit { pid: Pid(9) }),
            (message(EXIT, &[10, 9, 0, 17]), ProcEvent::Other),
            (message(0x100, &[9, 9, 3, 3]), ProcEvent::Other),
            (message(NONE, &[1]), ProcEvent::Ack { request: 7, errno: 1 }),
            (message(0x4000, &[1]), ProcEvent::Other),
        ];
        for (bytes, want) in rows {
            assert_eq!(decode(&bytes), Some(want));
            for cut in 0..DATA + 4 {
                assert_eq!(decode(&bytes[..cut]), None);
            }
            let _ = decode(&bytes[..60]);
        }
        let mut foreign = message(EXEC, &[1, 1]);
        foreign[16] ^= 2;
        assert_eq!(decode(&foreign), None);
    }

    #[test]
    fn filters_keep_what_their_socket_is_for() {
        let rows = [
            (message(EXEC, &[12, 11]), true, false),
            (message(0x100, &[9, 9, 3, 3]), false, false),
            (message(NONE, &[0]), true, true),
            (message(FORK, &[5, 4, 9, 9]), false, true),
            (message(FORK, &[5, 4, 10, 9]), false, false),
            (message(EXIT, &[9, 9]), false, true),
            (message(EXIT, &[10, 9]), false, false),
            (message(0x200, &[9, 9]), false, false),
        ];
        for (bytes, exec, lineage) in rows {
            assert_eq!(keeps(&exec_filter(), &bytes), exec, "{bytes:?}");
            assert_eq!(keeps(&lineage_filter(), &bytes), lineage, "{bytes:?}");
        }
    }

    #[test]
    fn requests_have_the_kernels_shape() {
        let m = listen(8);
        assert_eq!((m.len(), u32_at(&m, 0), u32_at(&m, CN_ACK), u32_at(&m, WHAT)), (40, Some(40), Some(8), Some(1)));
        let m = listen_masked(EXEC_MASK);
        assert_eq!((m.len(), u32_at(&m, WHAT), u32_at(&m, 40)), (44, Some(1), Some(EXEC)));
    }
}

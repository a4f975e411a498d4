//! The wire format of taskstats, by which the kernel tells of each process' end: the requests that register for it and
//! the decoding of its records. Pure functions over bytes (linux/taskstats.h, linux/genetlink.h).

use crate::event::{Comm, Pid};
use crate::sensor::proc_event::u32_at;
use crate::sys::netlink::{Instruction, JUMP_EQUAL, JUMP_SET, LOAD_BYTE, LOAD_HALF};

/// `GENL_ID_CTRL`: what knows the other families' numbers.
const CONTROLLER: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const TASKSTATS_CMD_GET: u8 = 1;
const TASKSTATS_CMD_ATTR_REGISTER_CPUMASK: u16 = 3;
const TASKSTATS_TYPE_PID: u16 = 1;
const TASKSTATS_TYPE_STATS: u16 = 3;
const TASKSTATS_TYPE_AGGR_PID: u16 = 4;

/// `NLMSG_ERROR`: an answer, errno 0 among them.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const ASKS: u16 = 0x1 | 0x4;
/// Bytes of nlmsghdr, and of it with genlmsghdr.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// Offsets in struct taskstats, the same in all of its versions but one: Linux 6.14 and 6.15 moved what follows the first
/// ten fields, and 16 has it back.
const VERSION: usize = 0;
const AC_FLAG: usize = 8;
const AC_COMM: usize = 80;
const ODD_VERSION: u16 = 15;
const AC_COMM_ODD: usize = 128;
const TS_COMM_LEN: usize = 32;
/// `AFORK`: it was forked, and never executed anything.
const AFORK: u8 = 1;

/// What one message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The number by which taskstats is asked.
    Family(u16),
    /// A request was carried out, or an errno says why not.
    Answer(i32),
    /// A task ended that had executed something; a thread has a pid of its own here.
    Ended(Pid, Comm),
}

/// Asks for the family's number.
pub fn find_family() -> Vec<u8> {
    request(CONTROLLER, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
}

/// Asks for a record of each end on these CPUs, a list as in /sys/devices/system/cpu/possible.
pub fn register(family: u16, cpus: &str) -> Vec<u8> {
    let list = [cpus.as_bytes(), b"\0"].concat();
    request(family, TASKSTATS_CMD_GET, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, &list)
}

fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attribute_length = 4 + value.len();
    let length = HEADERS + attribute_length.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&ASKS.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence and port
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&u16::try_from(attribute_length).unwrap_or(0).to_ne_bytes());
    message.extend_from_slice(&attribute.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(length, 0);
    message
}

/// Keeps all but the records of what never executed anything: threads end more often than programs. It stands at the
/// offset that it has where the record is not moved by a filler, which no x86 has (kernel/taskstats.c).
pub fn filter() -> Vec<Instruction> {
    let kind = u32::from(TASKSTATS_TYPE_STATS.to_be());
    vec![
        Instruction(LOAD_HALF, 0, 0, 34),
        Instruction(JUMP_EQUAL, 0, 3, kind),
        Instruction(LOAD_BYTE, 0, 0, 44),
        Instruction(JUMP_SET, 0, 1, u32::from(AFORK)),
        Instruction::DROP,
        Instruction::KEEP,
    ]
}

/// Decodes what one read gave, records of this family; what is cut off or unknown is left out.
pub fn decode(mut bytes: &[u8], family: u16) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(length) = u32_at(bytes, 0).and_then(|n| usize::try_from(n).ok())
        && let Some(message) = bytes.get(..length).filter(|m| m.len() >= HEADER)
    {
        messages.extend(decode_one(message, family));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

fn decode_one(message: &[u8], family: u16) -> Option<Message> {
    match u16_at(message, 4)? {
        ERROR => Some(Message::Answer(u32_at(message, HEADER)?.cast_signed().wrapping_neg())),
        CONTROLLER => {
            let value = attribute(message.get(HEADERS..)?, CTRL_ATTR_FAMILY_ID)?;
            Some(Message::Family(u16_at(value, 0)?))
        }
        kind if kind == family => {
            let task = attribute(message.get(HEADERS..)?, TASKSTATS_TYPE_AGGR_PID)?;
            let pid = u32_at(attribute(task, TASKSTATS_TYPE_PID)?, 0)?;
            let record = attribute(task, TASKSTATS_TYPE_STATS)?;
            let at = if u16_at(record, VERSION)? == ODD_VERSION { AC_COMM_ODD } else { AC_COMM };
            let comm = record.get(at..at + TS_COMM_LEN)?;
            (record.get(AC_FLAG)? & AFORK == 0).then(|| Message::Ended(Pid(pid.cast_signed()), Comm::new(comm)))
        }
        _ => None,
    }
}

/// The value of the first attribute of that type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sensor::proc_event::tests::keeps;

    const FAMILY: u16 = 23;

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut made = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        made.extend_from_slice(&kind.to_ne_bytes());
        made.extend_from_slice(value);
        made.resize(made.len().next_multiple_of(4), 0);
        made
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut made = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        made.extend_from_slice(&kind.to_ne_bytes());
        made.extend_from_slice(&[0; 10]);
        made.extend_from_slice(body);
        made
    }

    /// As Linux 3.10 (328 bytes), 6.1 (416) and later ones send it, for a process of several threads.
    fn record(pid: u32, comm: &[u8], flag: u8, size: usize) -> Vec<u8> {
        record_of(8, AC_COMM, pid, comm, flag, size)
    }

    fn record_of(version: u16, at: usize, pid: u32, comm: &[u8], flag: u8, size: usize) -> Vec<u8> {
        let mut stats = vec![0xaa; size];
        stats.splice(VERSION..VERSION + 2, version.to_ne_bytes());
        stats.splice(AC_FLAG..=AC_FLAG, [flag]);
        stats.splice(at..at + TS_COMM_LEN, [comm, &vec![0; TS_COMM_LEN - comm.len()]].concat());
        let task = [attribute_of(TASKSTATS_TYPE_PID, &pid.to_ne_bytes()), attribute_of(TASKSTATS_TYPE_STATS, &stats)];
        let group = [attribute_of(2, &pid.to_ne_bytes()), attribute_of(TASKSTATS_TYPE_STATS, &stats)];
        let body = [attribute_of(TASKSTATS_TYPE_AGGR_PID, &task.concat()), attribute_of(5, &group.concat())];
        message(FAMILY, &[vec![2, 1, 0, 0], body.concat()].concat())
    }

    #[test]
    fn a_record_tells_pid_and_name_in_every_version() {
        for size in [328, 352, 416, 560] {
            let ended = Message::Ended(Pid(4711), Comm::new(b"x86_64-linux-gn"));
            assert_eq!(decode(&record(4711, b"x86_64-linux-gn", 0x02, size), FAMILY), [ended]);
        }
        assert_eq!(decode(&record(4711, b"sh", AFORK, 416), FAMILY), [], "a copy of its parent");
        let moved = record_of(ODD_VERSION, AC_COMM_ODD, 4711, b"gcc", 0x02, 560);
        assert_eq!(decode(&moved, FAMILY), [Message::Ended(Pid(4711), Comm::new(b"gcc"))]);
    }

    #[test]
    fn the_filter_drops_what_never_executed_anything() {
        assert!(keeps(&filter(), &record(1, b"gcc", 0x02, 416)));
        assert!(!keeps(&filter(), &record(1, b"gcc", 0x02 | AFORK, 416)));
        let mut moved = record(1, b"gcc", AFORK, 416);
        moved.splice(32..32, [4, 0, 0, 0]);
        assert!(keeps(&filter(), &moved), "its flag is elsewhere");
    }

    #[test]
    fn answers_are_decoded_one_after_the_other() {
        let family =
            [vec![1, 2, 0, 0], attribute_of(2, b"TASKSTATS\0"), attribute_of(1, &23u16.to_ne_bytes())].concat();
        let refused = message(ERROR, &[&(-1i32).to_ne_bytes()[..], &[0; 16]].concat());
        let both = [message(CONTROLLER, &family), refused].concat();
        assert_eq!(decode(&both, 0), [Message::Family(23), Message::Answer(1)]);
    }

    #[test]
    fn a_request_carries_one_attribute() {
        let request = register(23, "0-3");
        assert_eq!(request.len(), 28);
        assert_eq!(decode(&request, 0), [], "it is no record");
        assert_eq!(attribute(request.get(HEADERS..).unwrap(), 3), Some(&b"0-3\0"[..]));
    }

    #[test]
    fn what_is_cut_off_or_hostile_is_left_out() {
        let whole = record(1, b"gcc", 0, 416);
        for end in 0..whole.len() {
            assert_eq!(decode(whole.get(..end).unwrap(), FAMILY), []);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 4, 0xff] {
                let mut bent = whole.clone();
                bent.splice(at..=at, [value]);
                let _ = decode(&bent, FAMILY);
            }
        }
    }
}

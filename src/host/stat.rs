//! Pure parsers of /proc/PID/stat and /proc/PID/status, over bytes: a process chooses its own comm, and one that
//! is not UTF-8 must hide nobody.

use crate::event::{Field, Missing, Pid, StartTime, Stat};

fn number<T: std::str::FromStr>(bytes: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(bytes?).ok()?.parse().ok()
}

/// Parses /proc/PID/stat (proc_pid_stat(5)). comm may hold blanks and brackets: it ends at the last `)`.
///
/// # Errors
/// `Malformed` where a field is missing or no number.
pub fn parse_stat(bytes: &[u8]) -> Field<Stat> {
    parse_stat_fields(bytes).ok_or(Missing::Malformed)
}

fn parse_stat_fields(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let comm = bytes.get(open + 1..close)?.to_vec();
    let rest = bytes.get(close + 1..)?;
    // Fields from the third on, numbered as in the manual: state 3, ppid 4, session 6, tty_nr 7, starttime 22,
    // startstack 28.
    let mut fields = rest.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
    let state = *fields.next()?.first()?;
    let ppid = number(fields.next())?;
    let session = Some(Pid(number(fields.nth(1))?)).filter(|leader| leader.0 > 0);
    let tty = number(fields.next())?;
    let start = number(fields.nth(14))?;
    let start_stack = number(fields.nth(5)).unwrap_or(0);
    Some(Stat { comm, state, ppid: Pid(ppid), session, tty, start: StartTime(start), start_stack })
}

/// Where a process' arguments lie in its memory, from the same file: their start, and the end. Zeros where the process is
/// none of ours to look into.
///
/// # Errors
/// `Malformed` where a field is missing or no number, as before Linux 3.5.
pub fn argument_area(stat: &[u8]) -> Field<(u64, u64)> {
    let area = || {
        let close = stat.iter().rposition(|b| *b == b')')?;
        let mut fields = stat.get(close + 1..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
        // arg_start is the 48th field, arg_end the 49th, and the first of these the third.
        Some((number(fields.nth(45))?, number(fields.next())?))
    };
    area().filter(|(start, _)| *start > 0).ok_or(Missing::Malformed)
}

/// What /proc/PID/status tells beyond stat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The real uid, as the host sees it.
    pub uid: u32,
    /// The pid in the process' own pid namespace; `None` before Linux 4.1 and on RHEL 7.
    pub vpid: Option<i32>,
}

/// Parses /proc/PID/status (proc_pid_status(5)).
///
/// # Errors
/// `Malformed` where it has no `Uid:` line.
pub fn parse_status(bytes: &[u8]) -> Field<Status> {
    let line = |key: &[u8]| bytes.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(key));
    let words = |l: &'_ [u8]| -> Vec<Vec<u8>> {
        l.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let uid = line(b"Uid:").and_then(|l| number(words(l).first().map(Vec::as_slice))).ok_or(Missing::Malformed)?;
    let vpid = line(b"NSpid:").and_then(|l| number(words(l).last().map(Vec::as_slice)));
    Ok(Status { uid, vpid })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(comm: &[u8]) -> Vec<u8> {
        let mut out = b"4021 (".to_vec();
        out.extend_from_slice(comm);
        out.extend_from_slice(
            b") S 4000 4021 3999 34816 4021 4194560 101 0 0 0 1 2 0 0 20 0 1 0 8817423 2609152 240 \
              18446744073709551615 1 1 140722 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n",
        );
        out
    }

    #[test]
    fn comm_ends_at_the_last_bracket() {
        for comm in [&b"gcc"[..], b"a) S 1 (b", b"s\xff:lp", b"(sd-pam)", b"", b" x ", b"x\ny"] {
            let stat = parse_stat(&line(comm)).unwrap();
            assert_eq!(stat.comm, comm);
            assert_eq!((stat.ppid, stat.session, stat.tty), (Pid(4000), Some(Pid(3999)), 34816));
            assert_eq!((stat.start, stat.start_stack, stat.state), (StartTime(8_817_423), 140_722, b'S'));
        }
    }

    #[test]
    fn a_released_process_has_no_session() {
        for shown in [&b" -1 "[..], b" 0 "] {
            let mut released = line(b"gcc");
            let at = released.windows(6).position(|w| w == b" 3999 ").unwrap();
            released.splice(at..at + 6, shown.iter().copied());
            assert_eq!(parse_stat(&released).unwrap().session, None);
        }
    }

    #[test]
    fn short_or_odd_lines_are_malformed() {
        let whole = line(b"gcc");
        let start_time = whole.windows(7).position(|w| w == b"8817423").unwrap();
        for cut in 0..=start_time {
            assert_eq!(parse_stat(whole.get(..cut).unwrap()), Err(Missing::Malformed), "{cut}");
        }
        assert_eq!(parse_stat(b"1 (x) S x"), Err(Missing::Malformed));
    }

    #[test]
    fn agrees_with_the_procfs_crate() {
        let oracle = procfs::process::Process::myself().unwrap().stat().unwrap();
        let own = parse_stat(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        // A leader outside the pid namespace is shown as 0: where the tests run in a container of their own.
        let session = (oracle.session > 0).then_some(Pid(oracle.session));
        assert_eq!((own.ppid.0, own.session, own.tty), (oracle.ppid, session, oracle.tty_nr));
        assert_eq!((own.start.0, own.start_stack), (oracle.starttime, oracle.startstack));
    }

    #[test]
    fn status_gives_uid_and_innermost_pid() {
        let text = b"Name:\ta:b\xff\nUid:\t1000\t0\t0\t0\nNSpid:\t4021\t41\t7\n";
        assert_eq!(parse_status(text), Ok(Status { uid: 1000, vpid: Some(7) }));
        assert_eq!(parse_status(b"Name:\tx\nUid:\t5\t5\t5\t5\n"), Ok(Status { uid: 5, vpid: None }));
        assert_eq!(parse_status(b"Name:\tx\n"), Err(Missing::Malformed));
    }
}

//! What the watcher gives up before it has threads: every capability but [`NEEDED`], the way to new ones, and the system
//! calls that it has no use for.

use std::collections::BTreeMap;

use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::calls::allowed;
use super::kernel::{Capabilities, NEEDED};
use crate::sys::privilege::{bound_capabilities, filter_calls, set_capabilities};

/// With this in the environment, set to `kill`, a call that is not in the list ends the watcher: a test's way to prove
/// that the list is complete. It can only make the filter stricter.
pub const REFUSED_CALL: &str = "CCWATCH_REFUSED_CALL";

/// Nice values down to -20 (getrlimit(2): 20 minus the limit), for the threads whose work does not wait.
const NICE: u64 = 40;
/// The lowest priority of the real-time class.
const REAL_TIME: u64 = 1;
/// CAP_SYS_NICE, linux/capability.h.
const SYS_NICE: u8 = 23;

/// The bits of [`NEEDED`].
fn needed() -> u64 {
    NEEDED.iter().fold(0, |bits, capability| bits | 1 << capability.bit)
}

/// Gives up what is not needed. Must be called before threads are started, which inherit what is left; `held` is what
/// this process has. What a kernel or a container refuses is said and not missed.
pub fn give_up(held: Capabilities) {
    let said = |what: &str, result: Result<(), String>| {
        if let Err(why) = result {
            log::warn!("{what}: {why}");
        }
    };
    let kept = needed() | may_run_early();
    if let Err(error) = bound_capabilities(kept) {
        // Without CAP_SETPCAP somebody else has bounded them, or nobody: programs of ours are executed with no_new_privs.
        log::debug!("bound the capabilities: {error}");
    }
    said("give up capabilities", set_capabilities(held.0 & kept).map_err(|e| e.to_string()));
    said("set no_new_privs", nix::sys::prctl::set_no_new_privs().map_err(|e| e.to_string()));
    said("filter the system calls", filter());
}

/// Raises the limits on priorities, which do what CAP_SYS_NICE would; the unit sets the same ones. Only where they
/// cannot be raised, by a root without CAP_SYS_RESOURCE, that capability is kept in their place: the bits to keep.
fn may_run_early() -> u64 {
    let limits = [(Resource::RLIMIT_NICE, NICE), (Resource::RLIMIT_RTPRIO, REAL_TIME)];
    if limits.iter().all(|(resource, limit)| setrlimit(*resource, *limit, *limit).is_ok()) { 0 } else { 1 << SYS_NICE }
}

/// Refuses what is not in [`allowed`], with `ENOSYS`: libraries then do what they did before the call existed, and no
/// kernel or library of the future ends the watcher.
fn filter() -> Result<(), String> {
    let kill = std::env::var_os(REFUSED_CALL).is_some_and(|value| value == "kill");
    let refused = if kill { SeccompAction::KillProcess } else { SeccompAction::Errno(libc::ENOSYS.unsigned_abs()) };
    let program = program(refused)?;
    filter_calls(&program).map_err(|e| e.to_string())
}

fn program(refused: SeccompAction) -> Result<Vec<libc::sock_filter>, String> {
    let rules: BTreeMap<i64, Vec<_>> = allowed().map(|(call, _)| (call, Vec::new())).collect();
    let architecture = std::env::consts::ARCH.try_into().map_err(|e| format!("{e}"))?;
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture).map_err(|e| e.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
    Ok(program.into_iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_call_outside_the_list_is_refused_and_ends_nobody() {
        let results = std::thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            filter_calls(&program(SeccompAction::Errno(libc::ENOSYS.unsigned_abs())).unwrap()).unwrap();
            let refused = nix::unistd::sethostname("never").unwrap_err();
            (refused, std::fs::read_to_string("/proc/self/comm").is_ok(), std::thread::spawn(|| 7).join().unwrap())
        });
        assert_eq!(results.join().unwrap(), (nix::errno::Errno::ENOSYS, true, 7));
    }

    #[test]
    fn no_call_is_listed_twice() {
        let calls: std::collections::BTreeSet<i64> = allowed().map(|(call, _)| call).collect();
        assert_eq!(calls.len(), allowed().count());
    }

    /// The values of a key in the shipped unit.
    fn unit(key: &str) -> Vec<&'static str> {
        let unit = include_str!("../../packaging/systemd/ccwatch.service");
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap().split_whitespace().collect()
    }

    #[test]
    fn the_unit_leaves_what_is_needed_and_no_more() {
        let names: Vec<&str> = NEEDED.iter().map(|capability| capability.name).collect();
        assert_eq!(unit("CapabilityBoundingSet"), names);
        assert_eq!(needed(), 1 << 12 | 1 << 19 | 1 << 2 | 1 << 21);
        assert_eq!(unit("LimitNICE"), [NICE.to_string()]);
        assert_eq!(unit("LimitRTPRIO"), [REAL_TIME.to_string()]);
    }

    #[test]
    fn the_unit_does_not_start_again_what_cannot_be_better() {
        assert_eq!(unit("RestartPreventExitStatus"), ["64", "77", "78"]);
    }
}

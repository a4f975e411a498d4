//! Giving up privileges: capability sets and a system call filter. All of it is of the calling thread; those that it
//! starts afterwards inherit it.

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`, linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// The largest number that a kernel may give a capability: two words of 32.
const CAPABILITIES: u8 = 64;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets effective and permitted capabilities to the bits of `kept`, and empties the inheritable ones, and with them the
/// ambient ones (capabilities(7)).
///
/// # Errors
/// `EPERM` for a bit that is not permitted now.
pub fn set_capabilities(kept: u64) -> io::Result<()> {
    let header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let word = |shift: u32| (kept >> shift & u64::from(u32::MAX)) as u32;
    let sets = [0, 32].map(|shift| Sets { effective: word(shift), permitted: word(shift), inheritable: 0 });
    // SAFETY: version 3 reads one header and two sets, which live through the call; 0 names the calling thread.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes all capabilities but the bits of `kept` from the bounding set, so that no program executed later can have them.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn bound_capabilities(kept: u64) -> io::Result<()> {
    for bit in (0..CAPABILITIES).filter(|bit| kept & (1 << bit) == 0) {
        // SAFETY: prctl(2) takes integers here.
        let has = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(bit), 0, 0, 0) };
        if has < 0 {
            // EINVAL: this kernel has no such capability, and none above.
            return Ok(());
        }
        // SAFETY: as above.
        if has == 1 && unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(bit), 0, 0, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Loads a seccomp filter, for good. Where the kernel can, without the mitigations against speculation that it gives
/// filtered processes by default before 5.16: they cost on every call, and we run nobody's code but our own.
///
/// # Errors
/// `EINVAL`: this kernel has no filters (CONFIG_SECCOMP_FILTER), or the program is none. `EACCES` without no_new_privs.
pub fn filter_calls(program: &[libc::sock_filter]) -> io::Result<()> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    // The kernel does not write to it, whatever the type says.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let seccomp = |flags: libc::c_ulong| {
        // SAFETY: `program` names `len` instructions that live through the call; the kernel copies and checks them.
        let set = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let error = match seccomp(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
        // Before 4.17 there is no such flag.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => seccomp(0).err(),
        other => other.err(),
    };
    match error {
        // Before 3.17 there is no such call.
        Some(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
            // SAFETY: as above.
            let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) };
            if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Whether this kernel has seccomp filters.
pub fn has_call_filters() -> bool {
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: without a program the call does nothing but say EFAULT where there are filters, else EINVAL (prctl(2)).
    let refused = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, std::ptr::null::<libc::sock_fprog>(), 0, 0) };
    refused < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn own_status(key: &str) -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    }

    #[test]
    fn a_thread_gives_up_all_that_it_has() {
        let after = std::thread::spawn(|| {
            let bounded = bound_capabilities(1 << 2);
            set_capabilities(0).unwrap();
            (bounded.is_ok(), ["CapEff:", "CapPrm:", "CapInh:", "CapBnd:"].map(own_status))
        });
        let (bounded, sets) = after.join().unwrap();
        assert_eq!(sets[..3], ["0000000000000000"; 3]);
        if bounded {
            assert!(["0000000000000004", "0000000000000000"].contains(&sets[3].as_str()), "{sets:?}");
        }
    }

    #[test]
    fn a_program_that_is_none_is_refused() {
        assert!(filter_calls(&[]).is_err());
    }
}

//! Settings of this process and thread that nix has no call for.

use std::io;

/// Limits the allocator to `arenas` heaps: by default each thread gets its own, and a small daemon of a dozen
/// threads shows ten times the memory that it uses (mallopt(3), `M_ARENA_MAX`).
pub fn limit_malloc_arenas(arenas: i32) {
    // SAFETY: mallopt takes two integers; it is called before other threads exist.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// CPU time that the calling thread has used, nanoseconds.
///
/// # Errors
/// The kernel's; none is known for this clock.
pub fn thread_cpu_ns() -> io::Result<u64> {
    let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(t.tv_sec().unsigned_abs() * 1_000_000_000 + t.tv_nsec().unsigned_abs())
}

/// How a thread came to run before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// In the real-time class, at its lowest priority.
    RealTime,
    /// By a nice value of -20 alone.
    Nice,
}

/// Lets the calling thread run as soon as it wakes, before all normal threads. Its children do not inherit that.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE.
pub fn take_precedence() -> io::Result<Precedence> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let class = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` is a whole sched_param that lives through the call; 0 names the calling thread.
    if unsafe { libc::sched_setscheduler(0, class, &raw const parameters) } == 0 {
        return Ok(Precedence::RealTime);
    }
    // EPERM also where a cgroup has no real-time share (CONFIG_RT_GROUP_SCHED, RHEL 7).
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: as above.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &raw const normal) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: setpriority takes three integers; 0 names the calling thread on Linux (setpriority(2), NOTES).
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Precedence::Nice)
}

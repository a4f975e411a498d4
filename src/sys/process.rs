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

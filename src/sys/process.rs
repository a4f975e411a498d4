//! Settings of this process and thread that nix has no call for.

use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::unistd::{SysconfVar, sysconf};

/// Limits the allocator to `arenas` heaps: by default each thread gets its own, and a small daemon of a dozen
/// threads shows ten times the memory that it uses (mallopt(3), `M_ARENA_MAX`).
pub fn limit_malloc_arenas(arenas: i32) {
    // SAFETY: mallopt takes two integers; it is called before other threads exist.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// Gives memory that is free back to the kernel: what a storm took would stay resident for ever (malloc_trim(3)).
pub fn return_free_memory() {
    // SAFETY: malloc_trim takes an integer and is thread-safe.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Bytes of a page.
pub fn page_size() -> usize {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|page| usize::try_from(page).ok()).unwrap_or(4096)
}

/// Lets go of the pages of our own code that are mapped, nine in ten of which only the start needs: what is needed again
/// comes back from the file (madvise(2), `MADV_DONTNEED`: nobody has written to it).
pub fn let_go_of_code() {
    /// The executed segment of the first object, which is the program itself (dl_iterate_phdr(3)).
    unsafe extern "C" fn find(object: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
        // SAFETY: both live through the call: the one is the C library's, the other is `range` below.
        let (object, range) = unsafe { (&*object, &mut *found.cast::<(usize, usize)>()) };
        // SAFETY: the C library says so many headers are there.
        let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        if let Some(code) = headers.iter().find(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0) {
            let start = object.dlpi_addr.wrapping_add(code.p_vaddr);
            *range = (start as usize, code.p_memsz as usize);
        }
        1
    }
    let mut range = (0_usize, 0_usize);
    // SAFETY: `find` is of the type that is asked for, and `range` lives through the call.
    unsafe { libc::dl_iterate_phdr(Some(find), (&raw mut range).cast()) };
    let page = page_size();
    let (start, end) = (range.0 & !(page - 1), (range.0 + range.1) & !(page - 1));
    if end > start {
        // SAFETY: these are whole pages of a file that is mapped privately and not writable.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// CPU time that the calling thread has used, nanoseconds.
///
/// # Errors
/// The kernel's; none is known for this clock.
pub fn thread_cpu_ns() -> io::Result<u64> {
    let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(t.tv_sec().unsigned_abs() * 1_000_000_000 + t.tv_nsec().unsigned_abs())
}

fn set_class(class: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameters` is a whole sched_param that lives through the call; 0 names the calling thread.
    let set = unsafe { libc::sched_setscheduler(0, class | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run before normal threads, by a nice value of -20. Its children do not inherit that.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE.
pub fn run_early() -> io::Result<()> {
    set_class(libc::SCHED_OTHER, 0)?;
    // SAFETY: setpriority takes three integers; 0 names the calling thread on Linux (setpriority(2), NOTES).
    let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run as soon as it wakes: in the real-time class at its lowest priority; where that is
/// denied (a cgroup without a real-time share under CONFIG_RT_GROUP_SCHED, as on RHEL 7) as [`run_early`].
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE.
pub fn run_at_once() -> io::Result<()> {
    set_class(libc::SCHED_RR, 1).or_else(|_| run_early())
}

/// A descriptor that becomes readable when a process ends. It keeps neither the process nor its namespaces.
///
/// # Errors
/// `ENOSYS` before Linux 5.3, `ESRCH` where there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor was made by this very call and belongs to nobody else; it is closed on exec (pidfd_open(2)).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a file that somebody can write to cannot be executed (ETXTBSY). Linux 6.11 and 6.12 had given that up for a
/// while (fs/exec.c, 2a010c412853 and its revert). Tried on a file in memory that is no program; false where there can be
/// none that is executable (`vm.memfd_noexec` 2).
pub fn writers_block_exec() -> bool {
    match executable_memfd(memfd_create) {
        Ok(fd) => writer_blocks_exec(fd),
        // Before 3.17 nobody had thought of giving it up.
        Err(e) => e.raw_os_error() == Some(libc::ENOSYS),
    }
}

/// A file in memory that can be executed whatever `vm.memfd_noexec` is, but 2.
fn executable_memfd(create: impl Fn(libc::c_uint) -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let made = create(libc::MFD_CLOEXEC | libc::MFD_EXEC);
    // Before 6.3 every one is, and the flag is unknown.
    if made.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL)) { create(libc::MFD_CLOEXEC) } else { made }
}

fn memfd_create(flags: libc::c_uint) -> io::Result<OwnedFd> {
    let name = c"ccwatch";
    // SAFETY: `name` is NUL-terminated and lives through the call; the other argument is an integer.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor was made by this very call and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn writer_blocks_exec(memory: OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let mut file = std::fs::File::from(memory);
    // The first descriptor on a file in memory is not counted as a writer; this one is.
    let Ok(_writer) = std::fs::OpenOptions::new().write(true).open(&path) else { return false };
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    if file.write_all(b"no program").and_then(|()| file.set_permissions(executable)).is_err() {
        return false;
    }
    let tried = std::process::Command::new(path).stdin(std::process::Stdio::null()).spawn();
    tried.is_err_and(|e| e.raw_os_error() == Some(libc::ETXTBSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No kernel that runs these tests is one of the two.
    #[test]
    fn what_is_written_to_cannot_be_executed() {
        assert!(writers_block_exec());
    }

    /// `vm.memfd_noexec` is set for each pid namespace: as it would answer, and a kernel that does not know the flag.
    #[test]
    fn a_file_in_memory_is_executable_on_every_kernel() {
        let refuse = |number| Err(io::Error::from_raw_os_error(number));
        let answer = |refused: libc::c_uint, number| {
            move |flags: libc::c_uint| if flags & refused == 0 { memfd_create(flags) } else { refuse(number) }
        };
        let errno = |made: io::Result<OwnedFd>| made.err().and_then(|e| e.raw_os_error());
        assert_eq!(errno(executable_memfd(answer(libc::MFD_EXEC, libc::EINVAL))), None);
        for number in [libc::EACCES, libc::ENOSYS] {
            assert_eq!(errno(executable_memfd(answer(libc::MFD_CLOEXEC, number))), Some(number));
        }
        let asked =
            |flags: libc::c_uint| if flags & libc::MFD_EXEC == 0 { refuse(0) } else { memfd_create(libc::MFD_CLOEXEC) };
        assert!(executable_memfd(asked).is_ok(), "for one that can be executed");
    }

    #[test]
    fn both_ways_to_run_before_others() {
        let own = || {
            let stat =
                procfs::process::Process::myself().and_then(|p| p.task_from_tid(thread_id())).and_then(|t| t.stat());
            stat.map(|s| (s.nice, s.policy)).ok()
        };
        if !nix::unistd::geteuid().is_root() {
            return assert!(run_at_once().is_err());
        }
        let changed = std::thread::spawn(move || {
            let early = run_early().map(|()| own());
            let at_once = run_at_once().map(|()| own());
            (early.ok(), at_once.ok())
        });
        let (early, at_once) = changed.join().unwrap_or_default();
        assert_eq!(early, Some(Some((-20, Some(0)))));
        assert!(at_once == Some(Some((-20, Some(libc::SCHED_RR.cast_unsigned())))) || at_once == early);
    }

    fn thread_id() -> i32 {
        nix::unistd::gettid().as_raw()
    }
}

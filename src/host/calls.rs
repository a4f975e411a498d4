//! The system calls that the watcher makes, in groups with what for: what `privilege`'s filter lets through. A call and
//! what stands in for it on older kernels are both here: which of the two runs is the kernel's affair.

use crate::sys;

/// A call's number and its name.
pub type Call = (i64, &'static str);

macro_rules! calls {
    ($($call:ident)*) => { [$((libc::$call, stringify!($call))),*] };
}

/// Calls that only the older architectures have.
#[cfg(target_arch = "x86_64")]
const OLD: &[Call] = &calls! {
    SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_rename SYS_unlink SYS_chmod SYS_getdents
    SYS_poll SYS_select SYS_pipe SYS_dup2 SYS_fork SYS_vfork SYS_eventfd SYS_epoll_create SYS_epoll_wait
    SYS_inotify_init SYS_arch_prctl SYS_getpgrp SYS_time
};
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[Call] = &[];

/// Files: /proc, executables, the runtimes' state, the alert file, our own state.
const FILES: &[Call] = &calls! {
    SYS_read SYS_pread64 SYS_readv SYS_preadv SYS_write SYS_pwrite64 SYS_writev SYS_pwritev SYS_lseek
    SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_ioctl
    SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64
    SYS_mkdirat SYS_renameat SYS_renameat2 SYS_unlinkat SYS_fchmod SYS_fchmodat SYS_fchown SYS_umask SYS_ftruncate
    SYS_fsync SYS_fdatasync SYS_getcwd SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_utimensat
    SYS_copy_file_range SYS_sendfile SYS_splice SYS_memfd_create
};

/// Mounts and file handles, and the marks on them.
const MARKS: &[Call] = &calls! {
    SYS_fanotify_init SYS_fanotify_mark SYS_name_to_handle_at SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
};

/// Mounts by number; the C library's crate has no names for them yet.
const MOUNTS: &[Call] = &[(sys::mounts::STATMOUNT, "SYS_statmount"), (sys::mounts::LISTMOUNT, "SYS_listmount")];

/// The connector, syslog, the service manager. The one socket that is listened to is doctor's, in the state directory.
const SOCKETS: &[Call] = &calls! {
    SYS_socket SYS_socketpair SYS_bind SYS_listen SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_getsockopt SYS_setsockopt
    SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_recvfrom SYS_recvmsg SYS_recvmmsg SYS_shutdown
};

/// Waiting, and being woken.
const WAITING: &[Call] = &calls! {
    SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_pipe2
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_futex SYS_nanosleep SYS_clock_nanosleep
    SYS_restart_syscall SYS_sched_yield
};

/// Memory, for the allocator and for the stacks of threads.
const MEMORY: &[Call] = &calls! {
    SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_membarrier
};

/// Our own process and threads, signals, and the canary: this program, executed again.
const PROCESSES: &[Call] = &calls! {
    SYS_clone SYS_clone3 SYS_execve SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_pidfd_open SYS_pidfd_send_signal
    SYS_kill SYS_tgkill SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigtimedwait
    SYS_rt_sigsuspend SYS_sigaltstack SYS_set_robust_list SYS_get_robust_list SYS_set_tid_address SYS_rseq
    SYS_getpid SYS_gettid SYS_getppid SYS_getpgid SYS_getsid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getgroups
    SYS_prctl SYS_capget SYS_getrlimit SYS_setrlimit SYS_prlimit64 SYS_getrusage SYS_getpriority SYS_setpriority
    SYS_sched_setscheduler SYS_sched_getscheduler SYS_sched_getparam SYS_sched_getaffinity SYS_getcpu
    SYS_sched_get_priority_min SYS_sched_get_priority_max
};

/// What time it is, what machine this is, and chance.
const FACTS: &[Call] = &calls! {
    SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_times SYS_uname SYS_sysinfo SYS_getrandom
};

/// All of them.
pub fn allowed() -> impl Iterator<Item = Call> {
    [OLD, FILES, MARKS, MOUNTS, SOCKETS, WAITING, MEMORY, PROCESSES, FACTS].into_iter().flatten().copied()
}

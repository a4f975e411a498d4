/* older VERSION PROGRAM ARGUMENT...: executes the program on a kernel that knows no system call, flag or option that came
 * after that version, with the answers that such a kernel gives. 4.18-el8 is RHEL 8's, which took some over from later
 * ones, and -bare is built without what may be left out. What /proc shows and what a pointer leads to stays this kernel's. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define V(major, minor) ((major) * 1000 + (minor))
/* RHEL 8 has it in its 4.18. */
#define EL8 1

/* Which of a call's arguments tells, and how: all of it is new, some bits of an argument are, or one value is. */
enum test { CALL, BITS, VALUE };

static const struct row {
    int call, since, taken_over;
    enum test test;
    int argument;
    unsigned value;
    int answer;
} rows[] = {
    {SYS_sched_setattr, V(3, 14), 0, CALL, 0, 0, ENOSYS},
    {SYS_renameat2, V(3, 15), 0, CALL, 0, 0, ENOSYS},
    {SYS_fcntl, V(3, 15), 0, VALUE, 1, 37 /* F_OFD_SETLK */, EINVAL},
    {SYS_seccomp, V(3, 17), 0, CALL, 0, 0, ENOSYS},
    {SYS_getrandom, V(3, 17), 0, CALL, 0, 0, ENOSYS},
    {SYS_memfd_create, V(3, 17), 0, CALL, 0, 0, ENOSYS},
    {SYS_execveat, V(3, 19), 0, CALL, 0, 0, ENOSYS},
    {SYS_membarrier, V(4, 3), 0, CALL, 0, 0, ENOSYS},
    {SYS_prctl, V(4, 3), 0, VALUE, 0, 47 /* PR_CAP_AMBIENT */, EINVAL},
    {SYS_copy_file_range, V(4, 5), 0, CALL, 0, 0, ENOSYS},
    {SYS_statx, V(4, 11), 0, CALL, 0, 0, ENOSYS},
    {SYS_getsockopt, V(4, 12), 0, VALUE, 2, 55 /* SO_MEMINFO */, ENOPROTOOPT},
    {SYS_seccomp, V(4, 17), 0, BITS, 1, 4 /* SECCOMP_FILTER_FLAG_SPEC_ALLOW */, EINVAL},
    {SYS_rseq, V(4, 18), 0, CALL, 0, 0, ENOSYS},
    {SYS_fanotify_mark, V(4, 20), 0, BITS, 1, 0x100 /* FAN_MARK_FILESYSTEM */, EINVAL},
    {SYS_fanotify_mark, V(5, 0), EL8, BITS, 2, 0x1000 /* FAN_OPEN_EXEC */, EINVAL},
    {SYS_pidfd_send_signal, V(5, 1), 0, CALL, 0, 0, ENOSYS},
    {SYS_pidfd_open, V(5, 3), 0, CALL, 0, 0, ENOSYS},
    {SYS_clone3, V(5, 3), 0, CALL, 0, 0, ENOSYS},
    {SYS_waitid, V(5, 4), 0, VALUE, 0, 3 /* P_PIDFD */, EINVAL},
    {SYS_openat2, V(5, 6), 0, CALL, 0, 0, ENOSYS},
    {SYS_faccessat2, V(5, 8), 0, CALL, 0, 0, ENOSYS},
    {SYS_close_range, V(5, 9), 0, CALL, 0, 0, ENOSYS},
    {441 /* epoll_pwait2 */, V(5, 11), 0, CALL, 0, 0, ENOSYS},
    {SYS_fanotify_mark, V(5, 19), 0, BITS, 1, 0x200 /* FAN_MARK_EVICTABLE */, EINVAL},
    {SYS_fanotify_mark, V(6, 0), 0, BITS, 1, 0x400 /* FAN_MARK_IGNORE */, EINVAL},
    {SYS_memfd_create, V(6, 3), 0, BITS, 1, 0x18 /* MFD_NOEXEC_SEAL, MFD_EXEC */, EINVAL},
    {452 /* fchmodat2 */, V(6, 6), 0, CALL, 0, 0, ENOSYS},
    /* The connector: a request with an event mask, 44 bytes, is not heard, and that is not said. */
    {SYS_sendto, V(6, 6), 0, VALUE, 2, 44, 0},
    {457 /* statmount */, V(6, 8), 0, CALL, 0, 0, ENOSYS},
    {458 /* listmount */, V(6, 8), 0, CALL, 0, 0, ENOSYS},
    {SYS_ioctl, V(6, 11), 0, VALUE, 1, 0x8008b705 /* NS_GET_MNTNS_ID */, ENOTTY},
    {SYS_fanotify_init, V(6, 13), 0, BITS, 0, 0x2000 /* FAN_REPORT_FD_ERROR */, EINVAL},
};
#define ROWS (sizeof rows / sizeof *rows)

/* A socket of taskstats' protocol, for which the watcher has no other use. */
static const struct row without_taskstats = {SYS_socket, 0, 0, VALUE, 2, 16 /* NETLINK_GENERIC */, EPROTONOSUPPORT};

static struct sock_filter code[4 + (ROWS + 1) * 5];
static unsigned short length;

static void emit(unsigned short operation, unsigned value, unsigned char yes, unsigned char no) {
    code[length++] = (struct sock_filter){operation, yes, no, value};
}

static void refuse(const struct row *row) {
    size_t argument = offsetof(struct seccomp_data, args) + row->argument * sizeof(__u64);
    emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    emit(BPF_JMP | BPF_JEQ | BPF_K, row->call, 0, row->test == CALL ? 1 : 3);
    if (row->test != CALL) {
        /* The lower half, on a little-endian machine. */
        emit(BPF_LD | BPF_W | BPF_ABS, argument, 0, 0);
        emit(BPF_JMP | (row->test == BITS ? BPF_JSET : BPF_JEQ) | BPF_K, row->value, 0, 1);
    }
    emit(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | row->answer, 0, 0);
}

int main(int argc, char **argv) {
    int major, minor;
    if (argc < 3 || sscanf(argv[1], "%d.%d", &major, &minor) != 2) {
        fprintf(stderr, "usage: older VERSION PROGRAM ARGUMENT...\n");
        return 64;
    }
    int el8 = strstr(argv[1], "-el8") != 0;
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].since > V(major, minor) && !(el8 && rows[i].taken_over))
            refuse(&rows[i]);
    if (strstr(argv[1], "-bare") != 0)
        refuse(&without_taskstats);
    emit(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    struct sock_fprog program = {length, code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) != 0) {
        perror("seccomp");
        return 1;
    }
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 1;
}

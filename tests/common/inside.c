/* What somebody in a container does to compile unseen, one act a command. Static, so that it runs in any container.
 *   inside ACT [ARGUMENTS] [-- PROGRAM ARGUMENTS]
 * Acts are done in order; what follows -- is executed at the end. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char content[1 << 20] __attribute__((aligned(4096)));
static size_t size;

static void check(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "inside: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void load(const char *path) {
    int fd = open(path, O_RDONLY);
    check(fd >= 0, path);
    ssize_t got = read(fd, content, sizeof content);
    check(got > 0, path);
    size = (size_t)got;
    close(fd);
}

static void put(const char *path) {
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0755);
    check(fd >= 0, path);
    check(write(fd, content, size) == (ssize_t)size, path);
    close(fd);
}

static void by_aio(int fd) {
    aio_context_t context = 0;
    check(syscall(SYS_io_setup, 1, &context) == 0, "io_setup");
    struct iocb block = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)fd, .aio_buf = (uint64_t)(uintptr_t)content, .aio_nbytes = size};
    struct iocb *list[] = {&block};
    check(syscall(SYS_io_submit, context, 1, list) == 1, "io_submit");
    struct io_event done;
    check(syscall(SYS_io_getevents, context, 1, 1, &done, 0) == 1 && (size_t)done.res == size, "io_getevents");
    syscall(SYS_io_destroy, context);
}

static int ring;
static uint8_t *submissions;
static struct io_uring_sqe *entries;
static struct io_uring_params parameters;

static void open_ring(void) {
    ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);
    check(ring >= 0, "io_uring_setup");
    size_t all = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
    submissions = mmap(0, all, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    entries = mmap(0, parameters.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    check(submissions != MAP_FAILED && (void *)entries != MAP_FAILED, "map the ring");
}

/* As much as was loaded, by the ring's one submission. */
static void submit(int operation, int fd, void *at) {
    memset(entries, 0, sizeof *entries);
    entries[0].opcode = (uint8_t)operation;
    entries[0].fd = fd;
    entries[0].addr = (uint64_t)(uintptr_t)at;
    entries[0].len = (uint32_t)size;
    ((uint32_t *)(submissions + parameters.sq_off.array))[0] = 0;
    __atomic_store_n((uint32_t *)(submissions + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
    check(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) == 1, "io_uring_enter");
    close(ring);
}

static void by_io_uring(int fd) {
    open_ring();
    submit(IORING_OP_WRITE, fd, content);
}

static void by_splice(int fd) {
    int ends[2];
    check(pipe(ends) == 0, "pipe");
    for (size_t done = 0; done < size;) {
        size_t part = size - done > 4096 ? 4096 : size - done;
        check(write(ends[1], content + done, part) == (ssize_t)part, "write to the pipe");
        check(splice(ends[0], 0, fd, 0, part, 0) == (ssize_t)part, "splice");
        done += part;
    }
}

static char *map(int fd) {
    char *at = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check(at != MAP_FAILED, "mmap");
    return at;
}

static char *mapped;

/* Keeps a shared mapping of a file that is closed again. */
static void keep_mapped(const char *path) {
    int fd = open(path, O_RDWR);
    struct stat status;
    check(fd >= 0 && fstat(fd, &status) == 0, path);
    check(status.st_size >= (off_t)size || ftruncate(fd, (off_t)size) == 0, path);
    mapped = map(fd);
    close(fd);
}

/* Keeps the pages of a file in memory as a registered buffer, and neither a descriptor nor a mapping of it. */
static void keep_pinned(const char *path) {
    keep_mapped(path);
    open_ring();
    struct iovec pages = {mapped, size};
    check(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &pages, 1) == 0, "register the pages");
    /* Their addresses stay taken. */
    check(mmap(mapped, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mapped, "unmap");
}

/* Reads what was loaded into them. */
static void fill_pinned(void) {
    int fd = (int)syscall(SYS_memfd_create, "content", 0);
    check(fd >= 0 && write(fd, content, size) == (ssize_t)size, "memfd");
    submit(IORING_OP_READ_FIXED, fd, mapped);
}

static int faults;
static char *late;
static pthread_t filler;

static void *fill(void *unused) {
    (void)unused;
    struct iovec from = {late, size}, to = {mapped, size};
    check(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == (ssize_t)size, "process_vm_writev");
    return 0;
}

/* Keeps the pages of a file, and neither a descriptor nor a mapping of it, by a copy into them whose source is not there
 * yet. */
static void keep_pinned_for_a_copy(const char *path) {
    keep_mapped(path);
    for (size_t page = 0; page < size; page += 4096) *(volatile char *)(mapped + page) = *(volatile char *)(mapped + page);
    faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    check(faults >= 0, "userfaultfd");
    struct uffdio_api api = {.api = UFFD_API};
    check(ioctl(faults, UFFDIO_API, &api) == 0, "UFFDIO_API");
    late = mmap(0, sizeof content, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register all = {.range = {(uintptr_t)late, sizeof content}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    check(late != MAP_FAILED && ioctl(faults, UFFDIO_REGISTER, &all) == 0, "UFFDIO_REGISTER");
    check(pthread_create(&filler, 0, fill, 0) == 0, "pthread_create");
    struct uffd_msg fault;
    check(read(faults, &fault, sizeof fault) == sizeof fault, "await the copy");
    check(mmap(mapped, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mapped, "unmap");
}

/* Lets the copy go on with what was loaded. */
static void go_on(void) {
    struct uffdio_copy copy = {.dst = (uintptr_t)late, .src = (uintptr_t)content, .len = sizeof content};
    check(ioctl(faults, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
    check(pthread_join(filler, 0) == 0, "pthread_join");
}

/* Makes a file so long that it takes a while to be read. */
static void lengthen(const char *path) {
    static char zeros[1 << 20];
    int fd = open(path, O_WRONLY | O_APPEND);
    check(fd >= 0, path);
    for (int n = 0; n < 64; n++) check(write(fd, zeros, sizeof zeros) == sizeof zeros, path);
    close(fd);
}

/* Executes a program, waits for it, and then for as long as its first pages take to be read. */
static void execute(const char *path) {
    pid_t pid = fork();
    if (pid == 0) {
        execl(path, path, (char *)0);
        _exit(1);
    }
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    check(pid > 0 && waitpid(pid, 0, 0) == pid, path);
    nanosleep(&pause, 0);
}

/* Writes what was loaded over a file, which keeps its inode. */
static void overwrite(const char *how, const char *path) {
    int fd = open(path, O_RDWR);
    check(fd >= 0, path);
    check(ftruncate(fd, (off_t)size) == 0, "ftruncate");
    if (!strcmp(how, "write")) check(pwrite(fd, content, size, 0) == (ssize_t)size, "write");
    else if (!strcmp(how, "aio")) by_aio(fd);
    else if (!strcmp(how, "io_uring")) by_io_uring(fd);
    else if (!strcmp(how, "splice")) by_splice(fd);
    else if (!strcmp(how, "mapping")) {
        char *at = map(fd);
        memcpy(at, content, size);
        munmap(at, size);
    } else check(0, how);
    close(fd);
}

/* In a user namespace of its own, as the user that it is. */
static void map_ids(uid_t user, gid_t group) {
    char line[64];
    struct { const char *file; unsigned id; } maps[] = {{"/proc/self/setgroups", 0}, {"/proc/self/uid_map", user}, {"/proc/self/gid_map", group}};
    for (int n = 0; n < 3; n++) {
        int fd = open(maps[n].file, O_WRONLY);
        check(fd >= 0, maps[n].file);
        snprintf(line, sizeof line, n ? "0 %u 1" : "deny", maps[n].id);
        check(write(fd, line, strlen(line)) > 0, maps[n].file);
        close(fd);
    }
}

static int run(char **arguments) {
    pid_t pid = fork();
    if (pid == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
}

int main(int argc, char **argv) {
    int at = 1;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        const char *act = argv[at];
        const char *first = at + 1 < argc ? argv[at + 1] : "";
        const char *second = at + 2 < argc ? argv[at + 2] : "";
        if (!strcmp(act, "load")) load(first), at++;
        else if (!strcmp(act, "put")) put(first), at++;
        else if (!strcmp(act, "tmpfs")) {
            mkdir(first, 0755);
            check(mount("none", first, "tmpfs", 0, 0) == 0, "mount a tmpfs"), at++;
        } else if (!strcmp(act, "overlay")) {
            char options[4096];
            snprintf(options, sizeof options, "lowerdir=%s:/usr", first);
            check(mount("none", second, "overlay", 0, options) == 0, "mount an overlay"), at += 2;
        } else if (!strcmp(act, "writable")) {
            /* An overlay of three directories in one, lower, upper and work. */
            char options[4096];
            snprintf(options, sizeof options, "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", first, first, first);
            check(mount("none", second, "overlay", 0, options) == 0, "mount an overlay"), at += 2;
        } else if (!strcmp(act, "umount")) check(umount(first) == 0, first), at++;
        else if (!strcmp(act, "unshare")) {
            uid_t user = getuid();
            gid_t group = getgid();
            check(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0, "unshare");
            map_ids(user, group);
        }
        else if (!strcmp(act, "unshare-mounts")) {
            check(unshare(CLONE_NEWNS) == 0, "unshare");
            check(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0, "keep the mounts to ourselves");
        } else if (!strcmp(act, "stay")) {
            /* A child goes on here, and who called it leaves for a mount namespace of its own. */
            int there[2], status;
            char byte = 0;
            check(pipe(there) == 0, "pipe");
            pid_t pid = fork();
            if (pid > 0) {
                check(unshare(CLONE_NEWNS) == 0 && write(there[1], &byte, 1) == 1, "unshare");
                waitpid(pid, &status, 0);
                return WEXITSTATUS(status);
            }
            check(read(there[0], &byte, 1) == 1, "wait for the other to leave");
        } else if (!strcmp(act, "chroot")) check(chroot(first) == 0 && chdir("/") == 0, first), at++;
        else if (!strcmp(act, "overwrite")) overwrite(first, second), at += 2;
        else if (!strcmp(act, "map")) keep_mapped(first), at++;
        else if (!strcmp(act, "pin")) keep_pinned(first), at++;
        else if (!strcmp(act, "fill")) fill_pinned();
        else if (!strcmp(act, "lengthen")) lengthen(first), at++;
        else if (!strcmp(act, "execute")) execute(first), at++;
        else if (!strcmp(act, "pin-for-copy")) keep_pinned_for_a_copy(first), at++;
        else if (!strcmp(act, "go-on")) go_on();
        else if (!strcmp(act, "mkdir")) check(mkdir(first, 0755) == 0, first), at++;
        else if (!strcmp(act, "touch"))
            for (size_t page = 0; page < size; page += 4096) *(volatile char *)(mapped + page) = *(volatile char *)(mapped + page);
        else if (!strcmp(act, "store")) memcpy(mapped, content, size);
        else if (!strcmp(act, "rename")) check(rename(first, second) == 0, first), at += 2;
        else if (!strcmp(act, "link")) check(link(first, second) == 0, first), at += 2;
        else if (!strcmp(act, "every")) {
            /* All programs of a directory, one after another. */
            DIR *all = opendir(first);
            check(all != 0 && chdir(first) == 0, first);
            for (struct dirent *entry; (entry = readdir(all));) {
                char *arguments[] = {entry->d_name, 0};
                if (entry->d_type == DT_REG) run(arguments);
            }
            closedir(all), at++;
        }
        else if (!strcmp(act, "chmod")) check(chmod(first, 0700) == 0, first), at++;
        else if (!strcmp(act, "attempt") || !strcmp(act, "ask")) {
            /* What cannot be executed, or whether it could be (AT_EXECVE_CHECK, Linux 6.14), 24 times, by a process that
             * never executed anything. */
            int flags = strcmp(act, "ask") ? 0 : 0x10000;
            pid_t pid = fork();
            for (int n = 0; pid == 0 && n < 24; n++) {
                struct timespec pause = {.tv_nsec = 130 * 1000 * 1000};
                nanosleep(&pause, 0);
                char *arguments[] = {argv[at + 1], "-c", "a.c", 0};
                syscall(SYS_execveat, AT_FDCWD, first, arguments, environ, flags);
            }
            if (pid == 0) _exit(0);
            waitpid(pid, 0, 0);
            at++;
        }
        else if (!strcmp(act, "open")) check(open(first, O_RDONLY) >= 0, first), at++;
        else if (!strcmp(act, "memfd")) {
            /* Executed as often as the next argument says, and as comm says its name. */
            int fd = (int)syscall(SYS_memfd_create, first, 0);
            check(fd >= 0 && write(fd, content, size) == (ssize_t)size, "memfd");
            char path[32];
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            for (int n = atoi(second); n > 0; n--) {
                char *arguments[] = {path, "a.c", 0};
                run(arguments);
            }
            at += 2;
        } else if (!strcmp(act, "say")) puts(first), fflush(stdout), at++;
        else if (!strcmp(act, "wait")) {
            char byte;
            check(read(0, &byte, 1) == 1, "wait for a byte");
        } else if (!strcmp(act, "unrandom")) check(personality(ADDR_NO_RANDOMIZE) >= 0, "personality");
        else if (!strcmp(act, "become")) {
            /* With these very arguments, so that its stack begins where this one did, if it is not random. */
            argv[0] = argv[at + 1];
            execv(argv[0], argv);
            check(0, argv[0]);
        } else check(0, act);
    }
    if (at + 1 < argc) {
        execv(argv[at + 1], argv + at + 1);
        check(0, argv[at + 1]);
    }
    return 0;
}

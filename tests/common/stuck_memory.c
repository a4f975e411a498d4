/* stuck_memory FILE: makes every read of its /proc/PID/cmdline hang, in two steps. The first is done when FILE's server
 * is asked for a read; a byte on standard input asks for the second, and "stuck" says that it is done. Then it stays
 * until its standard input is closed.
 *
 * FILE lies on a FUSE server that does not answer. Since 4.17 (7f7ccc2ccc2e) the kernel reads arguments from anonymous
 * memory alone, so a mapping of FILE over them hangs nobody. But one thread that reads its own memory through
 * /proc/self/mem, where FILE is mapped, waits for the server with mmap_lock held for reading (access_remote_vm may not
 * drop it); a second one that asks for the lock for writing queues behind it; and from then on each reader of cmdline
 * queues behind that. All kernels from 3.10 on do so. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *mapped;
static int memory, start[2];
static volatile pid_t writer_tid;

static void *reader(void *unused) {
    char byte;
    (void)unused;
    if (pread(memory, &byte, 1, (off_t)(uintptr_t)mapped) < 0)
        return 0;
    return 0;
}

static void *writer(void *unused) {
    char byte;
    (void)unused;
    writer_tid = (pid_t)syscall(SYS_gettid);
    if (read(start[0], &byte, 1) == 1)
        mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return 0;
}

/* Waits until the writer queues for the lock: state D in its stat. */
static void await_blocked(void) {
    char path[64], stat[512] = "";
    for (;;) {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)writer_tid);
        int file = open(path, O_RDONLY);
        ssize_t size = file < 0 ? 0 : read(file, stat, sizeof stat - 1);
        if (file >= 0)
            close(file);
        stat[size > 0 ? size : 0] = 0;
        char *name_end = strrchr(stat, ')');
        if (name_end && strncmp(name_end, ") D", 3) == 0)
            return;
        usleep(1000);
    }
}

int main(int argc, char **argv) {
    pthread_t thread;
    char byte;
    if (argc < 2)
        return 2;
    int file = open(argv[argc - 1], O_RDONLY);
    memory = open("/proc/self/mem", O_RDONLY);
    mapped = mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    if (file < 0 || memory < 0 || mapped == MAP_FAILED || pipe(start) != 0)
        return 3;
    /* Both threads first: a stack for the second could not be mapped once the lock is held. */
    if (pthread_create(&thread, 0, writer, 0) != 0 || pthread_create(&thread, 0, reader, 0) != 0)
        return 4;
    if (read(0, &byte, 1) != 1 || write(start[1], "x", 1) != 1)
        return 5;
    await_blocked();
    if (write(1, "stuck\n", 6) != 6)
        return 6;
    while (read(0, &byte, 1) > 0) {
    }
    _exit(0);
}

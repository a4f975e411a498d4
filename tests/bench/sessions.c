// sessions N PROGRAM GAP_MS: run PROGRAM N times, each in a POSIX session of its own, with the time just before its
// exec (CLOCK_MONOTONIC, ns) as its argument: `t=123456`. So each one opens a build session, and its alert says when.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: sessions N PROGRAM GAP_MS\n");
        return 2;
    }
    int failed = 0;
    long gap_ms = atol(argv[3]);
    for (int i = 0; i < atoi(argv[1]); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char stamp[40];
            struct timespec t;
            char *args[] = {argv[2], stamp, 0};
            setsid();
            clock_gettime(CLOCK_MONOTONIC, &t);
            snprintf(stamp, sizeof stamp, "t=%lld", t.tv_sec * 1000000000LL + t.tv_nsec);
            execve(argv[2], args, environ);
            _exit(127);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        failed += status != 0;
        struct timespec gap = {gap_ms / 1000, gap_ms % 1000 * 1000000};
        nanosleep(&gap, 0);
    }
    return failed != 0;
}

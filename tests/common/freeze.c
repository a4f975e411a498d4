/* freeze TID: holds this one thread of another process until standard input ends. Says "frozen" when it is held. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char byte;
    pid_t thread = argc == 2 ? atoi(argv[1]) : 0;
    if (ptrace(PTRACE_SEIZE, thread, 0, 0) != 0 || ptrace(PTRACE_INTERRUPT, thread, 0, 0) != 0) {
        perror("ptrace");
        return 1;
    }
    if (waitpid(thread, 0, __WALL) != thread) {
        perror("waitpid");
        return 1;
    }
    puts("frozen");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return ptrace(PTRACE_DETACH, thread, 0, 0) != 0;
}

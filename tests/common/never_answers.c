/* never_answers DIRECTORY [FIFO [PROGRAM]]: a FUSE server with one file, DIRECTORY/file of 16 MiB, whose reads never get an
 * answer. Says "mounted" when the mount stands and "read" when somebody waits for an answer. The mount is the caller's to
 * remove. With a FIFO it mounts when somebody opens that to write, and for a user alone who is not root (no allow_other);
 * with a PROGRAM the file begins with that, whose reads are answered: it can be executed. */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "fuse.h"

#define SIZE (16 << 20)

static char program[8 << 20];
static size_t program_size;

static void answer(const struct fuse_in_header *in, const void *body) {
    switch (in->opcode) {
    case FUSE_INIT:
        answer_init(in, body, 0);
        break;
    case FUSE_LOOKUP: {
        struct fuse_entry_out out = {.nodeid = 2, .entry_valid = 1000, .attr_valid = 1000, .attr = attributes_of(2, SIZE)};
        if (strcmp(body, "file") == 0)
            reply(in, 0, &out, sizeof out);
        else
            reply(in, ENOENT, 0, 0);
        break;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr_valid = 1000, .attr = attributes_of(in->nodeid, SIZE)};
        reply(in, 0, &out, sizeof out);
        break;
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        struct fuse_open_out out = {.fh = in->nodeid};
        reply(in, 0, &out, sizeof out);
        break;
    }
    case FUSE_READ: {
        const struct fuse_read_in *asked = body;
        if (asked->offset < program_size && asked->size <= sizeof program - asked->offset)
            reply(in, 0, program + asked->offset, asked->size);
        else
            puts("read");
        break;
    }
    default:
        answer_rest(in);
    }
}

int main(int argc, char **argv) {
    static _Alignas(struct fuse_in_header) char buffer[1 << 20];
    char options[128];
    if (argc < 2 || argc > 4)
        return 2;
    setvbuf(stdout, 0, _IOLBF, 0);
    if (argc == 4) {
        int file = open(argv[3], O_RDONLY | O_CLOEXEC);
        ssize_t size = file < 0 ? -1 : read(file, program, sizeof program / 2);
        if (size < 0) {
            perror(argv[3]);
            return 1;
        }
        program_size = (size_t)size;
    }
    if (argc > 2 && *argv[2] && open(argv[2], O_RDONLY | O_CLOEXEC) < 0) {
        perror(argv[2]);
        return 1;
    }
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        perror("/dev/fuse");
        return 1;
    }
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,%s", device,
             argc > 2 && *argv[2] ? "user_id=1000,group_id=1000" : "user_id=0,group_id=0,allow_other");
    if (mount("never_answers", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
        perror("mount");
        return 1;
    }
    puts("mounted");
    for (;;) {
        ssize_t size = read(device, buffer, sizeof buffer);
        if (size < 0 && (errno == EINTR || errno == ENOENT))
            continue;
        if (size < (ssize_t)sizeof(struct fuse_in_header))
            return 0; /* unmounted */
        answer((struct fuse_in_header *)buffer, buffer + sizeof(struct fuse_in_header));
    }
}

/* far DIRECTORY FILE [strict]: a FUSE server that shows FILE as every name of five letters or less in DIRECTORY, for all
 * users. After 'h' on its standard input it holds each open, read and question for a name or attributes of a process that runs ccwatch,
 * says "held", and answers it after 'r'; after 'c' it does so with each close. Ends at the input's end. Strict, it is asked
 * for names and attributes at each access. Says "mounted" when the mount stands, which is the caller's to remove. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>

#include "fuse.h"

static int file, holds, holds_closes;
static unsigned valid = 1000;
static struct stat status;
static struct fuse_in_header held[64];
static struct fuse_read_in held_reads[64];
static char held_names[64][8];
static int held_count;

static struct fuse_attr attributes(uint64_t node) {
    struct fuse_attr a = attributes_of(node, (uint64_t)status.st_size);
    a.mtime = a.ctime = (uint64_t)status.st_mtime;
    return a;
}

/* Whether the process runs ccwatch, under whatever name. */
static int is_watcher(unsigned pid) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/%u/exe", pid);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    const char *name = strrchr(path, '/');
    return name && strcmp(name, "/ccwatch") == 0;
}

static void answer_open(const struct fuse_in_header *in) {
    struct fuse_open_out out = {.fh = in->nodeid, .open_flags = FOPEN_KEEP_CACHE};
    reply(in, 0, &out, sizeof out);
}

static void answer_attributes(const struct fuse_in_header *in) {
    struct fuse_attr_out out = {.attr_valid = valid, .attr = attributes(in->nodeid)};
    reply(in, 0, &out, sizeof out);
}

static void answer_read(const struct fuse_in_header *in, const struct fuse_read_in *asked) {
    static char content[1 << 17];
    size_t size = asked->size < sizeof content ? asked->size : sizeof content;
    ssize_t got = pread(file, content, size, (off_t)asked->offset);
    reply(in, got < 0 ? EIO : 0, content, got < 0 ? 0 : (size_t)got);
}

static void answer_name(const struct fuse_in_header *in, const char *name) {
    uint64_t node = 2;
    for (const char *c = name; *c; c++)
        node = node * 31 + (unsigned char)*c;
    struct fuse_entry_out out = {.nodeid = node, .entry_valid = valid, .attr_valid = valid, .attr = attributes(node)};
    if (strlen(name) <= 5)
        reply(in, 0, &out, sizeof out);
    else
        reply(in, ENOENT, 0, 0);
}

static int hold(const struct fuse_in_header *in, const void *body) {
    if (!(in->opcode == FUSE_FLUSH ? holds_closes : holds) || held_count == 64 || !is_watcher(in->pid))
        return 0;
    held[held_count] = *in;
    if (in->opcode == FUSE_READ)
        held_reads[held_count] = *(const struct fuse_read_in *)body;
    if (in->opcode == FUSE_LOOKUP)
        snprintf(held_names[held_count], sizeof held_names[0], "%.6s", (const char *)body);
    held_count++;
    puts("held");
    return 1;
}

static void release(void) {
    for (int n = 0; n < held_count; n++) {
        if (held[n].opcode == FUSE_READ)
            answer_read(&held[n], &held_reads[n]);
        else if (held[n].opcode == FUSE_GETATTR)
            answer_attributes(&held[n]);
        else if (held[n].opcode == FUSE_LOOKUP)
            answer_name(&held[n], held_names[n]);
        else if (held[n].opcode == FUSE_FLUSH)
            answer_rest(&held[n]);
        else
            answer_open(&held[n]);
    }
    holds = holds_closes = held_count = 0;
}

static void answer(const struct fuse_in_header *in, const void *body) {
    switch (in->opcode) {
    case FUSE_INIT:
        answer_init(in, body, ((const struct fuse_init_in *)body)->max_readahead);
        break;
    case FUSE_LOOKUP:
        if (!hold(in, body))
            answer_name(in, body);
        break;
    case FUSE_GETATTR:
        if (!hold(in, body))
            answer_attributes(in);
        break;
    case FUSE_OPEN:
        if (!hold(in, body))
            answer_open(in);
        break;
    case FUSE_OPENDIR:
        answer_open(in);
        break;
    /* An overlay asks for the longest name. */
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = 4096, .namelen = 255}};
        reply(in, 0, &out, sizeof out);
        break;
    }
    case FUSE_READ:
        if (!hold(in, body))
            answer_read(in, body);
        break;
    case FUSE_FLUSH:
        if (!hold(in, body))
            answer_rest(in);
        break;
    default:
        answer_rest(in);
    }
}

int main(int argc, char **argv) {
    static _Alignas(struct fuse_in_header) char buffer[1 << 20];
    char options[128];
    if (argc != 3 && argc != 4)
        return 2;
    if (argc == 4)
        valid = 0;
    setvbuf(stdout, 0, _IOLBF, 0);
    file = open(argv[2], O_RDONLY | O_CLOEXEC);
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (file < 0 || device < 0 || fstat(file, &status) != 0) {
        perror("open");
        return 1;
    }
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other%s", device,
             valid ? "" : ",default_permissions");
    if (mount("far", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
        perror("mount");
        return 1;
    }
    puts("mounted");
    for (;;) {
        struct pollfd fds[2] = {{.fd = device, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents) {
            char order;
            if (read(0, &order, 1) != 1)
                return 0;
            if (order == 'h')
                holds = 1;
            if (order == 'c')
                holds_closes = 1;
            if (order == 'r')
                release();
            puts(order == 'r' ? "released" : "holding");
        }
        if (!fds[0].revents)
            continue;
        ssize_t size = read(device, buffer, sizeof buffer);
        if (size < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
            continue;
        if (size < (ssize_t)sizeof(struct fuse_in_header))
            return 0; /* unmounted */
        answer((struct fuse_in_header *)buffer, buffer + sizeof(struct fuse_in_header));
    }
}

/* What each FUSE server of the tests has in common: the kernel's protocol as linux/fuse.h has it, so no library is needed. */
#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int device;

static void reply(const struct fuse_in_header *to, int error, const void *body, size_t size) {
    struct fuse_out_header head = {.len = (unsigned)(sizeof head + size), .error = -error, .unique = to->unique};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, size}};
    if (writev(device, parts, size ? 2 : 1) < 0 && errno != ENOENT)
        perror("reply");
}

static void answer_init(const struct fuse_in_header *in, const struct fuse_init_in *asked, unsigned max_readahead) {
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = asked->minor, .max_write = 4096};
    out.max_readahead = max_readahead;
    if (out.minor > FUSE_KERNEL_MINOR_VERSION)
        out.minor = FUSE_KERNEL_MINOR_VERSION;
    /* Before 7.23 the answer was shorter: fuse_init_out ended after max_write. */
    reply(in, 0, &out, out.minor < 23 ? FUSE_COMPAT_22_INIT_OUT_SIZE : sizeof out);
}

/* The root directory, or a file of this size that can be executed. */
static struct fuse_attr attributes_of(uint64_t node, uint64_t size) {
    struct fuse_attr a = {.ino = node, .nlink = 1, .blksize = 4096};
    a.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0755;
    a.size = node == FUSE_ROOT_ID ? 0 : size;
    return a;
}

/* What is answered alike, or not at all, whatever is shown. */
static void answer_rest(const struct fuse_in_header *in) {
    switch (in->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
        reply(in, 0, 0, 0);
        break;
    default:
        reply(in, ENOSYS, 0, 0);
    }
}

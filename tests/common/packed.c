/* What a packed compiler looks like: a packer's mark at the beginning of the file, or, where NOISE names a file, that one's
 * bytes among the code; and another program's bytes in memory that no file tells of. `packed FILE` takes FILE's, and stays
 * until its standard input is closed. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef NOISE
__asm__(".text\n.incbin \"" NOISE "\"\n");
#else
/* A note lies in the first page, as the mark of UPX does. */
__asm__(".section .note.packer,\"a\",@note\n.align 4\n.long 4,4,1\n.ascii \"UPX!UPX!\"\n.previous");
#endif

int main(int count, char **words) {
    struct stat state;
    int file = count > 1 ? open(words[1], O_RDONLY) : -1;
    if (file < 0 || fstat(file, &state) < 0)
        return 1;
    char *memory = mmap(0, state.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    for (ssize_t got, at = 0; (got = read(file, memory + at, state.st_size - at)) > 0;)
        at += got;
    char byte;
    if (write(1, "ready\n", 6) != 6)
        return 1;
    while (read(0, &byte, 1) > 0) {
    }
    return 0;
}

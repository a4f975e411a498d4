/* Does what a compiler does as far as its content says, and lives for MS milliseconds; without a C library, so that it
 * lives no longer. */
struct timespec { long seconds, nanoseconds; };

__attribute__((used)) static const char marks[] =
    "library '%s' not found\0pointer type mismatch in comparison(\0asm constraint %d ('%s') could not be satisfied\0"
    "static storage ignored for redefinition of '%s'\0macro '%s' used with too few args\0* %d idents, %d lines, %d bytes\0"
    "'%c' modifier can only be applied to outputs\0zero width for bit-field '%s'\0tcc version 0.9.27\0";

static long call(long number, const void *first, const void *second) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
    return result;
}

void _start(void) {
    struct timespec time = {MS / 1000, MS % 1000 * 1000000L};
    if (MS) call(35, &time, 0);
    call(60, 0, 0);
}

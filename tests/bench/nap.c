// nap [forever]: lives 5 ms. Under a compiler's name it stands for the quickest compilers there are, without their work.
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec t = {0, 5000000};
    return argc > 1 && argv[1][0] == 'f' ? pause() : nanosleep(&t, 0);
}

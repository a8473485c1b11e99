// The floods of `make flood`: what an attacker does who wants a sensor to fall over or to look away.
// usage: flood opens COUNT DIRECTORY    opens files below DIRECTORY under long random names, most of which are not there
//        flood forks SECONDS            forks as fast as it can, each child too, within the limits that the caller has set
//        flood canary DIRECTORY COUNT MICROSECONDS   opens DIRECTORY/palisade-flood-canary-N, one by one
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// xorshift64*, so that a run can be repeated.
static uint64_t next(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;

    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

// Components of up to 200 characters, up to PATH_MAX in all; one name in sixteen is short and made.
static int opens(long count, const char *directory)
{
    char path[PATH_MAX];

    for (long i = 0; i < count; i++) {
        size_t length = (size_t)snprintf(path, sizeof(path), "%s", directory);
        int flags = O_RDONLY;

        if (next() % 16 == 0) {
            length += (size_t)snprintf(path + length, sizeof(path) - length, "/made-%lu", next() % 512);
            flags = O_RDWR | O_CREAT;
        } else {
            size_t wanted = 64 + next() % (sizeof(path) - 64 - 1);

            while (length + 2 < wanted) {
                size_t component = 1 + next() % 200;

                path[length++] = '/';
                while (component-- && length + 1 < wanted)
                    path[length++] = (char)('a' + next() % 26);
            }
        }
        path[length] = '\0';
        int fd = open(path, flags, 0600);
        if (fd >= 0)
            close(fd);
        else if (errno != ENOENT && errno != ENAMETOOLONG && errno != ENOTDIR) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

static int forks(long seconds)
{
    time_t end = time(NULL) + seconds;

    signal(SIGCHLD, SIG_IGN);
    while (time(NULL) < end) {
        pid_t child = fork();

        if (child < 0)
            usleep(100);
        else if (child == 0 && next() % 2)
            _exit(0); // makes room for the next, or the bomb would stand still at the limit
    }
    return 0;
}

static int canary(const char *directory, long count, useconds_t pause)
{
    char path[PATH_MAX];

    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/palisade-flood-canary-%ld", directory, i);
        int fd = open(path, O_RDONLY);
        if (fd >= 0)
            close(fd);
        usleep(pause);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "opens"))
        return opens(atol(argv[2]), argv[3]);
    if (argc == 3 && !strcmp(argv[1], "forks"))
        return forks(atol(argv[2]));
    if (argc == 5 && !strcmp(argv[1], "canary"))
        return canary(argv[2], atol(argv[3]), (useconds_t)atol(argv[4]));
    fprintf(stderr, "usage: flood opens COUNT DIRECTORY | forks SECONDS | canary DIRECTORY COUNT MICROSECONDS\n");
    return 2;
}

// The loops of `make bench`: what a sensor costs the programs that it watches.
// usage: loops getpid|open|exec COUNT [PROGRAM]   prints nanoseconds of CPU time a round
//        loops rss 1 PROGRAM [ARGUMENTS]           prints the program's peak memory in MiB
//        loops flood RATE SECONDS FILE             opens and closes FILE that often a second; prints how often it was
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double cpu_seconds(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run_program(const char *path)
{
    pid_t child = vfork();

    if (child == 0) {
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
}

static int peak_memory(char **command)
{
    struct rusage usage;
    pid_t child = fork();

    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execvp(command[0], command);
        _exit(127);
    }
    waitpid(child, NULL, 0);
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("%ld\n", usage.ru_maxrss / 1024);
    return 0;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

// Opens in bursts of a millisecond. A burst that came late is made up for.
static int flood(double rate, double seconds, const char *path)
{
    const struct timespec millisecond = {.tv_nsec = 1000000};
    double start = now();
    long done = 0;

    for (double passed = 0; passed < seconds; passed = now() - start) {
        for (long due = passed * rate; done < due; done++)
            close(open(path, O_RDONLY));
        nanosleep(&millisecond, NULL);
    }
    printf("%ld %.3f\n", done, now() - start);
    return 0;
}

int main(int argc, char **argv)
{
    int needs_program = argc > 1 && (!strcmp(argv[1], "exec") || !strcmp(argv[1], "rss"));

    if (argc < 3 + needs_program) {
        fprintf(stderr, "usage: loops getpid|open|exec COUNT [PROGRAM] | loops rss 1 PROGRAM …\n");
        return 2;
    }
    if (argc == 5 && !strcmp(argv[1], "flood"))
        return flood(atof(argv[2]), atof(argv[3]), argv[4]);
    if (!strcmp(argv[1], "rss"))
        return peak_memory(argv + 3);
    long count = atol(argv[2]);
    double before = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);

    for (long i = 0; i < count; i++) {
        if (!strcmp(argv[1], "getpid"))
            syscall(SYS_getpid);
        else if (!strcmp(argv[1], "open"))
            close(open("/etc/hostname", O_RDONLY));
        else
            run_program(argv[3]);
    }
    double after = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);
    printf("%.1f\n", (after - before) * 1e9 / (count ? count : 1));
    return 0;
}

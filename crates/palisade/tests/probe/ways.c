// What ways out of a container need that a shell cannot do.
//
//     ways enter COMMAND…    runs it as root of a user namespace of its own, with mount and cgroup
//                            namespaces: what CVE-2022-0492 begins with
//     ways ask SOCKET http   connects, asks, and ends with 0 if something answers; `grpc` speaks
//     ways ask SOCKET grpc   HTTP/2, as containerd does
//     ways regain            ends with 0 if it is root or has a capability
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t n = write(file, text, strlen(text));
    close(file);
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

static int enter(char **command) {
    char map[64];
    unsigned uid = getuid(), gid = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) < 0) return fail("unshare");
    if (put("/proc/self/setgroups", "deny") < 0) return fail("setgroups");
    snprintf(map, sizeof map, "0 %u 1", uid);
    if (put("/proc/self/uid_map", map) < 0) return fail("uid_map");
    snprintf(map, sizeof map, "0 %u 1", gid);
    if (put("/proc/self/gid_map", map) < 0) return fail("gid_map");
    execv(command[0], command);
    return fail(command[0]);
}

// An empty frame of settings follows the words that open HTTP/2.
static const char http[] = "GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n";
static const char grpc[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static int ask(const char *path, int is_grpc) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 20};
    const char *words = is_grpc ? grpc : http;
    size_t length = (is_grpc ? sizeof grpc : sizeof http) - 1;
    char answer[64];
    if (strlen(path) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, path);
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connection < 0) return fail("socket");
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(connection, (void *)&address, sizeof address) < 0) return fail("connect");
    if (write(connection, words, length) != (ssize_t)length) return fail("write");
    ssize_t n = read(connection, answer, sizeof answer);
    if (n < 9) return fail("read");
    // A frame of settings has the type 4; HTTP begins with its name.
    return is_grpc ? answer[3] != 4 : memcmp(answer, "HTTP/1", 6) != 0;
}

static int regain(void) {
    if (geteuid() == 0) return 0;
    char line[256];
    unsigned long long set = 0;
    FILE *status = fopen("/proc/self/status", "re");
    if (!status) return fail("status");
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "CapEff: %llx", &set) == 1) break;
    fclose(status);
    return set == 0;
}

int main(int count, char **words) {
    if (count > 2 && strcmp(words[1], "enter") == 0) return enter(words + 2);
    if (count == 4 && strcmp(words[1], "ask") == 0)
        return ask(words[2], strcmp(words[3], "grpc") == 0);
    if (count == 2 && strcmp(words[1], "regain") == 0) return regain();
    return 2;
}

/*
 * Makes the system calls that the variable DO names, under whatever name and with whatever
 * arguments it was started. Without DO it does nothing, so that a copy of it can stand for any
 * program. Nothing here is checked for success: many calls are meant to be refused.
 *
 * Commands are parted by `;`, words by blanks, a word with blanks or `;` stands in quotes of
 * either kind. The first word is a call or one of the commands of main(). An argument is
 *   12, 0x1f, 0755, O_RDONLY|O_CREAT   a number
 *   $                                  what the last call returned
 *   /path, 'text'                      a text
 *   in:1.2.3.4:80, in6:::1:80, un:/path  a socket address and its length
 *   how:FLAGS:MODE                     an open_how and its length
 *   zeros:N                            the address of N zero bytes
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 32
#define N(name) { #name, name },
#define S(name) { #name, SYS_##name },

struct named {
	const char *name;
	long value;
};

static const struct named constants[] = {
	N(AT_FDCWD) N(AT_EMPTY_PATH) N(AT_REMOVEDIR) N(AT_SYMLINK_FOLLOW)
	N(O_RDONLY) N(O_WRONLY) N(O_RDWR) N(O_CREAT) N(O_TRUNC) N(O_APPEND) N(O_DIRECTORY) N(O_PATH) N(O_CLOEXEC)
	N(AF_INET) N(AF_INET6) N(AF_UNIX) N(AF_PACKET) N(AF_NETLINK) N(AF_VSOCK) N(AF_ALG) N(AF_KEY)
	N(SOCK_STREAM) N(SOCK_DGRAM) N(SOCK_RAW) N(SOCK_NONBLOCK) N(SOCK_SEQPACKET)
	N(CLONE_NEWUSER) N(CLONE_NEWNS) N(CLONE_NEWUTS) N(CLONE_NEWNET) N(CLONE_NEWPID) N(CLONE_NEWIPC)
	N(PTRACE_TRACEME) N(PTRACE_ATTACH) N(PTRACE_SEIZE) N(PTRACE_POKETEXT) N(PTRACE_POKEDATA) N(PTRACE_DETACH)
	N(BPF_MAP_CREATE) N(BPF_PROG_LOAD) N(SIGKILL) N(SIGSTOP) N(SIGTERM) N(PR_SET_NAME)
};

static const struct named calls[] = {
#ifdef SYS_open
	S(open) S(creat) S(symlink) S(link) S(unlink) S(rename) S(mkdir) S(rmdir) S(chmod) S(dup2) S(mknod) S(fork)
#endif
	S(openat) S(openat2) S(symlinkat) S(linkat) S(unlinkat) S(renameat) S(renameat2) S(mkdirat) S(fchmodat) S(fchmod)
	S(fchownat) S(mknodat) S(close) S(read) S(write) S(dup) S(dup3) S(chdir) S(chroot) S(pivot_root) S(getpid)
	S(socket) S(connect) S(bind) S(listen) S(accept4) S(sendto) S(recvfrom)
	S(setuid) S(setgid) S(setresuid) S(setns) S(unshare) S(mount) S(umount2) S(fsopen) S(fsmount) S(move_mount)
	S(open_tree) S(ptrace) S(process_vm_readv) S(process_vm_writev) S(memfd_create) S(userfaultfd) S(bpf) S(kill)
	S(init_module) S(finit_module) S(delete_module) S(kexec_load) S(open_by_handle_at) S(name_to_handle_at)
	S(pidfd_open) S(pidfd_getfd) S(swapon) S(reboot) S(prctl) S(capset) S(utimensat) S(io_uring_setup) S(keyctl)
	S(add_key) S(request_key) S(mprotect) S(truncate) S(perf_event_open) S(clock_settime)
};

static long last;
static pid_t child;

static void wrong(const char *what, const char *word)
{
	fprintf(stderr, "actor: %s: %s\n", what, word);
	_exit(99);
}

#define FIND(table, word) find(table, sizeof(table) / sizeof(*table), word)

static const struct named *find(const struct named *table, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(table[i].name, word))
			return &table[i];
	return NULL;
}

static long number(char *word)
{
	long value = 0;
	char *rest = NULL;
	for (char *part = strtok_r(word, "|", &rest); part; part = strtok_r(NULL, "|", &rest)) {
		const struct named *constant = FIND(constants, part);
		char *end;
		long plain = strtol(part, &end, 0);
		if (!constant && (*end || end == part))
			wrong("no such number", part);
		value |= constant ? constant->value : plain;
	}
	return value;
}

/* Adds an argument, or the two that an address and its length make. */
static int argument(char *word, int quoted, long *out)
{
	if (quoted || *word == '/' || *word == '.') {
		out[0] = (long)word;
		return 1;
	}
	if (!strcmp(word, "$")) {
		out[0] = last;
		return 1;
	}
	if (!strncmp(word, "zeros:", 6)) {
		out[0] = (long)calloc(1, strtoul(word + 6, NULL, 0));
		return 1;
	}
	if (!strncmp(word, "how:", 4)) {
		struct open_how *how = calloc(1, sizeof(*how));
		char *mode = strchr(word + 4, ':');
		if (mode) {
			*mode = 0;
			how->mode = strtoul(mode + 1, NULL, 0);
		}
		how->flags = number(word + 4);
		out[0] = (long)how;
		out[1] = sizeof(*how);
		return 2;
	}
	if (!strncmp(word, "un:", 3)) {
		struct sockaddr_un *address = calloc(1, sizeof(*address));
		address->sun_family = AF_UNIX;
		strncpy(address->sun_path, word + 3, sizeof(address->sun_path) - 1);
		out[0] = (long)address;
		out[1] = sizeof(*address);
		return 2;
	}
	char *port = strrchr(word, ':');
	if (!strncmp(word, "in:", 3) && port) {
		struct sockaddr_in *address = calloc(1, sizeof(*address));
		*port = 0;
		address->sin_family = AF_INET;
		address->sin_port = htons(atoi(port + 1));
		if (inet_pton(AF_INET, word + 3, &address->sin_addr) != 1)
			wrong("no address", word);
		out[0] = (long)address;
		out[1] = sizeof(*address);
		return 2;
	}
	if (!strncmp(word, "in6:", 4) && port) {
		struct sockaddr_in6 *address = calloc(1, sizeof(*address));
		*port = 0;
		address->sin6_family = AF_INET6;
		address->sin6_port = htons(atoi(port + 1));
		if (inet_pton(AF_INET6, word + 4, &address->sin6_addr) != 1)
			wrong("no address", word);
		out[0] = (long)address;
		out[1] = sizeof(*address);
		return 2;
	}
	out[0] = number(word);
	return 1;
}

/* spawn [DO=script] [NAME=value] PROGRAM [ARGUMENT]: and waits for its end. */
static void spawn(char **words)
{
	pid_t pid = fork();
	if (pid == 0) {
		unsetenv("DO");
		while (*words && strchr(*words, '=') && **words != '/') {
			putenv(*words);
			words++;
		}
		execvp(words[0], words);
		_exit(127);
	}
	int status;
	waitpid(pid, &status, 0);
	last = pid;
}

/* become UID [NAME=value] PROGRAM [ARGUMENT]: a user with every capability there is. */
static void become(char **words)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	uid_t uid = strtoul(words[0], NULL, 0);
	prctl(PR_SET_KEEPCAPS, 1);
	if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid) || syscall(SYS_capget, &header, data))
		wrong("become", strerror(errno));
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data))
		wrong("capset", strerror(errno));
	for (int i = 0; i < 64; i++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0);
	unsetenv("DO");
	for (words++; *words && strchr(*words, '=') && **words != '/'; words++)
		putenv(*words);
	execvp(words[0], words);
	wrong("become", words[0]);
}

/* fork: a child that waits for its end, for others to act upon; `reap` ends it. */
static void fork_child(void)
{
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (child < 0)
		wrong("fork", strerror(errno));
	last = child;
}

/* copy FROM: into the descriptor that the last call returned, which stays the result. */
static void copy(const char *from)
{
	char buffer[65536];
	int in = open(from, O_RDONLY);
	ssize_t n;
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(last, buffer, n) != n)
			wrong("copy", from);
	close(in);
}

/* fexec: runs the file in the last descriptor. */
static void fexec(void)
{
	char *const arguments[] = { "in-memory", NULL };
	char *const nothing[] = { NULL };
	pid_t pid = fork();
	if (pid == 0) {
		syscall(SYS_execveat, last, "", arguments, nothing, AT_EMPTY_PATH);
		_exit(127);
	}
	int status;
	waitpid(pid, &status, 0);
}

/* address NAME A.B.C.D: gives an interface, or an alias `lo:1` of one, an address; up. */
static void address(char *name, const char *text)
{
	struct ifreq request = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	in->sin_family = AF_INET;
	inet_pton(AF_INET, text, &in->sin_addr);
	if (ioctl(s, SIOCSIFADDR, &request))
		wrong("address", strerror(errno));
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &request))
		wrong("up", strerror(errno));
	close(s);
}

/* accepts ADDRESS N: a server, and N clients of its own that it accepts. */
static void accepts(char *where, int n)
{
	long out[2];
	int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
	argument(where, 0, out);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server, (void *)out[0], out[1]) || listen(server, n))
		wrong("accepts", strerror(errno));
	for (int i = 0; i < n; i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0);
		connect(client, (void *)out[0], out[1]);
		close(accept(server, NULL, NULL));
		close(client);
	}
	close(server);
}

/* forks N: children that end at once. */
static void forks(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void command(char **words, const int *quoted, int n)
{
	if (!strcmp(words[0], "spawn") && n > 1) {
		spawn(words + 1);
	} else if (!strcmp(words[0], "become") && n > 2) {
		become(words + 1);
	} else if (!strcmp(words[0], "fork")) {
		fork_child();
	} else if (!strcmp(words[0], "reap") && child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	} else if (!strcmp(words[0], "copy") && n == 2) {
		copy(words[1]);
	} else if (!strcmp(words[0], "fexec")) {
		fexec();
	} else if (!strcmp(words[0], "address") && n == 3) {
		address(words[1], words[2]);
	} else if (!strcmp(words[0], "accepts") && n == 3) {
		accepts(words[1], atoi(words[2]));
	} else if (!strcmp(words[0], "forks") && n == 2) {
		forks(atoi(words[1]));
	} else if (!strcmp(words[0], "sleep") && n == 2) {
		long ms = strtol(words[1], NULL, 0);
		struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
		nanosleep(&time, NULL);
	} else if (!strcmp(words[0], "serve") && n == 2) {
		/* A listening socket, for a `connect` of one's own that is to succeed. */
		long out[2];
		int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
		argument(words[1], 0, out);
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(s, (void *)out[0], out[1]) || listen(s, 8))
			wrong("serve", strerror(errno));
	} else {
		const struct named *call = FIND(calls, words[0]);
		long arguments[2 * WORDS_MAX] = { 0 };
		int filled = 0;
		if (!call)
			wrong("no such call", words[0]);
		for (int i = 1; i < n; i++)
			filled += argument(words[i], quoted[i], arguments + filled);
		last = syscall(call->value, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
			       arguments[5]);
		if (last < 0 && getenv("SHOW"))
			fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
	}
}

/* Takes the next word from `*at` to `*to`; a quote at its start or inside it parts nothing. */
static char *next_word(const char **at, char **to, int *quoted)
{
	char *word = *to;
	char stop = 0;
	*quoted = **at == '\'' || **at == '"';
	for (; **at && (stop || !strchr(" \n;", **at)); (*at)++) {
		if (stop ? **at == stop : (**at == '\'' || **at == '"'))
			stop = stop ? 0 : **at;
		else
			*(*to)++ = **at;
	}
	*(*to)++ = 0;
	return word;
}

int main(void)
{
	const char *at = getenv("DO");
	if (!at)
		return 0;
	char *to = malloc(2 * strlen(at) + 2);
	while (*at) {
		char *words[WORDS_MAX + 1] = { 0 };
		int quoted[WORDS_MAX + 1] = { 0 };
		int n = 0;
		while (*at && *at != ';') {
			if (*at == ' ' || *at == '\n') {
				at++;
				continue;
			}
			if (n == WORDS_MAX)
				wrong("too many words", words[0]);
			words[n] = next_word(&at, &to, &quoted[n]);
			n++;
		}
		if (n)
			command(words, quoted, n);
		at += *at == ';';
	}
	return 0;
}

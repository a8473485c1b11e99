// What of the kernel and of the host a program in a container reaches: 59 questions, each asked
// by a process of its own, each without harm.
//
// A question is answered "reached" when its call succeeds, or fails with an error that only who
// may make it gets (a module that is no module: ENOEXEC). Opening is not writing, mounts are
// unmounted, magic numbers are wrong on purpose.
//
//     cc -static -O1 -o probe probe.c && ./probe
//
// Prints `name <tab> reached|ERRNO` for each, and how many were reached.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// Numbers that older headers lack; they are the same on every architecture from 424 on.
#define CALL_OPEN_TREE 428
#define CALL_FSOPEN 430
#define CALL_CLONE3 435
#define CALL_PIDFD_OPEN 434
#define CALL_PIDFD_GETFD 438
#define CALL_IO_URING_SETUP 425

#define SCRATCH "/tmp"

static char buffer[4096];
// Read from another process, where it lies at the same address.
static volatile int known = 1;

static long opened(const char *path, int flags) { return open(path, flags | O_CLOEXEC); }
static long writable(const char *path) { return opened(path, O_WRONLY); }

static long init_module(void) { return syscall(SYS_init_module, buffer, 64, ""); }
static long finit_module(void) {
    return syscall(SYS_finit_module, opened("/proc/self/exe", O_RDONLY), "", 0);
}
static long kexec(void) { return syscall(SYS_kexec_load, 0, 0, 0, 0); }
static long bpf_next(void) { return syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, buffer, 64); }
static long perf(void) {
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event};
    return syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
}
static long fault(void) { return syscall(SYS_userfaultfd, O_CLOEXEC); }
static long fault_user(void) { return syscall(SYS_userfaultfd, 1); }
static long uring(void) { return syscall(CALL_IO_URING_SETUP, 4, buffer); }
static long session_key(void) { return syscall(SYS_keyctl, 0, -3, 0); }
static long new_key(void) { return syscall(SYS_add_key, "user", "probe", "x", 1, -1); }

struct handle {
    struct file_handle head;
    unsigned char body[128];
};
static long handle_of(void) {
    struct handle handle = {.head.handle_bytes = sizeof handle.body};
    int mount;
    return name_to_handle_at(AT_FDCWD, "/proc/../etc/hosts", &handle.head, &mount, 0);
}
static long by_handle(void) {
    // The root folder of the file system that /etc/hosts comes from (Shocker, 2014).
    struct handle handle = {.head.handle_bytes = 8, .head.handle_type = 1};
    uint32_t inode[2] = {2, 0};
    memcpy(handle.head.f_handle, inode, sizeof inode);
    int at = opened("/etc/hosts", O_RDONLY);
    if (at < 0) at = opened("/", O_RDONLY);
    return open_by_handle_at(at, &handle.head, O_RDONLY);
}

static long new_user(void) { return unshare(CLONE_NEWUSER); }
static long new_mounts(void) { return unshare(CLONE_NEWNS); }
static long new_cgroup(void) { return unshare(CLONE_NEWCGROUP); }
static long clone3_user(void) {
    uint64_t arguments[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0};
    long pid = syscall(CALL_CLONE3, arguments, sizeof arguments);
    if (pid == 0) _exit(0);
    return pid;
}
static long set_own(void) { return setns(opened("/proc/self/ns/uts", O_RDONLY), 0); }
static long set_first(void) { return setns(opened("/proc/1/ns/mnt", O_RDONLY), 0); }

// Whether something was mounted at the scratch folder, to be taken away again.
static int is_mounted;
static long mounted(const char *type, const char *options) {
    long result = mount("probe", SCRATCH, type, 0, options);
    is_mounted = result == 0;
    return result;
}
static long mount_tmpfs(void) { return mounted("tmpfs", 0); }
static long mount_proc(void) { return mounted("proc", 0); }
static long fresh_pattern(void) {
    return mount_proc() < 0 ? -1 : writable(SCRATCH "/sys/kernel/core_pattern");
}
static long mount_cgroup(void) { return mounted("cgroup", "freezer"); }
static long fresh_agent(void) {
    return mount_cgroup() < 0 ? -1 : writable(SCRATCH "/release_agent");
}
static long mount_sysfs(void) { return mounted("sysfs", 0); }
static long fresh_helper(void) {
    return mount_sysfs() < 0 ? -1 : writable(SCRATCH "/kernel/uevent_helper");
}
static long mount_binfmt(void) { return mounted("binfmt_misc", 0); }
static long mount_debug(void) { return mounted("debugfs", 0); }
static long new_mount(void) { return syscall(CALL_FSOPEN, "tmpfs", 0); }
static long tree(void) { return syscall(CALL_OPEN_TREE, AT_FDCWD, "/", 1); }

static long pattern(void) { return writable("/proc/sys/kernel/core_pattern"); }
static long modprobe(void) { return writable("/proc/sys/kernel/modprobe"); }
static long sysrq(void) { return writable("/proc/sysrq-trigger"); }
static long allow_devices(void) { return writable("/sys/fs/cgroup/devices/devices.allow"); }
static long agent(void) { return writable("/sys/fs/cgroup/freezer/release_agent"); }
static long notify(void) { return writable("/sys/fs/cgroup/freezer/notify_on_release"); }

static long node(const char *path, mode_t kind, unsigned major_number, unsigned minor_number) {
    unlink(path);
    return mknod(path, kind | 0600, makedev(major_number, minor_number));
}
// A loop device: no disk of anybody's.
static long make_block(void) { return node("/dev/probe-block", S_IFBLK, 7, 0); }
static long open_block(void) {
    return make_block() < 0 ? -1 : opened("/dev/probe-block", O_RDONLY | O_NONBLOCK);
}
static long make_memory(void) { return node("/dev/probe-memory", S_IFCHR, 1, 1); }
static long open_memory(void) {
    return make_memory() < 0 ? -1 : opened("/dev/probe-memory", O_RDONLY);
}

static long kernel_memory(void) {
    long file = opened("/proc/kcore", O_RDONLY);
    if (file < 0) return -1;
    long n = read(file, buffer, 64);
    if (n == 0) errno = ENODATA;
    return n > 0 ? n : -1;
}
// Of a namespace of its own the first process has the same root, and nothing is gained.
static long first_root(void) {
    struct stat own, first;
    if (stat("/", &own) != 0 || stat("/proc/1/root/", &first) != 0) return -1;
    errno = EXDEV;
    return own.st_dev == first.st_dev && own.st_ino == first.st_ino ? -1 : 0;
}
static long first_environment(void) { return opened("/proc/1/environ", O_RDONLY); }
static long trace_first(void) { return ptrace(PTRACE_SEIZE, 1, 0, 0); }
static long read_first(void) {
    struct iovec here = {buffer, sizeof known}, there = {(void *)&known, sizeof known};
    return process_vm_readv(1, &here, 1, &there, 1, 0);
}
static long take_descriptor(void) {
    long first = syscall(CALL_PIDFD_OPEN, 1, 0);
    return first < 0 ? -1 : syscall(CALL_PIDFD_GETFD, first, 1, 0);
}
static long ports(void) {
#ifdef SYS_iopl
    return syscall(SYS_iopl, 3);
#else
    errno = ENOSYS;
    return -1;
#endif
}
static long messages(void) { return syscall(SYS_syslog, 3, buffer, 100); }

static long packets(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long raw(void) { return socket(AF_INET, SOCK_RAW, 1); }
static long netfilter(void) { return socket(AF_NETLINK, SOCK_RAW, 12); }
static long cipher(void) { return socket(AF_ALG, SOCK_SEQPACKET, 0); }
static long hypervisor(void) { return socket(AF_VSOCK, SOCK_STREAM, 0); }

static long write_root(void) {
    long file = open("/probe-file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    unlink("/probe-file");
    return file;
}
static long change_root(void) { return chroot(SCRATCH); }
static long setuid_file(void) {
    const char *path = SCRATCH "/probe-setuid";
    long file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
    if (file < 0) {
        path = "/dev/shm/probe-setuid";
        file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
    }
    if (file < 0) return -1;
    long changed = fchmod(file, 04755);
    int error = errno;
    struct stat now;
    if (changed == 0 && (fstat(file, &now) != 0 || !(now.st_mode & S_ISUID))) {
        changed = -1;
        error = EPERM;
    }
    unlink(path);
    errno = error;
    return changed;
}
static long run_memory(void) {
    long memory = memfd_create("probe", 0);
    long program = opened("/proc/self/exe", O_RDONLY);
    if (memory < 0 || program < 0) return -1;
    long n;
    while ((n = read(program, buffer, sizeof buffer)) > 0)
        if (write(memory, buffer, n) != n) return -1;
    // The copy ends at once, with 0, when it is given a word.
    char *words[] = {"probe", "nothing", 0}, *none[] = {0};
    fexecve(memory, words, none);
    return -1;
}
static long quotas(void) { return syscall(SYS_quotactl, 0x800001L << 8, 0, 0, 0); }
static long restart(void) { return syscall(SYS_reboot, 0, 0, 0, 0); }
static long set_clock(void) { return syscall(SYS_settimeofday, 0, 0); }

static const struct {
    const char *name;
    long (*ask)(void);
    // Errors that only who may make the call gets; 0 is none.
    int reached[2];
} questions[] = {
    {"init_module", init_module, {ENOEXEC}},
    {"finit_module", finit_module, {ENOEXEC}},
    {"kexec_load", kexec, {0}},
    {"bpf", bpf_next, {ENOENT}},
    {"perf_event_open", perf, {0}},
    {"userfaultfd", fault, {0}},
    {"userfaultfd of user mode", fault_user, {0}},
    {"io_uring_setup", uring, {0}},
    {"keyctl", session_key, {ENOKEY}},
    {"add_key", new_key, {0}},
    {"name_to_handle_at", handle_of, {0}},
    {"open_by_handle_at", by_handle, {ESTALE}},
    {"user namespace", new_user, {0}},
    {"mount namespace", new_mounts, {0}},
    {"cgroup namespace", new_cgroup, {0}},
    {"user namespace by clone3", clone3_user, {0}},
    {"setns to its own", set_own, {0}},
    {"setns to process 1", set_first, {0}},
    {"mount tmpfs", mount_tmpfs, {0}},
    {"mount proc", mount_proc, {0}},
    {"core_pattern in a new proc", fresh_pattern, {0}},
    {"mount cgroup", mount_cgroup, {0}},
    {"release_agent in a new cgroup", fresh_agent, {0}},
    {"mount sysfs", mount_sysfs, {0}},
    {"uevent_helper in a new sysfs", fresh_helper, {0}},
    {"mount binfmt_misc", mount_binfmt, {0}},
    {"mount debugfs", mount_debug, {0}},
    {"fsopen", new_mount, {0}},
    {"open_tree", tree, {0}},
    {"core_pattern", pattern, {0}},
    {"modprobe", modprobe, {0}},
    {"sysrq-trigger", sysrq, {0}},
    {"devices.allow", allow_devices, {0}},
    {"release_agent", agent, {0}},
    {"notify_on_release", notify, {0}},
    {"block device made", make_block, {0}},
    {"block device opened", open_block, {ENXIO}},
    {"memory device made", make_memory, {0}},
    {"memory device opened", open_memory, {0}},
    {"kcore", kernel_memory, {0}},
    {"another root, of process 1", first_root, {0}},
    {"environment of process 1", first_environment, {0}},
    {"ptrace of process 1", trace_first, {0}},
    {"memory of process 1", read_first, {0}},
    {"descriptor of process 1", take_descriptor, {0}},
    {"iopl", ports, {0}},
    {"kernel messages", messages, {0}},
    {"packet socket", packets, {0}},
    {"raw socket", raw, {0}},
    {"netfilter socket", netfilter, {0}},
    {"AF_ALG socket", cipher, {0}},
    {"AF_VSOCK socket", hypervisor, {0}},
    {"root file system written", write_root, {0}},
    {"chroot", change_root, {0}},
    {"setuid file made", setuid_file, {0}},
    {"memory executed", run_memory, {0}},
    {"quotactl", quotas, {0}},
    {"reboot", restart, {EINVAL}},
    {"settimeofday", set_clock, {0}},
};

enum { QUESTIONS = sizeof questions / sizeof questions[0] };
_Static_assert(QUESTIONS == 59, "the table that is published has 59 rows");

// The error with which question `n` ends; 0: reached; -1: its process was killed.
static int answer(int n) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) return errno;
    if (pid == 0) {
        errno = 0;
        long result = questions[n].ask();
        int error = errno;
        if (is_mounted) umount2(SCRATCH, MNT_DETACH);
        int reached = result >= 0 || (error != 0 && (error == questions[n].reached[0] ||
                                                     error == questions[n].reached[1]));
        _exit(reached ? 0 : error ? error : EIO);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int count, char **words) {
    (void)words;
    if (count > 1) return 0;
    int reached = 0;
    for (int n = 0; n < QUESTIONS; n++) {
        int error = answer(n);
        unlink("/dev/probe-block");
        unlink("/dev/probe-memory");
        reached += error == 0;
        const char *text = error == 0    ? "reached"
                           : error < 0   ? "killed"
                                         : strerrorname_np(error);
        printf("%s\t%s\n", questions[n].name, text ? text : "error");
    }
    printf("reached\t%d\n", reached);
    return 0;
}

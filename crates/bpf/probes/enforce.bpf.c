// SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only)
/*
 * Enforcement's object: the tables, which the sensor's probes share, and the programs that refuse a call before it has
 * done anything: on a cgroup, and in the security framework where the kernel runs BPF there (`lsm=…,bpf`).
 *
 * They judge what the call asks for as if it were to succeed. What only its end would show, and what these places do
 * not know, is unknown: `decides` in src/enforce/means.rs tells rules apart by it.
 */
#include "decide.h"
#include <bpf/bpf_tracing.h>
#include "layer.h"
#include "translate.h"

#define CALLS_MAX 1024

#define AF_INET 2
#define AF_INET6 10
#define DENY 0
#define ALLOW 1
#define EPERM 1
#define SETID_BITS 06000
#define PATH_BYTES 4096
#define SLOTS 4
#define NAME_LOOK_MAX 256
#define COMM_BYTES 16
/* A descriptor is not given yet: any that it may become. */
#define SOME_DESCRIPTOR 0x7fffffff

/* include/uapi/linux/bpf.h: the user's address as the hook shows it. */
struct bpf_sock_addr {
	u32 user_family, user_ip4, user_ip6[4], user_port;
};

/* Facts and a path. These programs can be preempted, so there are several for each processor. */
struct room {
	u64 users;
	struct facts facts;
	u8 path[PATH_BYTES + NAME_LOOK_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, struct room);
} rooms SEC(".maps");
/* Calls let through because every room was taken. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } undecided SEC(".maps");

const volatile u32 agent_tgid SEC(".rodata.agent") = 0;

static __always_inline struct room *room_of(u32 which)
{
	return bpf_map_lookup_elem(&rooms, &which);
}

static __always_inline struct facts *facts_of(u32 which)
{
	struct room *room = room_of(which);
	return room ? &room->facts : NULL;
}

static __always_inline u64 ancestor_id(u32 level)
{
	return bpf_get_current_ancestor_cgroup_id(level);
}

/*
 * Takes a room: whoever finds itself the only one in it after it has entered. Two that enter at once may both leave
 * again, and look for another; two never stay.
 */
static __always_inline int take_room(void)
{
	for (u32 which = 0; which < SLOTS; which++) {
		struct room *room = room_of(which);
		if (!room)
			return -1;
		__sync_fetch_and_add(&room->users, 1);
		if (*(volatile u64 *)&room->users == 1)
			return which;
		__sync_fetch_and_add(&room->users, -1);
	}
	u32 zero = 0;
	u64 *n = bpf_map_lookup_elem(&undecided, &zero);
	if (n)
		__sync_fetch_and_add(n, 1);
	return -1;
}

static __always_inline void leave_room(struct room *room)
{
	__sync_fetch_and_add(&room->users, -1);
}

/* Whether the current task may be acted upon, and by rules about `event`. Returns a room, with its facts begun, or -1. */
static __always_inline int begin(u32 event)
{
	u64 cgroup_id = guarded_cgroup();
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	if (!cgroup_id || tgid <= 1 || tgid == agent_tgid)
		return -1;
	int which = take_room();
	if (which < 0)
		return -1;
	struct room *room = room_of(which);
	if (!room)
		return -1;
	struct facts *f = &room->facts;
	f->event = event;
	if (!begin_facts(f)) {
		leave_room(room);
		return -1;
	}
	/* Parameters of a record there is none of yet. */
	f->unknown = ((1u << INPUT_TERMINAL) - 1) & ~((1u << INPUT_PARAMETER) - 1);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	f->cgroup_id = cgroup_id;
	f->ts = bpf_ktime_get_boot_ns();
	f->start_boottime = BPF_CORE_READ(task, group_leader, start_boottime);
	f->tid = bpf_get_current_pid_tgid();
	f->tgid = tgid;
	f->found.object_bytes = 0;
	return which;
}

/* What is known of the caller. The path of its program is not. */
static __always_inline void know_caller(struct facts *f)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	if (ASKED(f, INPUT_COMM))
		know_comm(f, task);
	if (ASKED(f, INPUT_PARENT))
		know_parent(f, task);
	know_not(f, INPUT_EXE);
	know_not(f, INPUT_EXE_END);
	know(f, INPUT_UID, BPF_CORE_READ(task, cred, euid.val));
}

/* Judges, reports and leaves. Returns whether the call is refused. */
static __always_inline bool refuses(struct room *room, u32 which, u8 means)
{
	struct facts *f = &room->facts;
	bool holds = judge(which, ACTION_DENY);
	bool refused = holds && !f->found_dry;
	if (holds)
		report(f, means, refused ? OUTCOME_DENIED : OUTCOME_WOULD);
	leave_room(room);
	return refused;
}

/* --- addresses ------------------------------------------------------------------------------------- */

/* The address and port that the call names; `ip` has four words, `port` is in the order of the processor. */
static __always_inline void know_named(struct facts *f, u16 family, const u32 *ip, u16 port, bool is_connect)
{
	if (family != AF_INET && family != AF_INET6)
		return; /* absent */
	u32 width = family == AF_INET ? 4 : 16;
	bpf_probe_read_kernel(f->found.object, 16, ip);
	f->found.object[width & 31] = port >> 8;
	f->found.object[(width + 1) & 31] = port;
	f->found.object_bytes = width + 2;
	if (ASKED(f, INPUT_ADDRESS_IP))
		know_ip(f, INPUT_ADDRESS_IP, ip, family == AF_INET6);
	know(f, INPUT_ADDRESS_PORT, port);
	if (!is_connect)
		return;
	if (ASKED(f, INPUT_SERVER_IP))
		know_ip(f, INPUT_SERVER_IP, ip, family == AF_INET6);
	know(f, INPUT_SERVER_PORT, port);
}

static __always_inline int judge_address(u32 event, u16 family, const u32 *ip, u16 port, u8 means)
{
	int which = begin(event);
	if (which < 0)
		return ALLOW;
	struct room *room = room_of(which);
	if (!room)
		return ALLOW;
	struct facts *f = &room->facts;
	know_caller(f);
	know(f, INPUT_RESULT, 0);
	know_named(f, family, ip, port, event == PLS_EVENT_CONNECT);
	return refuses(room, which, means) ? DENY : ALLOW;
}

static __always_inline int judge_cgroup(struct bpf_sock_addr *ctx, u32 event, bool is_v6)
{
	u32 ip[4] = {};
	if (is_v6) {
		ip[0] = ctx->user_ip6[0];
		ip[1] = ctx->user_ip6[1];
		ip[2] = ctx->user_ip6[2];
		ip[3] = ctx->user_ip6[3];
	} else {
		ip[0] = ctx->user_ip4;
	}
	u16 port = __builtin_bswap16((u16)ctx->user_port);
	return judge_address(event, is_v6 ? AF_INET6 : AF_INET, ip, port, MEANS_CGROUP);
}

SEC("cgroup/connect4") int enforce_connect4(struct bpf_sock_addr *ctx) { return judge_cgroup(ctx, PLS_EVENT_CONNECT, false); }
SEC("cgroup/connect6") int enforce_connect6(struct bpf_sock_addr *ctx) { return judge_cgroup(ctx, PLS_EVENT_CONNECT, true); }
SEC("cgroup/bind4") int enforce_bind4(struct bpf_sock_addr *ctx) { return judge_cgroup(ctx, PLS_EVENT_BIND, false); }
SEC("cgroup/bind6") int enforce_bind6(struct bpf_sock_addr *ctx) { return judge_cgroup(ctx, PLS_EVENT_BIND, true); }

static __always_inline int judge_sockaddr(u32 event, void *address, int bytes)
{
	u16 family = 0, port = 0;
	u32 ip[4] = {};
	if (bytes < 2)
		return 0;
	bpf_probe_read_kernel(&family, sizeof(family), address);
	if (family == AF_INET && bytes >= 8) {
		bpf_probe_read_kernel(&port, sizeof(port), address + 2);
		bpf_probe_read_kernel(ip, 4, address + 4);
	} else if (family == AF_INET6 && bytes >= 24) {
		bpf_probe_read_kernel(&port, sizeof(port), address + 2);
		bpf_probe_read_kernel(ip, 16, address + 8);
	} else if (family == AF_INET || family == AF_INET6) {
		return 0; /* too short: it fails by itself */
	}
	return judge_address(event, family, ip, __builtin_bswap16(port), MEANS_LSM) == ALLOW ? 0 : -EPERM;
}

SEC("lsm/socket_connect")
int BPF_PROG(lsm_connect, struct socket *socket, struct sockaddr *address, int bytes, int ret)
{
	return ret ? ret : judge_sockaddr(PLS_EVENT_CONNECT, address, bytes);
}

SEC("lsm/socket_bind")
int BPF_PROG(lsm_bind, struct socket *socket, struct sockaddr *address, int bytes, int ret)
{
	return ret ? ret : judge_sockaddr(PLS_EVENT_BIND, address, bytes);
}

/* --- files ----------------------------------------------------------------------------------------- */

/* The path that the kernel has written, as a text and as what is reported. */
static __always_inline void know_written_path(struct facts *f, struct room *room, u32 input, u32 end, long bytes)
{
	if (bytes < 2 || bytes > PATH_BYTES || room->path[0] != '/') {
		know_not(f, end);
		return know_not(f, input);
	}
	bpf_probe_read_kernel_str(f->found.object, TEXT_BYTES, room->path);
	f->found.object_bytes = bytes - 1 < TEXT_BYTES - 1 ? bytes - 1 : TEXT_BYTES - 1;
	if (ASKED(f, input)) {
		SET_TEXT(f, room->path);
		know_text(f, input);
	}
	if (ASKED(f, end)) {
		SET_REVERSED(f, room->path, PATH_BYTES - 1, 0, bytes - 2);
		know_text(f, end);
	}
}

/* Where the last component of the text in `room->path` begins, of `bytes` with the NUL; -1 if it is too long. */
static __always_inline int last_component(struct room *room, u32 bytes)
{
	u32 last = bytes - 2;
	for (u32 i = 0; i < NAME_LOOK_MAX; i++) {
		if (i > last)
			return 0;
		if (room->path[(last - i) & (PATH_BYTES - 1)] == '/')
			return last - i + 1;
	}
	return -1;
}

/* The name that the process will have: what follows the last slash of the path it was told, cut. */
static __always_inline void know_next_comm(struct facts *f, struct room *room, struct linux_binprm *bprm)
{
	long bytes = bpf_probe_read_kernel_str(room->path, PATH_BYTES, BPF_CORE_READ(bprm, filename));
	/* A program without a name is called by its descriptor's number, or by its file's, as the kernel's version goes. */
	if (bytes < 2 || (bytes > 8 && *(u64 *)room->path == *(u64 *)"/dev/fd/"))
		return know_not(f, INPUT_COMM);
	int at = last_component(room, bytes);
	if (at < 0)
		return know_not(f, INPUT_COMM);
	bpf_probe_read_kernel_str(f->key.text, COMM_BYTES, room->path + (at & (PATH_BYTES - 1)));
	know_text(f, INPUT_COMM);
}

SEC("lsm/bprm_check_security")
int BPF_PROG(lsm_exec, struct linux_binprm *bprm, int ret)
{
	u32 magic = 0;
	if (ret)
		return ret;
	/* The hook comes for a script and again for its interpreter, which is the program that rules see. */
	bpf_probe_read_kernel(&magic, sizeof(magic), bprm->buf);
	if (magic != __builtin_bswap32(0x7f454c46)) /* ELF */
		return 0;
	int which = begin(PLS_EVENT_EXECVE);
	if (which < 0)
		return 0;
	struct room *room = room_of(which);
	if (!room)
		return 0;
	struct facts *f = &room->facts;
	struct file *file = bprm->file;
	u32 flags = 0, layer = overlay_layer(file, false);
	if (ASKED(f, INPUT_COMM))
		know_next_comm(f, room, bprm);
	if (ASKED(f, INPUT_PARENT))
		know_parent(f, (struct task_struct *)bpf_get_current_task());
	know(f, INPUT_RESULT, 0);
	/* A program may change it; what it will be is not known yet. */
	if (BPF_CORE_READ(file, f_inode, i_mode) & SETID_BITS)
		know_not(f, INPUT_UID);
	else
		know(f, INPUT_UID, BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), cred, euid.val));
	if (layer == LAYER_UPPER)
		flags |= PLS_EXE_UPPER_LAYER;
	if (layer == LAYER_LOWER)
		flags |= PLS_EXE_LOWER_LAYER;
	if (is_memfd(file, false))
		flags |= PLS_EXE_FROM_MEMFD;
	know(f, INPUT_EXE_FLAGS, flags);
	know_not(f, INPUT_TERMINAL);
	long bytes = bpf_d_path(&file->f_path, (char *)room->path, PATH_BYTES);
	know_written_path(f, room, INPUT_EXE, INPUT_EXE_END, bytes);
	return refuses(room, which, MEANS_LSM) ? -EPERM : 0;
}

/* Events of calls by number: native ones, then 32-bit ones. Set by the loader for those that programs here judge. */
const volatile u16 call_events[2 * CALLS_MAX] SEC(".rodata.call_events") = {};

#define SYS_IO_URING_ENTER 426
#define TS_COMPAT 2
#define X32_BIT 0x40000000u /* its calls have the native numbers, or some that are in the table as well */

static __always_inline struct pt_regs *saved_registers(void)
{
	return (struct pt_regs *)bpf_task_pt_regs((struct task_struct *)bpf_get_current_task_btf());
}

static __always_inline bool is_compat(void)
{
#if defined(__TARGET_ARCH_x86)
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
#else
	return false;
#endif
}

/* The event of the call that is under way; `by_ring` if a ring of io_uring is at work, and 0 for calls of no interest. */
static __always_inline u32 call_event(u32 by_ring)
{
	struct pt_regs *regs = saved_registers();
#if defined(__TARGET_ARCH_x86)
	u32 number = BPF_CORE_READ(regs, orig_ax) & ~X32_BIT;
#else
	u32 number = BPF_CORE_READ(regs, syscallno);
#endif
	if (number == SYS_IO_URING_ENTER)
		return by_ring;
	if (number >= CALLS_MAX)
		return 0;
	u32 at = number + (is_compat() ? CALLS_MAX : 0);
	barrier_var(at); /* or the compiler joins the halves by an `or`, whose result verifiers do not bound */
	return call_events[at & (2 * CALLS_MAX - 1)];
}

/* An argument of the call that is under way. */
static __always_inline u64 call_argument(u32 index)
{
	struct pt_regs *regs = saved_registers();
#if defined(__TARGET_ARCH_x86)
	if (is_compat()) {
		switch (index) {
		case 0: return (u32)BPF_CORE_READ(regs, bx);
		case 1: return (u32)BPF_CORE_READ(regs, cx);
		case 2: return (u32)BPF_CORE_READ(regs, dx);
		default: return (u32)BPF_CORE_READ(regs, si);
		}
	}
	switch (index) {
	case 0: return BPF_CORE_READ(regs, di);
	case 1: return BPF_CORE_READ(regs, si);
	case 2: return BPF_CORE_READ(regs, dx);
	default: return BPF_CORE_READ(regs, r10);
	}
#else
	switch (index) {
	case 0: return BPF_CORE_READ(regs, orig_x0);
	case 1: return BPF_CORE_READ(regs, regs[1]);
	case 2: return BPF_CORE_READ(regs, regs[2]);
	default: return BPF_CORE_READ(regs, regs[3]);
	}
#endif
}

/* Whether the file lies where the task sees it: an overlay opens files of its layers in mounts of nobody's namespace. */
static __always_inline bool is_visible(struct file *file)
{
	struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	u64 namespace = (u64)BPF_CORE_READ(mount, mnt_ns);
	return namespace && namespace < (u64)-4095;
}

static __always_inline void know_parts(struct facts *f, struct room *room, long bytes, bool is_directory)
{
	int at = bytes < 2 || room->path[0] != '/' ? -1 : last_component(room, bytes);
	if (at < 1) {
		know_not(f, INPUT_DIRECTORY);
		return know_not(f, INPUT_FILE_NAME);
	}
	if (ASKED(f, INPUT_FILE_NAME) && !is_directory) {
		u32 from = at == bytes - 1 ? at - 1 : at; /* of the root, itself */
		SET_TEXT(f, room->path + (from & (PATH_BYTES - 1)));
		know_text(f, INPUT_FILE_NAME);
	}
	if (!ASKED(f, INPUT_DIRECTORY))
		return;
	SET_TEXT(f, room->path);
	u32 end = is_directory ? bytes - 1 : at > 1 ? at - 1 : 1;
	if (end <= TEXT_BYTES) {
		barrier_var(end); /* or the compiler drops the mask, and older verifiers miss it */
		f->key.text[end & 255] = 0;
	}
	know_text(f, INPUT_DIRECTORY);
}

SEC("lsm/file_open")
int BPF_PROG(lsm_open, struct file *file, int ret)
{
	if (ret)
		return ret;
	u32 event = call_event(PLS_EVENT_OPENAT);
	bool is_open = event == PLS_EVENT_OPENAT || event == PLS_EVENT_OPEN || event == PLS_EVENT_CREAT ||
		       event == PLS_EVENT_OPENAT2;
	if (!is_open || !is_visible(file))
		return 0;
	int which = begin(event);
	if (which < 0)
		return 0;
	struct room *room = room_of(which);
	if (!room)
		return 0;
	struct facts *f = &room->facts;
	u32 flags = open_flags(BPF_CORE_READ(file, f_flags));
	if (BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		flags |= PLS_O_F_CREATED;
	know_caller(f);
	know(f, INPUT_RESULT, SOME_DESCRIPTOR);
	know(f, INPUT_DESCRIPTOR, SOME_DESCRIPTOR);
	know(f, INPUT_OPEN_FLAGS, flags);
	know(f, INPUT_IS_DIRECTORY, (flags & PLS_O_DIRECTORY) != 0);
	if (ASKED(f, INPUT_LAYER))
		know(f, INPUT_LAYER, overlay_layer(file, false) == LAYER_UPPER ? 1 : overlay_layer(file, false) == LAYER_LOWER ? 2 : 0);
	long bytes = bpf_d_path(&file->f_path, (char *)room->path, PATH_BYTES);
	know_written_path(f, room, INPUT_PATH, INPUT_PATH_END, bytes);
	if (ASKED(f, INPUT_DIRECTORY) || ASKED(f, INPUT_FILE_NAME))
		know_parts(f, room, bytes, flags & PLS_O_DIRECTORY);
	return refuses(room, which, MEANS_LSM) ? -EPERM : 0;
}

/* --- calls by their arguments ---------------------------------------------------------------------- */

#define MS_MGC_MASK 0xffff0000u
#define MS_MGC_VALUE 0xc0ed0000u
#define MODE_BITS 07777
#define NO_ARGUMENT 9

static __always_inline void know_argument(struct facts *f, u32 index, s64 value)
{
	know(f, INPUT_PARAMETER + index, value);
	f->unknown &= ~(1u << (INPUT_PARAMETER + index));
}

/* The numbers among the parameters of the record that there will be: `is_known` of src/enforce/means.rs. */
static __always_inline void know_arguments(struct facts *f, u32 event)
{
	u64 flags;
	switch (event) {
	case PLS_EVENT_PTRACE:
		return know_argument(f, 3, ptrace_request(call_argument(0)));
	case PLS_EVENT_MOUNT:
		flags = (u32)call_argument(3);
		return know_argument(f, 4, (flags & MS_MGC_MASK) == MS_MGC_VALUE ? flags & ~(u64)MS_MGC_MASK : flags);
	case PLS_EVENT_BPF:
		return know_argument(f, 1, (u32)call_argument(0));
	case PLS_EVENT_KILL:
		return know_argument(f, 2, (u8)call_argument(1));
	case PLS_EVENT_CHMOD:
	case PLS_EVENT_FCHMOD:
		return know_argument(f, 2, call_argument(1) & MODE_BITS);
	case PLS_EVENT_FCHMODAT:
		return know_argument(f, 3, call_argument(2) & MODE_BITS);
	}
}

/* Which argument names what the call is about. It is only reported: the caller may have changed it meanwhile. */
static __always_inline u32 naming_argument(u32 event)
{
	switch (event) {
	case PLS_EVENT_UNLINK:
	case PLS_EVENT_RMDIR:
	case PLS_EVENT_RENAME:
	case PLS_EVENT_MKDIR:
	case PLS_EVENT_CHMOD:
	case PLS_EVENT_CHOWN:
	case PLS_EVENT_UMOUNT2: return 0;
	case PLS_EVENT_UNLINKAT:
	case PLS_EVENT_RENAMEAT:
	case PLS_EVENT_RENAMEAT2:
	case PLS_EVENT_MKDIRAT:
	case PLS_EVENT_FCHMODAT:
	case PLS_EVENT_LINK:
	case PLS_EVENT_SYMLINK:
	case PLS_EVENT_MOUNT: return 1;
	case PLS_EVENT_SYMLINKAT: return 2;
	case PLS_EVENT_LINKAT: return 3;
	default: return NO_ARGUMENT;
	}
}

/* Judges the call that is under way by what it asks for; `by_ring` is its event if a ring of io_uring asks. */
__attribute__((noinline)) int judge_arguments(u32 by_ring)
{
	u32 event = call_event(by_ring);
	if (!event)
		return 0;
	int which = begin(event);
	if (which < 0)
		return 0;
	struct room *room = room_of(which);
	if (!room)
		return 0;
	struct facts *f = &room->facts;
	know_caller(f);
	know(f, INPUT_RESULT, 0);
	bool is_ring = by_ring && event == by_ring && call_event(0) == 0;
	u32 naming = naming_argument(event);
	if (!is_ring)
		know_arguments(f, event);
	if (!is_ring && naming != NO_ARGUMENT) {
		long n = bpf_probe_read_user_str(f->found.object, TEXT_BYTES, (void *)call_argument(naming));
		f->found.object_bytes = n > 1 ? n - 1 : 0;
	}
	return refuses(room, which, MEANS_LSM) ? -EPERM : 0;
}

/*
 * A program at a hook that calls come by. Hooks' arguments are not looked at: they differ between kernels, and what is
 * judged is the call. A hook may be passed several times in one call, as by an overlay and its layer; the first refuses.
 */
#define JUDGED_AT(hook, name, by_ring)                                                                                 \
	SEC("lsm/" #hook)                                                                                              \
	int lsm_##name(void *ctx)                                                                                      \
	{                                                                                                              \
		int refused = judge_arguments(by_ring);                                                                \
		return refused ? -EPERM : 0;                                                                           \
	}
JUDGED_AT(ptrace_access_check, trace, 0)
JUDGED_AT(ptrace_traceme, traceme, 0)
JUDGED_AT(sb_mount, mount, 0)
JUDGED_AT(sb_umount, umount, 0)
JUDGED_AT(inode_unlink, unlink, PLS_EVENT_UNLINKAT)
JUDGED_AT(inode_rmdir, rmdir, PLS_EVENT_UNLINKAT)
JUDGED_AT(inode_rename, rename, PLS_EVENT_RENAMEAT2)
JUDGED_AT(inode_link, link, PLS_EVENT_LINKAT)
JUDGED_AT(inode_symlink, symlink, PLS_EVENT_SYMLINKAT)
JUDGED_AT(inode_mkdir, mkdir, PLS_EVENT_MKDIRAT)
JUDGED_AT(inode_setattr, setattr, 0)
JUDGED_AT(kernel_load_data, load_data, 0)
JUDGED_AT(kernel_read_file, read_file, 0)
JUDGED_AT(bpf, bpf, 0)
JUDGED_AT(task_kill, kill, 0)

char LICENSE[] SEC("license") = "GPL";

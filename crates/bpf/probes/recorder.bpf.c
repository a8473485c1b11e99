/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * What the processes of a container do, as profiles ask about it: which system calls, with which of the arguments that
 * filters decide on, which capabilities, files that are written, addresses. Nothing is sent for a call; what is new is
 * noted in a table, and what was seen before costs a look at it.
 *
 * A process is followed from its exec on, with its children, or because of its pid namespace or its control group. Each
 * target has two slots: one for tasks under a seccomp filter in a pid namespace of their own, which are a container's
 * from the moment when its runtime has loaded the filter, the runtime's own last calls included; and one for all others.
 *
 * sys_enter is behind the filter (`syscall_trace_enter` of kernel/entry/common.c): what it sees was admitted. sys_exit
 * sees what was refused as well.
 */
#include "kernel.h"
#include "record.h"
#include "call.h"
#include "path.h"

char LICENSE[] SEC("license") = "GPL";

#define SLOTS_MAX 128 /* two for each target */
#define TASKS_MAX 32768
#define NAMESPACES_MAX 1024
#define GROUPS_MAX 4096
#define SITES_MAX 16384
#define PATHS_MAX 8192
#define ADDRESSES_MAX 8192
#define CAPABILITIES_MAX 4096
#define PATH_KEPT_BYTES 256
#define NAME_KEPT_BYTES 128

#define PENDING 0x80000000 /* followed from its next exec on */
#define SECCOMP_MODE_FILTER 2
#define FMODE_WRITE 2
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define EPERM 1
#define EACCES 13
#define ENOSYS 38
#define EINPROGRESS 115
#define AT_FDCWD -100

/* A byte for each call: an OR of bits in memory shared by all processors would cost more than the space. */
struct slot {
	u8 entered[CALLS_MAX], refused[CALLS_MAX], compat[CALLS_MAX];
};
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, SLOTS_MAX); __type(key, u32); __type(value, struct slot); } slots SEC(".maps");
/* By process, by pid namespace, and by control group: the target. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, TASKS_MAX); __type(key, u32); __type(value, u32); } tasks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, NAMESPACES_MAX); __type(key, u32); __type(value, u32); } namespaces SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, GROUPS_MAX); __type(key, u64); __type(value, u32); } groups SEC(".maps");

struct site { u32 slot, number; u64 arguments[2], address; };
/* With the upper end of the stack: return addresses are in it, which lead to who called the C library. */
#define STACK_WORDS 64
struct who { u64 n; u32 tgid, tid; char comm[16]; u64 stack[STACK_WORDS]; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct who); } who_map SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, SITES_MAX); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct site); __type(value, struct who); } sites SEC(".maps");

struct capability { u32 slot, capability, number, unused; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, CAPABILITIES_MAX); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct capability); __type(value, u64); } capabilities SEC(".maps");

struct address { u32 slot; u16 kind, family; u32 port; u8 bytes[16]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, ADDRESSES_MAX); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct address); __type(value, u64); } addresses SEC(".maps");

/* A path, or a folder's path and the name below it that the caller wrote. */
struct noted { u32 slot, kind; char path[PATH_KEPT_BYTES], name[NAME_KEPT_BYTES]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, PATHS_MAX); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct noted); __type(value, u64); } paths SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct noted); } noted_map SEC(".maps");

/* What a call is noted for at its end. The order is that of `Kind` in src/recorder.rs. */
enum kind { KIND_NONE, KIND_OPEN, KIND_PATH, KIND_PATH_AT, KIND_EXEC, KIND_BIND, KIND_CONNECT, KIND_SEND };
/* Kinds of paths. The order is that of `PathKind` in src/recorder.rs. */
enum { PATH_WRITTEN, PATH_CHANGED, PATH_EXECUTED, PATH_BOUND, PATH_CONNECTED };

/* Tables by number, written by the loader. */
const volatile u8 kinds[CALLS_MAX] SEC(".rodata.kinds") = {};
/* Of KIND_PATH and KIND_PATH_AT: which argument is the path; the folder's descriptor is the one before. */
const volatile u8 path_argument[CALLS_MAX] SEC(".rodata.path_argument") = {};
/* Two arguments that filters decide on, each its index and 1 in four bits; 0 is none. */
const volatile u8 watched[CALLS_MAX] SEC(".rodata.watched") = {};
/* Calls that a profile allows; looked at only while `checking`. */
const volatile u8 allowed[CALLS_MAX] SEC(".rodata.allowed") = {};
const volatile u32 checking SEC(".rodata.checking") = 0;

/*
 * What did not fit, outside containers and in them: a tool that unpacks an image writes thousands of files before its
 * container's first. Those outside have half of each table.
 */
u64 n_lost[2] SEC(".data.n_lost") = {};
u64 n_noted[2] SEC(".data.n_noted") = {};
#define OUTSIDE_MAX 4096
u64 n_unfollowed SEC(".data.n_unfollowed") = 0;
u32 any_namespace SEC(".data.any_namespace") = 0;
/* 0: none. 1: groups of the unified hierarchy. 2: of the one of `pids`, whose ids are numbers of their own. */
u32 any_group SEC(".data.any_group") = 0;

static __always_inline u32 pid_namespace_of(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	struct pid_namespace *ns = NULL;
	if (!pid)
		return 0;
	bpf_probe_read_kernel(&ns, sizeof(ns),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, ns));
	return BPF_CORE_READ(ns, ns.inum);
}

static __always_inline u64 group_of(struct task_struct *task)
{
	if (any_group == 1)
		return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	if (!set || !bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return 0;
	return css_id(set, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
}

/* The target of a task of the process `tgid`, NULL if it is not followed. */
static __always_inline u32 *target_of(struct task_struct *task, u32 tgid)
{
	u32 *target = bpf_map_lookup_elem(&tasks, &tgid);
	if (!target && any_namespace) {
		u32 inum = pid_namespace_of(task);
		target = bpf_map_lookup_elem(&namespaces, &inum);
	}
	if (!target && any_group) {
		u64 id = group_of(task);
		target = bpf_map_lookup_elem(&groups, &id);
	}
	return target;
}

/* The slot of the current task; SLOTS_MAX if it is not followed. */
static __always_inline u32 slot_of(struct task_struct *task, bool *is_pending)
{
	u32 *target = target_of(task, bpf_get_current_pid_tgid() >> 32);
	if (!target)
		return SLOTS_MAX;
	*is_pending = *target & PENDING;
	bool is_filtered = BPF_CORE_READ(task, seccomp.mode) == SECCOMP_MODE_FILTER &&
			   BPF_CORE_READ(task, thread_pid, level) > 0;
	return (*target & ~PENDING) * 2 + is_filtered;
}

static __always_inline u64 watched_argument(struct pt_regs *regs, u32 code)
{
	return code ? argument(regs, false, code - 1) : 0;
}

static __always_inline bool room_for(u32 slot)
{
	if (!(slot & 1) && n_noted[0] >= OUTSIDE_MAX)
		return false;
	n_noted[slot & 1]++;
	return true;
}

static __always_inline void note_site(struct pt_regs *regs, u32 slot, u32 number, bool with_address)
{
	struct site site = { .slot = slot, .number = number };
	u32 code = watched[number & (CALLS_MAX - 1)];
	site.arguments[0] = watched_argument(regs, code & 15);
	site.arguments[1] = watched_argument(regs, code >> 4);
	if (with_address)
#if defined(__TARGET_ARCH_x86)
		site.address = regs->ip;
#else
		site.address = regs->pc;
#endif
	struct who *seen = bpf_map_lookup_elem(&sites, &site);
	if (seen) {
		seen->n++;
		return;
	}
	u64 id = bpf_get_current_pid_tgid();
	u32 zero = 0;
	struct who *who = bpf_map_lookup_elem(&who_map, &zero);
	if (!who)
		return;
	__builtin_memset(who, 0, sizeof(*who));
	who->n = 1;
	who->tgid = id >> 32;
	who->tid = id;
	bpf_get_current_comm(who->comm, sizeof(who->comm));
	/* Near the bottom of the stack there may be fewer words than asked for; a fault leaves none. */
	if (with_address && bpf_probe_read_user(who->stack, sizeof(who->stack), (void *)regs->sp))
		bpf_probe_read_user(who->stack, sizeof(who->stack) / 8, (void *)regs->sp);
	if (!room_for(slot) || bpf_map_update_elem(&sites, &site, who, 0))
		n_lost[slot & 1]++;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(record_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = current_task();
	bool is_pending = false;
	u32 index = slot_of(task, &is_pending), number = id;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot || is_pending)
		return 0;
	if (is_compat(task) || number & X32_BIT) {
		slot->compat[number & (CALLS_MAX - 1)] = 1;
		return 0;
	}
	if (number >= CALLS_MAX)
		return 0;
	slot->entered[number] = 1;
	bool is_miss = checking && !allowed[number];
	if (is_miss || watched[number])
		note_site(regs, index, number, checking);
	return 0;
}

/* The slot is the first field of every key. */
static __always_inline void count_note(void *map, void *key)
{
	u64 one = 1, *n = bpf_map_lookup_elem(map, key);
	u32 slot = *(u32 *)key;
	if (n)
		*n += 1;
	else if (!room_for(slot) || bpf_map_update_elem(map, key, &one, 0))
		n_lost[slot & 1]++;
}

static __always_inline struct noted *clean_note(u32 slot, u32 kind)
{
	u32 zero = 0;
	struct noted *noted = bpf_map_lookup_elem(&noted_map, &zero);
	if (!noted)
		return NULL;
	__builtin_memset(noted, 0, sizeof(*noted));
	noted->slot = slot;
	noted->kind = kind;
	return noted;
}

/* The open file of a descriptor of the current task, or NULL. */
static __always_inline struct file *file_at(s64 fd)
{
	struct fdtable *table = BPF_CORE_READ(current_task(), files, fdt);
	struct file *file = NULL;
	if (fd < 0 || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)(BPF_CORE_READ(table, fd) + fd));
	return file;
}

/* Writes the path of the place where the walk of `s` stands into `noted`. False if it has none. */
static __always_inline bool note_path(struct scratch *s, struct noted *noted)
{
	u32 at = render_path();
	if (at >= PATH_BYTES_MAX)
		return false;
	long n = bpf_probe_read_kernel_str(noted->path, PATH_KEPT_BYTES, s->path + (at & (PATH_BYTES_MAX - 1)));
	return n > 1 && noted->path[0] == '/';
}

static __always_inline void note_file(struct scratch *s, struct noted *noted, struct file *file)
{
	if (file && stand_at(s, file) && note_path(s, noted))
		count_note(&paths, noted);
}

/* A path that the caller wrote: whole, or below the folder of a descriptor, or below the working folder. */
static __always_inline void note_written(struct scratch *s, struct noted *noted, u64 name, s64 folder)
{
	char first = 0;
	if (bpf_probe_read_user(&first, 1, (void *)name) || !first)
		return;
	if (first == '/') {
		if (bpf_probe_read_user_str(noted->path, PATH_KEPT_BYTES, (void *)name) > 0)
			count_note(&paths, noted);
		return;
	}
	if (folder == AT_FDCWD) {
		s->walk.dentry = (u64)BPF_CORE_READ(current_task(), fs, pwd.dentry);
		s->walk.vfsmount = (u64)BPF_CORE_READ(current_task(), fs, pwd.mnt);
	} else {
		struct file *file = file_at(folder);
		if (!file || !stand_at(s, file))
			return;
	}
	if (note_path(s, noted) && bpf_probe_read_user_str(noted->name, NAME_KEPT_BYTES, (void *)name) > 0)
		count_note(&paths, noted);
}

static __always_inline void note_address(u32 slot, u32 kind, u64 from, u32 bytes)
{
	u8 raw[28] = {};
	struct address address = { .slot = slot, .kind = kind };
	if (!from || bytes < 4)
		return;
	/* The family first: a Unix address may be shorter than an internet one. */
	if (bpf_probe_read_user(raw, 2, (void *)from))
		return;
	address.family = *(u16 *)raw;
	if (address.family == AF_UNIX) {
		struct noted *noted = clean_note(slot, kind == KIND_BIND ? PATH_BOUND : PATH_CONNECTED);
		if (noted && bpf_probe_read_user_str(noted->path, 109, (void *)(from + 2)) > 1)
			count_note(&paths, noted);
		return;
	}
	if (address.family == AF_INET && bytes >= 16 && !bpf_probe_read_user(raw, 16, (void *)from))
		__builtin_memcpy(address.bytes, raw + 4, 4);
	else if (address.family == AF_INET6 && bytes >= 28 && !bpf_probe_read_user(raw, 28, (void *)from))
		__builtin_memcpy(address.bytes, raw + 8, 16);
	else if (address.family == AF_INET || address.family == AF_INET6)
		return;
	if (address.family == AF_INET || address.family == AF_INET6)
		address.port = raw[2] << 8 | raw[3];
	count_note(&addresses, &address);
}

static __always_inline void note_result(struct scratch *s, struct pt_regs *regs, u32 slot, u32 number, s64 ret)
{
	u32 kind = kinds[number];
	u32 at = path_argument[number];
	struct noted *noted;

	switch (kind) {
	case KIND_OPEN: {
		struct file *file = file_at(ret);
		if (!file || !(BPF_CORE_READ(file, f_mode) & FMODE_WRITE))
			return;
		noted = clean_note(slot, PATH_WRITTEN);
		if (noted)
			note_file(s, noted, file);
		return;
	}
	case KIND_EXEC:
		noted = clean_note(slot, PATH_EXECUTED);
		if (noted)
			note_file(s, noted, BPF_CORE_READ(current_task(), mm, exe_file));
		return;
	case KIND_PATH:
	case KIND_PATH_AT:
		noted = clean_note(slot, PATH_CHANGED);
		if (noted)
			note_written(s, noted, argument(regs, false, at),
				     kind == KIND_PATH ? AT_FDCWD : (s64)(s32)argument(regs, false, at - 1));
		return;
	case KIND_BIND:
	case KIND_CONNECT:
		note_address(slot, kind, argument(regs, false, 1), argument(regs, false, 2));
		return;
	case KIND_SEND:
		note_address(slot, KIND_CONNECT, argument(regs, false, 4), argument(regs, false, 5));
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(record_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	bool is_pending = false;
	u32 index = slot_of(task, &is_pending), number = call_number(regs);
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot || number >= CALLS_MAX || is_compat(task))
		return 0;
	if (is_pending) {
		/* The exec by which the followed program begins. */
		if (kinds[number] != KIND_EXEC || ret)
			return 0;
		u32 tgid = bpf_get_current_pid_tgid() >> 32, target = index / 2;
		bpf_map_update_elem(&tasks, &tgid, &target, 0);
		slot->entered[number] = 1;
	}
	if ((ret == -EPERM || ret == -EACCES || ret == -ENOSYS) && !slot->entered[number]) {
		slot->refused[number] = 1;
		return 0;
	}
	if (!kinds[number] || (ret < 0 && ret != -EINPROGRESS))
		return 0;
	struct scratch *s = scratch();
	if (!s || s->busy)
		return 0;
	s->busy = 1;
	note_result(s, regs, index, number, ret);
	s->busy = 0;
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(record_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 from = BPF_CORE_READ(parent, tgid), tgid = BPF_CORE_READ(child, tgid);
	/* Whatever it is that the parent is followed for: the child may leave it. */
	u32 *target = target_of(parent, from);
	if (target && from != tgid) {
		u32 copy = *target;
		if (bpf_map_update_elem(&tasks, &tgid, &copy, 0))
			n_unfollowed++;
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(record_end, struct task_struct *task)
{
	u32 tgid = BPF_CORE_READ(task, tgid);
	/* The last thread of the process (`do_exit` counts before it tells). */
	if (!BPF_CORE_READ(task, signal, live.counter))
		bpf_map_delete_elem(&tasks, &tgid);
	return 0;
}

/* Since 6.14. `ret` is 0 where the task has the capability. */
SEC("tp_btf/cap_capable")
int BPF_PROG(record_capability, const void *cred, void *target, const void *capable, int cap, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool is_pending = false;
	u32 index = slot_of((struct task_struct *)task, &is_pending);
	if (ret || is_pending || index >= SLOTS_MAX)
		return 0;
	/* An overlay asks in the name of its mounter, whose credentials the task wears meanwhile. */
	if (cred != BPF_CORE_READ((struct task_struct *)task, real_cred))
		return 0;
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct capability key = { .slot = index, .capability = cap, .number = call_number(regs) };
	count_note(&capabilities, &key);
	return 0;
}

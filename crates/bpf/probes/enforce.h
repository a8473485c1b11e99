/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * Killing from a probe, at the moment when its record is made: before the task runs another instruction of its own.
 *
 * Facts are read from the record itself, so that the kernel judges what rules will see. Nothing is done outside of the
 * guarded cgroups. Forks and exits are never judged: a fork's record is the child's, while the current task is its
 * parent. Without enforcement, `settings.enforcing_tgid` is a constant 0 and all of this is dead code.
 */
#ifndef PALISADE_ENFORCE_H
#define PALISADE_ENFORCE_H

#include "decide.h"
#include "path.h"

#define SIGKILL 9
#define TYPE_CLONE PLS_EVENT_CLONE
#define TYPE_PROCEXIT PLS_EVENT_PROCEXIT
#define LAYER_BITS_SHIFT 15 /* PLS_FD_UPPER_LAYER is bit 15, PLS_FD_LOWER_LAYER bit 16 */
#define SLASH_LOOK_MAX 256

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct facts);
} enforce_facts SEC(".maps");

static __always_inline struct facts *facts_of(u32 which)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&enforce_facts, &zero);
}

/* The kernel's helper for it came to these programs after 5.10. */
static __always_inline u64 ancestor_id(u32 level)
{
	struct cgroup *cgroup = BPF_CORE_READ(current_task(), cgroups, dfl_cgrp);
	struct cgroup___v6_1 *v6_1 = (void *)cgroup;
	struct cgroup *ancestor = NULL;
	u64 id = 0;
	if (level > (u32)BPF_CORE_READ(cgroup, level))
		return 0;
	if (bpf_core_field_exists(v6_1->ancestors)) {
		void *at = (void *)cgroup + bpf_core_field_offset(struct cgroup___v6_1, ancestors);
		bpf_probe_read_kernel(&ancestor, sizeof(ancestor), at + level * sizeof(ancestor));
		return BPF_CORE_READ(ancestor, kn, id);
	}
	void *at = (void *)cgroup + bpf_core_field_offset(struct cgroup___v5, ancestor_ids);
	bpf_probe_read_kernel(&id, sizeof(id), at + level * sizeof(id));
	return id;
}

/* Where parameter `index` of the record lies: its offset << 13 | its length, or -1. */
__attribute__((noinline)) int parameter_place(u32 index)
{
	struct scratch *s = scratch();
	/* A record that outgrew its buffer has been written over. */
	if (!s || !settings.enforcing_tgid || index >= s->n || s->pos > RECORD_BYTES_MAX)
		return -1;
	u32 at = HEADER_BYTES + 2 * (s->n & 63);
	for (u32 i = 0; i < 32; i++) {
		u32 bytes = *(u16 *)(s->data + HEADER_BYTES + 2 * i);
		if (i == index)
			return (at & (RECORD_BYTES_MAX - 1)) << 13 | (bytes & 0x1fff);
		at += bytes;
	}
	return -1;
}

#define PLACE_AT(place) ((u32)(place) >> 13 & (RECORD_BYTES_MAX - 1))
#define PLACE_BYTES(place) ((u32)(place) & 0x1fff)

static __always_inline void know_parameter(struct facts *f, struct scratch *s, u32 input, u32 index)
{
	int place = parameter_place(index);
	if (place < 0)
		return know_not(f, input);
	u8 *at = s->data + PLACE_AT(place);
	switch (PLACE_BYTES(place)) {
	case 1: return know(f, input, *at);
	case 2: return know(f, input, *(u16 *)at);
	case 4: return know(f, input, *(u32 *)at);
	case 8: return know(f, input, *(s64 *)at);
	default: return know_not(f, input);
	}
}

/* The path of an opened file, in parameter `index`, if it begins at the root. */
static __always_inline void know_path(struct facts *f, struct scratch *s, u32 index)
{
	int place = parameter_place(index);
	if (place < 0 || PLACE_BYTES(place) < 2 || s->path_cut || s->data[PLACE_AT(place)] != '/') {
		know_not(f, INPUT_PATH_END);
		return know_not(f, INPUT_PATH);
	}
	if (ASKED(f, INPUT_PATH)) {
		SET_TEXT(f, s->data + PLACE_AT(place));
		know_text(f, INPUT_PATH);
	}
	if (ASKED(f, INPUT_PATH_END)) {
		SET_REVERSED(f, s->data, RECORD_BYTES_MAX - 1, PLACE_AT(place), PLACE_BYTES(place) - 2);
		know_text(f, INPUT_PATH_END);
	}
}

/* Folder and name of the path in parameter `index`. */
static __always_inline void know_path_parts(struct facts *f, struct scratch *s, u32 index, bool is_directory)
{
	int place = parameter_place(index);
	u32 at = PLACE_AT(place), bytes = PLACE_BYTES(place), slash = 0, i;
	if (place < 0 || bytes < 2 || s->path_cut || s->data[at] != '/') {
		know_not(f, INPUT_DIRECTORY);
		return know_not(f, INPUT_FILE_NAME);
	}
	u32 last = bytes - 2; /* of the characters */
	for (i = 0; i < SLASH_LOOK_MAX && i <= last; i++) {
		slash = last - i;
		if (s->data[(at + slash) & (RECORD_BYTES_MAX - 1)] == '/')
			break;
	}
	if (i == SLASH_LOOK_MAX) {
		know_not(f, INPUT_DIRECTORY);
		return know_not(f, INPUT_FILE_NAME);
	}
	if (ASKED(f, INPUT_FILE_NAME) && !is_directory) {
		u32 begin = slash == last ? slash : slash + 1; /* of the root, itself */
		SET_TEXT(f, s->data + ((at + begin) & (RECORD_BYTES_MAX - 1)));
		know_text(f, INPUT_FILE_NAME);
	}
	if (!ASKED(f, INPUT_DIRECTORY))
		return;
	SET_TEXT(f, s->data + (at & (RECORD_BYTES_MAX - 1)));
	u32 end = is_directory ? bytes - 1 : slash ? slash : 1;
	if (end <= TEXT_BYTES) {
		barrier_var(end); /* or the compiler drops the mask, and older verifiers miss it */
		f->key.text[end & 255] = 0;
	}
	know_text(f, INPUT_DIRECTORY);
}

static __always_inline void know_open(struct facts *f, struct scratch *s, s64 result)
{
	u32 type = s->type;
	u32 name = type == PLS_EVENT_OPEN || type == PLS_EVENT_CREAT ? 1 : 2;
	u32 flags = 0, layer = 0;
	know(f, INPUT_DESCRIPTOR, result < 0 ? -1 : result);
	int place = parameter_place(type == PLS_EVENT_CREAT ? 5 : name + 1);
	if (place >= 0 && type == PLS_EVENT_CREAT) {
		layer = *(u16 *)(s->data + PLACE_AT(place)) & 3;
	} else if (place >= 0) {
		flags = *(u32 *)(s->data + PLACE_AT(place));
		layer = flags >> LAYER_BITS_SHIFT & 3;
	}
	if (result < 0) {
		/* Rules see what was asked for, and the kernel has resolved nothing. */
		know(f, INPUT_OPEN_FLAGS, flags & ~PLS_O_TMPFILE);
		know_not(f, INPUT_PATH);
		know_not(f, INPUT_PATH_END);
		know_not(f, INPUT_DIRECTORY);
		know_not(f, INPUT_FILE_NAME);
		know_not(f, INPUT_IS_DIRECTORY);
		know_not(f, INPUT_LAYER);
		return;
	}
	bool is_directory = flags & PLS_O_DIRECTORY;
	know(f, INPUT_OPEN_FLAGS, flags);
	know(f, INPUT_IS_DIRECTORY, is_directory);
	know(f, INPUT_LAYER, layer);
	if (ASKED(f, INPUT_PATH) || ASKED(f, INPUT_PATH_END))
		know_path(f, s, name);
	if (ASKED(f, INPUT_DIRECTORY) || ASKED(f, INPUT_FILE_NAME))
		know_path_parts(f, s, name, is_directory);
}

/* A `sockaddr` or, from `skip` bytes on, the second end of a `socktuple`. */
static __always_inline void know_address(struct facts *f, struct scratch *s, u32 index, bool is_tuple, u32 ip, u32 port)
{
	int place = parameter_place(index);
	if (place < 0 || !PLACE_BYTES(place))
		return; /* absent */
	u8 family = s->data[PLACE_AT(place)];
	if (family != 2 && family != 10)
		return;
	u32 width = family == 2 ? 4 : 16;
	u32 at = PLACE_AT(place) + 1 + (is_tuple ? width + 2 : 0);
	if (ASKED(f, ip))
		know_ip(f, ip, s->data + (at & (RECORD_BYTES_MAX - 1)), family == 10);
	know(f, port, *(u16 *)(s->data + ((at + width) & (RECORD_BYTES_MAX - 1))));
}

static __always_inline void know_connect(struct facts *f, struct scratch *s, s64 result)
{
	know_address(f, s, 3, false, INPUT_ADDRESS_IP, INPUT_ADDRESS_PORT);
	if (result == 0 || result == -115 /* EINPROGRESS */) {
		know_address(f, s, 1, true, INPUT_SERVER_IP, INPUT_SERVER_PORT);
	} else {
		know_not(f, INPUT_SERVER_IP);
		know_not(f, INPUT_SERVER_PORT);
	}
}

/* The path of the program that the task runs, as the walk finds it now. */
static __always_inline void know_running_program(struct facts *f, struct scratch *s, struct task_struct *task)
{
	struct file *exe = BPF_CORE_READ(task, mm, exe_file);
	u16 flags = s->trailer_flags; /* about the record, which this path is not in */
	u32 at = exe ? file_path(s, exe) : PATH_NONE;
	s->trailer_flags = flags;
	if (at >= PATH_BYTES_MAX || s->path_cut || s->path[at & (PATH_BYTES_MAX - 1)] != '/') {
		know_not(f, INPUT_EXE_END);
		return know_not(f, INPUT_EXE);
	}
	if (ASKED(f, INPUT_EXE)) {
		SET_TEXT(f, s->path + (at & (PATH_BYTES_MAX - 1)));
		know_text(f, INPUT_EXE);
	}
	if (ASKED(f, INPUT_EXE_END)) {
		SET_REVERSED(f, s->path, PATH_BYTES_MAX - 1, at, PATH_BYTES_MAX - 2 - at);
		know_text(f, INPUT_EXE_END);
	}
}

/* What the parameters of the record say. */
static __always_inline void know_record(struct facts *f, struct scratch *s, u32 type)
{
	s64 result = *(s64 *)(s->data + ((HEADER_BYTES + 2 * (s->n & 63)) & (RECORD_BYTES_MAX - 1)));
	bool is_exec = type == PLS_EVENT_EXECVE || type == PLS_EVENT_EXECVEAT;

	know(f, INPUT_RESULT, result);
	if (type == PLS_EVENT_OPEN || type == PLS_EVENT_OPENAT || type == PLS_EVENT_OPENAT2 || type == PLS_EVENT_CREAT)
		know_open(f, s, result);
	if (is_exec && result >= 0) {
		know_parameter(f, s, INPUT_TERMINAL, 16);
		know_parameter(f, s, INPUT_EXE_FLAGS, 19);
	} else {
		know_not(f, INPUT_TERMINAL);
		know_not(f, INPUT_EXE_FLAGS);
	}
	if (type == PLS_EVENT_CONNECT)
		know_connect(f, s, result);
	if (type == PLS_EVENT_BIND)
		know_address(f, s, 1, false, INPUT_ADDRESS_IP, INPUT_ADDRESS_PORT);
	for (u32 i = 1; i <= 4; i++)
		if (ASKED(f, INPUT_PARAMETER + i))
			know_parameter(f, s, INPUT_PARAMETER + i, i);
}

/* Judges the record in the buffer, which is the current task's, and kills the task if a rule says so. */
static __always_inline int judge_record(struct scratch *s)
{
	struct facts *f = facts_of(0);
	if (!settings.enforcing_tgid || !f)
		return 0;
	u32 type = s->type, tgid = bpf_get_current_pid_tgid() >> 32;
	if (type == TYPE_CLONE || type == TYPE_PROCEXIT || tgid == settings.enforcing_tgid || tgid <= 1)
		return 0;
	f->cgroup_id = guarded_cgroup();
	if (!f->cgroup_id)
		return 0;
	f->event = type;
	if (!begin_facts(f))
		return 0;
	struct task_struct *task = current_task();
	f->ts = s->ts;
	f->start_boottime = BPF_CORE_READ(task, group_leader, start_boottime);
	f->tid = bpf_get_current_pid_tgid();
	f->tgid = tgid;
	f->found.object_bytes = 0;
	if (ASKED(f, INPUT_COMM))
		know_comm(f, task);
	if (ASKED(f, INPUT_PARENT))
		know_parent(f, task);
	know(f, INPUT_UID, BPF_CORE_READ(task, cred, euid.val));
	if (s->pos <= RECORD_BYTES_MAX)
		know_record(f, s, type);
	else
		f->unknown = ~(1u << INPUT_COMM | 1u << INPUT_PARENT | 1u << INPUT_UID | 1u << INPUT_EXE |
			       1u << INPUT_EXE_END);
	/* Last: the walk takes the place of that of the opened file. */
	if (ASKED(f, INPUT_EXE) || ASKED(f, INPUT_EXE_END))
		know_running_program(f, s, task);

	if (!judge(0, ACTION_KILL))
		return 0;
	if (f->found_dry)
		report(f, MEANS_KILL, OUTCOME_WOULD);
	else if (bpf_send_signal(SIGKILL))
		report(f, MEANS_KILL, OUTCOME_FAILED);
	else
		report(f, MEANS_KILL, OUTCOME_KILLED);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(judge_call, struct pt_regs *regs, long ret)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	judge_record(s);
	s->busy = 0;
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(judge_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	judge_record(s);
	s->busy = 0;
	return 0;
}

#endif

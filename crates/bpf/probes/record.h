/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * How a record is put together and sent.
 *
 * A record is written into a per-CPU buffer and copied into a ring when it is whole. The buffer is claimed by
 * `begin` and given back by `finish`: a program that finds it claimed (possible only where a probe can be preempted)
 * counts a loss instead of mixing two records. Every write is at a masked offset, so the verifier needs no branch per
 * parameter; a record that outgrew the buffer is counted and dropped by `finish`.
 *
 * Functions that loop are global (not static): the verifier judges them once, whoever calls them.
 */
#ifndef PALISADE_RECORD_H
#define PALISADE_RECORD_H

#include "field.h"
#include <bpf/bpf_tracing.h>
#include "events.h"

#define HEADER_BYTES 26
#define TRAILER_BYTES 32
#define RECORD_BYTES_MAX 16384 /* a power of two */
#define PATH_BYTES_MAX 4096 /* a power of two; PATH_MAX of the kernel */
#define NAME_BYTES_MAX 256
#define RAW_PATH_BYTES_MAX 1024
#define ARGS_BYTES_MAX 4096
#define ENV_BYTES_MAX 2048
#define PATH_COMPONENTS_MAX 64
#define CGROUP_COMPONENTS_MAX 12

/* Classes of events: the unit of loss counting. The order is that of `Class` in src/interest.rs. */
enum class {
	CLASS_EXEC, CLASS_FORK, CLASS_EXIT, CLASS_OPEN, CLASS_NETWORK, CLASS_DESCRIPTOR, CLASS_FILE,
	CLASS_MEMORY, CLASS_NAMESPACE, CLASS_CREDENTIAL, CLASS_KERNEL, CLASS_SIGNAL,
	N_CLASSES,
};

/* Bits of the trailer's flags. */
#define TRAILER_COMPAT 1 /* 32-bit system call */
#define TRAILER_NESTED_PIDNS 2 /* the task is not in the root pid namespace */
#define TRAILER_TRUNCATED 4 /* a parameter was cut at its bound */
#define TRAILER_RAW_PATH 8 /* a path follows the trailer: the one that the caller wrote */
#define TRAILER_FD_PATH 16 /* or, with this, that of the file behind the event's descriptor */
#define TRAILER_FD_FOLDER 32 /* that file is a folder */
#define TRAILER_FD_NO_SOCKET 64 /* the event's descriptor is no socket */

/* Written by the loader before the object is loaded; the verifier knows the values as constants. */
struct settings {
	u32 own_tgid;
	u32 only_containers;
	u32 host_mntns[2]; /* of process 1 and of the loader */
	u32 cgroup_mode; /* 0 all, 1 all but `cgroups_listed`, 2 only `cgroups_listed` */
	u32 wake_after_ns;
	u32 enforcing_tgid; /* of the agent; 0 without enforcement */
};
const volatile struct settings settings SEC(".rodata.settings") = {};

/*
 * Where a path walk stands. It is kept in the map, not in registers: what the verifier reads from a map is unknown
 * to it, so the rounds of a walk look alike and are judged once each, not once per way of getting there.
 */
struct walk {
	u64 dentry, vfsmount;
	u32 n, bytes; /* components noted on the way up, and the length of their path */
	u32 result; /* how the way up ended */
	u32 at, end; /* what is written of the path buffer */
	u32 state; /* of the automaton that reads it */
};
/* A name on the way, in the kernel's memory. */
struct component {
	u64 name;
	u32 len, unused;
};

struct scratch {
	u32 pos; /* next byte of the record */
	u32 n; /* parameters written */
	u16 type;
	u16 trailer_flags;
	u32 class;
	u64 ts;
	u32 busy;
	u32 compat;
	struct walk walk;
	struct component components[PATH_COMPONENTS_MAX];
	u32 path_cut; /* the last walk did not come to the root */
	u64 raw_path; /* address in the caller's memory, or 0 */
	u32 raw_unless_bytes; /* length, with its NUL, of the path that it would only repeat */
	u32 fd_path; /* where in `path` that of the event's descriptor is, or PATH_BYTES_MAX */
	u8 data[RECORD_BYTES_MAX + PATH_BYTES_MAX];
	u8 path[PATH_BYTES_MAX + NAME_BYTES_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch_map SEC(".maps");

struct counters { u64 n_sent, n_lost_full, n_lost_busy, n_lost_large, n_truncated, n_filtered, n_bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, N_CLASSES);
	__type(key, u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Sizes are set by the loader. */
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 2097152); } ring_priority SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8388608); } ring_bulk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} cgroups_listed SEC(".maps");

/*
 * Until when the reader of both rings comes by itself: a record before then wakes nobody. To wake costs more than all
 * the rest of a record, for the processor interrupts itself. The reader writes its own promise here (src/load.rs); a
 * program that wakes it writes when the next may. Racy on purpose: a lost update costs one wake-up.
 */
volatile u64 reader_returns_ns SEC(".data.reader") = 0;

#define count(class, field) count_by(class, field, 1)
#define count_by(class, field, n)                                                                                      \
	({                                                                                                             \
		u32 __class = (class);                                                                                 \
		struct counters *__c = bpf_map_lookup_elem(&counters, &__class);                                       \
		if (__c)                                                                                               \
			__c->field += (n);                                                                             \
	})

static __always_inline struct scratch *scratch(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&scratch_map, &zero);
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/*
 * Memory of the kernel by plain loads instead of a helper call per field, where an address can be cast to a pointer that
 * may be read (6.2; known by a type of 6.4). A load from a bad address gives 0, as the helper does.
 */
extern void *bpf_rdonly_cast(const void *address, u32 btf_id) __ksym __weak;
#define CASTS bpf_core_type_exists(struct bpf_iter_num)
#define CAST(type, address)                                                                                            \
	((struct type *)bpf_rdonly_cast((const void *)(address), bpf_core_type_id_kernel(struct type)))

/* Whether the kernel gives a typed pointer to the current task (5.11). */
#define TYPED_TASK bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)

/*
 * Who acts, as filter and trailer need it. Read by plain loads where the kernel gives a typed pointer to the task
 * (5.11), which is ten times faster than a helper call per field, and by helper calls elsewhere.
 */
struct actor {
	u64 cgroup_id, start_boottime;
	u32 tgid, ppid, uid, pidns_level;
};

#define LOAD_ACTOR(a, task)                                                                                            \
	(a)->cgroup_id = (task)->cgroups->dfl_cgrp->kn->id;                                                            \
	(a)->tgid = (task)->tgid;                                                                                      \
	(a)->ppid = (task)->real_parent->tgid;                                                                         \
	(a)->uid = (task)->cred->uid.val;                                                                              \
	(a)->start_boottime = (task)->group_leader->start_boottime;                                                    \
	(a)->pidns_level = (task)->thread_pid->level;

static __always_inline void current_actor(struct actor *a)
{
	if (TYPED_TASK) {
		struct task_struct *task = bpf_get_current_task_btf();
		LOAD_ACTOR(a, task)
	} else {
		struct task_struct *task = current_task();
		a->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
		a->tgid = BPF_CORE_READ(task, tgid);
		a->ppid = BPF_CORE_READ(task, real_parent, tgid);
		a->uid = BPF_CORE_READ(task, cred, uid.val);
		a->start_boottime = BPF_CORE_READ(task, group_leader, start_boottime);
		a->pidns_level = BPF_CORE_READ(task, thread_pid, level);
	}
}

/* --- filter ---------------------------------------------------------------------------------------- */

/*
 * Processes that began in a container and look like the host's: by setns(2), or as the child of one that did. A
 * container's cgroup still holds them, so they are the container's for every rule.
 */
#define ESCAPED_MAX 4096
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ESCAPED_MAX);
	__type(key, u32);
	__type(value, u8);
} escaped SEC(".maps");
/* Ever any. It spares the rest the look into the table. */
u32 any_escaped = 0;

/*
 * Whether a task is a container's: nested in a pid namespace, or with mounts that are neither the host's nor the
 * loader's (a container can share the host's pid namespace, but not its mounts). An exiting task has no namespaces
 * left; it counts as a container's, for the sensor knows what it was.
 */
static __always_inline bool contained(u32 pidns_level, u32 tgid, bool has_namespaces, u32 mntns)
{
	if (pidns_level || !has_namespaces)
		return true;
	if (mntns != settings.host_mntns[0] && mntns != settings.host_mntns[1])
		return true;
	return any_escaped && bpf_map_lookup_elem(&escaped, &tgid);
}

static __always_inline bool task_is_contained(struct task_struct *task, u32 pidns_level, u32 tgid)
{
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);
	return contained(pidns_level, tgid, nsproxy != NULL, BPF_CORE_READ(nsproxy, mnt_ns, ns.inum));
}

/* The same for the current task. */
static __always_inline bool is_contained(void)
{
	if (TYPED_TASK) {
		struct task_struct *task = bpf_get_current_task_btf();
		return contained(task->thread_pid->level, task->tgid, task->nsproxy != NULL, task->nsproxy->mnt_ns->ns.inum);
	}
	struct task_struct *task = current_task();
	return task_is_contained(task, BPF_CORE_READ(task, thread_pid, level), BPF_CORE_READ(task, tgid));
}

static __always_inline void mark_escaped(u32 tgid)
{
	u8 one = 1;
	any_escaped = 1;
	bpf_map_update_elem(&escaped, &tgid, &one, 0);
}

static __always_inline bool cgroup_is_wanted(struct actor *a)
{
	bool listed = bpf_map_lookup_elem(&cgroups_listed, &a->cgroup_id) != NULL;
	return listed != (settings.cgroup_mode == 1);
}

/* Whether the loader's settings want events of `task`. */
static __always_inline bool wanted(struct task_struct *task, struct actor *a)
{
	if (a->tgid == settings.own_tgid)
		return false;
	if (settings.only_containers && !task_is_contained(task, a->pidns_level, a->tgid))
		return false;
	return !settings.cgroup_mode || cgroup_is_wanted(a);
}

/* The same for the current task, reading of it only what the settings ask about. */
static __always_inline bool current_is_wanted(void)
{
	if (bpf_get_current_pid_tgid() >> 32 == settings.own_tgid)
		return false;
	if (settings.only_containers && !is_contained())
		return false;
	if (settings.cgroup_mode) {
		struct actor actor;
		current_actor(&actor);
		return cgroup_is_wanted(&actor);
	}
	return true;
}

/* --- parameters ------------------------------------------------------------------------------------ */

#define AT(s) ((s)->pos & (RECORD_BYTES_MAX - 1))

static __always_inline void end_param(struct scratch *s, u32 bytes)
{
	*(u16 *)(s->data + HEADER_BYTES + 2 * (s->n & 63)) = bytes;
	s->n++;
	s->pos += bytes;
}

#define PUSH(name, type)                                                                                               \
	static __always_inline void name(struct scratch *s, type value)                                                \
	{                                                                                                              \
		*(type *)(s->data + AT(s)) = value;                                                                    \
		end_param(s, sizeof(type));                                                                            \
	}
PUSH(push_u8, u8)
PUSH(push_u16, u16)
PUSH(push_u32, u32)
PUSH(push_u64, u64)
static __always_inline void push_s64(struct scratch *s, s64 value)
{
	push_u64(s, (u64)value);
}
static __always_inline void push_empty(struct scratch *s)
{
	end_param(s, 0);
}

/* A string of user memory with its NUL; an unreadable one is an absent parameter. */
static __always_inline u32 push_user_str(struct scratch *s, u64 address)
{
	long n = bpf_probe_read_user_str(s->data + AT(s), PATH_BYTES_MAX, (void *)address);
	if (n < 0)
		n = 0;
	if (n == PATH_BYTES_MAX)
		s->trailer_flags |= TRAILER_TRUNCATED;
	end_param(s, n);
	return n;
}

static __always_inline void push_kernel_str(struct scratch *s, const void *address)
{
	long n = bpf_probe_read_kernel_str(s->data + AT(s), PATH_BYTES_MAX, address);
	end_param(s, n > 0 ? n : 0);
}

/* At most `max` (a power of two) bytes of user memory. */
static __always_inline void push_user_bytes(struct scratch *s, u64 address, u64 bytes, u32 max)
{
	if (bytes >= max) {
		bytes = max - 1;
		s->trailer_flags |= TRAILER_TRUNCATED;
	}
	u32 n = bytes;
	barrier_var(n); /* or the compiler sees that the mask changes nothing, and the verifier does not */
	n &= max - 1;
	if (n && bpf_probe_read_user(s->data + AT(s), n, (void *)address))
		n = 0;
	end_param(s, n);
}

/* The path that `render_path` left in the scratch buffer, from `at`. */
static __always_inline void push_path(struct scratch *s, u32 at)
{
	if (at >= PATH_BYTES_MAX) {
		push_empty(s);
		return;
	}
	u32 n = (PATH_BYTES_MAX - at) & (PATH_BYTES_MAX - 1);
	bpf_probe_read_kernel(s->data + AT(s), n, s->path + (at & (PATH_BYTES_MAX - 1)));
	end_param(s, n);
}

/* --- beginning and end ----------------------------------------------------------------------------- */

/* Claims the buffer. NULL if it is claimed already, which is counted. */
static __always_inline struct scratch *claim(u32 class)
{
	struct scratch *s = scratch();
	if (!s)
		return NULL;
	if (s->busy) {
		count(class, n_lost_busy);
		return NULL;
	}
	s->busy = 1;
	s->class = class;
	s->trailer_flags = 0;
	return s;
}

/* Begins a record in the claimed buffer. */
static __always_inline void start_record(struct scratch *s, u32 tid, u16 type, u32 n_params)
{
	s->n = 0;
	s->pos = HEADER_BYTES + 2 * n_params;
	s->type = type;
	s->compat = 0;
	s->raw_path = 0;
	s->fd_path = PATH_BYTES_MAX;
	s->ts = bpf_ktime_get_boot_ns();
	*(u64 *)(s->data + 8) = tid;
	*(u16 *)(s->data + 20) = type;
}

static __always_inline struct scratch *begin(struct task_struct *task, struct actor *a, u32 tid, u16 type, u32 class,
					     u32 n_params)
{
	if (!wanted(task, a)) {
		count(class, n_filtered);
		return NULL;
	}
	struct scratch *s = claim(class);
	if (s)
		start_record(s, tid, type, n_params);
	return s;
}

/* Lets the buffer go without sending. */
static __always_inline void cancel(struct scratch *s)
{
	count(s->class, n_filtered);
	s->busy = 0;
}

/*
 * The path as the caller wrote it, behind the trailer, where it says more than the resolved one. Resolving shortens
 * what has `..` or doubled slashes and lengthens what is relative, so an absolute text of the same length is the same
 * path but for links, whose target is what matters.
 */
static __always_inline u32 append_raw_path(struct scratch *s, u8 *trailer)
{
	u8 *to = trailer + TRAILER_BYTES;
	long n = bpf_probe_read_user_str(to, RAW_PATH_BYTES_MAX, (void *)s->raw_path);
	if (n <= 1 || (n == s->raw_unless_bytes && to[0] == '/'))
		return 0;
	*(u16 *)(trailer + 18) |= TRAILER_RAW_PATH;
	return n;
}

/* The path of the event's descriptor, behind the trailer, where `describe_fd` found one. */
static __always_inline u32 append_fd_path(struct scratch *s, u8 *trailer)
{
	u32 at = s->fd_path;
	u32 n = PATH_BYTES_MAX - at;
	if (at >= PATH_BYTES_MAX || n >= RAW_PATH_BYTES_MAX)
		return 0;
	barrier_var(n);
	n &= RAW_PATH_BYTES_MAX - 1;
	if (bpf_probe_read_kernel(trailer + TRAILER_BYTES, n, s->path + (at & (PATH_BYTES_MAX - 1))))
		return 0;
	*(u16 *)(trailer + 18) |= TRAILER_RAW_PATH | TRAILER_FD_PATH;
	return n;
}

/* Sends the record; false if it was lost. The buffer stays claimed. */
static __always_inline bool send(struct scratch *s, struct actor *a, u32 class, bool priority)
{
	u32 len = s->pos;
	if (len > RECORD_BYTES_MAX - TRAILER_BYTES) {
		count(class, n_lost_large);
		return false;
	}
	*(u64 *)(s->data + 0) = s->ts;
	*(u32 *)(s->data + 16) = len;
	*(u32 *)(s->data + 22) = s->n;

	u8 *trailer = s->data + (len & (RECORD_BYTES_MAX - 1));
	if (a->pidns_level)
		s->trailer_flags |= TRAILER_NESTED_PIDNS;
	if (s->trailer_flags & TRAILER_TRUNCATED)
		count(class, n_truncated);
	*(u64 *)(trailer + 0) = a->cgroup_id;
	*(u32 *)(trailer + 8) = a->tgid;
	*(u32 *)(trailer + 12) = a->ppid;
	*(u16 *)(trailer + 16) = bpf_get_smp_processor_id();
	*(u16 *)(trailer + 18) = s->trailer_flags;
	*(u32 *)(trailer + 20) = a->uid;
	*(u64 *)(trailer + 24) = a->start_boottime;

	u32 total = len + TRAILER_BYTES;
	if (s->raw_path)
		total += append_raw_path(s, trailer);
	else if (s->fd_path < PATH_BYTES_MAX)
		total += append_fd_path(s, trailer);
	/* Never more than this; kernels before 6.18 do not find it out from the sum, and want to be told. */
	barrier_var(total);
	if (total > RECORD_BYTES_MAX + RAW_PATH_BYTES_MAX)
		total = RECORD_BYTES_MAX + RAW_PATH_BYTES_MAX;
	u64 flags = BPF_RB_NO_WAKEUP;
	if (s->ts > reader_returns_ns) {
		reader_returns_ns = s->ts + settings.wake_after_ns;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	long failed = priority ? bpf_ringbuf_output(&ring_priority, s->data, total, flags) :
				 bpf_ringbuf_output(&ring_bulk, s->data, total, flags);
	if (failed)
		count(class, n_lost_full);
	else {
		count(class, n_sent);
		count_by(class, n_bytes, total);
	}
	return !failed;
}

/* Sends the record and gives the buffer back; false if the record was lost. */
static __always_inline bool finish(struct scratch *s, struct actor *a, u32 class, bool priority)
{
	bool sent = send(s, a, class, priority);
	s->busy = 0;
	return sent;
}

/*
 * The programs that judge what has been sent (enforce.h): a program each for the two kinds of hooks, so that the
 * verifier looks at them once and not with every handler. They give the buffer back. Without enforcement the call is
 * dead code, and without a program it goes on behind it.
 */
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u32); } enforce_after_call SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u32); } enforce_after_exec SEC(".maps");
#define JUDGE(programs)                                                                                                \
	if (settings.enforcing_tgid)                                                                                   \
		bpf_tail_call(ctx, &programs, 0);

#endif

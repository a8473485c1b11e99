/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* Life of a process: fork, exec (both outcomes), exit. All of it goes through the priority ring. */
#ifndef PALISADE_PROCESS_H
#define PALISADE_PROCESS_H

#include "path.h"
#include "call.h"
#include "layer.h"

#define PF_KTHREAD 0x00200000
#define RLIMIT_NOFILE 7
#define PAGE_KIB 4
#define SB_RDONLY 1
#define S_IMMUTABLE 8
#define ARGV_COUNT_MAX 24
#define UID_EXTENTS_MAX 5
#define CAP_BIT_DAC_OVERRIDE (1ULL << 1)
#define CAP_BIT_FOWNER (1ULL << 3)
/* Capabilities of the format: CAP_CHOWN … CAP_CHECKPOINT_RESTORE, numbered as the kernel does. */
#define CAP_MASK ((1ULL << 41) - 1)

static __always_inline u64 capability(const void *address)
{
	u64 bits = 0;
	bpf_probe_read_kernel(&bits, sizeof(bits), address);
	return bits & CAP_MASK;
}
#define CAPABILITY(cred, set) capability((void *)(cred) + bpf_core_field_offset(struct cred, set))
/* A number of 64 bits since 6.3, two words before. */
#define CAPABILITIES(is_typed, cred, set)                                                                              \
	((is_typed) && bpf_core_field_exists(((struct cred___v6_3 *)(cred))->set.val) ?                               \
		 ((struct cred___v6_3 *)(cred))->set.val & CAP_MASK :                                                  \
		 CAPABILITY(cred, set))

/*
 * Where `struct upid` of the namespace at `level` lies. The address goes through the map, for to a typed pointer the
 * verifier lets nobody add what it does not know; read from there it is a number.
 */
static __always_inline void *upid_at(struct scratch *s, struct pid *pid, u32 level)
{
	volatile u64 *address = &s->walk.dentry;
	*address = (u64)pid;
	return (void *)*address + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid);
}

/* The number of `pid` in the namespace of `task`; zero where it has none, as with a group led from outside. */
static __always_inline int pid_vnr(struct scratch *s, struct pid *pid, struct task_struct *task, bool is_typed)
{
	u32 level = FIELD2(is_typed, task, thread_pid, level);
	int nr = 0;
	if (level > FIELD(is_typed, pid, level))
		return 0;
	bpf_probe_read_kernel(&nr, sizeof(nr), upid_at(s, pid, level) + bpf_core_field_offset(struct upid, nr));
	return nr;
}

/* When the first process of the namespace of `pid` began. */
static __always_inline u64 reaper_start(struct scratch *s, struct pid *pid)
{
	struct pid_namespace *ns = NULL;
	void *upid = upid_at(s, pid, pid->level);
	bpf_probe_read_kernel(&ns, sizeof(ns), upid + bpf_core_field_offset(struct upid, ns));
	if (CASTS)
		return CAST(pid_namespace, ns)->child_reaper->start_time;
	return BPF_CORE_READ(ns, child_reaper, start_time);
}

static __always_inline s64 rss_pages(struct mm_struct *mm, u32 kind)
{
	s64 pages = 0;
	if (bpf_core_type_exists(struct mm_rss_stat)) {
		void *at = (void *)mm + bpf_core_field_offset(struct mm_struct, rss_stat);
		bpf_probe_read_kernel(&pages, sizeof(pages), at + kind * sizeof(s64));
	} else {
		void *at = (void *)mm + bpf_core_field_offset(struct mm_struct___v6_2, rss_stat);
		at += kind * bpf_core_type_size(struct percpu_counter);
		bpf_probe_read_kernel(&pages, sizeof(pages), at + bpf_core_field_offset(struct percpu_counter, count));
	}
	return pages;
}

/* Pages of `kind`, a literal: only then is the place in the array relocated. Each can be below zero for a while. */
#define RSS_PAGES(is_typed, mm, kind)                                                                                  \
	({                                                                                                             \
		s64 __pages = (is_typed) && !bpf_core_type_exists(struct mm_rss_stat) ?                                \
				      ((struct mm_struct___v6_2 *)(mm))->rss_stat[kind].count :                        \
				      rss_pages(mm, kind);                                                             \
		__pages > 0 ? __pages : 0;                                                                             \
	})

/* Parameters 7 to 13 of the process events: fdlimit to comm. */
static __always_inline void push_usage(struct scratch *s, struct task_struct *task, bool is_typed)
{
	struct mm_struct *mm = FIELD(is_typed, task, mm);
	push_u64(s, FIELD2(is_typed, task, signal, rlim[RLIMIT_NOFILE].rlim_cur));
	push_u64(s, FIELD(is_typed, task, maj_flt));
	push_u64(s, FIELD(is_typed, task, min_flt));
	push_u32(s, FIELD(is_typed, mm, total_vm) * PAGE_KIB);
	s64 rss = RSS_PAGES(is_typed, mm, 0) + RSS_PAGES(is_typed, mm, 1) + RSS_PAGES(is_typed, mm, 3);
	push_u32(s, rss * PAGE_KIB);
	push_u32(s, RSS_PAGES(is_typed, mm, 2) * PAGE_KIB);
	push_kernel_str(s, (void *)task + bpf_core_field_offset(struct task_struct, comm));
}

/* Parameters 1 and 2: argv[0] and the rest, from the memory of the process itself. */
static __always_inline void push_args(struct scratch *s, struct mm_struct *mm)
{
	u64 start = mm->arg_start, end = mm->arg_end;
	u32 n = push_user_str(s, start);
	u64 rest = end > start + n ? end - start - n : 0;
	push_user_bytes(s, start + n, rest, ARGS_BYTES_MAX);
	if (rest)
		s->data[(s->pos - 1) & (RECORD_BYTES_MAX - 1)] = 0;
}

/* --- fork ------------------------------------------------------------------------------------------ */

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->flags & PF_KTHREAD)
		return 0;
	u32 tid = child->pid, tgid = child->tgid;
	u32 flags = 0;
	struct actor actor;
	LOAD_ACTOR(&actor, child)
	/* The child of a container's process that is to be born in the host's namespaces. */
	if (tid == tgid && !task_is_contained(child, actor.pidns_level, tgid) &&
	    task_is_contained(parent, parent->thread_pid->level, parent->tgid))
		mark_escaped(tgid);
	struct scratch *s = begin(child, &actor, tid, PLS_EVENT_CLONE, CLASS_FORK, PLS_NPARAMS_CLONE);
	if (!s)
		return 0;
	struct mm_struct *mm = child->mm;
	struct pid *pid = child->thread_pid;

	push_s64(s, 0);
	push_args(s, mm);
	push_s64(s, tid);
	push_s64(s, tgid);
	push_s64(s, child->real_parent->tgid);
	push_empty(s); /* cwd: the parent's */
	push_usage(s, child, true);
	/* A child begins in its parent's cgroups, and then they are not worth seven walks; clone3 can place it elsewhere. */
	bool same_cgroups = child->cgroups == parent->cgroups;
	if (same_cgroups)
		push_empty(s);
	else
		push_cgroups(s, child);
	if (tid != tgid)
		flags |= PLS_CLONE_THREAD | PLS_CLONE_SIGHAND | PLS_CLONE_VM;
	if (parent->files == child->files)
		flags |= PLS_CLONE_FILES;
	if (pid->level)
		flags |= PLS_CLONE_CHILD_IN_PIDNS;
	push_u32(s, flags);
	push_u32(s, child->cred->euid.val);
	push_u32(s, child->cred->egid.val);
	push_s64(s, pid_vnr(s, pid, child, true));
	push_s64(s, pid_vnr(s, child->signal->pids[PIDTYPE_TGID], child, true));
	push_u64(s, reaper_start(s, pid));
	u32 parent_tgid = parent->tgid;
	u64 *sent = bpf_map_lookup_elem(&cgroups_sent, &parent_tgid);
	u64 print = sent ? *sent : 0;
	if (finish(s, &actor, CLASS_FORK, true) && same_cgroups && sent && tid == tgid)
		bpf_map_update_elem(&cgroups_sent, &tgid, &print, 0);
	return 0;
}

/* --- exit ------------------------------------------------------------------------------------------ */

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (task->flags & PF_KTHREAD)
		return 0;
	struct actor actor;
	LOAD_ACTOR(&actor, task)
	struct scratch *s = begin(task, &actor, task->pid, PLS_EVENT_PROCEXIT, CLASS_EXIT, PLS_NPARAMS_PROCEXIT);
	if (!s)
		return 0;
	int status = task->exit_code;
	push_s64(s, status);
	push_s64(s, (status >> 8) & 0xff);
	push_u8(s, status & 0x7f);
	push_u8(s, (status & 0x80) != 0);
	push_s64(s, 0); /* reaper: the sensor finds it by its own rule */
	finish(s, &actor, CLASS_EXIT, true);
	if (task->pid == task->tgid) {
		bpf_map_delete_elem(&cgroups_sent, &actor.tgid);
		if (any_escaped)
			bpf_map_delete_elem(&escaped, &actor.tgid);
	}
	return 0;
}

/* --- exec ------------------------------------------------------------------------------------------ */

static __always_inline u64 nanoseconds(s64 seconds, u64 rest)
{
	return seconds < 0 ? 0 : seconds * 1000000000ULL + rest;
}

static __always_inline u64 inode_ctime(struct inode *inode, bool is_typed)
{
	if (bpf_core_field_exists(inode->i_ctime))
		return nanoseconds(FIELD(is_typed, inode, i_ctime.tv_sec), FIELD(is_typed, inode, i_ctime.tv_nsec));
	struct inode___v6_6 *v6_6 = (void *)inode;
	if (bpf_core_field_exists(v6_6->__i_ctime))
		return nanoseconds(FIELD(is_typed, v6_6, __i_ctime.tv_sec), FIELD(is_typed, v6_6, __i_ctime.tv_nsec));
	struct inode___v6_11 *v6_11 = (void *)inode;
	return nanoseconds(FIELD(is_typed, v6_11, i_ctime_sec), FIELD(is_typed, v6_11, i_ctime_nsec));
}

static __always_inline u64 inode_mtime(struct inode *inode, bool is_typed)
{
	if (bpf_core_field_exists(inode->i_mtime))
		return nanoseconds(FIELD(is_typed, inode, i_mtime.tv_sec), FIELD(is_typed, inode, i_mtime.tv_nsec));
	struct inode___v6_7 *v6_7 = (void *)inode;
	if (bpf_core_field_exists(v6_7->__i_mtime))
		return nanoseconds(FIELD(is_typed, v6_7, __i_mtime.tv_sec), FIELD(is_typed, v6_7, __i_mtime.tv_nsec));
	struct inode___v6_11 *v6_11 = (void *)inode;
	return nanoseconds(FIELD(is_typed, v6_11, i_mtime_sec), FIELD(is_typed, v6_11, i_mtime_nsec));
}

/* Whether `id` has a name in the map: the kernel grants no capability over an inode whose owner it cannot name. */
static __always_inline bool id_mapped(struct user_namespace *ns, u32 id)
{
	u32 n_extents = BPF_CORE_READ(ns, uid_map.nr_extents);
	if (n_extents > UID_EXTENTS_MAX)
		return true; /* kept in a tree; the cautious answer */
	for (u32 i = 0; i < UID_EXTENTS_MAX; i++) {
		struct uid_gid_extent extent = {};
		if (i >= n_extents)
			break;
		void *at = (void *)ns + bpf_core_field_offset(struct user_namespace, uid_map) + i * sizeof(extent);
		bpf_probe_read_kernel(&extent, sizeof(extent), at);
		if (id - extent.lower_first < extent.count)
			return true;
	}
	return false;
}

/* Whether the task could write to the file it executes: the owner, by mode, or by capability. */
static __always_inline bool exe_writable(struct inode *inode, const struct cred *cred, bool is_typed)
{
	u16 mode = FIELD(is_typed, inode, i_mode);
	u32 uid = FIELD(is_typed, inode, i_uid.val), gid = FIELD(is_typed, inode, i_gid.val);

	if (FIELD2(is_typed, inode, i_sb, s_flags) & SB_RDONLY)
		return false;
	if (FIELD(is_typed, inode, i_flags) & S_IMMUTABLE)
		return false;
	if (uid == (u32)-1 || gid == (u32)-1)
		return false;
	if (FIELD(is_typed, cred, fsuid.val) == uid)
		return true;
	if (FIELD(is_typed, cred, fsgid.val) == gid ? mode & 020 : mode & 02)
		return true;
	u64 effective = CAPABILITIES(is_typed, cred, cap_effective);
	if (!(effective & (CAP_BIT_DAC_OVERRIDE | CAP_BIT_FOWNER)))
		return false;
	return id_mapped(FIELD(is_typed, cred, user_ns), uid);
}

static __always_inline u32 tty_of(struct task_struct *task, bool is_typed)
{
	struct tty_struct *tty = FIELD2(is_typed, task, signal, tty);
	if (!tty)
		return 0;
	u32 major = BPF_CORE_READ(tty, driver, major);
	u32 minor = BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index);
	return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

/* Parameters 3 to 13. */
static __always_inline void push_exec_ids(struct scratch *s, struct task_struct *task, bool is_typed)
{
	push_s64(s, FIELD(is_typed, task, pid));
	push_s64(s, FIELD(is_typed, task, tgid));
	push_s64(s, FIELD2(is_typed, task, real_parent, tgid));
	s->walk.dentry = (u64)FIELD2(is_typed, task, fs, pwd.dentry);
	s->walk.vfsmount = (u64)FIELD2(is_typed, task, fs, pwd.mnt);
	push_path(s, render_path());
	push_usage(s, task, is_typed);
}

/* Parameters 16 to 29, after args, cgroups and env. */
static __always_inline void push_exec_rest(struct scratch *s, struct task_struct *task, bool is_typed)
{
	struct file *exe = FIELD2(is_typed, task, mm, exe_file);
	struct inode *inode = FIELD(is_typed, exe, f_inode);
	const struct cred *cred = FIELD(is_typed, task, cred);
	struct pid *group = FIELD2(is_typed, task, signal, pids[PIDTYPE_PGID]);
	u32 flags = 0, layer = overlay_layer(exe, is_typed);

	push_u32(s, tty_of(task, is_typed));
	push_s64(s, pid_vnr(s, group, task, is_typed));
	if (bpf_core_field_exists(task->loginuid))
		push_u32(s, FIELD(is_typed, task, loginuid.val));
	else
		push_u32(s, -1);
	if (exe_writable(inode, cred, is_typed))
		flags |= PLS_EXE_WRITABLE;
	if (layer == LAYER_UPPER)
		flags |= PLS_EXE_UPPER_LAYER;
	if (layer == LAYER_LOWER)
		flags |= PLS_EXE_LOWER_LAYER;
	if (is_memfd(exe, is_typed))
		flags |= PLS_EXE_FROM_MEMFD;
	push_u32(s, flags);
	push_u64(s, CAPABILITIES(is_typed, cred, cap_inheritable));
	push_u64(s, CAPABILITIES(is_typed, cred, cap_permitted));
	push_u64(s, CAPABILITIES(is_typed, cred, cap_effective));
	push_u64(s, FIELD(is_typed, inode, i_ino));
	push_u64(s, inode_ctime(inode, is_typed));
	push_u64(s, inode_mtime(inode, is_typed));
	push_u32(s, FIELD(is_typed, cred, euid.val));
	push_path(s, file_path(s, exe));
	push_s64(s, BPF_CORE_READ(group, numbers[0].nr));
	push_u32(s, FIELD(is_typed, cred, egid.val));
}

/* Whose environment is sent with an exec. A word of .data, so that new rules change it while the probes run. */
#define ENVIRONMENT_NONE 0
#define ENVIRONMENT_CONTAINED 1
#define ENVIRONMENT_ALL 2
#define ENVIRONMENT_RECORDED 3 /* and the cgroups, whether they changed or not */
volatile u32 environment SEC(".data.environment") = ENVIRONMENT_ALL;

static __always_inline bool environment_wanted(struct task_struct *task, struct actor *a)
{
	u32 whose = environment;
	return whose >= ENVIRONMENT_ALL ||
	       (whose == ENVIRONMENT_CONTAINED && task_is_contained(task, a->pidns_level, a->tgid));
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct actor actor;
	LOAD_ACTOR(&actor, task)
	struct scratch *s = begin(task, &actor, task->pid, PLS_EVENT_EXECVE, CLASS_EXEC, PLS_NPARAMS_EXECVE);
	if (!s)
		return 0;
	struct mm_struct *mm = task->mm;
	u64 env_start = mm->env_start, env_end = mm->env_end;

	push_s64(s, 0);
	push_args(s, mm);
	push_exec_ids(s, task, true);
	u64 print = cgroups_print(task);
	u64 *sent = bpf_map_lookup_elem(&cgroups_sent, &actor.tgid);
	bool same_cgroups = environment != ENVIRONMENT_RECORDED && sent && *sent == print;
	if (same_cgroups)
		push_empty(s);
	else
		push_cgroups(s, task);
	u16 flags = s->trailer_flags;
	if (environment_wanted(task, &actor))
		push_user_bytes(s, env_start, env_end - env_start, ENV_BYTES_MAX);
	else
		push_empty(s);
	s->trailer_flags = flags; /* cutting the environment is the rule */
	push_exec_rest(s, task, true);
	push_kernel_str(s, bprm->filename);
	if (send(s, &actor, CLASS_EXEC, true) && !same_cgroups)
		bpf_map_update_elem(&cgroups_sent, &actor.tgid, &print, 0);
	JUDGE(enforce_after_exec)
	s->busy = 0;
	return 0;
}

/*
 * Appends up to ARGV_COUNT_MAX strings of the user array `argv`, from index `first`, to the record (not yet as a
 * parameter). Returns the bytes.
 */
__attribute__((noinline)) int append_argv(u64 argv, u32 first, u32 bytes_max)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	u32 start = s->pos;
	u32 width = s->compat ? 4 : 8;
	for (u32 i = 0; i < ARGV_COUNT_MAX; i++) {
		u64 address = 0;
		if (bpf_probe_read_user(&address, s->compat ? 4 : 8, (void *)(argv + (u64)(first + i) * width)) || !address)
			break;
		if (s->pos - start >= bytes_max) {
			s->trailer_flags |= TRAILER_TRUNCATED;
			break;
		}
		long n = bpf_probe_read_user_str(s->data + AT(s), 1024, (void *)address);
		if (n <= 0)
			break;
		s->pos += n;
	}
	return s->pos - start;
}

static __always_inline void push_argv(struct scratch *s, u64 argv, u32 first, u32 bytes_max)
{
	u32 start = s->pos;
	append_argv(argv, first, bytes_max);
	u32 bytes = s->pos - start;
	s->pos = start;
	end_param(s, bytes);
}

static __always_inline void push_failed_exec(struct scratch *s, struct task_struct *task, struct actor *actor, long ret,
					     u64 argv, u64 envp)
{
	u64 argv0 = 0;
	bpf_probe_read_user(&argv0, s->compat ? 4 : 8, (void *)argv);
	push_s64(s, ret);
	push_user_str(s, argv0);
	push_argv(s, argv, 1, 3072);
	push_exec_ids(s, task, false);
	push_cgroups(s, task);
	if (environment_wanted(task, actor))
		push_argv(s, envp, 0, 1024);
	else
		push_empty(s);
	push_exec_rest(s, task, false);
}

CALL(execve)
{
	if (ret >= 0)
		return 0; /* on_exec reports it */
	BEGIN(EXECVE, CLASS_EXEC)
	push_failed_exec(s, task, &actor, ret, ARG(1), ARG(2));
	push_user_str(s, ARG(0));
	END_PRIORITY(CLASS_EXEC)
}

CALL(execveat)
{
	if (ret >= 0)
		return 0;
	BEGIN(EXECVEAT, CLASS_EXEC)
	push_failed_exec(s, task, &actor, ret, ARG(2), ARG(3));
	END_PRIORITY(CLASS_EXEC)
}

#endif

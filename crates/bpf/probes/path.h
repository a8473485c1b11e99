/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * Paths from kernel objects: files and cgroups.
 *
 * `bpf_d_path` is refused to tracepoints, so the walk from a dentry to the root is done here, bounded, without
 * locks: a rename in flight can give a path that mixes old and new components, as it can for the reader of
 * /proc/PID/fd. The path ends at the root of the calling task, so a container's file has the container's path.
 */
#ifndef PALISADE_PATH_H
#define PALISADE_PATH_H

#include "record.h"

#define PATH_NONE PATH_BYTES_MAX

enum { WALK_ON, WALK_ROOT, WALK_BARE, WALK_CUT };

/* What a step of a walk needs to know of the place where it stands. */
struct place {
	struct dentry *parent, *mnt_root;
	const unsigned char *name;
	u32 len;
};

static __always_inline void look_around(struct place *place, u64 dentry, u64 vfsmount)
{
	if (CASTS) {
		struct dentry *d = CAST(dentry, dentry);
		place->parent = d->d_parent;
		place->name = d->d_name.name;
		place->len = d->d_name.len;
		place->mnt_root = CAST(vfsmount, vfsmount)->mnt_root;
	} else {
		struct dentry *d = (struct dentry *)dentry;
		place->parent = BPF_CORE_READ(d, d_parent);
		place->name = BPF_CORE_READ(d, d_name.name);
		place->len = BPF_CORE_READ(d, d_name.len);
		place->mnt_root = BPF_CORE_READ((struct vfsmount *)vfsmount, mnt_root);
	}
}

/* From a mount's root to the place where it is mounted. */
static __always_inline u32 leave_mount(struct walk *w)
{
	u64 mount = w->vfsmount - bpf_core_field_offset(struct mount, mnt), parent;
	if (CASTS) {
		struct mount *m = CAST(mount, mount);
		parent = (u64)m->mnt_parent;
		w->dentry = (u64)m->mnt_mountpoint;
	} else {
		parent = (u64)BPF_CORE_READ((struct mount *)mount, mnt_parent);
		w->dentry = (u64)BPF_CORE_READ((struct mount *)mount, mnt_mountpoint);
	}
	if (!parent || parent == mount)
		return WALK_ROOT; /* outside the task's root, or a detached mount */
	w->vfsmount = parent + bpf_core_field_offset(struct mount, mnt);
	return WALK_ON;
}

/* One component up, or out of a mount. */
static __always_inline u32 climb_step(struct scratch *s, u64 root_dentry, u64 root_vfsmount)
{
	struct walk *w = &s->walk;
	struct place place;
	u64 dentry = w->dentry;
	u32 n = w->n;

	if (dentry == root_dentry && w->vfsmount == root_vfsmount)
		return WALK_ROOT;
	look_around(&place, dentry, w->vfsmount);
	if (dentry == (u64)place.mnt_root)
		return leave_mount(w);
	u32 len = place.len & (NAME_BYTES_MAX - 1);
	bool is_bare = dentry == (u64)place.parent;
	if (n >= PATH_COMPONENTS_MAX || w->bytes + len + 1 >= PATH_BYTES_MAX)
		return WALK_CUT;
	s->components[n & (PATH_COMPONENTS_MAX - 1)].name = (u64)place.name;
	s->components[n & (PATH_COMPONENTS_MAX - 1)].len = len;
	w->n = n + 1;
	w->bytes += len + !is_bare;
	if (is_bare)
		return WALK_BARE;
	w->dentry = (u64)place.parent;
	return WALK_ON;
}

/*
 * Goes from the place where the walk stands up to the task's root and notes the components on the way, without looking
 * at their names. Returns how it ended. The place is handed over in the map: a global function takes numbers only, and
 * an address that was cast is none to the verifier.
 */
__attribute__((noinline)) int climb(void)
{
	struct scratch *s = scratch();
	if (!s)
		return WALK_CUT;
	u64 root_dentry, root_vfsmount;
	u32 result = WALK_CUT;

	if (TYPED_TASK) {
		struct task_struct *task = bpf_get_current_task_btf();
		root_dentry = (u64)task->fs->root.dentry;
		root_vfsmount = (u64)task->fs->root.mnt;
	} else {
		struct fs_struct *fs = BPF_CORE_READ(current_task(), fs);
		root_dentry = (u64)BPF_CORE_READ(fs, root.dentry);
		root_vfsmount = (u64)BPF_CORE_READ(fs, root.mnt);
	}
	s->walk.n = 0;
	s->walk.bytes = 0;
	for (int i = 0; i < PATH_COMPONENTS_MAX; i++) {
		result = climb_step(s, root_dentry, root_vfsmount);
		if (result != WALK_ON)
			break;
	}
	if (result == WALK_ON)
		result = WALK_CUT;
	s->walk.result = result;
	return result;
}

/*
 * Which opens cross, as the rules need them (src/interest/opens.rs). An open has one of sixteen classes; `always` and
 * `maybe` have a bit for each. A class in neither is held back unseen; one in `maybe` alone is held back unless the
 * automaton finds a text of that class in the path. Words of .data, so that new rules change them while the probes run.
 */
struct open_filter {
	u32 on; /* 0: every open crosses */
	u32 always, maybe; /* the upper half of `maybe` is for texts in the path as the caller wrote it */
	u32 root; /* the automaton's state at the beginning of a path */
	/* Two pairs of bytes, of which each text for written paths has one; 0 where there are no such two. */
	u32 pairs;
};
volatile struct open_filter open_filter SEC(".data.open_filter") = {};

/*
 * A state of the automaton: the next one for each class of bytes, the classes of opens whose texts have ended here, and
 * those whose texts can still end, here or further on. Class 0 of the bytes is the NUL behind the path.
 */
#define PATH_CLASSES 60
struct path_state {
	u16 next[PATH_CLASSES];
	u32 found, reach;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, u32);
	__type(value, struct path_state);
} path_states SEC(".maps");
/* The class of each byte. Set by the loader. */
const volatile u8 path_class[256] SEC(".rodata.path_class") = {};

#define PATH_JUDGED_MAX 512

enum { TEXT_SOUGHT, TEXT_FOUND, TEXT_IMPOSSIBLE };

/*
 * Lets the automaton read `len` bytes at `at` of the path buffer, from the state where it stands: whether a text of
 * `classes` has been found, or none can be any more.
 */
__attribute__((noinline)) int judge_bytes(u32 at, u32 len, u32 classes)
{
	struct scratch *s = scratch();
	if (!s)
		return TEXT_FOUND;
	u32 state = s->walk.state;
	for (u32 i = 0; i <= PATH_JUDGED_MAX; i++) {
		if (i >= len) {
			s->walk.state = state;
			return TEXT_SOUGHT;
		}
		u32 class = path_class[s->path[(at + i) & (PATH_BYTES_MAX - 1)]];
		struct path_state *now = bpf_map_lookup_elem(&path_states, &state);
		if (!now || class >= PATH_CLASSES)
			return TEXT_FOUND;
		state = now->next[class];
		now = bpf_map_lookup_elem(&path_states, &state);
		if (!now || now->found & classes)
			return TEXT_FOUND;
		if (!(now->reach & classes))
			return TEXT_IMPOSSIBLE;
	}
	return TEXT_FOUND; /* too long to be judged */
}

/* One component down: its slash and its name. */
static __always_inline void descend_step(struct scratch *s, u32 i, bool is_bare)
{
	struct component *c = &s->components[i & (PATH_COMPONENTS_MAX - 1)];
	u32 at = s->walk.end, len = c->len;

	if (!is_bare) {
		s->path[at & (PATH_BYTES_MAX - 1)] = '/';
		at++;
	}
	barrier_var(len);
	len &= NAME_BYTES_MAX - 1;
	if (len && bpf_probe_read_kernel(s->path + (at & (PATH_BYTES_MAX - 1)), len, (void *)c->name)) {
		s->walk.at = at + len; /* what is above is lost */
		s->walk.result = WALK_CUT;
	}
	s->walk.end = at + len;
}

/*
 * Writes the path that `climb` has found to the end of the scratch path buffer, from `walk.at`, and judges it for
 * `classes` on the way (0: not at all). Where no text of them can be found any more it ends at once, the path unfinished.
 */
__attribute__((noinline)) int descend(u32 classes)
{
	struct scratch *s = scratch();
	if (!s)
		return TEXT_FOUND;
	struct walk *w = &s->walk;
	u32 n = w->n, verdict = classes ? TEXT_SOUGHT : TEXT_FOUND;
	u32 start = PATH_BYTES_MAX - 1 - w->bytes;

	w->state = open_filter.root;
	if (!n && w->result != WALK_BARE) {
		start--;
		s->path[start & (PATH_BYTES_MAX - 1)] = '/';
		n = 0;
	}
	w->at = start;
	w->end = start;
	s->path[PATH_BYTES_MAX - 1] = 0;
	for (u32 i = 0; i < PATH_COMPONENTS_MAX; i++) {
		if (i >= n)
			break;
		u32 from = w->end;
		descend_step(s, n - 1 - i, !i && w->result == WALK_BARE);
		if (verdict != TEXT_SOUGHT)
			continue;
		if (w->result == WALK_CUT)
			return TEXT_FOUND;
		verdict = judge_bytes(from, w->end - from, classes);
		if (verdict == TEXT_IMPOSSIBLE)
			return verdict;
	}
	if (verdict == TEXT_SOUGHT && !n)
		verdict = judge_bytes(start, 1, classes);
	if (verdict == TEXT_SOUGHT)
		verdict = judge_bytes(PATH_BYTES_MAX - 1, 1, classes);
	return verdict;
}

/* Puts the place of a file where `climb` begins. False if it has none. */
static __always_inline bool stand_at(struct scratch *s, struct file *file)
{
	if (CASTS) {
		struct file *f = CAST(file, file);
		s->walk.dentry = (u64)f->f_path.dentry;
		s->walk.vfsmount = (u64)f->f_path.mnt;
	} else {
		s->walk.dentry = (u64)BPF_CORE_READ(file, f_path.dentry);
		s->walk.vfsmount = (u64)BPF_CORE_READ(file, f_path.mnt);
	}
	return s->walk.dentry && s->walk.vfsmount;
}

/* After `climb`: writes the whole path. Returns where it begins, or PATH_NONE. */
static __always_inline u32 write_path(struct scratch *s)
{
	descend(0);
	u32 at = s->walk.at;
	if (s->walk.result == WALK_BARE)
		return at >= PATH_BYTES_MAX - 1 ? PATH_NONE : at;
	if (s->walk.result == WALK_ROOT)
		s->path_cut = 0;
	else
		s->trailer_flags |= TRAILER_TRUNCATED;
	return at;
}

/*
 * Writes the path of the place where the walk stands to the end of the scratch path buffer and returns where it begins,
 * or PATH_NONE. A file without a place in the tree (memfd) gives its bare name, without a slash.
 */
__attribute__((noinline)) int render_path(void)
{
	struct scratch *s = scratch();
	if (!s || !s->walk.dentry || !s->walk.vfsmount)
		return PATH_NONE;
	s->path_cut = 1;
	climb();
	return write_path(s);
}

static __always_inline u32 file_path(struct scratch *s, struct file *file)
{
	return stand_at(s, file) ? render_path() : PATH_NONE;
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	if (bpf_core_field_exists(kn->parent))
		return BPF_CORE_READ(kn, parent);
	return BPF_CORE_READ((struct kernfs_node___v6_15 *)kn, __parent);
}

static __always_inline void prepend_slash(struct scratch *s)
{
	u32 at = s->walk.at - 1;
	s->path[at & (PATH_BYTES_MAX - 1)] = '/';
	s->walk.at = at;
}

static __always_inline bool cgroup_step(struct scratch *s)
{
	struct walk *w = &s->walk;
	struct kernfs_node *kn = (struct kernfs_node *)w->dentry;
	struct kernfs_node *parent = kernfs_parent(kn);
	u32 at = w->at;

	if (!parent)
		return false;
	/* The length is not stored: read the name below the buffer's end, then move it to its place. */
	long n = bpf_probe_read_kernel_str(s->path + PATH_BYTES_MAX, NAME_BYTES_MAX, BPF_CORE_READ(kn, name));
	if (n <= 1)
		return false;
	u32 len = (n - 1) & (NAME_BYTES_MAX - 1);
	if (at < len + 1)
		return false;
	at -= len;
	w->at = at;
	bpf_probe_read_kernel(s->path + (at & (PATH_BYTES_MAX - 1)), len, s->path + PATH_BYTES_MAX);
	prepend_slash(s);
	w->dentry = (u64)parent;
	return true;
}

/*
 * Appends `name=/path` and a NUL for the cgroup node `kn` to the record, not yet as a parameter. Returns the
 * bytes. Without a name it is the v2 hierarchy, `unified`.
 */
__attribute__((noinline)) int append_cgroup(u64 name_address, u64 kn_address)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	u32 start = s->pos;
	struct walk *w = &s->walk;

	w->dentry = kn_address;
	w->at = PATH_BYTES_MAX - 1;
	s->path[PATH_BYTES_MAX - 1] = 0;
	for (int i = 0; i < CGROUP_COMPONENTS_MAX; i++)
		if (!cgroup_step(s))
			break;
	if (w->at == PATH_BYTES_MAX - 1)
		prepend_slash(s);

	static const char unified[] = "unified";
	long n = bpf_probe_read_kernel_str(s->data + AT(s), 32, name_address ? (void *)name_address : (void *)unified);
	if (n <= 1)
		return 0;
	s->pos += n;
	s->data[(s->pos - 1) & (RECORD_BYTES_MAX - 1)] = '=';
	n = bpf_probe_read_kernel_str(s->data + AT(s), PATH_BYTES_MAX, s->path + (w->at & (PATH_BYTES_MAX - 1)));
	if (n > 0)
		s->pos += n;
	return s->pos - start;
}

#define APPEND_SUBSYSTEM(task, id)                                                                                     \
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, id##_cgrp_id)) {                                         \
		struct cgroup_subsys_state *css = NULL;                                                                \
		struct css_set *set = BPF_CORE_READ(task, cgroups);                                                    \
		void *slot = (void *)set + bpf_core_field_offset(struct css_set, subsys) +                             \
			     sizeof(void *) * bpf_core_enum_value(enum cgroup_subsys_id, id##_cgrp_id);                \
		bpf_probe_read_kernel(&css, sizeof(css), slot);                                                        \
		if (css)                                                                                               \
			append_cgroup((u64)BPF_CORE_READ(css, ss, name), (u64)BPF_CORE_READ(css, cgroup, kn));         \
	}

/*
 * A number for the cgroups of a task. They say where in every hierarchy a task stands, are long, and change at a few
 * moves in a process's life, so they are sent with an exec only where they differ from those that were sent last.
 */
static __always_inline u64 css_id(struct css_set *set, u32 index)
{
	struct cgroup_subsys_state *css = NULL;
	void *slot = (void *)set + bpf_core_field_offset(struct css_set, subsys) + sizeof(void *) * index;
	bpf_probe_read_kernel(&css, sizeof(css), slot);
	if (!css)
		return 0;
	if (CASTS)
		return CAST(cgroup_subsys_state, css)->cgroup->kn->id;
	return BPF_CORE_READ(css, cgroup, kn, id);
}

#define ADD_SUBSYSTEM(id)                                                                                              \
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, id##_cgrp_id))                                           \
		print = (print ^ css_id(set, bpf_core_enum_value(enum cgroup_subsys_id, id##_cgrp_id))) *              \
			0x100000001b3ULL; /* the prime of FNV-1a */

static __always_inline u64 cgroups_print(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	u64 print = 0xcbf29ce484222325ULL ^ BPF_CORE_READ(set, dfl_cgrp, kn, id);

	ADD_SUBSYSTEM(cpuset)
	ADD_SUBSYSTEM(cpu)
	ADD_SUBSYSTEM(cpuacct)
	ADD_SUBSYSTEM(io)
	ADD_SUBSYSTEM(memory)
	ADD_SUBSYSTEM(pids)
	return print;
}

/* By process: the cgroups that were sent last. A process that is forgotten sends them again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u64);
} cgroups_sent SEC(".maps");

/* The `cgroups` parameter: the controllers that Falco sends, in its order, then pids and the v2 hierarchy. */
static __always_inline void push_cgroups(struct scratch *s, struct task_struct *task)
{
	u32 start = s->pos;

	APPEND_SUBSYSTEM(task, cpuset)
	APPEND_SUBSYSTEM(task, cpu)
	APPEND_SUBSYSTEM(task, cpuacct)
	APPEND_SUBSYSTEM(task, io)
	APPEND_SUBSYSTEM(task, memory)
	APPEND_SUBSYSTEM(task, pids)
	append_cgroup(0, (u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn));
	u32 bytes = s->pos - start;
	s->pos = start;
	end_param(s, bytes);
}

#endif

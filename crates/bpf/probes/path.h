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

static __always_inline void prepend_slash(struct scratch *s)
{
	u32 at = s->walk.at - 1;
	s->path[at & (PATH_BYTES_MAX - 1)] = '/';
	s->walk.at = at;
}

/* One component up, or from a mount's root to the place where it is mounted. */
static __always_inline u32 walk_step(struct scratch *s, u64 root_dentry, u64 root_vfsmount)
{
	struct walk *w = &s->walk;
	struct dentry *dentry = (struct dentry *)w->dentry;
	struct vfsmount *vfsmount = (struct vfsmount *)w->vfsmount;
	u32 at = w->at;

	if ((u64)dentry == root_dentry && (u64)vfsmount == root_vfsmount)
		return WALK_ROOT;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	if (dentry == BPF_CORE_READ(vfsmount, mnt_root)) {
		struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
		struct mount *mnt_parent = BPF_CORE_READ(mount, mnt_parent);
		if (!mnt_parent || mnt_parent == mount)
			return WALK_ROOT; /* outside the task's root, or a detached mount */
		w->dentry = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
		w->vfsmount = (u64)mnt_parent + bpf_core_field_offset(struct mount, mnt);
		return WALK_ON;
	}
	u32 len = BPF_CORE_READ(dentry, d_name.len) & (NAME_BYTES_MAX - 1);
	if (at < len + 1)
		return WALK_CUT;
	at -= len;
	w->at = at;
	if (len && bpf_probe_read_kernel(s->path + (at & (PATH_BYTES_MAX - 1)), len, BPF_CORE_READ(dentry, d_name.name)))
		return WALK_CUT;
	if (dentry == parent)
		return WALK_BARE;
	prepend_slash(s);
	w->dentry = (u64)parent;
	return WALK_ON;
}

/*
 * Writes the path of (`dentry`, `vfsmount`) to the end of the scratch path buffer and returns where it begins, or
 * PATH_NONE. A file without a place in the tree (memfd) gives its bare name, without a slash.
 */
__attribute__((noinline)) int render_path(u64 dentry_address, u64 vfsmount_address)
{
	struct scratch *s = scratch();
	if (!s)
		return PATH_NONE;
	struct task_struct *task = current_task();
	struct walk *w = &s->walk;
	u64 root_dentry = (u64)BPF_CORE_READ(task, fs, root.dentry);
	u64 root_vfsmount = (u64)BPF_CORE_READ(task, fs, root.mnt);
	u32 result = WALK_CUT;

	if (!dentry_address || !vfsmount_address)
		return PATH_NONE;
	w->dentry = dentry_address;
	w->vfsmount = vfsmount_address;
	w->at = PATH_BYTES_MAX - 1;
	s->path_cut = 1;
	s->path[PATH_BYTES_MAX - 1] = 0;
	for (int i = 0; i < PATH_COMPONENTS_MAX; i++) {
		result = walk_step(s, root_dentry, root_vfsmount);
		if (result != WALK_ON)
			break;
	}
	if (result == WALK_BARE)
		return w->at == PATH_BYTES_MAX - 1 ? PATH_NONE : w->at;
	if (w->at == PATH_BYTES_MAX - 1)
		prepend_slash(s);
	if (result != WALK_ROOT)
		s->trailer_flags |= TRAILER_TRUNCATED;
	else
		s->path_cut = 0;
	return w->at;
}

static __always_inline u32 file_path(struct file *file)
{
	return render_path((u64)BPF_CORE_READ(file, f_path.dentry), (u64)BPF_CORE_READ(file, f_path.mnt));
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	if (bpf_core_field_exists(kn->parent))
		return BPF_CORE_READ(kn, parent);
	return BPF_CORE_READ((struct kernfs_node___v6_15 *)kn, __parent);
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

/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* Files and descriptors: open and its kin, dup, close, memfd, and the calls that change names and modes. */
#ifndef PALISADE_FILES_H
#define PALISADE_FILES_H

#include "path.h"
#include "call.h"
#include "process.h"
#include "translate.h"

struct prefix {
	u32 bits;
	u8 text[PREFIX_BYTES_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, u8);
} open_prefixes SEC(".maps");

/* The open file of a descriptor of the current task, or NULL. */
static __always_inline struct file *file_of(s64 fd)
{
	struct file *file = NULL;
	struct fdtable *table = BPF_CORE_READ(current_task(), files, fdt);
	u32 n = BPF_CORE_READ(table, max_fds);
	if (fd < 0 || fd >= n)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

struct opened {
	u32 path; /* offset in the scratch path buffer, or PATH_NONE */
	u32 flags, dev;
	u64 ino;
	u32 layer;
};

/* Whether a prefix of the list covers the path at `at` of the scratch path buffer. What is not absolute is covered. */
__attribute__((noinline)) int prefix_covers(u32 at)
{
	struct scratch *s = scratch();
	struct prefix key;
	if (!s || at >= PATH_BYTES_MAX)
		return 1;
	if (s->path[at & (PATH_BYTES_MAX - 1)] != '/')
		return 1;
	__builtin_memset(&key, 0, sizeof(key));
	key.bits = PREFIX_BYTES_MAX * 8;
	bpf_probe_read_kernel_str(key.text, sizeof(key.text), s->path + (at & (PATH_BYTES_MAX - 1)));
	return bpf_map_lookup_elem(&open_prefixes, &key) != NULL;
}

/*
 * Looks at the file that an open gave, and says whether the event crosses.
 * Success: the path comes from the file itself. Failure: from the caller's memory, and only a filter needs it here.
 */
static __always_inline bool look_at_open(struct scratch *s, struct opened *o, s64 ret, u64 name, u32 kernel_flags)
{
	struct file *file = ret >= 0 ? file_of(ret) : NULL;
	o->flags = open_flags(kernel_flags);
	o->path = PATH_NONE;
	if (file) {
		struct inode *inode = BPF_CORE_READ(file, f_inode);
		u32 dev = BPF_CORE_READ(inode, i_sb, s_dev);
		o->path = file_path(file);
		o->ino = BPF_CORE_READ(inode, i_ino);
		/* The kernel's 12:20 split to the 8:8 and 12 bits that stat(2) shows. */
		o->dev = (dev & 0xff) | (dev >> 20) << 8 | (dev & 0xfff00) << 12;
		o->layer = overlay_layer(file);
		if (BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
			o->flags |= PLS_O_F_CREATED;
		if (o->layer == LAYER_UPPER)
			o->flags |= PLS_FD_UPPER_LAYER;
		if (o->layer == LAYER_LOWER)
			o->flags |= PLS_FD_LOWER_LAYER;
	}
	if (settings.open_mode == 0 || s->trailer_flags & TRAILER_TRUNCATED)
		return true;
	if (kernel_flags & (O_ACCMODE | O_CREAT | O_TRUNC | O_TMPFILE_ONLY))
		return true;
	u32 at = o->path;
	if (at >= PATH_BYTES_MAX) {
		if (bpf_probe_read_user_str(s->path, PATH_BYTES_MAX, (void *)name) <= 0)
			return true;
		at = 0;
	}
	return prefix_covers(at);
}

/* The name parameter: the kernel's path if there is one (the caller's text then goes behind the trailer), else that. */
static __always_inline void push_open_name(struct scratch *s, struct opened *o, u64 name)
{
	if (o->path < PATH_BYTES_MAX) {
		push_path(s, o->path);
		s->raw_path = name;
		s->raw_unless_bytes = PATH_BYTES_MAX - o->path;
	} else {
		push_user_str(s, name);
	}
}

#define LOOK_AT_OPEN(name, kernel_flags)                                                                               \
	struct opened o = {};                                                                                          \
	if (!look_at_open(s, &o, ret, name, kernel_flags)) {                                                           \
		cancel(s);                                                                                             \
		return 0;                                                                                              \
	}

CALL(open)
{
	BEGIN(OPEN, CLASS_OPEN)
	LOOK_AT_OPEN(ARG(0), ARG(1))
	push_s64(s, ret);
	push_open_name(s, &o, ARG(0));
	push_u32(s, o.flags);
	push_u32(s, open_mode(ARG(1), ARG(2)));
	push_u32(s, o.dev);
	push_u64(s, o.ino);
	END(CLASS_OPEN)
}

CALL(openat)
{
	BEGIN(OPENAT, CLASS_OPEN)
	LOOK_AT_OPEN(ARG(1), ARG(2))
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_open_name(s, &o, ARG(1));
	push_u32(s, o.flags);
	push_u32(s, open_mode(ARG(2), ARG(3)));
	push_u32(s, o.dev);
	push_u64(s, o.ino);
	END(CLASS_OPEN)
}

CALL(openat2)
{
	u64 how[3] = {};
	BEGIN(OPENAT2, CLASS_OPEN)
	bpf_probe_read_user(how, sizeof(how), (void *)ARG(2));
	LOOK_AT_OPEN(ARG(1), how[0])
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_open_name(s, &o, ARG(1));
	push_u32(s, o.flags);
	push_u32(s, open_mode(how[0], how[1]));
	push_u32(s, resolve_flags(how[2]));
	push_u32(s, o.dev);
	push_u64(s, o.ino);
	END(CLASS_OPEN)
}

CALL(creat)
{
	BEGIN(CREAT, CLASS_OPEN)
	LOOK_AT_OPEN(ARG(0), O_CREAT | O_WRONLY | O_TRUNC)
	push_s64(s, ret);
	push_open_name(s, &o, ARG(0));
	push_u32(s, ARG(1) & 07777);
	push_u32(s, o.dev);
	push_u64(s, o.ino);
	push_u16(s, o.layer == LAYER_UPPER ? PLS_FD_UPPER_LAYER_CREAT : o.layer == LAYER_LOWER ? PLS_FD_LOWER_LAYER_CREAT : 0);
	END(CLASS_OPEN)
}

CALL(close)
{
	BEGIN(CLOSE, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	END(CLASS_DESCRIPTOR)
}

CALL(dup)
{
	BEGIN(DUP, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	END(CLASS_DESCRIPTOR)
}

CALL(dup2)
{
	BEGIN(DUP2, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_s64(s, ARG_INT(1));
	END(CLASS_DESCRIPTOR)
}

CALL(dup3)
{
	BEGIN(DUP3, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_s64(s, ARG_INT(1));
	push_u32(s, ARG(2) & O_CLOEXEC ? PLS_O_CLOEXEC : 0);
	END(CLASS_DESCRIPTOR)
}

CALL(memfd_create)
{
	BEGIN(MEMFD_CREATE, CLASS_MEMORY)
	push_s64(s, ret);
	push_user_str(s, ARG(0));
	push_u32(s, ARG(1) & 7); /* CLOEXEC, ALLOW_SEALING, HUGETLB: the same bits */
	END(CLASS_MEMORY)
}

#endif

/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* Files and descriptors: open and its kin, dup, close, memfd, and the calls that change names and modes. */
#ifndef PALISADE_FILES_H
#define PALISADE_FILES_H

#include "path.h"
#include "call.h"
#include "process.h"
#include "translate.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFDIR 0040000

/*
 * Which opens cross, as the rules need them (src/interest/opens.rs). An open has one of sixteen classes; `always` and
 * `maybe` have a bit for each. A class in neither is held back unseen; one in `maybe` alone is held back unless the
 * automaton finds a text of that class in the path. Words of .data, so that new rules change them while the probes run.
 */
struct open_filter {
	u32 on; /* 0: every open crosses */
	u32 always, maybe; /* the upper half of `maybe` is for texts in the path as the caller wrote it */
	u32 root; /* the automaton's state at the beginning of a path */
};
volatile struct open_filter open_filter SEC(".data.open_filter") = {};

#define KIND_READ 0
#define KIND_WRITE 1
#define KIND_READ_WRITE 2
/* A folder, to which other calls are relative, or a standard stream. */
#define KIND_KEPT 3
#define CLASS_BIT(kind, failed, contained) (1u << ((kind) | (failed) << 2 | (contained) << 3))

/*
 * A state of the automaton: the next one for each class of bytes, and the classes of opens whose texts have ended
 * here. Class 0 of the bytes is the NUL behind the path.
 */
#define PATH_CLASSES 62
struct path_state {
	u16 next[PATH_CLASSES];
	u32 found;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, u32);
	__type(value, struct path_state);
} path_states SEC(".maps");
/* The class of each byte. Set by the loader. */
const volatile u8 path_class[256] SEC(".rodata.path_class") = {};

#define FDTABLE_OF(task, n, slots)                                                                                     \
	(n) = (task)->files->fdt->max_fds;                                                                             \
	(slots) = (u64)(task)->files->fdt->fd;

/* The open file of a descriptor of the current task, or NULL. */
static __always_inline struct file *file_of(s64 fd)
{
	struct file *file = NULL;
	u32 n;
	u64 slots;
	if (TYPED_TASK) {
		struct task_struct *task = bpf_get_current_task_btf();
		FDTABLE_OF(task, n, slots)
	} else {
		struct fdtable *table = BPF_CORE_READ(current_task(), files, fdt);
		n = BPF_CORE_READ(table, max_fds);
		slots = (u64)BPF_CORE_READ(table, fd);
	}
	if (fd < 0 || fd >= n)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)(slots + fd * sizeof(file)));
	return file;
}

static __always_inline u16 mode_of(struct file *file)
{
	if (CASTS)
		return CAST(file, file)->f_inode->i_mode;
	return BPF_CORE_READ(file, f_inode, i_mode);
}

struct opened {
	u32 path; /* offset in the scratch path buffer, or PATH_NONE */
	u32 flags, dev;
	u64 ino;
	u32 layer;
};

#define PATH_JUDGED_MAX 512

#define AS_WRITTEN 16 /* shift of class bits */

/* Whether the automaton finds a text of one of `classes` in the path at `at` of the scratch path buffer. */
__attribute__((noinline)) int path_matters(u32 at, u32 classes)
{
	struct scratch *s = scratch();
	u32 state = open_filter.root;

	if (!s)
		return 1;
	/* What is relative, or has no place in the tree, is left to those who know more. */
	if (!(classes >> AS_WRITTEN) && s->path[at & (PATH_BYTES_MAX - 1)] != '/')
		return 1;
	for (u32 i = 0; i < PATH_JUDGED_MAX; i++) {
		u8 byte = s->path[(at + i) & (PATH_BYTES_MAX - 1)];
		u32 class = path_class[byte];
		struct path_state *now = bpf_map_lookup_elem(&path_states, &state);
		if (!now || class >= PATH_CLASSES)
			return 1;
		state = now->next[class];
		/* What ended in the state before is looked at one byte later, so that a round reads one state. */
		if (now->found & classes)
			return 1;
		if (!byte) {
			now = bpf_map_lookup_elem(&path_states, &state);
			return !now || now->found & classes;
		}
	}
	return 1; /* too long to be judged */
}

enum { OPEN_CROSSES, OPEN_HELD, OPEN_UNDECIDED };

/* The class bit of an open, from what costs little. */
static __always_inline u32 open_class(struct file *file, s64 ret, u32 kernel_flags)
{
	u32 access = kernel_flags & O_ACCMODE;
	u32 kind = access == O_WRONLY ? KIND_WRITE : access == O_RDWR ? KIND_READ_WRITE : KIND_READ;
	if (file && (ret <= 2 || (mode_of(file) & S_IFMT) == S_IFDIR))
		kind = KIND_KEPT;
	return CLASS_BIT(kind, ret < 0, is_contained());
}

/* Whether an open of class `bit` crosses, before its path is known. */
static __always_inline u32 judge_open(u32 bit)
{
	if (!open_filter.on || open_filter.always & bit)
		return OPEN_CROSSES;
	return open_filter.maybe & (bit | bit << AS_WRITTEN) ? OPEN_UNDECIDED : OPEN_HELD;
}

/* Whether a text of class `bit` stands in the resolved path at `at` (PATH_NONE: there is none), or in the caller's. */
static __always_inline bool open_matters(struct scratch *s, u32 at, u64 name, u32 bit)
{
	if (at < PATH_BYTES_MAX && open_filter.maybe & bit && path_matters(at, bit))
		return true;
	if (at < PATH_BYTES_MAX && !(open_filter.maybe & bit << AS_WRITTEN))
		return false;
	/* The resolved path ends the buffer; the caller's is put before it, if it fits there. */
	if (at < RAW_PATH_BYTES_MAX)
		return true;
	long n = bpf_probe_read_user_str(s->path, RAW_PATH_BYTES_MAX, (void *)name);
	if (n <= 0 || n >= RAW_PATH_BYTES_MAX)
		return true;
	if (at >= PATH_BYTES_MAX && open_filter.maybe & bit && path_matters(0, bit))
		return true;
	return open_filter.maybe & bit << AS_WRITTEN && path_matters(0, bit << AS_WRITTEN);
}

/*
 * Looks at the file that an open gave, and says whether the event crosses.
 * Success: the path comes from the file itself. Failure: from the caller's memory, and only the filter needs it here.
 */
static __always_inline bool look_at_open(struct scratch *s, struct opened *o, struct file *file, s64 ret, u64 name,
					 u32 kernel_flags, u32 bit)
{
	o->flags = open_flags(kernel_flags);
	o->path = file ? file_path(s, file) : PATH_NONE;
	bool judged = judge_open(bit) == OPEN_UNDECIDED && !(s->trailer_flags & TRAILER_TRUNCATED);
	/* An open file without a path (and with one that is cut) crosses. */
	if (judged && (!file || o->path < PATH_BYTES_MAX) && !open_matters(s, o->path, name, bit))
		return false;
	if (file) {
		struct inode *inode = BPF_CORE_READ(file, f_inode);
		u32 dev = BPF_CORE_READ(inode, i_sb, s_dev);
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
	return true;
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

/*
 * The frame of an open: ends where the event is held back, else leaves what was opened in `o`. What can be judged by
 * class alone is judged first, before anything is read or claimed for a record.
 */
#define BEGIN_OPEN(event, name, kernel_flags)                                                                          \
	struct task_struct *task = current_task();                                                                     \
	bool compat = is_compat(task);                                                                                 \
	u32 flags_asked = (kernel_flags);                                                                              \
	struct file *file = ret >= 0 ? file_of(ret) : NULL;                                                            \
	u32 bit = open_class(file, ret, flags_asked);                                                                  \
	if (judge_open(bit) == OPEN_HELD) {                                                                            \
		count(CLASS_OPEN, n_filtered);                                                                         \
		return 0;                                                                                              \
	}                                                                                                              \
	BEGIN_RECORD(PLS_EVENT_##event, CLASS_OPEN, PLS_NPARAMS_##event)                                               \
	struct opened o = {};                                                                                          \
	if (!look_at_open(s, &o, file, ret, name, flags_asked, bit)) {                                                 \
		cancel(s);                                                                                             \
		return 0;                                                                                              \
	}

CALL(open)
{
	BEGIN_OPEN(OPEN, ARG(0), ARG(1))
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
	BEGIN_OPEN(OPENAT, ARG(1), ARG(2))
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_open_name(s, &o, ARG(1));
	push_u32(s, o.flags);
	push_u32(s, open_mode(ARG(2), ARG(3)));
	push_u32(s, o.dev);
	push_u64(s, o.ino);
	END(CLASS_OPEN)
}

static __always_inline u64 how_flags(u64 *how, u64 address)
{
	bpf_probe_read_user(how, 3 * sizeof(*how), (void *)address);
	return how[0];
}

CALL(openat2)
{
	u64 how[3] = {};
	BEGIN_OPEN(OPENAT2, ARG(1), how_flags(how, ARG(2)))
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
	BEGIN_OPEN(CREAT, ARG(0), O_CREAT | O_WRONLY | O_TRUNC)
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

/*
 * Says of the event's descriptor what it is, for events that only name it: while opens are filtered, the reader may
 * not have seen it made, and may take it for what had its number before.
 */
__attribute__((noinline)) int describe_fd(s64 fd)
{
	struct scratch *s = scratch();
	struct file *file = file_of(fd);
	if (!s || !file || !open_filter.on)
		return 0;
	u16 kind = mode_of(file) & S_IFMT;
	if (kind == S_IFSOCK)
		return 0;
	u16 flags = s->trailer_flags | TRAILER_FD_NO_SOCKET;
	u32 at = file_path(s, file);
	/* A path that is cut is none, and what has no place in the tree (a pipe) has a bare name. */
	if (at < PATH_BYTES_MAX && !((s->trailer_flags & ~flags) & TRAILER_TRUNCATED) &&
	    s->path[at & (PATH_BYTES_MAX - 1)] == '/') {
		s->fd_path = at;
		if (kind == S_IFDIR)
			flags |= TRAILER_FD_FOLDER;
	}
	s->trailer_flags = flags;
	return 0;
}

CALL(dup)
{
	BEGIN(DUP, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	describe_fd(ARG_INT(0));
	END(CLASS_DESCRIPTOR)
}

CALL(dup2)
{
	BEGIN(DUP2, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_s64(s, ARG_INT(1));
	describe_fd(ARG_INT(0));
	END(CLASS_DESCRIPTOR)
}

CALL(dup3)
{
	BEGIN(DUP3, CLASS_DESCRIPTOR)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_s64(s, ARG_INT(1));
	push_u32(s, ARG(2) & O_CLOEXEC ? PLS_O_CLOEXEC : 0);
	describe_fd(ARG_INT(0));
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

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

#define KIND_READ 0
#define KIND_WRITE 1
#define KIND_READ_WRITE 2
/* A folder, to which other calls are relative, or a standard stream. */
#define KIND_KEPT 3
#define CLASS_BITS (1u << 16)
#define CLASS_BIT(kind, failed, contained) (1u << ((kind) | (failed) << 2 | (contained) << 3))

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
	if (CASTS) /* any structure that begins with a pointer */
		return (struct file *)CAST(list_head, slots + fd * sizeof(file))->next;
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

#define AS_WRITTEN 16 /* shift of class bits */

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

#define ALL_BYTES 0x0101010101010101ULL
#define GLANCE_BYTES 64

/* The highest bit of each byte that is 0; above the first of them, a byte that is 1 can pass for one. */
static __always_inline u64 zero_bytes(u64 word)
{
	return (word - ALL_BYTES) & ~word & 0x80 * ALL_BYTES;
}

/* Where the second byte of a pair stands behind the first one; `carry` is for a pair that two words share. */
static __always_inline u64 find_pair(u64 word, u32 pair, u64 *carry)
{
	u64 first = zero_bytes(word ^ (pair & 0xff) * ALL_BYTES);
	u64 found = (first << 8 | *carry) & zero_bytes(word ^ (pair >> 8 & 0xff) * ALL_BYTES);
	*carry = first >> 56;
	return found;
}

/*
 * Whether a glance at the path that the caller wrote, eight bytes at a time, shows that it has no text for written
 * paths. What it cannot show (a long path, the end of mapped memory, a pair) is left to the automaton.
 */
static __always_inline bool is_plainly_clean(struct scratch *s, u64 name)
{
	u32 pairs = open_filter.pairs;
	u64 carry = 0, other_carry = 0;
	if (!pairs || bpf_probe_read_user(s->path, GLANCE_BYTES, (void *)name))
		return false;
	for (int i = 0; i < GLANCE_BYTES / 8; i++) {
		u64 word = ((u64 *)s->path)[i], end = zero_bytes(word);
		u64 found = find_pair(word, pairs, &carry) | find_pair(word, pairs >> 16, &other_carry);
		if (end) /* what is behind the NUL does not count */
			return !(found & ((end & -end) - 1));
		if (found)
			return false;
	}
	return false;
}

/*
 * Whether a text of `words` stands in the path that the caller wrote. It is read to the beginning of the path buffer;
 * one that was judged before is short, and stays at its end.
 */
static __always_inline bool written_matters(struct scratch *s, u64 name, u32 words)
{
	if (!(words & (CLASS_BITS - 1)) && is_plainly_clean(s, name))
		return false;
	long n = bpf_probe_read_user_str(s->path, RAW_PATH_BYTES_MAX, (void *)name);
	if (n <= 0 || n > PATH_JUDGED_MAX)
		return true;
	/* What is relative is left to those who know more. */
	if (words & (CLASS_BITS - 1) && s->path[0] != '/')
		return true;
	s->walk.state = open_filter.root;
	return judge_bytes(0, n, words) == TEXT_FOUND;
}

/* The same of the path that the kernel found, to whose root the walk came. Leaves it written where it does. */
static __always_inline bool found_matters(struct scratch *s, u32 bit)
{
	if (s->walk.result != WALK_ROOT || s->walk.bytes >= PATH_JUDGED_MAX)
		return true;
	return open_filter.maybe & bit && descend(bit) == TEXT_FOUND;
}

/*
 * Looks at the file that an open gave, and says whether the event crosses.
 * Success: the path comes from the file itself. Failure: from the caller's memory, and only the filter needs it here.
 * A path that cannot be judged (cut, too long, without a place in the tree) crosses.
 */
static __always_inline bool look_at_open(struct scratch *s, struct opened *o, struct file *file, s64 ret, u64 name,
					 u32 kernel_flags, u32 bit)
{
	bool is_judged = judge_open(bit) == OPEN_UNDECIDED;
	u32 as_written = open_filter.maybe & bit << AS_WRITTEN;

	if (!file) {
		o->path = PATH_NONE;
		if (is_judged && !written_matters(s, name, as_written | (open_filter.maybe & bit)))
			return false;
	} else if (!stand_at(s, file)) {
		o->path = PATH_NONE;
	} else {
		s->path_cut = 1;
		climb();
		if (is_judged && !found_matters(s, bit) && !(as_written && written_matters(s, name, as_written)))
			return false;
		o->path = write_path(s);
	}
	o->flags = open_flags(kernel_flags);
	if (file) {
		struct inode *inode = BPF_CORE_READ(file, f_inode);
		u32 dev = BPF_CORE_READ(inode, i_sb, s_dev);
		o->ino = BPF_CORE_READ(inode, i_ino);
		/* The kernel's 12:20 split to the 8:8 and 12 bits that stat(2) shows. */
		o->dev = (dev & 0xff) | (dev >> 20) << 8 | (dev & 0xfff00) << 12;
		o->layer = overlay_layer(file, false);
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
	if (!current_is_wanted()) {                                                                                    \
		count(CLASS_OPEN, n_filtered);                                                                         \
		return 0;                                                                                              \
	}                                                                                                              \
	struct scratch *s = claim(CLASS_OPEN);                                                                         \
	struct opened o = {};                                                                                          \
	if (!s)                                                                                                        \
		return 0;                                                                                              \
	if (!look_at_open(s, &o, file, ret, name, flags_asked, bit)) {                                                 \
		cancel(s);                                                                                             \
		return 0;                                                                                              \
	}                                                                                                              \
	struct actor actor;                                                                                            \
	current_actor(&actor);                                                                                         \
	start_record(s, (u32)bpf_get_current_pid_tgid(), PLS_EVENT_##event, PLS_NPARAMS_##event);                      \
	note_compat(s, compat);

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

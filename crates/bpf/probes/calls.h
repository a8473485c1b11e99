/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* The remaining calls: their arguments as they are, with the flags translated. */
#ifndef PALISADE_CALLS_H
#define PALISADE_CALLS_H

#include "files.h"

#define MS_MGC_MASK 0xffff0000u
#define MS_MGC_VALUE 0xc0ed0000u
#define PR_SET_NAME 15
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_SET_BINARY 2
#define FSCONFIG_SET_PATH 3
#define FSCONFIG_SET_PATH_EMPTY 4
#define IO_URING_FEATURES 0x7ff /* that the format has names for; the bits are the kernel's */
#define MODULE_BYTES_MAX 64 /* of the image: enough to tell what it is */

/* A call whose parameters are its result and its arguments. */
#define SIMPLE_CALL(name, EVENT, class, ...)                                                                             \
	CALL(name)                                                                                                     \
	{                                                                                                              \
		BEGIN(EVENT, class)                                                                                    \
		push_s64(s, ret);                                                                                      \
		__VA_ARGS__;                                                                                           \
		END(class)                                                                                             \
	}
#define STR(index) push_user_str(s, ARG(index))
#define FD(index) push_s64(s, ARG_INT(index))
#define U32(value) push_u32(s, value)

/* --- names and modes of files ---------------------------------------------------------------------- */
SIMPLE_CALL(unlink, UNLINK, CLASS_FILE, STR(0))
SIMPLE_CALL(unlinkat, UNLINKAT, CLASS_FILE, FD(0), STR(1), U32(ARG(2) & 0x200))
SIMPLE_CALL(rename, RENAME, CLASS_FILE, STR(0), STR(1))
SIMPLE_CALL(renameat, RENAMEAT, CLASS_FILE, FD(0), STR(1), FD(2), STR(3))
SIMPLE_CALL(renameat2, RENAMEAT2, CLASS_FILE, FD(0), STR(1), FD(2), STR(3), U32(ARG(4)))
SIMPLE_CALL(chmod, CHMOD, CLASS_FILE, STR(0), U32(ARG(1) & 07777))
SIMPLE_CALL(fchmod, FCHMOD, CLASS_FILE, FD(0), U32(ARG(1) & 07777), describe_fd(ARG_INT(0)))
SIMPLE_CALL(fchmodat, FCHMODAT, CLASS_FILE, FD(0), STR(1), U32(ARG(2) & 07777))
SIMPLE_CALL(link, LINK, CLASS_FILE, STR(0), STR(1))
SIMPLE_CALL(linkat, LINKAT, CLASS_FILE, FD(0), STR(1), FD(2), STR(3), U32(ARG(4) & 0x1400))
SIMPLE_CALL(symlink, SYMLINK, CLASS_FILE, STR(0), STR(1))
SIMPLE_CALL(symlinkat, SYMLINKAT, CLASS_FILE, STR(0), FD(1), STR(2))
SIMPLE_CALL(mkdir, MKDIR, CLASS_FILE, STR(0), U32(ARG(1)))
SIMPLE_CALL(mkdirat, MKDIRAT, CLASS_FILE, FD(0), STR(1), U32(ARG(2)))
SIMPLE_CALL(rmdir, RMDIR, CLASS_FILE, STR(0))
SIMPLE_CALL(mknod, MKNOD, CLASS_FILE, STR(0), U32(ARG(1) & 0177777), U32(ARG(2)))
SIMPLE_CALL(mknodat, MKNODAT, CLASS_FILE, FD(0), STR(1), U32(ARG(2) & 0177777), U32(ARG(3)))
SIMPLE_CALL(chown, CHOWN, CLASS_FILE, STR(0), U32(ARG(1)), U32(ARG(2)))
SIMPLE_CALL(fchown, FCHOWN, CLASS_FILE, FD(0), U32(ARG(1)), U32(ARG(2)), describe_fd(ARG_INT(0)))

/* --- descriptors ----------------------------------------------------------------------------------- */
SIMPLE_CALL(chdir, CHDIR, CLASS_DESCRIPTOR, STR(0))
SIMPLE_CALL(fchdir, FCHDIR, CLASS_DESCRIPTOR, FD(0), describe_fd(ARG_INT(0)))
SIMPLE_CALL(pidfd_getfd, PIDFD_GETFD, CLASS_DESCRIPTOR, FD(0), FD(1), U32(ARG(2)))

static __always_inline void push_pipe(struct scratch *s, s64 ret, u64 address)
{
	s32 fds[2] = { -1, -1 };
	if (ret == 0)
		bpf_probe_read_user(fds, sizeof(fds), (void *)address);
	struct file *file = file_of(fds[0]);
	push_s64(s, ret);
	push_s64(s, fds[0]);
	push_s64(s, fds[1]);
	push_u64(s, file ? BPF_CORE_READ(file, f_inode, i_ino) : 0);
}

CALL(pipe)
{
	BEGIN(PIPE, CLASS_DESCRIPTOR)
	push_pipe(s, ret, ARG(0));
	END(CLASS_DESCRIPTOR)
}

CALL(pipe2)
{
	BEGIN(PIPE2, CLASS_DESCRIPTOR)
	push_pipe(s, ret, ARG(0));
	push_u32(s, open_flags(ARG(1)) & ~PLS_O_RDONLY);
	END(CLASS_DESCRIPTOR)
}

/* --- memory of others ------------------------------------------------------------------------------ */
#define DYN_U64 0
#define DYN_SIGNAL 1

static __always_inline void push_dyn(struct scratch *s, u8 kind, u64 value)
{
	s->data[AT(s)] = kind;
	*(u64 *)(s->data + ((s->pos + 1) & (RECORD_BYTES_MAX - 1))) = value;
	end_param(s, kind == DYN_SIGNAL ? 2 : 9);
}

CALL(ptrace)
{
	BEGIN(PTRACE, CLASS_MEMORY)
	u64 data = ARG(3);
	u16 request = ptrace_request(ARG(0));
	bool peek = request >= PLS_PTRACE_PTRACE_PEEKTEXT && request <= PLS_PTRACE_PTRACE_PEEKUSR;
	bool signal = request == PLS_PTRACE_PTRACE_CONT || request == PLS_PTRACE_PTRACE_SINGLESTEP ||
		      request == PLS_PTRACE_PTRACE_DETACH || request == PLS_PTRACE_PTRACE_SYSCALL;
	push_s64(s, ret);
	push_dyn(s, DYN_U64, ret < 0 ? 0 : ARG(2));
	if (peek && ret >= 0)
		bpf_probe_read_user(&data, sizeof(data), (void *)ARG(3));
	if (signal && ret >= 0)
		push_dyn(s, DYN_SIGNAL, (u8)data);
	else
		push_dyn(s, DYN_U64, ret < 0 ? 0 : data);
	push_u16(s, request);
	push_s64(s, ARG_INT(1));
	END(CLASS_MEMORY)
}

#define PROT_EXEC 4
CALL(mprotect)
{
	/* Every library that is loaded changes protections; making memory executable is rare. */
	if (!(argument(regs, is_compat(current_task()), 2) & PROT_EXEC))
		return 0;
	BEGIN(MPROTECT, CLASS_MEMORY)
	push_s64(s, ret);
	push_u64(s, ARG(0));
	push_u64(s, ARG(1));
	push_u32(s, ARG(2) & 0xf); /* PROT_READ, PROT_WRITE, PROT_EXEC, PROT_SEM: the same bits */
	END(CLASS_MEMORY)
}

SIMPLE_CALL(userfaultfd, USERFAULTFD, CLASS_MEMORY, U32(open_flags(ARG(0)) & ~PLS_O_RDWR))

CALL(io_uring_setup)
{
	/* struct io_uring_params of uapi/linux/io_uring.h, as the kernel has filled it in. */
	struct {
		u32 sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features;
	} params = {};
	BEGIN(IO_URING_SETUP, CLASS_MEMORY)
	bpf_probe_read_user(&params, sizeof(params), (void *)ARG(1));
	push_s64(s, ret);
	push_u32(s, ARG(0));
	push_u32(s, params.sq_entries);
	push_u32(s, params.cq_entries);
	/* The format has a bit between IORING_SETUP_SQPOLL and IORING_SETUP_SQ_AFF that the kernel has not. */
	push_u32(s, (params.flags & 3) | (params.flags & 0x7c) << 1);
	push_u32(s, params.sq_thread_cpu);
	push_u32(s, params.sq_thread_idle);
	push_u32(s, params.features & IO_URING_FEATURES);
	END(CLASS_MEMORY)
}

/* --- namespaces and mounts ------------------------------------------------------------------------- */
SIMPLE_CALL(unshare, UNSHARE, CLASS_NAMESPACE, U32(clone_flags(ARG(0))))

#define CLONE_NEWNS 0x00020000
CALL(setns)
{
	/* Whose mounts are the host's only now may have come from a container. */
	u32 nstype = argument(regs, is_compat(current_task()), 1);
	if (ret == 0 && (!nstype || nstype & CLONE_NEWNS) && !is_contained())
		mark_escaped(bpf_get_current_pid_tgid() >> 32);
	BEGIN(SETNS, CLASS_NAMESPACE)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_u32(s, clone_flags(ARG(1)));
	END(CLASS_NAMESPACE)
}

SIMPLE_CALL(mount, MOUNT, CLASS_NAMESPACE, STR(0), STR(1), STR(2),
	  U32((ARG(3) & MS_MGC_MASK) == MS_MGC_VALUE ? ARG(3) & ~MS_MGC_MASK : ARG(3)))
SIMPLE_CALL(umount2, UMOUNT2, CLASS_NAMESPACE, STR(0), U32(ARG(1)))
SIMPLE_CALL(chroot, CHROOT, CLASS_NAMESPACE, STR(0))

CALL(fsconfig)
{
	BEGIN(FSCONFIG, CLASS_NAMESPACE)
	u32 command = ARG(1);
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_u32(s, command);
	if (command <= 5)
		push_user_str(s, ARG(2));
	else
		push_empty(s);
	if (command == FSCONFIG_SET_BINARY)
		push_user_bytes(s, ARG(3), (u32)ARG(4), 1024);
	else
		push_empty(s);
	if (command == FSCONFIG_SET_STRING || command == FSCONFIG_SET_PATH || command == FSCONFIG_SET_PATH_EMPTY)
		push_user_str(s, ARG(3));
	else
		push_empty(s);
	push_u32(s, ARG(4));
	END(CLASS_NAMESPACE)
}

/* --- credentials ----------------------------------------------------------------------------------- */
SIMPLE_CALL(setuid, SETUID, CLASS_CREDENTIAL, U32(ARG(0)))
SIMPLE_CALL(setgid, SETGID, CLASS_CREDENTIAL, U32(ARG(0)))
SIMPLE_CALL(setreuid, SETREUID, CLASS_CREDENTIAL, U32(ARG(0)), U32(ARG(1)))
SIMPLE_CALL(setregid, SETREGID, CLASS_CREDENTIAL, U32(ARG(0)), U32(ARG(1)))
SIMPLE_CALL(setresuid, SETRESUID, CLASS_CREDENTIAL, U32(ARG(0)), U32(ARG(1)), U32(ARG(2)))
SIMPLE_CALL(setresgid, SETRESGID, CLASS_CREDENTIAL, U32(ARG(0)), U32(ARG(1)), U32(ARG(2)))
SIMPLE_CALL(setsid, SETSID, CLASS_CREDENTIAL, (void)compat)
SIMPLE_CALL(setpgid, SETPGID, CLASS_CREDENTIAL, FD(0), FD(1))

CALL(capset)
{
	BEGIN(CAPSET, CLASS_CREDENTIAL)
	const struct cred *cred = BPF_CORE_READ(task, cred);
	push_s64(s, ret);
	push_u64(s, CAPABILITY(cred, cap_inheritable));
	push_u64(s, CAPABILITY(cred, cap_permitted));
	push_u64(s, CAPABILITY(cred, cap_effective));
	END(CLASS_CREDENTIAL)
}

CALL(prctl)
{
	BEGIN(PRCTL, CLASS_CREDENTIAL)
	push_s64(s, ret);
	push_u32(s, ARG(0));
	if (ARG(0) == PR_SET_NAME) {
		push_user_str(s, ARG(1));
		push_s64(s, 0);
	} else {
		push_empty(s);
		push_s64(s, ARG(1));
	}
	END(CLASS_CREDENTIAL)
}

/* --- the kernel itself ----------------------------------------------------------------------------- */
CALL(init_module)
{
	BEGIN(INIT_MODULE, CLASS_KERNEL)
	push_s64(s, ret);
	push_user_bytes(s, ARG(0), ARG(1), MODULE_BYTES_MAX);
	s->trailer_flags &= ~TRAILER_TRUNCATED;
	push_u64(s, ARG(1));
	push_user_str(s, ARG(2));
	END(CLASS_KERNEL)
}

SIMPLE_CALL(finit_module, FINIT_MODULE, CLASS_KERNEL, FD(0), STR(1), U32(ARG(2) & 7))
SIMPLE_CALL(delete_module, DELETE_MODULE, CLASS_KERNEL, STR(0),
	  U32((ARG(1) & O_NONBLOCK ? 1 : 0) | (ARG(1) & O_TRUNC ? 2 : 0)))
SIMPLE_CALL(bpf, BPF, CLASS_KERNEL, U32(ARG(0)))

/* Codes of the calls without a type of their own, by number: native ones, then 32-bit ones. Set by the loader. */
const volatile u16 generic_codes[2 * CALLS_MAX] SEC(".rodata.generic") = {};

CALL(generic)
{
	BEGIN(GENERIC, CLASS_KERNEL)
	u32 number = call_number(regs) & (CALLS_MAX - 1);
	u32 at = number + (compat ? CALLS_MAX : 0);
	barrier_var(at); /* what a 5.10 verifier knew of it is lost on the stack */
	push_u16(s, generic_codes[at & (2 * CALLS_MAX - 1)]);
	push_u16(s, number);
	END(CLASS_KERNEL)
}

/* --- keys of the kernel ---------------------------------------------------------------------------- */
#define KEYCTL_OPERATIONS_MAX 64 /* a power of two: kernels before 6.12 bound the index by its mask alone */
#define KEYCTL_INTEGER 0
#define KEYCTL_TEXT 1
/* How many arguments an operation of keyctl(2) takes, and which of the second to the fifth are texts, as bits. */
#define TAKES(n, texts) ((n) | (texts) << 4)
const volatile u8 keyctl_arguments[KEYCTL_OPERATIONS_MAX] SEC(".rodata.keyctl") = {
	[0] = TAKES(2, 0), [1] = TAKES(1, 1), [2] = TAKES(3, 0), [3] = TAKES(1, 0), [4] = TAKES(3, 0), [5] = TAKES(2, 0),
	[6] = TAKES(3, 0), [7] = TAKES(1, 0), [8] = TAKES(2, 0), [9] = TAKES(2, 0), [10] = TAKES(4, 6), [11] = TAKES(3, 0),
	[12] = TAKES(4, 0), [13] = TAKES(3, 0), [14] = TAKES(1, 0), [15] = TAKES(2, 0), [16] = TAKES(1, 0),
	[17] = TAKES(3, 0), [18] = TAKES(0, 0), [19] = TAKES(4, 0), [20] = TAKES(4, 0), [21] = TAKES(1, 0),
	[22] = TAKES(2, 0), [23] = TAKES(4, 0), [24] = TAKES(3, 4), [25] = TAKES(4, 2), [26] = TAKES(4, 2),
	[27] = TAKES(4, 2), [28] = TAKES(4, 2), [29] = TAKES(3, 6), [30] = TAKES(4, 0), [31] = TAKES(2, 0),
	[32] = TAKES(3, 0),
};

/* Argument `index` (from 0) of an operation with these arguments. */
static __always_inline void push_keyctl(struct scratch *s, u32 takes, u32 index, u64 value)
{
	if (!(takes >> (4 + index) & 1)) {
		push_dyn(s, KEYCTL_INTEGER, index < (takes & 15) ? value : 0);
		return;
	}
	s->data[AT(s)] = KEYCTL_TEXT;
	u8 *to = s->data + ((s->pos + 1) & (RECORD_BYTES_MAX - 1));
	long n = bpf_probe_read_user_str(to, RAW_PATH_BYTES_MAX, (void *)value);
	if (n == RAW_PATH_BYTES_MAX)
		s->trailer_flags |= TRAILER_TRUNCATED;
	end_param(s, n > 0 ? n + 1 : 0);
}

CALL(keyctl)
{
	BEGIN(KEYCTL, CLASS_KERNEL)
	u32 operation = ARG(0), at = operation, takes = 0;
	barrier_var(at);
	if (operation < KEYCTL_OPERATIONS_MAX)
		takes = keyctl_arguments[at & (KEYCTL_OPERATIONS_MAX - 1)];
	push_s64(s, ret);
	push_u32(s, operation);
	push_keyctl(s, takes, 0, ARG(1));
	push_keyctl(s, takes, 1, ARG(2));
	push_keyctl(s, takes, 2, ARG(3));
	push_keyctl(s, takes, 3, ARG(4));
	END(CLASS_KERNEL)
}

/* --- quotas of file systems ------------------------------------------------------------------------ */

/* include/uapi/linux/quota.h */
struct quota_block {
	u64 bhardlimit, bsoftlimit, curspace, ihardlimit, isoftlimit, curinodes, btime, itime;
	u32 valid;
};
struct quota_info {
	u64 bgrace, igrace;
	u32 flags, valid;
};
#define QIF_BLIMITS 1
#define QIF_SPACE 2
#define QIF_ILIMITS 4
#define QIF_BTIME 16
#define QIF_ITIME 32
#define IIF_BGRACE 1
#define IIF_IGRACE 2
#define IIF_FLAGS 4
#define QUOTA_ROOT_SQUASH 1

static __always_inline u16 quota_command(u32 command)
{
	switch (command) {
	case 0x800001: return PLS_QUOTACTL_Q_SYNC;
	case 0x800002: return PLS_QUOTACTL_Q_QUOTAON;
	case 0x800003: return PLS_QUOTACTL_Q_QUOTAOFF;
	case 0x800004: return PLS_QUOTACTL_Q_GETFMT;
	case 0x800005: return PLS_QUOTACTL_Q_GETINFO;
	case 0x800006: return PLS_QUOTACTL_Q_SETINFO;
	case 0x800007: return PLS_QUOTACTL_Q_GETQUOTA;
	case 0x800008: return PLS_QUOTACTL_Q_SETQUOTA;
	case 0x5801: return PLS_QUOTACTL_Q_XQUOTAON;
	case 0x5802: return PLS_QUOTACTL_Q_XQUOTAOFF;
	case 0x5803: return PLS_QUOTACTL_Q_XGETQUOTA;
	case 0x5804: return PLS_QUOTACTL_Q_XSETQLIM;
	case 0x5805: return PLS_QUOTACTL_Q_XGETQSTAT;
	case 0x5806: return PLS_QUOTACTL_Q_XQUOTARM;
	case 0x5807: return PLS_QUOTACTL_Q_XQUOTASYNC;
	default: return 0;
	}
}

static __always_inline u8 quota_format(u32 format)
{
	switch (format) {
	case 1: return PLS_QUOTACTL_QFMT_VFS_OLD;
	case 2: return PLS_QUOTACTL_QFMT_VFS_V0;
	case 4: return PLS_QUOTACTL_QFMT_VFS_V1;
	default: return PLS_QUOTACTL_QFMT_NOT_USED;
	}
}

CALL(quotactl)
{
	BEGIN(QUOTACTL, CLASS_KERNEL)
	struct quota_block block = {};
	struct quota_info info = {};
	u32 format = 0, given = ARG(0), type = given & 0xff;
	u16 command = quota_command(given >> 8);
	u64 address = ARG(3);
	/* What the kernel gives is there when it has succeeded. */
	bool sets_block = command == PLS_QUOTACTL_Q_SETQUOTA, sets_info = command == PLS_QUOTACTL_Q_SETINFO;
	if (sets_block || (command == PLS_QUOTACTL_Q_GETQUOTA && !ret))
		bpf_probe_read_user(&block, sizeof(block), (void *)address);
	if (sets_info || (command == PLS_QUOTACTL_Q_GETINFO && !ret))
		bpf_probe_read_user(&info, sizeof(info), (void *)address);
	if (command == PLS_QUOTACTL_Q_GETFMT && !ret)
		bpf_probe_read_user(&format, sizeof(format), (void *)address);
	push_s64(s, ret);
	push_user_str(s, ARG(1));
	if (command == PLS_QUOTACTL_Q_QUOTAON)
		push_user_str(s, address);
	else
		push_empty(s);
	push_u64(s, block.valid & QIF_BLIMITS ? block.bhardlimit : 0);
	push_u64(s, block.valid & QIF_BLIMITS ? block.bsoftlimit : 0);
	push_u64(s, block.valid & QIF_SPACE ? block.curspace : 0);
	push_u64(s, block.valid & QIF_ILIMITS ? block.ihardlimit : 0);
	push_u64(s, block.valid & QIF_ILIMITS ? block.isoftlimit : 0);
	push_u64(s, block.valid & QIF_BTIME ? block.btime : 0);
	push_u64(s, block.valid & QIF_ITIME ? block.itime : 0);
	push_u64(s, info.valid & IIF_BGRACE ? info.bgrace : 0);
	push_u64(s, info.valid & IIF_IGRACE ? info.igrace : 0);
	push_u8(s, !(info.valid & IIF_FLAGS) ? 0 :
		   info.flags & QUOTA_ROOT_SQUASH ? PLS_QUOTACTL_V1_DQF_RSQUASH : PLS_QUOTACTL_DQF_NONE);
	push_u8(s, quota_format(format));
	push_u16(s, command);
	push_u8(s, type == 0 ? PLS_QUOTACTL_USRQUOTA : type == 1 ? PLS_QUOTACTL_GRPQUOTA : 0);
	bool names_one = sets_block || command == PLS_QUOTACTL_Q_GETQUOTA || command == PLS_QUOTACTL_Q_XGETQUOTA ||
			 command == PLS_QUOTACTL_Q_XSETQLIM;
	push_u32(s, names_one ? ARG(2) : 0);
	push_u8(s, command == PLS_QUOTACTL_Q_QUOTAON ? quota_format(ARG(2)) : PLS_QUOTACTL_QFMT_NOT_USED);
	END(CLASS_KERNEL)
}

/* --- signals --------------------------------------------------------------------------------------- */
SIMPLE_CALL(kill, KILL, CLASS_SIGNAL, FD(0), push_u8(s, ARG(1)))
SIMPLE_CALL(tkill, TKILL, CLASS_SIGNAL, FD(0), push_u8(s, ARG(1)))
SIMPLE_CALL(tgkill, TGKILL, CLASS_SIGNAL, FD(0), FD(1), push_u8(s, ARG(2)))

#endif

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
	push_u16(s, generic_codes[number + (compat ? CALLS_MAX : 0)]);
	push_u16(s, number);
	END(CLASS_KERNEL)
}

/* --- signals --------------------------------------------------------------------------------------- */
SIMPLE_CALL(kill, KILL, CLASS_SIGNAL, FD(0), push_u8(s, ARG(1)))
SIMPLE_CALL(tkill, TKILL, CLASS_SIGNAL, FD(0), push_u8(s, ARG(1)))
SIMPLE_CALL(tgkill, TGKILL, CLASS_SIGNAL, FD(0), FD(1), push_u8(s, ARG(2)))

#endif

/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * The kernel's types as far as the probes read them.
 *
 * Written by hand instead of dumping vmlinux.h (5 MB): a structure lists only the fields that a probe names.
 * Their offsets here mean nothing; libbpf relocates every access to the running kernel's BTF (CO-RE).
 * A suffix after three underscores names another shape of the same structure in other kernel versions.
 */
#ifndef PALISADE_KERNEL_H
#define PALISADE_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* include/uapi/linux/bpf.h: numbers of the user interface, fixed for ever. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
};
/* Named as the kernel does, to ask its type information whether it has the helper. */
enum bpf_func_id { BPF_FUNC_get_current_task_btf = 158 };
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };

/* Its presence in the type information tells a kernel of 6.4 or later. */
struct bpf_iter_num { u64 opaque[1]; };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* --- registers ------------------------------------------------------------------------------------- */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bx, cx, dx, si, di, bp, r8, r9, r10, orig_ax, ip, sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 orig_x0;
	s32 syscallno;
};
#else
#error "the probes know x86_64 and aarch64"
#endif

struct thread_info {
	unsigned long flags;
#if defined(__TARGET_ARCH_x86)
	u32 status;
#endif
};

/* --- files ----------------------------------------------------------------------------------------- */
struct qstr {
	u32 len;
	const unsigned char *name;
};
struct super_block {
	unsigned long s_magic;
	unsigned long s_flags;
	u32 s_dev;
};
typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};
struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned int i_flags;
	struct super_block *i_sb;
	unsigned long i_ino;
	struct timespec64 i_ctime; /* before 6.6 */
	struct timespec64 i_mtime; /* before 6.7 */
};
struct inode___v6_6 { struct timespec64 __i_ctime; };
struct inode___v6_7 { struct timespec64 __i_mtime; };
struct inode___v6_11 { s64 i_ctime_sec, i_mtime_sec; u32 i_ctime_nsec, i_mtime_nsec; };
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};
struct vfsmount { struct dentry *mnt_root; };
struct mnt_namespace;
struct mount {
	struct mnt_namespace *mnt_ns;
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_mode, f_flags;
	void *private_data;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct { struct fdtable *fdt; };
struct fs_struct { struct path root, pwd; };

/* --- memory ---------------------------------------------------------------------------------------- */
struct percpu_counter { s64 count; };
typedef struct { s64 counter; } atomic_long_t;
struct mm_rss_stat { atomic_long_t count[4]; }; /* gone in 6.2 */
struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end, total_vm;
	struct file *exe_file;
	struct mm_rss_stat rss_stat;
};
struct mm_struct___v6_2 { struct percpu_counter rss_stat[4]; };

/* --- identity -------------------------------------------------------------------------------------- */
struct kernel_cap_struct { u32 cap[2]; }; /* before 6.3 */
typedef struct { u64 val; } kernel_cap_t;
struct group_info {
	int ngroups;
	kgid_t gid[0];
};
struct uid_gid_extent { u32 first, lower_first, count; };
struct uid_gid_map {
	struct uid_gid_extent extent[5];
	u32 nr_extents;
};
struct user_namespace {
	struct uid_gid_map uid_map;
	int level;
};
struct cred {
	kuid_t uid, euid, fsuid;
	kgid_t gid, egid, fsgid;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective;
	struct user_namespace *user_ns;
	struct group_info *group_info;
};
struct cred___v6_3 { struct { u64 val; } cap_inheritable, cap_permitted, cap_effective; };

/* --- namespaces and cgroups ------------------------------------------------------------------------ */
struct ns_common { unsigned int inum; };
struct mnt_namespace { struct ns_common ns; };
struct pid_namespace {
	struct task_struct *child_reaper;
	unsigned int level;
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[0];
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
};
struct kernfs_node {
	struct kernfs_node *parent; /* before 6.15 */
	const char *name;
	u64 id;
};
struct kernfs_node___v6_15 { struct kernfs_node *__parent; };
struct cgroup {
	struct kernfs_node *kn;
	int level;
};
struct cgroup___v6_1 { struct cgroup *ancestors[0]; };
struct cgroup___v5 { u64 ancestor_ids[0]; };
struct cgroup_subsys { const char *name; };
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys *ss;
};
struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};
/* The values depend on the kernel's configuration; they are relocated. */
enum cgroup_subsys_id { cpuset_cgrp_id = 100, cpu_cgrp_id, cpuacct_cgrp_id, io_cgrp_id, memory_cgrp_id, pids_cgrp_id };

/* --- tasks ----------------------------------------------------------------------------------------- */
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID, PIDTYPE_SID, PIDTYPE_MAX };
struct rlimit { unsigned long rlim_cur; };
struct tty_driver { int major, minor_start; };
struct tty_struct {
	int index;
	struct tty_driver *driver;
};
typedef struct { int counter; } atomic_t;
struct signal_struct {
	atomic_t live;
	struct pid *pids[PIDTYPE_MAX];
	struct tty_struct *tty;
	struct rlimit rlim[16];
};
struct list_head { struct list_head *next; };
struct seccomp { int mode; };
struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid, tgid, exit_code;
	struct task_struct *real_parent, *group_leader;
	u64 start_time, start_boottime;
	unsigned long min_flt, maj_flt;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	const struct cred *cred, *real_cred;
	struct pid *thread_pid;
	struct css_set *cgroups;
	struct list_head children;
	kuid_t loginuid;
	struct seccomp seccomp;
	char comm[16];
};
struct linux_binprm {
	struct file *file;
	const char *filename;
	char buf[256];
};

/* --- sockets --------------------------------------------------------------------------------------- */
struct in6_addr { u8 bytes[16]; };

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
	u32 sk_ack_backlog, sk_max_ack_backlog;
};
struct socket { struct sock *sk; };
struct sockaddr_un { char sun_path[108]; };
struct unix_address {
	int len;
	struct sockaddr_un name[0];
};
struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

#pragma clang attribute pop

#endif

/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* tidy: table */
/*
 * Event types that the probes send, and the order and encoding of their parameters.
 *
 * The numbers and encodings are those of the scap format as Falco libs 0.25 define it (exit events only).
 * The table of record is crates/sensor/src/schema/events.txt; a test of crate `sensor` compares this header with
 * it, so the two cannot drift apart.
 *
 * A record is: u64 ts_ns, u64 tid, u32 len, u16 type, u32 nparams (packed, 26 bytes), nparams u16 lengths, the
 * parameters, and after `len` bytes the fixed 32-byte trailer (struct pls_trailer in the loader's documentation):
 * u64 cgroup_id, u32 tgid, u32 ppid, u16 cpu, u16 flags, u32 uid, u64 start_boottime_ns. Little-endian, unaligned.
 * An absent parameter has length 0. Text carries its NUL. Integers have exactly the width below.
 * Trailing parameters may be left out (nparams smaller than the table's number), others may not.
 *
 * sockaddr:  u8 family, then AF_INET: u32 ip (network order), u16 port (host order); AF_INET6: 16 bytes, u16
 *            port; AF_UNIX: path with NUL.
 * socktuple: u8 family, then AF_INET: u32 sip, u16 sport, u32 dip, u16 dport; AF_INET6: 16, u16, 16, u16;
 *            AF_UNIX: u64 source pointer, u64 destination pointer, path with NUL. For connect the source is the
 *            local end and the destination the remote one; for accept the source is the peer (client).
 * `res` is the system call's return value (negative errno on failure); `fd` of open, socket, accept and the
 * like is the same value: the new descriptor or the negative errno.
 * BYTEBUF `args`, `env`: NUL-separated, last NUL included. BYTEBUF `cgroups`: "subsys=path" NUL-separated.
 */
#ifndef PALISADE_EVENTS_H
#define PALISADE_EVENTS_H

/* syscall: any call without a type of its own; ID is a code below, nativeID the kernel's number
 *    0 ID: u16
 *    1 nativeID: u16
 */
#define PLS_EVENT_GENERIC 1
#define PLS_NPARAMS_GENERIC 2
#define PLS_SYSCALL_MOVE_MOUNT 340
#define PLS_SYSCALL_FSOPEN 338
#define PLS_SYSCALL_FSMOUNT 337
#define PLS_SYSCALL_OPEN_TREE 339
#define PLS_SYSCALL_PROCESS_VM_READV 301
#define PLS_SYSCALL_PROCESS_VM_WRITEV 302
#define PLS_SYSCALL_PIDFD_OPEN 347
#define PLS_SYSCALL_QUOTACTL_FD 353
#define PLS_SYSCALL_KEXEC_LOAD 187
#define PLS_SYSCALL_NAME_TO_HANDLE_AT 376
#define PLS_SYSCALL_OPEN_BY_HANDLE_AT 329
#define PLS_SYSCALL_SWAPON 53
#define PLS_SYSCALL_SETHOSTNAME 44
#define PLS_SYSCALL_REBOOT 54
#define PLS_SYSCALL_UTIMENSAT 219
#define PLS_SYSCALL_UTIMES 180
#define PLS_SYSCALL_ADD_KEY 189
#define PLS_SYSCALL_REQUEST_KEY 190
#define PLS_SYSCALL_PERF_EVENT_OPEN 234
#define PLS_SYSCALL_PIVOT_ROOT 137
#define PLS_SYSCALL_SETTIMEOFDAY 48
#define PLS_SYSCALL_CLOCK_SETTIME 175
#define PLS_SYSCALL_KEXEC_FILE_LOAD 345
#define PLS_SYSCALL_MOUNT_SETATTR 341

/* sendmmsg: the first message
 *    0 res: i64
 *    1 fd: i64
 *    2 size: u32
 *    3 data: bytes
 *    4 tuple: socktuple
 */
#define PLS_EVENT_SENDMMSG 51
#define PLS_NPARAMS_SENDMMSG 5

/* recvmsg
 *    0 res: i64
 *    1 size: u32
 *    2 data: bytes
 *    3 tuple: socktuple
 *    4 msgcontrol: bytes
 *    5 fd: i64
 */
#define PLS_EVENT_RECVMSG 53
#define PLS_NPARAMS_RECVMSG 6

/* recvmmsg: the first message
 *    0 res: i64
 *    1 fd: i64
 *    2 size: u32
 *    3 data: bytes
 *    4 tuple: socktuple
 *    5 msgcontrol: bytes
 */
#define PLS_EVENT_RECVMMSG 55
#define PLS_NPARAMS_RECVMMSG 6

/* mprotect: only what makes memory executable
 *    0 res: i64
 *    1 addr: u64
 *    2 length: u64
 *    3 prot: u32 prot_flags
 */
#define PLS_EVENT_MPROTECT 329
#define PLS_NPARAMS_MPROTECT 4

/* mknod
 *    0 res: i64
 *    1 path: text, NUL included
 *    2 mode: u32 mknod_mode
 *    3 dev: u32
 */
#define PLS_EVENT_MKNOD 415
#define PLS_NPARAMS_MKNOD 4

/* mknodat
 *    0 res: i64
 *    1 dirfd: i64
 *    2 path: text, NUL included
 *    3 mode: u32 mknod_mode
 *    4 dev: u32
 */
#define PLS_EVENT_MKNODAT 417
#define PLS_NPARAMS_MKNODAT 5

/* open
 *    0 fd: i64
 *    1 name: text, NUL included
 *    2 flags: u32 file_flags
 *    3 mode: u32
 *    4 dev: u32
 *    5 ino: u64
 */
#define PLS_EVENT_OPEN 3
#define PLS_NPARAMS_OPEN 6

/* close
 *    0 res: i64
 *    1 fd: i64
 */
#define PLS_EVENT_CLOSE 5
#define PLS_NPARAMS_CLOSE 2

/* socket
 *    0 fd: i64
 *    1 domain: u32 socket_families
 *    2 type: u32
 *    3 proto: u32
 *    4 flags: u32 file_flags
 */
#define PLS_EVENT_SOCKET 19
#define PLS_NPARAMS_SOCKET 5

/* bind
 *    0 res: i64
 *    1 addr: sockaddr
 *    2 fd: i64
 */
#define PLS_EVENT_BIND 21
#define PLS_NPARAMS_BIND 3

/* connect
 *    0 res: i64
 *    1 tuple: socktuple
 *    2 fd: i64
 *    3 addr: sockaddr
 */
#define PLS_EVENT_CONNECT 23
#define PLS_NPARAMS_CONNECT 4

/* listen
 *    0 res: i64
 *    1 fd: i64
 *    2 backlog: i32
 */
#define PLS_EVENT_LISTEN 25
#define PLS_NPARAMS_LISTEN 3

/* recvfrom
 *    0 res: i64
 *    1 data: bytes
 *    2 tuple: socktuple
 *    3 fd: i64
 *    4 size: u32
 */
#define PLS_EVENT_RECVFROM 35
#define PLS_NPARAMS_RECVFROM 5

/* sendto
 *    0 res: i64
 *    1 data: bytes
 *    2 fd: i64
 *    3 size: u32
 *    4 tuple: socktuple
 */
#define PLS_EVENT_SENDTO 31
#define PLS_NPARAMS_SENDTO 5

/* sendmsg
 *    0 res: i64
 *    1 data: bytes
 *    2 fd: i64
 *    3 size: u32
 *    4 tuple: socktuple
 */
#define PLS_EVENT_SENDMSG 49
#define PLS_NPARAMS_SENDMSG 5

/* creat
 *    0 fd: i64
 *    1 name: text, NUL included
 *    2 mode: u32
 *    3 dev: u32
 *    4 ino: u64
 *    5 creat_flags: u16 creat_flags
 */
#define PLS_EVENT_CREAT 59
#define PLS_NPARAMS_CREAT 6

/* pipe
 *    0 res: i64
 *    1 fd1: i64
 *    2 fd2: i64
 *    3 ino: u64
 */
#define PLS_EVENT_PIPE 61
#define PLS_NPARAMS_PIPE 4

/* chdir
 *    0 res: i64
 *    1 path: text, NUL included
 */
#define PLS_EVENT_CHDIR 95
#define PLS_NPARAMS_CHDIR 2

/* fchdir
 *    0 res: i64
 *    1 fd: i64
 */
#define PLS_EVENT_FCHDIR 97
#define PLS_NPARAMS_FCHDIR 2

/* kill
 *    0 res: i64
 *    1 pid: i64
 *    2 sig: u8
 */
#define PLS_EVENT_KILL 129
#define PLS_NPARAMS_KILL 3

/* tkill
 *    0 res: i64
 *    1 tid: i64
 *    2 sig: u8
 */
#define PLS_EVENT_TKILL 131
#define PLS_NPARAMS_TKILL 3

/* tgkill
 *    0 res: i64
 *    1 pid: i64
 *    2 tid: i64
 *    3 sig: u8
 */
#define PLS_EVENT_TGKILL 133
#define PLS_NPARAMS_TGKILL 4

/* ptrace
 *    0 res: i64
 *    1 addr: dyn: u8 kind (0 u64, 1 u8 signal), value
 *    2 data: dyn: u8 kind (0 u64, 1 u8 signal), value
 *    3 request: u16 ptrace_requests
 *    4 pid: i64
 */
#define PLS_EVENT_PTRACE 169
#define PLS_NPARAMS_PTRACE 5

/* rename
 *    0 res: i64
 *    1 oldpath: text, NUL included
 *    2 newpath: text, NUL included
 */
#define PLS_EVENT_RENAME 175
#define PLS_NPARAMS_RENAME 3

/* renameat
 *    0 res: i64
 *    1 olddirfd: i64
 *    2 oldpath: text, NUL included relative to the descriptor in parameter 1
 *    3 newdirfd: i64
 *    4 newpath: text, NUL included relative to the descriptor in parameter 3
 */
#define PLS_EVENT_RENAMEAT 177
#define PLS_NPARAMS_RENAMEAT 5

/* symlink
 *    0 res: i64
 *    1 target: text, NUL included
 *    2 linkpath: text, NUL included
 */
#define PLS_EVENT_SYMLINK 179
#define PLS_NPARAMS_SYMLINK 3

/* symlinkat
 *    0 res: i64
 *    1 target: text, NUL included
 *    2 linkdirfd: i64
 *    3 linkpath: text, NUL included relative to the descriptor in parameter 2
 */
#define PLS_EVENT_SYMLINKAT 181
#define PLS_NPARAMS_SYMLINKAT 4

/* procexit
 *    0 status: i64
 *    1 ret: i64
 *    2 sig: u8
 *    3 core: u8
 *    4 reaper_tid: i64
 */
#define PLS_EVENT_PROCEXIT 186
#define PLS_NPARAMS_PROCEXIT 5

/* setresuid
 *    0 res: i64
 *    1 ruid: u32
 *    2 euid: u32
 *    3 suid: u32
 */
#define PLS_EVENT_SETRESUID 193
#define PLS_NPARAMS_SETRESUID 4

/* setresgid
 *    0 res: i64
 *    1 rgid: u32
 *    2 egid: u32
 *    3 sgid: u32
 */
#define PLS_EVENT_SETRESGID 195
#define PLS_NPARAMS_SETRESGID 4

/* setuid
 *    0 res: i64
 *    1 uid: u32
 */
#define PLS_EVENT_SETUID 199
#define PLS_NPARAMS_SETUID 2

/* setgid
 *    0 res: i64
 *    1 gid: u32
 */
#define PLS_EVENT_SETGID 201
#define PLS_NPARAMS_SETGID 2

/* clone
 *    0 res: i64
 *    1 exe: text, NUL included
 *    2 args: bytes
 *    3 tid: i64
 *    4 pid: i64
 *    5 ptid: i64
 *    6 cwd: text, NUL included
 *    7 fdlimit: i64
 *    8 pgft_maj: u64
 *    9 pgft_min: u64
 *   10 vm_size: u32
 *   11 vm_rss: u32
 *   12 vm_swap: u32
 *   13 comm: text, NUL included
 *   14 cgroups: bytes
 *   15 flags: u32 clone_flags
 *   16 uid: u32
 *   17 gid: u32
 *   18 vtid: i64
 *   19 vpid: i64
 *   20 pidns_init_start_ts: u64
 */
#define PLS_EVENT_CLONE 223
#define PLS_NPARAMS_CLONE 21

/* fork
 *    0 res: i64
 *    1 exe: text, NUL included
 *    2 args: bytes
 *    3 tid: i64
 *    4 pid: i64
 *    5 ptid: i64
 *    6 cwd: text, NUL included
 *    7 fdlimit: i64
 *    8 pgft_maj: u64
 *    9 pgft_min: u64
 *   10 vm_size: u32
 *   11 vm_rss: u32
 *   12 vm_swap: u32
 *   13 comm: text, NUL included
 *   14 cgroups: bytes
 *   15 flags: u32 clone_flags
 *   16 uid: u32
 *   17 gid: u32
 *   18 vtid: i64
 *   19 vpid: i64
 *   20 pidns_init_start_ts: u64
 */
#define PLS_EVENT_FORK 225
#define PLS_NPARAMS_FORK 21

/* vfork
 *    0 res: i64
 *    1 exe: text, NUL included
 *    2 args: bytes
 *    3 tid: i64
 *    4 pid: i64
 *    5 ptid: i64
 *    6 cwd: text, NUL included
 *    7 fdlimit: i64
 *    8 pgft_maj: u64
 *    9 pgft_min: u64
 *   10 vm_size: u32
 *   11 vm_rss: u32
 *   12 vm_swap: u32
 *   13 comm: text, NUL included
 *   14 cgroups: bytes
 *   15 flags: u32 clone_flags
 *   16 uid: u32
 *   17 gid: u32
 *   18 vtid: i64
 *   19 vpid: i64
 *   20 pidns_init_start_ts: u64
 */
#define PLS_EVENT_VFORK 227
#define PLS_NPARAMS_VFORK 21

/* setns
 *    0 res: i64
 *    1 fd: i64
 *    2 nstype: u32 clone_flags
 */
#define PLS_EVENT_SETNS 241
#define PLS_NPARAMS_SETNS 3

/* accept
 *    0 fd: i64
 *    1 tuple: socktuple
 *    2 queuepct: u8
 *    3 queuelen: u32
 *    4 queuemax: u32
 */
#define PLS_EVENT_ACCEPT 247
#define PLS_NPARAMS_ACCEPT 5

/* mount
 *    0 res: i64
 *    1 dev: text, NUL included
 *    2 dir: text, NUL included
 *    3 type: text, NUL included
 *    4 flags: u32 mount_flags
 */
#define PLS_EVENT_MOUNT 257
#define PLS_NPARAMS_MOUNT 5

/* chroot
 *    0 res: i64
 *    1 path: text, NUL included
 */
#define PLS_EVENT_CHROOT 267
#define PLS_NPARAMS_CHROOT 2

/* setsid
 *    0 res: i64
 */
#define PLS_EVENT_SETSID 275
#define PLS_NPARAMS_SETSID 1

/* mkdir
 *    0 res: i64
 *    1 path: text, NUL included
 *    2 mode: u32
 */
#define PLS_EVENT_MKDIR 277
#define PLS_NPARAMS_MKDIR 3

/* rmdir
 *    0 res: i64
 *    1 path: text, NUL included
 */
#define PLS_EVENT_RMDIR 279
#define PLS_NPARAMS_RMDIR 2

/* unshare
 *    0 res: i64
 *    1 flags: u32 clone_flags
 */
#define PLS_EVENT_UNSHARE 285
#define PLS_NPARAMS_UNSHARE 2

/* execve
 *    0 res: i64
 *    1 exe: text, NUL included
 *    2 args: bytes
 *    3 tid: i64
 *    4 pid: i64
 *    5 ptid: i64
 *    6 cwd: text, NUL included
 *    7 fdlimit: u64
 *    8 pgft_maj: u64
 *    9 pgft_min: u64
 *   10 vm_size: u32
 *   11 vm_rss: u32
 *   12 vm_swap: u32
 *   13 comm: text, NUL included
 *   14 cgroups: bytes
 *   15 env: bytes
 *   16 tty: u32
 *   17 vpgid: i64
 *   18 loginuid: u32
 *   19 flags: u32 execve_flags
 *   20 cap_inheritable: u64
 *   21 cap_permitted: u64
 *   22 cap_effective: u64
 *   23 exe_ino: u64
 *   24 exe_ino_ctime: u64
 *   25 exe_ino_mtime: u64
 *   26 uid: u32
 *   27 trusted_exepath: text, NUL included
 *   28 pgid: i64
 *   29 gid: u32
 *   30 filename: text, NUL included
 */
#define PLS_EVENT_EXECVE 293
#define PLS_NPARAMS_EXECVE 31

/* setpgid
 *    0 res: i64
 *    1 pid: i64
 *    2 pgid: i64
 */
#define PLS_EVENT_SETPGID 295
#define PLS_NPARAMS_SETPGID 3

/* unlink
 *    0 res: i64
 *    1 path: text, NUL included
 */
#define PLS_EVENT_UNLINK 301
#define PLS_NPARAMS_UNLINK 2

/* unlinkat
 *    0 res: i64
 *    1 dirfd: i64
 *    2 name: text, NUL included relative to the descriptor in parameter 1
 *    3 flags: u32 unlinkat_flags
 */
#define PLS_EVENT_UNLINKAT 303
#define PLS_NPARAMS_UNLINKAT 4

/* mkdirat
 *    0 res: i64
 *    1 dirfd: i64
 *    2 path: text, NUL included relative to the descriptor in parameter 1
 *    3 mode: u32
 */
#define PLS_EVENT_MKDIRAT 305
#define PLS_NPARAMS_MKDIRAT 4

/* openat
 *    0 fd: i64
 *    1 dirfd: i64
 *    2 name: text, NUL included relative to the descriptor in parameter 1
 *    3 flags: u32 file_flags
 *    4 mode: u32
 *    5 dev: u32
 *    6 ino: u64
 */
#define PLS_EVENT_OPENAT 307
#define PLS_NPARAMS_OPENAT 7

/* link
 *    0 res: i64
 *    1 oldpath: text, NUL included
 *    2 newpath: text, NUL included
 */
#define PLS_EVENT_LINK 309
#define PLS_NPARAMS_LINK 3

/* linkat
 *    0 res: i64
 *    1 olddir: i64
 *    2 oldpath: text, NUL included relative to the descriptor in parameter 1
 *    3 newdir: i64
 *    4 newpath: text, NUL included relative to the descriptor in parameter 3
 *    5 flags: u32 linkat_flags
 */
#define PLS_EVENT_LINKAT 311
#define PLS_NPARAMS_LINKAT 6

/* fchmodat
 *    0 res: i64
 *    1 dirfd: i64
 *    2 filename: text, NUL included relative to the descriptor in parameter 1
 *    3 mode: u32 chmod_mode
 */
#define PLS_EVENT_FCHMODAT 313
#define PLS_NPARAMS_FCHMODAT 4

/* chmod
 *    0 res: i64
 *    1 filename: text, NUL included
 *    2 mode: u32 chmod_mode
 */
#define PLS_EVENT_CHMOD 315
#define PLS_NPARAMS_CHMOD 3

/* fchmod
 *    0 res: i64
 *    1 fd: i64
 *    2 mode: u32 chmod_mode
 */
#define PLS_EVENT_FCHMOD 317
#define PLS_NPARAMS_FCHMOD 3

/* renameat2
 *    0 res: i64
 *    1 olddirfd: i64
 *    2 oldpath: text, NUL included relative to the descriptor in parameter 1
 *    3 newdirfd: i64
 *    4 newpath: text, NUL included relative to the descriptor in parameter 3
 *    5 flags: u32 renameat2_flags
 */
#define PLS_EVENT_RENAMEAT2 319
#define PLS_NPARAMS_RENAMEAT2 6

/* userfaultfd
 *    0 res: i64
 *    1 flags: u32 file_flags
 */
#define PLS_EVENT_USERFAULTFD 321
#define PLS_NPARAMS_USERFAULTFD 2

/* io_uring_setup
 *    0 res: i64
 *    1 entries: u32
 *    2 sq_entries: u32
 *    3 cq_entries: u32
 *    4 flags: u32 io_uring_setup_flags
 *    5 sq_thread_cpu: u32
 *    6 sq_thread_idle: u32
 *    7 features: u32 io_uring_setup_feats
 */
#define PLS_EVENT_IO_URING_SETUP 339
#define PLS_NPARAMS_IO_URING_SETUP 8

/* keyctl; what an operation does not take is 0, and a text that cannot be read is absent
 *    0 res: i64
 *    1 operation: u32 keyctl_operations
 *    2 arg2: dynamic: u8 form (0 i64, 1 text), then the value
 *    3 arg3: dynamic
 *    4 arg4: dynamic
 *    5 arg5: dynamic
 */
#define PLS_EVENT_KEYCTL 453
#define PLS_NPARAMS_KEYCTL 6

/* quotactl; what a command does not take or give is 0, times are seconds
 *    0 res: i64
 *    1 special: text, NUL included
 *    2 quotafilepath: text, NUL included
 *    3 dqb_bhardlimit: u64
 *    4 dqb_bsoftlimit: u64
 *    5 dqb_curspace: u64
 *    6 dqb_ihardlimit: u64
 *    7 dqb_isoftlimit: u64
 *    8 dqb_btime: u64
 *    9 dqb_itime: u64
 *    10 dqi_bgrace: u64
 *    11 dqi_igrace: u64
 *    12 dqi_flags: u8 quotactl_dqi_flags
 *    13 quota_fmt_out: u8 quotactl_quota_fmts
 *    14 cmd: u16 quotactl_cmds
 *    15 type: u8 quotactl_types
 *    16 id: u32
 *    17 quota_fmt: u8 quotactl_quota_fmts
 */
#define PLS_EVENT_QUOTACTL 191
#define PLS_NPARAMS_QUOTACTL 18

/* openat2
 *    0 fd: i64
 *    1 dirfd: i64
 *    2 name: text, NUL included relative to the descriptor in parameter 1
 *    3 flags: u32 file_flags
 *    4 mode: u32
 *    5 resolve: u32 openat2_flags
 *    6 dev: u32
 *    7 ino: u64
 */
#define PLS_EVENT_OPENAT2 327
#define PLS_NPARAMS_OPENAT2 8

/* execveat
 *    0 res: i64
 *    1 exe: text, NUL included
 *    2 args: bytes
 *    3 tid: i64
 *    4 pid: i64
 *    5 ptid: i64
 *    6 cwd: text, NUL included
 *    7 fdlimit: u64
 *    8 pgft_maj: u64
 *    9 pgft_min: u64
 *   10 vm_size: u32
 *   11 vm_rss: u32
 *   12 vm_swap: u32
 *   13 comm: text, NUL included
 *   14 cgroups: bytes
 *   15 env: bytes
 *   16 tty: u32
 *   17 vpgid: i64
 *   18 loginuid: u32
 *   19 flags: u32 execve_flags
 *   20 cap_inheritable: u64
 *   21 cap_permitted: u64
 *   22 cap_effective: u64
 *   23 exe_ino: u64
 *   24 exe_ino_ctime: u64
 *   25 exe_ino_mtime: u64
 *   26 uid: u32
 *   27 trusted_exepath: text, NUL included
 *   28 pgid: i64
 *   29 gid: u32
 */
#define PLS_EVENT_EXECVEAT 331
#define PLS_NPARAMS_EXECVEAT 30

/* clone3
 *    0 res: i64
 *    1 exe: text, NUL included
 *    2 args: bytes
 *    3 tid: i64
 *    4 pid: i64
 *    5 ptid: i64
 *    6 cwd: text, NUL included
 *    7 fdlimit: i64
 *    8 pgft_maj: u64
 *    9 pgft_min: u64
 *   10 vm_size: u32
 *   11 vm_rss: u32
 *   12 vm_swap: u32
 *   13 comm: text, NUL included
 *   14 cgroups: bytes
 *   15 flags: u32 clone_flags
 *   16 uid: u32
 *   17 gid: u32
 *   18 vtid: i64
 *   19 vpid: i64
 *   20 pidns_init_start_ts: u64
 */
#define PLS_EVENT_CLONE3 335
#define PLS_NPARAMS_CLONE3 21

/* capset
 *    0 res: i64
 *    1 cap_inheritable: u64
 *    2 cap_permitted: u64
 *    3 cap_effective: u64
 */
#define PLS_EVENT_CAPSET 353
#define PLS_NPARAMS_CAPSET 4

/* dup2
 *    0 res: i64
 *    1 oldfd: i64
 *    2 newfd: i64
 */
#define PLS_EVENT_DUP2 363
#define PLS_NPARAMS_DUP2 3

/* dup3
 *    0 res: i64
 *    1 oldfd: i64
 *    2 newfd: i64
 *    3 flags: u32 file_flags
 */
#define PLS_EVENT_DUP3 365
#define PLS_NPARAMS_DUP3 4

/* dup
 *    0 res: i64
 *    1 oldfd: i64
 */
#define PLS_EVENT_DUP 367
#define PLS_NPARAMS_DUP 2

/* bpf
 *    0 fd: i64
 *    1 cmd: u32 bpf_commands
 */
#define PLS_EVENT_BPF 369
#define PLS_NPARAMS_BPF 2

/* fsconfig
 *    0 res: i64
 *    1 fd: i64
 *    2 cmd: u32 fsconfig_cmds
 *    3 key: text, NUL included
 *    4 value_bytebuf: bytes
 *    5 value_charbuf: text, NUL included
 *    6 aux: i32
 */
#define PLS_EVENT_FSCONFIG 373
#define PLS_NPARAMS_FSCONFIG 7

/* chown
 *    0 res: i64
 *    1 path: text, NUL included
 *    2 uid: u32
 *    3 gid: u32
 */
#define PLS_EVENT_CHOWN 379
#define PLS_NPARAMS_CHOWN 4

/* fchown
 *    0 res: i64
 *    1 fd: i64
 *    2 uid: u32
 *    3 gid: u32
 */
#define PLS_EVENT_FCHOWN 383
#define PLS_NPARAMS_FCHOWN 4

/* accept4
 *    0 fd: i64
 *    1 tuple: socktuple
 *    2 queuepct: u8
 *    3 queuelen: u32
 *    4 queuemax: u32
 *    5 flags: i32
 */
#define PLS_EVENT_ACCEPT4 389
#define PLS_NPARAMS_ACCEPT4 6

/* umount2
 *    0 res: i64
 *    1 name: text, NUL included
 *    2 flags: u32 umount_flags
 */
#define PLS_EVENT_UMOUNT2 391
#define PLS_NPARAMS_UMOUNT2 3

/* pipe2
 *    0 res: i64
 *    1 fd1: i64
 *    2 fd2: i64
 *    3 ino: u64
 *    4 flags: u32 file_flags
 */
#define PLS_EVENT_PIPE2 393
#define PLS_NPARAMS_PIPE2 5

/* prctl
 *    0 res: i64
 *    1 option: u32 prctl_options
 *    2 arg2_str: text, NUL included
 *    3 arg2_int: i64
 */
#define PLS_EVENT_PRCTL 401
#define PLS_NPARAMS_PRCTL 4

/* memfd_create
 *    0 fd: i64
 *    1 name: text, NUL included
 *    2 flags: u32 memfd_create_flags
 */
#define PLS_EVENT_MEMFD_CREATE 405
#define PLS_NPARAMS_MEMFD_CREATE 3

/* pidfd_getfd
 *    0 fd: i64
 *    1 pid_fd: i64
 *    2 target_fd: i64
 *    3 flags: u32
 */
#define PLS_EVENT_PIDFD_GETFD 407
#define PLS_NPARAMS_PIDFD_GETFD 4

/* init_module
 *    0 res: i64
 *    1 img: bytes
 *    2 length: u64
 *    3 uargs: text, NUL included
 */
#define PLS_EVENT_INIT_MODULE 411
#define PLS_NPARAMS_INIT_MODULE 4

/* finit_module
 *    0 res: i64
 *    1 fd: i64
 *    2 uargs: text, NUL included
 *    3 flags: u32 finit_module_flags
 */
#define PLS_EVENT_FINIT_MODULE 413
#define PLS_NPARAMS_FINIT_MODULE 4

/* delete_module
 *    0 res: i64
 *    1 name: text, NUL included
 *    2 flags: u32 delete_module_flags
 */
#define PLS_EVENT_DELETE_MODULE 425
#define PLS_NPARAMS_DELETE_MODULE 3

/* setreuid
 *    0 res: i64
 *    1 ruid: u32
 *    2 euid: u32
 */
#define PLS_EVENT_SETREUID 427
#define PLS_NPARAMS_SETREUID 3

/* setregid
 *    0 res: i64
 *    1 rgid: u32
 *    2 egid: u32
 */
#define PLS_EVENT_SETREGID 429
#define PLS_NPARAMS_SETREGID 3

/* Values in parameters, where they differ from the kernel's. The kernel's bits are translated to these. */
/* file_flags */
#define PLS_O_LARGEFILE 2048u
#define PLS_O_DIRECTORY 1024u
#define PLS_O_DIRECT 512u
#define PLS_O_TRUNC 256u
#define PLS_O_SYNC 128u
#define PLS_O_NONBLOCK 64u
#define PLS_O_EXCL 32u
#define PLS_O_DSYNC 16u
#define PLS_O_APPEND 8u
#define PLS_O_CREAT 4u
#define PLS_O_RDWR 3u
#define PLS_O_WRONLY 2u
#define PLS_O_RDONLY 1u
#define PLS_O_CLOEXEC 4096u
#define PLS_O_NONE 0u
#define PLS_O_TMPFILE 8192u
#define PLS_O_F_CREATED 16384u
#define PLS_FD_UPPER_LAYER 32768u
#define PLS_FD_LOWER_LAYER 65536u

/* clone_flags */
#define PLS_CLONE_FILES 1u
#define PLS_CLONE_FS 2u
#define PLS_CLONE_IO 4u
#define PLS_CLONE_NEWIPC 8u
#define PLS_CLONE_NEWNET 16u
#define PLS_CLONE_NEWNS 32u
#define PLS_CLONE_NEWPID 64u
#define PLS_CLONE_NEWUTS 128u
#define PLS_CLONE_PARENT 256u
#define PLS_CLONE_PARENT_SETTID 512u
#define PLS_CLONE_PTRACE 1024u
#define PLS_CLONE_SIGHAND 2048u
#define PLS_CLONE_SYSVSEM 4096u
#define PLS_CLONE_THREAD 8192u
#define PLS_CLONE_UNTRACED 16384u
#define PLS_CLONE_VM 32768u
#define PLS_CLONE_INVERTED 65536u
#define PLS_NAME_CHANGED 131072u
#define PLS_CLOSED 262144u
#define PLS_CLONE_NEWUSER 1048576u
#define PLS_CLONE_CHILD_CLEARTID 8388608u
#define PLS_CLONE_CHILD_SETTID 16777216u
#define PLS_CLONE_SETTLS 33554432u
#define PLS_CLONE_STOPPED 67108864u
#define PLS_CLONE_VFORK 134217728u
#define PLS_CLONE_NEWCGROUP 268435456u
#define PLS_CLONE_CHILD_IN_PIDNS 536870912u

/* execve_flags */
#define PLS_EXE_WRITABLE 1u
#define PLS_EXE_UPPER_LAYER 2u
#define PLS_EXE_FROM_MEMFD 4u
#define PLS_EXE_LOWER_LAYER 8u

/* creat_flags */
#define PLS_FD_UPPER_LAYER_CREAT 1u
#define PLS_FD_LOWER_LAYER_CREAT 2u

/* unlinkat_flags */
#define PLS_UNLINKAT_AT_REMOVEDIR 512u

/* openat2_flags */
#define PLS_OPENAT2_RESOLVE_BENEATH 1u
#define PLS_OPENAT2_RESOLVE_IN_ROOT 2u
#define PLS_OPENAT2_RESOLVE_NO_MAGICLINKS 4u
#define PLS_OPENAT2_RESOLVE_NO_SYMLINKS 8u
#define PLS_OPENAT2_RESOLVE_NO_XDEV 16u
#define PLS_OPENAT2_RESOLVE_CACHED 32u

/* memfd_create_flags */
#define PLS_MEMFD_MFD_CLOEXEC 1u
#define PLS_MEMFD_MFD_ALLOW_SEALING 2u
#define PLS_MEMFD_MFD_HUGETLB 4u

/* finit_module_flags */
#define PLS_FINIT_MODULE_INIT_IGNORE_MODVERSIONS 1u
#define PLS_FINIT_MODULE_INIT_IGNORE_VERMAGIC 2u
#define PLS_FINIT_MODULE_INIT_COMPRESSED_FILE 4u

/* mount_flags */
#define PLS_MOUNT_RDONLY 1u
#define PLS_MOUNT_NOSUID 2u
#define PLS_MOUNT_NODEV 4u
#define PLS_MOUNT_NOEXEC 8u
#define PLS_MOUNT_SYNCHRONOUS 16u
#define PLS_MOUNT_REMOUNT 32u
#define PLS_MOUNT_MANDLOCK 64u
#define PLS_MOUNT_DIRSYNC 128u
#define PLS_MOUNT_NOATIME 1024u
#define PLS_MOUNT_NODIRATIME 2048u
#define PLS_MOUNT_BIND 4096u
#define PLS_MOUNT_MOVE 8192u
#define PLS_MOUNT_REC 16384u
#define PLS_MOUNT_SILENT 32768u
#define PLS_MOUNT_POSIXACL 65536u
#define PLS_MOUNT_UNBINDABLE 131072u
#define PLS_MOUNT_PRIVATE 262144u
#define PLS_MOUNT_SLAVE 524288u
#define PLS_MOUNT_SHARED 1048576u
#define PLS_MOUNT_RELATIME 2097152u
#define PLS_MOUNT_KERNMOUNT 4194304u
#define PLS_MOUNT_I_VERSION 8388608u
#define PLS_MOUNT_STRICTATIME 16777216u
#define PLS_MOUNT_LAZYTIME 33554432u
#define PLS_MOUNT_NOSEC 268435456u
#define PLS_MOUNT_BORN 536870912u
#define PLS_MOUNT_ACTIVE 1073741824u
#define PLS_MOUNT_NOUSER 2147483648u

/* execveat_flags */
#define PLS_EXECVEAT_AT_EMPTY_PATH 1u
#define PLS_EXECVEAT_AT_SYMLINK_NOFOLLOW 2u

/* ptrace_requests */
#define PLS_PTRACE_PTRACE_SINGLEBLOCK 38u
#define PLS_PTRACE_PTRACE_SYSEMU_SINGLESTEP 37u
#define PLS_PTRACE_PTRACE_SYSEMU 36u
#define PLS_PTRACE_PTRACE_ARCH_PRCTL 35u
#define PLS_PTRACE_PTRACE_SET_THREAD_AREA 34u
#define PLS_PTRACE_PTRACE_GET_THREAD_AREA 33u
#define PLS_PTRACE_PTRACE_OLDSETOPTIONS 32u
#define PLS_PTRACE_PTRACE_SETFPXREGS 31u
#define PLS_PTRACE_PTRACE_GETFPXREGS 30u
#define PLS_PTRACE_PTRACE_SETFPREGS 29u
#define PLS_PTRACE_PTRACE_GETFPREGS 28u
#define PLS_PTRACE_PTRACE_SETREGS 27u
#define PLS_PTRACE_PTRACE_GETREGS 26u
#define PLS_PTRACE_PTRACE_SETSIGMASK 25u
#define PLS_PTRACE_PTRACE_GETSIGMASK 24u
#define PLS_PTRACE_PTRACE_PEEKSIGINFO 23u
#define PLS_PTRACE_PTRACE_LISTEN 22u
#define PLS_PTRACE_PTRACE_INTERRUPT 21u
#define PLS_PTRACE_PTRACE_SEIZE 20u
#define PLS_PTRACE_PTRACE_SETREGSET 19u
#define PLS_PTRACE_PTRACE_GETREGSET 18u
#define PLS_PTRACE_PTRACE_SETSIGINFO 17u
#define PLS_PTRACE_PTRACE_GETSIGINFO 16u
#define PLS_PTRACE_PTRACE_GETEVENTMSG 15u
#define PLS_PTRACE_PTRACE_SETOPTIONS 14u
#define PLS_PTRACE_PTRACE_SYSCALL 13u
#define PLS_PTRACE_PTRACE_DETACH 12u
#define PLS_PTRACE_PTRACE_ATTACH 11u
#define PLS_PTRACE_PTRACE_SINGLESTEP 10u
#define PLS_PTRACE_PTRACE_KILL 9u
#define PLS_PTRACE_PTRACE_CONT 8u
#define PLS_PTRACE_PTRACE_POKEUSR 7u
#define PLS_PTRACE_PTRACE_POKEDATA 6u
#define PLS_PTRACE_PTRACE_POKETEXT 5u
#define PLS_PTRACE_PTRACE_PEEKUSR 4u
#define PLS_PTRACE_PTRACE_PEEKDATA 3u
#define PLS_PTRACE_PTRACE_PEEKTEXT 2u
#define PLS_PTRACE_PTRACE_TRACEME 1u
#define PLS_PTRACE_PTRACE_UNKNOWN 0u

/* chmod_mode */
#define PLS_CHMOD_S_IXOTH 1u
#define PLS_CHMOD_S_IWOTH 2u
#define PLS_CHMOD_S_IROTH 4u
#define PLS_CHMOD_S_IXGRP 8u
#define PLS_CHMOD_S_IWGRP 16u
#define PLS_CHMOD_S_IRGRP 32u
#define PLS_CHMOD_S_IXUSR 64u
#define PLS_CHMOD_S_IWUSR 128u
#define PLS_CHMOD_S_IRUSR 256u
#define PLS_CHMOD_S_ISVTX 512u
#define PLS_CHMOD_S_ISGID 1024u
#define PLS_CHMOD_S_ISUID 2048u

/* renameat2_flags */
#define PLS_RENAMEAT2_RENAME_NOREPLACE 1u
#define PLS_RENAMEAT2_RENAME_EXCHANGE 2u
#define PLS_RENAMEAT2_RENAME_WHITEOUT 4u

/* quotactl_cmds */
#define PLS_QUOTACTL_Q_QUOTAON 1u
#define PLS_QUOTACTL_Q_QUOTAOFF 2u
#define PLS_QUOTACTL_Q_GETFMT 4u
#define PLS_QUOTACTL_Q_GETINFO 8u
#define PLS_QUOTACTL_Q_SETINFO 16u
#define PLS_QUOTACTL_Q_GETQUOTA 32u
#define PLS_QUOTACTL_Q_SETQUOTA 64u
#define PLS_QUOTACTL_Q_SYNC 128u
#define PLS_QUOTACTL_Q_XQUOTAON 256u
#define PLS_QUOTACTL_Q_XQUOTAOFF 512u
#define PLS_QUOTACTL_Q_XGETQUOTA 1024u
#define PLS_QUOTACTL_Q_XSETQLIM 2048u
#define PLS_QUOTACTL_Q_XGETQSTAT 4096u
#define PLS_QUOTACTL_Q_XQUOTARM 8192u
#define PLS_QUOTACTL_Q_XQUOTASYNC 16384u

/* quotactl_dqi_flags */
#define PLS_QUOTACTL_DQF_NONE 1u
#define PLS_QUOTACTL_V1_DQF_RSQUASH 2u

/* quotactl_quota_fmts */
#define PLS_QUOTACTL_QFMT_NOT_USED 1u
#define PLS_QUOTACTL_QFMT_VFS_OLD 2u
#define PLS_QUOTACTL_QFMT_VFS_V0 4u
#define PLS_QUOTACTL_QFMT_VFS_V1 8u

/* quotactl_types */
#define PLS_QUOTACTL_USRQUOTA 1u
#define PLS_QUOTACTL_GRPQUOTA 2u

#endif

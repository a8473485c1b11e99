/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* Sockets. Addresses come from the kernel's socket where it has them, from the caller's memory where it has not. */
#ifndef PALISADE_NETWORK_H
#define PALISADE_NETWORK_H

#include "files.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCKFS_MAGIC 0x534f434b
#define EINPROGRESS 115
#define SOCK_TYPE_MASK 0xf
#define ADDRESS_BYTES_MAX 128 /* more than `struct sockaddr_un`; a power of two */
#define UNIX_PATH_BYTES_MAX 108
#define DATA_BYTES_MAX 128 /* of what is sent; a power of two */

#define APPEND(s, type, value)                                                                                         \
	do {                                                                                                           \
		*(type *)((s)->data + AT(s)) = (value);                                                                \
		(s)->pos += sizeof(type);                                                                              \
	} while (0)

static __always_inline u16 swap16(u16 value)
{
	return value << 8 | value >> 8;
}

static __always_inline struct sock *sock_of(s64 fd)
{
	struct file *file = file_of(fd);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	if (!file || (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	/* A socket's name in a file system is such an inode, too, but there is no socket behind it. */
	if (BPF_CORE_READ(inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline void append_ip6(struct scratch *s, const void *address)
{
	bpf_probe_read_kernel(s->data + AT(s), 16, address);
	s->pos += 16;
}

/* The path of a Unix address with its NUL; an abstract one without the NUL in front. */
static __always_inline void append_unix_path(struct scratch *s, const char *path)
{
	char first = 0;
	bpf_probe_read_kernel(&first, 1, path);
	long n = bpf_probe_read_kernel_str(s->data + AT(s), UNIX_PATH_BYTES_MAX, first ? path : path + 1);
	if (n > 0)
		s->pos += n;
	else
		APPEND(s, u8, 0);
}

/* Copies the caller's address into the scratch path buffer. Returns its family, or 0. */
static __always_inline u16 read_address(struct scratch *s, u64 address, u32 bytes)
{
	if (bytes < 2 || !address)
		return 0;
	if (bytes >= ADDRESS_BYTES_MAX)
		bytes = ADDRESS_BYTES_MAX - 1;
	barrier_var(bytes);
	__builtin_memset(s->path, 0, ADDRESS_BYTES_MAX);
	if (bpf_probe_read_user(s->path, bytes & (ADDRESS_BYTES_MAX - 1), (void *)address))
		return 0;
	return *(u16 *)s->path;
}

/* Pushes the caller's address as a parameter. */
__attribute__((noinline)) int push_address(u64 address, u32 bytes)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	u32 start = s->pos;
	u16 family = read_address(s, address, bytes);
	if (family == AF_INET) {
		APPEND(s, u8, AF_INET);
		APPEND(s, u32, *(u32 *)(s->path + 4));
		APPEND(s, u16, swap16(*(u16 *)(s->path + 2)));
	} else if (family == AF_INET6) {
		APPEND(s, u8, AF_INET6);
		append_ip6(s, s->path + 8);
		APPEND(s, u16, swap16(*(u16 *)(s->path + 2)));
	} else if (family == AF_UNIX) {
		APPEND(s, u8, AF_UNIX);
		append_unix_path(s, (const char *)s->path + 2);
	}
	u32 n = s->pos - start;
	s->pos = start;
	end_param(s, n);
	return 0;
}

static __always_inline void append_inet(struct scratch *s, struct sock *sk, u64 address, u32 bytes, bool inbound)
{
	u32 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr), remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	u16 lport = BPF_CORE_READ(sk, __sk_common.skc_num), rport = swap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	/* A socket without a connection does not keep where a datagram goes. */
	if (!rport && read_address(s, address, bytes) == AF_INET) {
		remote = *(u32 *)(s->path + 4);
		rport = swap16(*(u16 *)(s->path + 2));
	}
	APPEND(s, u8, AF_INET);
	APPEND(s, u32, inbound ? remote : local);
	APPEND(s, u16, inbound ? rport : lport);
	APPEND(s, u32, inbound ? local : remote);
	APPEND(s, u16, inbound ? lport : rport);
}

static __always_inline void append_inet6(struct scratch *s, struct sock *sk, u64 address, u32 bytes, bool inbound)
{
	const void *local = (void *)sk + bpf_core_field_offset(struct sock, __sk_common.skc_v6_rcv_saddr);
	const void *remote = (void *)sk + bpf_core_field_offset(struct sock, __sk_common.skc_v6_daddr);
	u16 lport = BPF_CORE_READ(sk, __sk_common.skc_num), rport = swap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (!rport && read_address(s, address, bytes) == AF_INET6) {
		remote = s->path + 8;
		rport = swap16(*(u16 *)(s->path + 2));
	}
	APPEND(s, u8, AF_INET6);
	append_ip6(s, inbound ? remote : local);
	APPEND(s, u16, inbound ? rport : lport);
	append_ip6(s, inbound ? local : remote);
	APPEND(s, u16, inbound ? lport : rport);
}

static __always_inline void append_unix(struct scratch *s, struct sock *sk, u64 address, u32 bytes, bool inbound)
{
	struct sock *peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	/* The named end: the server's, whichever side of the call this is. */
	struct unix_address *named = BPF_CORE_READ((struct unix_sock *)(inbound ? sk : peer), addr);
	APPEND(s, u8, AF_UNIX);
	APPEND(s, u64, inbound ? (u64)sk : (u64)peer);
	APPEND(s, u64, inbound ? (u64)peer : (u64)sk);
	if (named)
		append_unix_path(s, (void *)named + bpf_core_field_offset(struct unix_address, name) +
					    bpf_core_field_offset(struct sockaddr_un, sun_path));
	else if (!inbound && read_address(s, address, bytes) == AF_UNIX)
		append_unix_path(s, (const char *)s->path + 2);
	else
		APPEND(s, u8, 0);
}

/* Pushes both ends of the socket `fd` as a parameter; `address` is where the caller says the other end is. */
__attribute__((noinline)) int push_tuple(s64 fd, u64 address, u32 bytes, u32 inbound)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	u32 start = s->pos;
	struct sock *sk = sock_of(fd);
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (sk && family == AF_INET)
		append_inet(s, sk, address, bytes, inbound);
	else if (sk && family == AF_INET6)
		append_inet6(s, sk, address, bytes, inbound);
	else if (sk && family == AF_UNIX)
		append_unix(s, sk, address, bytes, inbound);
	u32 n = s->pos - start;
	s->pos = start;
	end_param(s, n);
	return 0;
}

CALL(socket)
{
	BEGIN(SOCKET, CLASS_NETWORK)
	push_s64(s, ret);
	push_u32(s, ARG(0));
	push_u32(s, ARG(1));
	push_u32(s, ARG(2));
	push_u32(s, (ARG(1) & O_NONBLOCK ? PLS_O_NONBLOCK : 0) | (ARG(1) & O_CLOEXEC ? PLS_O_CLOEXEC : 0));
	END(CLASS_NETWORK)
}

CALL(connect)
{
	BEGIN(CONNECT, CLASS_NETWORK)
	push_s64(s, ret);
	if (ret == 0 || ret == -EINPROGRESS)
		push_tuple(ARG_INT(0), ARG(1), ARG(2), 0);
	else
		push_empty(s);
	push_s64(s, ARG_INT(0));
	push_address(ARG(1), ARG(2));
	END(CLASS_NETWORK)
}

CALL(bind)
{
	BEGIN(BIND, CLASS_NETWORK)
	push_s64(s, ret);
	push_address(ARG(1), ARG(2));
	push_s64(s, ARG_INT(0));
	END(CLASS_NETWORK)
}

CALL(listen)
{
	BEGIN(LISTEN, CLASS_NETWORK)
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_u32(s, ARG(1));
	END(CLASS_NETWORK)
}

static __always_inline void push_accepted(struct scratch *s, s64 ret, s64 listener)
{
	u32 n = 0, max = 0;
	push_s64(s, ret);
	if (ret >= 0) {
		struct sock *sk = sock_of(listener);
		n = BPF_CORE_READ(sk, sk_ack_backlog);
		max = BPF_CORE_READ(sk, sk_max_ack_backlog);
		push_tuple(ret, 0, 0, 1);
	} else {
		push_empty(s);
	}
	push_u8(s, max ? (u64)n * 100 / max : 0);
	push_u32(s, n);
	push_u32(s, max);
}

CALL(accept)
{
	BEGIN(ACCEPT, CLASS_NETWORK)
	push_accepted(s, ret, ARG_INT(0));
	END(CLASS_NETWORK)
}

CALL(accept4)
{
	BEGIN(ACCEPT4, CLASS_NETWORK)
	push_accepted(s, ret, ARG_INT(0));
	push_u32(s, (ARG(3) & O_NONBLOCK ? PLS_O_NONBLOCK : 0) | (ARG(3) & O_CLOEXEC ? PLS_O_CLOEXEC : 0));
	END(CLASS_NETWORK)
}

CALL(sendto)
{
	BEGIN(SENDTO, CLASS_NETWORK)
	push_s64(s, ret);
	push_user_bytes(s, ARG(1), ret > 0 ? ret : 0, DATA_BYTES_MAX);
	s->trailer_flags &= ~TRAILER_TRUNCATED; /* cutting the data is the rule */
	push_s64(s, ARG_INT(0));
	push_u32(s, ARG(2));
	push_tuple(ARG_INT(0), ARG(4), ARG(5), 0);
	END(CLASS_NETWORK)
}

CALL(recvfrom)
{
	u32 address_bytes = 0;
	BEGIN(RECVFROM, CLASS_NETWORK)
	push_s64(s, ret);
	push_user_bytes(s, ARG(1), ret > 0 ? ret : 0, DATA_BYTES_MAX);
	s->trailer_flags &= ~TRAILER_TRUNCATED;
	if (ret >= 0) {
		bpf_probe_read_user(&address_bytes, sizeof(address_bytes), (void *)ARG(5));
		push_tuple(ARG_INT(0), ARG(4), address_bytes, 1);
	} else {
		push_empty(s);
	}
	push_s64(s, ARG_INT(0));
	push_u32(s, ARG(2));
	END(CLASS_NETWORK)
}

/* struct msghdr of the 64-bit interface, as far as it is read, and its first buffer. */
struct message {
	u64 name, name_bytes, iov, iov_count, control, control_bytes;
	u64 base, bytes;
};

/* The 32-bit structure differs; the tuple is then the socket's own, and the data is absent. */
static __always_inline void read_message(struct message *m, u64 address, bool compat)
{
	if (compat)
		return;
	bpf_probe_read_user(m, 48, (void *)address);
	bpf_probe_read_user(&m->base, 16, (void *)m->iov);
}

/* What was sent or received by the first buffer of a message: `moved` bytes in all, or an error. */
static __always_inline void push_data(struct scratch *s, struct message *m, s64 moved)
{
	u64 bytes = moved <= 0 ? 0 : m->bytes > moved ? moved : m->bytes;
	push_user_bytes(s, m->base, bytes, DATA_BYTES_MAX);
	s->trailer_flags &= ~TRAILER_TRUNCATED; /* cutting the data is the rule */
}

/* Control data as the kernel has filled it in: descriptors that were passed. */
static __always_inline void push_control(struct scratch *s, struct message *m, s64 moved)
{
	push_user_bytes(s, m->control, moved < 0 ? 0 : m->control_bytes, DATA_BYTES_MAX);
	s->trailer_flags &= ~TRAILER_TRUNCATED;
}

CALL(sendmsg)
{
	struct message message = {};
	BEGIN(SENDMSG, CLASS_NETWORK)
	read_message(&message, ARG(1), compat);
	push_s64(s, ret);
	push_data(s, &message, ret);
	push_s64(s, ARG_INT(0));
	push_u32(s, ret > 0 ? ret : message.bytes);
	push_tuple(ARG_INT(0), message.name, (u32)message.name_bytes, 0);
	END(CLASS_NETWORK)
}

CALL(recvmsg)
{
	struct message message = {};
	BEGIN(RECVMSG, CLASS_NETWORK)
	read_message(&message, ARG(1), compat);
	push_s64(s, ret);
	push_u32(s, ret > 0 ? ret : message.bytes);
	push_data(s, &message, ret);
	if (ret >= 0)
		push_tuple(ARG_INT(0), message.name, (u32)message.name_bytes, 1);
	else
		push_empty(s);
	push_control(s, &message, ret);
	push_s64(s, ARG_INT(0));
	END(CLASS_NETWORK)
}

/* struct mmsghdr: a message, then the number of bytes that the kernel moved. */
static __always_inline s64 first_moved(u64 messages, s64 ret, bool compat)
{
	u32 moved = 0;
	if (ret <= 0 || compat)
		return ret < 0 ? ret : 0;
	bpf_probe_read_user(&moved, sizeof(moved), (void *)(messages + 56));
	return moved;
}

CALL(sendmmsg)
{
	struct message message = {};
	BEGIN(SENDMMSG, CLASS_NETWORK)
	s64 moved = first_moved(ARG(1), ret, compat);
	read_message(&message, ARG(1), compat);
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_u32(s, moved > 0 ? moved : message.bytes);
	push_data(s, &message, moved);
	push_tuple(ARG_INT(0), message.name, (u32)message.name_bytes, 0);
	END(CLASS_NETWORK)
}

CALL(recvmmsg)
{
	struct message message = {};
	BEGIN(RECVMMSG, CLASS_NETWORK)
	s64 moved = first_moved(ARG(1), ret, compat);
	read_message(&message, ARG(1), compat);
	push_s64(s, ret);
	push_s64(s, ARG_INT(0));
	push_u32(s, moved > 0 ? moved : message.bytes);
	push_data(s, &message, moved);
	if (ret >= 0)
		push_tuple(ARG_INT(0), message.name, (u32)message.name_bytes, 1);
	else
		push_empty(s);
	push_control(s, &message, moved);
	END(CLASS_NETWORK)
}

#endif

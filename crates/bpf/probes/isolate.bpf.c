// SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only)
/*
 * Cutting a cgroup off the network. Attached to one cgroup v2, these programs refuse every packet and every new
 * socket or connection of the tasks in it and below, and count what they refuse.
 *
 * Unix sockets are left alone: they end at another process of the host or container, not at the network.
 *
 * Addresses of responders may be let through. Neighbour discovery for them is not in the way: ARP is no packet of a
 * socket, and the kernel's own NDP packets are of a socket that is in no cgroup of a container.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* include/uapi/linux/bpf.h, `struct bpf_sock`: the fields up to the one that is read. */
struct bpf_sock {
	u32 bound_dev_if;
	u32 family;
};
struct __sk_buff { u32 len; };
struct bpf_sock_addr { u32 user_family; u32 user_ip4; u32 user_ip6[4]; };

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define DENY 0
#define ALLOW 1

enum denied { DENIED_INGRESS, DENIED_EGRESS, DENIED_CONNECT, DENIED_SENDMSG, DENIED_SOCKET, N_DENIED };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, N_DENIED);
	__type(key, u32);
	__type(value, u64);
} denied SEC(".maps");

#define ALLOWED_MAX 64

/* An IPv6 address, or an IPv4 address mapped into one (RFC 4291, 2.5.5.2). */
struct address { u32 words[4]; };

/* The addresses of responders. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ALLOWED_MAX);
	__type(key, struct address);
	__type(value, u8);
} allowed SEC(".maps");

/* How many those are: without any, no packet is looked at. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} n_allowed SEC(".maps");

static __always_inline int deny(u32 what)
{
	u64 *n = bpf_map_lookup_elem(&denied, &what);
	if (n)
		*n += 1;
	return DENY;
}

static __always_inline int any_allowed(void)
{
	u32 zero = 0, *n = bpf_map_lookup_elem(&n_allowed, &zero);
	return n && *n;
}

static __always_inline int is_allowed(struct address *address)
{
	return bpf_map_lookup_elem(&allowed, address) != 0;
}

static __always_inline int is_allowed4(u32 address)
{
	/* ::ffff:a.b.c.d, every word in network order. */
	struct address mapped = { { 0, 0, __builtin_bswap32(0xffff), address } };
	return is_allowed(&mapped);
}

/* Packets of cgroup_skb programs begin with the IP header; the other end stands in it at these places. */
static __always_inline int packet(struct __sk_buff *skb, u32 at4, u32 at6, u32 what)
{
	u8 version = 0;
	if (!any_allowed() || bpf_skb_load_bytes(skb, 0, &version, 1))
		return deny(what);
	if (version >> 4 == 4) {
		u32 address = 0;
		if (!bpf_skb_load_bytes(skb, at4, &address, 4) && is_allowed4(address))
			return ALLOW;
	} else if (version >> 4 == 6) {
		struct address address = {};
		if (!bpf_skb_load_bytes(skb, at6, &address, 16) && is_allowed(&address))
			return ALLOW;
	}
	return deny(what);
}

static __always_inline int to4(struct bpf_sock_addr *to, u32 what)
{
	return any_allowed() && is_allowed4(to->user_ip4) ? ALLOW : deny(what);
}

static __always_inline int to6(struct bpf_sock_addr *to, u32 what)
{
	struct address address = {};
	if (!any_allowed())
		return deny(what);
	address.words[0] = to->user_ip6[0];
	address.words[1] = to->user_ip6[1];
	address.words[2] = to->user_ip6[2];
	address.words[3] = to->user_ip6[3];
	return is_allowed(&address) ? ALLOW : deny(what);
}

SEC("cgroup_skb/ingress") int deny_ingress(struct __sk_buff *skb) { return packet(skb, 12, 8, DENIED_INGRESS); }
SEC("cgroup_skb/egress") int deny_egress(struct __sk_buff *skb) { return packet(skb, 16, 24, DENIED_EGRESS); }
SEC("cgroup/connect4") int deny_connect4(struct bpf_sock_addr *address) { return to4(address, DENIED_CONNECT); }
SEC("cgroup/connect6") int deny_connect6(struct bpf_sock_addr *address) { return to6(address, DENIED_CONNECT); }
SEC("cgroup/sendmsg4") int deny_sendmsg4(struct bpf_sock_addr *address) { return to4(address, DENIED_SENDMSG); }
SEC("cgroup/sendmsg6") int deny_sendmsg6(struct bpf_sock_addr *address) { return to6(address, DENIED_SENDMSG); }

SEC("cgroup/sock_create") int deny_socket(struct bpf_sock *socket)
{
	if (socket->family == AF_UNIX || socket->family == AF_NETLINK)
		return ALLOW;
	/* Whom it may speak with is decided when it does. */
	if ((socket->family == AF_INET || socket->family == AF_INET6) && any_allowed())
		return ALLOW;
	return deny(DENIED_SOCKET);
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only)
/*
 * Cutting a cgroup off the network. Attached to one cgroup v2, these programs refuse every packet and every new
 * socket or connection of the tasks in it and below, and count what they refuse.
 *
 * Unix sockets are left alone: they end at another process of the host or container, not at the network.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* include/uapi/linux/bpf.h, `struct bpf_sock`: the fields up to the one that is read. */
struct bpf_sock {
	u32 bound_dev_if;
	u32 family;
};
struct __sk_buff { u32 len; };
struct bpf_sock_addr { u32 user_family; };

#define AF_UNIX 1
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

static __always_inline int deny(u32 what)
{
	u64 *n = bpf_map_lookup_elem(&denied, &what);
	if (n)
		*n += 1;
	return DENY;
}

SEC("cgroup_skb/ingress") int deny_ingress(struct __sk_buff *skb) { return deny(DENIED_INGRESS); }
SEC("cgroup_skb/egress") int deny_egress(struct __sk_buff *skb) { return deny(DENIED_EGRESS); }
SEC("cgroup/connect4") int deny_connect4(struct bpf_sock_addr *address) { return deny(DENIED_CONNECT); }
SEC("cgroup/connect6") int deny_connect6(struct bpf_sock_addr *address) { return deny(DENIED_CONNECT); }
SEC("cgroup/sendmsg4") int deny_sendmsg4(struct bpf_sock_addr *address) { return deny(DENIED_SENDMSG); }
SEC("cgroup/sendmsg6") int deny_sendmsg6(struct bpf_sock_addr *address) { return deny(DENIED_SENDMSG); }

SEC("cgroup/sock_create") int deny_socket(struct bpf_sock *socket)
{
	if (socket->family == AF_UNIX || socket->family == AF_NETLINK)
		return ALLOW;
	return deny(DENIED_SOCKET);
}

char LICENSE[] SEC("license") = "GPL";

/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* An empty program where the dispatcher of system calls sits: what the kernel itself takes for the hook. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sys_exit")
int BPF_PROG(empty)
{
	return 0;
}

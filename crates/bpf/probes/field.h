/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* Reading a field of the kernel in the cheapest way that the verifier allows. */
#ifndef PALISADE_FIELD_H
#define PALISADE_FIELD_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * A field by a plain load where `is_typed`, a constant, says that the verifier knows what `p` points to (a hook's own
 * argument, and what is reached from it), else by a helper call a step, which costs ten times as much. A load from a
 * bad address gives 0, as the helper does.
 */
#define FIELD(is_typed, p, a) ((is_typed) ? (p)->a : BPF_CORE_READ(p, a))
#define FIELD2(is_typed, p, a, b) ((is_typed) ? (p)->a->b : BPF_CORE_READ(p, a, b))
#define FIELD3(is_typed, p, a, b, c) ((is_typed) ? (p)->a->b->c : BPF_CORE_READ(p, a, b, c))

#endif

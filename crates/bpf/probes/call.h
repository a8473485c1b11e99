/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * System calls: the dispatcher and the frame of a handler.
 *
 * One program sits at sys_exit. It finds the handler of the call's number in a program array that the loader has
 * filled with what was asked for; every other call ends at a bit in a table. Both change while the program runs, when
 * other calls are asked for; each event goes through one handler, the old or the new one.
 * Arguments are read at exit, from the saved registers: what the kernel resolved (the opened file, the socket) is
 * then at hand, and a caller that rewrites its memory during the call deceives nobody about it.
 */
#ifndef PALISADE_CALL_H
#define PALISADE_CALL_H

#include "record.h"

#define CALLS_MAX 1024
#define X32_BIT 0x40000000
#define TS_COMPAT 2
#define TIF_32BIT_ARM64 (1 << 22)

struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, CALLS_MAX); __type(key, u32); __type(value, u32); } handlers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, CALLS_MAX); __type(key, u32); __type(value, u32); } handlers_compat SEC(".maps");

/*
 * Whether the call came through the 32-bit entry. The code segment does not tell: a 64-bit program can use
 * int 0x80, with 32-bit numbers, to slip past a table of 64-bit ones.
 */
static __always_inline bool is_compat(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	if (TYPED_TASK)
		return bpf_get_current_task_btf()->thread_info.status & TS_COMPAT;
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
#else
	return BPF_CORE_READ(task, thread_info.flags) & TIF_32BIT_ARM64;
#endif
}

static __always_inline u32 call_number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->orig_ax & ~X32_BIT;
#else
	return regs->syscallno;
#endif
}

static __always_inline u64 argument(struct pt_regs *regs, bool compat, int index)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		switch (index) {
		case 0: return (u32)regs->bx;
		case 1: return (u32)regs->cx;
		case 2: return (u32)regs->dx;
		case 3: return (u32)regs->si;
		case 4: return (u32)regs->di;
		default: return (u32)regs->bp;
		}
	}
	switch (index) {
	case 0: return regs->di;
	case 1: return regs->si;
	case 2: return regs->dx;
	case 3: return regs->r10;
	case 4: return regs->r8;
	default: return regs->r9;
	}
#else
	u64 value;
	switch (index) {
	case 0: value = regs->orig_x0; break;
	case 1: value = regs->regs[1]; break;
	case 2: value = regs->regs[2]; break;
	case 3: value = regs->regs[3]; break;
	case 4: value = regs->regs[4]; break;
	default: value = regs->regs[5]; break;
	}
	return compat ? (u32)value : value;
#endif
}

/*
 * A bit for each number, native or 32-bit, that has a handler. The loader writes it whenever the handlers change;
 * a bit that stays is never seen otherwise meanwhile, for the kernel copies the bytes as they are.
 */
volatile u64 asked_for[CALLS_MAX / 64] SEC(".data.asked_for") = {};

SEC("tp_btf/sys_exit")
int BPF_PROG(dispatch, struct pt_regs *regs, long ret)
{
	u32 number = call_number(regs);
	if (number >= CALLS_MAX || !(asked_for[number / 64] >> (number % 64) & 1))
		return 0;
	if (is_compat(current_task()))
		bpf_tail_call(ctx, &handlers_compat, number);
	else
		bpf_tail_call(ctx, &handlers, number);
	return 0;
}

static __always_inline void note_compat(struct scratch *s, bool compat)
{
	s->compat = compat;
	if (compat)
		s->trailer_flags |= TRAILER_COMPAT;
}

/* `CALL(name) { BEGIN(TYPE, CLASS) push…; END(CLASS) }` makes the program `call_name`. */
#define CALL(name)                                                                                                     \
	SEC("tp_btf/sys_exit")                                                                                         \
	int BPF_PROG(call_##name, struct pt_regs *regs, long ret)
#define BEGIN_N(event, class, n_params)                                                                                \
	struct task_struct *task = current_task();                                                                     \
	bool compat = is_compat(task);                                                                                 \
	BEGIN_RECORD(event, class, n_params)
#define BEGIN_RECORD(event, class, n_params)                                                                           \
	struct actor actor;                                                                                            \
	current_actor(&actor);                                                                                         \
	struct scratch *s = begin(task, &actor, (u32)bpf_get_current_pid_tgid(), event, class, n_params);              \
	if (!s)                                                                                                        \
		return 0;                                                                                              \
	note_compat(s, compat);
#define BEGIN(event, class) BEGIN_N(PLS_EVENT_##event, class, PLS_NPARAMS_##event)
#define END_BY(class, priority)                                                                                         \
	send(s, &actor, class, priority);                                                                              \
	JUDGE(enforce_after_call)                                                                                      \
	s->busy = 0;                                                                                                   \
	return 0;
#define END(class) END_BY(class, false)
#define END_PRIORITY(class) END_BY(class, true)
#define ARG(index) argument(regs, compat, index)
#define ARG_INT(index) ((s64)(s32)ARG(index))

#endif

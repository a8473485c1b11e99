/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/*
 * Deciding in the kernel: tables that user space has made of rules, and the machine that reads them.
 *
 * What is asked about an event is a list of atoms, a bit each. Facts about the event set bits in two masks: `sure`
 * (the atom holds) and `maybe` (it is not sure not to). A term is a conjunction: it holds if all that it needs is
 * sure and nothing that it forbids may be. What is unknown so never makes a term hold. The same machine, in Rust, is
 * `palisade_rules::selector`; `src/enforce/tables.rs` fills the tables.
 *
 * Tables are kept twice. `control.generation` says which are in force; the others are filled at leisure and put in
 * force by one write. Texts are compared by one look into a trie: a whole text is a beginning that ends in a NUL, and
 * the value of each node holds the bits of the shorter nodes on the way to it.
 *
 * Whoever uses this defines `facts_of(which)` and `ancestor_id(level)`, and fills the facts.
 */
#ifndef PALISADE_DECIDE_H
#define PALISADE_DECIDE_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define RULE_WORDS 4 /* 64 rules each */
#define ATOM_WORDS 2
#define TERMS_MAX 128
#define CHECKS_MAX 128
#define LEVELS_MAX 6
#define TEXT_BYTES 240 /* the longest text compared, with its NUL */
#define DECISION_RING_BYTES 262144

/* Inputs; the order is that of `number_of` in src/enforce/tables.rs. Those before the result, and the last two, are texts. */
enum input {
	INPUT_COMM, INPUT_EXE, INPUT_PATH, INPUT_DIRECTORY, INPUT_FILE_NAME, INPUT_ADDRESS_IP, INPUT_SERVER_IP,
	INPUT_PARENT,
	INPUT_RESULT = 8, INPUT_UID, INPUT_DESCRIPTOR, INPUT_OPEN_FLAGS, INPUT_IS_DIRECTORY, INPUT_LAYER,
	INPUT_EXE_FLAGS, INPUT_ADDRESS_PORT, INPUT_SERVER_PORT,
	INPUT_PARAMETER, /* and the following: parameters by index */
	INPUT_TERMINAL = 29,
	INPUT_PATH_END, INPUT_EXE_END, /* the same texts, backwards */
	N_INPUTS = 32,
};
enum check_kind { CHECK_EXISTS, CHECK_EQUAL, CHECK_LESS, CHECK_GREATER, CHECK_ANY_BIT };
enum action { ACTION_DENY = 1, ACTION_KILL };
enum means { MEANS_KILL = 1, MEANS_CGROUP, MEANS_LSM };
enum outcome { OUTCOME_DENIED = 1, OUTCOME_KILLED, OUTCOME_WOULD, OUTCOME_FAILED };

struct term {
	u64 need[ATOM_WORDS], forbid[ATOM_WORDS];
	u32 rule; /* its number, as user space knows it */
	u16 slot; /* its bit among the rules of a cgroup, and its counters */
	u8 action;
	u8 dry; /* decide and report only */
};
struct check {
	s64 value;
	u16 bit;
	u8 input, kind;
	u32 unused;
};
struct plan {
	u32 n_terms, n_checks;
	u32 inputs; /* a bit for each that is asked about */
	u32 slot; /* which part of the trie is this plan's */
	u64 atoms_of[N_INPUTS][ATOM_WORDS];
	struct term terms[TERMS_MAX];
	struct check checks[CHECKS_MAX];
};
struct text_key {
	u32 bits;
	u8 generation, slot, input, unused;
	u8 text[TEXT_BYTES + 4];
};
struct text_value { u64 atoms[ATOM_WORDS]; };
struct guard { u64 rules[2][RULE_WORDS]; };
struct control {
	u32 generation;
	u32 levels[LEVELS_MAX]; /* depths at which guarded cgroups lie; 0 ends the list */
};
struct decision {
	u64 ts, cgroup_id, start_boottime;
	u32 tid, tgid, rule, generation;
	u16 event;
	u8 means, outcome;
	u32 object_bytes;
	char comm[16];
	u8 object[TEXT_BYTES]; /* path, or family and address, and port */
};
struct decision_counters { u64 n_denied, n_killed, n_would, n_failed, n_unsent; };

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct control); } enforce_control SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct guard); } enforce_guards SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32); /* generation << 16 | event */
	__type(value, struct plan);
} enforce_plans SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct text_key);
	__type(value, struct text_value);
} enforce_texts SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * 64 * RULE_WORDS); /* generation, then the rule's slot */
	__type(key, u32);
	__type(value, struct decision_counters);
} enforce_counters SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, DECISION_RING_BYTES); } enforce_decisions SEC(".maps");

/* What is known about one event. */
struct facts {
	u64 cgroup_id, ts, start_boottime;
	u32 busy;
	u32 event, tid, tgid;
	u32 generation, inputs; /* of the plan */
	u32 known, unknown; /* inputs; one in neither is absent */
	u64 sure[ATOM_WORDS], maybe[ATOM_WORDS];
	s64 numbers[N_INPUTS];
	struct decision found;
	u32 found_slot, found_dry;
	struct text_key key;
};

static __always_inline struct facts *facts_of(u32 which);
/* Id of the cgroup at this depth on the way to the current task's; 0 if the task is higher up. */
static __always_inline u64 ancestor_id(u32 level);

/* The guarded cgroup in which the current task is: its own or one above it. 0 if there is none. */
static __always_inline u64 guarded_cgroup(void)
{
	u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&enforce_control, &zero);
	if (!control)
		return 0;
	for (int i = 0; i < LEVELS_MAX; i++) {
		u32 level = control->levels[i];
		if (!level)
			break;
		u64 id = ancestor_id(level);
		if (id && bpf_map_lookup_elem(&enforce_guards, &id))
			return id;
	}
	return 0;
}

/* Finds the plan of `f->event`. Returns the inputs that it asks about; 0 if there is none. */
static __always_inline u32 begin_facts(struct facts *f)
{
	u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&enforce_control, &zero);
	f->known = f->unknown = f->inputs = 0;
	if (!control)
		return 0;
	f->generation = control->generation & 1;
	u32 key = f->generation << 16 | f->event;
	struct plan *plan = bpf_map_lookup_elem(&enforce_plans, &key);
	if (!plan)
		return 0;
	f->sure[0] = f->sure[1] = f->maybe[0] = f->maybe[1] = 0;
	f->key.generation = f->generation;
	f->key.slot = plan->slot;
	f->key.unused = 0;
	f->inputs = plan->inputs;
	return plan->inputs | 1u << 31;
}

#define ASKED(f, input) ((f)->inputs & 1u << (input))

static __always_inline void know(struct facts *f, u32 input, s64 value)
{
	f->numbers[input & (N_INPUTS - 1)] = value;
	f->known |= 1u << input;
}

static __always_inline void know_not(struct facts *f, u32 input)
{
	f->unknown |= 1u << input;
}

/* Looks the text in `f->key.text` up: the bits of the atoms that hold for it. */
static __always_inline struct text_value *look_up(struct facts *f, u32 input)
{
	f->key.bits = (4 + TEXT_BYTES) * 8;
	f->key.input = input;
	return bpf_map_lookup_elem(&enforce_texts, &f->key);
}

static __always_inline void know_text(struct facts *f, u32 input)
{
	struct text_value *value = look_up(f, input);
	f->known |= 1u << input;
	if (!value)
		return;
	for (int i = 0; i < ATOM_WORDS; i++) {
		f->sure[i] |= value->atoms[i];
		f->maybe[i] |= value->atoms[i];
	}
}

/* Puts text of the kernel at `address` into the key; a longer one fills it without its NUL. */
#define SET_TEXT(f, address) bpf_probe_read_kernel_str((f)->key.text, TEXT_BYTES + 1, (address))

/*
 * The name of the process. A thread can be called otherwise than its process, and rules know what it was called when
 * it began; only what is true of both names is sure.
 */
static __always_inline void know_comm(struct facts *f, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	SET_TEXT(f, (void *)task + bpf_core_field_offset(struct task_struct, comm));
	know_text(f, INPUT_COMM);
	if (leader == task)
		return;
	struct text_value *value = NULL;
	SET_TEXT(f, (void *)leader + bpf_core_field_offset(struct task_struct, comm));
	value = look_up(f, INPUT_COMM);
	/* Called first, so nothing but the thread's name has set a bit yet. */
	for (int i = 0; i < ATOM_WORDS; i++) {
		u64 atoms = value ? value->atoms[i] : 0;
		f->sure[i] &= atoms;
		f->maybe[i] |= atoms;
	}
}

/* Puts the last bytes of a text into the key, backwards; `at` is where it begins, `last` its last character's index. */
#define SET_REVERSED(f, base, mask, at, last)                                                                          \
	({                                                                                                             \
		u32 __i, __at = (at), __last = (last);                                                                 \
		for (__i = 0; __i < TEXT_BYTES && __i <= __last; __i++)                                                \
			(f)->key.text[__i] = (base)[(__at + __last - __i) & (mask)];                                   \
		(f)->key.text[__i] = 0;                                                                                \
	})

/* The name of the parent: of its process, whichever thread made the child. */
static __always_inline void know_parent(struct facts *f, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);
	if (!parent)
		return know_not(f, INPUT_PARENT);
	SET_TEXT(f, (void *)parent + bpf_core_field_offset(struct task_struct, comm));
	know_text(f, INPUT_PARENT);
}

/* An address of `bytes` (4 or 16) at the kernel's `address`; IPv4 written as IPv6 is IPv4, and so is `::`. */
static __always_inline void know_ip(struct facts *f, u32 input, const void *address, bool is_v6)
{
	u32 words[4] = {};
	__builtin_memset(f->key.text, 0, 20);
	if (!is_v6) {
		f->key.text[0] = 4;
		bpf_probe_read_kernel(f->key.text + 1, 4, address);
	} else {
		bpf_probe_read_kernel(words, 16, address);
		bool is_any = !(words[0] | words[1] | words[2] | words[3]);
		if (is_any || (!words[0] && !words[1] && words[2] == __builtin_bswap32(0xffff))) {
			f->key.text[0] = 4;
			bpf_probe_read_kernel(f->key.text + 1, 4, address + 12);
		} else {
			f->key.text[0] = 6;
			bpf_probe_read_kernel(f->key.text + 1, 16, address);
		}
	}
	know_text(f, input);
}

/* Whether a rule with this action holds for the facts `which`. Leaves the rule, its slot and dryness in them. */
__attribute__((noinline)) int judge(u32 which, u32 action)
{
	struct facts *f = facts_of(which);
	if (!f)
		return 0;
	u32 key = (f->generation & 1) << 16 | (f->event & 0xffff);
	struct plan *plan = bpf_map_lookup_elem(&enforce_plans, &key);
	u64 cgroup_id = f->cgroup_id;
	struct guard *guard = bpf_map_lookup_elem(&enforce_guards, &cgroup_id);
	if (!plan || !guard)
		return 0;
	u32 known = f->known, unknown = f->unknown;
	for (u32 i = 0; i < N_INPUTS; i++) {
		if (!(unknown >> i & 1))
			continue;
		for (int word = 0; word < ATOM_WORDS; word++)
			f->maybe[word] |= plan->atoms_of[i][word];
	}
	for (u32 i = 0; i < CHECKS_MAX; i++) {
		if (i >= plan->n_checks)
			break;
		struct check *check = &plan->checks[i];
		u32 input = check->input & (N_INPUTS - 1);
		if (!(known >> input & 1))
			continue;
		s64 number = f->numbers[input], value = check->value;
		u8 kind = check->kind;
		bool holds = kind == CHECK_EXISTS ? true :
			     kind == CHECK_EQUAL ? number == value :
			     kind == CHECK_LESS ? number < value :
			     kind == CHECK_GREATER ? number > value : (number & value) != 0;
		u64 bit = (u64)holds << (check->bit & 63);
		f->sure[check->bit >> 6 & (ATOM_WORDS - 1)] |= bit;
		f->maybe[check->bit >> 6 & (ATOM_WORDS - 1)] |= bit;
	}
	for (u32 i = 0; i < TERMS_MAX; i++) {
		if (i >= plan->n_terms)
			break;
		struct term *term = &plan->terms[i];
		u64 wrong = (term->need[0] & ~f->sure[0]) | (term->need[1] & ~f->sure[1]) |
			    (term->forbid[0] & f->maybe[0]) | (term->forbid[1] & f->maybe[1]);
		u64 rules = guard->rules[f->generation & 1][term->slot >> 6 & (RULE_WORDS - 1)];
		if (wrong || term->action != action || !(rules >> (term->slot & 63) & 1))
			continue;
		f->found.rule = term->rule;
		f->found_slot = term->slot;
		f->found_dry = term->dry;
		return 1;
	}
	return 0;
}

/* Counts and reports what was done. */
static __always_inline void report(struct facts *f, u8 means, u8 outcome)
{
	u32 key = (f->generation & 1) * 64 * RULE_WORDS + (f->found_slot & (64 * RULE_WORDS - 1));
	struct decision_counters *counters = bpf_map_lookup_elem(&enforce_counters, &key);
	f->found.ts = f->ts;
	f->found.cgroup_id = f->cgroup_id;
	f->found.start_boottime = f->start_boottime;
	f->found.tid = f->tid;
	f->found.tgid = f->tgid;
	f->found.generation = f->generation;
	f->found.event = f->event;
	f->found.means = means;
	f->found.outcome = outcome;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	bpf_probe_read_kernel_str(f->found.comm, sizeof(f->found.comm),
				  (void *)task + bpf_core_field_offset(struct task_struct, comm));
	bool unsent = bpf_ringbuf_output(&enforce_decisions, &f->found, sizeof(f->found), BPF_RB_FORCE_WAKEUP) != 0;
	if (!counters)
		return;
	if (outcome == OUTCOME_DENIED)
		counters->n_denied++;
	else if (outcome == OUTCOME_KILLED)
		counters->n_killed++;
	else if (outcome == OUTCOME_WOULD)
		counters->n_would++;
	else
		counters->n_failed++;
	if (unsent)
		counters->n_unsent++;
}

#endif

//! The code of one function: what it calls, and which numbers it gives to the kernel.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::elf::Object;

/// Registers whose constants are followed: `eax` holds a call's number, `edi` the one of libc's
/// `syscall`.
const FOLLOWED: usize = 16;

/// What is known of one function.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Numbers of `syscall` instructions.
    pub(super) numbers: BTreeSet<u32>,
    /// Addresses of `syscall` instructions whose number is not known.
    pub(super) unknown: Vec<u64>,
    /// Addresses of 32-bit entries (`int 0x80`, `sysenter`).
    pub(super) compat: Vec<u64>,
    /// Addresses in code that are called, jumped to or taken.
    pub(super) edges: BTreeSet<u64>,
    /// Slots of imported symbols that are called or read, each with `edi` where it was known.
    pub(super) slots: Vec<(u64, Option<u32>)>,
    /// Direct calls with `edi` where it was known.
    pub(super) calls: Vec<(u64, Option<u32>)>,
}

/// Decodes the code from `start` to `end`.
pub(super) fn scan(object: &Object, start: u64, end: u64) -> Scanned {
    let mut out = Scanned::default();
    let Some(code) = object.code.iter().find(|code| {
        start.checked_sub(code.address).is_some_and(|at| at < code.bytes.len() as u64)
    }) else {
        return out;
    };
    let from = (start - code.address) as usize;
    let to = end.saturating_sub(code.address).min(code.bytes.len() as u64) as usize;
    let Some(bytes) = code.bytes.get(from..to) else { return out };
    let code: Vec<Instruction> =
        Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).into_iter().collect();
    let mut flow = Flow::new(&code);
    for _ in 0..ROUNDS_MAX {
        out = Scanned::default();
        if !flow.pass(object, &code, &mut out) {
            return out;
        }
    }
    // It did not settle: what joins is then not known.
    flow.states.values_mut().for_each(|state| *state = Some(NOTHING));
    out = Scanned::default();
    flow.pass(object, &code, &mut out);
    out
}

/// What the followed registers hold, where that is a constant.
type Known = [Option<u32>; FOLLOWED];
const NOTHING: Known = [None; FOLLOWED];
/// Rounds of a function; each forgets some constants, and two or three settle nearly all.
const ROUNDS_MAX: usize = 8;

/// Constants along the ways through a function: at the target of a jump only what all ways agree on
/// is known.
struct Flow {
    /// By target: what the jumps to it agree on; `None` as long as none was seen.
    states: BTreeMap<u64, Option<Known>>,
    /// Whether some jump goes through a table: any place behind a jump may then be a target.
    has_table: bool,
}

impl Flow {
    fn new(code: &[Instruction]) -> Self {
        let inside = |target: u64| {
            code.first().is_some_and(|first| first.ip() <= target)
                && code.last().is_some_and(|last| target <= last.ip())
        };
        let targets = code.iter().filter(|it| is_jump(it)).map(Instruction::near_branch_target);
        let states =
            targets.filter(|target| inside(*target)).map(|target| (target, None)).collect();
        let has_table = code
            .iter()
            .any(|it| it.mnemonic() == Mnemonic::Jmp && it.op0_kind() != OpKind::NearBranch64);
        Self { states, has_table }
    }

    /// One round. Returns whether another may forget more.
    fn pass(&mut self, object: &Object, code: &[Instruction], out: &mut Scanned) -> bool {
        let mut changed = false;
        let mut known = NOTHING;
        let mut is_reached = true;
        for it in code {
            match self.states.get(&it.ip()) {
                Some(Some(joined)) if is_reached => known = meet(&known, joined),
                Some(Some(joined)) if !self.has_table => known = *joined,
                // No jump comes here, or only one from further down, which the next round knows.
                _ if is_reached => {}
                _ => known = NOTHING,
            }
            is_reached = true;
            step(object, it, &mut known, out);
            if is_jump(it)
                && let Some(state) = self.states.get_mut(&it.near_branch_target())
            {
                let joined = state.map_or(known, |before| meet(&before, &known));
                changed |= *state != Some(joined);
                *state = Some(joined);
            }
            if matches!(
                it.mnemonic(),
                Mnemonic::Jmp | Mnemonic::Ret | Mnemonic::Ud2 | Mnemonic::Hlt | Mnemonic::Int3
            ) {
                is_reached = false;
            }
        }
        changed
    }
}

fn meet(a: &Known, b: &Known) -> Known {
    std::array::from_fn(|at| match (a.get(at), b.get(at)) {
        (Some(a), Some(b)) if a == b => *a,
        _ => None,
    })
}

fn is_jump(it: &Instruction) -> bool {
    it.mnemonic() != Mnemonic::Call && it.op0_kind() == OpKind::NearBranch64
}

/// The place of a general register, of any width, among those that are followed. The variants of
/// [`Register`] stand in the order of the processor's numbers.
fn slot(register: Register) -> Option<usize> {
    let number = register as usize;
    let within = |first: Register, last: Register| {
        (first as usize..=last as usize).contains(&number).then(|| number - first as usize)
    };
    within(Register::RAX, Register::R15)
        .or_else(|| within(Register::EAX, Register::R15D))
        .or_else(|| within(Register::AX, Register::R15W))
        .or_else(|| within(Register::AL, Register::BL))
        // AH to BH are the second bytes of the first four.
        .or_else(|| within(Register::AH, Register::BH))
        .or_else(|| within(Register::SPL, Register::R15L).map(|place| place + 4))
}

fn constant(known: &[Option<u32>; FOLLOWED], register: Register) -> Option<u32> {
    slot(register).and_then(|slot| known.get(slot).copied().flatten())
}

fn step(object: &Object, it: &Instruction, known: &mut [Option<u32>; FOLLOWED], out: &mut Scanned) {
    note_addresses(object, it, known, out);
    match it.mnemonic() {
        Mnemonic::Syscall => {
            match constant(known, Register::EAX) {
                Some(number) => drop(out.numbers.insert(number)),
                None => out.unknown.push(it.ip()),
            }
            // The kernel gives the result in rax and destroys rcx and r11.
            forget(known, &[Register::RAX, Register::RCX, Register::R11]);
        }
        Mnemonic::Sysenter => out.compat.push(it.ip()),
        Mnemonic::Int if it.immediate8() == 0x80 => out.compat.push(it.ip()),
        Mnemonic::Call => {
            let number = constant(known, Register::EDI);
            if it.op0_kind() == OpKind::NearBranch64 {
                out.calls.push((it.near_branch_target(), number));
            }
            // What the psABI lets a function change.
            forget(
                known,
                &[
                    Register::RAX,
                    Register::RCX,
                    Register::RDX,
                    Register::RSI,
                    Register::RDI,
                    Register::R8,
                    Register::R9,
                    Register::R10,
                    Register::R11,
                ],
            );
        }
        Mnemonic::Mov if it.op0_kind() == OpKind::Register => {
            let value = match it.op1_kind() {
                OpKind::Register if is_wide(it.op0_register()) => {
                    constant(known, it.op1_register())
                }
                OpKind::Immediate32 | OpKind::Immediate32to64 => Some(it.immediate(1) as u32),
                OpKind::Immediate64 => u32::try_from(it.immediate64()).ok(),
                _ => None,
            };
            set(known, it.op0_register(), value);
        }
        Mnemonic::Xor | Mnemonic::Sub
            if it.op0_kind() == OpKind::Register
                && it.op1_kind() == OpKind::Register
                && it.op0_register() == it.op1_register()
                && is_wide(it.op0_register()) =>
        {
            set(known, it.op0_register(), Some(0));
        }
        // They write no register that is followed.
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push | Mnemonic::Nop | Mnemonic::Bt => {}
        Mnemonic::Cpuid => {
            forget(known, &[Register::RAX, Register::RBX, Register::RCX, Register::RDX]);
        }
        Mnemonic::Mul
        | Mnemonic::Imul
        | Mnemonic::Div
        | Mnemonic::Idiv
        | Mnemonic::Cqo
        | Mnemonic::Cdq
        | Mnemonic::Cdqe
        | Mnemonic::Cwde
        | Mnemonic::Cmpxchg
        | Mnemonic::Cmpxchg8b
        | Mnemonic::Cmpxchg16b
        | Mnemonic::Xgetbv
        | Mnemonic::Rdtsc
        | Mnemonic::Rdtscp
        | Mnemonic::Lodsb
        | Mnemonic::Lodsd
        | Mnemonic::Lodsq => {
            forget(known, &[Register::RAX, Register::RDX]);
            written(it, known);
        }
        _ => written(it, known),
    }
}

/// Whether a write to the register sets all of it.
fn is_wide(register: Register) -> bool {
    (Register::EAX as usize..=Register::R15 as usize).contains(&(register as usize))
}

/// Forgets the first operands, which nearly every instruction writes; `xchg` and `xadd` the second.
fn written(it: &Instruction, known: &mut [Option<u32>; FOLLOWED]) {
    for (kind, register) in [(it.op0_kind(), it.op0_register()), (it.op1_kind(), it.op1_register())]
        .into_iter()
        .take(if matches!(it.mnemonic(), Mnemonic::Xchg | Mnemonic::Xadd) { 2 } else { 1 })
    {
        if kind == OpKind::Register {
            set(known, register, None);
        }
    }
}

fn set(known: &mut [Option<u32>; FOLLOWED], register: Register, value: Option<u32>) {
    if let Some(known) = slot(register).and_then(|slot| known.get_mut(slot)) {
        *known = value.filter(|_| is_wide(register));
    }
}

fn forget(known: &mut [Option<u32>; FOLLOWED], registers: &[Register]) {
    for register in registers {
        set(known, *register, None);
    }
}

/// Addresses in the instruction: of code, and of slots that imported symbols fill.
fn note_addresses(
    object: &Object,
    it: &Instruction,
    known: &[Option<u32>; FOLLOWED],
    out: &mut Scanned,
) {
    if it.code() == Code::INVALID {
        return;
    }
    if it.op0_kind() == OpKind::NearBranch64 {
        out.edges.insert(it.near_branch_target());
        return;
    }
    if it.is_ip_rel_memory_operand() {
        let address = it.ip_rel_memory_address();
        if object.imports.contains_key(&address) {
            out.slots.push((address, constant(known, Register::EDI)));
        } else if it.mnemonic() == Mnemonic::Lea && object.is_code(address) {
            out.edges.insert(address);
        }
        return;
    }
    // Programs at a fixed address take addresses as numbers.
    for operand in 0..it.op_count() {
        if matches!(
            it.op_kind(operand),
            OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64
        ) {
            let value = it.immediate(operand);
            if object.starts.contains(&value) {
                out.edges.insert(value);
            }
        }
    }
}

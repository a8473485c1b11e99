//! One record as an entry.
//!
//! ```text
//! flags | time delta | processor? | actor | trailer flags? | type | n_params? | params | raw path?
//! ```
//!
//! What a record says twice is left out: its length, the widths that its type fixes, who
//! acted when that one acted before in the chunk. What does not fit this form (a record
//! that cannot be decoded, or has bytes behind its parameters) is kept as it came, so that
//! every record comes back byte for byte.

use crate::codec::{Decoder, TextTable, put_int, put_uint, unzigzag, zigzag};
use crate::record::{HEADER_BYTES, RECORD_BYTES_MAX, Record, TRAILER_BYTES, Trailer};
use crate::schema::{EventInfo, ParamType, Traits, event};

/// Every parameter whose width the type fixes has that width.
const REGULAR: u8 = 1;
/// A trailer is there.
const TRAILER: u8 = 1 << 1;
/// Bytes follow the trailer.
const RAW_PATH: u8 = 1 << 2;
/// The processor is the one of the entry before.
const SAME_CPU: u8 = 1 << 3;
/// The actor is written out.
const NEW_ACTOR: u8 = 1 << 4;
/// The record has all parameters of its type.
const FULL: u8 = 1 << 5;

/// Places of the table by which a writer finds an actor again.
const SLOTS: usize = 1024;

/// What records of one thread share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Actor {
    tid: i64,
    /// The trailer, without what is the event's own.
    trailer: Option<Trailer>,
}

/// What the entries of a chunk refer to.
#[derive(Debug, Default)]
pub(crate) struct Context {
    actors: Vec<Actor>,
    slots: Vec<u32>,
    last_ns: u64,
    cpu: u16,
}

impl Context {
    /// Begins a chunk whose times are relative to `first_ns`.
    pub(crate) fn begin(&mut self, first_ns: u64) {
        self.actors.clear();
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
        self.last_ns = first_ns;
        self.cpu = 0;
    }

    /// How many actors ago `actor` came, or none when it is new; it is remembered then.
    fn find(&mut self, actor: Actor) -> Option<u64> {
        let slot = actor.tid as usize % SLOTS;
        let known = self.slots[slot] as usize;
        if let Some(index) = known.checked_sub(1)
            && self.actors.get(index) == Some(&actor)
        {
            return Some((self.actors.len() - known) as u64);
        }
        self.actors.push(actor);
        self.slots[slot] = self.actors.len() as u32;
        None
    }
}

/// Bytes of a parameter whose width its type fixes, and whether it is signed.
fn width(kind: ParamType) -> Option<(usize, bool)> {
    Some(match kind {
        ParamType::Int(bytes) => (usize::from(bytes), true),
        ParamType::Uint(bytes) | ParamType::Flags(bytes) | ParamType::Enumeration(bytes) => {
            (usize::from(bytes), false)
        }
        ParamType::Errno | ParamType::Fd | ParamType::Pid => (8, true),
        ParamType::Signal => (1, false),
        ParamType::Syscall => (2, false),
        ParamType::Bool
        | ParamType::Uid
        | ParamType::Gid
        | ParamType::Mode
        | ParamType::SignalSet => (4, false),
        ParamType::RelativeTime | ParamType::AbsoluteTime => (8, false),
        _ => return None,
    })
}

/// Appends `record` with the bytes behind it (trailer and raw path of a live one). False
/// when it does not fit this form; nothing was appended then.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    texts: &mut TextTable,
    context: &mut Context,
    record: &Record<'_>,
    behind: &[u8],
) -> bool {
    let info = record.info;
    let n_params = record.n_params();
    let length_bytes = if info.traits.any(Traits::LARGE) { 4 } else { 2 };
    let mut is_regular = true;
    let mut n_bytes = HEADER_BYTES + n_params * length_bytes;
    for index in 0..n_params {
        let param = record.param(index);
        n_bytes += param.bytes.len();
        is_regular &= width(param.kind).is_none_or(|(width, _)| width == param.bytes.len());
    }
    let (trailer, raw_path) = match behind.split_first_chunk::<TRAILER_BYTES>() {
        Some((trailer, raw_path)) => (Some(Trailer::decode(trailer)), raw_path),
        None => (None, behind),
    };
    if n_bytes != record.bytes().len() || (trailer.is_none() && !raw_path.is_empty()) {
        return false;
    }
    let cpu = trailer.map_or(record.cpu, |trailer| trailer.cpu);
    let actor = Actor {
        tid: record.tid,
        trailer: trailer.map(|trailer| Trailer { cpu: 0, flags: 0, ..trailer }),
    };
    let known = context.find(actor);
    let mut flags = 0;
    for (flag, is_set) in [
        (REGULAR, is_regular),
        (TRAILER, trailer.is_some()),
        (RAW_PATH, !raw_path.is_empty()),
        (SAME_CPU, cpu == context.cpu),
        (NEW_ACTOR, known.is_none()),
        (FULL, n_params == info.params.len()),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    out.push(flags);
    put_int(out, record.time_ns.wrapping_sub(context.last_ns).cast_signed());
    context.last_ns = record.time_ns;
    if cpu != context.cpu {
        put_uint(out, u64::from(cpu));
        context.cpu = cpu;
    }
    match known {
        Some(distance) => put_uint(out, distance),
        None => put_actor(out, &actor),
    }
    if let Some(trailer) = trailer {
        put_uint(out, u64::from(trailer.flags));
    }
    put_uint(out, u64::from(info.number));
    if n_params != info.params.len() {
        put_uint(out, n_params as u64);
    }
    for index in 0..n_params {
        let param = record.param(index);
        match width(param.kind).filter(|_| is_regular) {
            Some((width, is_signed)) => put_number(out, param.bytes, width, is_signed),
            None => texts.put(out, param.bytes),
        }
    }
    if !raw_path.is_empty() {
        texts.put(out, raw_path);
    }
    true
}

fn put_actor(out: &mut Vec<u8>, actor: &Actor) {
    put_int(out, actor.tid);
    let Some(trailer) = &actor.trailer else { return };
    put_uint(out, trailer.cgroup_id);
    put_uint(out, u64::from(trailer.tgid));
    put_uint(out, u64::from(trailer.ppid));
    put_uint(out, u64::from(trailer.uid));
    put_uint(out, trailer.start_boottime_ns);
}

fn put_number(out: &mut Vec<u8>, bytes: &[u8], width: usize, is_signed: bool) {
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(bytes);
    let number = u64::from_le_bytes(wide);
    if is_signed {
        // From its own width, so that -1 is short in every one.
        let unused = 64 - 8 * width as u32;
        put_uint(out, zigzag((number << unused).cast_signed() >> unused));
    } else {
        put_uint(out, number);
    }
}

/// A record that was read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Processor on which it happened.
    pub(crate) cpu: u16,
    /// Whether a trailer follows the event.
    pub(crate) is_live: bool,
}

/// Reads the entry that begins with `flags` into `out`, which is cleared. `None`: it makes
/// no sense.
pub(crate) fn decode(
    flags: u8,
    decoder: &mut Decoder<'_>,
    context: &mut Context,
    out: &mut Vec<u8>,
) -> Option<Head> {
    let has = |flag| flags & flag != 0;
    let time_ns = context.last_ns.wrapping_add(decoder.get_int()?.cast_unsigned());
    context.last_ns = time_ns;
    if !has(SAME_CPU) {
        context.cpu = u16::try_from(decoder.get_uint()?).ok()?;
    }
    let actor = if has(NEW_ACTOR) {
        let actor = get_actor(decoder, has(TRAILER))?;
        context.actors.push(actor);
        actor
    } else {
        let distance = usize::try_from(decoder.get_uint()?).ok()?;
        let index = context.actors.len().checked_sub(distance.checked_add(1)?)?;
        *context.actors.get(index)?
    };
    if actor.trailer.is_some() != has(TRAILER) || (has(RAW_PATH) && !has(TRAILER)) {
        return None;
    }
    let trailer_flags = if has(TRAILER) { u16::try_from(decoder.get_uint()?).ok()? } else { 0 };
    let number = u16::try_from(decoder.get_uint()?).ok()?;
    let info = event(number)?;
    let n_params = if has(FULL) {
        info.params.len()
    } else {
        usize::try_from(decoder.get_uint()?).ok().filter(|n| *n <= info.params.len())?
    };
    out.clear();
    out.extend_from_slice(&time_ns.to_le_bytes());
    out.extend_from_slice(&actor.tid.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(n_params as u32).to_le_bytes());
    get_params(info, n_params, has(REGULAR), decoder, out)?;
    let length = u32::try_from(out.len()).ok()?;
    out[16..20].copy_from_slice(&length.to_le_bytes());
    if let Some(trailer) = actor.trailer {
        let trailer = Trailer { cpu: context.cpu, flags: trailer_flags, ..trailer };
        out.extend_from_slice(&trailer.encode());
    }
    if has(RAW_PATH) {
        out.extend_from_slice(decoder.get_text()?);
    }
    Some(Head { cpu: context.cpu, is_live: has(TRAILER) })
}

fn get_actor(decoder: &mut Decoder<'_>, has_trailer: bool) -> Option<Actor> {
    let tid = decoder.get_int()?;
    let narrow = |decoder: &mut Decoder<'_>| u32::try_from(decoder.get_uint()?).ok();
    let trailer = if has_trailer {
        Some(Trailer {
            cgroup_id: decoder.get_uint()?,
            tgid: narrow(decoder)?,
            ppid: narrow(decoder)?,
            uid: narrow(decoder)?,
            start_boottime_ns: decoder.get_uint()?,
            ..Trailer::default()
        })
    } else {
        None
    };
    Some(Actor { tid, trailer })
}

/// Appends lengths and parameters.
fn get_params(
    info: &EventInfo,
    n_params: usize,
    is_regular: bool,
    decoder: &mut Decoder<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let is_large = info.traits.any(Traits::LARGE);
    let length_bytes = if is_large { 4 } else { 2 };
    let lengths_at = out.len();
    out.resize(lengths_at + n_params * length_bytes, 0);
    for (index, param) in info.params.iter().take(n_params).enumerate() {
        let start = out.len();
        match width(param.kind).filter(|_| is_regular) {
            Some((width, is_signed)) => {
                let number = decoder.get_uint()?;
                let number = if is_signed { unzigzag(number).cast_unsigned() } else { number };
                out.extend_from_slice(&number.to_le_bytes()[..width]);
            }
            None => out.extend_from_slice(decoder.get_text()?),
        }
        let length = out.len() - start;
        if out.len() - lengths_at > RECORD_BYTES_MAX - HEADER_BYTES {
            return None;
        }
        let at = lengths_at + index * length_bytes;
        if is_large {
            out[at..at + 4].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
        } else {
            out[at..at + 2].copy_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
        }
    }
    Some(())
}

//! The handlers of calls, which change while the sensor runs.
//!
//! The dispatcher stays at its hook. What it calls is in tables of programs, whose slots the
//! kernel exchanges atomically: a call goes through the old handler or through the new one, never
//! through both or neither. New handlers are loaded beforehand, on whatever thread, with the
//! maps of the old ones, so that rings, counters and lists go on as they are; only filters are
//! each set's own.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use libbpf_rs::{MapCore as _, MapFlags, Object};

use super::object::{self, Maps, Refusal};
use super::{LoadError, Options, map, opens, setup};
use crate::interest::Interest;

/// Loads handlers beside those that work; may be sent to another thread.
#[derive(Debug, Clone)]
pub struct HandlerLoader {
    maps: Arc<Maps>,
    options: Options,
}

/// Handlers in the kernel, not at work before [`super::Sensor::switch`].
pub struct Handlers {
    /// None when no call is asked for.
    pub(super) object: Option<Object>,
    pub(super) interest: Interest,
    pub(super) refusals: Vec<Refusal>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("refusals", &self.refusals).finish_non_exhaustive()
    }
}

impl HandlerLoader {
    pub(super) fn new(maps: Maps, options: &Options) -> Self {
        Self { maps: Arc::new(maps), options: options.clone() }
    }

    /// Loads the handlers of the calls of `interest`; those that the kernel refuses are in
    /// [`Handlers::refusals`]. The events of processes' lives stay what they were at
    /// [`super::Sensor::load`].
    pub fn load(&self, interest: &Interest) -> Result<Handlers, LoadError> {
        let mut wanted = setup::programs(interest);
        wanted.retain(|program, _| program.starts_with("call_"));
        let interest = interest.clone();
        if wanted.is_empty() {
            return Ok(Handlers { object: None, interest, refusals: Vec::new() });
        }
        let (object, refusals) = object::load(&interest, &self.options, &wanted, &self.maps)?;
        opens::fill(&object, &interest.opens)?;
        Ok(Handlers { object: Some(object), interest, refusals })
    }
}

impl Handlers {
    /// The handlers that this kernel refuses.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The events of calls that are seen, and those that are not for want of a handler.
    pub(super) fn served(&self) -> Vec<&'static str> {
        let programs = setup::programs(&self.interest);
        let calls = programs.iter().filter(|(program, _)| program.starts_with("call_"));
        calls
            .filter(|(program, _)| !self.is_refused(program))
            .flat_map(|(_, events)| events.iter().copied())
            .collect()
    }

    fn is_refused(&self, program: &str) -> bool {
        self.refusals.iter().any(|refusal| refusal.program == program)
    }

    /// Slots of the two tables with the descriptor of the program in each.
    fn slots(&self) -> Result<[BTreeMap<u32, i32>; 2], LoadError> {
        let mut slots = [BTreeMap::new(), BTreeMap::new()];
        let Some(object) = &self.object else { return Ok(slots) };
        for (name, native, compat) in setup::numbers(&self.interest) {
            if self.is_refused(name) {
                continue;
            }
            let fd = setup::program(object, name)?.as_fd().as_raw_fd();
            slots[0].extend(native.into_iter().map(|number| (number, fd)));
            slots[1].extend(compat.into_iter().map(|number| (number, fd)));
        }
        Ok(slots)
    }
}

const TABLES: [&str; 2] = ["handlers", "handlers_compat"];

/// Puts `new` in the place of `old`. Additional handlers are there before those go that nobody
/// asks for any more.
pub(super) fn switch(
    base: &Object,
    old: Option<&Handlers>,
    new: &Handlers,
) -> Result<(), LoadError> {
    let slots = new.slots()?;
    let before = old.map(Handlers::slots).transpose()?.unwrap_or_default();
    for (table, slots) in TABLES.into_iter().zip(&slots) {
        for (number, fd) in slots {
            setup::update(base, table, &number.to_ne_bytes(), &fd.to_ne_bytes())?;
        }
    }
    let both = slots.iter().chain(&before).flat_map(BTreeMap::keys);
    set_asked_for(base, both)?;
    set_asked_for(base, slots.iter().flat_map(BTreeMap::keys))?;
    for ((table, slots), before) in TABLES.into_iter().zip(&slots).zip(&before) {
        let gone = before.keys().filter(|number| !slots.contains_key(number));
        if let Some(map) = map(base, table) {
            for number in gone {
                // An empty slot is what is wanted, and what the dispatcher takes for no interest.
                let _already_empty = map.delete(&number.to_ne_bytes());
            }
        }
    }
    Ok(())
}

/// `asked_for` of `probes/call.h`: a bit for each number, native or 32-bit, in words of 64.
fn set_asked_for<'n>(
    base: &Object,
    numbers: impl Iterator<Item = &'n u32>,
) -> Result<(), LoadError> {
    let bits = asked_for(numbers);
    let name = "asked_for";
    let map = map(base, ".data.asked_for").ok_or(LoadError::Object { part: name })?;
    map.update(&0_u32.to_ne_bytes(), &bits, MapFlags::ANY)
        .map_err(|source| LoadError::Map { map: name, source })
}

fn asked_for<'n>(numbers: impl Iterator<Item = &'n u32>) -> Vec<u8> {
    let mut words = [0_u64; setup::CALLS_MAX / 64];
    for number in numbers {
        if let Some(word) = words.get_mut(*number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }
    words.into_iter().flat_map(u64::to_ne_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bits_and_those_beyond_the_table_are_none() {
        let bits = asked_for([0, 63, 64, 1023, 1024, 100_000].iter());
        assert_eq!(bits.len(), 128);
        let words: Vec<u64> =
            bits.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words[0], 1 | 1 << 63);
        assert_eq!((words[1], words[15]), (1, 1 << 63));
        assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), 4);
    }
}

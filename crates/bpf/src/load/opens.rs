//! What the rules want of opens and execs, in the kernel: words that can change while the probes
//! run, and the automaton's table.

use libbpf_rs::{MapCore as _, MapFlags, Object};

use super::{LoadError, map};
use crate::interest::{Automaton, Environment, OpenFilter, OpenTexts, STATES_MAX};

const OPEN_FILTER: &str = ".data.open_filter";

/// States that the table has room for at least, so that other rules can come later; 512 KiB.
const STATES_MIN: usize = 4096;

/// States that the table gets room for.
pub(super) fn capacity(filter: &OpenFilter) -> u32 {
    let n = match filter {
        OpenFilter::All => 1,
        OpenFilter::Only(texts) => {
            let n = texts.automaton().map_or(1, |automaton| automaton.len());
            // As many again, for the next rules.
            (2 * n).clamp(STATES_MIN, STATES_MAX)
        }
    };
    u32::try_from(n).unwrap_or(1)
}

/// Puts `filter` into force; every open crosses until it is. False if it has no room.
///
/// The kernel copies the words one after the other, and a program may read them meanwhile. So
/// `on` changes alone: nobody may find it set beside words that are not yet, or no longer, those
/// of the table, and hold back an open that a rule asks for.
pub(super) fn fill(object: &Object, filter: &OpenFilter) -> Result<bool, LoadError> {
    let [_, rest @ ..] = words_now(object)?;
    set_words(object, OFF, rest)?;
    wait_for_programs();
    let OpenFilter::Only(texts) = filter else { return Ok(true) };
    let Some(automaton) = texts.automaton() else { return Ok(false) };
    let table = map(object, "path_states").ok_or(LoadError::Object { part: "path_states" })?;
    if automaton.len() > table.max_entries() as usize {
        return Ok(false);
    }
    for (number, row) in (0_u32..).zip(automaton.rows()) {
        table
            .update(&number.to_ne_bytes(), &row, MapFlags::ANY)
            .map_err(|source| LoadError::Map { map: "path_states", source })?;
    }
    let rest = words(texts, &automaton);
    set_words(object, OFF, rest)?;
    set_words(object, ON, rest)?;
    Ok(true)
}

/// Waits until every program has ended that began before: one that still reads the old table must
/// not find the new one in the middle of a path.
fn wait_for_programs() {
    use rustix::thread::{MembarrierCommand, membarrier};
    // A grace period of RCU, under which programs run (kernel/sched/membarrier.c). Where it is not
    // to be had (adaptive ticks), ten milliseconds are long for programs that take one thousandth.
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Whether anything is held back: the first word of `struct open_filter` of `probes/path.h`.
const OFF: u32 = 0;
const ON: u32 = 1;

/// The words of `struct open_filter` behind the first one.
fn words(texts: &OpenTexts, automaton: &Automaton) -> [u32; 4] {
    let pairs = texts.written_pairs().map_or(0, |[first, second]| {
        u32::from(u16::from_le_bytes(first)) | u32::from(u16::from_le_bytes(second)) << 16
    });
    [u32::from(texts.always().bits()), texts.maybe(), automaton.root().into(), pairs]
}

fn set_words(object: &Object, on: u32, rest: [u32; 4]) -> Result<(), LoadError> {
    let [always, maybe, root, pairs] = rest;
    set(object, OPEN_FILTER, &[on, always, maybe, root, pairs])
}

fn words_now(object: &Object) -> Result<[u32; 5], LoadError> {
    let absent = || LoadError::Object { part: OPEN_FILTER };
    let bytes = map(object, OPEN_FILTER)
        .ok_or_else(absent)?
        .lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)
        .map_err(|source| LoadError::Map { map: OPEN_FILTER, source })?
        .ok_or_else(absent)?;
    let mut words = [0; 5];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    Ok(words)
}

/// Says whose environment is sent (`environment` of `probes/process.h`).
pub(super) fn set_environment(object: &Object, whose: Environment) -> Result<(), LoadError> {
    set(object, ".data.environment", &[whose as u32])
}

fn set(object: &Object, name: &'static str, words: &[u32]) -> Result<(), LoadError> {
    let map = map(object, name).ok_or(LoadError::Object { part: name })?;
    let bytes: Vec<u8> = words.iter().copied().flat_map(u32::to_ne_bytes).collect();
    map.update(&0_u32.to_ne_bytes(), &bytes, MapFlags::ANY)
        .map_err(|source| LoadError::Map { map: name, source })
}

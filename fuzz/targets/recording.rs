//! Recordings: whatever the chunks hold, replay ends and accounts for what it handed out;
//! what is written is read back whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, look_at};
use palisade_sensor::Engine;
use palisade_sensor::capture::compact::chunk::{FLAG_BEGINS, FLAG_COMPLETES, Kind, Raw};
use palisade_sensor::capture::compact::{Origin, Writer, file_header, info, to_scap};
use palisade_sensor::capture::replay::replay;
use palisade_sensor::state::State;

const ORIGIN: Origin<'static> = Origin { writer: "fuzz" };

/// Entries with right lengths, with any content; events have none.
fn entries(mut input: Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    while !input.is_empty() {
        let tag = input.byte();
        let body = input.chunk();
        out.push(tag);
        if tag >= 0x80 {
            out.extend((body.len() as u32).to_le_bytes());
        }
        out.extend(body);
    }
    out
}

/// A state that holds whatever the input says behind a good header, then events.
fn chunks(mut input: Input<'_>) -> Vec<u8> {
    let mut out = file_header().to_vec();
    let mut engine = Engine::new(State::new());
    let mut writer = Writer::new();
    writer.begin(&mut engine, ORIGIN, &mut |raw| raw.seal(&mut out));
    let mut number = 0;
    while !input.is_empty() {
        let shape = input.byte();
        let content = Input(input.long_chunk());
        let content = if shape & 1 == 0 { entries(content) } else { content.0.to_vec() };
        match shape & 0x0e {
            0 => {
                // The good header again, and more parts behind it.
                let mut state = Vec::new();
                writer.begin(&mut engine, ORIGIN, &mut |raw| state.extend(raw.entries()));
                state.extend(content);
                let flags = FLAG_BEGINS | FLAG_COMPLETES;
                Raw::of_entries(Kind::State, flags, number, state).seal(&mut out);
            }
            2 => {
                let flags = u16::from(shape >> 4) & 3;
                Raw::of_entries(Kind::State, flags, number, content).seal(&mut out);
            }
            _ => {
                Raw::of_entries(Kind::Events, 0, number, content).seal(&mut out);
                number += 1;
            }
        }
    }
    out
}

/// Records of any kind, written.
fn written(mut input: Input<'_>) {
    let (mut out, mut n_records, mut n_lost) = (file_header().to_vec(), 0, 0);
    let mut engine = Engine::new(State::new());
    let mut writer = Writer::new();
    writer.begin(&mut engine, ORIGIN, &mut |raw| raw.seal(&mut out));
    while !input.is_empty() {
        let kind = input.byte();
        let bytes = input.chunk();
        match kind % 8 {
            0 => {
                writer.lost(3);
                n_lost += 3;
                continue;
            }
            1 => writer.begin(&mut engine, ORIGIN, &mut |raw| raw.seal(&mut out)),
            2 | 3 => writer.append_plain(bytes, u16::from(kind), &mut |raw| raw.seal(&mut out)),
            _ => {
                let _ = engine.feed(bytes);
                writer.append(bytes, &mut engine, &mut |raw| raw.seal(&mut out));
            }
        }
        n_records += u64::from(kind % 8 != 1);
    }
    if let Some(raw) = writer.cut() {
        raw.seal(&mut out);
    }
    let found = info(&out[..]).expect("what was written is a recording");
    assert!(found.problem.is_none(), "{found:?}");
    let n_found: u64 = found.sections.iter().map(|section| section.n_records).sum();
    assert_eq!((n_found + found.n_malformed, found.n_not_recorded), (n_records, n_lost));
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bytes = match input.byte() % 4 {
        0 => input.0.to_vec(),
        1 => return written(input),
        _ => chunks(input),
    };
    let mut n_events = 0;
    if let Ok(done) = replay(&bytes[..], |event| {
        n_events += 1;
        look_at(event);
    }) {
        assert_eq!(done.n_events, n_events);
        assert!(done.n_events + done.n_merged + done.n_malformed <= done.n_records, "{done:?}");
        assert_eq!(done.n_malformed > 0, done.first_malformed.is_some(), "{done:?}");
        let _ = info(&bytes[..]);
        let mut scap = Vec::new();
        if to_scap(&bytes[..], &mut scap).is_ok() && !scap.is_empty() {
            let back = replay(&scap[..], |_| {});
            assert!(back.is_ok_and(|back| back.problem.is_none()), "what is written is read");
        }
    }
});

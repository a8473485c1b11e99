//! Kernel records: any sequence of them leaves a state within its bounds, whose events answer
//! every field, and which a capture holds whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, look_at};
use palisade_sensor::Engine;
use palisade_sensor::capture::reader::{Block, Capture};
use palisade_sensor::capture::writer::CaptureWriter;
use palisade_sensor::record::{Record, Trailer};
use palisade_sensor::schema::{Traits, events};
use palisade_sensor::state::State;

const THREADS_MAX: usize = 32;

/// A record of a type that exists, with any parameters.
fn record(input: &mut Input<'_>, time_ns: u64) -> Vec<u8> {
    let info = &events()[usize::from(input.u16()) % events().len()];
    let tid = i64::from(input.byte() as i8);
    let shape = input.byte();
    let n_params = if shape & 1 == 0 { info.params.len() } else { usize::from(shape >> 1) };
    let large = info.traits.any(Traits::LARGE);
    let (mut lengths, mut params) = (Vec::new(), Vec::new());
    for _ in 0..n_params.min(info.params.len()) {
        let bytes = input.chunk();
        match large {
            true => lengths.extend((bytes.len() as u32).to_le_bytes()),
            false => lengths.extend((bytes.len() as u16).to_le_bytes()),
        }
        params.extend_from_slice(bytes);
    }
    let n_params = n_params.min(info.params.len()) as u32;
    let length = (26 + lengths.len() + params.len()) as u32;
    let mut out = Vec::new();
    out.extend(time_ns.to_le_bytes());
    out.extend(tid.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(info.number.to_le_bytes());
    out.extend(n_params.to_le_bytes());
    out.extend([lengths, params].concat());
    out
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    if input.byte() == 0 {
        let mut engine = Engine::new(State::new());
        match engine.feed(input.0) {
            Ok(Some(event)) => look_at(&event),
            Ok(None) => {}
            Err(_) => assert_eq!(engine.counters().n_malformed, 1),
        }
        return;
    }
    let mut engine = Engine::new(State::new().with_threads_max(THREADS_MAX));
    let mut time_ns = 1_700_000_000_000_000_000;
    while !input.is_empty() {
        time_ns += u64::from(input.byte()) << 22;
        let mut bytes = record(&mut input, time_ns);
        let decoded = Record::decode(&bytes).expect("a record of right lengths");
        assert_eq!(decoded.bytes(), bytes);
        let trailer = Trailer { tgid: 1, ppid: 2, cgroup_id: 3, ..Trailer::default() };
        bytes.extend(trailer.encode());
        if let Some(event) = engine.feed(&bytes).expect("a record of right lengths") {
            look_at(&event);
        }
        assert!(engine.state().n_threads() <= THREADS_MAX + 1);
    }
    // What was seen is written as the initial state of a capture, which must be readable.
    let written =
        CaptureWriter::new(Vec::new(), engine.state()).and_then(CaptureWriter::into_inner);
    let written = written.expect("write to memory");
    let mut capture = Capture::open(&written[..]).expect("open what was written");
    while let Some(block) = capture.next_block().expect("read what was written") {
        assert!(!matches!(block, Block::Unknown(_) | Block::BadEvent(_)), "{block:?}");
    }
    let replayed = palisade_sensor::capture::replay::replay(&written[..], look_at);
    let replayed = replayed.expect("replay what was written");
    assert!(replayed.problem.is_none(), "{:?}", replayed.problem);
});

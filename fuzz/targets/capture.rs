//! Captures: whatever the blocks hold, replay ends, and accounts for every record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, look_at};
use palisade_sensor::capture::replay::replay;

const SECTION: &[u8] = &[
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 2, 0, 255, 255, 255, 255,
    255, 255, 255, 255, 28, 0, 0, 0,
];

/// Blocks of right lengths, with any content.
fn blocks(mut input: Input<'_>) -> Vec<u8> {
    let mut out = SECTION.to_vec();
    while !input.is_empty() {
        let kind = 0x200 + u32::from(input.byte() % 0x24);
        let body = input.long_chunk();
        let length = (body.len() as u32 + 12).to_le_bytes();
        out.extend([&kind.to_le_bytes(), &length, body, &length].concat());
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bytes = if input.byte() == 0 { input.0.to_vec() } else { blocks(input) };
    let mut n_events = 0;
    if let Ok(done) = replay(&bytes[..], |event| {
        n_events += 1;
        look_at(event);
    }) {
        assert_eq!(done.n_events, n_events);
        assert!(done.n_events + done.n_merged + done.n_malformed <= done.n_records, "{done:?}");
        assert_eq!(done.n_malformed > 0, done.first_malformed.is_some(), "{done:?}");
    }
});

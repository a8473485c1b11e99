//! Descriptions of an API: never a panic; requests are bounded, have a head without stray line
//! ends in it, and are the same every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_probe::fuzz::REQUEST_BYTES_MAX;
use palisade_probe::openapi::{Api, OPERATIONS_MAX, cases};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let Ok(api) = Api::parse(&text) else { return };
    assert!(api.operations.len() <= OPERATIONS_MAX);
    let all = cases(&api, 100);
    assert!(all.len() <= 100);
    for case in &all {
        assert!(case.bytes.len() <= REQUEST_BYTES_MAX);
        let first = case.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let blanks = first.iter().filter(|byte| **byte == b' ').count();
        assert!(
            first.ends_with(b" HTTP/1.1\r") && blanks == 2,
            "{}",
            String::from_utf8_lossy(first)
        );
    }
    assert_eq!(all, cases(&api, 100));
});

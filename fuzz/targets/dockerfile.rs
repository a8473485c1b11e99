//! Dockerfiles, and steps of an image's history.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_scan::config::{Kind, dockerfile};

fuzz_target!(|data: &[u8]| {
    palisade_fuzz::check_configuration("Dockerfile", data, Kind::Dockerfile);
    let text = String::from_utf8_lossy(data);
    if let Some(instruction) = dockerfile::parse_history_step(&text, 3) {
        assert_eq!(instruction.place.line, 3);
    }
});

//! What an ELF file loads: total, and bounded names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_scan::minimality::linkage;

fuzz_target!(|data: &[u8]| {
    if let Some(found) = linkage(data) {
        assert!(found.needed.len() <= 256);
        assert!(found.needed.iter().all(|name| !name.is_empty() && name.len() <= 1024));
    }
});

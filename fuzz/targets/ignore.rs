//! Ignore files: problems have places, entries are whole and bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_scan::ignore::{ENTRIES_MAX, parse};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match parse(&text, "ignore.yaml") {
        Ok(entries) => {
            assert!(entries.len() <= ENTRIES_MAX);
            assert!(entries.iter().all(|entry| !entry.id.is_empty() && !entry.reason.is_empty()));
        }
        Err(found) => {
            assert!(!found.0.is_empty());
            palisade_fuzz::check_diagnostics(&found, &text, 4 * ENTRIES_MAX);
        }
    }
});

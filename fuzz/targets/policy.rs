//! Policy files: problems have places, a valid policy can be explained, reading is repeatable.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_policy::{LoadPolicyError, explain, parse};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let read = || parse(&text, "policy.yaml", Path::new("folder"));
    match read() {
        Ok(loaded) => {
            palisade_fuzz::check_diagnostics(&loaded.warnings, &text, 200);
            assert!(
                loaded.warnings.0.iter().all(|w| w.severity == palisade_base::Severity::Warning)
            );
            assert!(!explain(&loaded).is_empty());
            assert_eq!(read().ok().as_ref(), Some(&loaded));
        }
        Err(LoadPolicyError::Invalid { diagnostics, .. }) => {
            palisade_fuzz::check_diagnostics(&diagnostics, &text, 200);
            assert!(!diagnostics.0.is_empty());
        }
        Err(error) => panic!("text in memory was not read: {error}"),
    }
});

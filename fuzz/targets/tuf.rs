//! Documents of The Update Framework: a root that is accepted is signed by as many keys as it
//! says, and nothing but JSON in its one form is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_trust::tuf::check;

fuzz_target!(|data: &[u8]| {
    if let Ok(version) = check(data) {
        assert!(version > 0);
        assert!(serde_json::from_slice::<serde_json::Value>(data).is_ok());
    }
});

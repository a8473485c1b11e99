//! DSSE envelopes as cosign's older attestations have them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| palisade_trust::fuzzing::envelope(data));

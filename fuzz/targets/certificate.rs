//! X.509 certificates and paths, and time stamps (RFC 3161): the first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_trust::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 2 {
        0 => fuzzing::certificates(rest),
        _ => fuzzing::time_stamp(rest),
    }
});

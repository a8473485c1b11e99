//! Programs whose calls are sought: total, and only calls that exist.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_profile::analysis::{Files, analyse, symbol_at};
use palisade_profile::syscalls::Machine;

/// The same content under every name, so that a program can be its own library.
struct Everywhere<'a>(&'a [u8]);

impl Files for Everywhere<'_> {
    fn read(&mut self, _path: &str) -> Option<Vec<u8>> {
        Some(self.0.to_vec())
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(found) = analyse("/program", &mut Everywhere(data)) {
        assert!(found.calls.keys().all(|call| Machine::X86_64.number(call).is_some()));
    }
    symbol_at(data, 0x1000);
});

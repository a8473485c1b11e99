//! Programs whose calls are sought: total, and only calls that exist.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_profile::analysis::{Files, Symbols, analyse, follows_call};
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
    follows_call(data, Machine::X86_64);
    follows_call(data, Machine::Aarch64);
    if let Ok(symbols) = Symbols::parse(data) {
        for offset in [0, 0x1000, u64::MAX] {
            symbols.function_at(offset);
        }
    }
});

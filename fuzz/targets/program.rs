//! Programs, held whole and by windows: both ways find Go's record in its present form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, check_inventory};
use palisade_packages::{Collector, program};

const PATHS: [&str; 6] =
    ["a", "bin/node", "bin/python3.11", "bin/redis-server", "bin/postgres", "lib/libcrypto.so.3"];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let path = PATHS[input.form(PATHS.len())];
    let bytes = input.0;
    let (head, rest) = bytes.split_at(bytes.len().min(Collector::PROGRAM_HEAD_BYTES));
    for size in [bytes.len() as u64, program::WHOLE_BYTES_MAX + 1] {
        let mut collector = Collector::new();
        let mut rest = rest;
        collector.add_program(path, None, size, head, &mut rest).expect("memory can be read");
        check_inventory(collector);
    }
});

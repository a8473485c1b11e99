//! Java archives and Python eggs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, check_inventory};
use palisade_packages::Collector;

const PATHS: [&str; 3] = ["s/a-1.0.jar", "s/b.war", "usr/lib/python3/site-packages/c-1.egg"];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let path = PATHS[input.form(PATHS.len())];
    let mut collector = Collector::new();
    collector.add(path, input.0, None);
    check_inventory(collector);
});

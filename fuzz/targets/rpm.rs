//! RPM's databases in all forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, check_inventory};
use palisade_packages::Collector;

const PATHS: [&str; 4] = [
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "var/lib/rpmmanifest/container-manifest-2",
];

// One file for an input: databases have the separator of `collect` in them.
fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let path = PATHS[input.form(PATHS.len())];
    let mut collector = Collector::new();
    collector.add(path, input.0, None);
    check_inventory(collector);
});

//! Compose files: merge keys, variables, services that extend services.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_scan::config::Kind;

fuzz_target!(|data: &[u8]| palisade_fuzz::check_configuration("compose.yaml", data, Kind::Compose));

//! ECS task definitions, OCI runtime specs and what engines print: the first byte chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::Input;
use palisade_scan::config::Kind;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let kind = input.choose(&[Kind::Ecs, Kind::OciSpec, Kind::Engine]);
    palisade_fuzz::check_configuration("x.json", input.0, kind);
});

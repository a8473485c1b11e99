//! Kubernetes manifests, in YAML and JSON; exceptions in their comments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_scan::config::Kind;

fuzz_target!(|data: &[u8]| palisade_fuzz::check_configuration("k.yaml", data, Kind::Kubernetes));

//! Evidence bundles: any bytes are refused or verified; a bundle that was written is verified,
//! and no longer so when any bit is changed or bytes are missing.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_fuzz::{Input, NOW, scratch};
use palisade_model::{Container, Engine};
use palisade_respond::bundle::{BundleWriter, CaseFacts, Opening, verify_stream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn sign(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(Digest::of(&[b"secret", bytes].concat()).as_bytes().to_vec())
}

fn check(bytes: &[u8], signature: &[u8]) -> Result<(), Failure> {
    if sign(bytes)? == signature { Ok(()) } else { Err("wrong".into()) }
}

fn case(input: &mut Input<'_>) -> CaseFacts {
    let container = Container {
        id: input.text(),
        name: input.text(),
        engine: Engine::Palisade,
        image: None,
        policy: None,
        pod: None,
        cgroup: None,
        init_pid: None,
    };
    CaseFacts {
        incident: Some(input.text()),
        container,
        hostname: input.text(),
        tool: "fuzz".into(),
        frozen: true,
        started: NOW,
    }
}

fn written(mut input: Input<'_>) {
    let path = scratch().join("case.tar");
    let (signed, place, bit) = (input.byte() & 1 == 1, input.u16(), input.byte() % 8);
    let mut writer = BundleWriter::create(&path, case(&mut input)).expect("create a bundle");
    while !input.is_empty() && writer.items().len() < 8 {
        // Names are the collector's own; it is a defect of the program to give an unsafe one.
        let name = format!("items/{}/{}", writer.items().len(), input.byte());
        let (source, content) = (input.text(), input.chunk());
        writer.add(&name, &source, None, content).expect("add an item");
    }
    writer.gap("source", "reason", Some(2));
    if writer.finish(signed.then_some(&sign)).is_err() {
        return;
    }
    let mut bytes = std::fs::read(&path).expect("read what was written");
    let verified = |bytes: &[u8]| match signed {
        true => verify_stream(bytes, &path, Opening::signed(&check)),
        false => verify_stream(bytes, &path, Opening::default()),
    };
    let found = verified(&bytes).expect("verify what was written");
    assert_eq!(found.n_bytes, bytes.len() as u64);
    let at = usize::from(place) % bytes.len();
    assert!(verified(&bytes[..at]).is_err(), "cut at {at}");
    bytes[at] ^= 1 << bit;
    assert!(verified(&bytes).is_err(), "bit {bit} of byte {at}");
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    if input.byte() & 1 == 1 {
        return written(input);
    }
    if let Ok(verified) = verify_stream(input.0, Path::new("case.tar"), Opening::default()) {
        assert_eq!(verified.n_bytes, input.0.len() as u64);
    }
    let _ = verify_stream(input.0, Path::new("case.tar"), Opening::signed(&check));
});

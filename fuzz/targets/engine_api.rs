//! Calls of Docker's API: never a panic, and privileged mode is never allowed, however it is
//! written.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use palisade_runtime::authz::{Authorizer, Request};
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    // Settings that are not there are the defaults: the policy `baseline`.
    let settings = PathBuf::from(palisade_runtime::oci::SETTINGS_PATH);
    let authorizer = Authorizer { settings, runtimes: Vec::new() };
    let (uri, body) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (String::from_utf8_lossy(&data[..at]).into_owned(), &data[at + 1..]),
        None => ("/v1.41/containers/create".to_string(), data),
    };
    let is_create = uri == "/v1.41/containers/create";
    let question = json!({
        "RequestMethod": "POST",
        "RequestUri": uri,
        "RequestBody": base64(body),
    });
    let request: Request = serde_json::from_value(question).expect("a question of ours");
    let decision = authorizer.decide(&request);
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let privileged = said.is_some_and(|said| {
        said.pointer("/HostConfig/Privileged") == Some(&json!(true))
            || said.pointer("/Privileged") == Some(&json!(true))
    });
    if is_create && privileged {
        assert!(decision.is_err(), "privileged mode is allowed");
    }
    if let Err(message) = decision {
        assert!(message.starts_with("palisade: "), "{message}");
    }
});

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from(word[0]) << 16 | u32::from(word[1]) << 8 | u32::from(word[2]);
        for at in 0..4 {
            let digit = ALPHABET[(number >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

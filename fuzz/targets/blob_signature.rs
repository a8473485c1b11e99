//! Signatures of files: no bundle but one that holds a signature of exactly this content.
//!
//! In the input `@SIG@` and `@DIGEST@` stand for a true signature and digest, so that what
//! lies behind the cryptography is reached without a key in the repository.
#![no_main]

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_trust::{PrivateKey, verify_blob};

fuzz_target!(|data: &[u8]| {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    let key = KEY.get_or_init(|| PrivateKey::generate().expect("the kernel has randomness"));
    let digest = Digest::of(b"content");
    let signature = STANDARD.encode(key.sign(&digest).expect("a key signs"));
    let text = String::from_utf8_lossy(data);
    let bundle =
        text.replace("@SIG@", &signature).replace("@DIGEST@", &STANDARD.encode(digest.as_bytes()));
    let keys = [key.public().clone()];
    if verify_blob(&digest, bundle.as_bytes(), &keys).is_ok() {
        assert!(text.contains("@SIG@"), "accepted without a signature: {text}");
    }
    assert!(verify_blob(&Digest::of(b"other"), bundle.as_bytes(), &keys).is_err());
    assert!(verify_blob(&digest, bundle.as_bytes(), &[]).is_err());
});

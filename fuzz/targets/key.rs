//! Keys: a public key that is read is written the same; a private one signs for its public.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_trust::{PrivateKey, PublicKey};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = PublicKey::from_pem(&text) {
        let again = PublicKey::from_pem(&key.to_pem()).expect("read what was written");
        assert_eq!(again, key);
    }
    if let Ok(key) = PrivateKey::from_pem(&text, None) {
        let digest = Digest::of(b"content");
        let signature = key.sign(&digest).expect("a key signs");
        assert!(key.public().verify(&digest, &signature));
        assert!(!key.public().verify(&Digest::of(b"other"), &signature));
    }
    // Deriving a key takes a second by design; only documents with small parameters are opened.
    if text.contains("\"N\":1,") || !text.contains("ENCRYPTED") {
        let _ = PrivateKey::from_pem(&text, Some(b"password"));
    }
});

//! PK tokens, signed messages and files of providers: whatever the bytes are, nobody vouches
//! for a key unless a configured provider signed.
//!
//! The input is a file of providers and a token, parted by a zero byte; without one it is both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_trust::openpubkey::{PkToken, Providers, SignedStatement};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or(first);
    let providers = Providers::parse(first, None).unwrap_or_default();
    if let Ok(document) = SignedStatement::parse(second) {
        let verified = document.verify(&providers, &Digest::of(b"image"), 1_800_000_000);
        assert!(verified.is_err() || !providers.providers.is_empty());
    }
    let Ok(text) = std::str::from_utf8(second) else { return };
    let Ok(token) = PkToken::parse(text) else { return };
    // What was read is written so that it is read again as the same.
    let again = PkToken::parse(&token.to_compact()).expect("its compact form");
    assert_eq!(again.to_compact(), token.to_compact());
    assert!(PkToken::parse(&token.to_json()).is_ok());
    if let Ok(verified) = providers.verify(&token, 1_800_000_000) {
        assert!(providers.providers.iter().any(|one| one.issuer == verified.issuer));
        let _ = verified.verify_message(text);
    }
});

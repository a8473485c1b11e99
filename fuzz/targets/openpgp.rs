//! OpenPGP: keyrings, signed messages and texts, and signatures, alone and together.
//!
//! The first two bytes are the length of the keyring; the rest is the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_trust::openpgp::Keyring;

fuzz_target!(|data: &[u8]| {
    let _ = Keyring::parse(data);
    let text = String::from_utf8_lossy(data);
    assert!(Keyring::default().verify_text(&text, 1_800_000_000).is_err());
    assert!(Keyring::default().verify_detached(b"x", data, 1_800_000_000).is_err());
    assert!(Keyring::default().verify(data, u64::MAX).is_err());
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((keys, message)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    else {
        return;
    };
    let Ok(keys) = Keyring::parse(keys) else { return };
    let document = String::from_utf8_lossy(message);
    for signer in [
        keys.verify(message, 1_800_000_000).map(|(_, signer)| signer),
        keys.verify_text(&document, 1_800_000_000).map(|(_, signer)| signer),
        keys.verify_detached(b"{}", message, 1_800_000_000),
    ] {
        assert!(signer.is_err() || keys.fingerprints().contains(&signer.unwrap_or_default()));
    }
});

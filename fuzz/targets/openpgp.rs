//! OpenPGP: keyrings and signed messages, alone and together.
//!
//! The first two bytes are the length of the keyring; the rest is the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_trust::openpgp::Keyring;

fuzz_target!(|data: &[u8]| {
    let _ = Keyring::parse(data);
    assert!(Keyring::default().verify(data, u64::MAX).is_err());
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((keys, message)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    else {
        return;
    };
    if let Ok(keys) = Keyring::parse(keys)
        && let Ok((_, signer)) = keys.verify(message, 1_800_000_000)
    {
        assert!(keys.fingerprints().contains(&signer));
    }
});

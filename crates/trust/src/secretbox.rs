//! NaCl's `secretbox`: XSalsa20 and Poly1305, as cosign encrypts private keys.
//!
//! Composed as in Bernstein, "Cryptography in NaCl", section 10: the first 32 bytes of
//! the key stream are the Poly1305 key, the message is encrypted with what follows, the
//! tag covers the ciphertext and stands before it. The only published Rust crates of the
//! construction are a pre-release or of the previous generation of traits; the parts are
//! maintained, and the vector of that paper guards the composition.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

fn start(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES]) -> (XSalsa20, Poly1305) {
    let mut cipher = XSalsa20::new(key.into(), nonce.into());
    let mut mac_key = Zeroizing::new([0_u8; 32]);
    cipher.apply_keystream(mac_key.as_mut_slice());
    let mac = Poly1305::new((&*mac_key).into());
    (cipher, mac)
}

/// Encrypts and authenticates `message`.
pub(crate) fn seal(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], message: &[u8]) -> Vec<u8> {
    let (mut cipher, mac) = start(key, nonce);
    let mut out = vec![0_u8; TAG_BYTES];
    out.extend_from_slice(message);
    let (tag, text) = out.split_at_mut(TAG_BYTES);
    cipher.apply_keystream(text);
    tag.copy_from_slice(&mac.compute_unpadded(text));
    out
}

/// Opens what [`seal`] made, or nothing when the key is wrong or a byte was changed.
pub(crate) fn open(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (tag, text) = sealed.split_at_checked(TAG_BYTES)?;
    let (mut cipher, mac) = start(key, nonce);
    let computed = mac.compute_unpadded(text);
    // Every byte is compared, so that the time tells nothing of the tag.
    let difference = computed.iter().zip(tag).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
    if difference != 0 {
        return None;
    }
    let mut message = Zeroizing::new(text.to_vec());
    cipher.apply_keystream(message.as_mut_slice());
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// "Cryptography in NaCl", section 10 (the same vector as NaCl's tests/secretbox.c).
    #[test]
    fn agrees_with_the_vector_of_nacl() {
        let key = bytes::<32>("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = bytes::<24>("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let message = hex::decode(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc",
            "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31",
            "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864",
            "5e0705"
        ))
        .unwrap();
        let sealed = hex::decode(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce",
            "48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972",
            "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae",
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3",
            "7973f622a43d14a6599b1f654cb45a74e355a5"
        ))
        .unwrap();
        assert_eq!(seal(&key, &nonce, &message), sealed);
        assert_eq!(open(&key, &nonce, &sealed).unwrap().as_slice(), message);
    }

    #[test]
    fn refuses_any_changed_byte() {
        let (key, nonce) = ([1; 32], [2; 24]);
        let sealed = seal(&key, &nonce, b"message");
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(open(&key, &nonce, &changed).is_none(), "byte {i}");
        }
        assert!(open(&[3; 32], &nonce, &sealed).is_none());
        assert!(open(&key, &nonce, &sealed[..15]).is_none());
    }
}

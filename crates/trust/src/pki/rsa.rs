//! RSA PKCS #1 v1.5 over a hash (RFC 8017, section 8.2.2), for files that are given by their
//! digest alone; over messages `ring` verifies.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};

use super::der;
use super::key::Key;

/// What stands before a hash in the encoding (RFC 8017, section 9.2), but for the hash's own
/// identifier and length.
const PREFIX: [u8; 17] = [
    0x30, 0, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0, 0x05, 0x00,
];
/// Sizes of a modulus that `ring` verifies with, in bytes: both must say the same.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// The smallest and largest exponent, as `ring` has them.
const EXPONENTS: std::ops::RangeInclusive<u64> = 3..=(1 << 33) - 1;

/// Whether `signature` is `key`'s over a message with that hash, whose kind its length says.
/// `None`: the key is of no kind or size that is verified, or the hash is none.
pub(super) fn verify(key: &Key, hash: &[u8], signature: &[u8]) -> Option<bool> {
    let kind = match hash.len() {
        32 => 1,
        48 => 2,
        64 => 3,
        _ => return None,
    };
    let (modulus, exponent) = key.rsa_numbers()?;
    let n_bytes = modulus.len();
    let is_usual = MODULUS_BYTES.contains(&n_bytes) && EXPONENTS.contains(&exponent);
    if !is_usual || exponent % 2 == 0 || signature.len() != n_bytes {
        return None;
    }
    let bits = u32::try_from(n_bytes).ok()? * 8;
    let n = Odd::new(BoxedUint::from_be_slice(modulus, bits).ok()?).into_option()?;
    let value =
        BoxedUint::from_be_slice(signature, bits).ok().filter(|value| value < n.as_ref())?;
    let params = BoxedMontyParams::new_vartime(n);
    let power = BoxedMontyForm::new(value, &params)
        .pow_bounded_exp(&BoxedUint::from(exponent), exponent.ilog2() + 1)
        .retrieve()
        .to_be_bytes();
    // The encoding is made and compared whole: nothing in it is read.
    let length = u8::try_from(hash.len()).ok()?;
    let mut prefix = PREFIX;
    prefix[1] = length + 17;
    prefix[14] = kind;
    let tail = [&[0], &prefix[..], &[der::OCTET_STRING, length], hash].concat();
    let padding = vec![0xff; n_bytes.checked_sub(2 + tail.len())?];
    let encoded = [&[0, 1], &padding[..], &tail].concat();
    Some(power.get(power.len().checked_sub(n_bytes)?..)? == encoded)
}

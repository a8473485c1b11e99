//! RSA PKCS #1 v1.5 over a digest (RFC 8017, section 8.2.2): a log is given the digest of
//! what was signed, never the thing itself, which other implementations want.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// What stands before a SHA-256 in the encoding.
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
const OID_RSA: &str = "1.2.840.113549.1.1.1";
/// Largest exponent.
const EXPONENT_MAX: u64 = u32::MAX as u64;

/// Modulus and exponent of a SubjectPublicKeyInfo.
fn numbers(spki: &[u8]) -> Option<(Vec<u8>, u64)> {
    let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    if info.algorithm.oid.to_string() != OID_RSA {
        return None;
    }
    let mut reader = SliceReader::new(info.subject_public_key.as_bytes()?).ok()?;
    let (modulus, exponent) = reader
        .sequence(|sequence| {
            let modulus = UintRef::decode(sequence)?;
            Ok::<_, x509_cert::der::Error>((modulus, UintRef::decode(sequence)?))
        })
        .ok()?;
    reader.finish().ok()?;
    let exponent = exponent.as_bytes();
    if exponent.len() > 8 {
        return None;
    }
    let exponent = exponent.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
    let is_usual = (65537..=EXPONENT_MAX).contains(&exponent) && exponent % 2 == 1;
    is_usual.then(|| (modulus.as_bytes().to_vec(), exponent))
}

/// Whether `signature` is of that key, with a modulus of `bits`, over a message with that
/// SHA-256. `None`: it is no such key.
pub(super) fn verify(spki: &[u8], bits: u32, digest: &[u8], signature: &[u8]) -> Option<bool> {
    let (modulus, exponent) = numbers(spki)?;
    let n_bytes = bits as usize / 8;
    if modulus.len() != n_bytes || modulus.first().is_none_or(|first| first & 0x80 == 0) {
        return None;
    }
    let n = Odd::new(BoxedUint::from_be_slice(&modulus, bits).ok()?).into_option()?;
    let holds = || {
        let signature = (signature.len() == n_bytes)
            .then(|| BoxedUint::from_be_slice(signature, bits).ok())
            .flatten()
            .filter(|value| value < n.as_ref())?;
        let params = BoxedMontyParams::new_vartime(n.clone());
        let power = BoxedMontyForm::new(signature, &params)
            .pow_bounded_exp(&BoxedUint::from(exponent), exponent.ilog2() + 1)
            .retrieve()
            .to_be_bytes();
        let tail = [&[0], &SHA256_PREFIX[..], digest].concat();
        let padding = n_bytes.checked_sub(2 + tail.len())?;
        let expected = [&[0, 1], vec![0xff; padding].as_slice(), &tail].concat();
        // The number may be wider than the modulus, by zeros in front.
        let skip = power.len().checked_sub(n_bytes)?;
        let (zeros, encoded) = power.split_at_checked(skip)?;
        Some(zeros.iter().all(|&byte| byte == 0) && encoded == expected)
    };
    Some(holds().unwrap_or(false))
}

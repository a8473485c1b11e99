//! Verification for P-384 keys that verify much, by tables of the key's multiples.
//!
//! An authority's key verifies each certificate that it issued, so its multiples are worth
//! keeping: with those of the generator, a verification is additions alone. The arithmetic of
//! points and numbers is that of the crate `p384`; nothing here is secret, and nothing need take
//! the same time for all inputs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

use p384::ecdsa::{Signature, VerifyingKey};
use p384::elliptic_curve::BatchNormalize as _;
use p384::elliptic_curve::ops::{Invert as _, Reduce};
use p384::elliptic_curve::point::AffineCoordinates as _;
use p384::{AffinePoint, FieldBytes, ProjectivePoint, Scalar};

/// Bits of a digit.
const DIGIT_BITS: usize = 6;
/// Multiples of each window: a digit is between minus that many and that many.
const MULTIPLES: usize = 1 << (DIGIT_BITS - 1);
/// Bytes of a number.
const NUMBER_BYTES: usize = 48;
/// Digits of a number of 384 bits, the last carry included.
const WINDOWS: usize = (NUMBER_BYTES * 8) / DIGIT_BITS + 1;
/// After so many verifications a table is made, which costs about as much as they did.
const USES_BEFORE_TABLE: u32 = 8;

/// The multiples of the generator, which all keys share.
static GENERATOR: LazyLock<Table> = LazyLock::new(|| Table::of(ProjectivePoint::GENERATOR));

/// For each window `i`, the multiples 1 to [`MULTIPLES`] of the point times 2 to the power
/// `i` × [`DIGIT_BITS`]: 216 KiB.
pub(crate) struct Table(Vec<AffinePoint>);

impl Table {
    fn of(point: ProjectivePoint) -> Self {
        let mut multiples = Vec::with_capacity(WINDOWS * MULTIPLES);
        let mut base = point;
        for _ in 0..WINDOWS {
            let mut multiple = base;
            for _ in 0..MULTIPLES {
                multiples.push(multiple);
                multiple += base;
            }
            for _ in 0..DIGIT_BITS {
                base += base;
            }
        }
        Self(ProjectivePoint::batch_normalize(multiples.as_slice()))
    }

    /// Adds `number` times the point to `sum`.
    fn add_multiple(&self, number: &Scalar, sum: &mut ProjectivePoint) {
        for (window, digit) in self.0.chunks_exact(MULTIPLES).zip(digits(number)) {
            let at = usize::from(digit.unsigned_abs()).checked_sub(1);
            match at.and_then(|at| window.get(at)) {
                Some(multiple) if digit < 0 => *sum -= multiple,
                Some(multiple) => *sum += multiple,
                None => {}
            }
        }
    }
}

/// The number's digits to the base 2 to the power [`DIGIT_BITS`], the lowest first, none larger
/// than [`MULTIPLES`].
fn digits(number: &Scalar) -> [i8; WINDOWS] {
    let bytes: FieldBytes = number.into();
    let mut out = [0; WINDOWS];
    let (mut rest, mut n_bits, mut carry) = (0_u32, 0, 0);
    let mut bytes = bytes.iter().rev();
    for digit in &mut out {
        if n_bits < DIGIT_BITS {
            rest |= u32::from(bytes.next().copied().unwrap_or(0)) << n_bits;
            n_bits += 8;
        }
        let mut value = (rest % (1 << DIGIT_BITS)) as i8 + carry;
        rest >>= DIGIT_BITS;
        n_bits -= DIGIT_BITS;
        carry = i8::from(value > MULTIPLES as i8);
        value -= carry << DIGIT_BITS;
        *digit = value;
    }
    out
}

/// A hash as a number: its first 384 bits (FIPS 186-5, section 6.4.2).
fn number_of(hash: &[u8]) -> Scalar {
    let hash = hash.get(..NUMBER_BYTES).unwrap_or(hash);
    let mut bytes = FieldBytes::default();
    let start = NUMBER_BYTES - hash.len();
    bytes.iter_mut().skip(start).zip(hash).for_each(|(to, from)| *to = *from);
    Reduce::<FieldBytes>::reduce(&bytes)
}

/// What a key remembers of its own use.
#[derive(Default)]
pub(crate) struct Comb {
    n_uses: AtomicU32,
    /// `None`: the bytes are no point of the curve.
    table: OnceLock<Option<Table>>,
}

impl Comb {
    /// The table of the key with that point, once the key has been used often enough. Bytes that
    /// are no point have none; whoever verifies without a table refuses them.
    pub(crate) fn table(&self, point: &[u8]) -> Option<&Table> {
        if self.n_uses.load(Ordering::Relaxed) < USES_BEFORE_TABLE {
            self.n_uses.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let make = || {
            let key = VerifyingKey::from_sec1_bytes(point).ok()?;
            Some(Table::of(ProjectivePoint::from(*key.as_affine())))
        };
        self.table.get_or_init(make).as_ref()
    }
}

impl Table {
    /// Whether `signature` is by the table's point over a message with that hash (FIPS 186-5,
    /// section 6.4.2). That `r` and `s` are between 1 and the order is checked when
    /// the signature is read.
    pub(crate) fn verify(&self, hash: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_der(signature) else { return false };
        let (r, s) = signature.split_scalars();
        let inverse = s.invert_vartime();
        let mut sum = ProjectivePoint::IDENTITY;
        GENERATOR.add_multiple(&(number_of(hash) * *inverse), &mut sum);
        self.add_multiple(&(*r * *inverse), &mut sum);
        // The point at infinity has the coordinate 0 here, which no `r` is.
        *r == number_of(sum.to_affine().x().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use p384::ecdsa::SigningKey;
    use p384::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
    use p384::elliptic_curve::PrimeField as _;

    use super::*;
    use crate::pki::Hash;

    fn number(n: u64) -> Scalar {
        Scalar::from(n)
    }

    /// Numbers at which digits carry, wrap and vanish.
    fn numbers() -> Vec<Scalar> {
        let mut out = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -number(2)];
        out.extend([31, 32, 33, 63, 64, 65, 2047, 2048, 2080, u64::MAX].map(number));
        let mut power = Scalar::ONE;
        for _ in 0..384 / 7 {
            power *= number(128);
            out.extend([power, power - Scalar::ONE, -power, power * number(33)]);
        }
        out
    }

    #[test]
    fn digits_make_up_the_number() {
        for expected in numbers() {
            let mut sum = Scalar::ZERO;
            for digit in digits(&expected).into_iter().rev() {
                assert!(digit.unsigned_abs() as usize <= MULTIPLES);
                let part = number(u64::from(digit.unsigned_abs()));
                sum = sum * number(1 << DIGIT_BITS) + if digit < 0 { -part } else { part };
            }
            assert_eq!(sum, expected);
        }
    }

    #[test]
    fn multiples_are_those_of_the_curve() {
        let point = ProjectivePoint::GENERATOR * number(0x1234_5678_9abc);
        for (point, table) in
            [(point, &Table::of(point)), (ProjectivePoint::GENERATOR, &*GENERATOR)]
        {
            for by in numbers() {
                let mut sum = ProjectivePoint::IDENTITY;
                table.add_multiple(&by, &mut sum);
                assert_eq!(sum, point * by);
            }
        }
    }

    /// DER of a signature whose numbers are these, whatever they are.
    fn signature(numbers: [&[u8]; 2]) -> Vec<u8> {
        let numbers = numbers.map(|bytes| {
            let bytes = &bytes[bytes.iter().take_while(|it| **it == 0).count()..];
            let zero: &[u8] = if bytes.first().is_none_or(|it| *it > 0x7f) { &[0] } else { &[] };
            crate::pki::der::wrap(crate::pki::der::INTEGER, &[zero, bytes].concat())
        });
        crate::pki::der::wrap(crate::pki::der::SEQUENCE, &numbers.concat())
    }

    /// What is found with the table, by `ring` and by `p384` is the same, whatever is signed.
    #[test]
    fn verdicts_are_those_of_others() {
        let key = SigningKey::from_slice(&[7; 48]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let point = point.as_bytes();
        let table = Table::of(ProjectivePoint::from(*key.verifying_key().as_affine()));
        let ring_of = |hash: Hash| match hash {
            Hash::Sha256 => Some(&ring::signature::ECDSA_P384_SHA256_ASN1),
            Hash::Sha384 => Some(&ring::signature::ECDSA_P384_SHA384_ASN1),
            Hash::Sha512 => None,
        };
        let check = |hash: Hash, message: &[u8], signature: &[u8], expected: bool| {
            let digest = hash.of(message);
            assert_eq!(table.verify(&digest, signature), expected, "{}", hex::encode(signature));
            let other = Signature::from_der(signature)
                .is_ok_and(|it| key.verifying_key().verify_prehash(&digest, &it).is_ok());
            assert_eq!(other, expected, "p384: {}", hex::encode(signature));
            if let Some(algorithm) = ring_of(hash) {
                let ring = ring::signature::UnparsedPublicKey::new(algorithm, point);
                let found = ring.verify(message, signature).is_ok();
                assert_eq!(found, expected, "ring: {}", hex::encode(signature));
            }
        };
        let order = hex::decode("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973").unwrap();
        for (i, hash) in
            [Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().cycle().take(12).enumerate()
        {
            let message = format!("message {i}").into_bytes();
            let good: Signature = key.sign_prehash(&hash.of(&message)).unwrap();
            let (r, s) = good.split_bytes();
            let der = signature([&r, &s]);
            check(hash, &message, &der, true);
            // The other root is as good, for nobody asks for the smaller one.
            let (_, scalar) = good.split_scalars();
            let minus: FieldBytes = (-*scalar).to_repr();
            check(hash, &message, &signature([&r, &minus]), true);
            check(hash, b"another", &der, false);
            check(hash, &message, &signature([&s, &r]), false);
            check(hash, &message, &signature([&r, &r]), false);
            for wrong in [&[0][..], &[1], &order, &[0xff; 48], &[0xff; 49]] {
                check(hash, &message, &signature([wrong, &s]), false);
                check(hash, &message, &signature([&r, wrong]), false);
                check(hash, &message, &signature([wrong, wrong]), false);
            }
            for at in [0, 1, 3, der.len() / 2, der.len() - 1] {
                let mut changed = der.clone();
                changed[at] ^= 1;
                check(hash, &message, &changed, false);
            }
            check(hash, &message, &der[..der.len() - 1], false);
            check(hash, &message, &[&der[..], &[0]].concat(), false);
            check(hash, &message, &[], false);
        }
        // A signature that makes the sum the point at infinity: r = -z / d.
        let message = b"infinity";
        let z = number_of(&Hash::Sha384.of(message));
        let d = Reduce::<FieldBytes>::reduce(&FieldBytes::from([7; 48]));
        let r: FieldBytes = (-z * Scalar::invert(&d).unwrap()).to_repr();
        check(Hash::Sha384, message, &signature([&r, &[1]]), false);
    }

    #[test]
    fn a_key_gets_its_table_when_it_has_verified_enough() {
        let key = SigningKey::from_slice(&[7; 48]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let comb = Comb::default();
        for _ in 0..USES_BEFORE_TABLE {
            assert!(comb.table(point.as_bytes()).is_none());
        }
        assert!(comb.table(point.as_bytes()).is_some());
        // What is no point never gets one.
        let comb = Comb::default();
        for _ in 0..2 * USES_BEFORE_TABLE {
            assert!(comb.table(&[4; 97]).is_none());
        }
    }
}

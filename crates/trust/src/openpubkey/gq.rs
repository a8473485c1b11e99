//! GQ256: proof that somebody knows an RSA signature, without the signature
//! (Guillou and Quisquater; ISO/IEC 14888-2; openpubkey, `gq/`).
//!
//! The proof of a token `header.payload` that the provider signed by RS256 is made of `t`
//! questions and answers modulo the provider's RSA modulus `n`. `G` is the PKCS #1 v1.5
//! encoding of the token's SHA-256; the secret is `Q`, the inverse of the signature, so that
//! `Q^e * G = 1`. An answer `S = r * Q^R` satisfies `S^e * G^R = r^e`.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use palisade_base::Digest;
use shake::Shake256;
use shake::digest::{ExtendableOutput as _, Update as _, XofReader as _};
use zeroize::Zeroizing;

use crate::pki::Key;

/// The one exponent, which all providers have: questions have 16 bits, and 16 rounds make 256.
const EXPONENT: u64 = 65537;
const EXPONENT_BITS: u32 = 17;
/// Rounds of a proof.
const ROUNDS: usize = 16;
/// Bytes of a round's question.
const QUESTION_BYTES: usize = 2;
/// Smallest and largest modulus, in bytes.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Tries for a random number below the modulus, each of which succeeds more often than not.
const TRIES_MAX: usize = 256;
/// What stands before a SHA-256 in an encoding of PKCS #1 v1.5 (RFC 8017, section 9.2).
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// Numbers modulo a provider's modulus.
struct Group {
    params: BoxedMontyParams,
    n_bytes: usize,
    /// First byte of the modulus.
    top: u8,
    exponent: BoxedUint,
}

impl Group {
    fn new(key: &Key) -> Option<Self> {
        let (modulus, exponent) = key.rsa_numbers()?;
        if !MODULUS_BYTES.contains(&modulus.len()) || exponent != EXPONENT {
            return None;
        }
        let n = BoxedUint::from_be_slice(modulus, modulus.len() as u32 * 8).ok()?;
        let n = Odd::new(n).into_option()?;
        Some(Self {
            params: BoxedMontyParams::new_vartime(n),
            n_bytes: modulus.len(),
            top: *modulus.first()?,
            exponent: BoxedUint::from(exponent),
        })
    }

    /// A number of the group: more than 0 and less than the modulus.
    fn number(&self, bytes: &[u8]) -> Option<BoxedMontyForm> {
        let value = BoxedUint::from_be_slice(bytes, self.n_bytes as u32 * 8).ok()?;
        let is_small = value < *self.params.modulus().as_ref();
        let form = BoxedMontyForm::new(value, &self.params);
        (is_small && form.is_nonzero().to_bool()).then_some(form)
    }

    /// A random number of the group.
    fn random(&self) -> Option<BoxedMontyForm> {
        let mask = 0xff >> self.top.leading_zeros();
        let mut bytes = Zeroizing::new(vec![0; self.n_bytes]);
        (0..TRIES_MAX).find_map(|_| {
            getrandom::fill(&mut bytes).ok()?;
            if let Some(first) = bytes.first_mut() {
                *first &= mask;
            }
            self.number(&bytes)
        })
    }

    /// `base` to the power of the public exponent.
    fn raised(&self, base: &BoxedMontyForm) -> BoxedMontyForm {
        base.pow_bounded_exp(&self.exponent, EXPONENT_BITS)
    }

    /// `base` to the power of a question.
    fn asked(base: &BoxedMontyForm, question: &[u8]) -> BoxedMontyForm {
        base.pow_bounded_exp(&BoxedUint::from_be_slice_vartime(question), QUESTION_BYTES as u32 * 8)
    }

    fn bytes(&self, number: &BoxedMontyForm) -> Vec<u8> {
        let bytes = number.retrieve().to_be_bytes();
        let skip = bytes.len().saturating_sub(self.n_bytes);
        bytes.get(skip..).unwrap_or_default().to_vec()
    }

    /// What the provider signed: the encoding of the token's hash.
    fn identity(&self, token: &[u8]) -> Option<BoxedMontyForm> {
        let hash = Digest::of(token);
        let tail = [&[0], &SHA256_PREFIX[..], hash.as_bytes()].concat();
        let padding = self.n_bytes.checked_sub(2 + tail.len())?;
        let encoded = [&[0, 1], vec![0xff; padding].as_slice(), &tail].concat();
        self.number(&encoded)
    }
}

/// The questions that follow from the test numbers and the message.
fn questions(tests: &[u8], message: &[u8]) -> Vec<u8> {
    let mut hash = Shake256::default();
    hash.update(tests);
    hash.update(message);
    let mut out = vec![0; ROUNDS * QUESTION_BYTES];
    hash.finalize_xof().read(&mut out);
    out
}

/// Whether `proof` shows, for `message`, that its maker knew `key`'s RS256 signature over
/// `token`.
pub(crate) fn verify(key: &Key, token: &[u8], message: &[u8], proof: &[u8]) -> bool {
    check(key, token, message, proof).unwrap_or(false)
}

fn check(key: &Key, token: &[u8], message: &[u8], proof: &[u8]) -> Option<bool> {
    let group = Group::new(key)?;
    let (questions, answers) = proof.split_at_checked(ROUNDS * QUESTION_BYTES)?;
    if answers.len() != ROUNDS * group.n_bytes {
        return None;
    }
    let identity = group.identity(token)?;
    let mut tests = Vec::with_capacity(answers.len());
    for (question, answer) in questions.chunks(QUESTION_BYTES).zip(answers.chunks(group.n_bytes)) {
        let answer = group.number(answer)?;
        let test = group.raised(&answer).mul(&Group::asked(&identity, question));
        tests.extend(group.bytes(&test));
    }
    Some(self::questions(&tests, message) == questions)
}

/// Makes the proof for `message` from the provider's `signature`, which stays secret. `None`:
/// the key is none for proofs, or the kernel gives no randomness.
pub(crate) fn prove(key: &Key, signature: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let group = Group::new(key)?;
    let secret = group.number(signature)?.invert().into_option()?;
    let (mut randoms, mut tests) = (Vec::with_capacity(ROUNDS), Vec::new());
    for _ in 0..ROUNDS {
        let random = group.random()?;
        tests.extend(group.bytes(&group.raised(&random)));
        randoms.push(random);
    }
    let questions = questions(&tests, message);
    let mut proof = questions.clone();
    for (question, random) in questions.chunks(QUESTION_BYTES).zip(&randoms) {
        proof.extend(group.bytes(&random.mul(&Group::asked(&secret, question))));
    }
    Some(proof)
}

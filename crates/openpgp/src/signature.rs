//! Signatures of versions 3 and 4.

use ring::signature as sig;

use crate::OpenPgpError;
use crate::key::{Algorithm, Material};
use crate::packet::new_length;

const SUBPACKETS_MAX: usize = 200;

/// A signature, read and not verified.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) kind: u8,
    algorithm: u8,
    hash: u8,
    /// What is hashed after the data.
    trailer: Vec<u8>,
    numbers: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    /// Seconds after `created`; 0: never.
    pub(crate) expires_after: u64,
    /// Of the key that it certifies: seconds after its making; 0: never.
    pub(crate) key_expires_after: u64,
    pub(crate) issuer: Option<[u8; 8]>,
    pub(crate) issuer_fingerprint: Option<Vec<u8>>,
    pub(crate) key_flags: Option<u8>,
    pub(crate) embedded: Option<Vec<u8>>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], OpenPgpError> {
        let short = OpenPgpError::Malformed("a signature ends too early");
        let (head, rest) = self.0.split_at_checked(n).ok_or(short)?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self, n: usize) -> Result<u64, OpenPgpError> {
        Ok(be(self.take(n)?))
    }
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

impl Signature {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        match reader.number(1)? {
            3 => Self::parse_3(reader),
            4 => Self::parse_4(body, reader),
            _ => Err(OpenPgpError::Unsupported("the version of a signature")),
        }
    }

    fn parse_3(mut reader: Reader<'_>) -> Result<Self, OpenPgpError> {
        if reader.number(1)? != 5 {
            return Err(OpenPgpError::Malformed("a signature hashes other than five bytes"));
        }
        let trailer = reader.take(5)?;
        let (kind, time) = trailer.split_first().unwrap_or((&0xff, &[]));
        let issuer = reader.take(8)?.try_into().ok();
        let (algorithm, hash) = (reader.number(1)? as u8, reader.number(1)? as u8);
        reader.take(2)?;
        Ok(Self {
            kind: *kind,
            algorithm,
            hash,
            trailer: trailer.to_vec(),
            numbers: reader.0.to_vec(),
            created: be(time),
            expires_after: 0,
            key_expires_after: 0,
            issuer,
            issuer_fingerprint: None,
            key_flags: None,
            embedded: None,
        })
    }

    fn parse_4(body: &[u8], mut reader: Reader<'_>) -> Result<Self, OpenPgpError> {
        let kind = reader.number(1)? as u8;
        let (algorithm, hash) = (reader.number(1)? as u8, reader.number(1)? as u8);
        let n_hashed = reader.number(2)? as usize;
        let hashed = reader.take(n_hashed)?;
        let n_unhashed = reader.number(2)? as usize;
        let unhashed = reader.take(n_unhashed)?;
        reader.take(2)?;
        let signed = body.get(..6 + n_hashed).unwrap_or_default();
        let mut trailer = signed.to_vec();
        trailer.extend([4, 0xff]);
        trailer.extend((signed.len() as u32).to_be_bytes());
        let mut this = Self {
            kind,
            algorithm,
            hash,
            trailer,
            numbers: reader.0.to_vec(),
            created: 0,
            expires_after: 0,
            key_expires_after: 0,
            issuer: None,
            issuer_fingerprint: None,
            key_flags: None,
            embedded: None,
        };
        this.read_subpackets(hashed, true)?;
        this.read_subpackets(unhashed, false)?;
        if this.created == 0 {
            return Err(OpenPgpError::Malformed("a signature has no time"));
        }
        Ok(this)
    }

    /// Only hashed subpackets are believed, but for who may have signed and for the
    /// signature within, which proves itself.
    fn read_subpackets(&mut self, mut bytes: &[u8], hashed: bool) -> Result<(), OpenPgpError> {
        const CRITICAL: u8 = 0x80;
        for _ in 0..SUBPACKETS_MAX {
            if bytes.is_empty() {
                return Ok(());
            }
            let short = || OpenPgpError::Malformed("a subpacket ends too early");
            // A subpacket's length has no partial form; these first bytes are two-byte ones.
            let length = match bytes.first() {
                Some(&first @ 192..=254) => {
                    let second = bytes.get(1).copied().ok_or_else(short)?;
                    bytes = bytes.get(2..).ok_or_else(short)?;
                    (usize::from(first - 192) << 8) + usize::from(second) + 192
                }
                _ => new_length(&mut bytes)?.0,
            };
            let (subpacket, rest) = bytes.split_at_checked(length).ok_or_else(short)?;
            bytes = rest;
            let (kind, value) = subpacket.split_first().ok_or_else(short)?;
            match (kind & !CRITICAL, hashed) {
                (2, true) => self.created = be(value),
                (3, true) => self.expires_after = be(value),
                (9, true) => self.key_expires_after = be(value),
                (27, true) => self.key_flags = Some(value.first().copied().unwrap_or(0)),
                (16, _) => self.issuer = value.try_into().ok(),
                (33, _) => self.issuer_fingerprint = value.get(1..).map(<[u8]>::to_vec),
                (32, _) => self.embedded = Some(value.to_vec()),
                // Others that are known and change nothing here.
                (4..=7 | 11 | 21..=26 | 28..=31 | 34 | 35 | 39, _) | (2 | 3 | 9 | 27, false) => {}
                _ if kind & CRITICAL != 0 && hashed => {
                    return Err(OpenPgpError::Unsupported("a critical part of a signature"));
                }
                _ => {}
            }
        }
        Err(OpenPgpError::TooLarge)
    }

    /// Whether it was made before `now` and has not ended by then.
    pub(crate) fn is_current(&self, now: u64) -> bool {
        const SKEW: u64 = 300;
        self.created <= now.saturating_add(SKEW)
            && (self.expires_after == 0 || self.created.saturating_add(self.expires_after) > now)
    }

    /// Whether `key` made it over `data`. SHA-1 counts only where `legacy` allows it: in what
    /// a key says of itself, never in what it says of others.
    pub(crate) fn verify(&self, key: &Material, data: &[u8], legacy: bool) -> bool {
        const SHA1: u8 = 2;
        if self.hash == SHA1 && !legacy {
            return false;
        }
        let message = [data, &self.trailer].concat();
        let algorithm: &dyn sig::VerificationAlgorithm = match (key.algorithm, self.hash) {
            (Algorithm::Rsa, SHA1) => &sig::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (Algorithm::Rsa, 8) => &sig::RSA_PKCS1_2048_8192_SHA256,
            (Algorithm::Rsa, 9) => &sig::RSA_PKCS1_2048_8192_SHA384,
            (Algorithm::Rsa, 10) => &sig::RSA_PKCS1_2048_8192_SHA512,
            (Algorithm::P256, 8) => &sig::ECDSA_P256_SHA256_FIXED,
            (Algorithm::P384, 9) => &sig::ECDSA_P384_SHA384_FIXED,
            (Algorithm::Ed25519, 8..=10) => {
                return self.verify_ed25519(key, &message);
            }
            _ => return false,
        };
        let right_kind = match key.algorithm {
            Algorithm::Rsa => matches!(self.algorithm, 1 | 3),
            _ => self.algorithm == 19,
        };
        let signature = match key.algorithm {
            Algorithm::Rsa => mpis(&self.numbers, &[key.n_bytes]),
            _ => mpis(&self.numbers, &[key.n_bytes, key.n_bytes]),
        };
        right_kind
            && signature.is_some_and(|signature| {
                sig::UnparsedPublicKey::new(algorithm, &key.bytes)
                    .verify(&message, &signature)
                    .is_ok()
            })
    }

    fn verify_ed25519(&self, key: &Material, message: &[u8]) -> bool {
        let hash = match self.hash {
            8 => &ring::digest::SHA256,
            9 => &ring::digest::SHA384,
            _ => &ring::digest::SHA512,
        };
        let signature = match self.algorithm {
            22 => mpis(&self.numbers, &[32, 32]),
            27 => Some(self.numbers.clone()),
            _ => None,
        };
        let digest = ring::digest::digest(hash, message);
        signature.is_some_and(|signature| {
            sig::UnparsedPublicKey::new(&sig::ED25519, &key.bytes)
                .verify(digest.as_ref(), &signature)
                .is_ok()
        })
    }
}

/// Numbers with their lengths in bits before them, each brought to its length in bytes.
fn mpis(mut bytes: &[u8], lengths: &[usize]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for length in lengths {
        let number = mpi(&mut bytes)?;
        let padding = length.checked_sub(number.len())?;
        out.extend(std::iter::repeat_n(0, padding));
        out.extend(number);
    }
    bytes.is_empty().then_some(out)
}

/// One number with its length in bits before it, without zeros before its first digit.
pub(crate) fn mpi<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (n_bits, rest) = bytes.split_first_chunk::<2>()?;
    let n_bytes = usize::from(u16::from_be_bytes(*n_bits)).div_ceil(8);
    let (mut number, rest) = rest.split_at_checked(n_bytes)?;
    *bytes = rest;
    while let [0, shorter @ ..] = number {
        number = shorter;
    }
    Some(number)
}

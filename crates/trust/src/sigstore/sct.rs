//! Signed certificate timestamps within a certificate (RFC 6962, section 3).

use super::error::SigstoreError;
use super::root::Log;
use crate::pki::certificate::{Certificate, OID_SCT_LIST};
use crate::pki::der::{self, Der};
use crate::pki::key::Kind;
use crate::pki::{Hash, Key};

/// Most timestamps that are looked at.
const SCTS_MAX: usize = 16;

struct Sct<'a> {
    log_id: &'a [u8],
    /// Milliseconds since the Unix epoch.
    time: u64,
    extensions: &'a [u8],
    algorithms: [u8; 2],
    signature: &'a [u8],
}

/// A vector of TLS with a length of two bytes, and what follows it.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

impl<'a> Sct<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (log_id, rest) = rest.split_at_checked(32)?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (extensions, rest) = vector(rest)?;
        let (algorithms, rest) = rest.split_first_chunk::<2>()?;
        let (signature, rest) = vector(rest)?;
        (*version == 0 && rest.is_empty()).then_some(Self {
            log_id,
            time: u64::from_be_bytes(*time),
            extensions,
            algorithms: *algorithms,
            signature,
        })
    }

    fn verify(&self, tbs: &[u8], issuer: &Key, log: &Log) -> bool {
        let wanted = match log.key.kind() {
            Kind::P256 | Kind::P384 | Kind::P521 => 3,
            Kind::Rsa => 1,
            Kind::Ed25519 => 7,
        };
        let hash = match self.algorithms {
            [4, it] if it == wanted => Hash::Sha256,
            [5, it] if it == wanted => Hash::Sha384,
            _ => return false,
        };
        let mut signed = vec![0, 0];
        signed.extend(self.time.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(Hash::Sha256.of(issuer.spki()));
        signed.extend(tbs.len().to_be_bytes().iter().skip(5));
        signed.extend(tbs);
        signed.extend((self.extensions.len() as u16).to_be_bytes());
        signed.extend(self.extensions);
        log.key.verify(hash, &signed, self.signature)
    }
}

/// Checks that one of `logs` took `leaf`, which `issuer` issued.
pub(crate) fn verify(leaf: &Certificate, issuer: &Key, logs: &[Log]) -> Result<(), SigstoreError> {
    let malformed = || SigstoreError::Sct("is malformed");
    let value = leaf.extension(OID_SCT_LIST).ok_or(SigstoreError::Sct("is missing"))?;
    let mut outer = Der::new(value);
    let list = outer.value(der::OCTET_STRING).map_err(|_| malformed())?;
    outer.end().map_err(|_| malformed())?;
    let (mut list, rest) = vector(list).ok_or_else(malformed)?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    let tbs = leaf.tbs_without_scts().map_err(|_| malformed())?;
    let mut is_known = false;
    for _ in 0..SCTS_MAX {
        if list.is_empty() {
            break;
        }
        let (bytes, rest) = vector(list).ok_or_else(malformed)?;
        list = rest;
        // One of another version is nothing that is known (RFC 6962, section 3.3).
        if bytes.first().is_some_and(|version| *version != 0) {
            continue;
        }
        let sct = Sct::parse(bytes).ok_or_else(malformed)?;
        let seconds = i64::try_from(sct.time / 1000).map_err(|_| malformed())?;
        let known = logs.iter().filter(|log| log.id == sct.log_id && log.period.contains(seconds));
        for log in known {
            is_known = true;
            if sct.verify(&tbs, issuer, log) {
                return Ok(());
            }
        }
    }
    Err(SigstoreError::Sct(if is_known {
        "has a false signature"
    } else {
        "is of no log in the trusted root"
    }))
}

//! Certificate revocation lists (RFC 5280, section 5), from files.

use crate::pki::Certificate;
use crate::pki::der::{self, Der, DerError};
use crate::pki::key::signature_hash;

/// Most certificates of a list.
const ENTRIES_MAX: usize = 1 << 20;
const OID_CRL_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
const OID_DELTA: &[u8] = &[0x55, 0x1d, 0x1b];
const OID_ISSUING_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
const OID_AUTHORITY_ACCESS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];

/// A list that was read; its signature is checked when it is used.
#[derive(Debug, Clone)]
pub(super) struct Crl {
    tbs: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    this_update: i64,
    pub(super) next_update: Option<i64>,
    /// Serial numbers, sorted.
    serials: Vec<Vec<u8>>,
}

/// What is known of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing says where to ask, so that it counts as good; until that second, when a list
    /// begins to say something.
    NoSource(Option<i64>),
    /// No list has it, until the first of them ends or another one begins.
    Good(Option<i64>),
    Revoked,
    /// It says where to ask, and no list that is here answers.
    Unknown,
}

impl Crl {
    /// Reads a list in DER.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DerError> {
        let mut outer = Der::new(bytes);
        let mut parts = outer.sequence()?;
        outer.end()?;
        let tbs = parts.element(der::SEQUENCE)?;
        let algorithm = parts.element(der::SEQUENCE)?;
        let signature = parts.bits()?;
        parts.end()?;
        let mut fields = Der::new(tbs.value);
        if fields.optional(der::INTEGER)?.is_some_and(|version| version.value != [1]) {
            return Err(DerError("a list is not of version 2"));
        }
        if fields.element(der::SEQUENCE)?.raw != algorithm.raw {
            return Err(DerError("a list names two signature algorithms"));
        }
        let issuer = fields.element(der::SEQUENCE)?.raw.to_vec();
        let this_update = fields.time()?;
        let is_time = |tag| matches!(tag, Some(der::UTC_TIME | der::GENERALIZED_TIME));
        let next_update = if is_time(fields.peek()) { Some(fields.time()?) } else { None };
        let mut serials = Vec::new();
        if let Some(list) = fields.optional(der::SEQUENCE)? {
            let mut list = Der::new(list.value);
            while !list.is_empty() {
                if serials.len() == ENTRIES_MAX {
                    return Err(DerError("a list has more than 1,048,576 certificates"));
                }
                let mut entry = list.sequence()?;
                serials.push(der::integer(entry.value(der::INTEGER)?)?.to_vec());
            }
        }
        if let Some(extensions) = fields.optional(der::context(0))? {
            let mut list = Der::new(extensions.value).sequence()?;
            while !list.is_empty() {
                let mut extension = list.sequence()?;
                let oid = extension.value(der::OID)?;
                let is_critical = extension.flag()?;
                // Lists of a part, or of changes, do not say that somebody is not revoked.
                if is_critical || matches!(oid, OID_DELTA | OID_ISSUING_POINT) {
                    return Err(DerError("a list is not a whole one of one authority"));
                }
            }
        }
        fields.end()?;
        serials.sort();
        Ok(Self {
            tbs: tbs.raw.to_vec(),
            algorithm: algorithm.value.to_vec(),
            signature: signature.to_vec(),
            issuer,
            this_update,
            next_update,
            serials,
        })
    }

    #[cfg(test)]
    pub(super) fn begin_at(&mut self, time: i64) {
        self.this_update = time;
    }

    /// Whether it is `issuer`'s.
    fn is_of(&self, issuer: &Certificate) -> bool {
        self.issuer == issuer.subject
            && signature_hash(Der::new(&self.algorithm), issuer.key.kind())
                .is_ok_and(|hash| issuer.key.verify(hash, &self.tbs, &self.signature))
    }
}

/// What the lists say of `certificate`, which `issuer` issued.
pub(super) fn state(
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &[Crl],
    now: i64,
) -> State {
    let (mut is_known, mut until) = (false, None);
    // A list that has ended says nothing any more, and its signature need not be checked.
    let current = lists.iter().filter(|list| list.next_update.is_none_or(|end| now <= end));
    for list in current.filter(|list| list.is_of(issuer)) {
        let end = if list.this_update > now {
            Some(list.this_update - 1)
        } else if list.serials.binary_search(&certificate.serial).is_ok() {
            return State::Revoked;
        } else {
            is_known = true;
            list.next_update
        };
        until = until.into_iter().chain(end).min();
    }
    if is_known {
        return State::Good(until);
    }
    let has_source = certificate.extension(OID_CRL_POINTS).is_some()
        || certificate.extension(OID_AUTHORITY_ACCESS).is_some();
    if has_source { State::Unknown } else { State::NoSource(until) }
}

//! Time stamps of RFC 3161: a CMS SignedData (RFC 5652) over a TSTInfo.

use super::certificate::{Certificate, TIME_STAMPING};
use super::der::{self, Der, DerError};
use super::key::{Hash, OID_RSA, signature_hash};
use super::path::Chain;

/// Largest time stamp, in bytes.
pub(crate) const TIMESTAMP_BYTES_MAX: usize = 64 << 10;
/// Most certificates and attributes that are looked at.
const ITEMS_MAX: usize = 32;

const OID_SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const OID_TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
const OID_CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const OID_MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const OID_SIGNING_CERTIFICATE_V2: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];

/// A time stamp that was read, and not verified.
#[derive(Debug)]
pub(crate) struct TimeStamp<'a> {
    imprint_hash: Hash,
    imprint: &'a [u8],
    /// When, in seconds since the Unix epoch.
    pub(crate) time: i64,
    /// By how much it may be wrong, in whole seconds, rounded up.
    accuracy: i64,
    certificates: Vec<&'a [u8]>,
    signer: Signer<'a>,
}

#[derive(Debug)]
struct Signer<'a> {
    id: SignerId<'a>,
    hash: Hash,
    /// The attributes as a SET, which is the form that is signed.
    attributes: Vec<u8>,
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificate_hash: Option<(Hash, &'a [u8])>,
}

#[derive(Debug)]
enum SignerId<'a> {
    IssuerAndSerial { issuer: &'a [u8], serial: &'a [u8] },
    KeyId(&'a [u8]),
}

/// Why a time stamp proves no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeStampError {
    #[error(transparent)]
    Malformed(#[from] DerError),
    #[error("the time stamp is of another signature")]
    OtherMessage,
    #[error("the time stamp's signature is false")]
    BadSignature,
    #[error("no trusted authority made the time stamp")]
    UnknownAuthority,
    #[error("the time stamp lies outside the validity of its authority")]
    OutsideValidity,
}

impl<'a> TimeStamp<'a> {
    /// Reads a TimeStampResp.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        if bytes.len() > TIMESTAMP_BYTES_MAX {
            return Err(DerError("a time stamp is larger than 64 KiB"));
        }
        let mut outer = Der::new(bytes);
        let mut response = outer.sequence()?;
        outer.end()?;
        if response.sequence()?.unsigned()? > 1 {
            return Err(DerError("a time stamp was not granted"));
        }
        let token = response.element(der::SEQUENCE)?;
        response.end()?;
        Self::parse_token(token.raw)
    }

    /// Reads a TimeStampToken, which is what a response that was granted holds.
    pub(crate) fn parse_token(bytes: &'a [u8]) -> Result<Self, DerError> {
        if bytes.len() > TIMESTAMP_BYTES_MAX {
            return Err(DerError("a time stamp is larger than 64 KiB"));
        }
        let mut outer = Der::new(bytes);
        let mut info = outer.sequence()?;
        outer.end()?;
        if info.value(der::OID)? != OID_SIGNED_DATA {
            return Err(DerError("a time stamp is no signed data"));
        }
        let mut wrapped = info.enter(der::context(0))?;
        info.end()?;
        let mut data = wrapped.sequence()?;
        wrapped.end()?;

        data.unsigned()?;
        data.element(der::SET)?;
        let mut encapsulated = data.sequence()?;
        if encapsulated.value(der::OID)? != OID_TST_INFO {
            return Err(DerError("a time stamp signs something else"));
        }
        let content = encapsulated.enter(der::context(0))?.value(der::OCTET_STRING)?;
        let mut certificates = Vec::new();
        if let Some(set) = data.optional(der::context(0))? {
            let mut set = Der::new(set.value);
            while !set.is_empty() {
                if certificates.len() == ITEMS_MAX {
                    return Err(DerError("a time stamp has more than 32 certificates"));
                }
                certificates.push(set.any()?.raw);
            }
        }
        data.optional(der::context(1))?;
        let mut signers = data.enter(der::SET)?;
        data.end()?;
        let signer = Signer::parse(signers.sequence()?, content)?;
        if !signers.is_empty() {
            return Err(DerError("a time stamp has several signers"));
        }
        let TstInfo { imprint_hash, imprint, time, accuracy } = tst_info(content)?;
        Ok(Self { imprint_hash, imprint, time, accuracy, certificates, signer })
    }

    /// By how much its time may be wrong, in whole seconds.
    pub(crate) fn accuracy_seconds(&self) -> i64 {
        self.accuracy
    }

    /// Whether it says by which certificate it is signed (ESSCertIDv2).
    pub(crate) fn names_certificate(&self) -> bool {
        self.signer.certificate_hash.is_some()
    }

    /// The certificates that it brings, as far as they can be read.
    pub(crate) fn certificates(&self) -> Vec<Certificate> {
        self.certificates.iter().filter_map(|raw| Certificate::parse(raw).ok()).collect()
    }

    /// Whether it is of `message`.
    pub(crate) fn is_of(&self, message: &[u8]) -> bool {
        self.imprint_hash.of(message) == self.imprint
    }

    /// Checks that it is of `message` and that `authority` made it; `leaf` is the
    /// certificate of the authority's signer, unless the time stamp brings it. That `authority`
    /// issued a `leaf` that is given was checked when both were read.
    pub(crate) fn verify(
        &self,
        message: &[u8],
        leaf: Option<&Certificate>,
        authority: &Chain,
    ) -> Result<i64, TimeStampError> {
        if !self.is_of(message) {
            return Err(TimeStampError::OtherMessage);
        }
        let is_given = leaf.is_some();
        let embedded: Vec<Certificate> = match leaf {
            Some(_) => Vec::new(),
            None => self.certificates(),
        };
        let leaf = leaf
            .into_iter()
            .chain(&embedded)
            .find(|it| self.signer.is(it))
            .ok_or(TimeStampError::UnknownAuthority)?;
        if !is_given && !authority.issued(leaf) {
            return Err(TimeStampError::UnknownAuthority);
        }
        // RFC 3161, section 2.3: for time stamps and nothing else, and it says so critically.
        if !leaf.is_only_for(TIME_STAMPING) || !leaf.may_sign() {
            return Err(TimeStampError::UnknownAuthority);
        }
        if !self.signer.verify(leaf)? {
            return Err(TimeStampError::BadSignature);
        }
        if !leaf.is_valid_at(self.time) || !authority.holds_at(self.time, TIME_STAMPING) {
            return Err(TimeStampError::OutsideValidity);
        }
        Ok(self.time)
    }
}

/// What an authority says.
struct TstInfo<'a> {
    imprint_hash: Hash,
    imprint: &'a [u8],
    time: i64,
    accuracy: i64,
}

/// Accuracy where an authority has the baseline policy and says nothing (RFC 3628).
const OID_BASELINE_POLICY: &[u8] = &[0x04, 0x00, 0x8f, 0x67, 0x01, 0x01];

fn accuracy(value: &[u8]) -> Result<i64, DerError> {
    let mut fields = Der::new(value);
    let mut seconds = match fields.peek() {
        Some(der::INTEGER) => {
            i64::try_from(fields.unsigned()?).map_err(|_| DerError("an accuracy is too large"))?
        }
        _ => 0,
    };
    let has_parts = fields.optional(0x80)?.is_some() | fields.optional(0x81)?.is_some();
    fields.end()?;
    seconds = seconds.saturating_add(i64::from(has_parts));
    Ok(seconds)
}

fn tst_info(bytes: &[u8]) -> Result<TstInfo<'_>, DerError> {
    let mut outer = Der::new(bytes);
    let mut info = outer.sequence()?;
    outer.end()?;
    if info.unsigned()? != 1 {
        return Err(DerError("a time stamp is not of version 1"));
    }
    let policy = info.value(der::OID)?;
    let mut imprint = info.sequence()?;
    let hash = Hash::from_algorithm(imprint.sequence()?)?;
    let value = imprint.value(der::OCTET_STRING)?;
    imprint.end()?;
    der::integer(info.value(der::INTEGER)?)?;
    if info.peek() != Some(der::GENERALIZED_TIME) {
        return Err(DerError("a time stamp has no time"));
    }
    let time = info.time()?;
    let accuracy = match info.optional(der::SEQUENCE)? {
        Some(given) => accuracy(given.value)?,
        None => i64::from(policy == OID_BASELINE_POLICY),
    };
    info.flag()?;
    info.optional(der::INTEGER)?;
    info.optional(der::context(0))?;
    // Extensions would change what is said; none is known.
    if info.optional(der::context(1))?.is_some() {
        return Err(DerError("a time stamp has extensions, of which none is known"));
    }
    info.end()?;
    Ok(TstInfo { imprint_hash: hash, imprint: value, time, accuracy })
}

impl<'a> Signer<'a> {
    fn parse(mut info: Der<'a>, content: &[u8]) -> Result<Self, DerError> {
        info.unsigned()?;
        let id = if let Some(key) = info.optional(0x80)? {
            SignerId::KeyId(key.value)
        } else {
            let mut id = info.sequence()?;
            let issuer = id.element(der::SEQUENCE)?.raw;
            let serial = id.value(der::INTEGER)?;
            id.end()?;
            SignerId::IssuerAndSerial { issuer, serial }
        };
        let hash = Hash::from_algorithm(info.sequence()?)?;
        let attributes = info.value(der::context(0))?;
        let algorithm = info.value(der::SEQUENCE)?;
        let signature = info.value(der::OCTET_STRING)?;
        info.optional(der::context(1))?;
        info.end()?;

        let mut list = Der::new(attributes);
        let (mut kind, mut digest, mut certificate_hash) = (None, None, None);
        for _ in 0..ITEMS_MAX {
            if list.is_empty() {
                break;
            }
            let mut attribute = list.sequence()?;
            let oid = attribute.value(der::OID)?;
            let mut values = attribute.enter(der::SET)?;
            attribute.end()?;
            let value = values.any()?;
            let twice = Err(DerError("an attribute stands twice or has several values"));
            match oid {
                OID_CONTENT_TYPE | OID_MESSAGE_DIGEST if !values.is_empty() => return twice,
                OID_CONTENT_TYPE if kind.replace(value.value).is_some() => return twice,
                OID_MESSAGE_DIGEST if digest.replace(value.value).is_some() => return twice,
                OID_SIGNING_CERTIFICATE_V2 => {
                    certificate_hash = Some(certificate_hash_of(value.value)?);
                }
                _ => {}
            }
        }
        list.end()?;
        if kind != Some(OID_TST_INFO) {
            return Err(DerError("a time stamp's attributes are of other content"));
        }
        if digest != Some(hash.of(content).as_slice()) {
            return Err(DerError("a time stamp's content was changed"));
        }
        let attributes = der::wrap(der::SET, attributes);
        Ok(Self { id, hash, attributes, algorithm, signature, certificate_hash })
    }

    /// Whether `certificate` is the one that it names.
    fn is(&self, certificate: &Certificate) -> bool {
        let named = match self.id {
            SignerId::IssuerAndSerial { issuer, serial } => {
                certificate.issuer == issuer && certificate.serial == serial
            }
            SignerId::KeyId(id) => {
                const OID_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
                certificate
                    .extension(OID_KEY_ID)
                    .and_then(|value| Der::new(value).value(der::OCTET_STRING).ok())
                    == Some(id)
            }
        };
        named
            && self.certificate_hash.is_none_or(|(hash, value)| hash.of(certificate.raw()) == value)
    }

    fn verify(&self, leaf: &Certificate) -> Result<bool, DerError> {
        let oid = Der::new(self.algorithm).value(der::OID)?;
        let hash = if oid == OID_RSA {
            self.hash
        } else {
            signature_hash(Der::new(self.algorithm), leaf.key.kind())?
        };
        Ok(leaf.key.verify(hash, &self.attributes, self.signature))
    }
}

/// The first ESSCertIDv2 (RFC 5035): the hash of the signer's certificate.
fn certificate_hash_of(value: &[u8]) -> Result<(Hash, &[u8]), DerError> {
    let mut id = Der::new(value).sequence()?.sequence()?;
    let hash = match id.optional(der::SEQUENCE)? {
        Some(algorithm) => Hash::from_algorithm(Der::new(algorithm.value))?,
        None => Hash::Sha256,
    };
    Ok((hash, id.value(der::OCTET_STRING)?))
}

//! X.509 certificates (RFC 5280), read once.

use super::der::{self, Der, DerError};
use super::key::{Key, signature_hash};

/// Largest certificate, in bytes.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 64 << 10;
/// Most extensions of a certificate.
const EXTENSIONS_MAX: usize = 100;
/// Most alternative names of a certificate.
const NAMES_MAX: usize = 100;

const OID_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const OID_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const OID_BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const OID_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// The SCT list (RFC 6962, section 3.3).
pub(crate) const OID_SCT_LIST: &[u8] =
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];
/// Extended key usage: code signing.
pub(crate) const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// Extended key usage: time stamping.
pub(crate) const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
/// Extended key usage: any.
pub(crate) const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// An extension.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    pub(crate) oid: Vec<u8>,
    is_critical: bool,
    pub(crate) value: Vec<u8>,
}

/// A name in a certificate: what the signer is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// A mail address.
    Email(String),
    /// A URI: a workflow, a workload.
    Uri(String),
    /// A host.
    Dns(String),
    /// Any other name of Fulcio's (1.3.6.1.4.1.57264.1.7).
    Other(String),
}

impl Name {
    /// The text of the name.
    pub fn text(&self) -> &str {
        match self {
            Self::Email(text) | Self::Uri(text) | Self::Dns(text) | Self::Other(text) => text,
        }
    }
}

/// A certificate that was read, and not verified.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    raw: Vec<u8>,
    /// The bytes that are signed, within `raw`.
    tbs: std::ops::Range<usize>,
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    /// First and last second of its validity.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) key: Key,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) is_authority: bool,
    pub(crate) path_length: Option<u64>,
    /// Bits of the key usage, most significant first; `None`: no such extension.
    key_usage: Option<u8>,
    extended_usage: Option<Vec<Vec<u8>>>,
    pub(crate) names: Vec<Name>,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Certificate {
    /// Reads one certificate and nothing after it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DerError> {
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(DerError("a certificate is larger than 64 KiB"));
        }
        let mut outer = Der::new(bytes);
        let whole = outer.element(der::SEQUENCE)?;
        outer.end()?;
        let mut parts = Der::new(whole.value);
        let tbs = parts.element(der::SEQUENCE)?;
        let algorithm = parts.element(der::SEQUENCE)?;
        let signature = parts.bits()?;
        parts.end()?;

        let mut fields = Der::new(tbs.value);
        let version = fields.enter(der::context(0))?.unsigned()?;
        if version != 2 {
            return Err(DerError("a certificate is not of version 3"));
        }
        let serial = der::integer(fields.value(der::INTEGER)?)?;
        if fields.element(der::SEQUENCE)?.raw != algorithm.raw {
            return Err(DerError("a certificate names two signature algorithms"));
        }
        let issuer = fields.element(der::SEQUENCE)?;
        let mut validity = fields.sequence()?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        validity.end()?;
        let subject = fields.element(der::SEQUENCE)?;
        let key = Key::from_spki(fields.element(der::SEQUENCE)?.raw)?;
        fields.optional(0x81)?;
        fields.optional(0x82)?;
        let extensions = fields.optional(der::context(3))?;
        fields.end()?;

        let start = whole.raw.len() - whole.value.len();
        let mut this = Self {
            raw: bytes.to_vec(),
            tbs: start..start + tbs.raw.len(),
            serial: serial.to_vec(),
            issuer: issuer.raw.to_vec(),
            subject: subject.raw.to_vec(),
            not_before,
            not_after,
            key,
            algorithm: algorithm.value.to_vec(),
            signature: signature.to_vec(),
            extensions: Vec::new(),
            is_authority: false,
            path_length: None,
            key_usage: None,
            extended_usage: None,
            names: Vec::new(),
        };
        if let Some(extensions) = extensions {
            let mut outer = Der::new(extensions.value);
            this.read_extensions(outer.sequence()?)?;
            outer.end()?;
        }
        Ok(this)
    }

    /// The certificate as it stands.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// What its issuer signed.
    pub(crate) fn tbs(&self) -> &[u8] {
        self.raw.get(self.tbs.clone()).unwrap_or_default()
    }

    fn read_extensions(&mut self, mut list: Der<'_>) -> Result<(), DerError> {
        while !list.is_empty() {
            if self.extensions.len() == EXTENSIONS_MAX {
                return Err(DerError("a certificate has more than 100 extensions"));
            }
            let mut extension = list.sequence()?;
            let oid = extension.value(der::OID)?;
            let is_critical = extension.flag()?;
            let value = extension.value(der::OCTET_STRING)?;
            extension.end()?;
            if self.extensions.iter().any(|other| other.oid == oid) {
                return Err(DerError("an extension stands twice"));
            }
            if !self.read_extension(oid, value)? && is_critical {
                return Err(DerError("a critical extension is not known"));
            }
            self.extensions.push(Extension {
                oid: oid.to_vec(),
                is_critical,
                value: value.to_vec(),
            });
        }
        Ok(())
    }

    /// Whether the extension is one whose meaning is heeded.
    fn read_extension(&mut self, oid: &[u8], value: &[u8]) -> Result<bool, DerError> {
        let mut outer = Der::new(value);
        match oid {
            OID_BASIC_CONSTRAINTS => {
                let mut fields = outer.sequence()?;
                self.is_authority = fields.flag()?;
                if !fields.is_empty() {
                    self.path_length = Some(fields.unsigned()?);
                }
                fields.end()?;
            }
            OID_KEY_USAGE => match outer.value(der::BIT_STRING)? {
                [0..=7, bits, ..] => self.key_usage = Some(*bits),
                _ => return Err(DerError("a key usage has no bits")),
            },
            OID_EXTENDED_KEY_USAGE => {
                let mut list = outer.sequence()?;
                let mut usages = Vec::new();
                while !list.is_empty() && usages.len() < EXTENSIONS_MAX {
                    usages.push(list.value(der::OID)?.to_vec());
                }
                list.end()?;
                self.extended_usage = Some(usages);
            }
            OID_ALTERNATIVE_NAME => {
                let mut list = outer.sequence()?;
                while !list.is_empty() {
                    if self.names.len() == NAMES_MAX {
                        return Err(DerError("a certificate has more than 100 names"));
                    }
                    let name = list.any()?;
                    self.names.extend(alternative_name(name)?);
                }
            }
            _ => return Ok(false),
        }
        outer.end()?;
        Ok(true)
    }

    /// The value of an extension.
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<&[u8]> {
        self.extensions.iter().find(|it| it.oid == oid).map(|it| it.value.as_slice())
    }

    /// Whether it has the extension, and says that it must be understood.
    pub(crate) fn is_critical(&self, oid: &[u8]) -> bool {
        self.extensions.iter().any(|it| it.oid == oid && it.is_critical)
    }

    /// Whether its extended key usage names that very usage.
    pub(crate) fn names_usage(&self, usage: &[u8]) -> bool {
        self.extended_usage.as_ref().is_some_and(|all| all.iter().any(|one| one == usage))
    }

    /// Whether its extended key usage is critical, and names `usage` and nothing else.
    pub(crate) fn is_only_for(&self, usage: &[u8]) -> bool {
        self.is_critical(OID_EXTENDED_KEY_USAGE)
            && self
                .extended_usage
                .as_deref()
                .is_some_and(|all| matches!(all, [one] if one == usage))
    }

    /// Whether it may sign certificates.
    pub(crate) fn may_issue(&self) -> bool {
        const KEY_CERT_SIGN: u8 = 0x04;
        self.is_authority && self.key_usage.is_none_or(|bits| bits & KEY_CERT_SIGN != 0)
    }

    /// Whether it may sign messages.
    pub(crate) fn may_sign(&self) -> bool {
        const DIGITAL_SIGNATURE: u8 = 0x80;
        self.key_usage.is_none_or(|bits| bits & DIGITAL_SIGNATURE != 0)
    }

    /// Whether its extended key usage names `usage`. `None`: it has none.
    pub(crate) fn has_usage(&self, usage: &[u8]) -> Option<bool> {
        self.extended_usage
            .as_ref()
            .map(|all| all.iter().any(|one| one == usage || one == ANY_USAGE))
    }

    /// Whether `time` lies in its validity, both ends included.
    pub(crate) fn is_valid_at(&self, time: i64) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }

    /// Whether `issuer`'s key made its signature.
    pub(crate) fn is_signed_by(&self, issuer: &Key) -> bool {
        signature_hash(Der::new(&self.algorithm), issuer.kind())
            .is_ok_and(|hash| issuer.verify(hash, self.tbs(), &self.signature))
    }

    /// What the issuer signed without the SCTs: the form that a certificate transparency
    /// log signs (RFC 6962, section 3.2).
    pub(crate) fn tbs_without_scts(&self) -> Result<Vec<u8>, DerError> {
        let mut outer = Der::new(self.tbs());
        let mut fields = outer.sequence()?;
        let mut out = Vec::new();
        while !fields.is_empty() {
            let field = fields.any()?;
            if field.tag != der::context(3) {
                out.extend_from_slice(field.raw);
                continue;
            }
            let mut list = Der::new(field.value).sequence()?;
            let mut kept = Vec::new();
            while !list.is_empty() {
                let extension = list.any()?;
                if Der::new(extension.value).value(der::OID)? != OID_SCT_LIST {
                    kept.extend_from_slice(extension.raw);
                }
            }
            if !kept.is_empty() {
                out.extend(der::wrap(der::context(3), &der::wrap(der::SEQUENCE, &kept)));
            }
        }
        Ok(der::wrap(der::SEQUENCE, &out))
    }
}

/// The name, if it is of a kind that signers are called by.
fn alternative_name(name: der::Element<'_>) -> Result<Option<Name>, DerError> {
    let text = |value: &[u8]| {
        let text = std::str::from_utf8(value).map_err(|_| DerError("a name is not UTF-8"))?;
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(DerError("a name is empty or has a control character"));
        }
        Ok(text.to_string())
    };
    Ok(match name.tag {
        0x81 => Some(Name::Email(text(name.value)?)),
        0x82 => Some(Name::Dns(text(name.value)?)),
        0x86 => Some(Name::Uri(text(name.value)?)),
        0xa0 => {
            let mut fields = Der::new(name.value);
            let oid = fields.value(der::OID)?;
            let mut value = fields.enter(der::context(0))?;
            fields.end()?;
            // Fulcio's user names; others are not ours to read.
            if oid == crate::sigstore::identity::OID_OTHER_NAME {
                Some(Name::Other(text(value.value(der::UTF8_STRING)?)?))
            } else {
                None
            }
        }
        _ => None,
    })
}

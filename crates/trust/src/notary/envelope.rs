//! What a signature envelope says, whatever its form.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::NotaryError as Error;
use super::{cose, jws};
use crate::jose::Algorithm;
use crate::json;
use crate::pki::Certificate;
use crate::pki::key::Kind;

/// Largest envelope, in bytes (notation's own limit is 4 MiB for all that it reads).
pub const ENVELOPE_BYTES_MAX: u64 = 4 << 20;
/// Longest chain.
pub(super) const CHAIN_MAX: usize = 8;

/// The form of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeKind {
    /// JSON Web Signature, flattened.
    Jws,
    /// COSE_Sign1, tagged.
    Cose,
}

impl EnvelopeKind {
    /// Media type of the layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jws => "application/jose+json",
            Self::Cose => "application/cose",
        }
    }

    /// The kind of a media type.
    pub fn of(media_type: &str) -> Option<Self> {
        [Self::Jws, Self::Cose].into_iter().find(|kind| kind.media_type() == media_type)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jws => "JWS",
            Self::Cose => "COSE",
        }
    }
}

/// How the time of a signature is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The signer's own word, which counts for nothing.
    X509,
    /// A signing authority's word, in seconds since the Unix epoch.
    SigningAuthority(i64),
}

/// What the signed header says, as both forms have it.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) algorithm: Option<Algorithm>,
    pub(super) content_type: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) signing_time: Option<i64>,
    pub(super) authentic_time: Option<i64>,
    pub(super) expiry: Option<i64>,
    pub(super) critical: Vec<String>,
    pub(super) plugin: Option<String>,
}

/// An envelope that was read, and not verified.
#[derive(Debug)]
pub struct Envelope {
    kind: EnvelopeKind,
    pub(super) scheme: Scheme,
    /// When the signer says that it was made.
    pub(super) signing_time: Option<i64>,
    pub(super) expiry: Option<i64>,
    pub(super) plugin: Option<String>,
    /// From the signer's to the root.
    pub(super) chain: Vec<Certificate>,
    algorithm: Algorithm,
    /// The bytes that are signed.
    message: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) payload: Payload,
    /// A time stamp over the signature.
    pub(super) timestamp: Option<Vec<u8>>,
}

/// The parts that a form gives.
pub(super) struct Parts {
    pub(super) header: Header,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) message: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) timestamp: Option<Vec<u8>>,
}

/// What is signed.
#[derive(Debug, Deserialize)]
pub(super) struct Payload {
    #[serde(rename = "targetArtifact")]
    pub(super) target: Artifact,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Artifact {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: Map<String, Value>,
}

pub(super) mod names {
    pub(crate) const SCHEME: &str = "io.cncf.notary.signingScheme";
    pub(crate) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
    pub(crate) const AUTHENTIC_TIME: &str = "io.cncf.notary.authenticSigningTime";
    pub(crate) const EXPIRY: &str = "io.cncf.notary.expiry";
    pub(crate) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
    pub(crate) const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
    pub(crate) const AGENT: &str = "io.cncf.notary.signingAgent";
    pub(crate) const X509: &str = "notary.x509";
    pub(crate) const AUTHORITY: &str = "notary.x509.signingAuthority";
}

/// The one algorithm that the specification has for a key.
pub(super) fn algorithm_of(certificate: &Certificate) -> Option<Algorithm> {
    match certificate.key.kind() {
        Kind::P256 => Some(Algorithm::Es256),
        Kind::P384 => Some(Algorithm::Es384),
        Kind::P521 => Some(Algorithm::Es512),
        Kind::Rsa => match certificate.key.rsa_numbers()?.0.len() * 8 {
            2048 => Some(Algorithm::Ps256),
            3072 => Some(Algorithm::Ps384),
            4096 => Some(Algorithm::Ps512),
            _ => None,
        },
        Kind::Ed25519 => None,
    }
}

impl Envelope {
    /// Reads an envelope and checks its form.
    pub fn parse(kind: EnvelopeKind, bytes: &[u8]) -> Result<Self, Error> {
        let wrong =
            |problem: &str| Error::Malformed { kind: kind.name(), problem: problem.to_string() };
        if bytes.len() as u64 > ENVELOPE_BYTES_MAX {
            return Err(wrong("it is larger than 4 MiB"));
        }
        let parts = match kind {
            EnvelopeKind::Jws => jws::parse(bytes),
            EnvelopeKind::Cose => cose::parse(bytes),
        }
        .map_err(|problem| wrong(&problem))?;
        let header = parts.header;
        if header.content_type.as_deref() != Some(super::PAYLOAD_TYPE) {
            return Err(wrong("its content type is not that of the Notary Project"));
        }
        let scheme = match header.scheme.as_deref() {
            Some(names::X509) if header.authentic_time.is_none() => {
                header.signing_time.ok_or_else(|| wrong("it has no signing time"))?;
                Scheme::X509
            }
            Some(names::AUTHORITY) if header.signing_time.is_none() => Scheme::SigningAuthority(
                header.authentic_time.ok_or_else(|| wrong("it has no authentic signing time"))?,
            ),
            Some(names::X509 | names::AUTHORITY) => {
                return Err(wrong("it has the time of another signing scheme"));
            }
            _ => return Err(wrong("its signing scheme is unknown")),
        };
        // What must be understood must be said to be critical, and nothing else is known.
        let critical = |name: &str| header.critical.iter().any(|one| one == name);
        let demanded = [
            (names::SCHEME, true),
            (names::AUTHENTIC_TIME, header.authentic_time.is_some()),
            (names::EXPIRY, header.expiry.is_some()),
        ];
        if demanded.iter().any(|(name, is_there)| *is_there != critical(name)) {
            return Err(wrong("its critical members are not those that it has"));
        }
        if let Some(unknown) = header
            .critical
            .iter()
            .find(|one| !demanded.iter().any(|(name, _)| one == name) && *one != names::PLUGIN)
        {
            let shown: String = unknown.chars().take(100).collect();
            return Err(wrong(&format!("its critical member `{shown}` is not known")));
        }
        if parts.chain.is_empty() || parts.chain.len() > CHAIN_MAX {
            return Err(wrong("its chain has not 1 to 8 certificates"));
        }
        let chain = parts.chain.iter().enumerate().map(|(index, raw)| {
            Certificate::parse(raw)
                .map_err(|error| Error::Certificate { index, problem: error.to_string() })
        });
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        // The key decides which algorithm it is, and the header must say the same.
        let algorithm = chain.first().and_then(algorithm_of).ok_or_else(|| Error::Certificate {
            index: 0,
            problem: "its key is of no kind or size that may sign".into(),
        })?;
        if header.algorithm != Some(algorithm) {
            return Err(wrong("its algorithm is not that of the signer's key"));
        }
        let payload: Payload = json::parse(&parts.payload, ENVELOPE_BYTES_MAX)
            .map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            kind,
            scheme,
            signing_time: header.signing_time,
            expiry: header.expiry,
            plugin: header.plugin,
            chain,
            algorithm,
            message: parts.message,
            signature: parts.signature,
            payload,
            timestamp: parts.timestamp,
        })
    }

    /// Its form.
    pub fn kind(&self) -> EnvelopeKind {
        self.kind
    }

    /// When the signer says that it was made, in seconds since the Unix epoch: a claim that
    /// nothing proves. A signing authority's word is another thing.
    pub fn claimed_time(&self) -> Option<i64> {
        self.signing_time
    }

    /// Whether the key of the signer's certificate made the signature.
    pub(super) fn is_signed(&self) -> bool {
        self.chain
            .first()
            .is_some_and(|it| self.algorithm.verify(&it.key, &self.message, &self.signature))
    }
}

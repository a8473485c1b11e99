//! The forms of a PK token: compact and JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha3::{Digest as _, Sha3_256};

use super::error::OpenPubkeyError as Error;
use crate::jose::{self, base64url, to_base64url};
use crate::json;

/// Largest PK token, in bytes.
pub const PK_TOKEN_BYTES_MAX: usize = 256 << 10;
/// Signatures of a token: provider, signer, cosigner.
const SIGNATURES_MAX: usize = 3;

/// Who made a signature of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Provider { is_key_bound: bool },
    Signer,
    Cosigner,
}

/// One signature over the payload.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The protected header as it stands: what is signed.
    pub(super) header_text: String,
    pub(super) header: Map<String, Value>,
    pub(super) signature_text: String,
    pub(super) signature: Vec<u8>,
    /// Members that nothing signs; kept for the hash of the token.
    public: Option<Map<String, Value>>,
}

impl Part {
    /// What is signed: `header.payload`.
    pub(super) fn message(&self, payload: &str) -> Vec<u8> {
        format!("{}.{payload}", self.header_text).into_bytes()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }
}

/// A PK token that was read, and not verified.
#[derive(Debug, Clone)]
pub struct PkToken {
    /// The claims as they stand, in Base64 of URLs.
    pub(super) payload_text: String,
    pub(super) claims: Map<String, Value>,
    pub(super) provider: Part,
    pub(super) is_key_bound: bool,
    pub(super) signer: Part,
    pub(super) cosigner: Option<Part>,
    /// A later ID token of the same person, compact.
    pub(super) refreshed: Option<String>,
    /// What signed messages may call this token.
    pub(super) hashes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    payload: String,
    signatures: Vec<RawPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPart {
    protected: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<Map<String, Value>>,
    signature: String,
}

fn malformed(problem: &str) -> Error {
    Error::Malformed(problem.to_string())
}

/// SHA3-256 in Base64 of URLs: how OpenPubkey names and commits to things.
pub(super) fn sha3(bytes: &[u8]) -> String {
    to_base64url(&Sha3_256::digest(bytes))
}

impl PkToken {
    /// Reads a token in its compact form (`payload:header:signature:…[.refreshed ID token]`)
    /// or as JSON.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > PK_TOKEN_BYTES_MAX {
            return Err(malformed("it is larger than 256 KiB"));
        }
        let text = text.trim();
        if text.starts_with('{') { Self::from_json(text) } else { Self::from_compact(text) }
    }

    fn from_json(text: &str) -> Result<Self, Error> {
        let raw: RawToken = json::parse(text.as_bytes(), PK_TOKEN_BYTES_MAX as u64)
            .map_err(|source| Error::Json("PK token", source))?;
        let mut this = Self::from_raw(raw, None)?;
        let own = sha3(text.as_bytes());
        if !this.hashes.contains(&own) {
            this.hashes.push(own);
        }
        Ok(this)
    }

    fn from_compact(text: &str) -> Result<Self, Error> {
        let (tokens, refreshed) = match text.split_once('.') {
            Some((tokens, rest)) => (tokens, Some(rest)),
            None => (text, None),
        };
        if refreshed.is_some_and(|rest| jose::split_compact(rest).is_none()) {
            return Err(malformed("what follows its first point is no ID token"));
        }
        let mut parts = tokens.split(':');
        let payload = parts.next().unwrap_or_default().to_string();
        let mut signatures = Vec::new();
        while let Some(protected) = parts.next() {
            let signature = parts.next().ok_or_else(|| malformed("a header has no signature"))?;
            if signatures.len() == SIGNATURES_MAX {
                return Err(malformed("it has more than three signatures"));
            }
            signatures.push(RawPart {
                protected: protected.to_string(),
                header: None,
                signature: signature.to_string(),
            });
        }
        Self::from_raw(RawToken { payload, signatures }, refreshed.map(str::to_string))
    }

    fn from_raw(raw: RawToken, refreshed: Option<String>) -> Result<Self, Error> {
        if raw.signatures.len() > SIGNATURES_MAX {
            return Err(malformed("it has more than three signatures"));
        }
        let payload = base64url(&raw.payload)
            .ok_or_else(|| malformed("its payload is not Base64 of URLs"))?;
        let claims: Map<String, Value> = json::parse(&payload, PK_TOKEN_BYTES_MAX as u64)
            .map_err(|source| Error::Json("payload of the PK token", source))?;
        let (mut provider, mut signer, mut cosigner) = (None, None, None);
        let mut bound = false;
        for raw in raw.signatures {
            let (role, part) = Part::read(raw)?;
            let slot = match role {
                Role::Provider { is_key_bound } => {
                    bound = is_key_bound;
                    &mut provider
                }
                Role::Signer => &mut signer,
                Role::Cosigner => &mut cosigner,
            };
            if slot.replace(part).is_some() {
                return Err(malformed("it has two signatures of the same kind"));
            }
        }
        let mut this = Self {
            payload_text: raw.payload,
            claims,
            provider: provider.ok_or_else(|| malformed("it has no signature of a provider"))?,
            is_key_bound: bound,
            signer: signer.ok_or_else(|| malformed("it has no signature of the signer (CIC)"))?,
            cosigner,
            refreshed,
            hashes: Vec::new(),
        };
        this.hashes.push(sha3(this.to_json().as_bytes()));
        Ok(this)
    }

    /// The token as JSON, in the form over which signed messages hash it.
    pub fn to_json(&self) -> String {
        let raw = RawToken {
            payload: self.payload_text.clone(),
            signatures: self.parts().map(Part::to_raw).collect(),
        };
        // Strings and maps with string keys: this serialisation cannot fail.
        serde_json::to_string(&raw).unwrap_or_default()
    }

    /// The token in its compact form.
    pub fn to_compact(&self) -> String {
        let mut out = self.payload_text.clone();
        for part in self.parts() {
            out.extend([":", &part.header_text, ":", &part.signature_text]);
        }
        if let Some(refreshed) = &self.refreshed {
            out.extend([".", refreshed]);
        }
        out
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        [Some(&self.provider), Some(&self.signer), self.cosigner.as_ref()].into_iter().flatten()
    }

    /// What signed messages call this token: SHA3-256 of its JSON form.
    pub fn hash(&self) -> &str {
        self.hashes.first().map_or("", String::as_str)
    }
}

impl Part {
    fn read(raw: RawPart) -> Result<(Role, Self), Error> {
        let header = jose::header(&raw.protected)
            .map_err(|source| Error::Json("header of the PK token", source))?;
        let role = match header.get("typ") {
            // Some providers leave it out.
            None => Role::Provider { is_key_bound: false },
            Some(Value::String(typ)) => match typ.as_str() {
                "CIC" => Role::Signer,
                "COS" => Role::Cosigner,
                "dpop+id_token" => Role::Provider { is_key_bound: true },
                "JWT" => Role::Provider { is_key_bound: false },
                typ if typ.eq_ignore_ascii_case("at+jwt") => Role::Provider { is_key_bound: false },
                _ => return Err(malformed("a signature is of an unknown type")),
            },
            Some(_) => return Err(malformed("the type of a signature is no text")),
        };
        // `crit` demands that what it names is understood; nothing is.
        if header.contains_key("crit") {
            return Err(malformed("a header demands extensions that are not known"));
        }
        let signature = base64url(&raw.signature)
            .ok_or_else(|| malformed("a signature is not Base64 of URLs"))?;
        Ok((
            role,
            Self {
                header_text: raw.protected,
                header,
                signature_text: raw.signature,
                signature,
                public: raw.header,
            },
        ))
    }

    fn to_raw(&self) -> RawPart {
        RawPart {
            protected: self.header_text.clone(),
            header: self.public.clone(),
            signature: self.signature_text.clone(),
        }
    }
}

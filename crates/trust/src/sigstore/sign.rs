//! Keyless signatures of our own: what is asked of the authority, the log and the authority
//! of time, and the bundle that their answers make. Nothing is sent here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Digest, Explain};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::bundle::BUNDLE_MEDIA_TYPE;
use crate::dsse;
use crate::json::{self, JsonError};
use crate::key::{KeyError, PrivateKey};
use crate::pem;
use crate::pki::der;
use crate::pki::timestamp::TimeStamp;
use crate::pki::{Certificate, DerError};

/// Largest answer of a service, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Largest signing configuration, in bytes.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;
const CONFIGURATION_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";

/// Why no keyless signature was made of what services answered.
#[derive(Debug, thiserror::Error)]
pub enum KeylessError {
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An answer, or the configuration, is not what it must be.
    #[error("{service}: {problem}")]
    Answer {
        /// Who answered.
        service: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Explain for KeylessError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::Answer { .. } => {
                Some("check the URLs of the services, and that they are of one instance".into())
            }
        }
    }
}

fn wrong(service: &'static str) -> impl Fn(&str) -> KeylessError {
    move |problem| KeylessError::Answer { service, problem: problem.to_string() }
}

fn parse<T: serde::de::DeserializeOwned>(
    service: &'static str,
    bytes: &[u8],
) -> Result<T, KeylessError> {
    json::parse(bytes, ANSWER_BYTES_MAX)
        .map_err(|error: JsonError| wrong(service)(&error.to_string()))
}

/// The services that sign: their URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SigningConfig {
    /// Certificate authority (Fulcio).
    pub authority: String,
    /// Provider of ID tokens.
    pub provider: Option<String>,
    /// Logs, with the version of their interface: 1 or 2.
    pub logs: Vec<(String, u32)>,
    /// Authorities of time.
    pub timestamps: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    media_type: String,
    #[serde(default)]
    ca_urls: Vec<RawService>,
    #[serde(default)]
    oidc_urls: Vec<RawService>,
    #[serde(default)]
    rekor_tlog_urls: Vec<RawService>,
    #[serde(default)]
    tsa_urls: Vec<RawService>,
    #[serde(default)]
    rekor_tlog_config: RawSelection,
    #[serde(default)]
    tsa_config: RawSelection,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawService {
    url: String,
    major_api_version: u32,
    #[serde(default)]
    valid_for: Option<RawPeriod>,
}

#[derive(Deserialize)]
struct RawPeriod {
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    end: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawSelection {
    #[serde(default)]
    selector: String,
    #[serde(default)]
    count: usize,
}

impl RawService {
    fn is_valid_at(&self, now: i64) -> bool {
        let seconds = |text: &Option<String>| match text {
            None => Some(None),
            Some(text) => text.parse::<jiff::Timestamp>().ok().map(|t| Some(t.as_second())),
        };
        let Some(period) = &self.valid_for else { return true };
        match (seconds(&period.start), seconds(&period.end)) {
            (Some(start), Some(end)) => {
                start.is_none_or(|start| start <= now) && end.is_none_or(|end| now <= end)
            }
            _ => false,
        }
    }
}

impl SigningConfig {
    /// Reads a `signing_config.json` of the version 0.2 and chooses the services that are
    /// valid at `now` and whose interface is known, the newest versions first.
    pub fn parse(bytes: &[u8], now: i64) -> Result<Self, KeylessError> {
        let wrong = wrong("signing configuration");
        let raw: RawConfig = json::parse(bytes, CONFIGURATION_BYTES_MAX)
            .map_err(|error: JsonError| wrong(&error.to_string()))?;
        if raw.media_type != CONFIGURATION_MEDIA_TYPE {
            return Err(wrong("it is not of the version 0.2"));
        }
        let choose = |services: &[RawService], versions: &[u32]| {
            let mut found: Vec<(String, u32)> = services
                .iter()
                .filter(|it| versions.contains(&it.major_api_version) && it.is_valid_at(now))
                .map(|it| (it.url.trim_end_matches('/').to_string(), it.major_api_version))
                .collect();
            // One version for all, the newest.
            let newest = found.iter().map(|it| it.1).max();
            found.retain(|it| Some(it.1) == newest);
            found
        };
        let select = |mut found: Vec<(String, u32)>, selection: &RawSelection, what: &str| {
            let n = match selection.selector.as_str() {
                "ALL" => found.len(),
                "EXACT" => selection.count,
                "" | "ANY" | "SERVICE_SELECTOR_UNDEFINED" => found.len().min(1),
                _ => return Err(wrong(&format!("the selector for {what} is unknown"))),
            };
            if found.len() < n {
                return Err(wrong(&format!("it wants {n} {what} and has {}", found.len())));
            }
            found.truncate(n);
            Ok(found)
        };
        let timestamps = select(choose(&raw.tsa_urls, &[1]), &raw.tsa_config, "time authorities")?;
        Ok(Self {
            authority: choose(&raw.ca_urls, &[1])
                .into_iter()
                .next()
                .ok_or_else(|| wrong("it names no certificate authority that is valid now"))?
                .0,
            provider: choose(&raw.oidc_urls, &[1]).into_iter().next().map(|it| it.0),
            logs: select(choose(&raw.rekor_tlog_urls, &[1, 2]), &raw.rekor_tlog_config, "logs")?,
            timestamps: timestamps.into_iter().map(|it| it.0).collect(),
        })
    }
}

/// A key for one signature, and in the end its certificate.
#[derive(Debug)]
pub struct KeylessSigner {
    key: PrivateKey,
}

/// A signature that waits for the words of logs and authorities of time.
#[derive(Debug)]
pub struct KeylessSignature {
    certificate: Vec<u8>,
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signed: Digest,
    entries: Vec<Value>,
    timestamps: Vec<Vec<u8>>,
}

impl KeylessSigner {
    /// A new key.
    pub fn generate() -> Result<Self, KeylessError> {
        Ok(Self { key: PrivateKey::generate()? })
    }

    /// The body of a request to `/api/v2/signingCert` of an authority: the token, and a
    /// certificate request (PKCS #10) that proves the key.
    pub fn certificate_request(&self, id_token: &str) -> Result<Vec<u8>, KeylessError> {
        let request = pem::encode("CERTIFICATE REQUEST", &self.csr()?);
        let body = json!({
            "credentials": {"oidcIdentityToken": id_token},
            "certificateSigningRequest": STANDARD.encode(request.as_bytes()),
        });
        Ok(body.to_string().into_bytes())
    }

    /// RFC 2986, without a name: the authority takes it from the token.
    fn csr(&self) -> Result<Vec<u8>, KeyError> {
        const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
        let info = [
            der::wrap(der::INTEGER, &[0]),
            der::wrap(der::SEQUENCE, &[]),
            self.key.public().der().to_vec(),
            der::wrap(der::context(0), &[]),
        ];
        let info = der::wrap(der::SEQUENCE, &info.concat());
        let signature = self.key.sign(&Digest::of(&info))?;
        let algorithm = der::wrap(der::SEQUENCE, &der::wrap(der::OID, ECDSA_SHA256));
        let bits = der::wrap(der::BIT_STRING, &[&[0], &signature[..]].concat());
        Ok(der::wrap(der::SEQUENCE, &[info, algorithm, bits].concat()))
    }

    /// Reads the authority's answer, and signs `payload` in an envelope.
    pub fn sign(
        &self,
        answer: &[u8],
        payload_type: &str,
        payload: Vec<u8>,
    ) -> Result<KeylessSignature, KeylessError> {
        #[derive(Deserialize)]
        struct Chain {
            certificates: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Signed {
            chain: Chain,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            #[serde(default)]
            signed_certificate_embedded_sct: Option<Signed>,
        }
        let wrong = wrong("certificate authority");
        let answer: Answer = parse("certificate authority", answer)?;
        let chain = answer
            .signed_certificate_embedded_sct
            .ok_or_else(|| wrong("it gave no certificate with an SCT in it"))?
            .chain;
        let leaf = chain.certificates.first().ok_or_else(|| wrong("it gave no certificate"))?;
        let raw = match pem::decode(leaf) {
            Some(("CERTIFICATE", raw)) => raw.to_vec(),
            _ => return Err(wrong("its certificate is no PEM")),
        };
        let certificate = Certificate::parse(&raw).map_err(|error| wrong(&error.to_string()))?;
        if certificate.key.spki() != self.key.public().der() {
            return Err(wrong("its certificate is of another key"));
        }
        let signed = dsse::signed_digest(payload_type, &payload);
        Ok(KeylessSignature {
            certificate: raw,
            signature: self.key.sign(&signed)?,
            payload_type: payload_type.to_string(),
            payload,
            signed,
            entries: Vec::new(),
            timestamps: Vec::new(),
        })
    }
}

impl KeylessSignature {
    /// When the certificate is valid, in seconds since the Unix epoch.
    pub fn validity(&self) -> Option<(i64, i64)> {
        let certificate = Certificate::parse(&self.certificate).ok()?;
        Some((certificate.not_before, certificate.not_after))
    }

    fn envelope(&self) -> Value {
        json!({
            "payload": STANDARD.encode(&self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"sig": STANDARD.encode(&self.signature)}],
        })
    }

    /// The body of a request to a log: to `/api/v1/log/entries` for the version 1, to
    /// `/api/v2/log/entries` for the version 2.
    pub fn log_request(&self, version: u32) -> Vec<u8> {
        let body = if version == 1 {
            let certificate = pem::encode("CERTIFICATE", &self.certificate);
            json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": {
                "envelope": self.envelope().to_string(),
                "verifiers": [STANDARD.encode(certificate.as_bytes())],
            }}})
        } else {
            // The log takes envelopes as the signature of what was signed (rekor-tiles,
            // CLIENTS.md).
            json!({"hashedRekordRequestV002": {
                "digest": STANDARD.encode(self.signed.as_bytes()),
                "signature": {
                    "content": STANDARD.encode(&self.signature),
                    "verifier": {
                        "x509Certificate": {"rawBytes": STANDARD.encode(&self.certificate)},
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    },
                },
            }})
        };
        body.to_string().into_bytes()
    }

    /// Takes a log's answer. Whether it holds is checked with the bundle.
    pub fn add_entry(&mut self, version: u32, answer: &[u8]) -> Result<(), KeylessError> {
        let entry =
            if version == 1 { entry_of_v1(answer)? } else { parse::<Value>("log", answer)? };
        if !entry.is_object() {
            return Err(wrong("log")("it gave no entry"));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// A request to an authority of time, over the signature.
    pub fn timestamp_request(&self) -> Result<Vec<u8>, KeylessError> {
        Ok(timestamp_request(&self.signature)?)
    }

    /// Takes an authority's answer, which must be a time stamp of the signature.
    pub fn add_timestamp(&mut self, answer: Vec<u8>) -> Result<(), KeylessError> {
        let wrong = wrong("time authority");
        let stamp = TimeStamp::parse(&answer).map_err(|error| wrong(&error.to_string()))?;
        if !stamp.is_of(&self.signature) {
            return Err(wrong("it gave a time stamp of something else"));
        }
        self.timestamps.push(answer);
        Ok(())
    }

    /// The bundle, version 0.3.
    pub fn bundle(&self) -> Vec<u8> {
        let mut material = Map::new();
        material
            .insert("certificate".into(), json!({"rawBytes": STANDARD.encode(&self.certificate)}));
        material.insert("tlogEntries".into(), Value::Array(self.entries.clone()));
        if !self.timestamps.is_empty() {
            let all: Vec<Value> = self
                .timestamps
                .iter()
                .map(|it| json!({"signedTimestamp": STANDARD.encode(it)}))
                .collect();
            material.insert("timestampVerificationData".into(), json!({"rfc3161Timestamps": all}));
        }
        json!({
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": self.envelope(),
        })
        .to_string()
        .into_bytes()
    }
}

/// A TimeStampReq (RFC 3161, section 2.4.1) over `message`, with SHA-256, a nonce, and the
/// wish for the authority's certificates.
pub fn timestamp_request(message: &[u8]) -> Result<Vec<u8>, KeyError> {
    const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| KeyError::NoRandomness(error.to_string()))?;
    // Positive, and not shorter than it looks.
    nonce[0] = nonce[0] & 0x3f | 0x40;
    let algorithm =
        der::wrap(der::SEQUENCE, &[der::wrap(der::OID, SHA256), vec![0x05, 0x00]].concat());
    let imprint = der::wrap(der::OCTET_STRING, Digest::of(message).as_bytes());
    let request = [
        der::wrap(der::INTEGER, &[1]),
        der::wrap(der::SEQUENCE, &[algorithm, imprint].concat()),
        der::wrap(der::INTEGER, &nonce),
        der::wrap(der::BOOLEAN, &[0xff]),
    ];
    Ok(der::wrap(der::SEQUENCE, &request.concat()))
}

/// The token within a TimeStampResp over `message`, as envelopes of the Notary Project have
/// it.
pub fn timestamp_token(answer: &[u8], message: &[u8]) -> Result<Vec<u8>, KeylessError> {
    let wrong = wrong("time authority");
    let stamp = TimeStamp::parse(answer).map_err(|error| wrong(&error.to_string()))?;
    if !stamp.is_of(message) {
        return Err(wrong("it gave a time stamp of something else"));
    }
    let token = || {
        let mut response = der::Der::new(answer).sequence()?;
        response.element(der::SEQUENCE)?;
        response.element(der::SEQUENCE).map(|token| token.raw.to_vec())
    };
    token().map_err(|error: DerError| wrong(&error.to_string()))
}

/// An entry as version 1 of the interface gives it, in the form of bundles.
fn entry_of_v1(answer: &[u8]) -> Result<Value, KeylessError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Proof {
        checkpoint: String,
        hashes: Vec<String>,
        log_index: u64,
        root_hash: String,
        tree_size: u64,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Verification {
        signed_entry_timestamp: String,
        inclusion_proof: Proof,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        body: String,
        integrated_time: u64,
        #[serde(rename = "logID")]
        log_id: String,
        log_index: u64,
        verification: Verification,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        api_version: String,
        kind: String,
    }
    let wrong = wrong("log");
    let answer: Map<String, Value> = parse("log", answer)?;
    let [entry] = answer.values().collect::<Vec<_>>()[..] else {
        return Err(wrong("it gave not exactly one entry"));
    };
    let entry: Entry =
        serde_json::from_value(entry.clone()).map_err(|error| wrong(&error.to_string()))?;
    let body = STANDARD.decode(&entry.body).map_err(|_| wrong("its body is not Base64"))?;
    let kind: Kind = parse("log", &body)?;
    let base64 = |text: &str| {
        hex::decode(text).map(|bytes| STANDARD.encode(bytes)).map_err(|_| wrong("a hash is no hex"))
    };
    let proof = entry.verification.inclusion_proof;
    Ok(json!({
        "logIndex": entry.log_index.to_string(),
        "logId": {"keyId": base64(&entry.log_id)?},
        "kindVersion": {"kind": kind.kind, "version": kind.api_version},
        "integratedTime": entry.integrated_time.to_string(),
        "inclusionPromise": {"signedEntryTimestamp": entry.verification.signed_entry_timestamp},
        "inclusionProof": {
            "logIndex": proof.log_index.to_string(),
            "rootHash": base64(&proof.root_hash)?,
            "treeSize": proof.tree_size.to_string(),
            "hashes": proof.hashes.iter().map(|it| base64(it)).collect::<Result<Vec<_>, _>>()?,
            "checkpoint": {"envelope": proof.checkpoint},
        },
        "canonicalizedBody": entry.body,
    }))
}

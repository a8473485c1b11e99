//! `trusted_root.json` (sigstore/protobuf-specs, sigstore_trustroot.proto): the logs and
//! authorities that are trusted, each for a time.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Explain, read_bounded};
use serde::Deserialize;
use serde_json::Value;

use crate::json::{self, JsonError};
use crate::pki::path::Chain;
use crate::pki::{Certificate, DerError, Hash, Key};

/// Largest trusted root, in bytes.
pub const TRUSTED_ROOT_BYTES_MAX: u64 = 4 << 20;
/// Most logs or authorities of one kind.
const MEMBERS_MAX: usize = 256;
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// A root that cannot be trusted because it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustedRootError {
    /// The file cannot be read.
    #[error("read trusted root `{path}`")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not the JSON of a trusted root.
    #[error("malformed trusted root")]
    Malformed(#[source] JsonError),
    /// Another format or version.
    #[error("trusted root has media type `{0}`, which is not supported")]
    UnsupportedVersion(String),
    /// A part of it cannot be used.
    #[error("{part} {index} of the trusted root: {problem}")]
    Member {
        /// Which list.
        part: &'static str,
        /// Which of it, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Explain for TrustedRootError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "check that the file exists and may be read".into(),
            _ => "take `trusted_root.json` from the repository of the instance that signs".into(),
        })
    }
}

/// When something is trusted; both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    start: Option<i64>,
    end: Option<i64>,
}

impl Period {
    pub(crate) fn contains(self, time: i64) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }
}

/// A log of signatures or of certificates.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The host of its address: what its checkpoints are signed by.
    pub(crate) name: String,
    pub(crate) id: Vec<u8>,
    pub(crate) key: Key,
    pub(crate) hash: Hash,
    pub(crate) period: Period,
}

/// A certificate authority.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) chain: Chain,
    pub(crate) period: Period,
}

/// An authority of time stamps.
#[derive(Debug, Clone)]
pub(crate) struct TimeAuthority {
    pub(crate) leaf: Option<Certificate>,
    pub(crate) chain: Chain,
    pub(crate) period: Period,
}

/// What is trusted.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    pub(crate) logs: Vec<Log>,
    pub(crate) certificate_logs: Vec<Log>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) time_authorities: Vec<TimeAuthority>,
    digest: palisade_base::Digest,
    unused: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRoot {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<RawLog>,
    #[serde(default)]
    ctlogs: Vec<RawLog>,
    #[serde(default)]
    certificate_authorities: Vec<RawAuthority>,
    #[serde(default)]
    timestamp_authorities: Vec<RawAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    #[serde(default)]
    base_url: String,
    public_key: RawKey,
    #[serde(default)]
    log_id: Option<RawLogId>,
    #[serde(default)]
    checkpoint_key_id: Option<RawLogId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKey {
    raw_bytes: String,
    key_details: Value,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthority {
    cert_chain: RawChain,
    #[serde(default)]
    valid_for: Option<RawPeriod>,
}

#[derive(Deserialize)]
struct RawChain {
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

/// A member that is wrong, or one of a kind that is not supported here.
enum Problem {
    Wrong(String),
    Unsupported(String),
}

impl From<DerError> for Problem {
    fn from(error: DerError) -> Self {
        Self::Unsupported(error.to_string())
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|_| Problem::Wrong("a field is not Base64".into()))
}

fn period(raw: Option<RawPeriod>) -> Result<Period, Problem> {
    let Some(raw) = raw else { return Ok(Period { start: None, end: None }) };
    let time = |text: Option<String>| {
        text.map(|text| {
            text.parse::<jiff::Timestamp>()
                .map(jiff::Timestamp::as_second)
                .map_err(|_| Problem::Wrong(format!("`{}` is no time", brief(&text))))
        })
        .transpose()
    };
    Ok(Period { start: time(raw.start)?, end: time(raw.end)? })
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

impl RawLog {
    fn read(self) -> Result<Log, Problem> {
        let bytes = decode(&self.public_key.raw_bytes)?;
        let details = self.public_key.key_details.as_str().unwrap_or_default();
        let (key, hash) = match details {
            "PKCS1_RSA_PKCS1V5" => (Key::from_pkcs1(&bytes)?, Hash::Sha256),
            "PKIX_RSA_PKCS1V5"
            | "PKIX_RSA_PKCS1V15_2048_SHA256"
            | "PKIX_RSA_PKCS1V15_3072_SHA256"
            | "PKIX_RSA_PKCS1V15_4096_SHA256"
            | "PKIX_ECDSA_P256_SHA_256"
            | "PKIX_ECDSA_P256_HMAC_SHA_256"
            | "PKIX_ED25519" => (Key::from_spki(&bytes)?, Hash::Sha256),
            "PKIX_ECDSA_P384_SHA_384" => (Key::from_spki(&bytes)?, Hash::Sha384),
            "PKIX_ECDSA_P521_SHA_512" => (Key::from_spki(&bytes)?, Hash::Sha512),
            other => return Err(Problem::Unsupported(format!("keys `{}`", brief(other)))),
        };
        let name = self.base_url.split_once("://").map_or(self.base_url.as_str(), |(_, it)| it);
        let name = name.trim_end_matches('/').to_string();
        let given = self.log_id.or(self.checkpoint_key_id).map(|id| decode(&id.key_id));
        let id = match given.transpose()? {
            Some(id) if !id.is_empty() => id,
            _ => crate::sigstore::checkpoint::key_id(&name, &key),
        };
        Ok(Log { name, id, key, hash, period: period(self.public_key.valid_for)? })
    }
}

impl RawAuthority {
    fn read(self) -> Result<(Vec<Certificate>, Period), Problem> {
        let mut certificates = Vec::new();
        for raw in self.cert_chain.certificates.into_iter().take(MEMBERS_MAX) {
            certificates.push(Certificate::parse(&decode(&raw.raw_bytes)?)?);
        }
        Ok((certificates, period(self.valid_for)?))
    }
}

fn authority((certificates, period): (Vec<Certificate>, Period)) -> Result<Authority, Problem> {
    let chain = Chain::new(certificates).map_err(|problem| Problem::Wrong(problem.into()))?;
    if chain.certificates().first().is_some_and(|first| !first.may_issue()) {
        return Err(Problem::Wrong("its first certificate may not issue certificates".into()));
    }
    Ok(Authority { chain, period })
}

fn time_authority(
    (mut certificates, period): (Vec<Certificate>, Period),
) -> Result<TimeAuthority, Problem> {
    let leaf = match certificates.first() {
        Some(first) if !first.is_authority => Some(certificates.remove(0)),
        _ => None,
    };
    let chain = Chain::new(certificates).map_err(|problem| Problem::Wrong(problem.into()))?;
    if leaf.as_ref().is_some_and(|leaf| !chain.issued(leaf)) {
        return Err(Problem::Wrong("its first certificate was not issued by the next".into()));
    }
    Ok(TimeAuthority { leaf, chain, period })
}

impl TrustedRoot {
    /// Reads a trusted root of at most [`TRUSTED_ROOT_BYTES_MAX`] bytes. Members of kinds
    /// that are not supported are not trusted; [`unused`](Self::unused) names them.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustedRootError> {
        let raw: RawRoot =
            json::parse(bytes, TRUSTED_ROOT_BYTES_MAX).map_err(TrustedRootError::Malformed)?;
        if !MEDIA_TYPES.contains(&raw.media_type.as_str()) {
            return Err(TrustedRootError::UnsupportedVersion(brief(&raw.media_type)));
        }
        let mut unused = Vec::new();
        let logs = members("tlogs", raw.tlogs, RawLog::read, &mut unused)?;
        let certificate_logs = members("ctlogs", raw.ctlogs, RawLog::read, &mut unused)?;
        let read = |raw: RawAuthority| raw.read().and_then(authority);
        let list = raw.certificate_authorities;
        let authorities = members("certificateAuthorities", list, read, &mut unused)?;
        let read = |raw: RawAuthority| raw.read().and_then(time_authority);
        let list = raw.timestamp_authorities;
        let time_authorities = members("timestampAuthorities", list, read, &mut unused)?;
        let digest = palisade_base::Digest::of(bytes);
        Ok(Self { logs, certificate_logs, authorities, time_authorities, digest, unused })
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, TrustedRootError> {
        let read = |source| TrustedRootError::Read { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let bytes = read_bounded(file, "trusted root", TRUSTED_ROOT_BYTES_MAX).map_err(read)?;
        Self::parse(&bytes)
    }

    /// The digest of the file that it was read from.
    pub fn digest(&self) -> &palisade_base::Digest {
        &self.digest
    }

    /// What of it is not used, and why.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }
}

fn members<R, T>(
    part: &'static str,
    raw: Vec<R>,
    read: impl Fn(R) -> Result<T, Problem>,
    unused: &mut Vec<String>,
) -> Result<Vec<T>, TrustedRootError> {
    if raw.len() > MEMBERS_MAX {
        let problem = format!("there are more than {MEMBERS_MAX}");
        return Err(TrustedRootError::Member { part, index: MEMBERS_MAX, problem });
    }
    let mut out = Vec::new();
    for (index, member) in raw.into_iter().enumerate() {
        match read(member) {
            Ok(member) => out.push(member),
            Err(Problem::Unsupported(problem)) => unused.push(format!("{part} {index}: {problem}")),
            Err(Problem::Wrong(problem)) => {
                return Err(TrustedRootError::Member { part, index, problem });
            }
        }
    }
    Ok(out)
}

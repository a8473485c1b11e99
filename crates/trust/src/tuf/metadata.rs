//! The documents of a repository: read strictly, verified by the keys of a role.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::Digest;
use ring::signature as sig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::canonical::canonical;
use super::delegation::Delegations;
use super::error::TufError;
use crate::json;
use crate::pki::{Hash, Key};
use crate::{VerificationKey, pem};

/// Largest document, in bytes; a list may announce less.
pub const METADATA_BYTES_MAX: u64 = 8 << 20;
/// Keys of a root, signatures of a document, files of a list.
pub(super) const KEYS_MAX: usize = 256;
const SIGNATURES_MAX: usize = 256;
const FILES_MAX: usize = 65_536;
/// SubjectPublicKeyInfo of a P-256 point, and of an Ed25519 key, up to their bytes (RFC 5480,
/// RFC 8410).
const SPKI_P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const SPKI_ED25519: &str = "302a300506032b6570032100";

/// A document as it is sent.
#[derive(Deserialize)]
struct Envelope {
    signed: Value,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    keyid: String,
    /// Hexadecimal; empty where somebody has not signed yet.
    sig: String,
}

/// What every document says of itself.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    version: u64,
    expires: String,
}

/// A document of one role, read and not yet verified.
pub(super) struct Document<T> {
    role: String,
    /// What is signed.
    message: Vec<u8>,
    signatures: Vec<Signature>,
    pub(super) version: u64,
    /// When it ends: the text, and seconds since the epoch.
    pub(super) expires: (String, i64),
    pub(super) body: T,
}

/// A document of a role.
pub(super) trait Role: DeserializeOwned {
    /// The role's name.
    const NAME: &'static str;

    /// What no document of the role may be.
    fn problem(&self) -> Option<String>;
}

/// Who signs what.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct Root {
    #[serde(default)]
    pub(super) consistent_snapshot: bool,
    keys: BTreeMap<String, KeyDocument>,
    roles: BTreeMap<String, RoleKeys>,
}

#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyDocument {
    scheme: String,
    keyval: KeyValue,
}

#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
struct KeyValue {
    public: String,
}

#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
struct RoleKeys {
    keyids: Vec<String>,
    threshold: u32,
}

/// The newest snapshot.
#[derive(Deserialize)]
pub(super) struct Timestamp {
    meta: BTreeMap<String, Announced>,
}

/// The versions that belong together.
#[derive(Deserialize)]
pub(super) struct Snapshot {
    pub(super) meta: BTreeMap<String, Announced>,
}

/// The files that there are.
#[derive(Deserialize)]
pub(super) struct Targets {
    targets: BTreeMap<String, Target>,
    /// Who has further files.
    pub(super) delegations: Option<Delegations>,
}

/// Who must sign a document, and how many of them.
#[derive(Clone, Copy)]
pub(super) struct Signers<'k> {
    pub(super) keys: &'k BTreeMap<String, KeyDocument>,
    pub(super) keyids: &'k [String],
    pub(super) threshold: u32,
}

/// What a list says of a document.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct Announced {
    pub(super) version: u64,
    #[serde(default)]
    length: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// What a list says of a file.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct Target {
    pub(super) length: u64,
    hashes: BTreeMap<String, String>,
}

impl Role for Root {
    const NAME: &'static str = "root";

    fn problem(&self) -> Option<String> {
        if self.keys.len() > KEYS_MAX {
            return Some(format!("it has more than {KEYS_MAX} keys"));
        }
        for name in ["root", "timestamp", "snapshot", "targets"] {
            let Some(role) = self.roles.get(name) else {
                return Some(format!("it does not say who signs `{name}`"));
            };
            let distinct: BTreeSet<&String> = role.keyids.iter().collect();
            if role.threshold == 0 || distinct.len() != role.keyids.len() {
                return Some(format!("nobody, or somebody twice, must sign `{name}`"));
            }
        }
        None
    }
}

impl Role for Timestamp {
    const NAME: &'static str = "timestamp";

    fn problem(&self) -> Option<String> {
        (!self.meta.contains_key("snapshot.json")).then(|| "it announces no snapshot".into())
    }
}

impl Role for Snapshot {
    const NAME: &'static str = "snapshot";

    fn problem(&self) -> Option<String> {
        if self.meta.len() > FILES_MAX {
            return Some(format!("it has more than {FILES_MAX} entries"));
        }
        (!self.meta.contains_key("targets.json")).then(|| "it announces no targets".into())
    }
}

impl Role for Targets {
    const NAME: &'static str = "targets";

    fn problem(&self) -> Option<String> {
        if self.targets.len() > FILES_MAX {
            return Some(format!("it has more than {FILES_MAX} files"));
        }
        self.delegations.as_ref().and_then(Delegations::problem)
    }
}

impl<T: Role> Document<T> {
    /// Reads a document.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TufError> {
        Self::parse_of(T::NAME, bytes)
    }

    /// Reads the document of the role `name`, which is of this kind.
    pub(super) fn parse_of(name: &str, bytes: &[u8]) -> Result<Self, TufError> {
        let bad = |problem: String| TufError::Malformed { role: name.to_string(), problem };
        let envelope: Envelope =
            json::parse(bytes, METADATA_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
        if envelope.signatures.len() > SIGNATURES_MAX {
            return Err(bad(format!("it has more than {SIGNATURES_MAX} signatures")));
        }
        let message = canonical(&envelope.signed).map_err(|problem| bad(problem.into()))?;
        let read = |error: serde_json::Error| bad(error.to_string().chars().take(200).collect());
        let head: Head = serde_json::from_value(envelope.signed.clone()).map_err(read)?;
        if head.kind != T::NAME {
            return Err(bad(format!("it is `{:.32}`", head.kind)));
        }
        if !head.spec_version.starts_with("1.") && head.spec_version != "1" {
            return Err(bad(format!("version `{:.32}` of the format", head.spec_version)));
        }
        if head.version == 0 {
            return Err(bad("its version is 0".into()));
        }
        let expires = head
            .expires
            .parse::<jiff::Timestamp>()
            .map_err(|_| bad(format!("`{:.64}` is no time at which it expires", head.expires)))?;
        let body: T = serde_json::from_value(envelope.signed).map_err(read)?;
        if let Some(problem) = body.problem() {
            return Err(bad(problem));
        }
        Ok(Self {
            role: name.to_string(),
            message,
            signatures: envelope.signatures,
            version: head.version,
            expires: (head.expires, expires.as_second()),
            body,
        })
    }

    /// Whether as many keys have signed it as `root` asks of its role.
    pub(super) fn verify(&self, root: &Root) -> Result<(), TufError> {
        self.verify_by(root.signers(T::NAME), true)
    }

    /// Whether as many of those who sign it have done so.
    pub(super) fn verify_by(
        &self,
        signers: Option<Signers<'_>>,
        by_known: bool,
    ) -> Result<(), TufError> {
        let (found, needed) = signers.map_or((0, 0), |signers| {
            (signers.count(&self.message, &self.signatures), signers.threshold)
        });
        if needed > 0 && found >= needed {
            return Ok(());
        }
        Err(TufError::Unsigned { role: self.role.clone(), found, needed, by_known })
    }

    /// Whether it is still valid at `now`, in seconds since the epoch.
    pub(super) fn check_expiry(&self, now: i64) -> Result<(), TufError> {
        let (when, at) = &self.expires;
        // The specification: it has expired when the time is reached.
        if now < *at {
            return Ok(());
        }
        Err(TufError::Expired { role: self.role.clone(), when: when.clone() })
    }
}

impl Document<Root> {
    /// Whether a root is signed by its own keys.
    pub(super) fn verify_itself(&self) -> Result<(), TufError> {
        self.verify_by(self.body.signers(Root::NAME), false)
    }
}

impl Root {
    /// Who signs a role's documents.
    pub(super) fn signers(&self, role: &str) -> Option<Signers<'_>> {
        let RoleKeys { keyids, threshold } = self.roles.get(role)?;
        Some(Signers { keys: &self.keys, keyids, threshold: *threshold })
    }
}

impl Signers<'_> {
    /// Signatures of a document, each by another key.
    fn count(&self, message: &[u8], signatures: &[Signature]) -> u32 {
        let mut signed: Vec<Vec<u8>> = Vec::new();
        for signature in signatures.iter().filter(|one| self.keyids.contains(&one.keyid)) {
            let Some(document) = self.keys.get(&signature.keyid) else { continue };
            let Some((key, scheme)) = document.key() else { continue };
            let Ok(bytes) = hex::decode(&signature.sig) else { continue };
            // One key under two names is one signer.
            let spki = key.spki().to_vec();
            if !signed.contains(&spki) && verifies(&key, scheme, message, &bytes) {
                signed.push(spki);
            }
        }
        u32::try_from(signed.len()).unwrap_or(u32::MAX)
    }
}

impl Root {
    /// Whether the same keys sign `role` as in `other`.
    pub(super) fn signs_as(&self, other: &Self, role: &str) -> bool {
        let of = |root: &Self| {
            let keys = root.roles.get(role)?.clone();
            let values: Vec<_> = keys.keyids.iter().map(|id| root.keys.get(id).cloned()).collect();
            Some((keys, values))
        };
        of(self) == of(other)
    }
}

/// How a key signs.
#[derive(Clone, Copy)]
enum Scheme {
    Plain(Hash),
    /// RSA with probabilistic padding.
    Pss,
}

impl KeyDocument {
    /// The key, if it is of a kind that can be verified; another one signs nothing.
    fn key(&self) -> Option<(Key, Scheme)> {
        let text = self.keyval.public.as_str();
        // Sigstore's older roots write P-256 keys as points, newer ones as PEM.
        let key = if text.contains("-----BEGIN") {
            let (label, _) = pem::decode(text)?;
            (label == "PUBLIC KEY" || label == "RSA PUBLIC KEY").then_some(())?;
            VerificationKey::from_pem(text).ok()?.key().clone()
        } else {
            let bytes = hex::decode(text).ok()?;
            let prefix = match bytes.len() {
                65 => SPKI_P256,
                32 => SPKI_ED25519,
                _ => return Key::from_spki(&bytes).ok().zip(self.scheme()),
            };
            Key::from_spki(&[hex::decode(prefix).ok()?, bytes].concat()).ok()?
        };
        Some((key, self.scheme()?))
    }

    fn scheme(&self) -> Option<Scheme> {
        match self.scheme.as_str() {
            "ed25519" | "ecdsa-sha2-nistp256" => Some(Scheme::Plain(Hash::Sha256)),
            "ecdsa-sha2-nistp384" => Some(Scheme::Plain(Hash::Sha384)),
            "rsassa-pss-sha256" => Some(Scheme::Pss),
            _ => None,
        }
    }
}

fn verifies(key: &Key, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
    use crate::pki::key::Kind;
    match (scheme, key.kind()) {
        (Scheme::Plain(hash), Kind::P256 | Kind::P384 | Kind::Ed25519) => {
            key.verify(hash, message, signature)
        }
        (Scheme::Pss, Kind::Rsa) => {
            sig::UnparsedPublicKey::new(&sig::RSA_PSS_2048_8192_SHA256, key.bytes())
                .verify(message, signature)
                .is_ok()
        }
        _ => false,
    }
}

impl Timestamp {
    /// The snapshot that it announces.
    pub(super) fn snapshot(&self) -> Result<&Announced, TufError> {
        self.meta.get("snapshot.json").ok_or(TufError::Malformed {
            role: Self::NAME.into(),
            problem: "it announces no snapshot".into(),
        })
    }
}

impl Snapshot {
    /// What it announces of a role that has files.
    pub(super) fn targets(&self, role: &str) -> Result<&Announced, TufError> {
        self.meta.get(&format!("{role}.json")).ok_or_else(|| TufError::Malformed {
            role: Self::NAME.into(),
            problem: format!("it announces no `{role:.60}`"),
        })
    }
}

impl Targets {
    /// What the list says of a file.
    pub(super) fn file(&self, name: &str) -> Option<&Target> {
        self.targets.get(name)
    }
}

impl Announced {
    /// How many bytes it may have.
    pub(super) fn limit(&self) -> u64 {
        self.length.unwrap_or(METADATA_BYTES_MAX).min(METADATA_BYTES_MAX)
    }

    /// Whether the bytes are those that are announced.
    pub(super) fn check(&self, path: &str, bytes: &[u8]) -> Result<(), TufError> {
        if self.length.is_some_and(|length| length != bytes.len() as u64) {
            return Err(TufError::Mismatch { path: path.into(), what: "length" });
        }
        check_hashes(path, &self.hashes, bytes)
    }
}

impl Target {
    /// Whether the bytes are those of the list.
    pub(super) fn check(&self, path: &str, bytes: &[u8]) -> Result<(), TufError> {
        if self.length != bytes.len() as u64 {
            return Err(TufError::Mismatch { path: path.into(), what: "length" });
        }
        if self.hashes.is_empty() {
            return Err(TufError::Mismatch { path: path.into(), what: "digest" });
        }
        check_hashes(path, &self.hashes, bytes)
    }

    /// A digest by which the file is called in a repository of consistent snapshots.
    pub(super) fn digest(&self) -> Option<&str> {
        let found = self.hashes.get("sha256").or_else(|| self.hashes.get("sha512"))?;
        found.bytes().all(|b| b.is_ascii_hexdigit()).then_some(found)
    }
}

/// Every digest of a known kind must be right, and one must be known where there are any.
fn check_hashes(
    path: &str,
    hashes: &BTreeMap<String, String>,
    bytes: &[u8],
) -> Result<(), TufError> {
    let wrong = || TufError::Mismatch { path: path.into(), what: "digest" };
    let mut n_known = 0;
    for (kind, expected) in hashes {
        let found = match kind.as_str() {
            "sha256" => Digest::of(bytes).hex(),
            "sha384" => hex::encode(Hash::Sha384.of(bytes)),
            "sha512" => hex::encode(Hash::Sha512.of(bytes)),
            _ => continue,
        };
        n_known += 1;
        if !found.eq_ignore_ascii_case(expected) {
            return Err(wrong());
        }
    }
    if n_known == 0 && !hashes.is_empty() { Err(wrong()) } else { Ok(()) }
}

/// Reads any document, a root with its own signatures: total, for whatever bytes.
///
/// # Errors
///
/// It is none.
pub fn check(bytes: &[u8]) -> Result<u64, TufError> {
    let root = Document::<Root>::parse(bytes);
    if let Ok(root) = root {
        root.verify_itself()?;
        return Ok(root.version);
    }
    let timestamp = Document::<Timestamp>::parse(bytes).map(|it| it.version);
    let snapshot = || Document::<Snapshot>::parse(bytes).map(|it| it.version);
    timestamp.or_else(|_| snapshot()).or_else(|_| {
        let targets = Document::<Targets>::parse(bytes)?;
        for (name, target) in &targets.body.targets {
            let _ = target.check(name, bytes);
            let _ = target.digest();
            let _ = targets.body.delegations.as_ref().map(|it| it.of(name));
        }
        Ok(targets.version)
    })
}

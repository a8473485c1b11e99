//! Whether an image satisfies a policy.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Digest, read_bounded};
use serde_json::{Map, Value, json};

use super::parse::{ContainersPolicy, path_scopes};
use super::reference::Reference;
use super::requirement::{Identity, KeySource, Requirement};
use super::sigstore::Stored;
use crate::openpgp::Keyring;
use crate::simple;

/// Most signatures of an image.
pub const SIGNATURES_MAX: usize = 128;
/// Largest file of keys or certificates, in bytes.
const KEYS_BYTES_MAX: u64 = 4 << 20;
/// What a file begins with that holds a signature of cosign's.
const SIGSTORE_MARK: &[u8] = b"\0sigstore-json\n";

/// A signature as it is stored beside an image.
#[derive(Debug, Clone)]
pub enum StoredSignature {
    /// An OpenPGP message.
    Simple(Vec<u8>),
    /// The JSON of a payload with annotations.
    Sigstore(Vec<u8>),
}

impl StoredSignature {
    /// Tells the kinds apart as the files `signature-N` of a `dir:` image do.
    pub fn from_file(bytes: &[u8]) -> Self {
        match bytes.strip_prefix(SIGSTORE_MARK) {
            Some(json) => Self::Sigstore(json.to_vec()),
            None => Self::Simple(bytes.to_vec()),
        }
    }
}

impl StoredSignature {
    /// A signature of cosign's: a layer of the manifest under the tag `sha256-….sig`.
    pub fn from_layer(media_type: &str, payload: &[u8], annotations: &Map<String, Value>) -> Self {
        let payload = STANDARD.encode(payload);
        let stored =
            json!({"mimeType": media_type, "payload": payload, "annotations": annotations});
        Self::Sigstore(stored.to_string().into_bytes())
    }
}

/// The image in question.
#[derive(Debug, Clone)]
pub struct Image {
    /// `docker`, `dir`, `oci`, …
    pub transport: String,
    /// What the image is called; an image on disk has no name.
    pub reference: Option<Reference>,
    /// The scopes to look for, the most specific first.
    pub scopes: Vec<String>,
    /// The digest of its manifest; `None`: it has none that can be read.
    pub digest: Option<Digest>,
    /// Its signatures.
    pub signatures: Vec<StoredSignature>,
}

impl Image {
    /// An image that a registry has.
    pub fn docker(reference: Reference, digest: Option<Digest>) -> Self {
        let scopes = reference.scopes();
        let transport = "docker".into();
        Self { transport, reference: Some(reference), scopes, digest, signatures: Vec::new() }
    }

    /// An image in a folder of `transport`; `tag` is that of a layout.
    pub fn folder(transport: &str, path: &str, tag: &str, digest: Option<Digest>) -> Self {
        let identity = if transport == "oci" { format!("{path}:{tag}") } else { path.to_string() };
        let scopes = path_scopes(&identity, path);
        let transport = transport.to_string();
        Self { transport, reference: None, scopes, digest, signatures: Vec::new() }
    }
}

/// Why the image may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Where in the policy the requirements stand.
    pub scope: String,
    /// What satisfied each of them.
    pub satisfied: Vec<String>,
}

/// Why it may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy, at `{scope}`, does not allow the image: {reason}")]
pub struct Unsatisfied {
    /// Where in the policy the requirements stand.
    pub scope: String,
    /// The requirement, and what each signature lacks.
    pub reason: String,
}

impl palisade_base::Explain for Unsatisfied {
    fn hint(&self) -> Option<String> {
        Some("have the image signed as the policy asks, or change the policy at that place".into())
    }
}

impl ContainersPolicy {
    /// Decides at `now`, in seconds since the Unix epoch. Every requirement must hold.
    pub fn evaluate(&self, image: &Image, now: i64) -> Result<Decision, Unsatisfied> {
        let (scope, list) = self.requirements(&image.transport, &image.scopes);
        let mut satisfied = Vec::new();
        for requirement in list {
            match evaluate(requirement, image, now) {
                Ok(by) => satisfied.push(format!("{}: {by}", requirement.kind())),
                Err(reason) => {
                    let reason = format!("{}: {reason}", requirement.kind());
                    return Err(Unsatisfied { scope, reason });
                }
            }
        }
        Ok(Decision { scope, satisfied })
    }
}

fn evaluate(requirement: &Requirement, image: &Image, now: i64) -> Result<String, String> {
    match requirement {
        Requirement::InsecureAcceptAnything => Ok("anything is accepted".into()),
        Requirement::Reject => Err("every image is refused".into()),
        Requirement::SignedBaseLayer => Err("nobody implements this".into()),
        Requirement::SignedBy { key_type, .. } if key_type != "GPGKeys" => {
            Err(format!("nobody implements keys of the type `{key_type}`"))
        }
        Requirement::SignedBy { keys, identity, .. } => {
            let mut ring = Keyring::default();
            for bytes in read_source(keys)? {
                let keys = Keyring::parse(&bytes).map_err(|error| error.to_string())?;
                ring.extend(keys);
            }
            let now = u64::try_from(now).unwrap_or(0);
            any(image, |signature| {
                let StoredSignature::Simple(message) = signature else { return None };
                Some(ring.verify(message, now).map_err(|error| error.to_string()).and_then(
                    |(payload, signer)| {
                        let said = simple::read(&payload, simple::TYPE_ATOMIC)
                            .map_err(|error| error.to_string())?;
                        check_said(image, identity, &said)?;
                        Ok(format!("signed by GPG key {signer} as {}", said.0))
                    },
                ))
            })
        }
        Requirement::SigstoreSigned { trust, rekor, identity } => any(image, |signature| {
            let StoredSignature::Sigstore(json) = signature else { return None };
            Some(Stored::parse(json).and_then(|stored| {
                let said = stored.verify(trust, rekor.as_ref(), now)?;
                check_said(image, identity, &said)?;
                Ok(format!("signed with Sigstore as {}", said.0))
            }))
        }),
    }
}

/// The first signature that holds; else what each lacks.
fn any(
    image: &Image,
    check: impl Fn(&StoredSignature) -> Option<Result<String, String>>,
) -> Result<String, String> {
    const REASONS_MAX: usize = 5;
    let mut reasons = Vec::new();
    for signature in image.signatures.iter().take(SIGNATURES_MAX) {
        match check(signature) {
            Some(Ok(by)) => return Ok(by),
            Some(Err(reason)) => reasons.push(reason),
            None => {}
        }
    }
    if reasons.is_empty() {
        return Err("the image has no signature of this kind".into());
    }
    let more = reasons.len().saturating_sub(REASONS_MAX);
    reasons.truncate(REASONS_MAX);
    let rest = if more > 0 { format!("; {more} more") } else { String::new() };
    Err(format!("{}{rest}", reasons.join("; ")))
}

/// Whether what a signature says is said of this image.
fn check_said(image: &Image, identity: &Identity, said: &(String, String)) -> Result<(), String> {
    let (reference, digest) = said;
    if !identity.allows(image.reference.as_ref(), reference) {
        let called = image.reference.as_ref().map_or("no name".into(), ToString::to_string);
        return Err(format!("it is signed as `{}`, and the image has {called}", brief(reference)));
    }
    match image.digest {
        Some(own) if own.to_string() == *digest => Ok(()),
        Some(_) => Err("it is of another manifest".into()),
        None => Err("the image has no manifest".into()),
    }
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The content of each file, or what the policy holds.
pub(super) fn read_source(source: &KeySource) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &Path| {
        let file = std::fs::File::open(path)?;
        read_bounded(file, "keys", KEYS_BYTES_MAX)
    };
    match source {
        KeySource::Data(all) => Ok(all.clone()),
        KeySource::Paths(paths) => paths
            .iter()
            .map(|path| read(path).map_err(|error| format!("read `{}`: {error}", path.display())))
            .collect(),
    }
}

//! Cosign's signatures as containers/image keeps and verifies them: a payload, and
//! annotations that bring the signature, the certificate and the log's promise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::evaluate::read_source;
use super::requirement::{KeySource, SigstoreTrust};
use crate::json;
use crate::pem;
use crate::pki::certificate::{CODE_SIGNING, Certificate, Name};
use crate::pki::path::Chain;
use crate::pki::{Hash, Key};
use crate::sigstore::legacy::Promise;
use crate::simple;
use crate::spki::VerificationKey;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";

/// A signature as a file of a `dir:` image or an annotation-bearing layer holds it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stored {
    #[serde(rename = "mimeType")]
    media_type: String,
    payload: String,
    #[serde(default)]
    annotations: Map<String, Value>,
}

impl Stored {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        json::parse(bytes, 16 << 20).map_err(|error| error.to_string())
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).and_then(Value::as_str).filter(|it| !it.is_empty())
    }

    /// Checks who signed; gives what the payload says.
    pub(super) fn verify(
        &self,
        trust: &SigstoreTrust,
        rekor: Option<&KeySource>,
        now: i64,
    ) -> Result<(String, String), String> {
        if self.media_type != simple::MEDIA_TYPE {
            return Err("it is no signature of an image".into());
        }
        let payload = STANDARD.decode(&self.payload).map_err(|_| "its payload is not Base64")?;
        let encoded = self.annotation(SIGNATURE).ok_or("it has no signature annotation")?;
        // Some signers break the line, which the reader of containers/image skips.
        let encoded = encoded.replace(['\r', '\n'], "");
        let signature = STANDARD.decode(encoded).map_err(|_| "the signature is not Base64")?;
        let promised = |verifier: &[u8]| {
            let Some(source) = rekor else { return Ok(None) };
            let text = self.annotation(BUNDLE).ok_or("no log promised to take it")?;
            let promise = Promise::parse(text.as_bytes())?;
            let keys = keys(source)?;
            promise.verify(&keys, verifier, &signature, &payload).map(Some)
        };
        match trust {
            SigstoreTrust::Keys(source) => {
                let all = keys(source)?;
                let signer = all.iter().find(|key| key.verify(&payload, &signature));
                let signer = signer.ok_or("it is by none of the keys")?;
                promised(signer.key().spki())?;
            }
            SigstoreTrust::Fulcio { ca, oidc_issuer, subject_email } => {
                let (leaf, given) = self.certificates()?;
                let time = promised(leaf.raw())?.ok_or("no log promised to take it")?;
                check_path(&leaf, &certificates(ca)?, &given, time)?;
                let identity = crate::sigstore::CertificateIdentity::of(&leaf);
                if identity.issuer.as_deref() != Some(oidc_issuer) {
                    return Err("another issuer vouched for its signer".into());
                }
                if !leaf.names.contains(&Name::Email(subject_email.clone())) {
                    return Err(format!("it is signed by {identity}"));
                }
                check_by(&leaf, &payload, &signature)?;
            }
            SigstoreTrust::Pki { roots, intermediates, subject_email, subject_hostname } => {
                let (leaf, mut given) = self.certificates()?;
                if let Some(source) = intermediates {
                    given.extend(certificates(source)?);
                }
                check_path(&leaf, &certificates(roots)?, &given, now)?;
                if let Some(email) = subject_email
                    && !leaf.names.contains(&Name::Email(email.clone()))
                {
                    return Err(format!("its certificate is not that of {email}"));
                }
                if let Some(host) = subject_hostname
                    && !leaf
                        .names
                        .iter()
                        .any(|it| matches!(it, Name::Dns(name) if is_host(name, host)))
                {
                    return Err(format!("its certificate is not that of {host}"));
                }
                check_by(&leaf, &payload, &signature)?;
            }
        }
        simple::read(&payload, simple::TYPE_COSIGN).map_err(|error| error.to_string())
    }

    fn certificates(&self) -> Result<(Certificate, Vec<Certificate>), String> {
        let text = self.annotation(CERTIFICATE).ok_or("it brings no certificate")?;
        let mut leaf = parse(text.as_bytes())?;
        let leaf = leaf.pop().filter(|_| leaf.is_empty()).ok_or("it brings no one certificate")?;
        let given = self.annotation(CHAIN).map_or(Ok(Vec::new()), |it| parse(it.as_bytes()))?;
        Ok((leaf, given))
    }
}

/// A name of a certificate may have one star, for its first label.
fn is_host(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, it)| it.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn check_by(leaf: &Certificate, payload: &[u8], signature: &[u8]) -> Result<(), String> {
    let key: &Key = &leaf.key;
    let usual = key.usual_hash();
    let is_good = key.verify(usual, payload, signature)
        || (usual != Hash::Sha256 && key.verify(Hash::Sha256, payload, signature));
    if is_good { Ok(()) } else { Err("the signature is not by its certificate's key".into()) }
}

/// Looks for a path from `leaf` over certificates that were given to one that is trusted.
fn check_path(
    leaf: &Certificate,
    trusted: &[Certificate],
    given: &[Certificate],
    time: i64,
) -> Result<(), String> {
    if leaf.is_authority || leaf.has_usage(CODE_SIGNING) == Some(false) || !leaf.may_sign() {
        return Err("its certificate is not one for signing code".into());
    }
    if !leaf.is_valid_at(time) {
        return Err("its certificate was not valid when it was signed".into());
    }
    let mut path: Vec<Certificate> = Vec::new();
    let mut steps = 0;
    if extend(leaf, trusted, given, time, &mut path, &mut steps) {
        Ok(())
    } else {
        Err("no trusted authority issued its certificate".into())
    }
}

/// Most certificates that are tried as an issuer.
const STEPS_MAX: usize = 200;

/// Goes up from the last of `path` (from `leaf` when it is empty), depth first.
fn extend(
    leaf: &Certificate,
    trusted: &[Certificate],
    given: &[Certificate],
    time: i64,
    path: &mut Vec<Certificate>,
    steps: &mut usize,
) -> bool {
    *steps += 1;
    if path.len() + 1 >= crate::pki::path::PATH_MAX || *steps > STEPS_MAX {
        return false;
    }
    let last = path.last().unwrap_or(leaf).clone();
    for root in trusted.iter().filter(|it| it.subject == last.issuer) {
        let chain = Chain::new([path.as_slice(), std::slice::from_ref(root)].concat());
        if chain.is_ok_and(|it| it.issued(leaf) && it.holds_at(time, CODE_SIGNING)) {
            return true;
        }
    }
    for next in given.iter().filter(|it| it.subject == last.issuer && it.subject != it.issuer) {
        if path.contains(next) {
            continue;
        }
        path.push(next.clone());
        if extend(leaf, trusted, given, time, path, steps) {
            return true;
        }
        path.pop();
    }
    false
}

fn parse(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a certificate is not PEM")?;
    let blocks = pem::decode_all(text, "CERTIFICATE").ok_or("a certificate is not PEM")?;
    if blocks.is_empty() {
        return Err("there is no certificate".into());
    }
    blocks.iter().map(|der| Certificate::parse(der).map_err(|error| error.to_string())).collect()
}

fn certificates(source: &KeySource) -> Result<Vec<Certificate>, String> {
    let mut out = Vec::new();
    for bytes in read_source(source)? {
        out.extend(parse(&bytes)?);
    }
    Ok(out)
}

fn keys(source: &KeySource) -> Result<Vec<VerificationKey>, String> {
    read_source(source)?
        .iter()
        .map(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| "a key is not PEM".to_string())?;
            VerificationKey::from_pem(text).map_err(|error| error.to_string())
        })
        .collect()
}

//! Reads `policy.json`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Digest, Explain, read_bounded};
use serde_json::{Map, Value};

use super::reference::Reference;
use super::requirement::{Identity, KeySource, Requirement, SigstoreTrust};
use crate::json::{self, JsonError};

/// Largest policy, in bytes.
pub const POLICY_BYTES_MAX: u64 = 4 << 20;
/// Most requirements of a list, and keys of a requirement.
const LIST_MAX: usize = 256;

/// A policy that cannot be obeyed, because it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContainersPolicyError {
    /// The file cannot be read.
    #[error("read policy `{path}`")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not strict JSON.
    #[error("malformed policy")]
    Malformed(#[source] JsonError),
    /// A part of it is wrong.
    #[error("policy, at `{at}`: {problem}")]
    Invalid {
        /// Where.
        at: String,
        /// What is wrong.
        problem: String,
    },
}

impl Explain for ContainersPolicyError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "check that the file exists and may be read".into(),
            _ => "correct it as containers-policy.json(5) says; nothing of it is obeyed until then"
                .into(),
        })
    }
}

fn invalid(at: &str, problem: impl Into<String>) -> ContainersPolicyError {
    ContainersPolicyError::Invalid { at: at.to_string(), problem: problem.into() }
}

/// A policy of containers/image.
#[derive(Debug, Clone)]
pub struct ContainersPolicy {
    default: Vec<Requirement>,
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
    digest: Digest,
}

impl ContainersPolicy {
    /// Reads a policy.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainersPolicyError> {
        let value: Value =
            json::parse(bytes, POLICY_BYTES_MAX).map_err(ContainersPolicyError::Malformed)?;
        let top = Fields::of(&value, "policy", &["default", "transports"])?;
        let default = top.get("default").ok_or_else(|| invalid("policy", "it has no `default`"))?;
        let default = requirements(default, "default")?;
        let mut transports = BTreeMap::new();
        if let Some(value) = top.get("transports") {
            let all = object(value, "transports")?;
            for (transport, scopes) in all {
                let at = format!("transports.{transport}");
                let mut read = BTreeMap::new();
                for (scope, list) in object(scopes, &at)? {
                    let at = format!("{at}.\"{scope}\"");
                    check_scope(transport, scope).map_err(|problem| invalid(&at, problem))?;
                    read.insert(scope.clone(), requirements(list, &at)?);
                }
                transports.insert(transport.clone(), read);
            }
        }
        Ok(Self { default, transports, digest: Digest::of(bytes) })
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ContainersPolicyError> {
        let read = |source| ContainersPolicyError::Read { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let bytes = read_bounded(file, "policy", POLICY_BYTES_MAX).map_err(read)?;
        Self::parse(&bytes)
    }

    /// The digest of the policy's text.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The requirements for an image of `transport` with these scopes, the most specific
    /// first, and where in the policy they stand.
    pub fn requirements(&self, transport: &str, scopes: &[String]) -> (String, &[Requirement]) {
        if let Some(of) = self.transports.get(transport) {
            for scope in scopes.iter().map(String::as_str).chain([""]) {
                if let Some(list) = of.get(scope) {
                    return (format!("transports.{transport}.\"{scope}\""), list);
                }
            }
        }
        ("default".to_string(), &self.default)
    }
}

/// The scopes of a path on disk: itself and the folders above it, the root excluded.
pub(crate) fn path_scopes(identity: &str, path: &str) -> Vec<String> {
    let mut out = vec![identity.to_string()];
    let mut path = path;
    while !path.is_empty() {
        out.push(path.to_string());
        path = path.rsplit_once('/').map_or("", |(shorter, _)| shorter);
    }
    out.dedup();
    out
}

fn check_scope(transport: &str, scope: &str) -> Result<(), &'static str> {
    if scope.is_empty() {
        return Ok(());
    }
    let path = match transport {
        "dir" => scope,
        "oci" => scope.split(':').next().unwrap_or_default(),
        "docker-archive" | "oci-archive" | "tarball" => {
            return Err("this transport has no scopes but the empty one");
        }
        _ => return Ok(()),
    };
    let is_clean = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    });
    if is_clean {
        Ok(())
    } else {
        Err("a scope of this transport is an absolute path, without `.`, `..` and `//`")
    }
}

/// The members of an object, of which each must be known.
struct Fields<'v> {
    map: &'v Map<String, Value>,
    at: String,
}

fn object<'v>(value: &'v Value, at: &str) -> Result<&'v Map<String, Value>, ContainersPolicyError> {
    value.as_object().ok_or_else(|| invalid(at, "it is no object"))
}

impl<'v> Fields<'v> {
    fn of(value: &'v Value, at: &str, known: &[&str]) -> Result<Self, ContainersPolicyError> {
        let map = object(value, at)?;
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(invalid(at, format!("`{key}` is not known here"))),
            None => Ok(Self { map, at: at.to_string() }),
        }
    }

    fn get(&self, key: &str) -> Option<&'v Value> {
        self.map.get(key)
    }

    fn optional(&self, key: &str) -> Result<Option<String>, ContainersPolicyError> {
        match self.map.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(_) => Err(self.bad(format!("`{key}` is no text, or empty"))),
        }
    }

    fn text(&self, key: &str) -> Result<String, ContainersPolicyError> {
        self.optional(key)?.ok_or_else(|| self.bad(format!("`{key}` is missing")))
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ContainersPolicyError> {
        let Some(value) = self.map.get(key) else { return Ok(None) };
        let bad = || self.bad(format!("`{key}` is no list of 1 to {LIST_MAX} texts"));
        let list = value.as_array().filter(|it| (1..=LIST_MAX).contains(&it.len()));
        list.ok_or_else(bad)?
            .iter()
            .map(|it| it.as_str().map(str::to_string).ok_or_else(bad))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Every source that is given under these names.
    fn sources(
        &self,
        names: &[(&str, SourceForm)],
    ) -> Result<Vec<KeySource>, ContainersPolicyError> {
        let mut out = Vec::new();
        for (name, form) in names {
            let list = match form {
                SourceForm::Path | SourceForm::Data => self.optional(name)?.map(|it| vec![it]),
                SourceForm::Paths | SourceForm::Datas => self.texts(name)?,
            };
            let Some(list) = list else { continue };
            out.push(match form {
                SourceForm::Path | SourceForm::Paths => {
                    KeySource::Paths(list.into_iter().map(Into::into).collect())
                }
                SourceForm::Data | SourceForm::Datas => KeySource::Data(
                    list.iter()
                        .map(|it| STANDARD.decode(it))
                        .collect::<Result<_, _>>()
                        .map_err(|_| self.bad(format!("`{name}` is not Base64")))?,
                ),
            });
        }
        Ok(out)
    }

    /// The one source that must be given.
    fn source(&self, names: &[(&str, SourceForm)]) -> Result<KeySource, ContainersPolicyError> {
        let mut all = self.sources(names)?;
        if let (Some(only), true) = (all.pop(), all.is_empty()) {
            return Ok(only);
        }
        let list: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        Err(self.bad(format!("exactly one of `{}` must be given", list.join("`, `"))))
    }

    fn bad(&self, problem: impl Into<String>) -> ContainersPolicyError {
        invalid(&self.at, problem)
    }
}

#[derive(Clone, Copy)]
enum SourceForm {
    Path,
    Paths,
    Data,
    Datas,
}

use SourceForm::{Data, Datas, Path as OnePath, Paths};

fn requirements(value: &Value, at: &str) -> Result<Vec<Requirement>, ContainersPolicyError> {
    let list = value.as_array().ok_or_else(|| invalid(at, "it is no list of requirements"))?;
    if list.is_empty() || list.len() > LIST_MAX {
        let problem = format!("a list has 1 to {LIST_MAX} requirements");
        return Err(invalid(at, problem));
    }
    list.iter().enumerate().map(|(i, it)| requirement(it, &format!("{at}[{i}]"))).collect()
}

fn requirement(value: &Value, at: &str) -> Result<Requirement, ContainersPolicyError> {
    let kind = object(value, at)?.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "insecureAcceptAnything" => {
            Fields::of(value, at, &["type"])?;
            Ok(Requirement::InsecureAcceptAnything)
        }
        "reject" => {
            Fields::of(value, at, &["type"])?;
            Ok(Requirement::Reject)
        }
        "signedBy" => signed_by(value, at),
        "signedBaseLayer" => {
            let fields = Fields::of(value, at, &["type", "baseLayerIdentity"])?;
            let identity = fields.get("baseLayerIdentity");
            identity_of(identity.ok_or_else(|| fields.bad("`baseLayerIdentity` is missing"))?, at)?;
            Ok(Requirement::SignedBaseLayer)
        }
        "sigstoreSigned" => sigstore_signed(value, at),
        _ => Err(invalid(at, "its `type` is missing or not known")),
    }
}

fn signed_identity(fields: &Fields<'_>) -> Result<Identity, ContainersPolicyError> {
    fields.get("signedIdentity").map_or(Ok(Identity::MatchRepoDigestOrExact), |value| {
        identity_of(value, &format!("{}.signedIdentity", fields.at))
    })
}

fn signed_by(value: &Value, at: &str) -> Result<Requirement, ContainersPolicyError> {
    let known = ["type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"];
    let fields = Fields::of(value, at, &known)?;
    let key_type = fields.text("keyType")?;
    let kinds = ["GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"];
    if !kinds.contains(&key_type.as_str()) {
        return Err(fields.bad(format!("`keyType` is none of `{}`", kinds.join("`, `"))));
    }
    let sources = [("keyPath", OnePath), ("keyPaths", Paths), ("keyData", Data)];
    let keys = fields.source(&sources)?;
    Ok(Requirement::SignedBy { key_type, keys, identity: signed_identity(&fields)? })
}

const KEYS: [(&str, SourceForm); 4] =
    [("keyPath", OnePath), ("keyPaths", Paths), ("keyData", Data), ("keyDatas", Datas)];
const REKOR_KEYS: [(&str, SourceForm); 4] = [
    ("rekorPublicKeyPath", OnePath),
    ("rekorPublicKeyPaths", Paths),
    ("rekorPublicKeyData", Data),
    ("rekorPublicKeyDatas", Datas),
];

fn sigstore_signed(value: &Value, at: &str) -> Result<Requirement, ContainersPolicyError> {
    let known: Vec<&str> = ["type", "fulcio", "pki", "signedIdentity"]
        .into_iter()
        .chain(KEYS.iter().chain(&REKOR_KEYS).map(|(name, _)| *name))
        .collect();
    let fields = Fields::of(value, at, &known)?;
    let mut trusts: Vec<SigstoreTrust> =
        fields.sources(&KEYS)?.into_iter().map(SigstoreTrust::Keys).collect();
    if let Some(value) = fields.get("fulcio") {
        trusts.push(fulcio(value, &format!("{at}.fulcio"))?);
    }
    if let Some(value) = fields.get("pki") {
        trusts.push(pki(value, &format!("{at}.pki"))?);
    }
    let (Some(trust), true) = (trusts.pop(), trusts.is_empty()) else {
        let problem = "exactly one of `keyPath`, `keyPaths`, `keyData`, `keyDatas`, `fulcio`, \
                       `pki` must be given";
        return Err(fields.bad(problem));
    };
    let mut rekor = fields.sources(&REKOR_KEYS)?;
    let key = rekor.pop();
    if !rekor.is_empty() {
        return Err(fields.bad("at most one of the `rekorPublicKey…` may be given"));
    }
    match (&trust, &key) {
        (SigstoreTrust::Fulcio { .. }, None) => {
            return Err(fields.bad("with `fulcio` a `rekorPublicKey…` must be given"));
        }
        (SigstoreTrust::Pki { .. }, Some(_)) => {
            return Err(fields.bad("with `pki` no `rekorPublicKey…` may be given"));
        }
        _ => {}
    }
    Ok(Requirement::SigstoreSigned { trust, rekor: key, identity: signed_identity(&fields)? })
}

fn fulcio(value: &Value, at: &str) -> Result<SigstoreTrust, ContainersPolicyError> {
    let fields = Fields::of(value, at, &["caPath", "caData", "oidcIssuer", "subjectEmail"])?;
    Ok(SigstoreTrust::Fulcio {
        ca: fields.source(&[("caPath", OnePath), ("caData", Data)])?,
        oidc_issuer: fields.text("oidcIssuer")?,
        subject_email: fields.text("subjectEmail")?,
    })
}

fn pki(value: &Value, at: &str) -> Result<SigstoreTrust, ContainersPolicyError> {
    let known = [
        "caRootsPath",
        "caRootsData",
        "caIntermediatesPath",
        "caIntermediatesData",
        "subjectEmail",
        "subjectHostname",
    ];
    let fields = Fields::of(value, at, &known)?;
    let names = [("caIntermediatesPath", OnePath), ("caIntermediatesData", Data)];
    let mut intermediates = fields.sources(&names)?;
    if intermediates.len() > 1 {
        return Err(fields.bad("at most one of `caIntermediates…` may be given"));
    }
    let subject_email = fields.optional("subjectEmail")?;
    let subject_hostname = fields.optional("subjectHostname")?;
    if subject_email.is_none() && subject_hostname.is_none() {
        return Err(fields.bad("`subjectEmail` or `subjectHostname` must be given"));
    }
    let roots = fields.source(&[("caRootsPath", OnePath), ("caRootsData", Data)])?;
    let intermediates = intermediates.pop();
    Ok(SigstoreTrust::Pki { roots, intermediates, subject_email, subject_hostname })
}

fn identity_of(value: &Value, at: &str) -> Result<Identity, ContainersPolicyError> {
    let kind = object(value, at)?.get("type").and_then(Value::as_str).unwrap_or_default();
    let simple = |identity: Identity| Fields::of(value, at, &["type"]).map(|_| identity);
    let named = |key: &str| {
        let fields = Fields::of(value, at, &["type", key])?;
        Reference::parse(&fields.text(key)?).map_err(|error| fields.bad(error.to_string()))
    };
    match kind {
        "matchExact" => simple(Identity::MatchExact),
        "matchRepoDigestOrExact" => simple(Identity::MatchRepoDigestOrExact),
        "matchRepository" => simple(Identity::MatchRepository),
        "exactReference" => {
            let reference = named("dockerReference")?;
            if reference.tag().is_none() && reference.digest().is_none() {
                return Err(invalid(at, "`dockerReference` has neither a tag nor a digest"));
            }
            Ok(Identity::ExactReference(reference))
        }
        "exactRepository" => named("dockerRepository").map(Identity::ExactRepository),
        "remapIdentity" => {
            let fields = Fields::of(value, at, &["type", "prefix", "signedPrefix"])?;
            let prefix = |key: &str| {
                let text = fields.text(key)?;
                // A host alone is a prefix too; with a path after it, it must be a name.
                match Reference::parse(&format!("{text}/x")) {
                    Ok(_) if !text.ends_with('/') => Ok(text),
                    _ => Err(fields.bad(format!("`{key}` is no beginning of a name"))),
                }
            };
            let (prefix, signed_prefix) = (prefix("prefix")?, prefix("signedPrefix")?);
            Ok(Identity::RemapIdentity { prefix, signed_prefix })
        }
        _ => Err(invalid(at, "its `type` is missing or not known")),
    }
}

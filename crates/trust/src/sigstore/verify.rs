//! Verifies a bundle: all of it, in the order of the client specification.

use palisade_base::Timestamp;

use super::bundle::{Bundle, Content, LogEntry, Material};
use super::entry::{Signed, What};
use super::error::SigstoreError;
use super::identity::{CertificateIdentity, IdentityMatch};
use super::root::{Log, TrustedRoot};
use super::sct;
use crate::dsse;
use crate::json::JsonError;
use crate::pki::certificate::{CODE_SIGNING, Certificate};
use crate::pki::path::Chain;
use crate::pki::timestamp::{TimeStamp, TimeStampError};
use crate::pki::{Hash, Key};
use crate::spki::VerificationKey;
use crate::statement::{PAYLOAD_TYPE, Statement};

/// How far in the future a signature may have been made, in seconds: clocks differ.
const SKEW: i64 = 300;

/// What must have been signed.
#[derive(Debug, Clone)]
pub enum Artifact<'a> {
    /// The whole of it.
    Bytes(&'a [u8]),
    /// Its digest: 32 bytes of SHA-256, 48 of SHA-384 or 64 of SHA-512.
    Digest(Vec<u8>),
}

impl Artifact<'_> {
    /// Its digest of that kind, where it can be told.
    fn digest(&self, hash: Hash) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(hash.of(bytes)),
            Self::Digest(digest) => (digest.len() == hash.n_bytes()).then(|| digest.clone()),
        }
    }
}

/// Who signed.
#[derive(Debug, Clone, PartialEq)]
pub enum Signer {
    /// The holder of a key: an element of the keys given.
    Key(VerificationKey),
    /// Whom a certificate names.
    Certificate(CertificateIdentity),
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {}", key.hint()),
            Self::Certificate(identity) => write!(f, "{identity}"),
        }
    }
}

/// A statement that was signed.
#[derive(Debug, Clone)]
pub struct Attested {
    /// Its kind.
    pub predicate_type: String,
    /// The statement, as it was signed.
    pub payload: Vec<u8>,
}

/// What a bundle proves.
#[derive(Debug, Clone)]
pub struct VerifiedBundle {
    /// Who signed.
    pub signer: Signer,
    /// When, in seconds since the Unix epoch, as logs and authorities say.
    pub times: Vec<i64>,
    /// What was said about the artifact, in an envelope.
    pub attested: Option<Attested>,
    /// How many logs have it.
    pub n_log_entries: usize,
}

/// Verifies bundles against one trusted root. Opens no socket.
#[derive(Debug, Clone)]
pub struct Verifier<'r> {
    /// What is trusted; none: only keys, and logs are not asked.
    pub root: Option<&'r TrustedRoot>,
    /// Seconds since the Unix epoch.
    pub now: i64,
    /// Whether a certificate's signature must be in a log.
    pub needs_log: bool,
    /// Whether a certificate must be in a log of certificates.
    pub needs_certificate_log: bool,
}

/// What time stamps and log entries say.
#[derive(Default)]
struct Times {
    all: Vec<i64>,
}

impl<'r> Verifier<'r> {
    /// A verifier that asks for everything that there is to prove.
    pub fn new(root: Option<&'r TrustedRoot>, now: i64) -> Self {
        Self { root, now, needs_log: true, needs_certificate_log: true }
    }

    /// Verifies `bundle` as the signature of `artifact`, by one of `keys` or by whom its
    /// certificate names. Whether that is who should have signed, the caller decides.
    pub fn verify(
        &self,
        bundle: &Bundle,
        artifact: &Artifact<'_>,
        keys: &[VerificationKey],
    ) -> Result<VerifiedBundle, SigstoreError> {
        let times = self.times(bundle)?;
        let (key, verifier, signer) = match &bundle.material {
            Material::Key { .. } => {
                if keys.is_empty() {
                    return Err(SigstoreError::NoKey);
                }
                let mut problem = SigstoreError::BadSignature;
                let signed = |key: &&VerificationKey| {
                    let found = check_signature(bundle, key.key(), artifact);
                    // One of these keys might have signed: nobody can tell without the file.
                    if let Err(error @ SigstoreError::NeedsArtifact) = found {
                        problem = error;
                        return false;
                    }
                    found.is_ok()
                };
                let key = keys.iter().find(signed).ok_or(problem)?;
                (key.key(), key.key().spki(), Signer::Key(key.clone()))
            }
            Material::Certificate { leaf, intermediates } => {
                let root = self.root.ok_or(SigstoreError::NoRoot)?;
                if times.all.is_empty() {
                    return Err(SigstoreError::NoTime);
                }
                self.check_certificate(root, leaf, intermediates, &times.all)?;
                check_signature(bundle, &leaf.key, artifact)?;
                let identity = CertificateIdentity::of(leaf);
                (&leaf.key, leaf.raw(), Signer::Certificate(identity))
            }
        };
        debug_assert!(!key.spki().is_empty());
        self.check_entries(bundle, verifier, artifact)?;
        let attested = check_statement(bundle, artifact)?;
        let n_log_entries = bundle.entries.len();
        Ok(VerifiedBundle { signer, times: times.all, attested, n_log_entries })
    }

    /// Verifies that `wanted` signed `artifact`, with a certificate.
    pub fn verify_identity(
        &self,
        bundle: &Bundle,
        artifact: &Artifact<'_>,
        wanted: &IdentityMatch,
    ) -> Result<VerifiedBundle, SigstoreError> {
        let verified = self.verify(bundle, artifact, &[])?;
        match &verified.signer {
            Signer::Certificate(identity) if wanted.matches(identity) => Ok(verified),
            other => Err(SigstoreError::OtherIdentity {
                found: other.to_string(),
                wanted: wanted.to_string(),
            }),
        }
    }

    /// Verifies that one of `keys` signed `artifact`.
    pub fn verify_key(
        &self,
        bundle: &Bundle,
        artifact: &Artifact<'_>,
        keys: &[VerificationKey],
    ) -> Result<VerifiedBundle, SigstoreError> {
        match bundle.material {
            Material::Key { .. } => self.verify(bundle, artifact, keys),
            Material::Certificate { .. } => Err(SigstoreError::NotByKey),
        }
    }

    /// The times that trusted parties vouch for. A stamp of an authority that is not trusted
    /// says nothing; one that is false is a reason to refuse.
    fn times(&self, bundle: &Bundle) -> Result<Times, SigstoreError> {
        let mut times = Times::default();
        let Some(root) = self.root else { return Ok(times) };
        for bytes in &bundle.timestamps {
            let malformed = |error| SigstoreError::TimeStamp(format!("{error}"));
            let stamp = TimeStamp::parse(bytes).map_err(malformed)?;
            if let Some(time) = trusted_time(&stamp, &bundle.signature, root)? {
                times.all.push(time);
            }
        }
        // Entries with a promise first: those without are held against all known times.
        let promised = |entry: &&LogEntry| entry.promise.is_some();
        for entry in bundle.entries.iter().filter(promised) {
            let time = check_logged(bundle, entry, root, &[])?;
            times.all.extend(time);
        }
        for entry in bundle.entries.iter().filter(|entry| !promised(entry)) {
            check_logged(bundle, entry, root, &times.all)?;
        }
        if let Some(late) = times.all.iter().find(|time| **time > self.now + SKEW) {
            return Err(SigstoreError::Future(show(*late)));
        }
        Ok(times)
    }

    fn check_certificate(
        &self,
        root: &TrustedRoot,
        leaf: &Certificate,
        intermediates: &[Certificate],
        times: &[i64],
    ) -> Result<(), SigstoreError> {
        if leaf.is_authority || leaf.has_usage(CODE_SIGNING) != Some(true) || !leaf.may_sign() {
            return Err(SigstoreError::WrongUsage);
        }
        if let Some(time) = times.iter().find(|time| !leaf.is_valid_at(**time)) {
            return Err(SigstoreError::OutsideValidity(show(*time)));
        }
        let mut is_issued = false;
        for authority in &root.authorities {
            let extended = extend(&authority.chain, intermediates);
            for chain in std::iter::once(&authority.chain).chain(&extended) {
                if !chain.issued(leaf) {
                    continue;
                }
                is_issued = true;
                let holds = |time: &i64| {
                    authority.period.contains(*time) && chain.holds_at(*time, CODE_SIGNING)
                };
                let Some(issuer) = chain.certificates().first() else { continue };
                if times.iter().all(holds) {
                    if self.needs_certificate_log {
                        sct::verify(leaf, &issuer.key, &root.certificate_logs)?;
                    }
                    return Ok(());
                }
            }
        }
        Err(match times.first() {
            Some(time) if is_issued => SigstoreError::OutsideValidity(show(*time)),
            _ => SigstoreError::UntrustedCertificate,
        })
    }

    /// Checks that each log entry is of this very signature.
    fn check_entries(
        &self,
        bundle: &Bundle,
        verifier: &[u8],
        artifact: &Artifact<'_>,
    ) -> Result<(), SigstoreError> {
        if self.root.is_none() {
            return Ok(());
        }
        let by_certificate = matches!(bundle.material, Material::Certificate { .. });
        if bundle.entries.is_empty() && self.needs_log && by_certificate {
            return Err(SigstoreError::NoLogEntry);
        }
        let of = |hash| artifact.digest(hash);
        let signed;
        let what = match &bundle.content {
            Content::Message { .. } => What::Message(&of),
            Content::Envelope { payload_type, payload } => {
                signed = dsse::pae(payload_type, payload);
                What::Envelope { payload, signed: &signed }
            }
        };
        let signed = Signed { verifier, signature: &bundle.signature, what };
        for entry in &bundle.entries {
            entry.check_is_of(&signed)?;
        }
        Ok(())
    }
}

/// Checks that a log that was trusted at the time has the entry; gives the time that it promised.
/// An entry without a promise says no time of its own: its log must have been trusted at one of
/// `times`, where there are any. A log may stand in the root several times, for several periods.
fn check_logged(
    bundle: &Bundle,
    entry: &LogEntry,
    root: &TrustedRoot,
    times: &[i64],
) -> Result<Option<i64>, SigstoreError> {
    let is_trusted = |log: &&Log| {
        log.id == entry.log_id
            && match entry.promise {
                Some(_) => log.period.contains(entry.integrated_time),
                None => times.is_empty() || times.iter().any(|time| log.period.contains(*time)),
            }
    };
    let mut problem = SigstoreError::UnknownLog;
    for (i, log) in root.logs.iter().filter(is_trusted).enumerate() {
        match has_entry(bundle, entry, log) {
            Ok(time) => return Ok(time),
            Err(error) if i == 0 => problem = error,
            Err(_) => {}
        }
    }
    Err(problem)
}

fn has_entry(bundle: &Bundle, entry: &LogEntry, log: &Log) -> Result<Option<i64>, SigstoreError> {
    let time = match entry.promise {
        Some(_) => Some(entry.verify_promise(log)?),
        None if bundle.minor == 1 => return Err(SigstoreError::Promise("is missing")),
        None => None,
    };
    match &entry.proof {
        Some(proof) => entry.verify_inclusion(log, proof, bundle.minor > 1)?,
        None if bundle.minor > 1 => return Err(SigstoreError::Inclusion("is missing".into())),
        None => {}
    }
    Ok(time)
}

fn trusted_time(
    stamp: &TimeStamp<'_>,
    signature: &[u8],
    root: &TrustedRoot,
) -> Result<Option<i64>, SigstoreError> {
    for authority in &root.time_authorities {
        match stamp.verify(signature, authority.leaf.as_ref(), &authority.chain) {
            Ok(time) if authority.period.contains(time) => return Ok(Some(time)),
            Ok(_) | Err(TimeStampError::UnknownAuthority | TimeStampError::OutsideValidity) => {}
            Err(error) => return Err(SigstoreError::TimeStamp(error.to_string())),
        }
    }
    if !stamp.is_of(signature) {
        return Err(SigstoreError::TimeStamp(TimeStampError::OtherMessage.to_string()));
    }
    Ok(None)
}

/// The chain under which certificates of the bundle stand, from the one that issued the leaf.
fn extend(chain: &Chain, intermediates: &[Certificate]) -> Option<Chain> {
    if intermediates.is_empty() {
        return None;
    }
    Chain::new([intermediates, chain.certificates()].concat()).ok()
}

fn show(time: i64) -> String {
    u64::try_from(time)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        .map_or_else(|| time.to_string(), |nanos| Timestamp::from_nanos(nanos).rfc3339())
}

fn check_signature(
    bundle: &Bundle,
    key: &Key,
    artifact: &Artifact<'_>,
) -> Result<(), SigstoreError> {
    let is_good = match &bundle.content {
        Content::Envelope { payload_type, payload } => {
            let signed = dsse::pae(payload_type, payload);
            key.verify(key.usual_hash(), &signed, &bundle.signature)
                || (key.usual_hash() != Hash::Sha256
                    && key.verify(Hash::Sha256, &signed, &bundle.signature))
        }
        Content::Message { digest } => {
            if let Some((hash, digest)) = digest
                && artifact.digest(*hash).is_some_and(|own| own != *digest)
            {
                return Err(SigstoreError::OtherSubject);
            }
            let declared = digest.as_ref().map(|(hash, _)| *hash);
            let usual = key.usual_hash();
            let mut hashes = declared.into_iter().chain((declared != Some(usual)).then_some(usual));
            match artifact {
                // Files are signed with Ed25519ph where the digest that the log has is SHA-512.
                Artifact::Bytes(bytes) => {
                    hashes.any(|hash| key.verify(hash, bytes, &bundle.signature))
                        || declared == Some(Hash::Sha512)
                            && key.verify_ed25519ph(&Hash::Sha512.of(bytes), &bundle.signature)
                }
                Artifact::Digest(value) if !key.verifies_hashes() => {
                    if declared != Some(Hash::Sha512)
                        || !key.verify_ed25519ph(value, &bundle.signature)
                    {
                        return Err(SigstoreError::NeedsArtifact);
                    }
                    true
                }
                Artifact::Digest(value) => hashes.any(|hash| {
                    hash.n_bytes() == value.len() && key.verify_hash(value, &bundle.signature)
                }),
            }
        }
    };
    if is_good { Ok(()) } else { Err(SigstoreError::BadSignature) }
}

/// Checks that an envelope's statement is about the artifact.
fn check_statement(
    bundle: &Bundle,
    artifact: &Artifact<'_>,
) -> Result<Option<Attested>, SigstoreError> {
    let Content::Envelope { payload_type, payload } = &bundle.content else {
        return Ok(None);
    };
    if payload_type != PAYLOAD_TYPE {
        let shown = payload_type.chars().filter(|c| !c.is_control()).take(100).collect();
        return Err(SigstoreError::NoStatement(shown));
    }
    let statement = Statement::parse(payload)
        .map_err(|error: JsonError| SigstoreError::NoStatement(error.to_string()))?;
    let is_about = [("sha256", Hash::Sha256), ("sha384", Hash::Sha384), ("sha512", Hash::Sha512)]
        .into_iter()
        .filter(|(name, _)| statement.names_algorithm(name))
        .any(|(name, hash)| {
            artifact.digest(hash).is_some_and(|digest| statement.is_about_digest(name, &digest))
        });
    if !is_about {
        return Err(SigstoreError::OtherSubject);
    }
    Ok(Some(Attested { predicate_type: statement.predicate_type, payload: payload.clone() }))
}

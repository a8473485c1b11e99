//! Signatures under ID tokens and of the Notary Project: which files say whom to trust, and
//! what each signature that lies beside an image is worth by them.

use std::path::{Path, PathBuf};

use palisade_trust::attach::Found;
use palisade_trust::notary::{
    self, Action, Envelope, EnvelopeKind, NotaryPolicy, NotaryVerifier, TrustStore,
};
use palisade_trust::openpubkey::{Providers, SIGNATURE_MEDIA_TYPE, SignedStatement};
use palisade_trust::{IMAGE_SIGNATURE_TYPE, NamedSigner, OtherVerdict, Said, SignatureFormat};

use crate::exit::{Exit, Failure, OrExit as _};

/// A file that says whose signatures count.
pub(super) struct Acceptor {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    OpenPubkey(Box<Providers>),
    Notary {
        policy: Box<NotaryPolicy>,
        store: TrustStore,
        /// `HOST/REPOSITORY` of the image; `None`: it is none of a registry.
        repository: Option<String>,
        /// Whether a statement that only logs who signed counts.
        is_lenient: bool,
    },
}

impl Acceptor {
    /// Reads a file of OpenID providers.
    pub(super) fn openpubkey(path: &Path) -> Result<Self, Failure> {
        let providers = Box::new(Providers::read(path).or_exit(Exit::Usage)?);
        Ok(Self { path: path.to_path_buf(), kind: Kind::OpenPubkey(providers) })
    }

    /// Reads a trust policy of the Notary Project, for images of one repository.
    pub(super) fn notary(
        path: &Path,
        repository: Option<String>,
        is_lenient: bool,
    ) -> Result<Self, Failure> {
        let policy = NotaryPolicy::read(path).or_exit(Exit::Usage)?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let store = TrustStore::read(folder.unwrap_or(Path::new(".")), &policy);
        let store = store.or_exit(Exit::Usage)?;
        let kind = Kind::Notary { policy: Box::new(policy), store, repository, is_lenient };
        Ok(Self { path: path.to_path_buf(), kind })
    }

    /// The statement of the trust policy that is about the repository; whether it verifies
    /// anything.
    pub(super) fn statement(&self) -> Result<Option<(String, bool)>, Failure> {
        let Kind::Notary { policy, store, repository: Some(repository), .. } = &self.kind else {
            return Ok(None);
        };
        let verifier = NotaryVerifier::new(policy, store, 0);
        let (statement, level) = verifier.statement(repository).or_exit(Exit::Refused)?;
        Ok(Some((statement.name.clone(), level.is_some())))
    }

    fn judge(&self, found: &Found, now: i64) -> Option<OtherVerdict> {
        let (format, result) = match &self.kind {
            Kind::OpenPubkey(providers) => {
                if found.artifact_type != SIGNATURE_MEDIA_TYPE {
                    return None;
                }
                (SignatureFormat::OpenPubkey, token(providers, found, now))
            }
            Kind::Notary { policy, store, repository, is_lenient } => {
                if found.artifact_type != notary::ARTIFACT_TYPE {
                    return None;
                }
                let verifier = NotaryVerifier::new(policy, store, now);
                let said = match repository {
                    Some(repository) => envelope(&verifier, repository, *is_lenient, found),
                    None => Err("the image has no name of a repository, which a trust policy \
                                 is about"
                        .into()),
                };
                (SignatureFormat::Notary, said)
            }
        };
        let by = |mut said: Said| {
            said.signer.accepted_by.push(self.path.clone());
            said
        };
        Some(OtherVerdict { format, result: result.map(by) })
    }
}

/// What all files say of one signature: it counts by each that accepts it.
pub(super) fn judge(acceptors: &[Acceptor], found: &Found, now: i64) -> Option<OtherVerdict> {
    let mut all = acceptors.iter().filter_map(|it| it.judge(found, now));
    let mut verdict = all.next()?;
    for next in all {
        match (&mut verdict.result, next.result) {
            (Ok(said), Ok(other)) if said.signer.names == other.signer.names => {
                said.signer.accepted_by.extend(other.signer.accepted_by);
                let ends = [said.signer.until, other.signer.until];
                said.signer.until = ends.into_iter().flatten().min();
            }
            (Err(_), result @ Ok(_)) => verdict.result = result,
            _ => {}
        }
    }
    Some(verdict)
}

fn token(providers: &Providers, found: &Found, now: i64) -> Result<Said, String> {
    let verified = SignedStatement::parse(&found.layer)
        .and_then(|document| document.statement(providers, &found.subject, now));
    let (token, kind, statement) = verified.map_err(|error| told(&error))?;
    let names = token.names().iter().map(|name| (*name).to_string()).collect();
    let issuer = Some(token.issuer.clone());
    let until = token.valid_until;
    let signer = NamedSigner { names, issuer, until, ..NamedSigner::default() };
    let attested = (kind != IMAGE_SIGNATURE_TYPE).then_some((kind, statement));
    Ok(Said { signer, attested })
}

fn envelope(
    verifier: &NotaryVerifier<'_>,
    repository: &str,
    is_lenient: bool,
    found: &Found,
) -> Result<Said, String> {
    let (_, level) = verifier.statement(repository).map_err(|error| told(&error))?;
    let enforces = level.is_some_and(|level| level.authenticity == Action::Enforce);
    if !enforces && !is_lenient {
        return Err("the trust policy's statement does not enforce who signed".into());
    }
    let Some(kind) = EnvelopeKind::of(&found.layer_type) else {
        return Err(format!("`{}` is no envelope", found.layer_type));
    };
    let target = notary::Target {
        media_type: &found.subject_type,
        digest: found.subject,
        size: found.subject_size,
    };
    let outcome = Envelope::parse(kind, &found.layer)
        .and_then(|envelope| verifier.verify(&envelope, repository, target))
        .map_err(|error| told(&error))?;
    let (names, notes, until) = (vec![outcome.subject], outcome.logged, outcome.until);
    Ok(Said {
        signer: NamedSigner { names, notes, until, ..NamedSigner::default() },
        attested: None,
    })
}

/// An error with its cause, on one line.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

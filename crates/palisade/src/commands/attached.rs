//! `palisade verify --openpubkey` and `--notary-policy`: signatures that lie beside an image
//! in its layout.

use std::path::Path;

use palisade_trust::attach::{Found, attachments_in_layout};
use palisade_trust::notary::{
    self, Envelope, EnvelopeKind, NotaryPolicy, NotaryVerifier, TrustStore,
};
use palisade_trust::openpubkey::{Providers, SIGNATURE_MEDIA_TYPE, SignedStatement};
use palisade_trust::sigstore::TextMatch;
use palisade_trust::{ContentError, IMAGE_SIGNATURE_TYPE};
use serde_json::json;

use super::sign::layout;
use super::{Context, trust};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Who signed, and what else there is to say.
struct Verdict {
    signer: String,
    format: &'static str,
    notes: Vec<String>,
}

/// Verifies an image: every byte, and who signed it.
pub(super) fn verify(context: &Context<'_>, args: &cli::Verify) -> Result<Exit, Failure> {
    let (folder, selector) = layout(&args.target)?;
    let verifier = match (&args.openpubkey, &args.notary_policy) {
        (Some(file), _) => Some(openpubkey(args, file)?),
        (None, Some(file)) => notary_policy(context, args, file)?,
        (None, None) => return Err(Failure::message(Exit::Usage, "no signer given")),
    };
    let Some(verifier) = verifier else {
        context.terminal.result("skipped: the trust policy verifies nothing here\n")?;
        return Ok(Exit::Clean);
    };
    let found = attachments_in_layout(&folder, selector.as_deref());
    let found = found.map_err(|error| {
        let is_tampered = matches!(error, ContentError::Tampered { .. });
        let exit = if is_tampered { Exit::Refused } else { Exit::Incomplete };
        Failure::from_explained(error, exit)
    })?;
    let digest = found.subject.digest;
    let mut reasons = Vec::new();
    let mut verdict = None;
    for one in &found.attachments {
        match verifier(one) {
            None => {}
            Some(Ok(found)) => {
                verdict.get_or_insert(found);
            }
            Some(Err(reason)) => reasons.push(format!("{}: {reason}", one.digest)),
        }
    }
    let Some(verdict) = verdict else {
        for reason in &reasons {
            context.terminal.error(&format!("  - {reason}\n"));
        }
        let what = if reasons.is_empty() {
            format!("image `{digest}` has no such signature")
        } else {
            format!("image `{digest}` has no signature that counts")
        };
        return Err(Failure::message(Exit::Refused, what)
            .with_hint("have it signed by its publisher, or trust who signed it"));
    };
    for note in &verdict.notes {
        context.terminal.error(&format!("warning: {note}\n"));
    }
    let (n_blobs, n_bytes) = (found.checked.n_blobs, found.checked.n_bytes);
    let Verdict { signer, format, notes } = verdict;
    let text = match args.format {
        ListFormat::Json => format!(
            "{:#}\n",
            json!({
                "schema": "palisade.dev/verification/v1",
                "digest": digest,
                "key": signer,
                "format": format,
                "blobs": n_blobs,
                "bytes": n_bytes,
                "rejected_signatures": reasons.len(),
                "attestations_not_examined": found.attachments.len() - reasons.len() - 1,
                "logged": notes,
            })
        ),
        ListFormat::Tsv => format!("{digest}\t{signer}\t{format}\n"),
        ListFormat::Table => format!(
            "verified  {digest}\nsigned by {signer} ({format})\ncontent   {n_blobs} blobs, {n_bytes} bytes, each equal to its digest\n"
        ),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

type Check<'v> = Box<dyn Fn(&Found) -> Option<Result<Verdict, String>> + 'v>;

fn openpubkey(args: &cli::Verify, file: &Path) -> Result<Check<'static>, Failure> {
    let providers = Providers::read(file).or_exit(Exit::Usage)?;
    let wanted = trust::identities(
        args.certificate_identity.as_deref(),
        args.certificate_identity_regexp.as_deref(),
        args.certificate_oidc_issuer.as_deref(),
    )?;
    if wanted.is_empty() {
        return Err(Failure::message(Exit::Usage, "nobody is named who must have signed")
            .with_hint("use --certificate-identity NAME with --certificate-oidc-issuer URL"));
    }
    let now = trust::now();
    Ok(Box::new(move |found| {
        if found.artifact_type != SIGNATURE_MEDIA_TYPE {
            return None;
        }
        let verified = SignedStatement::parse(&found.layer)
            .and_then(|document| document.verify(&providers, &found.subject, now));
        let (token, predicate) = match verified {
            Ok(verified) => verified,
            Err(error) => return Some(Err(told(&error))),
        };
        if predicate != IMAGE_SIGNATURE_TYPE {
            return None;
        }
        let is_wanted = wanted.iter().any(|one| {
            matches_text(&one.issuer, &token.issuer)
                && token.names().iter().any(|name| matches_text(&one.name, name))
        });
        let name = token.names().first().copied().unwrap_or_default().to_string();
        if !is_wanted {
            return Some(Err(format!("it is by `{name}` of {}", token.issuer)));
        }
        let signer = format!("{name} of {}", token.issuer);
        Some(Ok(Verdict { signer, format: "openpubkey", notes: Vec::new() }))
    }))
}

fn matches_text(wanted: &TextMatch, text: &str) -> bool {
    wanted.matches(text)
}

fn notary_policy(
    context: &Context<'_>,
    args: &cli::Verify,
    file: &Path,
) -> Result<Option<Check<'static>>, Failure> {
    let policy = NotaryPolicy::read(file).or_exit(Exit::Usage)?;
    let folder = file.parent().unwrap_or(Path::new(".")).to_path_buf();
    let store = TrustStore::read(&folder, &policy).or_exit(Exit::Usage)?;
    let name = args.reference.as_deref().ok_or_else(|| {
        Failure::message(Exit::Usage, "a trust policy is about repositories, and none is named")
            .with_hint("say what the image is called there: --reference HOST/REPOSITORY")
    })?;
    let reference: palisade_model::Reference = name.parse().or_exit(Exit::Usage)?;
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    let now = trust::now();
    {
        let verifier = NotaryVerifier::new(&policy, &store, now);
        let (statement, level) = verifier.statement(&repository).or_exit(Exit::Refused)?;
        context.terminal.progress(&format!("statement `{}` decides", statement.name));
        if level.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(Box::new(move |found| {
        if found.artifact_type != notary::ARTIFACT_TYPE {
            return None;
        }
        let target = notary::Target {
            media_type: &found.subject_type,
            digest: found.subject,
            size: found.subject_size,
        };
        let verifier = NotaryVerifier::new(&policy, &store, now);
        let Some(kind) = EnvelopeKind::of(&found.layer_type) else {
            return Some(Err(format!("`{}` is no envelope", found.layer_type)));
        };
        let verified = Envelope::parse(kind, &found.layer)
            .and_then(|envelope| verifier.verify(&envelope, &repository, target));
        Some(match verified {
            Ok(outcome) => Ok(Verdict {
                signer: outcome.subject,
                format: match kind {
                    EnvelopeKind::Jws => "notary jws",
                    EnvelopeKind::Cose => "notary cose",
                },
                notes: outcome.logged,
            }),
            Err(error) => Err(told(&error)),
        })
    })))
}

/// An error with its cause, on one line.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

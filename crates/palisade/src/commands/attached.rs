//! `palisade verify --openpubkey` and `--notary-policy`: signatures of other families that lie
//! beside an image, wherever it is.

use std::path::Path;

use palisade_model::{Reference, Target};
use palisade_trust::attach::Found;
use palisade_trust::sigstore::IdentityMatch;
use palisade_trust::{
    Depth, Examined, ImageSigner, NamedSigner, OtherVerdict, Rejection, Said, SignatureFormat,
    Signers, Verified, VerifyError,
};
use serde_json::json;

use super::others::{self, Acceptor};
use super::{Context, trust, verify};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Verifies an image: what of it is at hand, and who signed it.
pub(super) fn verify(context: &Context<'_>, args: &cli::Verify) -> Result<Exit, Failure> {
    let (acceptor, wanted) = match (&args.openpubkey, &args.notary_policy) {
        (Some(file), _) => (Acceptor::openpubkey(file)?, wanted(args)?),
        (None, Some(file)) => (notary(args, file)?, Vec::new()),
        (None, None) => return Err(Failure::message(Exit::Usage, "no signer given")),
    };
    if let Some((name, verifies)) = acceptor.statement()? {
        context.terminal.progress(&format!("statement `{name}` decides"));
        if !verifies {
            context.terminal.result("skipped: the trust policy verifies nothing here\n")?;
            return Ok(Exit::Clean);
        }
    }
    let (acceptors, now) = ([acceptor], trust::now());
    let others = |found: &Found| {
        let verdict = others::judge(&acceptors, found, now)?;
        wanted_alone(verdict, &wanted)
    };
    let opened = verify::open(context, &args.target, &args.source, args.layers)?;
    let nobody = Signers { keys: &[], identities: None };
    let Examined { result, unread } = opened
        .source
        .examine(opened.selector.as_deref(), opened.depth, nobody, Some(&others))
        .map_err(verify::failure)?;
    match (result, unread) {
        (Ok(verified), _) => shown(context, &verified, opened.depth, args.format),
        (Err(_), Some(unread)) => Err(verify::failure(unread.into())),
        (Err(error), None) => Err(refusal(context, error)),
    }
}

/// Whom the flags name; somebody must be.
fn wanted(args: &cli::Verify) -> Result<Vec<IdentityMatch>, Failure> {
    let wanted = trust::identities(
        args.certificate_identity.as_deref(),
        args.certificate_identity_regexp.as_deref(),
        args.certificate_oidc_issuer.as_deref(),
    )?;
    if wanted.is_empty() {
        return Err(Failure::message(Exit::Usage, "nobody is named who must have signed")
            .with_hint("use --certificate-identity NAME with --certificate-oidc-issuer URL"));
    }
    Ok(wanted)
}

fn notary(args: &cli::Verify, file: &Path) -> Result<Acceptor, Failure> {
    let named = match (&args.reference, args.target.parse::<Target>().or_exit(Exit::Usage)?) {
        (Some(name), _) => name.parse::<Reference>().or_exit(Exit::Usage)?,
        (None, Target::Registry(reference) | Target::Anywhere(reference)) => reference,
        _ => {
            return Err(Failure::message(
                Exit::Usage,
                "a trust policy is about repositories, and none is named",
            )
            .with_hint("say what the image is called there: --reference HOST/REPOSITORY"));
        }
    };
    Acceptor::notary(file, Some(named.name()), true)
}

/// Leaves signatures by those who are wanted; attestations are not asked for here.
fn wanted_alone(verdict: OtherVerdict, wanted: &[IdentityMatch]) -> Option<OtherVerdict> {
    let OtherVerdict { format, result } = verdict;
    let said = match result {
        Ok(Said { attested: Some(_), .. }) => return None,
        Ok(said) => said,
        Err(reason) => return Some(OtherVerdict { format, result: Err(reason) }),
    };
    let NamedSigner { names, issuer, .. } = &said.signer;
    let is_wanted = wanted.is_empty()
        || wanted.iter().any(|one| {
            one.issuer.matches(issuer.as_deref().unwrap_or_default())
                && names.iter().any(|name| one.name.matches(name))
        });
    let result = if is_wanted { Ok(said) } else { Err(format!("it is by {}", said.signer)) };
    Some(OtherVerdict { format, result })
}

fn refusal(context: &Context<'_>, error: VerifyError) -> Failure {
    let (digest, rejections) = match error {
        VerifyError::WrongKey { digest, rejections }
        | VerifyError::Malformed { digest, rejections } => (digest, rejections),
        VerifyError::NoSignature { digest } => (digest, Vec::new()),
        other => return verify::failure(other),
    };
    let counted = rejections.iter().filter(|it| is_asked_for(it)).collect::<Vec<_>>();
    for Rejection { digest, reason, .. } in &counted {
        context.terminal.error(&format!("  - {digest}: {reason}\n"));
    }
    let what =
        if counted.is_empty() { "has no such signature" } else { "has no signature that counts" };
    Failure::message(Exit::Refused, format!("image `{digest}` {what}"))
        .with_hint("have it signed by its publisher, or trust who signed it")
}

/// Sigstore's signatures are not what these flags ask about.
fn is_asked_for(rejection: &Rejection) -> bool {
    matches!(rejection.format, SignatureFormat::OpenPubkey | SignatureFormat::Notary)
}

fn shown(
    context: &Context<'_>,
    verified: &Verified,
    depth: Depth,
    form: ListFormat,
) -> Result<Exit, Failure> {
    let notes = match &verified.signer {
        ImageSigner::Named(signer) => signer.notes.as_slice(),
        _ => &[],
    };
    for note in notes {
        context.terminal.error(&format!("warning: {note}\n"));
    }
    let text = match form {
        ListFormat::Json => {
            let content = verified.content;
            format!(
                "{:#}\n",
                json!({
                    "schema": "palisade.dev/verification/v1",
                    "digest": verified.digest,
                    "key": verified.signer.to_string(),
                    "format": verify::format_name(verified.format),
                    "blobs": content.n_blobs,
                    "bytes": content.n_bytes,
                    "layers_read": depth == Depth::Everything,
                    "rejected_signatures":
                        verified.rejections.iter().filter(|it| is_asked_for(it)).count(),
                    "attestations_not_examined": verified.n_attestations,
                    "logged": notes,
                })
            )
        }
        form => verify::shown(verified, depth, form),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

//! `palisade trust explain` and `palisade trust list`: what a policy's rules say, and why.

use palisade_base::Timestamp;
use palisade_model::Target;
use palisade_policy::TrustRule;
use palisade_policy::trust::TrustVerdict;
use palisade_trust::{Rejection, SignatureFormat, VerifyError};
use serde_json::json;

use super::trusted::{Judged, Trusted};
use super::{Context, trust, verify};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// Says which rule decides about an image, whom its signatures name, and what each lacks.
pub(super) fn explain(context: &Context<'_>, args: &cli::TrustExplain) -> Result<Exit, Failure> {
    verify::tell_offline(context, args.offline);
    let mut images = context.load_policy(&args.policy)?.policy.images;
    images.keys.extend(args.key.iter().cloned());
    let name = verify::name_of(&args.target.parse::<Target>().or_exit(Exit::Usage)?);
    let path = trust::root_path(context, args.trusted_root.as_deref(), Some(&images));
    let root =
        || path.as_deref().map_or(Ok(None), |it| trust::root(context, Some(it), Exit::Usage));
    let trusted = Trusted::new(&images, &name, root)?;
    if !trusted.names_anybody() {
        return Err(Failure::message(
            Exit::Refused,
            format!("`{name}` is not trusted: no rule of the policy is about this image"),
        )
        .with_hint("add a rule to `images.trust`, or mend the names in `images` of one"));
    }
    let opened = verify::open(context, &args.target, &args.source, false)?;
    let judged = trusted
        .judge(&opened.source, opened.selector.as_deref(), opened.depth)
        .map_err(verify::failure)?;
    let text = match args.format {
        ListFormat::Json => format!("{:#}\n", as_json(&name, &judged)),
        form => {
            let lines = lines(&name, &judged);
            match form {
                ListFormat::Tsv => tsv(&lines),
                _ => columns(&["WHAT", "WHICH", "HOW"], &lines),
            }
        }
    };
    context.terminal.result(&text)?;
    Ok(if judged.decision.allowed_by().is_some() { Exit::Clean } else { Exit::Refused })
}

/// Lists the rules of a policy, with what holds today.
pub(super) fn list(context: &Context<'_>, args: &cli::TrustList) -> Result<Exit, Failure> {
    let images = context.load_policy(&args.policy)?.policy.images;
    let now = Timestamp::now();
    let all = |texts: &[String]| if texts.is_empty() { "*".into() } else { texts.join(", ") };
    let mut rows = Vec::new();
    for key in &images.keys {
        let who = key.display().to_string();
        rows.push(vec!["images.keys".into(), "*".into(), who, "1".into(), "holds".into()]);
    }
    for rule in &images.trust {
        let state = rule.not_at(now).unwrap_or_else(|| "holds".into());
        let n = rule.signers_min.to_string();
        rows.push(vec![rule.name.clone(), all(&rule.images), who(rule), n, state]);
    }
    for wanted in &images.attestations {
        let conditions = wanted.conditions.join("; ");
        rows.push(vec![
            wanted.predicate.clone(),
            all(&wanted.images),
            conditions,
            "-".into(),
            "attestation".into(),
        ]);
    }
    let text = match args.format {
        ListFormat::Json => {
            let rules: Vec<_> = rows
                .iter()
                .filter_map(|row| match row.as_slice() {
                    [rule, images, who, signers, state] => Some(json!({
                        "rule": rule, "images": images, "who": who, "signers_min": signers,
                        "state": state,
                    })),
                    _ => None,
                })
                .collect();
            format!("{:#}\n", json!({"schema": "palisade.dev/trust-rules/v1", "rules": rules}))
        }
        ListFormat::Tsv => tsv(&rows),
        ListFormat::Table => columns(&["RULE", "IMAGES", "WHO", "SIGNERS", "STATE"], &rows),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn who(rule: &TrustRule) -> String {
    let mut who: Vec<String> = rule.keys.iter().map(|key| key.display().to_string()).collect();
    if !rule.subject.is_empty() {
        who.push(format!("{} (vouched for by {})", rule.subject, rule.issuer));
    }
    if !rule.notary.as_os_str().is_empty() {
        who.push(format!("whom {} trusts", rule.notary.display()));
    }
    who.join(", ")
}

/// The signatures that prove nothing.
fn rejections(judged: &Judged) -> &[Rejection] {
    match (&judged.verified, &judged.refusal) {
        (Some(verified), _) => &verified.rejections,
        (
            None,
            Some(
                VerifyError::WrongKey { rejections, .. }
                | VerifyError::Malformed { rejections, .. },
            ),
        ) => rejections,
        _ => &[],
    }
}

fn form(format: SignatureFormat) -> &'static str {
    match format {
        SignatureFormat::Bundle => "sigstore bundle",
        SignatureFormat::Simple => "cosign simple signing",
        SignatureFormat::OpenPubkey => "openpubkey",
        SignatureFormat::Notary => "notary",
    }
}

fn state(verdict: &TrustVerdict) -> String {
    if verdict.lacks.is_empty() { "met".into() } else { verdict.lacks.join("; ") }
}

fn lines(name: &str, judged: &Judged) -> Vec<Vec<String>> {
    let row = |what: &str, which: String, how: String| vec![what.to_string(), which, how];
    let decision = match judged.decision.allowed_by() {
        Some(rule) => format!("allowed by {rule}"),
        None => "refused".into(),
    };
    let mut rows = vec![row("image", name.into(), decision)];
    for signer in judged.verified.iter().flat_map(|it| &it.signers) {
        rows.push(row("signature", signer.to_string(), "verified".into()));
    }
    for it in rejections(judged) {
        let which = format!("{} ({})", it.digest, form(it.format));
        rows.push(row("signature", which, it.reason.clone()));
    }
    for it in judged.verified.iter().flat_map(|it| &it.attestations) {
        rows.push(row("attestation", it.predicate_type.clone(), format!("by {}", it.signer)));
    }
    for it in judged.decision.rules.iter().chain(&judged.decision.attestations) {
        rows.push(row("rule", it.rule.clone(), state(it)));
    }
    rows
}

fn as_json(name: &str, judged: &Judged) -> serde_json::Value {
    let verdicts = |all: &[TrustVerdict]| {
        all.iter().map(|it| json!({"rule": it.rule, "lacks": it.lacks})).collect::<Vec<_>>()
    };
    let verified = judged.verified.as_ref();
    json!({
        "schema": "palisade.dev/trust-decision/v1",
        "image": name,
        "digest": verified.map(|it| it.digest),
        "allowed_by": judged.decision.allowed_by(),
        "signers": verified.iter().flat_map(|it| &it.signers).map(ToString::to_string)
            .collect::<Vec<_>>(),
        "rejected": rejections(judged).iter().map(|it| json!({
            "digest": it.digest, "format": form(it.format), "reason": it.reason,
        })).collect::<Vec<_>>(),
        "attestations": verified.iter().flat_map(|it| &it.attestations).map(|it| json!({
            "predicate_type": it.predicate_type, "key": it.signer.to_string(), "digest": it.digest,
        })).collect::<Vec<_>>(),
        "rules": verdicts(&judged.decision.rules),
        "required_attestations": verdicts(&judged.decision.attestations),
    })
}

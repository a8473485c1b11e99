//! Keyless signatures: an ID token, a certificate for it, a log, authorities of time.

use palisade_trust::STATEMENT_TYPE;
use palisade_trust::sigstore::{
    ANSWER_BYTES_MAX, Artifact, Bundle, KeylessSigner, SigningConfig, Verifier,
};

use super::super::{Context, trust};
use super::http::Services;
use super::oidc;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest signing configuration, in bytes.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;
/// For whom ID tokens are issued that Sigstore's authorities take.
const AUDIENCE: &str = "sigstore";

/// Signs a statement; gives the bundle and who signed.
pub(super) fn sign(
    context: &Context<'_>,
    args: &cli::Signer,
    statement: &[u8],
) -> Result<(Vec<u8>, String), Failure> {
    let config = services(args)?;
    let services = Services::new(context);
    let token = oidc::token(context, args, config.provider.as_deref(), AUDIENCE, None)?;
    let signer = KeylessSigner::generate().or_exit(Exit::Incomplete)?;
    let request = signer.certificate_request(&token).or_exit(Exit::Incomplete)?;
    let what = "the certificate authority";
    let url = format!("{}/api/v2/signingCert", config.authority);
    let answer = services
        .post(what, &url, &[("content-type", "application/json")], &request, ANSWER_BYTES_MAX)?
        .expect(what, &url, &[200, 201])?;
    let mut signature =
        signer.sign(&answer, STATEMENT_TYPE, statement.to_vec()).or_exit(Exit::Incomplete)?;
    for url in &config.timestamps {
        let what = "the authority of time";
        let request = signature.timestamp_request().or_exit(Exit::Incomplete)?;
        let headers = [("content-type", "application/timestamp-query")];
        let answer = services.post(what, url, &headers, &request, ANSWER_BYTES_MAX)?.expect(
            what,
            url,
            &[200, 201],
        )?;
        signature.add_timestamp(answer).or_exit(Exit::Incomplete)?;
    }
    for (log, version) in &config.logs {
        let what = "the log";
        let url = format!("{log}/api/v{version}/log/entries");
        let headers = [("content-type", "application/json"), ("accept", "application/json")];
        let answer = services
            .post(what, &url, &headers, &signature.log_request(*version), ANSWER_BYTES_MAX)?
            .expect(what, &url, &[200, 201])?;
        signature.add_entry(*version, &answer).or_exit(Exit::Incomplete)?;
    }
    let bundle = signature.bundle();
    let who = check(context, args, &bundle, statement)?;
    Ok((bundle, who))
}

/// Verifies what was made, where a trusted root is there to do it with.
fn check(
    context: &Context<'_>,
    args: &cli::Signer,
    bundle: &[u8],
    statement: &[u8],
) -> Result<String, Failure> {
    let Some(root) = &args.trusted_root else {
        return Ok("a certificate (not verified: no --trusted-root was given)".into());
    };
    let root = trust::root(context, Some(root), Exit::Usage)?;
    let bundle = Bundle::parse(bundle).or_exit(Exit::Incomplete)?;
    let digest = subject(statement)
        .ok_or_else(|| Failure::message(Exit::Incomplete, "the statement has no subject"))?;
    let verified = Verifier::new(root.as_ref(), trust::now())
        .verify(&bundle, &Artifact::Digest(digest), &[])
        .or_exit(Exit::Refused)
        .map_err(|failure| failure.during("verify what was just signed".into()))?;
    Ok(verified.signer.to_string())
}

/// The digest of the statement's subject.
fn subject(statement: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(statement).ok()?;
    let hex = value.pointer("/subject/0/digest/sha256")?.as_str()?;
    let digest: palisade_base::Digest = format!("sha256:{hex}").parse().ok()?;
    Some(digest.as_bytes().to_vec())
}

fn services(args: &cli::Signer) -> Result<SigningConfig, Failure> {
    if let Some(path) = &args.signing_config {
        let bytes = super::read(path, "signing configuration", CONFIGURATION_BYTES_MAX)?;
        return SigningConfig::parse(&bytes, trust::now()).or_exit(Exit::Usage);
    }
    let trim = |url: &String| url.trim_end_matches('/').to_string();
    let missing = |what: &str| {
        Failure::message(Exit::Usage, format!("{what} is not named")).with_hint(
            "use --signing-config FILE, or --fulcio-url, --rekor-url and --timestamp-url",
        )
    };
    let logs: Vec<(String, u32)> =
        args.rekor_url.iter().map(|url| (trim(url), args.rekor_version)).collect();
    if logs.is_empty() {
        return Err(missing("the log of signatures"));
    }
    if args.timestamp_url.is_empty() && args.rekor_version == 2 {
        // Version 2 of the interface tells no time: nobody could ever verify it.
        return Err(missing("an authority of time"));
    }
    Ok(SigningConfig {
        authority: args
            .fulcio_url
            .as_ref()
            .map(trim)
            .ok_or_else(|| missing("the certificate authority"))?,
        provider: None,
        logs,
        timestamps: args.timestamp_url.clone(),
    })
}

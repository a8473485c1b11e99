//! `palisade evidence`: verify, list, extract, and what a bundle tells.

mod story;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_respond::bundle::{self, Manifest, Opening, Seal, Verified};
use palisade_respond::case::Case;
use palisade_trust::timestamp::TimeAuthorities;
use palisade_trust::{PublicKey, verify_blob};

use super::Context;
use super::sealing::identities;
use super::sign::read_key;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

/// Bytes of a file of certificates.
const ROOTS_BYTES_MAX: u64 = 1 << 20;

/// Carries out a `palisade evidence` command.
pub(crate) fn evidence(context: &Context<'_>, command: &cli::Evidence) -> Result<Exit, Failure> {
    match command {
        cli::Evidence::Verify(args) => verify(context, args),
        cli::Evidence::List(args) => list(context, args),
        cli::Evidence::Extract(args) => extract(context, args),
        cli::Evidence::Timeline(args) => story::timeline(context, args),
        cli::Evidence::Diff(args) => story::diff(context, args),
        cli::Evidence::Report(args) => story::report(context, args),
    }
}

/// Verifies a bundle and its signature. The public key decides who is believed, so it is
/// the flag's or this machine's, never one that came with the bundle.
fn verified(
    context: &Context<'_>,
    path: &Path,
    trust: &cli::BundleTrust,
) -> Result<Verified, Failure> {
    require(path)?;
    let keys = signer_keys(context, trust.key.as_ref())?;
    let identities = identities(&trust.identity)?;
    let verifier = |manifest: &[u8], signature: &[u8]| check_signature(&keys, manifest, signature);
    let opening = Opening::signed(&verifier).with_identities(&identities);
    bundle::verify(path, opening).or_exit(Exit::Refused)
}

/// What a bundle tells, verified as [`verified`] does.
fn case(context: &Context<'_>, path: &Path, trust: &cli::BundleTrust) -> Result<Case, Failure> {
    require(path)?;
    let keys = signer_keys(context, trust.key.as_ref())?;
    let identities = identities(&trust.identity)?;
    let verifier = |manifest: &[u8], signature: &[u8]| check_signature(&keys, manifest, signature);
    let opening = Opening::signed(&verifier).with_identities(&identities);
    let case = palisade_respond::case::read(path, opening).or_exit(Exit::Refused)?;
    for text in &case.unread {
        context.terminal.error(&format!("warning: not read: {text}\n"));
    }
    Ok(case)
}

/// The public keys of whoever may have signed.
fn signer_keys(context: &Context<'_>, key: Option<&PathBuf>) -> Result<[PublicKey; 1], Failure> {
    let key = key.cloned().unwrap_or_else(|| context.global.data_dir.join("evidence.pub"));
    Ok([read_key(&key)?])
}

fn check_signature(
    keys: &[PublicKey],
    manifest: &[u8],
    signature: &[u8],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    verify_blob(&Digest::of(manifest), signature, keys).map(|_| ()).map_err(Into::into)
}

/// A bundle that is not there is no bundle that was tampered with.
fn require(path: &Path) -> Result<(), Failure> {
    if path.is_file() {
        return Ok(());
    }
    Err(Failure::message(Exit::Incomplete, format!("`{}` is no file", path.display()))
        .with_hint("bundles lie in <data-dir>/evidence"))
}

fn verify(context: &Context<'_>, args: &cli::VerifyEvidenceArgs) -> Result<Exit, Failure> {
    let verified = verified(context, &args.bundle, &args.trust)?;
    let manifest = &verified.manifest;
    let stamped = stamped(manifest, args.timestamp_root.as_deref())?;
    let sealed = match bundle::is_encrypted(&args.bundle) {
        Ok(true) => ", encrypted",
        _ => "",
    };
    let seal = match verified.seal {
        Seal::Signed => "signed",
        Seal::SignatureUnchecked => "signature not checked",
        Seal::Unsigned => "not signed",
    };
    let n_gaps = manifest.gaps.len() as u64 + manifest.n_gaps_unlisted;
    context.terminal.result(&format!(
        "verified   {} items, {} bytes, {seal}{sealed}\n\
         container  {} ({})\n\
         collected  {} to {}, {}\n\
         Merkle     {}\n\
         manifest   {}\n\
         stamped    {stamped}\n\
         missing    {n_gaps} item(s) could not be captured{}\n",
        manifest.items.len(),
        verified.n_bytes,
        manifest.case.container.name,
        manifest.case.container.short_id(),
        manifest.case.started,
        manifest.ended,
        if manifest.case.frozen { "frozen throughout" } else { "not frozen throughout" },
        manifest.merkle_root,
        verified.manifest_sha256,
        if n_gaps > 0 { "; `palisade evidence list` names them" } else { "" },
    ))?;
    Ok(Exit::Clean)
}

/// What is known of when the bundle was there. With the roots of an authority its time stamp is
/// demanded and proved.
fn stamped(manifest: &Manifest, roots: Option<&Path>) -> Result<String, Failure> {
    let token = manifest.timestamp_token();
    let Some(path) = roots else {
        return Ok(match token {
            Some(_) => "by an authority of time, not verified (--timestamp-root)".into(),
            None => "no".into(),
        });
    };
    let bytes = super::scan::read_bytes(path, "certificates", ROOTS_BYTES_MAX)?;
    let authorities = TimeAuthorities::from_pem(&String::from_utf8_lossy(&bytes))
        .or_exit(Exit::Usage)
        .map_err(|failure| failure.during(format!("read `{}`", path.display())))?;
    let token = token.ok_or_else(|| {
        Failure::message(Exit::Refused, "the bundle has no time stamp")
            .with_hint("leave --timestamp-root out to verify the rest")
    })?;
    let proved =
        authorities.verify(&token, manifest.merkle_root.as_bytes()).or_exit(Exit::Refused)?;
    Ok(format!("{}, to {} s, verified", proved.time, proved.accuracy_seconds))
}

fn list(context: &Context<'_>, args: &cli::EvidenceArgs) -> Result<Exit, Failure> {
    let verified = verified(context, &args.bundle, &args.trust)?;
    let rows: Vec<Vec<String>> = verified
        .manifest
        .items
        .iter()
        .map(|item| {
            vec![item.path.clone(), item.size.to_string(), item.sha256.short(), item.source.clone()]
        })
        .collect();
    let mut text = columns(&["ITEM", "BYTES", "SHA-256", "FROM"], &rows);
    if !verified.manifest.gaps.is_empty() {
        text.push_str("\nnot captured:\n");
        for gap in &verified.manifest.gaps {
            let _ = writeln!(text, "  {}: {}", gap.source, gap.reason);
        }
    }
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn extract(context: &Context<'_>, args: &cli::ExtractArgs) -> Result<Exit, Failure> {
    require(&args.bundle)?;
    if args.folder.exists() {
        let message = format!("`{}` exists already", args.folder.display());
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("name a folder that does not exist: nothing in it can redirect a write"));
    }
    let keys = signer_keys(context, args.trust.key.as_ref())?;
    let identities = identities(&args.trust.identity)?;
    let verifier = |manifest: &[u8], signature: &[u8]| check_signature(&keys, manifest, signature);
    let opening = Opening::signed(&verifier).with_identities(&identities);
    let report = bundle::extract(&args.bundle, opening, &args.folder).or_exit(Exit::Refused)?;
    context.terminal.progress(&format!(
        "verified; wrote {} files, {} bytes, to {}",
        report.n_files,
        report.n_bytes,
        args.folder.display()
    ));
    Ok(Exit::Clean)
}

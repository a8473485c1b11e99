//! `palisade evidence`: verify, list, extract, and what a bundle tells.

mod story;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_respond::bundle::{self, Seal, Verified};
use palisade_respond::case::Case;
use palisade_trust::{PublicKey, verify_blob};

use super::Context;
use super::sign::read_key;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

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
    key: Option<&PathBuf>,
) -> Result<Verified, Failure> {
    require(path)?;
    let keys = signer_keys(context, key)?;
    let verifier = |manifest: &[u8], signature: &[u8]| check_signature(&keys, manifest, signature);
    bundle::verify(path, Some(&verifier)).or_exit(Exit::Refused)
}

/// What a bundle tells, verified as [`verified`] does.
fn case(context: &Context<'_>, path: &Path, key: Option<&PathBuf>) -> Result<Case, Failure> {
    require(path)?;
    let keys = signer_keys(context, key)?;
    let verifier = |manifest: &[u8], signature: &[u8]| check_signature(&keys, manifest, signature);
    let case = palisade_respond::case::read(path, Some(&verifier)).or_exit(Exit::Refused)?;
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

fn verify(context: &Context<'_>, args: &cli::EvidenceArgs) -> Result<Exit, Failure> {
    let verified = verified(context, &args.bundle, args.key.as_ref())?;
    let manifest = &verified.manifest;
    let seal = match verified.seal {
        Seal::Signed => "signed",
        Seal::SignatureUnchecked => "signature not checked",
        Seal::Unsigned => "not signed",
    };
    let n_gaps = manifest.gaps.len() as u64 + manifest.n_gaps_unlisted;
    context.terminal.result(&format!(
        "verified   {} items, {} bytes, {seal}\n\
         container  {} ({})\n\
         collected  {} to {}, {}\n\
         Merkle     {}\n\
         manifest   {}\n\
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

fn list(context: &Context<'_>, args: &cli::EvidenceArgs) -> Result<Exit, Failure> {
    let verified = verified(context, &args.bundle, args.key.as_ref())?;
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
    let keys = signer_keys(context, args.key.as_ref())?;
    let verifier = |manifest: &[u8], signature: &[u8]| check_signature(&keys, manifest, signature);
    let report =
        bundle::extract(&args.bundle, Some(&verifier), &args.folder).or_exit(Exit::Refused)?;
    context.terminal.progress(&format!(
        "verified; wrote {} files, {} bytes, to {}",
        report.n_files,
        report.n_bytes,
        args.folder.display()
    ));
    Ok(Exit::Clean)
}

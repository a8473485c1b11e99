//! `palisade trust`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_base::{Timestamp, read_bounded};
use palisade_policy::{Images, decisions};
use palisade_trust::sigstore::{
    Artifact, Bundle, IdentityMatch, SigstoreError, TextMatch, TrustedRoot, Verifier,
};
use palisade_trust::{BUNDLE_BYTES_MAX, VerificationKey};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest artifact, in bytes: it is read into memory, because keys other than ECDSA sign
/// the whole of it.
const ARTIFACT_BYTES_MAX: u64 = 1 << 30;

/// Carries out a `palisade trust` command.
pub(crate) fn trust(context: &Context<'_>, command: &cli::Trust) -> Result<Exit, Failure> {
    match command {
        cli::Trust::Explain(args) => super::trust_explain::explain(context, args),
        cli::Trust::List(args) => super::trust_explain::list(context, args),
        cli::Trust::Add(args) => super::trust_change::add(context, args),
        cli::Trust::Rotate(args) => super::trust_change::rotate(context, args),
        cli::Trust::Root(cli::TrustRoot::Import(args)) => super::trust_root::import(context, args),
        cli::Trust::Root(cli::TrustRoot::Update(args)) => super::trust_root::update(context, args),
        cli::Trust::Conformance(cli::TrustConformance::VerifyBundle(args)) => {
            verify_bundle(context, args)
        }
    }
}

/// Verifies one bundle. Whatever cannot be verified is refused: that is the protocol.
fn verify_bundle(context: &Context<'_>, args: &cli::VerifyBundle) -> Result<Exit, Failure> {
    let refused = |error: SigstoreError| Failure::from_explained(error, Exit::Refused);
    let bytes;
    let artifact = if let Some(digest) = digest(&args.artifact)? {
        Artifact::Digest(digest)
    } else {
        bytes = read(Path::new(&args.artifact), "artifact", ARTIFACT_BYTES_MAX)?;
        Artifact::Bytes(&bytes)
    };
    let root = root(context, args.trusted_root.as_deref(), Exit::Refused)?;
    let verifier = Verifier::new(root.as_ref(), now());
    let bundle = read(&args.bundle, "bundle", BUNDLE_BYTES_MAX)?;
    let bundle = Bundle::parse(&bundle).map_err(refused)?;
    let verified = match (&args.key, &args.certificate_identity, &args.certificate_oidc_issuer) {
        (Some(key), ..) => {
            let key = VerificationKey::read(key)
                .or_exit(Exit::Refused)
                .map_err(|failure| failure.or_hint(super::sign::KEY_HINT))?;
            verifier.verify_key(&bundle, &artifact, &[key])
        }
        (None, Some(name), Some(issuer)) => {
            let wanted = IdentityMatch {
                name: TextMatch::Exact(name.clone()),
                issuer: TextMatch::Exact(issuer.clone()),
                claims: Vec::new(),
            };
            verifier.verify_identity(&bundle, &artifact, &wanted)
        }
        _ => {
            return Err(Failure::message(Exit::Usage, "nobody is named who must have signed")
                .with_hint("use --key FILE, or --certificate-identity NAME with --certificate-oidc-issuer URL"));
        }
    }
    .map_err(refused)?;
    context.terminal.result(&format!("verified\nsigned by {}\n", verified.signer))?;
    Ok(Exit::Clean)
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanos() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Where the trusted root is: what a flag says, what the policy says, or that of this machine.
pub(super) fn root_path(
    context: &Context<'_>,
    flag: Option<&Path>,
    images: Option<&Images>,
) -> Option<PathBuf> {
    let named = flag.or_else(|| images?.trusted_root.as_deref());
    let machine = || decisions::machine_root(&context.global.data_dir);
    named.map(Path::to_path_buf).or_else(machine)
}

/// The trusted root at `path`, or that of this machine.
pub(super) fn root(
    context: &Context<'_>,
    path: Option<&Path>,
    exit: Exit,
) -> Result<Option<TrustedRoot>, Failure> {
    let path = root_path(context, path, None);
    let root = path.map(|path| TrustedRoot::read(&path).or_exit(exit)).transpose()?;
    for unused in root.iter().flat_map(TrustedRoot::unused) {
        context.terminal.progress(&format!("the trusted root's {unused}; it is not used"));
    }
    Ok(root)
}

/// Whom the flags name; clap has seen to it that a name and an issuer come together.
pub(super) fn identities(
    name: Option<&str>,
    pattern: Option<&str>,
    issuer: Option<&str>,
) -> Result<Vec<IdentityMatch>, Failure> {
    let Some(issuer) = issuer else { return Ok(Vec::new()) };
    let name = match (name, pattern) {
        (Some(name), _) => TextMatch::Exact(name.to_string()),
        (None, Some(pattern)) => TextMatch::regex(pattern).map_err(|error| {
            Failure::message(Exit::Usage, format!("`{pattern}` is no regular expression: {error}"))
                .with_hint("it must match the whole name")
        })?,
        (None, None) => return Ok(Vec::new()),
    };
    let issuer = TextMatch::Exact(issuer.to_string());
    Ok(vec![IdentityMatch { name, issuer, claims: Vec::new() }])
}

fn read(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, Failure> {
    let read = || {
        let file = File::open(path)?;
        anyhow::Ok(read_bounded(file, what, limit)?)
    };
    read().with_context(|| format!("read {what} `{}`", path.display())).map_err(|error| {
        Failure::message(Exit::Refused, format!("{error:#}"))
            .with_hint("check that the file exists, is whole and may be read by this user")
    })
}

/// The digest that `text` is, if it is one.
fn digest(text: &str) -> Result<Option<Vec<u8>>, Failure> {
    let Some((algorithm, hex)) = text.split_once(':') else { return Ok(None) };
    let n_bytes = match algorithm {
        "sha256" => 32,
        "sha384" => 48,
        "sha512" => 64,
        _ => return Ok(None),
    };
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    match bytes {
        Some(bytes)
            if bytes.len() == n_bytes
                && hex.len() == 2 * n_bytes
                && hex.bytes().all(|b| b.is_ascii_hexdigit()) =>
        {
            Ok(Some(bytes))
        }
        _ => Err(Failure::message(Exit::Refused, format!("`{text}` is no digest")).with_hint(
            format!("a digest is `{algorithm}:` and {} hexadecimal digits", 2 * n_bytes),
        )),
    }
}

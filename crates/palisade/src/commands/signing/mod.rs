//! `palisade sign` and `palisade attest`.

mod gpg;
mod http;
mod keyless;
mod notary;
mod oidc;
mod openpubkey;
mod place;

use std::path::Path;

use palisade_trust::attach::Attachment;
use palisade_trust::{
    IMAGE_SIGNATURE_TYPE, PREDICATE_BYTES_MAX, PrivateKey, STATEMENT_TYPE, attestation,
    image_signature, sign_envelope,
};

use super::Context;
use super::sign::read_private_key;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use place::Image;

/// Predicate types by the names that cosign has for them
/// (cosign, `cmd/cosign/cli/options/predicate.go`).
const PREDICATE_TYPES: [(&str, &str); 8] = [
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("link", "https://in-toto.io/Link/v1"),
];

/// Signs an image, or makes a key pair.
pub(crate) fn sign(context: &Context<'_>, args: &cli::Sign) -> Result<Exit, Failure> {
    if let Some(prefix) = &args.generate_key {
        return generate(context, prefix);
    }
    let Some(target) = &args.target else {
        return Err(Failure::message(Exit::Usage, "no image given"));
    };
    if args.gpg_key.is_some() {
        return gpg::sign(context, args, target);
    }
    if let Some(chain) = &args.notary_chain {
        return notary::sign(context, args, chain, target);
    }
    check_signer(&args.signer)?;
    let image = Image::open(context, target, &args.signer.plain_http)?;
    let statement = image_signature(&image.subject.digest);
    let (attachment, who) = attach(context, &args.signer, &statement, IMAGE_SIGNATURE_TYPE)?;
    let attached = image.attach(&attachment)?;
    if args.simple
        && let Some(key) = &args.signer.key
    {
        let key = private_key(context, key)?;
        let name = args.reference.clone().or_else(|| image.name());
        let name = name.ok_or_else(|| {
            Failure::message(Exit::Usage, "the older form names the image, and it has no name")
                .with_hint("say what it is called in its registry: --reference HOST/REPOSITORY")
        })?;
        image.attach_simple(context, &key, &name)?;
    }
    let verb = if attached.already { "was signed already by" } else { "signed with" };
    context.terminal.progress(&format!("{}; {verb} {who}", image.checked()));
    context.terminal.result(&format!("{}\n", image.subject.digest))?;
    Ok(Exit::Clean)
}

/// Signs a statement about an image.
pub(crate) fn attest(context: &Context<'_>, args: &cli::Attest) -> Result<Exit, Failure> {
    check_signer(&args.signer)?;
    let kind = predicate_type(&args.kind)?;
    let predicate = read(&args.predicate, "predicate", PREDICATE_BYTES_MAX)?;
    let image = Image::open(context, &args.target, &args.signer.plain_http)?;
    let name = image.name();
    let statement = attestation(&image.subject.digest, name.as_deref(), &kind, &predicate)
        .map_err(|error| {
            let path = args.predicate.display();
            Failure::message(Exit::Usage, format!("predicate `{path}`: {error}"))
                .with_hint("a predicate is one JSON object without duplicate keys")
        })?;
    let (attachment, who) = attach(context, &args.signer, &statement, &kind)?;
    let attached = image.attach(&attachment)?;
    let verb = if attached.already { "was attested already by" } else { "attested with" };
    context.terminal.progress(&format!("{}; {verb} {who}", image.checked()));
    context.terminal.result(&format!("{}\n", attached.referrer))?;
    Ok(Exit::Clean)
}

fn generate(context: &Context<'_>, prefix: &Path) -> Result<Exit, Failure> {
    let password = context.environment.key_password.as_deref().map(str::as_bytes);
    let pair = PrivateKey::generate()
        .and_then(|key| key.write_pair(prefix, password))
        .or_exit(Exit::Incomplete)?;
    if password.is_none() {
        context
            .terminal
            .progress("the private key is not encrypted; set PALISADE_KEY_PASSWORD to encrypt it");
    }
    let lines = format!("{}\n{}\n", pair.private.display(), pair.public.display());
    context.terminal.result(&lines)?;
    Ok(Exit::Clean)
}

/// That somebody is named who signs.
fn check_signer(signer: &cli::Signer) -> Result<(), Failure> {
    if signer.key.is_some() || signer.keyless || signer.openpubkey.is_some() {
        return Ok(());
    }
    Err(Failure::message(Exit::Usage, "no key given").with_hint(
        "use --key FILE, --keyless or --openpubkey FILE, or make a pair with --generate-key PREFIX",
    ))
}

/// Signs a statement: what is to be attached, and who signed.
fn attach(
    context: &Context<'_>,
    signer: &cli::Signer,
    statement: &[u8],
    predicate_type: &str,
) -> Result<(Attachment, String), Failure> {
    if let Some(path) = &signer.key {
        let key = private_key(context, path)?;
        let bundle = sign_envelope(&key, STATEMENT_TYPE, statement).or_exit(Exit::Incomplete)?;
        let who = format!("key {}", key.public().hint());
        return Ok((Attachment::bundle(bundle, predicate_type), who));
    }
    if let Some(providers) = &signer.openpubkey {
        let (document, who) = openpubkey::sign(context, signer, providers, statement)?;
        return Ok((Attachment::openpubkey(document, predicate_type), who));
    }
    let (bundle, who) = keyless::sign(context, signer, statement)?;
    Ok((Attachment::bundle(bundle, predicate_type), who))
}

fn private_key(context: &Context<'_>, path: &Path) -> Result<PrivateKey, Failure> {
    let password = context.environment.key_password.as_deref().map(str::as_bytes);
    read_private_key(path, password, Exit::Usage)
}

fn predicate_type(name: &str) -> Result<String, Failure> {
    if let Some((_, uri)) = PREDICATE_TYPES.iter().find(|(short, _)| *short == name) {
        return Ok((*uri).to_string());
    }
    let is_uri = name.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    });
    if is_uri && name.len() <= 2048 && name.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(name.to_string());
    }
    let names: Vec<&str> = PREDICATE_TYPES.iter().map(|(short, _)| *short).collect();
    Err(Failure::message(Exit::Usage, format!("`{name}` is no type of predicate"))
        .with_hint(format!("use a URI, or one of {}", names.join(", "))))
}

/// A file that a flag names.
fn read(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, Failure> {
    std::fs::File::open(path)
        .and_then(|file| palisade_base::read_bounded(file, what, limit))
        .map_err(|error| {
            Failure::message(Exit::Usage, format!("read {what} `{}`: {error}", path.display()))
                .with_hint("check the path")
        })
}

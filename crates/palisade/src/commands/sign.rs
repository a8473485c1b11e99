//! `palisade verify`, and what signing and verifying share.

use std::path::{Path, PathBuf};

use palisade_model::Target;
use palisade_trust::sigstore::Verifier;
use palisade_trust::{
    KeyError, PrivateKey, PublicKey, SignatureFormat, Signers, VerifyError, verify_image_by,
};

use super::{Context, attached, containers, trust};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// What can be done about a key file that an error says no more about.
pub(super) const KEY_HINT: &str =
    "check that the key file exists, is whole and may be read by this user";

/// Verifies an image: every byte, and who signed it.
pub(crate) fn verify(context: &Context<'_>, args: &cli::Verify) -> Result<Exit, Failure> {
    if let Some(policy) = &args.containers_policy {
        return containers::verify(context, args, policy);
    }
    if args.openpubkey.is_some() || args.notary_policy.is_some() {
        return attached::verify(context, args);
    }
    let paths = match &args.policy {
        Some(policy) => context.load_policy(policy)?.policy.images.keys,
        None => args.key.clone(),
    };
    let identities = trust::identities(
        args.certificate_identity.as_deref(),
        args.certificate_identity_regexp.as_deref(),
        args.certificate_oidc_issuer.as_deref(),
    )?;
    if paths.is_empty() && identities.is_empty() {
        return Err(Failure::message(Exit::Usage, "no public key and no identity given")
            .with_hint(
                "use --key FILE, --policy with a policy that names keys, or --certificate-identity \
             NAME with --certificate-oidc-issuer URL",
            ));
    }
    let (folder, selector) = layout(&args.target)?;
    let keys = read_keys(&paths)?;
    let root = if identities.is_empty() {
        None
    } else {
        Some(trust::root(context, args.trusted_root.as_deref(), Exit::Usage)?.ok_or_else(|| {
            Failure::message(Exit::Usage, "identities need a trusted root, and there is none")
                .with_hint("name it: --trusted-root trusted_root.json")
        })?)
    };
    let verifier = Verifier::new(root.as_ref(), trust::now());
    let identities = root.is_some().then_some((&verifier, identities.as_slice()));
    let signers = Signers { keys: &keys, identities };
    let verified = verify_image_by(&folder, selector.as_deref(), signers).map_err(|error| {
        let exit = exit_of(&error);
        Failure::from_explained(error, exit)
    })?;
    let format = match verified.format {
        SignatureFormat::Bundle => "sigstore bundle v0.3",
        SignatureFormat::Simple => "cosign simple signing",
    };
    let text = match args.format {
        ListFormat::Json => format!(
            "{:#}\n",
            serde_json::json!({
                "schema": "palisade.dev/verification/v1",
                "digest": verified.digest,
                "key": verified.signer.to_string(),
                "format": format,
                "blobs": verified.content.n_blobs,
                "bytes": verified.content.n_bytes,
                "rejected_signatures": verified.rejections.len(),
                "attestations_not_examined": verified.n_attestations,
            })
        ),
        ListFormat::Tsv => {
            format!("{}\t{}\t{format}\n", verified.digest, verified.signer)
        }
        ListFormat::Table => format!(
            "verified  {}\nsigned by {} ({format})\ncontent   {} blobs, {} bytes, each equal to its digest\n",
            verified.digest, verified.signer, verified.content.n_blobs, verified.content.n_bytes
        ),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// A signature that is missing, wrong or about other content is a refusal; what could not
/// be read is not.
fn exit_of(error: &VerifyError) -> Exit {
    match error {
        VerifyError::NoKeys => Exit::Usage,
        VerifyError::Content(_) if !error.is_tampered() => Exit::Incomplete,
        _ => Exit::Refused,
    }
}

/// The layout that `target` names; nothing else holds signatures on disk.
pub(crate) fn layout(target: &str) -> Result<(PathBuf, Option<String>), Failure> {
    match target.parse::<Target>().or_exit(Exit::Usage)? {
        Target::Layout { folder, selector } => Ok((folder, selector)),
        other => Err(Failure::message(Exit::Usage, format!("`{other}` cannot hold signatures"))
            .with_hint("signatures lie beside the image in an OCI layout: oci:DIR[:TAG]")),
    }
}

/// Reads public keys.
pub(crate) fn read_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    paths.iter().map(|path: &PathBuf| read_key(path)).collect()
}

/// Reads a public key.
pub(crate) fn read_key(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::read(path).or_exit(Exit::Usage).map_err(|failure| failure.or_hint(KEY_HINT))
}

/// Reads a private key; an encrypted one is opened with `password`.
pub(crate) fn read_private_key(
    path: &Path,
    password: Option<&[u8]>,
    exit: Exit,
) -> Result<PrivateKey, Failure> {
    PrivateKey::read(path, password).map_err(|error| {
        let needs_password = matches!(error, KeyError::PasswordNeeded);
        let failure = Failure::from_explained(error, exit);
        if needs_password {
            failure.with_hint("give its password in the variable PALISADE_KEY_PASSWORD")
        } else {
            failure.or_hint(KEY_HINT)
        }
    })
}

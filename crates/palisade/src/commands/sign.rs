//! `palisade sign`, and the keys that commands read.

use std::path::{Path, PathBuf};

use palisade_model::Target;
use palisade_trust::{KeyError, PrivateKey, PublicKey, SignOptions, sign_image};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// What can be done about a key file that an error says no more about.
pub(super) const KEY_HINT: &str =
    "check that the key file exists, is whole and may be read by this user";

/// Signs an image, or makes a key pair.
pub(crate) fn sign(context: &Context<'_>, args: &cli::Sign) -> Result<Exit, Failure> {
    let password = context.environment.key_password.as_deref().map(str::as_bytes);
    if let Some(prefix) = &args.generate_key {
        let pair = PrivateKey::generate()
            .and_then(|key| key.write_pair(prefix, password))
            .or_exit(Exit::Incomplete)?;
        if password.is_none() {
            context.terminal.progress(
                "the private key is not encrypted; set PALISADE_KEY_PASSWORD to encrypt it",
            );
        }
        let lines = format!("{}\n{}\n", pair.private.display(), pair.public.display());
        context.terminal.result(&lines)?;
        return Ok(Exit::Clean);
    }
    let Some(target) = &args.target else {
        return Err(Failure::message(Exit::Usage, "no image given"));
    };
    let key = args.key.as_deref().ok_or_else(|| {
        Failure::message(Exit::Usage, "no key given")
            .with_hint("use --key FILE, or make a pair with --generate-key PREFIX")
    })?;
    let (folder, selector) = layout(target)?;
    let key = read_private_key(key, password, Exit::Usage)?;
    let signed = sign_image(&folder, selector.as_deref(), &key, &SignOptions::default())
        .or_exit(Exit::Incomplete)?;
    let verb = if signed.already { "was signed already by" } else { "signed with" };
    context.terminal.progress(&format!(
        "{} blobs, {} bytes checked; {verb} key {}",
        signed.content.n_blobs,
        signed.content.n_bytes,
        key.public().hint()
    ));
    context.terminal.result(&format!("{}\n", signed.digest))?;
    Ok(Exit::Clean)
}

/// The layout that `target` names: signatures are written into layouts alone.
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

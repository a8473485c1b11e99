//! What signing and verifying share: keys.

use std::path::{Path, PathBuf};

use palisade_trust::{KeyError, PrivateKey, PublicKey};

use crate::exit::{Exit, Failure, OrExit as _};

/// What can be done about a key file that an error says no more about.
pub(super) const KEY_HINT: &str =
    "check that the key file exists, is whole and may be read by this user";

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

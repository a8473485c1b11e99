//! What a log of the trusted root says its tree is.

use palisade_tlog::{Checkpoint, Hash, Note};

use super::root::Log;
use crate::pki::Key;
use crate::pki::key::Kind;

/// How notes and entries call the log's key: the SHA-256 of its SPKI, or for Ed25519 that of
/// its name, a line end, 0x01 and the key (C2SP signed-note).
pub(crate) fn key_id(name: &str, key: &Key) -> Vec<u8> {
    let hash = crate::pki::Hash::Sha256;
    match key.kind() {
        Kind::Ed25519 => {
            let raw = key.spki().get(12..).unwrap_or_default();
            hash.of(&[name.as_bytes(), b"\n\x01", raw].concat())
        }
        _ => hash.of(key.spki()),
    }
}

/// Checks that `log` signed the checkpoint, and gives its size and root.
///
/// Signatures by other keys say nothing; a false one by the log's own key is a lie.
pub(crate) fn verify(text: &str, log: &Log) -> Result<(u64, Hash), String> {
    let note = Note::parse(text.as_bytes()).map_err(|error| format!("has none: {error}"))?;
    let hint = log.id.first_chunk::<4>().map(|it| u32::from_be_bytes(*it));
    let mut is_signed = false;
    for signature in note.signatures().iter().filter(|it| Some(it.hint) == hint) {
        // The key's name is part of an Ed25519 key's id; other names are not this key's.
        if log.key.kind() == Kind::Ed25519 && signature.name != log.name {
            continue;
        }
        if !log.key.verify(log.hash, note.text().as_bytes(), &signature.signature) {
            return Err("has a checkpoint whose signature is false".into());
        }
        is_signed = true;
    }
    if !is_signed {
        return Err("has a checkpoint that the log did not sign".into());
    }
    let checkpoint =
        Checkpoint::parse(note.text()).map_err(|error| format!("has no checkpoint: {error}"))?;
    if log.key.kind() == Kind::Ed25519 && checkpoint.origin != log.name {
        return Err("has a checkpoint of another log".into());
    }
    Ok((checkpoint.size, checkpoint.root))
}

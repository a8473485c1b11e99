//! The proof that a log has forked: two checkpoints that it signed and that contradict each
//! other. Anybody can check it offline, against the log's key alone.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::VerifierKey;
use crate::merkle::{Hash, PROOF_HASHES_MAX, roots_from_consistency};
use crate::note::Note;

/// Largest proof of a fork that is read, in bytes.
pub const FORK_BYTES_MAX: usize = 256 << 10;
const SCHEMA: &str = "palisade.dev/log-fork/v1";

/// Two checkpoints that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fork {
    schema: String,
    /// The log's verifier key, for readers; [`Self::verify`] takes the one that is trusted.
    log: String,
    /// The checkpoint of the smaller tree.
    older: String,
    /// The checkpoint of the larger tree, or of one as large.
    newer: String,
    /// The root that the newer tree has at the older one's size; empty when the sizes are equal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prefix_root: String,
    /// The consistency proof from that root to the newer one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    proof: Vec<String>,
}

/// A document that does not prove a fork.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The form.
    #[error("this is no proof of a fork: {0}")]
    Malformed(String),
    /// One of the checkpoints is not the log's.
    #[error("a checkpoint does not hold")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoints do not contradict each other.
    #[error("the two checkpoints are not proved to contradict each other")]
    NoContradiction,
}

impl palisade_base::Explain for ForkError {}

impl Fork {
    /// Two checkpoints of one size with different roots.
    pub fn same_size(log: &VerifierKey, one: &Note, other: &Note) -> Self {
        Self {
            schema: SCHEMA.into(),
            log: log.to_string(),
            older: one.to_text(),
            newer: other.to_text(),
            prefix_root: String::new(),
            proof: Vec::new(),
        }
    }

    /// Two checkpoints of which the newer contains a tree of the older's size with another root.
    pub fn diverged(
        log: &VerifierKey,
        older: &Note,
        newer: &Note,
        prefix_root: Hash,
        proof: &[Hash],
    ) -> Self {
        Self {
            prefix_root: prefix_root.to_base64(),
            proof: proof.iter().map(Hash::to_base64).collect(),
            ..Self::same_size(log, older, newer)
        }
    }

    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ForkError> {
        let this: Self = serde_json::from_slice(bytes)
            .map_err(|error| ForkError::Malformed(error.to_string()))?;
        if this.schema != SCHEMA || this.proof.len() > PROOF_HASHES_MAX {
            return Err(ForkError::Malformed("it has another schema, or too long a proof".into()));
        }
        Ok(this)
    }

    /// Checks that the log of `key` signed both, and that they contradict each other.
    pub fn verify(&self, key: &VerifierKey) -> Result<(Checkpoint, Checkpoint), ForkError> {
        let (older, _) = Checkpoint::open(self.older.as_bytes(), key)?;
        let (newer, _) = Checkpoint::open(self.newer.as_bytes(), key)?;
        if older.origin != newer.origin {
            return Err(ForkError::NoContradiction);
        }
        if older.size == newer.size && older.root != newer.root {
            return Ok((older, newer));
        }
        let bad = |what: &str| ForkError::Malformed(what.to_string());
        let prefix = Hash::from_base64(&self.prefix_root).ok_or_else(|| bad("no prefix root"))?;
        let proof: Option<Vec<Hash>> = self.proof.iter().map(|it| Hash::from_base64(it)).collect();
        let proof = proof.ok_or_else(|| bad("the proof has something else than hashes"))?;
        // The proof must hold from the other root, which can then be no root of the older log.
        let (from, to) = roots_from_consistency(older.size, newer.size, &proof, &prefix)
            .map_err(|_| ForkError::NoContradiction)?;
        if from == prefix && to == newer.root && prefix != older.root {
            Ok((older, newer))
        } else {
            Err(ForkError::NoContradiction)
        }
    }

    /// Keeps the document in `folder`, under a name of its own.
    pub fn keep(&self, folder: &Path) -> io::Result<PathBuf> {
        let text = serde_json::to_string_pretty(self)?;
        let name = format!("fork-{}.json", &Hash::of_leaf(text.as_bytes()).to_string()[..16]);
        let path = folder.join(name);
        std::fs::create_dir_all(folder)?;
        palisade_base::fs::write_atomic(&path, text.as_bytes(), 0o644)?;
        Ok(path)
    }
}

//! A log's answer about an entry: `TransparencyLogEntry` of Sigstore's protobuf-specs, in
//! protobuf's JSON, by which the entry is verified offline.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::VerifierKey;
use crate::merkle::{Hash, PROOF_HASHES_MAX, ProofError, verify_inclusion};
use crate::note::{Note, NoteError};

/// Largest document that is read, in bytes.
pub const LOG_ENTRY_BYTES_MAX: usize = 16 << 20;
/// Most log entries of a Sigstore bundle.
const ENTRIES_MAX: usize = 32;

/// An entry with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// The log's ID: the hash of its key.
    pub log_id: Vec<u8>,
    /// The entry's kind.
    pub kind: String,
    /// Version of the entry's form.
    pub version: String,
    /// Size of the tree of the proof.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The inclusion proof.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// The entry: the leaf's data.
    pub body: Vec<u8>,
}

/// A document that does not prove that an entry is in a log.
#[derive(Debug, thiserror::Error)]
pub enum LogEntryError {
    /// The document is none of the known forms.
    #[error("this is no log entry: {0}")]
    Malformed(String),
    /// The checkpoint.
    #[error("the checkpoint does not hold")]
    Checkpoint(#[source] CheckpointError),
    /// The entry names another log.
    #[error("the entry is of the log {found}, not of {expected}")]
    OtherLog {
        /// ID of the key that was given.
        expected: String,
        /// ID that the entry names.
        found: String,
    },
    /// The proof is for another tree than the checkpoint's.
    #[error("the proof is for a tree of {proof} leaves and the checkpoint for one of {checkpoint}")]
    OtherTree {
        /// Size that the proof says.
        proof: u64,
        /// Size that the checkpoint says.
        checkpoint: u64,
    },
    /// The proof.
    #[error("the entry is not proved to be in the log")]
    Proof(#[source] ProofError),
    /// Too few witnesses.
    #[error("{found} of the given witnesses signed the checkpoint, {needed} are needed")]
    Quorum {
        /// How many signed.
        found: usize,
        /// How many must.
        needed: usize,
    },
}

impl palisade_base::Explain for LogEntryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed(_) => Some(
                "give a TransparencyLogEntry, a Sigstore bundle, or what `palisade log submit` prints"
                    .into(),
            ),
            Self::Checkpoint(error) => error.hint(),
            Self::OtherLog { .. } => Some("give the verifier key of the log that answered".into()),
            Self::Proof(error) => error.hint(),
            _ => None,
        }
    }
}

fn malformed(what: &str) -> LogEntryError {
    LogEntryError::Malformed(what.to_string())
}

/// A field by its JSON name or its protobuf name.
fn field<'a>(value: &'a Value, json: &str, proto: &str) -> &'a Value {
    value.get(json).or_else(|| value.get(proto)).unwrap_or(&Value::Null)
}

/// A 64-bit number: protobuf's JSON writes it as a string and leaves zero out.
fn number(value: &Value, what: &str) -> Result<u64, LogEntryError> {
    match value {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
    .ok_or_else(|| malformed(&format!("`{what}` is no number")))
}

fn bytes(value: &Value, what: &str) -> Result<Vec<u8>, LogEntryError> {
    let text = value.as_str().ok_or_else(|| malformed(&format!("`{what}` is missing")))?;
    BASE64_STANDARD.decode(text).map_err(|_| malformed(&format!("`{what}` is not base64")))
}

impl LogEntry {
    /// The document, in protobuf's JSON.
    pub fn to_json(&self) -> Value {
        let hashes: Vec<String> = self.proof.iter().map(Hash::to_base64).collect();
        json!({
            "logIndex": self.index.to_string(),
            "logId": {"keyId": BASE64_STANDARD.encode(&self.log_id)},
            "kindVersion": {"kind": self.kind, "version": self.version},
            "integratedTime": "0",
            "inclusionPromise": null,
            "inclusionProof": {
                "logIndex": self.index.to_string(),
                "rootHash": self.root.to_base64(),
                "treeSize": self.size.to_string(),
                "hashes": hashes,
                "checkpoint": {"envelope": self.checkpoint},
            },
            "canonicalizedBody": BASE64_STANDARD.encode(&self.body),
        })
    }

    /// Reads a document, or all entries of a Sigstore bundle.
    pub fn parse_all(document: &[u8]) -> Result<Vec<Self>, LogEntryError> {
        let value: Value = serde_json::from_slice(document)
            .map_err(|error| malformed(&format!("it is no JSON: {error}")))?;
        let material = field(&value, "verificationMaterial", "verification_material");
        match field(material, "tlogEntries", "tlog_entries") {
            Value::Array(entries) if entries.is_empty() => Err(malformed("the bundle has none")),
            Value::Array(entries) if entries.len() > ENTRIES_MAX => {
                Err(malformed("the bundle has more than 32"))
            }
            Value::Array(entries) => entries.iter().map(Self::from_json).collect(),
            _ => Ok(vec![Self::from_json(&value)?]),
        }
    }

    fn from_json(value: &Value) -> Result<Self, LogEntryError> {
        let proof = field(value, "inclusionProof", "inclusion_proof");
        let kind = field(value, "kindVersion", "kind_version");
        let checkpoint = field(proof, "checkpoint", "checkpoint")
            .get("envelope")
            .and_then(Value::as_str)
            .ok_or_else(|| malformed("it has no inclusion proof with a checkpoint"))?;
        let hashes = match field(proof, "hashes", "hashes") {
            Value::Null => &[][..],
            hashes => hashes.as_array().ok_or_else(|| malformed("`hashes` is no list"))?,
        };
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(malformed("the proof is too long"));
        }
        let hash = |value: &Value| value.as_str().and_then(Hash::from_base64);
        let hashes: Option<Vec<Hash>> = hashes.iter().map(hash).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let log_id = field(value, "logId", "log_id");
        let key_id = field(log_id, "keyId", "key_id");
        Ok(Self {
            // The proof's own: Rekor v1 counts over several trees outside of it.
            index: number(field(proof, "logIndex", "log_index"), "inclusionProof.logIndex")?,
            log_id: if key_id.is_null() { Vec::new() } else { bytes(key_id, "logId.keyId")? },
            kind: text(field(kind, "kind", "kind")),
            version: text(field(kind, "version", "version")),
            size: number(field(proof, "treeSize", "tree_size"), "inclusionProof.treeSize")?,
            root: hash(field(proof, "rootHash", "root_hash"))
                .ok_or_else(|| malformed("`inclusionProof.rootHash` is no hash"))?,
            proof: hashes.ok_or_else(|| malformed("`hashes` has something else than hashes"))?,
            checkpoint: checkpoint.to_string(),
            body: bytes(
                field(value, "canonicalizedBody", "canonicalized_body"),
                "canonicalizedBody",
            )?,
        })
    }

    /// Checks that the entry is in the log of `log`, as `quorum` of `witnesses` saw it.
    pub fn verify(
        &self,
        log: &VerifierKey,
        witnesses: &[VerifierKey],
        quorum: usize,
    ) -> Result<Checkpoint, LogEntryError> {
        if !self.log_id.is_empty() && self.log_id != log.id() {
            return Err(LogEntryError::OtherLog {
                expected: BASE64_STANDARD.encode(log.id()),
                found: BASE64_STANDARD.encode(&self.log_id),
            });
        }
        let (checkpoint, note) =
            Checkpoint::open(self.checkpoint.as_bytes(), log).map_err(LogEntryError::Checkpoint)?;
        let found = n_cosigned(&note, witnesses)
            .map_err(|error| LogEntryError::Checkpoint(CheckpointError::Note(error)))?;
        if found < quorum {
            return Err(LogEntryError::Quorum { found, needed: quorum });
        }
        // What is signed decides, and what the proof says beside it must agree.
        if checkpoint.size != self.size {
            return Err(LogEntryError::OtherTree { proof: self.size, checkpoint: checkpoint.size });
        }
        let leaf = Hash::of_leaf(&self.body);
        verify_inclusion(leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root)
            .map_err(LogEntryError::Proof)?;
        Ok(checkpoint)
    }
}

/// How many of `witnesses` signed. One that signed falsely makes the note false.
pub fn n_cosigned(note: &Note, witnesses: &[VerifierKey]) -> Result<usize, NoteError> {
    let mut n = 0;
    for witness in witnesses {
        match note.verify(witness) {
            Ok(_) => n += 1,
            Err(NoteError::Unsigned(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, SigningKey};

    fn key(name: &str, kind: KeyKind) -> SigningKey {
        SigningKey::from_seed(name, &[5; 32], kind).unwrap()
    }

    fn entry() -> LogEntry {
        let (log, witness) =
            (key("log.example", KeyKind::Ed25519), key("witness.example", KeyKind::Cosignature));
        let (left, right) = (Hash::of_leaf(b"left"), Hash::of_leaf(b"{}"));
        let root = Hash::of_node(&left, &right);
        let checkpoint = Checkpoint::new("log.example", 2, root);
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        note.sign(&log, 0);
        note.sign(&witness, 1);
        LogEntry {
            index: 1,
            log_id: log.public().id().to_vec(),
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            size: 2,
            root,
            proof: vec![left],
            checkpoint: note.to_text(),
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn an_entry_is_written_read_and_verified() {
        let entry = entry();
        let text = entry.to_json().to_string();
        assert_eq!(LogEntry::parse_all(text.as_bytes()).unwrap(), std::slice::from_ref(&entry));
        let bundle = json!({"verificationMaterial": {"tlogEntries": [entry.to_json()]}});
        let read = LogEntry::parse_all(bundle.to_string().as_bytes()).unwrap();
        let log = key("log.example", KeyKind::Ed25519);
        let witness = key("witness.example", KeyKind::Cosignature);
        read[0].verify(log.public(), &[witness.public().clone()], 1).unwrap();
    }

    #[test]
    fn what_was_changed_does_not_verify() {
        let log = key("log.example", KeyKind::Ed25519);
        let check = |change: &dyn Fn(&mut LogEntry), expected: &str| {
            let mut entry = entry();
            change(&mut entry);
            let error = entry.verify(log.public(), &[], 0).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        };
        check(&|it| it.body.push(b' '), "Proof");
        check(&|it| it.index = 0, "Proof");
        check(&|it| it.index = 2, "Proof");
        check(&|it| it.size = 3, "OtherTree");
        check(&|it| it.proof.clear(), "Proof");
        check(&|it| it.log_id = vec![0; 32], "OtherLog");
        check(&|it| it.checkpoint = it.checkpoint.replacen("\n2\n", "\n3\n", 1), "Checkpoint");
        let other = key("other.example", KeyKind::Cosignature);
        let error = entry().verify(log.public(), &[other.public().clone()], 1).unwrap_err();
        assert!(matches!(error, LogEntryError::Quorum { found: 0, needed: 1 }));
    }
}

//! A witness (C2SP tlog-witness): signs a log's checkpoints as long as each contains the last.
//!
//! What was signed is on the disk before the signature leaves. A witness that lost its memory
//! would sign a fork, so it never starts from an unreadable one.

mod client;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::fork::Fork;
use crate::key::{SigningKey, VerifierKey};
use crate::merkle::{Hash, verify_consistency};
use crate::note::{NOTE_BYTES_MAX, Note, NoteError};

pub use client::{WitnessAddress, WitnessClient, WitnessError};

/// Most hashes of a request's proof (C2SP tlog-witness).
const PROOF_LINES_MAX: usize = 63;
/// Largest request, in bytes: the proof, and the note.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 64 * 64;
/// Most logs of a witness.
pub const LOGS_MAX: usize = 4096;

/// A request to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the witness signed last.
    pub old: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The new checkpoint.
    pub note: Vec<u8>,
}

impl AddCheckpoint {
    /// Reads a request's body.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let at = body.windows(2).position(|pair| pair == b"\n\n")?;
        let head = std::str::from_utf8(body.get(..at)?).ok()?;
        let mut lines = head.split('\n');
        let digits = lines.next()?.strip_prefix("old ")?;
        let old = digits.parse::<u64>().ok().filter(|old| old.to_string() == digits)?;
        let proof: Vec<Hash> = lines.map(Hash::from_base64).collect::<Option<_>>()?;
        (proof.len() <= PROOF_LINES_MAX).then(|| Self {
            old,
            proof,
            note: body.get(at + 2..).unwrap_or_default().to_vec(),
        })
    }

    /// The body.
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = format!("old {}\n", self.old);
        for hash in &self.proof {
            out.push_str(&hash.to_base64());
            out.push('\n');
        }
        out.push('\n');
        [out.as_bytes(), &self.note].concat()
    }
}

/// Why a witness does not sign.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request has not the form.
    #[error("this is no request to add a checkpoint")]
    Malformed,
    /// The checkpoint has not the form.
    #[error("the checkpoint does not hold")]
    Checkpoint(#[source] CheckpointError),
    /// The log is not one of ours.
    #[error("the log `{0}` is not known here")]
    UnknownLog(String),
    /// The log's key did not sign.
    #[error("the checkpoint is not signed by the key that is known for this log")]
    NotSigned,
    /// The proof starts after the checkpoint.
    #[error("the old size is larger than the checkpoint's")]
    OldTooLarge,
    /// The proof starts elsewhere than at what was signed last.
    #[error("the last signed checkpoint has {0} leaves")]
    Conflict(u64),
    /// The checkpoint contradicts the last one.
    #[error("the checkpoint contradicts the last signed one of {0} leaves")]
    Fork(u64),
    /// The proof does not hold.
    #[error("the new checkpoint is not proved to contain the last signed one")]
    NotProved,
    /// The memory cannot be written.
    #[error("what is signed cannot be kept")]
    Io(#[source] io::Error),
}

impl Refusal {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed | Self::Checkpoint(_) | Self::OldTooLarge => 400,
            Self::NotSigned => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict(_) | Self::Fork(_) => 409,
            Self::NotProved => 422,
            Self::Io(_) => 500,
        }
    }
}

/// A witness that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process signs from this memory.
    #[error("`{0}` is used by another witness")]
    Locked(PathBuf),
    /// The memory cannot be read or made.
    #[error("open the witness's memory `{path}`")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was signed last cannot be read.
    #[error("the last signed checkpoint `{path}` does not hold")]
    Memory {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// Two keys for one log, or too many logs.
    #[error("log `{0}` is given twice, or there are too many")]
    Logs(String),
}

impl palisade_base::Explain for OpenError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked(_) => Some("a witness's memory has one user; stop the other".into()),
            Self::Memory { .. } => Some(
                "restore it from a copy; a witness that forgets what it signed can sign a fork"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// What a witness signed last for a log.
struct Kept {
    log: VerifierKey,
    path: PathBuf,
    last: Option<(Checkpoint, Note)>,
}

/// A witness.
pub struct Witness {
    key: SigningKey,
    folder: PathBuf,
    _lock: File,
    logs: Mutex<HashMap<String, Kept>>,
}

impl Witness {
    /// A witness that signs with `key` for `logs` and keeps its memory in `folder`.
    pub fn open(folder: &Path, key: SigningKey, logs: Vec<VerifierKey>) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => OpenError::Locked(folder.to_path_buf()),
            std::fs::TryLockError::Error(error) => io(&lock_path)(error),
        })?;
        let mut kept = HashMap::new();
        for log in logs {
            // Origins may hold slashes; their hash is a name that none can escape by.
            let name = format!("{}.checkpoint", Hash::of_leaf(log.name().as_bytes()));
            let path = folder.join(name);
            let last = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(io(&path)(error)),
                Ok(file) => {
                    let limit = NOTE_BYTES_MAX as u64;
                    let bytes = palisade_base::read_bounded(file, "checkpoint", limit)
                        .map_err(io(&path))?;
                    let opened = Checkpoint::open(&bytes, &log);
                    Some(
                        opened
                            .map_err(|source| OpenError::Memory { path: path.clone(), source })?,
                    )
                }
            };
            let name = log.name().to_string();
            if kept.len() >= LOGS_MAX || kept.contains_key(&name) {
                return Err(OpenError::Logs(name));
            }
            kept.insert(name, Kept { log, path, last });
        }
        let folder = folder.to_path_buf();
        Ok(Self { key, folder, _lock: lock, logs: Mutex::new(kept) })
    }

    /// The witness's public key.
    pub fn public(&self) -> &VerifierKey {
        self.key.public()
    }

    /// Signs a checkpoint at `time`, in seconds since the Unix epoch. The answer is the line of
    /// the signature.
    pub fn add(&self, body: &[u8], time: u64) -> Result<String, Refusal> {
        let request = AddCheckpoint::parse(body).ok_or(Refusal::Malformed)?;
        let note_error = |error| Refusal::Checkpoint(CheckpointError::Note(error));
        let note = Note::parse(&request.note).map_err(note_error)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(Refusal::Checkpoint)?;
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = logs.get_mut(&checkpoint.origin) else {
            return Err(Refusal::UnknownLog(checkpoint.origin));
        };
        match note.verify(&kept.log) {
            Ok(_) => {}
            Err(NoteError::Unsigned(_) | NoteError::BadSignature(_)) => {
                return Err(Refusal::NotSigned);
            }
            Err(error) => return Err(note_error(error)),
        }
        self.check(kept, &request, &checkpoint, &note)?;
        let mut bare = Note::new(note.text().to_string()).map_err(note_error)?;
        let by_log = |it: &&crate::note::NoteSignature| {
            it.name == kept.log.name() && it.hint == kept.log.hint()
        };
        for signature in note.signatures().iter().filter(by_log) {
            bare.add(signature.clone());
        }
        if kept.last.as_ref().is_none_or(|(last, _)| last.size < checkpoint.size) {
            palisade_base::fs::write_atomic(&kept.path, bare.to_text().as_bytes(), 0o644)
                .map_err(Refusal::Io)?;
            kept.last = Some((checkpoint, bare.clone()));
        }
        drop(logs);
        bare.sign(&self.key, time);
        bare.signatures().last().map(crate::note::NoteSignature::to_line).ok_or(Refusal::Malformed)
    }

    /// Whether the checkpoint contains the last one.
    fn check(
        &self,
        kept: &Kept,
        request: &AddCheckpoint,
        checkpoint: &Checkpoint,
        note: &Note,
    ) -> Result<(), Refusal> {
        if request.old > checkpoint.size {
            return Err(Refusal::OldTooLarge);
        }
        let (old_size, old_root) =
            kept.last.as_ref().map_or((0, Hash::empty_tree()), |(last, _)| (last.size, last.root));
        if let Some((last, last_note)) = &kept.last
            && last.size == checkpoint.size
            && last.root != checkpoint.root
        {
            let fork = Fork::same_size(&kept.log, last_note, note);
            match fork.keep(&self.folder.join("forks")) {
                Ok(path) => tracing::error!(path = %path.display(), "a log has forked"),
                Err(error) => {
                    tracing::error!(%error, "a log has forked, and the proof cannot be kept");
                }
            }
            return Err(Refusal::Fork(last.size));
        }
        if request.old != old_size {
            return Err(Refusal::Conflict(old_size));
        }
        if old_size == 0 {
            return if request.proof.is_empty() { Ok(()) } else { Err(Refusal::NotProved) };
        }
        verify_consistency(old_size, checkpoint.size, &request.proof, &old_root, &checkpoint.root)
            .map_err(|_| Refusal::NotProved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyKind;
    use crate::merkle::CompactRange;

    fn log_key() -> SigningKey {
        SigningKey::from_seed("log.example", &[1; 32], KeyKind::Ed25519).unwrap()
    }

    fn witness(folder: &Path) -> Witness {
        let key = SigningKey::from_seed("witness.example", &[2; 32], KeyKind::Cosignature).unwrap();
        Witness::open(folder, key, vec![log_key().public().clone()]).unwrap()
    }

    fn note(size: u64, root: Hash) -> Note {
        let mut note = Note::new(Checkpoint::new("log.example", size, root).to_string()).unwrap();
        note.sign(&log_key(), 0);
        note
    }

    fn ask(witness: &Witness, old: u64, proof: &[Hash], note: &Note) -> Result<Note, u16> {
        let note_bytes = note.to_text().into_bytes();
        let request = AddCheckpoint { old, proof: proof.to_vec(), note: note_bytes };
        assert_eq!(AddCheckpoint::parse(&request.to_body()), Some(request.clone()));
        let line = witness.add(&request.to_body(), 1_800_000_000).map_err(|it| it.status())?;
        let mut note = note.clone();
        note.add(crate::note::NoteSignature::parse(line.trim_end()).unwrap());
        Ok(note)
    }

    #[test]
    fn signs_what_grows_and_remembers_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let leaves: Vec<Hash> = (0..3).map(|n| Hash::of_leaf(&[n])).collect();
        let mut range = CompactRange::default();
        range.push(leaves[0]);
        let one = note(1, range.root());
        range.push(leaves[1]);
        let two = note(2, range.root());
        range.push(leaves[2]);
        let three = note(3, range.root());

        let it = witness(folder.path());
        let signed = ask(&it, 0, &[], &one).unwrap();
        assert_eq!(signed.verify(it.public()), Ok(1_800_000_000));
        // The same once more is no growth and no harm.
        assert!(ask(&it, 1, &[], &one).is_ok());
        assert_eq!(ask(&it, 0, &[], &two), Err(409));
        assert_eq!(ask(&it, 1, &[leaves[2]], &two), Err(422));
        assert_eq!(ask(&it, 1, &[], &two), Err(422));
        assert_eq!(ask(&it, 2, &[], &one), Err(400));
        assert!(ask(&it, 1, &[leaves[1]], &two).is_ok());
        drop(it);
        let it = witness(folder.path());
        assert_eq!(ask(&it, 1, &[leaves[1]], &two), Err(409));
        assert!(ask(&it, 2, &[leaves[2]], &three).is_ok());
        // Back it never goes.
        assert_eq!(ask(&it, 2, &[], &two), Err(409));
    }

    #[test]
    fn a_fork_is_refused_and_kept_as_proof() {
        let folder = tempfile::tempdir().unwrap();
        let it = witness(folder.path());
        assert!(ask(&it, 0, &[], &note(5, Hash::of_leaf(b"one"))).is_ok());
        assert_eq!(ask(&it, 5, &[], &note(5, Hash::of_leaf(b"other"))), Err(409));
        let kept = std::fs::read_dir(folder.path().join("forks")).unwrap().next().unwrap().unwrap();
        let fork = Fork::parse(&std::fs::read(kept.path()).unwrap()).unwrap();
        fork.verify(log_key().public()).unwrap();
    }

    #[test]
    fn others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let it = witness(folder.path());
        assert_eq!(it.add(b"", 0).unwrap_err().status(), 400);
        assert_eq!(it.add(b"old 0\n\nnote", 0).unwrap_err().status(), 400);
        let stranger = Checkpoint::new("other.example", 1, Hash::of_leaf(b""));
        let mut stranger = Note::new(stranger.to_string()).unwrap();
        stranger.sign(&log_key(), 0);
        assert_eq!(ask(&it, 0, &[], &stranger), Err(404));
        let mut forged = Note::new(note(1, Hash::of_leaf(b"")).text().to_string()).unwrap();
        let other = SigningKey::from_seed("log.example", &[9; 32], KeyKind::Ed25519).unwrap();
        forged.sign(&other, 0);
        assert_eq!(ask(&it, 0, &[], &forged), Err(403));
        let key = SigningKey::from_seed("witness.example", &[2; 32], KeyKind::Cosignature).unwrap();
        let second = Witness::open(folder.path(), key, Vec::new());
        assert!(matches!(second, Err(OpenError::Locked(_))));
    }

    #[test]
    fn a_witness_does_not_start_from_a_broken_memory() {
        let folder = tempfile::tempdir().unwrap();
        let it = witness(folder.path());
        assert!(ask(&it, 0, &[], &note(1, Hash::of_leaf(b""))).is_ok());
        drop(it);
        let name = format!("{}.checkpoint", Hash::of_leaf(b"log.example"));
        std::fs::write(folder.path().join(name), "").unwrap();
        let key = SigningKey::from_seed("witness.example", &[2; 32], KeyKind::Cosignature).unwrap();
        let opened = Witness::open(folder.path(), key, vec![log_key().public().clone()]);
        assert!(matches!(opened, Err(OpenError::Memory { .. })));
    }

    #[test]
    fn requests_have_one_form() {
        for body in [
            &b"old 01\n\nx"[..],
            b"old -1\n\nx",
            b"new 1\n\nx",
            b"old 1\nAAAA\n\nx",
            b"old 1\n",
            b"\n\n",
        ] {
            assert_eq!(AddCheckpoint::parse(body), None);
        }
        let line = format!("{}\n", Hash::empty_tree().to_base64());
        let body = |n| format!("old 1\n{}\nnote", line.repeat(n));
        assert!(AddCheckpoint::parse(body(PROOF_LINES_MAX).as_bytes()).is_some());
        assert!(AddCheckpoint::parse(body(PROOF_LINES_MAX + 1).as_bytes()).is_none());
    }
}

//! Checkpoints (C2SP tlog-checkpoint): what a log says its tree is.

use std::fmt;

use crate::key::VerifierKey;
use crate::merkle::Hash;
use crate::note::{Note, NoteError};

/// Most extension lines of a checkpoint.
const EXTENSIONS_MAX: usize = 100;

/// A text that is no checkpoint, or not of the log that it must be of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The form is not that of a checkpoint.
    #[error("this is no checkpoint: {0}")]
    Malformed(&'static str),
    /// It is of another log.
    #[error("this is a checkpoint of `{found}`, not of `{expected}`")]
    OtherLog {
        /// Whose it must be.
        expected: String,
        /// Whose it is.
        found: String,
    },
}

impl palisade_base::Explain for CheckpointError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Note(error) => error.hint(),
            Self::Malformed(_) => None,
            Self::OtherLog { .. } => Some("check the address and the verifier key".into()),
        }
    }
}

/// A log, the number of its leaves, its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: its name, without a scheme.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// The root of the tree of these leaves.
    pub root: Hash,
    /// Further lines, none of them empty. Their meaning is not ours.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extensions.
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self { origin: origin.to_string(), size, root, extensions: Vec::new() }
    }

    /// Reads the text of a note.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let bad = CheckpointError::Malformed;
        let body = text.strip_suffix('\n').ok_or(bad("its last line is not ended"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|it| !it.is_empty()).ok_or(bad("it has no origin"))?;
        let digits = lines.next().ok_or(bad("it has no size"))?;
        // One number has one form: no sign, no zero before it.
        let size = digits.parse::<u64>().ok().filter(|size| size.to_string() == digits);
        let size = size.ok_or(bad("its size is no decimal number of 64 bits"))?;
        let root = lines.next().and_then(Hash::from_base64);
        let root = root.ok_or(bad("its root is not base64 of 32 bytes"))?;
        if size == 0 && root != Hash::empty_tree() {
            return Err(bad("its tree is empty and its root is not that of the empty tree"));
        }
        let extensions: Vec<String> =
            lines.by_ref().take(EXTENSIONS_MAX).map(str::to_string).collect();
        if lines.next().is_some() || extensions.iter().any(String::is_empty) {
            return Err(bad("an extension line is empty, or there are more than 100"));
        }
        Ok(Self { origin: origin.to_string(), size, root, extensions })
    }

    /// Reads a signed checkpoint and checks that `log` signed it, as its own.
    pub fn open(bytes: &[u8], log: &VerifierKey) -> Result<(Self, Note), CheckpointError> {
        let note = Note::parse(bytes)?;
        note.verify(log)?;
        let checkpoint = Self::parse(note.text())?;
        if !checkpoint.is_of(log) {
            return Err(CheckpointError::OtherLog {
                expected: log.name().to_string(),
                found: checkpoint.origin,
            });
        }
        Ok((checkpoint, note))
    }

    /// Whether the origin is the key's name. Rekor v1 adds its tree: `host - 1193050959916656506`.
    fn is_of(&self, log: &VerifierKey) -> bool {
        self.origin == log.name()
            || self.origin.split_once(" - ").is_some_and(|(host, tree)| {
                host == log.name() && tree.bytes().all(|b| b.is_ascii_digit())
            })
    }
}

/// The text of the note.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, SigningKey};

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let root = Hash::of_leaf(b"").to_base64();
        let text = format!("log.example\n12\n{root}\nextension\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!((checkpoint.size, checkpoint.extensions.len()), (12, 1));
        assert_eq!(checkpoint.to_string(), text);
        for bad in [
            format!("\n12\n{root}\n"),
            format!("log.example\n012\n{root}\n"),
            format!("log.example\n+12\n{root}\n"),
            format!("log.example\n-1\n{root}\n"),
            format!("log.example\n18446744073709551616\n{root}\n"),
            format!("log.example\n0\n{root}\n"),
            format!("log.example\n12\n{root}=\n"),
            "log.example\n12\nAAAA\n".to_string(),
            format!("log.example\n12\n{root}"),
            format!("log.example\n12\n{root}\n\n"),
            format!("log.example\n12\n{root}\n{}", "x\n".repeat(EXTENSIONS_MAX + 1)),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_checkpoint_of_another_log_is_refused_though_the_key_signed_it() {
        let key = SigningKey::from_seed("log.example", &[1; 32], KeyKind::Ed25519).unwrap();
        let check = |origin: &str, holds: bool| {
            let checkpoint = Checkpoint::new(origin, 0, Hash::empty_tree());
            let mut note = Note::new(checkpoint.to_string()).unwrap();
            note.sign(&key, 0);
            let opened = Checkpoint::open(note.to_text().as_bytes(), key.public());
            assert_eq!(opened.is_ok(), holds, "{origin}");
        };
        check("log.example", true);
        check("log.example - 1193050959916656506", true);
        check("log.example - x", false);
        check("other.example", false);
    }
}

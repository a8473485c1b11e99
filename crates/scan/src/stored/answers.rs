//! What looks found since the inventories were written: one file for the whole store, in the order
//! of their digests, so that a look that changes a little in ten thousand inventories writes a
//! little, once.
//!
//! ```text
//! magic and version  8 bytes
//! answers            for each u32 length, u32 length, little endian, and two documents
//! ```
//!
//! The state names the file by its SHA-256, and a look that ends writes another under another
//! name: the state and the file that it names always belong together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_model::finding::{Unmatched, Vulnerability};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::file::{Entry, Evaluation};

const MAGIC: [u8; 8] = *b"PALANS\0\x01";
/// Largest file. What finds no room in it is written to its inventory.
pub(super) const ANSWERS_BYTES_MAX: u64 = 256 << 20;
/// Largest document in it.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
const SUFFIX: &str = ".answers";

/// What is known of an inventory since its file was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AnswerHead {
    /// The digest of the file of which it speaks; of another one it says nothing.
    pub(super) file: Digest,
    /// What takes the place of the file's entry.
    pub(super) entry: Entry,
}

/// What was found in an inventory since.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What takes the place of what was found in the packages under a key.
    pub(super) cells: BTreeMap<u64, Vec<Vulnerability>>,
    /// How many packages the database could judge and which it could not, if that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) counts: Option<(u64, Vec<Unmatched>)>,
    /// What was new at the look that the entry names, and what was gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) new: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<Vulnerability>,
}

impl Answer {
    /// Brings all of `evaluation` but the vulnerabilities of packages up to date.
    pub(super) fn apply(&self, evaluation: &mut Evaluation) {
        if let Some((n, unmatched)) = &self.counts {
            (evaluation.n_packages_matched, evaluation.unmatched) = (*n, unmatched.clone());
        }
        evaluation.new = self.new.iter().cloned().collect();
        evaluation.gone.clone_from(&self.gone);
    }
}

/// An answer as it lies in the file.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) head: AnswerHead,
    head_bytes: Vec<u8>,
    body: Vec<u8>,
}

impl Raw {
    /// Of the file with digest `head.file`.
    pub(super) fn new(head: AnswerHead, answer: &Answer) -> io::Result<Self> {
        let (head_bytes, body) = (serde_json::to_vec(&head)?, serde_json::to_vec(answer)?);
        Ok(Self { head, head_bytes, body })
    }

    /// What was found.
    pub(super) fn answer(&self) -> io::Result<Answer> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Its length in the file.
    pub(super) fn n_bytes(&self) -> u64 {
        (8 + self.head_bytes.len() + self.body.len()) as u64
    }
}

fn path(folder: &Path, digest: Digest) -> PathBuf {
    folder.join(format!("{}{SUFFIX}", digest.hex()))
}

/// Reads answers in their order.
#[derive(Debug)]
pub(super) struct Reader {
    file: Option<BufReader<File>>,
    next: Option<Raw>,
}

impl Reader {
    /// Of no answers.
    pub(super) fn none() -> Self {
        Self { file: None, next: None }
    }

    /// Opens the file `digest` in `folder` once all of it was compared with the digest.
    pub(super) fn open(folder: &Path, digest: Digest) -> io::Result<Self> {
        let (mut file, status) =
            super::Store::open(&path(folder, digest)).map_err(io::Error::other)?;
        // What is known of files that could not be read may have come on top.
        if status.len() > 2 * ANSWERS_BYTES_MAX {
            return Err(io::Error::other("it is too large"));
        }
        let mut hasher = sha2::Sha256::new();
        let mut bytes = vec![0; 1 << 16];
        loop {
            match file.read(&mut bytes)? {
                0 => break,
                n => hasher.update(&bytes[..n]),
            }
        }
        if Digest::from_bytes(hasher.finalize().into()) != digest {
            return Err(io::Error::other("it does not match its digest"));
        }
        file.rewind()?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::other("it is of another release"));
        }
        let mut reader = Self { file: Some(file), next: None };
        reader.advance()?;
        Ok(reader)
    }

    fn advance(&mut self) -> io::Result<()> {
        self.next = None;
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut number = [0; 4];
        match file.read_exact(&mut number) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let n_head = u32::from_le_bytes(number) as usize;
        file.read_exact(&mut number)?;
        let n_body = u32::from_le_bytes(number) as usize;
        let mut document = |n: usize| {
            if n > DOCUMENT_BYTES_MAX {
                return Err(io::Error::other("a document is too large"));
            }
            let mut bytes = vec![0; n];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let (head_bytes, body) = (document(n_head)?, document(n_body)?);
        self.next = Some(Raw { head: serde_json::from_slice(&head_bytes)?, head_bytes, body });
        Ok(())
    }

    /// What the file says of the inventory `digest`, which comes after all those asked for before.
    pub(super) fn take(&mut self, digest: Digest) -> io::Result<Option<Raw>> {
        loop {
            let of = self.next.as_ref().and_then(|next| next.head.entry.subject.digest);
            match of.map(|of| of.as_bytes().cmp(digest.as_bytes())) {
                // Of an inventory that is no longer there.
                Some(std::cmp::Ordering::Less) => self.advance()?,
                Some(std::cmp::Ordering::Equal) => {
                    let taken = self.next.take();
                    self.advance()?;
                    return Ok(taken);
                }
                _ => return Ok(None),
            }
        }
    }
}

/// Writes the answers of a look.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    file: Option<BufWriter<tempfile::NamedTempFile>>,
    hasher: sha2::Sha256,
    n_bytes: u64,
    max: u64,
}

impl Writer {
    /// Into `folder`, at most `max` bytes.
    pub(super) fn new(folder: &Path, max: u64) -> Self {
        let (folder, hasher) = (folder.to_path_buf(), sha2::Sha256::new());
        Self { folder, file: None, hasher, n_bytes: MAGIC.len() as u64, max }
    }

    /// Whether `raw` finds room.
    pub(super) fn has_room(&self, raw: &Raw) -> bool {
        let is_small = raw.head_bytes.len().max(raw.body.len()) <= DOCUMENT_BYTES_MAX;
        is_small && self.n_bytes + raw.n_bytes() <= self.max
    }

    /// Appends an answer. They come in the order of the inventories' digests.
    pub(super) fn push(&mut self, raw: &Raw) -> io::Result<()> {
        if self.file.is_none() {
            // As private as the inventories: `tempfile` makes it with mode 0600.
            let file = tempfile::NamedTempFile::new_in(&self.folder)?;
            self.file = Some(BufWriter::with_capacity(1 << 16, file));
            self.put(&MAGIC)?;
        }
        let lengths = [raw.head_bytes.len() as u32, raw.body.len() as u32];
        for length in lengths {
            self.put(&length.to_le_bytes())?;
        }
        self.put(&raw.head_bytes)?;
        self.put(&raw.body)?;
        self.n_bytes += raw.n_bytes();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Makes the file durable; its digest, or none where there is no answer.
    pub(super) fn finish(self) -> io::Result<Option<Digest>> {
        let Some(file) = self.file else { return Ok(None) };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        file.persist(path(&self.folder, digest)).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Some(digest))
    }
}

/// Removes every file of answers in `folder` but `kept`.
pub(super) fn sweep(folder: &Path, kept: Option<Digest>) {
    let kept = kept.map(|digest| path(folder, digest));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_answers = entry.file_name().to_string_lossy().ends_with(SUFFIX);
        if is_answers && Some(&path) != kept.as_ref() {
            // What stays is never read again, and the next look tries once more.
            let _ = std::fs::remove_file(path);
        }
    }
}

//! What looks found since the inventories were written: one file for the whole store, in the order
//! of their digests, so that a look that changes a little in ten thousand inventories writes a
//! little, once.
//!
//! ```text
//! magic and version  8 bytes
//! answers            for each u32 length, u32 length, little endian, and two documents
//! seen               digests of the files that the look found, 32 bytes each, sorted
//! their number       u32
//! ```
//!
//! What a look did not find, because it could not be read or was away, is not among the seen, and
//! is matched as a whole when it is there again.
//!
//! The state names the file by its SHA-256, and a look that ends writes another under another
//! name: the state and the file that it names always belong together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Take, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_model::finding::{Unmatched, Vulnerability};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::file::{Entry, Evaluation};
use super::news::{News, Untold};

const MAGIC: [u8; 8] = *b"PALANS\0\x01";
/// Largest file. What finds no room in it is written to its inventory.
pub(super) const ANSWERS_BYTES_MAX: u64 = 256 << 20;
/// Largest document in it.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
const SUFFIX: &str = ".answers";
const DIGEST_BYTES: usize = 32;
/// Largest list of what was seen, on top of the answers.
const SEEN_BYTES_MAX: u64 = (super::INVENTORIES_MAX as u64 + 1) * DIGEST_BYTES as u64;

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
    /// As [`Evaluation`] has them.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    pub(super) new: HashSet<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<Vulnerability>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) watch: Option<News>,
}

impl Answer {
    /// Brings all of `evaluation` but the vulnerabilities of packages up to date.
    pub(super) fn apply(&self, evaluation: &mut Evaluation) {
        if let Some((n, unmatched)) = &self.counts {
            (evaluation.n_packages_matched, evaluation.unmatched) = (*n, unmatched.clone());
        }
        evaluation.note(self.untold());
    }

    /// What came and went since somebody was told.
    pub(super) fn untold(&self) -> Untold {
        let reader = News { new: self.new.clone(), gone: self.gone.clone() };
        Untold::new(reader, self.watch.clone())
    }

    /// Notes what came and went.
    pub(super) fn note(&mut self, untold: Untold) {
        let (reader, watch) = untold.parts();
        (self.new, self.gone, self.watch) = (reader.new, reader.gone, watch);
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
    file: Option<BufReader<Take<File>>>,
    next: Option<Raw>,
    seen: HashSet<Digest>,
}

impl Reader {
    /// Of no answers.
    pub(super) fn none() -> Self {
        Self { file: None, next: None, seen: HashSet::new() }
    }

    /// The digests of the files that the look found whose answers these are.
    pub(super) fn seen(&self) -> &HashSet<Digest> {
        &self.seen
    }

    /// Opens the file `digest` in `folder` once all of it was compared with the digest.
    pub(super) fn open(folder: &Path, digest: Digest) -> io::Result<Self> {
        let (mut file, status) =
            super::Store::open(&path(folder, digest)).map_err(io::Error::other)?;
        if status.len() > ANSWERS_BYTES_MAX + SEEN_BYTES_MAX {
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
        let (seen, end) = seen(&file, status.len())?;
        file.rewind()?;
        let mut file = BufReader::with_capacity(1 << 16, file.take(end));
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::other("it is of another release"));
        }
        let mut reader = Self { file: Some(file), next: None, seen };
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

/// The list of what was seen at the end of a file of `n_file` bytes, and where it begins.
fn seen(file: &File, n_file: u64) -> io::Result<(HashSet<Digest>, u64)> {
    let short = || io::Error::other("it is too short");
    let mut number = [0; 4];
    let end = n_file.checked_sub(4).ok_or_else(short)?;
    file.read_exact_at(&mut number, end)?;
    let n_bytes = u64::from(u32::from_le_bytes(number)) * DIGEST_BYTES as u64;
    let begin = end.checked_sub(n_bytes).ok_or_else(short)?;
    if n_bytes > SEEN_BYTES_MAX || begin < MAGIC.len() as u64 {
        return Err(short());
    }
    let mut bytes = vec![0; usize::try_from(n_bytes).map_err(|_| short())?];
    file.read_exact_at(&mut bytes, begin)?;
    let digests = bytes.chunks_exact(DIGEST_BYTES).filter_map(|it| it.try_into().ok());
    Ok((digests.map(Digest::from_bytes).collect(), begin))
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

    fn begin(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            // As private as the inventories: `tempfile` makes it with mode 0600.
            let file = tempfile::NamedTempFile::new_in(&self.folder)?;
            self.file = Some(BufWriter::with_capacity(1 << 16, file));
            self.put(&MAGIC)?;
        }
        Ok(())
    }

    /// Appends an answer. They come in the order of the inventories' digests.
    pub(super) fn push(&mut self, raw: &Raw) -> io::Result<()> {
        self.begin()?;
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

    /// Notes the files that were `seen`, and makes the whole durable; its digest.
    pub(super) fn finish(mut self, seen: &BTreeSet<Digest>) -> io::Result<Option<Digest>> {
        self.begin()?;
        for digest in seen {
            self.put(digest.as_bytes())?;
        }
        let n = u32::try_from(seen.len()).map_err(io::Error::other)?;
        self.put(&n.to_le_bytes())?;
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

//! The payload: chunks of 64 KiB, each sealed by ChaCha20-Poly1305 under its number and a byte
//! that says whether it is the last.
//!
//! The writer can hold one place back and fill it later, as a header wants it whose size is known
//! at the end of what it heads. A chunk is sealed once, when nothing in it can change any more,
//! so that no number is ever used for two texts; what is held back stays in memory meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::os::unix::fs::FileExt as _;

use ring::aead::LessSafeKey;
use zeroize::Zeroizing;

use super::header::FileKey;
use super::{AgeError, Identity, Recipient, TAG_BYTES, cipher, derive, header, open, random, seal};

/// Bytes of a chunk's text.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
const SEALED_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
const NONCE_BYTES: usize = 16;

fn payload_key(file_key: &FileKey, nonce: &[u8; NONCE_BYTES]) -> Result<LessSafeKey, AgeError> {
    cipher(&derive(file_key.as_slice(), nonce, b"payload"))
}

/// A chunk's nonce: its number in eleven bytes, and whether it is the last.
fn chunk_nonce(number: u64, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

/// Number of the chunk, and the place in it, of the text's byte `at`.
fn place(at: u64) -> (u64, usize) {
    let n = CHUNK_BYTES as u64;
    (at / n, (at % n) as usize)
}

/// Encrypts into a file. Clear text is in memory alone: the chunk that is being filled, and the
/// one that is held.
pub struct AgeWriter {
    file: File,
    key: LessSafeKey,
    /// Where the payload's first chunk begins in the file.
    start: u64,
    /// Chunks that are not sealed yet, by number.
    chunks: BTreeMap<u64, Zeroizing<Vec<u8>>>,
    /// Bytes of text so far.
    n_bytes: u64,
    /// The place that is held back.
    held: Option<u64>,
}

impl std::fmt::Debug for AgeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgeWriter").field("n_bytes", &self.n_bytes).finish_non_exhaustive()
    }
}

impl AgeWriter {
    /// Begins an encrypted file in `file`, which is empty.
    pub fn new(file: File, recipients: &[Recipient]) -> io::Result<Self> {
        let file_key = Zeroizing::new(random()?);
        let nonce: [u8; NONCE_BYTES] = random()?;
        let mut head = header::encode(&file_key, recipients)?;
        head.extend(nonce);
        file.write_all_at(&head, 0)?;
        Ok(Self {
            file,
            key: payload_key(&file_key, &nonce)?,
            start: head.len() as u64,
            chunks: BTreeMap::new(),
            n_bytes: 0,
            held: None,
        })
    }

    /// Bytes of text so far.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes `bytes` after what was written.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (number, at) = place(self.n_bytes);
            if at == 0 {
                // The one before is full, and not the last.
                self.seal_full(number)?;
            }
            let chunk = self
                .chunks
                .entry(number)
                .or_insert_with(|| Zeroizing::new(Vec::with_capacity(SEALED_BYTES)));
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - at));
            chunk.extend_from_slice(now);
            self.n_bytes += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Writes zeros of `n` bytes that [`AgeWriter::fill`] replaces; they must lie in one chunk.
    /// Until then the chunk stays in memory. One place at a time.
    pub fn hold(&mut self, n: usize) -> io::Result<()> {
        if self.held.is_some() || place(self.n_bytes).1 + n > CHUNK_BYTES {
            return Err(io::Error::other("a place to be filled later lies across chunks"));
        }
        self.held = Some(self.n_bytes);
        self.write_all(&vec![0; n])
    }

    /// Fills the place that is held.
    pub fn fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        let nothing = || io::Error::other("no place is held");
        let (number, at) = place(self.held.take().ok_or_else(nothing)?);
        let chunk = self.chunks.get_mut(&number).ok_or_else(nothing)?;
        let held = chunk.get_mut(at..at + bytes.len()).ok_or_else(nothing)?;
        held.copy_from_slice(bytes);
        let (next, at) = place(self.n_bytes);
        // A chunk that is full may still be the last.
        self.seal_full(if at == 0 { next.saturating_sub(1) } else { next })
    }

    /// Seals what is left, and gives the file, which is to be synced.
    pub fn finish(mut self) -> io::Result<File> {
        if self.held.is_some() {
            return Err(io::Error::other("a place is still held"));
        }
        if self.chunks.is_empty() {
            self.chunks.insert(0, Zeroizing::default());
        }
        while let Some((number, chunk)) = self.chunks.pop_first() {
            let is_last = self.chunks.is_empty();
            self.put(number, chunk, is_last)?;
        }
        Ok(self.file)
    }

    /// Seals every chunk before the number `before` but the one that is held.
    fn seal_full(&mut self, before: u64) -> io::Result<()> {
        let held = self.held.map(|at| place(at).0);
        let ready: Vec<u64> =
            self.chunks.range(..before).map(|(n, _)| *n).filter(|n| Some(*n) != held).collect();
        for number in ready {
            if let Some(chunk) = self.chunks.remove(&number) {
                self.put(number, chunk, false)?;
            }
        }
        Ok(())
    }

    fn put(&self, number: u64, mut text: Zeroizing<Vec<u8>>, is_last: bool) -> io::Result<()> {
        seal(&self.key, chunk_nonce(number, is_last), &mut text)?;
        self.file.write_all_at(&text, self.start + number * SEALED_BYTES as u64)
    }
}

/// Decrypts what comes from `R`. Bytes are given out only when their chunk is proved; that the
/// file is whole is known at its end.
pub struct AgeReader<R> {
    reader: R,
    key: LessSafeKey,
    number: u64,
    text: Zeroizing<Vec<u8>>,
    at: usize,
    is_done: bool,
}

impl<R> std::fmt::Debug for AgeReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgeReader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<R: BufRead> AgeReader<R> {
    /// Reads the header, for which one of `identities` is needed. Errors hold an [`AgeError`].
    pub fn new(mut reader: R, identities: &[Identity]) -> io::Result<Self> {
        let file_key = header::decode(&mut reader, identities)?;
        let mut nonce = [0; NONCE_BYTES];
        reader.read_exact(&mut nonce).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => AgeError::Header("it is cut or too long").into(),
            _ => error,
        })?;
        let key = payload_key(&file_key, &nonce)?;
        Ok(Self { reader, key, number: 0, text: Zeroizing::default(), at: 0, is_done: false })
    }

    fn next(&mut self) -> io::Result<()> {
        self.text.clear();
        self.at = 0;
        self.reader.by_ref().take(SEALED_BYTES as u64).read_to_end(&mut self.text)?;
        let is_last = self.reader.fill_buf()?.is_empty();
        let opened = open(&self.key, chunk_nonce(self.number, is_last), &mut self.text);
        // Only the first chunk may be empty.
        if opened.is_none() || (self.text.is_empty() && self.number > 0) {
            self.text.clear();
            return Err(AgeError::Payload(self.number).into());
        }
        self.number += 1;
        self.is_done = is_last;
        Ok(())
    }
}

impl<R: BufRead> io::Read for AgeReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() && !self.is_done {
            self.next()?;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        let (to, from) = (buffer.get_mut(..n), rest.get(..n));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

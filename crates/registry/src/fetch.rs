//! One blob on its way: a thread writes it into a file, readers follow.
//!
//! A transfer that breaks off goes on where it was (RFC 9110, section 14), as often as it
//! makes progress. The digest is that of all bytes written, whoever sent them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use palisade_base::{Digest, DigestReader, Timestamp};
use palisade_http::Backoff;
use palisade_image::SourceError;
use tempfile::NamedTempFile;

use crate::auth::Access;
use crate::cache::BlobCache;
use crate::client::{Answer, Ask, Client};
use crate::error::RegistryError;
use crate::hosts::Place;

const BUFFER_BYTES: usize = 128 << 10;
/// Times that a transfer may break off without a byte of progress between.
const BREAKS_MAX: u32 = 4;
/// Times that a transfer may break off altogether.
const BREAKS_ALTOGETHER_MAX: u32 = 1000;
/// The slowest transfer that is no stall, in bytes a second, after the first minute.
const RATE_MIN: u64 = 256;

/// How far it is.
#[derive(Default)]
struct Progress {
    n_written: u64,
    end: Option<Result<(), SourceError>>,
    started: bool,
}

/// A blob on its way.
pub(crate) struct Fetch {
    digest: Digest,
    size: u64,
    cache: Option<BlobCache>,
    /// Made when the transfer begins: an image may have hundreds of blobs.
    file: OnceLock<File>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Fetch {
    pub(crate) fn new(digest: Digest, size: u64, cache: Option<&BlobCache>) -> Self {
        Self {
            digest,
            size,
            cache: cache.cloned(),
            file: OnceLock::new(),
            progress: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Makes the file; the second part becomes a file of the cache.
    fn make_file(&self) -> io::Result<Option<NamedTempFile>> {
        let (file, named) = match &self.cache {
            Some(cache) => {
                let named = cache.new_file()?;
                (named.reopen()?, Some(named))
            }
            None => (tempfile::tempfile()?, None),
        };
        let _ = self.file.set(file);
        Ok(named)
    }

    fn file(&self) -> io::Result<&File> {
        self.file.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes the task of fetching; `false` when somebody has it.
    pub(crate) fn start(&self) -> bool {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut progress.started, true)
    }

    /// Ends it for all readers.
    fn finish(&self, end: Result<(), SourceError>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Fetches the blob. Returns when it is there, or cannot be had.
    pub(crate) fn run(&self, client: &Client, place: &Place, cancelled: &AtomicBool) {
        let disk = |source| RegistryError::Disk { what: self.what(), source };
        let result = self.make_file().map_err(disk).and_then(|named| {
            self.transfer(client, place, cancelled)?;
            if let (Some(cache), Some(named)) = (&self.cache, named) {
                cache.keep(named, self.digest);
            }
            Ok(())
        });
        self.finish(result.map_err(SourceError::new));
    }

    fn transfer(
        &self,
        client: &Client,
        place: &Place,
        cancelled: &AtomicBool,
    ) -> Result<(), RegistryError> {
        let seed = Timestamp::now().as_nanos();
        let settings = &client.settings;
        let mut backoff = Backoff::new(settings.backoff, Duration::from_secs(20), seed);
        let mut n_breaks = 0;
        let mut n_altogether = 0;
        let mut n_written = 0;
        while n_written < self.size || (n_written == 0 && n_altogether == 0) {
            let before = n_written;
            let part = self.part(client, place, &mut n_written, cancelled);
            let Some(source) = part? else { break };
            n_altogether += 1;
            n_breaks = if n_written > before { 1 } else { n_breaks + 1 };
            if n_breaks > BREAKS_MAX || n_altogether > BREAKS_ALTOGETHER_MAX {
                return Err(RegistryError::Broken {
                    host: place.host.clone(),
                    what: self.what(),
                    n_read: n_written,
                    size: self.size,
                    source,
                });
            }
            if n_written > before {
                backoff = Backoff::new(settings.backoff, Duration::from_secs(20), seed);
            }
            let wait = backoff.wait();
            settings.observer.waiting(&place.host, wait, &source.to_string());
            std::thread::sleep(wait);
        }
        self.prove(place)
    }

    fn what(&self) -> String {
        format!("blob {}", self.digest)
    }

    /// Fetches from where it is. `Some`: it broke off.
    fn part(
        &self,
        client: &Client,
        place: &Place,
        n_written: &mut u64,
        cancelled: &AtomicBool,
    ) -> Result<Option<io::Error>, RegistryError> {
        let mut ask = Ask::get(format!("blobs/{}", self.digest), self.what());
        if *n_written > 0 {
            ask = ask.header("range", format!("bytes={n_written}-"));
        }
        let answer = client.send(place, &Access::Pull, &ask)?;
        let n_to_skip = self.check(&answer, *n_written)?;
        let host = answer.host.clone();
        let mut reader = answer.into_reader();
        if n_to_skip > 0 {
            // A server that does not know ranges begins again.
            let skipped = io::copy(&mut (&mut reader).take(n_to_skip), &mut io::sink());
            match skipped {
                Ok(n) if n == n_to_skip => {}
                Ok(_) => return Ok(Some(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => return Ok(Some(error)),
            }
        }
        self.copy(&mut reader, client, &host, n_written, cancelled)
    }

    /// Whether an answer can be the rest of the blob; how much of it is known already.
    fn check(&self, answer: &Answer, n_written: u64) -> Result<u64, RegistryError> {
        let bad = |problem: String| RegistryError::BadAnswer {
            host: answer.host.clone(),
            what: self.what(),
            problem,
        };
        let (n_to_skip, expected) = match answer.status {
            206 => {
                let range = answer.header("content-range").unwrap_or_default();
                if !range.trim().starts_with(&format!("bytes {n_written}-")) {
                    return Err(bad("another part than was asked for".into()));
                }
                (0, self.size - n_written)
            }
            200 => (n_written, self.size),
            other => return Err(bad(format!("status {other}"))),
        };
        match answer.body.content_length() {
            Some(length) if length != expected => {
                Err(bad(format!("{length} bytes where the manifest says {expected}")))
            }
            _ => Ok(n_to_skip),
        }
    }

    fn copy(
        &self,
        reader: &mut dyn Read,
        client: &Client,
        host: &str,
        n_written: &mut u64,
        cancelled: &AtomicBool,
    ) -> Result<Option<io::Error>, RegistryError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let (began, n_before) = (Instant::now(), *n_written);
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(RegistryError::Cancelled);
            }
            let n = match reader.read(&mut buffer) {
                Ok(0) if *n_written == self.size => return Ok(None),
                Ok(0) => return Ok(Some(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Some(error)),
            };
            if *n_written + n as u64 > self.size {
                return Err(RegistryError::BadAnswer {
                    host: host.into(),
                    what: self.what(),
                    problem: format!("more than the {} bytes that the manifest says", self.size),
                });
            }
            self.file()
                .and_then(|file| file.write_all_at(&buffer[..n], *n_written))
                .map_err(|source| RegistryError::Disk { what: self.what(), source })?;
            *n_written += n as u64;
            client.settings.observer.bytes(n as u64);
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.n_written = *n_written;
            self.changed.notify_all();
            drop(progress);
            let seconds = began.elapsed().as_secs();
            if seconds > 60 && (*n_written - n_before) / seconds < RATE_MIN {
                return Ok(Some(io::ErrorKind::TimedOut.into()));
            }
        }
    }

    /// Proves the whole blob.
    fn prove(&self, place: &Place) -> Result<(), RegistryError> {
        let disk = |source| RegistryError::Disk { what: self.what(), source };
        let file = self.file().map_err(disk)?;
        let mut reader = DigestReader::new(FileFrom { file, position: 0 });
        io::copy(&mut reader, &mut io::sink()).map_err(disk)?;
        let (found, _) = reader.finish();
        if found != self.digest {
            let (host, expected) = (place.host.clone(), self.digest);
            return Err(RegistryError::WrongDigest { host, expected, found });
        }
        Ok(())
    }
}

/// Reads a file from a position that is its own.
struct FileFrom<'f> {
    file: &'f File,
    position: u64,
}

impl Read for FileFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

/// Reads a blob while it comes. Its last byte is given when the whole is proved, so that
/// whoever counts bytes and stops there has no lie in hands.
#[derive(Debug)]
pub(crate) struct Follower {
    fetch: Arc<Fetch>,
    position: u64,
}

impl Follower {
    pub(crate) fn new(fetch: Arc<Fetch>) -> Self {
        Self { fetch, position: 0 }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut progress = self.fetch.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut n_ready;
        loop {
            let is_proved = matches!(progress.end, Some(Ok(())));
            let held_back = u64::from(!is_proved && progress.n_written == self.fetch.size);
            n_ready = (progress.n_written - held_back).saturating_sub(self.position);
            if n_ready > 0 {
                break;
            }
            match &progress.end {
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(error.clone().into()),
                None => {
                    progress =
                        self.fetch.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        drop(progress);
        let n = usize::try_from(n_ready).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.fetch.file()?.read_at(&mut buffer[..n], self.position)?;
        self.position += n as u64;
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(n) }
    }
}

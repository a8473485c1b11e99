//! Blobs that are not on disk yet: what a client of registries implements.

use std::error::Error;
use std::fmt::Debug;
use std::io::{self, Read};
use std::sync::Arc;

use palisade_base::{Digest, Explain};

use crate::layout::Descriptor;

/// Where the blobs of an image come from. Nothing that it gives is believed before its digest
/// is checked; it is asked from several threads.
pub trait BlobSource: Debug + Send + Sync {
    /// The bytes of a manifest or an index, at most `limit`.
    fn read_manifest(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError>;

    /// Opens a blob, and tells its size: the stated one, where one was stated.
    fn open_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<(Box<dyn Read + Send>, u64), SourceError>;

    /// Says which blobs are going to be opened, in order, with their sizes, so that they can
    /// be fetched ahead.
    fn will_open(&self, blobs: &[(Digest, u64)]) {
        let _ = blobs;
    }
}

/// Why a source gave nothing: its own error, with its hint.
#[derive(Debug, Clone)]
pub struct SourceError {
    source: Arc<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl SourceError {
    /// Keeps an error and its hint.
    pub fn new<E: Explain + Error + Send + Sync + 'static>(error: E) -> Self {
        Self { hint: error.hint(), source: Arc::new(error) }
    }

    /// Finds this error inside an [`io::Error`] of a source's reader.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// The source's own error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        (&*self.source as &(dyn Error + 'static)).downcast_ref()
    }
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.source, f)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

impl Explain for SourceError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl From<SourceError> for io::Error {
    fn from(error: SourceError) -> Self {
        Self::other(error)
    }
}

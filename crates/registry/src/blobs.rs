//! The blobs of one image in a registry, as a source for [`palisade_image::Image`].

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_base::Digest;
use palisade_image::{BlobSource, Descriptor, Image, OpenImageError, OpenOptions, SourceError};
use palisade_model::{Reference, Target};

use crate::auth::Access;
use crate::cache::BlobCache;
use crate::client::{Ask, Client};
use crate::error::RegistryError;
use crate::fetch::{Fetch, Follower};
use crate::hosts::Place;

/// Blobs that are fetched at the same time; Docker's number as well.
const PARALLEL_MAX: usize = 3;
/// Blobs up to this size are fetched into memory.
const SMALL_BYTES_MAX: u64 = 256 << 10;

/// How blobs are fetched.
#[derive(Debug, Clone, Default)]
pub struct BlobOptions {
    /// Where blobs are kept from one run to the next; without it they are gone with the image.
    pub cache: Option<BlobCache>,
}

/// The blobs of an image in one place.
#[derive(Debug)]
pub(crate) struct RemoteBlobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    place: Place,
    cache: Option<BlobCache>,
    work: Mutex<Work>,
    cancelled: AtomicBool,
}

#[derive(Debug, Default)]
struct Work {
    fetches: HashMap<Digest, Arc<Fetch>>,
    queue: VecDeque<Arc<Fetch>>,
    n_threads: usize,
    announced: bool,
}

impl Drop for RemoteBlobs {
    fn drop(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }
}

impl RemoteBlobs {
    pub(crate) fn new(client: Arc<Client>, place: Place, options: &BlobOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                place,
                cache: options.cache.clone(),
                work: Mutex::default(),
                cancelled: AtomicBool::new(false),
            }),
        }
    }

    /// Fetches a small blob into memory.
    fn small(&self, digest: Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let shared = &self.shared;
        let what = format!("blob {digest}");
        let ask = Ask::get(format!("blobs/{digest}"), &what);
        let answer = shared.client.send(&shared.place, &Access::Pull, &ask)?;
        let bytes = answer.read(&what, size)?;
        let found = Digest::of(&bytes);
        if found != digest {
            let (host, expected) = (shared.place.host.clone(), digest);
            return Err(RegistryError::WrongDigest { host, expected, found });
        }
        shared.client.settings.observer.bytes(bytes.len() as u64);
        if let Some(cache) = &shared.cache {
            cache.write(digest, &bytes);
        }
        Ok(bytes)
    }

    /// The size of a blob of which no manifest told us.
    fn size_of(&self, digest: Digest) -> Result<u64, RegistryError> {
        let shared = &self.shared;
        let what = format!("blob {digest}");
        let ask = Ask::new(ureq::http::Method::HEAD, format!("blobs/{digest}"), &what);
        let answer = shared.client.send(&shared.place, &Access::Pull, &ask)?;
        answer.header("content-length").and_then(|text| text.parse().ok()).ok_or_else(|| {
            RegistryError::BadAnswer { host: answer.host.clone(), what, problem: "no size".into() }
        })
    }

    /// The blob on its way, fetched before others that nobody waits for.
    fn fetch(&self, digest: Digest, size: u64) -> Arc<Fetch> {
        let mut work = self.shared.work.lock().unwrap_or_else(PoisonError::into_inner);
        let fetch = match work.fetches.get(&digest) {
            Some(fetch) if fetch.size() == size => Arc::clone(fetch),
            _ => {
                let fetch = Arc::new(Fetch::new(digest, size, self.shared.cache.as_ref()));
                work.fetches.insert(digest, Arc::clone(&fetch));
                fetch
            }
        };
        work.queue.retain(|other| !Arc::ptr_eq(other, &fetch));
        work.queue.push_front(Arc::clone(&fetch));
        self.start_threads(&mut work);
        fetch
    }

    fn start_threads(&self, work: &mut Work) {
        while work.n_threads < PARALLEL_MAX.min(work.queue.len()) {
            work.n_threads += 1;
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || shared.work_off());
        }
    }
}

impl Shared {
    fn work_off(&self) {
        loop {
            let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(fetch) = work.queue.pop_front() else {
                work.n_threads -= 1;
                return;
            };
            drop(work);
            if fetch.start() {
                fetch.run(&self.client, &self.place, &self.cancelled);
            }
        }
    }
}

impl BlobSource for RemoteBlobs {
    fn read_manifest(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError> {
        let shared = &self.shared;
        let digest = descriptor.digest;
        if let Some(cache) = &shared.cache
            && let Some(bytes) = cache.read(digest, limit)
        {
            return Ok(bytes);
        }
        let found = shared
            .client
            .manifest(&shared.place, &digest.to_string(), Some(digest), limit)
            .map_err(SourceError::new)?;
        if let Some(cache) = &shared.cache {
            cache.write(digest, &found.bytes);
        }
        Ok(found.bytes)
    }

    fn open_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<(Box<dyn Read + Send>, u64), SourceError> {
        if let Some(cache) = &self.shared.cache
            && let Some((file, length)) = cache.get(digest, size)
        {
            return Ok((Box::new(file), length));
        }
        let size = match size {
            Some(size) => size,
            None => self.size_of(digest).map_err(SourceError::new)?,
        };
        if size <= SMALL_BYTES_MAX {
            let bytes = self.small(digest, size).map_err(SourceError::new)?;
            return Ok((Box::new(io::Cursor::new(bytes)), size));
        }
        let fetch = self.fetch(digest, size);
        Ok((Box::new(Follower::new(fetch)), size))
    }

    fn will_open(&self, blobs: &[(Digest, u64)]) {
        let mut work = self.shared.work.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = Vec::new();
        for (digest, size) in blobs {
            let is_cached =
                self.shared.cache.as_ref().is_some_and(|cache| cache.has(*digest, *size));
            if !is_cached && !work.fetches.contains_key(digest) {
                missing.push((*digest, *size));
            }
        }
        missing.sort_unstable_by_key(|(digest, _)| *digest);
        missing.dedup();
        if !work.announced && !missing.is_empty() {
            work.announced = true;
            let n_bytes = missing.iter().map(|(_, size)| size).sum();
            let observer = &self.shared.client.settings.observer;
            observer.fetching(&self.shared.place.host, missing.len(), n_bytes);
        }
        for (digest, size) in blobs {
            let wanted = missing.contains(&(*digest, *size)) && *size > SMALL_BYTES_MAX;
            if !wanted || work.fetches.contains_key(digest) {
                continue;
            }
            let fetch = Arc::new(Fetch::new(*digest, *size, self.shared.cache.as_ref()));
            work.fetches.insert(*digest, Arc::clone(&fetch));
            work.queue.push_back(fetch);
        }
        self.start_threads(&mut work);
    }
}

impl Client {
    /// Finds an image by its name, on a mirror or in its registry, and opens it. Manifest and
    /// configuration are fetched and proved; layers are fetched when they are read.
    ///
    /// # Errors
    ///
    /// Those of the registry itself, within [`OpenImageError::Source`], and what is wrong with
    /// the image.
    pub fn open(
        self: &Arc<Self>,
        target: &Target,
        reference: &Reference,
        blobs: &BlobOptions,
        options: &OpenOptions,
    ) -> Result<Image, OpenImageError> {
        let limit = options.limits.manifest_bytes_max;
        let (place, found) =
            self.find(reference, limit, blobs.cache.as_ref()).map_err(SourceError::new)?;
        let source = RemoteBlobs::new(Arc::clone(self), place, blobs);
        if let Some(cache) = &blobs.cache {
            cache.write(found.descriptor.digest, &found.bytes);
        }
        let source = WithManifest { found, blobs: source };
        let root = source.found.descriptor.clone();
        let mut image = Image::from_source(target, Arc::new(source), &root, options)?;
        image.reference = Some(reference.to_string());
        Ok(image)
    }
}

/// The blobs of an image whose first manifest was fetched already.
#[derive(Debug)]
struct WithManifest {
    found: crate::manifest::Found,
    blobs: RemoteBlobs,
}

impl BlobSource for WithManifest {
    fn read_manifest(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError> {
        if descriptor.digest == self.found.descriptor.digest {
            return Ok(self.found.bytes.clone());
        }
        self.blobs.read_manifest(descriptor, limit)
    }

    fn open_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<(Box<dyn Read + Send>, u64), SourceError> {
        self.blobs.open_blob(digest, size)
    }

    fn will_open(&self, blobs: &[(Digest, u64)]) {
        self.blobs.will_open(blobs);
    }
}

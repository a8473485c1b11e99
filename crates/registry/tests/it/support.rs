//! Images for tests, registries that serve them, and clients that do not wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use palisade_base::{Digest, Explain as _, Timestamp};
use palisade_image::{
    Descriptor, Image, LayerSource, Layout, NewImage, OpenImageError, OpenOptions, Visit,
    write_layout,
};
use palisade_model::{Reference, Target};
use palisade_registry::{BlobOptions, Client, ClientSettings, RegistryError};
use serde_json::json;

use crate::server::{Reply, Request, reply};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An address at which nobody listens, and which nobody else is given; a program that is told to
/// may listen there.
pub(crate) struct Reserved {
    pub(crate) host: String,
    _socket: OwnedFd,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Two sockets that both allow it may have one address, as long as only one listens.
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address: SocketAddr = getsockname(&socket).unwrap().try_into().unwrap();
        Self { host: address.to_string(), _socket: socket }
    }
}

/// An image in a layout: a large layer, which does not compress, and a small one.
pub(crate) struct Sample {
    folder: tempfile::TempDir,
    pub(crate) manifest: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) config: Descriptor,
}

/// Bytes that do not compress, the same for each seed.
pub(crate) fn noise(n_bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n_bytes + 8);
    while bytes.len() < n_bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(seed ^ (seed >> 29)).to_le_bytes());
    }
    bytes.truncate(n_bytes);
    bytes
}

fn tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.finish().unwrap();
}

pub(crate) fn sample() -> Sample {
    sample_of(1 << 20, 1, "linux/amd64")
}

pub(crate) fn sample_of(n_bytes: usize, seed: u64, platform: &str) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let (large, small) = (folder.path().join("large.tar"), folder.path().join("small.tar"));
    tar(&large, &[("usr/large", &noise(n_bytes, seed)), ("etc/hidden", b"old")]);
    tar(&small, &[("etc/os-release", b"ID=test\n"), ("etc/.wh.hidden", b"")]);
    let image = NewImage {
        tag: Some("latest".into()),
        platform: platform.parse().unwrap(),
        created: Timestamp::from_nanos(0),
        config: json!({}),
        history: Vec::new(),
        layers: vec![LayerSource::Tar(large), LayerSource::Tar(small)],
        annotations: BTreeMap::new(),
    };
    let written = write_layout(&folder.path().join("layout"), &image).unwrap();
    Sample { manifest: written.manifest, layers: written.layers, config: written.config, folder }
}

impl Sample {
    pub(crate) fn layout(&self) -> Layout {
        Layout::open(&self.folder.path().join("layout")).unwrap()
    }

    pub(crate) fn blob(&self, digest: Digest) -> Option<Vec<u8>> {
        let name = digest.to_string().replace("sha256:", "");
        std::fs::read(self.folder.path().join("layout/blobs/sha256").join(name)).ok()
    }

    /// What an honest registry answers.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let Some((_, selector)) = request.path.rsplit_once('/') else { return reply(404) };
        if selector == "latest" {
            return self.document(&self.manifest);
        }
        let Some(digest) = selector.parse::<Digest>().ok() else {
            return unknown("MANIFEST_UNKNOWN", "manifest unknown");
        };
        if request.path.contains("/manifests/") && digest == self.manifest.digest {
            return self.document(&self.manifest);
        }
        match self.blob(digest) {
            Some(blob) if request.path.contains("/blobs/") => partial(&blob, request.range()),
            _ => unknown("BLOB_UNKNOWN", "blob unknown"),
        }
    }

    fn document(&self, descriptor: &Descriptor) -> Reply {
        reply(200)
            .header("content-type", &descriptor.media_type)
            .header("docker-content-digest", descriptor.digest.to_string())
            .body(self.blob(descriptor.digest).unwrap())
    }
}

pub(crate) fn unknown(code: &str, message: &str) -> Reply {
    reply(404).body(json!({"errors": [{"code": code, "message": message}]}).to_string())
}

/// A blob, or the rest of it.
pub(crate) fn partial(blob: &[u8], from: Option<usize>) -> Reply {
    match from {
        Some(from) => reply(206)
            .header("content-range", format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()))
            .body(&blob[from..]),
        None => reply(200).body(blob),
    }
}

/// Settings that wait for nothing long.
pub(crate) fn settings() -> ClientSettings {
    ClientSettings {
        backoff: Duration::from_millis(2),
        timeout_idle: Duration::from_secs(5),
        ..ClientSettings::default()
    }
}

pub(crate) fn client() -> Arc<Client> {
    Arc::new(Client::new(settings()))
}

pub(crate) fn open(client: &Arc<Client>, name: &str) -> Result<Image, OpenImageError> {
    open_with(client, name, &BlobOptions::default(), &OpenOptions::default())
}

pub(crate) fn open_with(
    client: &Arc<Client>,
    name: &str,
    blobs: &BlobOptions,
    options: &OpenOptions,
) -> Result<Image, OpenImageError> {
    let reference: Reference = name.parse().unwrap();
    client.open(&Target::Registry(reference.clone()), &reference, blobs, options)
}

/// Paths and sizes of the files of an image.
pub(crate) fn files(image: &Image) -> Vec<(String, u64)> {
    let mut files = Vec::new();
    let walked = image
        .walk(&mut |entry, content| {
            let n = std::io::copy(content, &mut std::io::sink()).unwrap();
            files.push((entry.path.clone(), n));
            Visit::Continue
        })
        .unwrap();
    assert!(walked.gaps.is_empty());
    files.sort();
    files
}

pub(crate) fn sample_files() -> Vec<(String, u64)> {
    vec![("etc/os-release".into(), 8), ("usr/large".into(), 1 << 20)]
}

/// The error of the registry inside that of opening an image, with its hint.
#[track_caller]
pub(crate) fn refused(result: Result<Image, OpenImageError>) -> String {
    match result {
        Err(OpenImageError::Source(error)) => {
            assert!(error.downcast_ref::<RegistryError>().is_some());
            error.to_string()
        }
        Err(error) => panic!("another error: {error}, {:?}", error.hint()),
        Ok(_) => panic!("it opens"),
    }
}

/// The error of reading an image's layers.
#[track_caller]
pub(crate) fn unreadable(image: &Image) -> String {
    let error = image.walk(&mut |_, _| Visit::Continue).unwrap_err();
    palisade_base::render_chain(&error, None)
}

//! App Container Images: `aci:FILE`.
//!
//! A tar file with a `manifest` in JSON and the files below `rootfs/`, perhaps compressed
//! (App Container specification 0.8, "App Container Image"). It is taken for an image of one
//! layer. The format states no digest of what is in it, so that the layer's is reckoned when
//! the file is opened: it says that what is walked is what was opened, and no more.
//!
//! An image can name others whose files come below its own; they are not in the file, and a
//! walk says so. Its `pathWhitelist`, which hides files, is not applied: what it hides is in
//! the image all the same.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use palisade_base::{Digest, DigestReader, LimitExceeded};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::archive::{Archive, open_seekable};
use crate::document::{self, ImageConfig, Platform};
use crate::error::OpenImageError;
use crate::open::{Image, Layer, Opening, Place, Source};
use crate::squash::normalise;
use crate::tarball::{RawKind, TarReader};
use crate::{FileKind, Limits};

/// Dependencies that are named one by one.
const DEPENDENCIES_MAX: usize = 64;
/// Characters of a dependency's name that are shown.
const NAME_CHARS_MAX: usize = 200;
const BUFFER_BYTES: usize = 256 << 10;

/// What of the manifest says how to run it. Everything else stays in the raw document.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    ac_kind: String,
    name: String,
    #[serde(default)]
    labels: Vec<Pair>,
    #[serde(default)]
    annotations: Vec<Pair>,
    #[serde(default)]
    app: Option<App>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    #[serde(default)]
    exec: Vec<String>,
    /// A number, a name, or the path of a file whose owner it is.
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    environment: Vec<Pair>,
    #[serde(default)]
    working_directory: String,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    mount_points: Vec<MountPoint>,
}

#[derive(Debug, Deserialize)]
struct Port {
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    port: Value,
}

#[derive(Debug, Deserialize)]
struct MountPoint {
    #[serde(default)]
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    image_name: String,
}

/// An opened image file.
#[derive(Debug)]
pub(crate) struct Aci {
    /// The whole file, decompressed, as its only entry.
    pub(crate) archive: Arc<Archive>,
    /// Images whose files belong below and are not here.
    pub(crate) dependencies: Vec<String>,
}

/// The path in the container of an entry of the file; `None` for what is none of its files.
pub(crate) fn within_rootfs(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(b"rootfs/")
}

/// Whether an entry outside of `rootfs/` is where the format has one.
pub(crate) fn is_of_format(path: &[u8]) -> bool {
    matches!(path, b"manifest" | b"rootfs")
}

impl Opening<'_> {
    /// Opens an App Container Image.
    pub(crate) fn aci_image(&self) -> Result<Image, OpenImageError> {
        let limits = &self.options.limits;
        let (mut file, stamp) = open_seekable(self.path, limits)?;
        let not_one = |why| OpenImageError::NotAnAci { path: self.path.into(), why };
        let compression = unread_compression(&mut file).map_err(|error| self.aci_error(error))?;
        if let Some(why) = compression {
            return Err(not_one(why));
        }
        let read = read_through(&mut file, limits).map_err(|error| self.aci_error(error))?;
        let Contents { manifest: bytes, digest, size, has_rootfs } = read;
        let name = "manifest";
        let refuse = |problem: &str| OpenImageError::Inconsistent {
            what: "image manifest",
            name: name.into(),
            problem: problem.into(),
        };
        let Some(bytes) = bytes.filter(|_| has_rootfs) else {
            return Err(not_one("it has no `manifest` or no `rootfs`"));
        };
        let bad = |source| OpenImageError::BadDocument {
            what: "image manifest",
            name: name.into(),
            source,
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(bad)?;
        if manifest.ac_kind != "ImageManifest" {
            return Err(refuse("its `acKind` is not `ImageManifest`"));
        }
        let document = configuration(&manifest, digest).to_string();
        let (mut config, platform) = ImageConfig::parse(document.as_bytes(), name)?;
        config.raw = serde_json::from_slice(&bytes).map_err(bad)?;
        self.check_platform(&platform)?;
        let dependencies: Vec<String> = manifest
            .dependencies
            .iter()
            .take(DEPENDENCIES_MAX)
            .map(|one| one.image_name.chars().take(NAME_CHARS_MAX).collect())
            .collect();
        let layer = Layer {
            digest,
            diff_id: digest,
            size,
            media_type: document::LAYER.to_string(),
            place: Place::Aci,
        };
        let archive = Arc::new(Archive::of_one_entry(file, size, stamp, limits));
        Ok(Image {
            target: self.target.clone(),
            reference: Some(manifest.name),
            manifest_digest: None,
            config_digest: Some(Digest::of(&bytes)),
            manifest: bytes,
            index_digests: Vec::new(),
            config,
            platform: Some(platform),
            layers: vec![layer],
            source: Source::Aci(Aci { archive, dependencies }),
            limits: limits.clone(),
        })
    }

    fn aci_error(&self, error: io::Error) -> OpenImageError {
        match LimitExceeded::find(&error) {
            Some(limit) => limit.clone().into(),
            None => OpenImageError::BadArchive { path: self.path.into(), source: error },
        }
    }
}

/// What one pass over the file shows.
struct Contents {
    manifest: Option<Vec<u8>>,
    has_rootfs: bool,
    digest: Digest,
    size: u64,
}

fn read_through(file: &mut File, limits: &Limits) -> io::Result<Contents> {
    file.seek(SeekFrom::Start(0))?;
    let source = DigestReader::new(BufReader::with_capacity(BUFFER_BYTES, file));
    let mut tar = TarReader::new(source, limits, limits.entries_max);
    let (mut manifest, mut has_rootfs) = (None, false);
    while let Some(entry) = tar.next_entry()? {
        let Ok(path) = normalise(&entry.path, limits) else { continue };
        has_rootfs |= path.bytes == b"rootfs" || within_rootfs(&path.bytes).is_some();
        if path.bytes != b"manifest" || entry.kind != RawKind::File(FileKind::Regular) {
            continue;
        }
        // Which of two an engine takes is nobody's to guess.
        if manifest.is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has two manifests"));
        }
        let limit = limits.config_bytes_max;
        manifest = Some(palisade_base::read_bounded(&mut tar, "image manifest", limit)?);
    }
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    let (digest, size) = rest.finish();
    Ok(Contents { manifest, has_rootfs, digest, size })
}

/// The manifest in the terms of an OCI configuration, which is what everything else reads.
fn configuration(manifest: &Manifest, layer: Digest) -> Value {
    let label = |name: &str| {
        manifest.labels.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str())
    };
    let annotation =
        |name: &str| manifest.annotations.iter().find(|pair| pair.name == name).map(|p| &p.value);
    let this = Platform::of_this_machine();
    let mut config = json!({});
    if let Some(app) = &manifest.app {
        let group = if app.group.is_empty() { String::new() } else { format!(":{}", app.group) };
        let object = |keys: Vec<String>| -> Value {
            keys.into_iter().map(|key| (key, json!({}))).collect::<serde_json::Map<_, _>>().into()
        };
        let port = |port: &Port| {
            let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
            format!("{}/{protocol}", port.port)
        };
        config = json!({
            "User": format!("{}{group}", app.user),
            "Env": app.environment.iter().map(|e| format!("{}={}", e.name, e.value)).collect::<Vec<_>>(),
            "Entrypoint": app.exec,
            "WorkingDir": app.working_directory,
            "ExposedPorts": object(app.ports.iter().map(port).collect()),
            "Volumes": object(app.mount_points.iter().map(|m| m.path.clone()).collect()),
        });
    }
    let labels: serde_json::Map<String, Value> = manifest
        .labels
        .iter()
        .chain(&manifest.annotations)
        .map(|pair| (pair.name.clone(), json!(pair.value)))
        .collect();
    config["Labels"] = Value::Object(labels);
    let mut document = json!({
        "os": label("os").unwrap_or("linux"),
        "architecture": label("arch").map_or(this.architecture, str::to_string),
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [layer.to_string()] },
    });
    if let Some(created) = annotation("created") {
        document["created"] = json!(created);
    }
    document
}

/// A compression that the format allows and that is not read here.
fn unread_compression(file: &mut File) -> io::Result<Option<&'static str>> {
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(4).read_to_end(&mut start)?;
    Ok(match start[..] {
        [0xfd, b'7', b'z', b'X'] => Some("it is compressed by xz: unpack it with `xz -d` first"),
        [b'B', b'Z', b'h', _] => Some("it is compressed by bzip2: unpack it with `bzip2 -d` first"),
        _ => None,
    })
}

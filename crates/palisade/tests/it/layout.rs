//! OCI layouts written by hand, so that they can be as wrong as a test needs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use palisade_base::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// A layer, uncompressed.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, mode: u32, link: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        // By hand: the crate refuses to write the names that hostile layers have.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    pub(crate) fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, "", b"")
    }

    pub(crate) fn file(self, path: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, "", bytes.as_ref())
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, target, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, target, b"")
    }

    pub(crate) fn device(self, path: &str) -> Self {
        self.entry(EntryType::Char, path, 0o666, "", b"")
    }

    /// An entry of whatever type, with a size that may be a lie.
    pub(crate) fn raw(mut self, kind: u8, path: &str, size: u64, bytes: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    /// A PAX header for the entry that follows.
    pub(crate) fn pax(self, key: &str, value: &str) -> Self {
        // The length counts itself.
        let rest = format!(" {key}={value}\n");
        let n_digits = (1..8).find(|n| (n + rest.len()).to_string().len() == *n).unwrap();
        let record = format!("{}{rest}", n_digits + rest.len());
        self.raw(b'x', "pax", record.len() as u64, record.as_bytes())
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A layout on disk with one image, tagged `latest`.
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    /// Digests of the layers' blobs, lowest first.
    pub(crate) layers: Vec<Digest>,
    pub(crate) config: Digest,
    pub(crate) manifest: Digest,
}

impl Layout {
    /// Writes `layers` with the `config` object of an image configuration.
    pub(crate) fn write(folder: &Path, layers: Vec<Layer>, config: &Value) -> Self {
        Self::write_with(folder, layers, config, |_| {})
    }

    /// As [`Layout::write`]; `lie` may change the manifest before it is stored.
    pub(crate) fn write_with(
        folder: &Path,
        layers: Vec<Layer>,
        config: &Value,
        lie: impl FnOnce(&mut Value),
    ) -> Self {
        let packed = layers.into_iter().map(|layer| {
            let tar = layer.finish();
            (gzip(&tar), Digest::of(&tar))
        });
        Self::write_packed(folder, packed.collect(), config, lie)
    }

    /// As [`Layout::write_with`], of layers that are compressed already, each with the digest
    /// of what it unpacks to.
    pub(crate) fn write_packed(
        folder: &Path,
        layers: Vec<(Vec<u8>, Digest)>,
        config: &Value,
        lie: impl FnOnce(&mut Value),
    ) -> Self {
        std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let blob = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            std::fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
            digest
        };
        let (mut digests, mut diff_ids, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for (bytes, diff_id) in layers {
            diff_ids.push(diff_id.to_string());
            let digest = blob(&bytes);
            descriptors.push(descriptor("layer.v1.tar+gzip", digest, bytes.len()));
            digests.push(digest);
        }
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string();
        let config_digest = blob(config.as_bytes());
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", config_digest, config.len()),
            "layers": descriptors,
        });
        lie(&mut manifest);
        let manifest = manifest.to_string();
        let manifest_digest = blob(manifest.as_bytes());
        let mut entry = descriptor("manifest.v1+json", manifest_digest, manifest.len());
        entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self {
            folder: folder.into(),
            layers: digests,
            config: config_digest,
            manifest: manifest_digest,
        }
    }

    /// How the command line names it.
    pub(crate) fn target(&self) -> String {
        format!("oci:{}", self.folder.display())
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }
}

fn descriptor(kind: &str, digest: Digest, size: usize) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": digest.to_string(),
        "size": size,
    })
}

/// This machine's processor, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A small layer that unpacks to more than 300 MiB of zeros, in one file.
pub(crate) fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(make_bomb)
}

fn make_bomb() -> Vec<u8> {
    const MIB: usize = 1 << 20;
    const SIZE_MIB: usize = 300;
    let mut header = Header::new_ustar();
    header.set_path("bomb").unwrap();
    header.set_mode(0o644);
    header.set_size((SIZE_MIB * MIB) as u64);
    header.set_cksum();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; MIB];
    for _ in 0..SIZE_MIB {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Debian's release file.
pub(crate) const OS_RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n\
     VERSION_CODENAME=bookworm\nID=debian\n";

/// Two installed packages, as dpkg records them.
pub(crate) const DPKG_STATUS: &str = "Package: libpalisadetest1\nStatus: install ok installed\n\
    Architecture: amd64\nSource: palisadetest\nVersion: 1.2.3-1\nMaintainer: Nobody <nobody@example.org>\n\
    Description: a library\n\nPackage: base-files\nStatus: install ok installed\nArchitecture: amd64\n\
    Version: 12.4\nMaintainer: Nobody <nobody@example.org>\nDescription: files\n\n";

/// The value of the access key in [`shop`]; no report may show it.
pub(crate) const SECRET: &str = concat!("AKIA", "QYLPMN5HHHFPZAM2");

/// An image with everything that a scan is to find.
pub(crate) fn shop(folder: &Path) -> Layout {
    let base = Layer::new()
        .folder("etc/", 0o755)
        .file("etc/os-release", 0o644, OS_RELEASE)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n")
        .folder("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, DPKG_STATUS)
        .file("usr/bin/helper", 0o4755, "\u{7f}ELF");
    let app = Layer::new().file("srv/deploy.env", 0o644, format!("AWS_ACCESS_KEY_ID={SECRET}\n"));
    Layout::write(folder, vec![base, app], &json!({ "Cmd": ["/srv/run"], "User": "33" }))
}

/// An image that a scan has little to say about.
pub(crate) fn plain(folder: &Path) -> Layout {
    let layer = Layer::new()
        .folder("etc/", 0o755)
        .file("etc/os-release", 0o644, OS_RELEASE)
        .folder("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, DPKG_STATUS)
        .file("bin/hello", 0o755, "#!/bin/sh\necho hello\n");
    Layout::write(folder, vec![layer], &json!({ "Cmd": ["/bin/hello"], "User": "33" }))
}

//! A small image in a layout on disk.

use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_trust::PrivateKey;
use serde_json::{Value, json};

/// A layout with one image of two layers, tagged `latest`.
pub(crate) struct Layout {
    pub folder: tempfile::TempDir,
    /// Digest of the image's manifest.
    pub image: Digest,
}

/// Keys for all tests; making one is cheap, but the same ones make failures repeatable.
pub(crate) fn key(seed: u8) -> PrivateKey {
    // PKCS#8 of a P-256 key whose scalar is the seed repeated.
    let mut der =
        hex::decode("304d020100301306072a8648ce3d020106082a8648ce3d030107043330310201010420")
            .unwrap();
    der.extend([seed; 32]);
    der.extend([0xa0, 0x0a, 0x06, 0x08]);
    der.extend(hex::decode("2a8648ce3d030107").unwrap());
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    PrivateKey::from_pem(&pem, None).unwrap()
}

impl Layout {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        let mut layout = Self { folder, image: Digest::of(b"") };
        layout.write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
        layout.write("index.json", &json!({"schemaVersion": 2, "manifests": [], "x": "kept"}));
        layout.image = layout.add_image("latest", &[b"first layer", b"second layer"]);
        layout
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn write(&self, name: &str, document: &Value) {
        std::fs::write(self.path().join(name), document.to_string()).unwrap();
    }

    pub(crate) fn index(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join("index.json")).unwrap()).unwrap()
    }

    pub(crate) fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        std::fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Adds an image and gives the digest of its manifest.
    pub(crate) fn add_image(&self, tag: &str, layers: &[&[u8]]) -> Digest {
        let config = self.blob(
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            "application/vnd.oci.image.config.v1+json",
        );
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| self.blob(layer, "application/vnd.oci.image.layer.v1.tar"))
            .collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config,
            "layers": layers,
        });
        let mut descriptor = self.blob(manifest.to_string().as_bytes(), media_type);
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().push(descriptor);
        self.write("index.json", &index);
        Digest::of(manifest.to_string().as_bytes())
    }

    /// Adds a referrer of `image` whose one layer is `blob`, as cosign attaches bundles.
    pub(crate) fn refer(&self, image: &Digest, kind: &str, blob: &[u8]) {
        let size = std::fs::metadata(self.blob_path(image)).unwrap().len();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "artifactType": kind,
            "config": self.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(blob, kind)],
            "subject": {"mediaType": media_type, "digest": image, "size": size},
        });
        let descriptor = self.blob(manifest.to_string().as_bytes(), media_type);
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().push(descriptor);
        self.write("index.json", &index);
    }

    /// Adds a manifest under a tag, whose one layer has annotations, as older versions of cosign
    /// attach signatures (`sig`) and attestations (`att`).
    pub(crate) fn attach(&self, end: &str, kind: &str, blob: &[u8], annotations: &Value) {
        let mut layer = self.blob(blob, kind);
        layer["annotations"] = annotations.clone();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.blob(b"{}", "application/vnd.oci.image.config.v1+json"),
            "layers": [layer],
        });
        let mut descriptor = self.blob(manifest.to_string().as_bytes(), media_type);
        let tag = format!("sha256-{}.{end}", self.image.hex());
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().push(descriptor);
        self.write("index.json", &index);
    }

    /// All files with their contents, sorted.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = vec![self.path().join("index.json"), self.path().join("oci-layout")];
        for entry in std::fs::read_dir(self.path().join("blobs/sha256")).unwrap() {
            files.push(entry.unwrap().path());
        }
        files.sort();
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }
}

//! A registry of the distribution: Debian's `docker-registry`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use palisade_model::Reference;
use palisade_registry::{Client, CopySource, Listed, Referrer};

use crate::auth::client_with;
use crate::push::root;
use crate::support::{Reserved, client, files, open, refused, sample, sample_files, unreadable};

/// A running registry; ended with the test.
struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    host: String,
    _reserved: Reserved,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one; `None` where it is not installed.
    fn start(htpasswd: Option<&str>) -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let reserved = Reserved::new();
        let host = &reserved.host;
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n",
            folder.path().join("data").display()
        );
        if let Some(users) = htpasswd {
            let file = folder.path().join("htpasswd");
            std::fs::write(&file, users).unwrap();
            let file = file.display();
            write!(config, "auth:\n  htpasswd:\n    realm: test\n    path: {file}\n").unwrap();
        }
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(program)
            .args([Path::new("serve"), &path])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says when it listens; what it says later has to be read as well.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = lines.by_ref().flatten().any(|line| line.contains("listening on"));
        std::thread::spawn(move || lines.for_each(drop));
        assert!(listens, "the registry starts");
        Some(Self { child, folder, host: host.clone(), _reserved: reserved })
    }

    fn name(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }

    /// The file of a blob in the registry's storage.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let folder = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.folder.path().join(folder)
    }
}

fn push(registry: &Registry, client: &Arc<Client>, name: &str) -> crate::support::Sample {
    let sample = sample();
    let layout = sample.layout();
    let from = CopySource::Blobs { source: &layout, referrers: Vec::new() };
    let copied = client.copy(&from, &root(&sample), &registry.name(name)).unwrap();
    assert_eq!((copied.n_blobs, copied.n_documents), (3, 1));
    sample
}

#[test]
fn pushes_to_it_and_pulls_from_it() {
    let Some(registry) = Registry::start(None) else { return };
    let client = client();
    let sample = push(&registry, &client, "team/shop:1.0");
    let image = open(&client, &registry.name("team/shop:1.0").to_string()).unwrap();
    assert_eq!(image.manifest_digest, Some(sample.manifest.digest));
    assert_eq!(files(&image), sample_files());
    let error = refused(open(&client, &registry.name("team/shop:2.0").to_string()));
    assert!(error.contains("MANIFEST_UNKNOWN"), "{error}");
    let error = refused(open(&client, &registry.name("nothing").to_string()));
    assert!(error.contains("has no manifest latest of nothing"), "{error}");

    // Within the registry, blobs are mounted.
    let place = palisade_registry::Place {
        host: registry.host.clone(),
        repository: "team/shop".into(),
        insecure: false,
        is_mirror: false,
    };
    let copied = client
        .copy(&CopySource::Registry(&place), &root(&sample), &registry.name("prod/shop:1.0"))
        .unwrap();
    assert_eq!(copied.n_blobs, 0);
    assert_eq!(
        files(&open(&client, &registry.name("prod/shop:1.0").to_string()).unwrap()),
        sample_files()
    );
    assert!(client.referrers(&place, sample.manifest.digest, None).unwrap().is_empty());
}

#[test]
fn a_broken_layer_in_its_storage_is_found() {
    let Some(registry) = Registry::start(None) else { return };
    let client = client();
    let sample = push(&registry, &client, "shop");
    let path = registry.blob(&sample.layers[0].digest.to_string());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[70_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let image = open(&client, &registry.name("shop").to_string()).unwrap();
    let error = unreadable(&image);
    assert!(error.contains(&sample.layers[0].digest.to_string()), "{error}");
}

#[test]
fn a_private_one_wants_to_know_who_asks() {
    // `htpasswd -Bbn -C 4 user secret`.
    let users = "user:$2y$04$U0hLXbgCuK3lCdE8IhoEEu7whHQ8EpV62LiVkB3m67nsSebooAD.m\n";
    let Some(registry) = Registry::start(Some(users)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let write = |auth: &str| {
        std::fs::write(
            &file,
            format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}", registry.host),
        )
        .unwrap();
    };
    write("dXNlcjpzZWNyZXQ=");
    let knowing = client_with(&file);
    push(&registry, &knowing, "shop");
    let name = registry.name("shop").to_string();
    assert_eq!(files(&open(&knowing, &name).unwrap()), sample_files());
    let error = refused(open(&client(), &name));
    assert!(
        error.contains("without credentials: UNAUTHORIZED: authentication required"),
        "{error}"
    );
    write("dXNlcjp3cm9uZw==");
    let error = refused(open(&client_with(&file), &name));
    assert!(error.contains("to these credentials"), "{error}");
}

/// Signers that attach at the same time, where the registry keeps no list: every one is in
/// the list in the end.
#[test]
fn concurrent_attachments_lose_nothing() {
    const N: usize = 8;
    let Some(registry) = Registry::start(None) else { return };
    let name = registry.name("team/shop:1");
    let place = Client::home(&name);
    let subject = palisade_base::Digest::of(b"image");
    std::thread::scope(|scope| {
        for i in 0..N {
            let place = &place;
            scope.spawn(move || {
                let layer = format!("signature {i}").into_bytes();
                let digest = palisade_base::Digest::of(&layer);
                let manifest = serde_json::json!({
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                        "digest": digest, "size": layer.len()},
                    "layers": [],
                    "annotations": {"i": i.to_string()},
                })
                .to_string()
                .into_bytes();
                let descriptor = serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": palisade_base::Digest::of(&manifest), "size": manifest.len(),
                    "artifactType": "application/x.test", "x": "kept",
                });
                let blobs = [(digest, layer)];
                let referrer = Referrer { manifest: &manifest, descriptor, blobs: &blobs };
                let listed = client().attach(place, subject, &referrer).unwrap();
                assert_eq!(listed, Listed::ByTag);
            });
        }
    });
    let found = client().referrers(&place, subject, Some("application/x.test")).unwrap();
    assert_eq!(found.len(), N, "{found:?}");
}

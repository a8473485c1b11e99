//! App Container Images.

use std::path::Path;

use palisade_image::{
    ExtractError, ExtractOptions, HostileKind, Image, Limits, OpenImageError, OpenOptions, Visit,
    Walked, extract_layer,
};
use palisade_model::Target;
use serde_json::{Value, json};

use crate::build::{Entry, device, file, folder, gzip, hard_link, symlink, tar};

fn manifest() -> Value {
    json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/shop",
        "labels": [
            { "name": "version", "value": "1.2" },
            { "name": "os", "value": "linux" },
            { "name": "arch", "value": "amd64" },
        ],
        "app": {
            "exec": ["/bin/shop", "--serve"], "user": "100", "group": "300",
            "environment": [{ "name": "MODE", "value": "fast" }],
            "workingDirectory": "/srv",
            "ports": [{ "name": "http", "protocol": "tcp", "port": 8080 }],
            "mountPoints": [{ "name": "data", "path": "/data" }],
        },
        "annotations": [{ "name": "created", "value": "2020-01-01T00:00:00Z" }],
    })
}

fn open_with(bytes: &[u8], limits: Limits) -> Result<Image, OpenImageError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.aci");
    std::fs::write(&path, bytes).unwrap();
    let options = OpenOptions { limits, ..OpenOptions::default() };
    Image::open(&Target::Aci(path), &options)
}

fn open(bytes: &[u8]) -> Result<Image, OpenImageError> {
    open_with(bytes, Limits::default())
}

fn aci(manifest: &Value, entries: &[Entry]) -> Vec<u8> {
    let mut all = vec![file("manifest", &manifest.to_string()), folder("rootfs")];
    all.extend_from_slice(entries);
    tar(&all)
}

/// What a walk presents, with the content of files.
fn files(image: &Image) -> (Vec<(String, String)>, Walked) {
    let mut seen = Vec::new();
    let walked = image
        .walk(&mut |entry, content| {
            let mut text = String::new();
            content.read_to_string(&mut text).unwrap();
            seen.push((entry.path.clone(), text));
            Visit::Follow
        })
        .unwrap();
    (seen, walked)
}

#[test]
fn an_image_is_read_plain_and_compressed() {
    let plain = aci(
        &manifest(),
        &[
            folder("rootfs/etc"),
            file("rootfs/etc/os-release", "ID=x"),
            // No whiteout: the format has none.
            file("rootfs/.wh.etc", "w"),
            hard_link("rootfs/same", "rootfs/etc/os-release"),
            symlink("rootfs/link", "etc/os-release"),
        ],
    );
    for bytes in [plain.clone(), gzip(&plain)] {
        let image = open(&bytes).unwrap();
        assert_eq!(image.reference.as_deref(), Some("example.com/shop"));
        assert_eq!(image.platform.as_ref().unwrap().to_string(), "linux/amd64");
        let config = &image.config;
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("100:300", "/srv"));
        assert_eq!(config.entrypoint, ["/bin/shop", "--serve"]);
        assert_eq!(config.env, ["MODE=fast"]);
        assert_eq!(config.exposed_ports, ["8080/tcp"]);
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.labels["version"], "1.2");
        assert_eq!(config.created.as_deref(), Some("2020-01-01T00:00:00Z"));
        assert!(image.stamp().is_some());
        image.verify_blobs().unwrap();
        let (seen, walked) = files(&image);
        let text = |path: &str, content: &str| (path.to_string(), content.to_string());
        assert_eq!(
            seen,
            [
                text("etc", ""),
                text("etc/os-release", "ID=x"),
                text(".wh.etc", "w"),
                text("same", ""),
                text("link", ""),
                text("same", "ID=x"),
            ]
        );
        assert_eq!((walked.gaps, walked.hostile), (vec![], vec![]));
    }
}

#[test]
fn what_is_not_in_the_file_is_a_gap() {
    let mut manifest = manifest();
    manifest["dependencies"] = json!([{ "imageName": "example.com/base" }]);
    let image = open(&aci(&manifest, &[file("other", "x"), file("rootfs/a", "1")])).unwrap();
    let (seen, walked) = files(&image);
    assert_eq!(seen, [("a".to_string(), "1".to_string())]);
    let gaps: Vec<String> =
        walked.gaps.iter().map(|gap| format!("{}: {}", gap.path, gap.reason)).collect();
    assert_eq!(
        gaps,
        [
            "/: the files of `example.com/base`, which come below this image's, are not in it",
            "other: lies outside of the image's rootfs",
        ]
    );
}

#[test]
fn hostile_files_are_refused_or_named() {
    let image = open(&aci(
        &manifest(),
        &[
            file("rootfs/../up", "x"),
            hard_link("rootfs/leaves", "manifest"),
            symlink("rootfs/above", "../../etc/passwd"),
            device("rootfs/dev"),
            file("rootfs/twice", "1"),
            file("rootfs/twice", "2"),
        ],
    ))
    .unwrap();
    let (_, walked) = files(&image);
    let kinds: Vec<HostileKind> = walked.hostile.iter().map(|hostile| hostile.kind).collect();
    assert_eq!(
        kinds,
        [
            HostileKind::ParentPath,
            HostileKind::BadHardLink,
            HostileKind::LinkAboveRoot,
            HostileKind::Device,
            HostileKind::Duplicate
        ]
    );
    // Its files are no layer that something could run.
    let dest = tempfile::tempdir().unwrap();
    let refused =
        extract_layer(&image, 0, &dest.path().join("x"), &ExtractOptions::default()).unwrap_err();
    assert!(matches!(refused, ExtractError::NotALayer(_)), "{refused}");
}

#[test]
fn other_files_are_refused_with_the_reason() {
    let check = |bytes: &[u8], limits: Limits, expected: &str| {
        let error = open_with(bytes, limits).unwrap_err();
        let chain = palisade_base::render_chain(&error, None);
        assert!(chain.contains(expected), "{chain}");
    };
    let usual = Limits::default;
    check(&tar(&[file("a", "1")]), usual(), "no `manifest` or no `rootfs`");
    check(&tar(&[file("manifest", "{}")]), usual(), "no `manifest` or no `rootfs`");
    check(b"", usual(), "no `manifest` or no `rootfs`");
    check(b"\xfd7zXZ\0", usual(), "compressed by xz");
    check(b"BZh91AY", usual(), "compressed by bzip2");
    check(b"no tar at all", usual(), "");
    check(&aci(&json!([]), &[]), usual(), "image manifest");
    check(&aci(&json!({ "acKind": "PodManifest", "name": "x" }), &[]), usual(), "acKind");
    check(&aci(&manifest(), &[file("manifest", "{}")]), usual(), "two manifests");
    let whole = aci(&manifest(), &[file("rootfs/a", "1")]);
    check(&whole[..whole.len() / 2], usual(), "");
    check(&whole, Limits { config_bytes_max: 10, ..usual() }, "10");
    check(&whole, Limits { entries_max: 2, ..usual() }, "2");
    check(&gzip(&whole), Limits { layer_bytes_max: 1000, ..usual() }, "1000");
    let missing = Image::open(&Target::Aci("/nonexistent".into()), &OpenOptions::default());
    assert!(matches!(missing, Err(OpenImageError::NotFound { .. })));
    assert!(matches!(
        Image::open(&Target::Aci(Path::new("/").into()), &OpenOptions::default()),
        Err(OpenImageError::NotAnArchive { .. })
    ));
}

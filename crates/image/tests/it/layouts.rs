//! Choosing an image, and writing layouts.

use std::collections::BTreeMap;
use std::path::Path;

use palisade_base::{Explain as _, Timestamp};
use palisade_image::{
    Amendment, Descriptor, HistoryStep, Image, LayerSource, Layout, LayoutError, NewImage,
    OpenImageError, OpenOptions, PackOptions, Platform, Visit, WrittenImage, write_layout,
};
use palisade_model::Target;
use serde_json::json;

use crate::build::*;

fn target(folder: &Path, selector: Option<&str>) -> Target {
    Target::Layout { folder: folder.to_path_buf(), selector: selector.map(str::to_string) }
}

fn open(folder: &Path, selector: Option<&str>) -> Result<Image, OpenImageError> {
    Image::open(&target(folder, selector), &OpenOptions::default())
}

#[test]
fn tags_and_digests_choose() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    assert!(matches!(open(folder.path(), None), Err(OpenImageError::NoSuchImage { .. })));
    let one = add_image(&layout, Some("one"), &[layer(&[file("1", "")])]);
    assert_eq!(open(folder.path(), None).unwrap().reference.unwrap(), "one");
    let two = add_image(&layout, Some("example.org/app:two"), &[layer(&[file("2", "")])]);
    let digest =
        |selector: &str| open(folder.path(), Some(selector)).unwrap().manifest_digest.unwrap();
    assert_eq!(digest("one"), one.digest);
    assert_eq!(digest("two"), two.digest);
    assert_eq!(digest("example.org/app:two"), two.digest);
    assert_eq!(digest(&one.digest.to_string()), one.digest);
    let error = open(folder.path(), None).unwrap_err();
    assert!(error.hint().unwrap().contains("one, example.org/app:two"), "{error:?}");
    let error = open(folder.path(), Some("three")).unwrap_err();
    assert!(matches!(error, OpenImageError::NoSuchImage { .. }));
    // A tag moves; the old image stays under its digest no more.
    let three = add_image(&layout, Some("one"), &[layer(&[file("3", "")])]);
    assert_eq!(digest("one"), three.digest);
    assert!(layout.remove_tag("one").unwrap());
    assert!(!layout.remove_tag("one").unwrap());
    assert_eq!(open(folder.path(), None).unwrap().manifest_digest.unwrap(), two.digest);
}

#[test]
fn attachments_are_not_images() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let image = add_image(&layout, Some("one"), &[layer(&[file("1", "")])]);
    let signature = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "subject": image });
    let signature = serde_json::to_vec(&signature).unwrap();
    let mut entry = Descriptor::of(MANIFEST, &signature);
    entry.artifact_type = Some("application/vnd.dev.sigstore.bundle.v0.3+json".into());
    let stored = layout.add_manifest(None, entry.clone(), &signature).unwrap();
    layout.add_manifest(None, entry, &signature).unwrap();
    let tag = format!("sha256-{}", image.digest.hex());
    layout.add_manifest(Some(&tag), Descriptor::of(MANIFEST, b"{}"), b"{}").unwrap();
    assert_eq!(layout.manifests().unwrap().len(), 3);
    assert_eq!(open(folder.path(), None).unwrap().manifest_digest.unwrap(), image.digest);
    assert_eq!(layout.read_blob(stored.digest, None, 4096).unwrap(), signature);
    assert!(layout.read_blob(stored.digest, Some(1), 4096).is_err());
    assert!(layout.read_blob(stored.digest, None, 10).is_err());
}

#[test]
fn platforms_choose_within_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let mut manifests = Vec::new();
    for architecture in ["arm64", "amd64", "riscv64"] {
        let content = layer(&[file("arch", architecture)]);
        let config =
            layout.add_blob(CONFIG, &config(architecture, std::slice::from_ref(&content))).unwrap();
        let stored = layout.add_blob(LAYER, &content.stored).unwrap();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [stored] });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut entry = layout.add_blob(MANIFEST, &manifest).unwrap();
        entry.platform =
            Some(Platform { os: "linux".into(), architecture: architecture.into(), variant: None });
        manifests.push(entry);
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let inner = serde_json::to_vec(
        &json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests }),
    )
    .unwrap();
    let inner = layout.add_manifest(Some("multi"), Descriptor::of(kind, &inner), &inner).unwrap();
    let open = |platform: &str| {
        let options =
            OpenOptions { platform: Some(platform.parse().unwrap()), ..OpenOptions::default() };
        Image::open(&target(folder.path(), Some("multi")), &options)
    };
    for architecture in ["arm64", "amd64", "riscv64"] {
        let image = open(&format!("linux/{architecture}")).unwrap();
        assert_eq!(image.platform.unwrap().architecture, architecture);
        assert_eq!(image.index_digests, [inner.digest]);
    }
    let error = open("linux/s390x").unwrap_err();
    assert!(error.hint().unwrap().contains("linux/arm64"), "{error:?}");
    // Indexes inside each other are followed so far and no further.
    let mut last = inner;
    for _ in 0..4 {
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [last] });
        let index = serde_json::to_vec(&index).unwrap();
        last = layout.add_manifest(Some("deep"), Descriptor::of(kind, &index), &index).unwrap();
    }
    let deep = Image::open(&target(folder.path(), Some("deep")), &OpenOptions::default());
    assert!(matches!(deep, Err(OpenImageError::Inconsistent { .. })), "{deep:?}");
}

#[test]
fn what_is_no_layout_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let check = |expected: &str| {
        let error = open(folder.path(), None).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
        assert!(error.hint().is_some());
    };
    check("it has no `oci-layout`");
    std::fs::write(folder.path().join("oci-layout"), "{}").unwrap();
    check("`oci-layout` states no version 1");
    std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    check("it has no `index.json`");
    std::fs::write(folder.path().join("index.json"), "{").unwrap();
    check("read index `index.json`");
    let missing = folder.path().join("missing");
    assert!(matches!(open(&missing, None), Err(OpenImageError::NotFound { .. })));
}

fn new_image(root: &Path, tag: &str) -> NewImage {
    NewImage {
        tag: Some(tag.into()),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        created: Timestamp::from_nanos(1_700_000_000_000_000_000),
        config: json!({ "User": "65532:65532", "Cmd": ["/bin/true"] }),
        history: Vec::new(),
        layers: vec![LayerSource::Folder {
            path: root.to_path_buf(),
            options: PackOptions { mtime_max: Some(1_600_000_000), owner: Some((0, 0)) },
        }],
        annotations: BTreeMap::new(),
    }
}

fn root_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    std::fs::create_dir_all(path.join("usr/bin")).unwrap();
    std::fs::write(path.join("usr/bin/su"), "su").unwrap();
    std::fs::set_permissions(path.join("usr/bin/su"), std::fs::Permissions::from_mode(0o4755))
        .unwrap();
    std::fs::hard_link(path.join("usr/bin/su"), path.join("usr/bin/su2")).unwrap();
    std::os::unix::fs::symlink("usr/bin", path.join("bin")).unwrap();
    std::fs::write(path.join("x".repeat(150)), "long name").unwrap();
    root
}

#[test]
fn written_images_are_read_back_and_are_always_the_same() {
    let root = root_folder();
    let parent = tempfile::tempdir().unwrap();
    let write = |name: &str| -> WrittenImage {
        write_layout(&parent.path().join(name), &new_image(root.path(), "demo:1")).unwrap()
    };
    let first = write("one");
    assert_eq!(first, write("two"));
    assert_eq!(first, write("one"), "again, into the layout that is there");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 2, "nothing temporary is left");
    let image = open(&parent.path().join("one"), None).unwrap();
    assert_eq!(image.manifest_digest.unwrap(), first.manifest.digest);
    assert_eq!(image.config.user, "65532:65532");
    assert_eq!(image.config.created.as_deref(), Some("2023-11-14T22:13:20.000000000Z"));
    image.verify_blobs().unwrap();
    let mut seen = Vec::new();
    let walked = image
        .walk(&mut |entry, _| {
            seen.push(format!(
                "{} {:o} {}",
                entry.path,
                entry.mode,
                entry.link.as_deref().unwrap_or("")
            ));
            assert_eq!((entry.uid, entry.gid, entry.mtime), (0, 0, 1_600_000_000));
            Visit::Continue
        })
        .unwrap();
    assert!(walked.gaps.is_empty() && walked.hostile.is_empty());
    let long = format!("{} 644 ", "x".repeat(150));
    assert_eq!(
        seen,
        [
            "bin 777 usr/bin",
            "usr 755 ",
            "usr/bin 755 ",
            "usr/bin/su 4755 ",
            "usr/bin/su2 4755 usr/bin/su",
            &long
        ]
    );
}

#[test]
fn a_failed_write_leaves_nothing() {
    let root = root_folder();
    std::fs::write(root.path().join("usr/.wh.x"), "").unwrap();
    let parent = tempfile::tempdir().unwrap();
    let dest = parent.path().join("out");
    let error = write_layout(&dest, &new_image(root.path(), "demo")).unwrap_err();
    assert!(matches!(error, LayoutError::Unpackable { .. }), "{error:?}");
    let error = write_layout(&dest, &new_image(root.path(), "../x")).unwrap_err();
    assert!(matches!(error, LayoutError::BadTag(_)), "{error:?}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    // Something else at the destination is not replaced.
    std::fs::create_dir(&dest).unwrap();
    std::fs::write(dest.join("precious"), "x").unwrap();
    std::fs::remove_file(root.path().join("usr/.wh.x")).unwrap();
    assert!(write_layout(&dest, &new_image(root.path(), "demo")).is_err());
    assert_eq!(std::fs::read(dest.join("precious")).unwrap(), b"x");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn changes_from_many_threads_all_arrive() {
    let folder = tempfile::tempdir().unwrap();
    Layout::create(folder.path()).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let path = folder.path();
            scope.spawn(move || {
                let layout = Layout::open(path).unwrap();
                let content = format!("{{\"n\":{n}}}");
                let entry = Descriptor::of(MANIFEST, content.as_bytes());
                layout.add_manifest(Some(&format!("t{n}")), entry, content.as_bytes()).unwrap();
            });
        }
    });
    assert_eq!(Layout::open(folder.path()).unwrap().manifests().unwrap().len(), 8);
}

#[test]
fn an_image_is_written_again_with_one_more_layer() {
    let root = root_folder();
    let parent = tempfile::tempdir().unwrap();
    let old = parent.path().join("old");
    write_layout(&old, &new_image(root.path(), "demo:1")).unwrap();
    let image = open(&old, None).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    tar.append_data(&mut header, "usr/bin/su", &b"new"[..]).unwrap();
    let layer = parent.path().join("layer.tar");
    std::fs::write(&layer, tar.into_inner().unwrap()).unwrap();
    let amendment = Amendment {
        tag: Some("demo:2".into()),
        layer,
        step: HistoryStep {
            created: Some("2026-01-01T00:00:00Z".into()),
            created_by: Some("test".into()),
            ..HistoryStep::default()
        },
        annotations: vec![("org.example.key".into(), "value".into())],
    };
    let dest = parent.path().join("new");
    let written = image.amend(&dest, &amendment).unwrap();
    assert_eq!(written, image.amend(&dest, &amendment).unwrap(), "the same bytes again");
    let new = open(&dest, Some("demo:2")).unwrap();
    new.verify_blobs().unwrap();
    assert_eq!(new.layers[0].digest, image.layers[0].digest, "copied as it is");
    assert_eq!(new.config.diff_ids[..1], image.config.diff_ids);
    assert_eq!(new.config.created.as_deref(), Some("2026-01-01T00:00:00Z"));
    let history = &new.config.history;
    assert_eq!((history.len(), history[1].created_by.as_deref()), (2, Some("test")));
    assert_eq!(new.config.raw["config"], image.config.raw["config"]);
    let mut found = String::new();
    new.walk(&mut |entry, content| {
        if entry.path == "usr/bin/su" {
            content.read_to_string(&mut found).unwrap();
        }
        Visit::Continue
    })
    .unwrap();
    assert_eq!(found, "new");
    // A layer that is not what its digest says is not copied.
    let blob = old.join("blobs/sha256").join(image.layers[0].digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let lost = parent.path().join("lost");
    assert!(matches!(image.amend(&lost, &amendment), Err(LayoutError::Read(_))));
    assert!(!lost.exists());
    let folder = Image::open(&Target::Folder(root.path().into()), &OpenOptions::default()).unwrap();
    assert!(folder.amend(&lost, &amendment).is_err());
}

//! Limits, nested indexes, and documents that are two things at once.

use std::time::Duration;

use palisade_base::Digest;
use palisade_trust::{
    ContentError, PublicKey, SignError, SignOptions, VerifyError, sign_image, verify_image,
};
use serde_json::{Value, json};

use crate::fixture::{Layout, key};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn keys() -> [PublicKey; 1] {
    [key(1).public().clone()]
}

/// Lists a document under `tag`.
fn list(layout: &Layout, tag: &str, document: &Value, media_type: &str) -> Value {
    let mut entry = layout.blob(document.to_string().as_bytes(), media_type);
    let plain = entry.clone();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    let mut index = layout.index();
    index["manifests"].as_array_mut().unwrap().push(entry);
    layout.write("index.json", &index);
    plain
}

fn index_of(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
}

fn image_entry(layout: &Layout) -> Value {
    let size = std::fs::metadata(layout.blob_path(&layout.image)).unwrap().len();
    json!({"mediaType": MANIFEST, "digest": layout.image, "size": size})
}

#[track_caller]
fn malformed(layout: &Layout, tag: &str, why: &str) {
    match verify_image(layout.path(), Some(tag), &keys()).unwrap_err() {
        VerifyError::Content(error @ ContentError::Malformed { .. }) => {
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(why), "{source}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_image_of_several_platforms_is_signed_and_checked_as_a_whole() {
    let layout = Layout::new();
    let other = layout.add_image("other", &[b"arm layer"]);
    let size = std::fs::metadata(layout.blob_path(&other)).unwrap().len();
    let entries = [
        image_entry(&layout),
        json!({"mediaType": MANIFEST, "digest": other, "size": size, "platform": {"architecture": "arm64", "os": "linux"}}),
    ];
    list(&layout, "multi", &index_of(&entries), INDEX);
    sign_image(layout.path(), Some("multi"), &key(1), &SignOptions::default()).unwrap();
    let verified = verify_image(layout.path(), Some("multi"), &keys()).unwrap();
    // The index, two manifests, one shared configuration, three layers.
    assert_eq!(verified.content.n_blobs, 7);
    assert_eq!(verified.manifests, [verified.digest, layout.image, other].into());
    // The signature is that of the index alone.
    let one = verify_image(layout.path(), Some("other"), &keys());
    assert!(matches!(one, Err(VerifyError::NoSignature { .. })));
    std::fs::write(layout.blob_path(&Digest::of(b"arm layer")), "arm l4yer").unwrap();
    assert!(verify_image(layout.path(), Some("multi"), &keys()).unwrap_err().is_tampered());
}

#[test]
fn indexes_within_indexes_are_bounded() {
    let layout = Layout::new();
    let mut entry = image_entry(&layout);
    for depth in 0..6 {
        entry = list(&layout, &format!("depth{depth}"), &index_of(&[entry]), INDEX);
    }
    let verify = |tag: &str| verify_image(layout.path(), Some(tag), &keys()).unwrap_err();
    assert!(matches!(verify("depth3"), VerifyError::NoSignature { .. }));
    malformed(&layout, "depth4", "nested too deep");
    malformed(&layout, "depth5", "nested too deep");
}

#[test]
fn descriptors_and_documents_are_bounded() {
    let layout = Layout::new();
    let entries = |n: usize| vec![image_entry(&layout); n];
    list(&layout, "many", &index_of(&entries(1024)), INDEX);
    list(&layout, "more", &index_of(&entries(1025)), INDEX);
    let many = verify_image(layout.path(), Some("many"), &keys());
    assert!(matches!(many, Err(VerifyError::NoSignature { .. })));
    malformed(&layout, "more", "too many descriptors");
    let mut large = index_of(&entries(1));
    large["x"] = json!("x".repeat(4 << 20));
    list(&layout, "large", &large, INDEX);
    malformed(&layout, "large", "larger than the limit");
}

/// CVE-2021-41190: the same bytes read as an index by one program and as a manifest by
/// another one.
#[test]
fn documents_that_are_two_things_at_once_are_refused() {
    let layout = Layout::new();
    let mut both = index_of(&[image_entry(&layout)]);
    both["config"] = json!({"mediaType": "x", "digest": layout.image, "size": 1});
    list(&layout, "both", &both, INDEX);
    malformed(&layout, "both", "manifest and index at once");
    list(&layout, "other", &index_of(&[]), MANIFEST);
    malformed(&layout, "other", "media type");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []});
    list(&layout, "empty", &manifest, MANIFEST);
    malformed(&layout, "empty", "no configuration");
    let old = json!({"schemaVersion": 1, "mediaType": MANIFEST});
    list(&layout, "old", &old, MANIFEST);
    malformed(&layout, "old", "schemaVersion");
}

#[test]
fn a_layout_that_is_held_is_not_changed() {
    let layout = Layout::new();
    let held = std::fs::File::open(layout.path()).unwrap();
    held.lock().unwrap();
    let before = layout.files();
    let lock_wait_max = Duration::from_millis(50);
    let options = SignOptions { lock_wait_max, ..SignOptions::default() };
    let error = sign_image(layout.path(), None, &key(1), &options).unwrap_err();
    assert!(matches!(error, SignError::Locked { .. }), "{error}");
    assert_eq!(layout.files(), before);
    drop(held);
    assert!(sign_image(layout.path(), None, &key(1), &options).is_ok());
}

#[test]
fn a_full_index_takes_no_signature() {
    let layout = Layout::new();
    let mut index = layout.index();
    let entry = image_entry(&layout);
    let all = index["manifests"].as_array_mut().unwrap();
    while all.len() < 1024 {
        let mut entry = entry.clone();
        let tag = format!("tag{}", all.len());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        all.push(entry);
    }
    layout.write("index.json", &index);
    let before = layout.index();
    let result = sign_image(layout.path(), Some("latest"), &key(1), &SignOptions::default());
    assert!(matches!(result.unwrap_err(), SignError::Full));
    assert_eq!(layout.index(), before);
}

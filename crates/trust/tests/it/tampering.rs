//! Changed bytes, wherever they are.

use std::sync::LazyLock;

use palisade_base::Digest;
use palisade_trust::{
    ContentError, PrivateKey, PublicKey, SignOptions, VerifyError, sign_blob, sign_image,
    verify_blob, verify_image,
};
use proptest::prelude::*;

use crate::fixture::{Layout, key};

fn signed() -> Layout {
    let layout = Layout::new();
    sign_image(layout.path(), None, &SIGNER, &SignOptions::default()).unwrap();
    layout
}

/// Made once: the arithmetic of a debug build is slow.
static SIGNER: LazyLock<PrivateKey> = LazyLock::new(|| key(1));

fn keys() -> [PublicKey; 1] {
    [SIGNER.public().clone()]
}

/// Every byte of every blob, with a bit that differs from byte to byte: what is accepted is the genuine image, and
/// a byte of the image itself is never accepted.
#[test]
fn every_changed_byte_of_every_blob_is_refused() {
    let layout = signed();
    let keys = keys();
    // The blobs of the image, and what both the index and the fallback tag rest on.
    let mut n_refused = 0;
    for (path, bytes) in layout.files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if matches!(name.as_str(), "index.json" | "oci-layout") {
            continue;
        }
        // The empty configuration and the fallback index carry nothing that is believed.
        let text = String::from_utf8_lossy(&bytes);
        let inessential = bytes == b"{}" || text.contains("\"manifests\":[");
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1 << (i % 8);
            std::fs::write(&path, &changed).unwrap();
            match verify_image(layout.path(), Some("latest"), &keys) {
                Ok(verified) => {
                    assert!(inessential, "{name}: byte {i} is accepted");
                    assert_eq!(verified.digest, layout.image);
                }
                Err(_) => n_refused += 1,
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(n_refused > 1500, "{n_refused}");
    assert!(verify_image(layout.path(), Some("latest"), &keys).is_ok());
}

/// The index is not signed: a change may lose the image or the signature, and never makes
/// another image pass.
#[test]
fn no_changed_byte_of_the_index_makes_another_image_pass() {
    let (layout, keys) = (signed(), keys());
    let path = layout.path().join("index.json");
    let bytes = std::fs::read(&path).unwrap();
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1 << (i % 8);
        std::fs::write(&path, &changed).unwrap();
        if let Ok(verified) = verify_image(layout.path(), None, &keys) {
            assert_eq!(verified.digest, layout.image, "byte {i}");
        }
    }
}

#[test]
fn tampered_blobs_are_named() {
    let check = |content: &[u8], change: &[u8], role: &str| {
        let layout = signed();
        let digest = Digest::of(content);
        std::fs::write(layout.blob_path(&digest), change).unwrap();
        let error = verify_image(layout.path(), Some("latest"), &keys()).unwrap_err();
        assert!(error.is_tampered());
        match error {
            VerifyError::Content(ContentError::Tampered { role: r, digest: d, .. }) => {
                assert_eq!((r, d), (role, digest));
            }
            other => panic!("{other}"),
        }
    };
    check(b"first layer", b"First layer", "layer");
    check(b"first layer", b"first laye", "layer");
    check(b"first layer", b"first layer ", "layer");
    check(b"second layer", b"", "layer");
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    check(config, b"{}", "configuration");
    let layout = Layout::new();
    let manifest = std::fs::read(layout.blob_path(&layout.image)).unwrap();
    check(&manifest, &manifest.to_ascii_uppercase(), "manifest");
}

#[test]
fn missing_blobs_and_links_out_of_the_layout_are_refused() {
    let layout = signed();
    let path = layout.blob_path(&Digest::of(b"first layer"));
    std::fs::remove_file(&path).unwrap();
    let error = verify_image(layout.path(), None, &keys()).unwrap_err();
    assert!(matches!(error, VerifyError::Content(ContentError::Missing { role: "layer", .. })));
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "first layer").unwrap();
    std::os::unix::fs::symlink(outside.path(), &path).unwrap();
    assert!(verify_image(layout.path(), None, &keys()).is_err());
}

#[test]
fn lying_sizes_are_refused() {
    for (from, to) in
        [("\"size\":11", "\"size\":10"), ("\"size\":11", "\"size\":18446744073709551615")]
    {
        let layout = Layout::new();
        let path = layout.blob_path(&layout.image);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(from));
        let mut entry = layout
            .blob(text.replace(from, to).as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "liar"});
        let mut index = layout.index();
        index["manifests"].as_array_mut().unwrap().push(entry);
        layout.write("index.json", &index);
        let error = verify_image(layout.path(), Some("liar"), &keys()).unwrap_err();
        assert!(error.is_tampered(), "{error}");
    }
}

#[test]
fn every_changed_byte_of_a_file_or_its_bundle_is_refused() {
    let content = b"the content of an evidence manifest";
    let digest = Digest::of(content);
    let bundle = sign_blob(&SIGNER, &digest).unwrap();
    let keys = keys();
    assert_eq!(verify_blob(&digest, &bundle, &keys).unwrap(), &keys[0]);
    for i in 0..bundle.len() {
        for bit in 0..8 {
            let mut changed = bundle.clone();
            changed[i] ^= 1 << bit;
            assert!(verify_blob(&digest, &changed, &keys).is_err(), "byte {i}, bit {bit}");
        }
        assert!(verify_blob(&digest, &bundle[..i], &keys).is_err(), "cut at {i}");
    }
    assert!(verify_blob(&Digest::of(b"other"), &bundle, &keys).is_err());
    assert!(verify_blob(&digest, &bundle, &[key(2).public().clone()]).is_err());
    assert!(verify_blob(&digest, &bundle, &[]).is_err());
}

#[test]
fn malformed_bundles_are_refused() {
    let digest = Digest::of(b"x");
    let bundle = String::from_utf8(sign_blob(&SIGNER, &digest).unwrap()).unwrap();
    let keys = keys();
    for (from, to) in [
        ("v0.3+json", "v0.4+json"),
        ("{\"mediaType\"", "{\"x\":1,\"mediaType\""),
        ("{\"mediaType\"", "{\"mediaType\":\"\",\"mediaType\""),
        ("\"publicKey\":", "\"certificate\":{},\"publicKey\":"),
        ("\"publicKey\":", "\"certificate\":"),
        ("\"publicKey\":", "\"publicKey\":null,\"x\":"),
        (
            "\"messageSignature\":",
            "\"dsseEnvelope\":{\"payload\":\"\",\"payloadType\":\"\",\"signatures\":[]},\"messageSignature\":",
        ),
        ("SHA2_256", "SHA2_512"),
        ("\"signature\":\"", "\"signature\":\"A"),
        ("\"signature\":\"", "\"signature\":7,\"s\":\""),
    ] {
        let changed = bundle.replacen(from, to, 1);
        assert_ne!(changed, bundle, "{from}");
        assert!(verify_blob(&digest, changed.as_bytes(), &keys).is_err(), "{changed}");
    }
    let huge = vec![b' '; usize::try_from(palisade_trust::BUNDLE_BYTES_MAX).unwrap() + 1];
    let error = verify_blob(&digest, &huge, &keys).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.source().unwrap().to_string().contains("larger than the limit"), "{source}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_no_bundle(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify_blob(&Digest::of(b""), &bytes, &keys()).is_err());
    }

    #[test]
    fn edited_bundles_are_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let digest = Digest::of(b"x");
        let bundle = sign_blob(&SIGNER, &digest).unwrap();
        let mut changed = bundle.clone();
        for (at, byte) in edits {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        prop_assert_eq!(verify_blob(&digest, &changed, &keys()).is_ok(), changed == bundle);
    }
}

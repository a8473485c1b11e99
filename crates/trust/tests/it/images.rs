//! Signing and verifying whole images.

use palisade_base::Digest;
use palisade_trust::{
    ContentError, SignOptions, SignatureFormat, VerifyError, sign_image, verify_image,
};
use serde_json::{Value, json};

use crate::fixture::{Layout, key};

fn sign(layout: &Layout, seed: u8) {
    sign_image(layout.path(), Some("latest"), &key(seed), &SignOptions::default()).unwrap();
}

#[test]
fn what_was_signed_is_verified() {
    let layout = Layout::new();
    let signed =
        sign_image(layout.path(), Some("latest"), &key(1), &SignOptions::default()).unwrap();
    assert_eq!((signed.digest, signed.already), (layout.image, false));
    let keys = [key(2).public().clone(), key(1).public().clone()];
    // The signature beside it does not make the choice of an image ambiguous.
    for selector in [None, Some("latest"), Some(layout.image.to_string().as_str())] {
        let verified = verify_image(layout.path(), selector, &keys).unwrap();
        assert_eq!(verified.digest, layout.image);
        assert_eq!(verified.signer, palisade_trust::ImageSigner::Key(keys[1].clone()));
        assert_eq!(verified.format, SignatureFormat::Bundle);
        assert_eq!(verified.content.n_blobs, 4);
        assert!(verified.rejections.is_empty());
    }
    // Fields of the index that nobody here knows are kept.
    assert_eq!(layout.index()["x"], "kept");
}

#[test]
fn the_form_is_that_of_cosign() {
    let layout = Layout::new();
    let signed = sign_image(layout.path(), None, &key(1), &SignOptions::default()).unwrap();
    let read = |digest: &str| -> Value {
        let digest: Digest = digest.parse().unwrap();
        serde_json::from_slice(&std::fs::read(layout.blob_path(&digest)).unwrap()).unwrap()
    };
    let manifest = read(&signed.referrer.to_string());
    let bundle_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    assert_eq!(manifest["artifactType"], bundle_type);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(
        manifest["config"]["digest"],
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
    assert_eq!(manifest["subject"]["digest"], layout.image.to_string());
    assert_eq!(manifest["layers"][0]["mediaType"], bundle_type);
    let bundle = read(manifest["layers"][0]["digest"].as_str().unwrap());
    assert_eq!(bundle["mediaType"], bundle_type);
    assert_eq!(
        bundle["verificationMaterial"],
        json!({"publicKey": {"hint": key(1).public().hint()}})
    );
    assert_eq!(bundle["dsseEnvelope"]["payloadType"], "application/vnd.in-toto+json");
    let fallback = layout.index()["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"]
                == format!("sha256-{}", layout.image.hex())
        })
        .cloned()
        .unwrap();
    let fallback = read(fallback["digest"].as_str().unwrap());
    assert_eq!(fallback["manifests"][0]["digest"], signed.referrer.to_string());
    assert_eq!(fallback["manifests"][0]["artifactType"], bundle_type);
}

#[test]
fn signing_again_changes_nothing() {
    let layout = Layout::new();
    sign(&layout, 1);
    let before = layout.files();
    let signed =
        sign_image(layout.path(), Some("latest"), &key(1), &SignOptions::default()).unwrap();
    assert!(signed.already);
    assert_eq!(layout.files(), before);
}

#[test]
fn signatures_of_several_signers_stand_side_by_side() {
    let layout = Layout::new();
    std::thread::scope(|scope| {
        for seed in 1..=6 {
            let layout = &layout;
            scope.spawn(move || sign(layout, seed));
        }
    });
    for seed in 1..=6 {
        let keys = [key(seed).public().clone()];
        let verified = verify_image(layout.path(), Some("latest"), &keys).unwrap();
        assert_eq!(verified.rejections.len(), 5, "the others are not lost");
    }
    // The same through the fallback tag alone, as a registry without referrers has it.
    let mut index = layout.index();
    index["manifests"].as_array_mut().unwrap().retain(|e| e["artifactType"].is_null());
    layout.write("index.json", &index);
    for seed in 1..=6 {
        let keys = [key(seed).public().clone()];
        assert!(verify_image(layout.path(), Some("latest"), &keys).is_ok());
    }
}

#[test]
fn wrong_key_no_key_and_no_signature_are_told_apart() {
    let layout = Layout::new();
    let keys = [key(9).public().clone()];
    let verify = || verify_image(layout.path(), None, &keys);
    assert!(matches!(verify(), Err(VerifyError::NoSignature { .. })));
    sign(&layout, 1);
    assert!(matches!(verify(), Err(VerifyError::WrongKey { .. })));
    assert!(matches!(verify_image(layout.path(), None, &[]), Err(VerifyError::NoKeys)));
}

#[test]
fn a_stripped_signature_is_no_signature() {
    let layout = Layout::new();
    sign(&layout, 1);
    let mut index = layout.index();
    index["manifests"].as_array_mut().unwrap().truncate(1);
    layout.write("index.json", &index);
    let error = verify_image(layout.path(), None, &[key(1).public().clone()]).unwrap_err();
    assert!(matches!(error, VerifyError::NoSignature { .. }), "{error}");
}

#[test]
fn a_signature_of_another_image_is_refused() {
    let layout = Layout::new();
    sign(&layout, 1);
    let other = layout.add_image("other", &[b"attacker's layer"]);
    // The other image's referrer: the genuine bundle with another subject.
    let signed = sign_image(layout.path(), Some("latest"), &key(1), &SignOptions::default());
    let path = layout.blob_path(&signed.unwrap().referrer);
    let text = std::fs::read_to_string(path).unwrap();
    let size = std::fs::metadata(layout.blob_path(&other)).unwrap().len();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["subject"]["digest"] = json!(other);
    manifest["subject"]["size"] = json!(size);
    let entry =
        layout.blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    let mut index = layout.index();
    index["manifests"].as_array_mut().unwrap().push(entry);
    layout.write("index.json", &index);
    let keys = [key(1).public().clone()];
    let error = verify_image(layout.path(), Some("other"), &keys).unwrap_err();
    assert!(matches!(error, VerifyError::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("signature of another image"), "{error}");
    assert!(verify_image(layout.path(), Some("latest"), &keys).is_ok());
}

#[test]
fn cosigns_older_form_is_written_and_read() {
    let layout = Layout::new();
    let options = SignOptions {
        simple_reference: Some("registry.example/app".into()),
        ..SignOptions::default()
    };
    for seed in [1, 2] {
        sign_image(layout.path(), Some("latest"), &key(seed), &options).unwrap();
    }
    let mut index = layout.index();
    let old = format!("sha256-{}.sig", layout.image.hex());
    index["manifests"].as_array_mut().unwrap().retain(|entry| {
        let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
        *name == "latest" || *name == old
    });
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    layout.write("index.json", &index);
    for seed in [1, 2] {
        let verified = verify_image(layout.path(), None, &[key(seed).public().clone()]).unwrap();
        assert_eq!(verified.format, SignatureFormat::Simple);
    }
    let error = verify_image(layout.path(), None, &[key(3).public().clone()]).unwrap_err();
    assert!(matches!(error, VerifyError::WrongKey { .. }), "{error}");
}

#[test]
fn images_are_chosen_or_asked_for() {
    let layout = Layout::new();
    sign(&layout, 1);
    layout.add_image("other", &[b"x"]);
    let keys = [key(1).public().clone()];
    let error = |selector| match verify_image(layout.path(), selector, &keys).unwrap_err() {
        VerifyError::Content(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(error(None), ContentError::Ambiguous { tags } if tags == ["latest", "other"]));
    assert!(matches!(error(Some("none")), ContentError::NoSuchImage { .. }));
    let full = layout.add_image("docker.io/library/app:1.0", &[b"y"]);
    let options = SignOptions::default();
    let signed = sign_image(layout.path(), Some("1.0"), &key(1), &options).unwrap();
    assert_eq!(signed.digest, full);
    let empty = tempfile::tempdir().unwrap();
    let error = verify_image(empty.path(), None, &keys).unwrap_err();
    assert!(matches!(error, VerifyError::Content(ContentError::NotALayout { .. })), "{error}");
}

#[test]
fn damaged_images_are_not_signed() {
    let layout = Layout::new();
    let layer = layout.blob_path(&Digest::of(b"second layer"));
    std::fs::write(layer, "second lay3r").unwrap();
    let before = layout.files();
    let result = sign_image(layout.path(), None, &key(1), &SignOptions::default());
    assert!(result.unwrap_err().to_string().contains("was changed"));
    assert_eq!(layout.files(), before, "nothing is written");
}

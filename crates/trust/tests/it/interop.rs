//! With cosign itself: what it signed, and, where it is installed, what it says of ours.

use std::path::Path;
use std::process::Command;

use palisade_base::Digest;
use palisade_trust::{
    PublicKey, SignOptions, SignatureFormat, VerifyError, sign_blob, sign_image, verify_blob,
    verify_image,
};

use crate::fixture::{Layout, key};

/// `cosign sign-blob --key cosign.key --bundle cosign.blob.bundle.json cosign.blob`,
/// version 3.1.1, with a signing configuration that names no service.
#[test]
fn a_file_that_cosign_signed_is_verified() {
    let key = PublicKey::from_pem(include_str!("../../testdata/cosign.pub")).unwrap();
    let bundle = include_bytes!("../../testdata/cosign.blob.bundle.json");
    let digest = Digest::of(include_bytes!("../../testdata/cosign.blob"));
    assert_eq!(verify_blob(&digest, bundle, std::slice::from_ref(&key)).unwrap(), &key);
    assert!(verify_blob(&Digest::of(b"other"), bundle, &[key]).is_err());
}

/// `cosign sign --key cosign.key`, version 3.1.1, in both its forms, against Debian's
/// docker-registry 2.8.2, which has no referrers interface; then copied into a layout as
/// it was. The image is that of the fixture.
#[test]
fn an_image_that_cosign_signed_is_verified() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cosign-layout");
    let keys = [PublicKey::from_pem(include_str!("../../testdata/cosign.pub")).unwrap()];
    let verified = verify_image(&from, Some("latest"), &keys).unwrap();
    assert_eq!(verified.rejections, []);
    let other = [key(1).public().clone()];
    let error = verify_image(&from, None, &other).unwrap_err();
    assert!(matches!(&error, VerifyError::WrongKey { rejections, .. } if rejections.len() == 2));

    // Each form alone.
    let layout = Layout::new();
    assert_eq!(layout.image, verified.digest);
    for entry in std::fs::read_dir(from.join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let to = layout.path().join("blobs/sha256").join(entry.file_name());
        std::fs::copy(entry.path(), to).unwrap();
    }
    let index = std::fs::read(from.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    for (position, format) in [(2, SignatureFormat::Bundle), (1, SignatureFormat::Simple)] {
        let mut one = index.clone();
        one["manifests"].as_array_mut().unwrap().remove(position);
        layout.write("index.json", &one);
        assert_eq!(verify_image(layout.path(), None, &keys).unwrap().format, format);
    }

    // A signature of ours beside cosign's loses none of them.
    layout.write("index.json", &index);
    let options = SignOptions {
        simple_reference: Some("localhost:5055/app".into()),
        ..SignOptions::default()
    };
    sign_image(layout.path(), None, &key(1), &options).unwrap();
    for (keys, n_others) in [(&keys, 2), (&other, 2)] {
        let verified = verify_image(layout.path(), None, keys).unwrap();
        assert_eq!(verified.rejections.len(), n_others);
    }
}

/// Runs cosign without a home and without a network; nothing when it is not installed.
fn cosign(home: &Path, arguments: &[&str]) -> Option<bool> {
    let run = Command::new("cosign")
        .args(arguments)
        .env("HOME", home)
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("COSIGN_PASSWORD", "secret")
        .current_dir(home)
        .output();
    let Ok(output) = run else {
        eprintln!("skipped: cosign is not installed");
        return None;
    };
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Some(output.status.success())
}

#[test]
fn cosign_verifies_what_is_signed_here() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let pair = key(1).write_pair(&at("ours"), Some(b"secret")).unwrap();
    let public = pair.public.to_str().unwrap();
    key(2).write_pair(&at("other"), None).unwrap();
    std::fs::write(at("file"), "evidence").unwrap();
    let bundle = sign_blob(&key(1), &Digest::of(b"evidence")).unwrap();
    std::fs::write(at("bundle"), bundle).unwrap();
    let verify = |key: &str| {
        let ignore = "--insecure-ignore-tlog=true";
        cosign(home.path(), &["verify-blob", "--key", key, "--bundle", "bundle", ignore, "file"])
    };
    let Some(good) = verify(public) else { return };
    assert!(good);
    assert_eq!(verify("other.pub"), Some(false));
    // Its own command reads our encrypted private key.
    let private = pair.private.to_str().unwrap();
    assert_eq!(cosign(home.path(), &["public-key", "--key", private]), Some(true));

    let layout = Layout::new();
    let signed = sign_image(layout.path(), None, &key(1), &SignOptions::default()).unwrap();
    let manifest = std::fs::read(layout.blob_path(&signed.referrer)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let bundle: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    std::fs::copy(layout.blob_path(&bundle), at("attestation")).unwrap();
    let attested = |digest: &Digest| {
        cosign(
            home.path(),
            &[
                "verify-blob-attestation",
                "--key",
                public,
                "--bundle",
                "attestation",
                "--insecure-ignore-tlog=true",
                "--type",
                "https://sigstore.dev/cosign/sign/v1",
                "--digest",
                &digest.hex(),
                "--digestAlg",
                "sha256",
            ],
        )
    };
    assert_eq!(attested(&layout.image), Some(true));
    assert_eq!(attested(&Digest::of(b"other")), Some(false));
}

//! `palisade sign` and `palisade verify`: whatever is changed, by whomever, is refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::layout::{self, Layout};
use crate::support::{Ended, finish, listing, palisade, run};

/// A folder with a key pair `shop.key`, `shop.pub` and a signed layout.
fn signed() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let image = layout::shop(&folder.path().join("shop"));
    let made = run(folder.path(), &["sign", "--generate-key", "shop"]).expect(0);
    assert_eq!(made.stdout, "shop.key\nshop.pub\n");
    let signed = run(folder.path(), &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    assert_eq!(signed.stdout, format!("{}\n", image.manifest));
    (folder, image)
}

fn verify(folder: &Path, key: &str) -> Ended {
    run(folder, &["verify", "--key", key, "oci:shop"])
}

/// Every blob of the layout, with its content.
fn blobs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder.join("shop/blobs/sha256")).unwrap().flatten();
    let blobs: Vec<_> =
        entries.map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap())).collect();
    // Image: manifest, configuration, two layers. Signature: manifest and bundle at least.
    assert!(blobs.len() >= 6, "{blobs:?}");
    blobs
}

fn with_password(folder: &Path, password: &str, args: &[&str]) -> Ended {
    let mut command = palisade(folder);
    command.env("PALISADE_KEY_PASSWORD", password).args(args);
    finish(command)
}

#[test]
fn what_was_signed_verifies_in_every_form() {
    let (folder, image) = signed();
    let mode = |name| folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("shop.key"), mode("shop.pub") & 0o444), (0o600, 0o444));

    let table = verify(folder.path(), "shop.pub").expect(0);
    assert!(table.stdout.contains(&image.manifest.to_string()), "{}", table.stdout);
    assert!(table.stderr.is_empty(), "{}", table.stderr);
    let json = run(folder.path(), &["verify", "--format", "json", "--key", "shop.pub", "oci:shop"]);
    let json: serde_json::Value = serde_json::from_str(&json.expect(0).stdout).unwrap();
    assert_eq!(json["schema"], "palisade.dev/verification/v1");
    assert_eq!(json["digest"], image.manifest.to_string());
    // A manifest, a configuration and two layers.
    assert_eq!(json["blobs"], 4);
    let tsv = run(folder.path(), &["verify", "--format", "tsv", "--key", "shop.pub", "oci:shop"]);
    assert!(tsv.expect(0).stdout.starts_with(&format!("{}\t", image.manifest)));

    // Of several keys any is enough; a policy can name them.
    run(folder.path(), &["sign", "--generate-key", "other"]).expect(0);
    run(folder.path(), &["verify", "--key", "other.pub", "--key", "shop.pub", "oci:shop"])
        .expect(0);
    std::fs::write(
        folder.path().join("policy.yaml"),
        "version: 1\nname: p\nimages:\n  verify: required\n  keys: [shop.pub]\n",
    )
    .unwrap();
    run(folder.path(), &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
}

#[test]
fn signing_twice_adds_nothing() {
    let (folder, _) = signed();
    let before = listing(&folder.path().join("shop"));
    let again = run(folder.path(), &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    assert_eq!(listing(&folder.path().join("shop")), before);
}

#[test]
fn one_changed_byte_in_any_blob_is_refused() {
    let (folder, image) = signed();
    let content = [image.manifest, image.config, image.layers[0], image.layers[1]];
    for (path, whole) in blobs(folder.path()) {
        let is_content = content.iter().any(|digest| path.ends_with(digest.hex()));
        let is_bundle = String::from_utf8_lossy(&whole).contains("dsseEnvelope");
        // The signature is listed in two ways, as a referrer and by a tag; one is enough. And
        // its empty configuration says nothing, so that nothing is believed of it.
        let expected: &[i32] = if is_content || is_bundle { &[1] } else { &[0, 1] };
        let changes = [0, whole.len() / 2, whole.len() - 1].map(|at| {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            changed
        });
        let cut = whole[..whole.len() - 1].to_vec();
        for (n, changed) in changes.into_iter().chain([cut]).enumerate() {
            std::fs::write(&path, &changed).unwrap();
            let ended = verify(folder.path(), "shop.pub");
            let shown = format!("change {n} of {}: {ended:?}", path.display());
            assert!(expected.contains(&ended.code), "{shown}");
            if ended.code == 1 {
                assert!(ended.stdout.is_empty() && ended.stderr.starts_with("error: "), "{shown}");
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
    verify(folder.path(), "shop.pub").expect(0);

    let mut changed = std::fs::read(image.blob(&image.layers[1])).unwrap();
    changed[20] ^= 0x80;
    std::fs::write(image.blob(&image.layers[1]), changed).unwrap();
    verify(folder.path(), "shop.pub").expect_error(1, &image.layers[1].to_string());
}

#[test]
fn a_wrong_key_and_no_signature_are_refused() {
    let (folder, _) = signed();
    run(folder.path(), &["sign", "--generate-key", "other"]).expect(0);
    verify(folder.path(), "other.pub").expect_error(1, "");

    layout::plain(&folder.path().join("plain"));
    let unsigned = run(folder.path(), &["verify", "--key", "shop.pub", "oci:plain"]);
    unsigned.expect_error(1, "");

    // A signature of one image does not make another one signed: the attacker copies it.
    let (from, to) = (folder.path().join("shop"), folder.path().join("plain"));
    let mut index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(to.join("index.json")).unwrap()).unwrap();
    let stolen: serde_json::Value =
        serde_json::from_slice(&std::fs::read(from.join("index.json")).unwrap()).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    manifests.extend(stolen["manifests"].as_array().unwrap().iter().skip(1).cloned());
    std::fs::write(to.join("index.json"), index.to_string()).unwrap();
    for blob in std::fs::read_dir(from.join("blobs/sha256")).unwrap().flatten() {
        std::fs::copy(blob.path(), to.join("blobs/sha256").join(blob.file_name())).unwrap();
    }
    let stolen = run(folder.path(), &["verify", "--key", "shop.pub", "oci:plain:latest"]);
    assert_eq!(stolen.code, 1, "{} {}", stolen.stdout, stolen.stderr);
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let folder = tempfile::tempdir().unwrap();
    layout::plain(&folder.path().join("shop"));
    with_password(folder.path(), "correct horse", &["sign", "--generate-key", "k"]).expect(0);
    let text = std::fs::read_to_string(folder.path().join("k.key")).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"), "{text}");

    let before = listing(folder.path());
    let sign = ["sign", "--key", "k.key", "oci:shop"];
    let wrong = with_password(folder.path(), "battery staple", &sign);
    wrong.expect_error(2, "password");
    let none = run(folder.path(), &sign);
    none.expect_error(2, "encrypted");
    assert!(none.stderr.contains("PALISADE_KEY_PASSWORD"), "{}", none.stderr);
    assert_eq!(listing(folder.path()), before);

    with_password(folder.path(), "correct horse", &sign).expect(0);
    verify(folder.path(), "k.pub").expect(0);
    // Cosign's own variable opens it as well.
    let mut command = palisade(folder.path());
    command.env("COSIGN_PASSWORD", "correct horse").args(sign);
    finish(command).expect(0);
}

#[test]
fn an_existing_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["sign", "--generate-key", "k"]).expect(0);
    let before = listing(folder.path());
    run(folder.path(), &["sign", "--generate-key", "k"]).expect_error(3, "k.key");
    // Not even when only one half of the pair is there; and no half of a new pair is left.
    std::fs::remove_file(folder.path().join("k.key")).unwrap();
    run(folder.path(), &["sign", "--generate-key", "k"]).expect_error(3, "k.pub");
    let rest: Vec<String> = before.into_iter().filter(|line| !line.contains("k.key")).collect();
    assert_eq!(listing(folder.path()), rest);
}

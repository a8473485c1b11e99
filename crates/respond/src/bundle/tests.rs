use std::path::{Path, PathBuf};

use palisade_model::Engine;
use proptest::prelude::*;

use super::*;

fn case() -> CaseFacts {
    CaseFacts {
        incident: Some("INC-1".into()),
        container: Container {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            engine: Engine::Palisade,
            image: None,
            policy: None,
            pod: None,
            cgroup: None,
            init_pid: None,
        },
        hostname: "host".into(),
        tool: "palisade 0.1.0".into(),
        frozen: true,
        started: Timestamp::from_nanos(1_795_326_835_000_000_001),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a signer may refuse")]
/// A signature that needs no key: enough to see that each of its bits is checked.
fn sign(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Digest::of(&[b"secret", bytes].concat()).as_bytes().to_vec())
}

fn check_signature(
    bytes: &[u8],
    signature: &[u8],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if sign(bytes)? == signature { Ok(()) } else { Err("wrong".into()) }
}

fn write(folder: &Path, items: &[(String, Vec<u8>)], signer: Option<Signer<'_>>) -> PathBuf {
    let path = folder.join("case.tar");
    let mut writer = BundleWriter::create(&path, case()).unwrap();
    for (name, bytes) in items {
        writer.add(name, "/proc/1/test", Some("note"), bytes).unwrap();
    }
    writer.gap("/proc/kcore", "absent", Some(2));
    writer.finish(signer).unwrap();
    path
}

fn items(contents: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    contents.iter().enumerate().map(|(i, c)| (format!("items/{i}"), c.clone())).collect()
}

#[test]
fn every_bit_of_a_small_bundle_counts() {
    let folder = tempfile::tempdir().unwrap();
    for signer in [None, Some(&sign as Signer<'_>)] {
        let path = write(folder.path(), &items(&[b"one".to_vec(), Vec::new()]), signer);
        let verifier = signer.map(|_| &check_signature as SignatureVerifier<'_>);
        let verified = verify(&path, verifier).unwrap();
        assert_eq!(verified.manifest.items.len(), 2);
        assert_eq!(verified.manifest.gaps[0].errno, Some(2));
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(verified.n_bytes, bytes.len() as u64);
        let accepted = |bytes: &[u8]| verify_stream(bytes, &path, verifier).is_ok();
        assert!(accepted(&bytes));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepted(&bytes), "bit {bit} of {}", bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for n in (0..bytes.len()).step_by(7) {
            assert!(!accepted(&bytes[..n]), "cut at {n}");
        }
        assert!(!accepted(&[&bytes[..], b"\0"].concat()), "appended");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_bit_is_found_in_any_bundle(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 0..6),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 32),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &items(&contents), Some(&sign));
        prop_assert!(verify(&path, Some(&check_signature)).is_ok());
        let mut bytes = std::fs::read(&path).unwrap();
        for pick in picks {
            let bit = pick.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let checked = verify_stream(&bytes[..], &path, Some(&check_signature));
            prop_assert!(checked.is_err(), "bit {}", bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(verify_stream(&bytes[..], Path::new("x.tar"), None).is_err());
    }
}

#[test]
fn a_forged_manifest_needs_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &items(&[b"one".to_vec()]), None);
    assert_eq!(verify(&path, None).unwrap().seal, Seal::Unsigned);
    assert!(matches!(verify(&path, Some(&check_signature)), Err(BundleError::Unsigned)));
    let path = write(folder.path(), &items(&[b"one".to_vec()]), Some(&sign));
    assert_eq!(verify(&path, None).unwrap().seal, Seal::SignatureUnchecked);
    assert_eq!(verify(&path, Some(&check_signature)).unwrap().seal, Seal::Signed);
    let refuse: SignatureVerifier<'_> = &|_, _| Err("unknown key".into());
    assert!(matches!(verify(&path, Some(refuse)), Err(BundleError::Signature(_))));
}

#[test]
fn extracts_into_a_new_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &items(&[b"one".to_vec(), b"two".to_vec()]), Some(&sign));
    let out = folder.path().join("out");
    let report = extract(&path, Some(&check_signature), &out).unwrap();
    assert_eq!(report.n_files, 4);
    assert_eq!(std::fs::read(out.join("items/1")).unwrap(), b"two");
    assert!(out.join(MANIFEST_NAME).exists() && out.join(SIGNATURE_NAME).exists());
    assert!(matches!(extract(&path, None, &out), Err(BundleError::Extract { .. })));
    // Nothing is extracted from a damaged bundle.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let other = folder.path().join("other");
    assert!(extract(&path, None, &other).is_err());
    assert!(!other.exists());
}

#[test]
fn an_abandoned_bundle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.tar");
    let mut writer = BundleWriter::create(&path, case()).unwrap();
    writer.add("items/0", "x", None, b"x").unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // A signer that refuses leaves nothing either.
    let writer = BundleWriter::create(&path, case()).unwrap();
    let refuse: Signer<'_> = &|_| Err("no key".into());
    assert!(matches!(writer.finish(Some(refuse)), Err(WriteError::Sign(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_source_that_fails_keeps_what_was_read_and_says_so() {
    struct Failing(bool);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(std::io::Error::from_raw_os_error(5));
            }
            buffer[..3].copy_from_slice(b"abc");
            Ok(3)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.tar");
    let mut writer = BundleWriter::create(&path, case()).unwrap();
    let stored =
        writer.stream("items/0", "/proc/1/mem", None, &mut Failing(false), 1 << 20).unwrap();
    assert_eq!(stored.n_bytes, 3);
    let bounded = writer.stream("items/1", "zeros", None, &mut std::io::repeat(0), 1000).unwrap();
    assert_eq!(bounded.n_bytes, 1000);
    writer.finish(None).unwrap();
    let manifest = verify(&path, None).unwrap().manifest;
    assert_eq!(manifest.gaps[0].errno, Some(5));
    assert_eq!(manifest.items[0].size, 3);
}

use std::path::{Path, PathBuf};

use palisade_model::Engine;
use proptest::prelude::*;

use super::*;
use crate::age::{AgeError, Identity, Recipient};

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
        let verifier = signer.map_or(Opening::default(), |_| Opening::signed(&check_signature));
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
        prop_assert!(verify(&path, Opening::signed(&check_signature)).is_ok());
        let mut bytes = std::fs::read(&path).unwrap();
        for pick in picks {
            let bit = pick.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let checked = verify_stream(&bytes[..], &path, Opening::signed(&check_signature));
            prop_assert!(checked.is_err(), "bit {}", bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(verify_stream(&bytes[..], Path::new("x.tar"), Opening::default()).is_err());
    }
}

#[test]
fn a_forged_manifest_needs_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &items(&[b"one".to_vec()]), None);
    assert_eq!(verify(&path, Opening::default()).unwrap().seal, Seal::Unsigned);
    assert!(matches!(verify(&path, Opening::signed(&check_signature)), Err(BundleError::Unsigned)));
    let path = write(folder.path(), &items(&[b"one".to_vec()]), Some(&sign));
    assert_eq!(verify(&path, Opening::default()).unwrap().seal, Seal::SignatureUnchecked);
    assert_eq!(verify(&path, Opening::signed(&check_signature)).unwrap().seal, Seal::Signed);
    let refuse: SignatureVerifier<'_> = &|_, _| Err("unknown key".into());
    assert!(matches!(verify(&path, Opening::signed(refuse)), Err(BundleError::Signature(_))));
}

#[test]
fn extracts_into_a_new_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &items(&[b"one".to_vec(), b"two".to_vec()]), Some(&sign));
    let out = folder.path().join("out");
    let report = extract(&path, Opening::signed(&check_signature), &out).unwrap();
    assert_eq!(report.n_files, 4);
    assert_eq!(std::fs::read(out.join("items/1")).unwrap(), b"two");
    assert!(out.join(MANIFEST_NAME).exists() && out.join(SIGNATURE_NAME).exists());
    assert!(matches!(extract(&path, Opening::default(), &out), Err(BundleError::Extract { .. })));
    // Nothing is extracted from a damaged bundle.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let other = folder.path().join("other");
    assert!(extract(&path, Opening::default(), &other).is_err());
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
    let manifest = verify(&path, Opening::default()).unwrap().manifest;
    assert_eq!(manifest.gaps[0].errno, Some(5));
    assert_eq!(manifest.items[0].size, 3);
}

/// A bundle of `contents` for `recipients`, with a time stamp.
fn write_sealed(path: &Path, contents: &[Vec<u8>], recipients: &[Recipient]) -> Manifest {
    let mut writer = BundleWriter::create_sealed(path, case(), recipients).unwrap();
    for (name, bytes) in items(contents) {
        writer.add(&name, "/proc/1/test", None, &bytes).unwrap();
    }
    let stamp: Stamper<'_> = &|root| Ok([b"stamp of ", root].concat());
    writer.finish_stamped(Some(&sign), Some(stamp)).unwrap()
}

#[test]
fn an_encrypted_bundle_is_opened_by_its_recipients_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.tar.age");
    let [mine, other] = [Identity::generate().unwrap(), Identity::generate().unwrap()];
    let secret = b"the secret of the process ".repeat(10_000);
    let contents = [b"one".to_vec(), Vec::new(), secret.clone(), vec![7; (64 << 10) - 512]];
    write_sealed(&path, &contents, &[mine.recipient()]);
    assert!(is_encrypted(&path).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(16).any(|part| part == &secret[..16]));
    let signed = Opening::signed(&check_signature);
    let (mine, other) = ([mine], [other]);
    let opened = verify(&path, signed.with_identities(&mine)).unwrap();
    assert_eq!(opened.manifest.items.len(), 4);
    assert_eq!(opened.seal, Seal::Signed);
    let stamp = opened.manifest.timestamp_token().unwrap();
    assert_eq!(stamp, [b"stamp of ", &opened.manifest.merkle_root.as_bytes()[..]].concat());
    let refused = |opening: Opening<'_>, expected: AgeError| match verify(&path, opening) {
        Err(BundleError::Sealed { source, .. }) => assert_eq!(source, expected),
        other => panic!("{other:?}"),
    };
    refused(signed, AgeError::Encrypted);
    refused(signed.with_identities(&other), AgeError::OtherRecipients);
    let out = folder.path().join("out");
    extract(&path, signed.with_identities(&mine), &out).unwrap();
    assert_eq!(std::fs::read(out.join("items/2")).unwrap(), secret);
    // The same in the clear is the same tar.
    let clear = folder.path().join("clear.tar");
    write_sealed(&clear, &contents, &[]);
    assert!(!is_encrypted(&clear).unwrap());
    verify(&clear, signed).unwrap();
    // Any change is found, and so is a cut wherever it is.
    let accepted =
        |bytes: &[u8]| verify_stream(bytes, &path, signed.with_identities(&mine)).is_ok();
    assert!(accepted(&bytes));
    for at in (0..bytes.len()).step_by(bytes.len() / 300) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(!accepted(&bad), "byte {at}");
        assert!(!accepted(&bytes[..at]), "cut at {at}");
    }
    assert!(!accepted(&[&bytes[..], b"x"].concat()));
}

#[test]
fn a_time_stamp_that_does_not_come_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.tar");
    let check = |stamp: Stamper<'_>, reason: &str| {
        let writer = BundleWriter::create(&path, case()).unwrap();
        let manifest = writer.finish_stamped(None, Some(stamp)).unwrap();
        assert_eq!((manifest.timestamp.as_deref(), manifest.gaps.len()), (None, 1));
        assert!(manifest.gaps[0].reason.contains(reason), "{:?}", manifest.gaps);
        verify(&path, Opening::default()).unwrap();
    };
    check(&|_| Err("nobody answers".into()), "nobody answers");
    check(&|_| Ok(vec![0; TIMESTAMP_BYTES_MAX + 1]), "65537 bytes");
}

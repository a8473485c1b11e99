//! Key pairs: forms, files, passwords.

use std::os::unix::fs::PermissionsExt as _;

use palisade_base::Digest;
use palisade_trust::{KeyError, PrivateKey, PublicKey};

use crate::fixture::key;

/// A pair that cosign 3.1.1 made for this test, with the password `palisade`.
const COSIGN_KEY: &str = include_str!("../../testdata/cosign.key");
const COSIGN_PUB: &str = include_str!("../../testdata/cosign.pub");

#[test]
fn cosigns_keys_are_read() {
    let private = PrivateKey::from_pem(COSIGN_KEY, Some(b"palisade")).unwrap();
    assert_eq!(*private.public(), PublicKey::from_pem(COSIGN_PUB).unwrap());
    assert_eq!(private.public().to_pem(), COSIGN_PUB);
}

#[test]
fn encrypted_keys_round_trip() {
    let private = PrivateKey::generate().unwrap();
    let pem = private.to_encrypted_pem(b"secret").unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
    let again = PrivateKey::from_pem(&pem, Some(b"secret")).unwrap();
    assert_eq!(again.public(), private.public());
    let wrong = PrivateKey::from_pem(&pem, Some(b"Secret"));
    assert!(matches!(wrong, Err(KeyError::WrongPassword)));
    assert!(matches!(PrivateKey::from_pem(&pem, None), Err(KeyError::PasswordNeeded)));
}

#[test]
fn plain_keys_round_trip() {
    let private = PrivateKey::generate().unwrap();
    let again = PrivateKey::from_pem(&private.to_pem().unwrap(), None).unwrap();
    assert_eq!(again.public(), private.public());
    let public = PublicKey::from_pem(&private.public().to_pem()).unwrap();
    let signature = private.sign(&Digest::of(b"x")).unwrap();
    assert!(public.verify(&Digest::of(b"x"), &signature));
    assert!(!public.verify(&Digest::of(b"y"), &signature));
}

#[test]
fn two_keys_are_never_the_same() {
    let (a, b) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    assert_ne!(a.public(), b.public());
}

#[test]
fn pairs_are_written_once_and_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("release");
    let paths = key(1).write_pair(&name, None).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&paths.private), mode(&paths.public)), (0o600, 0o644));
    let before = std::fs::read(&paths.private).unwrap();
    assert!(matches!(key(2).write_pair(&name, None), Err(KeyError::Write { .. })));
    assert_eq!(std::fs::read(&paths.private).unwrap(), before);
    // Half a pair is never left.
    std::fs::remove_file(&paths.private).unwrap();
    assert!(key(2).write_pair(&name, None).is_err());
    assert!(!paths.private.exists());
}

#[test]
fn a_plain_key_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = key(1).write_pair(&folder.path().join("k"), None).unwrap();
    assert!(PrivateKey::read(&paths.private, None).is_ok());
    std::fs::set_permissions(&paths.private, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = PrivateKey::read(&paths.private, None).unwrap_err();
    assert!(matches!(error, KeyError::Exposed { mode: 0o644, .. }), "{error}");
}

#[test]
fn what_is_no_key_is_refused() {
    let public = key(1).public().to_pem();
    let body = public.lines().nth(1).unwrap();
    for bad in [
        String::new(),
        "hello".into(),
        key(1).to_pem().unwrap().to_string(),
        public.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
        public.replace(body, &body.replace('M', "N")),
        // On no curve: the last bytes of the point are others.
        public.replace("==", "A="),
    ] {
        assert!(PublicKey::from_pem(&bad).is_err(), "{bad}");
    }
    assert!(PrivateKey::from_pem(&public, None).is_err());
}

#[test]
fn parameters_that_would_eat_the_memory_are_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let check = |from: &str, to: &str| {
        let body: String = COSIGN_KEY.lines().filter(|line| !line.starts_with('-')).collect();
        let text = String::from_utf8(STANDARD.decode(body).unwrap()).unwrap();
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let body = STANDARD.encode(changed);
        let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        PrivateKey::from_pem(&pem, Some(b"palisade")).unwrap_err()
    };
    for n in ["1073741824", "0", "1", "65535", "18446744073709551615"] {
        let error = check("\"N\":65536", &format!("\"N\":{n}"));
        assert!(matches!(error, KeyError::Unsupported(_)), "{n}: {error}");
    }
    assert!(matches!(check("\"r\":8", "\"r\":4000000000"), KeyError::Unsupported(_)));
    assert!(matches!(check("\"p\":1", "\"p\":4000000000"), KeyError::Unsupported(_)));
    assert!(matches!(check("scrypt", "argon2"), KeyError::Unsupported(_)));
    assert!(matches!(check("\"kdf\":", "\"kdf\":{},\"kdf\":"), KeyError::Malformed(_)));
    assert!(matches!(check("\"N\":65536", "\"N\":32768"), KeyError::WrongPassword));
}

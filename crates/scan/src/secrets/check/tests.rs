use super::*;

#[test]
fn entropy_tells_words_from_keys() {
    assert!(entropy(b"aaaaaaaa") < 0.1);
    assert!((entropy(b"abcdefgh") - 3.0).abs() < 1e-9);
    assert!(entropy(b"") < 0.1 || entropy(b"").is_nan());
}

#[test]
fn checksum_of_a_published_sample() {
    // The worked example of the format's description.
    assert_eq!(&crc62_of(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), b"0mLq17");
}

#[test]
fn checksums_of_published_test_vectors() {
    // BIP 173's valid strings, and one with a changed character.
    assert!(bech32(b"A12UEL5L"));
    assert!(bech32(b"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"));
    assert!(!bech32(b"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxx"));
    assert!(!bech32(b"1") && !bech32(b"") && !bech32(b"age1b"));
    // BIP 32's test vector 1, chain m (a public key: the checksum is the same).
    let public = b"xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8";
    assert!(base58_check(public));
    let mut changed = *public;
    changed[40] = b'z';
    assert!(!base58_check(&changed));
}

#[test]
fn hashes_of_passwords_have_the_length_of_their_method() {
    let hash = |n: usize| "aB3".repeat(30)[..n].to_string();
    let check = |text: String, expected: bool| {
        assert_eq!(crypt_hash(text.as_bytes()), expected, "{text}");
    };
    check(format!("$6$salt${}", &"aB3dEf9h".repeat(11)[..86]), true);
    check(format!("$6$rounds=5000$salt${}", &"aB3dEf9h".repeat(11)[..86]), true);
    check(format!("$6$salt${}", hash(40)), false);
    check(format!("$y$j9T$saltsalt${}", &"aB3dEf9h".repeat(6)[..43]), true);
    check(format!("$2b$10${}", &"aB3dEf9h".repeat(7)[..53]), true);
    check("{SHA}".to_string() + "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", true);
    check("{SHA}short".into(), false);
    check("$".into(), false);
    check("$$$".into(), false);
}

#[test]
fn placeholders_are_no_secrets() {
    for text in [
        "AKIAIOSFODNN7EXAMPLE",
        "${SECRET}",
        "{{ token }}",
        "<password>",
        "aaaaaaaabbbbbbb",
        "changeme",
        "%(password)s",
        "your-token-here",
        "********",
        "Password",
    ] {
        assert!(is_placeholder(text.as_bytes()), "{text}");
    }
    assert!(!is_placeholder(b"q8Zr4Tn1Wk"));
}

#[test]
fn keys_are_parsed_and_passphrases_seen() {
    use base64::Engine as _;
    let label = ["PRIVATE", "KEY"].join(" ");
    let armour = |label: &str, bytes: &[u8]| {
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN {label}-----\n{body}\n-----END").into_bytes()
    };
    let number = [7_u8; 32];
    let sec1 = [&[0x30, 37, 2, 1, 1, 4, 32][..], &number].concat();
    let pkcs8 =
        [&[0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34, 4, 32][..], &number].concat();
    let encrypted = [&[0x30, 41, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 32][..], &number].concat();
    let string = |text: &[u8]| [&(text.len() as u32).to_be_bytes()[..], text].concat();
    let openssh = |cipher: &[u8], kdf: &[u8]| {
        [b"openssh-key-v1\0", &string(cipher)[..], &string(kdf), &number].concat()
    };
    let check = |block: Vec<u8>, expected: Option<Severity>| {
        let severity = match Check::Key.judge(&block) {
            Judgement::Genuine => Some(Severity::Critical),
            Judgement::Less(severity, _) => Some(severity),
            Judgement::Not => None,
        };
        assert_eq!(severity, expected, "{}", String::from_utf8_lossy(&block));
    };
    check(armour(&format!("EC {label}"), &sec1), Some(Severity::Critical));
    check(armour(&label, &pkcs8), Some(Severity::Critical));
    check(armour(&label, &encrypted), Some(Severity::Medium));
    check(armour(&format!("ENCRYPTED {label}"), &encrypted), Some(Severity::Medium));
    let openssh_label = format!("OPENSSH {label}");
    check(armour(&openssh_label, &openssh(b"none", b"none")), Some(Severity::Critical));
    check(armour(&openssh_label, &openssh(b"aes256-ctr", b"bcrypt")), Some(Severity::Medium));
    check(
        armour(&openssh_label, &b"openssh-key-v1\0\xff\xff\xff\xff".repeat(3)),
        Some(Severity::Low),
    );
    check(armour(&label, &[0x55; 60]), Some(Severity::Low));
    check(armour(&label, b"short"), None);
    let pgp = [&[0xc5, 60][..], &[1; 60]].concat();
    check(armour(&format!("PGP {label} BLOCK"), &pgp), Some(Severity::High));
    assert_eq!(
        Check::Putty.judge(b"PuTTY-User-Key-File-3: x\nEncryption: none"),
        Judgement::Genuine
    );
    assert!(matches!(
        Check::Putty.judge(b"PuTTY-User-Key-File-3: x\nEncryption: aes256-cbc"),
        Judgement::Less(Severity::Medium, _)
    ));
}

#[test]
fn checks_are_total() {
    for check in [
        Check::None,
        Check::Entropy(3.0),
        Check::Crc62,
        Check::AwsKeyId,
        Check::Jwt,
        Check::JwtWith("x"),
        Check::Key,
        Check::Putty,
        Check::Base64Of("x"),
        Check::Base64Bytes(3),
        Check::Base64Text,
        Check::BasicAuth,
        Check::Bech32,
        Check::Base58Check,
        Check::CryptHash,
        Check::Uuid4,
        Check::Password,
    ] {
        assert!(!check.describe().is_empty());
        for text in [
            &b""[..],
            b".",
            b"..",
            b"_",
            b"1",
            b"$",
            b"-----BEGIN",
            b"-----BEGIN PGP\n",
            b"\xff\xfe",
            b"=",
            b"a.b.c",
            b"{SHA}",
        ] {
            let _ = check.judge(text);
        }
    }
}

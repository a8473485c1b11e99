//! Parsers of what a hostile server sends take anything, and parts of what is right.

use palisade_base::Timestamp;
use palisade_probe::fuzz::{Baseline, cases, judge};
use palisade_probe::http::Response;
use palisade_probe::openapi::{self, Api};
use palisade_probe::protocol::{QUESTIONS, recognise_answer};
use palisade_probe::tls::{certificate, hello, of_chain};
use palisade_probe::wire::{Answer, End};
use proptest::prelude::*;

/// Beginnings of what servers say, so that what follows reaches the parsers' inside.
const BEGINNINGS: &[&[u8]] = &[
    b"",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: ",
    b"\x16\x03\x03\0\x40\x02\0\0\x3c\x03\x03",
    b"\x15\x03\x01\0\x02",
    b"\x4a\0\0\0\x0a8.0.33\0",
    b"\x40\0\0\0\0\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0",
    b"R\0\0\0\x40\0\0\0\x0b",
    b"\0\0\0\x40\x04\x14",
    b"\x01\0\0\0\0\0\x20\0\x0a\0\x0a",
    b"\x30\x82\x01\x00\x30\x81\xf0\xa0\x03\x02\x01\x02",
    b"r=a,s=QSXCR+Q6sek8bf92,i=",
];

fn look(bytes: &[u8]) {
    palisade_probe::parse_everything(bytes);
    for question in QUESTIONS {
        let _protocol = recognise_answer(question.of, bytes);
    }
    let _whole = hello::is_whole(bytes);
    if let hello::Reply::Hello(found) = hello::parse(bytes) {
        assert!(found.certificates.len() <= hello::CERTIFICATES_MAX);
    }
    let _facts = certificate::Facts::read(bytes);
    let _findings = of_chain(&[bytes.to_vec()], Timestamp::from_nanos(0));
    let _response = Response::parse(bytes);
}

proptest! {
    #[test]
    fn anything_is_taken(at in 0..BEGINNINGS.len(), rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        look(&[BEGINNINGS[at], &rest].concat());
    }

    #[test]
    fn any_answer_can_be_judged(status in 100..1000_u32, body in "\\PC{0,80}") {
        let bytes = format!("HTTP/1.1 {status} x\r\n\r\n{body}").into_bytes();
        let answer = Answer { bytes, end: End::Closed };
        for case in cases(1, 90, &[]) {
            let _findings = judge(&case, &answer, Baseline::default());
        }
    }

    #[test]
    fn any_description_gives_requests_with_a_head(
        path in "/[a-z{} ?#\r\n]{0,12}", name in "[ -~\r\n]{0,8}",
        kind in prop_oneof!["integer", "string", "array", "object", "number", "[a-z]{3}"],
    ) {
        let text = serde_json::json!({"openapi": "3.0.0", "paths": {path: {"post": {
            "parameters": [{"name": name, "in": "header", "schema": {"type": kind}}, {"name": name, "in": "path", "schema": {"type": kind}}],
            "requestBody": {"content": {"a/json": {"schema": {"type": kind, "items": {"$ref": "#"}}}}}}}}});
        let api = Api::parse(&text.to_string()).unwrap();
        for case in openapi::cases(&api, 50) {
            let first = case.bytes.split(|byte| *byte == b'\n').next().unwrap();
            prop_assert!(first.ends_with(b" HTTP/1.1\r"), "{:?}", String::from_utf8_lossy(first));
            prop_assert_eq!(first.split(|byte| *byte == b' ').count(), 3);
        }
    }
}

#[test]
fn a_real_certificate_is_read_and_every_cut_of_it_is_not() {
    let Ok(made) = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:1024",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=old", "-outform", "DER", "-sha1"])
        .output()
    else {
        eprintln!("skipped: no openssl");
        return;
    };
    let der = made.stdout;
    let facts = certificate::Facts::read(&der).unwrap();
    assert_eq!((facts.key_kind, facts.key_bits, facts.is_self_issued), ("RSA", Some(1024), true));
    assert_eq!(facts.weak_signature, Some("SHA-1"));
    let ids = |seconds: u64| -> Vec<&str> {
        let now = Timestamp::from_nanos(seconds * 1_000_000_000);
        of_chain(std::slice::from_ref(&der), now).iter().map(|finding| finding.check.id).collect()
    };
    let now = Timestamp::now().as_nanos() / 1_000_000_000;
    let always = [
        "tls-certificate-weak-key",
        "tls-certificate-weak-signature",
        "tls-certificate-self-signed",
    ];
    assert_eq!(ids(now + 3600), always);
    assert_eq!(ids(now + 31 * 86_400)[0], "tls-certificate-expired");
    assert_eq!(ids(now - 3600)[0], "tls-certificate-not-yet-valid");
    for n in 0..der.len() {
        assert_eq!(certificate::Facts::read(&der[..n]), None);
    }
}

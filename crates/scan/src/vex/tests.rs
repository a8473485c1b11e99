//! Documents of every kind, and the findings that they set aside.

use super::*;
use palisade_base::{Digest, Timestamp};
use palisade_model::Finding;
use palisade_model::finding::Vulnerability;

fn subject() -> Subject {
    let name = "registry:registry.example/team/shop:1.0".to_string();
    Subject { name, digest: Some(Digest::of(b"image")), platform: None }
}

/// Which of two findings of `openssl` and `zlib1g` about CVE-2024-0001 a document sets aside.
fn set_aside(document: &str) -> Vec<(String, String)> {
    let finding = |package: &str| {
        Finding::Vulnerability(Vulnerability {
            id: "CVE-2024-0001".into(),
            package: package.into(),
            purl: format!("pkg:deb/debian/{package}@1.0-1?arch=amd64&distro=debian-12"),
            ..Vulnerability::default()
        })
    };
    let mut findings = vec![finding("openssl"), finding("zlib1g")];
    let entries = read(document.as_bytes()).unwrap().statements;
    let now = Timestamp::from_nanos(1);
    let applied = crate::ignore::apply(&mut findings, &entries, now, Some(&subject()));
    assert_eq!(applied.n_ignored as usize + findings.len(), 2);
    let of = |suppressed: &palisade_model::judgement::Suppressed| match &suppressed.finding {
        Finding::Vulnerability(v) if suppressed.by == SuppressedBy::Vex => {
            (v.package.clone(), suppressed.reason.clone())
        }
        _ => (String::new(), String::new()),
    };
    applied.suppressed.iter().map(of).collect()
}

fn check(document: &str, expected: &[(&str, &str)]) {
    let found = set_aside(document);
    let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(found, expected, "{document}");
}

fn open(status: &str, product: &str, more: &str) -> String {
    format!(
        r#"{{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [{{"vulnerability": {{"name": "CVE-2024-0001"}},
        "status": "{status}", "justification": "vulnerable_code_not_present", "products": [{product}]}}{more}]}}"#
    )
}

#[test]
fn openvex_names_packages_and_images() {
    let said = "vulnerable code not present";
    let openssl = [("openssl", said)];
    let product = |url: &str| format!(r#"{{"@id": "{url}"}}"#);
    let of = |url: &str| open("not_affected", &product(url), "");
    check(&of("pkg:deb/debian/openssl"), &openssl);
    check(&of("pkg:deb/debian/openssl@1.0-1?arch=amd64"), &openssl);
    check(&of("pkg:deb/openssl?repository_url=x"), &openssl);
    check(&of("pkg:deb/debian/openssl@1.0-2"), &[]);
    check(&of("pkg:deb/ubuntu/openssl"), &[]);
    check(&of("pkg:deb/debian/openssl?arch=arm64"), &[]);
    check(&of("pkg:rpm/debian/openssl"), &[]);
    check(&open("affected", &product("pkg:deb/debian/openssl"), ""), &[]);
    check(&open("under_investigation", &product("pkg:deb/debian/openssl"), ""), &[]);
    check(&open("fixed", &product("pkg:deb/debian/openssl"), ""), &openssl);
    let digest = Digest::of(b"image").to_string().replace(':', "%3A");
    let image = |version: &str, parts: &str| {
        let url = format!("pkg:oci/shop{version}?repository_url=registry.example/team/shop");
        open("not_affected", &format!(r#"{{"@id": "{url}", "subcomponents": [{parts}]}}"#), "")
    };
    let part = r#"{"@id": "pkg:deb/debian/openssl"}"#;
    check(&image(&format!("@{digest}"), part), &openssl);
    check(&image("", part), &openssl);
    check(&image("@1.0", part), &openssl);
    check(&image("@2.0", part), &[]);
    check(&image("@sha256%3A00", part), &[]);
    check(&image("", ""), &[("openssl", said), ("zlib1g", said)]);
    // What is said later counts.
    let later = r#", {"vulnerability": {"name": "CVE-2024-0001"}, "status": "affected", "timestamp": "2026-01-01T00:00:00Z", "products": [{"@id": "pkg:deb/debian/openssl"}]}"#;
    check(&open("not_affected", &product("pkg:deb/debian/openssl"), later), &[]);
}

#[test]
fn csaf_and_cyclonedx_name_packages() {
    let csaf = r#"{"document": {"category": "csaf_vex"}, "product_tree": {"branches": [{"branches": [
        {"product": {"product_id": "p", "product_identification_helper": {"purl": "pkg:deb/debian/openssl@1.0-1"}}}]}],
        "full_product_names": [{"product_id": "i", "product_identification_helper": {"purl": "pkg:oci/shop"}},
          {"product_id": "z", "product_identification_helper": {"purl": "pkg:deb/debian/zlib1g"}}],
        "relationships": [{"product_reference": "z", "relates_to_product_reference": "i", "full_product_name": {"product_id": "i:z"}}]},
        "vulnerabilities": [{"cve": "CVE-2024-0001", "product_status": {"known_not_affected": ["p", "absent"], "fixed": ["i:z"]},
          "flags": [{"label": "component_not_present", "product_ids": ["p"]}]}]}"#;
    check(csaf, &[("openssl", "component not present"), ("zlib1g", "fixed")]);
    let cyclonedx = r#"{"bomFormat": "CycloneDX", "components": [{"bom-ref": "r", "purl": "pkg:deb/debian/openssl@1.0-1"}],
        "vulnerabilities": [{"id": "CVE-2024-0001", "analysis": {"state": "not_affected", "justification": "code_not_reachable", "detail": "d"}, "affects": [{"ref": "r"}]},
          {"id": "CVE-2024-0001", "analysis": {"state": "exploitable"}, "affects": [{"ref": "pkg:deb/debian/zlib1g"}]}]}"#;
    check(cyclonedx, &[("openssl", "code not reachable: d")]);
    let other = cyclonedx.replace(
        r#""ref": "r""#,
        r#""ref": "urn:cdx:3e671687/1#pkg%3Adeb%2Fdebian%2Fopenssl%401.0-1""#,
    );
    check(&other, &[("openssl", "code not reachable: d")]);
}

#[test]
fn other_documents_are_refused() {
    let check = |text: &str, expected: &str| {
        assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    };
    check("", "not JSON");
    check("[]", "neither OpenVEX nor CSAF nor CycloneDX");
    check(r#"{"statements": 3}"#, "not a valid OpenVEX document");
    check(r#"{"product_tree": {}, "vulnerabilities": 3}"#, "not a valid CSAF document");
    check(r#"{"bomFormat": "CycloneDX", "components": 3}"#, "not a valid CycloneDX document");
    assert!(read(br#"{"product_tree": {}}"#).unwrap().statements.is_empty());
}

#[test]
fn what_is_not_understood_is_counted_and_sets_nothing_aside() {
    let check = |document: &str, expected: &[(&str, u64)]| {
        let found = read(document.as_bytes()).unwrap();
        let missed: Vec<(&str, u64)> =
            found.not_understood.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
        assert_eq!(missed, expected, "{document}");
        found.statements.len()
    };
    let openssl = r#"{"@id": "pkg:deb/debian/openssl"}"#;
    let cpe = r#"{"@id": "cpe:2.3:a:openssl:openssl:1.0"}"#;
    assert_eq!(check(&open("not_affected", openssl, ""), &[]), 1);
    assert_eq!(check(&open("not_afected", openssl, ""), &[("status `not_afected`", 1)]), 0);
    assert_eq!(check(&open("not_affected", cpe, ""), &[(NO_URL, 1)]), 0);
    assert_eq!(check(&open("not_affected", &format!("{cpe}, {openssl}"), ""), &[(NO_URL, 1)]), 1);
    assert_eq!(check(&open("not_affected", "", ""), &[(NO_PRODUCT, 1)]), 0);
    // What sets nothing aside anyway is no loss.
    assert_eq!(check(&open("affected", cpe, ""), &[]), 0);
    // A statement about parts that cannot be read is none about the whole.
    let image = |parts: &str| {
        open(
            "not_affected",
            &format!(r#"{{"@id": "pkg:oci/shop", "subcomponents": [{parts}]}}"#),
            "",
        )
    };
    assert_eq!(check(&image(cpe), &[(NO_PART, 1)]), 0);
    assert_eq!(check(&image(&format!("{cpe}, {openssl}")), &[(NO_PART, 1)]), 1);
    let nameless = open("not_affected", openssl, "").replace(r#""name": "CVE-2024-0001""#, "");
    assert_eq!(check(&nameless, &[(NO_ID, 1)]), 0);
    let csaf = r#"{"document": {"category": "csaf_vex"}, "vulnerabilities": [
        {"cve": "CVE-2024-0001", "product_status": {"known_not_affected": ["absent"], "known_affected": ["absent"]}},
        {"product_status": {"fixed": ["absent"]}}]}"#;
    assert_eq!(check(csaf, &[(NO_URL, 1), (NO_ID, 1)]), 0);
    let cyclonedx = r#"{"bomFormat": "CycloneDX", "vulnerabilities": [
        {"id": "CVE-2024-0001", "analysis": {"state": "not-affected"}, "affects": [{"ref": "pkg:deb/debian/a"}]},
        {"id": "CVE-2024-0001", "analysis": {"state": "resolved"}, "affects": [{"ref": "r"}]},
        {"id": "CVE-2024-0001", "affects": [{"ref": "r"}]}]}"#;
    assert_eq!(check(cyclonedx, &[(NO_URL, 1), ("status `not-affected`", 1)]), 0);
    // Reasons are bounded, and words of a document are text of one line.
    let many: Vec<String> = (0..50)
        .map(|i| {
            format!(
                r#"{{"vulnerability": {{"name": "CVE-1"}}, "status": "s\n{i}", "products": []}}"#
            )
        })
        .collect();
    let many = read(format!(r#"{{"statements": [{}]}}"#, many.join(",")).as_bytes()).unwrap();
    assert_eq!(many.not_understood.values().sum::<u64>(), 50);
    assert!(many.not_understood.len() <= REASONS_MAX + 1);
    assert!(many.not_understood.contains_key("status `s 7`"));
}

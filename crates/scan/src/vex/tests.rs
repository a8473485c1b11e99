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

/// An OpenVEX document in which `later` is said after a first statement, of the vulnerability
/// `first`, that sets aside what `product` names.
fn revised(first: &str, product: &str, later: &str) -> String {
    format!(
        r#"{{"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-01T00:00:00Z", "statements": [
        {later},
        {{"vulnerability": {first}, "status": "not_affected", "impact_statement": "no",
          "products": [{product}], "timestamp": "2025-12-31T23:00:00Z"}}]}}"#
    )
}

fn said_later(name: &str, status: &str, products: &str) -> String {
    format!(
        r#"{{"vulnerability": {name}, "status": "{status}", "products": [{products}],
        "timestamp": "2026-01-01T00:30:00+01:00"}}"#
    )
}

#[test]
fn what_is_said_later_takes_back_as_far_as_it_reaches() {
    let (openssl, zlib) = (("openssl", "no"), ("zlib1g", "no"));
    let id = |url: &str| format!(r#"{{"@id": "{url}"}}"#);
    let name = r#"{"name": "CVE-2024-0001"}"#;
    let both = format!("{}, {}", id("pkg:deb/debian/openssl"), id("pkg:deb/debian/zlib1g"));
    let affected = |products: &str| said_later(name, "affected", products);
    // 2026-01-01T00:30+01:00 is 23:30 of the day before: later than the first statement.
    let one = |later: &str| revised(name, &both, &affected(later));
    check(&one(&id("pkg:deb/debian/openssl")), &[zlib]);
    check(&one(&id("pkg:deb/openssl?repository_url=x")), &[zlib]);
    // The version that is installed, and another.
    check(&one(&id("pkg:deb/debian/openssl@1.0-1")), &[zlib]);
    check(&one(&id("pkg:deb/debian/openssl@1.0-2")), &[openssl, zlib]);
    check(&one(&id("pkg:deb/ubuntu/openssl")), &[openssl, zlib]);
    check(&one(&id("pkg:rpm/debian/openssl")), &[openssl, zlib]);
    // A package in this image, and in another.
    let image = |url: &str, part: &str| {
        let part = if part.is_empty() { String::new() } else { id(part) };
        format!(r#"{{"@id": "{url}", "subcomponents": [{part}]}}"#)
    };
    check(&one(&image("pkg:oci/shop", "pkg:deb/debian/openssl")), &[zlib]);
    check(&one(&image("pkg:oci/shop", "")), &[]);
    check(&one(&image("pkg:oci/other", "")), &[openssl, zlib]);
    // Of an image: all of it, a part of it; a package by itself says nothing of it.
    let digest = Digest::of(b"image").to_string().replace(':', "%3A");
    let pinned = format!("pkg:oci/shop@{digest}");
    let one = |later: &str| revised(name, &image(&pinned, ""), &affected(later));
    check(&one(&image("pkg:oci/shop", "")), &[]);
    check(&one(&image(&pinned, "")), &[]);
    check(&one(&image("pkg:oci/shop@1.0", "")), &[]);
    check(&one(&image("pkg:oci/shop@2.0", "")), &[openssl, zlib]);
    check(&one(&image("pkg:oci/shop", "pkg:deb/debian/openssl@1.0-1")), &[zlib]);
    check(&one(&id("pkg:deb/debian/openssl")), &[openssl, zlib]);
    let parts = format!(r#"{{"@id": "{pinned}", "subcomponents": [{both}]}}"#);
    let one = |later: &str| revised(name, &parts, &affected(later));
    check(&one(&image("pkg:oci/shop", "pkg:deb/debian/openssl")), &[zlib]);
    check(&one(&image("pkg:oci/shop", "pkg:deb/debian/other")), &[openssl, zlib]);
    check(&one(&parts), &[]);
    // Another vulnerability; and what is set aside again is.
    let other = said_later(r#"{"name": "CVE-2024-0002"}"#, "affected", &both);
    check(&revised(name, &both, &other), &[openssl, zlib]);
    let again = r#"{"vulnerability": {"name": "CVE-2024-0001"}, "status": "fixed", "impact_statement": "mended",
        "products": [{"@id": "pkg:deb/debian/openssl"}]}"#;
    let twice = format!("{}, {again}", affected(&both));
    check(&revised(name, &both, &twice), &[("openssl", "mended")]);
    // Parts beyond the bound are the whole.
    let versions = |n: usize| {
        let all: Vec<String> =
            (0..n).map(|i| id(&format!("pkg:deb/debian/openssl@9.{i}"))).collect();
        revised(name, &both, &affected(&all.join(", ")))
    };
    check(&versions(64), &[openssl, zlib]);
    check(&versions(65), &[zlib]);
}

#[test]
fn what_is_said_later_counts_under_every_name() {
    let product = r#"{"@id": "pkg:deb/debian/openssl"}"#;
    let first = r#"{"name": "GHSA-x", "aliases": ["CVE-2024-0001", "DSA-1"]}"#;
    let finding_is_hidden = |later: &str| !set_aside(&revised(first, product, later)).is_empty();
    assert!(finding_is_hidden(&said_later(r#"{"name": "GHSA-y"}"#, "affected", product)));
    for name in [
        r#"{"name": "GHSA-x"}"#,
        r#"{"name": "ghsa-X"}"#,
        r#"{"@id": "DSA-1"}"#,
        r#""CVE-2024-0001""#,
        // By way of a name that only another statement gives.
        r#"{"name": "OSV-1", "aliases": ["DSA-1"]}, "status": "affected", "products": [{"@id": "pkg:npm/x"}]},
           {"vulnerability": {"name": "OSV-1"}"#,
    ] {
        assert!(!finding_is_hidden(&said_later(name, "affected", product)), "{name}");
    }
}

#[test]
fn what_is_said_later_and_cannot_be_read_takes_back_all_it_may_be_about() {
    let check = |product: &str, later: &str, n_left: usize, missed: &[(&str, u64)]| {
        let name = r#"{"name": "GHSA-x", "aliases": ["CVE-2024-0001"]}"#;
        let found = read(revised(name, product, later).as_bytes()).unwrap();
        let reasons: Vec<(&str, u64)> =
            found.not_understood.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
        assert_eq!((found.statements.len(), reasons.as_slice()), (n_left, missed), "{later}");
    };
    let affected = |products: &str| said_later(r#"{"name": "GHSA-x"}"#, "affected", products);
    let part = r#"{"@id": "pkg:deb/debian/openssl"}"#;
    let image = |parts: &str| format!(r#"{{"@id": "pkg:oci/shop", "subcomponents": [{parts}]}}"#);
    let cpe = r#"{"@id": "cpe:2.3:a:openssl:openssl:1.0"}"#;
    let (of_part, of_all) = (image(part), image(""));
    check(&of_part, &affected(&image(cpe)), 0, &[(NO_PART, 1)]);
    check(&of_all, &affected(&image(cpe)), 0, &[(NO_PART, 1)]);
    let zlib = r#"{"@id": "pkg:deb/debian/zlib1g"}"#;
    check(&of_part, &affected(&image(&format!("{cpe}, {zlib}"))), 0, &[(NO_PART, 1)]);
    check(&of_part, &affected(&image(zlib)), 2, &[]);
    // Nothing was said of that image.
    let other = format!(r#"{{"@id": "pkg:oci/other", "subcomponents": [{cpe}]}}"#);
    check(&of_part, &affected(&other), 2, &[]);
    // A product without a package URL: the same by the name that the document has for it.
    let called = r#"{"@id": "urn:shop", "identifiers": {"purl": "pkg:oci/shop"}}"#;
    check(called, &affected(r#"{"@id": "urn:shop"}"#), 0, &[(NO_URL, 1)]);
    check(called, &affected(r#"{"@id": "urn:other"}"#), 2, &[(NO_URL, 1)]);
    // No product is every product, and what was said last in words that are not known counts.
    check(&of_part, &affected(""), 0, &[(NO_PRODUCT, 1)]);
    let odd = said_later(r#"{"name": "GHSA-x"}"#, "Affected", &of_part);
    check(&of_part, &odd, 0, &[("status `Affected`", 1)]);
    let nameless = said_later("{}", "affected", &of_part);
    check(&of_part, &nameless, 2, &[(NO_ID, 1)]);
    // What was said before it is no loss of it.
    let before = affected(&image(cpe)).replace("2026-01-01", "2025-01-01");
    check(&of_part, &before, 2, &[]);
}

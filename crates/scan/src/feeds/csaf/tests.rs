//! Documents in the shapes that Red Hat and SUSE publish.

use super::*;
use crate::db::Database;

const REDHAT: &str = r#"{"document": {"aggregate_severity": {"text": "Moderate"}, "category": "csaf_vex",
 "title": "nodejs: leak", "publisher": {"name": "Red Hat Product Security"},
 "tracking": {"id": "CVE-2024-0001", "current_release_date": "2024-05-06T07:08:09+00:00"}},
"product_tree": {"branches": [{"category": "vendor", "name": "Red Hat", "branches": [
  {"category": "product_name", "product": {"product_id": "AppStream-8.9", "name": "RHEL AppStream (v. 8)",
    "product_identification_helper": {"cpe": "cpe:/a:redhat:enterprise_linux:8::appstream"}}},
  {"category": "product_name", "product": {"product_id": "EUS-8.6", "name": "EUS",
    "product_identification_helper": {"cpe": "cpe:/a:redhat:rhel_eus:8.6::appstream"}}},
  {"category": "product_name", "product": {"product_id": "red_hat_enterprise_linux_9", "name": "RHEL 9",
    "product_identification_helper": {"cpe": "cpe:/o:redhat:enterprise_linux:9"}}},
  {"category": "product_version", "product": {"product_id": "nodejs:20:809:a7", "name": "nodejs:20",
    "product_identification_helper": {"purl": "pkg:rpmmod/redhat/nodejs@20:809:a7"}}},
  {"category": "product_version", "product": {"product_id": "nodejs-1:20.9.0-1.x86_64", "name": "n",
    "product_identification_helper": {"purl": "pkg:rpm/redhat/nodejs@20.9.0-1.module%2Bel8.9.0%2B20473?arch=x86_64&epoch=1"}}},
  {"category": "product_version", "product": {"product_id": "nodejs-1:20.9.0-2.s390x", "name": "n",
    "product_identification_helper": {"purl": "pkg:rpm/redhat/nodejs@20.9.0-2.module%2Bel8.9.0%2B20999?arch=s390x&epoch=1"}}},
  {"category": "product_version", "product": {"product_id": "openssl", "name": "openssl",
    "product_identification_helper": {"purl": "pkg:rpm/redhat/openssl?arch=src"}}},
  {"category": "product_version", "product": {"product_id": "gnutls", "name": "gnutls",
    "product_identification_helper": {"purl": "pkg:rpm/redhat/gnutls"}}}]}],
 "relationships": [
  {"category": "default_component_of", "product_reference": "nodejs:20:809:a7", "relates_to_product_reference": "AppStream-8.9",
    "full_product_name": {"product_id": "AppStream-8.9:nodejs:20:809:a7", "name": "x"}},
  {"category": "default_component_of", "product_reference": "nodejs-1:20.9.0-1.x86_64", "relates_to_product_reference": "AppStream-8.9:nodejs:20:809:a7",
    "full_product_name": {"product_id": "A:nodejs.x86_64", "name": "x"}},
  {"category": "default_component_of", "product_reference": "nodejs-1:20.9.0-2.s390x", "relates_to_product_reference": "AppStream-8.9:nodejs:20:809:a7",
    "full_product_name": {"product_id": "A:nodejs.s390x", "name": "x"}},
  {"category": "default_component_of", "product_reference": "nodejs-1:20.9.0-1.x86_64", "relates_to_product_reference": "EUS-8.6",
    "full_product_name": {"product_id": "E:nodejs.x86_64", "name": "x"}},
  {"category": "default_component_of", "product_reference": "openssl", "relates_to_product_reference": "red_hat_enterprise_linux_9",
    "full_product_name": {"product_id": "red_hat_enterprise_linux_9:openssl", "name": "x"}},
  {"category": "default_component_of", "product_reference": "gnutls", "relates_to_product_reference": "red_hat_enterprise_linux_9",
    "full_product_name": {"product_id": "red_hat_enterprise_linux_9:gnutls", "name": "x"}},
  {"category": "default_component_of", "product_reference": "loop", "relates_to_product_reference": "loop",
    "full_product_name": {"product_id": "loop", "name": "x"}}]},
"vulnerabilities": [{"cve": "CVE-2024-0001", "title": "nodejs: leak of memory",
 "product_status": {"fixed": ["A:nodejs.s390x", "A:nodejs.x86_64", "E:nodejs.x86_64"],
   "known_affected": ["red_hat_enterprise_linux_9:openssl", "loop"],
   "under_investigation": ["red_hat_enterprise_linux_9:gnutls"], "known_not_affected": ["x", "y"]},
 "remediations": [{"category": "no_fix_planned", "details": "Will not fix", "product_ids": ["red_hat_enterprise_linux_9:openssl"]}],
 "scores": [{"cvss_v3": {"vectorString": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}, "products": []}],
 "threats": [{"category": "impact", "details": "Important", "product_ids": ["A:nodejs.x86_64", "A:nodejs.s390x"]}]}]}"#;

fn imported(text: &str) -> (DatabaseBuilder, Result<(), ImportFeedError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cve.json");
    std::fs::write(&path, text).unwrap();
    let mut builder = DatabaseBuilder::new();
    let result = import(&mut builder, &path, "redhat-vex");
    (builder, result)
}

fn database(builder: &DatabaseBuilder) -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    builder.write(&path, Timestamp::from_nanos(1)).unwrap();
    let db = Database::open(&path).unwrap();
    (folder, db)
}

#[test]
fn reads_what_red_hat_says() {
    let (mut builder, result) = imported(REDHAT);
    result.unwrap();
    let skipped = &builder.feed("redhat-vex").skipped;
    assert_eq!(skipped["platform that is not covered"], 1, "{skipped:?}");
    assert_eq!(skipped["not affected"], 2);
    let (_folder, db) = database(&builder);
    let nodejs = db.advisories("Red Hat:8", "nodejs").unwrap();
    assert_eq!(nodejs.len(), 1);
    assert_eq!(nodejs[0].module.as_deref(), Some("nodejs:20"));
    assert_eq!(nodejs[0].severity, Severity::High);
    let first = RangeEnd::Fixed("1:20.9.0-1.module+el8.9.0+20473".into());
    assert_eq!(nodejs[0].ranges[0].end, first);
    let openssl = db.advisories("Red Hat:9", &source_name("openssl")).unwrap();
    assert_eq!((openssl[0].status, openssl[0].severity), (Status::WillNotFix, Severity::Medium));
    let gnutls = db.advisories("Red Hat:9", "gnutls").unwrap();
    assert_eq!(gnutls[0].status, Status::UnderInvestigation);
    assert_eq!(db.info().built.rfc3339(), "2024-05-06T07:08:09.000000000Z");
}

#[test]
fn platforms_are_releases() {
    let check = |cpe: &str, expected: Option<&str>| {
        assert_eq!(ecosystem_of(cpe).as_deref(), expected, "{cpe}");
    };
    check("cpe:/o:redhat:enterprise_linux:9", Some("Red Hat:9"));
    check("cpe:/a:redhat:enterprise_linux:9.4::crb", Some("Red Hat:9"));
    check("cpe:2.3:o:redhat:enterprise_linux:8:*:baseos", Some("Red Hat:8"));
    check("cpe:/a:redhat:rhel_eus:9.2::appstream", None);
    check("cpe:/o:suse:sles:15:sp5", Some("SUSE:15.5"));
    check("cpe:/o:suse:sle-module-basesystem:15:sp6", Some("SUSE:15.6"));
    check("cpe:/o:opensuse:leap:15.5", Some("openSUSE:15.5"));
    check("cpe:/o:microsoft:windows", None);
    check("", None);
    let check = |name: &str, expected: Option<&str>| {
        assert_eq!(suse_release(name).as_deref(), expected, "{name}");
    };
    check("SUSE Linux Enterprise Server 15 SP5", Some("SUSE:15.5"));
    check("SUSE Linux Enterprise Server 15 SP5-LTSS", None);
    check("SUSE Linux Enterprise Server 15", Some("SUSE:15"));
    check("SUSE Linux Enterprise Module for Basesystem 15 SP4", Some("SUSE:15.4"));
    check("SUSE Linux Enterprise Server for SAP Applications 15 SP5", None);
    check("openSUSE Leap 15.5", Some("openSUSE:15.5"));
    check("openSUSE Tumbleweed", Some("openSUSE:tumbleweed"));
    check("SUSE Linux Enterprise Module for é", None);
}

#[test]
fn documents_that_are_no_csaf_are_counted() {
    for bad in ["{", "[]", "{}", &REDHAT[..500]] {
        let (mut builder, result) = imported(bad);
        assert!(matches!(result, Err(ImportFeedError::Empty(_))), "{bad}");
        assert_eq!(builder.feed("redhat-vex").skipped["malformed document"], 1);
    }
}

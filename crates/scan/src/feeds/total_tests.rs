//! Feeds are hostile input: whatever the bytes, an importer ends with an answer or an error.

use std::path::Path;

use palisade_base::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::db::{Database, DatabaseBuilder};

type Import = fn(&mut DatabaseBuilder, &Path) -> Result<(), ImportFeedError>;

/// Imports `bytes` under `name` with every importer that would take such a file, and reads
/// back what came of it.
fn import_everything(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let importers: [Import; 13] = [
        osv::import,
        kev::import,
        alpine::import,
        |builder, path| {
            let folder = path.parent().unwrap_or(path);
            debian_changelogs::import_folder(builder, folder, "Debian:12")
        },
        |builder, path| debian_tracker::import(builder, path, None),
        |builder, path| csaf::import(builder, path, "redhat-vex"),
        |builder, path| errata::import(builder, path, errata::ALMA),
        |builder, path| errata::import(builder, path, errata::ROCKY),
        oval::import,
        updateinfo::import,
        ubuntu_vex::import,
        epss::import,
        |builder, path| {
            let folder = path.parent().unwrap_or(path);
            osv::import(builder, folder)
        },
    ];
    for import in importers {
        let mut builder = DatabaseBuilder::new();
        let _ = import(&mut builder, &path);
        let db = folder.path().join("db");
        if builder.write(&db, Timestamp::from_nanos(1)).is_ok() {
            Database::open(&db).unwrap().verify().unwrap();
        }
    }
}

/// Text of the shape that importers read, broken somewhere.
fn broken(good: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((0..good.len(), any::<u8>()), 0..6);
    (edits, 0..=good.len()).prop_map(move |(edits, end)| {
        let mut bytes = good.as_bytes().to_vec();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        bytes.truncate(end.max(1));
        bytes
    })
}

const OSV: &str = r#"{"id": "GO-1", "aliases": ["CVE-2024-0001"], "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}], "affected": [{"package": {"ecosystem": "Go", "name": "m"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2"}]}]}]}"#;
const SECDB: &str = "distroversion: v3.11\npackages:\n  - pkg:\n      name: xen\n      secfixes:\n        1.10:\n          - CVE-2019-14904 XSA-1\n";
const TRACKER: &str = r#"{"openssl": {"CVE-2024-0001": {"description": "d", "releases": {"bookworm": {"status": "resolved", "fixed_version": "3.0-1", "urgency": "medium"}, "sid": {"status": "open", "urgency": "low**", "nodsa": "x", "nodsa_reason": "ignored"}}}}}"#;
const CSAF: &str = r#"{"document": {"tracking": {"id": "CVE-2024-0001"}}, "product_tree": {"branches": [{"product": {"product_id": "p", "product_identification_helper": {"cpe": "cpe:/o:redhat:enterprise_linux:9"}}}, {"product": {"product_id": "c", "product_identification_helper": {"purl": "pkg:rpm/redhat/a@1-2.el9?arch=x86_64&epoch=1"}}}], "relationships": [{"product_reference": "c", "relates_to_product_reference": "p", "full_product_name": {"product_id": "p:c"}}]}, "vulnerabilities": [{"cve": "CVE-2024-0001", "product_status": {"fixed": ["p:c"]}}]}"#;
const ERRATA: &str = r#"{"data": [{"id": "ALSA-2024:1", "severity": "Important", "references": [{"id": "CVE-2024-0001"}], "packages": [{"name": "a", "epoch": 1, "version": "2", "release": "3.el9", "arch": "x86_64"}, {"nevra": "b-1:2-3.el8.x86_64", "product_name": "Rocky Linux 8"}]}]}"#;
const UPDATEINFO: &str = r#"<updates><update type="security"><id>ALAS2023-2023-001</id><issued date="2023-02-17 21:14"/><references><reference id="CVE-2022-3602"/></references><pkglist><package name="a" epoch="1" version="2" release="3" arch="x86_64"/></pkglist></update></updates>"#;
const OVAL: &str = r#"<oval_definitions><definition><title>CVE-2022-0778</title><criterion test_ref="t:1" comment="openSUSE Leap 15.5 is installed"/><criterion test_ref="t:2" comment="x"/></definition><rpminfo_test id="t:2"><object object_ref="o:2"/><state state_ref="s:2"/></rpminfo_test><rpminfo_object id="o:2"><name>a</name></rpminfo_object><rpminfo_state id="s:2"><evr operation="less than">0:1-2</evr></rpminfo_state></oval_definitions>"#;
const VEX: &str = r#"{"statements": [{"vulnerability": {"name": "CVE-2024-0001"}, "status": "fixed", "products": [{"@id": "pkg:deb/ubuntu/a@1?arch=source&distro=jammy"}]}]}"#;
const LOG: &str = "openssl (3.0.19-1) bookworm; urgency=medium\n\n  * CVE-2026-28387 (\"x\")\n  - CVE-2026-1234 é\n\n -- A <a@x>  Fri, 03 Apr 2026 14:29:32 +0200\n";

#[test]
fn what_is_broken_was_whole() {
    let check = |text: &str, name: &str, import: Import| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path).unwrap();
        assert!(builder.n_records() > 0, "{text}");
    };
    check(OSV, "a.json", osv::import);
    check(TRACKER, "a.json", |builder, path| debian_tracker::import(builder, path, None));
    check(CSAF, "a.json", |builder, path| csaf::import(builder, path, "redhat-vex"));
    check(ERRATA, "a.json", |builder, path| errata::import(builder, path, errata::ROCKY));
    check(UPDATEINFO, "a.xml", updateinfo::import);
    check(OVAL, "a.xml", oval::import);
    check(VEX, "a.json", ubuntu_vex::import);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn broken_records(bytes in broken(OSV)) {
        import_everything("a.json", &bytes);
    }

    #[test]
    fn broken_trackers(bytes in broken(TRACKER)) {
        import_everything("a.json", &bytes);
    }

    #[test]
    fn broken_csaf(bytes in broken(CSAF)) {
        import_everything("a.json", &bytes);
    }

    #[test]
    fn broken_errata(bytes in broken(ERRATA)) {
        import_everything("a.json", &bytes);
    }

    #[test]
    fn broken_notices(bytes in broken(UPDATEINFO)) {
        import_everything("a.xml", &bytes);
    }

    #[test]
    fn broken_definitions(bytes in broken(OVAL)) {
        import_everything("a.xml", &bytes);
    }

    #[test]
    fn broken_statements(bytes in broken(VEX)) {
        import_everything("a.json", &bytes);
    }

    #[test]
    fn broken_security_databases(bytes in broken(SECDB)) {
        import_everything("a.yaml", &bytes);
    }

    #[test]
    fn broken_changelogs(bytes in broken(LOG)) {
        import_everything("changelog", &bytes);
    }

    #[test]
    fn noise_in_every_container(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for name in ["all.zip", "x.deb", "changelog.gz"] {
            import_everything(name, &bytes);
        }
    }

    #[test]
    fn any_ignore_file(text in "[ -~\n]{0,200}") {
        let _ = crate::ignore::parse(&text, "x");
    }
}

#[test]
fn every_flipped_bit_of_a_package_is_an_answer_or_an_error() {
    let log = deb::tests::gzip(LOG.as_bytes());
    let doc = "./usr/share/doc/x/changelog.Debian.gz";
    let good = deb::tests::package(&[(doc, &log)], "data.tar.gz");
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x11;
        let _ = deb::changelog_of(&bad[..]);
        let _ = deb::changelog_of(&good[..i]);
    }
}

/// A feed of every form, small and whole.
const KEV: &str = r#"{"title": "CISA Catalog", "vulnerabilities": [{"cveID": "CVE-2024-0001"}]}"#;
const EPSS: &str = "#model_version:v1,score_date:2026-11-27T00:00:00Z\ncve,epss,percentile\nCVE-2024-0001,0.5,0.9\n";
const PAGE: &str =
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>x</body></html>\n";

#[test]
fn a_feed_of_another_kind_is_an_error_that_names_it() {
    use catalogue::Form;
    let own = [
        (Form::Osv, "a.json", OSV),
        (Form::DebianTracker, "tracker.json", TRACKER),
        (Form::UbuntuVex, "vex.json", VEX),
        (Form::Secdb, "v3.11-main.yaml", SECDB),
        (Form::RedHatVex, "cve.json", CSAF),
        (Form::AlmaErrata, "errata.json", ERRATA),
        (Form::Updateinfo, "updateinfo.xml", UPDATEINFO),
        (Form::SuseOval, "oval.xml", OVAL),
        (Form::Kev, "kev.json", KEV),
        (Form::Epss, "epss.csv", EPSS),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut taken = Vec::new();
    for (form, _, _) in own {
        let others = own.iter().filter(|(other, _, _)| *other != form);
        let others = others.map(|(_, name, text)| (*name, *text));
        let pages = ["a.json", "a.xml", "a.yaml", "a.csv"].map(|name| (name, PAGE));
        let empty = [("a.json", ""), ("a.json", "{}"), ("a.json", "[]"), ("a.json", "null")];
        for (name, text) in others.chain(pages).chain(empty) {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let mut builder = DatabaseBuilder::new();
            match catalogue::import(&mut builder, form, &path, catalogue::Origin::Copy(None)) {
                Ok(_) => taken.push(format!("{form:?} takes {}", text.get(..40).unwrap_or(text))),
                Err(error) => {
                    let said = palisade_base::render_chain(&error, None);
                    assert!(said.contains(name), "{form:?}: {said}");
                }
            }
        }
    }
    assert_eq!(taken, [""; 0]);
}

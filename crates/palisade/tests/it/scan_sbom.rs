//! `palisade scan`, `sbom` and `db` on images that the tests build.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::layout::{self, DPKG_STATUS, Layer, Layout, OS_RELEASE, SECRET};
use crate::support::{Ended, run};

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Makes `debs/` with a newer version of the images' library, whose changelog names a CVE
/// that the images still have, and the advisory database from it.
pub(crate) fn build_database(folder: &Path) -> Ended {
    let root = folder.join("deb");
    let doc = root.join("usr/share/doc/libpalisadetest1");
    std::fs::create_dir_all(&doc).unwrap();
    std::fs::create_dir_all(root.join("DEBIAN")).unwrap();
    std::fs::write(
        root.join("DEBIAN/control"),
        "Package: libpalisadetest1\nSource: palisadetest\nVersion: 1.2.3-3\nArchitecture: amd64\n\
         Maintainer: Nobody <nobody@example.org>\nDescription: a library\n",
    )
    .unwrap();
    // The database's age is that of its newest entry: it must not be old when a gate asks.
    let today = Command::new("date").args(["-R"]).output().unwrap().stdout;
    let today = String::from_utf8(today).unwrap();
    let entry = |version: &str, text: &str, date: &str| {
        format!(
            "palisadetest ({version}) bookworm-security; urgency=high\n\n  * {text}\n\n \
             -- Nobody <nobody@example.org>  {date}\n\n"
        )
    };
    let old = "Mon, 05 Jan 2026 10:00:00 +0000";
    let log = [
        entry("1.2.3-3", "Fix a use after free (CVE-2026-10002).", today.trim()),
        entry("1.2.3-2", "Fix an overflow: CVE-2026-10001.", old),
        entry("1.2.3-1", "New version, fixes CVE-2025-90009.", old),
    ]
    .concat();
    std::fs::write(doc.join("changelog.Debian.gz"), layout::gzip(log.as_bytes())).unwrap();
    std::fs::create_dir_all(folder.join("debs")).unwrap();
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-b", "deb", "debs/libpalisadetest1_1.2.3-3_amd64.deb"])
        .current_dir(folder)
        .output()
        .expect("dpkg-deb: apt install dpkg");
    assert!(built.status.success(), "{built:?}");
    std::fs::write(
        folder.join("kev.json"),
        r#"{"title":"x","catalogVersion":"2026.01.01","dateReleased":"2026-01-01T00:00:00.0000Z",
            "count":1,"vulnerabilities":[{"cveID":"CVE-2026-10002","dateAdded":"2026-01-01"}]}"#,
    )
    .unwrap();
    run(
        folder,
        &[
            "db",
            "build",
            "--debian-changelogs",
            "debs",
            "--release",
            "debian:12",
            "--kev",
            "kev.json",
        ],
    )
}

#[test]
fn a_scan_finds_what_was_planted_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let table = run(folder.path(), &["scan", &shop.target()]).expect(0);
    for expected in
        ["Debian GNU/Linux 12", "/srv/deploy.env:1", "/usr/bin/helper", "not looked for"]
    {
        assert!(table.stdout.contains(expected), "`{expected}` is not in {}", table.stdout);
    }
    assert!(!table.stdout.contains('\u{1b}'), "colour off a terminal: {}", table.stdout);

    let ended = run(folder.path(), &["scan", "--format", "json", &shop.target()]).expect(0);
    assert!(!ended.stdout.contains(SECRET) && !table.stdout.contains(SECRET));
    let report = json(&ended);
    assert_eq!(report["schema"], "palisade.dev/scan-report/v1");
    let text = report.to_string();
    for expected in ["libpalisadetest1", "1.2.3-1", "aws-access-key-id", "/usr/bin/helper"] {
        assert!(text.contains(expected), "`{expected}` is not in {text}");
    }
}

#[test]
fn sarif_is_what_code_hosts_read() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let ended = run(folder.path(), &["scan", "--format", "sarif", &shop.target()]).expect(0);
    assert!(!ended.stdout.contains(SECRET));
    let sarif = json(&ended);
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let mut found = Vec::new();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        found.push((result["ruleId"].as_str().unwrap(), place.as_str().unwrap()));
    }
    assert!(found.contains(&("aws-access-key-id", "srv/deploy.env")), "{found:?}");
    assert!(found.contains(&("setuid", "usr/bin/helper")), "{found:?}");
}

#[test]
fn output_goes_to_the_file_alone_and_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let file = folder.path().join("report.json");
    std::fs::write(&file, "older and longer ".repeat(10_000)).unwrap();
    let args = ["scan", "--format", "json", "--output", "report.json", &shop.target()];
    let ended = run(folder.path(), &args).expect(0);
    assert_eq!(ended.stdout, "");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["schema"], "palisade.dev/scan-report/v1");

    let into_nothing = run(folder.path(), &["scan", "--output", "no/such/folder", &shop.target()]);
    assert_eq!(into_nothing.code, 3);
    assert!(into_nothing.stderr.contains("error: write `no/such/folder`"));
    let quiet = run(folder.path(), &["scan", "--quiet", "--output", "r", &shop.target()]).expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_gate_refuses_with_1_and_is_never_passed_unevaluated() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let plain = layout::plain(&folder.path().join("plain"));
    let gate = |target: &str| run(folder.path(), &["scan", "--policy", "restricted", target]);

    let refused = gate(&shop.target()).expect(1);
    assert!(refused.stderr.contains("gate: refused\n  - 1 secret in the image"), "{refused:?}");
    // The report is complete all the same.
    assert!(refused.stdout.contains("/usr/bin/helper"));
    // Nothing refuses this one, but nobody knows its vulnerabilities.
    let unknown = gate(&plain.target()).expect(3);
    assert!(unknown.stderr.contains("gate: could not be evaluated"), "{unknown:?}");

    build_database(folder.path()).expect(0);
    let exploited = gate(&plain.target()).expect(1);
    assert!(exploited.stderr.contains("CVE-2026-10002"), "{exploited:?}");
    run(folder.path(), &["scan", "--policy", "audit", &shop.target()]).expect(0);
}

#[test]
fn what_could_not_be_examined_is_4_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let layer = Layer::new().file("etc/os-release", 0o644, OS_RELEASE).file(
        "var/lib/dpkg/status",
        0o644,
        format!("{DPKG_STATUS}garbage without a colon\n\n"),
    );
    let image =
        Layout::write(&folder.path().join("image"), vec![layer], &serde_json::json!({"User": "1"}));
    let scan = run(folder.path(), &["scan", &image.target()]).expect(4);
    assert!(scan.stdout.contains("Not examined"), "{}", scan.stdout);
    assert!(scan.stdout.contains("/var/lib/dpkg/status"), "{}", scan.stdout);
    let sbom = run(folder.path(), &["sbom", &image.target()]).expect(4);
    assert!(sbom.stderr.contains("not examined: /var/lib/dpkg/status"), "{}", sbom.stderr);
    let document = json(&sbom);
    assert_eq!(document["compositions"][0]["aggregate"], "incomplete");
    assert!(document.to_string().contains("libpalisadetest1"), "the rest is there");
    // A gate does not pass on what was not looked at.
    build_database(folder.path()).expect(0);
    let gate = run(folder.path(), &["scan", "--policy", "restricted", &image.target()]);
    assert!(matches!(gate.code, 1 | 3), "{gate:?}");
}

#[test]
fn an_exception_hides_a_finding_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let ignore = |expires: &str| {
        std::fs::write(
            folder.path().join("ignore.yaml"),
            format!(
                "ignore:\n  - id: setuid\n    package: /usr/bin/helper\n    reason: it is a \
                 test\n    expires: {expires}\n"
            ),
        )
        .unwrap();
        run(folder.path(), &["scan", "--ignore", "ignore.yaml", &shop.target()])
    };
    let hidden = ignore("2099-01-01").expect(0);
    assert!(!hidden.stdout.contains("/usr/bin/helper"), "{}", hidden.stdout);
    assert!(hidden.stdout.contains("1 ignored"), "{}", hidden.stdout);
    let expired = ignore("2020-01-01").expect(0);
    assert!(expired.stdout.contains("/usr/bin/helper"), "{}", expired.stdout);
    assert!(expired.stdout.contains("expired"), "{}", expired.stdout);
    let bad = ignore("soon");
    assert_eq!((bad.code, bad.stdout.as_str()), (2, ""));
    assert!(bad.stderr.contains("ignore.yaml:5:"), "{}", bad.stderr);
}

#[test]
fn bills_of_materials_name_every_package_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let cyclonedx = json(&run(folder.path(), &["sbom", &shop.target()]).expect(0));
    assert_eq!(
        (&cyclonedx["bomFormat"], &cyclonedx["specVersion"]),
        (&"CycloneDX".into(), &"1.6".into())
    );
    let purl =
        "pkg:deb/debian/libpalisadetest1@1.2.3-1?arch=amd64&distro=debian-12&upstream=palisadetest";
    let library = cyclonedx["components"]
        .as_array()
        .unwrap()
        .iter()
        .find(|component| component["purl"] == purl)
        .unwrap();
    assert_eq!(library["evidence"]["occurrences"][0]["location"], "/var/lib/dpkg/status");
    assert_eq!(cyclonedx["metadata"]["component"]["version"], shop.manifest.to_string());

    let args = ["sbom", "--format", "spdx-json", "--output", "shop.spdx.json", &shop.target()];
    assert_eq!(run(folder.path(), &args).expect(0).stdout, "");
    let bytes = std::fs::read(folder.path().join("shop.spdx.json")).unwrap();
    let spdx: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    let packages = spdx["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 4, "the image, its system and two packages");
    assert!(packages.iter().any(|p| p["externalRefs"][0]["referenceLocator"] == purl));
}

#[test]
fn a_database_is_built_from_changelogs_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let plain = layout::plain(&folder.path().join("plain"));
    run(folder.path(), &["db", "build"]).expect_error(2, "no feed given");
    run(folder.path(), &["db", "build", "--debian-changelogs", "debs", "--release", "beos:5"])
        .expect_error(2, "beos:5");
    run(folder.path(), &["db", "status"]).expect_error(3, "does not exist");
    let named = run(folder.path(), &["scan", "--db", "no.db", &plain.target()]);
    named.expect_error(3, "no.db");

    let built = build_database(folder.path()).expect(0);
    assert_eq!(built.stdout, "");
    let status = run(folder.path(), &["db", "status"]).expect(0);
    assert!(status.stdout.contains("advisories 3"), "{}", status.stdout);
    let found = run(folder.path(), &["db", "search", "palisadetest"]).expect(0);
    for expected in ["CVE-2026-10001", "1.2.3-2", "CVE-2026-10002", "1.2.3-3"] {
        assert!(found.stdout.contains(expected), "{}", found.stdout);
    }
    let by_cve = run(folder.path(), &["db", "search", "CVE-2026-10002"]).expect(0);
    assert!(by_cve.stdout.contains("palisadetest"), "{}", by_cve.stdout);
    let nothing = run(folder.path(), &["db", "search", "nosuchpackage"]).expect(0);
    assert_eq!(nothing.stdout, "");

    let report =
        json(&run(folder.path(), &["scan", "--format", "json", &plain.target()]).expect(0));
    let text = report["findings"].to_string();
    assert!(text.contains("CVE-2026-10001") && text.contains("CVE-2026-10002"), "{text}");
    // What the installed version fixed already is no finding.
    assert!(!text.contains("CVE-2025-90009"), "{text}");
    let table = run(folder.path(), &["scan", &plain.target()]).expect(0);
    assert!(table.stdout.contains("1.2.3-1 → 1.2.3-3"), "{}", table.stdout);
}

#[test]
fn an_unchanged_image_is_not_read_again_and_a_changed_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout::plain(&folder.path().join("image"));
    let scan = |more: &[&str]| {
        let args = [&["scan", "--format", "json", "--cache-dir", "cache"], more].concat();
        run(folder.path(), &args)
    };
    let report = |ended: &crate::support::Ended| -> serde_json::Value {
        let mut report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        report.as_object_mut().unwrap().remove("time");
        report
    };
    let first = scan(&["oci:image"]).expect(0);
    let entries = || -> Vec<std::path::PathBuf> {
        let listing = std::fs::read_dir(folder.path().join("cache/examinations")).unwrap();
        listing.flatten().map(|entry| entry.path()).collect()
    };
    assert_eq!(entries().len(), 1);
    let kept = entries()[0].clone();
    let second = scan(&["oci:image"]).expect(0);
    assert_eq!(report(&first), report(&second));

    let mut bytes = std::fs::read(&kept).unwrap();
    let n = bytes.len();
    bytes[n / 2] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let third = scan(&["oci:image"]).expect(0);
    assert!(third.stderr.contains("damaged"), "{}", third.stderr);
    assert_eq!(report(&first), report(&third));

    let blob =
        image.folder.join("blobs/sha256").join(image.layers[0].to_string().replace("sha256:", ""));
    let mut bytes = std::fs::read(&blob).unwrap();
    let n = bytes.len();
    bytes[n / 2] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    assert_eq!(scan(&["oci:image"]).code, 3);
    assert_eq!(scan(&["--no-cache", "oci:image"]).code, 3);
}

#[test]
fn databases_travel_signed_whole_and_by_delta() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let kev = |ids: &str| {
        let text = format!(r#"{{"vulnerabilities": [{ids}]}}"#);
        std::fs::write(at.join("kev.json"), text).unwrap();
    };
    let osv = r#"{"id": "CVE-2024-0001", "affected": [{"package": {"ecosystem": "PyPI", "name": "a"}, "versions": ["1"]}]}"#;
    std::fs::write(at.join("a.json"), osv).unwrap();
    run(at, &["db", "generate-key", "k"]).expect(0);
    run(at, &["db", "generate-key", "other"]).expect(0);
    let update = ["db", "update", "--feed", "osv/PyPI=a.json,kev=kev.json", "--sign-key", "k.key"];
    kev(r#"{"cveID": "CVE-2024-0001"}"#);
    run(at, &update).expect(0);
    run(at, &["db", "export", "old.db"]).expect(0);
    kev(r#"{"cveID": "CVE-2024-0001"}, {"cveID": "CVE-2024-0002"}"#);
    run(at, &update).expect(0);
    run(at, &["db", "export", "--since", "old.db", "step"]).expect(0);

    let import = |file: &str, key: &str| {
        run(at, &["--db-key", key, "db", "import", "--db", "far/advisories.db", file])
    };
    import("step", "k.pub").expect_error(3, "delta");
    import("old.db", "other.pub").expect_error(3, "trusted keys");
    import("old.db", "k.pub").expect(0);
    import("step", "other.pub").expect_error(3, "trusted keys");
    import("step", "k.pub").expect(0);
    let far = std::fs::read(at.join("far/advisories.db")).unwrap();
    run(at, &["db", "export", "new.db"]).expect(0);
    assert_eq!(far, std::fs::read(at.join("new.db")).unwrap());
    import("step", "k.pub").expect_error(3, "applies to database");

    // A database that nobody trusted signed judges nothing.
    let status = ["--db-key", "other.pub", "db", "status", "--db", "new.db"];
    run(at, &status).expect_error(1, "trusted keys");
    let status = run(at, &["--db-key", "k.pub", "db", "status", "--db", "new.db"]).expect(0);
    assert!(status.stdout.contains("verified"), "{}", status.stdout);
    // The key says when it was made, and a policy may ask for a young one.
    assert!(status.stdout.contains("(0 minutes old), verified"), "{}", status.stdout);
    let policy = "version: 1\nname: young\nimages: {gate: {database_key_age_days_max: 30}}\n";
    std::fs::write(at.join("young.yaml"), policy).unwrap();
    let bill = r#"{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}"#;
    std::fs::write(at.join("bill.json"), bill).unwrap();
    let gate = |key: Option<&str>| {
        let scan = ["scan", "--db", "new.db", "--policy", "young.yaml", "sbom:bill.json"];
        run(at, &[&key.map_or(vec![], |key| vec!["--db-key", key]), &scan[..]].concat())
    };
    gate(Some("k.pub")).expect(0);
    gate(None).expect(3);
    let pem = std::fs::read_to_string(at.join("k.pub")).unwrap();
    let block = pem.split_once('\n').unwrap().1;
    std::fs::write(at.join("old.pub"), format!("Created: 2020-01-01T00:00:00Z\n{block}")).unwrap();
    let refused = gate(Some("old.pub")).expect(1);
    assert!(refused.stderr.contains("days old, the policy allows 30"), "{}", refused.stderr);
    std::fs::write(at.join("dateless.pub"), block).unwrap();
    let open = gate(Some("dateless.pub")).expect(3);
    assert!(open.stderr.contains("states when it was made"), "{}", open.stderr);
    std::fs::write(at.join("bad.pub"), format!("Created: then\n{block}")).unwrap();
    gate(Some("bad.pub")).expect_error(2, "does not say when it was made: then");
    run(at, &["db", "update", "--feed", "debain"]).expect_error(2, "debain");
    run(at, &["db", "update", "--feed", "updateinfo"]).expect_error(2, "no address of its own");
    run(at, &["db", "update", "--from", "http://registry.example/x"]).expect_error(3, "https");
}

#[test]
fn a_new_database_says_what_became_vulnerable_without_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let image = layout::plain(&at.join("image"));
    let advisory = |fixed: &str| {
        format!(
            r#"{{"id": "CVE-2026-20001", "affected": [{{"package": {{"ecosystem": "Debian:12", "name": "palisadetest"}}, "ranges": [{{"type": "ECOSYSTEM", "events": [{{"introduced": "0"}}, {{"fixed": "{fixed}"}}]}}]}}]}}"#
        )
    };
    let update = |fixed: &str| {
        std::fs::write(at.join("a.json"), advisory(fixed)).unwrap();
        let source = ["db", "build", "--osv", "a.json"];
        run(at, &source).expect(0);
    };
    update("0.1");
    run(at, &["scan", "--no-store", "oci:image"]).expect(0);
    run(at, &["scan", "--stored"]).expect(0);
    run(at, &["scan", "oci:image"]).expect(0);
    std::fs::remove_dir_all(&image.folder).unwrap();
    let look =
        |flags: &[&str]| run(at, &[&["scan", "--stored", "--format", "json"], flags].concat());
    let first = json(&look(&[]).expect(0));
    assert_eq!(first["images"][0]["new"].as_array().unwrap().len(), 0, "{first}");

    update("9.9");
    let ended = run(at, &["scan", "--stored"]).expect(0);
    assert!(ended.stdout.contains("new") && ended.stdout.contains("CVE-2026-20001"), "{ended:?}");
    let still = json(&look(&["--all"]).expect(0));
    assert_eq!(still["images"][0]["still"][0]["id"], "CVE-2026-20001", "{still}");
    let refused = run(at, &["scan", "--stored", "--fail-on", "unknown"]).expect(1);
    assert!(refused.stderr.contains("CVE-2026-20001"), "{refused:?}");
    let open = run(at, &["scan", "--stored", "--fail-on-secrets"]).expect(3);
    assert!(open.stderr.contains("could not be evaluated"), "{open:?}");
    update("0.1");
    let gone = json(&look(&[]).expect(0));
    assert_eq!(gone["images"][0]["gone"][0]["id"], "CVE-2026-20001", "{gone}");

    let digest = gone["images"][0]["subject"]["digest"].as_str().unwrap().to_string();
    let list = run(at, &["scan", "--stored", "--list"]).expect(0);
    assert!(list.stdout.contains(&digest), "{}", list.stdout);
    std::fs::write(at.join("data/inventories/x.inventory"), "PALINV").unwrap();
    let damaged = look(&[]);
    assert_eq!(damaged.code, 4, "{damaged:?}");
    assert_eq!(json(&damaged)["unreadable"][0]["file"], "x.inventory");
    run(at, &["scan", "--stored", "--fail-on", "high"]).expect(3);
    std::fs::remove_file(at.join("data/inventories/x.inventory")).unwrap();
    run(at, &["scan", "--stored", "--forget", &digest]).expect(0);
    run(at, &["scan", "--stored", "--forget", &digest]).expect_error(3, "not stored");
    run(at, &["scan"]).expect(2);
}

#[test]
fn what_a_policy_sets_aside_counts_for_none_who_obey_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    layout::plain(&at.join("plain"));
    let fixed = |version: &str| {
        serde_json::json!({"releases": {
            "bookworm": {"status": "resolved", "fixed_version": version, "urgency": "high"},
        }})
    };
    let tracker = serde_json::json!({"palisadetest": {
        "CVE-2026-10001": fixed("1.2.3-2"), "CVE-2026-10002": fixed("1.2.3-3"),
    }});
    std::fs::write(at.join("tracker.json"), tracker.to_string()).unwrap();
    run(at, &["db", "build", "--feed", "debian=tracker.json"]).expect(0);
    std::fs::create_dir(at.join("policies")).unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(at.join("policies").join(name), text).unwrap();
    let policy = |name: &str, more: &str| {
        let gate = format!("  gate:\n    severity: high\n{more}");
        write(name, &format!("version: 1\nname: p\nimages:\n  verify: warn\n{gate}"));
    };
    policy("bare.yaml", "");
    policy("both.yaml", "    ignore: [accepted.yaml]\n    vex: [shop.vex.json]\n");
    policy("absent.yaml", "    ignore: [nowhere.yaml]\n");
    write(
        "accepted.yaml",
        "ignore:\n  - {id: CVE-2026-10001, reason: not reached, expires: 2099-01-01}\n",
    );
    write(
        "shop.vex.json",
        r#"{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [
            {"vulnerability": {"name": "CVE-2026-10002"}, "status": "not_affected",
             "products": [{"@id": "pkg:deb/debian/libpalisadetest1@1.2.3-1"}]}]}"#,
    );
    let scan = |policy: &str| run(at, &["scan", "--policy", policy, "oci:plain"]);
    let refused = scan("policies/bare.yaml").expect(1);
    let both = "2 vulnerabilities rated high or worse: CVE-2026-10001, CVE-2026-10002";
    assert!(refused.stderr.contains(both), "{}", refused.stderr);
    let passed = scan("policies/both.yaml").expect(0);
    let counted = "1 ignored by entries, 1 set aside by VEX";
    assert!(passed.stdout.contains(counted), "{}", passed.stdout);
    scan("policies/absent.yaml").expect(3);
    // What is admitted finds nobody at that address.
    let promote =
        |policy: &str| run(at, &["promote", "--policy", policy, "oci:plain", "127.0.0.1:1/shop:1"]);
    let refused = promote("policies/bare.yaml").expect(1);
    assert!(refused.stderr.contains("nothing was copied"), "{}", refused.stderr);
    let admitted = promote("policies/both.yaml").expect(3);
    assert!(!admitted.stderr.contains("nothing was copied"), "{}", admitted.stderr);
    assert!(admitted.stderr.contains("127.0.0.1:1"), "{}", admitted.stderr);
    let absent = promote("policies/absent.yaml").expect(3);
    assert!(absent.stderr.contains("nowhere.yaml"), "{}", absent.stderr);
    let plan = ["patch", "plan", "--format", "json", "oci:plain", "--policy"];
    let set_aside = |policy: &str| {
        // The image names no repository.
        json(&run(at, &[&plan[..], &[policy]].concat()).expect(4))["n_set_aside"].clone()
    };
    assert_eq!(set_aside("policies/both.yaml"), 2);
    assert_eq!(set_aside("policies/bare.yaml"), 0);
}

#[test]
fn the_warning_of_old_advisories_says_what_makes_them_younger() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    layout::plain(&at.join("plain"));
    let tracker = r#"{"palisadetest": {"CVE-2026-10001": {"releases": {
        "bookworm": {"status": "open", "urgency": "low"}}}}}"#;
    std::fs::write(at.join("tracker.json"), tracker).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(40 * 24);
    std::fs::File::options()
        .write(true)
        .open(at.join("tracker.json"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    run(at, &["db", "build", "--feed", "debian=tracker.json"]).expect(0);
    let scan = run(at, &["scan", "oci:plain"]).expect(0);
    let expected = "(40 days old, debian-tracker); this feed is of a file or a mirror and as old as \
                    its newest data: bring a newer one, or let `palisade db update` fetch it";
    assert!(scan.stderr.contains(expected), "{}", scan.stderr);
}

/// A look of somebody else, which may take minutes, keeps no report back, and nobody waits without
/// being told.
#[test]
fn a_scan_does_not_wait_behind_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    layout::plain(&at.join("image"));
    run(at, &["scan", "oci:image"]).expect(0);
    let inventories = at.join("data/inventories");
    let stored =
        |name: &str| std::fs::metadata(inventories.join(name)).unwrap().modified().unwrap();
    let name = std::fs::read_dir(&inventories).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".inventory").then_some(name)
    });
    let name = name.unwrap();
    let before = stored(&name);
    let held = std::fs::File::open(inventories.join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // Another database, so that there is something to store.
    let record = r#"{"id": "CVE-2026-20001", "affected": [{"package": {"ecosystem": "Debian:12", "name": "palisadetest"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}]}]}"#;
    std::fs::write(at.join("a.json"), record).unwrap();
    run(at, &["db", "build", "--osv", "a.json"]).expect(0);
    let waits = "waiting for a look at the stored inventories";
    let scanned = run(at, &["scan", "oci:image"]).expect(0);
    assert!(scanned.stdout.contains("CVE-2026-20001"), "{scanned:?}");
    assert!(scanned.stderr.contains(waits), "{scanned:?}");
    assert!(scanned.stderr.contains("warning: the inventory is not stored"), "{scanned:?}");
    let quiet = run(at, &["--quiet", "scan", "--stored", "--list"]);
    assert!(!quiet.stderr.contains(waits), "{quiet:?}");
    quiet.expect_error(3, "is under way");
    assert_eq!(stored(&name), before);
    drop(held);
    let scanned = run(at, &["scan", "oci:image"]).expect(0);
    assert!(!scanned.stderr.contains("waiting"), "{scanned:?}");
    // By a newer database than the one it was stored with: new to who looks.
    let look = json(&run(at, &["scan", "--stored", "--format", "json"]).expect(0));
    assert_eq!(look["images"][0]["n_vulnerabilities"], 1, "{look}");
}

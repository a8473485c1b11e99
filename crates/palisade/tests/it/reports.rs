//! Forms of the report, bills of materials as input, the gate's flags, `convert` and `explain`.

use std::path::Path;

use serde_json::Value;

use crate::layout::{self, SECRET};
use crate::scan_sbom::build_database;
use crate::support::run;

fn parse(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn one_run_writes_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let template = "{% for i in items %}{{ i.kind }} {{ i.place }}\n{% endfor %}";
    std::fs::write(folder.path().join("t.txt"), template).unwrap();
    let forms = [
        "table",
        "json",
        "sarif",
        "cyclonedx-json",
        "cyclonedx-1.7-json",
        "spdx-json",
        "spdx-3.0-json",
        "gitlab",
        "junit",
        "html",
        "markdown",
        "template",
    ];
    let reports: Vec<String> = forms.iter().map(|form| format!("{form}=out.{form}")).collect();
    let target = shop.target();
    let mut args = vec!["scan", "--template", "t.txt", "--fail-on-secrets", &target];
    for report in &reports {
        args.extend(["--report", report]);
    }
    let ended = run(folder.path(), &args).expect(1);
    assert!(ended.stdout.contains("Gate: refused"), "{ended:?}");
    for form in forms {
        let path = folder.path().join(format!("out.{form}"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(SECRET), "{form}");
        if form.ends_with("json") || matches!(form, "sarif" | "gitlab") {
            serde_json::from_str::<Value>(&text).unwrap();
        }
    }
    let json = parse(&folder.path().join("out.json"));
    assert_eq!(json["gate"]["verdict"], "refused");
    assert_eq!(json["gate"]["rules"][0]["rule"], "secrets");
    let bom = parse(&folder.path().join("out.cyclonedx-1.7-json"));
    assert_eq!(bom["specVersion"], "1.7");
    let text = std::fs::read_to_string(folder.path().join("out.template")).unwrap();
    assert!(text.contains("secret /srv/deploy.env:1\n"), "{text}");
}

#[test]
fn what_is_asked_for_wrongly_costs_no_scan() {
    let folder = tempfile::tempdir().unwrap();
    let check = |args: &[&str], code: i32, expected: &str| {
        let ended = run(folder.path(), args);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    };
    std::fs::write(folder.path().join("bad.j2"), "{% nonsense %}").unwrap();
    check(&["scan", "--format", "htm", "oci:x"], 2, "html");
    check(&["scan", "--report", "html", "oci:x"], 2, "FORMAT=FILE");
    check(&["scan", "--report", "htm=x", "oci:x"], 2, "did you mean `html`?");
    check(&["scan", "--format", "template", "oci:x"], 2, "needs a template");
    check(&["scan", "--template", "bad.j2", "oci:x"], 2, "no form uses it");
    let args = ["scan", "--format", "template", "--template", "bad.j2", "oci:x"];
    check(&args, 2, "template `bad.j2`, line 1");
    check(&["scan", "--only-fixed", "oci:x"], 2, "narrows --fail-on and --epss");
    check(&["scan", "--kev", "--baseline", "b.json", "oci:x"], 3, "b.json");
    check(&["scan", "--epss", "2", "oci:x"], 2, "probability");
    check(&["scan", "--base", "oci:y", "oci:x"], 2, "--minimality");
}

#[test]
fn a_bill_of_materials_has_the_vulnerabilities_of_its_image() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    build_database(folder.path()).expect(0);
    let vulnerabilities = |target: &str| {
        let ended = run(folder.path(), &["scan", "--format", "json", target]);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let mut found: Vec<Value> =
            findings.into_iter().filter(|finding| finding["kind"] == "vulnerability").collect();
        found.sort_by_key(ToString::to_string);
        (found, report)
    };
    let (expected, _) = vulnerabilities(&shop.target());
    assert!(!expected.is_empty());
    for form in ["cyclonedx-json", "cyclonedx-1.7-json", "spdx-json", "spdx-3.0-json"] {
        let args = ["sbom", "--format", form, "--output", "bom.json", &shop.target()];
        run(folder.path(), &args).expect(0);
        let (found, report) = vulnerabilities("sbom:bom.json");
        assert_eq!(found, expected, "{form}");
        assert_eq!(report["coverage"]["is_of_document"], true);
        // What a document cannot show is never passed.
        let args = ["scan", "--fail-on-secrets", "sbom:bom.json"];
        let ended = run(folder.path(), &args).expect(3);
        assert!(ended.stderr.contains("a bill of materials shows no secrets"), "{ended:?}");
        assert!(ended.stdout.contains("only a bill of materials was read"), "{ended:?}");
    }
    // Another form of the same, through a bill of materials.
    let args = ["sbom", "--format", "cyclonedx-json", "--output", "again.json", "sbom:bom.json"];
    run(folder.path(), &args).expect(0);
    assert_eq!(vulnerabilities("sbom:again.json").0, expected);
    std::fs::write(
        folder.path().join("bad.json"),
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"x","name":"y"}]}"#,
    )
    .unwrap();
    let bad = run(folder.path(), &["scan", "sbom:bad.json"]).expect(3);
    assert!(bad.stderr.contains("/components/0/type: `x` is"), "{bad:?}");
}

#[test]
fn the_gate_of_the_flags_refuses_and_says_which_rule() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    build_database(folder.path()).expect(0);
    let target = shop.target();
    let scan = |flags: &[&str]| {
        let mut args = vec!["scan"];
        args.extend(flags);
        args.push(&target);
        run(folder.path(), &args)
    };
    let kev = scan(&["--kev"]).expect(1);
    assert!(kev.stderr.contains("known to be exploited: CVE-2026-10002"), "{kev:?}");
    assert!(kev.stdout.contains("refused    no vulnerability known to be exploited"), "{kev:?}");
    // The database has no scores: not clean, not refused.
    let epss = scan(&["--epss", "0.5"]).expect(3);
    assert!(epss.stderr.contains("the advisory database has no EPSS scores"), "{epss:?}");
    scan(&["--fail-on-other", "critical"]).expect(0);
    scan(&["--fail-on-other", "medium"]).expect(1);
    // One package has no data: a severity that nothing reaches is no pass.
    let blind = scan(&["--max-age-days", "30", "--fail-on", "critical"]).expect(3);
    assert!(blind.stdout.contains("no answer  no vulnerability rated critical"), "{blind:?}");
    scan(&["--fail-on-end-of-life"]).expect(0);

    // Against itself nothing is new; against an empty report everything is.
    run(folder.path(), &["scan", "--format", "json", "--output", "b.json", &target]).expect(0);
    let same = scan(&["--fail-on-secrets", "--baseline", "b.json"]).expect(0);
    assert!(same.stdout.contains("0 new, "), "{same:?}");
    let mut earlier = parse(&folder.path().join("b.json"));
    earlier["findings"] = Value::Array(vec![]);
    std::fs::write(folder.path().join("b.json"), earlier.to_string()).unwrap();
    let new = scan(&["--kev", "--baseline", "b.json"]).expect(1);
    assert!(new.stderr.contains("new vulnerability known to be exploited"), "{new:?}");
    let none = scan(&["--baseline", "b.json"]).expect(2);
    assert!(none.stderr.contains("the gate refuses nothing"), "{none:?}");
}

#[test]
fn a_report_is_converted_without_a_scan() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let args = ["scan", "--format", "json", "--output", "r.json", &shop.target()];
    run(folder.path(), &args).expect(0);
    let direct = run(folder.path(), &["convert", "--format", "sarif", "r.json"]).expect(0);
    let sarif: Value = serde_json::from_str(&direct.stdout).unwrap();
    assert!(!sarif["runs"][0]["results"].as_array().unwrap().is_empty());
    let same = run(folder.path(), &["convert", "--format", "json", "r.json"]).expect(0);
    let again: Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!(again, parse(&folder.path().join("r.json")));

    run(folder.path(), &["sbom", "--output", "b.json", &shop.target()]).expect(0);
    let spdx = run(folder.path(), &["convert", "--format", "spdx-json", "b.json"]).expect(0);
    assert!(spdx.stdout.contains("SPDX-2.3"));
    let html = run(folder.path(), &["convert", "--format", "html", "b.json"]).expect(2);
    assert!(html.stderr.contains("hint: scan it: palisade scan --format html sbom:b.json"));
    std::fs::write(folder.path().join("x.json"), r#"{"schema":"palisade.dev/alert/v1"}"#).unwrap();
    let other = run(folder.path(), &["convert", "x.json"]).expect(3);
    assert!(other.stderr.contains("palisade.dev/alert/v1"), "{other:?}");
}

#[test]
fn identifiers_are_explained_offline() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let plain = run(folder.path(), &["explain", "CVE-2026-10002"]).expect(3);
    assert!(plain.stderr.contains("there is no advisory database"), "{plain:?}");
    build_database(folder.path()).expect(0);
    let args = ["scan", "--format", "json", "--output", "r.json", &shop.target()];
    run(folder.path(), &args).expect(0);

    let args = ["explain", "--report", "r.json", "cve-2026-10002"];
    let cve = run(folder.path(), &args).expect(0).stdout;
    for expected in ["exploited    yes", "fixed in 1.2.3-3", "found in     oci:", "nvd.nist.gov"] {
        assert!(cve.contains(expected), "`{expected}` is not in {cve}");
    }
    let check = |id: &str, expected: &str| {
        let text = run(folder.path(), &["explain", id]).expect(0).stdout;
        assert!(text.contains(expected), "`{expected}` is not in {text}");
    };
    check("T1611", "Escape to Host");
    check("image-runs-as-root", "add `USER`");
    check("IMG-005", "secret-in-history");
    check("RUN-001", "CIS Kubernetes");
    check("privileged", "RUN-001");
    check("aws-access-key-id", "revoke it");
    check("setuid", "chmod u-s");
    check("reverse shell", "palisade rules explain");
    let json = run(folder.path(), &["explain", "--format", "json", "setuid"]).expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "palisade.dev/explanation/v1");

    let near = run(folder.path(), &["explain", "CVE-2026-10003"]).expect(3);
    assert!(near.stderr.contains("CVE-2026-10002"), "{near:?}");
    let near = run(folder.path(), &["explain", "image-runs-as-rot"]).expect(3);
    assert!(near.stderr.contains("near: image-runs-as-root"), "{near:?}");
}

#[test]
fn minimality_is_said_of_images_alone() {
    let folder = tempfile::tempdir().unwrap();
    let shop = layout::shop(&folder.path().join("shop"));
    let table = run(folder.path(), &["scan", "--minimality", &shop.target()]).expect(0).stdout;
    for expected in ["Minimality: attack surface", "gets fixes until 2028-06-30", "Debian 12"] {
        assert!(table.contains(expected), "`{expected}` is not in {table}");
    }
    let base = shop.target();
    let args = ["scan", "--minimality", "--base", &base, "--format", "json", &shop.target()];
    let report: Value = serde_json::from_str(&run(folder.path(), &args).expect(0).stdout).unwrap();
    assert_eq!(report["minimality"]["base"]["certainty"], "proven");
    run(folder.path(), &["sbom", "--output", "b.json", &shop.target()]).expect(0);
    let none = run(folder.path(), &["scan", "--minimality", "sbom:b.json"]).expect(2);
    assert!(none.stderr.contains("scan the image itself"), "{none:?}");
}

/// An SBOM of one gem with the platform that lock files write behind its version.
fn gem(folder: &Path, version: &str) -> String {
    let document = serde_json::json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [{
            "type": "library",
            "name": "nokogiri",
            "version": version,
            "purl": format!("pkg:gem/nokogiri@{version}"),
        }],
    });
    std::fs::write(folder.join("gem.cdx.json"), document.to_string()).unwrap();
    "sbom:gem.cdx.json".into()
}

#[test]
fn a_gate_neither_loses_a_gem_s_platform_nor_passes_what_cannot_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let advisory = serde_json::json!({
        "id": "GHSA-aaaa-bbbb-cccc",
        "modified": "2026-11-01T00:00:00Z",
        "affected": [{
            "package": {"ecosystem": "RubyGems", "name": "nokogiri"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.14.0"}]}],
        }],
    });
    std::fs::create_dir(path.join("osv")).unwrap();
    std::fs::write(path.join("osv/a.json"), advisory.to_string()).unwrap();
    run(path, &["db", "build", "--feed", "osv/RubyGems=osv"]).expect(0);
    let gate = |version: &str, more: &[&str]| {
        let target = gem(path, version);
        run(path, &[&["scan", "--fail-on", "unknown", &target], more].concat())
    };
    let refused = gate("1.13.0-x86_64-linux", &[]).expect(1);
    assert!(refused.stderr.contains("GHSA-aaaa-bbbb-cccc"), "{}", refused.stderr);
    let passed = gate("1.14.0-java", &[]).expect(0);
    assert!(passed.stderr.contains("gate: passed"), "{}", passed.stderr);
    let open = gate("1.13.0+local", &[]).expect(3);
    let why = "1 advisory could not be compared with what is installed: \
               nokogiri 1.13.0+local (GHSA-aaaa-bbbb-cccc)";
    assert!(open.stderr.contains(why), "{}", open.stderr);
    assert!(open.stdout.contains("Not examined"), "{}", open.stdout);
    // Who knows better says so.
    let ignore = "ignore:\n  - {id: GHSA-aaaa-bbbb-cccc, reason: our own build of 1.14, expires: 2050-01-01}\n";
    std::fs::write(path.join("ignore.yaml"), ignore).unwrap();
    let accepted = gate("1.13.0+local", &["--ignore", "ignore.yaml"]).expect(0);
    assert!(accepted.stdout.contains("1 ignored by entries"), "{}", accepted.stdout);
}

#[test]
fn a_fresh_feed_does_not_hide_a_stale_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let feed = |ecosystem: &str, modified: &str| {
        let advisory = serde_json::json!({
            "id": format!("X-{ecosystem}"),
            "modified": modified,
            "affected": [{
                "package": {"ecosystem": ecosystem, "name": "a"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1"}]}],
            }],
        });
        std::fs::write(path.join("osv").join(format!("{ecosystem}.json")), advisory.to_string())
            .unwrap();
    };
    std::fs::create_dir(path.join("osv")).unwrap();
    feed("npm", "2020-01-02T00:00:00Z");
    let today = std::process::Command::new("date").args(["-u", "+%FT%TZ"]).output().unwrap();
    feed("RubyGems", String::from_utf8(today.stdout).unwrap().trim());
    run(path, &["db", "build", "--feed", "osv/npm=osv"]).expect(0);
    let scan = |args: &[&str]| run(path, &[&["scan", "--quiet"], args].concat());
    let target = gem(path, "2.0");
    let fresh = scan(&["--max-age-days", "7", &target]).expect(0);
    assert!(!fresh.stderr.contains("days old"), "{}", fresh.stderr);
    let text = std::fs::read_to_string(path.join("gem.cdx.json")).unwrap();
    std::fs::write(
        path.join("both.cdx.json"),
        text.replace("nokogiri", "left-pad").replace("pkg:gem", "pkg:npm"),
    )
    .unwrap();
    let stale = scan(&["--max-age-days", "7", "sbom:both.cdx.json"]).expect(1);
    assert!(stale.stderr.contains("the feed osv/npm is "), "{}", stale.stderr);
    // The warning is there although nobody wants to see progress, unless the policy says never.
    assert!(stale.stderr.contains("warning: advisories of 2020-01-02 ("), "{}", stale.stderr);
    assert!(stale.stdout.contains("days old, osv/npm)"), "{}", stale.stdout);
    let policy = "version: 1\nname: own\nimages:\n  gate:\n    database_age_days_warn: none\n";
    std::fs::write(path.join("own.yaml"), policy).unwrap();
    let silent = scan(&["--policy", "own.yaml", "sbom:both.cdx.json"]).expect(0);
    assert!(!silent.stderr.contains("warning:"), "{}", silent.stderr);
}

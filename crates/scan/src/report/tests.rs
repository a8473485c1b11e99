//! Goldens of every form. `UPDATE_GOLDEN=1` writes them anew.

use std::path::Path;

use base64::Engine as _;
use palisade_base::{Digest, Timestamp};
use palisade_model::finding::{
    Coverage, DangerousFile, DatabaseInfo, FeedTime, FileDanger, Incomparable, LicenceFinding,
    LicenceVerdict, Malware, MalwareEngine, Misconfiguration, ScanReport, Secret, Unmatched,
    Vulnerability,
};
use palisade_model::judgement::{Suppressed, SuppressedBy};
use palisade_model::package::{Gap, Inventory, Package, SourcePackage, Subject};
use palisade_model::{Distribution, Finding, PackageKind, Severity};

use serde_json::Value;

use super::*;

const TIME: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

fn package(name: &str, version: &str, source: &str) -> Package {
    Package {
        architecture: Some("amd64".into()),
        source: Some(SourcePackage { name: source.into(), version: version.into() }),
        purl: format!("pkg:deb/debian/{name}@{version}?arch=amd64&distro=debian-12"),
        maintainer: Some("Debian OpenSSL Team <x@lists.example.org>".into()),
        files: vec![format!("/usr/share/doc/{name}/copyright")],
        layer: Some(Digest::of(b"layer")),
        ..Package::new(PackageKind::Dpkg, name, version, "/var/lib/dpkg/status")
    }
}

fn vulnerability(
    package: &str,
    id: &str,
    fixed: Option<&str>,
    severity: Severity,
) -> Vulnerability {
    Vulnerability {
        id: id.into(),
        aliases: vec![],
        package: package.into(),
        purl: format!("pkg:deb/debian/{package}@3.0.11-1~deb12u1?arch=amd64"),
        source: Some("openssl".into()),
        installed: "3.0.11-1~deb12u1".into(),
        fixed: fixed.map(Into::into),
        severity,
        title: format!("title of {id}\u{1b}[31m"),
        feed: "debian-changelogs".into(),
        known_exploited: id.ends_with('7'),
        epss: id.ends_with('7').then_some(0.975),
        ..Vulnerability::default()
    }
}

fn malware(rule: &str, path: &str, engine: MalwareEngine, severity: Severity) -> Finding {
    Finding::Malware(Malware {
        rule: rule.into(),
        engine,
        title: format!("a sample for {rule}"),
        path: path.into(),
        detail: "$a, $b".into(),
        sha256: Some("ab".repeat(32)),
        reference: "https://example.org/rule".into(),
        package: None,
        severity,
        layer: Some(Digest::of(b"layer")),
    })
}

fn licence(package: &str, licence: &str, verdict: LicenceVerdict) -> Finding {
    let (severity, reason) = match verdict {
        LicenceVerdict::Denied => (Severity::High, format!("the policy denies `{licence}`")),
        _ => (Severity::Unknown, "the package states no licence".into()),
    };
    Finding::Licence(LicenceFinding {
        package: package.into(),
        purl: format!("pkg:deb/debian/{package}@1.0?arch=amd64"),
        version: "1.0".into(),
        licence: licence.into(),
        verdict,
        reason,
        severity,
    })
}

/// An image without a finding.
pub(crate) fn clean() -> ScanReport {
    ScanReport {
        time: TIME,
        inventory: Inventory {
            subject: Subject {
                name: "oci:demo:latest".into(),
                digest: Some(Digest::of(b"manifest")),
                platform: Some("linux/amd64".into()),
            },
            distribution: Some(Distribution {
                id: "debian".into(),
                version_id: "12".into(),
                codename: "bookworm".into(),
                name: "Debian GNU/Linux 12 (bookworm)".into(),
            }),
            packages: vec![
                package("libssl3", "3.0.11-1~deb12u1", "openssl"),
                package("openssl", "3.0.11-1~deb12u1", "openssl"),
            ],
            parts: vec![],
            programs: vec![],
            n_files: 42,
            gaps: vec![],
        },
        database: Some(DatabaseInfo {
            feeds: vec!["debian-changelogs".into()],
            built: TIME,
            n_records: 5,
            partial: vec![],
            times: vec![],
            oldest: None,
            key_created: None,
        }),
        findings: vec![],
        n_ignored: 0,
        suppressed: vec![],
        gate: None,
        minimality: None,
        coverage: Coverage { n_files_searched: 40, n_packages_matched: 2, ..Coverage::default() },
    }
}

/// An image with a finding of every kind.
pub(crate) fn full() -> ScanReport {
    let mut report = clean();
    let v = |package, id, fixed, severity| {
        Finding::Vulnerability(vulnerability(package, id, fixed, severity))
    };
    report.findings = vec![
        v("libssl3", "CVE-2024-0007", Some("3.0.11-1~deb12u2"), Severity::Critical),
        v("openssl", "CVE-2024-0007", Some("3.0.11-1~deb12u2"), Severity::Critical),
        Finding::Secret(Secret {
            detector: "private-key".into(),
            title: "private key".into(),
            path: "/srv/key 1.pem".into(),
            line: 3,
            redacted: "-----BEGIN…".into(),
            severity: Severity::Critical,
            layer: Some(Digest::of(b"layer")),
            ..Secret::default()
        }),
        Finding::File(DangerousFile {
            danger: FileDanger::Setuid,
            path: "/opt/back\u{202e}door".into(),
            detail: "mode 4755, owner 0:0".into(),
            package: None,
            severity: Severity::High,
        }),
        v("libssl3", "CVE-2024-0002", Some("3.0.11-1~deb12u10"), Severity::Unknown),
        v("libssl3", "CVE-2024-0003", Some("3.0.11-1~deb12u9"), Severity::Unknown),
        v("libssl3", "CVE-2024-0004", Some("3.0.11-1~deb12u9"), Severity::Low),
        v("libssl3", "CVE-2024-0005", None, Severity::Medium),
        Finding::Configuration(Misconfiguration {
            check: "image-runs-as-root".into(),
            title: "the program runs as root (no `USER` is set)".into(),
            fix: "add `USER` with an unprivileged number to the build".into(),
            severity: Severity::High,
            ..Misconfiguration::default()
        }),
        malware("miner_xmrig", "/var/tmp/.x!/a|b.so", MalwareEngine::Yara, Severity::Critical),
        malware("Eicar-Test", "/srv/upload", MalwareEngine::Hash, Severity::Low),
        licence("ghostscript", "AGPL-3.0-or-later", LicenceVerdict::Denied),
        licence("some-tool", "", LicenceVerdict::Unknown),
    ];
    report.coverage.n_files_malware = 41;
    report.coverage.n_licences_judged = 1;
    report.coverage.n_licences_unknown = 1;
    let set_aside = [
        (v("openssl", "CVE-2023-0001", None, Severity::High), "the code is not reached | <b>"),
        (
            Finding::File(DangerousFile {
                danger: FileDanger::Setgid,
                path: "/usr/bin/wall".into(),
                detail: "mode 2755, owner 0:5".into(),
                package: Some("bsdutils".into()),
                severity: Severity::Medium,
            }),
            "needed by operators",
        ),
        (licence("mupdf", "AGPL-3.0-only", LicenceVerdict::Denied), "run as a program of its own"),
    ];
    report.n_ignored = 3;
    report.suppressed = set_aside
        .into_iter()
        .map(|(finding, reason)| Suppressed {
            by: if matches!(finding, Finding::Licence(_)) {
                SuppressedBy::Policy
            } else {
                SuppressedBy::Ignore
            },
            finding,
            reason: reason.into(),
            expires: Some(TIME),
        })
        .collect();
    report.inventory.gaps.push(Gap { path: "/x".into(), reason: "path with `..`".into() });
    report.coverage.unmatched.push(Unmatched {
        ecosystem: "npm".into(),
        n_packages: 3,
        reason: "the advisory database has no data for it".into(),
    });
    report.coverage.n_harmless = 4;
    let gate = palisade_policy::Gate {
        severity: Some(Severity::High),
        known_exploited: true,
        end_of_life: true,
        ..palisade_policy::Gate::default()
    };
    report.gate = Some(crate::gate::judge(&report, &gate, None, TIME));
    report
}

#[track_caller]
pub(crate) fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of the test suite, not a setting of the product"
    )]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn tables_are_as_reviewed() {
    let plain = table::TableOptions::default();
    golden("clean.txt", &table::render(&clean(), plain));
    golden("full.txt", &table::render(&full(), plain));
    let colour = table::TableOptions { colour: true, all: true, severity_min: Severity::High };
    golden("full-colour-high.txt", &table::render(&full(), colour));
    let mut blind = clean();
    blind.database = None;
    golden("no-database.txt", &table::render(&blind, plain));
}

#[test]
fn hidden_findings_are_counted_and_the_exploited_never_hidden() {
    let mut report = full();
    for finding in &mut report.findings {
        if let Finding::Vulnerability(v) = finding {
            v.severity = Severity::Low;
        }
    }
    let options = table::TableOptions { severity_min: Severity::Critical, ..Default::default() };
    let text = table::render(&report, options);
    assert!(text.contains("CVE-2024-0007") && !text.contains("CVE-2024-0004"), "{text}");
    assert!(text.contains("9 hidden below the severity asked for"), "{text}");
}

#[test]
fn no_control_character_reaches_a_terminal() {
    let text = table::render(&full(), table::TableOptions::default());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn json_and_sarif_are_as_reviewed() {
    golden("full.json", &json::render(&full()).unwrap());
    golden("full.sarif", &sarif::render(&full(), "0.1.0").unwrap());
    golden("clean.sarif", &sarif::render(&clean(), "0.1.0").unwrap());
}

#[test]
fn the_json_document_is_read_back() {
    let text = json::render(&full()).unwrap();
    let back: palisade_model::wire::Envelope<ScanReport> = serde_json::from_str(&text).unwrap();
    assert_eq!(back.schema, "palisade.dev/scan-report/v1");
    assert_eq!(back.body, full());
}

fn options() -> RenderOptions<'static> {
    RenderOptions { version: "0.1.0", table: table::TableOptions::default(), template: None }
}

#[test]
fn other_forms_are_as_reviewed() {
    let forms = [
        (Format::Gitlab, "gitlab.json"),
        (Format::Junit, "junit.xml"),
        (Format::Html, "html"),
        (Format::Markdown, "md"),
        (Format::OpenVex, "openvex.json"),
        (Format::Sbom(crate::sbom::Format::Cyclonedx17), "report.cdx17.json"),
        (Format::Sbom(crate::sbom::Format::Spdx23), "report.spdx.json"),
        (Format::Sbom(crate::sbom::Format::Spdx30), "report.spdx3.json"),
    ];
    for (format, suffix) in forms {
        let render = |report: &ScanReport| render(report, format, &options()).unwrap();
        golden(&format!("full.{suffix}"), &render(&full()));
        golden(&format!("clean.{suffix}"), &render(&clean()));
    }
    assert!(matches!(render(&full(), Format::Template, &options()), Err(RenderError::NoTemplate)));
}

#[test]
fn names_of_forms_are_read_and_near_ones_suggested() {
    for format in Format::ALL {
        assert_eq!(format.as_str().parse(), Ok(format));
    }
    let error = "juint".parse::<Format>().unwrap_err();
    assert_eq!(palisade_base::Explain::hint(&error).as_deref(), Some("did you mean `junit`?"));
    assert!("".parse::<Format>().is_err());
}

/// What was set aside and what was not examined is in every form: the reason or the number.
#[test]
fn no_form_loses_what_was_set_aside_or_not_examined_or_how_old_the_advisories_are() {
    let template = template::Template::parse(
        "{{ suppressed|length }} set aside: {{ suppressed[0].reason }}; {{ not_examined|join(',') }}; {{ summary }}",
        "t.txt",
    )
    .unwrap();
    let options = RenderOptions { template: Some(&template), ..options() };
    let mut report = full();
    let old = Timestamp::from_nanos(TIME.as_nanos() - 40 * 86_400_000_000_000);
    let feed = FeedTime { name: "slow-feed".into(), time: Some(old), ..FeedTime::default() };
    report.database.as_mut().unwrap().oldest = Some(feed);
    report.coverage.n_incomparable = 2;
    report.coverage.incomparable.push(Incomparable {
        id: "GHSA-1".into(),
        package: "odd-package".into(),
        purl: String::new(),
        installed: "1!".into(),
        ..Incomparable::default()
    });
    report.coverage.incomparable.push(Incomparable {
        id: "GHSA-2".into(),
        package: "module-without-version".into(),
        ..Incomparable::default()
    });
    for format in Format::ALL {
        let text = render(&report, format, &options).unwrap();
        assert!(text.contains("slow-feed"), "{format}: which feed is old");
        assert!(text.contains(&old.rfc3339()[..10]), "{format}: of when it is");
        // Of bills of materials the inventory's gaps alone are a part.
        let is_bom = format.as_str().contains("spdx") || format.as_str().contains("cyclonedx");
        assert!(is_bom || text.contains("odd-package"), "{format}: what was not compared");
        let unknown = if format == Format::Json {
            "module-without-version"
        } else {
            "module-without-version: its version is not known, 1 advisory may mean it"
        };
        assert!(is_bom || text.contains(unknown), "{format}: what has no version");
        let says = text.contains("set aside")
            || text.contains("is not reached")
            || text.contains("3 ignored by entries");
        assert!(says, "{format}: what was set aside");
        assert!(text.contains("path with"), "{format}: what was not examined");
    }
}

/// A hostile image must not be able to write into the report anything but text.
#[test]
fn text_of_the_image_stays_text_in_every_form() {
    let evil = "x\"'><script>alert(1)</script>]]>&\u{1b}[31m\u{0}{{ 7*7 }}|`[a](javascript:b)";
    let mut report = full();
    report.inventory.subject.name = evil.into();
    report.inventory.gaps[0].path = evil.into();
    for package in &mut report.inventory.packages {
        package.name = evil.into();
        package.licences = vec![evil.into()];
        package.evidence = evil.into();
    }
    for finding in &mut report.findings {
        match finding {
            Finding::Vulnerability(v) => {
                (v.package, v.title, v.id) = (evil.into(), evil.into(), evil.into());
                (v.installed, v.fixed) = (evil.into(), Some(evil.into()));
            }
            Finding::Secret(s) => (s.path, s.title) = (evil.into(), evil.into()),
            Finding::File(f) => (f.path, f.detail) = (evil.into(), evil.into()),
            Finding::Configuration(c) => (c.title, c.fix) = (evil.into(), evil.into()),
            Finding::Malware(m) => {
                (m.rule, m.title, m.path) = (evil.into(), evil.into(), evil.into());
                (m.detail, m.reference) = (evil.into(), evil.into());
            }
            Finding::Licence(l) => {
                (l.package, l.licence, l.reason) = (evil.into(), evil.into(), evil.into());
            }
            _ => {}
        }
    }
    report.suppressed[0].reason = evil.into();
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Template) {
        let text = render(&report, format, &options()).unwrap();
        match format {
            Format::Html => assert_eq!(text.matches("<script").count(), 1, "{format}"),
            Format::Markdown => {
                assert!(!text.contains("<script") && !text.contains("[a](javascript"), "{text}");
            }
            Format::Junit => assert!(!text.contains("<script"), "{format}"),
            Format::Table => {}
            _ => {
                serde_json::from_str::<Value>(&text).unwrap();
            }
        }
        assert!(!text.contains('\u{1b}') && !text.contains('\u{0}'), "{format}");
    }
}

#[test]
fn markdown_fits_into_a_comment_and_counts_the_rest() {
    let mut report = full();
    let file = |i: usize| {
        Finding::File(DangerousFile {
            danger: FileDanger::WorldWritable,
            path: format!("/srv/a/rather/long/path/to/a/file/{i}"),
            detail: "mode 0666, owner 0:0".into(),
            package: None,
            severity: Severity::Medium,
        })
    };
    report.findings.extend((0..2_000).map(file));
    let text = markdown::render(&report);
    assert!(text.len() <= markdown::BYTES_MAX, "{}", text.len());
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains(" --- "));
    let shown = rows.count() - text.matches("<details>").count();
    let left_out: usize = text
        .rsplit_once("\n_")
        .and_then(|(_, tail)| tail.split(' ').next())
        .and_then(|n| n.parse().ok())
        .unwrap();
    // Upgrades, malware, secrets, licences, files, settings, what was set aside, what was not
    // examined.
    assert_eq!(shown + left_out, 2 + 2 + 1 + 2 + 2_001 + 1 + 3 + 2);
    assert!(text.contains("</details>\n\n_"), "the tables are closed");
}

#[test]
fn the_page_allows_its_own_style_and_script_alone() {
    let page = html::render(&full(), "0.1.0").unwrap();
    let between = |open: &str, close: &str| {
        page.split_once(open).and_then(|(_, rest)| rest.split_once(close)).unwrap().0
    };
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let text = between(&format!("<{tag}>"), &format!("</{tag}>"));
        let digest = Digest::of(text.as_bytes());
        let digest = base64::engine::general_purpose::STANDARD.encode(digest.as_bytes());
        assert!(page.contains(&format!("{directive} 'sha256-{digest}'")), "{tag}");
    }
    assert!(page.contains("default-src 'none'"));
    for elsewhere in ["src=", "url(", "@import", "<link", " style=\"", " on"] {
        let body = page.replace(html_script(), "");
        let found = body.match_indices(elsewhere).find(|(at, _)| {
            elsewhere != " on"
                || body[at + 3..].starts_with(|c: char| c.is_ascii_lowercase())
                    && body[*at..].split_once('=').is_some_and(|(name, _)| name.len() < 14)
        });
        assert!(found.is_none(), "{elsewhere} at {found:?}");
    }
}

fn html_script() -> &'static str {
    include_str!("../../templates/report.js")
}

#[test]
fn a_report_is_read_back_and_another_document_is_not() {
    let text = json::render(&full()).unwrap();
    assert_eq!(json::read(text.as_bytes()).unwrap(), full());
    for bad in ["", "[]", "{}", r#"{"schema":"palisade.dev/alert/v1"}"#] {
        assert!(json::read(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// What GitLab's schema 15.2.1 makes mandatory.
#[test]
fn gitlab_has_what_its_schema_demands() {
    let text = render(&full(), Format::Gitlab, &options()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    for name in ["analyzer", "scanner"] {
        let tool = &document["scan"][name];
        assert!(["id", "name", "version"].iter().all(|key| is_text(&tool[*key])), "{name}");
        assert!(is_text(&tool["vendor"]["name"]), "{name}");
    }
    for name in ["start_time", "end_time"] {
        let time = document["scan"][name].as_str().unwrap();
        assert_eq!((time.len(), time.ends_with('Z')), (19, false), "{time}");
    }
    assert_eq!(document["scan"]["type"], "container_scanning");
    assert_eq!(document["scan"]["status"], "success");
    let found = document["vulnerabilities"].as_array().unwrap();
    assert_eq!(found.len(), 6, "what was set aside is not among them");
    let mut ids = std::collections::BTreeSet::new();
    for v in found {
        assert!(ids.insert(v["id"].as_str().unwrap()), "each has an id of its own");
        assert!(v["name"].as_str().unwrap().chars().count() <= 255);
        assert!(is_text(&v["identifiers"][0]["type"]) && is_text(&v["identifiers"][0]["value"]));
        assert!(is_text(&v["location"]["dependency"]["package"]["name"]));
        assert!(is_text(&v["location"]["operating_system"]) && is_text(&v["location"]["image"]));
        let severity = v["severity"].as_str().unwrap();
        assert!(["Info", "Unknown", "Low", "Medium", "High", "Critical"].contains(&severity));
    }
    let mut blind = full();
    blind.database = None;
    let text = render(&blind, Format::Gitlab, &options()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["scan"]["status"], "failure", "nothing looked at is no success");
}

#[test]
fn every_form_says_whether_the_vulnerable_code_is_there() {
    use palisade_model::symbols::{FunctionSet, Program, SymbolAnswer, SymbolCheck};
    for (answer, word) in [
        (SymbolAnswer::Present, "code present"),
        (SymbolAnswer::Absent, "code absent"),
        (SymbolAnswer::Unknown, "code unknown"),
    ] {
        let mut report = full();
        for finding in &mut report.findings {
            if let Finding::Vulnerability(v) = finding {
                v.symbols = Some(SymbolCheck {
                    answer,
                    program: "/usr/bin/app".into(),
                    n_named: 2,
                    present: if answer == SymbolAnswer::Present {
                        vec!["net/http.Client.Do".into()]
                    } else {
                        vec![]
                    },
                    reason: (answer == SymbolAnswer::Unknown).then(|| "no table".into()),
                });
            }
        }
        report.inventory.programs = vec![Program {
            path: "/usr/bin/app".into(),
            kind: PackageKind::Go,
            os: None,
            architecture: None,
            functions: FunctionSet::new(vec![1, 2, 3]),
            has_folders: true,
            doubt: None,
        }];
        let long = match answer {
            SymbolAnswer::Present => "code present: net/http.Client.Do",
            SymbolAnswer::Absent => "code absent from the program",
            SymbolAnswer::Unknown => "code not looked for: no table",
        };
        let check = |format: Format, expected: &str| {
            let text = render(&report, format, &options()).unwrap();
            assert!(text.contains(expected), "{format} {answer:?}: {text}");
        };
        for format in [Format::Table, Format::Html, Format::Markdown] {
            check(format, word);
        }
        let cyclonedx = Format::Sbom(crate::sbom::Format::Cyclonedx17);
        for format in [Format::Sarif, Format::Gitlab, Format::Junit, Format::Html, cyclonedx] {
            check(format, long);
        }
        check(Format::Json, &format!("\"answer\": \"{}\"", answer.as_str()));
        let text = render(&report, Format::Json, &options()).unwrap();
        assert!(!text.contains("\"programs\""), "the hashes are no part of the document");
        let summary = table::summary(&report, 0);
        let counted = ["code present", "code absent", "code not looked for"];
        let is_counted = counted.iter().filter(|what| summary.contains(*what)).count();
        assert_eq!(is_counted, 1, "{summary}");
    }
}

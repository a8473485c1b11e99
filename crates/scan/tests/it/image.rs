//! Whole images: layers made here, a layout on disk, one scan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade_base::Timestamp;
use palisade_image::{Image, LayerSource, NewImage, OpenOptions, Platform, write_layout};
use palisade_model::finding::{FileDanger, ScanReport};
use palisade_model::{Finding, PackageKind, Severity, Target};
use palisade_policy::Checks;
use palisade_policy::Gate;
use palisade_scan::db::{Database, DatabaseBuilder};
use palisade_scan::feeds::debian_changelogs;
use palisade_scan::gate::{self, GateDecision};
use palisade_scan::ignore::Ignore;
use palisade_scan::{Look, ScanOptions, report, scan_target};

pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

/// A file of a layer.
pub(crate) struct File<'a> {
    path: &'a str,
    mode: u32,
    bytes: &'a [u8],
    /// `security.capability`, if any.
    capability: Option<&'a [u8]>,
}

pub(crate) const fn file<'a>(path: &'a str, mode: u32, bytes: &'a [u8]) -> File<'a> {
    File { path, mode, bytes, capability: None }
}

pub(crate) fn layer(folder: &Path, name: &str, files: &[File<'_>]) -> LayerSource {
    let path = folder.join(name);
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for file in files {
        if let Some(value) = file.capability {
            tar.append_pax_extensions([("SCHILY.xattr.security.capability", value)]).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_mode(file.mode);
        header.set_size(file.bytes.len() as u64);
        tar.append_data(&mut header, file.path, file.bytes).unwrap();
    }
    tar.finish().unwrap();
    LayerSource::Tar(path)
}

const STATUS: &[u8] = b"\
Package: libssl3
Status: install ok installed
Maintainer: Debian <d@example.org>
Architecture: amd64
Source: openssl
Version: 3.0.11-1~deb12u1

Package: mount
Status: install ok installed
Architecture: amd64
Source: util-linux
Version: 2.38.1-5

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
";

pub(crate) const OS_RELEASE: &[u8] =
    b"ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian 12\"\n";

const LOG: &str = "\
openssl (3.0.11-1~deb12u2) bookworm-security; urgency=high

  * Fix overflow (CVE-2026-10001)
  * Fix underflow (CVE-2026-10002)

 -- A <a@example.org>  Sun, 01 Nov 2026 14:29:32 +0000
";

/// The first text of a private key that the detectors take for one.
fn private_key() -> Vec<u8> {
    use base64::Engine as _;
    let label = ["PRIVATE", "KEY"].join(" ");
    // SEC1: a sequence of version 1 and the number.
    let body: Vec<u8> = [0x30, 53, 2, 1, 1, 4, 48]
        .into_iter()
        .chain((0..48_u8).map(|i| i.wrapping_mul(37) ^ 0x5a))
        .collect();
    let body = base64::engine::general_purpose::STANDARD.encode(body);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
}

fn write_image(folder: &Path) -> Target {
    let key = private_key();
    let ping = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let base = layer(
        folder,
        "base.tar",
        &[
            file("etc/os-release", 0o644, OS_RELEASE),
            file("var/lib/dpkg/status", 0o644, STATUS),
            file("var/lib/dpkg/info/mount.list", 0o644, b"/.\n/bin/mount\n/usr/lib/sample.pem\n"),
            file("bin/mount", 0o4755, b"\x7fELF\0"),
            file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\n"),
            file("srv/removed.pem", 0o600, &key),
            file("usr/lib/sample.pem", 0o644, &key),
            File {
                path: "usr/bin/ping",
                mode: 0o755,
                bytes: b"\x7fELF\0",
                capability: Some(&ping),
            },
        ],
    );
    let top = layer(
        folder,
        "top.tar",
        &[
            file("srv/.wh.removed.pem", 0o644, b""),
            file("srv/app/key.pem", 0o600, &key),
            file("srv/app/tests/key.pem", 0o600, &key),
            file("opt/backdoor", 0o4755, b"\x7fELF\0"),
            file("etc/passwd", 0o666, b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n"),
        ],
    );
    let dest = folder.join("layout");
    let image = NewImage {
        tag: Some("latest".into()),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        created: NOW,
        config: serde_json::json!({ "Env": ["PATH=/usr/bin", "DB_PASSWORD=hunter22"] }),
        history: vec![],
        layers: vec![base, top],
        annotations: BTreeMap::new(),
    };
    write_layout(&dest, &image).unwrap();
    format!("oci:{}:latest", dest.display()).parse().unwrap()
}

fn database(folder: &Path) -> PathBuf {
    let mut builder = DatabaseBuilder::new();
    let log = debian_changelogs::parse(LOG);
    debian_changelogs::add(&mut builder, "Debian:12", "openssl", &log).unwrap();
    builder.add_exploited("kev", "CVE-2026-10002");
    let path = folder.join("advisories.db");
    builder.write(&path, NOW).unwrap();
    path
}

fn scan(target: &Target, database: Option<&Database>, ignores: &[Ignore]) -> ScanReport {
    // The layout is for this platform whatever machine runs the test.
    let platform = "linux/amd64".parse().ok();
    let open = OpenOptions { platform, ..OpenOptions::default() };
    let options = ScanOptions {
        now: NOW,
        database,
        ignores,
        checks: &Checks::default(),
        secrets: true,
        look: Look::default(),
        minimality: None,
    };
    scan_target(target, &open, &options).unwrap()
}

#[test]
fn one_scan_finds_what_is_in_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let db = Database::open(&database(folder.path())).unwrap();
    let report = scan(&target, Some(&db), &[]);

    let packages: Vec<(PackageKind, &str)> =
        report.inventory.packages.iter().map(|p| (p.kind, p.name.as_str())).collect();
    assert_eq!(packages, [(PackageKind::Dpkg, "libssl3"), (PackageKind::Dpkg, "mount")]);
    assert_eq!(report.inventory.distribution.as_ref().unwrap().codename, "bookworm");
    assert_eq!(report.gaps(), []);

    let mut vulnerabilities = Vec::new();
    let mut secrets = Vec::new();
    let mut files = Vec::new();
    let mut checks = Vec::new();
    for finding in &report.findings {
        match finding {
            Finding::Vulnerability(v) => vulnerabilities.push((v.id.as_str(), v.known_exploited)),
            Finding::Secret(s) => secrets.push((s.path.as_str(), s.severity)),
            Finding::File(f) => files.push((f.danger, f.path.as_str(), f.package.as_deref())),
            Finding::Configuration(c) => checks.push(c.check.as_str()),
            _ => {}
        }
    }
    assert_eq!(vulnerabilities, [("CVE-2026-10002", true), ("CVE-2026-10001", false)]);
    // The removed key is not in the squashed view, the packaged one is public.
    assert_eq!(
        secrets,
        [("/srv/app/key.pem", Severity::Critical), ("/srv/app/tests/key.pem", Severity::Low)]
    );
    assert_eq!(report.coverage.n_secrets_packaged, 1);
    files.sort();
    assert_eq!(
        files,
        [
            (FileDanger::Setuid, "/bin/mount", Some("mount")),
            (FileDanger::Setuid, "/opt/backdoor", None),
            (FileDanger::Capabilities, "/usr/bin/ping", None),
            (FileDanger::WorldWritable, "/etc/passwd", None),
            (FileDanger::DuplicateRoot, "/etc/passwd", None),
        ]
    );
    checks.sort_unstable();
    assert_eq!(
        checks,
        ["image-runs-as-root", "mutable-tag", "no-healthcheck", "secret-in-environment"]
    );
    assert!(matches!(&report.findings[0], Finding::Vulnerability(v) if v.known_exploited));
    let text = report::table::render(&report, report::table::TableOptions::default());
    assert!(text.contains("openssl  3.0.11-1~deb12u1 → 3.0.11-1~deb12u2"), "{text}");
    assert!(
        !text.contains("hunter22") && !report::json::render(&report).unwrap().contains("hunter22")
    );

    let gate = Gate { known_exploited: true, secrets: true, ..Gate::default() };
    let GateDecision::Refuse { reasons } = gate::evaluate(&report, &gate, NOW) else { panic!() };
    assert_eq!(
        reasons,
        ["1 vulnerability known to be exploited: CVE-2026-10002", "1 secret in the image"]
    );
}

#[test]
fn the_same_image_gives_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let db = Database::open(&database(folder.path())).unwrap();
    let render = || report::json::render(&scan(&target, Some(&db), &[])).unwrap();
    assert_eq!(render(), render());
}

#[test]
fn without_a_database_vulnerabilities_are_not_called_absent() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let report = scan(&target, None, &[]);
    assert!(report.database.is_none());
    let gate = Gate { known_exploited: true, ..Gate::default() };
    let decision = gate::evaluate(&report, &gate, NOW);
    assert!(matches!(decision, GateDecision::NotEvaluated { .. }), "{decision:?}");
}

#[test]
fn ignore_entries_hide_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let db = Database::open(&database(folder.path())).unwrap();
    let text = "ignore:\n\
        - {id: CVE-2026-10002, package: openssl, reason: unreachable, expires: 2099-01-01}\n\
        - {id: CVE-2026-10001, reason: was fine, expires: 2020-01-01}\n\
        - {id: setuid, package: /opt/backdoor, reason: ours, expires: 2099-01-01}\n";
    let ignores = palisade_scan::ignore::parse(text, "ignore.yaml").unwrap();
    let report = scan(&target, Some(&db), &ignores);
    assert_eq!(report.n_ignored, 2);
    assert_eq!(report.coverage.n_ignores_expired, 1);
    let shown = format!("{:?}", report.findings);
    assert!(!shown.contains("CVE-2026-10002") && shown.contains("CVE-2026-10001"));
    assert!(!shown.contains("/opt/backdoor"));
    let reasons: Vec<&str> = report.suppressed.iter().map(|s| s.reason.as_str()).collect();
    assert_eq!(reasons, ["unreachable", "ours"]);
}

#[test]
fn inventory_alone_is_the_same_inventory() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let platform = "linux/amd64".parse().ok();
    let open = OpenOptions { platform, ..OpenOptions::default() };
    let image = Image::open(&target, &open).unwrap();
    let inventory = palisade_scan::inventory_of(&image).unwrap();
    assert_eq!(inventory, scan(&target, None, &[]).inventory);
    let names: Vec<&str> = debian_changelogs::representatives(&inventory)
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(names, ["libssl3", "mount"]);
}

#[test]
fn a_lying_layer_and_a_missing_image_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let blobs = folder.path().join("layout/blobs/sha256");
    for blob in std::fs::read_dir(blobs).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    }
    let options = ScanOptions {
        now: NOW,
        database: None,
        ignores: &[],
        checks: &Checks::default(),
        secrets: true,
        look: Look::default(),
        minimality: None,
    };
    let platform = "linux/amd64".parse().ok();
    let open = OpenOptions { platform, ..OpenOptions::default() };
    let error = scan_target(&target, &open, &options).unwrap_err();
    assert!(error.to_string().starts_with("read `oci:"), "{error}");
    let gone = "oci:/no/such/layout".parse().unwrap();
    let error = scan_target(&gone, &open, &options).unwrap_err();
    assert_eq!(error.to_string(), "open `oci:/no/such/layout`");
    assert!(palisade_base::Explain::hint(&error).is_some());
}

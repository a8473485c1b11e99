//! Files as distributions write them, through the collector.

use palisade_model::Inventory;
use palisade_model::package::Subject;
use palisade_packages::Collector;

fn inventory(files: &[(&str, &str)]) -> Inventory {
    let mut collector = Collector::new();
    for (path, content) in files {
        assert!(collector.wants(path).is_some(), "{path}");
        collector.add(path, content.as_bytes(), None);
    }
    let subject = Subject { name: "test".into(), digest: None, platform: None };
    collector.finish(subject, files.len() as u64, Vec::new()).inventory
}

#[track_caller]
fn check(files: &[(&str, &str)], expected_purls: &[&str], expected_gaps: &[&str]) -> Inventory {
    let found = inventory(files);
    let purls: Vec<&str> = found.packages.iter().map(|one| one.purl.as_str()).collect();
    assert_eq!(purls, expected_purls);
    let gaps: Vec<String> =
        found.gaps.iter().map(|gap| format!("{}: {}", gap.path, gap.reason)).collect();
    assert_eq!(gaps, expected_gaps);
    found
}

const BOOKWORM: (&str, &str) =
    ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");

#[test]
fn debian() {
    let status = "\
Package: libssl3
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: openssl
Version: 3.0.11-1~deb12u2
Maintainer: Debian OpenSSL Team <x@example.org>
Description: text
 more: text

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install ok half-configured
Architecture: all
Version: 1:2.0-1+b3

Package: broken
Status: install ok installed
";
    let found = check(
        &[
            BOOKWORM,
            ("usr/lib/os-release", "ID=other\n"),
            ("var/lib/dpkg/status", status),
            ("var/lib/dpkg/info/libssl3:amd64.list", "/.\n/usr\n/usr/lib/libssl.so.3\n"),
            ("var/lib/dpkg/info/half.list", "/.\n/usr/bin/half\n"),
        ],
        &[
            "pkg:deb/debian/half@1:2.0-1%2Bb3?arch=all&distro=debian-12&upstream=half%401:2.0-1",
            "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl",
        ],
        &["/var/lib/dpkg/status: 1 entries or lines cannot be read as dpkg's"],
    );
    assert_eq!(found.distribution.unwrap().codename, "bookworm");
    assert_eq!(found.packages[1].files, ["/usr", "/usr/lib/libssl.so.3"]);
    assert_eq!(found.packages[0].files, ["/usr/bin/half"]);
    let source = found.packages[0].source.as_ref().unwrap();
    assert_eq!((source.name.as_str(), source.version.as_str()), ("half", "1:2.0-1"));
}

#[test]
fn distroless() {
    let found = check(
        &[
            BOOKWORM,
            (
                "var/lib/dpkg/status.d/base",
                "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
            ),
            ("var/lib/dpkg/status.d/base-files.md5sums", "0123  usr/share/base\n"),
        ],
        &["pkg:deb/debian/base-files@12.4?arch=amd64&distro=debian-12"],
        &[],
    );
    assert_eq!(found.packages[0].files, ["/usr/share/base"]);
    assert_eq!(found.packages[0].evidence, "/var/lib/dpkg/status.d/base");
}

#[test]
fn alpine() {
    let installed = "\
C:Q1abc=
P:libssl3
V:3.3.2-r0
A:x86_64
o:openssl
L:Apache-2.0
F:lib
R:libssl.so.3
F:
R:root-file

P:musl
V:1.2.5-r0
A:x86_64
o:musl

P:broken
";
    let found = check(
        &[
            ("etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n"),
            ("lib/apk/db/installed", installed),
        ],
        &[
            "pkg:apk/alpine/libssl3@3.3.2-r0?arch=x86_64&distro=alpine-3.20.3&upstream=openssl",
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3",
        ],
        &["/lib/apk/db/installed: 1 entries or lines cannot be read as apk's"],
    );
    assert_eq!(found.packages[0].files, ["/lib/libssl.so.3", "/root-file"]);
    assert_eq!(found.packages[0].licences, ["Apache-2.0"]);
}

#[test]
fn languages() {
    check(
        &[
            (
                "usr/lib/python3/dist-packages/Foo_Bar-1.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\n\nName: not this\n",
            ),
            (
                "srv/node_modules/@a/b/package.json",
                r#"{"name":"@a/b","version":"2.0.0","license":"MIT"}"#,
            ),
            ("srv/node_modules/bad/package.json", "{"),
        ],
        &["pkg:pypi/foo-bar@1.0", "pkg:npm/%40a/b@2.0.0"],
        &[
            "/srv/node_modules/bad/package.json: not the JSON it should be: EOF while parsing an object at line 1 column 1",
        ],
    );
    let collector = Collector::new();
    for path in ["node_modules/a/lib/package.json", "srv/a.package.json", "etc/passwd"] {
        assert_eq!(collector.wants(path), None, "{path}");
    }
}

#[test]
fn programs_of_node_that_were_unpacked_whole() {
    check(
        &[
            ("opt/ghost/package.json", r#"{"name":"ghost","version":"5.2.0","private":false}"#),
            // Its name may be somebody else's in the registry.
            ("srv/package.json", r#"{"name":"express","version":"1.0.0","private":true}"#),
            ("srv/ui/package.json", r#"{"type":"module"}"#),
            ("opt/templates/package.json", r#"{"name": {{name}} }"#),
        ],
        &["pkg:npm/ghost@5.2.0"],
        &[],
    );
}

#[test]
fn parts_of_distribution_packages_are_not_counted_twice() {
    let mut collector = Collector::new();
    let metadata = "Name: PyYAML\nVersion: 6.0\n";
    let status = "Package: python3-yaml\nStatus: install ok installed\nVersion: 6.0-3+b2\n";
    let owned = "usr/lib/python3/dist-packages/PyYAML-6.0.egg-info/PKG-INFO";
    let list = format!("/.\n/{owned}\n");
    collector.add("var/lib/dpkg/status", status.as_bytes(), None);
    collector.add("var/lib/dpkg/info/python3-yaml.list", list.as_bytes(), None);
    collector.add(owned, metadata.as_bytes(), None);
    collector.add("srv/venv/PyYAML-6.0.dist-info/METADATA", metadata.as_bytes(), None);
    let subject = Subject { name: "test".into(), digest: None, platform: None };
    let found = collector.finish(subject, 4, Vec::new());
    let names: Vec<&str> = found.inventory.packages.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["python3-yaml", "PyYAML"]);
    let parts = found.inventory.parts;
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].evidence, format!("/{owned}"));
    assert_eq!(parts[0].owner.as_deref(), Some(found.inventory.packages[0].purl.as_str()));
}

#[test]
fn the_machines_own_database_agrees_with_dpkg_query() {
    let Ok(status) = std::fs::read("/var/lib/dpkg/status") else {
        eprintln!("skipped: this machine has no dpkg");
        return;
    };
    let output = std::process::Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n"])
        .output()
        .unwrap();
    let mut expected: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(state, _)| !matches!(*state, "not-installed" | "config-files"))
        .map(|(_, rest)| rest.to_string())
        .collect();
    let mut collector = Collector::new();
    collector.add("var/lib/dpkg/status", &status, None);
    let subject = Subject { name: "host".into(), digest: None, platform: None };
    let inventory = collector.finish(subject, 1, Vec::new()).inventory;
    let mut found: Vec<String> = inventory
        .packages
        .iter()
        .map(|one| {
            let source = one.source.as_ref().unwrap();
            let architecture = one.architecture.as_deref().unwrap();
            format!(
                "{} {} {architecture} {} {}",
                one.name, one.version, source.name, source.version
            )
        })
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(inventory.gaps, []);
    assert!(found.len() > 50);
    assert_eq!(found, expected);
}

/// Licences of packages that state none are those of the texts beside their metadata.
#[test]
fn licences_by_their_texts() {
    let text = |name: &str| {
        let found = spdx::text::LICENSE_TEXTS.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| *text).unwrap()
    };
    let changed = format!(
        "{}\nExcept that it may be used on working days and by nobody else.\n",
        text("MIT")
    );
    let found = inventory(&[
        ("app/node_modules/a/LICENSE", text("MIT")),
        ("app/node_modules/a/package.json", r#"{"name":"a","version":"1"}"#),
        (
            "app/node_modules/b/package.json",
            r#"{"name":"b","version":"1","license":"SEE LICENSE IN COPYING"}"#,
        ),
        ("app/node_modules/b/COPYING", text("GPL-3.0-only")),
        ("app/node_modules/c/package.json", r#"{"name":"c","version":"1","license":"ISC"}"#),
        ("app/node_modules/c/LICENSE", text("MIT")),
        ("app/node_modules/d/package.json", r#"{"name":"d","version":"1"}"#),
        ("app/node_modules/d/LICENSE", &changed),
        ("l/e-1.dist-info/METADATA", "Name: e\nVersion: 1\nLicense: UNKNOWN\n"),
        ("l/e-1.dist-info/licenses/LICENSE-MIT", text("MIT")),
        ("l/e-1.dist-info/licenses/LICENSE-APACHE", text("Apache-2.0")),
    ]);
    let told: Vec<(&str, String, Option<&str>)> = found
        .packages
        .iter()
        .map(|one| {
            let path = one.licences_recognised_in.as_deref();
            (one.name.as_str(), one.licences.join(" "), path)
        })
        .collect();
    let expected = [
        ("e", "Apache-2.0 MIT", Some("/l/e-1.dist-info/licenses/LICENSE-APACHE")),
        ("a", "MIT", Some("/app/node_modules/a/LICENSE")),
        ("b", "GPL-3.0-only", Some("/app/node_modules/b/COPYING")),
        // What the package states counts.
        ("c", "ISC", None),
        // A clause more is another licence.
        ("d", "", None),
    ];
    assert_eq!(told, expected.map(|(name, licences, path)| (name, licences.to_string(), path)));
    assert!(found.gaps.is_empty());
}

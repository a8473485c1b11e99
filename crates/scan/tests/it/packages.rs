//! Packages of an image with two layers: found through the walk, attributed, counted once.

use std::collections::BTreeMap;

use palisade_base::Digest;
use palisade_image::{Image, NewImage, OpenOptions, Platform, write_layout};
use palisade_model::package::PackageState;
use palisade_model::{Inventory, Target};
use palisade_scan::{Look, ScanOptions, inventory_of, scan_target};

use crate::image::{NOW, OS_RELEASE, file, layer};

const BASE_STATUS: &str =
    "Package: base\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
const MORE_STATUS: &str =
    "Package: python3-yaml\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.0-3\n\n";

/// A program with a record of Go, at a place that no path gives away.
fn go_program() -> Vec<u8> {
    let mut out = b"\x7fELF and what a program needs".to_vec();
    let text = |text: &[u8]| {
        let mut out = vec![0x80 | (text.len() & 0x7f) as u8, (text.len() >> 7) as u8];
        out.extend(text);
        out
    };
    let modules = b"dep\texample.com/kit\tv1.2.3\th1:x\n";
    out.extend(b"\xff Go buildinf:\x08\x02");
    out.extend([0; 16]);
    out.extend(text(b"go1.21.5"));
    out.extend(text(&[&[0; 16][..], modules, &[0; 16]].concat()));
    out
}

/// An image whose second layer installs one package more, and an application.
fn write_image(folder: &std::path::Path) -> Target {
    let egg = "usr/lib/python3/dist-packages/PyYAML-6.0.egg-info/PKG-INFO";
    let both = [BASE_STATUS, MORE_STATUS].concat();
    let list = format!("/.\n/usr\n/{egg}\n");
    let lock = br#"{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1.0.0"},
        "node_modules/b":{"version":"2.0.0"},"node_modules/d":{"version":"1.0.0","dev":true}}}"#;
    let program = go_program();
    let layers = vec![
        layer(
            folder,
            "base.tar",
            &[
                file("etc/os-release", 0o644, OS_RELEASE),
                file("var/lib/dpkg/status", 0o644, BASE_STATUS.as_bytes()),
                file("var/lib/dpkg/info/base.list", 0o644, b"/.\n/usr\n/usr/bin/base\n"),
                file("bin/base", 0o755, b"#!/bin/sh\n"),
            ],
        ),
        layer(
            folder,
            "application.tar",
            &[
                file("var/lib/dpkg/status", 0o644, both.as_bytes()),
                file("var/lib/dpkg/info/python3-yaml.list", 0o644, list.as_bytes()),
                file(egg, 0o644, b"Name: PyYAML\nVersion: 6.0\n"),
                file("srv/package-lock.json", 0o644, lock),
                file(
                    "srv/node_modules/a/package.json",
                    0o644,
                    br#"{"name":"a","version":"1.0.0"}"#,
                ),
                file("srv/shop", 0o755, &program),
                file("srv/not-a-program", 0o644, &program),
            ],
        ),
    ];
    let image = NewImage {
        tag: Some("demo".into()),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        created: NOW,
        config: serde_json::json!({}),
        history: vec![],
        layers,
        annotations: BTreeMap::new(),
    };
    let layout = folder.join("layout");
    write_layout(&layout, &image).unwrap();
    format!("oci:{}:demo", layout.display()).parse().unwrap()
}

fn summary(inventory: &Inventory) -> Vec<(&str, &str, Option<Digest>)> {
    let packages = inventory.packages.iter();
    packages.map(|one| (one.name.as_str(), one.version.as_str(), one.layer)).collect()
}

#[test]
fn found_attributed_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let target = write_image(folder.path());
    let open = OpenOptions { platform: "linux/amd64".parse().ok(), ..OpenOptions::default() };
    let image = Image::open(&target, &open).unwrap();
    let [base, top] = [0, 1].map(|at: usize| Some(image.layers[at].diff_id));
    let alone = inventory_of(&image).unwrap();
    assert_eq!(
        summary(&alone),
        [
            // The database is the second layer's; the package came with the first.
            ("base", "1", base),
            ("python3-yaml", "6.0-3", top),
            ("a", "1.0.0", top),
            ("b", "2.0.0", top),
            ("example.com/kit", "v1.2.3", top),
            ("stdlib", "1.21.5", top),
        ]
    );
    assert_eq!(alone.packages[2].state, PackageState::Installed);
    assert_eq!(alone.packages[3].state, PackageState::Declared);
    assert_eq!(alone.packages[4].evidence, "/srv/shop");
    assert_eq!(alone.parts.len(), 1);
    assert_eq!(alone.parts[0].owner.as_deref(), Some(alone.packages[1].purl.as_str()));
    assert_eq!(alone.gaps, []);

    for secrets in [false, true] {
        let options = ScanOptions {
            now: NOW,
            database: None,
            ignores: &[],
            checks: &palisade_policy::Checks::default(),
            secrets,
            look: Look::default(),
            minimality: None,
        };
        let report = scan_target(&target, &open, &options).unwrap();
        assert_eq!(report.inventory, alone, "with secrets: {secrets}");
        assert_eq!(report.coverage.n_packages_folded, 1);
        assert_eq!(report.coverage.n_packages_development, 1);
        assert_eq!(report.coverage.n_packages_declared, 1);
    }
}

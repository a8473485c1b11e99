//! Package databases: files of every cataloger together give a sorted inventory without
//! duplicates, whose package URLs can be read and whose bills of materials can be written.
#![no_main]

use std::str::FromStr as _;

use libfuzzer_sys::fuzz_target;
use packageurl::PackageUrl;
use palisade_fuzz::{Input, NOW};
use palisade_model::package::Subject;
use palisade_packages::Collector;
use palisade_scan::sbom::{DocumentInfo, cyclonedx, spdx};

const PATHS: [&str; 11] = [
    "etc/os-release",
    "usr/lib/os-release",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/base",
    "var/lib/dpkg/status.d/base.md5sums",
    "var/lib/dpkg/info/base.list",
    "lib/apk/db/installed",
    "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
    "usr/lib/python3/dist-packages/b.egg-info",
    "usr/lib/node_modules/c/package.json",
    "usr/share/nodejs/@d/e/package.json",
];
/// Stands between the files of an input.
const SEPARATOR: &[u8] = b"\0\n";
const FILES_MAX: usize = 8;

fn split(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = data.windows(SEPARATOR.len()).position(|w| w == SEPARATOR) {
        parts.push(&data[..at]);
        data = &data[at + SEPARATOR.len()..];
    }
    parts.push(data);
    parts.truncate(FILES_MAX);
    parts
}

fuzz_target!(|data: &[u8]| {
    let mut collector = Collector::new();
    for part in split(data) {
        let mut input = Input(part);
        // The path's letter counts from `a`, so that seeds are readable.
        let path = PATHS[usize::from(input.byte().wrapping_sub(b'a')) % PATHS.len()];
        assert!(collector.wants(path), "{path}");
        collector.add(path, input.0, None);
    }
    let subject = Subject { name: "dir:x".into(), digest: None, platform: None };
    let collected = collector.finish(subject, 1, Vec::new());
    let key = |p: &palisade_model::Package| {
        (p.kind, p.name.clone(), p.version.clone(), p.architecture.clone(), p.evidence.clone())
    };
    let packages = &collected.inventory.packages;
    assert!(packages.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
    for package in packages.iter().chain(&collected.owned_by_distribution) {
        assert!(!package.name.is_empty(), "{package:?}");
        if !package.purl.is_empty() {
            PackageUrl::from_str(&package.purl)
                .unwrap_or_else(|error| panic!("{error}: {} of {package:?}", package.purl));
        }
        let _ = palisade_scan::ecosystem::of_package(
            package,
            collected.inventory.distribution.as_ref(),
        );
    }
    let info = DocumentInfo::derived(b"seed", NOW, "0");
    for text in
        [cyclonedx::render(&collected.inventory, &info), spdx::render(&collected.inventory, &info)]
    {
        let text = text.expect("an inventory is JSON");
        serde_json::from_str::<serde_json::Value>(&text).expect("a bill of materials is JSON");
    }
});

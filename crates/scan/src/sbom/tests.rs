//! Goldens; that they are valid is checked against the published schemas by the
//! conformance run.

use super::*;
use crate::report::tests::{clean, full, golden};

fn info() -> DocumentInfo {
    DocumentInfo::derived(b"seed", Timestamp::from_nanos(1_795_326_835_123_456_789), "0.1.0")
}

#[test]
fn documents_are_as_reviewed() {
    let mut twice = clean().inventory;
    twice.packages.push(twice.packages[0].clone());
    twice.packages[2].licences = vec!["MIT".into(), "GPL".into()];
    golden("clean.cdx.json", &cyclonedx::render(&twice, &info()).unwrap());
    golden("full.cdx.json", &cyclonedx::render(&full().inventory, &info()).unwrap());
    golden("clean.spdx.json", &spdx::render(&twice, &info()).unwrap());
    golden("full.spdx.json", &spdx::render(&full().inventory, &info()).unwrap());
}

#[test]
fn parts_are_within_their_owners() {
    use palisade_model::package::PackageState;
    use palisade_model::{Package, PackageKind};
    let mut inventory = clean().inventory;
    let owner = inventory.packages[1].purl.clone();
    let mut part = Package::new(PackageKind::Python, "PyYAML", "6.0", "/usr/lib/python3/y");
    part.purl = "pkg:pypi/pyyaml@6.0".into();
    part.owner = Some(owner.clone());
    inventory.parts = vec![part];
    let mut jar = Package::new(PackageKind::Maven, "org.a:b", "1.0", "/srv/gradle.lockfile");
    jar.purl = "pkg:maven/org.a/b@1.0".into();
    jar.state = PackageState::Declared;
    inventory.packages.push(jar);
    let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let bom = read(cyclonedx::render(&inventory, &info()).unwrap());
    let whole = bom["components"].as_array().unwrap().iter().find(|one| one["purl"] == owner);
    assert_eq!(whole.unwrap()["components"][0]["purl"], "pkg:pypi/pyyaml@6.0");
    let jar = bom["components"].as_array().unwrap().last().unwrap();
    assert_eq!((&jar["group"], &jar["name"]), (&"org.a".into(), &"b".into()));
    assert_eq!(jar["properties"][0]["value"], "declared");
    let document = read(spdx::render(&inventory, &info()).unwrap());
    let relations = document["relationships"].as_array().unwrap();
    let last = relations.last().unwrap();
    assert_eq!(last["spdxElementId"], "SPDXRef-Package-2");
    assert_eq!(last["relatedSpdxElement"], "SPDXRef-Package-4");
    let packages = document["packages"].as_array().unwrap();
    let jar = packages.iter().find(|one| one["name"] == "org.a:b").unwrap();
    assert_eq!(jar["sourceInfo"], "named by /srv/gradle.lockfile, not found installed");
}

#[test]
fn the_uuid_is_one() {
    let info = info();
    let parts: Vec<usize> = info.uuid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(&info.uuid[14..15], "8");
    assert!("89ab".contains(&info.uuid[19..20]));
    assert_eq!(info.seconds(), "2026-11-22T05:53:55Z");
}

#[test]
fn an_empty_inventory_is_a_document() {
    let mut inventory = clean().inventory;
    inventory.packages.clear();
    inventory.distribution = None;
    assert!(cyclonedx::render(&inventory, &info()).unwrap().contains("\"components\": []"));
    assert!(spdx::render(&inventory, &info()).is_ok());
}

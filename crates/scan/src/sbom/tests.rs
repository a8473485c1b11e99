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

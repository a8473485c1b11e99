//! The bounds of the collector, each reached.

use std::fmt::Write as _;

use palisade_packages::{Collector, GAPS_MAX, NAME_BYTES_MAX};

use crate::subject;

#[test]
fn endless_names_are_gaps() {
    let name = "a".repeat(NAME_BYTES_MAX + 1);
    let mut collector = Collector::new();
    let text = format!("{name}==1\nok==1\nlong=={}\n", "1".repeat(NAME_BYTES_MAX + 1));
    collector.add("s/requirements.txt", text.as_bytes(), None);
    let found = collector.finish(subject(), 1, Vec::new()).inventory;
    assert_eq!(found.packages.len(), 1);
    assert_eq!(found.gaps.len(), 2);
}

#[test]
fn control_characters_do_not_reach_reports() {
    let mut collector = Collector::new();
    let json = br#"{"name":" a\u001b[31m\n","version":"1\u0000"}"#;
    collector.add("s/node_modules/a/package.json", json, None);
    let found = collector.finish(subject(), 1, Vec::new()).inventory;
    assert_eq!(
        (found.packages[0].name.as_str(), found.packages[0].version.as_str()),
        ("a[31m", "1")
    );
}

#[test]
fn gaps_are_counted_beyond_the_bound() {
    let mut text = "packages:\n".to_string();
    for n in 0..GAPS_MAX + 5 {
        writeln!(text, "  nonsense{n}: {{}}").unwrap();
    }
    let mut collector = Collector::new();
    collector.add("s/pnpm-lock.yaml", text.as_bytes(), None);
    let gaps = collector.finish(subject(), 1, Vec::new()).inventory.gaps;
    assert_eq!(gaps.len(), GAPS_MAX + 1);
    assert_eq!(gaps.last().unwrap().reason, "5 more packages or gaps than are kept");
}

#[test]
fn values_are_bounded_before_they_are_read() {
    let values = "[],".repeat(palisade_packages::VALUES_MAX / 2 + 1);
    for (path, text) in [
        ("s/uv.lock", format!("x = [{values}]")),
        ("s/package-lock.json", format!("{{\"x\":[{values}1]}}")),
        ("s/bun.lock", format!("{{\"x\":[{values}1]}}")),
        ("s/vendor/composer/installed.json", format!("{{\"x\":[{values}1]}}")),
    ] {
        let mut collector = Collector::new();
        collector.add(path, text.as_bytes(), None);
        let gaps = collector.finish(subject(), 1, Vec::new()).inventory.gaps;
        assert_eq!(gaps.len(), 1, "{path}");
        assert!(gaps[0].reason.starts_with("more than"), "{path}: {gaps:?}");
    }
}

#[test]
fn nesting_is_bounded_in_every_format() {
    let deep = 100_000;
    for (path, open, close) in [
        ("s/package-lock.json", r#"{"dependencies":{"a":"#, "}}"),
        ("s/package-lock.json", "[", "]"),
        ("s/node_modules/a/package.json", r#"{"author":"#, "}"),
        ("s/uv.lock", "a = [", "]"),
        ("s/uv.lock", "a = {b = ", "}"),
        ("s/pnpm-lock.yaml", "[", "]"),
        ("s/pnpm-lock.yaml", "{a: ", "}"),
        ("s/environment.yml", "[", "]"),
    ] {
        let mut collector = Collector::new();
        let text = format!("{}{}", open.repeat(deep), close.repeat(deep));
        collector.add(path, text.as_bytes(), None);
        let found = collector.finish(subject(), 1, Vec::new()).inventory;
        assert_eq!(found.gaps.len(), 1, "{path} {open}");
    }
}

//! OVAL definitions (oval.mitre.org, version 5), as SUSE publishes them for each release.
//!
//! A definition is a tree of AND and OR over tests; a test compares an installed package with a
//! build. What is read of it: the releases that the tree names, and every package that is to be
//! older than a build. A definition whose package may have any version is open.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::Severity;

use super::csaf::suse_release;
use super::errata::Fixes;
use super::xml::{self, Attributes, Node};
use super::{ImportFeedError, cve_ids, malformed, one_line, rating};
use crate::db::{Advisory, DatabaseBuilder};

/// Name of SUSE's feed in findings.
pub const FEED: &str = "suse-oval";
const EXPECTED: &str = "OVAL definitions";
/// Definitions, tests, objects and states beyond this number together are refused.
pub const ITEMS_MAX: usize = 20_000_000;

/// A definition: its tests by number, so that a file of millions of them stays small.
#[derive(Default)]
struct Definition {
    ids: Vec<String>,
    title: String,
    severity: Severity,
    platforms: Vec<String>,
    tests: Vec<String>,
}

#[derive(Default)]
struct Oval {
    definitions: Vec<Definition>,
    /// Test to object and state.
    tests: HashMap<String, (String, String)>,
    /// Object to the package's name.
    objects: HashMap<String, String>,
    /// State to the build below which a package is affected.
    states: HashMap<String, String>,
    time: Option<Timestamp>,
    n_items: usize,
}

/// Imports the definitions at `path`, plain or gzip'ed.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    builder.feed(FEED);
    let before = builder.n_records();
    let oval = read(path)?;
    if let Some(time) = oval.time {
        builder.note_time(FEED, time);
    }
    for definition in &oval.definitions {
        add(builder, &oval, definition)?;
    }
    if builder.n_records() == before {
        return Err(ImportFeedError::Empty(path.to_path_buf()));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Oval, ImportFeedError> {
    let mut oval = Oval::default();
    let (mut text, mut current) = (String::new(), Definition::default());
    let (mut test, mut holder) = (String::new(), String::new());
    let (mut is_less, mut is_oval) = (false, false);
    xml::each(path, EXPECTED, &mut |node| {
        match node {
            Node::Open(name, attributes) => {
                text.clear();
                let is_item = matches!(name, "definition" | "criterion")
                    || name.ends_with("_test")
                    || name.ends_with("_object")
                    || name.ends_with("_state");
                oval.n_items += usize::from(is_item);
                if oval.n_items > ITEMS_MAX {
                    let (path, limit) = (path.to_path_buf(), ITEMS_MAX as u64);
                    return Err(ImportFeedError::TooMany { path, what: "tests", limit });
                }
                match name {
                    "oval_definitions" => is_oval = true,
                    "definition" => current = Definition::default(),
                    "rpminfo_test" | "dpkginfo_test" => test = attributes.get("id").into(),
                    "object" => pair(&mut oval, &test).0 = attributes.get("object_ref").into(),
                    "state" => pair(&mut oval, &test).1 = attributes.get("state_ref").into(),
                    "rpminfo_object" | "dpkginfo_object" | "rpminfo_state" | "dpkginfo_state" => {
                        holder = attributes.get("id").into();
                    }
                    "evr" => is_less = attributes.get("operation") == "less than",
                    _ => open(&mut current, name, attributes),
                }
            }
            Node::Text(more) if text.len() < xml::EVENT_BYTES_MAX => text.push_str(more),
            Node::Text(_) => {}
            Node::Close(name) => match name {
                "title" if current.title.is_empty() => {
                    current.title = one_line(&text);
                    let found = cve_ids(&text).into_iter().map(|range| text[range].to_uppercase());
                    current.ids.extend(found);
                }
                "severity" => {
                    let rated = rating::word(&text).unwrap_or_default();
                    current.severity = current.severity.max(rated);
                }
                "definition" => oval.definitions.push(std::mem::take(&mut current)),
                "timestamp" => {
                    let text = text.trim();
                    oval.time = text.parse().or_else(|_| format!("{text}Z").parse()).ok();
                }
                "name" if !holder.is_empty() => {
                    oval.objects.insert(holder.clone(), text.trim().to_string());
                }
                "evr" if is_less => {
                    let build = text.trim();
                    let build = build.strip_prefix("0:").unwrap_or(build);
                    oval.states.insert(holder.clone(), build.to_string());
                }
                "rpminfo_object" | "dpkginfo_object" | "rpminfo_state" | "dpkginfo_state" => {
                    holder.clear();
                }
                _ => {}
            },
        }
        Ok(())
    })?;
    if is_oval {
        Ok(oval)
    } else {
        Err(malformed(path, EXPECTED, std::io::Error::other("no `oval_definitions`")))
    }
}

fn pair<'a>(oval: &'a mut Oval, test: &str) -> &'a mut (String, String) {
    oval.tests.entry(test.to_string()).or_default()
}

fn open(current: &mut Definition, name: &str, attributes: &Attributes) {
    match name {
        "reference" => {
            let id = attributes.get("ref_id");
            current.ids.extend(cve_ids(id).into_iter().map(|range| id[range].to_uppercase()));
        }
        "criterion" => {
            let comment = attributes.get("comment");
            let product = comment.strip_suffix(" is installed").and_then(suse_release);
            match product {
                Some(release) => current.platforms.push(release),
                None => current.tests.push(attributes.get("test_ref").into()),
            }
        }
        _ => {}
    }
}

fn add(
    builder: &mut DatabaseBuilder,
    oval: &Oval,
    definition: &Definition,
) -> Result<(), ImportFeedError> {
    let Some(id) = definition.ids.first() else {
        builder.feed(FEED).skip("definition that names no vulnerability");
        return Ok(());
    };
    let platforms: HashSet<&String> = definition.platforms.iter().collect();
    if platforms.is_empty() {
        builder.feed(FEED).skip("definition of a release that is not covered");
    }
    let mut fixes = Fixes::default();
    for test in &definition.tests {
        let known = oval.tests.get(test);
        let package = known.and_then(|(object, _)| oval.objects.get(object));
        let build = known.and_then(|(_, state)| oval.states.get(state));
        let (Some(package), Some(build)) = (package, build) else {
            builder.feed(FEED).skip("test that is no comparison with a build");
            continue;
        };
        for platform in &platforms {
            fixes.add(platform, package, None, build.clone());
        }
    }
    let mut others: Vec<String> =
        definition.ids.iter().filter(|other| *other != id).cloned().collect();
    others.sort();
    others.dedup();
    // A notice about several vulnerabilities is several findings.
    let fixed = if others.is_empty() { Vec::new() } else { [vec![id.clone()], others].concat() };
    let base = Advisory {
        id: if fixed.is_empty() { id.clone() } else { definition.title.clone() },
        fixes: fixed,
        title: definition.title.clone(),
        severity: definition.severity,
        feed: FEED.to_string(),
        ..Advisory::default()
    };
    fixes.write(builder, &base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::RangeEnd;

    const TEXT: &str = r#"<oval_definitions xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5">
 <generator><oval:timestamp xmlns:oval="o">2026-11-20T01:02:03</oval:timestamp></generator><definitions>
 <definition id="oval:org.opensuse.security:def:20220778" class="vulnerability"><metadata><title>CVE-2022-0778</title>
  <reference ref_id="Mitre CVE-2022-0778" source="CVE"/><description>d</description>
  <advisory from="security@suse.de"><cve impact="important">CVE-2022-0778</cve><severity>Important</severity></advisory></metadata>
  <criteria operator="AND"><criterion test_ref="t:1" comment="SUSE Linux Enterprise Server 15 SP5 is installed"/>
   <criteria operator="OR"><criterion test_ref="t:2" comment="libopenssl1_1-1.1.1l-150500.15.4 is installed"/>
    <criterion test_ref="t:3" comment="openssl is not affected"/></criteria></criteria></definition>
 </definitions><tests>
 <rpminfo_test id="t:2" check="at least one"><object object_ref="o:2"/><state state_ref="s:2"/></rpminfo_test></tests>
 <objects><rpminfo_object id="o:2"><name>libopenssl1_1</name></rpminfo_object></objects>
 <states><rpminfo_state id="s:2"><evr datatype="evr_string" operation="less than">0:1.1.1l-150500.15.4</evr></rpminfo_state></states></oval_definitions>"#;

    #[test]
    fn reads_definitions() {
        let folder = tempfile::tempdir().unwrap();
        let (path, db) = (folder.path().join("o.xml"), folder.path().join("db"));
        std::fs::write(&path, TEXT).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path).unwrap();
        assert_eq!(builder.feed(FEED).skipped["test that is no comparison with a build"], 1);
        builder.write(&db, Timestamp::from_nanos(1)).unwrap();
        let db = crate::db::Database::open(&db).unwrap();
        let found = db.advisories("SUSE:15.5", "libopenssl1_1").unwrap();
        assert_eq!((found[0].id.as_str(), found[0].severity), ("CVE-2022-0778", Severity::High));
        assert_eq!(found[0].ranges[0].end, RangeEnd::Fixed("1.1.1l-150500.15.4".into()));
        assert_eq!(db.info().built.rfc3339(), "2026-11-20T01:02:03.000000000Z");
        for bad in ["", "<a/>", "<oval_definitions/>", &TEXT[..500]] {
            std::fs::write(&path, bad).unwrap();
            assert!(import(&mut DatabaseBuilder::new(), &path).is_err(), "{bad}");
        }
    }
}

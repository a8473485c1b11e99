//! Records of the OSV schema (ossf.github.io/osv-schema), one JSON file or a bulk export
//! (`all.zip`) of one ecosystem.
//!
//! Ranges of type `SEMVER` and `ECOSYSTEM` are kept; `GIT` ranges name commits, which
//! installed packages do not. Of explicit versions those are kept that no range holds, such as
//! a pre-release of the version with which a range begins, and those that the ecosystem's order
//! does not know: the exports list every version that a range already holds. Withdrawn records are left out
//! and counted. One CVE among the aliases becomes the identifier of the finding.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::Severity;
use serde::Deserialize;

use super::{ImportFeedError, cve_ids, documents, malformed, one_line, rating};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd, Status, VulnerableSymbols};

#[derive(Deserialize)]
struct Record {
    id: String,
    #[serde(default)]
    modified: Option<String>,
    #[serde(default)]
    published: Option<String>,
    #[serde(default)]
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    upstream: Vec<String>,
    #[serde(default)]
    related: Vec<String>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    affected: Vec<Affected>,
    #[serde(default)]
    database_specific: serde_json::Value,
}

#[derive(Deserialize)]
struct Score {
    score: String,
}

#[derive(Deserialize)]
struct Affected {
    #[serde(default)]
    package: Option<PackageName>,
    #[serde(default)]
    ranges: Vec<EventRange>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    database_specific: serde_json::Value,
    #[serde(default)]
    ecosystem_specific: serde_json::Value,
}

#[derive(Deserialize)]
struct PackageName {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct EventRange {
    #[serde(rename = "type")]
    kind: String,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    introduced: Option<String>,
    #[serde(default)]
    fixed: Option<String>,
    #[serde(default)]
    last_affected: Option<String>,
    #[serde(default)]
    limit: Option<String>,
}

/// Imports the bulk export at `path` (a zip of records), a folder, an archive or one record.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let before = builder.n_records();
    let is_one = path.extension().is_some_and(|extension| extension == "json");
    let mut failed = None;
    documents::each(path, &mut |_, bytes| {
        let Some(bytes) = bytes else {
            builder.feed("osv").skip("record larger than the bound");
            return Ok(());
        };
        match serde_json::from_slice::<Record>(bytes) {
            Ok(record) => add(builder, &record),
            Err(error) => {
                builder.feed("osv").skip("malformed record");
                failed = Some(error);
                Ok(())
            }
        }
    })?;
    match failed {
        Some(error) if is_one => Err(malformed(path, "a record of the OSV schema", error)),
        _ if builder.n_records() == before => Err(ImportFeedError::Empty(path.to_path_buf())),
        _ => Ok(()),
    }
}

fn add(builder: &mut DatabaseBuilder, record: &Record) -> Result<(), ImportFeedError> {
    let Names { id, aliases, fixes } = names(record);
    let title = one_line(if record.summary.is_empty() { &record.details } else { &record.summary });
    let is_erratum = is_erratum(&record.id);
    for affected in grouped(record.affected.iter().collect(), is_erratum) {
        let Grouped { affected, ranges, ecosystem, name } = match affected {
            Ok(grouped) => grouped,
            Err(reason) => {
                builder.feed("osv").skip(reason);
                continue;
            }
        };
        let family = ecosystem.split(':').next().unwrap_or_default();
        let feed = format!("osv/{family}");
        if record.withdrawn.is_some() {
            builder.feed(&feed).skip("withdrawn");
            continue;
        }
        if is_erratum && fixes.is_empty() {
            builder.feed(&feed).skip("notice that names no vulnerability");
            continue;
        }
        let versions = versions_beyond(&ranges, &affected.versions, &ecosystem);
        if ranges.is_empty() && versions.is_empty() {
            builder.feed(&feed).skip("no affected versions");
            continue;
        }
        // Go's export has the year 1 for "modified", which is no time of ours.
        for text in [&record.modified, &record.published].into_iter().flatten() {
            if let Ok(time) = text.parse::<Timestamp>() {
                builder.note_time(&feed, time);
            }
        }
        builder.mark_whole(&ecosystem);
        let vectors = affected.severity.iter().chain(&record.severity);
        let worst = rating::worst(vectors.map(|score| score.score.as_str()));
        let is_modular = ranges.iter().any(|range| match &range.end {
            RangeEnd::Fixed(version) => version.contains(MODULE_MARK),
            _ => false,
        });
        let advisory = Advisory {
            id: id.clone(),
            aliases: aliases.clone(),
            title: title.clone(),
            severity: severity_of(record, affected, worst.map(|(_, _, severity)| severity)),
            feed,
            ranges,
            versions,
            cvss: worst.map(|(vector, ..)| vector.to_string()),
            module: is_modular.then(|| stream_in(&record.summary)).flatten(),
            fixes: fixes.clone(),
            symbols: symbols_of(affected),
            status: status_of(affected),
        };
        builder.add(&ecosystem, &name, advisory)?;
    }
    Ok(())
}

/// What the release of a build in a module holds, in the RHEL family.
const MODULE_MARK: &str = ".module";

/// One entry of a record, with the ranges of the entries that it stands for.
struct Grouped<'a> {
    affected: &'a Affected,
    ranges: Vec<Range>,
    ecosystem: String,
    name: String,
}

/// The entries of a record that are of use. A notice of the RHEL family lists one package once
/// for each minor release; the first build that has the fix decides.
fn grouped(all: Vec<&Affected>, is_erratum: bool) -> Vec<Result<Grouped<'_>, &'static str>> {
    let mut groups: Vec<Result<Grouped<'_>, &'static str>> = Vec::new();
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for affected in all {
        let Some(package) = &affected.package else {
            groups.push(Err("no package, only a source repository"));
            continue;
        };
        let Some(ecosystem) = crate::ecosystem::from_osv(&package.ecosystem) else {
            groups.push(Err("ecosystem without a version order here"));
            continue;
        };
        let name = crate::ecosystem::normalise_name(&ecosystem, &package.name);
        let ranges = ranges_of(affected);
        let key = (ecosystem.clone(), name.clone());
        if is_erratum && let Some(known) = places.get(&key).and_then(|&at| groups.get_mut(at)) {
            if let Ok(known) = known {
                keep_first_fix(&mut known.ranges, &ranges);
            }
            continue;
        }
        places.insert(key, groups.len());
        groups.push(Ok(Grouped { affected, ranges, ecosystem, name }));
    }
    groups
}

/// Replaces the fix of a notice by another one that comes before it in RPM's order.
fn keep_first_fix(known: &mut Vec<Range>, other: &[Range]) {
    let fix = |ranges: &[Range]| match ranges {
        [Range { introduced: None, end: RangeEnd::Fixed(version) }] => Some(version.clone()),
        _ => None,
    };
    match (fix(known), fix(other)) {
        (Some(ours), Some(theirs)) => {
            let order = palisade_packages::version::rpm::compare(&theirs, &ours);
            if order.is_some_and(Ordering::is_lt) {
                *known = other.to_vec();
            }
        }
        _ => known.extend_from_slice(other),
    }
}

/// Whether records of this name are notices, which fix any number of vulnerabilities.
fn is_erratum(id: &str) -> bool {
    let notices = [
        "AL",
        "RL",
        "RX",
        "RHSA-",
        "RHBA-",
        "RHEA-",
        "SUSE-",
        "openSUSE-",
        "USN-",
        "DSA-",
        "DLA-",
        "DTSA-",
    ];
    notices.iter().any(|prefix| id.starts_with(prefix))
}

/// `NAME:STREAM` in the title of a notice: "nodejs:20 security update".
fn stream_in(title: &str) -> Option<String> {
    let word = title.split_whitespace().find(|word| {
        let parts = word.split_once(':');
        parts.is_some_and(|(name, stream)| !name.is_empty() && !stream.is_empty())
    })?;
    Some(word.to_string())
}

/// The vulnerable parts that Go's and Rust's databases name.
fn symbols_of(affected: &Affected) -> Vec<VulnerableSymbols> {
    let specific = &affected.ecosystem_specific;
    let texts = |value: Option<&serde_json::Value>| -> Vec<String> {
        let items = value.and_then(|value| value.as_array()).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_string)).collect()
    };
    let imports = specific.get("imports").and_then(|imports| imports.as_array());
    let mut parts: Vec<VulnerableSymbols> = imports
        .into_iter()
        .flatten()
        .filter_map(|import| {
            Some(VulnerableSymbols {
                path: import.get("path")?.as_str()?.to_string(),
                names: texts(import.get("symbols")),
                goos: texts(import.get("goos")),
                goarch: texts(import.get("goarch")),
            })
        })
        .collect();
    let affects = specific.get("affects");
    let functions = texts(affects.and_then(|affects| affects.get("functions")));
    if !functions.is_empty() {
        parts.push(VulnerableSymbols {
            path: affected.package.as_ref().map_or_else(String::new, |p| p.name.clone()),
            names: functions,
            goos: texts(affects.and_then(|affects| affects.get("os"))),
            goarch: texts(affects.and_then(|affects| affects.get("arch"))),
        });
    }
    parts
}

/// What Debian's and Ubuntu's records say of the publisher's intention.
fn status_of(affected: &Affected) -> Status {
    let urgency = affected.ecosystem_specific.get("urgency").and_then(|value| value.as_str());
    if urgency == Some("end-of-life") { Status::EndOfLife } else { Status::Affected }
}

/// The identifiers of a record.
struct Names {
    id: String,
    aliases: Vec<String>,
    fixes: Vec<String>,
}

/// The identifier to show, the others, and what a notice fixes.
fn names(record: &Record) -> Names {
    let is_cve = |id: &&String| cve_ids(id).first() == Some(&(0..id.len()));
    if is_erratum(&record.id) {
        let named = record.aliases.iter().chain(&record.upstream).chain(&record.related);
        let mut fixes: Vec<String> = named.filter(is_cve).cloned().collect();
        fixes.sort();
        fixes.dedup();
        return Names { id: record.id.clone(), aliases: Vec::new(), fixes };
    }
    let known = || record.aliases.iter().chain(&record.upstream);
    let mut cves: Vec<&String> = known().filter(is_cve).collect();
    cves.sort();
    cves.dedup();
    let mut all: Vec<String> = known().cloned().collect();
    all.push(record.id.clone());
    all.sort();
    all.dedup();
    let id = if let [only] = cves[..] { only.clone() } else { record.id.clone() };
    all.retain(|other| *other != id);
    Names { id, aliases: all, fixes: Vec::new() }
}

fn ranges_of(affected: &Affected) -> Vec<Range> {
    let mut ranges = Vec::new();
    for range in affected.ranges.iter().filter(|r| r.kind == "SEMVER" || r.kind == "ECOSYSTEM") {
        let mut open: Option<Option<String>> = None;
        for event in &range.events {
            if let Some(introduced) = &event.introduced {
                // Two in a row: the first range stays open until the second begins.
                ranges.extend(open.take().map(|introduced| end(introduced, RangeEnd::Open)));
                open = Some(Some(introduced.clone()).filter(|version| version != "0"));
            }
            let close = match (&event.fixed, &event.last_affected, &event.limit) {
                (Some(version), ..) => RangeEnd::Fixed(version.clone()),
                (_, Some(version), _) => RangeEnd::LastAffected(version.clone()),
                // A limit ends a branch without a fix in it.
                (_, _, Some(version)) if version != "*" => RangeEnd::Fixed(version.clone()),
                _ => continue,
            };
            ranges.push(end(open.take().flatten(), close));
        }
        ranges.extend(open.take().map(|introduced| end(introduced, RangeEnd::Open)));
    }
    ranges
}

/// The versions that no range holds.
fn versions_beyond(ranges: &[Range], versions: &[String], ecosystem: &str) -> Vec<String> {
    let Some(compare) = crate::ecosystem::order(ecosystem).filter(|_| !ranges.is_empty()) else {
        return versions.to_vec();
    };
    let holds = |range: &Range, version: &str| {
        let is_from = match &range.introduced {
            None => compare(version, version).is_some(),
            Some(first) => compare(version, first).is_some_and(Ordering::is_ge),
        };
        is_from
            && match &range.end {
                RangeEnd::Open => true,
                RangeEnd::Fixed(end) => compare(version, end).is_some_and(Ordering::is_lt),
                RangeEnd::LastAffected(end) => compare(version, end).is_some_and(Ordering::is_le),
            }
    };
    versions.iter().filter(|v| !ranges.iter().any(|range| holds(range, v))).cloned().collect()
}

fn end(introduced: Option<String>, end: RangeEnd) -> Range {
    Range { introduced, end }
}

/// The publisher's own word where there is one, otherwise the worst CVSS rating.
fn severity_of(record: &Record, affected: &Affected, rated: Option<Severity>) -> Severity {
    let stated = |value: &serde_json::Value, key: &str| {
        value.get(key).and_then(|s| s.as_str()).and_then(rating::word)
    };
    // Ubuntu rates with a word where others have a vector.
    let words = affected.severity.iter().chain(&record.severity);
    let own = stated(&affected.database_specific, "severity")
        .or_else(|| stated(&record.database_specific, "severity"))
        .or_else(|| stated(&affected.ecosystem_specific, "urgency"))
        .or_else(|| stated(&affected.ecosystem_specific, "severity"))
        .or_else(|| words.filter_map(|score| rating::word(&score.score)).max());
    // Errata of the RHEL family begin with their rating: "Important: kernel security update".
    let word = || record.summary.split_once(':').and_then(|(word, _)| rating::word(word));
    let informational = affected.database_specific.get("informational");
    let notice = || informational.and_then(|value| value.as_str()).map(|_| Severity::Negligible);
    own.or(rated).or_else(word).or_else(notice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    fn import_json(text: &str) -> Result<DatabaseBuilder, ImportFeedError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        std::fs::write(&path, text).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path).map(|()| builder)
    }

    fn advisories(builder: &DatabaseBuilder, ecosystem: &str, name: &str) -> Vec<Advisory> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        builder.write(&path, Timestamp::from_nanos(1)).unwrap();
        crate::db::Database::open(&path).unwrap().advisories(ecosystem, name).unwrap()
    }

    #[test]
    fn reads_ranges_aliases_and_severity() {
        let builder = import_json(
            r#"{"id": "PYSEC-1", "modified": "2024-01-02T03:04:05Z", "aliases": ["GHSA-a", "CVE-2024-0001"],
            "details": "long\ntext", "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
            "affected": [{"package": {"ecosystem": "PyPI", "name": "Foo_Bar"},
              "ranges": [{"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"last_affected": "2.3"}, {"introduced": "3"}]}],
              "versions": ["1.1", "2.0rc1", "1.1.fix1"]}]}"#,
        )
        .unwrap();
        let found = advisories(&builder, "PyPI", "foo-bar");
        let range =
            |introduced: Option<&str>, end| Range { introduced: introduced.map(Into::into), end };
        assert_eq!(
            found,
            [Advisory {
                id: "CVE-2024-0001".into(),
                aliases: vec!["GHSA-a".into(), "PYSEC-1".into()],
                title: "long text".into(),
                severity: Severity::Critical,
                feed: "osv/PyPI".into(),
                ranges: vec![
                    range(None, RangeEnd::Fixed("1.2".into())),
                    range(Some("2.0"), RangeEnd::LastAffected("2.3".into())),
                    range(Some("3"), RangeEnd::Open),
                ],
                versions: vec!["2.0rc1".into(), "1.1.fix1".into()],
                cvss: Some("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H".into()),
                ..Advisory::default()
            }]
        );
    }

    #[test]
    fn what_cannot_be_used_is_counted() {
        let record = |extra: &str, ecosystem: &str| {
            format!(
                r#"{{"id": "X-1", {extra} "affected": [{{"package": {{"ecosystem": "{ecosystem}", "name": "a"}}, "versions": ["1"]}}]}}"#
            )
        };
        assert!(import_json(&record("", "PyPI")).is_ok());
        for (extra, ecosystem) in
            [("\"withdrawn\": \"2024-01-01T00:00:00Z\",", "PyPI"), ("", "Hex")]
        {
            let error = import_json(&record(extra, ecosystem)).unwrap_err();
            assert!(matches!(error, ImportFeedError::Empty(_)), "{ecosystem}");
        }
        assert!(matches!(import_json("[1"), Err(ImportFeedError::Malformed { .. })));
    }

    #[test]
    fn an_export_with_a_bad_record_gives_the_good_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, text) in [
            (
                "a.json",
                r#"{"id": "GO-1", "affected": [{"package": {"ecosystem": "Go", "name": "m"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]}]}"#,
            ),
            ("b.json", "{"),
            ("README", "x"),
        ] {
            zip.start_file(name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path).unwrap();
        assert_eq!(builder.n_records(), 1);
        assert_eq!(builder.feed("osv").skipped["malformed record"], 1);

        std::fs::write(&path, "no zip").unwrap();
        assert!(matches!(import(&mut builder, &path), Err(ImportFeedError::Empty(_))));
        std::fs::write(&path, "PK\u{3}\u{4} no zip").unwrap();
        assert!(matches!(import(&mut builder, &path), Err(ImportFeedError::Malformed { .. })));
    }

    #[test]
    fn a_notice_fixes_vulnerabilities_and_is_none() {
        let builder = import_json(
            r#"{"id": "ALSA-2024:1", "summary": "Important: nodejs:20 security update", "related": ["CVE-2024-0002", "CVE-2024-0001", "x"],
            "affected": [
              {"package": {"ecosystem": "AlmaLinux:8", "name": "nodejs"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:20.2-1.module_el8.5.0+119+9a9ec082"}]}]},
              {"package": {"ecosystem": "AlmaLinux:8", "name": "nodejs"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:20.2-1.module_el8.4.0+2496+12421f43"}]}]}]}"#,
        )
        .unwrap();
        let found = advisories(&builder, "AlmaLinux:8", "nodejs");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "ALSA-2024:1");
        assert_eq!(found[0].fixes, ["CVE-2024-0001", "CVE-2024-0002"]);
        assert_eq!(found[0].module.as_deref(), Some("nodejs:20"));
        assert_eq!(found[0].severity, Severity::High);
        let first = RangeEnd::Fixed("1:20.2-1.module_el8.4.0+2496+12421f43".into());
        assert_eq!(found[0].ranges, [Range { introduced: None, end: first }]);
        let bug = r#"{"id": "ALBA-2024:1", "affected": [{"package": {"ecosystem": "AlmaLinux:8", "name": "a"}, "versions": ["1"]}]}"#;
        assert!(matches!(import_json(bug), Err(ImportFeedError::Empty(_))));
    }

    #[test]
    fn vulnerable_parts_are_kept() {
        let builder = import_json(
            r#"{"id": "GO-1", "affected": [{"package": {"ecosystem": "Go", "name": "m"}, "versions": ["1"],
            "ecosystem_specific": {"imports": [{"path": "m/a", "goos": ["windows"], "symbols": ["T.Do"]}, {"x": 1}],
            "affects": {"arch": ["x86"], "os": [], "functions": ["m::f"]}}}]}"#,
        )
        .unwrap();
        let found = advisories(&builder, "Go", "m");
        let names: Vec<(&str, &str)> = found[0]
            .symbols
            .iter()
            .map(|part| (part.path.as_str(), part.names[0].as_str()))
            .collect();
        assert_eq!(names, [("m/a", "T.Do"), ("m", "m::f")]);
        assert_eq!(found[0].symbols[0].goos, ["windows"]);
    }
}

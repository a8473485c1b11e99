//! Records of the OSV schema (ossf.github.io/osv-schema), one JSON file or a bulk export
//! (`all.zip`) of one ecosystem.
//!
//! Ranges of type `SEMVER` and `ECOSYSTEM` are kept; `GIT` ranges name commits, which
//! installed packages do not. Explicit versions are kept only where no range is: the
//! exports list every version that a range already holds. Withdrawn records are left out
//! and counted. One CVE among the aliases becomes the identifier of the finding.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::Severity;
use serde::Deserialize;

use super::{ImportFeedError, cve_ids, malformed, one_line, read_error};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd};

/// Records of one export beyond this number are refused; npm has some 200,000.
pub const RECORDS_MAX: u64 = 2_000_000;
/// One record beyond this many bytes is left out and counted.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// All records of an export together, decompressed, beyond this many bytes are refused.
pub const EXPORT_BYTES_MAX: u64 = 16 << 30;

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

/// Imports the bulk export at `path` (a zip of records), or a single record (`.json`).
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let before = builder.n_records();
    if path.extension().is_some_and(|extension| extension == "json") {
        let bytes = super::read_file(path, "OSV record", RECORD_BYTES_MAX)?;
        let record = serde_json::from_slice(&bytes)
            .map_err(|error| malformed(path, "a record of the OSV schema", error))?;
        add(builder, &record)?;
    } else {
        import_zip(builder, path)?;
    }
    if builder.n_records() == before {
        return Err(ImportFeedError::Empty(path.to_path_buf()));
    }
    Ok(())
}

fn import_zip(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let expected = "an OSV bulk export (zip of JSON records)";
    let file = io::BufReader::new(File::open(path).map_err(read_error(path))?);
    let mut archive =
        zip::ZipArchive::new(file).map_err(|error| malformed(path, expected, error))?;
    let n = archive.len();
    if n as u64 > RECORDS_MAX {
        let path = path.to_path_buf();
        return Err(ImportFeedError::TooMany { path, what: "records", limit: RECORDS_MAX });
    }
    let mut room = EXPORT_BYTES_MAX;
    let mut bytes = Vec::new();
    for index in 0..n {
        let entry = archive.by_index(index).map_err(|error| malformed(path, expected, error))?;
        let is_record = entry.is_file() && entry.name_raw().ends_with(b".json");
        if !is_record {
            continue;
        }
        bytes.clear();
        // The directory's size is a claim; what counts is what comes out.
        entry.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read_error(path))?;
        room = room.checked_sub(bytes.len() as u64).ok_or_else(|| ImportFeedError::TooMany {
            path: path.to_path_buf(),
            what: "bytes",
            limit: EXPORT_BYTES_MAX,
        })?;
        if bytes.len() as u64 > RECORD_BYTES_MAX {
            builder.feed("osv").skip("record larger than the bound");
            continue;
        }
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) => add(builder, &record)?,
            Err(_) => builder.feed("osv").skip("malformed record"),
        }
    }
    Ok(())
}

fn add(builder: &mut DatabaseBuilder, record: &Record) -> Result<(), ImportFeedError> {
    let (id, aliases) = identifiers(record);
    let title = one_line(if record.summary.is_empty() { &record.details } else { &record.summary });
    for affected in &record.affected {
        let Some(package) = &affected.package else {
            builder.feed("osv").skip("no package, only a source repository");
            continue;
        };
        let Some(ecosystem) = crate::ecosystem::from_osv(&package.ecosystem) else {
            builder.feed("osv").skip("ecosystem without a version order here");
            continue;
        };
        let family = ecosystem.split(':').next().unwrap_or_default();
        let feed = format!("osv/{family}");
        if record.withdrawn.is_some() {
            builder.feed(&feed).skip("withdrawn");
            continue;
        }
        let ranges = ranges_of(affected);
        let versions = if ranges.is_empty() { affected.versions.clone() } else { Vec::new() };
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
        let name = crate::ecosystem::normalise_name(&ecosystem, &package.name);
        let advisory = Advisory {
            id: id.clone(),
            aliases: aliases.clone(),
            title: title.clone(),
            severity: severity_of(record, affected),
            feed,
            ranges,
            versions,
            ..Advisory::default()
        };
        builder.add(&ecosystem, &name, advisory)?;
    }
    Ok(())
}

/// The identifier to show, and the others.
fn identifiers(record: &Record) -> (String, Vec<String>) {
    let is_cve = |id: &&String| cve_ids(id).first() == Some(&(0..id.len()));
    let known = || record.aliases.iter().chain(&record.upstream);
    let mut cves: Vec<&String> = known().filter(is_cve).collect();
    cves.sort();
    cves.dedup();
    // Errata of distributions name the CVEs they fix as related; each advisory stays one.
    let erratum = record.id.starts_with("AL") || record.id.starts_with("RL");
    let related = record.related.iter().filter(|id| erratum && is_cve(id));
    let mut all: Vec<String> = known().chain(related).cloned().collect();
    all.push(record.id.clone());
    all.sort();
    all.dedup();
    let id = if let [only] = cves[..] { only.clone() } else { record.id.clone() };
    all.retain(|other| *other != id);
    (id, all)
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

fn end(introduced: Option<String>, end: RangeEnd) -> Range {
    Range { introduced, end }
}

/// The publisher's own word where there is one, otherwise the worst CVSS rating.
fn severity_of(record: &Record, affected: &Affected) -> Severity {
    let stated = |value: &serde_json::Value| {
        value.get("severity").and_then(|s| s.as_str()).and_then(parse_word)
    };
    if let Some(severity) =
        stated(&affected.database_specific).or_else(|| stated(&record.database_specific))
    {
        return severity;
    }
    let scores = affected.severity.iter().chain(&record.severity);
    let rated = scores.filter_map(|score| rating(&score.score)).max();
    // Errata of the RHEL family begin with their rating: "Important: kernel security update".
    let word = || record.summary.split_once(':').and_then(|(word, _)| parse_word(word));
    let informational = affected.database_specific.get("informational");
    let notice = || informational.and_then(|value| value.as_str()).map(|_| Severity::Negligible);
    rated.or_else(word).or_else(notice).unwrap_or_default()
}

fn parse_word(word: &str) -> Option<Severity> {
    Some(match word.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "important" => Severity::High,
        "medium" | "moderate" => Severity::Medium,
        "low" => Severity::Low,
        "negligible" | "none" => Severity::Negligible,
        _ => return None,
    })
}

/// The qualitative rating of a CVSS 3 or 4 vector (FIRST, "Qualitative Severity Rating Scale").
fn rating(vector: &str) -> Option<Severity> {
    // An untidy vector ends in `/`, which the standard does not allow.
    let vector: cvss::Cvss = vector.trim_end_matches('/').parse().ok()?;
    Some(match vector.severity() {
        cvss::Severity::None => Severity::Negligible,
        cvss::Severity::Low => Severity::Low,
        cvss::Severity::Medium => Severity::Medium,
        cvss::Severity::High => Severity::High,
        cvss::Severity::Critical => Severity::Critical,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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
              "versions": ["1.1"]}]}"#,
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
                versions: vec![],
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
        assert!(matches!(import(&mut builder, &path), Err(ImportFeedError::Malformed { .. })));
    }

    #[test]
    fn severities_of_the_field() {
        assert_eq!(
            rating("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"),
            Some(Severity::Critical)
        );
        assert_eq!(rating("nonsense"), None);
        assert_eq!(parse_word("MODERATE"), Some(Severity::Medium));
    }
}

//! The Debian security tracker (`security-tracker.debian.org/tracker/data/json`): every source
//! package, every CVE, every release, fixed or not.
//!
//! What it says of an open vulnerability: `nodsa_reason` is `ignored` (Debian will not fix it),
//! `postponed` or empty with a `nodsa` remark (no advisory of its own; it may come with a point
//! release); an urgency of `end-of-life` or `unimportant`. A fixed version of `0` means that
//! the release never had the problem.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::Severity;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::{ImportFeedError, documents, malformed, one_line, rating};
use crate::db::{Advisory, BuildDatabaseError, DatabaseBuilder, Range, RangeEnd, Status};

/// Name of the feed in findings.
pub const FEED: &str = "debian-tracker";
/// The file beyond this many bytes is refused, decompressed as well; it has some 70 MB.
pub const BYTES_MAX: u64 = 2 << 30;

/// Releases by their code names (debian.org/releases), as ecosystems name them.
const RELEASES: [(&str, &str); 12] = [
    ("wheezy", "7"),
    ("jessie", "8"),
    ("stretch", "9"),
    ("buster", "10"),
    ("bullseye", "11"),
    ("bookworm", "12"),
    ("trixie", "13"),
    ("forky", "14"),
    ("duke", "15"),
    ("sid", "sid"),
    ("unstable", "sid"),
    ("experimental", "experimental"),
];

/// The codename of a release as the database names it: `bookworm` of `Debian:12`.
pub fn codename(ecosystem: &str) -> Option<&'static str> {
    let number = ecosystem.strip_prefix("Debian:")?;
    RELEASES.iter().find(|(_, known)| *known == number).map(|(codename, _)| *codename)
}

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    description: String,
    #[serde(default)]
    releases: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Release {
    #[serde(default)]
    status: String,
    #[serde(default)]
    fixed_version: Option<String>,
    #[serde(default)]
    urgency: String,
    #[serde(default)]
    nodsa: Option<String>,
    #[serde(default)]
    nodsa_reason: Option<String>,
}

/// Imports the tracker's JSON at `path`. It states no time; `fetched` stands for it.
pub fn import(
    builder: &mut DatabaseBuilder,
    path: &Path,
    fetched: Option<Timestamp>,
) -> Result<(), ImportFeedError> {
    let expected = "the JSON of the Debian security tracker";
    let before = builder.n_records();
    let stream = documents::open_stream(path, "Debian security tracker", BYTES_MAX)?;
    let mut failure = None;
    let mut reader = serde_json::Deserializer::from_reader(stream);
    let read = Packages { builder, failure: &mut failure }
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    read.map_err(|error| malformed(path, expected, error))?;
    if builder.n_records() == before {
        return Err(ImportFeedError::Empty(path.to_path_buf()));
    }
    if let Some(time) = fetched {
        builder.note_time(FEED, time);
    }
    Ok(())
}

/// The outer object: packages, one at a time.
struct Packages<'a> {
    builder: &'a mut DatabaseBuilder,
    failure: &'a mut Option<BuildDatabaseError>,
}

impl<'de> DeserializeSeed<'de> for Packages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Packages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of source packages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut packages: A) -> Result<(), A::Error> {
        while let Some((package, issues)) =
            packages.next_entry::<String, BTreeMap<String, Issue>>()?
        {
            for (id, issue) in issues {
                if let Err(error) = add(self.builder, &package, &id, &issue) {
                    *self.failure = Some(error);
                    return Err(serde::de::Error::custom("too many advisories"));
                }
            }
        }
        Ok(())
    }
}

fn add(
    builder: &mut DatabaseBuilder,
    package: &str,
    id: &str,
    issue: &Issue,
) -> Result<(), BuildDatabaseError> {
    // `TEMP-…` names are the tracker's own until a CVE exists.
    for (codename, release) in &issue.releases {
        let Some((_, number)) = RELEASES.iter().find(|(name, _)| name == codename) else {
            builder.feed(FEED).skip("release without a known number");
            continue;
        };
        let Some((status, end)) = judge(release) else {
            builder.feed(FEED).skip("status that is not known");
            continue;
        };
        let ecosystem = format!("Debian:{number}");
        builder.mark_whole(&ecosystem);
        let advisory = Advisory {
            id: id.to_string(),
            title: one_line(&issue.description),
            severity: severity(&release.urgency),
            feed: FEED.to_string(),
            ranges: vec![Range { introduced: None, end }],
            status,
            ..Advisory::default()
        };
        builder.add(&ecosystem, package, advisory)?;
    }
    Ok(())
}

/// What a release says: its intention, and where the affected versions end.
fn judge(release: &Release) -> Option<(Status, RangeEnd)> {
    let end_of_life = release.urgency.trim_end_matches('*') == "end-of-life";
    let reason = release.nodsa_reason.as_deref();
    Some(match (release.status.as_str(), release.fixed_version.as_deref()) {
        ("resolved", Some("0")) => (Status::NotAffected, RangeEnd::Open),
        ("resolved", Some(version)) => (Status::Affected, RangeEnd::Fixed(version.to_string())),
        ("open", _) if end_of_life => (Status::EndOfLife, RangeEnd::Open),
        ("open", _) if reason == Some("ignored") => (Status::WillNotFix, RangeEnd::Open),
        ("open", _) if reason == Some("postponed") || release.nodsa.is_some() => {
            (Status::FixDeferred, RangeEnd::Open)
        }
        ("open", _) => (Status::Affected, RangeEnd::Open),
        ("undetermined", _) => (Status::UnderInvestigation, RangeEnd::Open),
        _ => return None,
    })
}

/// `low**` is a rating that a machine made of one that people made.
fn severity(urgency: &str) -> Severity {
    rating::word(urgency.trim_end_matches('*')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"openssl": {
      "CVE-2024-0001": {"description": "a\nb", "scope": "remote", "releases": {
        "bookworm": {"status": "resolved", "repositories": {"bookworm": "3.0.11-1"}, "fixed_version": "3.0.11-1~deb12u2", "urgency": "medium"},
        "bullseye": {"status": "open", "urgency": "not yet assigned", "nodsa": "Minor issue", "nodsa_reason": "postponed"},
        "buster": {"status": "open", "urgency": "end-of-life"},
        "trixie": {"status": "resolved", "fixed_version": "0", "urgency": "unimportant"},
        "sid": {"status": "open", "urgency": "low**", "nodsa": "x", "nodsa_reason": "ignored"},
        "forky": {"status": "undetermined", "urgency": "high"},
        "somewhere": {"status": "open", "urgency": "high"}}}}}"#;

    #[test]
    fn every_state_has_its_meaning() {
        let folder = tempfile::tempdir().unwrap();
        let (path, db) = (folder.path().join("t.json"), folder.path().join("db"));
        std::fs::write(&path, TEXT).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path, Some(Timestamp::from_nanos(5))).unwrap();
        assert_eq!(builder.feed(FEED).skipped["release without a known number"], 1);
        builder.write(&db, Timestamp::from_nanos(9)).unwrap();
        let db = crate::db::Database::open(&db).unwrap();
        assert_eq!(db.info().built, Timestamp::from_nanos(5));
        let check = |release: &str, status: Status, severity: Severity, fixed: Option<&str>| {
            let found = db.advisories(&format!("Debian:{release}"), "openssl").unwrap();
            assert_eq!((found[0].status, found[0].severity), (status, severity), "{release}");
            let end = fixed.map_or(RangeEnd::Open, |version| RangeEnd::Fixed(version.into()));
            assert_eq!(found[0].ranges[0].end, end, "{release}");
            assert_eq!(found[0].title, "a b");
        };
        check("12", Status::Affected, Severity::Medium, Some("3.0.11-1~deb12u2"));
        check("11", Status::FixDeferred, Severity::Unknown, None);
        check("10", Status::EndOfLife, Severity::Unknown, None);
        check("13", Status::NotAffected, Severity::Negligible, None);
        check("sid", Status::WillNotFix, Severity::Low, None);
        check("14", Status::UnderInvestigation, Severity::High, None);
    }

    #[test]
    fn what_is_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        for bad in ["", "[]", "{\"a\": 1}", &TEXT[..200], "{}", &format!("{TEXT}x")] {
            std::fs::write(&path, bad).unwrap();
            assert!(import(&mut DatabaseBuilder::new(), &path, None).is_err(), "{bad}");
        }
    }
}

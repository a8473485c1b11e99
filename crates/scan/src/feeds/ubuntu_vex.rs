//! Ubuntu's VEX documents (OpenVEX): one for a CVE, with a statement for each source package and
//! release.
//!
//! A product is `pkg:deb/ubuntu/openssl@3.0.2-0ubuntu1.15?arch=source&distro=jammy`. Releases
//! under Ubuntu Pro (`esm-infra/focal`) are left out and counted: an image does not show whether
//! it is entitled to them.

use std::path::Path;

use palisade_base::Timestamp;
use serde::Deserialize;

use super::{ImportFeedError, cve_ids, documents, one_line};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd, Status};

/// Name of the feed in findings.
pub const FEED: &str = "ubuntu-vex";

/// Releases by their code names (wiki.ubuntu.com/Releases).
pub(crate) const RELEASES: [(&str, &str); 16] = [
    ("trusty", "14.04"),
    ("xenial", "16.04"),
    ("bionic", "18.04"),
    ("focal", "20.04"),
    ("groovy", "20.10"),
    ("hirsute", "21.04"),
    ("impish", "21.10"),
    ("jammy", "22.04"),
    ("kinetic", "22.10"),
    ("lunar", "23.04"),
    ("mantic", "23.10"),
    ("noble", "24.04"),
    ("oracular", "24.10"),
    ("plucky", "25.04"),
    ("questing", "25.10"),
    ("resolute", "26.04"),
];

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    vulnerability: Named,
    #[serde(default)]
    products: Vec<Product>,
    status: String,
    #[serde(default)]
    status_notes: Option<String>,
    #[serde(default, rename = "action_statement")]
    action: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(rename = "@id")]
    id: String,
}

/// Imports every document at `path`: one, a folder, an archive.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    builder.feed(FEED);
    let before = builder.n_records();
    documents::each(path, &mut |_, bytes| {
        let document = bytes.and_then(|bytes| serde_json::from_slice::<Document>(bytes).ok());
        let Some(document) = document else {
            builder.feed(FEED).skip("malformed document");
            return Ok(());
        };
        for text in [&document.timestamp, &document.last_updated].into_iter().flatten() {
            if let Ok(time) = text.parse::<Timestamp>() {
                builder.note_time(FEED, time);
            }
        }
        document.statements.iter().try_for_each(|statement| add(builder, statement))
    })?;
    if builder.n_records() == before {
        return Err(ImportFeedError::Empty(path.to_path_buf()));
    }
    Ok(())
}

fn add(builder: &mut DatabaseBuilder, statement: &Statement) -> Result<(), ImportFeedError> {
    let named = &statement.vulnerability;
    let all = std::iter::once(&named.name).chain(&named.aliases);
    let found = all.clone().find_map(|name| cve_ids(name).first().map(|r| name[r.clone()].into()));
    let id: String = found.unwrap_or_else(|| named.name.clone());
    let said = statement.action.as_deref().or(statement.status_notes.as_deref());
    let said = said.unwrap_or_default().to_ascii_lowercase();
    for product in &statement.products {
        let Some((package, version, release)) = parse(&product.id) else {
            builder.feed(FEED).skip("product of a release that is not covered");
            continue;
        };
        let (status, end) = match (statement.status.as_str(), version) {
            ("fixed", Some(version)) => (Status::Affected, RangeEnd::Fixed(version)),
            ("affected", _) if said.contains("ignored") || said.contains("will not") => {
                (Status::WillNotFix, RangeEnd::Open)
            }
            ("affected", _) if said.contains("deferred") => (Status::FixDeferred, RangeEnd::Open),
            ("affected", _) if said.contains("end of life") || said.contains("end-of-life") => {
                (Status::EndOfLife, RangeEnd::Open)
            }
            ("affected", _) => (Status::Affected, RangeEnd::Open),
            ("under_investigation", _) => (Status::UnderInvestigation, RangeEnd::Open),
            ("not_affected", _) => (Status::NotAffected, RangeEnd::Open),
            _ => {
                builder.feed(FEED).skip("status that is not known");
                continue;
            }
        };
        let ecosystem = format!("Ubuntu:{release}");
        builder.mark_whole(&ecosystem);
        let advisory = Advisory {
            id: id.clone(),
            title: one_line(&named.description),
            feed: FEED.to_string(),
            ranges: vec![Range { introduced: None, end }],
            status,
            ..Advisory::default()
        };
        builder.add(&ecosystem, &package, advisory)?;
    }
    Ok(())
}

/// Source package, version and release of a product.
fn parse(purl: &str) -> Option<(String, Option<String>, &'static str)> {
    let rest = purl.strip_prefix("pkg:deb/ubuntu/")?;
    let (name, qualifiers) = rest.split_once('?')?;
    let (name, version) = match name.split_once('@') {
        Some((name, version)) => (name, Some(super::csaf::decode(version))),
        None => (name, None),
    };
    let pairs = || qualifiers.split('&').filter_map(|pair| pair.split_once('='));
    let distro = pairs().find(|(key, _)| *key == "distro")?.1;
    let arch = pairs().find(|(key, _)| *key == "arch").map_or("source", |(_, value)| value);
    let codename = distro.strip_prefix("ubuntu/").unwrap_or(distro);
    let (_, release) =
        RELEASES.iter().find(|(name, number)| codename == *name || codename == *number)?;
    (arch == "source").then(|| (super::csaf::decode(name), version, *release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_statements() {
        let folder = tempfile::tempdir().unwrap();
        let (path, db) = (folder.path().join("v.json"), folder.path().join("db"));
        let text = r#"{"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-02T03:04:05Z", "statements": [
          {"vulnerability": {"@id": "x", "name": "CVE-2024-0001", "description": "a bug"}, "status": "fixed",
           "products": [{"@id": "pkg:deb/ubuntu/openssl@3.0.2-0ubuntu1.15?arch=source&distro=jammy"},
             {"@id": "pkg:deb/ubuntu/openssl@1?arch=source&distro=esm-infra/xenial"}]},
          {"vulnerability": {"name": "CVE-2024-0002"}, "status": "affected", "action_statement": "The fix is deferred",
           "products": [{"@id": "pkg:deb/ubuntu/openssl?arch=source&distro=noble"}]},
          {"vulnerability": {"name": "CVE-2024-0002"}, "status": "not_affected",
           "products": [{"@id": "pkg:deb/ubuntu/openssl?arch=source&distro=jammy"}]}]}"#;
        std::fs::write(&path, text).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path).unwrap();
        assert_eq!(builder.feed(FEED).skipped["product of a release that is not covered"], 1);
        builder.write(&db, Timestamp::from_nanos(1)).unwrap();
        let db = crate::db::Database::open(&db).unwrap();
        let jammy = db.advisories("Ubuntu:22.04", "openssl").unwrap();
        assert_eq!(jammy[0].ranges[0].end, RangeEnd::Fixed("3.0.2-0ubuntu1.15".into()));
        assert_eq!(jammy[1].status, Status::NotAffected);
        let noble = db.advisories("Ubuntu:24.04", "openssl").unwrap();
        assert_eq!(noble[0].status, Status::FixDeferred);
        for bad in ["", "{}", "[]", &text[..100]] {
            std::fs::write(&path, bad).unwrap();
            assert!(import(&mut DatabaseBuilder::new(), &path).is_err(), "{bad}");
        }
    }
}

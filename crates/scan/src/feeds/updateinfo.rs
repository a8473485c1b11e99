//! `updateinfo.xml` of RPM repositories: Amazon Linux (ALAS), and any other repository whose
//! notices say for which release they are.
//!
//! Amazon's notices name the release: `ALAS2023-2023-001`, `ALAS2-2023-001`, `ALAS-2023-001`.
//! Notices of extras (`ALAS2NGINX1-…`) belong to Amazon Linux 2. Others are placed by the
//! prefix of their names and the `elN` of their builds.

use std::path::Path;

use palisade_base::Timestamp;

use super::errata::{Fixes, major_of};
use super::xml::{self, Node};
use super::{ImportFeedError, cve_ids, one_line, rating};
use crate::db::{Advisory, DatabaseBuilder};

/// Name of the feed in findings.
pub const FEED: &str = "updateinfo";
const EXPECTED: &str = "an updateinfo.xml of an RPM repository";
/// Packages and vulnerabilities of one notice beyond this number are left out and counted.
const ITEMS_MAX: usize = 100_000;

/// A notice that is being read.
#[derive(Default)]
struct Notice {
    kind: String,
    id: String,
    title: String,
    severity: String,
    issued: String,
    fixes: Vec<String>,
    packages: Vec<Package>,
}

#[derive(Default)]
struct Package {
    name: String,
    version: String,
    arch: String,
}

/// Imports the notices of the file at `path`, plain or gzip'ed.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    builder.feed(FEED);
    let before = builder.n_records();
    let mut notice = Notice::default();
    let mut text = String::new();
    let (mut is_updates, mut in_packages) = (false, false);
    xml::each(path, EXPECTED, &mut |node| {
        match node {
            Node::Open(name, attributes) => {
                text.clear();
                match name {
                    "updates" => is_updates = true,
                    "update" => {
                        notice =
                            Notice { kind: attributes.get("type").into(), ..Notice::default() };
                    }
                    "issued" => notice.issued = attributes.get("date").into(),
                    "pkglist" => in_packages = true,
                    "reference" if notice.fixes.len() < ITEMS_MAX => {
                        for key in ["id", "title", "href"] {
                            let said = attributes.get(key);
                            let found = cve_ids(said).into_iter();
                            notice.fixes.extend(found.map(|r| said[r].to_uppercase()));
                        }
                    }
                    "package" if notice.packages.len() < ITEMS_MAX => {
                        notice.packages.push(package(attributes));
                    }
                    _ => {}
                }
            }
            Node::Text(more) if text.len() < xml::EVENT_BYTES_MAX => text.push_str(more),
            Node::Text(_) => {}
            Node::Close(name) => match name {
                "id" if !in_packages => notice.id = text.trim().to_string(),
                "title" if !in_packages && notice.title.is_empty() => {
                    notice.title = one_line(&text);
                }
                "severity" if !in_packages => notice.severity = text.trim().to_string(),
                "pkglist" => in_packages = false,
                "update" => add(builder, std::mem::take(&mut notice))?,
                _ => {}
            },
        }
        Ok(())
    })?;
    if !is_updates {
        return Err(super::malformed(path, EXPECTED, std::io::Error::other("no `updates`")));
    }
    if builder.n_records() == before {
        return Err(ImportFeedError::Empty(path.to_path_buf()));
    }
    Ok(())
}

fn package(attributes: &xml::Attributes) -> Package {
    let build = format!("{}-{}", attributes.get("version"), attributes.get("release"));
    let version = match attributes.get("epoch") {
        "" | "0" => build,
        epoch => format!("{epoch}:{build}"),
    };
    let (name, arch) = (attributes.get("name").to_string(), attributes.get("arch").to_string());
    Package { name, version, arch }
}

fn add(builder: &mut DatabaseBuilder, mut notice: Notice) -> Result<(), ImportFeedError> {
    if notice.kind != "security" && notice.fixes.is_empty() {
        builder.feed(FEED).skip("notice that names no vulnerability");
        return Ok(());
    }
    notice.fixes.sort();
    notice.fixes.dedup();
    let time = notice.issued.replacen(' ', "T", 1);
    let time = if time.len() == 10 { format!("{time}T00:00:00Z") } else { time };
    let zone = if time.contains('Z') || time.contains('+') { "" } else { "Z" };
    if let Ok(time) = format!("{time}{zone}").parse::<Timestamp>() {
        builder.note_time(FEED, time);
    }
    let mut fixes = Fixes::default();
    for package in notice.packages.iter().filter(|p| p.arch != "src" && !p.name.is_empty()) {
        match ecosystem(&notice.id, &package.version) {
            Some(ecosystem) => fixes.add(&ecosystem, &package.name, None, package.version.clone()),
            None => builder.feed(FEED).skip("notice of a release that is not covered"),
        }
    }
    let base = Advisory {
        id: notice.id,
        title: notice.title,
        severity: rating::word(&notice.severity).unwrap_or_default(),
        feed: FEED.to_string(),
        fixes: notice.fixes,
        ..Advisory::default()
    };
    fixes.write(builder, &base)
}

/// The release for which a notice is.
fn ecosystem(id: &str, version: &str) -> Option<String> {
    if let Some(rest) = id.strip_prefix("ALAS") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let release = match digits.as_str() {
            "" => "1",
            "2" => "2",
            year if year.len() == 4 && rest.len() > 4 => year,
            _ => return None,
        };
        return Some(format!("Amazon Linux:{release}"));
    }
    let major = || major_of(version);
    let family = match id.get(..2)? {
        "AL" => "AlmaLinux",
        "RL" => "Rocky Linux",
        "RH" => "Red Hat",
        _ => return None,
    };
    Some(format!("{family}:{}", major()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::RangeEnd;
    use palisade_model::Severity;

    const TEXT: &str = r#"<?xml version="1.0"?><updates>
 <update author="a" type="security"><id>ALAS2023-2023-001</id><title>Amazon Linux 2023 - ALAS2023-2023-001: important for openssl</title>
  <issued date="2023-02-17 21:14" /><severity>Important</severity>
  <references><reference href="http://x" id="CVE-2022-3602" title="" type="cve" /><reference id="CVE-2022-3786" type="cve" /></references>
  <pkglist><collection short="a"><name>n</name>
   <package name="openssl" epoch="1" version="3.0.5" release="4.amzn2023" arch="x86_64"><filename>f</filename></package>
   <package name="openssl" epoch="1" version="3.0.5" release="4.amzn2023" arch="src" /></collection></pkglist></update>
 <update type="bugfix"><id>ALAS2-2023-9</id><pkglist><package name="a" version="1" release="1" arch="noarch"/></pkglist></update></updates>"#;

    #[test]
    fn reads_notices() {
        let folder = tempfile::tempdir().unwrap();
        let (path, db) = (folder.path().join("updateinfo.xml"), folder.path().join("db"));
        std::fs::write(&path, TEXT).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, &path).unwrap();
        assert_eq!(builder.feed(FEED).skipped["notice that names no vulnerability"], 1);
        builder.write(&db, Timestamp::from_nanos(1)).unwrap();
        let db = crate::db::Database::open(&db).unwrap();
        assert_eq!(db.info().built.rfc3339(), "2023-02-17T21:14:00.000000000Z");
        let found = db.advisories("Amazon Linux:2023", "openssl").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fixes, ["CVE-2022-3602", "CVE-2022-3786"]);
        assert_eq!(found[0].severity, Severity::High);
        assert_eq!(found[0].ranges[0].end, RangeEnd::Fixed("1:3.0.5-4.amzn2023".into()));
        assert!(found[0].title.ends_with("important for openssl"));
        for bad in ["", "<a/>", "<updates/>", &TEXT[..300]] {
            std::fs::write(&path, bad).unwrap();
            assert!(import(&mut DatabaseBuilder::new(), &path).is_err(), "{bad}");
        }
    }

    #[test]
    fn notices_belong_to_releases() {
        let check = |id: &str, version: &str, expected: Option<&str>| {
            assert_eq!(ecosystem(id, version).as_deref(), expected, "{id}");
        };
        check("ALAS2023-2023-001", "1", Some("Amazon Linux:2023"));
        check("ALAS2023LIVEPATCH-2023-1", "1", Some("Amazon Linux:2023"));
        check("ALAS2-2023-1", "1", Some("Amazon Linux:2"));
        check("ALAS2NGINX1-2023-1", "1", Some("Amazon Linux:2"));
        check("ALAS-2018-1", "1", Some("Amazon Linux:1"));
        check("RLSA-2022:1", "1-2.el8_5", Some("Rocky Linux:8"));
        check("ALSA-2022:1", "1-2.el9", Some("AlmaLinux:9"));
        check("RHSA-2022:1", "1-2", None);
        check("FEDORA-1", "1-2.fc40", None);
        check("é", "1", None);
    }
}

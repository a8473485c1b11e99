//! Errata of rebuilds of RHEL as JSON: AlmaLinux (`errata.json`, `errata.full.json`) and Rocky
//! Linux (the answers of its errata service).
//!
//! A notice names packages with the build that has the fix; one that names no CVE is no
//! vulnerability and is counted.

use std::collections::BTreeMap;
use std::path::Path;

use palisade_base::Timestamp;
use palisade_packages::version;
use serde::Deserialize;
use serde_json::Value;

use super::{ImportFeedError, cve_ids, documents, one_line, rating};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd};

/// Name of AlmaLinux's feed in findings.
pub const ALMA: &str = "almalinux-errata";
/// Name of Rocky Linux's feed in findings.
pub const ROCKY: &str = "rocky-errata";

/// A build of RPM: `openssl-1:3.0.7-18.el9_2.x86_64`, with or without `.rpm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nevra<'a> {
    pub(crate) name: &'a str,
    pub(crate) epoch: &'a str,
    /// `VERSION-RELEASE`.
    pub(crate) build: &'a str,
    pub(crate) arch: &'a str,
}

impl<'a> Nevra<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_suffix(".rpm").unwrap_or(text);
        let (rest, arch) = text.rsplit_once('.')?;
        let known = ["x86_64", "aarch64", "noarch", "src", "i686", "i586", "ppc64le", "s390x"];
        let known =
            known.contains(&arch) || matches!(arch, "ppc64" | "armv7hl" | "nosrc" | "riscv64");
        let at = rest.rfind('-')?;
        let at = rest.get(..at)?.rfind('-')?;
        let (name, build) = (rest.get(..at)?, rest.get(at + 1..)?);
        let (epoch, build) = build.split_once(':').unwrap_or(("0", build));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (known && !name.is_empty() && digits(epoch)).then_some(Self { name, epoch, build, arch })
    }

    /// The version with its epoch, as RPM compares it.
    pub(crate) fn version(&self) -> String {
        match self.epoch {
            "0" => self.build.to_string(),
            epoch => format!("{epoch}:{}", self.build),
        }
    }
}

/// What a notice fixes: the first build with the fix by package, ecosystem and module.
#[derive(Debug, Default)]
pub(crate) struct Fixes(BTreeMap<(String, String, Option<String>), String>);

impl Fixes {
    /// Adds a build; of several, for architectures and minor releases, the first counts.
    pub(crate) fn add(
        &mut self,
        ecosystem: &str,
        name: &str,
        module: Option<&str>,
        version: String,
    ) {
        let key = (ecosystem.to_string(), name.to_string(), module.map(str::to_string));
        let entry = self.0.entry(key);
        entry
            .and_modify(|known| {
                if version::rpm::compare(&version, known).is_some_and(std::cmp::Ordering::is_lt) {
                    known.clone_from(&version);
                }
            })
            .or_insert(version);
    }

    /// Adds `base` for every package.
    pub(crate) fn write(
        self,
        builder: &mut DatabaseBuilder,
        base: &Advisory,
    ) -> Result<(), ImportFeedError> {
        for ((ecosystem, package, module), version) in self.0 {
            builder.mark_whole(&ecosystem);
            let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed(version) }];
            builder.add(&ecosystem, &package, Advisory { ranges, module, ..base.clone() })?;
        }
        Ok(())
    }
}

/// A notice of either distribution: keys that one of them has not are empty.
#[derive(Deserialize)]
struct Notice {
    #[serde(default, alias = "name")]
    id: Value,
    #[serde(default)]
    updateinfo_id: Option<String>,
    #[serde(default, alias = "synopsis")]
    title: String,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    references: Vec<Value>,
    #[serde(default)]
    cves: Vec<Value>,
    #[serde(default)]
    packages: Vec<Value>,
    #[serde(default)]
    pkglist: Value,
    #[serde(default)]
    modules: Vec<Module>,
    #[serde(default)]
    rpms: BTreeMap<String, Value>,
    #[serde(default, alias = "publishedAt", alias = "published_at")]
    issued_date: Value,
}

#[derive(Deserialize, Default)]
struct Module {
    #[serde(default)]
    name: String,
    #[serde(default)]
    stream: Value,
}

/// Imports every document at `path`: a list of notices, or an object that holds one under
/// `data` or `advisories`.
pub fn import(
    builder: &mut DatabaseBuilder,
    path: &Path,
    feed: &'static str,
) -> Result<(), ImportFeedError> {
    builder.feed(feed);
    let before = builder.n_records();
    documents::each(path, &mut |_, bytes| {
        let Some(bytes) = bytes else {
            builder.feed(feed).skip("document larger than the bound");
            return Ok(());
        };
        let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
            builder.feed(feed).skip("malformed document");
            return Ok(());
        };
        let mut list = document;
        for key in ["data", "advisories"] {
            if let Some(inner) = list.get_mut(key) {
                list = inner.take();
            }
        }
        let Value::Array(notices) = list else {
            builder.feed(feed).skip("malformed document");
            return Ok(());
        };
        for notice in notices {
            match serde_json::from_value::<Notice>(notice) {
                Ok(notice) => add(builder, &notice, feed)?,
                Err(_) => builder.feed(feed).skip("malformed notice"),
            }
        }
        Ok(())
    })?;
    if builder.n_records() == before {
        return Err(ImportFeedError::Empty(path.to_path_buf()));
    }
    Ok(())
}

fn add(
    builder: &mut DatabaseBuilder,
    notice: &Notice,
    feed: &'static str,
) -> Result<(), ImportFeedError> {
    let id = notice.updateinfo_id.as_deref().or(notice.id.as_str()).unwrap_or_default();
    let fixes = cves_of(notice);
    if id.is_empty() {
        builder.feed(feed).skip("malformed notice");
        return Ok(());
    }
    if fixes.is_empty() {
        builder.feed(feed).skip("notice that names no vulnerability");
        return Ok(());
    }
    if let Some(time) = time_of(&notice.issued_date) {
        builder.note_time(feed, time);
    }
    let word = notice.severity.as_deref().unwrap_or_default();
    let word = word.strip_prefix("SEVERITY_").unwrap_or(word);
    let base = Advisory {
        id: id.to_string(),
        title: one_line(&notice.title),
        severity: rating::word(word)
            .or_else(|| notice.title.split_once(':').and_then(|(word, _)| rating::word(word)))
            .unwrap_or_default(),
        feed: feed.to_string(),
        fixes,
        ..Advisory::default()
    };
    let mut builds = Fixes::default();
    let lists = [notice.pkglist.get("packages"), Some(&notice.pkglist)];
    let listed = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
    for package in notice.packages.iter().chain(listed) {
        if !add_package(&mut builds, package, notice, feed) {
            builder.feed(feed).skip("package that is not understood");
        }
    }
    for (product, value) in &notice.rpms {
        let names = value.get("nvras").unwrap_or(value).as_array();
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            if !add_build(&mut builds, name, Some(product), notice, feed) {
                builder.feed(feed).skip("package that is not understood");
            }
        }
    }
    builds.write(builder, &base)
}

/// The CVEs that a notice names anywhere that the two distributions put them.
fn cves_of(notice: &Notice) -> Vec<String> {
    let mut found = Vec::new();
    for value in notice.cves.iter().chain(&notice.references) {
        let names =
            ["id", "name", "cve", "title"].map(|key| value.get(key).and_then(Value::as_str));
        let texts = names.into_iter().flatten().chain(value.as_str());
        for text in texts {
            found.extend(cve_ids(text).first().map(|range| text[range.clone()].to_uppercase()));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Seconds, milliseconds (`{"$date": …}`), or text.
fn time_of(value: &Value) -> Option<Timestamp> {
    if let Some(text) = value.as_str() {
        return text.parse().ok();
    }
    let number = value.get("$date").unwrap_or(value).as_u64()?;
    // Seconds until the year 5138; above they are milliseconds.
    let millis = if number < 100_000_000_000 { number.checked_mul(1000)? } else { number };
    millis.checked_mul(1_000_000).map(Timestamp::from_nanos)
}

/// A package as an object of names, or as `nevra`; false when neither is there.
fn add_package(fixes: &mut Fixes, value: &Value, notice: &Notice, feed: &str) -> bool {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    if let Some(nevra) = text("nevra") {
        let product = text("product_name").or_else(|| text("productName"));
        return add_build(fixes, nevra, product, notice, feed);
    }
    let (Some(name), Some(version), Some(release)) =
        (text("name"), text("version"), text("release"))
    else {
        return false;
    };
    let epoch = match value.get("epoch") {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => "0".to_string(),
    };
    let build = format!("{version}-{release}");
    let nevra =
        Nevra { name, epoch: &epoch, build: &build, arch: text("arch").unwrap_or("noarch") };
    add_nevra(fixes, nevra, None, text("module"), notice, feed)
}

fn add_build(
    fixes: &mut Fixes,
    name: &str,
    product: Option<&str>,
    notice: &Notice,
    feed: &str,
) -> bool {
    Nevra::parse(name).is_some_and(|build| add_nevra(fixes, build, product, None, notice, feed))
}

fn add_nevra(
    fixes: &mut Fixes,
    build: Nevra<'_>,
    product: Option<&str>,
    module: Option<&str>,
    notice: &Notice,
    feed: &str,
) -> bool {
    if matches!(build.arch, "src" | "nosrc") {
        return true;
    }
    let Some(major) = product.and_then(major_in).or_else(|| major_of(build.build)) else {
        return false;
    };
    let family = if feed == ROCKY { "Rocky Linux" } else { "AlmaLinux" };
    let is_modular = build.build.contains(".module");
    let named = module
        .filter(|m| m.contains(':'))
        .map(|label| label.split(':').take(2).collect::<Vec<_>>().join(":"));
    let first = || {
        let module = notice.modules.first()?;
        let stream = match &module.stream {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some(format!("{}:{stream}", module.name))
    };
    let module = if is_modular { named.or_else(first) } else { None };
    fixes.add(&format!("{family}:{major}"), build.name, module.as_deref(), build.version());
    true
}

/// `Rocky Linux 8` and `Rocky Linux 8 x86_64` are release 8.
fn major_in(product: &str) -> Option<&str> {
    let words = product.split_whitespace();
    let mut numbers = words.filter_map(|word| word.split('.').next());
    numbers.find(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
}

/// `el9_2`, `module_el8.5.0`, `module+el8.9.0`, `el10` in a release say for what it was built.
pub(crate) fn major_of(build: &str) -> Option<&str> {
    let mut rest = build;
    while let Some(at) = rest.find("el") {
        let before = rest.get(..at)?.chars().next_back();
        let after = rest.get(at + 2..)?;
        let n = after.bytes().take_while(u8::is_ascii_digit).count();
        if n > 0 && before.is_none_or(|c| !c.is_ascii_alphanumeric()) {
            return after.get(..n);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(text: &str, feed: &'static str) -> (DatabaseBuilder, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errata.json");
        std::fs::write(&path, text).unwrap();
        let mut builder = DatabaseBuilder::new();
        let ok = import(&mut builder, &path, feed).is_ok();
        (builder, ok)
    }

    fn found(builder: &DatabaseBuilder, ecosystem: &str, package: &str) -> Vec<Advisory> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        builder.write(&path, Timestamp::from_nanos(1)).unwrap();
        crate::db::Database::open(&path).unwrap().advisories(ecosystem, package).unwrap()
    }

    #[test]
    fn reads_both_forms_of_almalinux() {
        let old = r#"[{"updateinfo_id": "ALSA-2024:1", "title": "nodejs:20 security update", "severity": "Important",
          "issued_date": {"$date": 1700000000000}, "references": [{"id": "CVE-2024-0001", "type": "cve"}, {"id": "1", "type": "bugzilla"}],
          "modules": [{"name": "nodejs", "stream": "20"}],
          "pkglist": {"packages": [{"name": "nodejs", "epoch": "1", "version": "20.9.0", "release": "1.module_el8.9.0+3700+c1", "arch": "x86_64"},
            {"name": "nodejs", "epoch": "1", "version": "20.9.0", "release": "1.module_el8.9.0+3700+c1", "arch": "src"}, {"x": 1}]}},
          {"updateinfo_id": "ALBA-2024:1", "title": "bug", "references": []}, 7]"#;
        let new = r#"{"data": [{"id": "ALSA-2024:1", "title": "nodejs:20", "severity": "Important", "issued_date": 1700000000,
          "references": [{"id": "CVE-2024-0001", "type": "cve"}],
          "packages": [{"name": "nodejs", "epoch": 1, "version": "20.9.0", "release": "1.module_el8.9.0+3700+c1", "arch": "x86_64", "module": "nodejs:20:8090020:a1"}]}]}"#;
        for text in [old, new] {
            let (builder, ok) = imported(text, ALMA);
            assert!(ok);
            let found = found(&builder, "AlmaLinux:8", "nodejs");
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].fixes, ["CVE-2024-0001"]);
            assert_eq!(found[0].module.as_deref(), Some("nodejs:20"));
            assert_eq!(found[0].severity, palisade_model::Severity::High);
            let version = "1:20.9.0-1.module_el8.9.0+3700+c1".to_string();
            assert_eq!(found[0].ranges[0].end, RangeEnd::Fixed(version));
        }
        let (mut builder, _) = imported(old, ALMA);
        let skipped: u64 = builder.feed(ALMA).skipped.values().sum();
        assert_eq!(skipped, 3);
    }

    #[test]
    fn reads_both_forms_of_rocky_linux() {
        let two = r#"{"advisories": [{"name": "RLSA-2022:1", "synopsis": "Moderate: openssl", "severity": "SEVERITY_MODERATE",
          "cves": [{"name": "CVE-2022-0778"}], "publishedAt": "2022-05-10T06:48:00Z",
          "rpms": {"Rocky Linux 8": {"nvras": ["openssl-libs-1:1.1.1k-6.el8_5.x86_64.rpm", "openssl-1:1.1.1k-6.el8_5.src.rpm"]}}}]}"#;
        let three = r#"{"advisories": [{"name": "RLSA-2022:1", "severity": "Moderate", "cves": [{"cve": "CVE-2022-0778"}],
          "packages": [{"nevra": "openssl-libs-1:1.1.1k-6.el8_5.x86_64", "product_name": "Rocky Linux 8 x86_64"}]}]}"#;
        for text in [two, three] {
            let (builder, ok) = imported(text, ROCKY);
            assert!(ok);
            let found = found(&builder, "Rocky Linux:8", "openssl-libs");
            assert_eq!(found[0].id, "RLSA-2022:1");
            assert_eq!(found[0].ranges[0].end, RangeEnd::Fixed("1:1.1.1k-6.el8_5".into()));
        }
        assert!(!imported("{}", ROCKY).1 && !imported("[", ROCKY).1);
    }

    #[test]
    fn builds_and_their_releases() {
        let check = |text: &str, expected: Option<(&str, &str, &str)>| {
            let found = Nevra::parse(text);
            let version = found.map(|build| build.version()).unwrap_or_default();
            let found = found.map(|build| (build.name, version.as_str(), build.arch));
            assert_eq!(found, expected, "{text}");
        };
        check("a-b-1:2-3.el9.x86_64.rpm", Some(("a-b", "1:2-3.el9", "x86_64")));
        check("a-0:2-3.noarch", Some(("a", "2-3", "noarch")));
        check("a-2-3.elf", None);
        check("a-2.x86_64", None);
        check("-2-3.x86_64", None);
        check("", None);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(major_of(text), expected, "{text}");
        };
        check("1-2.el9_2", Some("9"));
        check("1-2.module_el8.5.0+1", Some("8"));
        check("1-2.module+el8.9.0", Some("8"));
        check("1-2.el10", Some("10"));
        check("1model9-2.fc40", None);
        check("é", None);
    }
}

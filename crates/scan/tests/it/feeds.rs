//! The real feeds of `$PALISADE_SHARED/feeds`, where they are present.

use std::path::PathBuf;
use std::time::Instant;

use palisade_base::Timestamp;
use palisade_model::package::{Inventory, Subject};
use palisade_model::{Distribution, Package, PackageKind};
use palisade_scan::db::{Advisory, Database, DatabaseBuilder};
use palisade_scan::feeds::{alpine, kev, osv};

const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

/// The folder of real feeds; says why there is none.
pub(crate) fn feeds() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where test data lies, not a setting of the product"
    )]
    let shared = std::env::var_os("PALISADE_SHARED").map(PathBuf::from);
    let default = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let folder = shared.unwrap_or(default).join("feeds");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: `{}` does not exist", folder.display());
    None
}

#[test]
fn all_real_feeds_compile_into_one_database() {
    let Some(feeds) = feeds() else { return };
    let started = Instant::now();
    let mut builder = DatabaseBuilder::new();
    for ecosystem in ["Go", "PyPI", "crates.io", "AlmaLinux"] {
        osv::import(&mut builder, &feeds.join("osv").join(ecosystem).join("all.zip")).unwrap();
    }
    alpine::import(&mut builder, &feeds.join("alpine-secdb")).unwrap();
    kev::import(&mut builder, &feeds.join("known_exploited_vulnerabilities.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("advisories.db");
    let n_bytes = builder.write(&path, NOW).unwrap();
    eprintln!(
        "compiled {} records into {n_bytes} bytes in {:?}",
        builder.n_records(),
        started.elapsed()
    );

    let opened = Instant::now();
    let db = Database::open(&path).unwrap();
    eprintln!("opened in {:?}", opened.elapsed());
    db.verify().unwrap();
    for feed in &db.metadata().feeds {
        eprintln!("{} {} {:?} {:?}", feed.name, feed.n_records, feed.newest, feed.skipped);
    }
    assert!(n_bytes < 30 << 20);
    assert!(builder.n_records() > 60_000, "{}", builder.n_records());
    let skipped: u64 = db.metadata().feeds.iter().flat_map(|feed| feed.skipped.values()).sum();
    // Notices about bugs and enhancements of AlmaLinux are left out and counted.
    let bugs = "notice that names no vulnerability";
    let alma = db.metadata().feeds.iter().find(|feed| feed.name == "osv/AlmaLinux").unwrap();
    assert!(skipped - alma.skipped[bugs] < 1000, "{skipped}");
    for ecosystem in ["Go", "PyPI", "crates.io", "AlmaLinux:9", "Alpine:v3.11"] {
        assert!(db.has_ecosystem(ecosystem), "{ecosystem}");
    }

    let has = |ecosystem: &str, package: &str, id: &str| {
        let found = db.advisories(ecosystem, package).unwrap();
        assert!(
            found.iter().any(|a| a.id == id || a.aliases.iter().any(|alias| alias == id)),
            "{ecosystem} {package} {id}"
        );
    };
    has("Go", "golang.org/x/crypto", "CVE-2017-3204");
    has("PyPI", "cherrypy", "PYSEC-2008-3");
    has("crates.io", "cookie", "RUSTSEC-2017-0005");
    has("Alpine:v3.11", "ansible", "CVE-2019-14904");
    assert!(db.is_exploited("CVE-2025-48384").unwrap());
    assert!(!db.packages_of("CVE-2017-3204").unwrap().is_empty());

    let looked_up = Instant::now();
    for i in 0..10_000 {
        db.advisories("AlmaLinux:9", &format!("package-{i:05}")).unwrap();
    }
    eprintln!("10,000 look-ups in {:?}", looked_up.elapsed());
    match_ten_thousand(&db, folder.path());
}

/// Matches 10,000 packages that have advisories, every twentieth of them old, and says how long
/// it takes.
fn match_ten_thousand(db: &Database, folder: &std::path::Path) {
    let mut none = DatabaseBuilder::new();
    none.add("none", "none", Advisory::default()).unwrap();
    none.write(&folder.join("none.db"), NOW).unwrap();
    let none = Database::open(&folder.join("none.db")).unwrap();
    let all = db.changed_since(&none).unwrap().packages;
    let kind = |ecosystem: &str| match ecosystem {
        "PyPI" => Some(PackageKind::Python),
        "Go" => Some(PackageKind::Go),
        "crates.io" => Some(PackageKind::Cargo),
        "AlmaLinux:9" => Some(PackageKind::Rpm),
        _ => None,
    };
    let known: Vec<(PackageKind, &String)> =
        all.iter().filter_map(|(e, name)| kind(e).map(|kind| (kind, name))).collect();
    let packages = (0..10_000).filter_map(|i| {
        let (kind, name) = known.get(i % known.len())?;
        let version = if i % 20 == 0 { "0.0.1" } else { "9999.0.0" };
        Some(Package::new(*kind, name.as_str(), version, "/x"))
    });
    let distribution = Distribution {
        id: "almalinux".into(),
        version_id: "9.4".into(),
        codename: String::new(),
        name: String::new(),
    };
    let inventory = Inventory {
        subject: Subject { name: "x".into(), digest: None, platform: None },
        distribution: Some(distribution),
        packages: packages.collect(),
        parts: vec![],
        programs: vec![],
        n_files: 0,
        gaps: vec![],
    };
    let started = Instant::now();
    let found = palisade_scan::matching::find_vulnerabilities(&inventory, db).unwrap();
    let n = found.vulnerabilities.len();
    let n_names = known.len();
    eprintln!(
        "10,000 packages of {n_names} names matched in {:?}: {n} findings",
        started.elapsed()
    );
    assert_eq!(found.n_packages_matched, 10_000);
    assert!(n > 1000, "{n}");
}

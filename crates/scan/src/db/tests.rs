//! The database file: what is written is read back, and damage is an error, not an answer.

use super::*;
use palisade_model::Severity;

fn advisory(id: &str, fixed: &str) -> Advisory {
    Advisory {
        id: id.into(),
        aliases: vec![format!("ALIAS-{id}")],
        title: format!("title of {id}"),
        severity: Severity::Medium,
        feed: "test".into(),
        ranges: vec![Range { introduced: None, end: RangeEnd::Fixed(fixed.into()) }],
        versions: Vec::new(),
    }
}

fn sample(n_packages: usize) -> DatabaseBuilder {
    let mut builder = DatabaseBuilder::new();
    for i in 0..n_packages {
        for j in 0..3 {
            let id = format!("CVE-2024-{i:05}{j}");
            builder.add("Debian:12", &format!("package-{i}"), advisory(&id, "1.0")).unwrap();
        }
    }
    builder.add_exploited("kev", "CVE-2024-000010");
    builder
}

const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

fn written(builder: &DatabaseBuilder) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("advisories.db");
    builder.write(&path, NOW).unwrap();
    (folder, path)
}

#[test]
fn every_package_is_found_again() {
    let (_folder, path) = written(&sample(2000));
    let db = Database::open(&path).unwrap();
    db.verify().unwrap();
    for i in (0..2000).rev() {
        let found = db.advisories("Debian:12", &format!("package-{i}")).unwrap();
        assert_eq!(found.len(), 3, "package-{i}");
        assert_eq!(found[1], advisory(&format!("CVE-2024-{i:05}1"), "1.0"));
    }
    for absent in ["", "package", "package-2000", "zzz"] {
        assert!(db.advisories("Debian:12", absent).unwrap().is_empty(), "{absent}");
    }
    assert!(db.advisories("Debian:11", "package-1").unwrap().is_empty());
    assert!(db.has_ecosystem("Debian:12") && !db.has_ecosystem("Debian:1"));
    assert!(db.is_exploited("CVE-2024-000010").unwrap());
    assert!(!db.is_exploited("CVE-2024-000011").unwrap());
    let pairs = db.packages_of("ALIAS-CVE-2024-000070").unwrap();
    assert_eq!(pairs, [("Debian:12".to_string(), "package-7".to_string())]);
    assert_eq!(db.info().n_records, 6000);
    assert_eq!(db.info().built, NOW);
}

#[test]
fn the_same_input_in_another_order_is_the_same_file() {
    let mut a = DatabaseBuilder::new();
    a.add("x", "p", advisory("CVE-1", "1")).unwrap();
    a.add("x", "p", advisory("CVE-2", "1")).unwrap();
    let mut b = DatabaseBuilder::new();
    b.add("x", "p", advisory("CVE-2", "1")).unwrap();
    b.add("x", "p", advisory("CVE-1", "1")).unwrap();
    assert_eq!(a.build(NOW).unwrap(), b.build(NOW).unwrap());
}

#[test]
fn an_empty_database_is_refused() {
    assert!(matches!(DatabaseBuilder::new().build(NOW), Err(BuildDatabaseError::Empty)));
}

#[test]
fn every_flipped_byte_is_noticed() {
    let (_folder, path) = written(&sample(12));
    let good = std::fs::read(&path).unwrap();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x20;
        std::fs::write(&path, &bad).unwrap();
        // Opening checks what the answers depend on; verifying checks everything.
        let noticed = Database::open(&path).and_then(|db| db.verify());
        assert!(noticed.is_err(), "byte {i} of {}", good.len());
        if let Ok(db) = Database::open(&path) {
            for j in 0..12 {
                if let Ok(found) = db.advisories("Debian:12", &format!("package-{j}")) {
                    // Reserved bytes and the trailer do not decide answers.
                    assert_eq!(found.len(), 3, "byte {i} changed an answer");
                }
            }
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let (_folder, path) = written(&sample(3));
    let good = std::fs::read(&path).unwrap();
    for n in 0..good.len() {
        std::fs::write(&path, &good[..n]).unwrap();
        assert!(Database::open(&path).is_err(), "{n} bytes");
    }
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(matches!(Database::open(&path), Err(ReadDatabaseError::Damaged { .. })));
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    assert!(matches!(Database::open(&path), Err(ReadDatabaseError::Missing(_))));
    std::fs::write(&path, vec![b'x'; 100]).unwrap();
    assert!(matches!(Database::open(&path), Err(ReadDatabaseError::NotADatabase(_))));
    assert!(matches!(Database::open(folder.path()), Err(ReadDatabaseError::NotADatabase(_))));
    let mut bytes = sample(1).build(NOW).unwrap();
    bytes[8] = 9;
    std::fs::write(&path, bytes).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(matches!(error, ReadDatabaseError::Version { found: 9, .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_failed_update_keeps_the_old_file() {
    let (folder, path) = written(&sample(5));
    let before = std::fs::read(&path).unwrap();
    assert!(DatabaseBuilder::new().write(&path, NOW).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let gone = folder.path().join("no-such-folder/db");
    assert!(matches!(sample(1).write(&gone, NOW), Err(BuildDatabaseError::Write { .. })));
}

#[test]
fn builders_and_readers_at_once_see_whole_files() {
    let (_folder, path) = written(&sample(50));
    std::thread::scope(|scope| {
        for n in [20, 40, 60] {
            let path = &path;
            scope.spawn(move || (0..5).for_each(|_| assert!(sample(n).write(path, NOW).is_ok())));
        }
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let db = Database::open(&path).unwrap();
                    assert_eq!(db.advisories("Debian:12", "package-7").unwrap().len(), 3);
                }
            });
        }
    });
    Database::open(&path).unwrap().verify().unwrap();
}

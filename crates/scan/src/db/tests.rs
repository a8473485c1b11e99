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
        ..Advisory::default()
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
    // Backwards, forwards with gaps, and to and fro: what is kept of the last look-up changes nothing.
    let to_and_fro = (0..4000).map(|i| i * 7919 % 2000);
    for i in (0..2000).rev().chain((0..2000).step_by(3)).chain(to_and_fro) {
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
fn a_name_with_a_nul_is_left_out_and_counted() {
    let mut builder = sample(1);
    // Together they would be one key twice, which no file may have.
    for (ecosystem, package) in [("e\0", "p"), ("e", "\0p"), ("e", "p")] {
        builder.add(ecosystem, package, advisory("CVE-1", "1")).unwrap();
        builder.cover(ecosystem, package);
    }
    let (_folder, path) = written(&builder);
    let db = Database::open(&path).unwrap();
    db.verify().unwrap();
    assert_eq!(db.advisories("e", "p").unwrap(), [advisory("CVE-1", "1")]);
    let feed = db.metadata().feeds.iter().find(|feed| feed.name == "test").unwrap();
    assert_eq!((feed.n_records, feed.skipped["a name with a NUL"]), (4, 2));
    assert_eq!(db.info().n_records, 4);
}

#[test]
fn an_empty_database_is_refused() {
    assert!(matches!(DatabaseBuilder::new().build(NOW), Err(BuildDatabaseError::Empty)));
}

/// Whether what the whole sample of 12 packages says is what `db` says.
fn says_the_same(db: &Database) -> bool {
    (0..12).all(|i| {
        let wanted: Vec<Advisory> =
            (0..3).map(|j| advisory(&format!("CVE-2024-{i:05}{j}"), "1.0")).collect();
        let found = db.advisories("Debian:12", &format!("package-{i}"));
        found.is_ok_and(|found| found == wanted)
    }) && db.is_exploited("CVE-2024-000010").is_ok_and(|is| is)
        && (db.info().built, db.info().n_records) == (NOW, 36)
}

/// Calls `check` with the file in which one byte after the other is flipped, in a bit of its own.
fn with_flipped_bytes(path: &Path, mut check: impl FnMut(usize)) {
    let good = std::fs::read(path).unwrap();
    for i in 0..good.len() {
        for bit in [1, 0x20, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[i] ^= bit;
            std::fs::write(path, &bad).unwrap();
            check(i);
        }
    }
}

#[test]
fn every_flipped_byte_of_an_unsigned_file_is_refused() {
    let (_folder, path) = written(&sample(12));
    assert!(says_the_same(&Database::open(&path).unwrap()));
    with_flipped_bytes(&path, |i| {
        let read = Database::open(&path).and_then(|db| {
            // Before every block is read, an answer is right or an error.
            for j in 0..12 {
                let found = db.advisories("Debian:12", &format!("package-{j}"));
                assert!(found.is_err() || found.unwrap().len() == 3, "byte {i}");
            }
            db.verify()
        });
        assert!(read.is_err(), "byte {i}");
    });
}

#[test]
fn every_flipped_byte_of_a_signed_file_is_refused_or_changes_nothing() {
    let (_folder, path) = written(&sample(12));
    let n = std::fs::metadata(&path).unwrap().len() as usize;
    sample(12).write_signed(&path, NOW, Some(&sign)).unwrap();
    let mut n_opened = 0;
    with_flipped_bytes(&path, |i| {
        let read = Database::open(&path).and_then(|db| db.verify().map(|_| db));
        // Who asks for a signature is refused. Who does not cannot tell a wrong one, which says
        // nothing about the answers.
        if let Ok(db) = read {
            assert!(i >= n - 96, "byte {i}");
            assert!(says_the_same(&db), "byte {i}");
            assert!(db.require_signature(&vouches).is_err(), "byte {i}");
            n_opened += 1;
        }
    });
    assert_eq!(n_opened, 96 * 4);
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
    bytes[8] = 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(matches!(error, ReadDatabaseError::Version { found: 1, .. }), "{error}");
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

/// A signature that a test can check: the key's name and the message's digest.
fn sign(message: &[u8]) -> Signature {
    let half = format::sha256(message);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half);
    signature[32..].copy_from_slice(&half);
    Signature { key: [7; 32], signature }
}

fn vouches(signature: &Signature, message: &[u8]) -> bool {
    *signature == sign(message)
}

#[test]
fn a_signature_covers_every_answer() {
    let (_folder, path) = written(&sample(40));
    let unsigned = Database::open(&path).unwrap();
    assert!(unsigned.signature().is_none());
    let error = unsigned.require_signature(&vouches).unwrap_err();
    assert!(matches!(error, ReadDatabaseError::NotSigned(_)), "{error}");
    sample(40).write_signed(&path, NOW, Some(&sign)).unwrap();
    let signed = Database::open(&path).unwrap();
    assert_eq!(signed.digest(), unsigned.digest());
    signed.require_signature(&vouches).unwrap();
    let error = signed.require_signature(&|_, _| false).unwrap_err();
    assert!(error.to_string().contains("0707070707070707"), "{error}");
    // The signature of one database is none of another's.
    let other = sample(41).build_signed(NOW, None).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mixed = [&other[..other.len() - 96], &good[good.len() - 96..]].concat();
    std::fs::write(&path, mixed).unwrap();
    let error = Database::open(&path).unwrap().require_signature(&vouches).unwrap_err();
    assert!(matches!(error, ReadDatabaseError::WrongSignature { .. }));
}

/// Two databases in a folder: the second has other advisories about some packages.
fn two() -> (tempfile::TempDir, Database, Database) {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    sample(3000).write_signed(&old, NOW, Some(&sign)).unwrap();
    let mut builder = sample(2999);
    builder.add("Debian:12", "package-7", advisory("CVE-2026-0001", "2")).unwrap();
    builder.add("Debian:12", "new", advisory("CVE-2026-0002", "2")).unwrap();
    builder.add_exploited("kev", "CVE-2024-000020");
    builder.write_signed(&new, NOW, Some(&sign)).unwrap();
    let (old, new) = (Database::open(&old).unwrap(), Database::open(&new).unwrap());
    (folder, old, new)
}

#[test]
fn what_changed_is_listed_without_reading_what_did_not() {
    let (folder, old, new) = two();
    let changes = new.changed_since(&old).unwrap();
    let names: Vec<&str> = changes.packages.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["new", "package-2999", "package-7"]);
    assert_eq!(changes.exploited, ["CVE-2024-000020"]);
    assert!(new.changed_since(&new).unwrap().is_empty());
    assert!(old.changed_since(&new).unwrap().exploited.is_empty());
    // Another order of feeds is no change; another feed of an advisory is.
    let mut builder = sample(2999);
    builder.add("Debian:12", "package-7", advisory("CVE-2026-0001", "2")).unwrap();
    builder.add("Debian:12", "new", advisory("CVE-2026-0002", "2")).unwrap();
    builder.add_exploited("kev", "CVE-2024-000020");
    let elsewhere = Advisory { feed: "a".into(), ..advisory("CVE-1", "1") };
    builder.add("Debian:12", "package-9", elsewhere).unwrap();
    let third = folder.path().join("third");
    builder.write(&third, NOW).unwrap();
    let changes = Database::open(&third).unwrap().changed_since(&new).unwrap();
    assert_eq!(changes.packages, [("Debian:12".to_string(), "package-9".to_string())]);
}

#[test]
fn a_delta_gives_the_newer_file_byte_for_byte() {
    let (_folder, old, new) = two();
    let bytes = delta::between(&old, &new).unwrap();
    let whole = std::fs::read(new.path()).unwrap();
    assert!(bytes.len() * 4 < whole.len(), "{} of {}", bytes.len(), whole.len());
    let path = Path::new("delta");
    assert_eq!(delta::apply(&old, &bytes, path).unwrap(), whole);
    let error = delta::apply(&new, &bytes, path).unwrap_err();
    assert!(matches!(error, delta::DeltaError::OtherBase { .. }), "{error}");
    let error = delta::apply(&old, b"PALADVDX", path).unwrap_err();
    assert!(matches!(error, delta::DeltaError::NotADelta(_)), "{error}");
}

#[test]
fn a_damaged_delta_is_refused() {
    let (_folder, old, new) = two();
    let good = delta::between(&old, &new).unwrap();
    let whole = std::fs::read(new.path()).unwrap();
    let path = Path::new("delta");
    for i in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[i] ^= 1;
        assert!(delta::apply(&old, &bad, path).is_err(), "byte {i}");
        assert!(delta::apply(&old, &good[..i], path).is_err(), "{i} bytes");
        // Under a right digest what is inside must still fit together.
        let n = bad.len() - 32;
        let digest = format::sha256(&bad[..n]);
        bad[n..].copy_from_slice(&digest);
        if let Ok(bytes) = delta::apply(&old, &bad, path) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let usable = Database::open(file.path())
                .and_then(|db| db.verify().and(db.require_signature(&vouches)));
            assert!(usable.is_err() || bytes == whole, "byte {i}");
        }
    }
}

#[test]
fn one_updater_at_a_time_and_nothing_older() {
    let (_folder, old, new) = two();
    let path = old.path().to_path_buf();
    let lock = update::UpdateLock::take(&path).unwrap();
    let error = update::UpdateLock::take(&path).unwrap_err();
    let expected = format!("by process {}", std::process::id());
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(error.hint().is_some());
    let whole = std::fs::read(new.path()).unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], trust: &dyn Fn(&Signature, &[u8]) -> bool| {
        assert!(lock.replace(bytes, &path, Some(trust), false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    refused(&whole, &|_, _| false);
    refused(&whole[..whole.len() - 1], &vouches);
    refused(b"", &vouches);
    let older = sample(1).build(Timestamp::from_nanos(1)).unwrap();
    let error = lock.replace(&older, &path, None, false).unwrap_err();
    assert!(matches!(error, update::UpdateDatabaseError::Older { .. }), "{error}");
    let installed = lock.replace(&whole, &path, Some(&vouches), false).unwrap();
    assert_eq!(installed.digest(), new.digest());
    // Whoever had the old one open goes on reading it.
    assert_eq!(old.advisories("Debian:12", "package-2999").unwrap().len(), 3);
    lock.replace(&older, &path, None, true).unwrap();
    drop(lock);
    update::UpdateLock::take(&path).unwrap();
}

/// Advisories of two distributions and of npm, each of a feed as old as that.
fn aged(builder: &mut DatabaseBuilder) {
    let feeds =
        [("osv/Debian", "Debian:12", 10), ("osv/npm", "npm", 90), ("alpine", "Alpine:v3.22", 5)];
    for (feed, ecosystem, second) in feeds {
        let one = Advisory { feed: feed.into(), ..advisory("CVE-2024-0001", "1.0") };
        builder.add(ecosystem, "a", one).unwrap();
        builder.note_time(feed, Timestamp::from_nanos(second * 1_000_000_000));
    }
    builder.add_exploited("kev", "CVE-2024-0001");
    builder.note_time("kev", Timestamp::from_nanos(1));
}

fn holding(kinds: &[palisade_model::PackageKind]) -> Inventory {
    let package = |kind: &_| palisade_model::Package::new(*kind, "a", "1", "/x");
    Inventory {
        subject: palisade_model::package::Subject {
            name: "x".into(),
            digest: None,
            platform: None,
        },
        distribution: Some(palisade_model::Distribution {
            id: "debian".into(),
            version_id: "12".into(),
            codename: String::new(),
            name: "Debian 12".into(),
        }),
        packages: kinds.iter().map(package).collect(),
        parts: vec![],
        programs: vec![],
        n_files: 0,
        gaps: vec![],
    }
}

#[test]
fn a_fresh_feed_hides_no_stale_one() {
    use palisade_model::PackageKind::{Dpkg, Node, Python};
    let mut builder = DatabaseBuilder::new();
    aged(&mut builder);
    let (_folder, path) = written(&builder);
    let db = Database::open(&path).unwrap();
    let check = |db: &Database, kinds: &[_], expected: Option<&str>| {
        let oldest = db.info_of(&holding(kinds)).oldest;
        assert_eq!(oldest.as_ref().map(|feed| feed.name.as_str()), expected, "{kinds:?}");
    };
    check(&db, &[Node, Dpkg], Some("osv/Debian"));
    check(&db, &[Node], Some("osv/npm"));
    check(&db, &[Python], None);
    let info = db.info_of(&holding(&[Dpkg]));
    assert_eq!(info.as_of(), Some(Timestamp::from_nanos(10_000_000_000)));
    assert_eq!(
        info.age_days(Timestamp::from_nanos(10_000_000_000 + 3 * 86_400_000_000_000)),
        Some(3)
    );
    // Whatever is there, all feeds of advisories count; the list of what is exploited does not.
    assert_eq!(db.info().oldest.unwrap().name, "alpine");
    assert_eq!(db.info().times.len(), 4);
    // A delta brings the times along.
    builder.note_time("osv/Debian", Timestamp::from_nanos(95_000_000_000));
    let newer = path.with_extension("new");
    builder.write(&newer, NOW).unwrap();
    let newer = Database::open(&newer).unwrap();
    let bytes = delta::apply(&db, &delta::between(&db, &newer).unwrap(), &path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    check(&Database::open(&path).unwrap(), &[Node, Dpkg], Some("osv/npm"));
    // A feed of unknown time comes before all, and one that is dated after it was fetched is as
    // old as that.
    builder.feed("osv/npm").newest = None;
    builder.feed("osv/Debian").fetched = Some(Timestamp::from_nanos(7));
    builder.write(&path, NOW).unwrap();
    let db = Database::open(&path).unwrap();
    assert_eq!(db.info_of(&holding(&[Node, Dpkg])).as_of(), None);
    assert_eq!(db.info_of(&holding(&[Dpkg])).as_of(), Some(Timestamp::from_nanos(7)));
}

#[test]
fn feeds_of_an_earlier_build_s_file_count_for_every_ecosystem() {
    let mut builder = DatabaseBuilder::new();
    aged(&mut builder);
    for feed in ["osv/Debian", "osv/npm", "alpine"] {
        builder.feed(feed).ecosystems.clear();
    }
    let (_folder, path) = written(&builder);
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    assert_eq!(text.matches("\"ecosystems\":").count(), 1, "as it was written before");
    let db = Database::open(&path).unwrap();
    let oldest = db.info_of(&holding(&[palisade_model::PackageKind::Node])).oldest.unwrap();
    assert_eq!(oldest.name, "alpine");
}

#[test]
fn a_quiet_feed_of_its_publisher_is_as_young_as_the_fetch() {
    let at = |days: u64| Timestamp::from_nanos(days * 86_400_000_000_000);
    let feed = |newest: Option<u64>, fetched: Option<u64>, of_publisher| FeedInfo {
        newest: newest.map(at),
        fetched: fetched.map(at),
        of_publisher,
        ..FeedInfo::default()
    };
    let check = |feed: FeedInfo, expected: Option<u64>| {
        assert_eq!(feed.time(), expected.map(at), "{feed:?}");
    };
    check(feed(Some(10), Some(50), true), Some(50));
    check(feed(None, Some(50), true), Some(50));
    // A date that is yet to come makes it no younger.
    check(feed(Some(60), Some(50), true), Some(50));
    // When a copy was taken says nothing of what was there to copy.
    check(feed(Some(10), Some(50), false), Some(10));
    check(feed(Some(60), Some(50), false), Some(50));
    check(feed(None, Some(50), false), Some(50));
    check(feed(Some(10), None, true), Some(10));
    check(feed(None, None, false), None);
}

#[test]
fn one_copy_among_the_parts_of_a_feed_makes_it_one() {
    use crate::feeds::catalogue::{Form, Origin, import};
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, modified: &str| {
        let path = folder.path().join(name);
        let package = serde_json::json!({"ecosystem": "Debian:12", "name": name});
        let record = serde_json::json!({"id": format!("CVE-2024-{name}"), "modified": modified,
            "affected": [{"package": package, "versions": ["1"]}]});
        std::fs::write(&path, record.to_string()).unwrap();
        path
    };
    let days = |days: u64| Timestamp::from_nanos(days * 86_400_000_000_000);
    let (a, b) = (part("0001", "1970-01-11T00:00:00Z"), part("0002", "1970-01-21T00:00:00Z"));
    let check = |origins: [Origin; 2], time: u64, of_publisher: bool| {
        let mut builder = DatabaseBuilder::new();
        for (path, origin) in [&a, &b].into_iter().zip(origins) {
            import(&mut builder, Form::Osv, path, origin).unwrap();
        }
        let (_folder, path) = written(&builder);
        let info =
            Database::open(&path).unwrap().info_of(&holding(&[palisade_model::PackageKind::Dpkg]));
        let oldest = info.oldest.clone().unwrap();
        assert_eq!(
            (oldest.time, oldest.of_publisher),
            (Some(days(time)), of_publisher),
            "{origins:?}"
        );
        // What a gate asks, 50 days after the epoch.
        assert_eq!(info.age_days(days(50)), Some(50 - time));
    };
    let (old, now) = (Origin::Publisher(days(48)), Origin::Publisher(days(50)));
    check([now, now], 50, true);
    check([now, old], 48, true);
    check([now, Origin::Copy(Some(days(50)))], 20, false);
    check([Origin::Copy(Some(days(50))), now], 20, false);
    check([Origin::Copy(None), now], 20, false);
}

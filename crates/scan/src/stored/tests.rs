//! What is stored comes back whole or not at all, and a look says what became vulnerable.

use palisade_model::package::Subject;
use palisade_model::{Distribution, Package, PackageKind};

mod bounds;
mod faults;
mod told;

use super::*;
use crate::db::{Advisory, Database, DatabaseBuilder, Range, RangeEnd};

const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

fn inventory(name: &str, packages: impl Iterator<Item = usize>) -> Inventory {
    let package = |i: usize| {
        let name = format!("package-{i}");
        let mut package = Package::new(PackageKind::Dpkg, &name, "1.0", "/var/lib/dpkg/status");
        package.purl = format!("pkg:deb/debian/{name}@1.0");
        package
    };
    Inventory {
        subject: Subject {
            name: name.into(),
            digest: Some(Digest::of(name.as_bytes())),
            platform: None,
        },
        distribution: Some(Distribution {
            id: "debian".into(),
            version_id: "12".into(),
            codename: "bookworm".into(),
            name: "Debian".into(),
        }),
        packages: packages.map(package).collect(),
        parts: Vec::new(),
        programs: Vec::new(),
        n_files: 1,
        gaps: Vec::new(),
    }
}

/// A database of 20,000 packages in which `hit` are vulnerable in every version before 2.
fn database(path: &Path, hit: impl Iterator<Item = usize>) -> Database {
    let mut builder = DatabaseBuilder::new();
    let mut add = |i: usize, id: String, fixed: &str| {
        let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed(fixed.into()) }];
        let advisory = Advisory { id, ranges, feed: "test".into(), ..Advisory::default() };
        builder.add("Debian:12", &format!("package-{i}"), advisory).unwrap();
    };
    (0..20_000).for_each(|i| add(i, format!("CVE-2020-{i:05}"), "0.5"));
    hit.for_each(|i| add(i, format!("CVE-2026-{i:05}"), "2.0"));
    builder.write(path, NOW).unwrap();
    Database::open(path).unwrap()
}

/// The bytes of a file in which nothing was found.
fn encoded(entry: &Entry, inventory: &Inventory) -> Vec<u8> {
    file::encode(entry, &Evaluation::default(), inventory, FILE_BYTES_MAX).unwrap().0
}

fn look_untold(store: &Store, database: &Database, now: Timestamp) -> (Vec<Seen>, Summary) {
    let options = LookOptions {
        now,
        program: "1",
        details: false,
        full: false,
        n_threads_max: 4,
        watch: None,
    };
    let mut seen = Vec::new();
    let summary = store.look(database, &options, &mut |one| seen.push(one)).unwrap();
    (seen, summary)
}

fn look(store: &Store, database: &Database) -> (Vec<Seen>, Summary) {
    let (seen, summary) = look_untold(store, database, NOW);
    store.acknowledge(summary.time).unwrap();
    (seen, summary)
}

fn ids(list: &[palisade_model::finding::Vulnerability]) -> Vec<&str> {
    list.iter().map(|v| v.id.as_str()).collect()
}

#[test]
fn a_file_comes_back_whole_and_no_byte_of_it_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let inventory = inventory("a", 0..5);
    store.put(&inventory, &Evaluation::default(), None, ("1", NOW)).unwrap();
    let path = store.path(inventory.subject.digest.unwrap());
    let bytes = std::fs::read(&path).unwrap();
    let other = folder.path().join("other");
    let whole = |bytes: &[u8]| {
        std::fs::write(&other, bytes).unwrap();
        let file = File::open(&other).unwrap();
        let status = file.metadata().unwrap();
        let (_, read) = Stored::read(file, status)?.whole(None)?;
        Ok::<_, file::ReadStoredError>(read)
    };
    assert_eq!(whole(&bytes).unwrap(), inventory);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(whole(&damaged).is_err(), "byte {at}");
        assert!(whole(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn what_was_scanned_longest_ago_makes_room_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store { inventories_max: 2, ..Store::new(folder.path()) };
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let n =
            store.put(&inventory(name, 0..1), &Evaluation::default(), None, ("1", NOW)).unwrap();
        assert_eq!(n, u64::from(i == 2), "{name}");
        let file = File::open(store.path(Digest::of(name.as_bytes()))).unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(i as u64);
        file.set_modified(time).unwrap();
    }
    let listing = store.list().unwrap();
    let mut names: Vec<&str> = listing.entries.iter().map(|e| e.subject.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!((names, listing.n_evicted), (vec!["b", "c"], 1));
    let tight = Store { bytes_max: 1, ..store };
    assert_eq!(
        tight.put(&inventory("d", 0..1), &Evaluation::default(), None, ("1", NOW)).unwrap(),
        2
    );
    assert!(tight.forget(Digest::of(b"d")).unwrap() && !tight.forget(Digest::of(b"d")).unwrap());
}

#[test]
fn a_look_says_what_became_vulnerable_and_what_no_longer_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    for (name, packages) in [("a", 0..5), ("b", 5..9)] {
        store.put(&inventory(name, packages), &Evaluation::default(), None, ("1", NOW)).unwrap();
    }
    let path = folder.path().join("a.db");
    let (seen, summary) = look(&store, &database(&path, 1..2));
    assert_eq!((summary.n_matched, summary.is_delta), (2, false));
    let new: Vec<&str> = seen.iter().flat_map(|seen| ids(&seen.new)).collect();
    assert_eq!(new, ["CVE-2026-00001"]);
    // The same again: nothing is matched, nothing is new.
    let (seen, summary) = look(&store, &Database::open(&path).unwrap());
    assert_eq!((summary.n_matched, summary.is_delta), (0, true));
    assert_eq!(seen.iter().map(|seen| (seen.new.len() as u64, seen.n_still)).max(), Some((0, 1)));
    // Another database at the same place: one package each way, in one inventory.
    let (seen, summary) = look(&store, &database(&path, 2..3));
    assert_eq!((summary.n_matched, summary.is_delta), (1, true));
    let new: Vec<&str> = seen.iter().flat_map(|seen| ids(&seen.new)).collect();
    let gone: Vec<&str> = seen.iter().flat_map(|seen| ids(&seen.gone)).collect();
    assert_eq!((new, gone), (vec!["CVE-2026-00002"], vec!["CVE-2026-00001"]));
    // A damaged one is named and stops nothing.
    std::fs::write(store.path(Digest::of(b"a")), b"PALINV").unwrap();
    let (seen, summary) = look(&store, &database(&path, 6..7));
    assert_eq!((seen.len(), summary.n_unreadable, summary.unreadable.len()), (1, 1, 1));
    assert_eq!(ids(&seen[0].new), ["CVE-2026-00006"]);
}

#[test]
fn what_nobody_was_told_is_new_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    store.put(&inventory("a", 0..5), &Evaluation::default(), None, ("1", NOW)).unwrap();
    let path = folder.path().join("a.db");
    let at = |seconds| NOW + std::time::Duration::from_secs(seconds);
    let new = |database: &Database, seconds, is_told| -> Vec<String> {
        let (seen, summary) = look_untold(&store, database, at(seconds));
        if is_told {
            store.acknowledge(summary.time).unwrap();
        }
        ids(&seen[0].new).into_iter().map(String::from).collect()
    };
    let first = database(&path, 1..2);
    assert_eq!(new(&first, 1, false), ["CVE-2026-00001"]);
    assert_eq!(new(&first, 2, false), ["CVE-2026-00001"], "nothing changed meanwhile");
    let second = database(&path, 1..3);
    assert_eq!(new(&second, 3, false), ["CVE-2026-00001", "CVE-2026-00002"]);
    assert_eq!(new(&second, 4, true), ["CVE-2026-00001", "CVE-2026-00002"]);
    assert_eq!(new(&second, 5, true), [""; 0]);
}

#[test]
fn an_image_that_is_scanned_again_is_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let image = inventory("a", 0..5);
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    assert!(!store.is_kept(&image, Some(one), "1"));
    store.put(&image, &Evaluation::default(), Some(one), ("1", NOW)).unwrap();
    assert!(store.is_kept(&image, Some(one), "1"));
    // Without a database what was found by one is kept.
    assert!(store.is_kept(&image, None, "1"));
    assert!(!store.is_kept(&image, Some(other), "1"));
    assert!(!store.is_kept(&image, Some(one), "2"));
    assert!(!store.is_kept(&inventory("a", 0..6), Some(one), "1"));
}

/// An image with a Go program that has the function `a.b/c.F` and not `a.b/c.G`.
fn go_image() -> Inventory {
    use palisade_model::symbols::{FunctionSet, Program, function_hash};
    let mut package = Package::new(PackageKind::Go, "a.b/c", "1.0.0", "/bin/app");
    package.purl = "pkg:golang/a.b/c@1.0.0".into();
    let hashes = [("a.b/c", "F"), ("a.b/c", "")].map(|(of, name)| function_hash(of, name));
    let program = Program {
        path: "/bin/app".into(),
        kind: PackageKind::Go,
        os: Some("linux".into()),
        architecture: Some("amd64".into()),
        functions: FunctionSet::new(hashes.to_vec()),
        has_folders: true,
        doubt: None,
    };
    Inventory { packages: vec![package], programs: vec![program], ..inventory("go", 0..0) }
}

/// A database with an advisory for each of the functions.
fn of_functions(path: &Path, functions: &[&str]) -> Database {
    let mut builder = DatabaseBuilder::new();
    for name in functions {
        let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed("2.0.0".into()) }];
        let symbols = vec![crate::db::VulnerableSymbols {
            path: "a.b/c".into(),
            names: vec![(*name).to_string()],
            ..Default::default()
        }];
        let id = format!("CVE-{name}");
        let advisory = Advisory { id, ranges, symbols, feed: "test".into(), ..Advisory::default() };
        builder.add("Go", "a.b/c", advisory).unwrap();
    }
    builder.write(path, NOW).unwrap();
    Database::open(path).unwrap()
}

fn answers(seen: &[Seen]) -> Vec<(String, &'static str)> {
    let found = seen.iter().flat_map(|seen| &seen.new);
    let answer = |v: &palisade_model::finding::Vulnerability| {
        (v.id.clone(), v.symbols.as_ref().map_or("-", |check| check.answer.as_str()))
    };
    let mut answers: Vec<_> = found.map(answer).collect();
    answers.sort();
    answers
}

#[test]
fn an_advisory_of_tomorrow_is_answered_by_the_functions_that_were_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let older = of_functions(&folder.path().join("older.db"), &["X"]);
    store.put(&go_image(), &Evaluation::default(), Some(older.digest()), ("1", NOW)).unwrap();
    look(&store, &older);
    let (seen, _) = look(&store, &of_functions(&folder.path().join("new.db"), &["F", "G", "X"]));
    assert_eq!(answers(&seen), [("CVE-F".into(), "present"), ("CVE-G".into(), "absent")]);
    assert_eq!(seen[0].entry.functions, Some(true));
}

#[test]
fn what_was_stored_before_functions_were_kept_wants_another_scan() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let database = of_functions(&folder.path().join("a.db"), &["F", "G"]);
    let digest = Some(database.digest());
    let image = go_image();
    // As an earlier release wrote it: neither programs nor a word of them.
    let put_old = |inventory: &Inventory| {
        store.put(inventory, &Evaluation::default(), digest, ("1", NOW)).unwrap();
        let path = store.path(inventory.subject.digest.unwrap());
        let mut entry = store.stored(&path).unwrap().entry;
        entry.functions = None;
        let bytes = encoded(&entry, inventory);
        std::fs::write(&path, bytes).unwrap();
    };
    put_old(&Inventory { programs: vec![], ..image.clone() });
    // One without programs has nothing to tell, nor has what a source tree names.
    put_old(&inventory("plain", 0..3));
    let mut source = Package::new(PackageKind::Go, "a.b/c", "3.0.0", "/src/go.mod");
    source.purl = "pkg:golang/a.b/c@3.0.0".into();
    put_old(&Inventory { packages: vec![source], ..inventory("source", 0..0) });
    let (seen, summary) = look(&store, &database);
    assert_eq!(summary.n_matched, 3);
    assert_eq!(answers(&seen), [("CVE-F".into(), "unknown"), ("CVE-G".into(), "unknown")]);
    let told = |seen: &[Seen]| -> Vec<(String, Option<bool>)> {
        let entry = |seen: &Seen| (seen.entry.subject.name.clone(), seen.entry.functions);
        let mut told: Vec<_> = seen.iter().map(entry).collect();
        told.sort();
        told
    };
    let wanted =
        |go| [("go".into(), Some(go)), ("plain".into(), Some(true)), ("source".into(), Some(true))];
    assert_eq!(told(&seen), wanted(false));
    // It is told as long as it is so, and matched no more than others.
    let (seen, summary) = look(&store, &database);
    assert_eq!((summary.n_matched, told(&seen)), (0, wanted(false).to_vec()));
    // The same image, scanned again, is stored again although the database is the same.
    assert!(!store.is_kept(&image, digest, "1"));
    store.put(&image, &Evaluation::default(), None, ("1", NOW)).unwrap();
    // They were found before, and what is known of them better is no news.
    let seen = said(&store, &database, false, NOW, None);
    assert_eq!(answers(&seen), []);
    let answers: Vec<_> = seen.iter().flat_map(|seen| &seen.details).collect();
    let answers = answers.iter().flat_map(|(evaluation, _)| &evaluation.vulnerabilities);
    let answers = answers.map(|v| (v.id.as_str(), v.symbols.as_ref().unwrap().answer.as_str()));
    assert_eq!(answers.collect::<Vec<_>>(), [("CVE-F", "present"), ("CVE-G", "absent")]);
    assert_eq!(told(&seen), wanted(true));
    store.put(&image, &Evaluation::default(), digest, ("1", NOW)).unwrap();
    assert!(store.is_kept(&image, digest, "1"));
}

/// The processor time of this process.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

#[test]
#[ignore = "a measurement: cargo test --release -p palisade-scan ten_thousand -- --ignored --nocapture"]
fn ten_thousand_inventories_after_a_hundred_advisories() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let path = folder.path().join("a.db");
    let old = database(&path, 0..0);
    std::fs::create_dir(&store.folder).unwrap();
    for i in 0..10_000 {
        // One image of twenty has some of the packages that change.
        let n = if i % 20 == 0 { 19_500 } else { 19_400 };
        let inventory = inventory(&format!("image-{i}"), (0..500).map(|j| (i * 37 + j * 39) % n));
        let entry = Entry {
            subject: inventory.subject.clone(),
            stored: NOW,
            database: Some(old.digest()),
            program: "1".into(),
            n_packages: 500,
            n_vulnerabilities: 0,
            look: None,
            functions: Some(true),
        };
        // Written at once: what puts one in is not what is measured.
        let bytes = encoded(&entry, &inventory);
        std::fs::write(store.path(inventory.subject.digest.unwrap()), bytes).unwrap();
    }
    // As if the old database had been asked: all evaluations by it count.
    let state = State { program: "1".into(), chain: vec![old.digest()], ..State::default() };
    store.write_state(&state).unwrap();
    store.keep_database(&path);
    let options = LookOptions {
        now: NOW,
        program: "1",
        details: false,
        full: false,
        n_threads_max: 4,
        watch: None,
    };
    let new = database(&path, 19_400..19_500);
    // The peak of what made the inventories does not count.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = cpu();
    let (mut n, mut n_new) = (0, 0);
    let summary = store
        .look(&new, &options, &mut |seen| {
            n += 1;
            n_new += seen.new.len();
        })
        .unwrap();
    let spent = cpu() - before;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!(
        "{n} inventories, {} matched, {n_new} new, {spent:.2} s CPU, {peak}",
        summary.n_matched
    );
    assert!(summary.is_delta && summary.n_matched > 0);
}

#[test]
fn what_nobody_was_told_is_told_again_and_what_came_and_went_never() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    store.put(&inventory("a", 0..5), &Evaluation::default(), None, ("1", NOW)).unwrap();
    let later = |n: u64| Timestamp::from_nanos(NOW.as_nanos() + n * 1_000_000_000);
    let base = |name: &str, hit: &[usize]| database(&folder.path().join(name), hit.iter().copied());
    look(&store, &base("1", &[1]));
    let check = |database: &Database, n: u64, new: &[&str], gone: &[&str]| {
        let (seen, _) = look_untold(&store, database, later(n));
        let (found, lost) = (ids(&seen[0].new), ids(&seen[0].gone));
        assert_eq!((found.as_slice(), lost.as_slice()), (new, gone), "{n}");
    };
    let (both, other) = (base("2", &[1, 2]), base("3", &[2]));
    // Nobody acknowledges: gone stays gone, also where nothing is matched.
    check(&other, 1, &["CVE-2026-00002"], &["CVE-2026-00001"]);
    check(&other, 2, &["CVE-2026-00002"], &["CVE-2026-00001"]);
    // It is back, and nobody was told that it had gone.
    check(&both, 3, &["CVE-2026-00002"], &[]);
    // What was never told is not missed.
    check(&base("4", &[1]), 4, &[], &[]);
    check(&other, 5, &["CVE-2026-00002"], &["CVE-2026-00001"]);
    store.acknowledge(later(5)).unwrap();
    check(&other, 6, &[], &[]);
}

#[test]
fn looks_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    for i in 0..20 {
        let inventory = inventory(&format!("a{i}"), i..i + 5);
        store.put(&inventory, &Evaluation::default(), None, ("1", NOW)).unwrap();
    }
    let path = folder.path().join("a.db");
    drop(database(&path, 0..25));
    let inside = std::sync::atomic::AtomicUsize::new(0);
    let matched: Vec<u64> = std::thread::scope(|scope| {
        let look = || {
            let database = Database::open(&path).unwrap();
            let options = LookOptions {
                now: NOW,
                program: "1",
                details: false,
                full: false,
                n_threads_max: 4,
                watch: None,
            };
            let order = std::sync::atomic::Ordering::SeqCst;
            let mut n = 0;
            let each = &mut |_| {
                if n == 0 {
                    assert_eq!(inside.fetch_add(1, order), 0, "two looks at the same time");
                }
                n += 1;
                if n == 20 {
                    inside.fetch_sub(1, order);
                }
            };
            store.look(&database, &options, each).unwrap().n_matched
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(look)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // The first one does the work, the others find it done.
    assert_eq!(matched.iter().sum::<u64>(), 20, "{matched:?}");
}

/// What a look says of everything, as it is shown.
fn said(
    store: &Store,
    database: &Database,
    full: bool,
    now: Timestamp,
    watch: Option<Bounds>,
) -> Vec<Seen> {
    let options = LookOptions { now, program: "1", details: true, full, n_threads_max: 4, watch };
    let mut seen = Vec::new();
    store.look(database, &options, &mut |one| seen.push(one)).unwrap();
    seen
}

/// An image of each kind of package whose findings depend on more than its own name.
fn mixed(name: &str, shift: usize) -> Inventory {
    use palisade_model::package::SourcePackage;
    let mut image = inventory(name, 0..0);
    let of_rpm = |i: usize| {
        let name = format!("rpm-{i}");
        let mut package = Package::new(PackageKind::Rpm, &name, "1.0-1", "/var/lib/rpm/x");
        package.purl = format!("pkg:rpm/almalinux/{name}@1.0-1");
        let source = SourcePackage { name: format!("rpm-src-{}", i % 3), version: "1.0-1".into() };
        package.source = Some(source);
        package.files = vec![format!("/usr/lib/python3/p-{i}.dist-info/METADATA")];
        package
    };
    let of_python = |i: usize| {
        // Some belong to a distribution's package, and two are installed twice.
        let path = format!("/usr/lib/python3/p-{}.dist-info/METADATA", i + 4);
        let mut package = Package::new(PackageKind::Python, format!("py-{}", i % 6), "1.0", path);
        package.purl = format!("pkg:pypi/py-{}@1.0", i % 6);
        package
    };
    image.distribution = Some(Distribution {
        id: "almalinux".into(),
        version_id: "9.4".into(),
        codename: String::new(),
        name: String::new(),
    });
    image.packages = (0..12).map(|i| of_rpm(i + shift)).chain((0..8).map(of_python)).collect();
    let go = go_image();
    image.packages.extend(go.packages);
    image.programs = go.programs;
    image
}

fn add(
    builder: &mut DatabaseBuilder,
    ecosystem: &str,
    name: &str,
    id: &str,
    fixed: &str,
    symbols: Vec<crate::db::VulnerableSymbols>,
) {
    let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed(fixed.into()) }];
    let (id, feed) = (id.to_string(), "test".to_string());
    let advisory = Advisory { id, feed, ranges, symbols, ..Advisory::default() };
    builder.add(ecosystem, name, advisory).unwrap();
}

/// A database whose advisories follow from the numbers.
fn of_numbers(path: &Path, numbers: &[(usize, usize)]) -> Database {
    let mut builder = DatabaseBuilder::new();
    // Every ecosystem has something, whatever the numbers.
    for ecosystem in ["AlmaLinux:9", "PyPI", "Go"] {
        add(&mut builder, ecosystem, "always", "CVE-2000-0001", "1", vec![]);
    }
    for (what, n) in numbers {
        let id = format!("CVE-2026-{:05}", n % 40);
        let fixed = if n % 3 == 0 { "0.5" } else { "2.0" };
        let mut add = |ecosystem: &str, name: &str, symbols| {
            add(&mut builder, ecosystem, name, &id, fixed, symbols);
        };
        match what % 4 {
            0 => add("AlmaLinux:9", &format!("rpm-{}", n % 20), vec![]),
            1 => add("AlmaLinux:9", &format!("source:rpm-src-{}", n % 4), vec![]),
            2 => add("PyPI", &format!("py-{}", n % 8), vec![]),
            _ => {
                let names = vec![["F", "G"][n % 2].to_string()];
                let path = "a.b/c".to_string();
                let part = crate::db::VulnerableSymbols { path, names, ..Default::default() };
                add("Go", "a.b/c", vec![part]);
            }
        }
        if n % 5 == 0 {
            builder.add_exploited("kev", &format!("CVE-2026-{:05}", n % 40));
        }
        // EPSS is of every database or of none, for scores alone change nothing.
        builder.add_epss("epss", &format!("CVE-2026-{:05}", n % 40), (n % 40) as f64 / 100.0);
    }
    builder.write(path, NOW).unwrap();
    Database::open(path).unwrap()
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    /// Looks that read what changed alone say what a store says that matches everything anew, and
    /// both say to each listener what differs from what it was told last.
    #[test]
    fn a_look_at_what_changed_says_what_a_look_at_everything_says(
        databases in proptest::collection::vec(
            (
                proptest::collection::vec((0_usize..4, 0_usize..60), 0..14),
                proptest::bool::ANY,
                proptest::bool::ANY,
            ),
            2..7,
        ),
        small: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let delta = Store::new(&folder.path().join("delta"));
        let full = Store::new(&folder.path().join("full"));
        // With room for no answer, or for a few.
        let delta = if small { Store { answers_max: 3000, ..delta } } else { delta };
        for store in [&delta, &full] {
            for (name, shift) in [("a", 0), ("b", 5), ("c", 9)] {
                store.put(&mixed(name, shift), &Evaluation::default(), None, ("1", NOW)).unwrap();
            }
        }
        // Of each image what readers were told, and the watch once it has looked.
        let mut told: [Option<Vec<Ids>>; 2] = [Some(vec![Ids::new(); 3]), None];
        for (n, (numbers, is_told, by_watch)) in databases.iter().enumerate() {
            let database = of_numbers(&folder.path().join(format!("{n}.db")), numbers);
            let now = NOW + std::time::Duration::from_secs(n as u64 + 1);
            let watch = by_watch.then_some(LARGE);
            let some = said(&delta, &database, false, now, watch);
            let all = said(&full, &database, true, now, watch);
            // Which look found something last may differ; what is said may not.
            let shown = |seen: &Seen| {
                let (evaluation, inventory) = seen.details.as_ref().unwrap();
                let all = (ids(&seen.new), ids(&seen.gone), ids(&evaluation.vulnerabilities));
                let counts = (seen.n_still, seen.entry.n_vulnerabilities);
                let rest = serde_json::to_vec(&(
                    &seen.new,
                    &seen.gone,
                    (&evaluation.vulnerabilities, evaluation.n_packages_matched),
                    (&evaluation.unmatched, inventory),
                ));
                format!("{all:?} {counts:?} {}", Digest::of(&rest.unwrap()))
            };
            for (some, all) in some.iter().zip(&all) {
                proptest::prop_assert_eq!(shown(some), shown(all), "look {}", n);
            }
            if *by_watch && told[1].is_none() {
                told[1] = told[0].clone();
            }
            let found: Vec<Ids> =
                some.iter().map(|seen| pairs(&seen.details.as_ref().unwrap().0.vulnerabilities)).collect();
            let before = told[usize::from(*by_watch)].clone().unwrap();
            for ((seen, found), before) in some.iter().zip(&found).zip(&before) {
                let new: Ids = found.difference(before).cloned().collect();
                let gone: Ids = before.difference(found).cloned().collect();
                proptest::prop_assert_eq!(pairs(&seen.new), new, "look {}", n);
                proptest::prop_assert_eq!(pairs(&seen.gone), gone, "look {}", n);
            }
            let listed = |store: &Store| {
                let entries = store.list().unwrap().entries;
                entries.iter().map(|entry| entry.n_vulnerabilities).collect::<Vec<_>>()
            };
            proptest::prop_assert_eq!(listed(&delta), listed(&full));
            for store in [&delta, &full].into_iter().filter(|_| *is_told) {
                if *by_watch {
                    store.acknowledge_watch(now).unwrap();
                } else {
                    store.acknowledge(now).unwrap();
                }
            }
            if *is_told {
                told[0] = Some(found.clone());
            }
            if *is_told && *by_watch {
                told[1] = Some(found);
            }
        }
    }
}

/// Identifiers and package URLs.
type Ids = std::collections::BTreeSet<(String, String)>;

fn pairs(list: &[palisade_model::finding::Vulnerability]) -> Ids {
    list.iter().map(news::id).collect()
}

/// Room for all that a test stores.
const LARGE: Bounds =
    Bounds { packages_max: 1000, vulnerabilities_max: 10_000, bytes_max: 10 << 20 };

#[test]
fn what_looks_found_is_never_lost_nor_taken_for_another_images() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let base = |name: &str, hit: &[usize]| database(&folder.path().join(name), hit.iter().copied());
    for name in ["a", "b"] {
        store.put(&inventory(name, 0..40), &Evaluation::default(), None, ("1", NOW)).unwrap();
    }
    look(&store, &base("1", &[1]));
    let n_still = |database: &Database| -> Vec<u64> {
        let (seen, _) = look(&store, database);
        seen.iter().map(|seen| seen.n_still + seen.new.len() as u64).collect()
    };
    let second = base("2", &[1, 2]);
    assert_eq!(n_still(&second), [2, 2]);
    let answers = || -> Vec<PathBuf> {
        let files = std::fs::read_dir(&store.folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == "answers")).collect()
    };
    assert_eq!(answers().len(), 1, "what changed is beside the inventories");
    assert_eq!(store.list().unwrap().entries[0].n_vulnerabilities, 2);

    // An image that is stored again is what was stored, not what was said of it before.
    let digest = Some(second.digest());
    store.put(&inventory("a", 0..2), &Evaluation::default(), digest, ("1", NOW)).unwrap();
    let listed = |n: usize| store.list().unwrap().entries[n].n_vulnerabilities;
    let a = usize::from(Digest::of(b"a").as_bytes() > Digest::of(b"b").as_bytes());
    assert_eq!((listed(a), listed(1 - a)), (0, 2));
    assert_eq!(n_still(&second)[1 - a], 2);

    // A file that cannot be read for once keeps what was said of it, and misses nothing that it was
    // not compared with.
    let path = store.path(Digest::of(b"b"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"damaged").unwrap();
    let (_, summary) = look(&store, &base("3", &[1, 2, 5]));
    assert_eq!(summary.n_unreadable, 1);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(listed(1 - a), 2);
    let (seen, summary) = look(&store, &base("4", &[1, 2, 3, 5]));
    assert!(summary.is_delta);
    assert_eq!(ids(&seen[1 - a].new), ["CVE-2026-00003", "CVE-2026-00005"]);

    // Damaged, it costs a whole evaluation and no finding.
    let fifth = base("5", &[1, 2, 3, 4, 5]);
    assert_eq!(n_still(&fifth)[1 - a], 5);
    let [file] = &answers()[..] else { panic!("one file of answers") };
    let bytes = std::fs::read(file).unwrap();
    let stored: Vec<(PathBuf, Vec<u8>)> =
        ["state.json".to_string(), format!("{}{SUFFIX}", Digest::of(b"b").hex())]
            .iter()
            .map(|name| (store.folder.join(name), std::fs::read(store.folder.join(name)).unwrap()))
            .collect();
    let restore = |stored: &[(PathBuf, Vec<u8>)]| {
        for (path, bytes) in stored {
            std::fs::write(path, bytes).unwrap();
        }
    };
    for damage in [&bytes[..bytes.len() - 1], b"", b"PALANS\0\x01"] {
        std::fs::write(file, damage).unwrap();
        let (seen, summary) = look(&store, &fifth);
        assert!(!summary.is_delta);
        // What was noted in it alone is told once more.
        let told = &seen[1 - a];
        assert_eq!((told.n_still, ids(&told.new), told.gone.len()), (4, vec!["CVE-2026-00004"], 0));
        // All of it is in the inventory now.
        let entry = store.stored(&path).unwrap().entry;
        assert_eq!((answers().len(), entry.n_vulnerabilities), (1, 5));
        restore(&stored);
    }
}

/// A clock that goes back, or a look that waited for another, does not make what was told new
/// again, nor what was not told old.
#[test]
fn looks_have_an_order_that_no_clock_gives_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let base = |name: &str, hit: &[usize]| database(&folder.path().join(name), hit.iter().copied());
    store.put(&inventory("a", 0..9), &Evaluation::default(), None, ("1", NOW)).unwrap();
    let (first, second) = (base("1", &[1]), base("2", &[1, 2]));
    let ago = |n| Timestamp::from_nanos(NOW.as_nanos() - n);
    let (seen, summary) = look_untold(&store, &first, NOW);
    assert_eq!((ids(&seen[0].new), summary.time), (vec!["CVE-2026-00001"], NOW));
    store.acknowledge(summary.time).unwrap();

    // Two looks by a clock that went back; only the first of them is passed on.
    let (seen, one) = look_untold(&store, &second, ago(5));
    assert_eq!(ids(&seen[0].new), ["CVE-2026-00002"]);
    let third = base("3", &[1, 2, 3]);
    let (seen, other) = look_untold(&store, &third, ago(9));
    assert_eq!(ids(&seen[0].new), ["CVE-2026-00002", "CVE-2026-00003"]);
    assert!(NOW < one.time && one.time < other.time);
    store.acknowledge(one.time).unwrap();
    let (seen, last) = look_untold(&store, &third, ago(2));
    assert!(ids(&seen[0].new).contains(&"CVE-2026-00003"), "{:?}", ids(&seen[0].new));
    store.acknowledge(last.time).unwrap();
    // An acknowledgement that comes late takes nothing back.
    store.acknowledge(one.time).unwrap();
    assert_eq!(ids(&look_untold(&store, &third, ago(1)).0[0].new), [""; 0]);
}

#[test]
fn what_another_release_found_is_matched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let database = database(&folder.path().join("1"), 1..2);
    store.put(&inventory("a", 0..5), &Evaluation::default(), None, ("1", NOW)).unwrap();
    look(&store, &database);
    // Another release, which found nothing, stores another image by the same database.
    let b = inventory("b", 0..5);
    store.put(&b, &Evaluation::default(), Some(database.digest()), ("2", NOW)).unwrap();
    let (seen, summary) = look(&store, &database);
    assert!(summary.is_delta);
    let b = seen.iter().find(|seen| seen.entry.subject.name == "b").unwrap();
    assert_eq!(ids(&b.new), ["CVE-2026-00001"]);
}

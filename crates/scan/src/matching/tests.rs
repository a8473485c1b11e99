//! Inventories against small databases.

use super::*;
use crate::db::record::Cursor;
use crate::db::{DatabaseBuilder, Range, VulnerableSymbols};
use palisade_base::Timestamp;
use palisade_model::package::{PackageState, SourcePackage, Subject};
use palisade_model::symbols::{FOLDER, FunctionSet, LOOSE, Program, SymbolAnswer, function_hash};
use palisade_model::{Distribution, Severity};

fn advisory(id: &str, aliases: &[&str], fixed: Option<&str>) -> Advisory {
    Advisory {
        id: id.into(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        title: String::new(),
        severity: Severity::Unknown,
        feed: "test".into(),
        ranges: vec![Range {
            introduced: None,
            end: fixed.map_or(RangeEnd::Open, |version| RangeEnd::Fixed(version.into())),
        }],
        versions: vec![],
        ..Advisory::default()
    }
}

fn package(kind: PackageKind, name: &str, version: &str, source: Option<(&str, &str)>) -> Package {
    Package {
        source: source.map(|(n, v)| SourcePackage { name: n.into(), version: v.into() }),
        purl: format!("pkg:{kind}/{name}@{version}"),
        ..Package::new(kind, name, version, "/var/lib/dpkg/status")
    }
}

fn inventory(packages: Vec<Package>) -> Inventory {
    Inventory {
        subject: Subject { name: "dir:x".into(), digest: None, platform: None },
        distribution: Some(Distribution {
            id: "debian".into(),
            version_id: "12".into(),
            codename: "bookworm".into(),
            name: "Debian".into(),
        }),
        packages,
        parts: vec![],
        programs: vec![],
        n_files: 0,
        gaps: vec![],
    }
}

fn run(records: &[(&str, &str, Advisory)], packages: Vec<Package>) -> Matches {
    let mut builder = DatabaseBuilder::new();
    builder.add("Debian:99", "x", advisory("X", &[], None)).unwrap();
    for (ecosystem, name, advisory) in records {
        builder.add(ecosystem, name, advisory.clone()).unwrap();
    }
    builder.add_exploited("kev", "CVE-2024-0002");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    builder.write(&path, Timestamp::from_nanos(1)).unwrap();
    find_vulnerabilities(&inventory(packages), &Database::open(&path).unwrap()).unwrap()
}

fn ids(matches: &Matches) -> Vec<(&str, &str)> {
    matches.vulnerabilities.iter().map(|v| (v.package.as_str(), v.id.as_str())).collect()
}

#[test]
fn distributions_match_by_source_and_report_the_binary() {
    let records =
        [("Debian:12", "openssl", advisory("CVE-2024-0001", &[], Some("3.0.11-1~deb12u2")))];
    let check = |version: &str, expected: bool| {
        let libssl = package(PackageKind::Dpkg, "libssl3", "9.9", Some(("openssl", version)));
        let found = run(&records, vec![libssl]);
        assert_eq!(!found.vulnerabilities.is_empty(), expected, "{version}");
        assert_eq!(found.n_packages_matched, 1);
    };
    check("3.0.11-1~deb12u1", true);
    check("3.0.11-1~deb12u2", false);
    check("3.0.11-1", false);
    check("1:3.0.11-1~deb12u1", false);
    let found = run(&records, vec![package(PackageKind::Dpkg, "openssl", "3.0.9-1", None)]);
    assert_eq!(ids(&found), [("openssl", "CVE-2024-0001")]);
    assert_eq!(found.vulnerabilities[0].fixed.as_deref(), Some("3.0.11-1~deb12u2"));
}

#[test]
fn records_that_share_an_identifier_are_one_finding() {
    let records = [
        ("Debian:12", "a", advisory("CVE-2024-0002", &["GHSA-1"], Some("2"))),
        ("Debian:12", "a", advisory("GHSA-1", &["GO-1"], Some("3"))),
        ("Debian:12", "a", advisory("GO-1", &[], None)),
        ("Debian:12", "a", advisory("CVE-2024-0003", &[], Some("2"))),
        ("Debian:12", "a", advisory("CVE-2020-0003", &[], Some("0.5"))),
    ];
    let found = run(&records, vec![package(PackageKind::Dpkg, "a", "1", None)]);
    assert_eq!(ids(&found), [("a", "CVE-2024-0002"), ("a", "CVE-2024-0003")]);
    let first = &found.vulnerabilities[0];
    assert_eq!(first.aliases, ["GHSA-1", "GO-1"]);
    assert_eq!(first.fixed.as_deref(), Some("3"));
    assert!(first.known_exploited && !found.vulnerabilities[1].known_exploited);
}

#[test]
fn what_cannot_be_judged_is_counted() {
    let found = run(
        &[],
        vec![
            package(PackageKind::Dpkg, "a", "1", None),
            package(PackageKind::Rpm, "b", "1", None),
            package(PackageKind::Dpkg, "c", "1", None),
        ],
    );
    assert_eq!(found.n_packages_matched, 0);
    let shown: Vec<(&str, u64)> =
        found.unmatched.iter().map(|u| (u.ecosystem.as_str(), u.n_packages)).collect();
    assert_eq!(shown, [("Debian:12", 2), ("rpm", 1)]);
}

#[test]
fn headers_and_manuals_are_counted_apart() {
    let records = [("Debian:12", "linux", advisory("CVE-2024-0009", &[], Some("7")))];
    let source = Some(("linux", "6.1"));
    let found = run(
        &records,
        vec![
            package(PackageKind::Dpkg, "linux-libc-dev", "6.1", source),
            package(PackageKind::Dpkg, "linux-doc-6.1", "6.1", source),
            package(PackageKind::Dpkg, "linux-image-amd64", "6.1", source),
        ],
    );
    assert_eq!(ids(&found), [("linux-image-amd64", "CVE-2024-0009")]);
    assert_eq!(found.n_harmless, 2);
}

#[test]
fn packages_whose_changelog_was_not_read_are_not_called_clean() {
    let mut builder = DatabaseBuilder::new();
    let log = crate::feeds::debian_changelogs::parse("zlib (1.2-1) bookworm; urgency=low\n");
    crate::feeds::debian_changelogs::add(&mut builder, "Debian:12", "zlib", &log).unwrap();
    builder.cover("Debian:12", "current");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let judge = |builder: &DatabaseBuilder| {
        builder.write(&path, Timestamp::from_nanos(1)).unwrap();
        let installed = ["zlib", "current", "unread"];
        let packages = installed.map(|name| package(PackageKind::Dpkg, name, "1", None));
        let inventory = inventory(packages.into());
        let found = find_vulnerabilities(&inventory, &Database::open(&path).unwrap()).unwrap();
        (found.n_packages_matched, found.unmatched.first().map_or(0, |u| u.n_packages))
    };
    assert_eq!(judge(&builder), (2, 1));
    // A feed of the whole release says something of every package.
    builder.mark_whole("Debian:12");
    assert_eq!(judge(&builder), (3, 0));
}

#[test]
fn a_notice_is_as_many_findings_as_it_fixes() {
    let notice = |id: &str, fixes: &[&str], fixed: &str| Advisory {
        fixes: fixes.iter().map(ToString::to_string).collect(),
        ..advisory(id, &[], Some(fixed))
    };
    let records = [
        ("Debian:12", "a", notice("DSA-1", &["CVE-2024-0001", "CVE-2024-0002"], "2")),
        ("Debian:12", "a", notice("DSA-2", &["CVE-2024-0002", "CVE-2024-0003"], "3")),
        ("Debian:12", "a", notice("DSA-3", &["CVE-2024-0004"], "1")),
    ];
    let found = run(&records, vec![package(PackageKind::Dpkg, "a", "1", None)]);
    let shown: Vec<(&str, Option<&str>)> =
        found.vulnerabilities.iter().map(|v| (v.id.as_str(), v.fixed.as_deref())).collect();
    let two = Some("2");
    let three = Some("3");
    // CISA lists the second one.
    let expected = [("CVE-2024-0002", three), ("CVE-2024-0001", two), ("CVE-2024-0003", three)];
    assert_eq!(shown, expected);
    assert_eq!(found.vulnerabilities[0].aliases, ["DSA-1", "DSA-2"]);
}

fn of_feed(feed: &str, fixed: Option<&str>, status: Status, severity: Severity) -> Advisory {
    Advisory { feed: feed.into(), status, severity, ..advisory("CVE-2024-0001", &[], fixed) }
}

#[test]
fn the_distribution_decides_where_feeds_disagree() {
    use Severity::{High, Low, Unknown};
    use Status::{Affected, NotAffected, WillNotFix};
    let check =
        |records: &[Advisory], expected: Option<(Option<&str>, Status, Severity)>, n: u64| {
            let records: Vec<(&str, &str, Advisory)> =
                records.iter().map(|record| ("Debian:12", "a", record.clone())).collect();
            let found = run(&records, vec![package(PackageKind::Dpkg, "a", "5", None)]);
            let first = found.vulnerabilities.first();
            let shown = first.map(|v| (v.fixed.as_deref(), v.status, v.severity));
            assert_eq!((shown, found.n_overruled), (expected, n), "{records:?}");
            first.map(|v| v.statements.clone()).unwrap_or_default()
        };
    let own = |fixed, status, severity| of_feed("debian-tracker", fixed, status, severity);
    let copy = |fixed, severity| of_feed("osv/Debian", fixed, Affected, severity);
    let logs = |fixed| of_feed("debian-changelogs", fixed, Affected, Unknown);
    // Not affected, or fixed already, outweighs what others say.
    check(&[own(None, NotAffected, Low), copy(Some("9"), High)], None, 1);
    check(&[own(Some("4"), Affected, Low), copy(Some("9"), High)], None, 1);
    // And so does the intention, the rating and the fixed version.
    let said = check(
        &[own(None, WillNotFix, Low), copy(Some("9"), High), logs(Some("8"))],
        Some((None, WillNotFix, Low)),
        0,
    );
    let feeds: Vec<&str> = said.iter().map(|s| s.feed.as_str()).collect();
    assert_eq!(feeds, ["debian-tracker", "osv/Debian", "debian-changelogs"]);
    assert_eq!(said[1].fixed.as_deref(), Some("9"));
    // A rating that the first does not give is taken from the next.
    check(
        &[own(Some("6"), Affected, Unknown), copy(Some("6"), High)],
        Some((Some("6"), Affected, High)),
        0,
    );
    // Who says nothing decides nothing; who agrees is not listed.
    let said = check(&[copy(Some("9"), High)], Some((Some("9"), Affected, High)), 0);
    assert!(said.is_empty());
    let said =
        check(&[own(None, Affected, High), copy(None, High)], Some((None, Affected, High)), 0);
    assert!(said.is_empty());
}

#[test]
fn modules_meet_their_own_stream_alone() {
    let build = |version: &str, module: Option<&str>| Package {
        module: module.map(Into::into),
        ..package(PackageKind::Rpm, "nodejs", version, Some(("nodejs", version)))
    };
    let check = |advisory: &Advisory, package: &Package, expected: bool| {
        let mut bytes = Vec::new();
        advisory.encode(0, &mut bytes);
        let feeds = [advisory.feed.clone()];
        let read = Advisory::decode(&mut Cursor(&bytes), &feeds).unwrap();
        assert_eq!(concerns_module(&read, package), expected, "{advisory:?} {package:?}");
    };
    let of = |module: Option<&str>, fixed: Option<&str>| Advisory {
        module: module.map(Into::into),
        ..advisory("CVE-1", &[], fixed)
    };
    let twenty = build("1:20.1-1.module+el8.9.0+1", Some("nodejs:20:8090020:a1"));
    let unlabelled = build("1:20.1-1.module+el8.9.0+1", None);
    let plain = build("1:20.1-1.el9", None);
    let eighteen = of(Some("nodejs:18"), Some("1:18.9-1.module+el8.9.0+2"));
    check(&eighteen, &twenty, false);
    check(&eighteen, &plain, false);
    check(&eighteen, &unlabelled, true);
    check(&of(Some("nodejs:20"), None), &twenty, true);
    check(&of(None, Some("1:20.2-1.module+el8.9.0+2")), &twenty, true);
    check(&of(None, Some("1:20.2-1.el9")), &twenty, false);
    check(&of(None, Some("1:20.2-1.el9")), &plain, true);
    check(&of(None, None), &plain, true);
}

#[test]
fn what_is_said_of_a_source_holds_for_its_binaries() {
    let records = [
        ("AlmaLinux:9", "src:openssl", advisory("CVE-2024-0001", &[], None)),
        ("AlmaLinux:9", "openssl-libs", advisory("CVE-2024-0005", &[], Some("2-1"))),
        ("AlmaLinux:9", "openssl", advisory("CVE-2024-0006", &[], None)),
    ];
    let mut builder = DatabaseBuilder::new();
    for (ecosystem, name, advisory) in records {
        builder.add(ecosystem, name, advisory).unwrap();
    }
    builder.mark_whole("AlmaLinux:9");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    builder.write(&path, Timestamp::from_nanos(1)).unwrap();
    let packages = vec![package(PackageKind::Rpm, "openssl-libs", "1-1", Some(("openssl", "1-1")))];
    let mut inventory = inventory(packages);
    inventory.distribution.as_mut().unwrap().id = "almalinux".into();
    inventory.distribution.as_mut().unwrap().version_id = "9.4".into();
    let found = find_vulnerabilities(&inventory, &Database::open(&path).unwrap()).unwrap();
    assert_eq!(ids(&found), [("openssl-libs", "CVE-2024-0001"), ("openssl-libs", "CVE-2024-0005")]);
}

/// A program with these functions.
fn program(path: &str, functions: &[(&str, &str)], doubt: Option<&str>) -> Program {
    let hashes = functions.iter().map(|(package, name)| function_hash(package, name)).collect();
    Program {
        path: path.into(),
        kind: PackageKind::Go,
        os: Some("linux".into()),
        architecture: Some("amd64".into()),
        functions: FunctionSet::new(hashes),
        has_folders: true,
        doubt: doubt.map(str::to_string),
    }
}

#[test]
fn named_functions_are_asked_for_in_the_program() {
    use SymbolAnswer::{Absent, Present, Unknown};
    fn part<'a>(path: &'a str, names: &[&'a str], goos: &[&'a str]) -> VulnerableSymbols<&'a str> {
        VulnerableSymbols { path, names: names.to_vec(), goos: goos.to_vec(), goarch: vec![] }
    }
    let module = |evidence: &str| Package {
        purl: "pkg:golang/a/b@1.0.0".into(),
        ..Package::new(PackageKind::Go, "a/b", "v1.0.0", evidence)
    };
    let functions = [
        ("a/b", ""),
        ("a/b", "T"),
        ("a/b", "T.Do"),
        ("a/b/c", ""),
        (LOOSE, "Loose"),
        (FOLDER, "files"),
    ];
    let check = |parts: &[VulnerableSymbols<&str>], doubt: Option<&str>, expected: SymbolAnswer| {
        let mut inventory = inventory(vec![module("/bin/a")]);
        inventory.programs = vec![program("/bin/a", &functions, doubt)];
        let parts: Vec<&VulnerableSymbols<&str>> = parts.iter().collect();
        let found = symbols::Programs::of(&inventory).check(&inventory.packages[0], &parts);
        let found = found.unwrap();
        assert_eq!(found.answer, expected, "{parts:?}");
        assert_eq!(found.reason.is_some(), expected == SymbolAnswer::Unknown);
        assert_eq!(found.present.is_empty(), expected != SymbolAnswer::Present);
    };
    check(&[part("a/b", &["T.Do"], &[])], None, Present);
    check(&[part("a/b", &["(*T).Do"], &[])], None, Present);
    check(&[part("vendor/a/b", &["T.Do"], &[])], None, Present);
    check(&[part("a/b", &["F", "T.Done"], &[])], None, Absent);
    check(&[part("a/b", &["F"], &[]), part("a/b", &["T"], &[])], None, Present);
    check(&[part("a/b/c", &[], &[])], None, Present);
    check(&[part("a/d", &[], &[])], None, Absent);
    check(&[part("a/b", &["F"], &[])], Some("old"), Unknown);
    // Neither a function nor a file of the package.
    check(&[part("a/d", &["F"], &[])], Some("old"), Absent);
    // A closure of a function of that name, and a file of a package of that name.
    check(&[part("a/b", &["Loose"], &[])], None, Unknown);
    check(&[part("a/b", &["T.Loose"], &[])], None, Unknown);
    check(&[part("x/files", &[], &[])], None, Unknown);
    check(&[part("x/files", &["F"], &[])], None, Absent);
    check(&[part("x/files/v2", &["F"], &[])], Some("old"), Unknown);
    check(&[part("a/b", &["T.Do"], &[])], Some("old"), Present);
    // Code for another system was not compiled, whatever the table.
    check(&[part("a/b", &["T.Do"], &["windows"])], Some("old"), Absent);
    check(&[part("a/b", &["T.Do"], &["windows", "linux"])], None, Present);

    // Of two records of one vulnerability the one that names functions decides, and a package
    // without a program is not asked for, or in doubt.
    let mut with = advisory("GO-1", &["CVE-2024-0001"], Some("2.0.0"));
    with.symbols = vec![VulnerableSymbols {
        path: "a/b".into(),
        names: vec!["F".into()],
        ..VulnerableSymbols::default()
    }];
    let without = advisory("GHSA-1", &["CVE-2024-0001"], Some("2.0.0"));
    let records = [("Go", "a/b", with), ("Go", "a/b", without.clone())];
    let found = run(&records, vec![module("/bin/a")]);
    assert_eq!(found.vulnerabilities.len(), 1);
    assert_eq!(found.vulnerabilities[0].symbols.as_ref().unwrap().answer, Unknown);
    let found = run(&[("Go", "a/b", without)], vec![module("/bin/a")]);
    assert_eq!(found.vulnerabilities[0].symbols, None);
    let declared = Package { state: PackageState::Declared, ..module("/go.mod") };
    let found = run(&records, vec![declared]);
    assert_eq!(found.vulnerabilities[0].symbols, None);
}

#[test]
fn many_packages_are_judged_as_each_alone() {
    const PACKAGES_MANY: usize = 512;
    let name = |n: usize| format!("p{n:04}");
    // Every other one has a record, every third is older than the fix.
    let records: Vec<(String, Advisory)> = (0..PACKAGES_MANY)
        .step_by(2)
        .map(|n| (name(n), advisory(&format!("CVE-2025-{n:04}"), &[], Some("2"))))
        .collect();
    let records: Vec<(&str, &str, Advisory)> = records
        .iter()
        .map(|(name, advisory)| ("Debian:12", name.as_str(), advisory.clone()))
        .collect();
    let packages: Vec<Package> = (0..PACKAGES_MANY)
        .map(|n| package(PackageKind::Dpkg, &name(n), if n % 3 == 0 { "1" } else { "2" }, None))
        .collect();
    let all = run(&records, packages.clone());
    let halves = packages.chunks(100).map(|some| run(&records, some.to_vec()));
    let few: Vec<Vulnerability> = halves.flat_map(|found| found.vulnerabilities).collect();
    assert_eq!(all.vulnerabilities, few);
    assert_eq!(all.vulnerabilities.len(), PACKAGES_MANY.div_ceil(6));
    assert_eq!(all.n_packages_matched, PACKAGES_MANY as u64);
}

#[test]
fn what_cannot_be_compared_is_kept_apart() {
    let range = |introduced: Option<&str>, fixed: &str| Range {
        introduced: introduced.map(str::to_string),
        end: RangeEnd::Fixed(fixed.into()),
    };
    let with = |ranges: Vec<Range>, versions: &[&str]| Advisory {
        ranges,
        versions: versions.iter().map(ToString::to_string).collect(),
        ..advisory("CVE-2024-0001", &["GHSA-1"], None)
    };
    let check = |advisory: Advisory, installed: &str, n_found: usize, n_incomparable: u64| {
        let gem = package(PackageKind::Ruby, "nokogiri", installed, None);
        let found = run(&[("RubyGems", "nokogiri", advisory)], vec![gem]);
        let counted = (found.vulnerabilities.len(), found.n_incomparable);
        assert_eq!(counted, (n_found, n_incomparable), "{installed}");
        assert_eq!(found.incomparable.len() as u64, n_incomparable, "{installed}");
        found
    };
    let fixed = || with(vec![range(None, "1.14.0")], &[]);
    // The platform of a gem says nothing against its version.
    check(fixed(), "1.13.0-x86_64-linux", 1, 0);
    check(fixed(), "1.14.0-java", 0, 0);
    let found = check(fixed(), "1.13.0+local", 0, 1);
    let open = &found.incomparable[0];
    assert_eq!((open.id.as_str(), open.installed.as_str()), ("CVE-2024-0001", "1.13.0+local"));
    assert_eq!(open.aliases, ["GHSA-1"]);
    // A range that cannot be read is no proof, whatever the others say, unless one end excludes.
    let bad = || range(Some("1.0"), "?");
    check(with(vec![range(None, "1.0"), bad()], &[]), "1.5", 0, 1);
    check(with(vec![range(None, "1.0"), bad()], &[]), "0.9", 1, 0);
    check(with(vec![range(None, "0.8"), bad()], &[]), "0.9", 0, 0);
    // Of a version without an order, a list of versions says nothing either.
    check(with(vec![], &["1.13.0"]), "1.13.0+local", 0, 1);
    check(with(vec![], &["1.13.0+local"]), "1.13.0+local", 1, 0);
    check(with(vec![], &["1.13.0"]), "1.12", 0, 0);
}

#[test]
fn what_is_found_otherwise_or_left_to_the_distribution_is_not_open() {
    let known = advisory("PYSEC-1", &["CVE-2024-0001"], Some("2"));
    let unclear = advisory("GHSA-1", &["CVE-2024-0001"], Some("?"));
    let records = [("PyPI", "a", known), ("PyPI", "a", unclear.clone())];
    let python = |version: &str| package(PackageKind::Python, "a", version, None);
    let found = run(&records, vec![python("1")]);
    assert_eq!((found.vulnerabilities.len(), found.n_incomparable), (1, 0));
    // Of 3 nothing is known: one record denies, the other cannot say.
    assert_eq!(run(&records, vec![python("3")]).n_incomparable, 1);
    let mut owner = package(PackageKind::Dpkg, "python3-a", "1", None);
    owner.files = vec!["/usr/lib/python3/dist-packages/a.dist-info/METADATA".into()];
    let mut owned = python("1");
    owned.evidence = "/usr/lib/python3/dist-packages/a.dist-info/METADATA".into();
    let found = run(&[("PyPI", "a", unclear)], vec![owner, owned]);
    assert_eq!(found.n_incomparable, 0);
}

#[test]
fn what_cannot_be_compared_is_weighed_as_what_is_found() {
    let go = |id: &str, aliases: &[&str], severity, fixed| {
        ("Go", "example.com/shop", Advisory { severity, ..advisory(id, aliases, fixed) })
    };
    let mut records = [
        // Go's own records rate nothing; another of the same vulnerability does.
        go("GO-1", &["CVE-2024-0002", "GHSA-1"], Severity::Unknown, Some("1.0.0")),
        go("GHSA-1", &["CVE-2024-0002"], Severity::Critical, Some("1.0.0")),
        go("GO-2", &[], Severity::Low, None),
        // Every version has it, so it is found.
        go("GO-3", &[], Severity::Low, None),
    ];
    records[2].2.ranges[0].introduced = Some("0.5.0".into());
    let found = run(&records, vec![package(PackageKind::Go, "example.com/shop", "", None)]);
    assert_eq!(ids(&found), [("example.com/shop", "GO-3")]);
    assert_eq!(found.n_incomparable, 3);
    let mut weighed: Vec<_> = found
        .incomparable
        .iter()
        .map(|v| (v.id.as_str(), v.severity, v.fixed.is_some(), v.known_exploited))
        .collect();
    weighed.sort_unstable();
    let worst = Severity::Critical;
    let expected = [
        ("GHSA-1", worst, true, true),
        ("GO-1", worst, true, true),
        ("GO-2", Severity::Low, false, false),
    ];
    assert_eq!(weighed, expected);
}

/// What is too much is not even collected.
#[test]
fn matching_ends_where_there_is_no_more_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let mut builder = DatabaseBuilder::new();
    for n in 0..50 {
        let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed("2".into()) }];
        let (id, feed) = (format!("CVE-2026-{n:04}"), "test".to_string());
        let advisory = Advisory { id, feed, ranges, ..Advisory::default() };
        builder.add("npm", "a", advisory).unwrap();
    }
    builder.write(&path, Timestamp::default()).unwrap();
    let database = Database::open(&path).unwrap();
    let mut package = Package::new(PackageKind::Node, "a", "1.0.0", "/a/package.json");
    package.purl = format!("pkg:npm/a@1.0.0?{}", "x".repeat(1 << 20));
    let image = inventory(vec![package.clone()]);
    let find = |image: &Inventory, n_max, bytes_max| {
        let room = Some(Room { n_max, bytes_max });
        find_within(image, &database, room).unwrap().map(|found| found.vulnerabilities.len())
    };
    assert_eq!(find(&image, 50, 60 << 20), Some(50));
    assert_eq!(find(&image, 49, 60 << 20), None);
    assert_eq!(find(&image, 50, 49 << 20), None);
    // One after the other, too.
    package.purl.truncate(1000);
    let image = inventory(vec![package.clone(), package]);
    assert_eq!(find(&image, 100, 1 << 20), Some(100));
    assert_eq!(find(&image, 99, 1 << 20), None);
    assert_eq!(find(&image, 100, 100_000), None);
    // Asked for its texts before they are copied.
    let mut judge = Judge::within(&image, Some(Room { n_max: 100, bytes_max: 1 << 16 }));
    let answer = database.ask("npm", "a").unwrap().unwrap();
    judge.package(&image.packages[0], [&answer.advisories().unwrap(), &[]], false);
    assert!(judge.is_over() && judge.matches.vulnerabilities.is_empty());
    assert_eq!(judge.matches.n_dropped, 50);
}

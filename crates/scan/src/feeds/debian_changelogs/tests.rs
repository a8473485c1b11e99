//! Changelogs in the forms that maintainers write.

use super::*;

const LOG: &str = "\
openssl (3.0.19-1~deb12u2) bookworm-security; urgency=medium

  * CVE-2026-28387 (\"Potential use-after-free in DANE client code\")
  * CVE-2026-28389 (\"Possible NULL dereference when processing CMS
    KeyAgreeRecipientInfo\")

 -- Sebastian <s@example.org>  Fri, 03 Apr 2026 14:29:32 +0200

openssl (3.0.19-1~deb12u1) bookworm; urgency=medium

  [ A. Person ]
  * New upstream.
    - isofs: release zisofs block pointer buffer head (CVE-2026-90434)
      (CVE-2026-90435)
    - Fix overflow. Closes: #1234 CVE-2025-0001
    - CVE-2024-9999 is not affected in this version
    - CVE-2025-0002, CVE-2025-0003
  [ B. Person ]
  * follow-up for cve-2026-28387 (CVE-2026-28387)

 -- Sebastian <s@example.org>  Sun, 22 Feb 2026 18:36:50 +0100
";

#[test]
fn reads_uploads_and_their_fixes() {
    let log = parse(LOG);
    assert_eq!(log.entries.len(), 2);
    let [new, old] = &log.entries[..] else { panic!() };
    assert_eq!((new.source.as_str(), new.version.as_str()), ("openssl", "3.0.19-1~deb12u2"));
    assert_eq!(new.distribution, "bookworm-security");
    assert_eq!(new.time.unwrap().rfc3339(), "2026-04-03T12:29:32.000000000Z");
    let fixes = |entry: &Entry| -> Vec<(String, String)> {
        entry.fixes.iter().map(|f| (f.id.clone(), f.title.clone())).collect()
    };
    let pair = |id: &str, title: &str| (id.to_string(), title.to_string());
    assert_eq!(
        fixes(new),
        [
            pair("CVE-2026-28387", "Potential use-after-free in DANE client code"),
            pair(
                "CVE-2026-28389",
                "Possible NULL dereference when processing CMS KeyAgreeRecipientInfo"
            ),
        ]
    );
    assert_eq!(
        fixes(old),
        [
            pair("CVE-2026-90434", "isofs: release zisofs block pointer buffer head"),
            pair("CVE-2026-90435", "isofs: release zisofs block pointer buffer head"),
            pair("CVE-2025-0001", "Fix overflow"),
            pair("CVE-2025-0002", ""),
            pair("CVE-2025-0003", ""),
            pair("CVE-2026-28387", "follow-up for"),
        ]
    );
    assert_eq!(old.n_denied, 1);
}

#[test]
fn a_denial_denies_what_its_clause_names() {
    let check = |item: &str, fixed: &[&str], n_denied: u64| {
        let text = format!(
            "a (1) x; urgency=low\n\n  * {item}\n\n -- A <a@b>  Sun, 22 Feb 2026 18:36:50 +0100\n"
        );
        let entry = &parse(&text).entries[0];
        let found: Vec<&str> = entry.fixes.iter().map(|fix| fix.id.as_str()).collect();
        assert_eq!((&found[..], entry.n_denied), (fixed, n_denied), "{item}");
    };
    check(
        "Fix CVE-2024-33655: a DoS. The daemon itself is not vulnerable.",
        &["CVE-2024-33655"],
        0,
    );
    check(
        "Fixes CVE-2020-10960. CVE-2020-10959 does not affect this version.",
        &["CVE-2020-10960"],
        1,
    );
    check(
        "CVE-2023-1001 fixed; CVE-2023-1002 and CVE-2023-1003 are not affected",
        &["CVE-2023-1001"],
        2,
    );
    check(
        "Bypass with OpenSSL; gcrypt is not affected (CVE-2023-2283, Closes: #1035832)",
        &["CVE-2023-2283"],
        0,
    );
    check("Not affected by CVE-2023-0001.", &[], 1);
}

#[test]
fn an_item_of_many_lines_loses_none() {
    let lines: Vec<String> = (0..300).map(|i| format!("    CVE-2026-{i:05}: a flaw\n")).collect();
    let lines = lines.concat();
    let text = format!(
        "a (1) x; urgency=low\n\n  * New upstream version\n{lines}\n -- A <a@b>  Sun, 22 Feb 2026 18:36:50 +0100\n"
    );
    assert_eq!(parse(&text).entries[0].fixes.len(), 300);
}

#[test]
fn titles_lose_identifiers_and_keep_words() {
    let check = |line: &str, expected: &str| {
        let text = format!("a (1) b; u\n\n  * {line}\n");
        let log = parse(&text);
        assert_eq!(log.entries[0].fixes[0].title, expected, "{line}");
    };
    check("Fix double free (CVE-2024-0001)", "Fix double free");
    check("CVE-2024-0001: out of bounds read (in xpm)", "out of bounds read (in xpm)");
    check("CVE-2024-0001", "");
    check("fix f() [CVE-2024-0001] (Closes: #1)", "fix f()");
    check("crash on invalid input, CVE-2024-0001.", "crash on invalid input");
    check("CVE-2024-0001 (Stack overflow in g(x))", "Stack overflow in g(x)");
}

#[test]
fn what_is_no_changelog_gives_nothing() {
    for text in ["", "hello\n", " openssl (1) x; u\n", "a (b c) d; e", "a (", "x (1)", "\u{0}\u{0}"]
    {
        assert!(parse(text).entries.is_empty(), "{text}");
    }
}

#[test]
fn an_endless_changelog_is_cut_and_says_so() {
    let log = parse(&"a (1) b; u\n".repeat(ENTRIES_MAX + 5));
    assert!(log.truncated);
    assert_eq!(log.entries.len(), ENTRIES_MAX);
}

#[test]
fn the_oldest_upload_that_names_it_fixes_it() {
    let mut builder = DatabaseBuilder::new();
    add(&mut builder, "Debian:12", "openssl", &parse(LOG)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    builder.write(&path, Timestamp::from_nanos(1)).unwrap();
    let db = crate::db::Database::open(&path).unwrap();
    let found = db.advisories("Debian:12", "openssl").unwrap();
    let of = |id: &str| found.iter().find(|a| a.id == id).unwrap();
    assert_eq!(of("CVE-2026-28387").ranges[0].end, RangeEnd::Fixed("3.0.19-1~deb12u1".into()));
    assert_eq!(of("CVE-2026-28389").ranges[0].end, RangeEnd::Fixed("3.0.19-1~deb12u2".into()));
    assert!(found.iter().all(|a| a.id != "CVE-2024-9999"));
    assert_eq!(db.info().built.rfc3339(), "2026-04-03T12:29:32.000000000Z");
    assert_eq!(db.metadata().feeds[0].skipped["said not to apply"], 1);
}

#[test]
fn imports_a_folder_and_counts_what_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let gz = deb::tests::gzip(LOG.as_bytes());
    let doc = "./usr/share/doc/libssl3/changelog.Debian.gz";
    write("libssl3.deb", &deb::tests::package(&[(doc, &gz)], "data.tar.gz"));
    write("bad.deb", b"no package");
    write("none.deb", &deb::tests::package(&[("./x", b"y")], "data.tar"));
    write("README", b"hello");
    write("zlib.changelog", b"zlib (1.2-1) bookworm; urgency=low\n\n  * CVE-2022-37434\n");
    let mut builder = DatabaseBuilder::new();
    import_folder(&mut builder, folder.path(), "Debian:12").unwrap();
    assert_eq!(builder.n_records(), 8);
    let skipped = builder.feed(FEED).skipped.clone();
    assert_eq!(skipped["damaged package or changelog"], 1);
    assert_eq!(skipped["no changelog in the package"], 1);
    assert_eq!(skipped["neither package nor changelog"], 1);

    let empty = tempfile::tempdir().unwrap();
    let error = import_folder(&mut builder, empty.path(), "Debian:12").unwrap_err();
    assert!(matches!(error, ImportFeedError::Empty(_)));
}

#[test]
fn a_rebuild_for_the_release_has_the_fixes_of_what_it_continues() {
    // `1.3~deb12u2` sorts below `1.3`, whose fix it carries.
    let log = parse(
        "x (1.3~deb12u2) bookworm; u\n\n  * CVE-2026-0002 second\n\n\
         x (1.3~deb12u1) bookworm; u\n\n  * Rebuild for bookworm.\n\n\
         x (1.3) unstable; u\n\n  * CVE-2026-0001 first\n\n\
         x (1.2) unstable; u\n\n  * CVE-2025-0001 older\n",
    );
    let mut builder = DatabaseBuilder::new();
    add(&mut builder, "Debian:12", "x", &log).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    builder.write(&path, Timestamp::from_nanos(1)).unwrap();
    let found = crate::db::Database::open(&path).unwrap().advisories("Debian:12", "x").unwrap();
    let fixed: Vec<(&str, &RangeEnd)> =
        found.iter().map(|a| (a.id.as_str(), &a.ranges[0].end)).collect();
    let end = |version: &str| RangeEnd::Fixed(version.into());
    assert_eq!(
        fixed,
        [
            ("CVE-2025-0001", &end("1.2")),
            ("CVE-2026-0001", &end("1.3~deb12u1")),
            ("CVE-2026-0002", &end("1.3~deb12u2")),
        ]
    );
}

#[test]
fn one_package_of_each_source_stands_for_it() {
    let package = |name: &str, source: &str, files: &[&str]| Package {
        source: Some(palisade_model::package::SourcePackage {
            name: source.into(),
            version: "1".into(),
        }),
        files: files.iter().map(ToString::to_string).collect(),
        ..Package::new(PackageKind::Dpkg, name, "1", "")
    };
    let mut inventory = crate::report::tests::clean().inventory;
    inventory.packages = vec![
        package("libcurl4", "curl", &["/usr/share/doc/libcurl4"]),
        package("libcurl-gnutls", "curl", &["/usr/share/doc/libcurl-gnutls/changelog.Debian.gz"]),
        package("zlib1g", "zlib", &[]),
    ];
    let names: Vec<&str> = representatives(&inventory).iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["libcurl-gnutls", "zlib1g"]);
}

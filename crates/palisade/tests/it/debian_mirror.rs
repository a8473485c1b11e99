//! `palisade db build --debian-mirror` against a mirror that the test makes and signs.

use std::path::Path;

use crate::patch::{DEB, gpg, publish, shop};
use crate::support::{Ended, run};

const FOREVER: &str = "Sat, 01 Jan 2050 00:00:00 UTC";

/// A mirror with one package, its keyring, and an image that has an older one.
fn mirror() -> tempfile::TempDir {
    let (folder, _image) = shop();
    let at = folder.path();
    std::os::unix::fs::symlink("mirror", at.join("debian-security")).unwrap();
    std::fs::write(at.join("owner.gpg"), gpg(at, &["--export", "owner@example.org"])).unwrap();
    std::fs::remove_file(at.join("data/advisories.db")).unwrap();
    folder
}

fn build(at: &Path, more: &[&str]) -> Ended {
    let url = format!("file://{}/debian-security", at.display());
    let all = ["db", "build", "--debian-mirror", &url, "--debian-keyring", "owner.gpg"];
    run(at, &[&all[..], &["--release", "debian:12"], more].concat())
}

fn expect_fix(at: &Path) {
    let found = run(at, &["db", "search", "CVE-2026-10001", "--format", "tsv"]).expect(0);
    let expected = "Debian:12\tpalisadetest\tCVE-2026-10001\tunknown\t1.2.3-2\t";
    assert!(found.stdout.starts_with(expected), "{}", found.stdout);
}

#[test]
fn changelogs_come_from_the_mirror_once_and_the_database_says_what_it_lacks() {
    let folder = mirror();
    let at = folder.path();
    let ended = build(at, &[]).expect(0);
    assert!(ended.stderr.contains("1 source packages, 0 of them kept"), "{}", ended.stderr);
    assert!(ended.stderr.contains("Debian:12 is partial:"), "{}", ended.stderr);
    expect_fix(at);
    let status = run(at, &["db", "status"]).expect(0);
    assert!(status.stdout.contains("partial    Debian:12: "), "{}", status.stdout);
    assert!(status.stdout.contains("no-DSA"), "{}", status.stdout);
    // What was fetched is kept, in place of an older one.
    let kept = at.join("data/changelogs/bookworm");
    assert!(kept.join("palisadetest_1.2.3-3.changelog").is_file());
    std::fs::rename(
        kept.join("palisadetest_1.2.3-3.changelog"),
        kept.join("palisadetest_1.2.3-2.changelog"),
    )
    .unwrap();
    build(at, &["--debian-package", "libpalisadetest1,absent"]).expect(0);
    let names: Vec<_> =
        std::fs::read_dir(&kept).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["palisadetest_1.2.3-3.changelog"]);
    std::fs::remove_dir_all(at.join("mirror/pool")).unwrap();
    let ended = build(at, &["--debian-packages-of", "oci:shop"]).expect(0);
    assert!(ended.stderr.contains("1 of them kept, 0 to fetch"), "{}", ended.stderr);
    expect_fix(at);
    build(at, &["--debian-package", "absent"]).expect_error(3, "the mirror has none");
}

#[test]
fn nothing_that_is_not_signed_is_read() {
    let folder = mirror();
    let at = folder.path();
    let deb = at.join("mirror/pool").join(DEB);
    let good = std::fs::read(&deb).unwrap();
    let mut other = good.clone();
    other[good.len() / 2] ^= 1;
    std::fs::write(&deb, other).unwrap();
    build(at, &[]).expect_error(3, "it is not what the signed index lists");
    std::fs::write(&deb, good).unwrap();
    publish(at, "Sat, 17 Jan 2026 10:00:00 UTC");
    build(at, &[]).expect_error(3, "it was valid until 2026-01-17");
    publish(at, FOREVER);
    gpg(at, &["--passphrase", "", "--quick-gen-key", "other@example.org", "ed25519"]);
    std::fs::write(at.join("owner.gpg"), gpg(at, &["--export", "other@example.org"])).unwrap();
    build(at, &[]).expect_error(3, "a key that the image trusts");
    assert!(!at.join("data/advisories.db").exists());
    let ask = |more: &[&str]| run(at, &[&["db", "build", "--debian-mirror"], more].concat());
    ask(&["x", "--debian-package", "a", "--release", "debian:12"])
        .expect_error(2, "`x` is no address of a mirror");
    ask(&["http://a.example/debian", "--release", "debian:12"])
        .expect_error(2, "no package is named");
    ask(&["http://a.example/debian-security", "--release", "alpine:3.20"])
        .expect_error(2, "release");
    ask(&[
        "http://a.example/debian-security",
        "--release",
        "debian:12",
        "--debian-keyring",
        "none",
    ])
    .expect_error(3, "read `none`");
}

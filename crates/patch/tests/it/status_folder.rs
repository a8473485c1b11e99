//! Images without dpkg, whose packages have records in `status.d`.

use std::os::unix::fs::symlink;

use palisade_patch::{Difference, Files, Repository, Scripts, build};

use crate::root::{Images, put_layer, tree};
use crate::{Fixture, FromFiles, finding};

/// Such an image with two packages; one of them left its documentation out.
fn shop() -> Fixture {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.path("image/var/lib/dpkg/status")).unwrap();
    let folder = "image/var/lib/dpkg/status.d";
    let control = |name: &str| format!("Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\n");
    fixture.write(&format!("{folder}/libshop1"), &(control("libshop1") + "Source: shop\n"));
    fixture.write(
        &format!("{folder}/libshop1.md5sums"),
        "0  usr/lib/libshop.so.1.0\n0  usr/lib/shop/gone\n0  usr/share/doc/libshop1/copyright\n",
    );
    fixture.write(&format!("{folder}/other"), &control("other"));
    fixture.write(&format!("{folder}/other.md5sums"), "0  usr/lib/other\n");
    for name in ["libshop.so.1.0", "shop/gone", "other"] {
        fixture.write(&format!("image/usr/lib/{name}"), "1");
    }
    symlink("libshop.so.1.0", fixture.path("image/usr/lib/libshop.so.1")).unwrap();
    fixture.write("image/etc/shop/same.conf", "2");
    fixture.write("image/etc/shop/mine.conf", "mine");
    fixture
}

fn new_version(fixture: &Fixture, files: &[(&str, u32, &str)]) {
    let common: &[(&str, u32, &str)] = &[
        ("DEBIAN/postinst", 0o755, "#!/bin/sh\nexit 1\n"),
        (
            "DEBIAN/conffiles",
            0o644,
            "/etc/shop/same.conf\n/etc/shop/mine.conf\n/etc/shop/new.conf\n",
        ),
        ("etc/shop/same.conf", 0o644, "2"),
        ("etc/shop/mine.conf", 0o644, "2"),
        ("etc/shop/new.conf", 0o644, "2"),
        ("usr/lib/libshop.so.1", 0o777, "->libshop.so.1.1"),
        ("usr/lib/libshop.so.1.1", 0o644, "2"),
        ("usr/share/doc/libshop1/copyright", 0o644, "2"),
        ("usr/share/doc/libshop1/changelog", 0o644, "2"),
        ("usr/share/shop/fresh", 0o644, "2"),
    ];
    let package = fixture.package("libshop1", "1.0-2", "Source: shop\n", &[common, files].concat());
    fixture.offer(&[package]);
}

#[test]
fn a_layer_has_files_and_records_and_leaves_out_what_the_image_leaves_out() {
    let fixture = shop();
    new_version(&fixture, &[]);
    let found = [finding("libshop1", "CVE-2025-1", Some("1.0-2"))];
    let make = |repository: &Repository| {
        let file = std::fs::File::create(fixture.path("layer.tar")).unwrap();
        build(&fixture.files(), &found, repository, &FromFiles, Scripts::Refuse, 0, file).unwrap()
    };
    let built = make(&fixture.gather());
    assert_eq!(built.upgraded.len(), 1, "{:?}", built.plan.remaining);
    // No script was ever executed there; it is named all the same.
    assert_eq!(built.upgraded[0].skipped, ["postinst"]);
    assert_eq!(
        built.upgraded[0].kept[0].new_form.as_deref(),
        Some("/etc/shop/mine.conf.dpkg-dist")
    );
    put_layer(&fixture.path("image"), &fixture.path("layer.tar"), &fixture.path("ours"));
    let (was, is) = (tree(&fixture.path("image")), tree(&fixture.path("ours")));
    let differs: Vec<&str> = is
        .iter()
        .filter(|(path, text)| was.get(*path) != Some(text))
        .map(|(path, _)| path.as_str())
        .chain(was.keys().filter(|path| !is.contains_key(*path)).map(String::as_str))
        .collect();
    assert_eq!(
        differs,
        [
            "etc/shop/mine.conf.dpkg-dist",
            "etc/shop/new.conf",
            "usr/lib/libshop.so.1",
            "usr/lib/libshop.so.1.1",
            "usr/share/shop",
            "usr/share/shop/fresh",
            "var/lib/dpkg/status.d/libshop1",
            "var/lib/dpkg/status.d/libshop1.md5sums",
            "usr/lib/libshop.so.1.0",
            "usr/lib/shop/gone",
        ]
    );
    let read = |path: &str| std::fs::read_to_string(fixture.path(path)).unwrap();
    let control = read("ours/var/lib/dpkg/status.d/libshop1");
    assert!(control.contains("Version: 1.0-2\n") && !control.contains("Status:"), "{control}");
    let sums = read("ours/var/lib/dpkg/status.d/libshop1.md5sums");
    assert!(sums.contains("  usr/lib/libshop.so.1.1\n"), "{sums}");

    let images = Images(&fixture.path(""));
    images.write("image", "old");
    images.amend("old", "new", "layer.tar");
    let (old, new) = (images.open("old"), images.open("new"));
    let none = std::collections::BTreeSet::default();
    let honest = Difference::with_scripts(&old, &new, &built.plan, &none, &built.unrecorded);
    let honest = honest.unwrap();
    assert_eq!(honest.n_unexpected, 0, "{:?}", honest.unexpected);
    // Links are in no record: without what the packages say of them, one would be unexpected.
    let strict = Difference::between(&old, &new, &built.plan).unwrap();
    assert!(strict.unexpected.contains(&"usr/lib/libshop.so.1".to_string()), "{strict:?}");
    assert!(Files::read(&new).unwrap().get("usr/share/doc/libshop1/changelog").is_none());
}

#[test]
fn sources_of_ones_own_are_asked_where_the_image_has_none() {
    let fixture = shop();
    new_version(&fixture, &[]);
    let text = std::fs::read(fixture.path("image/etc/apt/sources.list.d/shop.sources")).unwrap();
    let ring = fixture.path("image/usr/share/keyrings/shop.gpg");
    let key = std::fs::read(&ring).unwrap();
    std::fs::remove_file(ring).unwrap();
    std::fs::remove_dir_all(fixture.path("image/etc/apt")).unwrap();
    assert!(fixture.gather().suites.is_empty());
    let gather = |key: Option<Vec<u8>>| {
        let files = fixture.files().with_sources("own.sources", &text, &|path| {
            assert_eq!(path, "/usr/share/keyrings/shop.gpg");
            key.clone()
        });
        fixture.gather_for(&files)
    };
    assert_eq!(gather(Some(key)).suites[0].problem, None);
    let problem = gather(None).suites[0].problem.clone().unwrap();
    assert!(problem.contains("is not trusted"), "{problem}");
}

#[test]
fn what_belongs_to_another_package_is_refused() {
    let fixture = shop();
    new_version(&fixture, &[("usr/lib/other", 0o644, "2")]);
    let found = [finding("libshop1", "CVE-2025-1", Some("1.0-2"))];
    let (files, repository) = (fixture.files(), fixture.gather());
    let built = build(&files, &found, &repository, &FromFiles, Scripts::Skip, 0, Vec::new());
    assert_eq!(built.unwrap().plan.remaining[0].why, "/usr/lib/other is a file of other as well");
}

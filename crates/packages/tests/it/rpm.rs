//! RPM's databases in all forms, and pacman's.

use std::io::Read as _;
use std::path::Path;

use palisade_model::Inventory;
use palisade_packages::Collector;

use crate::subject;

/// A file of the test data, inflated.
fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

const OS: &[u8] = b"ID=\"rocky\"\nVERSION_ID=\"9.3\"\n";

fn inventory(path: &str, bytes: &[u8]) -> Inventory {
    let mut collector = Collector::new();
    assert!(collector.wants(path).is_some(), "{path}");
    collector.add("etc/os-release", OS, None);
    collector.add(path, bytes, None);
    collector.finish(subject(), 2, Vec::new()).inventory
}

const DATABASES: [(&str, &str); 4] = [
    ("rpm/rpmdb.sqlite.gz", "var/lib/rpm/rpmdb.sqlite"),
    ("rpm/Packages.db.gz", "usr/lib/sysimage/rpm/Packages.db"),
    ("rpm/Packages-le.gz", "var/lib/rpm/Packages"),
    ("rpm/Packages-be.gz", "var/lib/rpm/Packages"),
];

#[test]
fn every_form_has_the_same_packages() {
    for (name, path) in DATABASES {
        let found = inventory(path, &data(name));
        assert_eq!(found.gaps, [], "{name}");
        let purls: Vec<&str> = found.packages.iter().map(|one| one.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:rpm/rocky/shop-base@1.2-3.el9?arch=noarch&distro=rocky-9.3&epoch=1&rpmmod=shop:1:20260101:abcd",
                "pkg:rpm/rocky/shop-tools@1.2-3.el9?arch=noarch&distro=rocky-9.3&rpmmod=shop:1:20260101:abcd&upstream=shop-base",
            ],
            "{name}"
        );
        let base = &found.packages[0];
        assert_eq!(base.version, "1:1.2-3.el9");
        assert_eq!(base.licences, ["MIT and Apache-2.0"]);
        assert_eq!(base.maintainer.as_deref(), Some("The Palisade authors"));
        assert_eq!(base.evidence, format!("/{path}"));
        assert_eq!(base.files.len(), 301);
        let long = "/etc/shop/a-file-with-a-rather-long-name-to-fill-pages-300.conf";
        assert!(base.files.iter().any(|file| file == long));
        assert_eq!(found.packages[1].files, ["/usr/bin/shop"]);
    }
}

#[test]
fn cut_and_changed_databases_are_gaps() {
    for (name, path) in DATABASES {
        let whole = data(name);
        for cut in [0, 11, 99, 600, 4096, whole.len() / 2] {
            let found = inventory(path, &whole[..cut]);
            assert!(!found.gaps.is_empty(), "{name} cut to {cut}");
        }
        // No change makes it panic or loop; the step is prime to reach all kinds of places.
        for at in (0..whole.len()).step_by(997) {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = inventory(path, &changed);
        }
    }
}

#[test]
fn a_log_with_changes_is_a_gap() {
    let path = "var/lib/rpm/rpmdb.sqlite-wal";
    assert_eq!(inventory(path, b"").gaps, []);
    let found = inventory(path, &[0; 4096]);
    assert!(found.gaps[0].reason.contains("not in the database yet"));
}

#[test]
fn manifest_of_images_without_a_database() {
    let line = "bash\t5.1.8-1.cm2\t1653816591\t1653753130\tMicrosoft Corporation\t(none)\t7121\tx86_64\t2\tbash-5.1.8-1.cm2.src.rpm\n";
    let path = "var/lib/rpmmanifest/container-manifest-2";
    let found = inventory(path, line.as_bytes());
    assert_eq!(found.gaps, []);
    assert_eq!(found.packages[0].version, "2:5.1.8-1.cm2");
    assert_eq!(inventory(path, b"bash\n").gaps.len(), 1);
}

#[test]
fn pacman() {
    let desc = "%NAME%\ncurl\n\n%VERSION%\n8.4.0-2\n\n%BASE%\ncurl\n\n%ARCH%\nx86_64\n\n%PACKAGER%\nA <a@example.org>\n\n%LICENSE%\nMIT\n\n";
    let files = "%FILES%\nusr/\nusr/bin/\nusr/bin/curl\n\n%BACKUP%\netc/x\tabc\n";
    let mut collector = Collector::new();
    collector.add("etc/os-release", b"ID=arch\n", None);
    collector.add("var/lib/pacman/local/curl-8.4.0-2/files", files.as_bytes(), None);
    collector.add("var/lib/pacman/local/curl-8.4.0-2/desc", desc.as_bytes(), None);
    collector.add("var/lib/pacman/local/bad-1/desc", b"%NAME%\n\n", None);
    let found = collector.finish(subject(), 4, Vec::new()).inventory;
    assert_eq!(found.packages.len(), 1);
    let package = &found.packages[0];
    assert_eq!(package.purl, "pkg:alpm/arch/curl@8.4.0-2?arch=x86_64&distro=arch");
    assert_eq!(package.files, ["/usr/bin/curl"]);
    assert_eq!(package.licences, ["MIT"]);
    assert_eq!(package.maintainer.as_deref(), Some("A <a@example.org>"));
    assert_eq!(found.gaps.len(), 1);
    assert_eq!(collector_wants("var/lib/pacman/local/ALPM_DB_VERSION"), None);
}

fn collector_wants(path: &str) -> Option<u64> {
    Collector::new().wants(path)
}

//! Packages made by `dpkg-deb`, and a package of the mirror.

use std::path::Path;
use std::process::Command;

use palisade_base::Timestamp;
use palisade_scan::db::{Database, DatabaseBuilder, RangeEnd};
use palisade_scan::feeds::debian_changelogs;

const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

const LOG: &str = "\
demo (1.0-1+deb12u2) bookworm-security; urgency=high

  * Fix overflow in the parser (CVE-2026-10001)

 -- A <a@example.org>  Fri, 03 Apr 2026 14:29:32 +0200
";

fn database(folder: &Path) -> Database {
    let mut builder = DatabaseBuilder::new();
    debian_changelogs::import_folder(&mut builder, folder, "Debian:12").unwrap();
    let path = folder.join("advisories.db");
    builder.write(&path, NOW).unwrap();
    Database::open(&path).unwrap()
}

#[test]
fn every_compression_of_dpkg_is_read() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("skipped: dpkg-deb is not installed");
        return;
    }
    for compression in ["none", "gzip", "xz", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let doc = root.join("usr/share/doc/demo");
        std::fs::create_dir_all(&doc).unwrap();
        std::fs::create_dir(root.join("DEBIAN")).unwrap();
        std::fs::write(
            root.join("DEBIAN/control"),
            "Package: demo\nVersion: 1.0-1+deb12u2\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n",
        )
        .unwrap();
        let log = std::fs::File::create(doc.join("changelog.Debian.gz")).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(log, flate2::Compression::default());
        std::io::Write::write_all(&mut gzip, LOG.as_bytes()).unwrap();
        gzip.finish().unwrap();
        let out = folder.path().join("demo.deb");
        let status = Command::new("dpkg-deb")
            .args(["--root-owner-group", &format!("-Z{compression}"), "--build"])
            .arg(&root)
            .arg(&out)
            .output()
            .unwrap();
        assert!(status.status.success(), "{compression}: {status:?}");
        std::fs::remove_dir_all(&root).unwrap();
        let found = database(folder.path()).advisories("Debian:12", "demo").unwrap();
        assert_eq!(found.len(), 1, "{compression}");
        assert_eq!(found[0].title, "Fix overflow in the parser");
    }
}

mod root {
    //! Downloads from the mirror, which needs a machine that may use its own package manager.

    use super::*;

    #[test]
    fn the_mirrors_newest_libssl_names_what_it_fixes() {
        let folder = tempfile::tempdir().unwrap();
        let download = Command::new("apt-get")
            .args(["download", "-q", "libssl3"])
            .current_dir(folder.path())
            .output();
        let worked = download.as_ref().is_ok_and(|output| output.status.success());
        if !worked {
            eprintln!("skipped: apt-get cannot download libssl3 here: {download:?}");
            return;
        }
        let db = database(folder.path());
        let found = db.advisories("Debian:12", "openssl").unwrap();
        // Binary packages carry the uploads since the release before the last one.
        let fixed_in = |id: &str| {
            let found = found.iter().find(|a| a.id == id).map(|a| a.ranges[0].end.clone());
            found.unwrap_or(RangeEnd::Open)
        };
        assert_eq!(fixed_in("CVE-2025-9230"), RangeEnd::Fixed("3.0.17-1~deb12u3".into()));
        assert!(found.len() > 50, "{}", found.len());
        let titled = found.iter().filter(|a| !a.title.is_empty()).count();
        eprintln!("{} advisories, {titled} with a title, newest {}", found.len(), db.info().built);
        assert!(titled * 2 > found.len());
    }
}

//! Feeds are hostile input: whatever the bytes, an importer ends with an answer or an error.

use std::path::Path;

use palisade_base::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::db::{Database, DatabaseBuilder};

type Import = fn(&mut DatabaseBuilder, &Path) -> Result<(), ImportFeedError>;

/// Imports `bytes` under `name` with every importer that would take such a file, and reads
/// back what came of it.
fn import_everything(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let importers: [Import; 4] = [osv::import, kev::import, alpine::import, |builder, path| {
        let folder = path.parent().unwrap_or(path);
        debian_changelogs::import_folder(builder, folder, "Debian:12")
    }];
    for import in importers {
        let mut builder = DatabaseBuilder::new();
        let _ = import(&mut builder, &path);
        let db = folder.path().join("db");
        if builder.write(&db, Timestamp::from_nanos(1)).is_ok() {
            Database::open(&db).unwrap().verify().unwrap();
        }
    }
}

/// Text of the shape that importers read, broken somewhere.
fn broken(good: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((0..good.len(), any::<u8>()), 0..6);
    (edits, 0..=good.len()).prop_map(move |(edits, end)| {
        let mut bytes = good.as_bytes().to_vec();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        bytes.truncate(end.max(1));
        bytes
    })
}

const OSV: &str = r#"{"id": "GO-1", "aliases": ["CVE-2024-0001"], "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}], "affected": [{"package": {"ecosystem": "Go", "name": "m"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2"}]}]}]}"#;
const SECDB: &str = "distroversion: v3.11\npackages:\n  - pkg:\n      name: xen\n      secfixes:\n        1.10:\n          - CVE-2019-14904 XSA-1\n";
const LOG: &str = "openssl (3.0.19-1) bookworm; urgency=medium\n\n  * CVE-2026-28387 (\"x\")\n  - CVE-2026-1234 é\n\n -- A <a@x>  Fri, 03 Apr 2026 14:29:32 +0200\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn broken_records(bytes in broken(OSV)) {
        import_everything("a.json", &bytes);
    }

    #[test]
    fn broken_security_databases(bytes in broken(SECDB)) {
        import_everything("a.yaml", &bytes);
    }

    #[test]
    fn broken_changelogs(bytes in broken(LOG)) {
        import_everything("changelog", &bytes);
    }

    #[test]
    fn noise_in_every_container(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for name in ["all.zip", "x.deb", "changelog.gz"] {
            import_everything(name, &bytes);
        }
    }

    #[test]
    fn any_ignore_file(text in "[ -~\n]{0,200}") {
        let _ = crate::ignore::parse(&text, "x");
    }
}

#[test]
fn every_flipped_bit_of_a_package_is_an_answer_or_an_error() {
    let log = deb::tests::gzip(LOG.as_bytes());
    let doc = "./usr/share/doc/x/changelog.Debian.gz";
    let good = deb::tests::package(&[(doc, &log)], "data.tar.gz");
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x11;
        let _ = deb::changelog_of(&bad[..]);
        let _ = deb::changelog_of(&good[..i]);
    }
}

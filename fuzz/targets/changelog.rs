//! Debian changelogs: entries are bounded and printable, and make advisories that are found
//! again in a database.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{NOW, scratch};
use palisade_scan::db::{Database, DatabaseBuilder};
use palisade_scan::feeds::debian_changelogs::{ENTRIES_MAX, add, parse};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let log = parse(&text);
    assert!(log.entries.len() <= ENTRIES_MAX);
    for fix in log.entries.iter().flat_map(|entry| &entry.fixes) {
        let number = fix.id.strip_prefix("CVE-").and_then(|rest| rest.split_once('-'));
        assert!(number.is_some_and(|(year, n)| year.len() == 4 && n.len() >= 4), "{}", fix.id);
        assert!(fix.title.chars().count() <= 160, "{:?}", fix.title);
        assert!(!fix.title.contains(char::is_control), "{:?}", fix.title);
    }
    let mut builder = DatabaseBuilder::new();
    add(&mut builder, "Debian:12", "source", &log).expect("a changelog fits a database");
    if builder.n_records() == 0 {
        return;
    }
    let path = scratch().join("advisories.db");
    builder.write(&path, NOW).expect("write a database");
    let database = Database::open(&path).expect("open what was written");
    let found = database.advisories("Debian:12", "source").expect("read what was written");
    assert_eq!(found.len() as u64, builder.n_records());
});

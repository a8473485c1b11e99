//! Advisory feeds: OSV records and exports, CISA's list, Alpine's `secdb`.
//!
//! What is imported makes a database that can be opened and verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, NOW, scratch, scratch_file};
use palisade_scan::db::{Database, DatabaseBuilder};
use palisade_scan::feeds::{alpine, kev, osv};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut builder = DatabaseBuilder::new();
    let imported = match input.byte().wrapping_sub(b'a') % 4 {
        0 => osv::import(&mut builder, &scratch_file("feed.json", input.0)),
        1 => osv::import(&mut builder, &scratch_file("feed.zip", input.0)),
        2 => kev::import(&mut builder, &scratch_file("kev.json", input.0)),
        _ => alpine::import(&mut builder, &scratch_file("feed.json", input.0)),
    };
    if imported.is_ok() && builder.n_records() > 0 {
        let path = scratch().join("advisories.db");
        builder.write(&path, NOW).expect("write a database");
        let database = Database::open(&path).expect("open what was written");
        database.verify().expect("verify what was written");
        assert_eq!(database.info().n_records, builder.n_records());
    }
});

//! Advisory feeds of every form: OSV, trackers, CSAF, OVAL, errata, notices, VEX, secdb, lists.
//!
//! What is imported makes a database that can be opened and verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, NOW, scratch, scratch_file};
use palisade_scan::db::{Database, DatabaseBuilder};
use palisade_scan::feeds::{
    alpine, csaf, debian_tracker, epss, errata, kev, osv, oval, rating, ubuntu_vex, updateinfo,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut builder = DatabaseBuilder::new();
    let json = |bytes: &[u8]| scratch_file("feed.json", bytes);
    let xml = |bytes: &[u8]| scratch_file("feed.xml", bytes);
    let imported = match input.form(13) {
        0 => osv::import(&mut builder, &json(input.0)),
        1 => osv::import(&mut builder, &scratch_file("feed.zip", input.0)),
        2 => kev::import(&mut builder, &json(input.0)),
        3 => alpine::import(&mut builder, &json(input.0)),
        4 => debian_tracker::import(&mut builder, &json(input.0), Some(NOW)),
        5 => csaf::import(&mut builder, &json(input.0), "redhat-vex"),
        6 => errata::import(&mut builder, &json(input.0), errata::ALMA),
        7 => errata::import(&mut builder, &json(input.0), errata::ROCKY),
        8 => oval::import(&mut builder, &xml(input.0)),
        9 => updateinfo::import(&mut builder, &xml(input.0)),
        10 => ubuntu_vex::import(&mut builder, &json(input.0)),
        11 => {
            let text = String::from_utf8_lossy(input.0);
            if let Some((score, _)) = rating::score(&text) {
                assert!((0.0..=10.0).contains(&score), "{text}: {score}");
            }
            let _ = palisade_scan::vex::read(input.0);
            return;
        }
        _ => epss::import(&mut builder, &scratch_file("epss.csv", input.0)),
    };
    if imported.is_ok() && builder.n_records() > 0 {
        let path = scratch().join("advisories.db");
        builder.write(&path, NOW).expect("write a database");
        let database = Database::open(&path).expect("open what was written");
        database.verify().expect("verify what was written");
        assert_eq!(database.info().n_records, builder.n_records());
    }
});

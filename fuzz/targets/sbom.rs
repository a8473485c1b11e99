//! Bills of materials: problems have places, and what is read can be written in every form and
//! read back with the same packages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::NOW;
use palisade_scan::sbom::read::{PROBLEMS_MAX, ReadSbomError, read};
use palisade_scan::sbom::{DocumentInfo, Format, render};

fuzz_target!(|data: &[u8]| {
    let document = match read(data, "bom.json") {
        Ok(document) => document,
        Err(ReadSbomError::Invalid { problems, .. }) => {
            assert!((1..=PROBLEMS_MAX + 1).contains(&problems.0.len()));
            assert!(problems.0.iter().all(|p| p.pointer.is_empty() || p.pointer.starts_with('/')));
            return;
        }
        Err(_) => return,
    };
    let n = document.inventory.packages.len() + document.inventory.parts.len();
    let info = DocumentInfo::derived(data, NOW, "0.0.0");
    for format in Format::ALL {
        let text = render(&document.inventory, format, &info).expect("it can be written");
        let again = read(text.as_bytes(), "again.json")
            .unwrap_or_else(|error| panic!("our own {format:?} is refused: {error}"));
        assert_eq!(again.inventory.packages.len() + again.inventory.parts.len(), n, "{format:?}");
    }
});

//! Lists of the kernel's measurements: total; what is compared is all that was read.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_profile::ima::{compare, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(found) = parse(text) else { return };
    assert!(found.files.len() + found.n_others <= text.lines().count());
    // An image that has every second file.
    let image: BTreeMap<String, Digest> =
        found.files.iter().step_by(2).map(|file| (file.path.clone(), Digest::of(b"x"))).collect();
    let compared = compare(&found, &image);
    for file in &found.files {
        assert_ne!(compared.elsewhere.contains(&file.path), image.contains_key(&file.path));
    }
});

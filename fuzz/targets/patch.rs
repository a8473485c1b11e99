//! What repositories of packages bring. The first byte chooses the form of the rest.
//!
//! A package's paths stay below the root, and an index gives what the text has at most.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_patch::{read_apk_index, read_deb, read_packages, read_release, read_sources_list};

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 5 {
        0 => {
            let Ok(deb) = read_deb(rest, "package") else { return };
            assert!(deb.control.contains_key("control"));
            for file in &deb.files {
                assert!(!file.path.starts_with('/') && file.path.split('/').all(|it| it != ".."));
            }
            assert!(deb.control.keys().all(|name| !name.contains('/')));
        }
        1 => {
            let (packages, n_bad) = read_packages(rest);
            assert!(packages.len() as u64 + n_bad <= rest.len() as u64 + 1);
        }
        4 => {
            let (packages, n_bad) = read_apk_index(rest);
            assert!(packages.len() as u64 + n_bad <= rest.len() as u64 + 1);
        }
        2 => {
            let text = String::from_utf8_lossy(rest);
            let release = read_release(&text, "Release");
            assert!(release.is_err() || !release.unwrap_or_default().files.is_empty());
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            let (mut sources, mut problems) = (Vec::new(), Vec::new());
            read_sources_list(&text, "sources.list", &mut sources, &mut problems);
            assert!(sources.iter().all(|source| !source.address.is_empty()));
        }
    }
});

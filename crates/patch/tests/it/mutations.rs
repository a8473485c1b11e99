//! The fuzz target's seeds, cut and changed everywhere: parsers answer, and never panic.

use palisade_patch::{
    read_apk, read_apk_index, read_apk_members, read_deb, read_modules, read_notices,
    read_packages, read_primary, read_release, read_repomd, read_repos, read_rpm,
    read_sources_list, rewrite_apk_installed, rewrite_apk_scripts,
};

use crate::apk::gzip;

/// As the fuzz target: the first byte chooses the form of the rest. Tells whether something was
/// read.
fn parse(data: &[u8]) -> bool {
    let Some((kind, rest)) = data.split_first() else { return false };
    let text = String::from_utf8_lossy(rest);
    match kind {
        0 => read_deb(rest, "package").is_ok(),
        1 => !read_packages(rest).0.is_empty(),
        2 => read_release(&text, "Release").is_ok(),
        3 => {
            let (mut sources, mut problems) = (Vec::new(), Vec::new());
            read_sources_list(&text, "sources.list", &mut sources, &mut problems);
            !sources.is_empty()
        }
        5 => {
            let at = rest.windows(8).position(|it| it == b"\0\0DATA\0\0").unwrap_or(rest.len());
            let (control, data) = rest.split_at(at);
            let data = gzip(data.get(8..).unwrap_or_default());
            read_apk_members(&gzip(control), &data, "package").is_ok()
        }
        6 => rewrite_apk_installed(&text).0 > 0,
        7 => rewrite_apk_scripts(rest).is_ok(),
        // A whole package is refused wherever it ends: nothing gives it this checksum.
        8 => read_apk(rest, "Q1", "package").is_err(),
        9 => read_repomd(rest, "repomd.xml").is_ok(),
        10 => read_primary(rest, &|_| true).is_ok_and(|it| !it.packages.is_empty()),
        11 => read_modules(&text, &|_| true).is_ok(),
        12 => read_notices(rest, &|_| true).is_ok(),
        13 => read_rpm(rest, "package").is_ok(),
        14 => !read_repos(&text).0.is_empty(),
        _ => !read_apk_index(rest).0.is_empty(),
    }
}

#[test]
fn no_change_of_a_seed_is_a_panic() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/fuzz_patch");
    let (mut n_seeds, mut n_read) = (0, 0_u64);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let seed = std::fs::read(&path).unwrap();
        assert!(parse(&seed), "{}", path.display());
        n_seeds += 1;
        // Large seeds are mostly padding.
        let step = 1 + seed.len() / 500;
        for at in (1..seed.len()).step_by(step) {
            n_read += u64::from(parse(&seed[..at]));
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = seed.clone();
                changed[at] ^= mask;
                n_read += u64::from(parse(&changed));
            }
        }
    }
    assert!(n_seeds >= 18 && n_read > 0);
}

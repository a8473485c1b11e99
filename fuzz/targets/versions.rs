//! Version orders: each is a total order over what it accepts.
//!
//! Alpine's accepts any text, as apk does, and is an order of versions only. pacman's ignores a
//! release that one side lacks, so that `1-1` and `1-2` are both `1`, and Maven's puts `1.x`
//! before `1-beta` though that is before `1` and `1` before `1.x`: no orders of three.
#![no_main]

use std::cmp::Ordering;

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::Input;
use palisade_model::PackageKind;
use palisade_packages::version::compare;

const KINDS: [PackageKind; 12] = [
    PackageKind::Dpkg,
    PackageKind::Apk,
    PackageKind::Rpm,
    PackageKind::Python,
    PackageKind::Node,
    PackageKind::Go,
    PackageKind::Cargo,
    PackageKind::Pacman,
    PackageKind::Ruby,
    PackageKind::Composer,
    PackageKind::Maven,
    PackageKind::Nuget,
];

/// Whether the text is a version of Alpine (apk-package(5)): `1.2.3b_rc1-r4`.
fn is_apk_version(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (text, revision) = text.split_once("-r").unwrap_or((text, "0"));
    let mut parts = text.split('_');
    let numbers = parts.next().unwrap_or_default();
    let numbers = numbers.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(numbers);
    let is_suffix = |part: &str| {
        let name = part.trim_end_matches(|c: char| c.is_ascii_digit());
        ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"].contains(&name)
    };
    digits(revision) && numbers.split('.').all(digits) && parts.all(is_suffix)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let kind = KINDS[input.form(KINDS.len())];
    let text = String::from_utf8_lossy(input.0);
    // Each version is also compared with a cut of itself, which is near it in the order.
    let mut versions: Vec<&str> = text.split('\n').take(4).collect();
    let cuts: Vec<&str> = versions.iter().filter_map(|v| v.get(..v.len() / 2)).collect();
    versions.extend(cuts);
    if kind == PackageKind::Apk {
        versions.retain(|version| is_apk_version(version));
    }
    let table: Vec<Vec<Option<Ordering>>> =
        versions.iter().map(|a| versions.iter().map(|b| compare(kind, a, b)).collect()).collect();
    for (i, a) in versions.iter().enumerate() {
        assert!(table[i][i].is_none_or(Ordering::is_eq), "{kind}: {a:?} with itself");
        for (j, b) in versions.iter().enumerate() {
            let found = table[i][j];
            assert_eq!(found, table[j][i].map(Ordering::reverse), "{kind}: {a:?} and {b:?}");
            let both = table[i][i].is_some() && table[j][j].is_some();
            assert_eq!(found.is_some(), both, "{kind}: {a:?} and {b:?}");
            let is_pairwise = matches!(kind, PackageKind::Pacman | PackageKind::Maven);
            let n_third = if is_pairwise { 0 } else { versions.len() };
            for (k, c) in versions.iter().enumerate().take(n_third) {
                if let (Some(ab), Some(bc), Some(ac)) = (found, table[j][k], table[i][k])
                    && ab.is_le()
                    && bc.is_le()
                {
                    assert_eq!(ac, ab.then(bc), "{kind}: {a:?} <= {b:?} <= {c:?}");
                }
            }
        }
    }
});

//! The version order of each ecosystem.
//!
//! Each order is total over the ecosystem's versions. Text that is no version has no place
//! in it, and the comparison says so with `None`; Alpine's alone gives such text a place, as
//! apk does, and is then no order that a sort could rely on. pacman's and Maven's
//! are none either, as their tools define them: a release counts only where both have one, and
//! `1.x` comes before `1-beta`, which comes before `1`, which comes before `1.x`.

pub mod alpm;
pub mod apk;
pub mod dpkg;
pub mod gem;
pub mod maven;
pub mod nuget;
pub mod packagist;
pub mod pep440;
pub mod rpm;
pub mod semver;

use std::cmp::Ordering;

use palisade_model::PackageKind;

/// Compares two versions; `None` when one of them is no version of the ecosystem.
pub type Compare = fn(&str, &str) -> Option<Ordering>;

/// Longer versions are not compared.
pub const VERSION_BYTES_MAX: usize = 1024;

/// The order of `kind`; `None` where it is not implemented.
pub fn order(kind: PackageKind) -> Option<Compare> {
    match kind {
        PackageKind::Dpkg => Some(dpkg::compare),
        PackageKind::Apk => Some(apk::compare),
        PackageKind::Rpm => Some(rpm::compare),
        PackageKind::Python => Some(pep440::compare),
        PackageKind::Node | PackageKind::Cargo | PackageKind::Go => Some(semver::compare),
        PackageKind::Pacman => Some(alpm::compare),
        PackageKind::Ruby => Some(gem::compare),
        PackageKind::Composer => Some(packagist::compare),
        PackageKind::Maven => Some(maven::compare),
        PackageKind::Nuget => Some(nuget::compare),
        _ => None,
    }
}

/// Compares two versions of the ecosystem `kind`.
pub fn compare(kind: PackageKind, a: &str, b: &str) -> Option<Ordering> {
    order(kind)?(a, b)
}

/// Compares two runs of ASCII digits by value, whatever their length.
pub(crate) fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &'_ [u8]| digits.iter().take_while(|byte| **byte == b'0').count();
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Splits `text` after its leading bytes that satisfy `test`.
pub(crate) fn split_while(text: &[u8], test: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| test(byte)).count())
}

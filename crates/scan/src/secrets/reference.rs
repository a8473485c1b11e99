//! The page `docs/reference/secrets.md`, made from the table of detectors.

use std::fmt::Write as _;

use super::{DETECTORS, Detector};

/// The page.
pub fn page() -> String {
    let mut out = String::from(
        "# Secret detectors\n\n\
         This page is made from the table of detectors; `UPDATE_GOLDEN=1 cargo test -p palisade-scan` rewrites it.\n\
         [The guide](../guide/scan.md#secrets) says how they work together.\n\n\
         *Where* names the files that a detector is confined to; `text` is every text file, `+ binary` means programs and other binary files too.\n\
         *Verified by* is what a value must have besides its shape, and what lowers its severity.\n\n",
    );
    let _ = writeln!(out, "There are {} of them.\n", DETECTORS.len());
    out.push_str("| detector | finds | severity | where | verified by |\n|---|---|---|---|---|\n");
    for detector in DETECTORS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            detector.id,
            detector.title,
            detector.severity,
            place(detector),
            detector.check.describe()
        );
    }
    out
}

fn place(detector: &Detector) -> String {
    if detector.names.is_empty() {
        return if detector.in_binaries { "text + binary".into() } else { "text".into() };
    }
    let names: Vec<String> = detector.names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/secrets.md");
        let page = super::page();
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the product")]
        let update = std::env::var_os("UPDATE_GOLDEN").is_some();
        if update {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == page, "docs/reference/secrets.md differs; run with UPDATE_GOLDEN=1");
    }
}

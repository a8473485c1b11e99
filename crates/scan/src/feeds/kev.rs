//! CISA's catalogue of vulnerabilities known to be exploited (`known_exploited_vulnerabilities.json`).
//!
//! It says only that a CVE is exploited somewhere; matching never starts from it.

use std::path::Path;

use palisade_base::Timestamp;
use serde::Deserialize;

use super::{ImportFeedError, cve_ids, malformed, read_file};
use crate::db::DatabaseBuilder;

/// Name of the feed.
pub const FEED: &str = "kev";
/// The catalogue beyond this many bytes is refused; it has 1.3 MB.
pub const BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Catalogue {
    #[serde(default)]
    date_released: Option<String>,
    vulnerabilities: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "cveID")]
    cve_id: String,
}

/// Imports the catalogue in the file at `path`.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let bytes = read_file(path, "known exploited vulnerabilities", BYTES_MAX)?;
    let catalogue: Catalogue = serde_json::from_slice(&bytes)
        .map_err(|error| malformed(path, "CISA's known_exploited_vulnerabilities.json", error))?;
    builder.feed(FEED);
    for listed in &catalogue.vulnerabilities {
        let whole = 0..listed.cve_id.len();
        if cve_ids(&listed.cve_id).first() == Some(&whole) {
            builder.add_exploited(FEED, &listed.cve_id);
        } else {
            builder.feed(FEED).skip("malformed identifier");
        }
    }
    if let Some(time) = catalogue.date_released.and_then(|t| t.parse::<Timestamp>().ok()) {
        builder.note_time(FEED, time);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_catalogue_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kev.json");
        let mut builder = DatabaseBuilder::new();
        std::fs::write(
            &path,
            r#"{"dateReleased": "2025-08-25T17:04:19.9796Z", "vulnerabilities":
                [{"cveID": "CVE-2025-48384", "x": 1}, {"cveID": "nonsense"}]}"#,
        )
        .unwrap();
        import(&mut builder, &path).unwrap();
        let info = builder.feed(FEED).clone();
        assert_eq!((info.n_records, info.skipped.len()), (1, 1));
        assert!(info.newest.is_some());
        for bad in ["", "[]", "{\"vulnerabilities\": 3}"] {
            std::fs::write(&path, bad).unwrap();
            let error = import(&mut builder, &path).unwrap_err();
            assert!(matches!(error, ImportFeedError::Malformed { .. }), "{bad}");
        }
    }
}

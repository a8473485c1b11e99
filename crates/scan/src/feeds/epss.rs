//! FIRST's Exploit Prediction Scoring System (`epss_scores-YYYY-MM-DD.csv`, gzip or plain).
//!
//! A line of remarks, a line of names, then `cve,epss,percentile`. The score is the probability
//! that the vulnerability is exploited within 30 days; the percentile follows from it.

use std::path::Path;

use palisade_base::Timestamp;

use super::{ImportFeedError, cve_ids, malformed, read_file};
use crate::db::DatabaseBuilder;

/// Name of the feed.
pub const FEED: &str = "epss";
/// The file beyond this many bytes is refused, decompressed as well; it has 10 MB.
pub const BYTES_MAX: u64 = 256 << 20;

/// Imports the scores in the file at `path`.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let expected = "FIRST's epss_scores-YYYY-MM-DD.csv";
    let packed = read_file(path, "EPSS scores", BYTES_MAX)?;
    let bytes = if packed.starts_with(&[0x1f, 0x8b]) {
        let reader = flate2::read::MultiGzDecoder::new(&packed[..]);
        palisade_base::read_bounded(reader, "EPSS scores", BYTES_MAX)
            .map_err(|source| ImportFeedError::Read { path: path.to_path_buf(), source })?
    } else {
        packed
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| malformed(path, expected, error))?;
    builder.feed(FEED);
    let mut is_named = false;
    for line in text.lines() {
        if let Some(remarks) = line.strip_prefix('#') {
            if let Some(time) = score_date(remarks) {
                builder.note_time(FEED, time);
            }
        } else if !is_named {
            is_named = line.trim() == "cve,epss,percentile";
            if !is_named {
                break;
            }
        } else if !line.trim().is_empty() {
            let mut fields = line.split(',');
            let id = fields.next().unwrap_or_default();
            let score = fields.next().and_then(|text| text.trim().parse::<f64>().ok());
            match score.filter(|score| (0.0..=1.0).contains(score)) {
                Some(score) if cve_ids(id).first() == Some(&(0..id.len())) => {
                    builder.add_epss(FEED, id, score);
                }
                _ => builder.feed(FEED).skip("malformed line"),
            }
        }
    }
    if is_named {
        Ok(())
    } else {
        Err(malformed(path, expected, std::io::Error::other("no line `cve,epss,percentile`")))
    }
}

/// `model_version:v2025.03.14,score_date:2026-11-20T12:55:00Z`; older files state the zone
/// without a colon, or the day alone.
fn score_date(remarks: &str) -> Option<Timestamp> {
    let date = remarks.split(',').find_map(|part| part.trim().strip_prefix("score_date:"))?;
    let day = date.get(..10)?;
    date.parse().ok().or_else(|| format!("{day}T00:00:00Z").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &str = "#model_version:v2025.03.14,score_date:2026-11-20T12:55:00+0000\n\
        cve,epss,percentile\nCVE-2021-44228,0.94358,0.99949\nCVE-2000-0001,1.5,0.1\nx,0.1,0.1\n";

    #[test]
    fn reads_scores_plain_and_packed_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epss.csv.gz");
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(TEXT.as_bytes()).unwrap();
        for bytes in [TEXT.as_bytes().to_vec(), packer.finish().unwrap()] {
            let mut builder = DatabaseBuilder::new();
            std::fs::write(&path, bytes).unwrap();
            import(&mut builder, &path).unwrap();
            let info = builder.feed(FEED).clone();
            assert_eq!((info.n_records, info.skipped.values().sum::<u64>()), (1, 2));
            assert_eq!(info.newest.unwrap().rfc3339(), "2026-11-20T12:55:00.000000000Z");
        }
        for bad in ["", "CVE-2021-44228,0.9,0.9\n", "\u{1f}\u{8b}", "cve;epss\n"] {
            std::fs::write(&path, bad).unwrap();
            assert!(import(&mut DatabaseBuilder::new(), &path).is_err(), "{bad}");
        }
    }
}

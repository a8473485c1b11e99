//! Search for secrets: hits are bounded, in order, and do not show what they found.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use palisade_scan::secrets::{HITS_PER_FILE_MAX, Searcher, is_text};

fuzz_target!(|data: &[u8]| {
    static SEARCHER: OnceLock<Searcher> = OnceLock::new();
    let searcher = SEARCHER.get_or_init(|| Searcher::new().expect("the detectors are right"));
    is_text(data);
    // The names of files choose detectors that need no keyword.
    const NAMES: [&str; 8] = [
        "x",
        "etc/shadow",
        ".pgpass",
        ".htpasswd",
        "x.tfstate",
        "wp-config.php",
        ".kube/config",
        "settings.xml",
    ];
    let name = NAMES[data.first().map_or(0, |byte| usize::from(*byte)) % NAMES.len()];
    assert!(searcher.search_binary("opt/x", data).hits.len() <= HITS_PER_FILE_MAX);
    let found = searcher.search_file(name, data);
    assert!(found.hits.len() <= HITS_PER_FILE_MAX);
    assert!(found.hits.windows(2).all(|pair| pair[0].line <= pair[1].line));
    let n_lines = data.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    for hit in &found.hits {
        assert!((1..=n_lines).contains(&hit.line), "{hit:?}");
        let shown = hit.redacted.split('…').next().unwrap_or_default();
        let is_label = shown.starts_with("-----BEGIN") && shown.len() <= 70;
        assert!(is_label || shown.chars().count() <= 4, "{hit:?}");
        assert!(!hit.redacted.contains(char::is_control), "{hit:?}");
    }
});

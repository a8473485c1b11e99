//! What must hold of every examination of configuration.

use palisade_policy::Checks;
use palisade_scan::config::{Kind, Options, Source, examine, fix};
use palisade_scan::secrets::Searcher;
use std::sync::OnceLock;

/// Examines `data` as a file of `kind`: every finding has a place in the text and says what
/// to do, what ended the reading is said, and examining is repeatable.
pub fn check_configuration(name: &str, data: &[u8], kind: Kind) {
    static SEARCHER: OnceLock<Searcher> = OnceLock::new();
    let searcher = SEARCHER.get_or_init(|| Searcher::new().expect("built-in detectors"));
    let text = String::from_utf8_lossy(data).into_owned();
    let n_lines = text.split('\n').count() as u64;
    let source = Source { name: name.into(), text, kind: Some(kind), is_named: true };
    let sources = [source];
    let policy = Checks { registries: vec!["ghcr.io".into()], ..Checks::default() };
    // A file that extends another finds itself.
    let options = Options {
        now: crate::NOW,
        policy: &policy,
        custom: &[],
        ignores: &[],
        searcher,
        load: &|_, _| Ok(sources[0].text.clone()),
    };
    let report = examine(&sources, &options);
    for finding in &report.findings {
        let palisade_model::Finding::Configuration(found) = finding else {
            panic!("a finding of another kind: {finding:?}")
        };
        let at = found.location.as_ref().expect("a place");
        assert!((1..=n_lines).contains(&at.line) && at.column >= 1, "{found:?}");
        assert!(!found.title.is_empty() && !found.fix.is_empty() && found.id.is_some());
        assert!(!found.title.contains('\n'));
    }
    for problem in &report.problems {
        // The end of a text without a last line end is the line after it.
        assert!((1..=n_lines as usize + 1).contains(&problem.location.line), "{problem:?}");
    }
    assert_eq!(examine(&sources, &options).findings, report.findings);
    // Each change is another examination.
    if data.len() <= 4096 {
        for file in fix::fix(&sources, &options).files {
            assert!(file.n_fixed > 0 && file.diff().starts_with("--- a/"), "{file:?}");
            let after = Source { text: file.after, ..sources[0].clone() };
            let after = examine(std::slice::from_ref(&after), &options);
            assert!(after.findings.len() < report.findings.len());
        }
    }
}

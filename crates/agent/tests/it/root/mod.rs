//! What is done for real and what the real sensor says of it.

mod day;
mod detections;
mod detections_table;
mod e2e;
mod e2e_file;
mod event_generator;
mod losses;
mod stage;
mod watcher;

use std::path::{Path, PathBuf};

/// Falco's conformance material; `None`, and a word why, where it is absent.
fn material() -> Option<PathBuf> {
    let shared = std::env::vars().find(|(name, _)| name == "PALISADE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        |(_, path)| path.into(),
    );
    let folder = shared.join("conformance/falco");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no conformance material at {}", folder.display());
    None
}

/// The published rule files: name and text.
fn falco_rules(material: &Path) -> Vec<(String, String)> {
    ["falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"]
        .map(|name| {
            let text = std::fs::read_to_string(material.join("rules").join(name)).unwrap();
            (name.to_string(), text)
        })
        .to_vec()
}

/// What became of a list of cases.
#[derive(Default)]
struct Tally {
    n_passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    fn failed(&mut self, case: &str, why: &str) {
        self.failed.push(format!("{case}: {why}"));
    }

    fn skipped(&mut self, case: &str, why: &str) {
        self.skipped.push(format!("{case}: {why}"));
    }

    /// Prints what came of it; fails the test if anything failed.
    #[track_caller]
    fn finish(self, what: &str) {
        for line in &self.skipped {
            eprintln!("skipped {line}");
        }
        let (n_failed, n_skipped) = (self.failed.len(), self.skipped.len());
        eprintln!(
            "conformance {what}: {} passed, {n_failed} failed, {n_skipped} skipped",
            self.n_passed
        );
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n"));
        assert!(self.n_passed > 0, "nothing was tried");
    }
}

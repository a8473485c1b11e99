//! Falco's own tables, held against this crate.

mod compiler;
mod evaluation;
mod legacy;
mod loader;
mod parser;
mod published;

/// Counts rows of one table and says what became of them.
struct Table {
    name: &'static str,
    n_passed: usize,
    failures: Vec<String>,
    skipped: Vec<String>,
}

impl Table {
    fn new(name: &'static str) -> Self {
        Self { name, n_passed: 0, failures: vec![], skipped: vec![] }
    }

    fn row(&mut self, passed: bool, describe: impl FnOnce() -> String) {
        if passed {
            self.n_passed += 1;
        } else {
            self.failures.push(describe());
        }
    }

    fn skip(&mut self, reason: impl Into<String>) {
        self.skipped.push(reason.into());
    }

    #[track_caller]
    fn finish(self) {
        let (n_failed, n_skipped) = (self.failures.len(), self.skipped.len());
        let reasons: std::collections::BTreeSet<_> = self.skipped.iter().collect();
        println!(
            "conformance {}: {} passed, {n_failed} failed, {n_skipped} skipped {reasons:?}",
            self.name, self.n_passed
        );
        assert!(n_failed == 0, "{}: {n_failed} failed\n{}", self.name, self.failures.join("\n"));
        assert!(self.n_passed > 0, "{}: nothing was decided", self.name);
    }
}

//! Integration tests of the catalogers and version orders.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and reports to whoever runs it"
)]

mod bounds;
mod catalogs;
mod java;
mod locks;
mod programs;
mod purls;
mod rpm;
mod trivy;
mod versions;

use std::path::{Path, PathBuf};

use palisade_model::package::Subject;
use palisade_packages::{Collected, Collector};

/// A folder of the conformance material; the reason for skipping is printed where it is
/// absent.
fn conformance(folder: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    #[expect(clippy::disallowed_methods, reason = "tests have no settings to read it from")]
    let shared = std::env::var_os("PALISADE_SHARED").unwrap_or_else(|| default.into());
    let path = PathBuf::from(shared).join("conformance").join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {} is absent; set PALISADE_SHARED", path.display());
        return None;
    }
    Some(path)
}

/// What the catalogers find in the files below `root`.
fn collect_folder(root: &Path) -> Collected {
    let mut collector = Collector::new();
    let mut folders = vec![root.to_path_buf()];
    let mut n_files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            n_files += 1;
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            if collector.wants(name).is_some() {
                collector.add(name, &std::fs::read(&path).unwrap(), None);
            }
        }
    }
    collector.finish(subject(), n_files, Vec::new())
}

fn subject() -> Subject {
    Subject { name: "test".into(), digest: None, platform: None }
}

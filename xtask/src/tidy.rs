//! The rules that keep the workspace in shape, one function each.

mod arrows;
mod dependencies;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs every check and returns what is wrong.
pub(crate) fn run() -> Result<Vec<String>> {
    let root = workspace_root();
    let metadata = metadata(&root)?;
    let files = tracked_files(&root)?;
    let mut problems = arrows::check(&metadata)?;
    problems.extend(dependencies::check(&root, &metadata)?);
    problems.extend(text::check(&root, &files)?);
    Ok(problems)
}

/// As cargo says it when it runs this program: clones that share a target folder share the program
/// too, which may have been compiled in another.
#[expect(clippy::disallowed_methods, reason = "cargo's own word, no setting")]
fn workspace_root() -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    folder.parent().unwrap_or(Path::new(".")).to_path_buf()
}

fn metadata(root: &Path) -> Result<serde_json::Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read cargo metadata")
}

/// Files under version control, or on their way there.
fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    ensure!(output.status.success(), "git ls-files failed: is this a git checkout?");
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect())
}

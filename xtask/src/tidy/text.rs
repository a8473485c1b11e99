//! What every text of the repository keeps to: size, unsafe code, leftovers, links.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A source file beyond this has two subjects, or is a table and says so.
const LINES_MAX: usize = 800;

/// In the first lines of a file that is one long table.
const TABLE_MARK: &str = "tidy: table";

/// Crates that hold the unsafe code.
const UNSAFE_ISLANDS: [&str; 2] = ["sys", "bpf"];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in files {
        let Some(extension) = file.extension().and_then(|e| e.to_str()) else { continue };
        if !matches!(extension, "rs" | "c" | "h" | "sh" | "md" | "toml" | "yaml" | "html") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(file))
            .with_context(|| format!("read {}", file.display()))?;
        let shown = file.display();
        if matches!(extension, "rs" | "c" | "h" | "sh") {
            problems.extend(size(&text).map(|what| format!("{shown}: {what}")));
            problems.extend(leftovers(&text).map(|what| format!("{shown}: {what}")));
        }
        if extension == "md" {
            problems.extend(
                dead_links(root, file, &text).map(|link| format!("{shown}: dead link `{link}`")),
            );
        }
        if is_library_root(file) && !text.contains("#![forbid(unsafe_code)]") {
            problems.push(format!("{shown}: lacks #![forbid(unsafe_code)]"));
        }
    }
    Ok(problems)
}

fn is_library_root(file: &Path) -> bool {
    let name = file.to_string_lossy();
    let root = name.strip_suffix("/src/lib.rs").or_else(|| name.strip_suffix("/src/main.rs"));
    root.is_some_and(|root| !UNSAFE_ISLANDS.contains(&root.trim_start_matches("crates/")))
}

fn size(text: &str) -> Option<String> {
    let n_lines = text.lines().count();
    let is_table = text.lines().take(10).any(|line| line.contains(TABLE_MARK));
    (n_lines > LINES_MAX && !is_table)
        .then(|| format!("{n_lines} lines, more than {LINES_MAX}: split it by subject"))
}

/// Unfinished code, by the words people leave in it.
fn leftovers(text: &str) -> Option<String> {
    // Put together here, so that this file does not find itself.
    let marks = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
        ["dbg", "!("].concat(),
    ];
    text.lines().enumerate().find_map(|(number, line)| {
        let mark = marks.iter().find(|mark| line.contains(mark.as_str()))?;
        Some(format!("line {}: unfinished (`{mark}`)", number + 1))
    })
}

/// Relative links of a Markdown text that lead nowhere.
fn dead_links<'t>(
    root: &'t Path,
    file: &'t Path,
    text: &'t str,
) -> impl Iterator<Item = String> + 't {
    let folder = root.join(file.parent().unwrap_or(Path::new("")));
    text.split("](").skip(1).filter_map(move |rest| {
        let link = rest.split([')', ' ', '#']).next()?;
        let external = link.contains("://") || link.starts_with("mailto:") || link.is_empty();
        (!external && !folder.join(link).exists()).then(|| link.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_unless_it_is_a_table() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert!(size(&long).is_some());
        assert!(size(&format!("// {TABLE_MARK}\n{long}")).is_none());
        assert!(size("x\n").is_none());
    }

    #[test]
    fn unfinished_code_is_found() {
        assert!(leftovers(&["fn f() { to", "do!() }"].concat()).is_some());
        assert!(leftovers("fn f() {}").is_none());
    }

    #[test]
    fn only_libraries_outside_the_islands_forbid_unsafe() {
        assert!(is_library_root(Path::new("crates/base/src/lib.rs")));
        assert!(!is_library_root(Path::new("crates/sys/src/lib.rs")));
        assert!(!is_library_root(Path::new("crates/base/src/root.rs")));
    }
}

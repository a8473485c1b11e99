//! The page of the manual that lists every check and every row of the catalogue.

use std::fmt::Write as _;

use super::catalogue::ROWS;
use super::checks::{self, Judge};
use super::custom::FIELDS;

/// The page, as Markdown.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for row in ROWS {
        let names: Vec<String> = checks::all()
            .filter(|check| check.id == row.id)
            .map(|check| format!("`{}`", check.name))
            .collect();
        let judged = if names.is_empty() { row.elsewhere.to_string() } else { names.join(", ") };
        let (id, title, severity) = (row.id, row.title, row.severity);
        let _ = writeln!(out, "| {id} | {title} | {severity} | {judged} |");
    }
    out.push_str("\n## Each row\n\n");
    for row in ROWS {
        let own: Vec<_> = checks::all().filter(|check| check.id == row.id).collect();
        let _ = writeln!(out, "### {} {}\n", row.id, row.title);
        let _ = writeln!(out, "Severity {}. For: {}.\n", row.severity, row.inputs);
        if own.is_empty() {
            let _ = writeln!(out, "Not judged by `check`: {}.\n", row.elsewhere);
        }
        for check in own {
            let judged = match check.judge {
                Judge::Container(_) => "containers",
                Judge::Object(_) => "Kubernetes objects",
            };
            let _ = writeln!(out, "`{}` (of {judged}): {}.", check.name, check.title);
            let _ = writeln!(out, "{}", check.why);
            let _ = writeln!(out, "*Fix:* {}.\n", check.fix.trim_end_matches('.'));
            let pages: Vec<String> = check.references.iter().map(|p| format!("<{p}>")).collect();
            if !pages.is_empty() {
                let _ = writeln!(out, "See {}.\n", pages.join(", "));
            }
        }
        let controls: Vec<String> =
            row.controls().iter().map(|c| format!("{} {}", c.framework, c.id)).collect();
        if !controls.is_empty() {
            let _ = writeln!(out, "Controls: {}.\n", controls.join("; "));
        }
    }
    out.push_str("## Fields of checks of your own\n\n| field | what it holds |\n|---|---|\n");
    for (name, what, _) in FIELDS {
        let _ = writeln!(out, "| `{name}` | {what} |");
    }
    out
}

const HEAD: &str = "# Checks

<!-- Made from the table of checks by a test; `UPDATE_GOLDEN=1 cargo test -p palisade-scan` makes it anew. -->

What [`palisade check`](../guide/checks.md) and `palisade scan` look for in configuration.
A row of the catalogue has a number; a check has a name, and several checks may judge one row.
Both are understood wherever a check is named.
The controls are mapped by the project: they say what a check has to do with, not that a control is met.
Numbers of CIS and NIST are those of the project's catalogue, which was compared with the published lists. What the Pod Security Standards demand was compared with Kubernetes' own checks of them; the names of their controls and the chapters of the NSA/CISA guide are mapped by the project, names from memory.

## The catalogue

| number | what is wrong | severity | judged by |
|---|---|---|---|
";

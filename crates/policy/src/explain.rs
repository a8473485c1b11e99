//! A loaded policy for people: each key with its value, where that comes from and what
//! it means.

use std::fmt::Write as _;

use crate::load::{LoadedPolicy, Origin};

/// Width of the column that holds keys and values.
const KEY_COLUMN_CHARS: usize = 52;

/// Renders `loaded` as text for a terminal, without colour.
pub fn explain(loaded: &LoadedPolicy) -> String {
    let policy = &loaded.policy;
    let mut out = String::new();
    let _ = writeln!(out, "policy {} ({})", policy.name, loaded.source);
    if !policy.description.is_empty() {
        let _ = writeln!(out, "{}", policy.description);
    }
    let _ = writeln!(out, "{}", policy.digest);
    let mut section = "";
    for setting in &loaded.settings {
        let name = setting.path.split(['.', '[']).next().unwrap_or("");
        if name != section {
            section = name;
            out.push('\n');
        }
        let origin = match setting.origin {
            Origin::Line(line) => format!("line {line}"),
            Origin::Default => "default".to_string(),
        };
        let left = format!("{}: {}", setting.path, setting.value);
        let _ = writeln!(out, "{left:KEY_COLUMN_CHARS$}  ({origin})");
        let _ = writeln!(out, "    {}", setting.doc);
        if let Some(meaning) = setting.meaning {
            let _ = writeln!(out, "    {}: {meaning}", setting.value);
        }
    }
    out
}

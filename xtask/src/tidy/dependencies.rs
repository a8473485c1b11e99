//! Dependencies stand in one place, with a reason, and none twice for one job.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// More locked packages than this need a decision in `docs/adr/`.
// The YARA engine brings 120 of them (ADR 0016).
const LOCKED_PACKAGES_MAX: usize = 400;

/// Crates that must not come in, and what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("serde_yaml", "saphyr"),
    ("serde_yml", "saphyr"),
    ("yaml-rust", "saphyr"),
    ("chrono", "jiff"),
    ("time", "jiff"),
    ("openssl", "p256 for signatures"),
    ("native-tls", "rustls"),
    ("aws-lc-rs", "ring behind rustls"),
    ("reqwest", "ureq"),
    ("lazy_static", "std::sync::LazyLock"),
    ("once_cell", "std::sync::OnceLock"),
    ("rustables", "nothing: it is GPL-3"),
];

pub(super) fn check(root: &Path, metadata: &Value) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let packages = metadata["packages"].as_array().context("no packages")?;
    if packages.len() > LOCKED_PACKAGES_MAX {
        problems.push(format!(
            "{} locked packages, more than the budget of {LOCKED_PACKAGES_MAX}",
            packages.len()
        ));
    }
    let members = metadata["workspace_members"].as_array().context("no workspace_members")?;
    let mut used = String::new();
    for package in packages.iter().filter(|package| members.contains(&package["id"])) {
        problems.extend(banned(package));
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let text = std::fs::read_to_string(manifest)
            .with_context(|| format!("read {}", manifest.display()))?;
        used.push_str(&text);
        let shown = manifest.strip_prefix(root).unwrap_or(manifest).display().to_string();
        problems.extend(
            not_from_workspace(&text)
                .map(|line| format!("{shown}: `{line}` must come from [workspace.dependencies]")),
        );
    }
    let manifest = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).context("read Cargo.toml")?;
    problems.extend(default_features_on(&text).map(|name| {
        format!("Cargo.toml: `{name}` needs `default-features = false` or a comment why not")
    }));
    problems.extend(unused(&text, &used).map(|name| format!("Cargo.toml: nobody uses `{name}`")));
    Ok(problems)
}

/// Names in `[workspace.dependencies]` that no member's manifest mentions.
fn unused<'t>(manifest: &'t str, members: &'t str) -> impl Iterator<Item = &'t str> {
    let mentions = |name: &str| {
        members.lines().any(|line| {
            let key = line.split(['.', '=']).next().unwrap_or_default();
            key.trim() == name
        })
    };
    workspace_dependencies(manifest).map(|(name, _)| name).filter(move |name| !mentions(name))
}

/// Name and value of each line of `[workspace.dependencies]`.
fn workspace_dependencies(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut in_dependencies = false;
    manifest.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            in_dependencies = line == "[workspace.dependencies]";
            return None;
        }
        let (name, value) = line.split_once('=')?;
        (in_dependencies && !line.starts_with('#')).then_some((name.trim(), value))
    })
}

/// Banned crates that a member asks for itself; what others drag in is theirs.
fn banned(package: &Value) -> impl Iterator<Item = String> {
    let name = package["name"].as_str().unwrap_or_default();
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies.iter().filter_map(move |dependency| {
        let (banned, instead) = BANNED.iter().find(|(banned, _)| dependency["name"] == *banned)?;
        Some(format!("crate `{name}` uses the banned `{banned}`: use {instead}"))
    })
}

/// Dependency lines of a member's manifest that do not say `workspace = true`.
fn not_from_workspace(manifest: &str) -> impl Iterator<Item = &str> {
    let mut in_dependencies = false;
    manifest.lines().filter(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
            return false;
        }
        in_dependencies
            && line.contains('=')
            && !line.starts_with('#')
            && !line.contains("workspace = true")
    })
}

/// Names in `[workspace.dependencies]` that keep default features without saying why.
fn default_features_on(manifest: &str) -> impl Iterator<Item = &str> {
    let states_why = |value: &str| {
        value.contains("path =")
            || value.contains("default-features = false")
            || value.contains('#')
    };
    workspace_dependencies(manifest)
        .filter(move |(_, value)| !states_why(value))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_the_workspace() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n";
        assert_eq!(not_from_workspace(manifest).collect::<Vec<_>>(), ["b = \"1\""]);
    }

    #[test]
    fn what_nobody_uses_is_found() {
        let manifest = "[workspace.dependencies]\na = \"1\"\nb = \"1\"\n[profile.dev]\nc = 1\n";
        let members = "[dependencies]\na.workspace = true\n";
        assert_eq!(unused(manifest, members).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn default_features_need_a_reason() {
        let manifest = "[workspace.dependencies]\na = \"1\"\nb = \"1\" # no features\nc = { version = \"1\", default-features = false }\n";
        assert_eq!(default_features_on(manifest).collect::<Vec<_>>(), ["a"]);
    }
}

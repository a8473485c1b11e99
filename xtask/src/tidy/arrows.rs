//! Crates depend on crates below them, and on no other.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Which crates of the workspace each crate may use. Transitive use is spelt out, so
/// that an arrow in the code is an arrow here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("model", &["base"]),
    ("http", &["base"]),
    ("rules", &["base"]),
    ("sys", &["base"]),
    ("bpf", &["base", "rules"]),
    ("openpgp", &["base"]),
    ("image", &["base", "model"]),
    ("registry", &["base", "model", "http", "image"]),
    ("packages", &["base", "model"]),
    ("policy", &["base", "model"]),
    ("patch", &["base", "model", "openpgp", "image", "packages"]),
    ("scan", &["base", "model", "image", "packages", "policy"]),
    ("tlog", &["base", "http"]),
    ("trust", &["base", "http", "tlog", "openpgp"]),
    ("harden", &["base", "policy"]),
    ("profile", &["base", "policy", "harden"]),
    ("probe", &["base", "model"]),
    ("runtime", &["base", "model", "sys", "image", "policy", "harden"]),
    ("sensor", &["base", "model", "rules"]),
    ("respond", &["base", "model", "sys", "bpf", "policy"]),
    ("sinks", &["base", "model", "http", "sys", "policy"]),
    ("agent", &["base", "model", "sys", "bpf", "rules", "policy", "sensor", "respond", "sinks"]),
    (
        "palisade",
        &[
            "base", "model", "http", "rules", "sys", "bpf", "image", "registry", "packages",
            "policy", "openpgp", "patch", "scan", "trust", "tlog", "harden", "profile", "probe",
            "runtime", "sensor", "respond", "sinks", "agent",
        ],
    ),
    ("xtask", &[]),
];

/// The short name of a workspace crate: `palisade-base` is `base`.
fn short(name: &str) -> &str {
    name.strip_prefix("palisade-").unwrap_or(name)
}

pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let members = metadata["workspace_members"].as_array().context("no workspace_members")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let ours: Vec<&Value> =
        packages.iter().filter(|package| members.contains(&package["id"])).collect();
    let names: Vec<&str> = ours.iter().filter_map(|package| package["name"].as_str()).collect();

    let mut problems = Vec::new();
    for package in &ours {
        let name = short(package["name"].as_str().unwrap_or_default());
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            problems.push(format!(
                "crate `{name}` has no line in xtask/src/tidy/arrows.rs and ARCHITECTURE.md"
            ));
            continue;
        };
        let none = Vec::new();
        for dependency in package["dependencies"].as_array().unwrap_or(&none) {
            let target = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            if names.contains(&target) && !for_tests && !allowed.contains(&short(target)) {
                problems.push(format!("crate `{name}` must not use `{}`", short(target)));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let metadata = json!({
            "workspace_members": ["a", "b"],
            "packages": [
                {"id": "a", "name": "palisade-base", "dependencies": [
                    {"name": "palisade-model", "kind": null},
                    {"name": "serde", "kind": null},
                ]},
                {"id": "b", "name": "palisade-model", "dependencies": [
                    {"name": "palisade-base", "kind": null},
                ]},
            ],
        });
        assert_eq!(check(&metadata).unwrap(), ["crate `base` must not use `model`"]);
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (at, (name, allowed)) in ALLOWED.iter().enumerate() {
            for target in *allowed {
                let position = ALLOWED.iter().position(|(crate_name, _)| crate_name == target);
                assert!(position.is_some_and(|p| p < at), "{name} -> {target} points up");
            }
        }
    }
}

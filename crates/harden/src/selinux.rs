//! SELinux's labels of one container: of its processes and of its files.
//!
//! Sources: `container_selinux(8)`, OCI runtime specification `config.md` and `config-linux.md`.

use palisade_base::Digest;
use serde_json::Value;

use crate::Change;
use crate::patch::{Malformed, Patch};

/// Categories that policies have (`c0.c1023`).
const CATEGORIES: u16 = 1024;
/// What containers of engines run as.
const PROCESS: &str = "system_u:system_r:container_t";
/// The role and type of what is a container's own to write.
const FILES: &str = "object_r:container_file_t";

/// The labels of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes.
    pub process: String,
    /// Of its files; without it they keep their own.
    pub files: Option<String>,
}

/// What a container has where the policy names no label: the first is of machines whose policy
/// has categories, of which two are chosen by the container's id, the second of others.
pub fn of_container(id: &str) -> [Labels; 2] {
    let hex = Digest::of(id.as_bytes()).hex();
    let number = |at: usize| {
        let digits = hex.get(at..at + 4).unwrap_or_default();
        u16::from_str_radix(digits, 16).unwrap_or(0)
    };
    // Two different ones, the lower first.
    let one = number(0) % CATEGORIES;
    let other = (one + 1 + number(4) % (CATEGORIES - 1)) % CATEGORIES;
    let level = format!("s0:c{},c{}", one.min(other), one.max(other));
    [format!("{PROCESS}:{level}"), PROCESS.to_string()]
        .map(|process| Labels { files: Some(files_of(&process)), process })
}

/// The label of the files of a container whose processes have the label `process`.
pub fn files_of(process: &str) -> String {
    let mut parts = process.splitn(4, ':');
    let user = parts.next().unwrap_or_default();
    match parts.nth(2) {
        Some(level) => format!("{user}:{FILES}:{level}"),
        None => format!("{user}:{FILES}"),
    }
}

/// Has the container of `spec` and its files have `labels`.
pub fn apply(spec: Value, labels: &Labels) -> Result<(Value, Vec<Change>), Malformed> {
    let mut patch = Patch::new(spec)?;
    let why = "SELinux keeps it from what is not a container's, and not this one's";
    patch.set("/process/selinuxLabel", Value::String(labels.process.clone()), why)?;
    if let Some(files) = &labels.files {
        let why = "its own file systems are its own to SELinux too";
        patch.set("/linux/mountLabel", Value::String(files.clone()), why)?;
    }
    Ok(patch.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_container_has_two_categories_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for id in 0..2000 {
            let [labels, plain] = of_container(&id.to_string());
            let level = labels.process.strip_prefix("system_u:system_r:container_t:s0:c").unwrap();
            let (one, other) = level.split_once(",c").unwrap();
            let (one, other): (u16, u16) = (one.parse().unwrap(), other.parse().unwrap());
            assert!(one < other && other < CATEGORIES, "{level}");
            assert_eq!(labels.files.unwrap(), format!("system_u:{FILES}:s0:c{level}"));
            assert_eq!(plain.files.unwrap(), format!("system_u:{FILES}"));
            seen.insert(level.to_string());
        }
        assert!(seen.len() > 1980, "{} of 2000 are different", seen.len());
    }

    #[test]
    fn a_label_s_user_and_level_are_those_of_its_files() {
        for (process, files) in [
            ("a_u:b_r:c_t", "a_u:object_r:container_file_t"),
            ("a_u:b_r:c.process:s0:c1,c2", "a_u:object_r:container_file_t:s0:c1,c2"),
        ] {
            assert_eq!(files_of(process), files);
        }
        let labels = Labels { process: "u:r:t".into(), files: None };
        let (spec, changes) = apply(json!({"process": {}}), &labels).unwrap();
        assert_eq!(spec, json!({"process": {"selinuxLabel": "u:r:t"}}));
        let labels = Labels { files: Some("u:r:f".into()), ..labels };
        let (spec, more) = apply(spec, &labels).unwrap();
        assert_eq!(spec["linux"]["mountLabel"], json!("u:r:f"));
        assert_eq!((changes.len(), more.len()), (1, 1));
    }
}

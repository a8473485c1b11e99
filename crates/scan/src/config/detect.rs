//! What kind of input a file is, by its name and its content.

use std::path::Path;

use palisade_base::yaml::Node;

use super::tree::Look;
use super::{dockerfile, kubernetes};

/// A kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Dockerfile or Containerfile.
    Dockerfile,
    /// Compose file.
    Compose,
    /// Kubernetes manifest, SecurityContextConstraints included.
    Kubernetes,
    /// Amazon ECS task definition.
    Ecs,
    /// OCI runtime specification.
    OciSpec,
    /// `docker inspect` or `podman inspect` of containers.
    Engine,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Dockerfile, Self::Compose, Self::Kubernetes, Self::Ecs, Self::OciSpec, Self::Engine];

    /// The word for it on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dockerfile => "dockerfile",
            Self::Compose => "compose",
            Self::Kubernetes => "kubernetes",
            Self::Ecs => "ecs",
            Self::OciSpec => "oci-spec",
            Self::Engine => "engine",
        }
    }
}

/// Whether a file of this name may be one of ours, so that it is worth reading.
pub fn is_candidate(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    is_dockerfile_name(path)
        || ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// `Dockerfile`, `Containerfile`, `Dockerfile.web`, `web.dockerfile`.
fn is_dockerfile_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
    let known = ["dockerfile", "containerfile"];
    let is_ignore = name.ends_with(".dockerignore") || name.ends_with(".containerignore");
    let is_other = [".yaml", ".yml", ".json", ".md", ".sh", ".go", ".py", ".rs"]
        .iter()
        .any(|end| name.ends_with(end));
    !is_ignore
        && !is_other
        && known.iter().any(|word| {
            name == *word
                || name.strip_prefix(word).is_some_and(|rest| rest.starts_with(['.', '-', '_']))
                || name.strip_suffix(word).is_some_and(|rest| rest.ends_with(['.', '-', '_']))
        })
}

/// The kind of a file, by its name where that tells, or else by its content: `documents` are
/// those of the text when it is YAML or JSON.
pub fn detect(name: &str, text: &str, documents: &[Node]) -> Option<Kind> {
    if is_dockerfile_name(Path::new(name)) || dockerfile::looks_like(text) {
        return Some(Kind::Dockerfile);
    }
    documents.iter().find_map(kind_of)
}

fn kind_of(document: &Node) -> Option<Kind> {
    let has = |key: &str| document.get(key).is_some();
    if kubernetes::is_object(document) {
        return Some(Kind::Kubernetes);
    }
    if has("containerDefinitions") || document.at("taskDefinition.containerDefinitions").is_some() {
        return Some(Kind::Ecs);
    }
    if has("ociVersion") && (has("process") || has("root") || has("linux")) {
        return Some(Kind::OciSpec);
    }
    let is_inspected = |node: &Node| node.get("HostConfig").is_some();
    if is_inspected(document) || document.items().first().is_some_and(is_inspected) {
        return Some(Kind::Engine);
    }
    let is_service = |node: &Node| {
        ["image", "build", "extends", "command", "container_name", "deploy"]
            .iter()
            .any(|key| node.get(key).is_some())
    };
    let services = document.get("services").entries();
    services.iter().any(|(_, service)| is_service(service)).then_some(Kind::Compose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    #[test]
    fn kinds_are_told_by_name_and_content() {
        let check = |name: &str, text: &str, expected: Option<Kind>| {
            assert_eq!(detect(name, text, &tree::parse(text).0), expected, "{name} {text}");
        };
        check("Dockerfile", "x", Some(Kind::Dockerfile));
        check("a/web.Dockerfile", "", Some(Kind::Dockerfile));
        check("Containerfile.prod", "", Some(Kind::Dockerfile));
        check("Dockerfile.md", "", None);
        check("dockerfiles", "", None);
        check(".dockerignore", "", None);
        check("-", "FROM a\n", Some(Kind::Dockerfile));
        check("x.yaml", "apiVersion: v1\nkind: Pod\n", Some(Kind::Kubernetes));
        check("x.yaml", "# c\n---\n---\napiVersion: v1\nkind: Pod\n", Some(Kind::Kubernetes));
        check("x.yml", "services: {a: {image: b}}\n", Some(Kind::Compose));
        check("x.yml", "services: {a: 1}\n", None);
        check("x.json", "{\"containerDefinitions\": []}", Some(Kind::Ecs));
        check("x.json", "{\"taskDefinition\": {\"containerDefinitions\": []}}", Some(Kind::Ecs));
        check("config.json", "{\"ociVersion\": \"1\", \"process\": {}}", Some(Kind::OciSpec));
        check("x.json", "[{\"HostConfig\": {}}]", Some(Kind::Engine));
        check("x.yaml", "on: push\n", None);
    }
}

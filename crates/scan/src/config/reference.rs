//! Parts of an image reference, as checks ask for them (distribution spec, "pulling manifests";
//! Docker's defaults).

/// Whether the reference names a digest.
pub(super) fn has_digest(image: &str) -> bool {
    image.rsplit_once('@').is_some_and(|(_, digest)| digest.contains(':'))
}

/// The tag, if there is one.
pub(super) fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag).filter(|tag| !tag.is_empty())
}

/// The name with its registry, without tag and digest: `docker.io/library/nginx`.
pub(super) fn full_name(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let name = match (name.rsplit_once(':'), tag(name)) {
        (Some((name, _)), Some(_)) => name,
        _ => name,
    };
    let first = name.split('/').next().unwrap_or_default();
    let has_registry = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if has_registry {
        return name
            .strip_prefix("index.docker.io/")
            .map_or_else(|| name.to_string(), |rest| format!("docker.io/{rest}"));
    }
    if name.contains('/') {
        format!("docker.io/{name}")
    } else {
        format!("docker.io/library/{name}")
    }
}

/// Whether the image lies below one of `registries`: `ghcr.io`, `docker.io/library`.
pub(super) fn is_allowed(image: &str, registries: &[String]) -> bool {
    let name = full_name(image).to_ascii_lowercase();
    registries.iter().any(|registry| {
        let registry = registry.trim_end_matches('/').to_ascii_lowercase();
        name.strip_prefix(&registry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let check = |image: &str, name: &str, expected_tag: Option<&str>, digest: bool| {
            assert_eq!(
                (full_name(image).as_str(), tag(image), has_digest(image)),
                (name, expected_tag, digest)
            );
        };
        check("nginx", "docker.io/library/nginx", None, false);
        check("nginx:1", "docker.io/library/nginx", Some("1"), false);
        check("a/b:1@sha256:00", "docker.io/a/b", Some("1"), true);
        check("localhost:5000/x", "localhost:5000/x", None, false);
        check("ghcr.io/a/b:c", "ghcr.io/a/b", Some("c"), false);
        check("index.docker.io/a/b", "docker.io/a/b", None, false);
        check("", "docker.io/library/", None, false);
    }

    #[test]
    fn registries_end_at_a_slash() {
        let allowed = ["ghcr.io/ours".to_string(), "docker.io/library/".to_string()];
        for (image, expected) in [
            ("ghcr.io/ours/x:1", true),
            ("ghcr.io/ours-not/x", false),
            ("nginx", true),
            ("evil/nginx", false),
        ] {
            assert_eq!(is_allowed(image, &allowed), expected, "{image}");
        }
    }
}

//! What single types of package URLs ask for (the type definitions of the specification).

use super::url::{PackageUrl, PackageUrlError};

/// Types whose namespace has no case.
const NAMESPACE_LOWER: &[&str] = &[
    "alpm",
    "apk",
    "bitbucket",
    "brew",
    "composer",
    "deb",
    "git",
    "github",
    "golang",
    "hex",
    "npm",
    "qpkg",
    "rpm",
];
/// Types whose name has no case.
const NAME_LOWER: &[&str] = &[
    "alpm",
    "apk",
    "bitbucket",
    "bitnami",
    "brew",
    "composer",
    "deb",
    "git",
    "github",
    "golang",
    "hex",
    "npm",
    "oci",
    "pub",
    "vcpkg",
];
/// Types without namespaces.
const NO_NAMESPACE: &[&str] = &["otp", "vcpkg"];
/// Types whose packages have a namespace.
const WITH_NAMESPACE: &[&str] = &["swift", "vscode-extension"];

/// Whether the names of this type have slashes, after a namespace of one segment.
pub(super) fn name_has_slashes(kind: &str) -> bool {
    kind == "git"
}

/// Makes the parts canonical and checks them.
pub(super) fn apply(url: &mut PackageUrl) -> Result<(), PackageUrlError> {
    let kind = url.kind.clone();
    let fail = |rule: &'static str| Err(PackageUrlError::Rule { kind: kind.clone(), rule });
    if NAMESPACE_LOWER.contains(&kind.as_str()) {
        url.namespace = url.namespace.to_lowercase();
    }
    if NAME_LOWER.contains(&kind.as_str()) {
        url.name = url.name.to_lowercase();
    }
    if NO_NAMESPACE.contains(&kind.as_str()) && !url.namespace.is_empty() {
        return fail("have no namespace");
    }
    if WITH_NAMESPACE.contains(&kind.as_str()) && url.namespace.is_empty() {
        return fail("need a namespace");
    }
    match kind.as_str() {
        "pypi" => url.name = super::normalised_python_name(&url.name),
        "huggingface" => url.version = url.version.to_lowercase(),
        // Databricks has no case, Azure ML does.
        "mlflow" => {
            let registry = url.qualifier("repository_url").unwrap_or_default();
            if registry.contains("databricks") {
                url.name = url.name.to_lowercase();
            }
        }
        "cpan" if url.name.contains("::") => return fail("are named after distributions"),
        "julia" if url.qualifier("uuid").is_none() => return fail("need the qualifier `uuid`"),
        "chrome-extension" => {
            url.name = url.name.to_lowercase();
            if url.name.len() != 32 || !url.name.bytes().all(|b| (b'a'..=b'p').contains(&b)) {
                return fail("are named by 32 letters from a to p");
            }
            let numbers: Vec<&str> = url.version.split('.').collect();
            let is_number =
                |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !url.version.is_empty() && (numbers.len() > 4 || !numbers.iter().all(is_number)) {
                return fail("have versions of one to four numbers");
            }
        }
        _ => {}
    }
    Ok(())
}

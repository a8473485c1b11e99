//! What a command works on: `oci:DIR`, `archive:FILE`, `dir:PATH`, …

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use palisade_base::suggest;

use crate::reference::{ParseReferenceError, Reference};

/// An image or file tree, as users name it on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// An OCI image layout on disk: `oci:DIR`, `oci:DIR:TAG`, `oci:DIR@sha256:…`.
    Layout {
        /// The folder with `oci-layout` and `index.json`.
        folder: PathBuf,
        /// `org.opencontainers.image.ref.name` or a digest; needed when there are several.
        selector: Option<String>,
    },
    /// An archive: `archive:FILE`, of `docker save` or an OCI layout.
    Archive {
        /// The tar file, compressed or not.
        file: PathBuf,
        /// Tag or digest; needed when there are several.
        selector: Option<String>,
    },
    /// A root file system: `dir:PATH`.
    Folder(PathBuf),
    /// The machine itself: `host`.
    Host,
    /// An image wherever it is: `nginx`. The stores of this machine are asked first, then
    /// the registry.
    Anywhere(Reference),
    /// An image in a registry: `registry:NAME`.
    Registry(Reference),
    /// An image in an engine's store: `docker:NAME`, `podman:NAME`,
    /// `containerd:NAME[@NAMESPACE]`.
    Store {
        /// Whose store.
        kind: StoreKind,
        /// A name, or an image id or its beginning.
        name: String,
        /// Namespace of containerd; all of them when not stated.
        namespace: Option<String>,
    },
    /// The files of a running container of any engine: `container:ID`.
    Container(String),
    /// An App Container Image: `aci:FILE`.
    Aci(PathBuf),
    /// A bill of materials instead of an image: `sbom:FILE`, `sbom:-` for standard input.
    Sbom(PathBuf),
}

/// The engines whose stores can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// Docker, with either of its stores.
    Docker,
    /// Podman, CRI-O, Buildah: containers/storage.
    Podman,
    /// containerd.
    Containerd,
}

impl StoreKind {
    /// In the order in which [`Target::Anywhere`] asks them.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Containerd];

    /// The prefix of its targets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// A path without a word before it that says what it is.
    #[error("`{0}` is a path; say what is there")]
    Path(String),
    /// Neither a known prefix nor the name of an image.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// A prefix that is none.
    #[error("`{0}` is not a kind of target")]
    Unknown(String),
    /// A prefix without what it needs.
    #[error("`{0}` names nothing after the colon")]
    Empty(String),
}

/// Every prefix of a target.
const PREFIXES: [&str; 11] = [
    "oci",
    "archive",
    "docker-archive",
    "oci-archive",
    "dir",
    "registry",
    "docker",
    "podman",
    "containerd",
    "container",
    "sbom",
];

impl palisade_base::Explain for ParseTargetError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Reference(error) => return error.hint(),
            Self::Path(_) => "use oci:DIR[:TAG], archive:FILE, dir:PATH or sbom:FILE".into(),
            Self::Empty(_) | Self::Unknown(_) => {
                "use NAME, registry:NAME, docker:NAME, podman:NAME, containerd:NAME, oci:DIR[:TAG], \
                 archive:FILE, dir:PATH, sbom:FILE, container:ID, aci:FILE or host"
                    .into()
            }
        })
    }
}

/// Splits `path[:tag]` or `path@sha256:…` at the last separator after the last slash.
fn split_selector(text: &str) -> (PathBuf, Option<String>) {
    if let Some((path, digest)) = text.rsplit_once("@sha256:") {
        return (path.into(), Some(format!("sha256:{digest}")));
    }
    let name_start = text.rfind('/').map_or(0, |i| i + 1);
    match text[name_start..].rfind(':') {
        Some(i) => {
            let at = name_start + i;
            (text[..at].into(), Some(text[at + 1..].to_string()).filter(|tag| !tag.is_empty()))
        }
        None => (text.into(), None),
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let quoted = || text.chars().take(200).collect::<String>();
        if text == "host" {
            return Ok(Self::Host);
        }
        // As skopeo and Podman write it: a registry, not Docker's store.
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse()?));
        }
        if text.starts_with(['.', '/', '~']) {
            return Err(ParseTargetError::Path(quoted()));
        }
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(Self::Anywhere(text.parse()?));
        };
        if rest.is_empty() {
            return Err(ParseTargetError::Empty(quoted()));
        }
        let store = |kind| {
            let (name, namespace) = match rest.rsplit_once('@') {
                Some((name, namespace))
                    if kind == StoreKind::Containerd && !namespace.starts_with("sha256:") =>
                {
                    (name, Some(namespace.to_string()).filter(|text| !text.is_empty()))
                }
                _ => (rest, None),
            };
            Self::Store { kind, name: name.to_string(), namespace }
        };
        match kind {
            "docker" => Ok(store(StoreKind::Docker)),
            "podman" => Ok(store(StoreKind::Podman)),
            "containerd" => Ok(store(StoreKind::Containerd)),
            "registry" => Ok(Self::Registry(rest.parse()?)),
            "container" => Ok(Self::Container(rest.to_string())),
            "aci" => Ok(Self::Aci(rest.into())),
            "oci" => {
                let (folder, selector) = split_selector(rest);
                Ok(Self::Layout { folder, selector })
            }
            "archive" | "docker-archive" | "oci-archive" => {
                let (file, selector) = split_selector(rest);
                Ok(Self::Archive { file, selector })
            }
            "dir" => Ok(Self::Folder(rest.into())),
            "sbom" => Ok(Self::Sbom(rest.into())),
            _ => match text.parse::<Reference>() {
                Ok(reference) => Ok(Self::Anywhere(reference)),
                Err(_) if suggest::nearest(kind, PREFIXES).is_some() => {
                    Err(ParseTargetError::Unknown(kind.chars().take(200).collect()))
                }
                Err(error) => Err(error.into()),
            },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, selector) = match self {
            Self::Layout { folder, selector } => ("oci", folder, selector),
            Self::Archive { file, selector } => ("archive", file, selector),
            Self::Folder(path) => return write!(f, "dir:{}", path.display()),
            Self::Host => return f.write_str("host"),
            Self::Anywhere(reference) => return f.write_str(&reference.familiar()),
            Self::Registry(reference) => return write!(f, "registry:{}", reference.familiar()),
            Self::Store { kind, name, namespace: None } => return write!(f, "{kind}:{name}"),
            Self::Store { kind, name, namespace: Some(namespace) } => {
                return write!(f, "{kind}:{name}@{namespace}");
            }
            Self::Container(id) => return write!(f, "container:{id}"),
            Self::Aci(path) => return write!(f, "aci:{}", path.display()),
            Self::Sbom(file) => return write!(f, "sbom:{}", file.display()),
        };
        write!(f, "{kind}:{}", path.display())?;
        match selector {
            Some(digest) if digest.starts_with("sha256:") => write!(f, "@{digest}"),
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_form() {
        for text in [
            "oci:demo",
            "oci:/var/tmp/demo:latest",
            "oci:./a:b/demo:1.0",
            "archive:image.tar",
            "dir:/srv/root",
            "sbom:shop.cdx.json",
            "sbom:-",
            "host",
            "nginx:1.25",
            "registry:ghcr.io/a/b:1",
            "docker:nginx",
            "docker:0123456789ab",
            "podman:localhost/a:b",
            "containerd:docker.io/library/nginx:1@k8s.io",
            "container:0123456789ab",
            "aci:app.aci",
            "archive:-",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let digest = format!("oci:demo@sha256:{}", "a".repeat(64));
        assert_eq!(digest.parse::<Target>().unwrap().to_string(), digest);
    }

    #[test]
    fn refuses_the_rest() {
        let check = |text: &str, expected: ParseTargetError| {
            assert_eq!(text.parse::<Target>(), Err(expected));
        };
        check("oci:", ParseTargetError::Empty("oci:".into()));
        check("./shop", ParseTargetError::Path("./shop".into()));
        check("/srv/root", ParseTargetError::Path("/srv/root".into()));
        check("achive:./shop.tar", ParseTargetError::Unknown("achive".into()));
        assert!(matches!("Shop".parse::<Target>(), Err(ParseTargetError::Reference(_))));
        assert!(matches!("registry:Shop".parse::<Target>(), Err(ParseTargetError::Reference(_))));
    }

    #[test]
    fn names_are_completed() {
        let target: Target = "docker://nginx".parse().unwrap();
        assert_eq!(target.to_string(), "registry:nginx:latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        let target: Target = format!("containerd:nginx@{digest}").parse().unwrap();
        assert!(matches!(target, Target::Store { namespace: None, .. }));
    }
}

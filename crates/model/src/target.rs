//! What a command works on: `oci:DIR`, `archive:FILE`, `dir:PATH`, …

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// A bill of materials instead of an image: `sbom:FILE`, `sbom:-` for standard input.
    Sbom(PathBuf),
}

/// Text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// Neither a known prefix nor something on disk.
    #[error("`{0}` is not a target")]
    Unknown(String),
    /// A prefix without what it needs.
    #[error("`{0}` names nothing after the colon")]
    Empty(String),
}

impl palisade_base::Explain for ParseTargetError {
    fn hint(&self) -> Option<String> {
        Some(
            "use oci:DIR[:TAG], archive:FILE, dir:PATH, sbom:FILE or host; registries are not supported yet"
                .into(),
        )
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
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(ParseTargetError::Unknown(quoted()));
        };
        if rest.is_empty() {
            return Err(ParseTargetError::Empty(quoted()));
        }
        match kind {
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
            _ => Err(ParseTargetError::Unknown(quoted())),
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
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let digest = format!("oci:demo@sha256:{}", "a".repeat(64));
        assert_eq!(digest.parse::<Target>().unwrap().to_string(), digest);
    }

    #[test]
    fn refuses_the_rest() {
        assert_eq!("nginx".parse::<Target>(), Err(ParseTargetError::Unknown("nginx".into())));
        assert_eq!("oci:".parse::<Target>(), Err(ParseTargetError::Empty("oci:".into())));
        assert!("ftp:demo".parse::<Target>().is_err());
    }
}

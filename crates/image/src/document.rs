//! The JSON documents of an image: index, manifest, configuration.
//!
//! Index and manifest are read into types of our own, whose digests are SHA-256 by type and
//! whose maps have an order; the configuration is read through `oci-spec`. Documents are
//! never hashed or stored in re-serialised form: the bytes as found are what counts.
//!
//! Specifications: OCI image-spec 1.1 `image-index.md`, `manifest.md`, `config.md`;
//! `image-layout.md` for `index.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use oci_spec::image::ImageConfiguration;
use palisade_base::Digest;
use serde::{Deserialize, Serialize};

use crate::OpenImageError;
use crate::layout::Descriptor;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// `org.opencontainers.image.ref.name`: the tag of an image in a layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What containerd and Docker write beside it: the whole name.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_INDEX)
}

pub(crate) fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

pub(crate) fn is_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// What an image runs on: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, as Go names it.
    pub architecture: String,
    /// `v7`, where the architecture has variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of this machine, as images name it.
    pub fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether an image for `self` satisfies a request for `wanted`.
    pub(crate) fn satisfies(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant == wanted.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Text that is not `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform like `linux/amd64`")]
pub struct ParsePlatformError(String);

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => ("", "", None),
        };
        if os.is_empty() || architecture.is_empty() || variant.is_some_and(str::is_empty) {
            return Err(ParsePlatformError(text.chars().take(64).collect()));
        }
        Ok(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(Into::into),
        })
    }
}

/// An image index, or the `index.json` of a layout.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

/// An image manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

fn inconsistent(what: &'static str, name: &str, problem: impl Into<String>) -> OpenImageError {
    OpenImageError::Inconsistent { what, name: name.to_string(), problem: problem.into() }
}

impl Index {
    pub(crate) fn parse(
        bytes: &[u8],
        name: &str,
        manifests_max: usize,
    ) -> Result<Self, OpenImageError> {
        let what = "index";
        let index: Self = serde_json::from_slice(bytes)
            .map_err(|source| OpenImageError::BadDocument { what, name: name.into(), source })?;
        // A document that is an index to one reader and a manifest to another
        // (GHSA-77vh-xpmg-72qh) could show us another image than is run.
        if index.layers.is_some() || index.config.is_some() {
            return Err(inconsistent(what, name, "it is a manifest as well"));
        }
        if index.media_type.as_deref().is_some_and(|media_type| !is_index(media_type)) {
            return Err(inconsistent(what, name, "its media type is not that of an index"));
        }
        if index.manifests.len() > manifests_max {
            return Err(inconsistent(what, name, format!("more than {manifests_max} manifests")));
        }
        Ok(index)
    }
}

impl Manifest {
    pub(crate) fn parse(
        bytes: &[u8],
        name: &str,
        layers_max: usize,
    ) -> Result<Self, OpenImageError> {
        let what = "manifest";
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|source| OpenImageError::BadDocument { what, name: name.into(), source })?;
        if manifest.manifests.is_some() {
            return Err(inconsistent(what, name, "it is an index as well"));
        }
        if manifest.media_type.as_deref().is_some_and(|media_type| !is_manifest(media_type)) {
            return Err(inconsistent(what, name, "its media type is not that of a manifest"));
        }
        if manifest.layers.len() > layers_max {
            return Err(inconsistent(what, name, format!("more than {layers_max} layers")));
        }
        Ok(manifest)
    }
}

/// One step of how an image was built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryStep {
    /// When, as written.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// Whether the step brought no layer.
    pub empty_layer: bool,
}

/// What an image says about how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// When it was built, as written.
    pub created: Option<String>,
    /// Who built it.
    pub author: Option<String>,
    /// `USER`: name or number, with an optional group after a colon. Empty means root.
    pub user: String,
    /// `ENV`: `NAME=value`, in order.
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `WORKDIR`; empty means `/`.
    pub working_dir: String,
    /// `EXPOSE`: `80/tcp`, sorted.
    pub exposed_ports: Vec<String>,
    /// `VOLUME`, sorted.
    pub volumes: Vec<String>,
    /// `LABEL`.
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    pub stop_signal: Option<String>,
    /// `HEALTHCHECK`'s command (Docker's extension); `["NONE"]` switches it off.
    pub healthcheck: Option<Vec<String>>,
    /// How it was built, first step first.
    pub history: Vec<HistoryStep>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// The whole document, for what has no field here.
    pub raw: serde_json::Value,
}

impl ImageConfig {
    pub(crate) fn parse(bytes: &[u8], name: &str) -> Result<(Self, Platform), OpenImageError> {
        let what = "configuration";
        let bad = |source| OpenImageError::BadDocument { what, name: name.into(), source };
        let raw: serde_json::Value = serde_json::from_slice(bytes).map_err(bad)?;
        let typed: ImageConfiguration = serde_json::from_slice(bytes).map_err(bad)?;
        let diff_ids = typed
            .rootfs()
            .diff_ids()
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Digest>, _>>()
            .map_err(|error| inconsistent(what, name, error.to_string()))?;
        let platform = Platform {
            os: typed.os().to_string(),
            architecture: typed.architecture().to_string(),
            variant: typed.variant().clone().filter(|variant| !variant.is_empty()),
        };
        let mut config = Self {
            created: typed.created().clone(),
            author: typed.author().clone(),
            diff_ids,
            history: typed.history().iter().flatten().map(history_step).collect(),
            healthcheck: healthcheck(&raw),
            raw,
            ..Self::default()
        };
        if let Some(run) = typed.config() {
            let sorted = |list: &Option<Vec<String>>| {
                let mut list = list.clone().unwrap_or_default();
                list.sort();
                list
            };
            config.user = run.user().clone().unwrap_or_default();
            config.env = run.env().clone().unwrap_or_default();
            config.entrypoint = run.entrypoint().clone().unwrap_or_default();
            config.cmd = run.cmd().clone().unwrap_or_default();
            config.working_dir = run.working_dir().clone().unwrap_or_default();
            config.exposed_ports = sorted(run.exposed_ports());
            config.volumes = sorted(run.volumes());
            config.labels = run.labels().clone().unwrap_or_default().into_iter().collect();
            config.stop_signal.clone_from(run.stop_signal());
        }
        Ok((config, platform))
    }
}

fn history_step(step: &oci_spec::image::History) -> HistoryStep {
    HistoryStep {
        created: step.created().clone(),
        created_by: step.created_by().clone(),
        comment: step.comment().clone(),
        empty_layer: step.empty_layer().unwrap_or(false),
    }
}

fn healthcheck(raw: &serde_json::Value) -> Option<Vec<String>> {
    let test = raw.get("config")?.get("Healthcheck")?.get("Test")?.as_array()?;
    Some(test.iter().filter_map(|word| word.as_str().map(str::to_string)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_round_trip_and_match() {
        let parse = |text: &str| text.parse::<Platform>();
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/arm/"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let arm7 = parse("linux/arm/v7").unwrap();
        assert!(arm7.satisfies(&parse("linux/arm").unwrap()));
        assert!(!arm7.satisfies(&parse("linux/arm/v6").unwrap()));
        assert!(!arm7.satisfies(&parse("linux/amd64").unwrap()));
    }

    #[test]
    fn a_document_of_two_kinds_is_refused() {
        let digest = Digest::of(b"x");
        let descriptor = format!(r#"{{"mediaType":"a","digest":"{digest}","size":1}}"#);
        let both = format!(r#"{{"manifests":[],"config":{descriptor},"layers":[]}}"#);
        assert!(Index::parse(both.as_bytes(), "x", 9).is_err());
        assert!(Manifest::parse(both.as_bytes(), "x", 9).is_err());
        let manifest = format!(r#"{{"config":{descriptor},"layers":[{descriptor}]}}"#);
        assert!(Manifest::parse(manifest.as_bytes(), "x", 1).is_ok());
        assert!(Manifest::parse(manifest.as_bytes(), "x", 0).is_err());
        let wrong = format!(r#"{{"mediaType":"{INDEX}","config":{descriptor},"layers":[]}}"#);
        assert!(Manifest::parse(wrong.as_bytes(), "x", 1).is_err());
    }

    #[test]
    fn reads_a_configuration() {
        let json = format!(
            r#"{{"architecture":"arm","variant":"v7","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}},
            "config":{{"User":"65532","Env":["A=b"],"Cmd":["sh"],"ExposedPorts":{{"80/tcp":{{}},"22/tcp":{{}}}},
            "Healthcheck":{{"Test":["CMD","true"]}},"Labels":{{"a":"b"}}}},
            "history":[{{"created_by":"RUN x","empty_layer":true}}]}}"#,
            Digest::of(b"")
        );
        let (config, platform) = ImageConfig::parse(json.as_bytes(), "x").unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert_eq!(config.user, "65532");
        assert_eq!(config.exposed_ports, ["22/tcp", "80/tcp"]);
        assert_eq!(config.healthcheck.unwrap(), ["CMD", "true"]);
        assert!(config.history[0].empty_layer);
        assert!(ImageConfig::parse(b"{}", "x").is_err());
    }
}

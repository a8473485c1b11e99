//! A container and the image that it runs.

use std::fmt;

use palisade_base::Digest;
use serde::{Deserialize, Serialize};

/// The engine that made a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// `palisade run`.
    Palisade,
    /// Docker Engine.
    Docker,
    /// Podman, through libpod.
    Podman,
    /// containerd without Kubernetes.
    Containerd,
    /// containerd's or CRI-O's Kubernetes interface.
    Cri,
    /// CRI-O.
    Crio,
    /// LXC and LXD.
    Lxc,
    /// A bare runC or crun bundle.
    Runc,
    /// Recognised as a container, engine unknown.
    Unknown,
}

impl Engine {
    /// The name in field values and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Palisade => "palisade",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Cri => "cri",
            Self::Crio => "crio",
            Self::Lxc => "lxc",
            Self::Runc => "runc",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of the image that a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageIdentity {
    /// The reference by which it was started: `docker.io/library/nginx:1.27`.
    pub reference: String,
    /// Digest of the image's manifest (or configuration, where the engine keeps only that).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The engine's full identifier.
    pub id: String,
    /// The name given by the user or the engine.
    pub name: String,
    /// Which engine runs it.
    pub engine: Engine,
    /// The image, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageIdentity>,
    /// Name of its policy, for containers that Palisade hardened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Kubernetes namespace and pod, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Its cgroup paths relative to each hierarchy's mount point, `/` first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Host process id of its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_pid: Option<u32>,
}

impl Container {
    /// The twelve characters by which people know a container.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// The Kubernetes pod of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

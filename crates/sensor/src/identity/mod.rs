//! Which container a process belongs to, and what is known of it.
//!
//! The kernel says the control group; its path names the container ([`cgroup`]), and the
//! engines' files on disk describe it ([`resolver`]). No engine's socket is asked, so the
//! answer is there at a container's first exec and costs a few file reads once.

mod cgroup;
mod engines;
mod resolver;

use std::sync::Arc;

use palisade_model::{Container, Engine};
use serde_json::Value;

pub use cgroup::{CgroupMatch, match_cgroup};
pub use resolver::{HostPaths, Resolver, ResolverCounters};

/// Characters of an id that rules and people see.
pub const SHORT_ID_CHARS: usize = 12;

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub dest: String,
    /// Engine's mode: `rw`, `Z`.
    pub mode: String,
    /// Writable.
    pub writable: bool,
    /// Propagation: `rprivate`.
    pub propagation: String,
}

impl Mount {
    /// The form of `container.mounts`.
    pub fn describe(&self) -> String {
        let Self { source, dest, mode, writable, propagation } = self;
        format!("{source}:{dest}:{mode}:{writable}:{propagation}")
    }
}

/// Mounts and labels of one container that are kept.
pub const DETAILS_MAX: usize = 256;

/// What rules may ask of a container; [`Container`] is what alerts show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The container as alerts show it.
    pub container: Arc<Container>,
    /// The id in rules: the first twelve characters, or `host`.
    pub id: String,
    /// The whole id.
    pub full_id: String,
    /// Engine's name in `container.type`.
    pub type_name: String,
    /// Image reference as given.
    pub image: String,
    /// Image id.
    pub image_id: String,
    /// Image reference without tag and digest.
    pub image_repository: String,
    /// Tag.
    pub image_tag: String,
    /// Digest.
    pub image_digest: String,
    /// Privileged.
    pub privileged: bool,
    /// Shares the host's process namespace.
    pub host_pid: bool,
    /// Shares the host's network.
    pub host_network: bool,
    /// Shares the host's IPC namespace.
    pub host_ipc: bool,
    /// Address.
    pub ip: String,
    /// User given to the engine.
    pub user: String,
    /// Result of the pod's network plugin.
    pub cni_json: String,
    /// Id of the pod's sandbox.
    pub pod_sandbox_id: String,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Labels, sorted by key.
    pub labels: Vec<(String, String)>,
    /// Labels of the pod, sorted by key.
    pub pod_labels: Vec<(String, String)>,
}

impl Facts {
    /// What follows from a container's record alone.
    pub fn of(container: Container) -> Self {
        let image = container.image.as_ref().map(|image| image.reference.clone());
        let image = image.unwrap_or_default();
        let (repository, tag, digest) = split_reference(&image);
        let known_digest = container.image.as_ref().and_then(|image| image.digest.as_ref());
        Self {
            id: container.short_id().to_string(),
            full_id: container.id.clone(),
            type_name: container.engine.as_str().to_string(),
            image_id: String::new(),
            image_repository: repository.to_string(),
            image_tag: tag.to_string(),
            image_digest: known_digest.map_or_else(|| digest.to_string(), ToString::to_string),
            privileged: false,
            host_pid: false,
            host_network: false,
            host_ipc: false,
            ip: String::new(),
            user: String::new(),
            cni_json: String::new(),
            pod_sandbox_id: String::new(),
            mounts: Vec::new(),
            labels: Vec::new(),
            pod_labels: Vec::new(),
            image,
            container: Arc::new(container),
        }
    }

    /// What rules see of processes outside every container.
    pub fn host() -> Self {
        let mut facts = Self::of(Container {
            id: "host".into(),
            name: "host".into(),
            engine: Engine::Unknown,
            image: None,
            policy: None,
            pod: None,
            cgroup: None,
            init_pid: None,
        });
        facts.type_name = "host".into();
        facts
    }

    /// Whether these are the facts of the host itself.
    pub fn is_host(&self) -> bool {
        self.id == "host"
    }

    /// A label of the container.
    pub fn label(&self, key: &str) -> Option<&str> {
        lookup(&self.labels, key)
    }

    /// A label of the pod.
    pub fn pod_label(&self, key: &str) -> Option<&str> {
        lookup(&self.pod_labels, key)
    }

    /// The description for captures, see [`Self::from_capture_json`].
    pub fn to_capture_json(&self) -> Value {
        let map = |pairs: &[(String, String)]| -> Value {
            pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
        };
        let mut labels = self.labels.clone();
        if let Some(pod) = &self.container.pod {
            for (key, value) in
                [("name", &pod.name), ("namespace", &pod.namespace), ("uid", &pod.uid)]
            {
                let key = format!("io.kubernetes.pod.{key}");
                if lookup(&labels, &key).is_none() {
                    labels.push((key, value.clone()));
                }
            }
        }
        let mounts: Vec<Value> = self
            .mounts
            .iter()
            .map(|mount| {
                serde_json::json!({
                    "Source": mount.source,
                    "Destination": mount.dest,
                    "Mode": mount.mode,
                    "RW": mount.writable,
                    "Propagation": mount.propagation,
                })
            })
            .collect();
        serde_json::json!({"container": {
            "type": number_of_engine(self.container.engine),
            "id": self.id,
            "full_id": self.full_id,
            "name": self.container.name,
            "image": self.image,
            "imageid": self.image_id,
            "imagerepo": self.image_repository,
            "imagetag": self.image_tag,
            "imagedigest": self.image_digest,
            "privileged": self.privileged,
            "host_pid": self.host_pid,
            "host_network": self.host_network,
            "host_ipc": self.host_ipc,
            "ip": self.ip,
            "User": self.user,
            "cni_json": self.cni_json,
            "pod_sandbox_id": self.pod_sandbox_id,
            "Mounts": mounts,
            "labels": map(&labels),
            "pod_sandbox_labels": map(&self.pod_labels),
        }})
    }

    /// Reads the description that captures carry: `{"container": {...}}`, as the container
    /// plugin of Falco and older libraries write it.
    pub fn from_capture_json(text: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(text).ok()?;
        // What the oldest captures say of a container has no frame around it.
        let bare = document.get("id").is_some().then_some(&document);
        let json = document.get("container").or(bare)?;
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or("").to_string();
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
        let id = text("id");
        let kind = json.get("type").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let (engine, type_name) = engine_of_number(kind);
        let labels = string_map(json.get("labels"));
        let pod = pod_of_labels(&labels);
        let full_id = Some(text("full_id")).filter(|id| !id.is_empty());
        let image = text("image");
        let mut facts = Self::of(Container {
            id: full_id.unwrap_or_else(|| id.clone()),
            name: text("name"),
            engine,
            image: (!image.is_empty()).then(|| palisade_model::ImageIdentity {
                digest: text("imagedigest").parse().ok(),
                reference: image,
            }),
            policy: None,
            pod,
            cgroup: None,
            init_pid: None,
        });
        facts.id = id;
        facts.full_id = text("full_id");
        facts.type_name = type_name.to_string();
        facts.image_id = text("imageid");
        facts.image_repository = text("imagerepo");
        facts.image_tag = text("imagetag");
        facts.image_digest = text("imagedigest");
        facts.privileged = flag("privileged");
        facts.host_pid = flag("host_pid");
        facts.host_network = flag("host_network");
        facts.host_ipc = flag("host_ipc");
        facts.ip = text("ip");
        facts.user = text("User");
        facts.cni_json = text("cni_json");
        facts.pod_sandbox_id = text("pod_sandbox_id");
        facts.mounts = mounts(json.get("Mounts"));
        facts.labels = labels;
        facts.pod_labels = string_map(json.get("pod_sandbox_labels"));
        Some(facts)
    }
}

fn lookup<'m>(map: &'m [(String, String)], key: &str) -> Option<&'m str> {
    map.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

pub(crate) fn string_map(value: Option<&Value>) -> Vec<(String, String)> {
    let Some(Value::Object(map)) = value else { return Vec::new() };
    let mut pairs: Vec<_> = map
        .iter()
        .take(DETAILS_MAX)
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
        .collect();
    pairs.sort();
    pairs
}

/// Mounts as Docker and the container plugin describe them.
pub(crate) fn mounts(value: Option<&Value>) -> Vec<Mount> {
    let Some(Value::Array(list)) = value else { return Vec::new() };
    let text =
        |mount: &Value, key: &str| mount.get(key).and_then(Value::as_str).unwrap_or("").to_string();
    list.iter()
        .take(DETAILS_MAX)
        .map(|mount| Mount {
            source: text(mount, "Source"),
            dest: text(mount, "Destination"),
            mode: text(mount, "Mode"),
            writable: mount.get("RW").and_then(Value::as_bool).unwrap_or(false),
            propagation: text(mount, "Propagation"),
        })
        .collect()
}

pub(crate) fn pod_of_labels(labels: &[(String, String)]) -> Option<palisade_model::container::Pod> {
    let name = lookup(labels, "io.kubernetes.pod.name")?;
    Some(palisade_model::container::Pod {
        name: name.to_string(),
        namespace: lookup(labels, "io.kubernetes.pod.namespace").unwrap_or("").to_string(),
        uid: lookup(labels, "io.kubernetes.pod.uid").unwrap_or("").to_string(),
    })
}

/// Numbers of container types in captures (`container_type.h` of the container plugin).
fn engine_of_number(number: u64) -> (Engine, &'static str) {
    match number {
        0 => (Engine::Docker, "docker"),
        1 => (Engine::Lxc, "lxc"),
        2 => (Engine::Unknown, "libvirt-lxc"),
        3 => (Engine::Unknown, "mesos"),
        5 => (Engine::Unknown, "custom"),
        6 => (Engine::Cri, "cri"),
        7 => (Engine::Containerd, "containerd"),
        8 => (Engine::Crio, "cri-o"),
        9 => (Engine::Unknown, "bpm"),
        10 => (Engine::Unknown, "static"),
        11 => (Engine::Podman, "podman"),
        _ => (Engine::Unknown, "unknown"),
    }
}

fn number_of_engine(engine: Engine) -> u64 {
    match engine {
        Engine::Docker => 0,
        Engine::Lxc => 1,
        Engine::Cri => 6,
        Engine::Containerd => 7,
        Engine::Crio => 8,
        Engine::Podman => 11,
        // Captures know no number for ours.
        Engine::Palisade | Engine::Runc | Engine::Unknown => 0xffff,
    }
}

/// Splits `docker.io/library/nginx:1.27@sha256:…` into repository, tag and digest.
pub fn split_reference(reference: &str) -> (&str, &str, &str) {
    let (rest, digest) = reference.split_once('@').unwrap_or((reference, ""));
    let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[name_start..].rfind(':') {
        Some(colon) => {
            let (repository, tag) = rest.split_at(name_start + colon);
            (repository, &tag[1..], digest)
        }
        None => (rest, "", digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split() {
        let check = |reference, expected| assert_eq!(split_reference(reference), expected);
        check("nginx", ("nginx", "", ""));
        check("docker.io/library/nginx:1.27", ("docker.io/library/nginx", "1.27", ""));
        check("localhost:5000/a/b", ("localhost:5000/a/b", "", ""));
        check("localhost:5000/a:x@sha256:ab", ("localhost:5000/a", "x", "sha256:ab"));
    }

    #[test]
    fn descriptions_in_captures_are_read() {
        let json = br#"{"container":{"type":0,"id":"32a1026ccb88","full_id":"32a1026ccb88aa","name":"x",
            "image":"fedora:38","imagerepo":"fedora","imagetag":"38","privileged":true,
            "labels":{"io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n"},
            "Mounts":[{"Source":"/a","Destination":"/b","Mode":"","RW":true,"Propagation":"rprivate"}]}}"#;
        let facts = Facts::from_capture_json(json).unwrap();
        assert_eq!(
            (facts.id.as_str(), facts.image_repository.as_str()),
            ("32a1026ccb88", "fedora")
        );
        assert!(facts.privileged);
        assert_eq!(facts.mounts[0].describe(), "/a:/b::true:rprivate");
        assert_eq!(facts.container.pod.as_ref().unwrap().name, "p");
        assert!(Facts::from_capture_json(b"{}").is_none());
        assert!(Facts::from_capture_json(b"not json").is_none());
    }
}

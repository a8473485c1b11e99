//! What each engine keeps on disk of its containers.
//!
//! The files belong to the engines, but a container's name, labels and mounts in them
//! are chosen by its user: reads are bounded, identifiers are checked before they become
//! part of a path, and anything malformed is as good as absent.

use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_base::read_bounded;
use palisade_model::container::Pod;
use palisade_model::{Container, Engine, ImageIdentity};
use serde_json::Value;

use super::cgroup::{CgroupMatch, is_name};
use super::{DETAILS_MAX, Facts, HostPaths, Mount, mounts, string_map};

/// A file larger than this is not read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Folders of namespaces that are looked into.
const NAMESPACES_MAX: usize = 64;

/// Outcome of looking a container up.
pub(super) enum Lookup {
    Found(Box<Facts>),
    /// No engine knows it.
    Unknown,
    /// A file was there and could not be read.
    Unreadable,
}

/// Reads what the engines know of `found`.
pub(super) fn look_up(paths: &HostPaths, found: &CgroupMatch) -> Lookup {
    if !is_name(&found.id) {
        return Lookup::Unknown;
    }
    let mut unreadable = false;
    let readers: &[fn(&HostPaths, &CgroupMatch) -> Answer] = match found.engine {
        Engine::Palisade => &[palisade, runc],
        Engine::Docker => &[docker, podman, containerd, runc],
        Engine::Podman => &[podman, runc],
        Engine::Cri | Engine::Containerd => &[containerd, docker, runc],
        Engine::Crio => &[crio, runc],
        _ => &[palisade, runc, containerd],
    };
    for reader in readers {
        match reader(paths, found) {
            Ok(Some(facts)) => return Lookup::Found(Box::new(facts)),
            Ok(None) => {}
            Err(Unreadable) => unreadable = true,
        }
    }
    if unreadable { Lookup::Unreadable } else { Lookup::Unknown }
}

/// A file that exists and is of no use.
struct Unreadable;

type Answer = Result<Option<Facts>, Unreadable>;

fn read_json(path: &Path) -> Result<Option<Value>, Unreadable> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(Unreadable),
    };
    let bytes = read_bounded(file, "container record", FILE_BYTES_MAX).map_err(|_| Unreadable)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| Unreadable)
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_string()
}

fn pid(value: &Value, pointer: &str) -> Option<u32> {
    let pid = value.pointer(pointer).and_then(Value::as_u64)?;
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

fn image(reference: String, digest: &str) -> Option<ImageIdentity> {
    if reference.is_empty() {
        return None;
    }
    let digest = digest.parse().ok();
    Some(ImageIdentity { reference, digest })
}

fn container(found: &CgroupMatch, engine: Engine, name: String) -> Container {
    let name = if name.is_empty() { found.id.clone() } else { name };
    Container {
        id: found.id.clone(),
        name,
        engine,
        image: None,
        policy: None,
        pod: None,
        cgroup: None,
        init_pid: None,
    }
}

/// `palisade run` writes a serialised [`Container`].
fn palisade(paths: &HostPaths, found: &CgroupMatch) -> Answer {
    let path = paths.palisade_containers.join(format!("{}.json", found.id));
    let Some(json) = read_json(&path)? else { return Ok(None) };
    let container: Container = serde_json::from_value(json).map_err(|_| Unreadable)?;
    Ok(Some(Facts::of(container)))
}

/// Docker's `config.v2.json` and `hostconfig.json`.
fn docker(paths: &HostPaths, found: &CgroupMatch) -> Answer {
    let folder = paths.docker_containers.join(&found.id);
    let Some(json) = read_json(&folder.join("config.v2.json"))? else { return Ok(None) };
    let name = text(&json, "/Name").trim_start_matches('/').to_string();
    let image_id = text(&json, "/Image");
    let mut container = container(found, Engine::Docker, name);
    container.image = image(text(&json, "/Config/Image"), &image_id);
    container.init_pid = pid(&json, "/State/Pid");
    let labels = string_map(json.pointer("/Config/Labels"));
    container.pod = super::pod_of_labels(&labels);
    let mut facts = Facts::of(container);
    facts.image_id = image_id.trim_start_matches("sha256:").to_string();
    facts.user = text(&json, "/Config/User");
    facts.labels = labels;
    if let Some(Value::Object(points)) = json.get("MountPoints") {
        facts.mounts = mounts(Some(&Value::Array(points.values().cloned().collect())));
    }
    if let Some(Value::Object(networks)) = json.pointer("/NetworkSettings/Networks") {
        facts.ip = networks.values().map(|net| text(net, "/IPAddress")).next().unwrap_or_default();
    }
    if let Ok(Some(host)) = read_json(&folder.join("hostconfig.json")) {
        facts.privileged = host.get("Privileged").and_then(Value::as_bool).unwrap_or(false);
        facts.host_pid = text(&host, "/PidMode") == "host";
        facts.host_network = text(&host, "/NetworkMode") == "host";
        facts.host_ipc = text(&host, "/IpcMode") == "host";
    }
    Ok(Some(facts))
}

/// The list that `containers/storage` keeps for Podman and CRI-O.
fn podman(paths: &HostPaths, found: &CgroupMatch) -> Answer {
    let mut unreadable = false;
    for file in &paths.podman_lists {
        let list = match read_json(file) {
            Ok(Some(Value::Array(list))) => list,
            Ok(_) => continue,
            Err(Unreadable) => {
                unreadable = true;
                continue;
            }
        };
        let Some(entry) = list.iter().find(|entry| text(entry, "/id") == found.id) else {
            continue;
        };
        // The metadata is JSON inside a JSON string.
        let metadata = serde_json::from_str(&text(entry, "/metadata")).unwrap_or(Value::Null);
        let name = Some(text(&metadata, "/name")).filter(|name| !name.is_empty());
        let mut container =
            container(found, Engine::Podman, name.unwrap_or_else(|| text(entry, "/names/0")));
        let image_id = text(entry, "/image");
        container.image = image(text(&metadata, "/image-name"), &format!("sha256:{image_id}"));
        let mut facts = Facts::of(container);
        facts.image_id = image_id;
        return Ok(Some(facts));
    }
    if unreadable { Err(Unreadable) } else { Ok(None) }
}

/// The runtime bundle of a containerd task; Kubernetes puts its names into annotations.
fn containerd(paths: &HostPaths, found: &CgroupMatch) -> Answer {
    let Ok(namespaces) = std::fs::read_dir(&paths.containerd_tasks) else { return Ok(None) };
    for namespace in namespaces.take(NAMESPACES_MAX).flatten() {
        let bundle = namespace.path().join(&found.id).join("config.json");
        let Some(json) = read_json(&bundle)? else { continue };
        let is_cri = annotation(&json, "io.kubernetes.cri.container-type").is_some();
        let engine = if is_cri { Engine::Cri } else { Engine::Containerd };
        return Ok(Some(from_bundle(found, engine, &json)));
    }
    Ok(None)
}

/// CRI-O keeps its bundles beside the storage.
fn crio(paths: &HostPaths, found: &CgroupMatch) -> Answer {
    for folder in &paths.crio_bundles {
        let bundle = folder.join(&found.id).join("userdata/config.json");
        if let Some(json) = read_json(&bundle)? {
            return Ok(Some(from_bundle(found, Engine::Crio, &json)));
        }
    }
    podman(paths, found)
}

/// runC's `state.json`, and the bundle that it names.
fn runc(paths: &HostPaths, found: &CgroupMatch) -> Answer {
    for root in &paths.runc_states {
        let Some(state) = read_json(&root.join(&found.id).join("state.json"))? else { continue };
        let engine = if found.certain { found.engine } else { Engine::Runc };
        let bundle = bundle_of(&state)
            .and_then(|bundle| read_json(&bundle.join("config.json")).ok().flatten());
        let mut facts = match bundle {
            Some(json) => from_bundle(found, engine, &json),
            None => Facts::of(container(found, engine, String::new())),
        };
        let mut container = Container::clone(&facts.container);
        container.init_pid = pid(&state, "/init_process_pid");
        facts.container = container.into();
        return Ok(Some(facts));
    }
    Ok(None)
}

/// runC records the bundle as a label `bundle=<path>`.
fn bundle_of(state: &Value) -> Option<PathBuf> {
    let labels = state.pointer("/config/labels")?.as_array()?;
    labels
        .iter()
        .filter_map(Value::as_str)
        .find_map(|label| label.strip_prefix("bundle="))
        .map(PathBuf::from)
}

fn annotation<'j>(json: &'j Value, key: &str) -> Option<&'j str> {
    json.get("annotations")?.get(key)?.as_str().filter(|value| !value.is_empty())
}

/// First of several annotations that is there.
fn first_annotation(json: &Value, keys: &[&str]) -> String {
    keys.iter().find_map(|key| annotation(json, key)).unwrap_or("").to_string()
}

fn from_bundle(found: &CgroupMatch, engine: Engine, json: &Value) -> Facts {
    let name = first_annotation(
        json,
        &[
            "dev.palisade.name",
            "io.kubernetes.cri.container-name",
            "io.kubernetes.container.name",
            "nerdctl/name",
            "org.opencontainers.container.name",
        ],
    );
    let reference = first_annotation(
        json,
        &[
            "dev.palisade.image",
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "org.opencontainers.image.ref.name",
        ],
    );
    let digest =
        first_annotation(json, &["dev.palisade.image.digest", "org.opencontainers.image.digest"]);
    let mut container = container(found, engine, name);
    container.image = image(reference, &digest);
    container.policy = annotation(json, "dev.palisade.policy").map(str::to_string);
    let pod = first_annotation(json, &["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]);
    if !pod.is_empty() {
        let keys: &[&str] = &["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];
        container.pod = Some(Pod {
            name: pod,
            namespace: first_annotation(json, keys),
            uid: first_annotation(
                json,
                &["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"],
            ),
        });
    }
    let mut facts = Facts::of(container);
    facts.pod_sandbox_id =
        annotation(json, "io.kubernetes.cri.sandbox-id").unwrap_or("").to_string();
    facts.labels = string_map(json.get("annotations"));
    facts.mounts = bundle_mounts(json);
    let namespaces = json.pointer("/linux/namespaces").and_then(Value::as_array);
    let shares = |kind: &str| {
        namespaces.is_some_and(|list| !list.iter().any(|entry| text(entry, "/type") == kind))
    };
    (facts.host_pid, facts.host_network, facts.host_ipc) =
        (shares("pid"), shares("network"), shares("ipc"));
    facts.privileged = is_privileged(json);
    facts
}

/// A bundle has no such word: privileged is one that keeps `CAP_SYS_ADMIN`, masks no path
/// and filters no system call.
fn is_privileged(json: &Value) -> bool {
    let capabilities = json.pointer("/process/capabilities/bounding").and_then(Value::as_array);
    let is_admin = capabilities
        .is_some_and(|list| list.iter().any(|name| name.as_str() == Some("CAP_SYS_ADMIN")));
    let masks = json.pointer("/linux/maskedPaths").and_then(Value::as_array);
    is_admin && masks.is_none_or(Vec::is_empty) && json.pointer("/linux/seccomp").is_none()
}

fn bundle_mounts(json: &Value) -> Vec<Mount> {
    let Some(list) = json.get("mounts").and_then(Value::as_array) else { return Vec::new() };
    let is_bind = |mount: &&Value| {
        let options = mount.get("options").and_then(Value::as_array);
        text(mount, "/type") == "bind"
            || options.is_some_and(|list| {
                list.iter().any(|option| matches!(option.as_str(), Some("bind" | "rbind")))
            })
    };
    list.iter()
        .filter(is_bind)
        .take(DETAILS_MAX)
        .map(|mount| {
            let options: Vec<&str> = mount
                .get("options")
                .and_then(Value::as_array)
                .map(|list| list.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let propagation = options.iter().find(|option| {
                matches!(
                    **option,
                    "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave"
                )
            });
            Mount {
                source: text(mount, "/source"),
                dest: text(mount, "/destination"),
                mode: String::new(),
                writable: !options.contains(&"ro"),
                propagation: propagation.unwrap_or(&"").to_string(),
            }
        })
        .collect()
}

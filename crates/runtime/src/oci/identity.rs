//! Who a container is: what its spec and its engine's files say of it.
//!
//! Only places that the engine chooses are looked at (the bundle, the root file system), never
//! ones that the container's user names, such as sources of mounts. What cannot be read is
//! unknown: exceptions then do not hold.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use palisade_base::Timestamp;
use palisade_harden::{ContainerKind, EngineFacts, Root, mount_sources};
use serde_json::Value;

use super::Document;
use super::keeper::{Keeper, Plugin, podman_text, root_of};
use super::origin::{laid_over, made_of, store_of};

/// Mounts of a container that are looked at.
const MOUNTS_MAX: usize = 4096;
/// Folders of the host in them.
const SOURCES_MAX: usize = 4 * MOUNTS_MAX;
/// Labels of a container that are looked at.
const LABELS_MAX: usize = 1024;
/// Profiles of AppArmor that are loaded, with their modes.
const APPARMOR_PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Profiles that engines load and give to their containers.
const APPARMOR_DEFAULTS: [&str; 3] =
    ["docker-default", "cri-containerd.apparmor.d", "crio-default"];
/// Bytes of an engine's file that are read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Whether `id` may be part of a path.
pub(super) fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b))
}

/// What is known of the container `id` with this spec in `bundle`.
pub fn engine_facts(
    spec: &Value,
    bundle: &Path,
    id: &str,
    now: Timestamp,
) -> Result<EngineFacts, String> {
    let mut out = EngineFacts::unknown(id, now);
    security_modules(&mut out, spec);
    out.host_namespaces = host_namespaces(spec, bundle);
    let mounts = spec.pointer("/mounts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if mounts.len() > MOUNTS_MAX {
        return Err(format!("palisade: the container has more than {MOUNTS_MAX} mounts"));
    }
    out.sources = sources(spec, mounts, bundle)?;
    let is_socket = |(_, real): &(&String, &String)| is_socket(real);
    out.sockets = out.sources.iter().filter(is_socket).map(|(named, _)| named.clone()).collect();
    out.overlays = overlays(&out.sources);
    out.host_devices = host_devices(spec);
    let keeper = Keeper::of(spec, bundle, id);
    out.root = root(spec, bundle, &keeper);
    annotations(&mut out, spec, &keeper);
    match &keeper {
        Keeper::Docker(folder) => docker(&mut out, folder),
        Keeper::Podman { containers, entry } => podman(&mut out, containers, entry.as_ref()),
        Keeper::Builder => {
            out.kind = ContainerKind::Build;
            out.engine_folders.extend(buildkit_folder(bundle));
        }
        Keeper::Kubernetes { state, stored, .. } => {
            if let Some(stored) = stored {
                crio(&mut out, &stored.entry);
                out.engine_folders.extend(stored.containers.parent().and_then(text_of));
            }
            let store = store_of(&bundle.join(root_of(spec)));
            let folders = [Some(state.clone()), store].into_iter().flatten();
            out.engine_folders.extend(folders.filter_map(|path| text_of(&path)));
        }
        Keeper::Containerd | Keeper::Nobody => {}
    }
    Ok(out)
}

/// What of AppArmor and SELinux this machine's kernel runs.
fn security_modules(out: &mut EngineFacts, spec: &Value) {
    out.selinux = Path::new("/sys/fs/selinux/enforce").exists();
    out.apparmor = Path::new("/sys/kernel/security/apparmor").is_dir()
        || std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|bytes| bytes.starts_with(b"Y"));
    if !out.apparmor {
        return;
    }
    let Ok(file) = std::fs::File::open(APPARMOR_PROFILES) else { return };
    let Ok(bytes) = palisade_base::read_bounded(file, "list of profiles", FILE_BYTES_MAX) else {
        return;
    };
    let list = String::from_utf8_lossy(&bytes);
    let profile = spec.pointer("/process/apparmorProfile").and_then(Value::as_str);
    out.apparmor_mode = profile.and_then(|name| mode_in(&list, name)).map(str::to_string);
    let mut defaults = APPARMOR_DEFAULTS.iter();
    out.apparmor_default =
        defaults.find(|name| mode_in(&list, name) == Some("enforce")).map(ToString::to_string);
}

/// The mode of a profile in the kernel's list: `NAME (MODE)`, a line for each.
fn mode_in<'l>(list: &'l str, profile: &str) -> Option<&'l str> {
    let line = |line: &'l str| line.strip_suffix(')')?.rsplit_once(" (");
    list.lines().filter_map(line).find(|(name, _)| *name == profile).map(|(_, mode)| mode)
}

/// Kinds of namespaces that are joined by a path and are this process's own. One that cannot be
/// looked at counts: it may be. Runtimes look for a path from the bundle.
fn host_namespaces(spec: &Value, bundle: &Path) -> Vec<String> {
    let list = spec.pointer("/linux/namespaces").and_then(Value::as_array);
    let same = |entry: &Value| -> Option<String> {
        let kind = entry.get("type")?.as_str()?;
        let path = entry.get("path")?.as_str().filter(|path| !path.is_empty())?;
        let file = match kind {
            "network" => "net",
            "mount" => "mnt",
            other => other,
        };
        let ours = std::fs::metadata(Path::new("/proc/self/ns").join(file)).ok()?;
        let theirs = std::fs::metadata(bundle.join(path));
        let is_another =
            theirs.is_ok_and(|theirs| (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()));
        (!is_another).then(|| kind.to_string())
    };
    list.into_iter().flatten().filter_map(same).collect()
}

/// Where the root leads, and what of the host mounts show.
fn sources(
    spec: &Value,
    mounts: &[Value],
    bundle: &Path,
) -> Result<BTreeMap<String, String>, String> {
    let named = mounts.iter().flat_map(mount_sources).map(|(path, _)| path);
    let named: Vec<String> = named.take(SOURCES_MAX + 1).collect();
    if named.len() > SOURCES_MAX {
        return Err(format!(
            "palisade: the container's mounts are of more than {SOURCES_MAX} folders"
        ));
    }
    let root = spec.pointer("/root/path").and_then(Value::as_str);
    let real = |path: &str| {
        let real = std::fs::canonicalize(bundle.join(path)).ok()?;
        Some((path.to_string(), real.to_str()?.to_string()))
    };
    Ok(named.iter().map(String::as_str).chain(root).filter_map(real).collect())
}

/// Whether a socket lies at `path`.
pub(crate) fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// What is mounted of overlays that Podman and Buildah have a program lay, by the source as
/// written: `-v FOLDER:/x:O` is a bind of such a one then.
fn overlays(sources: &BTreeMap<String, String>) -> BTreeMap<String, Vec<(String, bool)>> {
    let is_laid = |real: &str| {
        let before = real.split_once("/userdata/overlay/").map(|(before, _)| before);
        let folder = before.and_then(|before| before.rsplit('/').nth(1));
        folder.is_some_and(|folder| folder.ends_with("-containers"))
    };
    let laid = sources.iter().filter(|(_, real)| is_laid(real));
    let folders = |real: &str| {
        let text = |(path, writes)| Some((text_of(path)?, writes));
        made_of(Path::new(real))?.into_iter().map(text).collect::<Option<Vec<_>>>()
    };
    laid.map(|(named, real)| (named.clone(), folders(real).unwrap_or_default())).collect()
}

/// Whose the root file system is: engines make it in the bundle or in their store, and Podman
/// takes any folder of the host for it (`--rootfs`), or lays something over one (`--rootfs …:O`).
fn root(spec: &Value, bundle: &Path, keeper: &Keeper) -> Root {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let bundle = real(bundle);
    let root = real(&bundle.join(root_of(spec)));
    let in_bundle = root != bundle && root.starts_with(&bundle);
    match keeper {
        Keeper::Builder | Keeper::Kubernetes { .. } => Root::Engines,
        Keeper::Docker(folder) => match folder.ancestors().nth(2) {
            Some(data) if root.starts_with(real(data)) => Root::Engines,
            _ => Root::Named,
        },
        Keeper::Podman { containers, entry } => {
            let layer = entry.as_ref().and_then(|entry| entry.get("layer")?.as_str());
            let store = containers.parent().map(real);
            let is_layer = layer.is_some_and(|layer| root.iter().any(|part| part == layer));
            if is_layer && store.is_some_and(|store| root.starts_with(store)) {
                return Root::Engines;
            }
            match laid_over(&root) {
                Some(folders) => {
                    Root::Over(folders.iter().map(|path| real(path)).filter_map(text_of).collect())
                }
                None if in_bundle => Root::Over(Vec::new()),
                None => Root::Named,
            }
        }
        Keeper::Containerd | Keeper::Nobody if in_bundle => Root::Engines,
        Keeper::Containerd | Keeper::Nobody => Root::Named,
    }
}

/// What the host has at the paths that the spec gives devices.
fn host_devices(spec: &Value) -> BTreeMap<String, (String, i64, i64)> {
    use std::os::unix::fs::FileTypeExt as _;
    let list = spec.pointer("/linux/devices").and_then(Value::as_array).into_iter().flatten();
    let paths = list.filter_map(|device| device.get("path")?.as_str()).take(MOUNTS_MAX);
    let numbers = |path: &str| {
        let metadata = std::fs::metadata(path).ok()?;
        let kind = metadata.file_type();
        let kind = if kind.is_block_device() {
            "b"
        } else if kind.is_char_device() {
            "c"
        } else {
            return None;
        };
        let number = metadata.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        Some((path.to_string(), (kind.to_string(), major.into(), minor.into())))
    };
    paths.filter(|path| path.starts_with("/dev/")).filter_map(numbers).collect()
}

/// Annotations: as labels of anybody's, and as an engine's word where it is the engine that
/// writes them.
fn annotations(out: &mut EngineFacts, spec: &Value, keeper: &Keeper) {
    let Some(map) = spec.pointer("/annotations").and_then(Value::as_object) else { return };
    let text = |key: &str| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let label = |(name, value): (&String, &Value)| Some(format!("{name}={}", value.as_str()?));
    out.labels = map.iter().filter_map(label).take(LABELS_MAX).collect();
    let owned = |key: &str| text(key).map(str::to_string);
    let plugin = match keeper {
        Keeper::Kubernetes { plugin, .. } => *plugin,
        Keeper::Containerd => {
            out.image = owned("nerdctl/image-name");
            out.name = owned("nerdctl/name");
            return;
        }
        _ => return,
    };
    out.kubernetes = true;
    let digest = |key: &str| digest_in(text(key).unwrap_or_default());
    // Each writes its own after what a pod's author may hand on, and leaves the other's as they
    // are: CRI-O hands on every annotation of the pod.
    let kind = match plugin {
        Plugin::Containerd => {
            out.name = owned("io.kubernetes.cri.container-name");
            let kind = text("io.kubernetes.cri.container-type");
            // It names no image of a sandbox, where somebody else could.
            if kind != Some("sandbox") {
                out.image = owned("io.kubernetes.cri.image-name");
                out.asked_digests.extend(digest("io.kubernetes.cri.image-name"));
            }
            kind
        }
        Plugin::Crio => {
            out.image = owned("io.kubernetes.cri-o.ImageName");
            out.name = owned("io.kubernetes.cri-o.Name");
            let kept = ["io.kubernetes.cri-o.ImageRef", "io.kubernetes.cri-o.Image"];
            out.image_digests.extend(kept.into_iter().filter_map(digest));
            if let Some(labels) = text("io.kubernetes.cri-o.Labels") {
                labels_of(out, serde_json::from_str(labels).ok().as_ref());
            }
            text("io.kubernetes.cri-o.ContainerType")
        }
    };
    if kind == Some("sandbox") && is_pause(spec) {
        out.kind = ContainerKind::Sandbox;
    }
}

/// Whether a container runs the program that holds a pod's namespaces and does nothing else.
fn is_pause(spec: &Value) -> bool {
    let arguments = spec.pointer("/process/args").and_then(Value::as_array);
    let Some([program]) = arguments.map(Vec::as_slice) else { return false };
    program.as_str().and_then(|path| path.rsplit('/').next()) == Some("pause")
}

/// The digest that a text of an engine's ends in: `sha256:…`, `NAME@sha256:…`, or the 64 digits
/// alone, as Podman and CRI-O write the id of an image.
fn digest_in(text: &str) -> Option<String> {
    let digest = text.rsplit('@').next().unwrap_or(text);
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| format!("sha256:{}", hex.to_ascii_lowercase()))
}

fn text_of(path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    std::fs::canonicalize(path).as_deref().unwrap_or(path).to_str().map(str::to_string)
}

/// Where Podman keeps what ends with the machine, by a file of the container `id` in it: in a
/// folder of that name that is this process's own, which nobody else can have made.
fn run_root(source: &str, id: &str) -> Option<String> {
    let (before, _) = source.split_once(&format!("/{id}/userdata/"))?;
    let (root, containers) = before.rsplit_once('/').filter(|(root, _)| !root.is_empty())?;
    let owner = std::fs::metadata(format!("{before}/{id}")).ok()?.uid();
    let is_own = owner == rustix::process::geteuid().as_raw();
    (is_own && containers.ends_with("-containers")).then(|| root.to_string())
}

/// What BuildKit keeps: its folder, and the data of the Docker that it is part of.
fn buildkit_folder(bundle: &Path) -> Option<String> {
    let real = std::fs::canonicalize(bundle).unwrap_or_else(|_| bundle.to_path_buf());
    let folder = real.ancestors().find(|path| path.file_name().is_some_and(|n| n == "buildkit"))?;
    let data = folder.parent().filter(|data| data.join("containers").is_dir());
    text_of(data.unwrap_or(folder))
}

fn labels_of(out: &mut EngineFacts, labels: Option<&Value>) {
    let map = labels.and_then(Value::as_object).into_iter().flatten();
    let label = |(name, value): (&String, &Value)| Some(format!("{name}={}", value.as_str()?));
    let room = LABELS_MAX.saturating_sub(out.labels.len());
    out.labels.extend(map.filter_map(label).take(room));
}

pub(super) fn read_json(path: &Path) -> Option<Value> {
    let file = std::fs::File::open(path).ok()?;
    let bytes = palisade_base::read_bounded(file, "engine's record", FILE_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Docker's own files.
fn docker(out: &mut EngineFacts, folder: &Path) {
    out.engine_folders.extend(folder.ancestors().nth(2).and_then(text_of));
    if out.selinux {
        let host = read_json(&folder.join("hostconfig.json"));
        let options = host.as_ref().and_then(|host| host.get("SecurityOpt")?.as_array());
        let is_off =
            |option: &Value| matches!(option.as_str(), Some("label=disable" | "label:disable"));
        out.label_disabled = options.is_some_and(|options| options.iter().any(is_off));
    }
    let Some(config) = read_json(&folder.join("config.v2.json")) else { return };
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    out.name = Some(text("/Name").trim_start_matches('/').to_string()).filter(|n| !n.is_empty());
    out.image = Some(text("/Config/Image").to_string()).filter(|image| !image.is_empty());
    let kept = [text("/Image"), text("/ImageManifest/digest")];
    out.image_digests.extend(kept.into_iter().filter_map(digest_in));
    out.asked_digests.extend(digest_in(text("/Config/Image")));
    labels_of(out, config.pointer("/Config/Labels"));
    // The classic builder has no mark of its own. It starts its steps from an image's id, without
    // a health check and without a log, which whoever may use the engine's socket can ask for too;
    // so what counts as a build has nothing that a build cannot have, and pretending to be one
    // gives no more than building gives.
    let no_check = config.pointer("/Config/Healthcheck/Test/0").and_then(Value::as_str);
    if text("/Config/Image").starts_with("sha256:") && no_check == Some("NONE") {
        let host = read_json(&folder.join("hostconfig.json"));
        if host.is_some_and(|host| has_only_what_a_build_has(&host, &config)) {
            out.kind = ContainerKind::Build;
        }
    }
}

/// Whether a container has nothing that a step of Docker's classic builder has not: the builder
/// sets limits, the network and hosts, and neither mounts, nor ports, devices or rights, and
/// nobody is at its terminal.
fn has_only_what_a_build_has(host: &Value, config: &Value) -> bool {
    let is_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "no",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let lists = [
        "Binds",
        "Mounts",
        "VolumesFrom",
        "Tmpfs",
        "PortBindings",
        "Links",
        "CapAdd",
        "GroupAdd",
        "Devices",
        "DeviceRequests",
        "DeviceCgroupRules",
        "Sysctls",
        "SecurityOpt",
        "StorageOpt",
        "Annotations",
    ];
    let words = [
        "Privileged",
        "PublishAllPorts",
        "AutoRemove",
        "PidMode",
        "UTSMode",
        "UsernsMode",
        "ContainerIDFile",
        "VolumeDriver",
    ];
    let bare = lists.iter().chain(&words).all(|key| host.get(key).is_none_or(is_nothing));
    let restarts = host.pointer("/RestartPolicy/Name").is_some_and(|name| !is_nothing(name));
    let shares = |key: &str| {
        host.get(key)
            .and_then(Value::as_str)
            .is_some_and(|mode| mode == "host" || mode.starts_with("container:"))
    };
    let attended = ["/Config/OpenStdin", "/Config/Tty"]
        .iter()
        .any(|at| config.pointer(at).is_some_and(|value| !is_nothing(value)));
    // A step's paths are masked as the engine does it; `systempaths=unconfined` leaves empty lists.
    let masked = ["MaskedPaths", "ReadonlyPaths"]
        .iter()
        .all(|key| host.get(key).is_none_or(|paths| !is_nothing(paths)));
    let log = host.pointer("/LogConfig/Type").and_then(Value::as_str);
    log == Some("none") && bare && masked && !restarts && !attended && !shares("IpcMode")
}

/// What Podman says of its container.
fn podman(out: &mut EngineFacts, containers: &Path, entry: Option<&Value>) {
    let runs = out.sources.values().find_map(|source| run_root(source, &out.id));
    out.engine_folders.extend(containers.parent().and_then(text_of).into_iter().chain(runs));
    // Podman gives a label unless it is told not to.
    out.label_disabled = out.selinux;
    let Some(entry) = entry else { return };
    out.image_digests.extend(entry.get("image").and_then(Value::as_str).and_then(digest_in));
    // One of `--rootfs` has no image.
    out.image = podman_text(entry, "image-name");
    out.name = podman_text(entry, "name");
}

/// A container of CRI-O's, by its store: its annotations say less of a sandbox, and may be those
/// of a pod's author where a release writes none.
fn crio(out: &mut EngineFacts, entry: &Value) {
    out.image_digests =
        entry.get("image").and_then(Value::as_str).and_then(digest_in).into_iter().collect();
    out.image = podman_text(entry, "image-name");
    if let Some(name) = podman_text(entry, "metadata-name") {
        out.name = Some(name);
    }
}

/// A container's spec and where it lies.
#[derive(Debug, Clone)]
pub struct Found {
    /// The spec that it was made with.
    pub spec: Value,
    /// Its bundle.
    pub bundle: PathBuf,
}

/// Where runC or crun keep their states: the folder that the call names, or their own.
pub(super) fn state_roots(named: Option<&Path>) -> Vec<PathBuf> {
    match named {
        Some(root) => vec![root.to_path_buf()],
        None => vec!["/run/runc".into(), "/run/crun".into()],
    }
}

/// The spec of a running container, from the state of runC or crun below `root`.
pub fn first_process(root: Option<&Path>, id: &str) -> Option<Found> {
    if !is_id(id) {
        return None;
    }
    state_roots(root).iter().find_map(|root| {
        let folder = root.join(id);
        let bundle = runc_bundle(&folder).or_else(|| crun_bundle(&folder))?;
        let spec = Document::read(&bundle.join("config.json")).ok()?.value;
        Some(Found { spec, bundle })
    })
}

fn runc_bundle(folder: &Path) -> Option<PathBuf> {
    let state = read_json(&folder.join("state.json"))?;
    let labels = state.pointer("/config/labels")?.as_array()?;
    let bundle = labels.iter().find_map(|label| label.as_str()?.strip_prefix("bundle="))?;
    Some(PathBuf::from(bundle))
}

fn crun_bundle(folder: &Path) -> Option<PathBuf> {
    let status = read_json(&folder.join("status"))?;
    Some(PathBuf::from(status.get("bundle")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_nanos(0)
    }

    #[test]
    fn dockers_records_are_found_beside_the_root_file_system() {
        let data = tempfile::tempdir().unwrap();
        let root = data.path().join("overlay2/f00/merged");
        let folder = data.path().join("containers/0123");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let bundle = Path::new("/run/io.containerd.runtime.v2.task/moby/0123");
        let config = json!({"Name": "/web", "Config": {"Image": "shop:1", "Labels": {"a": "b"}}});
        std::fs::write(folder.join("config.v2.json"), config.to_string()).unwrap();
        let spec = json!({"root": {"path": root}, "annotations": {"k": "v"}});
        let facts = engine_facts(&spec, bundle, "0123", now()).unwrap();
        assert_eq!((facts.name.as_deref(), facts.image.as_deref()), (Some("web"), Some("shop:1")));
        assert_eq!(facts.labels, ["k=v", "a=b"]);
        assert_eq!(facts.kind, ContainerKind::Workload);
        let config = json!({"Name": "/x", "Config": {"Image": "sha256:00",
            "Healthcheck": {"Test": ["NONE"]}}});
        std::fs::write(folder.join("config.v2.json"), config.to_string()).unwrap();
        let host = json!({"LogConfig": {"Type": "none"}});
        std::fs::write(folder.join("hostconfig.json"), host.to_string()).unwrap();
        let kind = || engine_facts(&spec, bundle, "0123", now()).unwrap().kind;
        assert_eq!(kind(), ContainerKind::Build);
        // A container that looks like a build and has what no build has is none.
        let with = |at: &str, value: Value| {
            let mut host = json!({"LogConfig": {"Type": "none"}, "Binds": null, "Devices": [],
                "PortBindings": {}, "Privileged": false, "PidMode": "", "IpcMode": "private",
                "RestartPolicy": {"Name": "no"}, "NetworkMode": "default", "ExtraHosts": ["a:1"],
                "Memory": 1_000_000, "ShmSize": 67_108_864, "CgroupParent": "x",
                "CgroupnsMode": "host", "MaskedPaths": ["/proc/acpi"],
                "ReadonlyPaths": ["/proc/sys"]});
            let mut config = config.clone();
            let of_config = at.starts_with("/Config");
            let document = if of_config { &mut config } else { &mut host };
            if let Some((parent, key)) = at.rsplit_once('/') {
                document.pointer_mut(parent).unwrap()[key] = value;
            }
            std::fs::write(folder.join("config.v2.json"), config.to_string()).unwrap();
            std::fs::write(folder.join("hostconfig.json"), host.to_string()).unwrap();
            kind()
        };
        assert_eq!(with("", json!(null)), ContainerKind::Build);
        assert_eq!(with("/NetworkMode", json!("host")), ContainerKind::Build);
        for (at, value) in [
            ("/Binds", json!(["/:/host"])),
            ("/Mounts", json!([{"Type": "bind", "Source": "/", "Target": "/host"}])),
            ("/VolumesFrom", json!(["other"])),
            ("/Tmpfs", json!({"/run": ""})),
            ("/PortBindings", json!({"80/tcp": [{"HostPort": "80"}]})),
            ("/PublishAllPorts", json!(true)),
            ("/CapAdd", json!(["SYS_ADMIN"])),
            ("/Devices", json!([{"PathOnHost": "/dev/sda"}])),
            ("/DeviceRequests", json!([{"Count": -1}])),
            ("/SecurityOpt", json!(["seccomp=unconfined"])),
            ("/MaskedPaths", json!([])),
            ("/MaskedPaths", json!(null)),
            ("/ReadonlyPaths", json!([])),
            ("/Sysctls", json!({"net.ipv4.ip_forward": "1"})),
            ("/GroupAdd", json!(["docker"])),
            ("/Annotations", json!({"k": "v"})),
            ("/Privileged", json!(true)),
            ("/AutoRemove", json!(true)),
            ("/PidMode", json!("host")),
            ("/UTSMode", json!("host")),
            ("/UsernsMode", json!("host")),
            ("/IpcMode", json!("host")),
            ("/IpcMode", json!("container:0")),
            ("/RestartPolicy/Name", json!("always")),
            ("/LogConfig/Type", json!("json-file")),
            ("/Config/OpenStdin", json!(true)),
            ("/Config/Tty", json!(true)),
            ("/Config/Image", json!("shop:1")),
            ("/Config/Healthcheck/Test", json!(["CMD", "true"])),
        ] {
            assert_eq!(with(at, value), ContainerKind::Workload, "{at}");
        }
        // An id is never a way out of the folder.
        let facts = engine_facts(&spec, bundle, "../containers/0123", now()).unwrap();
        assert_eq!(facts.image, None);
        // A bundle of another engine's, whose user named the root, finds no records beside it.
        let theirs = Path::new("/var/lib/containers/storage/overlay-containers/0123/userdata");
        let facts = engine_facts(&spec, theirs, "0123", now()).unwrap();
        assert_eq!((facts.image, facts.kind), (None, ContainerKind::Workload));
    }

    #[test]
    fn kubernetes_tells_by_annotations_and_nobody_else_does() {
        let task = |namespace: &str| {
            PathBuf::from(format!("/run/c/io.containerd.runtime.v2.task/{namespace}/1"))
        };
        let facts = |spec: &Value, bundle: &Path| engine_facts(spec, bundle, "1", now()).unwrap();
        let digest = "a".repeat(64);
        let of_containerd = json!({"process": {"args": ["/pause"]}, "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.image-name": format!("registry.example/a@sha256:{digest}"),
            "io.kubernetes.cri.container-name": "a",
        }});
        let found = facts(&of_containerd, &task("k8s.io"));
        assert!(found.kubernetes && found.image.unwrap().starts_with("registry.example/a@"));
        assert_eq!((found.name.as_deref(), found.image_digests.len()), (Some("a"), 0));
        assert_eq!(found.asked_digests.len(), 1);
        let of_crio = json!({"process": {"args": ["/pause"]}, "annotations": {
            "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.ImageRef": digest,
            "io.kubernetes.cri-o.ImageName": "pause:3", "io.kubernetes.cri-o.Name": "p"}});
        let crio = Path::new("/run/containers/storage/none-containers/1/userdata");
        let found = facts(&of_crio, crio);
        assert_eq!((found.kind, found.image.as_deref()), (ContainerKind::Sandbox, Some("pause:3")));
        // CRI-O's store knows better, of a sandbox too.
        let store = tempfile::tempdir().unwrap();
        let root = store.path().join("lasting/vfs/dir/l1");
        let list = store.path().join("lasting/vfs-containers");
        let bundle = store.path().join("run/vfs-containers/1/userdata");
        for path in [&root, &list, &bundle] {
            std::fs::create_dir_all(path).unwrap();
        }
        let said = json!({"image-name": "real:1", "metadata-name": "web", "name": "k8s_web_0"});
        let image = "b".repeat(64);
        let entry =
            json!([{"id": "1", "layer": "l1", "image": image, "metadata": said.to_string()}]);
        std::fs::write(list.join("volatile-containers.json"), entry.to_string()).unwrap();
        let mut spec = of_crio.clone();
        spec["root"] = json!({ "path": root });
        let found = facts(&spec, &bundle);
        assert_eq!((found.image.as_deref(), found.name.as_deref()), (Some("real:1"), Some("web")));
        assert_eq!(found.image_digests, [format!("sha256:{image}")]);
        let folder = list.parent().unwrap().to_str().unwrap().to_string();
        assert!(found.engine_folders.contains(&folder), "{:?}", found.engine_folders);
        // One who may write annotations is not taken for Kubernetes.
        let store = tempfile::tempdir().unwrap();
        let podman = store.path().join("vfs-containers/1/userdata");
        for path in [&podman, &store.path().join("vfs-images")] {
            std::fs::create_dir_all(path).unwrap();
        }
        for bundle in [task("moby"), task("default"), podman, "/b".into()] {
            for spec in [&of_crio, &of_containerd] {
                let found = facts(spec, &bundle);
                assert_eq!(
                    (found.kind, found.name, found.image, found.image_digests.len()),
                    (ContainerKind::Workload, None, None, 0),
                    "{}",
                    bundle.display()
                );
                assert!(!found.kubernetes && found.labels.len() >= 3);
            }
        }
        // What runs a program of somebody's is no sandbox.
        for arguments in [json!(["/bin/sh"]), json!(["/pause", "-x"]), json!([]), json!(null)] {
            let mut spec = of_crio.clone();
            spec["process"]["args"] = arguments;
            assert_eq!(facts(&spec, crio).kind, ContainerKind::Workload);
        }
        // Of the other plugin's keys none counts, wherever they came from: a pod's author has CRI-O
        // write all but its own, and containerd those that its settings name.
        let mut both = of_crio.clone();
        for (key, value) in of_containerd["annotations"].as_object().unwrap() {
            both["annotations"][key] = value.clone();
        }
        both["annotations"]["io.kubernetes.cri-o.ContainerType"] = json!("container");
        both["annotations"]["io.kubernetes.cri.container-type"] = json!("sandbox");
        let found = facts(&both, crio);
        assert_eq!(
            (found.kind, found.image.as_deref()),
            (ContainerKind::Workload, Some("pause:3"))
        );
        assert_eq!((found.name.as_deref(), found.asked_digests.len()), (Some("p"), 0));
        assert_eq!(found.image_digests.len(), 1);
        let found = facts(&both, &task("k8s.io"));
        assert_eq!((found.kind, found.name.as_deref()), (ContainerKind::Sandbox, Some("a")));
        assert_eq!((found.image, found.image_digests.len()), (None, 0));
        assert!(found.asked_digests.is_empty(), "containerd names no image of a sandbox");
        both["annotations"]["io.kubernetes.cri-o.ContainerType"] = json!("sandbox");
        both["annotations"]["io.kubernetes.cri.container-type"] = json!("container");
        assert_eq!(facts(&both, crio).kind, ContainerKind::Sandbox);
        let found = facts(&both, &task("k8s.io"));
        assert_eq!((found.kind, found.image_digests.len()), (ContainerKind::Workload, 0));
        assert!(found.image.unwrap().starts_with("registry.example/a@"));
        let nerdctl = json!({"annotations": {"nerdctl/name": "n", "nerdctl/image-name": "i"}});
        let found = facts(&nerdctl, &task("default"));
        assert_eq!((found.name.as_deref(), found.image.as_deref()), (Some("n"), Some("i")));
    }

    #[test]
    fn modes_of_profiles_are_those_of_the_kernels_list() {
        let list =
            "docker-default (enforce)\n/usr/bin/man (a) (complain)\nchrome (unconfined)\nx\n";
        for (name, mode) in [
            ("docker-default", Some("enforce")),
            ("/usr/bin/man (a)", Some("complain")),
            ("chrome", Some("unconfined")),
            ("docker", None),
            ("x", None),
        ] {
            assert_eq!(mode_in(list, name), mode, "{name}");
        }
    }

    /// Whose a root is: what the engine made, what somebody named, what is laid over that.
    #[test]
    fn roots_that_somebody_named_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let bundle = make("store/vfs-containers/1/userdata");
        let entry = json!([{"id": "1", "layer": "abc", "image": ""}]);
        std::fs::write(
            folder.path().join("store/vfs-containers/containers.json"),
            entry.to_string(),
        )
        .unwrap();
        let of = |root: &Path| {
            let spec = json!({ "root": { "path": root } });
            engine_facts(&spec, &bundle, "1", now()).unwrap().root
        };
        assert_eq!(of(&make("store/vfs/dir/abc")), Root::Engines);
        assert_eq!(of(&make("store/vfs/dir/other")), Root::Named);
        assert_eq!(of(&make("mine/abc")), Root::Named);
        std::os::unix::fs::symlink("/usr", folder.path().join("abc")).unwrap();
        assert_eq!(of(&folder.path().join("abc")), Root::Named);
        assert_eq!(
            of(&make("store/vfs-containers/1/userdata/overlay/1/merge")),
            Root::Over(vec![])
        );
        let task = make("run/io.containerd.runtime.v2.task/default/1");
        let of_containerd =
            |root: &str| engine_facts(&json!({"root": {"path": root}}), &task, "1", now()).unwrap();
        assert_eq!(of_containerd("rootfs").root, Root::Engines);
        assert_eq!(of_containerd("/usr").root, Root::Named);
        assert_eq!(of_containerd(".").root, Root::Named);
        assert_eq!(of_containerd("../../../../mine").root, Root::Named);
    }

    /// Of what lies where overlays are laid and is none the folders are not known.
    #[test]
    fn overlays_that_engines_have_laid_are_known_by_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let bind = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            json!({"type": "bind", "source": path, "destination": "/x"})
        };
        let laid = bind("vfs-containers/1/userdata/overlay/2/merge");
        let spec = json!({"mounts": [
            laid, bind("srv/userdata/overlay/2/merge"), bind("vfs-containers/1/userdata/shm")]});
        let facts = engine_facts(&spec, folder.path(), "1", now()).unwrap();
        let named = laid["source"].as_str().unwrap().to_string();
        assert_eq!(facts.overlays, BTreeMap::from([(named, Vec::new())]));
    }

    #[test]
    fn namespaces_of_the_host_and_links_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        let link = folder.path().join("link").display().to_string();
        // Relative ones are looked for from the bundle.
        std::os::unix::fs::symlink("/proc/self/ns/ipc", folder.path().join("ipc")).unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("socket")).unwrap();
        let spec = json!({
            "linux": {"namespaces": [
                {"type": "network", "path": "/proc/self/ns/net"},
                {"type": "pid", "path": "/nowhere"}, {"type": "uts"},
                {"type": "ipc", "path": "ipc"}, {"type": "cgroup", "path": "other"},
                {"type": "future", "path": "/nowhere"}]},
            "mounts": [{"type": "bind", "source": link, "destination": "/x"},
                       {"type": "bind", "source": "socket", "destination": "/s"},
                       {"type": "none", "source": "link", "options": ["rbind"]},
                       {"type": "tmpfs", "source": "tmpfs"}],
        });
        let facts = engine_facts(&spec, folder.path(), "1", now()).unwrap();
        assert_eq!(facts.host_namespaces, ["network", "pid", "ipc"]);
        assert_eq!(facts.sources.get(&link).map(String::as_str), Some("/etc"));
        assert_eq!(facts.sources.get("link").map(String::as_str), Some("/etc"));
        assert_eq!(facts.sockets.iter().map(String::as_str).collect::<Vec<_>>(), ["socket"]);
        let many = json!({"mounts": vec![json!({}); MOUNTS_MAX + 1]});
        assert!(engine_facts(&many, folder.path(), "1", now()).is_err());
    }
}

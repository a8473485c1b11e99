//! Which engine keeps a container: by the folder of its bundle, which the engine chooses and its
//! user does not.
//!
//! The root file system is no witness, for `podman run --rootfs` names any folder, and whoever
//! may write beside it could put records there. Annotations are none either: Podman, nerdctl and
//! Docker since 25 take them from their users.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::identity::{is_id, read_json};

/// Folders of bundles of containerd's shims.
const TASKS: [&str; 2] = ["io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"];
/// containerd's namespace of its Kubernetes plugin.
const KUBERNETES: &str = "k8s.io";
/// Folders above a root file system in which Docker's own folder is looked for.
const ANCESTORS_MAX: usize = 6;
/// Files of a store of Podman's and CRI-O's that list containers: of `--rm` and of older stores
/// they are in one of two.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// A plugin through which a kubelet makes containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plugin {
    /// containerd's own, which writes `io.kubernetes.cri.*`.
    Containerd,
    /// CRI-O, which writes `io.kubernetes.cri-o.*`.
    Crio,
}

/// A container in a store of Podman's or CRI-O's (containers/storage).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    /// The store's folder of containers.
    pub(super) containers: PathBuf,
    /// What it says of this one.
    pub(super) entry: Value,
}

/// Who keeps a container.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Keeper {
    /// Docker, whose files of the container are in this folder.
    Docker(PathBuf),
    /// Podman.
    Podman {
        /// The folder of its containers.
        containers: PathBuf,
        /// What its store says of this one.
        entry: Option<Value>,
    },
    /// A kubelet's plugin. Only what this one writes is its word: each hands on annotations of a
    /// pod's author, among which may be those that the other would write.
    Kubernetes {
        /// Which one.
        plugin: Plugin,
        /// What it keeps of running containers here.
        state: PathBuf,
        /// What CRI-O's store says of this one, where it is found.
        stored: Option<Stored>,
    },
    /// containerd, for another client.
    Containerd,
    /// BuildKit or Buildah, for a step of a build.
    Builder,
    /// Nobody that is known here.
    Nobody,
}

impl Keeper {
    /// Who keeps the container `id` with this spec in `bundle`.
    pub(super) fn of(spec: &Value, bundle: &Path, id: &str) -> Self {
        if !is_id(id) {
            return Self::Nobody;
        }
        let real = std::fs::canonicalize(bundle);
        let bundle = real.as_deref().unwrap_or(bundle);
        if is_build(bundle, id) {
            return Self::Builder;
        }
        let root = bundle.join(root_of(spec));
        if let Some(containers) = podman_folder(bundle, id) {
            return in_store(containers, &root, id);
        }
        match namespace_of(bundle, id) {
            Some(KUBERNETES) => Self::Kubernetes {
                plugin: Plugin::Containerd,
                state: bundle.ancestors().nth(3).unwrap_or(bundle).to_path_buf(),
                stored: None,
            },
            Some(_) => docker_folder(&root, id).map_or(Self::Containerd, Self::Docker),
            None => Self::Nobody,
        }
    }
}

/// The root file system as a spec names it.
pub(super) fn root_of(spec: &Value) -> &str {
    spec.pointer("/root/path").and_then(Value::as_str).unwrap_or("rootfs")
}

/// containerd's namespace of a bundle, which is `…/TASKS/NAMESPACE/ID`.
pub(super) fn namespace_of<'b>(bundle: &'b Path, id: &str) -> Option<&'b str> {
    bundle.file_name().filter(|name| *name == id)?;
    let namespace = bundle.parent()?;
    let tasks = namespace.parent()?.file_name()?;
    TASKS.iter().any(|known| tasks == *known).then(|| namespace.file_name()?.to_str()).flatten()
}

/// Podman keeps bundles where its images are, CRI-O where it keeps what ends with the machine.
fn in_store(containers: &Path, root: &Path, id: &str) -> Keeper {
    let entry = podman_entry(containers, id);
    let driver = || containers.file_name()?.to_str()?.strip_suffix("-containers");
    let images = || Some(containers.with_file_name(format!("{}-images", driver()?)).exists());
    let has_list = || LISTS.iter().any(|name| containers.join(name).exists());
    if entry.is_none() && images() == Some(false) && !has_list() {
        let state = containers.parent().unwrap_or(containers).to_path_buf();
        let stored = driver().and_then(|driver| stored_at(root, driver, id));
        return Keeper::Kubernetes { plugin: Plugin::Crio, state, stored };
    }
    Keeper::Podman { containers: containers.to_path_buf(), entry }
}

/// The container `id` in the store in which the root file system lies: CRI-O mounts it there
/// itself, and nobody can name it another.
fn stored_at(root: &Path, driver: &str, id: &str) -> Option<Stored> {
    let root = std::fs::canonicalize(root).ok()?;
    let mut folders = root.ancestors().skip(1).take(ANCESTORS_MAX);
    let folder = folders.find(|folder| folder.file_name().is_some_and(|name| name == driver))?;
    let containers = folder.with_file_name(format!("{driver}-containers"));
    let entry = podman_entry(&containers, id)?;
    let layer = entry.get("layer")?.as_str()?;
    root.iter().any(|part| part == layer).then_some(Stored { containers, entry })
}

/// The folder with Docker's own files of a container, which lies where its root file system
/// lies, too.
fn docker_folder(root: &Path, id: &str) -> Option<PathBuf> {
    root.ancestors()
        .skip(1)
        .take(ANCESTORS_MAX)
        .map(|ancestor| ancestor.join("containers").join(id))
        .find(|folder| folder.join("config.v2.json").is_file())
}

/// The store's folder of containers, in which the bundle is `ID/userdata`.
fn podman_folder<'b>(bundle: &'b Path, id: &str) -> Option<&'b Path> {
    let is_userdata = bundle.file_name().is_some_and(|name| name == "userdata");
    let folder = bundle.parent().filter(|_| is_userdata)?;
    folder.file_name().filter(|name| *name == id)?;
    folder.parent()
}

/// What the store says of one container.
fn podman_entry(containers: &Path, id: &str) -> Option<Value> {
    LISTS.iter().find_map(|name| {
        let list = read_json(&containers.join(name))?;
        let is_it = |entry: &&Value| entry.get("id").and_then(Value::as_str) == Some(id);
        list.as_array()?.iter().find(is_it).cloned()
    })
}

/// A text of the metadata that Podman puts into its store.
pub(super) fn podman_text(entry: &Value, key: &str) -> Option<String> {
    let metadata = entry.get("metadata").and_then(Value::as_str);
    let metadata: Value = metadata.and_then(|text| serde_json::from_str(text).ok())?;
    let value = metadata.get(key)?.as_str()?;
    Some(value.to_string()).filter(|value| !value.is_empty())
}

/// BuildKit's executor and Buildah make bundles in folders of their own, and name containers
/// after them.
fn is_build(bundle: &Path, id: &str) -> bool {
    let names: Vec<_> = bundle.iter().map(|part| part.to_string_lossy()).collect();
    let [before @ .., above, last] = names.as_slice() else { return false };
    let is_buildkit =
        above == "executor" && last == id && before.iter().any(|name| name == "buildkit");
    let is_buildah =
        last.starts_with("buildah") && id.strip_prefix("buildah-") == Some(last.as_ref());
    is_buildkit || is_buildah
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn builders_are_known_by_their_bundles() {
        let check = |bundle: &str, id: &str, expected: bool| {
            assert_eq!(is_build(Path::new(bundle), id), expected, "{bundle}");
        };
        check("/var/lib/docker/buildkit/executor/x1", "x1", true);
        check("/var/lib/buildkit/runc-overlayfs/executor/x1", "x1", true);
        check("/var/lib/buildkit/executor/x1", "x1", true);
        check("/var/tmp/buildah123", "buildah-buildah123", true);
        check("/run/containerd/io.containerd.runtime.v2.task/moby/0123", "0123", false);
        check("/var/tmp/buildah123", "0123", false);
        check("/srv/executor/x1", "x1", false);
        // Whoever names a container names the last folder alone.
        check("/run/c/io.containerd.runtime.v2.task/default/buildah-x", "buildah-x", false);
        check("/srv/buildkit/executor/other/x1", "x1", false);
    }

    /// What anybody may write beside a root file system of his own is nobody's record.
    #[test]
    fn the_bundle_tells_who_keeps_a_container() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let make = |name: &str| {
            std::fs::create_dir_all(at(name)).unwrap();
            at(name)
        };
        let root = make("data/vfs/dir/0");
        std::fs::write(make("data/containers/c1").join("config.v2.json"), "{}").unwrap();
        let spec = json!({ "root": { "path": root } });
        let check = |bundle: &Path, expected: &Keeper| {
            assert_eq!(Keeper::of(&spec, bundle, "c1"), *expected, "{}", bundle.display());
        };
        let docker = Keeper::Docker(at("data/containers/c1"));
        check(&make("run/io.containerd.runtime.v2.task/moby/c1"), &docker);
        check(&make("run/io.containerd.runtime.v1.linux/moby/c1"), &docker);
        let kubernetes =
            |plugin, name: &str| Keeper::Kubernetes { plugin, state: at(name), stored: None };
        let task = make("run/io.containerd.runtime.v2.task/k8s.io/c1");
        check(&task, &kubernetes(Plugin::Containerd, "run"));
        check(&make("run/io.containerd.runtime.v2.task/moby/c2"), &Keeper::Nobody);
        check(&make("somewhere/moby/c1"), &Keeper::Nobody);
        let crio = make("cri-o/overlay-containers/c1/userdata");
        check(&crio, &kubernetes(Plugin::Crio, "cri-o"));
        let podman = make("store/overlay-containers/c1/userdata");
        let containers = at("store/overlay-containers");
        let kept = |entry| Keeper::Podman { containers: containers.clone(), entry };
        make("store/overlay-images");
        check(&podman, &kept(None));
        let entry = json!({"id": "c1", "image": ""});
        std::fs::write(containers.join("volatile-containers.json"), json!([entry]).to_string())
            .unwrap();
        check(&podman, &kept(Some(entry)));
        std::fs::remove_dir(at("store/overlay-images")).unwrap();
        std::fs::write(containers.join("volatile-containers.json"), "[]").unwrap();
        check(&podman, &kept(None));
        // CRI-O's store is where it mounts the root, if that is the layer of the container.
        let list = make("lasting/overlay-containers").join("volatile-containers.json");
        let entry = json!({"id": "c1", "image": "", "layer": "l1"});
        std::fs::write(list, json!([entry]).to_string()).unwrap();
        let in_crio = |root: PathBuf| Keeper::of(&json!({ "root": { "path": root } }), &crio, "c1");
        let stored = Some(Stored { containers: at("lasting/overlay-containers"), entry });
        let known = Keeper::Kubernetes { plugin: Plugin::Crio, state: at("cri-o"), stored };
        assert_eq!(in_crio(make("lasting/overlay/l1/merged")), known);
        for root in
            ["lasting/overlay/l2/merged", "lasting/vfs/dir/l1", "elsewhere/overlay/l1/merged"]
        {
            assert_eq!(in_crio(make(root)), kubernetes(Plugin::Crio, "cri-o"), "{root}");
        }
        let none = json!({});
        let task = at("run/io.containerd.runtime.v2.task/moby/c1");
        assert_eq!(Keeper::of(&none, &task, "c1"), Keeper::Containerd);
        assert_eq!(Keeper::of(&spec, &task, "../c1"), Keeper::Nobody);
    }
}

//! Which image a container is made of: what its engine's own records say of it.
//!
//! Annotations are believed of Kubernetes' plugins alone: whoever starts a container with
//! another engine may write what they like into them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_model::Reference;
use serde_json::Value;

use super::identity::{is_id, read_json};
use super::keeper::{Keeper, Plugin, namespace_of, podman_text, root_of};

/// Names of one image, and places with its signatures, that are tried.
const NAMES_MAX: usize = 8;
/// Where containerd keeps its store, unless its mounts say otherwise.
const CONTAINERD: &str = "/var/lib/containerd";
/// Bytes of the list of mounts that are read.
const MOUNTS_BYTES_MAX: u64 = 4 << 20;

/// The image of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// Digests by which the engine knows it: of its index, its manifest or its configuration.
    pub(super) digests: Vec<Digest>,
    /// What it is called, as rules of policies call images.
    pub(super) names: Vec<String>,
    /// The same images where they came from, by digest, as far as the engine remembers it.
    pub(super) places: Vec<String>,
}

/// The image of the container `id` with this spec in `bundle`.
pub(super) fn origin(spec: &Value, bundle: &Path, id: &str) -> Origin {
    let containerd = || containerd(bundle, id, &bundle.join(root_of(spec)));
    match Keeper::of(spec, bundle, id) {
        Keeper::Docker(folder) => docker(&folder).unwrap_or_default(),
        Keeper::Podman { containers, entry: Some(entry) } => {
            podman(&containers, &entry).unwrap_or_default()
        }
        Keeper::Kubernetes { plugin: Plugin::Crio, stored, .. } => stored
            .and_then(|stored| podman(&stored.containers, &stored.entry))
            .unwrap_or_else(|| annotated(spec, Plugin::Crio)),
        Keeper::Kubernetes { plugin, .. } => {
            containerd().unwrap_or_else(|| annotated(spec, plugin))
        }
        Keeper::Containerd => containerd().unwrap_or_default(),
        Keeper::Podman { entry: None, .. } | Keeper::Builder | Keeper::Nobody => Origin::default(),
    }
}

impl Origin {
    fn add(&mut self, name: &str, digests: &[Digest]) {
        // An id, whole or in part, is no name.
        let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        let bare = name.strip_prefix("sha256:").unwrap_or(name);
        if name.is_empty() || (is_hex(bare) && bare.len() >= 12) {
            return;
        }
        let Ok(reference) = name.parse::<Reference>() else { return };
        let whole = reference.to_string();
        if self.names.len() < NAMES_MAX && !self.names.contains(&whole) {
            self.names.push(whole);
        }
        for digest in digests {
            let place = reference.with_digest(*digest).to_string();
            if self.places.len() < NAMES_MAX && !self.places.contains(&place) {
                self.places.push(place);
            }
        }
    }
}

fn digest(text: &str) -> Option<Digest> {
    let text = text.rsplit('@').next().unwrap_or(text);
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    format!("sha256:{hex}").parse().ok()
}

/// A container of Docker's, whose files are in `folder`.
fn docker(folder: &Path) -> Option<Origin> {
    let config = read_json(&folder.join("config.v2.json"))?;
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut found = Origin::default();
    found
        .digests
        .extend([text("/Image"), text("/ImageManifest/digest")].into_iter().filter_map(digest));
    let image = found.digests.first()?.to_string();
    // Docker's list of names, of the older store of images; the newer one knows images by
    // the digests that registries know.
    let driver = Some(text("/Driver")).filter(|driver| is_id(driver)).unwrap_or("overlay2");
    let data = folder.ancestors().nth(2)?;
    let list = read_json(&data.join("image").join(driver).join("repositories.json"));
    let all = list.as_ref().and_then(|list| list.get("Repositories")?.as_object());
    let named: Vec<&String> = all
        .into_iter()
        .flat_map(|all| all.values().filter_map(Value::as_object).flatten())
        .filter(|(_, id)| id.as_str() == Some(&image))
        .map(|(name, _)| name)
        .collect();
    let at: Vec<Digest> = if list.is_some() {
        named.iter().filter(|name| name.contains('@')).filter_map(|name| digest(name)).collect()
    } else {
        found.digests.clone()
    };
    found.add(text("/Config/Image"), &at);
    if found.names.is_empty() {
        for name in named {
            found.add(name, &at);
        }
    }
    Some(found)
}

/// A container of Podman's or CRI-O's store.
fn podman(containers: &Path, entry: &Value) -> Option<Origin> {
    let image = entry.get("image").and_then(Value::as_str)?;
    let mut found = Origin::default();
    found.digests.extend(digest(image));
    // `overlay-containers` is beside `overlay-images`.
    let driver = containers.file_name()?.to_str()?.strip_suffix("-containers")?;
    let list = containers.with_file_name(format!("{driver}-images")).join("images.json");
    let list = read_json(&list);
    let stored = list.as_ref().and_then(Value::as_array).and_then(|list| {
        list.iter().find(|it| it.get("id").and_then(Value::as_str) == Some(image))
    });
    let mut at: BTreeSet<Digest> = BTreeSet::new();
    let mut names = Vec::new();
    if let Some(stored) = stored {
        at.extend(stored.get("digest").and_then(Value::as_str).and_then(digest));
        // The manifest, and the index in which it was found.
        let data = stored.get("big-data-digests").and_then(Value::as_object);
        let keys = data.into_iter().flat_map(|data| data.keys());
        at.extend(keys.filter_map(|key| digest(key.strip_prefix("manifest-")?)));
        let list = stored.get("names").and_then(Value::as_array).into_iter().flatten();
        names.extend(list.filter_map(Value::as_str));
    }
    let at: Vec<Digest> = at.into_iter().collect();
    found.digests.extend(&at);
    found.add(&podman_text(entry, "image-name").unwrap_or_default(), &at);
    if found.names.is_empty() {
        for name in names {
            found.add(name, &at);
        }
    }
    Some(found)
}

/// A container of containerd's.
fn containerd(bundle: &Path, id: &str, root: &Path) -> Option<Origin> {
    let bundle = std::fs::canonicalize(bundle).ok()?;
    let namespace = namespace_of(&bundle, id)?;
    let store = store_of(root).unwrap_or_else(|| CONTAINERD.into());
    let (name, target) = palisade_image::containerd_image_of(&store, namespace, id).ok()??;
    let mut found = Origin { digests: vec![target], ..Origin::default() };
    found.add(&name, &[target]);
    Some(found)
}

/// What is mounted here (`proc_pid_mountinfo(5)`), and where `root` really is.
fn mounts(root: &Path) -> Option<(String, PathBuf)> {
    let file = std::fs::File::open("/proc/self/mountinfo").ok()?;
    let bytes = palisade_base::read_bounded(file, "list of mounts", MOUNTS_BYTES_MAX).ok()?;
    Some((String::from_utf8_lossy(&bytes).into_owned(), std::fs::canonicalize(root).ok()?))
}

/// The mount at `root` that is on top.
fn mount_at<'m>(mounts: &'m str, root: &str) -> Option<&'m str> {
    mounts.lines().rfind(|line| line.split(' ').nth(4).is_some_and(|at| unescaped(at) == root))
}

/// containerd's store, by where the mount at `root` has its files from.
pub(super) fn store_of(root: &Path) -> Option<PathBuf> {
    let (mounts, root) = mounts(root)?;
    store_in(&mounts, root.to_str()?)
}

fn store_in(mounts: &str, root: &str) -> Option<PathBuf> {
    let line = mount_at(mounts, root)?;
    let at = line.find("/io.containerd.snapshotter.")?;
    let before = line.get(..at)?;
    let start = before.rfind([' ', ',', '=', ':'])? + 1;
    let path = before.get(start..)?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// The folders of which the overlay at `root` is made, and whether what is written goes there.
/// `None`: there is none, or one of them does not stand there whole.
pub(super) fn made_of(root: &Path) -> Option<Vec<(PathBuf, bool)>> {
    let (mounts, root) = mounts(root)?;
    folders_in(&mounts, root.to_str()?)
}

/// The folders over which it is laid.
pub(super) fn laid_over(root: &Path) -> Option<Vec<PathBuf>> {
    let all = made_of(root)?.into_iter();
    Some(all.filter(|(_, writes)| !writes).map(|(path, _)| path).collect())
}

fn folders_in(mounts: &str, root: &str) -> Option<Vec<(PathBuf, bool)>> {
    let (_, source) = mount_at(mounts, root)?.split_once(" - ")?;
    let mut fields = source.split(' ');
    if fields.next() != Some("overlay") {
        return None;
    }
    let mut folders = Vec::new();
    for (key, value) in fields.nth(1)?.split(',').filter_map(|it| it.split_once('=')) {
        match key {
            "lowerdir" => folders.extend(value.split(':').map(|path| (path, false))),
            // Each names one folder; a colon is part of its name.
            "lowerdir+" | "datadir+" => folders.push((value, false)),
            "upperdir" | "workdir" => folders.push((value, true)),
            _ => {}
        }
    }
    let whole = |(path, writes): (&str, bool)| {
        // What the kernel was given, which drops a backslash and takes what follows for part of
        // a name, a colon as well.
        let path = unescaped(path);
        (path.starts_with('/') && !path.contains('\\')).then(|| (PathBuf::from(path), writes))
    };
    folders.into_iter().filter(|(path, _)| !path.is_empty()).map(whole).collect()
}

/// A path without the escapes by which it is written there: `\\040` for a space.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(b'\\'));
        out.extend_from_slice(&part.as_bytes()[if code.is_some() { 3 } else { 0 }..]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a plugin of Kubernetes says, by the keys that this one writes: others are whose they are.
fn annotated(spec: &Value, plugin: Plugin) -> Origin {
    let text = |key: &str| {
        let all = spec.pointer("/annotations").and_then(Value::as_object)?;
        all.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let (digests, name) = match plugin {
        Plugin::Containerd => {
            (&["io.kubernetes.cri.image-name"][..], "io.kubernetes.cri.image-name")
        }
        Plugin::Crio => (
            &["io.kubernetes.cri-o.ImageRef", "io.kubernetes.cri-o.Image"][..],
            "io.kubernetes.cri-o.ImageName",
        ),
    };
    let mut found = Origin::default();
    found.digests.extend(digests.iter().filter_map(|key| digest(text(key)?)));
    if let Some(name) = text(name) {
        let at: Vec<Digest> =
            name.contains('@').then(|| digest(name)).flatten().into_iter().collect();
        found.add(name, &at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(path: &Path, value: &Value) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    }

    #[test]
    fn docker_knows_images_by_id_and_by_what_it_pulled() {
        let data = tempfile::tempdir().unwrap();
        let root = data.path().join("overlay2/f/merged");
        std::fs::create_dir_all(&root).unwrap();
        let bundle = Path::new("/run/io.containerd.runtime.v2.task/moby/c1");
        let (image, pulled) = (Digest::of(b"image"), Digest::of(b"index"));
        let config = data.path().join("containers/c1/config.v2.json");
        let list = data.path().join("image/overlay2/repositories.json");
        let (tag, at) = ("r.example/shop:1", format!("r.example/shop@{pulled}"));
        write(
            &list,
            &json!({"Repositories": {"r.example/shop": {tag: image, at.clone(): image},
            "box": {"box:latest": Digest::of(b"other")}}}),
        );
        // Nobody's word but Docker's.
        let spec = json!({"root": {"path": root}, "annotations": {
            "io.kubernetes.cri.image-name": format!("good.example/x@{}", Digest::of(b"good"))}});
        let check = |called: &str, names: &[&str], places: &[&str]| {
            write(
                &config,
                &json!({"Image": image, "Driver": "overlay2", "Config": {"Image": called}}),
            );
            let found = origin(&spec, bundle, "c1");
            assert_eq!(found.digests, [image]);
            assert_eq!(
                (found.names, found.places),
                (
                    names.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    places.iter().map(ToString::to_string).collect::<Vec<_>>(),
                ),
                "{called}"
            );
        };
        let place =
            "r.example/shop:1".parse::<Reference>().unwrap().with_digest(pulled).to_string();
        check("r.example/shop:1", &[tag], &[&place]);
        // By its id: by whatever it is called.
        let found = {
            write(
                &config,
                &json!({"Image": image, "Driver": "overlay2", "Config": {"Image": image}}),
            );
            origin(&spec, bundle, "c1")
        };
        assert!(found.names.iter().any(|name| name == tag), "{found:?}");
        write(&config, &json!({"Config": {"Image": "r.example/shop:1"}}));
        assert_eq!(origin(&spec, bundle, "c1"), Origin::default());
        // Under a root that somebody named, with a bundle of Podman's, it is nobody's record.
        write(&config, &json!({"Image": image, "Config": {"Image": "r.example/shop:1"}}));
        let store = tempfile::tempdir().unwrap();
        let theirs = store.path().join("vfs-containers/c1/userdata");
        for path in [&theirs, &store.path().join("vfs-images")] {
            std::fs::create_dir_all(path).unwrap();
        }
        assert_eq!(origin(&spec, &theirs, "c1"), Origin::default());
    }

    #[test]
    fn podman_knows_manifest_and_index() {
        let store = tempfile::tempdir().unwrap();
        let bundle = store.path().join("vfs-containers/c1/userdata");
        std::fs::create_dir_all(&bundle).unwrap();
        let (image, one, two) =
            (Digest::of(b"config"), Digest::of(b"manifest"), Digest::of(b"index"));
        let metadata = json!({"image-name": "r.example/shop:1", "name": "web"}).to_string();
        write(
            &store.path().join("vfs-containers/containers.json"),
            &json!([{"id": "c1", "image": image.hex(), "metadata": metadata}]),
        );
        let data = json!({format!("manifest-{two}"): two, "manifest": one, "signatures-x": one});
        write(
            &store.path().join("vfs-images/images.json"),
            &json!([
            {"id": image.hex(), "digest": one, "names": ["r.example/shop:1"], "big-data-digests": data}]),
        );
        let spec = json!({"annotations": {"io.kubernetes.cri-o.ImageRef": Digest::of(b"good")}});
        let found = origin(&spec, &bundle, "c1");
        let expected: BTreeSet<_> = [image, one, two].into();
        assert_eq!(found.digests.iter().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!(found.names, ["r.example/shop:1"]);
        assert_eq!(found.places.len(), 2);
    }

    #[test]
    fn of_kubernetes_annotations_tell_where_there_are_no_records() {
        let good = Digest::of(b"good");
        let name = format!("r.example/shop:1@{good}");
        let crio = Path::new("/run/nowhere/overlay-containers/c1/userdata");
        let task = Path::new("/run/nowhere/io.containerd.runtime.v2.task/k8s.io/c1");
        let of_containerd = json!({"annotations": {"io.kubernetes.cri.image-name": name}});
        let found = origin(&of_containerd, task, "c1");
        assert_eq!((found.digests, found.names.len()), (vec![good], 1));
        let of_crio = json!({"annotations": {"io.kubernetes.cri-o.ImageRef": good.hex(),
            "io.kubernetes.cri-o.ImageName": "r.example/shop:1"}});
        let found = origin(&of_crio, crio, "c1");
        assert_eq!(
            (found.digests, found.names),
            (vec![good], vec!["r.example/shop:1".to_string()])
        );
        // Of the other plugin's keys none counts.
        assert_eq!(origin(&of_containerd, crio, "c1"), Origin::default());
        assert_eq!(origin(&of_crio, task, "c1"), Origin::default());
        let bad = Digest::of(b"bad");
        let mut both = of_crio.clone();
        both["annotations"]["io.kubernetes.cri.image-name"] = json!(format!("good/x@{bad}"));
        let found = origin(&both, crio, "c1");
        assert_eq!(
            (found.digests, found.names),
            (vec![good], vec!["r.example/shop:1".to_string()])
        );
        let mut both = of_containerd.clone();
        both["annotations"]["io.kubernetes.cri-o.ImageRef"] = json!(bad.hex());
        both["annotations"]["io.kubernetes.cri-o.ImageName"] = json!("good/x:1");
        let found = origin(&both, task, "c1");
        assert_eq!((found.digests, found.names.len()), (vec![good], 1));
        for spec in [&of_containerd, &of_crio] {
            assert_eq!(origin(spec, task, "../c1"), Origin::default());
            for bundle in ["/b", "/run/nowhere/io.containerd.runtime.v2.task/moby/c1"] {
                assert_eq!(origin(spec, Path::new(bundle), "c1"), Origin::default(), "{bundle}");
            }
        }
        assert_eq!(origin(&json!({}), crio, "c1"), Origin::default());
    }

    #[test]
    fn containerds_store_is_where_its_mounts_are_from() {
        let line = |mount: &str, options: &str| {
            format!("36 35 98:0 / {mount} rw - overlay overlay {options}\n")
        };
        let ours = "rw,lowerdir=/srv/c/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs:/x";
        let mounts = line("/other", "rw,lowerdir=/y/io.containerd.snapshotter.v1.overlayfs/1")
            + &line("/run/b/rootfs", ours);
        let found = store_in(&mounts, "/run/b/rootfs");
        assert_eq!(found.as_deref(), Some(Path::new("/srv/c")));
        assert_eq!(store_in(&mounts, "/run/c/rootfs"), None);
    }

    #[test]
    fn an_overlay_is_laid_over_what_its_mount_says() {
        let line = |kind: &str, options: &str| {
            format!("36 35 0:9 / /s/a\\040b/merge rw - {kind} overlay rw,{options}\n")
        };
        let check = |line: &str, expected: Option<&[(&str, bool)]>| {
            let expected: Option<Vec<(PathBuf, bool)>> =
                expected.map(|list| list.iter().map(|(path, on)| (path.into(), *on)).collect());
            assert_eq!(folders_in(line, "/s/a b/merge"), expected, "{line}");
        };
        check(
            &line("overlay", "lowerdir=/usr,upperdir=/u,workdir=/w"),
            Some(&[("/usr", false), ("/u", true), ("/w", true)]),
        );
        check(&line("overlay", "lowerdir=/a:/b\\040c"), Some(&[("/a", false), ("/b c", false)]));
        check(
            &line("overlay", "lowerdir+=/a,lowerdir+=/b:c"),
            Some(&[("/a", false), ("/b:c", false)]),
        );
        // A comma of a name is written as its number; what the kernel would drop is not guessed.
        check(&line("overlay", "lowerdir=/a\\054b"), Some(&[("/a,b", false)]));
        check(&line("overlay", "lowerdir=/a\\134x:/b"), None);
        check(&line("overlay", "lowerdir=/a\\134:b"), None);
        check(&line("overlay", "lowerdir=/a,upperdir=/\\134etc,workdir=/w"), None);
        check(&line("overlay", "lowerdir=l/ABC:/usr"), None);
        check(&line("fuse.fuse-overlayfs", "lowerdir=/usr"), None);
        check("36 35 0:9 / /other rw - overlay overlay rw,lowerdir=/usr\n", None);
        // The one on top counts.
        let two = line("overlay", "lowerdir=/a") + &line("ext4", "x");
        check(&two, None);
    }
}

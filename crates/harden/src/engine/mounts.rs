//! Mounts: what of the host a container may see.

use palisade_policy::{Allowance, HostPaths};
use serde_json::{Value, json};

use super::{Confine, ContainerKind, Root};
use crate::Malformed;
use crate::controls::{Work, add_tmpfs, restrict_mount};

/// Sockets through which whoever speaks to them is root on the host.
const SOCKETS: [&str; 8] = [
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "podman.sock",
    "buildkitd.sock",
    "dockershim.sock",
    "cri-dockerd.sock",
    "kubelet.sock",
];

/// Folders that are refused whole, as is every folder above them (CIS Docker 5.5 and what
/// engines keep).
const WHOLE: [&str; 18] = [
    "/boot",
    "/dev",
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/proc",
    "/sys",
    "/root",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/kubelet",
    "/var/lib/kubelet/pods",
    "/var/lib/palisade",
    "/etc/palisade",
];

/// These and what is below and above them is not mounted.
const NEVER: [&str; 25] = [
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/root",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/NetworkManager/system-connections",
    "/etc/kubernetes",
    "/etc/palisade",
    "/var/lib/palisade",
    "/run/palisade",
    "/var/lib/kubelet/pki",
    "/var/lib/rancher/k3s/server",
    "/var/lib/rancher/rke2/server",
    "/var/lib/docker/overlay2",
    // Copies of the files with passwords, by Debian.
    "/var/backups",
];

/// These and what is below and above them is not mounted writable: programs and settings of the
/// host, what it executes by the clock, and what its packages are and execute.
const READ_ONLY: [&str; 10] = [
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/var/spool/cron",
    "/var/spool/at",
    "/var/lib/dpkg",
    "/var/lib/rpm",
];

/// Where the host's services have their sockets and what they know of each other: of systemd,
/// D-Bus, udev, libvirt, and of whatever else a host runs.
const RUNNING: [&str; 2] = ["/run", "/var/run"];

/// Folders in which builders answer for the agent of `RUN --mount=type=ssh`.
const AGENTS: [&str; 2] = [".buildkit-ssh-sock", ".buildah-ssh-sock"];

/// Where kubelets keep volumes of pods.
const ENGINES: [&str; 1] = ["/var/lib/kubelet/pods"];

/// Where engines keep images, containers and what they know of them: whoever writes there writes
/// other containers, and the engine's own word about them.
const STORES: [&str; 5] = [
    "/var/lib/docker",
    "/var/lib/containers/storage",
    "/run/containers/storage",
    "/var/lib/containerd",
    "/run/containerd",
];

/// Files beside Podman's and CRI-O's own of a container that are no container's.
const PRIVATE: [&str; 8] =
    ["config.json", "ctl", "attach", "winsz", "oci-log", "artifacts", "exec", "conmon.pid"];

/// Whether a path within a store is what engines make to be mounted: volumes, and files for one
/// container.
fn is_given(within: &str) -> bool {
    match within.split('/').collect::<Vec<_>>().as_slice() {
        ["volumes", _, "_data", ..]
        | ["containers", _, "hosts" | "hostname" | "resolv.conf"]
        | ["containers", _, "mounts", _, ..]
        | ["plugins", _, "propagated-mount", ..]
        | ["io.containerd.grpc.v1.cri" | "io.containerd.cri.v1.runtime", _, ..] => true,
        [folder, _, "userdata", file, ..] => {
            folder.ends_with("-containers") && !PRIVATE.contains(file)
        }
        _ => false,
    }
}

/// The same of a path in any store.
fn is_given_somewhere(path: &str) -> bool {
    path.match_indices('/').filter_map(|(at, _)| path.get(at + 1..)).any(is_given)
}

/// Whether a path is a builder's own socket for the agent of who builds.
fn is_agent(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    parts.next() == Some("ssh_auth_sock")
        && parts.next().is_some_and(|folder| AGENTS.iter().any(|name| folder.starts_with(name)))
}

/// Whether a path within a store is a root file system, of an image or of a container.
fn is_layer(within: &str) -> bool {
    matches!(
        within.split('/').collect::<Vec<_>>().as_slice(),
        [_, _, "merged" | "diff"] | ["vfs", "dir", _]
    )
}

/// Whether a path within a store is a root file system that is no overlay: snapshots of containerd
/// (also the only layer of an overlay), subvolumes of btrfs.
fn is_tree(within: &str) -> bool {
    match within.split('/').collect::<Vec<_>>().as_slice() {
        ["btrfs", "subvolumes", _] => true,
        [snapshotter, "snapshots", _] | [snapshotter, "snapshots", _, "fs"] => {
            snapshotter.starts_with("io.containerd.snapshotter.v1.")
        }
        _ => false,
    }
}

/// The path that a file of Docker's store has without the folder in which Docker keeps everything
/// of containers whose ids it maps (`userns-remap`): `/var/lib/docker/165536.165536/containers`.
fn unmapped(path: &str) -> String {
    const DOCKER: &str = "/var/lib/docker";
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let rest = within(path, DOCKER).and_then(|rest| {
        let (folder, rest) = rest.split_once('/')?;
        let (user, group) = folder.split_once('.')?;
        (is_number(user) && is_number(group)).then_some(rest)
    });
    rest.map_or_else(|| path.to_string(), |rest| format!("{DOCKER}/{rest}"))
}

/// Whether what lies at `path` of the host is a root file system in an engine's store.
pub fn is_engine_root(path: &str) -> bool {
    let path = unmapped(&plain(path));
    let mut inside = STORES.iter().filter_map(|store| within(&path, store));
    inside.any(|path| is_layer(path) || is_tree(path))
}

/// Whether what lies at `path` of the host is one of the few files that an engine makes for each
/// container, of which `name` is one in the container (`hosts`). Of a path in an engine's store the
/// store says so; of another, its name.
pub fn is_engine_file(path: &str, name: &str, writable: bool) -> bool {
    let path = unmapped(&plain(path));
    let is_stored = || STORES.iter().chain(&ENGINES).any(|store| within(&path, store).is_some());
    let is_named = || path.rsplit('/').next() == Some(name);
    sensitive(&path, writable).is_none() && (is_named() || is_stored())
}

/// `path` from within `folder`; nothing is no path.
fn within<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// Types of mounts that show nothing of the host when they are where they belong.
const OWN_TYPES: [&str; 9] =
    ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs", "overlay"];

/// Of a socket that no list names.
const SPEAKS: Option<&str> = Some("a program outside the container listens at this socket");

const OF_ENGINE: &str = "it holds the engine's images and containers";

/// Folders of the host that a mount shows, as the spec writes them, and whether it can write to
/// them: a bind's source, and what an overlay is made of.
pub fn mount_sources(mount: &Value) -> Vec<(String, bool)> {
    if is_bind(mount) {
        return vec![(text(mount, "source").to_string(), is_writable(mount))];
    }
    if text(mount, "type") != "overlay" {
        return Vec::new();
    }
    let mut out = Vec::new();
    for option in options(mount) {
        let Some((key, value)) = option.split_once('=') else { continue };
        match key {
            "lowerdir" => out.extend(value.split(':').map(|folder| (folder.to_string(), false))),
            // Of these each names one folder; a colon is part of its name.
            "lowerdir+" | "datadir+" => out.push((value.to_string(), false)),
            "upperdir" | "workdir" => out.push((value.to_string(), true)),
            _ => {}
        }
    }
    out.retain(|(folder, _)| !folder.is_empty());
    out
}

/// An option of an overlay that the kernel reads in another way than it is read here: it drops a
/// backslash and takes what follows for part of a name (`ovl_unescape` of `fs/overlayfs`), and
/// begins another option after a comma.
fn escaped(mount: &Value) -> Option<&str> {
    options(mount).find(|option| option.contains(['\\', ',']))
}

fn is_bind(mount: &Value) -> bool {
    text(mount, "type") == "bind" || options(mount).any(|o| matches!(o, "bind" | "rbind"))
}

/// Why a container must not have what lies at `path` of the host; `None`: it may.
pub fn host_path_exposes(path: &str, writable: bool) -> Option<&'static str> {
    sensitive(&plain(path), writable)
}

fn sensitive(path: &str, writable: bool) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if SOCKETS.contains(&name) {
        return Some("whoever speaks to this socket is root on the host");
    }
    let is_or_in = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_above = |folder: &str| {
        path == "/" || folder.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    };
    if WHOLE.iter().any(|folder| path == *folder || is_above(folder)) {
        return Some("it holds the host's system or its engines");
    }
    if NEVER.iter().any(|folder| is_or_in(folder) || is_above(folder)) {
        return Some("it is the host's kernel, devices or secrets");
    }
    let in_store = |store: &&str| within(path, store).is_some_and(|path| !is_given(path));
    if STORES.iter().any(|store| path == *store || is_above(store) || in_store(store)) {
        return Some(OF_ENGINE);
    }
    if RUNNING.iter().any(|folder| is_or_in(folder)) && !is_given_somewhere(path) {
        return Some("the host's services have their sockets there");
    }
    (writable && READ_ONLY.iter().any(|folder| is_or_in(folder) || is_above(folder)))
        .then_some("writing there changes the host's system; mount it read-only")
}

/// A path without `.`, `..`, double and final slashes, as far as its text tells.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn text<'a>(mount: &'a Value, key: &str) -> &'a str {
    mount.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn options(mount: &Value) -> impl Iterator<Item = &str> {
    mount.get("options").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a mount can be written to. The last word of each kind counts, and what is said for all
/// that is mounted below goes over what is said for itself.
fn is_writable(mount: &Value) -> bool {
    let (mut read_only, mut all) = (false, None);
    for option in options(mount) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "rro" => all = Some(true),
            "rrw" => all = Some(false),
            _ => {}
        }
    }
    !all.unwrap_or(read_only)
}

/// Whether a mount maps ids otherwise than the container does: who is nobody in it could own files
/// as the host's root then. Kubernetes maps volumes as the pod is mapped.
///
/// crun takes a mapping from the options, too (`idmap=uids=0-1000-1`); without one it takes the
/// container's.
fn changes_owners(work: &Work, mount: &Value) -> bool {
    let is_mapping = |option: &str| {
        let word = option.strip_prefix('r').unwrap_or(option);
        word.strip_prefix("idmap").is_some_and(|rest| !rest.is_empty())
    };
    if options(mount).any(is_mapping) {
        return true;
    }
    ["uidMappings", "gidMappings"].into_iter().any(|key| {
        let is_some = |map: &&Value| !map.is_null() && map.as_array().is_none_or(|l| !l.is_empty());
        let map = mount.get(key).filter(is_some);
        map.is_some() && map != work.patch.get(&format!("/linux/{key}"))
    })
}

/// `ro` makes nothing read-only that is mounted below: where writing would be refused, it is not
/// mounted along.
fn without_others(mount: &mut Value) {
    if options(mount).any(|option| option == "rro") {
        return;
    }
    let list = mount.get_mut("options").and_then(Value::as_array_mut);
    for option in list.into_iter().flatten().filter(|option| *option == "rbind") {
        *option = json!("bind");
    }
}

impl Confine<'_> {
    /// Refuses or removes what shows the host, and restricts the rest.
    pub(super) fn mounts(&self, work: &mut Work) -> Result<(), Malformed> {
        let bad = || Malformed("/mounts".into());
        let mut list = Vec::new();
        for mut mount in work.patch.list("/mounts")? {
            if !mount.is_object()
                || mount.get("options").is_some_and(|o| !o.is_array() && !o.is_null())
            {
                return Err(bad());
            }
            let excepted = match self.judge(work, &mut mount) {
                Judgement::Gone => continue,
                Judgement::Excepted => true,
                Judgement::Ordinary => false,
            };
            // What an exception gives is given as it was asked for.
            if !excepted {
                if !self.allows(&Allowance::Propagation) {
                    self.propagation(work, &mut mount);
                }
                if !(self.allows(&Allowance::UnmaskedPaths)
                    && ["sysfs", "cgroup", "cgroup2", "proc"].contains(&text(&mount, "type")))
                {
                    restrict_mount(&mut mount, &self.containers)?;
                }
            }
            list.push(mount);
        }
        if self.engine.kind == ContainerKind::Workload {
            for tmpfs in &self.containers.tmpfs {
                let size = format!("size={}", tmpfs.size_bytes);
                let exec = if tmpfs.exec { "exec" } else { "noexec" };
                let is_there = list.iter().any(|mount| text(mount, "destination") == tmpfs.path);
                if !is_there {
                    let options = ["nosuid", "nodev", exec, size.as_str(), "mode=1777"];
                    add_tmpfs(&mut list, &tmpfs.path, &options);
                }
            }
        }
        let why = "mounts carry no setuid files and no devices, and show nothing of the host's \
                   system";
        if work.patch.list("/mounts")? != list {
            work.patch.set("/mounts", Value::Array(list), why)?;
        }
        if !self.allows(&Allowance::Propagation) {
            let path = "/linux/rootfsPropagation";
            let spreads = |text: &str| matches!(text, "shared" | "rshared");
            if work.patch.get(path).and_then(Value::as_str).is_some_and(spreads) {
                let why = "mounts in the container do not reach the host";
                work.patch.set(path, json!("rslave"), why)?;
            }
        }
        Ok(())
    }

    fn judge(&self, work: &mut Work, mount: &mut Value) -> Judgement {
        let kind = text(mount, "type").to_string();
        let destination = plain(text(mount, "destination"));
        if !is_bind(mount) {
            let belongs = match kind.as_str() {
                "proc" => destination == "/proc",
                "sysfs" => destination == "/sys",
                other => OWN_TYPES.contains(&other),
            };
            if kind == "overlay"
                && let Some(option) = escaped(mount)
            {
                let what = format!(
                    "the kernel reads `{}` of the overlay at `{}` in another way",
                    cut(option),
                    cut(&destination)
                );
                let fix = "name folders without backslashes and commas, each option by itself";
                work.refuse("mounts", what, fix);
                return Judgement::Gone;
            }
            if kind == "overlay" && changes_owners(work, mount) {
                let what = format!(
                    "files of the overlay at `{}` would have other owners than on the host",
                    cut(&destination)
                );
                work.refuse("mounts", what, "leave the mapping of ids out");
                return Judgement::Gone;
            }
            let sources = mount_sources(mount).into_iter();
            let exposed = self.exposed_of(sources.map(|(folder, on)| (self.resolved(&folder), on)));
            if belongs && exposed.is_none() {
                return Judgement::Ordinary;
            }
            let word = Allowance::Mount(exposed.unwrap_or_else(|| plain(text(mount, "source"))));
            if self.may_mount(&word) {
                return Judgement::Excepted;
            }
            let what = match &word {
                Allowance::Mount(folder) if belongs => {
                    let folder = cut(folder);
                    format!("`{folder}` of the host was asked for, below `{}`", cut(&destination))
                }
                _ => format!("a mount of type `{}` at `{}`", cut(&kind), cut(&destination)),
            };
            self.asked(work, "mounts", what, &word);
            return Judgement::Gone;
        }
        let source = self.resolved(text(mount, "source"));
        let writable = is_writable(mount);
        let is_sys = source == "/sys" && destination == "/sys" && !writable;
        let why = self.exposes(&source, writable).filter(|_| !self.is_builders(&source, writable));
        let others = Some("its files would have other owners than on the host");
        let why = why.or_else(|| others.filter(|_| changes_owners(work, mount)));
        let is_socket = self.engine.sockets.contains(text(mount, "source"));
        let why = why.or_else(|| SPEAKS.filter(|_| is_socket && !self.is_own_socket(&source)));
        // Laid over folders that whoever asked for it may have named.
        if why.is_none()
            && let Some(folders) = self.engine.overlays.get(text(mount, "source"))
        {
            let what = if folders.is_empty() {
                "nobody here knows of which folders that is made".into()
            } else if let Some(folder) = self.exposed_of(folders.iter().cloned()) {
                format!("it is made of `{}` of the host", cut(&folder))
            } else {
                String::new()
            };
            if !what.is_empty() && !self.may_mount(&Allowance::Mount(source.clone())) {
                let what = format!("the overlay `{}` was asked for: {what}", cut(&source));
                self.asked(work, "mounts", what, &Allowance::Mount(cut(&source)));
                return Judgement::Gone;
            }
        }
        let Some(why) = why.filter(|_| !is_sys) else {
            if !writable && !is_sys && sensitive(&source, true).is_some() {
                without_others(mount);
            }
            // What was looked at is what is mounted, if a link is exchanged meanwhile.
            if self.engine.sources.contains_key(text(mount, "source"))
                && text(mount, "source") != source
            {
                mount["source"] = json!(source);
            }
            return Judgement::Ordinary;
        };
        let word = Allowance::Mount(cut(&source));
        if self.may_mount(&Allowance::Mount(source.clone())) || self.may_have_device(&source) {
            return Judgement::Excepted;
        }
        let what = format!("`{}` of the host was asked for: {why}", cut(&source));
        self.asked(work, "mounts", what, &word);
        Judgement::Gone
    }

    /// Refuses a folder of the host as the root file system, if what lies there is nothing for a
    /// container. It cannot be taken away.
    pub(super) fn whose_root(&self, work: &mut Work) {
        let path = work.patch.get("/root/path").and_then(Value::as_str).unwrap_or_default();
        let writable = work.patch.get("/root/readonly").and_then(Value::as_bool) != Some(true);
        let folders = match &self.engine.root {
            Root::Engines => return,
            Root::Named if path.is_empty() => return,
            Root::Named => vec![(self.resolved(path), writable)],
            Root::Over(folders) if folders.is_empty() => {
                let what = "nobody here knows of which folders its root file system is made";
                let fix = "name the folder itself, or give the container an image";
                return work.refuse("mounts", what.into(), fix);
            }
            // What is written there lies elsewhere.
            Root::Over(folders) => folders.iter().map(|path| (plain(path), false)).collect(),
        };
        for (path, writable) in folders {
            let Some(why) = self.exposes(&path, writable) else { continue };
            let word = Allowance::Mount(cut(&path));
            if self.may_mount(&Allowance::Mount(path.clone())) {
                continue;
            }
            let what = format!("`{}` of the host would be the container's root: {why}", cut(&path));
            let fix = format!(
                "give the container a root file system of its own, or have policy `{}` allow \
                 `{word}` (engines.exceptions)",
                self.policy.name
            );
            work.refuse("mounts", what, &fix);
        }
    }

    /// Why the container must not have what lies at `path` of the host.
    fn exposes(&self, path: &str, writable: bool) -> Option<&'static str> {
        let mut named = self.engine.engine_folders.iter();
        let in_named = named.any(|folder| {
            path == folder
                || within(folder, path).is_some()
                || within(path, folder).is_some_and(|path| !is_given(path))
        });
        sensitive(path, writable)
            .or_else(|| in_named.then_some(OF_ENGINE))
            .or_else(|| self.is_of_host(path))
    }

    /// The first of an overlay's folders that the container must not have; a layer may be read.
    fn exposed_of(&self, folders: impl IntoIterator<Item = (String, bool)>) -> Option<String> {
        let is_refused = |(folder, writable): &(String, bool)| {
            self.exposes(folder, *writable).is_some()
                && (*writable || !self.in_stores(folder).any(is_layer))
        };
        folders.into_iter().find(is_refused).map(|(folder, _)| folder)
    }

    /// `path` from within each store that it is in.
    fn in_stores<'p>(&'p self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let named = self.engine.engine_folders.iter().map(String::as_str);
        STORES.into_iter().chain(named).filter_map(move |store| within(path, store))
    }

    /// Whether a build may have it: what BuildKit keeps, whose user names nothing of the host, and
    /// files of images to read.
    fn is_builders(&self, path: &str, writable: bool) -> bool {
        let is_in = |folder: &String| within(path, folder).is_some();
        self.engine.kind == ContainerKind::Build
            && (self.engine.engine_folders.iter().any(is_in)
                || (!writable && self.in_stores(path).any(is_layer)))
    }

    /// Whether `path` is none of the engine's where the policy lets nothing else be mounted.
    fn is_of_host(&self, path: &str) -> Option<&'static str> {
        if self.engine.kind == ContainerKind::Build || self.is_engines(path) {
            return None;
        }
        if self.policy.engines.host_paths == HostPaths::Volumes {
            return Some("only the engine's volumes may be mounted");
        }
        (self.engine.kind == ContainerKind::Sandbox)
            .then_some("a pod's sandbox needs nothing of the host")
    }

    /// Whether what lies at `path` is a volume or a file of the engine's own.
    fn is_engines(&self, path: &str) -> bool {
        ENGINES.iter().any(|folder| within(path, folder).is_some())
            || self.in_stores(path).any(is_given)
    }

    /// Whether a socket is in a volume of the engine's, or a builder's for the agent of who builds.
    fn is_own_socket(&self, path: &str) -> bool {
        self.is_engines(path) || (self.engine.kind == ContainerKind::Build && is_agent(path))
    }

    /// Where `source` leads.
    fn resolved(&self, source: &str) -> String {
        self.engine.sources.get(source).map_or_else(|| plain(source), String::clone)
    }

    fn may_mount(&self, wanted: &Allowance) -> bool {
        let Allowance::Mount(path) = wanted else { return false };
        self.allows_like(path, |allowance| match allowance {
            Allowance::Mount(pattern) => Some(pattern),
            _ => None,
        })
    }

    /// Keeps mounts within the container.
    fn propagation(&self, work: &mut Work, mount: &mut Value) {
        let shown = cut(text(mount, "destination"));
        let Some(list) = mount.get_mut("options").and_then(Value::as_array_mut) else { return };
        for option in list {
            let weaker = match option.as_str() {
                Some("shared") => "slave",
                Some("rshared") => "rslave",
                _ => continue,
            };
            let what = format!("mounts below `{shown}` would spread to the host");
            self.asked(work, "mounts", what, &Allowance::Propagation);
            *option = json!(weaker);
        }
    }
}

enum Judgement {
    /// It is not mounted.
    Gone,
    /// An exception allows it.
    Excepted,
    /// It shows nothing of the host.
    Ordinary,
}

fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_of_the_host_is_sensitive() {
        let check = |path: &str, read_only: bool, writable: bool| {
            let is = (sensitive(path, false).is_some(), sensitive(path, true).is_some());
            assert_eq!(is, (read_only, writable), "{path}");
        };
        check("/", true, true);
        check("/etc", true, true);
        check("/var", true, true);
        check("/var/lib", true, true);
        check("/run/docker.sock", true, true);
        check("/somewhere/docker.sock", true, true);
        check("/proc/sys", true, true);
        check("/dev/sda", true, true);
        check("/etc/shadow", true, true);
        check("/etc/ssh/ssh_host_key", true, true);
        check("/etc/localtime", false, true);
        check("/usr/share/zoneinfo", false, true);
        check("/srv/data", false, false);
        check("/home/me/project", false, false);
        check("/etcetera", false, false);
        check("/var/lib/docker/volumes/v/_data", false, false);
        check("/var/lib/docker/containers/0123/hosts", false, false);
        check("/var/lib/docker", true, true);
        // What engines know of others.
        check("/var/lib/docker/containers", true, true);
        check("/var/lib/docker/containers/0123", true, true);
        check("/var/lib/docker/containers/0123/config.v2.json", true, true);
        check("/var/lib/docker/containers/0123/mounts/shm", false, false);
        check("/var/lib/docker/runtimes", true, true);
        check("/var/lib/docker/volumes", true, true);
        check("/var/lib/docker/volumes/v", true, true);
        check("/var/lib/docker/volumes/v/_data/x", false, false);
        check("/var/lib/containers/storage", true, true);
        check("/var/lib/containers/storage/overlay/0/merged", true, true);
        check("/var/lib/containers/storage/volumes/v/_data", false, false);
        check("/var/lib/containers/storage/overlay-containers/0/userdata", true, true);
        check("/var/lib/containers/storage/overlay-containers/0/userdata/config.json", true, true);
        check("/var/lib/containerd/io.containerd.metadata.v1.bolt", true, true);
        check("/run/containerd/io.containerd.grpc.v1.cri/sandboxes/0/shm", false, false);
        check("/run/containerd/io.containerd.runtime.v2.task", true, true);
        check("/var/lib/kubelet/pods", true, true);
        check("/var/lib/kubelet/pods/u/volumes/x", false, false);
        check("/run/containers/storage/overlay-containers/0/userdata/hosts", false, false);
        // What the host's services have open.
        for path in [
            "/run",
            "/var/run",
            "/run/systemd",
            "/run/systemd/private",
            "/run/dbus",
            "/run/dbus/system_bus_socket",
            "/var/run/dbus/system_bus_socket",
            "/run/udev",
            "/run/udev/control",
            "/run/libvirt",
            "/run/user/1000",
            "/run/crio/0123/attach",
            "/run/docker/plugins",
            "/run/user/1000/containers/overlay-containers/0/userdata/config.json",
        ] {
            check(path, true, true);
        }
        check("/runner", false, false);
        check("/run/user/1000/containers/overlay-containers/0/userdata/hosts", false, false);
        check("/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/0/shm", false, false);
        // Secrets, their copies, and what is above them.
        for path in [
            "/etc/shadow-",
            "/etc/gshadow-",
            "/etc/security/opasswd",
            "/etc/ssl/private",
            "/etc/ssl/private/host.key",
            "/etc/ssl",
            "/etc/NetworkManager/system-connections",
            "/etc/NetworkManager",
            "/var/backups",
            "/var/backups/shadow.bak",
            "/var/lib/rancher/k3s/server/tls",
            "/var/lib/rancher",
        ] {
            check(path, true, true);
        }
        check("/etc/ssl/certs", false, true);
        check("/var/lib/rancher/k3s/storage/v", false, false);
        // What the host executes, and what its packages are.
        for path in [
            "/var/spool",
            "/var/spool/cron",
            "/var/spool/cron/crontabs",
            "/var/spool/at",
            "/var/lib/dpkg",
            "/var/lib/dpkg/info",
            "/var/lib/rpm",
        ] {
            check(path, false, true);
        }
        check("/var/spool/mail", false, false);
    }

    #[test]
    fn a_builders_own_sockets_are_known_by_their_folders() {
        for (path, expected) in [
            ("/tmp/.buildkit-ssh-sock123/ssh_auth_sock", true),
            ("/var/tmp/.buildah-ssh-sock123/ssh_auth_sock", true),
            ("/tmp/.buildkit-ssh-sock123/other", false),
            ("/tmp/ssh-x/ssh_auth_sock", false),
            ("ssh_auth_sock", false),
        ] {
            assert_eq!(is_agent(path), expected, "{path}");
        }
    }

    #[test]
    fn overlays_name_their_folders_as_the_kernel_reads_them() {
        let check = |options: &[&str], expected: &[(&str, bool)], is_escaped: bool| {
            let mount = json!({"type": "overlay", "options": options});
            let expected: Vec<(String, bool)> =
                expected.iter().map(|(path, on)| ((*path).to_string(), *on)).collect();
            assert_eq!(mount_sources(&mount), expected, "{options:?}");
            assert_eq!(escaped(&mount).is_some(), is_escaped, "{options:?}");
        };
        check(
            &["lowerdir=/a:/b", "upperdir=/u", "workdir=/w", "private"],
            &[("/a", false), ("/b", false), ("/u", true), ("/w", true)],
            false,
        );
        check(&["lowerdir=/a::/b"], &[("/a", false), ("/b", false)], false);
        check(&["lowerdir+=/a:/b", "datadir+=/c:d"], &[("/a:/b", false), ("/c:d", false)], false);
        check(&["lowerdir=/\\etc"], &[("/\\etc", false)], true);
        check(&["lowerdir=/a\\:b"], &[("/a\\", false), ("b", false)], true);
        check(&["lowerdir=/a,upperdir=/etc"], &[("/a,upperdir=/etc", false)], true);
        check(&["index=off,lowerdir=/etc"], &[], true);
    }

    #[test]
    fn the_last_word_about_writing_counts() {
        for (options, expected) in [
            (&[][..], true),
            (&["rbind", "ro"], false),
            (&["ro", "rw"], true),
            (&["rro"], false),
            (&["rro", "rw"], false),
            (&["ro", "rrw"], true),
            (&["rrw", "rro"], false),
        ] {
            assert_eq!(is_writable(&json!({ "options": options })), expected, "{options:?}");
        }
    }

    #[test]
    fn paths_are_made_plain() {
        for (from, to) in
            [("", "/"), ("/a/../etc/", "/etc"), ("//x/./y", "/x/y"), ("/../..", "/"), ("r", "/r")]
        {
            assert_eq!(plain(from), to);
        }
    }
}

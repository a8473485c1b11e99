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
const WHOLE: [&str; 24] = [
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
    "/run",
    "/var/run",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/kubelet",
    "/var/lib/palisade",
    "/run/palisade",
    "/etc/palisade",
];

/// Below these nothing may be mounted.
const NEVER: [&str; 17] = [
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/root",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/kubernetes",
    "/etc/palisade",
    "/var/lib/palisade",
    "/run/palisade",
    "/var/lib/kubelet/pki",
    "/var/lib/docker/overlay2",
    "/run/docker/plugins",
];

/// Below these nothing may be mounted writable.
const READ_ONLY: [&str; 6] = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// Where engines keep volumes and files of containers.
const ENGINES: [&str; 9] = [
    "/var/lib/docker/volumes",
    "/var/lib/docker/containers",
    "/var/lib/containers/storage",
    "/run/containers/storage",
    "/var/run/containers/storage",
    "/var/lib/containerd",
    "/run/containerd",
    "/var/lib/kubelet/pods",
    "/run/crio",
];

/// Types of mounts that show nothing of the host when they are where they belong.
const OWN_TYPES: [&str; 9] =
    ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs", "overlay"];

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
    if NEVER.iter().any(|folder| is_or_in(folder)) {
        return Some("it is the host's kernel, devices or secrets");
    }
    (writable && READ_ONLY.iter().any(|folder| is_or_in(folder)))
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
fn changes_owners(work: &Work, mount: &Value) -> bool {
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
        let is_bind = kind == "bind" || options(mount).any(|o| matches!(o, "bind" | "rbind"));
        if !is_bind {
            let belongs = match kind.as_str() {
                "proc" => destination == "/proc",
                "sysfs" => destination == "/sys",
                other => OWN_TYPES.contains(&other),
            };
            let lower = options(mount).filter_map(|o| o.strip_prefix("lowerdir="));
            let lower = lower.flat_map(|dirs| dirs.split(':')).map(plain).find(|folder| {
                kind == "overlay" && sensitive(&self.resolved(folder), false).is_some()
            });
            if belongs && lower.is_none() {
                return Judgement::Ordinary;
            }
            let word = Allowance::Mount(lower.unwrap_or_else(|| plain(text(mount, "source"))));
            if self.may_mount(&word) {
                return Judgement::Excepted;
            }
            let what = format!("a mount of type `{}` at `{}`", cut(&kind), cut(&destination));
            self.asked(work, "mounts", what, &word);
            return Judgement::Gone;
        }
        let source = self.resolved(text(mount, "source"));
        let writable = is_writable(mount);
        let is_sys = source == "/sys" && destination == "/sys" && !writable;
        let why = sensitive(&source, writable).or_else(|| self.is_of_host(&source));
        let others = Some("its files would have other owners than on the host");
        let why = why.or_else(|| others.filter(|_| changes_owners(work, mount)));
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
            let Some(why) = sensitive(&path, writable).or_else(|| self.is_of_host(&path)) else {
                continue;
            };
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
        let is_in =
            |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let named = self.engine.engine_folders.iter().map(String::as_str);
        // Podman and others keep what is one container's in folders of its id.
        let by_id = self.engine.id.len() >= 32 && path.split('/').any(|p| p == self.engine.id);
        by_id || ENGINES.into_iter().chain(named).any(is_in)
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
        check("/var/lib/kubelet/pods/u/volumes/x", false, false);
        check("/run/containers/storage/overlay-containers/0/userdata/hosts", false, false);
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

//! The spec that a container has before any policy: what engines give by default.

use serde_json::{Value, json};

/// What an image's configuration says about running it (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageDefaults {
    /// `Env`: `NAME=value`.
    pub env: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `WorkingDir`; empty means `/`.
    pub working_dir: String,
}

/// What the caller decides about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base<'a> {
    /// What the image says.
    pub image: &'a ImageDefaults,
    /// Replaces the image's `Cmd`; with `entrypoint` also cleared, the whole command.
    pub command: &'a [String],
    /// Variables added to the image's, `NAME=value`; they replace those of the same name.
    pub env: &'a [String],
    /// Folder to start in, if not the image's.
    pub working_dir: Option<&'a str>,
    /// Absolute path of the root file system.
    pub rootfs: &'a str,
    /// Host name inside.
    pub hostname: &'a str,
    /// Cgroup path, `/` first, the same in every hierarchy.
    pub cgroups_path: &'a str,
}

/// Search path of a container whose image sets none.
const PATH_DEFAULT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes an OCI runtime configuration (runtime-spec 1.0.2) like that of an engine's
/// default, which [`crate::harden`] then confines. `None` when there is no command.
pub fn base_spec(base: &Base<'_>) -> Option<Value> {
    let mut args: Vec<&str> = base.image.entrypoint.iter().map(String::as_str).collect();
    let tail = if base.command.is_empty() { &base.image.cmd } else { base.command };
    args.extend(tail.iter().map(String::as_str));
    if args.is_empty() {
        return None;
    }
    let working_dir = base.working_dir.unwrap_or(&base.image.working_dir);
    let working_dir = if working_dir.is_empty() { "/" } else { working_dir };
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount", "network"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    Some(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": environment(&base.image.env, base.env),
            "cwd": working_dir,
        },
        "root": {"path": base.rootfs, "readonly": false},
        "hostname": base.hostname,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "cgroupsPath": base.cgroups_path,
            "namespaces": namespaces,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "rootfsPropagation": "private",
        },
    }))
}

/// The image's variables with `more` laid over them; `PATH` is always set.
fn environment(image: &[String], more: &[String]) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or("").to_string();
    let mut out: Vec<String> = Vec::with_capacity(image.len() + more.len() + 1);
    for variable in image.iter().chain(more) {
        // A variable without a value would be taken from the host by some engines; the
        // host's environment is nobody's business here.
        if !variable.contains('=') || variable.starts_with('=') || variable.contains('\0') {
            continue;
        }
        let wanted = name(variable);
        match out.iter_mut().find(|known| name(known) == wanted) {
            Some(known) => known.clone_from(variable),
            None => out.push(variable.clone()),
        }
    }
    if !out.iter().any(|variable| variable.starts_with("PATH=")) {
        out.insert(0, PATH_DEFAULT.to_string());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base<'a>(image: &'a ImageDefaults, command: &'a [String], env: &'a [String]) -> Base<'a> {
        Base {
            image,
            command,
            env,
            working_dir: None,
            rootfs: "/rootfs",
            hostname: "demo",
            cgroups_path: "/palisade/demo",
        }
    }

    #[test]
    fn the_command_replaces_cmd_and_keeps_the_entrypoint() {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_string()).collect::<Vec<_>>();
        let image = ImageDefaults {
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["a"]),
            ..ImageDefaults::default()
        };
        let args = |spec: Option<Value>| spec.unwrap().pointer("/process/args").cloned().unwrap();
        assert_eq!(args(base_spec(&base(&image, &[], &[]))), json!(["/entry", "a"]));
        let command = strings(&["b", "c"]);
        assert_eq!(args(base_spec(&base(&image, &command, &[]))), json!(["/entry", "b", "c"]));
        assert_eq!(base_spec(&base(&ImageDefaults::default(), &[], &[])), None);
    }

    #[test]
    fn variables_are_laid_over_and_never_come_from_the_host() {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_string()).collect::<Vec<_>>();
        let env = environment(
            &strings(&["PATH=/bin", "A=1", "HOME"]),
            &strings(&["A=2", "B=x=y", "=bad", "C"]),
        );
        assert_eq!(env, ["PATH=/bin", "A=2", "B=x=y"]);
        assert_eq!(environment(&[], &[]), [PATH_DEFAULT]);
    }
}

//! What the tests run: a tiny root file system, a policy, a runtime with state of its own.

use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_base::{Digest, Timestamp};
use palisade_harden::Refusal;
use palisade_image::{
    Image, LayerSource, NewImage, OpenOptions, PackOptions, Platform, write_layout,
};
use palisade_model::{Priority, Target};
use palisade_policy::{
    Containers, Gate, ImageVerification, Images, Limits, Network, Policy, Seccomp, Tmpfs, UserMode,
    UserNamespace,
};
use palisade_runtime::{
    IdSpace, Input, Outcome, Output, RunError, RunRequest, Runc, Runtime, RuntimePaths, Stdio,
};

/// Whether tests that run containers can; says on stderr why not.
pub(crate) fn can_run() -> bool {
    if !palisade_sys::facts::is_privileged() {
        eprintln!("skipped: needs root with CAP_SYS_ADMIN");
        return false;
    }
    if let Err(error) = Runc::find() {
        eprintln!("skipped: {error}");
        return false;
    }
    if busybox().is_none() {
        eprintln!("skipped: needs a static busybox: apt install busybox-static");
        return false;
    }
    true
}

fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// A runtime with its own state, and a root file system.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) image: Image,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // Not below /tmp alone: the container's root has to be able to walk there.
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let rootfs = folder.path().join("image");
        make_rootfs(&rootfs);
        let image = Self::open_image(folder.path());
        let runtime = Self::open_runtime(folder.path());
        Self { folder, runtime, image }
    }

    pub(crate) fn open_image(folder: &Path) -> Image {
        let target = Target::Folder(folder.join("image"));
        Image::open(&target, &OpenOptions::default()).unwrap()
    }

    /// The same root file system as an OCI layout of two layers.
    pub(crate) fn layout(&self) -> Image {
        let second = self.folder.path().join("second");
        for folder in ["data", "etc"] {
            std::fs::create_dir_all(second.join(folder)).unwrap();
        }
        std::fs::write(second.join("etc/motd"), "second layer\n").unwrap();
        std::fs::set_permissions(second.join("data"), std::fs::Permissions::from_mode(0o750))
            .unwrap();
        std::os::unix::fs::chown(second.join("data"), Some(33), Some(33)).unwrap();
        let layer = |path: PathBuf| LayerSource::Folder { path, options: PackOptions::default() };
        let layout = self.folder.path().join("layout");
        let image = NewImage {
            tag: Some("latest".into()),
            platform: Platform::of_this_machine(),
            created: Timestamp::from_nanos(0),
            config: serde_json::json!({"Cmd": ["/bin/sh", "-c", "exit 9"], "User": "0"}),
            history: Vec::new(),
            layers: vec![layer(self.folder.path().join("image")), layer(second)],
            annotations: std::collections::BTreeMap::new(),
        };
        write_layout(&layout, &image).unwrap();
        let target = Target::Layout { folder: layout, selector: None };
        Image::open(&target, &OpenOptions::default()).unwrap()
    }

    /// A runtime over the state below `folder`; another process may have made it.
    pub(crate) fn open_runtime(folder: &Path) -> Runtime {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let paths = RuntimePaths {
            state: folder.join("state"),
            data: folder.join("data"),
            cgroup_parent: format!("/{name}"),
            leases: folder.join("leases"),
        };
        Runtime::open(paths, Runc::find().unwrap(), IdSpace::of_this_machine()).unwrap()
    }

    /// Runs `script` in a shell under `policy` and returns the outcome and its output.
    pub(crate) fn run(&self, policy: &Policy, script: &str) -> Result<(Outcome, String), RunError> {
        self.run_command(policy, &["/bin/sh", "-c", script])
    }

    pub(crate) fn run_command(
        &self,
        policy: &Policy,
        command: &[&str],
    ) -> Result<(Outcome, String), RunError> {
        let request = self.request(policy, command);
        let output = Captured::default();
        let stdio = Stdio {
            stdin: Input::Null,
            stdout: Output::Writer(Box::new(output.clone())),
            stderr: Output::Writer(Box::new(output.clone())),
        };
        let outcome = self.runtime.run(&request, stdio)?;
        Ok((outcome, output.text()))
    }

    pub(crate) fn request<'a>(&'a self, policy: &'a Policy, command: &[&str]) -> RunRequest<'a> {
        request(&self.image, policy, command)
    }

    /// Everything that running containers could leave on this machine.
    pub(crate) fn traces(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.folder.path().to_string_lossy();
        // Others mount things on this machine at the same time.
        let mut all: Vec<String> =
            mounts.lines().filter(|line| line.contains(&*ours)).map(str::to_string).collect();
        let paths = self.runtime.paths();
        for folder in [paths.records(), paths.bundles(), paths.runc_state(), paths.writes()] {
            all.extend(list(&folder));
        }
        for (_, point) in palisade_sys::Hierarchies::detect().unwrap().v1() {
            all.extend(list(&point.join(&paths.cgroup_parent[1..])));
        }
        if let Some(unified) = palisade_sys::Hierarchies::detect().unwrap().unified() {
            all.extend(list(&unified.join(&paths.cgroup_parent[1..])));
        }
        all
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for found in self.runtime.list() {
            let _ = self.runtime.remove(&found.record.container.id, true);
        }
    }
}

/// Writes a script that can be started, by another process: one that this process wrote could not
/// be while a child that another test has just forked holds its descriptor.
pub(crate) fn write_script(path: &Path, text: &str) {
    let mut shell = std::process::Command::new("sh")
        .args(["-c", r#"cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

fn list(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

pub(crate) fn request<'a>(
    image: &'a Image,
    policy: &'a Policy,
    command: &[&str],
) -> RunRequest<'a> {
    RunRequest {
        image,
        reference: "docker.io/library/busybox:latest".into(),
        name: None,
        command: command.iter().map(|word| (*word).to_string()).collect(),
        clear_entrypoint: false,
        env: Vec::new(),
        working_dir: None,
        policy,
        seccomp_document: None,
        published: Vec::new(),
        network: None,
        admit: &admit_all,
        terminal: false,
        detach: false,
        log: None,
        forward_signals: false,
        deny_drift: false,
        stop_grace: Duration::from_secs(2),
        warn: &|_| {},
        started: &|_, _| {},
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of an admission")]
fn admit_all(_: &Image) -> Result<(), Refusal> {
    Ok(())
}

fn make_rootfs(rootfs: &Path) {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "data", "scratch"] {
        std::fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    // `/scratch` stays as careless as images are.
    let mode = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(rootfs.join("tmp"), mode).unwrap();
    std::fs::copy(busybox().unwrap(), rootfs.join("bin/busybox")).unwrap();
    for name in [
        "sh", "ls", "cat", "id", "mount", "grep", "sleep", "touch", "unshare", "true", "false",
        "kill", "dd", "chmod", "hostname", "mknod", "tail", "head", "stat",
    ] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    std::fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/data:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
}

/// A policy that confines as `restricted` does.
pub(crate) fn restricted() -> Policy {
    Policy {
        name: "restricted".into(),
        description: "everything off".into(),
        digest: Digest::of(b"restricted"),
        sinks: Vec::new(),
        checks: palisade_policy::Checks::default(),
        scan: palisade_policy::scan::Scan::default(),
        enforce: palisade_policy::Enforce::default(),
        evidence: palisade_policy::Evidence::default(),
        network: palisade_policy::NetworkGuards::default(),
        images: Images {
            verify: ImageVerification::Off,
            keys: Vec::new(),
            trust: Vec::new(),
            attestations: Vec::new(),
            remember_minutes: 0,
            trusted_root: None,
            gate: Gate::default(),
        },
        engines: palisade_policy::Engines::default(),
        containers: Containers {
            user: UserMode::Fallback(65_532),
            user_namespace: UserNamespace::Private,
            capabilities: Vec::new(),
            read_only_root: true,
            tmpfs: ["/tmp", "/scratch"]
                .map(|path| Tmpfs { path: path.into(), size_bytes: 16 << 20, exec: false })
                .to_vec(),
            no_new_privileges: true,
            seccomp: Seccomp::Strict,
            network: Network::None,
            shared_networks: Vec::new(),
            limits: Limits {
                memory_bytes: Some(48 << 20),
                cpu_millis: Some(1000),
                pids: Some(24),
                open_files: Some(256),
                core_bytes: Some(0),
                ..Limits::default()
            },
            mask_paths: true,
            security_module: palisade_policy::SecurityModule::Auto,
            selinux: palisade_policy::Selinux::Auto,
            deny_drift: false,
            rootless: palisade_policy::Rootless::default(),
        },
        runtime: palisade_policy::Runtime {
            rules: Vec::new(),
            builtin_rules: true,
            priority_min: Priority::Debug,
        },
        response: Vec::new(),
    }
}

/// The value of `key` in lines of `key: value`.
pub(crate) fn value<'a>(output: &'a str, key: &str) -> Option<&'a str> {
    output.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// A writer that keeps what it is given.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

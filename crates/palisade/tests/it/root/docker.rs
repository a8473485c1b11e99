//! Docker Engine with everything of its own, in namespaces that take it down whole: its network
//! and its firewall rules are seen by nobody else.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::time::Duration;

use super::{alone, is_root};
use crate::support::{Ended, Running, finish, wait_for};

/// Limits below those of this process: an engine's own ask for more than a machine may give.
pub(crate) const LIMITS: [&str; 4] =
    ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
/// Names under which the one program is known in the image.
const PROGRAMS: [&str; 30] = [
    "cat", "chmod", "cp", "cut", "echo", "env", "grep", "head", "httpd", "id", "kill", "ls",
    "mkdir", "mknod", "mount", "nc", "nsenter", "nslookup", "pwd", "rmdir", "sed", "sh", "sleep",
    "stat", "test", "touch", "tr", "true", "umount", "wget",
];
/// An emulated guest is slow.
const STARTED: Duration = Duration::from_mins(3);

/// How the engine is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// As it comes.
    Plain,
    /// With our runtime and our plugin, by this policy.
    Palisade(&'static str),
    /// As it comes, with our runtime for who names it (`--runtime palisade`).
    Beside(&'static str),
}

/// A running engine; stopped when dropped.
pub(crate) struct Docker {
    pub(crate) folder: tempfile::TempDir,
    engine: Option<Running>,
    /// The runtime that ours hands over to, if another than it finds by itself.
    runtime: Option<&'static str>,
    pub(crate) cgroup: String,
    _alone: MutexGuard<'static, ()>,
}

/// Whether Docker can be started here; says why not.
pub(crate) fn can_start() -> bool {
    if !is_root() {
        return false;
    }
    for program in ["dockerd", "containerd", "docker", "runc", "unshare", "ip", "iptables"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: {program} is not installed (scripts/install-deps.sh test)");
            return false;
        }
    }
    if !Path::new("/bin/busybox").exists() {
        eprintln!("skipped: /bin/busybox is not installed");
        return false;
    }
    true
}

/// A folder with a root file system in `root`: busybox, and the few files that engines expect.
pub(crate) fn make_root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "etc", "tmp", "srv", "proc", "sys", "dev", "run"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in PROGRAMS {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n")
        .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(root.join("tmp"), mode).unwrap();
    root
}

impl Docker {
    /// Starts an engine and imports the image `box`.
    pub(crate) fn start(setup: Setup) -> Self {
        Self::start_on(setup, None)
    }

    /// The same, with this runtime behind ours.
    pub(crate) fn start_on(setup: Setup, runtime: Option<&'static str>) -> Self {
        let alone = alone();
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        let path = folder.path().to_path_buf();
        let cgroup = format!("/{}", path.file_name().unwrap().to_string_lossy());
        let mut docker = Self { folder, engine: None, runtime, cgroup, _alone: alone };
        let links = path.join("links");
        std::fs::create_dir(&links).unwrap();
        for name in ["palisade-runtime", "runc", "crun"] {
            symlink(env!("CARGO_BIN_EXE_palisade"), links.join(name)).unwrap();
        }
        let (policy, default) = match setup {
            Setup::Plain => (None, false),
            Setup::Palisade(policy) => (Some(policy), true),
            Setup::Beside(policy) => (Some(policy), false),
        };
        let mut settings = serde_json::json!({
            "data-root": path.join("data"),
            "exec-root": path.join("exec"),
            "pidfile": path.join("pid"),
            "hosts": [format!("unix://{}", docker.socket().display())],
            "storage-driver": "vfs",
            "cgroup-parent": docker.cgroup,
        });
        if super::probes::is_guest() {
            // Its kernel has no module loaded for bridges and tables, which are no subject there.
            settings["iptables"] = serde_json::json!(false);
            settings["bridge"] = serde_json::json!("none");
        }
        if let Some(policy) = policy {
            docker.set_policy(policy);
            let ours = links.join("palisade-runtime");
            settings["runtimes"] = serde_json::json!({"palisade": {"path": ours}});
        }
        if default {
            settings["default-runtime"] = serde_json::json!("palisade");
            settings["authorization-plugins"] = serde_json::json!(["palisade"]);
        }
        std::fs::write(path.join("daemon.json"), settings.to_string()).unwrap();
        docker.engine = Some(Running::start(docker.command(policy.is_some(), default), b""));
        wait_for("the engine to answer", STARTED, || {
            docker.run(&["version"]).code.eq(&0).then_some(())
        });
        make_root(&path);
        docker.import();
        docker
    }

    /// Makes what is in `root` the image `box`.
    pub(crate) fn import(&self) {
        let path = self.folder.path();
        let tar = Command::new("tar")
            .current_dir(path)
            .args(["-C", "root", "-cf", "box.tar", "."])
            .status();
        assert!(tar.unwrap().success());
        self.run(&["import", &path.join("box.tar").to_string_lossy(), "box"]).expect(0);
    }

    /// What starts it: everything below one process, in namespaces of their own.
    fn command(&self, offered: bool, default: bool) -> Command {
        let path = self.folder.path();
        let shown = path.display();
        let mut script = String::from(
            "set -e\nip link set lo up\nmkdir -p /run/docker\nmount -t tmpfs tmpfs /run/docker\n",
        );
        if self.runtime.is_some_and(|path| path.ends_with("crun")) {
            script.push_str(super::crun::ONE_VERSION);
        }
        if offered {
            let _ = writeln!(script, "export PALISADE_RUNTIME_CONFIG={shown}/runtime.json");
        }
        if default {
            let _ = writeln!(script, "export PATH={shown}/links:$PATH");
            let _ = writeln!(
                script,
                "{} authz --config {shown}/runtime.json 2>{shown}/authz.log &",
                env!("CARGO_BIN_EXE_palisade")
            );
            script
                .push_str("while [ ! -S /run/docker/plugins/palisade.sock ]; do sleep 0.1; done\n");
        }
        // Not as the first process: that one takes care of orphans.
        let _ = writeln!(script, "dockerd --config-file {shown}/daemon.json 2>{shown}/dockerd.log");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", &script])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Lets this policy (a built-in name or a file) hold from now on.
    pub(crate) fn set_policy(&self, policy: &str) {
        let path = self.folder.path();
        let mut settings = serde_json::json!({"policy": policy, "state": path.join("state")});
        if let Some(runtime) = self.runtime {
            settings["runtime"] = serde_json::json!(runtime);
        }
        std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    }

    /// Runs a command of the client.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(args)
            .env("DOCKER_BUILDKIT", "0")
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path());
        finish(command)
    }

    /// `docker run` with limits that are possible here.
    pub(crate) fn container(&self, flags: &[&str], command: &[&str]) -> Ended {
        self.run(&[&["run"][..], &LIMITS, flags, &["box"], command].concat())
    }

    /// A shell's line in a container that is removed.
    pub(crate) fn shell(&self, flags: &[&str], line: &str) -> Ended {
        self.container(&[&["--rm"], flags].concat(), &["/bin/sh", "-c", line])
    }

    /// Compose with a project of two services, if it is installed.
    pub(crate) fn compose(&self) -> Option<Command> {
        if !Path::new("/usr/bin/docker-compose").exists() {
            return None;
        }
        let limits = "ulimits: {nofile: 1024, nproc: 1024}";
        let serve = "echo page >/srv/index.html; exec /bin/httpd -f -p 8080 -h /srv";
        let project = format!(
            "version: '3'\nservices:\n  server:\n    image: box\n    {limits}\n    \
             command: [/bin/sh, -c, '{serve}']\n    volumes: ['shared:/shared']\n  client:\n    \
             image: box\n    {limits}\n    command: [/bin/sleep, '100']\n    \
             depends_on: [server]\nvolumes:\n  shared:\n"
        );
        std::fs::write(self.folder.path().join("compose.yaml"), project).unwrap();
        let mut command = Command::new("docker-compose");
        command
            .args(["--file", "compose.yaml", "--project-name", "project"])
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path());
        Some(command)
    }

    /// Runs a shell's line where the engine's network is.
    pub(crate) fn beside(&self, line: &str) -> Ended {
        let engine = self.engine_pid();
        let mut command = Command::new("nsenter");
        command.args(["--target", &engine.to_string(), "--net", "/bin/busybox", "sh", "-c", line]);
        finish(command)
    }

    /// Our program where the engine's network is, and its data where engines usually have it: the
    /// folder `/var/lib/docker` must be there.
    pub(crate) fn ours(&self, args: &[&str]) -> Command {
        let path = self.folder.path();
        let script = "mount --bind \"$1\" /var/lib/docker && shift && exec \"$@\"";
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.engine_pid().to_string(), "--net"])
            .args(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(path.join("data"))
            .arg(env!("CARGO_BIN_EXE_palisade"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", path)
            .env("PALISADE_DATA_DIR", path.join("ours"))
            .env("PALISADE_RUN_DIR", path.join("run"))
            .current_dir(path);
        command
    }

    /// A process of the engine, outside.
    fn engine_pid(&self) -> u32 {
        let wanted = format!("{}/daemon.json", self.folder.path().display());
        let is_it = |pid: u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with("dockerd ") && line.contains(&wanted)
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid| is_it(*pid)).expect("the engine runs")
    }

    /// What the engine said, for failures.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("dockerd.log")).unwrap_or_default()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(15).collect();
            eprintln!("the engine's last words:\n{}", last.join("\n"));
        }
        let running = self.run(&["ps", "--quiet"]).stdout;
        let running: Vec<&str> = running.split_whitespace().collect();
        if !running.is_empty() {
            self.run(&[&["rm", "--force"], &running[..]].concat());
        }
        // The first process of its namespace takes the others with it.
        drop(self.engine.take());
        let group = palisade_sys::Hierarchies::detect().and_then(|all| all.group(&self.cgroup));
        if let Ok(group) = group {
            let _ = group.remove(Duration::from_secs(5));
        }
    }
}

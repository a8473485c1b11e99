//! The program as the OCI runtime of a real engine, with a store and state of its own.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::MutexGuard;

use super::docker::make_root;
use super::{alone, is_root};
use crate::support::{Ended, finish};

/// Limits below those of this process: an engine's own ask for more than a machine may give.
const LIMITS: [&str; 6] =
    ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"];
const STATUS: &str = "grep -E 'CapEff|NoNewPrivs' /proc/self/status";

/// Podman with everything in a folder, on our runtime, with the image `box`.
struct Podman {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Podman {
    /// `None`: it cannot be started here, and it was said why.
    fn start(policy: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        for program in ["/usr/bin/podman", "/bin/busybox"] {
            if !Path::new(program).exists() {
                eprintln!("skipped: {program} is not installed");
                return None;
            }
        }
        let alone = alone();
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        let podman = Self { folder, _alone: alone };
        let path = podman.path();
        symlink(env!("CARGO_BIN_EXE_palisade"), path.join("palisade-runtime")).unwrap();
        podman.set_policy(policy);
        make_root(path);
        let tar = Command::new("tar")
            .current_dir(path)
            .args(["-C", "root", "-cf", "box.tar", "."])
            .status();
        assert!(tar.unwrap().success());
        podman.run(&["import", &path.join("box.tar").to_string_lossy(), "box"]).expect(0);
        Some(podman)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A built-in policy's name, or the text of one.
    fn set_policy(&self, policy: &str) {
        let mut name = policy.to_string();
        if policy.contains('\n') {
            let file = self.path().join("policy.yaml");
            std::fs::write(&file, policy).unwrap();
            name = file.display().to_string();
        }
        let settings = serde_json::json!({"policy": name, "state": self.path().join("state")});
        std::fs::write(self.path().join("runtime.json"), settings.to_string()).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("podman");
        // conmon passes no variables on.
        let settings = self.path().join("runtime.json");
        command.arg("--runtime-flag").arg(format!("palisade-config={}", settings.display()));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        for (flag, name) in
            [("--root", "store"), ("--runroot", "run"), ("--runtime", "palisade-runtime")]
        {
            command.arg(flag).arg(self.path().join(name));
        }
        command.args(args);
        finish(command)
    }

    fn container(&self, flags: &[&str], command: &[&str]) -> Ended {
        self.run(&[&["run"][..], flags, &LIMITS, &["box"], command].concat())
    }

    #[track_caller]
    fn refuses(&self, flags: &[&str], what: &str) {
        let ended = self.container(&[&["--rm"], flags].concat(), &["/bin/sh", "-c", "true"]);
        assert_ne!(ended.code, 0, "{flags:?}");
        assert!(ended.stderr.contains(what), "`{what}` is not in {}", ended.stderr);
    }
}

/// What `/proc/self/status` has behind `name`.
fn fact<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

#[test]
fn podmans_containers_and_their_further_processes_are_confined_or_refused() {
    let Some(podman) = Podman::start("baseline") else { return };
    // Podman itself leaves this off.
    let ended = podman.container(&["--rm"], &["/bin/sh", "-c", STATUS]).expect(0);
    assert_eq!(fact(&ended.stdout, "NoNewPrivs:"), "1");
    let capabilities = fact(&ended.stdout, "CapEff:").to_string();

    // The engine's user reads why.
    let ended = podman.container(&["--rm", "--cap-add", "SYS_ADMIN"], &["/bin/sh", "-c", "true"]);
    assert_ne!(ended.code, 0);
    for expected in ["policy `baseline` refuses this container", "SYS_ADMIN", "engines.exceptions"]
    {
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    }

    podman.container(&["--detach", "--name", "web"], &["/bin/sleep", "100"]).expect(0);
    let ended = podman.run(&["exec", "web", "/bin/sh", "-c", STATUS]).expect(0);
    assert_eq!(fact(&ended.stdout, "NoNewPrivs:"), "1");
    assert_eq!(fact(&ended.stdout, "CapEff:"), capabilities);
    let ended = podman.run(&["exec", "--privileged", "web", "/bin/sh", "-c", STATUS]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("refuses this process"), "{}", ended.stderr);
    assert!(ended.stderr.contains("more reasons"), "{}", ended.stderr);

    // Settings that cannot be read start nothing, and what runs can still be removed.
    std::fs::write(podman.path().join("runtime.json"), "{").unwrap();
    let ended = podman.container(&["--rm"], &["/bin/sh", "-c", "true"]);
    assert!(ended.code != 0 && ended.stderr.contains("runtime.json"), "{}", ended.stderr);
    podman.run(&["rm", "--force", "--time", "0", "web"]).expect(0);
    let left = podman.run(&["ps", "--all", "--quiet"]).expect(0).stdout;
    assert_eq!(left, "");
}

/// Annotations of Kubernetes' plugins, by which a pod's sandbox, an image and a kubelet are known.
#[test]
fn what_podmans_user_writes_into_annotations_is_not_believed() {
    let policy = "version: 1\nname: strict\ncontainers:\n  user: non_root\n  read_only_root: true\n\
        \x20 limits: {pids: 64}\nengines:\n  host_paths: volumes\n  exceptions:\n\
        \x20 - images: [\"registry.example/agent:*\"]\n    allow: [privileged]\n\
        \x20   reason: agent\n    expires: \"2099-01-01\"\n";
    let Some(podman) = Podman::start(policy) else { return };
    let data = podman.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let volume = format!("{}:/h", data.display());
    let sandbox = [
        "--annotation=io.kubernetes.cri.container-type=sandbox",
        "--annotation=io.kubernetes.cri-o.ContainerType=sandbox",
        "--annotation=io.kubernetes.container.type=sandbox",
        "--annotation=io.container.manager=cri-o",
    ];
    let image = [
        "--annotation=io.kubernetes.cri.image-name=registry.example/agent:1",
        "--annotation=io.kubernetes.cri-o.ImageName=registry.example/agent:1",
        "--annotation=nerdctl/image-name=registry.example/agent:1",
    ];
    podman.refuses(&sandbox, "would run as root");
    podman.refuses(&[&sandbox[..], &["--user", "5", "--volume", &volume]].concat(), &volume[..9]);
    podman.refuses(&[&image[..], &["--privileged"]].concat(), "privileged mode");
    let score = [&sandbox[..], &["--user", "5", "--oom-score-adj=-500"]].concat();
    podman.refuses(&score, "memory is short");
    // Of a root file system of one's own there is no image, and what lies beside it is no record.
    let root = podman.path().join("root").display().to_string();
    let flags = [&["create", "--privileged"][..], &image, &LIMITS, &["--rootfs", &root]].concat();
    let id = podman.run(&[&flags[..], &["/bin/sh", "-c", "true"]].concat()).expect(0).stdout;
    let record = podman.path().join("containers").join(id.trim());
    std::fs::create_dir_all(&record).unwrap();
    let config =
        serde_json::json!({"Name": "/agent", "Config": {"Image": "registry.example/agent:1"}});
    std::fs::write(record.join("config.v2.json"), config.to_string()).unwrap();
    let ended = podman.run(&["start", "--attach", id.trim()]);
    assert!(ended.code != 0 && ended.stderr.contains("privileged mode"), "{}", ended.stderr);
    // The limit of a sandbox is none; theirs is the policy's.
    let pids = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max";
    let flags = [&["--rm", "--user", "5", "--pids-limit=-1"][..], &sandbox].concat();
    let ended = podman.container(&flags, &["/bin/sh", "-c", pids]).expect(0);
    assert_eq!(ended.stdout, "64\n");
    podman.run(&["rm", "--all", "--force", "--time", "0"]).expect(0);
}

/// Podman makes a container of any folder, or lays one over it.
#[test]
fn a_root_file_system_of_podmans_user_is_judged_as_a_mount_is() {
    let Some(podman) = Podman::start("baseline") else { return };
    let start = |root: &str| {
        let flags = [&["run", "--rm"][..], &LIMITS, &["--rootfs", root]].concat();
        podman.run(&[&flags[..], &["/bin/sh", "-c", "echo started"]].concat())
    };
    let own = podman.path().join("root").display().to_string();
    for root in [own.clone(), format!("{own}:O")] {
        assert_eq!(start(&root).expect(0).stdout, "started\n", "{root}");
    }
    for root in ["/usr", "/usr:O", "/:O"] {
        let ended = start(root);
        assert_ne!(ended.code, 0, "{root} {}", ended.stdout);
        assert!(ended.stderr.contains("of the host would be the container's root"), "{ended:?}");
    }
    // Read-only, it is as a mount of the same is.
    podman.set_policy("version: 1\nname: strict\nengines:\n  host_paths: volumes\n");
    let ended = start(&own);
    assert!(ended.code != 0 && ended.stderr.contains("only the engine's volumes"), "{ended:?}");
    assert_eq!(podman.container(&["--rm"], &["/bin/sh", "-c", "echo x"]).expect(0).stdout, "x\n");
    podman.run(&["rm", "--all", "--force", "--time", "0"]).expect(0);
}

/// What no engine's client asks for by a flag: by the call that an engine makes.
#[test]
fn a_further_process_goes_before_nobody() {
    let Some(podman) = Podman::start("baseline") else { return };
    let id = podman.container(&["--detach"], &["/bin/sleep", "100"]).expect(0).stdout;
    let path = podman.path();
    let exec = |process: serde_json::Value| {
        let mut process = process;
        process["args"] = serde_json::json!(["/bin/echo", "started"]);
        process["cwd"] = serde_json::json!("/");
        process["user"] = serde_json::json!({"uid": 0, "gid": 0});
        std::fs::write(path.join("process.json"), process.to_string()).unwrap();
        let mut command = Command::new(path.join("palisade-runtime"));
        command.arg(format!("--palisade-config={}", path.join("runtime.json").display()));
        command.args(["exec", "--process"]).arg(path.join("process.json")).arg(id.trim());
        finish(command)
    };
    let started = exec(serde_json::json!({"oomScoreAdj": 7})).expect(0).stdout;
    assert_eq!(started, "started\n");
    for (process, expected) in [
        (serde_json::json!({"oomScoreAdj": -1000}), "memory is short"),
        (serde_json::json!({"scheduler": {"policy": "SCHED_FIFO", "priority": 99}}), "run before"),
        (serde_json::json!({"ioPriority": {"class": "IOPRIO_CLASS_RT"}}), "run before"),
    ] {
        let ended = exec(process);
        assert_ne!(ended.code, 0, "{}", ended.stdout);
        assert!(ended.stderr.contains("refuses this process"), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    podman.run(&["rm", "--force", "--time", "0", id.trim()]).expect(0);
}

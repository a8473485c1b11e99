//! containerd's Kubernetes interface (CRI): pods and their containers through a `RuntimeClass`
//! that is ours, as a kubelet asks for them.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use palisade_policy::standing::{self, Entry, Standing};

use super::{alone, is_root};
use crate::support::{Ended, Running, finish, run, wait_for};

const STATUS: &str = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status";
const CONFINED: &str = "CapEff:\t00000000800405fb\nNoNewPrivs:\t1\nSeccomp:\t2\n";
const IMAGE: &str = "docker.io/library/box:latest";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/root/cri.py");
/// The distribution's own, which has gRPC.
const PYTHON: &str = "/usr/bin/python3";

/// containerd with its Kubernetes interface, in namespaces of its own.
struct Node {
    folder: tempfile::TempDir,
    _engine: Running,
    cgroup: String,
}

impl Node {
    fn start() -> Self {
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        let path = folder.path();
        let shown = path.display().to_string();
        std::fs::create_dir_all(path.join("links")).unwrap();
        symlink(env!("CARGO_BIN_EXE_palisade"), path.join("links/palisade-runtime")).unwrap();
        std::fs::create_dir(path.join("net.d")).unwrap();
        let network = serde_json::json!({"cniVersion": "0.4.0", "name": "box", "plugins": [
            {"type": "bridge", "bridge": "box0", "isGateway": true, "ipam": {"type": "host-local",
                "dataDir": path.join("addresses"), "ranges": [[{"subnet": "10.78.0.0/24"}]]}}]});
        std::fs::write(path.join("net.d/10-box.conflist"), network.to_string()).unwrap();
        let plugin = "[plugins.\"io.containerd.grpc.v1.cri\"";
        let mut config = format!(
            "version = 2\nroot = \"{shown}/data\"\nstate = \"{shown}/run\"\n[grpc]\n\
             address = \"{shown}/sock\"\n{plugin}]\nsandbox_image = \"{IMAGE}\"\n\
             disable_tcp_service = true\nrestrict_oom_score_adj = true\n\
             netns_mounts_under_state_dir = true\n{plugin}.cni]\nbin_dir = \"/usr/lib/cni\"\n\
             conf_dir = \"{shown}/net.d\"\n{plugin}.containerd]\nsnapshotter = \"native\"\n"
        );
        for name in ["runc", "palisade"] {
            let _ = writeln!(config, "{plugin}.containerd.runtimes.{name}]");
            config.push_str("runtime_type = \"io.containerd.runc.v2\"\n");
        }
        let _ = writeln!(config, "{plugin}.containerd.runtimes.palisade.options]");
        let _ = writeln!(config, "BinaryName = \"{shown}/links/palisade-runtime\"");
        std::fs::write(path.join("config.toml"), config).unwrap();
        let script = format!(
            "ip link set lo up\nexport PALISADE_RUNTIME_CONFIG={shown}/runtime.json\n\
             containerd --config {shown}/config.toml 2>{shown}/log\n"
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", &script])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let engine = Running::start(command, b"");
        let cgroup = format!("/{}", path.file_name().unwrap().to_string_lossy());
        let node = Self { folder, _engine: engine, cgroup };
        wait_for("containerd to answer", Duration::from_secs(30), || {
            node.cri(&["version"]).code.eq(&0).then_some(())
        });
        super::containerd::import(node.path(), &|args| {
            let mut command = Command::new("ctr");
            command.args(["--address", &format!("{shown}/sock"), "--namespace", "k8s.io"]);
            command.args(args);
            finish(command)
        });
        node
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn set(&self, settings: serde_json::Value) {
        let mut settings = settings;
        settings["state"] = serde_json::json!(self.path().join("state"));
        std::fs::write(self.path().join("runtime.json"), settings.to_string()).unwrap();
    }

    fn cri(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(PYTHON);
        command.arg(CLIENT).arg(self.path().join("sock")).args(args);
        finish(command)
    }

    fn pod(&self, handler: &str, name: &str, asked: &[&str]) -> Ended {
        self.cri(&[&["pod", handler, name, &self.cgroup], asked].concat())
    }

    fn container(&self, pod: &str, name: &str, asked: &[&str]) -> Ended {
        let command = ["--", "/bin/sleep", "100"];
        self.cri(&[&["container", pod, name, &self.cgroup, IMAGE], asked, &command].concat())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path().join("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(10).collect();
            eprintln!("containerd's last words:\n{}", last.join("\n"));
        }
        let group = palisade_sys::Hierarchies::detect().and_then(|all| all.group(&self.cgroup));
        if let Ok(group) = group {
            let _ = group.remove(Duration::from_secs(5));
        }
    }
}

fn can_start() -> bool {
    let grpc = Command::new(PYTHON).args(["-c", "import grpc"]).output();
    for (what, is_there) in [
        ("containerd", Path::new("/usr/bin/containerd").exists()),
        ("containernetworking-plugins", Path::new("/usr/lib/cni/bridge").exists()),
        ("python3-grpcio", grpc.is_ok_and(|output| output.status.success())),
    ] {
        if !is_there {
            eprintln!("skipped: {what} is not installed (scripts/install-deps.sh test)");
            return false;
        }
    }
    is_root()
}

#[track_caller]
fn refused(ended: &Ended, what: &[&str]) {
    assert_ne!(ended.code, 0, "{} {}", ended.stdout, ended.stderr);
    for expected in what {
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    }
}

#[test]
fn pods_of_our_class_are_confined_or_refused_and_others_are_as_they_were() {
    if !can_start() {
        return;
    }
    let _alone = alone();
    let node = Node::start();
    node.set(serde_json::json!({"policy": "baseline"}));
    let pod = |handler: &str, name: &str, asked: &[&str]| -> String {
        node.pod(handler, name, asked).expect(0).stdout.trim().to_string()
    };
    // Another class is none of our business.
    let plain = pod("runc", "plain", &[]);
    let id = node.container(&plain, "one", &[]).expect(0).stdout;
    let ended = node.cri(&["exec", id.trim(), "/bin/sh", "-c", STATUS]).expect(0);
    assert!(ended.stdout.contains("NoNewPrivs:\t0"), "{}", ended.stdout);
    node.cri(&["remove", &plain]).expect(0);

    let ours = pod("palisade", "ours", &[]);
    let id = node.container(&ours, "one", &[]).expect(0).stdout;
    let id = id.trim();
    assert_eq!(node.cri(&["exec", id, "/bin/sh", "-c", STATUS]).expect(0).stdout, CONFINED);
    assert_eq!(node.cri(&["exec", id, "/bin/sh", "-c", "exit 3"]).code, 3);
    // What it was confined by is known by the names that Kubernetes gave.
    let record = std::fs::read_to_string(node.path().join(format!("state/{id}.json"))).unwrap();
    for expected in [r#""name":"one""#, r#""image":"docker.io/library/box:latest""#, "baseline"] {
        assert!(record.contains(expected), "{expected} is not in {record}");
    }
    // The policy's limit is the container's, and a sandbox has what the kubelet gives.
    let sandbox = std::fs::read_to_string(node.path().join(format!("state/{ours}.json"))).unwrap();
    let limit = "/linux/resources/pids/limit";
    assert_eq!((record.contains(limit), sandbox.contains(limit)), (true, false), "{sandbox}");
    // The kubelet's user reads why.
    refused(
        &node.container(&ours, "two", &["cap=SYS_ADMIN"]),
        &["StartContainer", "policy `baseline` refuses this container", "SYS_ADMIN"],
    );
    refused(
        &node.pod("palisade", "host", &["host"]),
        &["RunPodSandbox", "would share the host's network namespace", "host-network"],
    );
    // The sandbox of a privileged pod has no privilege itself.
    let mighty = pod("palisade", "mighty", &["privileged"]);
    refused(&node.container(&mighty, "one", &["privileged"]), &["privileged mode"]);
    for pod in [ours, mighty] {
        node.cri(&["remove", &pod]).expect(0);
    }
    // The files that the plugin makes are the engine's where nothing of the host may be mounted.
    let policy = "version: 1\nname: strict\ncontainers: {user: non_root, read_only_root: true}\n\
        engines: {host_paths: volumes}\n";
    std::fs::write(node.path().join("strict.yaml"), policy).unwrap();
    node.set(serde_json::json!({ "policy": node.path().join("strict.yaml") }));
    let strict = pod("palisade", "strict", &[]);
    refused(&node.container(&strict, "one", &[]), &["would run as root"]);
    node.cri(&["remove", &strict]).expect(0);
    let state = node.path().join("state");
    let kept = std::fs::read_dir(state).unwrap().flatten();
    let kept: Vec<_> =
        kept.map(|entry| entry.file_name()).filter(|name| name != "runtimes").collect();
    assert!(kept.is_empty(), "{kept:?}");
}

/// Sandboxes are judged by their image, too.
#[test]
fn pods_start_of_images_that_were_signed() {
    if !can_start() {
        return;
    }
    let _alone = alone();
    let node = Node::start();
    let path = node.path();
    let policy = "version: 1\nname: signed\nimages:\n  verify: required\n  keys: [shop.pub]\n";
    std::fs::write(path.join("policy.yaml"), policy).unwrap();
    run(path, &["sign", "--generate-key", "shop"]).expect(0);
    node.set(serde_json::json!({
        "policy": path.join("policy.yaml"),
        "standing": path.join("standing.json"),
        "decisions": path.join("decided/decisions"),
        "verifier": "/bin/false",
    }));
    let refusal = node.pod("palisade", "before", &[]);
    refused(&refusal, &["policy `signed` refuses this container", "its image is not trusted"]);
    // By the digest, not for want of one.
    assert!(!refusal.stderr.contains("unknown_images"), "{}", refusal.stderr);
    run(path, &["sign", "--key", "shop.key", "oci:layout"]).expect(0);
    let decided = path.join("decided").display().to_string();
    let policy = path.join("policy.yaml").display().to_string();
    let verify = ["--data-dir", &decided, "verify", "--policy", &policy, "--reference", IMAGE];
    run(path, &[&verify[..], &["oci:layout"]].concat()).expect(0);
    let pod = node.pod("palisade", "after", &[]).expect(0).stdout;
    let id = node.container(pod.trim(), "one", &[]).expect(0).stdout;
    assert_eq!(node.cri(&["exec", id.trim(), "/bin/sh", "-c", "exit 4"]).code, 4);
    // An image in quarantine starts nothing more, in a pod that runs as well.
    let index = std::fs::read_to_string(path.join("layout/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let entry = Entry {
        what: index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap(),
        since: palisade_base::Timestamp::from_nanos(0),
        owner: "me".into(),
        reason: "intruder".into(),
    };
    let mut standing = Standing::default();
    standing::add(&mut standing.images, entry).unwrap();
    standing.write(&path.join("standing.json")).unwrap();
    refused(&node.container(pod.trim(), "two", &[]), &["is in quarantine", "intruder"]);
    node.cri(&["remove", pod.trim()]).expect(0);
}

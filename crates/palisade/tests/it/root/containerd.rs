//! containerd by itself, without Docker: what `ctr` starts is confined by the name of our
//! runtime, and by the distribution's when our folder comes first in its search path.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use super::{alone, is_root};
use crate::layout::{Layer, Layout};
use crate::support::{Ended, Running, finish, run, wait_for};

const STATUS: &str = "grep -E 'CapEff|NoNewPrivs' /proc/self/status";
const CONFINED: &str = "CapEff:\t00000000800405fb\nNoNewPrivs:\t1\n";

#[test]
fn what_ctr_starts_is_confined_whichever_runtime_it_names() {
    if !is_root() {
        return;
    }
    for program in ["/usr/bin/containerd", "/usr/bin/ctr", "/bin/busybox"] {
        if !std::path::Path::new(program).exists() {
            eprintln!("skipped: {program} is not installed (scripts/install-deps.sh test)");
            return;
        }
    }
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
    let path = folder.path();
    let shown = path.display().to_string();
    let settings = serde_json::json!({"policy": "baseline", "state": path.join("state")});
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    let (engine, ctr) = start(path, "");
    let begin = |flags: &[&str], name: &str, line: &str| {
        let head = ["run", "--rm", "--snapshotter", "native"];
        let tail = ["docker.io/library/box:latest", name, "/bin/sh", "-c", line];
        ctr(&[&head[..], flags, &tail].concat())
    };
    let ours = format!("{shown}/links/palisade-runtime");
    assert_eq!(begin(&["--runc-binary", &ours], "one", STATUS).expect(0).stdout, CONFINED);
    // By no name, and so by the search path of containerd.
    assert_eq!(begin(&[], "two", STATUS).expect(0).stdout, CONFINED);
    for flags in [&["--privileged"][..], &["--cap-add", "CAP_SYS_ADMIN"], &["--net-host"]] {
        let ended = begin(flags, "three", "true");
        assert_ne!(ended.code, 0, "{flags:?}");
        assert!(ended.stderr.contains("policy `baseline` refuses"), "{}", ended.stderr);
    }
    let head = ["run", "--detach", "--snapshotter", "native", "docker.io/library/box:latest"];
    ctr(&[&head[..], &["web", "/bin/sleep", "100"]].concat()).expect(0);
    let exec = ["task", "exec", "--exec-id", "x", "web", "/bin/sh", "-c", STATUS];
    assert_eq!(ctr(&exec).expect(0).stdout, CONFINED);
    ctr(&["task", "kill", "--signal", "9", "web"]).expect(0);
    wait_for("the task's end", Duration::from_mins(1), || {
        ctr(&["task", "delete", "web"]).code.eq(&0).then_some(())
    });
    ctr(&["container", "delete", "web"]).expect(0);
    signatures(path, &|| begin(&["--runc-binary", &ours], "four", "echo started"));
    drop(engine);
}

/// Starts containerd in `path`, by the settings that are there, after a shell's lines `before`,
/// and imports `box`; returns its client, too.
pub(crate) fn start(
    path: &std::path::Path,
    before: &str,
) -> (Running, impl Fn(&[&str]) -> Ended + use<>) {
    let shown = path.display().to_string();
    std::fs::create_dir(path.join("links")).unwrap();
    for name in ["palisade-runtime", "runc"] {
        symlink(env!("CARGO_BIN_EXE_palisade"), path.join("links").join(name)).unwrap();
    }
    let config = format!(
        "version = 2\nroot = \"{shown}/data\"\nstate = \"{shown}/run\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{shown}/sock\"\n"
    );
    std::fs::write(path.join("config.toml"), config).unwrap();
    let script = format!(
        "{before}export PATH={shown}/links:$PATH PALISADE_RUNTIME_CONFIG={shown}/runtime.json\n\
         containerd --config {shown}/config.toml 2>{shown}/log\n"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c", &script])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let engine = Running::start(command, b"");
    let ctr = move |args: &[&str]| -> Ended {
        let mut command = Command::new("ctr");
        command.args(["--address", &format!("{shown}/sock")]).args(args);
        finish(command)
    };
    wait_for("containerd to answer", Duration::from_secs(30), || {
        ctr(&["version"]).code.eq(&0).then_some(())
    });
    import(path, &ctr);
    (engine, ctr)
}

/// With a policy that names who must have signed, `box` starts once it was verified: containerd's
/// own database says which image a container is made of.
fn signatures(path: &std::path::Path, start: &dyn Fn() -> Ended) {
    let policy = "version: 1\nname: signed\nimages:\n  verify: required\n  keys: [shop.pub]\n";
    std::fs::write(path.join("policy.yaml"), policy).unwrap();
    let settings = serde_json::json!({
        "policy": path.join("policy.yaml"),
        "state": path.join("state"),
        "standing": path.join("data/standing.json"),
        "decisions": path.join("decided/decisions"),
        "verifier": "/bin/false",
    });
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    run(path, &["sign", "--generate-key", "shop"]).expect(0);
    let refused = start();
    assert_ne!(refused.code, 0);
    for expected in ["policy `signed` refuses this container", "its image is not trusted"] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    // By the digest, not for want of one.
    assert!(!refused.stderr.contains("unknown_images"), "{}", refused.stderr);
    run(path, &["sign", "--key", "shop.key", "oci:layout"]).expect(0);
    let decided = path.join("decided").display().to_string();
    let policy = path.join("policy.yaml").display().to_string();
    let name = "docker.io/library/box:latest";
    let verify = ["--data-dir", &decided, "verify", "--policy", &policy, "--reference", name];
    run(path, &[&verify[..], &["oci:layout"]].concat()).expect(0);
    assert_eq!(start().expect(0).stdout, "started\n");
}

/// Gives containerd the image `box`, as an archive of an OCI layout.
pub(crate) fn import(path: &std::path::Path, ctr: &dyn Fn(&[&str]) -> Ended) {
    let mut layer = Layer::new().folder("bin/", 0o755).folder("tmp/", 0o1777);
    let busybox = std::fs::read("/bin/busybox").unwrap();
    layer = layer.file("bin/busybox", 0o755, busybox);
    // What a pod's sandbox runs.
    layer = layer.file("pause", 0o755, "#!/bin/sh\nexec /bin/sleep 1000\n");
    for name in ["sh", "grep", "sleep", "true"] {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    let config = serde_json::json!({ "Cmd": ["/pause"] });
    Layout::write(&path.join("layout"), vec![layer], &config);
    let tar = Command::new("tar")
        .current_dir(path)
        .args(["-C", "layout", "-cf", "layout.tar", "."])
        .status();
    assert!(tar.unwrap().success());
    let archive = path.join("layout.tar").display().to_string();
    let args = ["image", "import", "--no-unpack", "--base-name", "docker.io/library/box"];
    ctr(&[&args[..], &[&archive]].concat()).expect(0);
}

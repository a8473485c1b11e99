//! Labels that a real engine gave its containers decide which playbook their alerts start.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::docker::{Docker, Setup, can_start};
use crate::support::{Running, finish, wait_for};

/// One file that nobody else asks for: nothing but the test's containers can be acted upon.
fn canary() -> String {
    format!("/tmp/canary-labels-{}", std::process::id())
}

const PLAYBOOK: &str = "
playbook: front
owner: the test
on: {rules: [Canary], labels: {tier: front, org.example.team: shop}}
steps:
  - freeze:
    for: 10m
";

/// Whoever opens the canary is told.
fn rule(canary: &str) -> String {
    format!(
        "- rule: Canary\n  desc: The canary was asked for.\n  \
         condition: evt.type in (open, openat) and fd.name startswith {canary}\n  \
         output: canary %fd.name\n  priority: CRITICAL\n"
    )
}

fn orders(docker: &Docker) -> Vec<Value> {
    let ended = finish(docker.ours(&["respond", "orders", "--format", "json"]));
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    document["orders"].as_array().cloned().unwrap_or_default()
}

#[test]
fn labels_of_docker_choose_the_playbook() {
    if !can_start() {
        return;
    }
    if !Path::new("/var/lib/docker").is_dir() {
        eprintln!("skipped: no /var/lib/docker to bind the engine's data over");
        return;
    }
    let docker = Docker::start(Setup::Plain);
    let folder = docker.folder.path();
    let canary = canary();
    std::fs::write(folder.join("rules.yaml"), rule(&canary)).unwrap();
    std::fs::write(folder.join("front.yaml"), PLAYBOOK).unwrap();
    let flags = [
        "watch",
        "--rules",
        "rules.yaml",
        "--no-builtin-rules",
        "--playbooks",
        "front.yaml",
        "--fold-seconds",
        "0",
        "--respond",
        "on",
        "--ready-file",
        "ready",
    ];
    let mut watch = Running::start(docker.ours(&flags), b"");
    wait_for("attached sensor", SOON, || {
        assert!(!watch.has_ended(), "watch has ended: {}", watch.stderr());
        folder.join("ready").exists().then_some(())
    });
    let team = ["--label", "org.example.team=shop"];
    let sleep = ["/bin/sleep", "300"];
    for (name, tier) in [("front", "tier=front"), ("back", "tier=back")] {
        let flags = ["--detach", "--name", name, "--label", tier];
        docker.container(&[&flags[..], &team].concat(), &sleep).expect(0);
    }
    docker.container(&["--detach", "--name", "bare"], &sleep).expect(0);
    let attack = format!("true <{canary}");
    // The one that must start something comes last, so that the others have had their time.
    for name in ["bare", "back", "front"] {
        docker.run(&["exec", name, "/bin/sh", "-c", &attack]);
    }
    let order = wait_for("order about the container with the labels", SOON, || {
        orders(&docker).into_iter().find(|order| order.to_string().contains("front"))
    });
    wait_for("three alerts", SOON, || {
        (watch.stdout().matches("canary ").count() >= 3).then_some(())
    });
    let all = orders(&docker);
    assert_eq!(all.len(), 1, "{all:#?}");
    let id = docker.run(&["inspect", "--format", "{{.Id}}", "front"]).expect(0).stdout;
    assert!(order.to_string().contains(id.trim()), "{order:#}");
    let is_paused = |name: &str| {
        let group = palisade_sys::Hierarchies::detect().unwrap();
        let id = docker.run(&["inspect", "--format", "{{.Id}}", name]).expect(0).stdout;
        let group = group.group(&format!("{}/{}", docker.cgroup, id.trim())).unwrap();
        group.is_frozen().unwrap()
    };
    wait_for("freeze", SOON, || is_paused("front").then_some(()));
    assert!(!is_paused("back") && !is_paused("bare"));
    let order = order["order"]["id"].as_str().unwrap().to_string();
    watch.signal(Signal::TERM);
    watch.wait(SOON);
    finish(docker.ours(&["respond", "undo", &order])).expect(0);
    assert!(!is_paused("front"));
}

/// Containers of Podman's own store that are gone with this value.
struct Podman(Vec<String>);

impl Podman {
    /// The command for containers without an image, a network and an init system.
    fn command(args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]).args(args);
        command
    }

    fn container(&mut self, root: &Path, name: &str, labels: &[&str]) -> String {
        let name = format!("palisade-it-{name}-{}", std::process::id());
        let mut command = Self::command(&["run", "--detach", "--name", &name, "--network", "none"]);
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args(labels.iter().flat_map(|label| ["--label", label]));
        command.arg("--rootfs").arg(root).args(["/bin/sleep", "300"]);
        let id = finish(command).expect(0).stdout.trim().to_string();
        self.0.push(id.clone());
        id
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for id in &self.0 {
            let _gone = Self::command(&["rm", "--force", "--time", "0", id]).output();
        }
    }
}

#[test]
fn labels_of_podman_choose_the_playbook() {
    let Some(bed) = Bed::new() else { return };
    if !Path::new("/usr/bin/podman").exists() {
        eprintln!("skipped: podman is not installed");
        return;
    }
    let canary = canary();
    std::fs::write(bed.path().join("rules.yaml"), rule(&canary)).unwrap();
    std::fs::write(bed.path().join("front.yaml"), PLAYBOOK).unwrap();
    let flags = ["--rules", "rules.yaml", "--no-builtin-rules", "--playbooks", "front.yaml"];
    let watch = bed.watch(&[&flags[..], &["--fold-seconds", "0", "--respond", "on"]].concat());
    let mut podman = Podman(Vec::new());
    let team = "org.example.team=shop";
    let mut made = Vec::new();
    for (name, labels) in
        [("bare", &[][..]), ("back", &["tier=back", team]), ("front", &["tier=front", team])]
    {
        let root = bed.path().join(name);
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "true"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        made.push(podman.container(&root, name, labels));
    }
    let attack = format!("true <{canary}");
    for id in &made {
        let _it_is_not_there = finish(Podman::command(&["exec", id, "/bin/sh", "-c", &attack]));
    }
    let orders = || -> Vec<Value> {
        let ended = bed.run(&["respond", "orders", "--format", "json"]);
        let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        document["orders"].as_array().cloned().unwrap_or_default()
    };
    let front = made.last().unwrap();
    let order = wait_for("order about the container with the labels", SOON, || {
        orders().into_iter().find(|order| order.to_string().contains(front.as_str()))
    });
    wait_for("three alerts", SOON, || {
        (watch.stdout().matches("canary ").count() >= 3).then_some(())
    });
    assert_eq!(orders().len(), 1, "{:#?}", orders());
    let order = order["order"]["id"].as_str().unwrap().to_string();
    watch.signal(Signal::TERM);
    watch.wait(SOON);
    bed.run(&["respond", "undo", &order]).expect(0);
}

//! Labels that a real engine gave its containers decide which playbook their alerts start.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::SOON;
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
    let rule = format!(
        "- rule: Canary\n  desc: The canary was asked for.\n  \
         condition: evt.type in (open, openat) and fd.name startswith {canary}\n  \
         output: canary %fd.name\n  priority: CRITICAL\n"
    );
    std::fs::write(folder.join("rules.yaml"), rule).unwrap();
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
    let order = order["order"].as_str().or(order["id"].as_str()).unwrap().to_string();
    watch.signal(Signal::TERM);
    watch.wait(SOON);
    finish(docker.ours(&["respond", "undo", &order, "--owner", "the test"])).expect(0);
    assert!(!is_paused("front"));
}

//! Podman on our runtime, with a policy that names who must have signed: images are pulled from
//! a registry, and started or refused.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use palisade_base::Digest;

use super::docker::{Docker, LIMITS as DOCKERS, Setup, can_start, make_root};
use super::{alone, is_root};
use crate::layout::{Layout, gzip};
use crate::signing::Registry;
use crate::support::{Ended, finish, run};

/// Limits below those of this process: an engine's own ask for more than a machine may give.
const LIMITS: [&str; 6] =
    ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"];

/// Podman with everything in `folder`.
fn podman(folder: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new("podman");
    let settings = folder.join("runtime.json");
    command.arg("--runtime-flag").arg(format!("palisade-config={}", settings.display()));
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
    for (flag, name) in
        [("--root", "store"), ("--runroot", "run"), ("--runtime", "palisade-runtime")]
    {
        command.arg(flag).arg(folder.join(name));
    }
    command.args(args).env("HOME", folder);
    finish(command)
}

fn start(folder: &Path, image: &str) -> Ended {
    let line = ["/bin/sh", "-c", "echo started"];
    podman(folder, &[&["run", "--rm", "--pull", "never"][..], &LIMITS, &[image], &line].concat())
}

/// Makes what is in `root` an image in the layout `image`.
fn make_image(folder: &Path) {
    let tar = Command::new("tar")
        .current_dir(folder)
        .args(["-C", "root", "-cf", "box.tar", "."])
        .status();
    assert!(tar.unwrap().success());
    let tar = std::fs::read(folder.join("box.tar")).unwrap();
    let layers = vec![(gzip(&tar), Digest::of(&tar))];
    Layout::write_packed(&folder.join("image"), layers, &serde_json::json!({}), |_| {});
}

#[track_caller]
fn refused(ended: &Ended, what: &[&str]) {
    assert_ne!(ended.code, 0, "{} {}", ended.stdout, ended.stderr);
    for expected in [&["its image is not trusted"], what].concat() {
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    }
}

#[test]
fn podman_starts_what_the_policy_trusts_and_says_why_not_otherwise() {
    if !is_root() {
        return;
    }
    for program in ["/usr/bin/podman", "/bin/busybox"] {
        if !Path::new(program).exists() {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let Some(registry) = Registry::start() else { return };
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
    let path = folder.path();
    symlink(env!("CARGO_BIN_EXE_palisade"), path.join("palisade-runtime")).unwrap();
    let policy = format!(
        "version: 1\nname: signed\nimages:\n  verify: required\n  trust:\n    \
         - {{name: shop, images: [\"{}/team/*\"], keys: [shop.pub]}}\n",
        registry.host
    );
    std::fs::write(path.join("policy.yaml"), policy).unwrap();
    let settings = serde_json::json!({
        "policy": path.join("policy.yaml"),
        "state": path.join("state"),
        "standing": path.join("data/standing.json"),
        "decisions": path.join("data/decisions"),
    });
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    make_root(path);
    make_image(path);
    run(path, &["sign", "--generate-key", "shop"]).expect(0);
    let name = |repository: &str| format!("{}/{repository}:1", registry.host);
    for repository in ["team/shop", "team/unsigned", "other/shop"] {
        run(path, &["copy", "oci:image", &name(repository)]).expect(0);
    }
    run(path, &["sign", "--key", "shop.key", &name("team/shop")]).expect(0);
    run(path, &["sign", "--key", "shop.key", &name("other/shop")]).expect(0);
    for repository in ["team/shop", "team/unsigned", "other/shop"] {
        podman(path, &["pull", "--quiet", "--tls-verify=false", &name(repository)]).expect(0);
    }

    // Nobody has decided yet: the runtime has it verified, then remembers.
    assert_eq!(start(path, &name("team/shop")).expect(0).stdout, "started\n");
    let n = std::fs::read_dir(path.join("data/decisions")).unwrap().count();
    assert!(n > 1, "{n}");
    // No rule is about the one, nobody signed the other: the same image, by other names.
    refused(&start(path, &name("other/shop")), &["policy `signed`", "no rule of the policy"]);
    refused(&start(path, &name("team/unsigned")), &["is not signed", "unsigned-image"]);

    // What is decided holds without the registry, and costs nothing to speak of.
    let host = registry.host.clone();
    drop(registry);
    start(path, &format!("{host}/team/shop:1")).expect(0);
    let unsigned = start(path, &format!("{host}/team/unsigned:1"));
    refused(&unsigned, &["Connection refused"]);

    // An image that was made here has no name that a rule is about, and no registry.
    podman(path, &["import", &path.join("box.tar").to_string_lossy(), "box"]).expect(0);
    refused(&start(path, "box"), &["no rule of the policy"]);
    // Annotations of the container's user change nothing.
    let stolen = ["--annotation", "io.kubernetes.cri.image-name=x"];
    let ended =
        podman(path, &[&["run", "--rm"][..], &stolen, &LIMITS, &["box", "/bin/true"]].concat());
    refused(&ended, &["no rule of the policy"]);

    // Another key: nothing that was decided holds.
    run(path, &["sign", "--generate-key", "other"]).expect(0);
    std::fs::copy(path.join("other.pub"), path.join("shop.pub")).unwrap();
    refused(&start(path, &format!("{host}/team/shop:1")), &["Connection refused"]);
    podman(path, &["rm", "--all", "--force"]).expect(0);
}

#[test]
fn docker_starts_what_was_verified_by_its_image_id() {
    if !can_start() {
        return;
    }
    if !Path::new("/usr/bin/skopeo").exists() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let docker = Docker::start(Setup::Palisade("baseline"));
    let path = docker.folder.path();
    make_image(path);
    let name = "r.example/team/shop:1";
    let mut command = Command::new("skopeo");
    command.current_dir(path).args(["--insecure-policy", "copy", "--quiet", "oci:image"]);
    command.arg(format!("docker-archive:shop.tar:{name}"));
    finish(command).expect(0);
    docker.run(&["load", "--quiet", "--input", "shop.tar"]).expect(0);
    run(path, &["sign", "--generate-key", "shop"]).expect(0);
    let policy = "version: 1\nname: signed\nimages:\n  verify: required\n  trust:\n    \
                  - {name: shop, images: [\"r.example/team/*\"], keys: [shop.pub]}\n";
    std::fs::write(path.join("policy.yaml"), policy).unwrap();
    let settings = serde_json::json!({
        "policy": path.join("policy.yaml"),
        "state": path.join("state"),
        "standing": path.join("data/standing.json"),
        "decisions": path.join("data/decisions"),
        // Nothing is asked of registries that are not there.
        "verifier": "/bin/false",
    });
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    let start = |image: &str| {
        docker.run(&[&["run", "--rm"][..], &DOCKERS, &[image, "/bin/echo", "started"]].concat())
    };
    refused(&start(name), &["policy `signed`"]);
    let policy = path.join("policy.yaml").display().to_string();
    let verify = ["verify", "--policy", &policy, "--reference", name, "oci:image"];
    run(path, &verify).expect(1);
    refused(&start(name), &["policy `signed`"]);
    run(path, &["sign", "--key", "shop.key", "oci:image"]).expect(0);
    run(path, &verify).expect(0);
    assert_eq!(start(name).expect(0).stdout, "started\n");
    // By its id as well: the engine knows what it is called.
    let id = docker.run(&["inspect", "--format", "{{.Id}}", name]).expect(0).stdout;
    assert_eq!(start(id.trim()).expect(0).stdout, "started\n");
    // The same name for other content, and the same content by another name.
    refused(&start("box"), &["policy `signed`"]);
    docker.run(&["tag", name, "r.example/other/shop:1"]).expect(0);
    refused(&start("r.example/other/shop:1"), &["policy `signed`"]);
    docker.run(&["tag", "box", name]).expect(0);
    refused(&start(name), &["policy `signed`"]);
}

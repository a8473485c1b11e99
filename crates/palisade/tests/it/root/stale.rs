//! `palisade patch stale` beside containers that run: Docker's, Podman's and our own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::docker::{Docker, LIMITS, Setup, can_start};
use crate::layout::{self, DPKG_STATUS, OS_RELEASE};
use crate::patch::{gpg, publish};
use crate::registry::{helper, registry};
use crate::scan_sbom::build_database;
use crate::support::{Ended, finish, palisade};

const SLEEP: [&str; 2] = ["/bin/sleep", "300"];

/// Engines, images and what they are compared with.
struct Shop {
    docker: Docker,
    /// Host and port of a registry that has one image, under every name with the tag `1.0`.
    registry: String,
}

impl Shop {
    fn path(&self) -> &Path {
        self.docker.folder.path()
    }

    /// Our own folder: what is below `data` is ours, and the engine has one of that name.
    fn own(&self) -> PathBuf {
        self.path().join("own")
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/team/{rest}", self.registry)
    }

    /// Makes what `box` is a package behind its repository.
    fn make_vulnerable(&self) {
        let root = self.path().join("root");
        let write = |name: &str, bytes: &[u8]| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("etc/os-release", OS_RELEASE.as_bytes());
        let list = "deb [signed-by=/usr/share/keyrings/owner.gpg] http://shop.example/debian \
                    bookworm-security main\n";
        write("etc/apt/sources.list", list.as_bytes());
        let key = gpg(&self.own(), &["--export", "owner@example.org"]);
        write("usr/share/keyrings/owner.gpg", &key);
        write("var/lib/dpkg/status", DPKG_STATUS.as_bytes());
        self.docker.import();
    }

    fn palisade(&self, args: &[&str]) -> Ended {
        let path = self.path().display();
        let mut command = palisade(&self.own());
        command
            .env("PATH", format!("{path}/own:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"));
        command.args(args).arg("--store").arg(format!("docker={path}/data"));
        command.arg("--store").arg(format!("podman={path}/podman"));
        finish(command)
    }

    fn stale(&self, flags: &[&str], code: i32) -> Value {
        let ended =
            self.palisade(&[&["patch", "stale", "--format", "json"], flags].concat()).expect(code);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    fn run(&self, name: &str, image: &str) {
        let flags = ["run", "--detach", "--network", "none", "--name", name];
        self.docker.run(&[&flags[..], &LIMITS, &[image], &SLEEP].concat()).expect(0);
    }
}

/// Podman with a store of its own; what it runs ends with it.
struct Podman(PathBuf);

impl Podman {
    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("podman");
        command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]);
        command.arg("--root").arg(self.0.join("podman"));
        command.arg("--runroot").arg(self.0.join("podman-run"));
        command.args(["--runtime", "runc"]).args(args);
        finish(command)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.run(&["rm", "--all", "--force", "--time", "0"]);
    }
}

/// Our own containers end with the test.
struct Own<'a>(&'a Shop);

impl Drop for Own<'_> {
    fn drop(&mut self) {
        let mut command = palisade(&self.0.own());
        let _ = command.args(["stop", "--all", "--grace", "0"]).output();
    }
}

/// The row of one container; others may run on this machine.
#[track_caller]
fn row<'v>(document: &'v Value, name: &str) -> &'v Value {
    let all = document["containers"].as_array().unwrap();
    let mut of_it = all.iter().filter(|one| one["name"] == name);
    of_it.next().unwrap_or_else(|| panic!("no container {name}: {document:#}"))
}

#[track_caller]
fn check(document: &Value, name: &str, expected: [&str; 2]) {
    let row = row(document, name);
    let found = [&row["state"], &row["asked"]].map(|one| one.as_str().unwrap_or_default());
    assert_eq!(found, expected, "{name}: {document:#}");
}

#[test]
fn containers_that_are_behind_their_tag_or_can_be_patched() {
    if !can_start() {
        return;
    }
    let docker = Docker::start(Setup::Plain);
    layout::plain(&docker.folder.path().join("other"));
    let registry = registry(docker.folder.path().join("other"));
    let shop = Shop { docker, registry };
    let path = shop.path();
    let ours = shop.own();
    std::fs::create_dir_all(ours.join("gnupg")).unwrap();
    build_database(&ours).expect(0);
    gpg(&ours, &["--passphrase", "", "--quick-gen-key", "owner@example.org", "ed25519"]);
    publish(&ours, "Sat, 01 Jan 2050 00:00:00 UTC");

    let (local, remote) = (shop.name("shop:2.0"), shop.name("other:1.0"));
    let tag = |name: &str| shop.docker.run(&["tag", "box", name]).expect(0);
    tag(&local);
    shop.run("old", &local);
    let podman = Path::new("/usr/bin/podman").exists().then(|| Podman(path.to_path_buf()));
    let import = |podman: &Podman| {
        podman.run(&["import", &path.join("box.tar").to_string_lossy(), &local]).expect(0);
    };
    let run = |podman: &Podman, name: &str| {
        let flags = ["run", "--detach", "--network", "none", "--name", name];
        podman.run(&[&flags[..], &LIMITS, &[local.as_str()], &SLEEP].concat()).expect(0);
    };
    if let Some(podman) = &podman {
        import(podman);
        run(podman, "podman-old");
    }
    shop.make_vulnerable();
    tag(&local);
    tag(&remote);
    shop.run("new", &local);
    shop.run("ahead", &remote);
    if let Some(podman) = &podman {
        import(podman);
        run(podman, "podman-new");
    }
    let own = Own(&shop);
    let image = format!("docker:{local}");
    let flags = ["run", "--detach", "--name", "own", &image, "--store"];
    let store = format!("docker={}/data", path.display());
    let mut command = palisade(&ours);
    command.args(flags).arg(&store).arg("--").args(SLEEP);
    finish(command).expect(0);

    let document = shop.stale(&["--offline"], 1);
    check(&document, "old", ["behind", "docker"]);
    let of = |name: &str| row(&document, name);
    assert_eq!(of("old")["now"], of("new")["now"], "{document:#}");
    for name in ["new", "ahead", "own"] {
        check(&document, name, ["current", "docker"]);
        assert!(of(name).get("n_fixable").is_none());
    }
    if podman.is_some() {
        check(&document, "podman-old", ["behind", "podman"]);
        check(&document, "podman-new", ["current", "podman"]);
    }

    // The registry, and what the repositories fix.
    helper(&ours, &shop.registry);
    let mirror = format!("http://shop.example/debian=file://{}/mirror", ours.display());
    let document = shop.stale(&["--plan", "--repository-mirror", &mirror], 1);
    check(&document, "ahead", ["behind", "registry"]);
    for name in ["new", "ahead", "own"].into_iter().chain(podman.as_ref().map(|_| "podman-new")) {
        let row = row(&document, name);
        assert_eq!((&row["n_fixable"], &row["n_upgrades"]), (&2.into(), &1.into()), "{row:#}");
    }
    let problems = row(&document, "old")["problems"].to_string();
    assert!(
        problems.contains("no plan: ") && problems.contains("no database of dpkg, apk or rpm"),
        "{problems}"
    );
    let problems = row(&document, "new")["problems"].to_string();
    assert!(problems.contains("has no manifest 2.0"), "{problems}");

    // Our own container is behind once its name means another image.
    std::fs::write(path.join("root/etc/more"), "more").unwrap();
    shop.docker.import();
    tag(&local);
    let document = shop.stale(&["--offline"], 1);
    check(&document, "own", ["behind", "docker"]);
    check(&document, "new", ["behind", "docker"]);
    check(&document, "ahead", ["current", "docker"]);
    drop(own);
}

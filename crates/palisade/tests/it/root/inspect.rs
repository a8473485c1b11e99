//! `palisade inspect`: what containers expose, with a remedy that can be taken.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::bed::{Bed, SOON};
use super::docker::make_root;
use crate::support::{finish, wait_for};

/// Rows of the exposures: stable name, level, what it has, what closes it.
fn exposures(found: &Value) -> Vec<[String; 4]> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_string();
    let rows = found["exposures"].as_array().unwrap().iter();
    rows.map(|one| ["id", "level", "has", "policy"].map(|key| text(one, key))).collect()
}

#[test]
fn a_container_of_our_own_exposes_none_of_what_every_container_has() {
    let Some(bed) = Bed::new() else { return };
    bed.detach("shop", &[], "sleep 60");
    let ended = bed.run(&["inspect", "shop", "--format", "json"]).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(found["container"]["policy"], "baseline", "{found:#}");
    let mounts = found["found"]["mounts"].as_array().unwrap();
    // It has a user namespace, so its devices are binds of the host's, and they hide files.
    for at in ["/dev/null", "/dev/urandom", "/dev/tty"] {
        let mount = mounts.iter().find(|mount| mount["destination"] == at).unwrap();
        assert_eq!((&mount["host"], &mount["engine"]), (&at.into(), &true.into()), "{found:#}");
    }
    let is_mask = |mount: &&Value| {
        mount["host"] == "/dev/null" && mount["destination"].as_str().unwrap().starts_with("/proc/")
    };
    assert!(mounts.iter().filter(is_mask).count() > 0, "{found:#}");
    let exposures = exposures(&found);
    assert!(
        exposures.iter().all(|[id, level, ..]| id != "host-path" && level != "high"),
        "{exposures:#?}"
    );
    let text = bed.run(&["inspect", "shop"]).expect(0).stdout;
    assert!(text.contains("\n0 high, "), "{text}");
    assert!(!text.contains("of the host, writable"), "{text}");
    bed.run(&["stop", "shop", "--grace", "0"]).expect(0);
    bed.run(&["inspect", "shop"]).expect_error(3, "no container `shop` is running");
}

/// A store of Podman's own, gone with this value.
struct Store<'a> {
    bed: &'a Bed,
    name: String,
}

impl Store<'_> {
    /// The command for containers without an image, a network and an init system.
    fn podman(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.bed.path().join("store"));
        command.arg("--runroot").arg(self.bed.path().join("runroot"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        command.args(["--runtime", "runc"]).args(args);
        command
    }
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        let _gone = self.podman(&["rm", "--force", "--time", "0", &self.name]).output();
    }
}

#[test]
fn a_container_of_nobody_s_is_told_to_have_its_engine_set_up() {
    let Some(bed) = Bed::new() else { return };
    if !Path::new("/usr/bin/podman").exists() {
        eprintln!("skipped: podman is not installed");
        return;
    }
    let store = Store { bed: &bed, name: format!("palisade-it-inspect-{}", std::process::id()) };
    let root = make_root(bed.path());
    let mut command = store.podman(&["run", "--detach", "--name", &store.name]);
    command.args(["--network", "none", "--volume", "/etc/ssl:/x", "--pid", "host"]);
    command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
    command.arg("--rootfs").arg(&root).args(["/bin/sleep", "300"]);
    finish(command).expect(0);
    let named = format!("podman={}", bed.path().join("store").display());
    let look = |format: &str| {
        let args = ["inspect", &store.name, "--store", &named, "--format", format];
        bed.run(&args).expect(0).stdout
    };
    // By its name, which a store of the driver `vfs` keeps where `overlay` would not.
    let found =
        wait_for("the container", SOON, || serde_json::from_str::<Value>(&look("json")).ok());
    assert_eq!(found["container"]["name"], store.name.as_str(), "{found:#}");
    let exposures = exposures(&found);
    for (id, has) in [("host-namespace", "the host's pid namespace"), ("host-path", "`/etc/ssl`")] {
        let is_it = |row: &&[String; 4]| row[0] == id && row[2].contains(has);
        let row = exposures.iter().find(is_it).unwrap_or_else(|| panic!("{id}: {exposures:#?}"));
        assert!(row[3].starts_with("palisade install podman: "), "{row:?}");
    }
    let text = look("text");
    assert!(text.contains("nothing of Palisade's (palisade install podman)"), "{text}");
    assert!(!text.contains("engines.exceptions"), "there is none to take away: {text}");
}

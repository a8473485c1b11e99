//! The program as the OCI runtime of a real engine, with a store and state of its own.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{alone, is_root};
use crate::support::{Ended, finish};

/// Limits below those of this process: an engine's own ask for more than a machine may give.
const LIMITS: [&str; 6] =
    ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"];
const STATUS: &str = "grep -E 'CapEff|NoNewPrivs' /proc/self/status";

/// Podman with everything in `folder`, on our runtime.
struct Podman<'a>(&'a Path);

impl Podman<'_> {
    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("podman");
        // conmon passes no variables on.
        let settings = self.0.join("runtime.json");
        command.arg("--runtime-flag").arg(format!("palisade-config={}", settings.display()));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        for (flag, name) in
            [("--root", "store"), ("--runroot", "run"), ("--runtime", "palisade-runtime")]
        {
            command.arg(flag).arg(self.0.join(name));
        }
        command.args(args);
        finish(command)
    }

    fn container(&self, flags: &[&str], command: &[&str]) -> Ended {
        self.run(&[&["run"][..], flags, &LIMITS, &["box"], command].concat())
    }
}

/// What `/proc/self/status` has behind `name`.
fn fact<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

#[test]
fn podmans_containers_and_their_further_processes_are_confined_or_refused() {
    if !is_root() {
        return;
    }
    for program in ["/usr/bin/podman", "/bin/busybox"] {
        if !Path::new(program).exists() {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
    let path = folder.path();
    symlink(env!("CARGO_BIN_EXE_palisade"), path.join("palisade-runtime")).unwrap();
    let settings =
        format!(r#"{{"policy": "baseline", "state": "{}"}}"#, path.join("state").display());
    std::fs::write(path.join("runtime.json"), settings).unwrap();
    let bin = path.join("root/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in ["sh", "grep", "sleep"] {
        symlink("busybox", bin.join(name)).unwrap();
    }
    let tar =
        Command::new("tar").current_dir(path).args(["-C", "root", "-cf", "box.tar", "."]).status();
    assert!(tar.unwrap().success());
    let podman = Podman(path);
    podman.run(&["import", &path.join("box.tar").to_string_lossy(), "box"]).expect(0);

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
    std::fs::write(path.join("runtime.json"), "{").unwrap();
    let ended = podman.container(&["--rm"], &["/bin/sh", "-c", "true"]);
    assert!(ended.code != 0 && ended.stderr.contains("runtime.json"), "{}", ended.stderr);
    podman.run(&["rm", "--force", "--time", "0", "web"]).expect(0);
    let left = podman.run(&["ps", "--all", "--quiet"]).expect(0).stdout;
    assert_eq!(left, "");
}

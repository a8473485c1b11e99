//! The agent in a root file system of its own with the capabilities of the recipe, as the image
//! runs it: no engine is needed to find out whether they suffice.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::watch::IDLE;
use crate::support::{Running, finish, wait_for};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

/// The capabilities that the manifest adds.
fn capabilities() -> Vec<String> {
    let manifest = std::fs::read_to_string(packaging().join("daemonset.yaml")).unwrap();
    assert!(manifest.contains("drop: [ALL]"), "and no others");
    let line = manifest.lines().find_map(|line| line.trim().strip_prefix("add: [")).unwrap();
    line.trim_end_matches(']').split(", ").map(str::to_string).collect()
}

fn collect(program: &Path, root: &Path) {
    let output =
        Command::new(packaging().join("collect.sh")).arg(program).arg(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the program in `root` with `capabilities` alone, and the mounts of the manifest.
fn inside(bed: &Bed, root: &Path, capabilities: &[String], args: &[&str]) -> Command {
    let mounts = "
        set -e
        mount --rbind /proc \"$R/proc\"; mount --rbind /sys \"$R/sys\"
        mount --rbind /run \"$R/run\"
        mkdir -p \"$R$DATA\" \"$R$TOP\"; mount --bind \"$TOP\" \"$R$TOP\"
        exec chroot \"$R\" /usr/local/bin/setpriv --bounding-set \"$CAPS\" --no-new-privs \
            /usr/local/bin/palisade \"$@\"";
    let mut caps = String::from("-all");
    for capability in capabilities {
        caps += ",+";
        caps += &capability.to_ascii_lowercase();
    }
    let own = bed.command(&[]);
    // `bed.command` has the folders of this test in its environment.
    let mut outer = Command::new("unshare");
    outer.env_clear();
    outer.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
        .env("R", root)
        .env("TOP", bed.path())
        .env("DATA", bed.data())
        .env("CAPS", caps)
        .current_dir(bed.path())
        .args(["--mount", "--propagation", "private", "sh", "-c", mounts, "sh"])
        .args(args);
    outer
}

#[test]
fn the_capabilities_of_the_recipe_suffice_to_watch() {
    let Some(bed) = Bed::new() else { return };
    let root = bed.path().join("root");
    collect(Path::new(env!("CARGO_BIN_EXE_palisade")), &root);
    let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].map(Path::new);
    collect(setpriv.iter().find(|path| path.exists()).unwrap(), &root);
    let capabilities = capabilities();

    let id = bed.detach("shop", &[], IDLE);
    let ready = bed.path().join("ready");
    let flags = ["watch", "--strict", "--format", "json", "--ready-file"];
    let args = [&flags[..], &[ready.to_str().unwrap()]].concat();
    let mut watch = Running::start(inside(&bed, &root, &capabilities, &args), b"");
    wait_for("attached sensor", SOON, || {
        assert!(!watch.has_ended(), "watch has ended: {}", watch.stderr());
        ready.exists().then_some(())
    });
    // From outside: one host, one run folder.
    let ended = bed.run(&["status", "--format", "json"]);
    // A machine that is flooded by others is degraded, which is not what this is about.
    assert!([0, 1].contains(&ended.code), "{ended:?}");
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    let pid = status["pid"].as_u64().unwrap();
    let own = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let effective = own.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let effective = u64::from_str_radix(effective, 16).unwrap();
    assert_eq!(effective.count_ones() as usize, capabilities.len(), "{effective:x}");

    bed.run(&["exec", "shop", "--", "/bin/busybox", "true", "stratum+tcp://pool"]).expect(0);
    let line = wait_for("alert", SOON, || {
        watch.stdout().lines().find(|line| line.contains("Crypto miner")).map(str::to_string)
    });
    let alert: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(alert["container"]["name"], "shop");
    assert_eq!(alert["container"]["id"], id.as_str());
    // From inside, as the probes of the manifest ask.
    for args in [&["status", "--format", "json"][..], &["top", "--once", "--interval", "0.1"]] {
        let ended = finish(inside(&bed, &root, &capabilities, args));
        assert!([0, 1].contains(&ended.code), "{ended:?}");
    }
    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON);
    assert!([0, 4].contains(&ended.code), "{ended:?}");
}

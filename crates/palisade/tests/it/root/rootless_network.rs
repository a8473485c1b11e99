//! The network of ordinary users' containers, by each of the programs that can make one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::bed::SOON;
use super::networks::{HOST, Namespace, Stage, WORLD};
use super::rootless::{Ground, User, expect_nothing_left};
use crate::support::{Ended, finish, wait_for};

/// A user whose containers `program` connects, which is the only one on this machine.
struct Connected<'a> {
    ground: &'a Ground,
    user: User,
    tun: String,
    other: &'static str,
}

impl<'a> Connected<'a> {
    /// `None`, and said so, where the program is not installed.
    fn by(ground: &'a Ground, program: &str) -> Option<Self> {
        let [used, other] = match program {
            "pasta" => ["/usr/bin/pasta", "/usr/bin/slirp4netns"],
            _ => ["/usr/bin/slirp4netns", "/usr/bin/pasta"],
        };
        if !Path::new(used).is_file() {
            eprintln!("skipped: {used} is not installed");
            return None;
        }
        let tun = ground.at("tun");
        let args = ["-m", "666", &tun, "c", "10", "200"];
        let made = Command::new("mknod").args(args).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Some(Self { ground, user: ground.user(true), tun, other })
    }

    /// Runs the program of ours on `host`, with a device that is open to users, as udev makes it.
    fn run(&self, host: &Namespace, args: &[&str]) -> Ended {
        let uid = self.user.uid.to_string();
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c"]);
        command.arg(
            "mount --bind \"$1\" /dev/net/tun && { [ ! -e \"$2\" ] || mount --bind /dev/null \"$2\"; } \
             && uid=$3 && shift 3 && exec setpriv --reuid \"$uid\" --regid \"$uid\" --clear-groups \
             \"$@\"",
        );
        command.args(["sh", &self.tun, self.other, &uid]).arg(&self.ground.program).args(args);
        for (name, value) in self.user.command(&self.ground.program, &[]).get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(&self.user.home);
        finish(host.within(&command))
    }
}

#[test]
fn pasta_leads_to_the_world_and_not_to_the_host() {
    reaches_the_world_and_not_the_host("pasta");
}

#[test]
fn slirp4netns_leads_to_the_world_and_not_to_the_host() {
    reaches_the_world_and_not_the_host("slirp4netns");
}

#[track_caller]
fn reaches_the_world_and_not_the_host(program: &str) {
    let Some(ground) = Ground::new() else { return };
    let Some(connected) = Connected::by(&ground, program) else { return };
    let user = &connected.user;
    let stage = Stage::new();
    stage.host.run("ip address add 203.0.113.9/32 dev lo");
    let path = ground.policy("net.yaml", "user: image, network: bridge");
    let run = |args: &[&str]| connected.run(&stage.host, args);
    let image = ground.image();
    // A server that waits for a question: what one says before, old versions of pasta lose.
    let serve = ["--", "/bin/httpd", "-f", "-p", "80", "-h", "/etc"];
    let flags = ["run", "-d", "--name", "web", "--policy", &path, "--network", "user"];
    let args = [&flags[..], &["-p", "8080:80", &image], &serve].concat();
    run(&args).expect(0);
    let fetch = |from: &Namespace, address: &str| {
        let script = format!(
            "import urllib.request as u\n\
             try: print(u.urlopen('http://{address}:8080/passwd', timeout=3).read())\n\
             except OSError as error: print('no:', error)"
        );
        let mut python = Command::new("python3");
        python.args(["-c", &script]);
        finish(from.within(&python)).stdout
    };
    for (from, address) in [(&stage.world, HOST), (&stage.host, "127.0.0.1")] {
        wait_for(address, SOON, || fetch(from, address).contains("root:x:0:0").then_some(()));
    }
    let reaches = |address: &str, port: &str| {
        // A connection may stay silent, see above; one that was refused is said.
        let script = format!("/bin/busybox timeout 4 nc -w 2 {address} {port} </dev/null 2>&1");
        let said = run(&["exec", "web", "--", "/bin/sh", "-c", &script]).stdout;
        !said.contains("nc: ")
    };
    wait_for("the world", SOON, || reaches(WORLD, "7000").then_some(()));
    for address in [HOST, "203.0.113.9", "127.0.0.1", "169.254.169.254"] {
        assert!(!reaches(address, "7000"), "{address}");
    }
    let json = run(&["ps", "--format", "json"]).expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["containers"][0]["network"]["published"][0]["host"], 8080, "{json}");
    assert_eq!(json["containers"][0]["network"]["device"], program, "{json}");
    let args = ["run", "--policy", &path, "-p", "8080:80", &image];
    run(&args).expect_error(3, "is in use");
    let args = ["run", "--policy", &path, "-p", "80:80", &image];
    run(&args).expect_error(3, "is root's to give");
    run(&["stop", "web", "--grace", "0"]).expect(0);
    expect_nothing_left(user);
    wait_for("the end of the port", SOON, || {
        fetch(&stage.host, "127.0.0.1").starts_with("no:").then_some(())
    });

    // Without the device that udev opens.
    let mut command = user.command(&ground.program, &["run", "--policy", &path, &image]);
    if std::fs::metadata("/dev/net/tun").is_ok_and(|it| it.permissions().mode() & 0o006 == 0) {
        command.env("PATH", "/usr/bin:/bin");
        finish(command).expect_error(3, "/dev/net/tun");
    }
}

#[test]
fn what_keeps_a_user_s_container_from_the_world_is_said() {
    let Some(ground) = Ground::new() else { return };
    let Some(connected) = Connected::by(&ground, "pasta") else { return };
    let policy = ground.policy("net.yaml", "user: image, network: bridge");
    let host = Namespace::new();
    let image = ground.image();
    let ended = connected.run(&host, &["run", "--policy", &policy, &image]);
    ended.expect_error(3, "pasta did not connect the container: External interface not usable");
    assert!(ended.stderr.contains("hint: this machine has no way out"), "{}", ended.stderr);
    expect_nothing_left(&connected.user);
}

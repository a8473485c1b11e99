//! Real engines with stores, sockets and names of their own: what they keep is read as they
//! left it. An engine that is not installed is named and passed over.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palisade_base::Digest;
use serde_json::json;

use crate::support::{Ended, finish, palisade};

/// How long an engine may take to start.
const START: Duration = Duration::from_secs(30);

/// A daemon in a process group of its own; ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|p| p.exists());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// Starts a daemon and waits for its socket.
fn start(program: &Path, args: &[&str], socket: &Path, log: &Path) -> Daemon {
    let log = std::fs::File::create(log).unwrap();
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    let daemon = Daemon(child);
    let deadline = Instant::now() + START;
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < deadline, "{} does not start", program.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon
}

fn run(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {args:?}: {error}", program.display());
    String::from_utf8(output.stdout).unwrap()
}

/// An archive as `docker save` writes it: two layers, the second hides a file of the first.
fn archive(path: &Path) {
    let layer = |files: &[(&str, &[u8], u32)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content, mode) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let first = layer(&[
        ("bin/busybox", &busybox, 0o755),
        ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20\n", 0o644),
        ("lib/apk/db/installed", b"P:musl\nV:1.2.5-r0\nA:x86_64\n\n", 0o644),
        ("etc/old", b"old", 0o644),
    ]);
    let second = layer(&[("etc/.wh.old", b"", 0o644), ("etc/new", b"new", 0o644)]);
    let config = json!({"architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/bin/busybox", "sleep", "60"]},
        "rootfs": {"type": "layers", "diff_ids":
            [Digest::of(&first).to_string(), Digest::of(&second).to_string()]}})
    .to_string();
    let name = Digest::of(config.as_bytes()).to_string().replace("sha256:", "") + ".json";
    let manifest = json!([{"Config": name, "RepoTags": ["palisade-test/shop:1.0"],
        "Layers": ["1/layer.tar", "2/layer.tar"]}])
    .to_string();
    let whole = layer(&[
        (&name, config.as_bytes(), 0o644),
        ("1/layer.tar", &first, 0o644),
        ("2/layer.tar", &second, 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ]);
    std::fs::write(path, whole).unwrap();
}

/// The engines of one test.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn scan(&self, target: &str) -> Ended {
        let mut command = palisade(self.folder.path());
        command.args(["scan", "--format", "json"]);
        for engine in ["docker", "podman", "containerd"] {
            command.args(["--store", &format!("{engine}={}", self.path(engine))]);
        }
        command.arg(target);
        finish(command)
    }

    /// Names of the packages and the number of files that a scan finds.
    #[track_caller]
    fn found(&self, target: &str) -> (Vec<String>, u64) {
        let ended = self.scan(target).expect(0);
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let inventory = &report["inventory"];
        assert_eq!(inventory["gaps"], json!([]), "{target}");
        let packages = inventory["packages"].as_array().unwrap().iter();
        let names = packages.map(|one| one["name"].as_str().unwrap().to_string()).collect();
        (names, inventory["n_files"].as_u64().unwrap())
    }
}

#[test]
fn images_and_containers_of_real_engines_are_examined() {
    if !super::is_root() {
        return;
    }
    let _alone = super::alone();
    let bed = Bed { folder: tempfile::tempdir().unwrap() };
    let image = bed.path("image.tar");
    archive(Path::new(&image));
    let expected = bed.found(&format!("archive:{image}"));
    assert!(expected.0.contains(&"musl".to_string()), "{expected:?}");

    if let Some(podman) = program("podman") {
        let (root, state) = (bed.path("podman"), bed.path("podman-run"));
        let podman = |args: &[&str]| {
            let place = ["--root", &root, "--runroot", &state, "--storage-driver", "overlay"];
            run(&podman, &[&place, args].concat())
        };
        podman(&["load", "-i", &image]);
        assert_eq!(bed.found("podman:palisade-test/shop:1.0"), expected);
        let ended = bed.scan("docker.io/palisade-test/shop:1.0").expect(0);
        assert!(ended.stderr.contains("found in the store of podman"), "{}", ended.stderr);
        podman(&["rmi", "-a", "-f"]);
    }
    let Some(containerd) = program("containerd") else { return };
    let socket = bed.path("containerd.sock");
    let _containerd = start(
        &containerd,
        &["--root", &bed.path("containerd"), "--state", &bed.path("state"), "--address", &socket],
        Path::new(&socket),
        Path::new(&bed.path("containerd.log")),
    );
    if let Some(ctr) = program("ctr") {
        run(&ctr, &["-a", &socket, "-n", "k8s.io", "images", "import", &image]);
        assert_eq!(bed.found("containerd:palisade-test/shop:1.0"), expected);
        assert_eq!(bed.found("containerd:palisade-test/shop:1.0@k8s.io"), expected);
    }
    let (Some(dockerd), true) = (program("dockerd"), Path::new("/usr/bin/docker").exists()) else {
        return;
    };
    let docker_socket = bed.path("docker.sock");
    let address = format!("unix://{docker_socket}");
    let _dockerd = start(
        &dockerd,
        &[
            "--data-root",
            &bed.path("docker"),
            "--exec-root",
            &bed.path("exec"),
            "-H",
            &address,
            "-p",
            &bed.path("docker.pid"),
            "--iptables=false",
            "--bridge=none",
            "--containerd",
            &socket,
        ],
        Path::new(&docker_socket),
        Path::new(&bed.path("docker.log")),
    );
    let docker =
        |args: &[&str]| run(Path::new("/usr/bin/docker"), &[&["-H", &address], args].concat());
    docker(&["load", "-i", &image]);
    assert_eq!(bed.found("docker:palisade-test/shop:1.0"), expected);
    // Docker's store is the first that a bare name is looked for in.
    let ended = bed.scan("palisade-test/shop:1.0").expect(0);
    assert!(ended.stderr.contains("found in the store of docker"), "{}", ended.stderr);

    let name = format!("palisade-test-{}", std::process::id());
    let image = "palisade-test/shop:1.0";
    let id = docker(&["run", "-d", "--rm", "--net", "none", "--name", &name, image]);
    for target in [id.trim(), &id[..12], &name] {
        let (packages, n_files) = bed.found(&format!("container:{target}"));
        assert_eq!(packages, expected.0);
        // The engine adds files of its own: hosts, resolv.conf.
        assert!(n_files >= expected.1, "{n_files}");
    }
    docker(&["kill", &name]);
    bed.scan("container:palisade-test-none").expect_error(3, "no container `palisade-test-none`");
}

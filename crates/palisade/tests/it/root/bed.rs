//! An image of one static program, folders of its own, and a look at what was left.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{alone, is_root};
use crate::layout::{DPKG_STATUS, Layer, Layout, OS_RELEASE};
use crate::support::{Ended, Running, finish, mounts_of, palisade, wait_for};

/// How long anything may take that ought to happen at once, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(3);

/// Names under which the one program is known in the image.
const PROGRAMS: [&str; 10] =
    ["cat", "cp", "echo", "httpd", "id", "nc", "sh", "sleep", "touch", "true"];

/// Beds made so far, for the name of the next one's folder.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// State of its own for one test, and the image `oci:box` in it.
pub(crate) struct Bed {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) run_dir: PathBuf,
    pub(crate) image: Layout,
    _alone: MutexGuard<'static, ()>,
}

impl Bed {
    /// `None` without root.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let guard = alone();
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        // The container's root has to be able to walk to its root file system.
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let run_dir = PathBuf::from(format!("/run/palisade-test-{}-{n}", std::process::id()));
        let image = busybox(
            &folder.path().join("box"),
            &json!({
                "Cmd": ["/bin/sh", "-c", "exit 9"],
                "Env": ["PATH=/bin", "COLOUR=green"],
            }),
        );
        Some(Self { folder, run_dir, image, _alone: guard })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The program with this test's folders.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = palisade(self.path());
        command.env("PALISADE_RUN_DIR", &self.run_dir).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        finish(self.command(args))
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), b"")
    }

    /// Runs `script` in a shell in a new container, in the foreground.
    pub(crate) fn shell(&self, flags: &[&str], script: &str) -> Ended {
        let rest = ["oci:box", "--", "/bin/sh", "-c", script];
        self.run(&[&["run"][..], flags, &rest].concat())
    }

    /// Starts a container in the background and returns its id.
    pub(crate) fn detach(&self, name: &str, flags: &[&str], script: &str) -> String {
        let ended = self.shell(&[&["--detach", "--name", name][..], flags].concat(), script);
        let id = ended.expect(0).stdout.trim().to_string();
        assert_eq!(id.len(), 64, "{id}");
        id
    }

    /// Starts a container of the folder `root` in the background.
    pub(crate) fn detach_folder(&self, name: &str, root: &str) {
        let args = ["run", "--detach", "--name", name, "--rootfs", root, "--", "/bin/sleep", "60"];
        self.run(&args).expect(0);
    }

    /// A row of `ps --format tsv`: id, name, status, pid, policy, control group, image.
    pub(crate) fn ps(&self, name: &str) -> Option<Vec<String>> {
        let ended = self.run(&["ps", "--format", "tsv"]).expect(0);
        let rows = ended.stdout.lines();
        let mut rows = rows.map(|line| line.split('\t').map(str::to_string).collect::<Vec<_>>());
        rows.find(|row| row[1] == name)
    }

    pub(crate) fn status(&self, name: &str) -> String {
        self.ps(name).map_or_else(|| "gone".into(), |row| row[2].clone())
    }

    /// Rows of `respond alerts --format tsv`; `respond::full_row` names the columns.
    pub(crate) fn alerts(&self) -> Vec<Vec<String>> {
        let ended = self.run(&["respond", "alerts", "--format", "tsv"]).expect(0);
        let row = |line: &str| line.split('\t').map(str::to_string).collect();
        ended.stdout.lines().map(row).collect()
    }

    /// Starts `palisade watch` and waits until its sensor is attached.
    #[track_caller]
    pub(crate) fn watch(&self, flags: &[&str]) -> Running {
        let ready = self.path().join("ready");
        let _ = std::fs::remove_file(&ready);
        let mut watch = self.start(&[&["watch", "--ready-file", "ready"][..], flags].concat());
        wait_for("attached sensor", SOON, || {
            assert!(!watch.has_ended(), "watch has ended: {}", watch.stderr());
            ready.exists().then_some(())
        });
        watch
    }

    /// The incident of the container `id`, once it is in `state`.
    #[track_caller]
    pub(crate) fn incident(&self, id: &str, state: &str) -> Value {
        wait_for("incident in the wanted state", SOON, || {
            let all = self.incidents();
            let mut of_it = all.into_iter().filter(|incident| incident["container"]["id"] == id);
            of_it.find(|incident| incident["state"] == state)
        })
    }

    /// All incidents, oldest first.
    pub(crate) fn incidents(&self) -> Vec<Value> {
        let ended = self.run(&["respond", "list", "--format", "json"]).expect(0);
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        document["incidents"].as_array().unwrap().clone()
    }

    /// Fails the test unless nothing of the container `id` is left: no process, mount,
    /// control group, record, or BPF program.
    #[track_caller]
    pub(crate) fn expect_nothing_left(&self, id: &str) {
        let left = || {
            let mut left = mounts_of(&self.run_dir);
            left.extend(mounts_of(self.path()));
            for root in ["/sys/fs/cgroup", "/sys/fs/bpf/palisade", &*self.run_dir.to_string_lossy()]
            {
                find(Path::new(root), id, 4, &mut left);
            }
            find(&self.data().join("containers"), id, 1, &mut left);
            find(Path::new("/run/palisade/network"), id, 1, &mut left);
            left.extend(processes_of(id).iter().map(|pid| format!("process {pid}")));
            left
        };
        // The kernel takes a control group away a moment after its last process.
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if left().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(left(), Vec::<String>::new());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Also after a failed test nothing is to be left on the machine.
        let _ = self.command(&["stop", "--all", "--grace", "0"]).output();
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

/// An image of busybox, static, with the `config` object of an image configuration.
pub(crate) fn busybox(folder: &Path, config: &Value) -> Layout {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .expect("a static busybox: apt install busybox-static");
    // The one package that the tests' advisory database knows.
    let library = DPKG_STATUS.split_inclusive("\n\n").next().unwrap();
    let mut layer = Layer::new()
        .folder("bin/", 0o755)
        .file("bin/busybox", 0o755, program)
        .folder("dev/", 0o755)
        .folder("proc/", 0o755)
        .folder("sys/", 0o755)
        .folder("tmp/", 0o1777)
        .folder("run/", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\nwww:x:33:33:www:/:/bin/sh\n")
        .file("etc/shadow", 0o644, "root:*:1::::::\n")
        .file("etc/os-release", 0o644, OS_RELEASE)
        .file("var/lib/dpkg/status", 0o644, library);
    for name in PROGRAMS {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    Layout::write(folder, vec![layer], config)
}

/// Waits until no process of the container is left.
#[track_caller]
pub(crate) fn expect_dead(id: &str) {
    wait_for("end of the container's processes", SOON, || {
        processes_of(id).is_empty().then_some(())
    });
}

/// Processes in control groups of the container `id`.
pub(crate) fn processes_of(id: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_inside = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(id))
            // What has ended and only waits to be reaped runs no more.
            && std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|text| !text.contains(") Z ") && !text.contains(") X "))
    };
    pids.filter(is_inside).collect()
}

/// Paths below `folder`, at most `depth` levels down, whose name contains `part`.
fn find(folder: &Path, part: &str, depth: usize, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(part) {
            found.push(path.display().to_string());
        } else if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, part, depth - 1, found);
        }
    }
}

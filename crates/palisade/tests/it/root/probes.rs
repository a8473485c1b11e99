//! What a program reaches of kernel and host (`tests/probe/probe.c`): unconfined, under Docker's
//! defaults, under the flags that everybody recommends, and under our policies.
//!
//! `cargo test -p palisade --test it root::probes -- --nocapture` prints the table that
//! `docs/guide/confinement.md` shows.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::docker::{Docker, Setup, can_start};
use crate::layout::{Layer, Layout};
use crate::support::{finish, palisade};

/// Questions of the probe.
const QUESTIONS: usize = 59;

/// Where `scripts/vm.sh` puts the probes, built: its guests have no compiler.
const BUILT: &str = "/tests";

/// Builds the probe into `target`; `None`, and said why, without a compiler.
pub(crate) fn build(target: &Path) -> Option<()> {
    compile("probe", target)
}

/// The same of any program in `tests/probe`.
pub(crate) fn compile(name: &str, target: &Path) -> Option<()> {
    if is_guest() {
        std::fs::copy(Path::new(BUILT).join(name), target).unwrap();
        return Some(());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/probe/{name}.c"));
    let built = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(target)
        .arg(source)
        .output();
    match built {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("skipped: cc: {error}");
            None
        }
    }
}

/// Whether this is a guest of `scripts/vm.sh`.
pub(crate) fn is_guest() -> bool {
    Path::new(BUILT).join("suites").exists()
}

/// Whether `palisade run` can work as root: its layers have mapped ids, which overlay takes since
/// Linux 5.19.
pub(crate) fn has_id_mapped_layers() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (5, 19)
}

/// Answers of one run, in the order of the questions.
pub(crate) struct Column {
    name: &'static str,
    answers: Vec<(String, String)>,
}

impl Column {
    #[track_caller]
    pub(crate) fn of(name: &'static str, output: &str) -> Self {
        let answer = |line: &str| {
            let (question, answer) = line.split_once('\t')?;
            Some((question.to_string(), answer.to_string()))
        };
        let mut answers: Vec<_> = output.lines().filter_map(answer).collect();
        let (word, total) = answers.pop().unwrap_or_else(|| panic!("{name}: {output}"));
        let column = Self { name, answers };
        assert_eq!((word.as_str(), column.answers.len()), ("reached", QUESTIONS), "{output}");
        assert_eq!(total, column.n_reached().to_string());
        column
    }

    pub(crate) fn reached(&self) -> impl Iterator<Item = &str> {
        let reached = self.answers.iter().filter(|(_, answer)| answer == "reached");
        reached.map(|(question, _)| question.as_str())
    }

    fn n_reached(&self) -> usize {
        self.reached().count()
    }
}

/// The rows that differ between columns or are reached at all, as Markdown.
fn table(columns: &[Column]) -> String {
    let mut out = String::from("| reached |");
    for column in columns {
        let _ = write!(out, " {} |", column.name);
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(columns.len()));
    let _ = write!(out, "\n| **of {QUESTIONS}** |");
    for column in columns {
        let _ = write!(out, " **{}** |", column.n_reached());
    }
    out.push('\n');
    for (row, (question, _)) in columns[0].answers.iter().enumerate() {
        let answers = columns.iter().map(|column| column.answers[row].1.as_str());
        if answers.clone().all(|answer| answer != "reached") {
            continue;
        }
        let _ = write!(out, "| {question} |");
        for answer in answers {
            let _ = write!(out, " {} |", if answer == "reached" { "**yes**" } else { answer });
        }
        out.push('\n');
    }
    out
}

/// runC with every capability, no filter, nothing hidden and every device: what a program
/// reaches that is in namespaces and nothing else.
fn unconfined(folder: &Path, cgroup: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = palisade_sys::capability::parse_status(&status).effective;
    let all: Vec<String> = own.names().map(|name| format!("CAP_{name}")).collect();
    let mount = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    let spec: Value = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/probe"], "cwd": "/",
            "capabilities": {"bounding": all, "effective": all, "permitted": all},
        },
        "root": {"path": folder.join("root")},
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["mode=755"]),
            mount("/sys", "sysfs", &[]),
            mount("/sys/fs/cgroup", "cgroup", &[]),
        ],
        "linux": {
            "cgroupsPath": format!("{cgroup}/unconfined"),
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network"}],
        },
    });
    let bundle = folder.join("unconfined");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    let mut command = Command::new("runc");
    command.arg("--root").arg(folder.join("runc")).arg("run").arg("--bundle").arg(&bundle);
    let name = format!("palisade-it-{}", std::process::id());
    command.arg(name);
    finish(command).expect(0).stdout
}

/// The policy `restricted` but for what it asks of images.
pub(crate) fn restricted(folder: &Path) -> String {
    let mut restricted = palisade(folder);
    restricted.args(["policy", "show", "restricted"]);
    let text = finish(restricted).expect(0).stdout;
    let (head, rest) = text.split_once("images:\n").unwrap();
    let containers = rest.find("containers:\n").unwrap();
    format!("{head}images: {{verify: off}}\n\n{}", &rest[containers..])
}

/// An image of the probe, which is built already.
pub(crate) fn image(folder: &Path, probe: &Path) -> Layout {
    let layer = Layer::new()
        .folder("bin/", 0o755)
        .folder("tmp/", 0o1777)
        .folder("etc/", 0o755)
        .file("etc/hosts", 0o644, "")
        .file("bin/probe", 0o755, std::fs::read(probe).unwrap());
    Layout::write(folder, vec![layer], &json!({"Cmd": ["/bin/probe"]}))
}

/// The program's own engine, with the policy `restricted` but for what it asks of images.
fn own_engine(folder: &Path) -> String {
    std::fs::write(folder.join("restricted.yaml"), restricted(folder)).unwrap();
    image(&folder.join("probe"), &folder.join("root/bin/probe"));
    // Mappings of ids need a path that others may walk.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder, mode).unwrap();
    let mut command = palisade(folder);
    command
        .env("PALISADE_RUN_DIR", format!("/run/palisade-test-{}-probes", std::process::id()))
        .args(["run", "--policy", "restricted.yaml", "oci:probe"]);
    let ended = finish(command).expect(0);
    let _ = std::fs::remove_dir_all(format!("/run/palisade-test-{}-probes", std::process::id()));
    ended.stdout
}

#[test]
fn under_restricted_a_program_reaches_next_to_nothing() {
    if !can_start() {
        return;
    }
    let docker = Docker::start(Setup::Beside("baseline"));
    let folder = docker.folder.path();
    if build(&folder.join("root/bin/probe")).is_none() {
        return;
    }
    docker.import();
    let run = |flags: &[&str]| docker.container(&[&["--rm"], flags].concat(), &["/bin/probe"]);
    let mut columns = vec![
        Column::of("runC, unconfined", &unconfined(folder, &docker.cgroup)),
        Column::of("Docker's default", &run(&[]).expect(0).stdout),
    ];
    let best = [
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--read-only",
        "--user",
        "65532:65532",
        "--tmpfs",
        "/tmp",
        "--pids-limit",
        "64",
        "--memory",
        "256m",
        "--network",
        "none",
    ];
    columns.push(Column::of("best-practice flags", &run(&best).expect(0).stdout));
    let ours = ["--runtime", "palisade"];
    columns.push(Column::of("Docker, `baseline`", &run(&ours).expect(0).stdout));
    docker.set_policy("restricted");
    columns.push(Column::of("Docker, `restricted`", &run(&ours).expect(0).stdout));
    if has_id_mapped_layers() {
        columns.push(Column::of("`palisade run`, `restricted`", &own_engine(folder)));
    }
    println_table(&table(&columns));

    let n = |at: usize| columns[at].n_reached();
    assert!(n(0) > 20, "the probe tells nothing");
    assert!(n(1) > n(2) && n(2) > n(4), "flags");
    assert!(n(3) < n(1), "`baseline` is no more than Docker's default");
    for column in &columns[4..] {
        let reached: Vec<&str> = column.reached().collect();
        assert!(reached.len() <= 1, "{}: {reached:?}", column.name);
    }
    // Less in every row, not only in the sum.
    for question in columns[4].reached() {
        assert!(columns[1].reached().any(|known| known == question), "{question}");
    }
}

#[expect(clippy::print_stdout, reason = "the table is for who runs this with --nocapture")]
pub(crate) fn println_table(text: &str) {
    println!("{text}");
}

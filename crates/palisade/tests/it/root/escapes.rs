//! Known ways out of a container, each run without harm: unhardened (with what it needs), under
//! Docker's defaults, and under `restricted`, asked for or not.
//!
//! What is touched are canaries of the test's own: a file, a loop device, another container, a
//! hierarchy of control groups that nobody else is in. Kernel settings are written with the value
//! that they have. Ways that only the kernel's interfaces decide are in the table of the probe.
//!
//! `cargo test -p palisade --test it root::escapes -- --nocapture` prints the table that
//! `docs/guide/confinement.md` shows.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::docker::{Docker, Setup, can_start};
use crate::support::write_script;

/// What a technique prints when it worked.
const OUT: &str = "ESCAPED";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Works,
    Blocked,
    Refused,
}

impl Outcome {
    fn shown(self) -> &'static str {
        match self {
            Self::Works => "**works**",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
        }
    }
}

/// One way out.
struct Technique {
    name: &'static str,
    /// What somebody must have given the container for it.
    needs: &'static str,
    flags: Vec<String>,
    /// A shell's script, which prints [`OUT`] when it got what it wanted.
    script: String,
    /// Whether there was an effect outside; also taken back.
    outside: Option<Box<dyn Fn() -> bool>>,
}

/// A loop device over a file with a canary; detached when dropped.
struct LoopDevice(String);

impl LoopDevice {
    fn new(folder: &Path) -> Option<Self> {
        let file = folder.join("disk");
        let mut bytes = vec![0; 1 << 20];
        bytes[..6].copy_from_slice(b"CANARY");
        std::fs::write(&file, bytes).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_string();
        name.starts_with("/dev/loop").then_some(Self(name))
    }

    fn minor(&self) -> &str {
        self.0.trim_start_matches("/dev/loop")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

fn flags(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What a canary of the host's shows, which is removed when looked at.
fn appeared(path: PathBuf) -> Box<dyn Fn() -> bool> {
    Box::new(move || std::fs::remove_file(&path).is_ok())
}

const ADMIN: [&str; 4] = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];

/// The list, as far as this machine can run it.
fn techniques(docker: &Docker, disk: Option<&LoopDevice>) -> Vec<Technique> {
    let folder = docker.folder.path();
    let host = folder.join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::set_permissions(&host, PermissionsExt::from_mode(0o777)).unwrap();
    let shown = host.display().to_string();
    let mut out = vec![
        Technique {
            name: "socket of the engine",
            needs: "`-v docker.sock`",
            flags: flags(&["--volume", &format!("{}:/engine.sock", docker.socket().display())]),
            script: "test -S /engine.sock && test -w /engine.sock && echo ESCAPED".into(),
            outside: None,
        },
        Technique {
            name: "file of the host written",
            needs: "`-v DIR`",
            flags: flags(&["--volume", &format!("{shown}:/h")]),
            script: "echo x >/h/canary && echo ESCAPED".into(),
            outside: Some(appeared(host.join("canary"))),
        },
        Technique {
            name: "setuid file left in a folder of the host",
            needs: "`-v DIR`",
            flags: flags(&["--volume", &format!("{shown}:/h")]),
            script: "cp /bin/busybox /h/s && chmod 4755 /h/s && echo ESCAPED".into(),
            outside: Some(Box::new({
                let file = host.join("s");
                move || {
                    let mode = std::fs::metadata(&file).map(|m| m.permissions().mode());
                    let _ = std::fs::remove_file(&file);
                    mode.is_ok_and(|mode| mode & 0o4000 != 0)
                }
            })),
        },
        Technique {
            name: "setuid file left in a volume",
            needs: "`-v VOLUME`",
            flags: flags(&["--volume", "shared:/h"]),
            script: "cp /bin/busybox /h/s && chmod 4755 /h/s && test -u /h/s && echo ESCAPED"
                .into(),
            outside: None,
        },
        Technique {
            name: "core_pattern through a new proc",
            needs: "SYS_ADMIN, no seccomp",
            flags: flags(&ADMIN),
            script: "mount -t proc p /tmp && cat /proc/sys/kernel/core_pattern \
                     >/tmp/sys/kernel/core_pattern && echo ESCAPED"
                .into(),
            outside: None,
        },
        Technique {
            name: "kernel settings through unmasked paths",
            needs: "`systempaths=unconfined`",
            flags: flags(&["--security-opt", "systempaths=unconfined"]),
            script: "v=$(cat /proc/sys/kernel/core_pattern); echo \"$v\" \
                     >/proc/sys/kernel/core_pattern && echo ESCAPED"
                .into(),
            outside: None,
        },
        Technique {
            name: "program run by the host's root (release_agent)",
            needs: "SYS_ADMIN, no seccomp",
            flags: flags(&ADMIN),
            script: release_agent(folder),
            outside: Some(appeared(folder.join("agent-ran"))),
        },
        Technique {
            name: "binary formats of the host (binfmt_misc)",
            needs: "SYS_ADMIN, no seccomp",
            flags: flags(&ADMIN),
            script: "mount -t binfmt_misc b /tmp && test -w /tmp/register && echo ESCAPED".into(),
            outside: None,
        },
        Technique {
            name: "file opened by handle (Shocker)",
            needs: "DAC_READ_SEARCH",
            flags: flags(&["--cap-add", "DAC_READ_SEARCH"]),
            script: "/bin/probe | grep -q '^open_by_handle_at.reached' && echo ESCAPED".into(),
            outside: None,
        },
        Technique {
            name: "packets forged and read",
            needs: "nothing (NET_RAW is a default)",
            flags: Vec::new(),
            script: "/bin/probe | grep -q '^packet socket.reached' && echo ESCAPED".into(),
            outside: None,
        },
        Technique {
            name: "io_uring",
            needs: "nothing",
            flags: Vec::new(),
            script: "/bin/probe | grep -q '^io_uring_setup.reached' && echo ESCAPED".into(),
            outside: None,
        },
        Technique {
            name: "program dropped into the root and run",
            needs: "nothing",
            flags: Vec::new(),
            script: "cp /bin/busybox /srv/busybox && /srv/busybox echo ESCAPED".into(),
            outside: None,
        },
        Technique {
            name: "fork bomb of 200",
            needs: "no limit",
            flags: flags(&["--pids-limit", "-1"]),
            script: "n=0; while [ $n -lt 200 ]; do sleep 20 & n=$((n+1)); done; \
                     [ $(ls -d /proc/[0-9]* | grep -c .) -gt 200 ] && echo ESCAPED"
                .into(),
            outside: None,
        },
        Technique {
            name: "leaked descriptor of runC (CVE-2024-21626)",
            needs: "`-w /proc/self/fd/8`, runC before 1.1.12",
            flags: flags(&["--workdir", "/proc/self/fd/8"]),
            script: "test -e ../../../etc/debian_version && echo ESCAPED".into(),
            outside: None,
        },
    ];
    out.extend(beside_another(docker));
    if let Some(disk) = disk {
        out.extend(with_a_disk(disk));
    }
    out
}

/// Ways to another container's processes, which stand for the host's.
fn beside_another(docker: &Docker) -> Vec<Technique> {
    let other = ["--detach", "--name", "other", "--env", "SECRET=canary"];
    let line = "echo canary >/canary; exec sleep 600";
    docker.container(&other, &["/bin/sh", "-c", line]).expect(0);
    let pid = docker.run(&["inspect", "--format", "{{.State.Pid}}", "other"]).expect(0).stdout;
    let pid = pid.trim();
    let ptrace = ["--pid", "host", "--cap-add", "SYS_PTRACE"];
    vec![
        Technique {
            name: "environment of the host's processes",
            needs: "`--pid host`, SYS_PTRACE",
            flags: flags(&ptrace),
            script: format!("grep -q SECRET=canary /proc/{pid}/environ && echo ESCAPED"),
            outside: None,
        },
        Technique {
            name: "files of the host's processes (/proc/PID/root)",
            needs: "`--pid host`, SYS_PTRACE",
            flags: flags(&ptrace),
            script: format!("grep -q canary /proc/{pid}/root/canary && echo ESCAPED"),
            outside: None,
        },
        Technique {
            name: "the host's mounts entered (nsenter)",
            needs: "`--pid host`, SYS_ADMIN, SYS_PTRACE, no seccomp",
            flags: flags(&[&ptrace[..], &ADMIN].concat()),
            script: format!("nsenter -t {pid} -m /bin/grep -q canary /canary && echo ESCAPED"),
            outside: None,
        },
        Technique {
            name: "the host's processes signalled",
            needs: "`--pid host`",
            flags: flags(&["--pid", "host"]),
            script: format!("kill -0 {pid} && echo ESCAPED"),
            outside: None,
        },
    ]
}

/// Ways to a disk.
fn with_a_disk(disk: &LoopDevice) -> Vec<Technique> {
    let minor = disk.minor();
    vec![
        Technique {
            name: "disk read",
            needs: "`--device`",
            flags: flags(&["--device", &disk.0]),
            script: format!("head -c 6 {} | grep -q CANARY && echo ESCAPED", disk.0),
            outside: None,
        },
        Technique {
            name: "rights to devices rewritten (devices.allow)",
            needs: "SYS_ADMIN, MKNOD, no seccomp, cgroup v1",
            flags: flags(&ADMIN),
            script: format!(
                "mount -t cgroup -o devices c /tmp && at=$(sed -n 's/^[0-9]*:devices://p' \
                 /proc/self/cgroup) && echo 'b 7:{minor} rwm' >/tmp$at/devices.allow && \
                 mknod /dev/mine b 7 {minor} && head -c 6 /dev/mine | grep -q CANARY && \
                 echo ESCAPED"
            ),
            outside: None,
        },
    ]
}

/// A hierarchy of control groups with a name of its own, so that nobody else is in it, and an
/// agent that does nothing but leave a canary.
fn release_agent(folder: &Path) -> String {
    let agent = folder.join("agent");
    let canary = folder.join("agent-ran");
    write_script(&agent, &format!("#!/bin/sh\n: >{}\n", canary.display()));
    let name = hierarchy();
    format!(
        "mount -t cgroup -o none,name={name} c /tmp || exit 1; mkdir -p /tmp/x; \
         echo 1 >/tmp/x/notify_on_release && echo {} >/tmp/release_agent && \
         sh -c 'echo $$ >/tmp/x/cgroup.procs' && sleep 1 && echo ESCAPED; \
         rmdir /tmp/x; echo >/tmp/release_agent; umount /tmp",
        agent.display()
    )
}

fn hierarchy() -> String {
    format!("palisadeit{}", std::process::id())
}

/// Removes the hierarchy: one whose last group was still going when it was unmounted stays.
fn remove_hierarchy(folder: &Path) {
    let at = folder.join("hierarchy");
    std::fs::create_dir(&at).unwrap();
    let is_there = || {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        groups.contains(&hierarchy())
    };
    for _ in 0..200 {
        if !is_there() {
            break;
        }
        let options = format!("none,name={}", hierarchy());
        let mount = ["-t", "cgroup", "-o", &options, "c"];
        let _ = Command::new("mount").args(mount).arg(&at).status();
        let _ = Command::new("umount").arg(&at).status();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(!is_there(), "a hierarchy of control groups is left");
}

/// Tries one way.
fn attempt(docker: &Docker, technique: &Technique, asked: bool, runtime: &[&str]) -> Outcome {
    let mut all: Vec<&str> = runtime.to_vec();
    if asked {
        all.extend(technique.flags.iter().map(String::as_str));
    }
    let ended = docker.shell(&all, &technique.script);
    let worked = ended.stdout.contains(OUT);
    let outside = technique.outside.as_ref().map(|look| look());
    if worked && outside.unwrap_or(true) {
        return Outcome::Works;
    }
    let refused = ended.stderr.contains("policy `restricted` refuses");
    if refused { Outcome::Refused } else { Outcome::Blocked }
}

#[test]
fn every_way_out_that_works_unhardened_is_closed_under_restricted() {
    if !can_start() {
        return;
    }
    let docker = Docker::start(Setup::Beside("restricted"));
    let folder = docker.folder.path();
    if super::probes::build(&folder.join("root/bin/probe")).is_none() {
        return;
    }
    docker.import();
    let disk = LoopDevice::new(folder);
    if disk.is_none() {
        eprintln!("skipped: no loop device; two ways are not tried");
    }
    let ours = ["--runtime", "palisade"];
    let mut table = String::from(
        "| way | needs | unhardened | Docker's default | `restricted`, asked for | `restricted` |\n\
         |---|---|---|---|---|---|\n",
    );
    let (mut open, mut n_work) = (Vec::new(), 0);
    for technique in techniques(&docker, disk.as_ref()) {
        let outcomes = [
            attempt(&docker, &technique, true, &[]),
            attempt(&docker, &technique, false, &[]),
            attempt(&docker, &technique, true, &ours),
            attempt(&docker, &technique, false, &ours),
        ];
        let shown = outcomes.map(Outcome::shown).join(" | ");
        let _ = writeln!(table, "| {} | {} | {shown} |", technique.name, technique.needs);
        n_work += usize::from(outcomes[0] == Outcome::Works);
        if outcomes[2..].contains(&Outcome::Works) {
            open.push(technique.name);
        }
    }
    remove_hierarchy(folder);
    super::probes::println_table(&table);
    assert!(n_work >= 14, "too little works unhardened to tell anything: {n_work}");
    assert!(open.is_empty(), "{open:?}");
}

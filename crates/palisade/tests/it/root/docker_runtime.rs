//! Docker with the program as its default runtime and its authorization plugin: what is
//! confined, what is refused, and what is as it was.

use std::process::Command;

use serde_json::Value;

use super::bed::SOON;
use super::docker::{Docker, LIMITS, Setup, can_start};
use crate::support::{Ended, finish, run, wait_for};

const STATUS: &str = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status";

/// What `/proc/self/status` has behind `name`.
fn fact<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

#[track_caller]
fn refused(ended: &Ended, what: &[&str]) {
    assert_ne!(ended.code, 0, "{} {}", ended.stdout, ended.stderr);
    for expected in what {
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    }
}

#[test]
fn containers_are_confined_at_run_and_exec_and_every_way_around_is_refused() {
    if !can_start() {
        return;
    }
    let docker = Docker::start(Setup::Palisade("baseline"));
    let ended = docker.shell(&[], STATUS).expect(0);
    let confined = ended.stdout.clone();
    for (name, expected) in
        [("NoNewPrivs:", "1"), ("Seccomp:", "2"), ("CapEff:", "00000000800405fb")]
    {
        assert_eq!(fact(&confined, name), expected);
    }
    docker.container(&["--detach", "--name", "web"], &["/bin/sleep", "300"]).expect(0);
    assert_eq!(docker.run(&["exec", "web", "/bin/sh", "-c", STATUS]).expect(0).stdout, confined);
    refused(
        &docker.run(&["exec", "--privileged", "web", "/bin/true"]),
        &["authorization denied", "policy `baseline` refuses this process", "privileged"],
    );
    // Docker's user reads why, whether plugin or runtime says it.
    for (flags, what) in [
        (&["--privileged"][..], "privileged mode"),
        (&["--cap-add", "SYS_ADMIN"], "SYS_ADMIN"),
        (&["--pid", "host"], "pid namespace"),
        (&["--network", "host"], "network namespace"),
        (&["--volume", "/:/host"], "of the host was asked for"),
        (&["--volume", "/run/docker.sock:/s"], "of the host was asked for"),
        (&["--device", "/dev/loop-control"], "/dev/loop-control"),
        (&["--device", "/dev/loop-control:/dev/null"], "loop-control"),
        (&["--security-opt", "seccomp=unconfined"], "system-call filter"),
        (&["--security-opt", "systempaths=unconfined"], "engines hide"),
        (&["--runtime", "runc"], "another OCI runtime"),
        (&["--runtime", "io.containerd.runc.v2"], "another OCI runtime"),
        (&["--cgroup-parent", "/"], "control group"),
        (
            &[
                "--mount",
                "type=volume,dst=/h,volume-driver=local,volume-opt=type=none,\
                 volume-opt=o=bind,volume-opt=device=/",
            ],
            "`/` of the host",
        ),
    ] {
        refused(&docker.shell(flags, "true"), &["policy `baseline` refuses this", what]);
    }
    let device = ["--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "v"];
    refused(&docker.run(&[&["volume", "create"], &device[..]].concat()), &["`/etc` of the host"]);
    refused(&docker.run(&["update", "--pids-limit", "-1", "web"]), &["PidsLimit"]);

    // What the kernel says of it.
    let folder = docker.folder.path();
    let store = format!("docker={}", folder.join("data").display());
    let config = folder.join("runtime.json").display().to_string();
    let look = ["inspect", "web", "--store", &store, "--config", &config, "--format", "json"];
    let found: Value = serde_json::from_str(&run(folder, &look).expect(0).stdout).unwrap();
    assert_eq!(found["container"]["name"], "web");
    assert_eq!(found["confinement"]["policy"], "baseline");
    assert_eq!(found["found"]["no_new_privileges"], true);
    assert_eq!(found["found"]["limits"]["pids"], 1024);
    let exposures = found["exposures"].as_array().unwrap();
    assert!(exposures.iter().all(|exposure| exposure["level"] != "high"), "{exposures:#?}");

    // Another policy holds from the next container on.
    docker.set_policy("restricted");
    let ended = docker.shell(&[], &format!("{STATUS}; id -u; touch /x; touch /tmp/x && echo tmp"));
    assert_eq!(fact(&ended.stdout, "CapEff:"), "0000000000000000");
    assert!(ended.stdout.contains("65532") && ended.stdout.ends_with("tmp\n"), "{ended:?}");
    assert!(ended.stderr.contains("Read-only file system"), "{}", ended.stderr);
    refused(&docker.shell(&["--volume", "/srv:/s"], "true"), &["only the engine's volumes"]);
    docker.shell(&["--volume", "named:/n"], "true").expect(0);

    // Without a policy nothing is started, and what runs can still be stopped and removed.
    docker.set_policy("/no/such/policy.yaml");
    refused(&docker.shell(&[], "true"), &["/no/such/policy.yaml"]);
    docker.run(&["rm", "--force", "web"]).expect(0);
}

/// What Docker is used for, each with what it prints. The same with and without us.
fn uses(docker: &Docker) -> Vec<(String, String)> {
    let folder = docker.folder.path();
    let mut out = Vec::new();
    let mut note = |name: &str, ended: Ended| {
        let text = format!("{}\n{}{}", ended.code, ended.stdout, ended.stderr);
        // Numbers of containers and networks differ from run to run.
        let is_id = |word: &str| word.len() >= 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
        let words = text.split_inclusive([' ', '\n']);
        let text: String = words
            .map(|w| if is_id(w.trim()) { w.replace(w.trim(), "ID") } else { w.into() })
            .collect();
        out.push((name.to_string(), text));
    };
    note("exit code", docker.shell(&[], "exit 7"));
    note(
        "environment, folder, user, host name",
        docker.shell(
            &["--env", "A=b c", "--workdir", "/srv", "--user", "33:33", "--hostname", "h"],
            "echo $A; pwd; id; cat /etc/hostname",
        ),
    );
    note("a missing program", docker.container(&["--rm"], &["/no/such"]));
    let bind = folder.join("bind");
    std::fs::create_dir(&bind).unwrap();
    std::fs::write(bind.join("in"), "from outside\n").unwrap();
    let volume = format!("{}:/b", bind.display());
    note("a folder", docker.shell(&["--volume", &volume], "cat /b/in; echo written >/b/out"));
    note("its file", {
        let mut command = Command::new("/bin/cat");
        command.arg(bind.join("out"));
        finish(command)
    });
    let read_only = format!("{volume}:ro");
    note("a read-only folder", docker.shell(&["--volume", &read_only], "echo x >/b/out"));
    note("a volume", docker.shell(&["--volume", "data:/d"], "echo kept >/d/f"));
    note("the volume again", docker.shell(&["--volume", "data:/d"], "cat /d/f"));
    note("a temporary file system", docker.shell(&["--tmpfs", "/t"], "echo x >/t/f; cat /t/f"));
    note("volumes", docker.run(&["volume", "ls", "--quiet"]));
    note("a network", docker.run(&["network", "create", "net"]));
    let page = "echo page >/srv/index.html; exec /bin/httpd -f -p 8080 -h /srv";
    note(
        "a server",
        docker.container(
            &["--detach", "--name", "web", "--network", "net", "--publish", "18080:8080"],
            &["/bin/sh", "-c", page],
        ),
    );
    let ask = "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://127.0.0.1:18080/ && break; sleep 1; done";
    note("its port", docker.beside(ask));
    let address = docker.run(&[
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        "web",
    ]);
    let ask = format!("wget -q -O - http://{}:8080/", address.expect(0).stdout.trim());
    note("from a neighbour", docker.shell(&["--network", "net"], &ask));
    note("by its name", docker.shell(&["--network", "net"], "wget -q -O - http://web:8080/"));
    note("exec", docker.run(&["exec", "web", "/bin/sh", "-c", "cat /srv/index.html; exit 3"]));
    note("exec as a user", docker.run(&["exec", "--user", "33", "web", "/bin/id", "-u"]));
    std::fs::write(folder.join("copied"), "copied\n").unwrap();
    note("copy in", {
        let ended = docker.run(&["cp", "copied", "web:/srv/copied"]);
        Ended { stderr: String::new(), ..ended }
    });
    note("copied", docker.run(&["exec", "web", "/bin/cat", "/srv/copied"]));
    note("copy out", {
        let ended = docker.run(&["cp", "web:/srv/index.html", "out.html"]);
        // Newer clients tell how far they are.
        Ended { stderr: String::new(), ..ended }
    });
    note("logs", {
        docker.container(&["--name", "said"], &["/bin/sh", "-c", "echo said"]).expect(0);
        docker.run(&["logs", "said"])
    });
    note("commit", {
        docker.run(&["commit", "web", "kept"]).expect(0);
        docker.run(&[
            "history",
            "--quiet",
            "--no-trunc=false",
            "--format",
            "{{.CreatedBy}}",
            "kept",
        ])
    });
    note("pause", docker.run(&["pause", "web"]));
    note("unpause", docker.run(&["unpause", "web"]));
    note("restart", docker.run(&["restart", "--time", "0", "web"]));
    note("limits", docker.shell(&["--memory", "32m", "--cpus", "0.5"], "true"));
    note("read-only", docker.shell(&["--read-only"], "touch /x"));
    note("init", docker.run(&["top", "web", "-o", "comm"]));
    note("build", {
        let context = folder.join("context");
        std::fs::create_dir(&context).unwrap();
        let file = "FROM box\nCOPY f /f\nENV A=1\nRUN echo built >/made && cat /f >>/made\n\
                    USER 33\nRUN id -u >/tmp/id\nCMD [\"/bin/cat\", \"/made\", \"/tmp/id\"]\n";
        std::fs::write(context.join("Dockerfile"), file).unwrap();
        std::fs::write(context.join("f"), "file\n").unwrap();
        let args = ["--quiet", "--network", "none", "--tag", "built", "context"];
        docker.run(&[&["build"], &LIMITS[..], &args].concat()).expect(0);
        docker.run(&[&["run", "--rm"], &LIMITS[..], &["built"]].concat())
    });
    // The server may need longer to listen than the client to start.
    let ask =
        "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://server:8080/ && break; sleep 1; done";
    for (name, args) in [
        ("compose up", &["up", "--detach"][..]),
        ("compose exec", &["exec", "-T", "client", "/bin/sh", "-c", ask]),
        ("compose down", &["down", "--timeout", "0", "--volumes"]),
    ] {
        if let Some(mut command) = docker.compose() {
            let ended = finish({
                command.args(args);
                command
            });
            // Its progress is told as it comes.
            note(name, Ended { stderr: String::new(), ..ended });
        }
    }
    note("stop", docker.run(&["stop", "--time", "0", "web"]));
    note("remove", docker.run(&["rm", "web", "said"]));
    note("no container is left", docker.run(&["ps", "--all", "--quiet"]));
    out
}

#[test]
fn what_the_policy_says_nothing_of_is_as_it_was() {
    if !can_start() {
        return;
    }
    let plain = uses(&Docker::start(Setup::Plain));
    let docker = Docker::start(Setup::Palisade("baseline"));
    let ours = uses(&docker);
    for (plain, ours) in plain.iter().zip(&ours) {
        assert_eq!(plain, ours);
    }
    assert_eq!(plain.len(), ours.len());
    for (name, expected) in [
        ("exit code", "7\n"),
        ("its file", "0\nwritten\n"),
        ("the volume again", "0\nkept\n"),
        ("its port", "0\npage\n"),
        ("from a neighbour", "0\npage\n"),
        ("exec", "3\npage\n"),
        ("copied", "0\ncopied\n"),
        ("logs", "0\nsaid\n"),
        ("compose exec", "0\npage\n"),
        ("build", "0\nbuilt\nfile\n33\n"),
        ("no container is left", "0\n"),
    ] {
        let Some(found) = ours.iter().find(|(known, _)| known == name) else {
            assert!(name.starts_with("compose"), "{name}");
            eprintln!("skipped: docker-compose is not installed");
            continue;
        };
        assert_eq!(found.1, expected, "{name}");
    }
    // Nothing of them is kept; what is known of the runtime stays.
    let state = docker.folder.path().join("state");
    wait_for("end of the records of containers that are gone", SOON, || {
        let kept = std::fs::read_dir(&state).into_iter().flatten().flatten();
        kept.filter(|entry| entry.file_name() != "runtimes").count().eq(&0).then_some(())
    });
}

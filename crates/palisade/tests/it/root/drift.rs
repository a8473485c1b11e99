//! Programs that are not the image's: seen, and refused where that is asked for.

use std::path::Path;

use serde_json::json;

use super::bed::{Bed, SOON};
use super::enforce::{PROGRAMS, alerts_of, end, rule, shell, unique, watch};
use super::watch::IDLE;
use crate::layout::{Layer, Layout};
use crate::support::{listing, wait_for};

/// A container that may write wherever it wants and execute what it wrote.
const POLICY: &str = "version: 1
name: open
images: { verify: off }
containers:
  user: image
  read_only_root: false
  tmpfs: [{ path: /tmp, size: 32Mi, exec: true }]
";

/// The image `oci:drift`: busybox under several names, three of them files of their own.
fn image(folder: &Path) {
    let program = std::fs::read("/bin/busybox").unwrap();
    let mut layer = Layer::new()
        .folder("bin/", 0o755)
        .folder("opt/", 0o755)
        .folder("opt/same/", 0o755)
        .folder("tmp/", 0o1777)
        .file("bin/busybox", 0o755, &program)
        .file("opt/true", 0o755, &program)
        .file("opt/same/true", 0o755, &program);
    for name in ["cat", "chmod", "cp", "sh", "touch", "true"] {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    // A second layer that replaces a file of the first.
    let upper = Layer::new().folder("opt/", 0o755).file("opt/script", 0o755, "#!/bin/sh\nexit 0\n");
    let config = json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]});
    Layout::write(&folder.join("drift"), vec![layer, upper], &config);
    std::fs::write(folder.join("open.yaml"), POLICY).unwrap();
}

/// Each line says how a program of one kind ended.
const TRIES: &str = r"
/bin/true; echo image $?
/opt/script; echo layered $?
touch /opt/same/true; /opt/same/true; echo touched $?
cp /bin/busybox /true; /true; echo added $?
cp /bin/busybox /tmp/true; /tmp/true; echo tmpfs $?
echo x >>/opt/true; /opt/true; echo changed $?
printf '#!/bin/sh\nexit 0\n' >/opt/own; chmod 755 /opt/own; /opt/own; echo script $?
sh /opt/own; echo read $?
exit 5
";

#[test]
fn only_the_images_own_programs_start_where_drift_is_denied() {
    let Some(bed) = Bed::new() else { return };
    image(bed.path());
    let run = |flags: &[&str]| {
        let args = [&["run", "--policy", "open.yaml"][..], flags].concat();
        bed.run(&[&args[..], &["oci:drift", "--", "/bin/sh", "-c", TRIES]].concat()).expect(5)
    };
    let said = |kinds: [(&str, i32); 8]| -> String {
        kinds.map(|(kind, code)| format!("{kind} {code}\n")).concat()
    };
    let free = run(&[]);
    let kinds = ["image", "layered", "touched", "added", "tmpfs", "changed", "script", "read"];
    assert_eq!(free.stdout, said(kinds.map(|kind| (kind, 0))));
    assert!(!free.stderr.contains("refused"), "{}", free.stderr);

    let held = run(&["--deny-drift"]);
    // What an interpreter reads is no program: `read` is not stopped.
    let denied = |kind: &str| ["added", "tmpfs", "changed", "script"].contains(&kind);
    assert_eq!(held.stdout, said(kinds.map(|kind| (kind, if denied(kind) { 126 } else { 0 }))));
    for line in [
        "refused to start /true (added: the image has no such file)",
        "refused to start /tmp/true (on another file system than the image's)",
        "refused to start /opt/true (changed: the image has another content there)",
        "refused to start /opt/own (added: the image has no such file)",
        "4 of ",
    ] {
        assert!(held.stderr.contains(line), "`{line}` is not in {}", held.stderr);
    }

    // One that is renamed to and fro meanwhile is refused, or not found.
    let race = "cp /bin/busybox /race
        (while :; do mv /race /opt/race; mv /opt/race /race; done) 2>/dev/null &
        n=0
        while [ $n -lt 200 ]; do
            /race true && echo started; /opt/race true && echo started; n=$((n + 1))
        done
        kill $!; exit 5";
    let args = ["run", "--policy", "open.yaml", "--deny-drift", "oci:drift", "--", "/bin/sh", "-c"];
    let ended = bed.run(&[&args[..], &[race]].concat());
    assert_eq!((ended.code, ended.stdout.as_str()), (5, ""), "{}", ended.stderr);

    assert_eq!(bed.run(&["ps", "--format", "tsv"]).expect(0).stdout, "");
}

#[test]
fn a_rule_refuses_a_program_that_is_not_the_images_before_it_starts() {
    let Some(bed) = Bed::new() else { return };
    image(bed.path());
    let name = unique("drift");
    let condition = format!("{PROGRAMS} and proc.is_exe_upper_layer = true");
    let args = ["run", "--policy", "open.yaml", "--detach", "--name", &name, "oci:drift"];
    bed.run(&[&args[..], &["--", "/bin/sh", "-c", IDLE]].concat()).expect(0);
    let watch = watch(&bed, &rule("drift", &name, &condition, "deny"), &["--enforce", "on"]);
    assert!(watch.stderr().contains("prevents: deny by fanotify"), "{}", watch.stderr());
    let said = wait_for("guarded container", SOON, || {
        let tries = "cp /bin/busybox /true; /true; echo added $?; /bin/true; echo image $?; \
                     /opt/same/true; echo other $?";
        let said = shell(&bed, &name, tries);
        said.contains("added 126").then_some(said)
    });
    assert_eq!(said, "added 126\nimage 0\nother 0\n");
    let alert = wait_for("alert", SOON, || alerts_of(&watch, "drift").into_iter().next());
    let done = &alert["enforcement"];
    assert_eq!(
        [&done["means"], &done["outcome"], &done["detail"]],
        ["fanotify", "prevented", "/true"]
    );
    end(watch);
    bed.run(&["stop", "--all", "--grace", "0"]).expect(0);
}

#[test]
fn a_detached_container_is_guarded_by_a_process_of_its_own() {
    let Some(bed) = Bed::new() else { return };
    let text = format!("{POLICY}  deny_drift: true\n");
    std::fs::write(bed.path().join("guarded.yaml"), text).unwrap();
    let script = "cp /bin/busybox /tmp/new; cp /bin/busybox /new; while :; do sleep 0.1; done";
    let id = bed.detach("box", &["--policy", "guarded.yaml"], script);
    let inside = |program: &str| {
        bed.run(&["exec", "box", "--", "/bin/sh", "-c", &format!("{program} true || echo no")])
    };
    wait_for("the copy", SOON, || {
        let there = bed.run(&["exec", "box", "--", "/bin/sh", "-c", "test -s /new"]);
        (there.code == 0).then_some(())
    });
    assert_eq!(inside("/bin/busybox").expect(0).stdout, "");
    assert_eq!(inside("/new").expect(0).stdout, "no\n");
    bed.run(&["stop", "box", "--grace", "0"]).expect(0);
    bed.expect_nothing_left(&id);
    let said = bed.data().join("logs/box.supervisor.log");
    wait_for("what was refused", SOON, || {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        text.contains("refused to start /new").then_some(())
    });
    // What is to be said at all is said by the command that was given, and what goes with the
    // container goes with its logs, also of one whose name is made up.
    let rest = ["--policy", "guarded.yaml", "oci:box", "--", "/bin/sleep", "60"];
    let logs = || listing(&bed.data().join("logs"));
    let before = logs();
    for name in [&["--name", "again"][..], &[]] {
        let args = [&["run", "--detach"][..], name, &rest].concat();
        let started = bed.run(&args).expect(0);
        assert_eq!(logs().len(), before.len() + 2, "{:?}", logs());
        let id = started.stdout.trim();
        bed.run(&["rm", "--force", "--logs", id]).expect(0);
        assert_eq!(logs(), before);
        bed.expect_nothing_left(id);
        let args = ["run", "--policy", "guarded.yaml", "oci:box", "--", "/bin/true"];
        let warnings = bed.run(&args).expect(0).stderr;
        for line in warnings.lines().filter(|line| line.starts_with("warning: ")) {
            assert!(started.stderr.contains(line), "{line}: {}", started.stderr);
        }
    }
    // What is wrong is said by the command that was given.
    let args = ["run", "--detach", "--policy", "guarded.yaml", "oci:box", "--", "/bin/nosuch"];
    bed.run(&args).expect_error_with_output(127, "/bin/nosuch");
}

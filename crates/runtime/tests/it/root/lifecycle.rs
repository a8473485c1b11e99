//! How containers begin, end, and what is left of them.

use std::time::{Duration, Instant};

use palisade_base::Explain as _;
use palisade_harden::{Refusal, RefusalReason};
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;
use palisade_policy::{Seccomp, UserMode};
use palisade_runtime::{
    ExecRequest, ManageError, Output, RunError, RunRequest, StartFault, Status, Stdio,
};
use palisade_sys::process::Exit;

use crate::bench::{Bench, Captured, can_run, restricted, value};

#[test]
fn an_explanation_runs_nothing_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let policy = restricted();
    let request = bench.request(&policy, &["/bin/true"]);
    let explained = bench.runtime.explain(&request).unwrap();
    assert_eq!(bench.traces(), before);
    let outcome = bench.runtime.run(&request, Stdio::default()).unwrap();
    // The same changes, the range of ids included: explaining uses none up. The files of
    // the bundle are named by the container's id.
    let without_mounts = |changes: &[palisade_harden::Change]| {
        changes.iter().filter(|change| change.path != "/mounts").cloned().collect::<Vec<_>>()
    };
    assert_eq!(without_mounts(&explained), without_mounts(&outcome.changes));
    assert!(explained.iter().any(|change| change.path == "/linux/uidMappings"));
}

#[test]
fn of_two_that_want_one_name_at_once_one_gets_it() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let policy = restricted();
    let start = |name: Option<&str>| {
        let mut request = bench.request(&policy, &["/bin/sleep", "300"]);
        request.name = name.map(str::to_string);
        request.detach = true;
        bench.runtime.run(&request, Stdio::default())
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| start(Some("web")))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 5), "{refused:?}");
    for error in refused.into_iter().filter_map(Result::err) {
        assert!(matches!(error, RunError::Name { problem: "is in use", .. }), "{error}");
    }
    let id = made[0].as_ref().unwrap().record.container.id.clone();
    assert_eq!(bench.runtime.find("web").unwrap().record.container.id, id);
    // An explanation takes no name, and sees that of others.
    let mut request = bench.request(&policy, &["/bin/true"]);
    request.name = Some("web".into());
    let error = bench.runtime.explain(&request).unwrap_err();
    assert!(matches!(error, RunError::Name { .. }), "{error}");
    bench.runtime.remove(&id, true).unwrap();
    bench.runtime.explain(&request).unwrap();
    // What somebody who was killed has begun under a name keeps it from nobody.
    let killed = bench.runtime.paths().bundle(&"a".repeat(64));
    std::fs::create_dir(&killed).unwrap();
    std::fs::write(killed.join("name"), "web").unwrap();
    let made = start(Some("web")).unwrap();
    assert!(!killed.exists());
    bench.runtime.remove(&made.record.container.id, true).unwrap();
    assert_eq!(bench.traces(), before);
}

#[test]
fn an_image_of_two_layers_is_unpacked_once_and_shown_with_its_owners() {
    if !can_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.image = bench.layout();
    let before = bench.traces();
    let policy = restricted();
    let script = "stat -c '%n %u %a' /data /bin/busybox; cat /etc/motd";
    let (outcome, output) = bench.run(&policy, script).unwrap();
    assert!(output.contains("/data 33 750"), "{output}");
    assert!(output.contains("/bin/busybox 0 755"), "{output}");
    assert!(output.contains("second layer"), "{output}");
    assert_eq!(outcome.record.container.image.unwrap().digest, bench.image.manifest_digest);
    let layers: Vec<_> = std::fs::read_dir(bench.runtime.paths().layers()).unwrap().collect();
    assert_eq!(layers.len(), 2);
    let (outcome, _) = bench.run_command(&policy, &[]).unwrap();
    assert_eq!(outcome.exit, Some(Exit::Code(9)), "the image's own command");
    assert_eq!(bench.traces(), before);
}

#[test]
fn a_layer_that_lies_is_refused_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.image = bench.layout();
    let before = bench.traces();
    let digest = bench.image.layers[1].digest;
    let blob = bench.folder.path().join("layout/blobs/sha256").join(digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let error = bench.run(&restricted(), "true").unwrap_err();
    assert!(matches!(error, RunError::Layer(_)), "{error}");
    assert_eq!(bench.traces(), before);
    let layers = std::fs::read_dir(bench.runtime.paths().layers()).unwrap().flatten();
    assert_eq!(layers.count(), 1, "the true layer is kept, nothing of the lie");
}

#[test]
fn failures_leave_nothing_behind() {
    if !can_run() {
        return;
    }
    let mut bench = Bench::new();
    let before = bench.traces();
    let policy = restricted();

    let refuse = |_: &palisade_image::Image| {
        let reason =
            RefusalReason { control: "image", message: "no".into(), fix: "sign it".into() };
        Err(Refusal { reasons: vec![reason] })
    };
    let mut request = bench.request(&policy, &["/bin/true"]);
    request.admit = &refuse;
    let error = bench.runtime.run(&request, Stdio::default()).unwrap_err();
    assert!(matches!(error, RunError::Refused(_)));
    assert_eq!(error.hint().as_deref(), Some("sign it"));

    let error = bench.run_command(&policy, &["/bin/absent"]).unwrap_err();
    assert!(
        matches!(&error, RunError::Command { command, .. } if command == "/bin/absent"),
        "{error}"
    );
    let error = bench.run_command(&policy, &[]).unwrap_err();
    assert!(matches!(error, RunError::NoCommand), "{error}");

    let mut bad = restricted();
    bad.containers.user = UserMode::RequireNonRoot;
    assert!(matches!(bench.run(&bad, "true"), Err(RunError::Refused(_))));

    // The OCI runtime itself refuses: a profile that no library accepts.
    let mut bad = restricted();
    bad.containers.seccomp = Seccomp::File("x.json".into());
    let mut request = bench.request(&bad, &["/bin/true"]);
    request.seccomp_document = Some(serde_json::json!({
        "defaultAction": "SCMP_ACT_RUBBISH", "architectures": [], "syscalls": [],
    }));
    let error = bench.runtime.run(&request, Stdio::default()).unwrap_err();
    assert!(matches!(error, RunError::Runc(_)), "{error}");

    // A filter that kills the program before it says anything.
    request.seccomp_document =
        Some(serde_json::json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": []}));
    let result = bench.runtime.run(&request, Stdio::default());
    assert!(result.is_err() || result.unwrap().exit != Some(Exit::Code(0)));

    for name in ["", "-x", "a b", "../x", &"n".repeat(65)] {
        let mut request = bench.request(&policy, &["/bin/true"]);
        request.name = Some(name.into());
        let error = bench.runtime.run(&request, Stdio::default()).unwrap_err();
        assert!(matches!(error, RunError::Name { .. }), "{name}: {error}");
    }

    for target in [Target::Folder("/".into()), Target::Folder("/usr/..".into()), Target::Host] {
        bench.image = Image::open(&target, &OpenOptions::default()).unwrap();
        let result = bench.run(&policy, "true");
        assert!(matches!(result, Err(RunError::Layer(_))), "{target}: {result:?}");
    }
    assert_eq!(bench.traces(), before, "nothing is left after any failure");
}

#[test]
fn a_folder_that_is_exchanged_after_it_was_judged_is_no_root_file_system() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let policy = restricted();
    let (folder, aside) = (bench.folder.path().join("image"), bench.folder.path().join("aside"));
    let exchange = |_: &Image| {
        std::fs::rename(&folder, &aside).unwrap();
        let copied = std::process::Command::new("cp").arg("-a").args([&aside, &folder]).status();
        assert!(copied.unwrap().success());
        std::fs::write(folder.join("etc/planted"), "").unwrap();
        Ok(())
    };
    let output = Captured::default();
    let stdio = Stdio { stdout: Output::Writer(Box::new(output.clone())), ..Stdio::default() };
    let request = RunRequest { admit: &exchange, ..bench.request(&policy, &["/bin/ls", "/etc"]) };
    let outcome = bench.runtime.run(&request, stdio).unwrap();
    assert_eq!(outcome.exit, Some(Exit::Code(0)));
    let listed = output.text();
    assert!(listed.contains("passwd") && !listed.contains("planted"), "{listed}");
    // Taken away altogether.
    std::fs::remove_dir_all(&aside).unwrap();
    let error = bench.run_command(&policy, &["/bin/true"]).unwrap_err();
    assert!(matches!(error, RunError::Layer(_)), "{error}");
    assert_eq!(bench.traces(), before);
}

#[test]
fn thirty_containers_leave_nothing_behind() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let policy = restricted();
    let before = bench.traces();
    let mut times = Vec::new();
    let mut ranges = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let start = Instant::now();
        let warn = |text: &str| assert!(!text.contains("cleaning up"), "{text}");
        let request = RunRequest { warn: &warn, ..bench.request(&policy, &["/bin/true"]) };
        let outcome = bench.runtime.run(&request, Stdio::default()).unwrap();
        times.push((outcome.start_time, start.elapsed()));
        assert!(ranges.insert(outcome.record.run.ids.unwrap().first), "a range came back");
        assert_eq!(outcome.exit, Some(Exit::Code(0)));
    }
    times.sort();
    eprintln!("start and whole run, median of 30: {:?}", times[15]);
    assert_eq!(bench.traces(), before);
}

#[test]
fn a_detached_container_is_listed_entered_stopped_and_removed() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let policy = restricted();
    let mut request =
        bench.request(&policy, &["/bin/sh", "-c", "trap 'exit 3' TERM; sleep 60 & wait"]);
    request.detach = true;
    request.name = Some("web".into());
    let outcome = bench.runtime.run(&request, Stdio::default()).unwrap();
    assert_eq!(outcome.exit, None);
    let id = outcome.record.container.id.clone();

    // It survives the garbage collection of the next command.
    assert_eq!(bench.runtime.collect_garbage().n_alive, 1);
    let found = bench.runtime.find("web").unwrap();
    assert_eq!((found.status, &found.record.container.id), (Status::Running, &id));
    assert_eq!(bench.runtime.find(&id[..6]).unwrap().record.container.id, id);
    match bench.runtime.find("wed") {
        Err(ManageError::NotFound { nearest, .. }) => assert_eq!(nearest.as_deref(), Some("web")),
        other => panic!("{other:?}"),
    }
    let error = bench.runtime.run(&request, Stdio::default()).unwrap_err();
    assert!(matches!(error, RunError::Name { problem: "is in use", .. }), "{error}");

    // exec is confined as the container is.
    let output = Captured::default();
    let exec = ExecRequest {
        command: ["/bin/sh", "-c", "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status; id -u; touch /x; mount -t proc p /tmp; echo uni: $(grep ^0 /proc/self/cgroup); exit 5"]
            .map(String::from).to_vec(),
        ..ExecRequest::default()
    };
    let stdio = Stdio {
        stdout: Output::Writer(Box::new(output.clone())),
        stderr: Output::Writer(Box::new(output.clone())),
        ..Stdio::default()
    };
    let exit = bench.runtime.exec("web", &exec, stdio).unwrap();
    let text = output.text();
    assert_eq!(exit, Exit::Code(5), "{text}");
    assert_eq!(value(&text, "CapEff"), Some("0000000000000000"), "{text}");
    assert_eq!(value(&text, "CapBnd"), Some("0000000000000000"), "{text}");
    assert_eq!(value(&text, "NoNewPrivs"), Some("1"), "{text}");
    assert_eq!(value(&text, "Seccomp"), Some("2"), "{text}");
    assert!(
        text.contains("65532") && text.contains("Read-only") && text.contains("denied"),
        "{text}"
    );
    assert_eq!(value(&text, "uni"), Some("0::/"), "exec joins every hierarchy: {text}");
    let absent = ExecRequest { command: vec!["/absent".into()], ..ExecRequest::default() };
    assert!(matches!(
        bench.runtime.exec("web", &absent, Stdio::default()),
        Err(ManageError::Command { fault: StartFault::Missing, .. })
    ));

    // Frozen and free again.
    let group = bench.runtime.group(&id).unwrap();
    let took = group.freeze(Duration::from_secs(30)).unwrap();
    eprintln!("freeze took {took:?}");
    assert_eq!(bench.runtime.find("web").unwrap().status, Status::Frozen);
    group.thaw(Duration::from_secs(30)).unwrap();

    assert!(matches!(bench.runtime.remove("web", false), Err(ManageError::Running(_))));
    assert!(bench.runtime.stop("web", None, Duration::from_secs(40)).unwrap(), "it ends by itself");
    assert_eq!(bench.runtime.find("web").unwrap().status, Status::Stopped);
    assert!(matches!(bench.runtime.kill("web"), Err(ManageError::NotRunning(_))));
    assert_eq!(bench.runtime.remove("web", false).unwrap(), Vec::<String>::new());
    assert_eq!(bench.traces(), before);
}

#[test]
fn a_program_that_ignores_signals_is_killed_after_its_grace() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let policy = restricted();
    let mut request = bench.request(&policy, &["/bin/sleep", "60"]);
    request.detach = true;
    request.name = Some("deaf".into());
    let outcome = bench.runtime.run(&request, Stdio::default()).unwrap();
    // What runC is before it becomes the program ends at the signal.
    let cmdline = format!("/proc/{}/cmdline", outcome.record.container.init_pid.unwrap());
    let start = Instant::now();
    while std::fs::read(&cmdline).unwrap() != b"/bin/sleep\x0060\0" {
        assert!(start.elapsed() < Duration::from_mins(1), "the program is never executed");
        std::thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    assert!(!bench.runtime.stop("deaf", Some(15), Duration::from_millis(200)).unwrap());
    assert!(start.elapsed() < Duration::from_secs(40));
    bench.runtime.remove("deaf", true).unwrap();
}

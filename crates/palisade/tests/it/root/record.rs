//! What `watch` recorded shows the alerts that it raised.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::watch::IDLE;
use crate::support::wait_for;

/// Two rules over canaries; the second asks for its recording.
const RULES: &str = r"
- rule: Canary read
  desc: The canary was read.
  condition: evt.type in (open, openat) and fd.name endswith canary-one and container.name = shop
  output: >
    read %fd.name raw=%fd.nameraw cmd=%proc.cmdline parent=%proc.pname pids=%proc.pid/%proc.vpid
    cwd=%proc.cwd exe=%proc.exepath user=%user.name uid=%user.uid num=%evt.num deltatime=%evt.deltatime reltime=%evt.reltime
    image=%container.image.repository id=%container.id type=%container.type
    aname=%proc.aname[2] duration=%proc.duration sid=%proc.sid res=%evt.res args=%evt.args
  priority: WARNING
  tags: [T1005]

- rule: Canary program
  desc: The canary was run.
  condition: evt.type in (execve, execveat) and proc.cmdline contains canary-two and container.name = shop
  output: ran %proc.cmdline env=%proc.env parent=%proc.pcmdline cap=%thread.cap_effective loginuid=%user.loginuid
  priority: ERROR
  capture: true
  capture_duration: 100
";

/// The alerts of a run as what they say of the event, one by one.
fn said(stdout: &str) -> Vec<Value> {
    let mut alerts: Vec<Value> = stdout
        .lines()
        .map(|line| {
            let mut alert: Value = serde_json::from_str(line).unwrap();
            let object = alert.as_object_mut().unwrap();
            for when_it_was_raised in ["id", "raised", "hostname", "recording"] {
                object.remove(when_it_was_raised);
            }
            alert
        })
        .collect();
    alerts.sort_by_key(|alert| (alert["time"].to_string(), alert["rule"].to_string()));
    alerts
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Reads and runs the canaries in the container, from a folder and by a child whose parent
/// has gone.
fn touch_canaries(bed: &Bed) {
    let script = "cd /tmp; echo x >canary-one; cat ../tmp/canary-one >/dev/null;
        (cat /tmp/canary-one >/dev/null &); /bin/true canary-two; cat canary-none 2>/dev/null";
    bed.run(&["exec", "shop", "--", "/bin/sh", "-c", script]);
}

#[test]
fn a_recording_shows_the_alerts_that_were_raised() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("canary.yaml"), RULES).unwrap();
    bed.detach("shop", &[], IDLE);
    let common =
        ["--rules", "canary.yaml", "--no-builtin-rules", "--format", "json", "--fold-seconds", "0"];
    let recording = ["--record", "all.palcap", "--record-on-alert", "alerts"];
    let watch = bed.watch(&[&common[..], &recording, &["--stats"]].concat());
    touch_canaries(&bed);
    wait_for("alerts", SOON, || {
        let shown = watch.stdout();
        (shown.matches("Canary read").count() >= 3 && shown.contains("Canary program"))
            .then_some(())
    });
    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(0);
    let live = said(&ended.stdout);
    assert!(live.len() >= 4, "{}", ended.stdout);
    let reads: Vec<&str> = live
        .iter()
        .filter_map(|alert| alert["output"].as_str())
        .filter(|o| o.starts_with("read"))
        .collect();
    assert!(
        reads.iter().any(|output| output.contains("parent=sh") && output.contains("raw=../tmp/")),
        "{reads:?}"
    );

    // All of it.
    let replay = |file: &str| {
        let args = ["replay", "--rules", "canary.yaml", "--format", "json", file];
        said(&bed.run(&args).expect(0).stdout)
    };
    assert_eq!(replay("all.palcap"), live);

    // Around the alerts: one file, because each came while the file was written.
    let found = files(&bed.path().join("alerts"));
    assert_eq!(found.len(), 1, "{found:?}");
    let file = found[0].to_str().unwrap();
    assert!(file.ends_with(".palcap") && file.contains("-canary-"), "{file}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(replay(file), live);
    for line in ended.stdout.lines() {
        let alert: Value = serde_json::from_str(line).unwrap();
        let named = alert["recording"].as_str().unwrap();
        assert_eq!(named, file);
    }
    let incident = bed.incidents().pop().unwrap().to_string();
    assert_eq!(incident.matches(&format!("recorded in {file}")).count(), 1, "{incident}");

    // What it holds, and as a capture for others.
    let info = bed.run(&["capture", "info", "--format", "json", "all.palcap"]).expect(0);
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["sections"].as_array().unwrap().len(), 1, "{info}");
    assert!(info["n_by_type"]["execve"].as_u64() > Some(2), "{info}");
    assert!(info["sections"][0]["n_containers"].as_u64() >= Some(1), "{info}");
    bed.run(&["capture", "convert", "all.palcap", "all.scap"]);
    let scap = replay("all.scap");
    assert_eq!(scap.len(), live.len());
    bed.run(&["capture", "convert", "all.palcap", "all.scap"]).expect_error(3, "all.scap");
    bed.run(&["stop", "shop"]).expect(0);
}

#[test]
fn only_what_is_asked_for_is_recorded() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("canary.yaml"), RULES).unwrap();
    bed.detach("shop", &[], IDLE);
    let common =
        ["--rules", "canary.yaml", "--no-builtin-rules", "--format", "json", "--fold-seconds", "0"];
    let marked = ["--record-on-alert", "alerts", "--record-alerts", "marked"];
    let watch = bed.watch(&[&common[..], &marked].concat());
    for n in 1..=2 {
        // `capture_duration` is a tenth of a second: what comes later is in another recording. On
        // a busy machine the first may still be going on.
        wait_for("recording", SOON, || {
            touch_canaries(&bed);
            std::thread::sleep(std::time::Duration::from_millis(400));
            (files(&bed.path().join("alerts")).len() >= n).then_some(())
        });
    }
    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(0);
    for line in ended.stdout.lines() {
        let alert: Value = serde_json::from_str(line).unwrap();
        // One that came while another's recording was written would have been part of it.
        if alert["rule"] == "Canary program" {
            assert!(alert["recording"].is_string(), "{alert}");
        } else {
            assert!(alert["recording"].is_null(), "{alert}");
        }
    }
    // A rule asks, and nobody listens.
    let ended = bed.run(&[&["watch", "--duration", "1"], &common[..]].concat()).expect(0);
    assert!(ended.stderr.contains("ask for a recording"), "{}", ended.stderr);

    // Nothing is replaced, and a folder that cannot be written to does not stop the watching.
    std::fs::write(bed.path().join("mine.palcap"), "x").unwrap();
    bed.run(&["watch", "--duration", "1", "--record", "mine.palcap"])
        .expect_error(3, "recordings never replace a file");
    assert_eq!(std::fs::read(bed.path().join("mine.palcap")).unwrap(), b"x");
    let watch = bed.watch(&[&common[..], &["--record-on-alert", "gone"]].concat());
    std::fs::remove_dir(bed.path().join("gone")).unwrap();
    touch_canaries(&bed);
    wait_for("alert", SOON, || watch.stdout().contains("Canary program").then_some(()));
    wait_for("problem", SOON, || watch.stderr().contains("gone").then_some(()));
    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(4);
    assert!(ended.stderr.contains("warning: list recordings in `/"), "{}", ended.stderr);
    bed.run(&["stop", "shop"]).expect(0);
}

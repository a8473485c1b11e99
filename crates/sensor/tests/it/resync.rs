//! The process table finds back to the truth after events were lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use palisade_sensor::Engine;
use palisade_sensor::identity::HostPaths;
use palisade_sensor::state::resync::ResyncReport;

/// A program that is killed when the test ends.
struct Running(Child);

impl Running {
    fn new(args: &[&str]) -> Self {
        let child = Command::new(args[0])
            .args(&args[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    fn pid(&self) -> i64 {
        self.0.id().into()
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn verify(engine: &mut Engine, now_ns: u64, is_drained: bool) -> ResyncReport {
    engine.begin_resync();
    for _ in 0..100_000 {
        if let Some(report) = engine.resync(16, now_ns, is_drained) {
            return report;
        }
    }
    panic!("the verification does not end");
}

#[test]
fn lost_beginnings_ends_and_programs_are_found() {
    let mut ends = Running::new(&["sleep", "1000"]);
    // A shell that becomes another program when it is told to.
    let mut changes = Running::new(&["sh", "-c", "echo ready; read line; exec sleep 2000"]);
    let mut line = String::new();
    BufReader::new(changes.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let (mut engine, _) = Engine::live(HostPaths::default()).unwrap();
    let known =
        |engine: &Engine, pid: i64| engine.state().thread(pid).map(|thread| text(&thread.cmdline));
    assert_eq!(known(&engine, ends.pid()).as_deref(), Some("sleep 1000"));
    assert!(known(&engine, changes.pid()).unwrap().starts_with("sh -c"));

    let begins = Running::new(&["sleep", "3000"]);
    ends.end();
    changes.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    // The name changes before the arguments do.
    let cmdline = format!("/proc/{}/cmdline", changes.pid());
    while std::fs::read_to_string(&cmdline).unwrap() != "sleep\x002000\0" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }

    let report = verify(&mut engine, 1, true);
    assert!(report.n_checked > 3, "{report:?}");
    // Others begin and end on this machine as well.
    assert!(report.n_removed >= 1 && report.n_added >= 1 && report.n_refreshed >= 1, "{report:?}");
    assert_eq!(known(&engine, ends.pid()), None);
    assert_eq!(known(&engine, begins.pid()).as_deref(), Some("sleep 3000"));
    assert_eq!(known(&engine, changes.pid()).as_deref(), Some("sleep 2000"));
    let state = engine.state();
    let found = state.thread(begins.pid()).unwrap();
    assert_eq!(found.ptid, i64::from(std::process::id()), "and stands where it belongs");
    assert!(state.fds_of(found).unwrap().get(0).is_some());

    // Whoever is known stays: this process is what it was.
    let own = i64::from(std::process::id());
    assert!(state.thread(own).is_some());
    verify(&mut engine, 2, true);
    assert_eq!(known(&engine, begins.pid()).as_deref(), Some("sleep 3000"));
}

#[test]
fn what_proc_says_is_not_believed_before_older_records_are_read() {
    let mut ends = Running::new(&["sleep", "4000"]);
    let (mut engine, _) = Engine::live(HostPaths::default()).unwrap();
    ends.end();
    engine.begin_resync();
    // Looked at when the clock showed 100, and no record of then has been read.
    for _ in 0..10_000 {
        assert_eq!(engine.resync(1000, 100, false), None);
    }
    assert!(engine.state().thread(ends.pid()).is_some(), "its own events may be on their way");
    let report = engine.resync(1000, 100, true).unwrap();
    assert!(report.n_removed >= 1, "{report:?}");
    assert!(engine.state().thread(ends.pid()).is_none());
    assert_eq!(engine.resync(1, 100, true), None, "once");
}

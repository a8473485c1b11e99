//! Tests that load programs into the kernel.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_bpf::{Interest, Options, Sensor};

use crate::event::Event;

mod enforce;
mod filter;
mod handlers;
mod isolation;
mod performance;

mod probe;
mod recorder;
#[cfg(target_arch = "x86_64")]
mod refused_calls;
mod sensor;
mod switch;

/// Numbers of `probes/events.h`.
const EXECVE: u16 = 293;
const CLONE: u16 = 223;
const PROCEXIT: u16 = 186;
const OPENAT: u16 = 307;
const CONNECT: u16 = 23;
const DUP: u16 = 367;
const GENERIC: u16 = 1;
const UNLINK: u16 = 301;
const MEMFD_CREATE: u16 = 405;

/// The right to run, one test at a time: a flood of one would fill the rings of another. Says why
/// not.
fn root() -> Option<MutexGuard<'static, ()>> {
    static ALONE: Mutex<()> = Mutex::new(());
    // The owner of the process's own folder is its effective user.
    if std::fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0) {
        return Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    }
    say("skipped: needs root to load eBPF programs");
    None
}

/// Writes a line past the capture of the test harness.
fn say(line: &str) {
    let _ignored = writeln!(std::io::stderr(), "{line}");
}

/// Options under which the test sees its own doing.
fn seeing_itself() -> Options {
    Options { exclude_self: false, ..Options::default() }
}

fn interest(names: &[&str]) -> Interest {
    let mut interest = Interest::default();
    assert_eq!(interest.extend(names.iter().copied()), []);
    interest
}

fn load(names: &[&str], options: &Options) -> Sensor {
    Sensor::load(&interest(names), options).unwrap()
}

/// How long anything may take that ought to happen at once, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// Reads until an event pleases `wanted`, and returns everything read.
#[track_caller]
fn collect(sensor: &mut Sensor, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let start = Instant::now();
    while start.elapsed() < SOON {
        let before = events.len();
        sensor
            .poll(Duration::from_millis(100), &mut |record| {
                events.push(Event::new(&record));
            })
            .unwrap();
        if events[before..].iter().any(&wanted) {
            return events;
        }
    }
    panic!("not seen in {SOON:?}; {} events, losses {:?}", events.len(), sensor.losses().total());
}

/// As [`collect`], but only the event.
#[track_caller]
fn find(sensor: &mut Sensor, wanted: impl Fn(&Event) -> bool) -> Event {
    collect(sensor, &wanted).into_iter().find(wanted).unwrap()
}

/// The mount of the cgroup v2 hierarchy.
fn cgroup2() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .into_iter()
        .find(|f| f[2] == "cgroup2")
        .map(|f| PathBuf::from(f[1]))
        .expect("a cgroup2 mount")
}

/// A cgroup of its own, removed in the end.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn new(name: &str) -> Self {
        let path = cgroup2().join(format!("palisade-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Runs `script` by bash inside the cgroup and says whether it was content.
    fn run(&self, script: &str) -> bool {
        let script = format!("echo $$ > {}/cgroup.procs && {script}", self.0.display());
        let output = std::process::Command::new("bash").arg("-c").arg(script).output().unwrap();
        output.status.success()
    }

    fn id(&self) -> u64 {
        std::fs::metadata(&self.0).unwrap().ino()
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        // A task that has just ended can hold the cgroup for a moment.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

//! Signals and sudden deaths of the command that runs a container.

use std::time::{Duration, Instant};

use palisade_runtime::Stdio;
use palisade_sys::process::Exit;

use crate::bench::{Bench, can_run, request, restricted};

/// Does nothing by itself: the tests below start it in a process of its own, to kill it.
#[test]
fn victim() {
    let argument = |name: &str| {
        std::env::args().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=').map(String::from))
    };
    let (Some(folder), Some(script)) = (argument("victim"), argument("script")) else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let image = Bench::open_image(&folder);
    let policy = restricted();
    let mut request = request(&image, &policy, &["/bin/sh", "-c", &script]);
    request.forward_signals = true;
    let started = |_: &palisade_runtime::Record, _: &[palisade_harden::Change]| {
        std::fs::write(folder.join("started"), "").unwrap();
    };
    request.started = &started;
    let result = Bench::open_runtime(&folder).run(&request, Stdio::default());
    let said = match result {
        Ok(outcome) => format!("exit {:?}", outcome.exit.map(Exit::shell_code)),
        Err(error) => error.to_string(),
    };
    std::fs::write(folder.join("said"), said).unwrap();
}

fn start_victim(bench: &Bench, script: &str) -> std::process::Child {
    for name in ["started", "said"] {
        let _ = std::fs::remove_file(bench.folder.path().join(name));
    }
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "root::interruption::victim"])
        .arg(format!("victim={}", bench.folder.path().display()))
        .arg(format!("script={script}"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_command_leaves_work_for_the_next_one_only() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    // The moments at which it is killed cover creation, running and everything between.
    for delay_ms in [0, 15, 30, 45, 60, 75, 90, 105, 120, 140, 160, 200, 300, 600] {
        let mut victim = start_victim(&bench, "sleep 60");
        std::thread::sleep(Duration::from_millis(delay_ms));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let mut n_collected = 0;
        loop {
            let garbage = bench.runtime.collect_garbage();
            assert_eq!(garbage.failures(), Vec::<String>::new(), "after {delay_ms} ms");
            n_collected += garbage.collected.len();
            if garbage.n_alive == 0 {
                break;
            }
            // A child that it was just making holds its lock until it has become its program.
            assert!(Instant::now() < end, "after {delay_ms} ms");
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("killed after {delay_ms} ms: {n_collected} collected");
        assert_eq!(bench.traces(), before, "after {delay_ms} ms");
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bench.traces(), before, "and nothing appears later");
}

#[test]
fn a_terminated_command_cleans_up_whenever_the_signal_comes() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    for delay_ms in [30, 60, 90, 120, 150, 200, 300] {
        // It ignores the signal, so after creation its grace of two seconds has to pass.
        let mut victim = start_victim(&bench, "sleep 60");
        std::thread::sleep(Duration::from_millis(delay_ms));
        let handle = palisade_sys::ProcessHandle::open(victim.id()).unwrap();
        handle.signal(15).unwrap();
        assert!(handle.wait_ended(Duration::from_mins(1)).unwrap());
        victim.wait().unwrap();
        let said = std::fs::read_to_string(bench.folder.path().join("said")).unwrap_or_default();
        eprintln!("terminated after {delay_ms} ms: {said:?}");
        // Before its handler is there, the signal ends it before anything was made.
        if !said.is_empty() {
            assert!(said.contains("interrupted") || said == "exit Some(137)", "{said}");
        }
        assert_eq!(bench.traces(), before, "after {delay_ms} ms");
    }
}

/// Whether the first process of the one container has set its trap for signal 15.
fn catches_term(bench: &Bench) -> bool {
    let found = bench.runtime.list();
    let Some(pid) = found.first().and_then(|found| found.record.container.init_pid) else {
        return false;
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    caught.is_some_and(|mask| u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & 1 << 14 != 0))
}

#[test]
fn signals_reach_the_program_and_its_exit_comes_back() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let mut victim = start_victim(&bench, "trap 'exit 42' TERM; while :; do sleep 0.05; done");
    let end = Instant::now() + Duration::from_mins(1);
    while !bench.folder.path().join("started").exists() || !catches_term(&bench) {
        assert!(Instant::now() < end, "it never started");
        std::thread::sleep(Duration::from_millis(10));
    }
    palisade_sys::ProcessHandle::open(victim.id()).unwrap().signal(15).unwrap();
    victim.wait().unwrap();
    let said = std::fs::read_to_string(bench.folder.path().join("said")).unwrap();
    assert_eq!(said, "exit Some(42)");
    assert_eq!(bench.traces(), before);
}

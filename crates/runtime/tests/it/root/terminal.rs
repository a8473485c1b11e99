//! Programs with a terminal of their own.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use palisade_runtime::{ExecRequest, Input, Output, Stdio};
use palisade_sys::process::Exit;

use crate::bench::{Bench, Captured, can_run, restricted};

/// Streams by which `typed` is typed, and what the screen shows.
fn terminal(typed: &str) -> (Stdio, Captured) {
    let (keys, mut keyboard) = std::io::pipe().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    let screen = Captured::default();
    let stdio = Stdio {
        stdin: Input::File(std::fs::File::from(OwnedFd::from(keys))),
        stdout: Output::Writer(Box::new(screen.clone())),
        stderr: Output::Null,
    };
    (stdio, screen)
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_string()).collect()
}

#[test]
fn a_program_has_a_terminal_of_its_own_and_stays_confined() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let policy = restricted();
    let script = "tty; echo term $TERM; test -t 0 && test -t 1 && test -t 2 && echo all three; \
        grep NoNewPrivs /proc/self/status; read line; echo got $line >&2; cat; exit 7";
    let mut request = bench.request(&policy, &["/bin/sh", "-c", script]);
    request.terminal = true;
    let (stdio, screen) = terminal("typed\nmore\n");
    let outcome = bench.runtime.run(&request, stdio).unwrap();
    let text = screen.text();
    assert_eq!(outcome.exit, Some(Exit::Code(7)), "{text}");
    for expected in [
        "/dev/pts/0\r\n",
        "term xterm\r\n",
        "all three\r\n",
        "NoNewPrivs:\t1",
        "got typed\r\nmore\r\n",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text:?}");
    }
    assert_eq!(bench.traces(), before);
    let left = std::fs::read_dir(&bench.runtime.paths().state).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|it| it.file_name().to_string_lossy().starts_with("tty-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_more_program_has_one_too_and_its_end_is_known() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let policy = restricted();
    let mut request = bench.request(&policy, &["/bin/sh", "-c", "sleep 60"]);
    request.detach = true;
    request.name = Some("seat".into());
    bench.runtime.run(&request, Stdio::default()).unwrap();
    let exec = |script: &str| {
        let (stdio, screen) = terminal("typed\n");
        let request = ExecRequest {
            command: words(&["/bin/sh", "-c", script]),
            env: vec!["TERM=vt100".into()],
            working_dir: Some("/tmp".into()),
            terminal: true,
            ..ExecRequest::default()
        };
        (bench.runtime.exec("seat", &request, stdio), screen.text())
    };
    // A child that holds the terminal beyond the program's end does not hold us.
    let began = std::time::Instant::now();
    let (exit, text) = exec(
        "tty; pwd; echo $TERM; grep CapEff /proc/self/status; read it; echo got $it; sleep 200 & exit 5",
    );
    assert_eq!(exit.unwrap(), Exit::Code(5), "{text}");
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
    for expected in ["/dev/pts/0\r\n", "/tmp\r\n", "vt100\r\n", "0000000000000000", "got typed\r\n"]
    {
        assert!(text.contains(expected), "no {expected:?} in {text:?}");
    }
    let (exit, text) = exec("kill -TERM $$");
    assert_eq!(exit.unwrap(), Exit::Signal(15), "{text}");
    let absent =
        ExecRequest { command: words(&["/absent"]), terminal: true, ..ExecRequest::default() };
    let error = bench.runtime.exec("seat", &absent, terminal("").0).unwrap_err();
    assert!(error.to_string().starts_with("start `/absent` in the container: "), "{error}");
}

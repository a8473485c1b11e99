//! Servers on loopback in threads of the test, and what a probe says of them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_probe::listen::Transport;
use palisade_probe::{Dial, Event, Executed, Here, Probe, Pulse, Settings, Subject, probe};

/// What a server does with one connection.
type Serve = fn(&mut TcpStream, &AtomicBool);

/// A server that a test made; it stands for a container.
struct Local {
    port: u16,
    is_running: Arc<AtomicBool>,
    n_restarts: Cell<u64>,
    events: RefCell<VecDeque<Event>>,
    can_restart: bool,
}

impl Local {
    fn start(serve: Serve) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_running = Arc::new(AtomicBool::new(true));
        let running = Arc::clone(&is_running);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let running = Arc::clone(&running);
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    if running.load(Ordering::SeqCst) {
                        serve(&mut stream, &running);
                    }
                });
            }
        });
        Self {
            port,
            is_running,
            n_restarts: Cell::new(0),
            events: RefCell::default(),
            can_restart: true,
        }
    }
}

impl Dial for Local {
    fn dial(&self, to: SocketAddr, deadline: Duration) -> std::io::Result<TcpStream> {
        Here.dial(to, deadline)
    }
}

impl Subject for Local {
    fn pulse(&self) -> Pulse {
        Pulse { is_running: self.is_running.load(Ordering::SeqCst), n_out_of_memory: 0, cpu: None }
    }

    fn events(&self) -> Vec<Event> {
        if !self.pulse().is_running && self.events.borrow().is_empty() {
            let detail = "status=11 ret=0 sig=11(SIGSEGV) core=0".into();
            return vec![Event {
                time: Timestamp::now(),
                kind: "procexit".into(),
                process: "srv".into(),
                pid: 9,
                detail,
            }];
        }
        self.events.borrow_mut().drain(..).collect()
    }

    fn tables(&self) -> Vec<(Transport, String)> {
        let line = format!("head\n 0: 0100007F:{:04X} 00000000:0000 0A 0 0 0 0\n", self.port);
        vec![(Transport::Tcp, line)]
    }

    fn address(&self) -> Option<IpAddr> {
        None
    }

    fn restart(&self) -> Result<(), String> {
        if !self.can_restart {
            return Err("it is not ours".into());
        }
        self.n_restarts.set(self.n_restarts.get() + 1);
        self.is_running.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn execute(&self, script: &str) -> Result<Executed, String> {
        let code = i32::from(!(script == "exit 0" || script.contains("dmesg")));
        Ok(Executed { code, output: String::new() })
    }

    fn log(&self) -> String {
        "last words".into()
    }
}

fn settings() -> Settings {
    Settings {
        deadline: Duration::from_millis(1500),
        whole: Duration::from_secs(50),
        settle: Duration::from_secs(3),
        seed: 1,
        n_requests: 150,
        paths: Vec::new(),
        openapi: None,
        openapi_path: None,
        attempts: false,
        now: Timestamp::now(),
    }
}

fn ids(probe: &Probe) -> Vec<&str> {
    probe.findings.iter().map(|finding| finding.check.id).collect()
}

/// The head of a request, or all that came.
fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") && bytes.len() < 1 << 20 {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    bytes
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// A server that is strict: what is not an ordinary request is refused.
fn strict(stream: &mut TcpStream, _: &AtomicBool) {
    let bytes = head(stream);
    let text = String::from_utf8_lossy(&bytes);
    let first = text.lines().next().unwrap_or_default();
    match first.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/", "HTTP/1.1"] if !text.contains(" :") && !text.contains("Transfer") => {
            answer(stream, "200 OK", "hi");
        }
        _ => answer(stream, "400 Bad Request", "no"),
    }
}

#[test]
fn a_strict_server_has_no_findings() {
    let local = Local::start(strict);
    let probe = probe(&local, &settings(), &mut |_| {});
    assert_eq!(ids(&probe), [""; 0], "{:#?}", probe.findings);
    assert_eq!(probe.ports[0].protocol.as_str(), "http");
    assert!(probe.ports[0].is_loopback);
    assert_eq!(probe.ports[0].n_requests, 150);
    assert!(probe.crashes.is_empty());
}

/// Ends when it is sent format characters; serves whatever is below `/`.
fn brittle(stream: &mut TcpStream, running: &AtomicBool) {
    let bytes = head(stream);
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("%n%n%n") {
        running.store(false, Ordering::SeqCst);
        return;
    }
    let path = text.split(' ').nth(1).unwrap_or_default();
    if path.contains("..") && path.ends_with("passwd") {
        answer(stream, "200 OK", "root:x:0:0:root:/root:/bin/sh\n");
        return;
    }
    if text.contains("Content-Length: -1") {
        answer(stream, "500 Oh", "Traceback (most recent call last):");
        return;
    }
    answer(stream, "200 OK", "hi");
}

#[test]
fn a_crash_is_told_with_its_request_its_events_and_whether_it_comes_back() {
    let local = Local::start(brittle);
    let probe = probe(&local, &settings(), &mut |_| {});
    let found = ids(&probe);
    for id in [
        "crash-signal",
        "http-path-traversal",
        "http-ambiguous-request",
        "http-server-error",
        "http-error-details",
    ] {
        assert!(found.contains(&id), "{id}: {found:?}");
    }
    let crash = &probe.crashes[0];
    assert_eq!(crash.kind, "crash-signal");
    assert_eq!(crash.is_reproduced, Some(true));
    assert!(crash.request.shown.contains("%n%n%n"), "{crash:#?}");
    assert!(!crash.before.is_empty());
    assert_eq!(crash.events.last().unwrap().fatal_signal(), Some("SIGSEGV"));
    assert_eq!(crash.log, "last words");
    assert!(local.n_restarts.get() >= 1);
    assert_eq!(probe.n_restarts, local.n_restarts.get());
    let again = self::probe(&local, &settings(), &mut |_| {});
    assert_eq!(ids(&again), found, "the same seed finds the same");
}

#[test]
fn what_cannot_be_started_anew_is_given_up_and_said_so() {
    let mut local = Local::start(brittle);
    local.can_restart = false;
    let probe = probe(&local, &settings(), &mut |_| {});
    assert!(ids(&probe).contains(&"crash-signal"));
    assert_eq!(probe.crashes[0].is_reproduced, None);
    assert!(probe.gaps.iter().any(|gap| gap.contains("it is not ours")), "{:?}", probe.gaps);
}

/// A Redis that asks for a password, and takes the one of the example.
fn redis(stream: &mut TcpStream, _: &AtomicBool) {
    let mut buffer = [0; 512];
    let Ok(n) = stream.read(&mut buffer) else { return };
    let _ = match &buffer[..n] {
        b"*2\r\n$4\r\nAUTH\r\n$8\r\nfoobared\r\n" => stream.write_all(b"+OK\r\n"),
        said if said.starts_with(b"*2\r\n$4\r\nAUTH") => stream.write_all(b"-WRONGPASS no\r\n"),
        said if said.starts_with(b"GET /") => stream.write_all(b"-ERR unknown command 'GET'\r\n"),
        _ => stream.write_all(b"-NOAUTH Authentication required.\r\n"),
    };
}

#[test]
fn a_well_known_password_is_found() {
    let probe = probe(&Local::start(redis), &settings(), &mut |_| {});
    assert_eq!(ids(&probe), ["default-credentials"]);
    assert!(probe.findings[0].detail.contains("`foobared`"));
    assert_eq!(probe.findings[0].severity.as_str(), "low", "it listens on loopback alone");
}

/// Says something endless, whatever it is asked.
fn endless(stream: &mut TcpStream, _: &AtomicBool) {
    while stream.write_all(&[b'a'; 8192]).is_ok() {}
}

/// Takes connections and says nothing.
fn mute(stream: &mut TcpStream, _: &AtomicBool) {
    let mut buffer = [0; 512];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

#[test]
fn servers_that_never_end_or_never_begin_cost_bounded_time() {
    for serve in [endless as Serve, mute] {
        let start = std::time::Instant::now();
        let mut settings = settings();
        settings.deadline = Duration::from_millis(300);
        let probe = probe(&Local::start(serve), &settings, &mut |_| {});
        assert_eq!(probe.ports[0].protocol.as_str(), "unknown");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn an_attempt_that_comes_through_is_a_finding() {
    let mut settings = settings();
    (settings.attempts, settings.n_requests) = (true, 0);
    let probe = probe(&Local::start(strict), &settings, &mut |_| {});
    assert_eq!(ids(&probe), ["escape"]);
    assert!(probe.findings[0].detail.contains("kernel-log"));
    assert_eq!(probe.attempts.len(), palisade_probe::escape::ATTEMPTS.len());
}

/// An API that does not check what it is given.
fn careless(stream: &mut TcpStream, _: &AtomicBool) {
    let bytes = head(stream);
    let text = String::from_utf8_lossy(&bytes);
    match text.split(' ').nth(1).unwrap_or_default() {
        "/" => answer(stream, "200 OK", "hi"),
        path if path.starts_with("/pets/") && path["/pets/".len()..].parse::<i64>().is_err() => {
            answer(stream, "500 x", "");
        }
        path if path.starts_with("/pets/") => answer(stream, "200 OK", "{}"),
        _ => answer(stream, "404 x", ""),
    }
}

#[test]
fn a_described_api_is_called_as_described_and_otherwise() {
    let mut settings = settings();
    let text = r#"{"openapi": "3.0.0", "paths": {"/pets/{id}": {"get": {"parameters":
        [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 1}}], "responses": {"200": {}}}}}}"#;
    settings.openapi = Some(palisade_probe::openapi::Api::parse(text).unwrap());
    settings.n_requests = 60;
    let probe = probe(&Local::start(careless), &settings, &mut |_| {});
    let found = ids(&probe);
    assert!(found.contains(&"openapi-server-error"), "{found:?}");
    assert!(found.contains(&"openapi-invalid-accepted"), "{found:?}");
}

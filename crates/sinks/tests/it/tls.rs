use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_policy::Sink;
use palisade_sinks::{SendError, open, syslog};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::webhook::message;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls").join(name)
}

/// A connection that stays open as long as this value.
type Kept = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

/// A receiver that serves one connection: reads to the body of the test's message, and answers.
/// Gives its port, and what it read with the connection: one that closes it at once could have
/// taken nothing.
fn receiver(answer: &'static str) -> (u16, std::thread::JoinHandle<(Vec<u8>, Kept)>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            CertificateDer::pem_file_iter(file("server.pem"))
                .unwrap()
                .map(Result::unwrap)
                .collect(),
            PrivateKeyDer::from_pem_file(file("server.key")).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, tcp);
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !read.ends_with(message(1).body.as_bytes()) {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => read.extend_from_slice(&buffer[..n]),
                _ => return (read, stream),
            }
        }
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.flush();
        (read, stream)
    });
    (port, thread)
}

fn sink(to: &str) -> Sink {
    let mut sink = Sink::new("tls", to.parse().unwrap());
    sink.ca = vec![file("ca.pem")];
    sink.timeout_seconds = 30;
    sink
}

const OK: &str = "HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n";

#[test]
fn alerts_arrive_over_tls() {
    let (port, thread) = receiver(OK);
    let mut hook = open(&sink(&format!("https://localhost:{port}/hook")), "0").unwrap();
    hook.send(&[message(1)]).unwrap();
    let (read, _kept) = thread.join().unwrap();
    assert!(String::from_utf8(read).unwrap().contains("POST /hook"));

    let mut expected = Vec::new();
    syslog::frame(&syslog::message(&message(1), 10, std::process::id()), &mut expected);
    let (port, thread) = receiver("");
    let mut siem = open(&sink(&format!("syslog+tls://localhost:{port}")), "0").unwrap();
    siem.send(&[message(1)]).unwrap();
    assert_eq!(thread.join().unwrap().0, expected);
}

#[test]
fn a_receiver_with_another_name_or_authority_gets_nothing() {
    let check = |to: fn(u16) -> String, ca: Vec<PathBuf>| {
        let (port, thread) = receiver(OK);
        let mut sink = sink(&to(port));
        sink.ca = ca;
        let failed = open(&sink, "0").unwrap().send(&[message(1)]).unwrap_err();
        assert!(
            matches!(failed.error, SendError::Tls(_) | SendError::Request(_)),
            "{:?}",
            failed.error
        );
        let chain = failed.error.chain();
        assert!(chain.contains("certificate"), "{chain}");
        assert_eq!(thread.join().unwrap().0, b"", "not a byte went to a stranger");
    };
    let ours = || vec![file("ca.pem")];
    check(|port| format!("https://127.0.0.1:{port}/"), ours());
    check(|port| format!("syslog+tls://127.0.0.1:{port}"), ours());
    // An authority that did not sign it.
    check(|port| format!("https://localhost:{port}/"), vec![file("stranger.pem")]);
    check(|port| format!("syslog+tls://localhost:{port}"), vec![file("stranger.pem")]);
}

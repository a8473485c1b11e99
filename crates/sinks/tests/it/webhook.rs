use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::Priority;
use palisade_policy::Sink;
use palisade_sinks::{Message, Transport, open};

pub(crate) fn message(n: usize) -> Message {
    Message {
        id: format!("id-{n}"),
        kind: "alert",
        time: Timestamp::from_nanos(1_795_326_835_000_000_001),
        priority: Priority::Critical,
        rule: "Shell".into(),
        hostname: "node-1".into(),
        body: format!("{{\"n\":{n}}}"),
    }
}

struct Request {
    head: String,
    body: String,
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let n = reader.read_line(&mut head).ok()?;
        if n == 0 {
            return None;
        }
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body: String::from_utf8(body).unwrap() })
}

/// A receiver that gives one answer after another, each on a connection of its own.
fn receiver(answers: &'static [&'static str]) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let Some(request) = read_request(&stream) else { continue };
            let _ = sender.send(request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, requests)
}

fn webhook(url: &str, change: impl FnOnce(&mut Sink)) -> Box<dyn Transport> {
    let mut sink = Sink::new("hook", url.parse().unwrap());
    sink.timeout_seconds = 30;
    change(&mut sink);
    open(&sink, "0.1.0").unwrap()
}

/// An address at which nobody listens, and which nobody else is given.
pub(crate) struct Nobody {
    pub(crate) address: SocketAddr,
    _socket: OwnedFd,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        Self { address, _socket: socket }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_carries_the_document_its_id_and_the_headers_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    std::fs::write(&file, "Authorization: Bearer secret\nX-Site: one\n").unwrap();
    let (url, requests) = receiver(&[OK]);
    webhook(&url, |sink| sink.headers = vec![file]).send(&[message(1)]).unwrap();
    let request = requests.recv().unwrap();
    assert_eq!(request.body, "{\"n\":1}");
    let head = request.head.to_ascii_lowercase();
    for line in [
        "post /hook http/1.1\r\n",
        "authorization: bearer secret\r\n",
        "x-site: one\r\n",
        "content-type: application/json\r\n",
        "idempotency-key: id-1\r\n",
        "user-agent: palisade/0.1.0\r\n",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
}

#[test]
fn a_batch_is_an_array_or_lines() {
    let (url, requests) = receiver(&[OK, OK]);
    let batch = [message(1), message(2)];
    webhook(&url, |sink| sink.batch_max = 2).send(&batch).unwrap();
    assert_eq!(requests.recv().unwrap().body, "[{\"n\":1},\n{\"n\":2}]");
    let lines = |sink: &mut Sink| {
        (sink.batch_max, sink.format) = (2, palisade_policy::SinkFormat::Cef);
    };
    webhook(&url, lines).send(&batch).unwrap();
    let request = requests.recv().unwrap();
    assert_eq!(request.body, "{\"n\":1}\n{\"n\":2}\n");
    assert!(request.head.to_ascii_lowercase().contains("text/plain; charset=utf-8"));
}

#[test]
fn every_answer_but_success_is_a_failure_of_its_kind() {
    /// Status, whether it is final, seconds to wait, and a part of the text.
    type Expected = (&'static str, bool, Option<u64>, &'static str);
    let cases: [Expected; 7] = [
        ("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", false, None, "answered 500: oops"),
        ("HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", false, Some(7), "429"),
        ("HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", false, None, "503"),
        ("HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", false, None, "302"),
        ("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", true, None, "answered 400"),
        ("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", true, None, "answered 413"),
        ("HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\n\x1b[2", false, None, "answered 404: [2"),
    ];
    for (answer, is_final, wait, text) in cases {
        let (url, _requests) = receiver(Box::leak(Box::new([answer])));
        let failed = webhook(&url, |_| {}).send(&[message(1)]).unwrap_err();
        assert_eq!(failed.n_sent, 0);
        assert_eq!(failed.error.is_rejection(), is_final, "{answer}");
        assert_eq!(failed.error.retry_after(), wait.map(Duration::from_secs), "{answer}");
        assert!(failed.error.chain().contains(text), "{}", failed.error.chain());
    }
}

#[test]
fn what_was_taken_before_a_failure_counts() {
    let (url, _requests) =
        receiver(&[OK, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
    let failed = webhook(&url, |_| {}).send(&[message(1), message(2), message(3)]).unwrap_err();
    assert_eq!(failed.n_sent, 1);
}

#[test]
fn a_receiver_that_is_down_silent_or_hangs_up_fails_in_time() {
    let check = |url: &str| {
        let began = Instant::now();
        let mut hook = webhook(url, |sink| sink.timeout_seconds = 1);
        let failed = hook.send(&[message(1)]).unwrap_err();
        assert!(!failed.error.is_rejection());
        assert!(began.elapsed() < Duration::from_secs(20), "{}", failed.error.chain());
        failed.error.chain()
    };
    let nobody = Nobody::new();
    assert!(check(&format!("http://{}/", nobody.address)).contains("refused"));
    // Accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(check(&format!("http://{}/", silent.local_addr().unwrap())).contains("timeout"));
    // Reads half of the request and hangs up; answers half and hangs up.
    let (url, _requests) = receiver(&["", "HTTP/1.1 20"]);
    check(&url);
    check(&url);
    // Never ends its header.
    let endless = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", endless.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = endless.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
    });
    check(&url);
}

#[test]
fn headers_are_read_again_after_a_refused_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    std::fs::write(&file, "Authorization: old").unwrap();
    let (url, requests) =
        receiver(&["HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", OK]);
    let mut hook = webhook(&url, |sink| sink.headers = vec![file.clone()]);
    assert!(!hook.send(&[message(1)]).unwrap_err().error.is_rejection());
    std::fs::write(&file, "Authorization: new").unwrap();
    hook.send(&[message(1)]).unwrap();
    assert!(requests.recv().unwrap().head.contains("old"));
    assert!(requests.recv().unwrap().head.contains("new"));
}

#[test]
fn a_wrong_configuration_is_found_at_the_start() {
    let check = |change: fn(&mut Sink), text: &str| {
        let mut sink = Sink::new("hook", "https://127.0.0.1:1/".parse().unwrap());
        change(&mut sink);
        let error = open(&sink, "0").unwrap_err();
        let chain = palisade_base::render_chain(&error, None);
        assert!(chain.contains(text), "{chain}");
    };
    check(|sink| sink.headers = vec!["/nonexistent".into()], "read headers `/nonexistent`");
    check(|sink| sink.ca = vec!["/nonexistent".into()], "read certificates `/nonexistent`");
    check(|sink| sink.ca = vec!["/etc/passwd".into()], "no usable certificate in `/etc/passwd`");
}

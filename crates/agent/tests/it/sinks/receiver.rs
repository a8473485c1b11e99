//! A receiver of webhooks that behaves as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the receiver does with a request, by its number from 0 and its body.
pub(crate) type Behaviour = dyn Fn(usize, &str) -> Answer + Send + Sync;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// It is taken.
    Taken,
    /// It is taken, and the connection is cut before the answer.
    TakenInSilence,
    /// Refused with this status, and this `Retry-After`.
    Status(u16, Option<u64>),
    /// The connection is cut while the body is read.
    HangUp,
    /// Taken after this long.
    Slow(Duration),
}

/// An address at which nobody listens, and which nobody else is given.
pub(crate) struct Nobody {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        Self { address, _socket: socket }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// A receiver; it stops when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start(behaviour: Box<Behaviour>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), behaviour)
    }

    /// Listens at an address where nobody did.
    pub(crate) fn at(nobody: &Nobody, behaviour: Box<Behaviour>) -> Self {
        Self::on(TcpListener::bind(nobody.address).unwrap(), behaviour)
    }

    fn on(listener: TcpListener, behaviour: Box<Behaviour>) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (log, over) = (Arc::clone(&taken), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut n_requests = 0;
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        serve(&stream, &mut n_requests, &*behaviour, &log);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { address, taken, is_over, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Bodies in the order in which they were taken.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    /// Waits until so many bodies were taken.
    #[track_caller]
    pub(crate) fn wait_for(&self, n: usize) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(20);
        while self.taken.lock().unwrap().len() < n {
            assert!(Instant::now() < end, "{:?}", self.taken());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.taken()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one request of a connection, which is closed after it.
fn serve(
    mut stream: &TcpStream,
    n_requests: &mut usize,
    behaviour: &Behaviour,
    taken: &Mutex<Vec<String>>,
) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = String::from_utf8(body).unwrap();
    let answer = behaviour(*n_requests, &body);
    *n_requests += 1;
    let take = || taken.lock().unwrap().push(body.clone());
    let text = match answer {
        Answer::Taken => {
            take();
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_string()
        }
        Answer::Slow(time) => {
            std::thread::sleep(time);
            take();
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_string()
        }
        Answer::Status(code, after) => {
            let after = after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
            format!("HTTP/1.1 {code} No\r\n{after}Content-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Answer::TakenInSilence => {
            take();
            String::new()
        }
        Answer::HangUp => String::new(),
    };
    let _ = stream.write_all(text.as_bytes());
}

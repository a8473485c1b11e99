//! A small HTTP/1.1 server for logs and witnesses: a thread for each connection, and a bound on
//! everything.
//!
//! It speaks plain HTTP. Whoever offers a log to the world puts a proxy with TLS before it.

pub mod log_api;
mod rate;
mod request;
pub mod witness_api;

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use rate::RateLimit;
pub use request::{Method, Request};

use request::{ReadError, Reader};

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long a connection may be silent, between requests and within one.
const IDLE: Duration = Duration::from_secs(30);
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(20);
/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long connections may finish what they do at the end.
const DRAIN: Duration = Duration::from_secs(10);
/// Stack of a connection's thread, in bytes.
const STACK_BYTES: usize = 512 << 10;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body's media type.
    pub content_type: &'static str,
    /// Whether the answer can never change.
    pub immutable: bool,
    /// Seconds after which to ask again.
    pub retry_after: Option<u32>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer of text.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::of(status, "text/plain; charset=utf-8", body)
    }

    /// An answer of JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::of(status, "application/json", value.to_string())
    }

    /// An answer.
    pub fn of(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, immutable: false, retry_after: None, body: body.into() }
    }
}

/// What answers requests.
pub trait Handler: Send + Sync {
    /// The most bytes that the body of a request to `path` may have; `None` where none may come.
    fn body_bytes_max(&self, method: Method, path: &str) -> Option<usize>;

    /// The answer. A panic in it costs this request alone.
    fn handle(&self, request: &Request) -> Response;
}

/// What the server has seen.
#[derive(Debug, Default)]
pub struct ServerCounts {
    /// Connections that are open.
    pub n_open: AtomicUsize,
    /// Connections that were refused because there were too many.
    pub n_refused: AtomicU64,
    /// Requests, by the first digit of the answer's status.
    pub n_answers: [AtomicU64; 6],
}

/// A listening server.
pub struct Server {
    listener: TcpListener,
    handler: Arc<dyn Handler>,
    counts: Arc<ServerCounts>,
    /// Most connections of one address.
    per_address_max: usize,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Listens at `address`.
    pub fn bind(
        address: SocketAddr,
        handler: Arc<dyn Handler>,
        counts: Arc<ServerCounts>,
        per_address_max: usize,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Self { listener, handler, counts, per_address_max, stop })
    }

    /// Where it listens; with port 0 asked for, the port that it got.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What ends [`Self::run`] when it is set.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Answers until the stopper is set, then lets connections finish their request.
    pub fn run(&self) -> io::Result<()> {
        let addresses: Arc<Mutex<HashMap<IpAddr, usize>>> = Arc::default();
        while !self.stop.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok((stream, peer)) => self.accept(stream, peer.ip(), &addresses),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => {
                    // Too many descriptors, a client that went away: none ends the server.
                    tracing::warn!(%error, "a connection was not accepted");
                    std::thread::sleep(TICK);
                }
            }
        }
        let until = Instant::now() + DRAIN;
        while self.counts.n_open.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(TICK / 10);
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(
        &self,
        mut stream: TcpStream,
        peer: IpAddr,
        addresses: &Arc<Mutex<HashMap<IpAddr, usize>>>,
    ) {
        let peer = rate::network(peer);
        let mut open = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = open.get(&peer).copied().unwrap_or(0);
        let n_open = self.counts.n_open.load(Ordering::Relaxed);
        if n_open >= CONNECTIONS_MAX || of_peer >= self.per_address_max {
            self.counts.n_refused.fetch_add(1, Ordering::Relaxed);
            let _ = stream.set_nonblocking(true);
            let _ = stream.write_all(
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            );
            return;
        }
        open.insert(peer, of_peer + 1);
        drop(open);
        self.counts.n_open.fetch_add(1, Ordering::Relaxed);
        let open =
            Open { counts: Arc::clone(&self.counts), addresses: Arc::clone(addresses), peer };
        let (handler, stop) = (Arc::clone(&self.handler), Arc::clone(&self.stop));
        let started = std::thread::Builder::new()
            .name("log-connection".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let open = open;
                if let Err(error) = serve(&stream, peer, &*handler, &open.counts, &stop) {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
            });
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for a connection");
        }
    }
}

/// A place among the open connections, given back at the end however it comes.
struct Open {
    counts: Arc<ServerCounts>,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = open.get_mut(&self.peer) {
            *n -= 1;
            if *n == 0 {
                open.remove(&self.peer);
            }
        }
        drop(open);
        self.counts.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers the requests of one connection.
fn serve(
    stream: &TcpStream,
    peer: IpAddr,
    handler: &dyn Handler,
    counts: &ServerCounts,
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = Reader::new(stream, peer, IDLE, ARRIVAL, stop);
    loop {
        let limit = |method: Method, path: &str| handler.body_bytes_max(method, path);
        let (response, keep, head_only) = match reader.next(limit) {
            Ok(request) => {
                let answer = || handler.handle(&request);
                // The handler's state is behind locks that a panic does not break.
                let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(answer));
                let response = answered
                    .unwrap_or_else(|_| Response::text(500, "the request could not be answered\n"));
                let keep = request.keep_alive && !stop.load(Ordering::Relaxed);
                (response, keep, request.method == Method::Head)
            }
            Err(ReadError::Closed) => return Ok(()),
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Refused(status, problem)) => {
                (Response::text(status, format!("{problem}\n")), false, false)
            }
        };
        if let Some(count) = counts.n_answers.get(usize::from(response.status / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        write(stream, &response, keep, head_only)?;
        if !keep {
            // What the client still sends is read for a moment, lest a reset destroy the answer.
            stream.shutdown(std::net::Shutdown::Write)?;
            reader.discard();
            return Ok(());
        }
    }
}

fn write(
    mut stream: &TcpStream,
    response: &Response,
    keep: bool,
    head_only: bool,
) -> io::Result<()> {
    use std::fmt::Write as _;
    let mut head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nx-content-type-options: nosniff\r\n",
        response.status,
        reason(response.status),
        response.content_type,
        response.body.len(),
    );
    let caching =
        if response.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let _ = write!(head, "cache-control: {caching}\r\n");
    if let Some(seconds) = response.retry_after {
        let _ = write!(head, "retry-after: {seconds}\r\n");
    }
    if !keep {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut out = head.into_bytes();
    if !head_only {
        out.extend_from_slice(&response.body);
    }
    stream.write_all(&out)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

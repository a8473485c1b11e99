//! The plugin's socket: HTTP/1.1 as Docker's plugins speak it, bounded in everything.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Authorizer, Request, answer};

/// Connections at once; Docker opens one for each call that waits.
pub const CONNECTIONS_MAX: usize = 256;
/// Bytes of one question: a body of 1 MiB in Base64, and another that is answered.
pub const BODY_BYTES_MAX: usize = 8 << 20;
const HEAD_BYTES_MAX: usize = 32 << 10;
const FIELDS_MAX: usize = 64;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_mins(5);
/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(200);
const STACK_BYTES: usize = 1 << 20;
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The socket, and what answers there.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    authorizer: Arc<Authorizer>,
    n_open: Arc<AtomicUsize>,
}

impl Server {
    /// Makes the socket, for root alone; one that nobody listens at is replaced.
    pub fn bind(path: &Path, authorizer: Authorizer) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another plugin answers there already",
                ));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let authorizer = Arc::new(authorizer);
        Ok(Self { listener, path: path.to_path_buf(), authorizer, n_open: Arc::default() })
    }

    /// Answers until `stop` is set, and removes the socket.
    pub fn run(&self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok((stream, _)) => self.serve(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(&self.listener);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, "accept a connection");
                    std::thread::sleep(TICK);
                }
            }
        }
        std::fs::remove_file(&self.path)
    }

    fn serve(&self, stream: UnixStream) {
        if self.n_open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            self.n_open.fetch_sub(1, Ordering::Relaxed);
            tracing::error!(most = CONNECTIONS_MAX, "too many connections; Docker refuses a call");
            return;
        }
        let (authorizer, n_open) = (Arc::clone(&self.authorizer), Arc::clone(&self.n_open));
        let spawned = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // A call whose connection breaks is refused by Docker.
            if let Err(error) = converse(&stream, &authorizer) {
                tracing::debug!(%error, "a connection ended");
            }
            n_open.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            self.n_open.fetch_sub(1, Ordering::Relaxed);
            tracing::error!(%error, "start a thread; Docker refuses a call");
        }
    }
}

fn wait_for(listener: &UnixListener) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout));
}

/// Answers the questions of one connection.
fn converse(mut stream: &UnixStream, authorizer: &Authorizer) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut buffer = Vec::new();
    while let Some(question) = read_question(stream, &mut buffer)? {
        let (status, value) = respond(authorizer, &question);
        let body = value.to_string();
        let connection = if question.keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        if !question.keep_alive {
            break;
        }
    }
    Ok(())
}

struct Question {
    path: String,
    body: Vec<u8>,
    keep_alive: bool,
}

/// Bytes of a head and what it says: path, length of the body, whether more will come.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, String, usize, bool)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the head is too long".into()),
        Err(error) => return Err(error.to_string()),
    };
    let (mut n_body, mut keep_alive) = (0, parsed.version == Some(1));
    for field in parsed.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        if field.name.eq_ignore_ascii_case("content-length") {
            n_body = value.trim().parse().map_err(|_| "the length is no number")?;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a body without a length".into());
        } else if field.name.eq_ignore_ascii_case("connection") {
            keep_alive &= !value.eq_ignore_ascii_case("close");
        }
    }
    if n_body > BODY_BYTES_MAX {
        return Err("the body is too long".into());
    }
    Ok(Some((length, parsed.path.unwrap_or_default().to_string(), n_body, keep_alive)))
}

fn read_question(mut stream: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<Option<Question>> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut chunk = vec![0; 16 << 10];
    let mut head = None;
    loop {
        if head.is_none() {
            head = parse_head(buffer).map_err(bad)?;
        }
        if let Some((length, path, n_body, keep_alive)) = &head
            && buffer.len() >= length + n_body
        {
            let body = buffer[*length..length + n_body].to_vec();
            let question = Question { path: path.clone(), body, keep_alive: *keep_alive };
            buffer.drain(..length + n_body);
            return Ok(Some(question));
        }
        match stream.read(&mut chunk)? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Err(bad("the connection ended within a question".into())),
            n => buffer.extend_from_slice(&chunk[..n]),
        }
    }
}

fn respond(authorizer: &Authorizer, question: &Question) -> (&'static str, Value) {
    match question.path.as_str() {
        "/Plugin.Activate" => ("200 OK", json!({ "Implements": ["authz"] })),
        "/AuthZPlugin.AuthZReq" => {
            let request: Result<Request, _> = serde_json::from_slice(&question.body);
            let result = match &request {
                Ok(request) => authorizer.decide(request),
                Err(error) => Err(format!("palisade: Docker's question is not readable: {error}")),
            };
            if let (Err(message), Ok(request)) = (&result, &request) {
                let (uri, user) = (&request.uri, &request.user);
                tracing::warn!(%uri, %user, reason = %message, "a call is refused");
            }
            ("200 OK", answer(&result))
        }
        // What a call was answered is nobody's secret from who may make it.
        "/AuthZPlugin.AuthZRes" => ("200 OK", json!({ "Allow": true })),
        _ => ("404 Not Found", json!({ "Err": "palisade knows no such question" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_bounded_and_bodies_have_a_length() {
        let check = |text: &str, expected: Result<bool, &str>| {
            let parsed = parse_head(text.as_bytes());
            match expected {
                Ok(whole) => assert_eq!(parsed.unwrap().is_some(), whole, "{text}"),
                Err(what) => assert!(parsed.unwrap_err().contains(what), "{text}"),
            }
        };
        check("POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 2\r\n\r\n", Ok(true));
        check("POST / HTTP/1.1\r\nContent-", Ok(false));
        check("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", Err("no number"));
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Err("without a length"));
        let long = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        check(&long, Err("too long"));
        let long = format!("POST / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        check(&long, Err("head is too long"));
        check("rubbish\r\n\r\n", Err(""));
    }
}

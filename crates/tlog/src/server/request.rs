//! Reads requests (RFC 9112), bounded in bytes and in time.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Largest head of a request, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most header fields of a request.
const FIELDS_MAX: usize = 64;
/// What is read and thrown away after a refusal, at most.
const DISCARD_BYTES_MAX: usize = 1 << 20;

/// The methods that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// Any other.
    Other,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// Who asks.
    pub peer: IpAddr,
    /// The body.
    pub body: Vec<u8>,
    pub(super) keep_alive: bool,
}

#[derive(Debug)]
pub(super) enum ReadError {
    /// The client has no further request.
    Closed,
    Io(io::Error),
    /// A status and what is wrong; nothing after it on this connection makes sense.
    Refused(u16, &'static str),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What the head of a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) n_body: usize,
    pub(super) keep_alive: bool,
    pub(super) wants_continue: bool,
}

/// Reads the head at the beginning of `bytes`; `None` when it is not whole yet.
pub(super) fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, ReadError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ReadError::Refused(431, "the request has too many header fields"));
        }
        Err(_) => return Err(ReadError::Refused(400, "this is no HTTP/1.1 request")),
    };
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => Method::Other,
    };
    let target = parsed.path.unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_string();
    let mut head = Head {
        method,
        path,
        n_body: 0,
        keep_alive: parsed.version == Some(1),
        wants_continue: false,
    };
    let mut seen_length = None;
    for field in parsed.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("content-length") {
            // Digits alone, and one length: else a proxy before us may see another body.
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let length = value.parse::<usize>().ok().filter(|_| digits);
            let length = length.ok_or(ReadError::Refused(400, "content-length is no number"))?;
            if seen_length.is_some_and(|other| other != length) {
                return Err(ReadError::Refused(400, "there are two lengths"));
            }
            seen_length = Some(length);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(ReadError::Refused(411, "send the body with a content-length"));
        } else if field.name.eq_ignore_ascii_case("connection") {
            let has = |word: &str| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word));
            head.keep_alive = (head.keep_alive || has("keep-alive")) && !has("close");
        } else if field.name.eq_ignore_ascii_case("expect") {
            head.wants_continue = value.eq_ignore_ascii_case("100-continue");
        }
    }
    if method == Method::Post && seen_length.is_none() {
        return Err(ReadError::Refused(411, "send the body with a content-length"));
    }
    head.n_body = seen_length.unwrap_or(0);
    Ok(Some((head, length)))
}

/// Reads the requests of a connection.
pub(super) struct Reader<'a> {
    stream: &'a TcpStream,
    peer: IpAddr,
    idle: Duration,
    arrival: Duration,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        peer: IpAddr,
        idle: Duration,
        arrival: Duration,
        stop: &'a AtomicBool,
    ) -> Self {
        Self { stream, peer, idle, arrival, stop, buffer: Vec::new() }
    }

    /// The next request. `limit` says how long the body may be.
    pub(super) fn next(
        &mut self,
        limit: impl Fn(Method, &str) -> Option<usize>,
    ) -> Result<Request, ReadError> {
        let mut deadline = Instant::now() + self.idle;
        let mut begun = false;
        let (head, n_head) = loop {
            if !self.buffer.is_empty() {
                if !begun {
                    begun = true;
                    deadline = Instant::now() + self.arrival;
                }
                if let Some(found) = parse_head(&self.buffer)? {
                    break found;
                }
                if self.buffer.len() >= HEAD_BYTES_MAX {
                    return Err(ReadError::Refused(431, "the head of the request is too long"));
                }
            }
            let n_more = HEAD_BYTES_MAX - self.buffer.len();
            if self.more(n_more, deadline, begun)? == 0 {
                return Err(ReadError::Closed);
            }
        };
        let most = limit(head.method, &head.path).unwrap_or(0);
        if head.n_body > most {
            return Err(ReadError::Refused(413, "the body is too long"));
        }
        if head.wants_continue && self.buffer.len() < n_head + head.n_body {
            let mut stream = self.stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        while self.buffer.len() < n_head + head.n_body {
            let n_more = n_head + head.n_body - self.buffer.len();
            if self.more(n_more, deadline, true)? == 0 {
                return Err(ReadError::Closed);
            }
        }
        let rest = self.buffer.split_off(n_head + head.n_body);
        let mut body = std::mem::replace(&mut self.buffer, rest);
        body.drain(..n_head);
        Ok(Request {
            method: head.method,
            path: head.path,
            peer: self.peer,
            body,
            keep_alive: head.keep_alive,
        })
    }

    /// Reads at most `n_max` more bytes.
    fn more(&mut self, n_max: usize, deadline: Instant, begun: bool) -> Result<usize, ReadError> {
        let mut chunk = [0; 8192];
        let n_max = n_max.min(chunk.len());
        loop {
            match self.stream.read(&mut chunk[..n_max]) {
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if Instant::now() >= deadline {
                        let late = ReadError::Refused(408, "the request did not arrive in time");
                        return Err(if begun { late } else { ReadError::Closed });
                    }
                    if !begun && self.stop.load(Ordering::Relaxed) {
                        return Err(ReadError::Closed);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what still comes, for a moment.
    pub(super) fn discard(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut n = 0;
        self.buffer.clear();
        while n < DISCARD_BYTES_MAX {
            match self.more(8192, deadline, true) {
                Ok(read) if read > 0 => n += read,
                _ => return,
            }
            self.buffer.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_or_refused() {
        let read = |text: &str| parse_head(text.as_bytes());
        let (head, length) =
            read("POST /a?b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").unwrap().unwrap();
        assert_eq!((head.path.as_str(), head.n_body, head.keep_alive, length), ("/a", 3, true, 41));
        assert!(read("GET / HTTP/1.1\r\nHost").unwrap().is_none());
        let (head, _) = read("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n").unwrap().unwrap();
        assert!(!head.keep_alive);
        let (head, _) = read("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert!(!head.keep_alive);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        for (text, status) in [
            ("nonsense\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            (many.as_str(), 431),
        ] {
            let Err(ReadError::Refused(found, _)) = read(text) else { panic!("{text}") };
            assert_eq!(found, status, "{text}");
        }
    }
}

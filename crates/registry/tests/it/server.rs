//! A small HTTP server that tests tell what to say, lies included.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Where a range begins.
    pub(crate) fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Ends the connection after so many bytes of the body.
    cut: Option<usize>,
    /// Sends bytes until the other side has enough.
    endless: bool,
    /// Sent instead of everything else.
    raw: Option<Vec<u8>>,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

impl Reply {
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn cut(mut self, n_bytes: usize) -> Self {
        self.cut = Some(n_bytes);
        self
    }

    pub(crate) fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::default() }
    }

    fn send(&self, stream: &mut impl Write, is_head: bool) -> std::io::Result<bool> {
        if let Some(raw) = &self.raw {
            stream.write_all(raw)?;
            return Ok(false);
        }
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let states_length = self.headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if self.endless {
            stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())?;
            let chunk = [&b"10000\r\n"[..], &vec![b'x'; 65_536], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk)?;
            }
        }
        if !states_length && self.status != 204 {
            head.extend(["content-length: ", &self.body.len().to_string(), "\r\n"]);
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if is_head {
            return Ok(true);
        }
        let n = self.cut.unwrap_or(self.body.len());
        stream.write_all(&self.body[..n])?;
        Ok(self.cut.is_none())
    }
}

/// A server; it ends with the test.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request with what `answer` says.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    converse(BufReader::new(stream), &mut writer, &*answer, &log);
                    let _ = writer.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { port, requests }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked: `GET /v2/…`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|one| format!("{} {}", one.method, one.path)).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serves one connection.
pub(crate) fn converse(
    mut reader: BufReader<TcpStream>,
    writer: &mut impl Write,
    answer: &dyn Fn(&Request) -> Reply,
    log: &Mutex<Vec<Request>>,
) {
    while let Some(request) = read(&mut reader) {
        let is_head = request.method == "HEAD";
        let reply = answer(&request);
        log.lock().unwrap().push(request);
        if !reply.send(writer, is_head).unwrap_or(false) {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_string(), value.trim().to_string()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = body;
    Some(request)
}

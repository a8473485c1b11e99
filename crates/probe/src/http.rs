//! Requests as bytes, and responses read from whatever came (RFC 9112).

use std::fmt::Write as _;

use crate::wire::ANSWER_BYTES_MAX;

/// Headers of a response that are read.
const HEADERS_MAX: usize = 128;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its content, without the coding of the transfer.
    pub body: Vec<u8>,
    /// Whether all of it came.
    pub is_whole: bool,
}

impl Response {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads the final response in `bytes`, which may be cut off; interim ones (1xx) are passed
    /// over. `None`: no whole head is there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        // Few interim responses, so that their number costs nothing.
        for _ in 0..4 {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(n) = head.parse(rest).ok()? else { return None };
            let after = rest.get(n..)?;
            let status = head.code?;
            if (100..200).contains(&status) && status != 101 {
                rest = after;
                continue;
            }
            let headers: Vec<(String, String)> = head
                .headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value).trim().to_string();
                    (header.name.to_ascii_lowercase(), value)
                })
                .collect();
            let mut response = Self { status, headers, body: Vec::new(), is_whole: false };
            response.read_body(after);
            return Some(response);
        }
        None
    }

    fn read_body(&mut self, after: &[u8]) {
        let is_empty = matches!(self.status, 101 | 204 | 304);
        let chunked = self
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
        let length: Option<usize> =
            self.header("content-length").and_then(|value| value.parse().ok());
        (self.body, self.is_whole) = match (is_empty, chunked, length) {
            (true, ..) => (Vec::new(), true),
            (_, true, _) => dechunk(after),
            (.., Some(n)) => (after.get(..n).unwrap_or(after).to_vec(), after.len() >= n),
            (.., None) => (after.to_vec(), false),
        };
    }

    /// Whether `text` stands in the content, regardless of case.
    pub fn says(&self, text: &str) -> bool {
        crate::bytes::contains(&self.body, text)
    }
}

/// The content of chunks, and whether the last one was there.
fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((at, n))) = httparse::parse_chunk_size(rest) {
        let Ok(n) = usize::try_from(n) else { break };
        let after = rest.get(at..).unwrap_or_default();
        if n == 0 {
            return (body, true);
        }
        let chunk = after.get(..n.min(after.len())).unwrap_or_default();
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(chunk);
        let Some(next) = n.checked_add(2).and_then(|end| after.get(end..)) else { break };
        rest = next;
    }
    (body, false)
}

/// Whether `bytes` hold a whole response.
pub fn is_whole(bytes: &[u8]) -> bool {
    Response::parse(bytes).is_some_and(|response| response.is_whole)
}

/// A well-formed request, after which the connection is closed.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: palisade-probe\r\nAccept: */*\r\n"
    );
    for (name, value) in headers {
        let _infallible = write!(out, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _infallible = write!(out, "Content-Length: {}\r\n", body.len());
    }
    out.push_str("Connection: close\r\n\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_however_they_are_sent() {
        for (bytes, status, body, whole) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!"[..], 200, &b"hi"[..], true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", 200, b"hi", false),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", 204, b"", true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", 200, b"hi!", true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhi", 200, b"hi", false),
            (b"HTTP/1.0 500 \r\n\r\nend", 500, b"end", false),
        ] {
            let response = Response::parse(bytes).unwrap();
            assert_eq!((response.status, &response.body[..], response.is_whole), (status, body, whole));
        }
        for bytes in
            [&b""[..], b"HTTP/1.1 200 OK\r\nA: b\r\n", b"220 x\r\n\r\n", b"HTTP/1.1 100 \r\n\r\n"]
        {
            assert_eq!(Response::parse(bytes), None);
        }
        let many = [
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"a: b\r\n".repeat(HEADERS_MAX + 1),
            b"\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(Response::parse(&many), None, "more headers than are read");
    }
}

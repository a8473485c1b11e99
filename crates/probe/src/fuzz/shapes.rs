//! Requests that are known to be mistaken for something else.

use super::{Case, Class, Expectation};
use crate::http::request;

/// Shapes that are sent to a server; exactly so many are made.
pub const SHAPES_MAX: usize = 82;

fn raw(class: Class, name: &str, text: impl Into<Vec<u8>>) -> Case {
    Case::new(class, name, text)
}

/// A GET of `path` with one line more among its headers.
fn with_line(class: Class, name: &str, path: &str, line: &[u8]) -> Case {
    let mut bytes =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    bytes.extend_from_slice(line);
    bytes.extend_from_slice(b"\r\n\r\n");
    Case::new(class, name, bytes)
}

/// A POST whose headers and content are as they are.
fn posted(name: &str, path: &str, headers: &str, body: &str) -> Case {
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n\r\n{body}"
    );
    raw(Class::Framing, name, text)
}

/// All shapes, around the first of `paths`.
pub(super) fn shapes(paths: &[String]) -> Vec<Case> {
    let path = paths.first().map_or("/", String::as_str);
    let mut all = Vec::new();
    request_lines(path, &mut all);
    headers(path, &mut all);
    framing(path, &mut all);
    traversal(&mut all);
    injection(path, &mut all);
    huge(path, &mut all);
    content(path, &mut all);
    all
}

fn request_lines(path: &str, all: &mut Vec<Case>) {
    let line = |name: &str, line: &[u8]| {
        raw(
            Class::RequestLine,
            name,
            [line, b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"].concat(),
        )
    };
    all.extend([
        line("no method", format!(" {path} HTTP/1.1").as_bytes()),
        line("a method that there is not", format!("PALISADE {path} HTTP/1.1").as_bytes()),
        line("a method with a zero byte", format!("GE\0T {path} HTTP/1.1").as_bytes()),
        line("no version", format!("GET {path}").as_bytes()),
        line("version 0.9", format!("GET {path} HTTP/0.9").as_bytes()),
        line("version 1.9", format!("GET {path} HTTP/1.9").as_bytes()),
        line("version 9.9", format!("GET {path} HTTP/9.9").as_bytes()),
        line("a version of letters", format!("GET {path} HTTP/x.y").as_bytes()),
        line("three blanks", format!("GET   {path}   HTTP/1.1").as_bytes()),
        line("tabulators", format!("GET\t{path}\tHTTP/1.1").as_bytes()),
        line("no path", b"GET  HTTP/1.1"),
        line("an address instead of a path", b"GET http://localhost/ HTTP/1.1"),
        line("an address of a file", b"GET file:///etc/passwd HTTP/1.1"),
        line("an asterisk", b"OPTIONS * HTTP/1.1"),
        line("CONNECT", b"CONNECT localhost:1 HTTP/1.1"),
        line("a percent sign alone", b"GET /% HTTP/1.1"),
        line("a percent sign with no number", b"GET /%zz HTTP/1.1"),
        line("a zero byte in the path", b"GET /a\0b HTTP/1.1"),
        line("an encoded zero byte", b"GET /a%00b HTTP/1.1"),
        line("format characters", b"GET /%25n%25n%25s?%25n=%n%n%n%s%s HTTP/1.1"),
        line("bytes that are no UTF-8", b"GET /\xff\xfe\x80?\xc3\x28 HTTP/1.1"),
        line("a query of separators", b"GET /?&&==&;;&%26=%3d HTTP/1.1"),
        line("the same parameter three times", b"GET /?id=1&id=2&id[]=3 HTTP/1.1"),
        raw(Class::RequestLine, "nothing but a line end", "\r\n\r\n").unfinished(),
        raw(
            Class::RequestLine,
            "bare line feeds",
            format!("GET {path} HTTP/1.1\nHost: localhost\n\n"),
        ),
        raw(Class::RequestLine, "bytes of TLS", &b"\x16\x03\x01\0\x05hello"[..]).unfinished(),
        raw(Class::RequestLine, "zero bytes", vec![0; 64]).unfinished(),
        raw(Class::RequestLine, "the preface of HTTP/2", crate::protocol::H2_PREFACE).unfinished(),
    ]);
}

fn headers(path: &str, all: &mut Vec<Case>) {
    let line = |name: &str, line: &[u8]| with_line(Class::Headers, name, path, line);
    all.extend([
        raw(Class::Headers, "no Host", format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n")),
        line("two Hosts", b"Host: other"),
        line("a blank before the colon", b"X-Probe : a").expecting(Expectation::Refused),
        line("a line without a colon", b"no colon here"),
        line("a name that is empty", b": empty"),
        line("a zero byte in a value", b"X-Probe: a\0b"),
        line("a bare carriage return in a value", b"X-Probe: a\rb"),
        line("a folded line", b"X-Probe: a\r\n b"),
        line("bytes that are no text", b"X-Probe: \xff\xfe\x80\x81"),
        line("format characters in a value", b"User-Agent: %n%n%n%n%s%s%s%s"),
        line("a Cookie of separators", b"Cookie: ;;==;=;a=b=c;\"\";"),
        line("Authorization that is no Base64", b"Authorization: Basic !!!!"),
        line("Authorization without a value", b"Authorization:"),
        line("a range backwards", b"Range: bytes=9-1,-0,0-,5-5"),
        line("a thousand ranges", &[b"Range: bytes=0-", "0-,".repeat(1000).as_bytes()].concat()),
        line("a date that there is not", b"If-Modified-Since: Foo, 99 Bar 99999 99:99:99 GMT"),
        line("a length of a GET", b"Content-Length: 0"),
        line("an expectation that there is not", b"Expect: 999-unheard-of"),
        line("an upgrade that there is not", b"Connection: Upgrade\r\nUpgrade: palisade/9"),
        line(
            "a WebSocket without its key",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: -1",
        ),
    ]);
}

fn framing(path: &str, all: &mut Vec<Case>) {
    let refused = |name: &str, headers: &str, body: &str| {
        posted(name, path, headers, body).expecting(Expectation::Refused)
    };
    let second = "GET /palisade-probe-second HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = format!("0\r\n\r\n{second}");
    all.extend([
        refused("two lengths that differ", "Content-Length: 3\r\nContent-Length: 4", "abcd"),
        refused("two lengths in one line", "Content-Length: 3, 4", "abcd"),
        refused("a negative length", "Content-Length: -1", "a"),
        refused("a length with a sign", "Content-Length: +3", "abc"),
        refused("a length in hexadecimal", "Content-Length: 0x3", "abc"),
        refused("a length beyond 64 bits", "Content-Length: 99999999999999999999999", "abc"),
        refused("a chunk of no size", "Transfer-Encoding: chunked", "zz\r\nabc\r\n0\r\n\r\n"),
        refused("a chunk of a negative size", "Transfer-Encoding: chunked", "-1\r\nabc\r\n0\r\n\r\n"),
        refused("a chunk of 2^64 bytes", "Transfer-Encoding: chunked", "10000000000000000\r\nabc"),
        refused("a transfer coding that there is not", "Transfer-Encoding: palisade", "abc"),
        raw(
            Class::Framing,
            "length and chunks, and a second request behind them",
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{both}",
                both.len()
            ),
        )
        .expecting(Expectation::OneResponse),
        posted("a chunk of nearly 2^63 bytes", path, "Transfer-Encoding: chunked", "7fffffffffffffff\r\nabc").unfinished(),
        posted("chunks with a tail of headers", path, "Transfer-Encoding: chunked", "1;x=y\r\na\r\n0\r\nContent-Length: 9\r\n\r\n"),
        posted("a content that does not come", path, "Content-Length: 1000", "a").unfinished(),
    ]);
}

fn traversal(all: &mut Vec<Case>) {
    let up = "../".repeat(8);
    for (name, target) in [
        ("dots", format!("/{up}etc/passwd")),
        ("dots, encoded", format!("/{}etc/passwd", "%2e%2e/".repeat(8))),
        ("dots and slashes, encoded", format!("/{}etc%2fpasswd", "%2e%2e%2f".repeat(8))),
        ("dots, encoded twice", format!("/{}etc/passwd", "%252e%252e%252f".repeat(8))),
        ("backslashes", format!("/{}etc/passwd", "..\\".repeat(8))),
        ("dots behind a folder that there may be", format!("/static/{up}etc/passwd")),
        ("overlong UTF-8", format!("/{}etc/passwd", "..%c0%af".repeat(8))),
        ("two slashes", "//etc/passwd".to_string()),
        ("a parameter", format!("/?file={up}etc/passwd&path=/etc/passwd&page={up}etc/passwd")),
    ] {
        let bytes = request("GET", &target, &[], b"");
        all.push(Case::new(Class::Traversal, name, bytes).expecting(Expectation::NoAccounts));
    }
}

fn injection(path: &str, all: &mut Vec<Case>) {
    let header = Expectation::NoHeader("x-palisade-probe");
    let separator = if path.contains('?') { '&' } else { '?' };
    for (name, target) in [
        ("a line end in a parameter", format!("{path}{separator}url=%0d%0aX-Palisade-Probe:%201")),
        ("a line end in the path", "/%0d%0aX-Palisade-Probe:%201".to_string()),
    ] {
        let bytes = request("GET", &target, &[], b"");
        all.push(Case::new(Class::Injection, name, bytes).expecting(header.clone()));
    }
}

fn huge(path: &str, all: &mut Vec<Case>) {
    let many: Vec<String> = (0..2000).map(|n| format!("X-Probe-{n}: a")).collect();
    all.extend([
        raw(
            Class::Huge,
            "a path of 64 KiB",
            request("GET", &format!("/{}", "a".repeat(65_536)), &[], b""),
        ),
        with_line(
            Class::Huge,
            "a header of 64 KiB",
            path,
            format!("X-Probe: {}", "a".repeat(65_536)).as_bytes(),
        ),
        with_line(Class::Huge, "2,000 headers", path, many.join("\r\n").as_bytes()),
        raw(
            Class::Huge,
            "a method of 64 KiB",
            format!("{} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n", "A".repeat(65_536)),
        ),
        raw(
            Class::Huge,
            "a content of 1 MiB",
            request("POST", path, &[("Content-Type", "text/plain")], &vec![b'a'; 1 << 20]),
        ),
    ]);
}

fn content(path: &str, all: &mut Vec<Case>) {
    let post = |name: &str, kind: &str, body: &[u8]| {
        Case::new(Class::Content, name, request("POST", path, &[("Content-Type", kind)], body))
    };
    let deep = [vec![b'['; 20_000], vec![b']'; 20_000]].concat();
    let entities =
        "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><a>&b;</a>";
    all.extend([
        post("JSON that is deep", "application/json", &deep),
        post("JSON that is cut off", "application/json", b"{\"id\": [1, {\"a\""),
        post("XML with entities", "application/xml", entities.as_bytes()),
        post(
            "a form of many parts without an end",
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1",
        ),
    ]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_as_many_as_it_says() {
        assert_eq!(super::shapes(&["/".into()]).len(), super::SHAPES_MAX);
    }
}

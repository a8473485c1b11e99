//! Malformed requests for an HTTP server: shapes that are known to be mistaken for something
//! else, then mutations by chance. The same seed gives the same requests in the same order.

mod judge;
mod random;
mod shapes;

pub use judge::{Baseline, judge};
pub use random::Random;
pub use shapes::SHAPES_MAX;

/// Largest request that is made, in bytes.
pub const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Paths of a server that are mutated.
pub const PATHS_MAX: usize = 32;

/// What kind of request it is. Findings of one class at one port are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The first line.
    RequestLine,
    /// Header fields.
    Headers,
    /// Where a message ends.
    Framing,
    /// Paths that lead out.
    Traversal,
    /// What ends up in a header of the response.
    Injection,
    /// More than anybody needs.
    Huge,
    /// Contents in strange forms.
    Content,
    /// Mutations by chance.
    Random,
    /// Calls of a described API.
    Api,
}

impl Class {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestLine => "request line",
            Self::Headers => "header fields",
            Self::Framing => "framing",
            Self::Traversal => "path traversal",
            Self::Injection => "header injection",
            Self::Huge => "huge",
            Self::Content => "content",
            Self::Random => "random mutation",
            Self::Api => "described API",
        }
    }
}

/// What a server must not do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing beside not failing.
    Sound,
    /// It must be refused, or not answered at all.
    Refused,
    /// The account file must not come back.
    NoAccounts,
    /// This header must not be in the response; in lower case.
    NoHeader(&'static str),
    /// There must not be a second response.
    OneResponse,
    /// As the description of an API says.
    Api {
        /// The description's own name of the call.
        operation: String,
        /// Whether the description forbids the request.
        is_invalid: bool,
        /// Statuses that the description has; `default` means all.
        statuses: Vec<String>,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What is odd about it.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What must not happen.
    pub expectation: Expectation,
    /// Whether a server may rightly wait for more, so that waiting for an answer is in vain.
    pub is_unfinished: bool,
}

impl Case {
    pub(crate) fn new(class: Class, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes = bytes.into();
        bytes.truncate(REQUEST_BYTES_MAX);
        let expectation = Expectation::Sound;
        Self { name: name.into(), class, bytes, expectation, is_unfinished: false }
    }

    fn expecting(mut self, expectation: Expectation) -> Self {
        self.expectation = expectation;
        self
    }

    fn unfinished(mut self) -> Self {
        self.is_unfinished = true;
        self
    }
}

/// At most `n_max` requests for a server with `paths`: first the shapes, then mutations.
pub fn cases(seed: u64, n_max: usize, paths: &[String]) -> impl Iterator<Item = Case> {
    let mut paths: Vec<String> = paths.iter().take(PATHS_MAX).cloned().collect();
    if paths.is_empty() {
        paths.push("/".into());
    }
    let mut random = Random::new(seed);
    let shapes = shapes::shapes(&paths);
    shapes.into_iter().chain((0..).map(move |n| mutation(&mut random, &paths, n))).take(n_max)
}

/// Pieces that programs stumble over.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b"%00",
    b"%0d%0a",
    b"%n%n%n%n",
    b"%s%s%s%s",
    b"../",
    b"..\\",
    b"'",
    b"\"",
    b"' OR '1'='1",
    b"<script>",
    b"{{7*7}}",
    b"${7*7}",
    b"$(id)",
    b"`id`",
    b"|id",
    b";id;",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"-1",
    b"0",
    b"4294967296",
    b"-2147483649",
    b"9223372036854775808",
    b"1e309",
    b"NaN",
    b"[]",
    b"{}",
    b"null",
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

/// A request by chance.
fn mutation(random: &mut Random, paths: &[String], n: u64) -> Case {
    let path = random.one(paths).map_or("/", String::as_str);
    let mut bytes = match random.below(4) {
        0 => crate::http::request(
            "GET",
            path,
            &[("Cookie", "session=1"), ("Range", "bytes=0-1")],
            b"",
        ),
        1 => crate::http::request(
            "GET",
            &format!("{path}?id=1&name=x"),
            &[("Accept-Encoding", "gzip")],
            b"",
        ),
        2 => crate::http::request(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            b"{\"id\": 1, \"name\": \"x\"}",
        ),
        _ => crate::http::request(
            "POST",
            path,
            &[("Content-Type", "application/x-www-form-urlencoded")],
            b"id=1&name=x",
        ),
    };
    let mut what = Vec::new();
    for _ in 0..=random.below(4) {
        what.push(mutate(random, &mut bytes));
    }
    if bytes.is_empty() {
        bytes.push(b'G');
    }
    let mut case =
        Case::new(Class::Random, format!("mutation {n} of {path}: {}", what.join(", ")), bytes);
    // Whatever happened to its lengths: a server may wait for the rest.
    case.is_unfinished = true;
    case
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) -> &'static str {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            "a bit flipped"
        }
        1 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
            "bytes removed"
        }
        2 => {
            let end = (at + 1 + random.below(32)).min(bytes.len());
            let part = bytes.get(at..end).unwrap_or_default().to_vec();
            let n = 1 << random.below(9);
            bytes.splice(at..at, part.repeat(n));
            "bytes repeated"
        }
        3 | 4 => {
            let piece = random.one(PIECES).copied().unwrap_or_default();
            bytes.splice(at..at, piece.iter().copied());
            "a piece inserted"
        }
        5 => {
            bytes.truncate(at.max(1));
            "cut off"
        }
        _ => {
            let ends: Vec<usize> = bytes
                .windows(2)
                .enumerate()
                .filter(|(_, w)| *w == b"\r\n")
                .map(|(at, _)| at)
                .collect();
            if let Some(end) = random.one(&ends) {
                let piece = random.one(PIECES).copied().unwrap_or_default();
                bytes.splice(*end..*end, piece.iter().copied());
            }
            "a line continued"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_requests_and_another_one_others() {
        let all = |seed| cases(seed, SHAPES_MAX + 200, &["/a?b=c".into()]).collect::<Vec<Case>>();
        let (one, two, other) = (all(1), all(1), all(2));
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_eq!(one.len(), SHAPES_MAX + 200);
        assert!(
            one.iter().all(|case| case.bytes.len() <= REQUEST_BYTES_MAX && !case.bytes.is_empty())
        );
        let names: std::collections::BTreeSet<&str> =
            one.iter().map(|case| case.name.as_str()).collect();
        assert!(names.len() > SHAPES_MAX + 150, "{}", names.len());
        assert_eq!(cases(1, 3, &[]).count(), 3);
    }
}

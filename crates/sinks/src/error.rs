//! Why a sink cannot be opened, and why a delivery failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use palisade_base::Explain;
use palisade_http::TlsError;

/// Why a sink cannot be opened: its configuration is wrong. What only the receiver can
/// cause is a [`SendError`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that the sink names cannot be read.
    #[error("read {what} `{path}`")]
    Read {
        /// `headers`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of a headers file is no header.
    #[error("`{path}`, line {line}: {problem}")]
    Header {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong; never the value.
        problem: &'static str,
    },
    /// TLS cannot be set up: certificates are missing or unusable.
    #[error(transparent)]
    Tls(#[from] palisade_http::TlsError),
}

impl Explain for OpenError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "check the path; it is relative to the policy file".into(),
            Self::Header { .. } => "write one `Name: value` a line".into(),
            Self::Tls(TlsError::Read { .. }) => {
                "check the path; it is relative to the policy file".into()
            }
            Self::Tls(TlsError::NoSystemCertificates) => {
                "install the package `ca-certificates`, or name files in `ca`".into()
            }
            Self::Tls(error) => return error.hint(),
        })
    }
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The receiver cannot be reached.
    #[error("connect to {to}")]
    Connect {
        /// The receiver.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or a deadline passed.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The request did not complete.
    #[error("send the request")]
    Request(#[source] Box<ureq::Error>),
    /// The receiver answered, and not with success.
    #[error("the receiver answered {code}{}", after_colon(.said))]
    Status {
        /// The HTTP status.
        code: u16,
        /// After how long to try again, if it said so.
        retry_after: Option<Duration>,
        /// The beginning of what it said.
        said: String,
    },
    /// TLS failed.
    #[error("TLS")]
    Tls(#[source] rustls::Error),
    /// The file is something else.
    #[error("`{0}` is not a regular file")]
    NotAFile(PathBuf),
    /// The file cannot be written.
    #[error("{action} `{path}`")]
    File {
        /// `open`, `write`, `rotate`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Headers can no longer be read.
    #[error("read the headers again")]
    Headers(#[source] OpenError),
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl Explain for SendError {}

impl SendError {
    /// Whether the receiver will never take this message, however often it is sent: it
    /// understood the request and refused its content. Everything else may pass: a wrong
    /// token is mended by its owner, a receiver comes back.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Status { code: 400 | 413 | 422, .. })
    }

    /// After how long the receiver wants to be tried again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The error and its sources on one line.
    pub fn chain(&self) -> String {
        let mut out = self.to_string();
        let mut last = out.clone();
        let mut link = std::error::Error::source(self);
        while let Some(source) = link {
            let text = source.to_string();
            if text != last {
                out.push_str(": ");
                out.push_str(&text);
            }
            last = text;
            link = source.source();
        }
        out.chars().filter(|c| !c.is_control()).take(CHAIN_CHARS_MAX).collect()
    }
}

/// Longest error that is shown, in characters.
const CHAIN_CHARS_MAX: usize = 400;

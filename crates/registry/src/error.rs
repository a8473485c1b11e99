//! Why a registry did not give, or take, what it was asked for.

use std::fmt;
use std::time::Duration;

use palisade_base::{Digest, Explain, LimitExceeded};
use palisade_http::TlsError;

use crate::credentials::CredentialsError;

/// What a registry says of an error (distribution-spec, "Error Codes").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its code: `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// Its message, or the beginning of what it answered instead.
    pub message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, self.message.as_str()) {
            (Some(code), "") => write!(f, ": {code}"),
            (Some(code), message) => write!(f, ": {code}: {message}"),
            (None, "") => Ok(()),
            (None, message) => write!(f, ": {message}"),
        }
    }
}

/// Why a registry did not give, or take, what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The client for a host cannot be set up.
    #[error("set up the connection to `{host}`")]
    Setup {
        /// The registry, or where it redirected to.
        host: String,
        /// Why.
        source: TlsError,
    },
    /// No answer came.
    #[error("ask `{host}` for {what}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The registry answered, and not with success.
    #[error("`{host}` answered {status} to a request for {what}{said}")]
    Status {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: Said,
        /// After how long to try again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The registry has no such image.
    #[error("`{host}` has no {what}{said}")]
    NotFound {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// What it said.
        said: Said,
    },
    /// The registry wants other credentials, or any.
    #[error("`{host}` refuses {what} {}{said}", if *.had_credentials { "to these credentials" } else { "without credentials" })]
    Unauthorized {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// Whether credentials were found for it.
        had_credentials: bool,
        /// What it said.
        said: Said,
    },
    /// The service that gives out tokens did not.
    #[error("get a token for `{host}` from `{realm}`")]
    Token {
        /// The registry.
        host: String,
        /// Where tokens are given out.
        realm: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// Plain HTTP to another machine, which nobody allowed.
    #[error("`{0}` would be spoken to without TLS")]
    PlainHttp(String),
    /// A redirect that is not followed.
    #[error("`{host}` redirects {what} {problem}")]
    Redirect {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// Why it is not followed.
        problem: &'static str,
    },
    /// An answer that is no answer to what was asked.
    #[error("`{host}` answered a request for {what} with {problem}")]
    BadAnswer {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What came is not what was named.
    #[error("`{host}` sent `{found}` for `{expected}`")]
    WrongDigest {
        /// Who sent it.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// What came is larger than what is read.
    #[error("read {what} from `{host}`")]
    TooLarge {
        /// Who sent it.
        host: String,
        /// What.
        what: String,
        /// The bound.
        source: LimitExceeded,
    },
    /// Reading broke off, again and again.
    #[error("read {what} from `{host}`, of which {n_read} of {size} bytes came")]
    Broken {
        /// Who sent it.
        host: String,
        /// What.
        what: String,
        /// Bytes that came.
        n_read: u64,
        /// Bytes that were to come.
        size: u64,
        /// The last error.
        source: std::io::Error,
    },
    /// `registries.conf` forbids the registry.
    #[error("`{0}` is blocked by registries.conf")]
    Blocked(String),
    /// Credentials cannot be had.
    #[error("find credentials for `{host}`")]
    Credentials {
        /// The registry.
        host: String,
        /// Why.
        source: CredentialsError,
    },
    /// The disk does not take what came.
    #[error("keep {what} on disk")]
    Disk {
        /// What.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The work was given up because something else failed.
    #[error("given up")]
    Cancelled,
}

impl RegistryError {
    /// Whether another mirror, or the registry itself, may know better.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        !matches!(self, Self::Blocked(_) | Self::Disk { .. } | Self::Cancelled)
    }

    /// Whether the network or the service is at fault: the same request may succeed later, and
    /// says nothing of the image meanwhile.
    pub fn is_network(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Token { source, .. } => source.is_network(),
            _ => false,
        }
    }

    /// Whether the registry said that the image is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

impl Explain for RegistryError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Setup { source, .. } => return source.hint(),
            Self::Credentials { source, .. } => return source.hint(),
            Self::Unreachable { source, host, .. } => unreachable_hint(source, host),
            Self::Status { status: 429, retry_after: Some(wait), .. } => {
                format!(
                    "the registry limits requests; try again in {} s, or log in",
                    wait.as_secs()
                )
            }
            Self::Status { status: 429, .. } => {
                "the registry limits requests; try again later, or log in".into()
            }
            Self::Status { status: 500.., .. } => {
                "the registry has a problem; try again later".into()
            }
            Self::NotFound { .. } => {
                "check name and tag; a private image looks the same to those who are not logged in"
                    .into()
            }
            Self::Unauthorized { host, had_credentials: false, .. } => {
                format!(
                    "log in with `docker login {host}` or `podman login {host}`; check the name as well"
                )
            }
            Self::Unauthorized { host, .. } => {
                format!(
                    "log in again with `docker login {host}`, or ask for the right to this repository"
                )
            }
            Self::Token { source, .. } => return source.hint(),
            Self::PlainHttp(host) => {
                format!("if it is meant and the network is trusted, use --plain-http {host}")
            }
            Self::Redirect { .. } => {
                "tell the owner of the registry; --plain-http HOST allows a host without TLS".into()
            }
            Self::BadAnswer { .. } | Self::TooLarge { .. } => {
                "check that the host is a registry (it must answer at /v2/)".into()
            }
            Self::WrongDigest { .. } => {
                "do not use the image: the registry, or something before it, is broken or lies"
                    .into()
            }
            Self::Broken { .. } => "check the network and try again".into(),
            Self::Blocked(_) => "change `blocked` in registries.conf if that is not meant".into(),
            Self::Disk { .. } => "make room, or name another folder with --cache-dir".into(),
            Self::Status { .. } | Self::Cancelled => return None,
        })
    }
}

const NO_NAME: &str = "check the name of the registry and the network";

fn unreachable_hint(error: &ureq::Error, host: &str) -> String {
    let certificate = rustls_error(error)
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
    match error {
        _ if certificate => {
            format!("put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt")
        }
        ureq::Error::HostNotFound => NO_NAME.into(),
        // The system's resolver says it in words alone.
        ureq::Error::Io(io) if io.to_string().starts_with("failed to lookup") => NO_NAME.into(),
        ureq::Error::Timeout(_) => "check the network, and HTTPS_PROXY if there is a proxy".into(),
        _ => format!(
            "check that the registry is up and speaks TLS; without TLS it needs --plain-http {host}"
        ),
    }
}

/// The error of TLS inside an error of the client, if it is one.
pub(crate) fn rustls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

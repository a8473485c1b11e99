//! The one HTTP client and the one TLS stack: what both trust, through which proxy, how
//! long they wait.
//!
//! Sinks send alerts with it, the registry client fetches images with it (ADR 0014). The
//! crate makes clients; it sends nothing itself, reads no variable of the environment, and
//! its clients follow no redirect: whoever asks decides where a secret may go.
#![forbid(unsafe_code)]

mod client;
mod proxy;
mod retry;
pub mod tls;

pub use client::{ClientOptions, client};
pub use proxy::Proxies;
pub use retry::{Backoff, RETRY_AFTER_MAX, retry_after};
pub use tls::{TlsError, TlsOptions};

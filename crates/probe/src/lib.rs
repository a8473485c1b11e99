//! Dynamic test of a container before it is used: who listens, what is spoken, which
//! authentication and which TLS is weak, what malformed input breaks, and what an attacker who is
//! inside could reach.
//!
//! The crate knows no container: it speaks to a [`Subject`], which the program makes. What servers
//! say is taken for hostile: parsers are total, answers and waits are bounded. What is sent is the
//! same for the same seed. It opens sockets through [`Dial`] alone, and never to anything but the
//! subject.
#![forbid(unsafe_code)]

mod breakage;
mod bytes;
pub mod escape;
pub mod finding;
pub mod fuzz;
pub mod http;
pub mod listen;
mod look;
mod malformed;
pub mod openapi;
pub mod protocol;
pub mod report;
mod services;
mod session;
mod subject;
pub mod tls;
pub mod wire;

pub use breakage::{CRASHES_MAX, Crash, EVENTS_SHOWN, REQUEST_KEPT_MAX, RESTARTS_MAX, Request};
pub use finding::{CHECKS, Check, Finding, Place};
pub use services::credentials::{CREDENTIALS, Credential};
#[doc(hidden)]
pub use services::parse_everything;
pub use session::{GAPS_MAX, Port, Probe, REQUESTS_MAX, Settings, probe};
pub use subject::{Event, Executed, Pulse, Subject};
pub use wire::{Dial, Here};

//! Alerts in the forms and over the transports of others.
//!
//! Forms are pure functions of an alert: [`ocsf`], [`cef`], the messages of [`syslog`].
//! Transports send finished documents and say what became of them; they keep no queue and
//! do not retry, because whoever owns the journal knows what has to be sent again.
//! Clients come from `palisade_http`.
#![forbid(unsafe_code)]

pub mod cef;
mod error;
mod file;
pub mod item;
pub mod ocsf;
pub mod syslog;
#[cfg(test)]
mod testing;
mod transport;
mod webhook;

pub use error::{OpenError, SendError};
pub use item::{About, Item, Message, TechniqueNames};
pub use transport::{Failed, Transport, open};
pub use webhook::parse_headers;

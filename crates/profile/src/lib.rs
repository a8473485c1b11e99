//! What a container needs, from records and from its programs, and the profiles made of it.
//!
//! ```text
//! observations of the kernel ─► record ─┐
//!                                       ├─► merged record ─► seccomp, AppArmor, SELinux, policy, …
//! programs and libraries ─► analysis ───┘
//! ```
//!
//! [`Record`] is the versioned document in the middle; [`analysis`] reads programs;  [`tailor`] makes
//! the system-call filter, which never allows what the default profile of `harden` refuses;
//! [`output`] writes the forms of engines; [`ima`] reads what the kernel measured; [`filter`] reads a filter again and says what it decides.
//!
//! Everything here is pure: bytes and values go in, values and texts come out. Nothing loads a
//! program into the kernel or opens a file.
#![forbid(unsafe_code)]

pub mod analysis;

mod compare;
mod error;
pub mod filter;
pub mod ima;
pub mod output;
mod record;
pub mod syscalls;
pub mod tailor;
pub mod watch;

pub use compare::{Difference, difference};
pub use error::{FilterError, RecordError};
pub use record::{
    Capability, Endpoint, Files, Floor, NetworkNeeds, RECORD_BYTES_MAX, Record, SCHEMA, Source,
};

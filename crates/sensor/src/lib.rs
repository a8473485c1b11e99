//! Kernel records and captures to process, descriptor and container state, and events.
//!
//! ```text
//! live records ─┐
//!               ├─► record ─► state ─► event ─► rules
//! .scap files ──┘   decode    apply    fields
//! ```
//!
//! [`record`] decodes bytes, totally; [`state`] keeps what is known of processes,
//! descriptors, users and containers; [`engine`] applies one to the other and hands out
//! an [`event`] that answers the fields of [`schema`]; [`capture`] reads and writes files
//! of records; [`identity`] finds containers.
//!
//! The crate opens no socket and loads nothing into the kernel; what it reads of the host
//! is named by [`identity::HostPaths`].
#![forbid(unsafe_code)]

pub mod capture;
mod codec;
pub mod engine;
pub mod event;
pub mod identity;
pub mod names;
pub mod record;
pub mod schema;
pub mod state;
pub mod text;

pub use engine::{Engine, EngineCounters};
pub use event::EventView;
pub use record::{Record, RecordError};
pub use schema::{Field, SyscallSchema};

//! Files of records: `.scap` captures, read and written.
//!
//! A capture is a sequence of blocks, possibly compressed with gzip: a section header,
//! the machine and its processes, descriptors, users and interfaces, then events. Files
//! of version 1.0 to 1.2 are read; their old events are upgraded ([`upgrade`]) to those
//! that probes send today, so that rules see one form.
//!
//! A capture is input from anywhere: sizes are bounded, every length is checked, and a
//! file that ends early is used as far as it goes ([`replay::Replay`] says where and why
//! it ended).
//!
//! Palisade records in a form of its own ([`compact`]); [`replay::replay`] reads both.

mod blocks;
pub mod compact;
pub mod reader;
pub mod replay;
pub mod upgrade;
pub mod writer;

pub use reader::{Block, Capture, CaptureError, EventBlock};
pub use replay::{Replay, replay};
pub use upgrade::{Upgraded, Upgrader};
pub use writer::CaptureWriter;

/// Block types, with the numbers that were used before the format was public.
pub(crate) mod kind {
    pub(crate) const SECTION: u32 = 0x0A0D_0D0A;
    pub(crate) const MAGIC: u32 = 0x1A2B_3C4D;
    pub(crate) const MACHINE: u32 = 0x201;
    pub(crate) const PROCESSES_V9: u32 = 0x215;
    pub(crate) const FDS_V2: u32 = 0x218;
    pub(crate) const EVENT_V2: u32 = 0x216;
    pub(crate) const EVENT_V2_LARGE: u32 = 0x221;
    pub(crate) const INTERFACES_V2: u32 = 0x219;
    pub(crate) const USERS_V2: u32 = 0x220;
}

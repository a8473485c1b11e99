//! Raw system calls behind safe functions: control groups, process handles, mounts,
//! id-mapped mounts, namespaces, signals, permission to execute, the allocator, and facts about
//! the kernel.
//!
//! This is the first of the two crates that may hold `unsafe` code; each block states
//! its invariant. Everything that waits has a deadline, everything that counts has a
//! maximum, and nothing here knows what a policy or an image is.
//!
//! The crate does not decide: it never chooses which group to freeze or what to mount,
//! and it refuses the two mistakes that would take the machine down (acting on the
//! root control group, or on the group that holds the caller).

pub mod capability;
pub mod cgroup;
pub mod facts;
pub mod fanotify;
pub mod held;
pub mod idmap;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod schedule;
pub mod signals;
pub mod socket;
pub mod userns;

pub use cgroup::{Group, Hierarchies, Layout};
pub use process::ProcessHandle;

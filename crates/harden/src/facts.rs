//! What hardening must know besides the spec and the policy.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::User;

/// Facts about the image of the container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// The user that the image asks for, resolved in its own `/etc/passwd`.
    pub user: User,
    /// Folders that the image declares as volumes; they stay writable under a read-only root.
    pub volumes: Vec<String>,
}

/// A limit of a process (`getrlimit(2)`); `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// What holds.
    pub soft: u64,
    /// What the process may raise it to.
    pub hard: u64,
}

/// Facts about the machine that will run the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// As `uname -m` says: `x86_64`, `aarch64`.
    pub architecture: String,
    /// The caller's limits of processes by name (`RLIMIT_NOFILE`), which a process has where
    /// nobody says otherwise; those that are not known are left to whoever starts it.
    pub rlimits: BTreeMap<&'static str, Rlimit>,
    /// Whether the caller may exceed its hard limits.
    pub may_raise_rlimits: bool,
    /// Whether swap can be limited together with memory.
    pub can_limit_swap: bool,
    /// The disk of the container's files, as the kernel numbers it (major, minor); `None` when it is
    /// not known or none.
    pub disk: Option<(u32, u32)>,
}

impl Machine {
    /// The most that the limit of this name may be set to.
    pub fn rlimit_max(&self, name: &str) -> u64 {
        let own = self.rlimits.get(name).filter(|_| !self.may_raise_rlimits);
        own.map_or(u64::MAX, |own| own.hard)
    }
}

/// Everything that [`crate::harden`] must know besides the spec and the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// About the image.
    pub image: ImageFacts,
    /// About the machine.
    pub machine: Machine,
    /// Content of the seccomp profile that the policy names by file.
    pub seccomp_document: Option<Value>,
}

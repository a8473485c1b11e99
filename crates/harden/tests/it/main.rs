//! Integration tests of `palisade-harden`.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod engine;
mod lxc;
mod profile;
mod spec;

use palisade_harden::{Facts, IdRange, ImageFacts, Machine};
use palisade_policy::{Containers, Limits, Network, Seccomp, Tmpfs, UserMode, UserNamespace};

/// A policy like `restricted`.
fn restricted() -> Containers {
    Containers {
        user: UserMode::Fallback(65532),
        user_namespace: UserNamespace::Private,
        capabilities: Vec::new(),
        read_only_root: true,
        tmpfs: vec![Tmpfs { path: "/tmp".into(), size_bytes: 1 << 20, exec: false }],
        no_new_privileges: true,
        seccomp: Seccomp::Strict,
        network: Network::None,
        shared_networks: Vec::new(),
        limits: Limits {
            memory_bytes: Some(64 << 20),
            cpu_millis: Some(500),
            pids: Some(64),
            open_files: Some(1024),
            core_bytes: Some(0),
            ..Limits::default()
        },
        mask_paths: true,
        security_module: palisade_policy::SecurityModule::Auto,
        selinux: palisade_policy::Selinux::Auto,
        deny_drift: false,
        rootless: palisade_policy::Rootless::default(),
    }
}

fn facts() -> Facts {
    Facts {
        image: ImageFacts::default(),
        machine: Machine {
            architecture: "x86_64".into(),
            rlimits: std::collections::BTreeMap::new(),
            may_raise_rlimits: true,
            can_limit_swap: true,
            disk: None,
        },
        seccomp_document: None,
    }
}

const IDS: IdRange = IdRange { first: 1_000_000, count: 65_536 };

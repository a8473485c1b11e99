//! Container spec and policy to hardened spec, explained change by change.
//!
//! Everything here is pure: [`harden`] takes an OCI `config.json` as a JSON value, what
//! the policy says and what is known of image and machine, and returns the patched value
//! with a reason for every change, or a refusal with every reason. Fields that this
//! version does not know pass through untouched, which is why the value is patched and
//! not rewritten through typed structures.
//!
//! Nothing here reads a file, starts a process or asks the kernel.
#![forbid(unsafe_code)]

pub mod apparmor;
mod controls;
mod engine;
mod facts;
mod lists;
pub mod lxc;
mod patch;
mod rootless;
pub mod seccomp;
pub mod selinux;
mod spec;
mod user;

pub use controls::{Hardened, Refusal, RefusalReason, harden, harden_process};
pub use engine::{
    Asking, ContainerKind, ENGINE_CAPABILITIES, EngineFacts, Root, harden_container, harden_exec,
    host_path_exposes, is_ambiguous_profile, is_engine_file, is_engine_root, is_harmless_device,
    judge_asked, mount_sources, narrow,
};
pub use facts::{Facts, ImageFacts, Machine, Rlimit};
pub use lists::{MASKED_PATHS, READ_ONLY_PATHS};
pub use patch::{Change, Malformed};
pub use rootless::Rootless;
pub use spec::{Base, ImageDefaults, base_spec};
pub use user::{IdRange, ResolveUserError, User, resolve_user};

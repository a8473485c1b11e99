//! The one policy file: load, validate, explain, decide.
//!
//! A policy says which images may run (`images`), how a container is confined
//! (`containers`), what is watched (`runtime`) and what is done about an alert
//! (`response`). Reading is total: every problem of a file is reported at once, with
//! its place and a remedy, and a policy with an error is never used in part.
#![forbid(unsafe_code)]

pub mod document;

pub use document::{
    Action, Containers, Gate, ImageVerification, Images, Limits, Network, Policy, ResponseRule,
    Runtime, Seccomp, Tmpfs, UserMode, UserNamespace,
};

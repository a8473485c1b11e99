//! `policy.json` of containers/image (containers-policy.json(5)), read and obeyed as it is.
//!
//! Strict as its own reader: unknown and duplicate members, unknown requirements and empty
//! lists are errors. Scopes are looked up as it does; every requirement of the list that is
//! found must hold. What its authors have not implemented is refused, as they do.

mod evaluate;
mod parse;
mod reference;
mod registries_d;
mod requirement;
mod sigstore;

pub use evaluate::{Decision, Image, SIGNATURES_MAX, StoredSignature, Unsatisfied};
pub use parse::{ContainersPolicy, ContainersPolicyError, POLICY_BYTES_MAX};
pub use reference::{Reference, ReferenceError};
pub use registries_d::{LookasideBase, LookasideFile, REGISTRIES_D_BYTES_MAX, RegistriesD};
pub use requirement::{Identity, KeySource, Requirement};

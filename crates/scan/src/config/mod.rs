//! Checks of configuration: Dockerfiles, Compose files, Kubernetes manifests, ECS task
//! definitions, OpenShift's SCCs, OCI runtime specs, containers as engines show them, and the
//! configuration of images.
//!
//! Adapters turn every input into [`settings::Container`]s and Kubernetes objects;
//! [`checks`] judges those and never sees an input. Severities, numbers and controls are
//! those of [`catalogue`]. Nothing is fetched, and no cluster or engine is asked.
//!
//! Invariants: every input is bounded; what cannot be read is a problem or a gap of the
//! report, never a silent pass; a setting that is not known is not judged.

pub mod build;
pub mod catalogue;
pub mod checks;
pub mod comments;
pub mod compose;
pub mod custom;
pub mod detect;
pub mod dockerfile;
pub mod ecs;
mod examine;
pub mod fix;
pub mod image;
pub mod kubernetes;
pub mod oci;
pub mod page;
mod reference;
pub mod scc;
pub mod settings;
pub mod shell;
pub mod tree;

pub use detect::{Kind, detect};
pub use examine::{
    CheckReport, FILES_MAX, FINDINGS_MAX, FileReport, ImageReport, Load, Options, Source, examine,
    examine_image,
};

/// Names and numbers of all checks.
pub fn check_names() -> impl Iterator<Item = &'static str> {
    checks::all().flat_map(|check| [check.name, check.id])
}

/// Whether `word` is the name or number of a check.
pub fn is_check_name(word: &str) -> bool {
    checks::is_known_name(word)
}

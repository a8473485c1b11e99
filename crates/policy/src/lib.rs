//! The one policy file: load, validate, explain, decide.
//!
//! A policy says which images may run (`images`), how a container is confined
//! (`containers`), what is watched (`runtime`), what is done about an alert (`response`) and
//! at the event itself (`enforce`), where alerts are sent (`sinks`) and what is demanded of
//! configuration (`checks`). Reading is total: every problem of a file is reported at once, with
//! its place and a remedy, and a policy with an error is never used in part.
#![forbid(unsafe_code)]

pub mod builtin;
mod capability;
mod check;
mod checks;
mod choices;
pub mod code;
pub mod condition;
pub mod decide;
pub mod decisions;
pub mod document;
pub mod edit;
pub mod endpoint;
mod enforce;
pub mod engines;
mod evidence;
pub mod explain;
mod gate;
mod key;
mod limits;
pub mod load;
mod network;
pub mod playbook;
mod predicate;
mod read;
pub mod reference;
pub mod scan;
mod sinks;
pub mod standing;
mod table;
pub mod trust;
mod value;
mod yaml;

pub use code::Code;
pub use decide::{Admission, GateState, SignatureState, admit, response_for};
pub use decisions::Decisions;
pub use document::{
    Action, CheckException, Checks, Containers, CustomCheck, EndOfLife, Enforce, EnforceException,
    EnforceMode, EnforceRule, Evidence, Gate, ImageVerification, Images, Network, NoLabel, Policy,
    ResponseRule, Rootless, RootlessIds, RootlessLimits, Runtime, Seccomp, SecurityModule, Selinux,
    SeverityChange, Sink, SinkFormat, Tmpfs, UserMode, UserNamespace,
};
pub use endpoint::Endpoint;
pub use engines::{
    Allowance, Asked, Builds, EngineException, EngineMode, Engines, HostPaths, PublishedPorts,
    Restarts, Subject, UnknownImages,
};
pub use explain::explain;
pub use limits::Limits;
pub use load::{LoadPolicyError, LoadedPolicy, Origin, Setting, parse};
pub use network::NetworkGuards;
pub use reference::{markdown, schema};
pub use trust::{RequiredAttestation, TrustRule};

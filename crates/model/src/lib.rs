//! The nouns of Palisade, and their versioned JSON form.
//!
//! Every noun that leaves the process derives its JSON here and travels in a
//! [`wire::Envelope`] that names its schema. The crate knows nothing of eBPF, HTTP or SQL.
#![forbid(unsafe_code)]

pub mod alert;
pub mod container;
pub mod enforcement;
pub mod finding;
pub mod incident;
pub mod judgement;
pub mod minimality;
pub mod package;
pub mod process;
pub mod reference;
pub mod repeats;
pub mod symbols;
pub mod target;
pub mod wire;

pub use alert::{Alert, Outcome, Priority, Verdict};
pub use container::{Container, Engine, ImageIdentity};
pub use enforcement::{Enforcement, EnforcementAction, EnforcementOutcome, Means};
pub use finding::{Finding, Severity};
pub use incident::{Incident, IncidentState};
pub use judgement::{GateResult, GateVerdict, Suppressed};
pub use minimality::Minimality;
pub use package::{Distribution, Inventory, Package, PackageKind};
pub use process::Process;
pub use reference::Reference;
pub use repeats::Repeats;
pub use target::{StoreKind, Target};

//! Enforcement: what is done about an event at the event itself.
//!
//! ```text
//! rules with actions + policy + what the host can do ──► plan ──► one standing a rule
//!
//! a container starts ──► warden: marks its mounts ──► gate: answers before programs start
//! an event matched a rule ──► enforcer: kill, or say why not ──► alert
//! ```
//!
//! [`plan`] is pure and decides everything once; what happens later only carries it out and
//! says how it went. Processes of the host are never touched: there is no way to ask for it.
//! A rule that asks for what the host cannot do stands as such, and is not served by
//! something else unless it says so.

pub mod attempt;
mod blocked;
mod enforcer;
mod exchange;
mod gate;
#[cfg(test)]
mod gate_tests;
mod judge;
mod kernel;
mod kill;
mod membership;
pub mod orders;
pub mod plan;
mod program;
mod scope;
mod set;
mod source;
pub mod standing;
mod warden;

pub use blocked::{BLOCKED_RULE, BYTES_MAX as BLOCKED_BYTES_MAX};
pub use enforcer::{Enforcer, EnforcerError, Settings};
pub use kill::KillError;
pub use orders::{Order, assign, orders};
pub use plan::{Host, plan};
pub use source::{Enforcing, timeline_entry};
pub use standing::{EnforcementHealth, Ruling, Standing};

//! Response plans, their execution, and evidence.
//!
//! A plan is made purely from a policy's response rule and an alert ([`plan`]), printed as
//! a dry run, and carried out step by step against the container's own control group and
//! nothing else ([`execute`], [`target`]). Evidence goes into one bundle in which every bit
//! is accounted for ([`evidence`], [`bundle`]).
//!
//! An [`order`] is the larger form of a plan: any of the actions of a playbook, with waits,
//! approvals and branches, written into an audit log before and after each step, undone when
//! its time is over. [`hands`] carries its acts out.
//!
//! The crate does not decide when to respond, and keeps no key: signing is a function that
//! the caller passes in, and so is sending a request to a service elsewhere.
#![forbid(unsafe_code)]

pub mod age;
pub mod bundle;
pub mod case;
pub mod containment;
pub mod evidence;
pub mod execute;
pub mod hands;
pub mod journal;
pub mod network;
pub mod order;
pub mod plan;
pub mod tail;
pub mod target;

pub use containment::{Containment, Effect, KernelContainment, NetworkCut};
pub use execute::{ActionOutcome, Collected, Means, RespondError, Responder};
pub use hands::{Hands, Performed, SystemHands};
pub use network::BpfNetwork;
pub use order::{Engine, Order};
/// Control groups, for callers that find a container's.
pub use palisade_sys::cgroup;
pub use plan::{Plan, Step, plan, plan_by_hand};
pub use target::{Target, TargetError};

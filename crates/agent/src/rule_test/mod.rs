//! Tests of rules: captures, and the alerts that rules must and must not raise over them.
//!
//! [`read`] takes a test file apart ([`spec`]; the form is public, see
//! `docs/formats/rule-tests.md`), [`run`](run::run) plays its cases, [`report`] tells what
//! came out, for people and for pipelines. A case that could not be run is neither passed
//! nor failed.

mod reader;
pub mod report;
pub mod run;
pub mod spec;

pub use reader::read;
pub use run::{CaseReport, Failed, Near, Runner, Status};
pub use spec::{Case, Count, Expectation, Suite, ValueTest};

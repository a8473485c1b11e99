//! Falco's rule language: parse, check, compile, evaluate.
//!
//! Pure: text goes in, verdicts come out. The crate knows no event; it sees the
//! [`fields::Schema`] of a source and asks events through [`fields::Fields`].
#![forbid(unsafe_code)]

pub mod fields;

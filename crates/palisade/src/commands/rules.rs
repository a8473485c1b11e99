//! `palisade rules`, one module for each of its commands; and the loading that `watch`
//! and `replay` share.

mod check;
mod cost;
mod explain;
mod list;
mod measure;
mod reference;
mod sources;
mod test;

pub(crate) use sources::{Sources, extra_outputs, open_capture};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure};

/// Carries out a `palisade rules` command.
pub(crate) fn rules(context: &Context<'_>, command: &cli::Rules) -> Result<Exit, Failure> {
    match command {
        cli::Rules::Check(args) => check::check(context, args),
        cli::Rules::List(args) => list::list(context, args),
        cli::Rules::Explain(args) => explain::explain(context, args),
        cli::Rules::Test(args) => test::test(context, args),
        cli::Rules::Fields(args) => reference::fields(context, args),
        cli::Rules::Events(args) => reference::events(context, args),
    }
}

/// A count with its noun: `1 rule`, `2 rules`.
fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

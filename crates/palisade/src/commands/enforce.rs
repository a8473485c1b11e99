//! What `--enforce` asks for, what becomes of it on this host, and how that is said.

use std::sync::Arc;

use palisade_agent::enforce::{
    Enforcer, Host, Order, Ruling, Settings, Standing, assign, orders, plan,
};
use palisade_base::Timestamp;
use palisade_policy::{EnforceMode, Policy};
use palisade_rules::{Rule, RuleSet};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// What is to be enforced.
pub(super) struct Wanted {
    mode: EnforceMode,
    orders: Vec<Order>,
}

/// Gives rules the actions of the policy; says what they will do when nothing is enforced.
pub(super) fn prepare(
    context: &Context<'_>,
    args: &cli::Watch,
    policy: &Policy,
    rules: &mut RuleSet,
) -> Wanted {
    let mode = mode(args.enforce, policy);
    assign(rules, &policy.enforce);
    let orders = orders(rules);
    match (mode, orders.first()) {
        (EnforceMode::Off, Some(first)) => context.terminal.error(&format!(
            "warning: {} rule(s) carry an action that is not carried out, the first is \"{}\"; see --enforce\n",
            orders.len(),
            first.name
        )),
        (EnforceMode::DryRun | EnforceMode::On, None) => context
            .terminal
            .error("warning: no rule carries an action: there is nothing to enforce\n"),
        _ => {}
    }
    Wanted { mode, orders }
}

/// Whether actions are carried out: the command line comes before the policy.
pub(super) fn mode(wanted: Option<cli::EnforceMode>, policy: &Policy) -> EnforceMode {
    match wanted {
        Some(cli::EnforceMode::Off) => EnforceMode::Off,
        Some(cli::EnforceMode::DryRun) => EnforceMode::DryRun,
        Some(cli::EnforceMode::On) => EnforceMode::On,
        None => policy.enforce.mode,
    }
}

/// Plans, opens what the plan needs, and says how each rule stands. None when enforcement is
/// off.
pub(super) fn begin(
    context: &Context<'_>,
    wanted: Wanted,
    policy: &Policy,
    rules: &Arc<RuleSet>,
) -> Result<Option<Enforcer>, Failure> {
    let Wanted { mode, orders } = wanted;
    if mode == EnforceMode::Off {
        return Ok(None);
    }
    let now = Timestamp::now();
    for exception in policy.enforce.exceptions.iter().filter(|e| e.expires < now) {
        context.terminal.error(&format!(
            "warning: an exception from enforcement ended at {}: {}\n",
            exception.expires, exception.reason
        ));
    }
    let settings = Settings::new(mode, policy.enforce.exceptions.clone());
    let enforcer = Enforcer::start(rules, orders, settings).or_exit(Exit::Incomplete)?;
    say(context, mode, enforcer.standings());
    Ok(Some(enforcer))
}

fn say(context: &Context<'_>, mode: EnforceMode, standings: &[Standing]) {
    let count = |word: &str| standings.iter().filter(|s| s.ruling.word() == word).count();
    context.terminal.progress(&format!(
        "enforcement {}: {} rule(s) prevent, {} react, {} cannot",
        if mode == EnforceMode::On { "on" } else { "dry run" },
        count("prevents"),
        count("reacts"),
        count("cannot")
    ));
    for standing in standings {
        match standing.ruling {
            // What is asked for and not done must not depend on how much is printed.
            Ruling::Cannot { .. } => context.terminal.error(&format!("warning: rule {standing}\n")),
            _ => context.terminal.progress(&format!("rule {standing}")),
        }
    }
}

/// How the rules of `set` that carry an action stand on this host.
pub(super) fn standings(set: &RuleSet) -> Vec<Standing> {
    let orders = orders(set);
    if orders.is_empty() {
        return Vec::new();
    }
    let host = Host::of_this_machine();
    orders.iter().map(|order| plan(order, &host)).collect()
}

/// The actions of a rule as its file says them: `deny, kill`.
pub(super) fn actions(rule: &Rule) -> String {
    rule.actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

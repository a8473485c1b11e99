//! `palisade policy`: check, explain, schema, show, list.

use palisade_policy::{LoadPolicyError, Policy, builtin};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Carries out a `palisade policy` command.
pub(crate) fn policy(context: &Context<'_>, command: &cli::Policy) -> Result<Exit, Failure> {
    match command {
        cli::Policy::Check(args) => check(context, args),
        cli::Policy::Explain(args) => explain(context, args),
        cli::Policy::Schema => {
            let schema = palisade_policy::schema();
            context.terminal.result(&format!("{schema:#}\n"))?;
            Ok(Exit::Clean)
        }
        cli::Policy::Show(args) => show(context, args),
        cli::Policy::List => list(context),
    }
}

fn check(context: &Context<'_>, args: &cli::PolicyFiles) -> Result<Exit, Failure> {
    let mut exit = Exit::Clean;
    for file in &args.files {
        match Policy::load_file(file) {
            Ok(loaded) => {
                for warning in &loaded.warnings.0 {
                    context.terminal.error(&warning.to_string());
                }
                let name = &loaded.policy.name;
                let n_warnings = loaded.warnings.0.len();
                let line = format!("{}: policy `{name}` is valid", file.display());
                let rest = match n_warnings {
                    0 => String::new(),
                    n => format!(", {n} warning(s)"),
                };
                context.terminal.result(&format!("{line}{rest}\n"))?;
            }
            Err(error) => {
                exit = Exit::Usage;
                print_problems(context, &error);
            }
        }
    }
    Ok(exit)
}

/// Shows the diagnostics of a policy that was refused, or the error that kept it from
/// being read.
pub(super) fn print_problems(context: &Context<'_>, error: &LoadPolicyError) {
    use palisade_base::{Explain as _, render_chain};
    match error {
        LoadPolicyError::Invalid { text, diagnostics, .. } => {
            for diagnostic in &diagnostics.0 {
                context.terminal.error(&diagnostic.render(Some(text)));
            }
            let (errors, warnings) = diagnostics.counts();
            context.terminal.error(&format!("{errors} error(s), {warnings} warning(s)\n"));
        }
        other => context.terminal.error(&render_chain(other, other.hint().as_deref())),
    }
}

fn explain(context: &Context<'_>, args: &cli::PolicyName) -> Result<Exit, Failure> {
    let loaded = context.load_policy(&args.policy)?;
    context.terminal.result(&palisade_policy::explain(&loaded))?;
    Ok(Exit::Clean)
}

fn show(context: &Context<'_>, args: &cli::PolicyName) -> Result<Exit, Failure> {
    match builtin::text(&args.policy) {
        Some(text) => {
            context.terminal.result(text)?;
            Ok(Exit::Clean)
        }
        None => Err(Failure::message(
            Exit::Usage,
            format!("`{}` is not a built-in policy", args.policy),
        )
        .with_hint(format!("the built-in policies are {}", builtin::NAMES.join(", ")))),
    }
}

fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let rows: Vec<Vec<String>> = builtin::NAMES
        .iter()
        .filter_map(|name| Policy::builtin(name))
        .map(|loaded| vec![loaded.policy.name, loaded.policy.description])
        .collect();
    context.terminal.result(&crate::terminal::columns(&["POLICY", "WHAT IT DOES"], &rows))?;
    Ok(Exit::Clean)
}

impl Context<'_> {
    /// Loads a policy by name or path; its problems are shown, its errors end the command.
    pub(crate) fn load_policy(&self, name: &str) -> Result<palisade_policy::LoadedPolicy, Failure> {
        match Policy::load(name) {
            Ok(loaded) => {
                for warning in &loaded.warnings.0 {
                    self.terminal.error(&warning.to_string());
                }
                Ok(loaded)
            }
            Err(error @ LoadPolicyError::Invalid { .. }) => {
                print_problems(self, &error);
                Err(error).or_exit(Exit::Usage)
            }
            Err(error) => Err(error).or_exit(Exit::Usage),
        }
    }
}

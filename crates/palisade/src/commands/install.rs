//! `palisade install` and `palisade uninstall`: the runtime of an engine, and back.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use palisade_runtime::install::{Engine, Installer, Options, Plan};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Sets an engine up.
pub(crate) fn install(context: &Context<'_>, args: &cli::Install) -> Result<Exit, Failure> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => engine_program(&own_program()?),
    };
    if let Some(policy) = &args.policy {
        // Containers would be refused one after the other because of it.
        context.load_policy(policy)?;
    }
    let units = args.units.unwrap_or_else(|| has_systemd(&args.root));
    let options = Options {
        // Without a service manager nobody would start the plugin that Docker then waits for.
        authz: !args.no_authz && (units || args.engine != Engine::Docker),
        policy: absolute(args.policy.as_deref()),
        units,
        ..options(context, &args.root, program)
    };
    let installer = Installer::new(options).or_exit(Exit::Incomplete)?;
    let plan = installer.plan(args.engine).or_exit(Exit::Incomplete)?;
    carry_out(context, &installer, &plan, args.dry_run, "already set up")
}

/// Sets an engine back.
pub(crate) fn uninstall(context: &Context<'_>, args: &cli::Uninstall) -> Result<Exit, Failure> {
    let options =
        Options { units: has_systemd(&args.root), ..options(context, &args.root, own_program()?) };
    let installer = Installer::new(options).or_exit(Exit::Incomplete)?;
    let plan = installer.plan_undo(args.engine).or_exit(Exit::Incomplete)?;
    carry_out(context, &installer, &plan, args.dry_run, "not set up by `palisade install`")
}

/// What engines call: the small program of the same folder where it is, which starts faster.
fn engine_program(own: &Path) -> PathBuf {
    let small = own.with_file_name("palisade-runtime");
    if small.is_file() { small } else { own.to_path_buf() }
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::message(Exit::Incomplete, format!("find this program: {error}"))
            .with_hint("name it with --program")
    })
}

fn options(context: &Context<'_>, root: &Path, program: PathBuf) -> Options {
    Options {
        root: root.to_path_buf(),
        program,
        record: context.global.data_dir.join("install.json"),
        policy: None,
        units: false,
        authz: false,
    }
}

/// A policy's file by its whole path: engines start us in folders of their own.
fn absolute(policy: Option<&str>) -> Option<String> {
    let policy = policy?;
    if palisade_policy::builtin::NAMES.contains(&policy) {
        return Some(policy.to_string());
    }
    let path = std::fs::canonicalize(policy).ok()?;
    Some(path.to_str()?.to_string())
}

fn has_systemd(root: &Path) -> bool {
    if root == Path::new("/") {
        Path::new("/run/systemd/system").is_dir()
    } else {
        root.join("usr/lib/systemd/system").is_dir() || root.join("lib/systemd/system").is_dir()
    }
}

fn carry_out(
    context: &Context<'_>,
    installer: &Installer,
    plan: &Plan,
    dry_run: bool,
    nothing: &str,
) -> Result<Exit, Failure> {
    context.terminal.result(&shown(context, plan))?;
    let engine = plan.engine;
    if plan.steps.is_empty() {
        context.terminal.progress(&format!("{engine}: {nothing}; nothing to change"));
    } else if dry_run {
        context.terminal.progress(&format!("{engine}: nothing was changed (--dry-run)"));
    }
    if !dry_run {
        installer.apply(plan).or_exit(Exit::Incomplete)?;
        if !plan.steps.is_empty() {
            context.terminal.progress(&format!("{engine}: {} file(s) written", plan.steps.len()));
        }
    }
    for note in &plan.notes {
        context.terminal.progress(&format!("note: {note}"));
    }
    if !plan.steps.is_empty() && !plan.next.is_empty() {
        context.terminal.progress("to have it take effect:");
        for line in &plan.next {
            context.terminal.progress(&format!("  {line}"));
        }
    }
    Ok(Exit::Clean)
}

/// The plan as a diff.
fn shown(context: &Context<'_>, plan: &Plan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        let _ = writeln!(out, "# {}: {}", step.path.display(), step.why);
        for line in step.diff().lines() {
            let style = match line.as_bytes().first() {
                _ if line.starts_with("+++") || line.starts_with("---") => Style::new().bold(),
                Some(b'+') => AnsiColor::Green.on_default(),
                Some(b'-') => AnsiColor::Red.on_default(),
                _ => Style::new(),
            };
            let _ = writeln!(out, "{}", context.terminal.paint(style, line));
        }
    }
    out
}

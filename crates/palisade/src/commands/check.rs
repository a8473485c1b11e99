//! `palisade check`.

mod files;

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_model::Severity;
use palisade_policy::Checks;
use palisade_policy::scan::Scan;
use palisade_scan::config::{self, CheckReport, Options, checks, custom};
use palisade_scan::report::checks::{TextOptions, json, junit, sarif, text};

use super::Context;
use super::look::{LookFlags, Looks};
use crate::cli::{self, FindingsFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;
use files::Gathered;

/// Examines configuration files.
pub(crate) fn check(context: &Context<'_>, args: &cli::Check) -> Result<Exit, Failure> {
    if args.list {
        return list(context);
    }
    if let Some(name) = &args.explain {
        return explain(context, name);
    }
    let (policy, scan) = match &args.policy {
        Some(policy) => {
            let policy = context.load_policy(policy)?.policy;
            (policy.checks, policy.scan)
        }
        None => (Checks::default(), Scan::default()),
    };
    known_checks(&policy)?;
    let custom = custom::compile(&policy.custom).or_exit(Exit::Usage)?;
    let ignores = match &args.ignore {
        Some(file) => super::scan::read_ignores(context, file)?,
        None => Vec::new(),
    };
    let now = Timestamp::now();
    let looks = Looks::load(context, &scan, &LookFlags::default())?;
    let Gathered { sources, gaps, roots, n_other } =
        files::gather(&args.paths, args.kind.map(Into::into))?;
    let load = |from: &str, path: &str| files::load(&roots, from, path);
    let options = Options {
        now,
        policy: &policy,
        custom: &custom,
        ignores: &ignores,
        searcher: looks.searcher(),
        load: &load,
    };
    let mut report = config::examine(&sources, &options);
    report.gaps.splice(0..0, gaps);
    report.n_other_files += n_other;
    if report.files.is_empty() && report.gaps.is_empty() {
        return Err(Failure::message(Exit::Incomplete, "there is nothing to check").with_hint(
            "name a Dockerfile, Compose file, Kubernetes manifest, ECS task definition, OCI runtime spec or engine's answer",
        ));
    }
    if args.fix_diff {
        show_problems(context, &report, &sources);
        for gap in &report.gaps {
            context.terminal.error(&format!("not examined: {}: {}\n", gap.path, gap.reason));
        }
        show_fixes(context, args, &sources, &options)?;
        return Ok(judge(context, &report, None));
    }
    show(context, args, &report, &sources, now)?;
    let gate = args.fail_on.map(Severity::from).or(policy.gate);
    Ok(judge(context, &report, gate))
}

fn show(
    context: &Context<'_>,
    args: &cli::Check,
    report: &CheckReport,
    sources: &[config::Source],
    now: Timestamp,
) -> Result<(), Failure> {
    show_problems(context, report, sources);
    let rendered = match args.format {
        FindingsFormat::Text => text(
            report,
            TextOptions {
                colour: context.terminal.color && args.output.is_none(),
                severity_min: args.severity.map_or(Severity::Unknown, Severity::from),
            },
        ),
        FindingsFormat::Json => json(report, now).context("write the report")?,
        FindingsFormat::Sarif => {
            sarif(report, env!("CARGO_PKG_VERSION")).context("write the report")?
        }
        FindingsFormat::Junit => junit(report, now),
    };
    context.terminal.result_to(args.output.as_deref(), &rendered)
}

fn show_problems(context: &Context<'_>, report: &CheckReport, sources: &[config::Source]) {
    let texts: HashMap<&str, &str> =
        sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
    for problem in &report.problems {
        context.terminal.error(&problem.render(texts.get(problem.location.file.as_str()).copied()));
    }
}

/// Prints the diff that mends what can be mended; what cannot is counted.
fn show_fixes(
    context: &Context<'_>,
    args: &cli::Check,
    sources: &[config::Source],
    options: &Options<'_>,
) -> Result<(), Failure> {
    let fixes = config::fix::fix(sources, options);
    let diff: String = fixes.files.iter().map(config::fix::FixedFile::diff).collect();
    context.terminal.result_to(args.output.as_deref(), &diff)?;
    let (n_files, n_fixed, n_left) = (fixes.files.len(), fixes.n_fixed, fixes.n_left);
    let noun = if n_files == 1 { "file" } else { "files" };
    context.terminal.progress(&format!(
        "{n_fixed} findings are mended in {n_files} {noun}; {n_left} are left, whose remedy is a choice"
    ));
    Ok(())
}

/// How the command ends. A gate is not passed by what was not looked at.
fn judge(context: &Context<'_>, report: &CheckReport, gate: Option<Severity>) -> Exit {
    let is_whole = report.gaps.is_empty() && report.n_dropped == 0;
    let Some(gate) = gate else {
        return if is_whole {
            Exit::Clean
        } else if report.files.is_empty() {
            Exit::Incomplete
        } else {
            Exit::Partial
        };
    };
    let n = report.findings.iter().filter(|finding| finding.severity() >= gate).count();
    if n > 0 {
        let noun = if n == 1 { "finding" } else { "findings" };
        context.terminal.error(&format!("gate: refused\n  - {n} {noun} rated {gate} or worse\n"));
        return Exit::Refused;
    }
    if !is_whole {
        let n = report.gaps.len();
        let noun = if n == 1 { "input was" } else { "inputs were" };
        context
            .terminal
            .error(&format!("gate: could not be evaluated\n  - {n} {noun} not examined\n"));
        return Exit::Incomplete;
    }
    context.terminal.progress("gate: passed");
    Exit::Clean
}

/// Refuses a policy that names checks which there are not: an exception that can never apply
/// is a mistake that nobody would notice.
fn known_checks(policy: &Checks) -> Result<(), Failure> {
    let named = policy
        .off
        .iter()
        .chain(policy.severity.iter().map(|change| &change.check))
        .chain(policy.except.iter().map(|exception| &exception.check));
    for name in named {
        let is_own = policy.custom.iter().any(|check| check.id.eq_ignore_ascii_case(name));
        if !is_own && !config::is_check_name(name) {
            return Err(unknown_check(name));
        }
    }
    Ok(())
}

fn unknown_check(name: &str) -> Failure {
    let near = palisade_base::suggest::nearest(name, config::check_names());
    let hint = near.map_or_else(
        || "see palisade check --list".to_string(),
        |near| format!("did you mean `{near}`?"),
    );
    let shown: String = name.chars().take(60).collect();
    Failure::message(Exit::Usage, format!("there is no check `{shown}`")).with_hint(hint)
}

fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let rows: Vec<Vec<String>> = checks::all()
        .map(|check| {
            let severity = check.row().severity.to_string();
            vec![check.id.into(), check.name.into(), severity, check.title.into()]
        })
        .collect();
    context.terminal.result(&columns(&["NUMBER", "CHECK", "SEVERITY", "TITLE"], &rows))?;
    Ok(Exit::Clean)
}

fn explain(context: &Context<'_>, name: &str) -> Result<Exit, Failure> {
    let found: Vec<_> = checks::all().filter(|check| check.is_called(name)).collect();
    if found.is_empty() {
        return Err(unknown_check(name));
    }
    let mut out = String::new();
    for (index, check) in found.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let row = check.row();
        let _ = writeln!(out, "{} {} ({})", check.id, check.name, row.severity);
        let _ = writeln!(out, "  {}\n", check.title);
        let _ = writeln!(out, "why  {}\nfix  {}", check.why, check.fix);
        for page in check.references {
            let _ = writeln!(out, "see  {page}");
        }
        out.push_str("\ncontrols, mapped by the project\n");
        for control in row.controls() {
            let is_number =
                control.framework.starts_with("CIS") || control.framework.starts_with("NIST");
            let remark = if is_number { "" } else { " (name from memory)" };
            let _ = writeln!(out, "  {} {}{remark}", control.framework, control.id);
        }
    }
    context.terminal.result(&out)?;
    Ok(Exit::Clean)
}

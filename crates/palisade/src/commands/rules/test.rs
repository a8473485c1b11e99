//! `palisade rules test`: rules over captures, against what test files expect.

use std::path::Path;

use anyhow::Context as _;
use palisade_agent::rule_test::report::{Counts, Refused, SuiteReport, json, junit, text};
use palisade_agent::rule_test::spec::SPEC_BYTES_MAX;
use palisade_agent::rule_test::{Case, Runner, Suite, read};

use super::Context;
use crate::cli::{self, TestFormat};
use crate::exit::{Exit, Failure};

/// Carries out the command.
pub(super) fn test(context: &Context<'_>, args: &cli::RulesTest) -> Result<Exit, Failure> {
    let mut worst = Exit::Clean;
    let (mut suites, mut refused) = (Vec::new(), Vec::new());
    for path in &args.specs {
        let (reason, exit) = match read_suite(path) {
            Ok(suite) => {
                suites.push(suite);
                continue;
            }
            Err(ReadError::Wrong(reason)) => (reason, Exit::Usage),
            Err(ReadError::Unread(failure)) => (failure.render(), Exit::Incomplete),
        };
        context.terminal.error(&reason);
        refused.push(Refused { file: path.display().to_string(), reason });
        worst = worse(worst, exit);
    }
    let wanted = |case: &Case| args.case.as_ref().is_none_or(|part| case.name.contains(part));
    let mut runner = Runner::new();
    let reports: Vec<SuiteReport<'_>> = suites
        .iter()
        .map(|suite| SuiteReport { suite, cases: runner.run(suite, wanted) })
        .filter(|report| args.case.is_none() || !report.cases.is_empty())
        .collect();
    let counts = Counts::of(&reports);
    if counts.n() == 0 && worst == Exit::Clean {
        let part = args.case.as_deref().unwrap_or_default();
        return Err(Failure::message(Exit::Usage, format!("no case has `{part}` in its name"))
            .with_hint("leave out --case to run all"));
    }
    let result = match args.format {
        TestFormat::Text => text(&reports, &refused),
        TestFormat::Json => format!("{:#}\n", json(&reports, &refused)),
        TestFormat::Junit => junit(&reports, &refused),
    };
    context.terminal.result_to(args.output.as_deref(), &result)?;
    if args.format != TestFormat::Text || args.output.is_some() {
        context.terminal.progress(&counts.line(&refused));
    }
    for (n, exit) in [
        (counts.n_failed, Exit::Refused),
        (counts.n_wrong, Exit::Usage),
        (counts.n_not_run, Exit::Incomplete),
    ] {
        if n > 0 {
            worst = worse(worst, exit);
        }
    }
    Ok(worst)
}

fn worse(one: Exit, other: Exit) -> Exit {
    if other as u8 > one as u8 { other } else { one }
}

/// Why a test file has no suite.
enum ReadError {
    /// What is wrong with it, as the terminal shows it.
    Wrong(String),
    /// It cannot be read.
    Unread(Failure),
}

fn read_suite(path: &Path) -> Result<Suite, ReadError> {
    let shown = || format!("read test file `{}`", path.display());
    let unread = |error: anyhow::Error| {
        ReadError::Unread(Failure::from(error).with_hint("name test files that exist"))
    };
    let file = std::fs::File::open(path).with_context(shown).map_err(unread)?;
    let bytes = palisade_base::read_bounded(file, "test file", SPEC_BYTES_MAX)
        .with_context(shown)
        .map_err(unread)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes)
        .map_err(|_| ReadError::Wrong(format!("error: {}: it is not UTF-8 text\n", shown())))?;
    read(&text, &name).map_err(|problems| {
        let shown: Vec<String> = problems.0.iter().map(|p| p.render(Some(&text))).collect();
        let n = super::counted(problems.0.len(), "error");
        ReadError::Wrong(format!("{}{name}: {n}, no case was run\n", shown.concat()))
    })
}

//! `palisade doctor`: what this machine can do, what it cannot, and the remedy.

mod checks;

use std::fmt::Write as _;

use serde::Serialize;

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure};
use crate::terminal::{columns, tsv};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Works.
    Ok,
    /// Works less well, or something optional is missing.
    Limited,
    /// A part of Palisade cannot work here.
    Missing,
}

/// One line of the examination.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// Part of the machine: `kernel`, `ebpf`, `cgroups`.
    pub(crate) area: &'static str,
    /// What was looked at.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) status: Status,
    /// What was found.
    pub(crate) detail: String,
    /// What to do, when it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn new(area: &'static str, name: impl Into<String>, status: Status) -> Self {
        Self { area, name: name.into(), status, detail: String::new(), remedy: None }
    }

    /// `Ok` when `works`, otherwise `Missing`.
    fn required(area: &'static str, name: impl Into<String>, works: bool) -> Self {
        Self::new(area, name, if works { Status::Ok } else { Status::Missing })
    }

    /// `Ok` when `works`, otherwise `Limited`.
    fn optional(area: &'static str, name: impl Into<String>, works: bool) -> Self {
        Self::new(area, name, if works { Status::Ok } else { Status::Limited })
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Kept only when something is not well.
    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        if self.status != Status::Ok {
            self.remedy = Some(remedy.into());
        }
        self
    }
}

/// Examines the machine. The exit code is 4 when a part of Palisade cannot work here.
pub(crate) fn doctor(context: &Context<'_>, args: &cli::Doctor) -> Result<Exit, Failure> {
    let checks = checks::all();
    let row = |check: &Check| {
        let word = match check.status {
            Status::Ok => "ok",
            Status::Limited => "limited",
            Status::Missing => "missing",
        };
        vec![check.area.to_string(), check.name.clone(), word.to_string(), check.detail.clone()]
    };
    let text = match args.format {
        ListFormat::Json => format!(
            "{:#}\n",
            serde_json::json!({ "schema": "palisade.dev/doctor/v1", "checks": checks })
        ),
        ListFormat::Tsv => tsv(&checks.iter().map(row).collect::<Vec<_>>()),
        ListFormat::Table => table(context, &checks, row),
    };
    context.terminal.result(&text)?;
    let cannot = checks.iter().any(|check| check.status == Status::Missing);
    Ok(if cannot { Exit::Partial } else { Exit::Clean })
}

fn table(context: &Context<'_>, checks: &[Check], row: impl Fn(&Check) -> Vec<String>) -> String {
    use anstyle::{AnsiColor, Style};
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    let plain = columns(&["AREA", "WHAT", "STATE", "FOUND"], &rows);
    let mut text = String::new();
    let mut lines = plain.lines();
    if let Some(header) = lines.next() {
        text.push_str(&context.terminal.paint(Style::new().bold(), header));
        text.push('\n');
    }
    for (line, check) in lines.zip(checks) {
        let color = match check.status {
            Status::Ok => AnsiColor::Green,
            Status::Limited => AnsiColor::Yellow,
            Status::Missing => AnsiColor::Red,
        };
        text.push_str(&context.terminal.paint(color.on_default(), line));
        text.push('\n');
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "    remedy: {remedy}");
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let _ = writeln!(
        text,
        "\n{} ok, {} limited, {} missing",
        count(Status::Ok),
        count(Status::Limited),
        count(Status::Missing)
    );
    text
}

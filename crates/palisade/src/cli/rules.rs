//! The arguments of `palisade rules` and `palisade replay`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use palisade_rules::Priority;

use super::{ListFormat, WatchFormat};

/// `palisade rules`.
#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Check rule files: every problem with its code, line, column and remedy
    Check(RulesCheck),
    /// List rules, macros or lists
    List(RulesList),
    /// Show what a rule asks, of which events, and what it costs
    Explain(RulesExplain),
    /// Run rules over captures and compare the alerts with what a file expects
    Test(RulesTest),
    /// List the fields that conditions and outputs may use
    Fields(RulesFields),
    /// List the event types that rules may name, with their parameters
    Events(RulesEvents),
}

/// `palisade rules check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rules check site.yaml\n  \
    palisade rules check falco_rules.yaml site.yaml       # later files change earlier ones\n  \
    palisade rules check --strict --format json *.yaml    # for pipelines\n\n\
    Exit codes: 0 right, 2 the rules are wrong (with --strict: or doubtful), 3 a file could not\n\
    be read.")]
pub(crate) struct RulesCheck {
    /// Rule files, in order (`-`: standard input); none: the built-in rules
    pub(crate) files: Vec<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Do not hold the files against the JSON schema of rule files
    #[arg(long)]
    pub(crate) no_schema: bool,
    /// Form of the result; JSON holds what `falco --validate` tells, and more
    #[arg(long, value_enum, default_value_t = CheckFormat::Table)]
    pub(crate) format: CheckFormat,
}

/// Forms of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people.
    Table,
    /// Versioned JSON.
    Json,
}

/// `palisade rules list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rules list --tag network --priority error\n  \
    palisade rules list --disabled falco_rules.yaml falco-sandbox_rules.yaml\n  \
    palisade rules list --format tsv falco_rules.yaml | cut -f1\n  \
    palisade rules list --macros falco_rules.yaml")]
pub(crate) struct RulesList {
    /// Rule files, in order; none: the built-in rules
    pub(crate) files: Vec<PathBuf>,
    /// Only rules with this tag; may be repeated: with all of them
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Only rules of this event source
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Only rules of this priority or a more urgent one
    #[arg(long, value_parser = parse_priority)]
    pub(crate) priority: Option<Priority>,
    /// Only rules that are off
    #[arg(long, conflicts_with = "enabled")]
    pub(crate) disabled: bool,
    /// Only rules that are on
    #[arg(long)]
    pub(crate) enabled: bool,
    /// List macros instead
    #[arg(long, conflicts_with_all = ["lists", "tag", "source", "priority", "disabled", "enabled"])]
    pub(crate) macros: bool,
    /// List lists instead
    #[arg(long, conflicts_with_all = ["tag", "source", "priority", "disabled", "enabled"])]
    pub(crate) lists: bool,
    /// Form of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade rules explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rules explain \"Reverse shell\"\n  \
    palisade rules explain \"Terminal shell in container\" falco_rules.yaml site.yaml\n  \
    palisade rules explain \"Write below root\" --capture day.scap falco-sandbox_rules.yaml\n\n\
    Without --capture the cost is an estimate; with it, it is measured.")]
pub(crate) struct RulesExplain {
    /// The rule's name
    pub(crate) rule: String,
    /// Rule files, in order; none: the built-in rules
    pub(crate) files: Vec<PathBuf>,
    /// Measure the rule, and all others, over this capture
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
}

/// Forms of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
}

/// `palisade rules test`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rules test tests/shell.yaml\n  \
    palisade rules test --format junit tests/*.yaml > report.xml\n\n\
    The form of the files is in docs/formats/rule-tests.md.\n\
    Exit codes: 0 all passed, 1 some failed, 2 a test or rule file is wrong, 3 a case could not\n\
    be run: a file or a rule is missing, or a capture is damaged.")]
pub(crate) struct RulesTest {
    /// Test files
    #[arg(required = true)]
    pub(crate) specs: Vec<PathBuf>,
    /// Only cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) case: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = TestFormat::Text)]
    pub(crate) format: TestFormat,
    /// Write the result to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Forms of a test's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
    /// JUnit XML, which pipelines show.
    Junit,
}

/// `palisade rules fields`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rules fields              # all\n  \
    palisade rules fields proc         # a class\n  \
    palisade rules fields cmdline      # whatever has it in its name\n  \
    palisade rules fields --format json fd | jq -r '.fields[].name'")]
pub(crate) struct RulesFields {
    /// Class (`proc`, `fd`) or part of a name; several: any of them
    pub(crate) names: Vec<String>,
    /// Form of the list
    #[arg(long, value_enum, default_value_t = FieldsFormat::Table)]
    pub(crate) format: FieldsFormat,
}

/// `palisade rules events`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rules events\n  \
    palisade rules events openat\n  \
    palisade rules events --format markdown")]
pub(crate) struct RulesEvents {
    /// Part of an event type's name; several: any of them
    pub(crate) names: Vec<String>,
    /// Also types of old captures, and the halves of calls that no probe sends today
    #[arg(long)]
    pub(crate) all: bool,
    /// Form of the list
    #[arg(long, value_enum, default_value_t = FieldsFormat::Table)]
    pub(crate) format: FieldsFormat,
}

/// Forms of a reference list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FieldsFormat {
    /// For people.
    Table,
    /// Tab-separated lines, for scripts.
    Tsv,
    /// Versioned JSON.
    Json,
    /// The reference page.
    Markdown,
}

/// `palisade replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade replay --rules falco_rules.yaml incident.scap\n  \
    palisade replay --rules falco_rules.yaml --tag network --priority warning *.scap\n  \
    palisade replay --format falco-json --rules falco_rules.yaml incident.scap   # as Falco prints\n  \
    zstd -dc incident.scap.zst | palisade replay --stats -\n\n\
    Alerts go to stdout and do not change the exit code. Exit code 4: a capture ends early or is\n\
    damaged; what could be read was used.")]
pub(crate) struct Replay {
    /// Capture files (.scap, compressed with gzip or not; `-`: standard input)
    #[arg(required = true)]
    pub(crate) captures: Vec<PathBuf>,
    /// Rule file in Falco's language; may be repeated. None: the built-in rules
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// Report every rule that matches an event, not only the first
    #[arg(long)]
    pub(crate) all_matches: bool,
    /// Form of alerts on stdout
    #[arg(long, value_enum, default_value_t = WatchFormat::Text)]
    pub(crate) format: WatchFormat,
    /// Print figures on stderr at the end
    #[arg(long)]
    pub(crate) stats: bool,
    /// Which rules are on.
    #[command(flatten)]
    pub(crate) choice: RuleChoice,
    /// What outputs hold.
    #[command(flatten)]
    pub(crate) outputs: OutputChoice,
}

/// Which of the loaded rules are on, whatever their files say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choice of rules, in this order")]
pub(crate) struct RuleChoice {
    /// Only rules with this tag; may be repeated: with any of them (Falco's -t)
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// No rules with this tag; may be repeated (Falco's -T)
    #[arg(long, value_name = "TAG")]
    pub(crate) without_tag: Vec<String>,
    /// Not this rule; `*` stands for any text; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) disable_rule: Vec<String>,
    /// This rule, even if it is off; `*` stands for any text; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) enable_rule: Vec<String>,
    /// Only rules of this priority or a more urgent one
    #[arg(long, value_parser = parse_priority)]
    pub(crate) priority: Option<Priority>,
}

/// What outputs hold besides what their rules say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Outputs")]
pub(crate) struct OutputChoice {
    /// Append this text, which may hold fields, to every output; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) append_output: Vec<String>,
    /// Add this field to the JSON of every alert; may be repeated. FORMAT is text with fields
    #[arg(long, value_name = "FIELD|NAME=FORMAT")]
    pub(crate) append_field: Vec<String>,
    /// Append the container and pod fields that Falco appends as it is installed
    #[arg(long)]
    pub(crate) suggested_output: bool,
    /// Host name in JSON [default: the capture's; in Falco's JSON FALCO_HOSTNAME, or this machine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// ISO 8601 times in Falco's forms (its time_format_iso_8601)
    #[arg(long)]
    pub(crate) iso_time: bool,
}

/// Reads a priority in any case.
fn parse_priority(text: &str) -> Result<Priority, String> {
    Priority::parse(text).ok_or_else(|| {
        let names: Vec<String> =
            Priority::ALL.iter().map(|p| p.name().to_ascii_lowercase()).collect();
        format!("is none of {}, info", names.join(", "))
    })
}

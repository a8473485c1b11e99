//! Rule files on their way to rules: read, loaded, chosen.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_agent::BUILTIN_RULES;
use palisade_base::{Diagnostics, Explain as _, suggest};
use palisade_rules::fields::Schema as _;
use palisade_rules::{
    ExtraOutput, FILE_BYTES_MAX, LoadOptions, OutputFormat, RuleSelection, RuleSet, Selector,
};
use palisade_sensor::SyscallSchema;

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure};

/// The name of standard input on the command line.
pub(crate) const STDIN: &str = "-";

/// Rule files as read, with the built-in rules first when they are wanted.
pub(crate) struct Sources(pub(in super::super) Vec<(String, String)>);

impl Sources {
    /// Reads `files`.
    pub(crate) fn read(files: &[PathBuf], builtin: bool) -> Result<Self, Failure> {
        let mut sources = Vec::new();
        if builtin {
            sources.extend(BUILTIN_RULES.map(|(name, text)| (name.to_string(), text.to_string())));
        }
        for file in files {
            sources.push((file.display().to_string(), read_text(file)?));
        }
        Ok(Self(sources))
    }

    /// The named files, or the built-in rules when none is named.
    pub(crate) fn named(files: &[PathBuf]) -> Result<Self, Failure> {
        Self::read(files, files.is_empty())
    }

    /// Pairs of name and text, as the loader takes them.
    pub(crate) fn texts(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
    }

    /// The text of a file.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// Loads the rules, and shows every problem with the line that it points into.
    pub(crate) fn load(
        &self,
        context: &Context<'_>,
        options: &LoadOptions,
    ) -> (RuleSet, Diagnostics) {
        let (set, problems) = RuleSet::load(&self.texts(), &[&SyscallSchema], options);
        for problem in &problems.0 {
            context.terminal.error(&problem.render(self.text(&problem.location.file)));
        }
        (set, problems)
    }

    /// As [`Sources::load`], for commands that cannot go on with a rule missing.
    pub(crate) fn load_all(
        &self,
        context: &Context<'_>,
        options: &LoadOptions,
    ) -> Result<RuleSet, Failure> {
        let (set, problems) = self.load(context, options);
        if problems.has_errors() {
            let (n_errors, _) = problems.counts();
            let message = format!("the rules have {n_errors} error(s)");
            return Err(Failure::message(Exit::Usage, message)
                .with_hint("`palisade rules check FILE` shows them; no rule is used in part"));
        }
        Ok(set)
    }

    /// Loads the rules with the choice of `choice`, which must leave one on.
    pub(crate) fn load_chosen(
        &self,
        context: &Context<'_>,
        choice: &cli::RuleChoice,
        options: LoadOptions,
    ) -> Result<RuleSet, Failure> {
        let options = LoadOptions {
            minimum_priority: choice.priority,
            selections: selections(choice),
            ..options
        };
        let set = self.load_all(context, &options)?;
        warn_of_strangers(context, choice, &set);
        if set.rules().iter().all(|rule| !rule.enabled) {
            let n = set.rules().len();
            let message = format!("none of the {n} rules is on");
            return Err(Failure::message(Exit::Usage, message)
                .with_hint("`palisade rules list FILE` shows names, tags and states"));
        }
        Ok(set)
    }
}

/// Reads a rule file, or standard input for `-`.
fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes)
        .with_context(|| format!("read rules `{}`", path.display()))
        .map_err(|error| Failure::from(error).with_hint("rule files are UTF-8 text"))
}

/// As [`read_text`], whatever the bytes are.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = || format!("read rules `{}`", path.display());
    let bytes = if path == Path::new(STDIN) {
        palisade_base::read_bounded(std::io::stdin().lock(), "rule file", FILE_BYTES_MAX as u64)
    } else {
        let file = std::fs::File::open(path).with_context(shown).map_err(|error| {
            Failure::from(error).with_hint("name rule files that exist and may be read")
        })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::message(Exit::Incomplete, format!("{}: it is a folder", shown()))
                .with_hint("name the files in it, in the order in which they are to be read"));
        }
        palisade_base::read_bounded(file, "rule file", FILE_BYTES_MAX as u64)
    };
    bytes
        .with_context(shown)
        .map_err(|error| Failure::from(error).with_hint("split it, or check what it is"))
}

/// Opens a capture, or standard input for `-`.
pub(crate) fn open_capture(path: &Path) -> Result<Box<dyn std::io::Read>, Failure> {
    if path == Path::new(STDIN) {
        return Ok(Box::new(std::io::stdin().lock().take(u64::MAX)));
    }
    let file = std::fs::File::open(path)
        .with_context(|| format!("open capture `{}`", path.display()))
        .map_err(|error| Failure::from(error).with_hint("name a capture that exists"))?;
    Ok(Box::new(file))
}

/// Falco's order: its `-t` turns all rules off but those with a tag, `-T` and names follow.
fn selections(choice: &cli::RuleChoice) -> Vec<RuleSelection> {
    let mut selections = Vec::new();
    let mut add = |enable, rules| selections.push(RuleSelection { enable, rules });
    if !choice.tag.is_empty() {
        add(false, Selector::Name("*".into()));
    }
    choice.tag.iter().for_each(|tag| add(true, Selector::Tag(tag.clone())));
    choice.without_tag.iter().for_each(|tag| add(false, Selector::Tag(tag.clone())));
    choice.disable_rule.iter().for_each(|name| add(false, Selector::Name(name.clone())));
    choice.enable_rule.iter().for_each(|name| add(true, Selector::Name(name.clone())));
    selections
}

/// A name or tag that no rule has is most likely a slip.
fn warn_of_strangers(context: &Context<'_>, choice: &cli::RuleChoice, set: &RuleSet) {
    let warn = |what: &str, word: &str, near: Option<&str>| {
        let help = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        context.terminal.error(&format!("warning: no rule has the {what} `{word}`{help}\n"));
    };
    let tags = || set.rules().iter().flat_map(|rule| rule.tags.iter().map(String::as_str));
    for tag in choice.tag.iter().chain(&choice.without_tag) {
        if !tags().any(|known| known == tag) {
            warn("tag", tag, suggest::nearest(tag, tags()));
        }
    }
    let names = || set.rules().iter().map(|rule| rule.name.as_str());
    for name in choice.disable_rule.iter().chain(&choice.enable_rule) {
        // What a pattern means, the loader knows; a name without a star is plain.
        if !name.contains(['*', '?', '[']) && !names().any(|known| known == name) {
            warn("name", name, suggest::nearest(name, names()));
        }
    }
}

/// The fields that Falco appends to outputs when it is installed with its container plugin.
const SUGGESTED_FIELDS: [&str; 6] = [
    "container.id",
    "container.name",
    "container.image.repository",
    "container.image.tag",
    "k8s.pod.name",
    "k8s.ns.name",
];

/// What is to be added to outputs; each format is checked before any rule is.
pub(crate) fn extra_outputs(args: &cli::OutputChoice) -> Result<Vec<ExtraOutput>, Failure> {
    let mut extra = Vec::new();
    for text in &args.append_output {
        check_format("--append-output", text, text)?;
        extra.push(ExtraOutput { format: Some(text.clone()), ..ExtraOutput::default() });
    }
    if args.suggested_output {
        let parts = SUGGESTED_FIELDS.map(|field| format!("{}=%{field}", field.replace('.', "_")));
        extra.push(ExtraOutput { format: Some(parts.join(" ")), ..ExtraOutput::default() });
    }
    for word in &args.append_field {
        let (name, format) = match word.split_once('=') {
            Some((name, format)) => (name.to_string(), format.to_string()),
            None => (word.clone(), format!("%{word}")),
        };
        check_format("--append-field", word, &format)?;
        extra.push(ExtraOutput { fields: vec![(name, format)], ..ExtraOutput::default() });
    }
    Ok(extra)
}

fn check_format(flag: &str, word: &str, format: &str) -> Result<(), Failure> {
    match OutputFormat::compile(format, &SyscallSchema) {
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = Failure::message(Exit::Usage, format!("{flag} `{word}`: {error}"));
            let hint = error.hint().unwrap_or_else(|| {
                format!("`palisade rules fields` lists the fields of {}", SyscallSchema.source())
            });
            Err(failure.with_hint(hint))
        }
    }
}

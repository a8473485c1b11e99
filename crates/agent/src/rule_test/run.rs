//! Cases played, and what came out.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_base::{Explain as _, Location, render_chain, suggest};
use palisade_rules::fields::Fields as _;
use palisade_rules::{
    ExtraOutput, FILE_BYTES_MAX, LoadOptions, NOT_AVAILABLE, RuleMatching, RuleSet, Selector,
};
use palisade_sensor::capture::replay;
use palisade_sensor::{EventView, SyscallSchema};

use super::spec::{BUILTIN, Case, Expectation, Suite};
use crate::BUILTIN_RULES;
use crate::detection::Detection;
use crate::detector::Matcher;

/// Alerts that a failed expectation shows.
const NEAR_MAX: usize = 3;
/// Characters of an output that are kept of such an alert.
const OUTPUT_CHARS_MAX: usize = 400;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Everything came as expected.
    Passed,
    /// Something did not.
    Failed(Vec<Failed>),
    /// The rules are wrong: what is wrong with them.
    Wrong(String),
    /// A file or a rule is missing, or a capture is damaged: which.
    NotRun(String),
}

/// A case and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub location: Location,
    /// How it ended.
    pub status: Status,
    /// Events of all captures.
    pub n_events: u64,
    /// Alerts by rule.
    pub alerts: BTreeMap<String, u64>,
    /// How long it took.
    pub duration: Duration,
}

/// Something that did not come as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Where the expectation stands.
    pub location: Location,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
    /// Alerts that are near to it, or too many.
    pub near: Vec<Near>,
    /// What else may help.
    pub notes: Vec<String>,
}

/// An alert that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// When the event happened, RFC 3339.
    pub time: String,
    /// The rule.
    pub rule: String,
    /// Its output, cut.
    pub output: String,
    /// Why it does not count, if so: field, value, wanted.
    pub differences: Vec<String>,
}

/// Plays cases. Rule files are read once, however many cases name them.
#[derive(Debug, Default)]
pub struct Runner {
    texts: BTreeMap<PathBuf, String>,
}

impl Runner {
    /// A runner that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plays the cases of `suite` that `wanted` wants. Paths are relative to the folder of
    /// the suite's file.
    pub fn run(&mut self, suite: &Suite, wanted: impl Fn(&Case) -> bool) -> Vec<CaseReport> {
        let folder = Path::new(&suite.file).parent().unwrap_or(Path::new("")).to_path_buf();
        let cases = suite.cases.iter().filter(|case| wanted(case));
        cases.map(|case| self.case(case, &folder)).collect()
    }

    fn case(&mut self, case: &Case, folder: &Path) -> CaseReport {
        let begin = Instant::now();
        let mut report = CaseReport {
            name: case.name.clone(),
            location: case.location.clone(),
            status: Status::Passed,
            n_events: 0,
            alerts: BTreeMap::new(),
            duration: Duration::ZERO,
        };
        if let Err(status) = self.play(case, folder, &mut report) {
            report.status = status;
        }
        report.duration = begin.elapsed();
        report
    }

    fn play(&mut self, case: &Case, folder: &Path, report: &mut CaseReport) -> Result<(), Status> {
        let rules = self.rules(case, folder)?;
        let mut judge = Judge::new(case, &rules);
        let mut matcher = Matcher::new(rules);
        for (path, location) in &case.captures {
            let path = folder.join(path);
            let not_run = |what: String| Status::NotRun(format!("{location}: {what}"));
            let file = File::open(&path)
                .map_err(|error| not_run(format!("open capture `{}`: {error}", path.display())))?;
            let replayed = replay(file, |event| {
                report.n_events += 1;
                judge.see(event);
                let mut n = 0;
                matcher.evaluate(event, &mut |detection| {
                    judge.take(n, &detection, &mut report.alerts);
                    n += 1;
                });
            });
            let replayed = replayed.map_err(|error| {
                let chain = render_chain(&error, error.hint().as_deref());
                not_run(format!("read capture `{}`\n{}", path.display(), chain.trim_end()))
            })?;
            if case.allows_damage {
                continue;
            }
            if let Some(problem) = &replayed.problem {
                return Err(not_run(format!(
                    "`{}`: {problem}; `damaged: allow` uses it as far as it goes",
                    path.display()
                )));
            }
            if replayed.n_malformed > 0 {
                return Err(not_run(format!(
                    "`{}`: {} events could not be decoded; `damaged: allow` leaves them out",
                    path.display(),
                    replayed.n_malformed
                )));
            }
        }
        let failures = judge.failures(report.n_events);
        if failures.is_empty() { Ok(()) } else { Err(Status::Failed(failures)) }
    }

    fn rules(&mut self, case: &Case, folder: &Path) -> Result<RuleSet, Status> {
        let mut paths = Vec::new();
        for (name, location) in &case.rules {
            if name == BUILTIN {
                paths.push(None);
                continue;
            }
            let path = folder.join(name);
            if !self.texts.contains_key(&path) {
                let text = read_rules(&path)
                    .map_err(|reason| Status::NotRun(format!("{location}: {reason}")))?;
                self.texts.insert(path.clone(), text);
            }
            paths.push(Some(path));
        }
        let names: Vec<String> =
            paths.iter().flatten().map(|path| path.display().to_string()).collect();
        let mut names = names.iter();
        let sources: Vec<(&str, &str)> = paths
            .iter()
            .flat_map(|path| match path {
                None => BUILTIN_RULES.to_vec(),
                Some(path) => names
                    .next()
                    .zip(self.texts.get(path))
                    .map(|(name, text)| (name.as_str(), text.as_str()))
                    .into_iter()
                    .collect(),
            })
            .collect();
        let options = LoadOptions {
            minimum_priority: case.priority,
            // All matches are looked at; which of them count is decided here.
            matching: RuleMatching::All,
            selections: case.select.clone(),
            extra_outputs: asked_fields(case),
            ..LoadOptions::default()
        };
        let (rules, problems) = RuleSet::load(&sources, &[&SyscallSchema], &options);
        if problems.has_errors() {
            let text = |file: &str| sources.iter().find(|(name, _)| *name == file).map(|s| s.1);
            let errors = problems.0.iter().filter(|p| p.severity == palisade_base::Severity::Error);
            let shown: Vec<String> = errors.map(|p| p.render(text(&p.location.file))).collect();
            return Err(Status::Wrong(shown.concat().trim_end().to_owned()));
        }
        let named = case.expect.iter().map(|e| (&e.rule, &e.location));
        let named = named.chain(case.forbid.iter().map(|(rule, location)| (rule, location)));
        for (rule, location) in named {
            if rules.find(rule).is_none() {
                let names = rules.rules().iter().map(|rule| rule.name.as_str());
                let help = suggest::nearest(rule, names)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                return Err(Status::NotRun(format!(
                    "{location}: no rule `{rule}` in {}{help}",
                    sources.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
                )));
            }
        }
        match case.select.iter().find_map(|selection| stranger(&selection.rules, &rules)) {
            Some(what) => Err(Status::NotRun(format!("{}: `select`: {what}", case.location))),
            None => Ok(rules),
        }
    }
}

/// What a selector names, if no rule has it; a slip would change nothing, unnoticed.
fn stranger(selector: &Selector, rules: &RuleSet) -> Option<String> {
    let (what, word, is_known, near) = match selector {
        // Patterns may match nothing.
        Selector::Name(name) if name.contains(['*', '?', '[']) => return None,
        Selector::Name(name) => {
            let names = || rules.rules().iter().map(|rule| rule.name.as_str());
            ("name", name, rules.find(name).is_some(), suggest::nearest(name, names()))
        }
        Selector::Tag(tag) => {
            let tags = || rules.rules().iter().flat_map(|r| r.tags.iter().map(String::as_str));
            ("tag", tag, tags().any(|known| known == tag), suggest::nearest(tag, tags()))
        }
    };
    let help = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    (!is_known).then(|| format!("no rule has the {what} `{word}`{help}"))
}

fn read_rules(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("read rules `{shown}`: {error}"))?;
    let bytes = palisade_base::read_bounded(file, "rule file", FILE_BYTES_MAX as u64)
        .map_err(|error| format!("read rules `{shown}`: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("read rules `{shown}`: not UTF-8"))
}

/// The prefix of output fields that were added for the test.
const ASKED: &str = "asked:";

/// The fields that the case asks for, whether or not the rules' outputs have them.
fn asked_fields(case: &Case) -> Vec<ExtraOutput> {
    let asked = case.expect.iter().flat_map(|expectation| {
        expectation.fields.iter().map(|(field, _)| ExtraOutput {
            rule: Some(expectation.rule.clone()),
            fields: vec![(format!("{ASKED}{field}"), format!("%{field}"))],
            ..ExtraOutput::default()
        })
    });
    asked.collect()
}

/// What became of one expectation so far.
struct Tally<'c> {
    expectation: &'c Expectation,
    n: u64,
    near: Vec<Near>,
    counted: Vec<Near>,
    /// Events of the rule's types.
    n_reached: u64,
    /// Events where another rule came first, by that rule.
    shadowed: BTreeMap<String, u64>,
    is_on: bool,
    types: palisade_rules::EventTypes,
}

/// Holds alerts against a case.
struct Judge<'c> {
    case: &'c Case,
    tallies: Vec<Tally<'c>>,
    forbidden: BTreeMap<&'c str, (u64, Vec<Near>)>,
    others: (u64, Vec<Near>),
    /// The rule that matched the event at hand first.
    first: String,
}

impl<'c> Judge<'c> {
    fn new(case: &'c Case, rules: &RuleSet) -> Self {
        let tally = |expectation: &'c Expectation| {
            let rule = rules.find(&expectation.rule).map(|(_, rule)| rule);
            Tally {
                expectation,
                n: 0,
                near: Vec::new(),
                counted: Vec::new(),
                n_reached: 0,
                shadowed: BTreeMap::new(),
                is_on: rule.is_some_and(|rule| rule.enabled),
                types: rule.map(|rule| rule.event_types.clone()).unwrap_or_default(),
            }
        };
        Self {
            case,
            tallies: case.expect.iter().map(tally).collect(),
            forbidden: case.forbid.iter().map(|(rule, _)| (rule.as_str(), (0, vec![]))).collect(),
            others: (0, vec![]),
            first: String::new(),
        }
    }

    fn see(&mut self, event: &EventView<'_>) {
        let number = event.event_type();
        for tally in &mut self.tallies {
            tally.n_reached += u64::from(tally.types.contains(number));
        }
    }

    /// Takes the match of number `n` of its event.
    fn take(&mut self, n: usize, detection: &Detection, alerts: &mut BTreeMap<String, u64>) {
        let rule = &detection.rule.name;
        if n == 0 {
            self.first.clone_from(rule);
        } else if self.case.matching == RuleMatching::First {
            for tally in self.tallies.iter_mut().filter(|t| t.expectation.rule == *rule) {
                *tally.shadowed.entry(self.first.clone()).or_default() += 1;
            }
            return;
        }
        *alerts.entry(rule.clone()).or_default() += 1;
        let mut is_expected = false;
        for tally in self.tallies.iter_mut().filter(|t| t.expectation.rule == *rule) {
            let differences = differences(tally.expectation, detection);
            let counts = differences.is_empty();
            is_expected |= counts && tally.expectation.count.max > 0;
            tally.n += u64::from(counts);
            let shown = if counts { &mut tally.counted } else { &mut tally.near };
            keep(shown, detection, differences);
        }
        if let Some((n, shown)) = self.forbidden.get_mut(rule.as_str()) {
            *n += 1;
            keep(shown, detection, vec![]);
        } else if !is_expected {
            self.others.0 += 1;
            keep(&mut self.others.1, detection, vec![]);
        }
    }

    fn failures(self, n_events: u64) -> Vec<Failed> {
        let Self { case, tallies, mut forbidden, others, .. } = self;
        let mut failures: Vec<Failed> = tallies
            .into_iter()
            .filter(|tally| !tally.expectation.count.holds(tally.n))
            .map(|tally| tally.failure(n_events))
            .collect();
        for (rule, location) in &case.forbid {
            if let Some((n, near)) = forbidden.remove(rule.as_str())
                && n > 0
            {
                failures.push(Failed {
                    location: location.clone(),
                    expected: format!("no alert of rule \"{rule}\""),
                    actual: counted(n),
                    near,
                    notes: vec![],
                });
            }
        }
        if case.forbids_others && others.0 > 0 {
            failures.push(Failed {
                location: case.location.clone(),
                expected: "no other alerts".into(),
                actual: counted(others.0),
                near: others.1,
                notes: vec![
                    "`others: forbid` counts every alert that `expect` does not name".into(),
                ],
            });
        }
        failures
    }
}

/// A number of alerts in words.
pub(super) fn counted(n: u64) -> String {
    format!("{n} {}", if n == 1 { "alert" } else { "alerts" })
}

impl Tally<'_> {
    fn failure(self, n_events: u64) -> Failed {
        let Expectation { rule, location, count, fields, output } = self.expectation;
        let mut expected = format!("{count} of rule \"{rule}\"");
        let tests = fields.iter().map(|(field, test)| format!("{field} {test}"));
        let tests: Vec<String> =
            tests.chain(output.iter().map(|t| format!("output {t}"))).collect();
        if !tests.is_empty() {
            expected = format!("{expected} with {}", tests.join(", "));
        }
        let too_few = self.n < count.min;
        let mut notes = Vec::new();
        if too_few && !self.is_on {
            notes.push("the rule is off; `select` with `enable` turns it on".into());
        } else if too_few && self.n_reached == 0 {
            notes.push(format!("none of the {n_events} events is of the rule's types"));
        } else if too_few && self.near.is_empty() && self.shadowed.is_empty() {
            notes.push(format!(
                "{} of the {n_events} events are of the rule's types; `palisade rules explain \
                 --capture` shows how far they get",
                self.n_reached
            ));
        }
        for (first, n) in &self.shadowed {
            notes.push(format!(
                "{n} more matched it, but rule \"{first}\" came first; `matching: all` counts both"
            ));
        }
        Failed {
            location: location.clone(),
            expected,
            actual: counted(self.n),
            near: if too_few { self.near } else { self.counted },
            notes,
        }
    }
}

/// Why an alert of the rule is not one that is meant.
fn differences(expectation: &Expectation, detection: &Detection) -> Vec<String> {
    let mut found = Vec::new();
    for (field, test) in &expectation.fields {
        let value = detection.output_fields.get(&format!("{ASKED}{field}"));
        let value = value.and_then(serde_json::Value::as_str).filter(|v| *v != NOT_AVAILABLE);
        if !test.holds(value) {
            let value = value.map_or("nothing".into(), |value| format!("{:?}", cut(value)));
            found.push(format!("{field} is {value}, expected {test}"));
        }
    }
    if let Some(test) = &expectation.output
        && !test.holds(Some(&detection.output))
    {
        found.push(format!("the output is not {test}"));
    }
    found
}

/// Keeps an alert to be shown; those with the fewest differences first.
fn keep(shown: &mut Vec<Near>, detection: &Detection, differences: Vec<String>) {
    let at = shown.partition_point(|near| near.differences.len() <= differences.len());
    if at >= NEAR_MAX {
        return;
    }
    shown.truncate(NEAR_MAX - 1);
    shown.insert(
        at.min(shown.len()),
        Near {
            time: detection.time.rfc3339(),
            rule: detection.rule.name.clone(),
            output: cut(&detection.output),
            differences,
        },
    );
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(OUTPUT_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

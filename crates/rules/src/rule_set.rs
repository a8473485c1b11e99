//! Rules as their readers and the evaluator use them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_base::{Diagnostics, Location};

use crate::action::Action;
use crate::ast::Expr;
use crate::collect::PluginRequirement;
use crate::event_types::EventTypes;
use crate::fields::{Fields, Schema};
use crate::output::OutputFormat;
use crate::priority::Priority;
use crate::program::{Memory, PART_BASE, Program};
use crate::stateful::Stateful;
use crate::tracker::Tracker;

/// Number of a rule in its [`RuleSet`], in the order of definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// Which of several matching rules count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuleMatching {
    /// The one defined first, and behind it those that carry an action: what is to be
    /// prevented does not depend on the order of files.
    #[default]
    First,
    /// All.
    All,
}

/// Rules to turn on or off, whatever their files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSelection {
    /// On or off.
    pub enable: bool,
    /// Which rules.
    pub rules: Selector,
}

/// Names some rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Rules whose name matches; `*` stands for any text.
    Name(String),
    /// Rules with this tag.
    Tag(String),
}

/// Text or fields to add to outputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtraOutput {
    /// Only rules of this source.
    pub source: Option<String>,
    /// Only rules with all of these tags.
    pub tags: BTreeSet<String>,
    /// Only the rule of this name.
    pub rule: Option<String>,
    /// Text to append to the output, after a blank.
    pub format: Option<String>,
    /// Fields of their own for JSON: name and format.
    pub fields: Vec<(String, String)>,
}

/// How rules are loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Rules of less urgent priorities are loaded, but off.
    pub minimum_priority: Option<Priority>,
    /// Which of several matching rules count.
    pub matching: RuleMatching,
    /// Applied in order, after the files' own settings.
    pub selections: Vec<RuleSelection>,
    /// Additions to outputs, in order.
    pub extra_outputs: Vec<ExtraOutput>,
    /// Whether rules keep the trees of their conditions, for those who explain them.
    pub keep_expressions: bool,
}

/// A loaded rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique in the set.
    pub name: String,
    /// What it detects, for people.
    pub description: String,
    /// Where it was defined last.
    pub location: Location,
    /// The source of its events.
    pub source: String,
    /// How urgent its alerts are.
    pub priority: Priority,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// What is to be done about its events, the first that the host can do; empty for
    /// nothing but an alert.
    pub actions: Vec<Action>,
    /// Whether it asks for a capture of the events around its alerts.
    pub capture: bool,
    /// How long that capture lasts, in milliseconds; 0 leaves it to the settings.
    pub capture_duration_ms: u32,
    /// The condition as written, with what was appended.
    pub condition_text: String,
    /// The condition in canonical form, lists and macros replaced, exceptions added.
    pub condition: String,
    /// The conditions of a sequence, one for each step; empty for every other rule.
    pub steps: Vec<String>,
    /// The same as a tree, if [`LoadOptions::keep_expressions`] asked for it. That of a
    /// sequence holds if one of its steps is made.
    pub expression: Option<Expr>,
    /// The output as written, with what was appended.
    pub output: String,
    /// The output, compiled.
    pub output_format: OutputFormat,
    /// Further output fields for JSON: name and format.
    pub extra_fields: Vec<(String, OutputFormat)>,
    /// The types of the events that can match; none if the rule is off.
    pub event_types: EventTypes,
    /// The event types that Falco derives from the condition; never fewer than match.
    pub declared_event_types: EventTypes,
    /// Names of the fields of its condition, sorted.
    pub fields: Vec<String>,
    /// Names of the macros that its condition names, sorted.
    pub macros: Vec<String>,
    /// Names of the lists that its condition names, sorted.
    pub lists: Vec<String>,
    /// Names of its exceptions, in order.
    pub exceptions: Vec<String>,
    /// How it counts, if it is a stateful rule; its condition then tells which events.
    pub stateful: Option<Arc<Stateful>>,
}

/// The rules of some files, compiled.
#[derive(Debug, Default)]
pub struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    pub(crate) programs: Vec<Arc<Program>>,
    pub(crate) matching: RuleMatching,
    pub(crate) plugins: Vec<PluginRequirement>,
}

impl RuleSet {
    /// Loads rule files, in order; `sources` are pairs of a file's name and its text.
    ///
    /// What is wrong is in the diagnostics, of all files at once. If one of them is an
    /// error, the set holds the rules that are right; Falco would refuse them all.
    pub fn load(
        sources: &[(&str, &str)],
        schemas: &[&dyn Schema],
        options: &LoadOptions,
    ) -> (Self, Diagnostics) {
        crate::load::load(sources, schemas, options)
    }

    /// All rules, in the order of definition, including those that are off.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of a number that came from this set.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0 as usize]
    }

    /// Gives up the trees that [`LoadOptions::keep_expressions`] asked for: evaluation needs none.
    pub fn forget_expressions(&mut self) {
        for rule in &mut self.rules {
            rule.expression = None;
        }
    }

    /// Gives a rule other actions than its file does. Evaluators made before do not know.
    pub fn set_actions(&mut self, id: RuleId, actions: Vec<Action>) {
        if let Some(rule) = self.rules.get_mut(id.0 as usize) {
            rule.actions = actions;
        }
    }

    /// The rule of this name.
    pub fn find(&self, name: &str) -> Option<(RuleId, &Rule)> {
        let at = self.rules.iter().position(|rule| rule.name == name)?;
        Some((RuleId(u32::try_from(at).ok()?), &self.rules[at]))
    }

    /// The types of the events of `source` that some rule that is on can match.
    pub fn event_types(&self, source: &str) -> EventTypes {
        let mut all = EventTypes::none();
        for rule in self.rules.iter().filter(|rule| rule.enabled && rule.source == source) {
            all.extend(&rule.event_types);
        }
        all
    }

    /// The plugins that the files require.
    pub fn required_plugins(&self) -> &[PluginRequirement] {
        &self.plugins
    }

    /// The numbers of distinct operands, checks and nodes that the rules of `source` were
    /// compiled to.
    pub fn sizes(&self, source: &str) -> Option<(usize, usize, usize)> {
        self.programs.iter().find(|program| program.source == source).map(|p| p.sizes())
    }
}

/// The source of system calls, which a rule without `source` is about.
pub const SYSCALL_SOURCE: &str = "syscall";

/// Evaluates the rules of one source against events.
///
/// Owns the memory that evaluation needs; use one for each thread. It keeps the rules it
/// was made from, whatever becomes of their set.
#[derive(Debug)]
pub struct Evaluator {
    program: Option<Arc<Program>>,
    matching: RuleMatching,
    memory: Memory,
    numbers: Vec<u32>,
    /// The memory of each stateful rule, by its number.
    pub(crate) trackers: BTreeMap<u32, (Arc<Stateful>, Tracker)>,
    /// The conditions of one stateful rule that hold.
    steps: Vec<usize>,
    /// Numbers of the rules that carry an action, sorted.
    acting: Vec<u32>,
}

impl Evaluator {
    /// An evaluator for system calls.
    pub fn new(rules: &RuleSet) -> Self {
        Self::for_source(rules, SYSCALL_SOURCE)
    }

    /// An evaluator for the events of `source`; without rules of it, nothing matches.
    pub fn for_source(rules: &RuleSet, source: &str) -> Self {
        let program = rules.programs.iter().find(|program| program.source == source).cloned();
        let parts = program.iter().flat_map(|program| &program.parts);
        let trackers = parts
            .filter_map(|part| {
                let stateful = rules.rules.get(part.rule as usize)?.stateful.as_ref()?;
                Some((part.rule, (Arc::clone(stateful), stateful.tracker())))
            })
            .collect();
        let acting = (0u32..).zip(&rules.rules).filter(|(_, rule)| !rule.actions.is_empty());
        Self {
            acting: acting.map(|(number, _)| number).collect(),
            program,
            matching: rules.matching,
            memory: Memory::default(),
            numbers: Vec::new(),
            trackers,
            steps: Vec::new(),
        }
    }

    /// Appends the rules that `event` matches, in the order of definition; with
    /// [`RuleMatching::First`] one, and those behind it that carry an action. Stateful rules are left out: see
    /// [`Self::evaluate_at`].
    pub fn evaluate<F: Fields + ?Sized>(&mut self, event: &F, matched: &mut Vec<RuleId>) {
        self.find(event);
        let n_rules = self.numbers.partition_point(|number| *number < PART_BASE);
        let n = match self.matching {
            RuleMatching::First => n_rules.min(1),
            RuleMatching::All => n_rules,
        };
        let (counted, behind) = self.numbers[..n_rules].split_at(n);
        matched.extend(counted.iter().map(|number| RuleId(*number)));
        if !self.acting.is_empty() {
            let acts = |number: &&u32| self.acting.binary_search(number).is_ok();
            matched.extend(behind.iter().filter(acts).map(|number| RuleId(*number)));
        }
    }

    /// As [`Self::evaluate`], and behind those the stateful rules for which `event`
    /// completes what they wait for, whatever the matching. `time_ns` is when it happened;
    /// events are to be given in the order of their time.
    pub fn evaluate_at<F: Fields>(&mut self, event: &F, time_ns: u64, matched: &mut Vec<RuleId>) {
        self.evaluate(event, matched);
        let Some(program) = &self.program else { return };
        let n_rules = self.numbers.partition_point(|number| *number < PART_BASE);
        let parts = &self.numbers[n_rules..];
        let part_of = |number: &u32| program.parts.get((*number - PART_BASE) as usize);
        // The parts of one rule stand together.
        for parts in parts
            .chunk_by(|a, b| part_of(a).map(|part| part.rule) == part_of(b).map(|part| part.rule))
        {
            let Some(rule) = parts.first().and_then(part_of).map(|part| part.rule) else {
                continue;
            };
            let Some((stateful, tracker)) = self.trackers.get_mut(&rule) else { continue };
            self.steps.clear();
            self.steps.extend(parts.iter().filter_map(part_of).map(|part| part.step));
            let (key, value) = stateful.key(event);
            if tracker.take(&key, &self.steps, value, time_ns) {
                matched.push(RuleId(rule));
            }
        }
    }

    /// Memories of stateful rules that were given up for want of room although they could
    /// still have mattered.
    pub fn n_forgotten(&self) -> u64 {
        self.trackers.values().map(|(_, tracker)| tracker.n_forgotten()).sum()
    }

    /// Forgets what stateful rules remember, before events of another time or machine.
    pub fn forget(&mut self) {
        for (stateful, tracker) in self.trackers.values_mut() {
            *tracker = stateful.tracker();
        }
    }

    /// Finds the rules and parts that `event` matches, each once and in order.
    fn find<F: Fields + ?Sized>(&mut self, event: &F) {
        self.numbers.clear();
        let Some(program) = &self.program else { return };
        program.evaluate(event, &mut self.memory, &mut self.numbers);
        if self.numbers.len() > 1 {
            self.numbers.sort_unstable();
            self.numbers.dedup();
        }
    }
}

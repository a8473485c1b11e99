//! From the texts of rule files to a compiled set.

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_base::{Diagnostics, Location, Severity};

use crate::ast::{Expr, Right};
use crate::collect::{Collector, KnownFields, RuleInfo};
use crate::compile::{Compiler, is_left_side};
use crate::event_types::EventTypes;
use crate::expand::{Expander, with_exceptions};
use crate::fields::Schema;
use crate::glob::Glob;
use crate::graph::NodeId;
use crate::output::OutputFormat;
use crate::program::{PART_BASE, Part, Program};
use crate::reader::read_file;
use crate::report::{Problem, Report, SourcedText, code};
use crate::rule_set::{ExtraOutput, LoadOptions, Rule, RuleSet, SYSCALL_SOURCE, Selector};
use crate::stateful::{Stateful, StatefulInfo};
use crate::yaml::Place;

/// A rule of the source of system calls that matches more event types than this is slow.
const EVENT_TYPES_WARN: usize = 100;

/// Fields that answer nothing since there are no enter events, and `evt.dir`.
const DEPRECATED_FIELDS: [&str; 6] = [
    "evt.dir",
    "evt.latency",
    "evt.latency.s",
    "evt.latency.ns",
    "evt.latency.human",
    "evt.wait_latency",
];

struct Schemas<'s>(&'s [&'s dyn Schema]);

impl<'s> Schemas<'s> {
    fn find(&self, source: &str) -> Option<&'s dyn Schema> {
        self.0.iter().copied().find(|schema| schema.source() == source)
    }
}

impl KnownFields for Schemas<'_> {
    fn knows_source(&self, source: &str) -> bool {
        self.find(source).is_some()
    }

    fn is_left_side(&self, source: &str, field: &str) -> bool {
        self.find(source).is_some_and(|schema| is_left_side(schema, field))
    }
}

/// See [`RuleSet::load`].
pub(crate) fn load(
    sources: &[(&str, &str)],
    schemas: &[&dyn Schema],
    options: &LoadOptions,
) -> (RuleSet, Diagnostics) {
    let mut report = Report::new(sources);
    let schemas = Schemas(schemas);
    let mut collector = Collector::new(&schemas);
    for (file, (_, text)) in sources.iter().enumerate() {
        read_file(u32::try_from(file).unwrap_or(u32::MAX), text, &mut collector, &mut report);
    }
    let mut loader = Loader {
        expander: Expander::new(&collector, &mut report),
        compilers: schemas.0.iter().map(|schema| Source::new(*schema)).collect(),
        options,
        report,
        sources,
    };
    let mut set = RuleSet { matching: options.matching, ..RuleSet::default() };
    let rules = std::mem::take(&mut collector.rules.values);
    for info in rules.into_iter().filter(|rule| !rule.unknown_source) {
        let number = u32::try_from(set.rules.len()).unwrap_or(u32::MAX);
        match loader.rule(info, number) {
            Ok(rule) => set.rules.push(rule),
            Err(problem) => loader.report.extend(problem),
        }
    }
    loader.warn_unused();
    for Source { compiler, roots, parts } in loader.compilers {
        let rule_of = |number: u32| match number.checked_sub(PART_BASE) {
            None => number,
            Some(part) => parts.get(part as usize).map_or(u32::MAX, |part| part.rule),
        };
        let on = |(number, _): &&(u32, NodeId)| {
            set.rules.get(rule_of(*number) as usize).is_some_and(|rule| rule.enabled)
        };
        let on: Vec<_> = roots.iter().filter(on).copied().collect();
        let (mut program, event_types) = Program::new(compiler, &on);
        for ((number, _), types) in on.iter().zip(event_types) {
            if let Some(rule) = set.rules.get_mut(rule_of(*number) as usize) {
                rule.event_types.extend(&types);
            }
        }
        program.parts = parts;
        set.programs.push(Arc::new(program));
    }
    set.plugins = collector.plugins;
    (set, loader.report.finish())
}

/// The rules of one schema.
struct Source<'l> {
    compiler: Compiler<'l>,
    /// Numbers and conditions of rules, and of the parts of stateful ones.
    roots: Vec<(u32, NodeId)>,
    parts: Vec<Part>,
}

impl<'l> Source<'l> {
    fn new(schema: &'l dyn Schema) -> Self {
        Self { compiler: Compiler::new(schema), roots: vec![], parts: vec![] }
    }
}

/// What is collected over the conditions of one rule.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    /// Only if they are wanted.
    expressions: Vec<Expr>,
    declared_event_types: Option<EventTypes>,
    fields: BTreeSet<String>,
    macros: BTreeSet<String>,
    lists: BTreeSet<String>,
}

/// The output and the further output fields of a rule.
type Outputs = (OutputFormat, Vec<(String, OutputFormat)>);

struct Loader<'l> {
    expander: Expander,
    /// For each schema its rules.
    compilers: Vec<Source<'l>>,
    options: &'l LoadOptions,
    report: Report<'l>,
    sources: &'l [(&'l str, &'l str)],
}

impl Loader<'_> {
    /// Compiles a rule. Nothing in the error: what is wrong has been reported.
    fn rule(&mut self, info: RuleInfo, number: u32) -> Result<Rule, Option<Problem>> {
        let Some(at) =
            self.compilers.iter().position(|of| of.compiler.schema.source() == info.source)
        else {
            return Err(None);
        };
        let condition_text = info.condition.text.clone();
        let exceptions = info.exceptions.iter().map(|e| e.name.clone()).collect();
        let output = self.output_text(&info);
        let outputs = self.outputs(&output, &info, at)?;
        let stateful = match &info.stateful {
            Some(stateful) => Some(Arc::new(self.stateful(stateful, &info, at)?)),
            None => None,
        };
        let first = with_exceptions(info.condition.clone(), &info.exceptions)?;
        let later = info.stateful.iter().flat_map(|stateful| stateful.later_steps.iter().cloned());
        let mut conditions = Conditions::default();
        let mut roots = Vec::new();
        for condition in std::iter::once(first).chain(later) {
            roots.push(self.add_condition(condition, &info, at, &mut conditions)?);
        }
        let (output_format, extra_fields) = outputs.ok_or(None)?;
        let Conditions { texts, expressions, declared_event_types, fields, macros, lists } =
            conditions;
        let of = &mut self.compilers[at];
        for (step, root) in roots.into_iter().enumerate() {
            if stateful.is_some() {
                let part = u32::try_from(of.parts.len()).unwrap_or(u32::MAX - PART_BASE);
                of.parts.push(Part { rule: number, step });
                of.roots.push((PART_BASE + part, root));
            } else {
                of.roots.push((number, root));
            }
        }
        let enabled = self.is_enabled(&info);
        Ok(Rule {
            enabled,
            location: self.location(info.place),
            condition: texts.join(" ; then "),
            steps: if texts.len() > 1 { texts } else { vec![] },
            expression: one_of(expressions),
            condition_text,
            output,
            output_format,
            extra_fields,
            event_types: EventTypes::none(),
            declared_event_types: declared_event_types.unwrap_or_else(EventTypes::none),
            fields: fields.into_iter().collect(),
            macros: macros.into_iter().collect(),
            lists: lists.into_iter().collect(),
            stateful,
            exceptions,
            name: info.name,
            description: info.description,
            source: info.source,
            priority: info.priority,
            tags: info.tags.into_iter().collect(),
            actions: info.actions,
            capture: info.capture,
            capture_duration_ms: info.capture_duration_ms,
        })
    }

    /// Compiles one condition of a rule, and adds what it uses to `conditions`.
    fn add_condition(
        &mut self,
        condition: SourcedText,
        info: &RuleInfo,
        at: usize,
        conditions: &mut Conditions,
    ) -> Result<NodeId, Option<Problem>> {
        let expanded = self.expander.condition(condition, &self.report)?;
        self.warn_fields(&expanded.expr, info);
        let root = self.condition(&expanded.expr, info, at)?;
        let compiler = &self.compilers[at].compiler;
        let event_types = compiler.event_types(&expanded.expr);
        if info.source == SYSCALL_SOURCE && info.warn_evttypes {
            let n = event_types.len();
            let n_all = EventTypes::all(compiler.schema).len();
            if n == 0 || n > EVENT_TYPES_WARN || n == n_all {
                let message = "Rule matches too many evt.type values. This has a significant \
                               performance penalty.";
                self.report.push(
                    Problem::warning(code::NO_EVTTYPE, info.place, message)
                        .with_help("restrict `evt.type` in the condition"),
                );
            }
        }
        conditions.declared_event_types.get_or_insert_with(EventTypes::none).extend(&event_types);
        expanded.expr.visit_leaves(&mut |leaf| leaf_fields(leaf, &mut conditions.fields));
        conditions.texts.push(expanded.expr.to_string());
        conditions.expressions.extend(self.options.keep_expressions.then_some(expanded.expr));
        conditions.macros.extend(expanded.macros);
        conditions.lists.extend(expanded.lists);
        Ok(root)
    }

    /// Compiles the keys of a stateful rule.
    fn stateful(
        &mut self,
        stateful: &StatefulInfo,
        info: &RuleInfo,
        at: usize,
    ) -> Result<Stateful, Option<Problem>> {
        let mut compile = |format: &str| self.output(format, info, at);
        let per = match stateful.per.as_str() {
            "" => None,
            per => Some(compile(per)?),
        };
        let distinct = stateful.distinct.as_deref().map(compile).transpose()?;
        let awaited = stateful.awaited.clone();
        let keys = (stateful.per.clone(), stateful.distinct.clone());
        Ok(Stateful { awaited, within_ns: stateful.within_ns, per, distinct, keys })
    }

    fn location(&self, place: Place) -> Location {
        let file = self.sources.get(place.file as usize).map_or("", |(name, _)| *name);
        Location {
            file: file.to_owned(),
            line: place.line.max(1) as usize,
            column: place.column.max(1) as usize,
        }
    }

    fn output_text(&mut self, info: &RuleInfo) -> String {
        let mut output = info.output.clone();
        for extra in self.options.extra_outputs.iter().filter(|extra| applies(extra, info)) {
            if let Some(format) = &extra.format {
                output.push(' ');
                output.push_str(format);
            }
        }
        if output.contains("%container.info") {
            let message = "%container.info is deprecated and no more useful, and will be dropped \
                           by Falco 1.0.0. The container plugin will automatically add required \
                           fields to the output message.";
            self.report.push(Problem::warning(code::DEPRECATED_ITEM, info.output_place, message));
            output = output.replace("%container.info", "");
        }
        output
    }

    /// The outputs of a rule. Nothing if they have an error, which has been reported: the
    /// condition is looked at all the same.
    fn outputs(
        &mut self,
        output: &str,
        info: &RuleInfo,
        at: usize,
    ) -> Result<Option<Outputs>, Option<Problem>> {
        let format = self.output(output, info, at);
        match format.and_then(|format| Ok((format, self.extra_fields(info, at)?))) {
            Ok(outputs) => Ok(Some(outputs)),
            Err(Some(problem)) if problem.severity == Severity::Error => {
                self.report.push(problem);
                Ok(None)
            }
            Err(problem) => Err(problem),
        }
    }

    fn output(
        &mut self,
        output: &str,
        info: &RuleInfo,
        at: usize,
    ) -> Result<OutputFormat, Option<Problem>> {
        let schema = self.compilers[at].compiler.schema;
        let place = info.output_place;
        let format = OutputFormat::compile(output, schema).map_err(|error| {
            let is_forgiven = error.is_unknown && info.skip_if_unknown_filter;
            let mut problem = if is_forgiven {
                Problem::warning(code::UNKNOWN_FILTER, place, error.message)
            } else {
                Problem::error(code::COMPILE_OUTPUT, place, error.message)
            };
            problem.help = error.help;
            Some(problem)
        })?;
        for field in DEPRECATED_FIELDS.iter().filter(|field| output.contains(**field)) {
            let message =
                format!("usage of deprecated field '{field}' has been detected in the rule output");
            self.report.push(Problem::warning(code::DEPRECATED_ITEM, place, message));
        }
        Ok(format)
    }

    fn extra_fields(
        &mut self,
        info: &RuleInfo,
        at: usize,
    ) -> Result<Vec<(String, OutputFormat)>, Option<Problem>> {
        let mut out = Vec::new();
        for extra in self.options.extra_outputs.iter().filter(|extra| applies(extra, info)) {
            for (name, format) in &extra.fields {
                out.push((name.clone(), self.output(format, info, at)?));
            }
        }
        Ok(out)
    }

    fn condition(
        &mut self,
        expr: &Expr,
        info: &RuleInfo,
        at: usize,
    ) -> Result<NodeId, Option<Problem>> {
        let mut warnings = Vec::new();
        let result = self.compilers[at].compiler.condition(expr, &mut warnings);
        match result {
            Ok(root) => {
                for (position, message) in warnings {
                    let place = self.expander.texts.place(position, &self.report);
                    let problem = Problem::warning(code::COMPILE_CONDITION_WARNING, place, message);
                    self.report.push(problem);
                }
                Ok(root)
            }
            Err(error) => {
                let place = self.expander.texts.place(error.position, &self.report);
                let mut problem = if error.is_unknown && info.skip_if_unknown_filter {
                    Problem::warning(code::UNKNOWN_FILTER, place, error.message)
                } else {
                    Problem::error(code::COMPILE_CONDITION, place, error.message)
                };
                problem.help = error.help;
                Err(Some(problem))
            }
        }
    }

    /// Warns about deprecated fields and comparisons with `<NA>`, once for each rule.
    fn warn_fields(&mut self, expr: &Expr, info: &RuleInfo) {
        let mut fields = BTreeSet::new();
        let mut has_na = false;
        expr.visit_leaves(&mut |leaf| {
            leaf_fields(leaf, &mut fields);
            has_na |= compares_with_na(leaf);
        });
        if !has_na && !DEPRECATED_FIELDS.iter().any(|field| fields.contains(*field)) {
            // The place is found by reading the file up to it, which is not done in vain.
            return;
        }
        let place = self.report.place_in(&info.condition, 0);
        for field in DEPRECATED_FIELDS.iter().filter(|field| fields.contains(**field)) {
            let message = if *field == "evt.dir" {
                "due to the drop of enter events, 'evt.dir = <' always evaluates to true, and \
                 'evt.dir = >' always evaluates to false. The rule expression can be simplified \
                 by removing the condition on 'evt.dir'"
                    .to_owned()
            } else {
                format!("'{field}' field is not available due to the drop of enter events.")
            };
            self.report.push(Problem::warning(code::DEPRECATED_ITEM, place, message));
        }
        if has_na {
            let message = "comparing a field value with <NA> is unsafe";
            self.report.push(
                Problem::warning(code::UNSAFE_NA_CHECK, place, message)
                    .with_help("use the 'exists' operator"),
            );
        }
    }

    fn is_enabled(&self, info: &RuleInfo) -> bool {
        let mut enabled = info.enabled;
        for selection in &self.options.selections {
            let applies = match &selection.rules {
                Selector::Name(pattern) => {
                    Glob::new(pattern.as_bytes(), false).matches(info.name.as_bytes())
                }
                Selector::Tag(tag) => info.tags.contains(tag),
            };
            if applies {
                enabled = selection.enable;
            }
        }
        enabled && self.options.minimum_priority.is_none_or(|minimum| info.priority <= minimum)
    }

    fn warn_unused(&mut self) {
        for definition in self.expander.macros.iter().filter(|m| !m.used) {
            let message = "Macro not referred to by any other rule/macro";
            self.report.push(Problem::warning(code::UNUSED_MACRO, definition.place, message));
        }
        for list in self.expander.lists.iter().filter(|list| !list.used) {
            let message = "List not referred to by any other rule/macro";
            self.report.push(Problem::warning(code::UNUSED_LIST, list.place, message));
        }
    }
}

/// The condition, or for a sequence: that one of its steps is made.
fn one_of(mut expressions: Vec<Expr>) -> Option<Expr> {
    match expressions.len() {
        0 | 1 => expressions.pop(),
        _ => Some(Expr::Or(expressions, 0)),
    }
}

fn applies(extra: &ExtraOutput, info: &RuleInfo) -> bool {
    extra.source.as_ref().is_none_or(|source| *source == info.source)
        && extra.tags.is_subset(&info.tags)
        && extra.rule.as_ref().is_none_or(|rule| *rule == info.name)
}

fn leaf_fields(leaf: &Expr, fields: &mut BTreeSet<String>) {
    let mut add = |field: &crate::ast::FieldUse| {
        fields.insert(field.to_string());
    };
    match leaf {
        Expr::Exists(operand, _) => operand.visit_fields(&mut add),
        Expr::Compare(comparison, _) => {
            comparison.left.visit_fields(&mut add);
            if let Right::Operand(operand) = &comparison.right {
                operand.visit_fields(&mut add);
            }
        }
        Expr::And(..) | Expr::Or(..) | Expr::Not(..) | Expr::Macro(..) => {}
    }
}

/// Whether a field of the audit logs is compared with `<NA>`.
fn compares_with_na(leaf: &Expr) -> bool {
    use crate::ast::Relation as R;
    let Expr::Compare(comparison, _) = leaf else {
        return false;
    };
    let mut is_unsafe = false;
    comparison.left.visit_fields(&mut |field| {
        is_unsafe |= field.name.starts_with("ka.") || field.name.starts_with("jevt.");
    });
    let is_equality = matches!(
        comparison.operator.relation,
        R::Equal | R::NotEqual | R::In | R::Intersects | R::PMatch
    );
    is_unsafe
        && is_equality
        && match &comparison.right {
            Right::Value(value, _) => value == "<NA>",
            Right::List(values, _) => values.iter().any(|value| value == "<NA>"),
            Right::Operand(_) => false,
        }
}

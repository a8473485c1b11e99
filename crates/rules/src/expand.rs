//! From definitions to self-contained expressions: lists are pasted into texts, texts
//! parsed, exceptions added, macros replaced by what they stand for.
//!
//! Lists are pasted as text, before parsing, wherever their name stands between blanks,
//! parentheses, commas and equal signs. That is Falco's rule and has its consequences:
//! a list whose name is an ordinary word changes strings that hold the word.

use std::collections::{BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use palisade_base::suggest::nearest;

use crate::ast::Expr;
use crate::collect::{Collector, Entry, Exception, comp_takes_list};
use crate::parser::{CONDITION_BYTES_MAX, parse_condition_at};
use crate::report::{Problem, Report, SourcedText, code};
use crate::yaml::Place;

/// Nodes of one condition after its macros are replaced; the largest published rule
/// has 600.
pub const EXPRESSION_NODES_MAX: usize = 100_000;
/// Nesting of one condition after its macros are replaced.
pub const EXPRESSION_DEPTH_MAX: usize = 400;
/// Macros within macros.
pub const MACRO_NESTING_MAX: usize = 64;

/// All condition texts of a load in one range of positions, so that an expression made
/// of several texts still knows where each part stands.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    texts: Vec<(u32, SourcedText)>,
    end: u32,
}

impl Texts {
    /// Takes a text in; returns the position of its first byte.
    fn add(&mut self, text: SourcedText) -> u32 {
        let base = self.end;
        let length = u32::try_from(text.text.len()).unwrap_or(u32::MAX);
        self.end = self.end.saturating_add(length).saturating_add(1);
        self.texts.push((base, text));
        base
    }

    /// Where the byte at `position` was written.
    pub(crate) fn place(&self, position: u32, report: &Report<'_>) -> Place {
        let after = self.texts.partition_point(|(base, _)| *base <= position);
        match after.checked_sub(1).and_then(|i| self.texts.get(i)) {
            Some((base, text)) => report.place_in(text, (position - base) as usize),
            None => Place::default(),
        }
    }
}

/// A list with the lists it names replaced.
#[derive(Debug)]
pub(crate) struct ExpandedList {
    pub(crate) name: String,
    pub(crate) items: Vec<String>,
    pub(crate) place: Place,
    pub(crate) used: bool,
}

/// A macro after parsing; the expression is missing if it has an error.
#[derive(Debug)]
pub(crate) struct ExpandedMacro {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) used: bool,
    pub(crate) expr: Option<Expr>,
    size: (usize, usize),
    index: u32,
}

/// A condition ready to be compiled.
pub(crate) struct ExpandedCondition {
    pub(crate) expr: Expr,
    /// Names of the macros that its own text uses.
    pub(crate) macros: BTreeSet<String>,
    /// Names of the lists that its own text uses.
    pub(crate) lists: BTreeSet<String>,
}

/// What the expansion of all conditions shares.
pub(crate) struct Expander {
    pub(crate) texts: Texts,
    pub(crate) lists: Vec<ExpandedList>,
    pub(crate) macros: Vec<ExpandedMacro>,
    by_name: HashMap<String, usize>,
    /// Finds the lists' names; nothing if they are too many to look for at once.
    list_names: Option<AhoCorasick>,
}

impl Expander {
    /// Resolves all lists and macros of the collector, reporting what is wrong with them.
    pub(crate) fn new(collector: &Collector<'_>, report: &mut Report<'_>) -> Self {
        let lists = expand_lists(collector);
        let mut expander = Self {
            texts: Texts::default(),
            list_names: AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(lists.iter().map(|list| &list.name))
                .ok(),
            lists,
            macros: vec![],
            by_name: HashMap::new(),
        };
        for definition in &collector.macros.values {
            let (parsed, _) = expander.parse(definition.condition.clone());
            let expr = parsed.map_err(|problem| report.push(problem.resolve(report))).ok();
            expander.by_name.insert(definition.name.clone(), expander.macros.len());
            let size = expr.as_ref().map_or((0, 0), Expr::size);
            expander.macros.push(ExpandedMacro {
                name: definition.name.clone(),
                place: definition.place,
                used: false,
                expr,
                size,
                index: definition.order.index,
            });
        }
        for (i, definition) in collector.macros.values.iter().enumerate() {
            let Some(expr) = expander.macros[i].expr.clone() else {
                continue;
            };
            let visibility = definition.order.visibility;
            match expander.replace_macros(&expr, visibility, report) {
                Ok(expanded) => {
                    expander.macros[i].size = expanded.expr.size();
                    expander.macros[i].expr = Some(expanded.expr);
                }
                Err(problem) => {
                    report.extend(problem);
                    expander.macros[i].expr = None;
                }
            }
        }
        expander
    }

    /// Parses and expands the condition of a rule.
    ///
    /// Nothing in the error means that a macro it uses has been reported already.
    pub(crate) fn condition(
        &mut self,
        condition: SourcedText,
        report: &Report<'_>,
    ) -> Result<ExpandedCondition, Option<Problem>> {
        let (parsed, lists) = self.parse(condition);
        let expr = parsed.map_err(|problem| Some(problem.resolve(report)))?;
        let expanded = self.replace_macros(&expr, u32::MAX, report)?;
        Ok(ExpandedCondition { lists, ..expanded })
    }

    /// Numbers of the lists from number `first` whose names occur in `text`.
    fn lists_in(&self, text: &str, first: usize) -> BTreeSet<usize> {
        let Some(names) = &self.list_names else {
            return (first..self.lists.len()).collect();
        };
        names
            .find_overlapping_iter(text)
            .map(|found| found.pattern().as_usize())
            .filter(|at| *at >= first)
            .collect()
    }

    /// Pastes lists into a text and parses it; also returns the names of the lists.
    fn parse(
        &mut self,
        mut condition: SourcedText,
    ) -> (Result<Expr, UnparsedText>, BTreeSet<String>) {
        let mut lists = BTreeSet::new();
        // In the order of definition: what one list brings in, later ones may replace.
        let mut candidates = self.lists_in(&condition.text, 0);
        while let Some(at) = candidates.pop_first() {
            let list = &mut self.lists[at];
            if paste_list(&mut condition, &list.name, &list.items) {
                list.used = true;
                lists.insert(list.name.clone());
                candidates = self.lists_in(&condition.text, at + 1);
            }
        }
        let text = condition.text.clone();
        let base = self.texts.add(condition);
        let parsed = parse_condition_at(&text, base).map_err(|error| UnparsedText {
            message: error.message,
            condition: self.texts.texts.last().map(|(_, t)| t.clone()).unwrap_or_default(),
            position: error.position,
        });
        (parsed, lists)
    }

    fn replace_macros(
        &mut self,
        expr: &Expr,
        visibility: u32,
        report: &Report<'_>,
    ) -> Result<ExpandedCondition, Option<Problem>> {
        let mut expansion = Expansion {
            expander: self,
            visibility,
            path: vec![],
            resolved: BTreeSet::new(),
            n_nodes: 0,
        };
        let result = expansion.expand(expr, 0);
        let resolved = expansion.resolved;
        for index in &resolved {
            self.macros[*index].used = true;
        }
        match result {
            Ok(expr) => {
                let macros = resolved.iter().map(|i| self.macros[*i].name.clone()).collect();
                Ok(ExpandedCondition { expr, macros, lists: BTreeSet::new() })
            }
            Err(None) => Err(None),
            Err(Some((message, position, help))) => {
                let place = self.texts.place(position, report);
                let mut problem = Problem::error(code::VALIDATE, place, message);
                problem.help = help;
                Err(Some(problem))
            }
        }
    }
}

/// A text that does not parse, before its place is looked up.
struct UnparsedText {
    message: String,
    condition: SourcedText,
    position: usize,
}

impl UnparsedText {
    fn resolve(self, report: &Report<'_>) -> Problem {
        let place = report.place_in(&self.condition, self.position);
        Problem::error(code::COMPILE_CONDITION, place, self.message)
    }
}

/// One replacement of macros in one expression.
struct Expansion<'x> {
    expander: &'x Expander,
    visibility: u32,
    path: Vec<usize>,
    resolved: BTreeSet<usize>,
    n_nodes: usize,
}

/// Message, position and help; nothing if the cause has been reported.
type ExpansionError = Option<(String, u32, Option<String>)>;

impl Expansion<'_> {
    fn expand(&mut self, expr: &Expr, depth: usize) -> Result<Expr, ExpansionError> {
        self.n_nodes += 1;
        if self.n_nodes > EXPRESSION_NODES_MAX {
            let message = format!("condition has more than {EXPRESSION_NODES_MAX} checks");
            return Err(Some((message, expr.position(), None)));
        }
        if depth > EXPRESSION_DEPTH_MAX {
            let message = format!("condition is nested deeper than {EXPRESSION_DEPTH_MAX} levels");
            return Err(Some((message, expr.position(), None)));
        }
        let children = |this: &mut Self, children: &[Expr]| {
            children.iter().map(|child| this.expand(child, depth + 1)).collect::<Result<_, _>>()
        };
        match expr {
            Expr::And(list, position) => Ok(Expr::And(children(self, list)?, *position)),
            Expr::Or(list, position) => Ok(Expr::Or(children(self, list)?, *position)),
            Expr::Not(child, position) => {
                Ok(Expr::Not(Box::new(self.expand(child, depth + 1)?), *position))
            }
            Expr::Macro(name, position) => self.substitute(name, *position, depth),
            Expr::Exists(..) | Expr::Compare(..) => Ok(expr.clone()),
        }
    }

    fn substitute(
        &mut self,
        name: &str,
        position: u32,
        depth: usize,
    ) -> Result<Expr, ExpansionError> {
        let expander = self.expander;
        let found = expander
            .by_name
            .get(name)
            .map(|index| (*index, &expander.macros[*index]))
            .filter(|(_, definition)| definition.index < self.visibility);
        let Some((index, definition)) = found else {
            let message = format!("Undefined macro '{name}' used in filter.");
            let unknown = || "define it, or read the file that does before this one".to_owned();
            let help = self.help_for(name).or_else(|| Some(unknown()));
            return Err(Some((message, position, help)));
        };
        if self.path.contains(&index) {
            let message = format!("reference loop in macro '{name}'");
            return Err(Some((message, position, None)));
        }
        if self.path.len() >= MACRO_NESTING_MAX {
            let message = format!("macros are nested deeper than {MACRO_NESTING_MAX} levels");
            return Err(Some((message, position, None)));
        }
        let Some(expr) = &definition.expr else {
            return Err(None);
        };
        // Known to be too large before it is copied.
        let (n_nodes, nesting) = definition.size;
        if self.n_nodes.saturating_add(n_nodes) > EXPRESSION_NODES_MAX {
            let message = format!("condition has more than {EXPRESSION_NODES_MAX} checks");
            return Err(Some((message, position, None)));
        }
        if depth + nesting > EXPRESSION_DEPTH_MAX {
            let message = format!("condition is nested deeper than {EXPRESSION_DEPTH_MAX} levels");
            return Err(Some((message, position, None)));
        }
        self.path.push(index);
        let expanded = self.expand(expr, depth)?;
        self.path.pop();
        self.resolved.insert(index);
        Ok(expanded)
    }

    fn help_for(&self, name: &str) -> Option<String> {
        if self.expander.by_name.contains_key(name) {
            return Some(format!("define `{name}` before the macro that uses it"));
        }
        nearest(name, self.expander.macros.iter().map(|m| m.name.as_str()))
            .map(|near| format!("did you mean `{near}`?"))
    }
}

fn expand_lists(collector: &Collector<'_>) -> Vec<ExpandedList> {
    let mut used_names = BTreeSet::new();
    let mut lists: Vec<ExpandedList> = Vec::with_capacity(collector.lists.values.len());
    for list in &collector.lists.values {
        let mut items = Vec::with_capacity(list.items.len());
        for item in &list.items {
            match collector.lists.get(item) {
                Some(other) if other.order.index < list.order.visibility => {
                    used_names.insert(other.name.clone());
                    items.extend(other.items.iter().cloned());
                }
                _ => items.push(item.clone()),
            }
            // What is cut here is too large for any condition, where it is an error.
            items.truncate(CONDITION_BYTES_MAX);
        }
        lists.push(ExpandedList { name: list.name.clone(), items, place: list.place, used: false });
    }
    for list in &mut lists {
        list.used = used_names.contains(&list.name);
    }
    lists
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_delimiter(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'(' | b')' | b',' | b'=')
}

/// Puts the items of a list wherever its name stands alone; whether it stood anywhere.
fn paste_list(condition: &mut SourcedText, name: &str, items: &[String]) -> bool {
    let finder = memchr::memmem::Finder::new(name.as_bytes());
    let find = |text: &str, from: usize| {
        text.as_bytes().get(from..).and_then(|rest| finder.find(rest)).map(|at| at + from)
    };
    let mut used = false;
    let mut substitute: Option<String> = None;
    let mut found = find(&condition.text, 0);
    while let Some(at) = found {
        let bytes = condition.text.as_bytes();
        let (mut start, mut end) = (at, at + name.len());
        let alone = (start == 0 || is_delimiter(bytes[start - 1]))
            && bytes.get(end).is_none_or(|byte| is_delimiter(*byte));
        let mut next = at;
        if alone {
            while start > 0 && is_blank(bytes[start - 1]) {
                start -= 1;
            }
            while bytes.get(end).is_some_and(|byte| is_blank(*byte)) {
                end += 1;
            }
            let pasted = substitute.get_or_insert_with(|| joined_items(items));
            if pasted.is_empty() {
                if start > 0 && bytes[start - 1] == b',' {
                    start -= 1;
                } else if bytes.get(end) == Some(&b',') {
                    end += 1;
                }
            }
            let with_blanks = format!("{}{pasted} ", if start > 0 { " " } else { "" });
            let length = pasted.len();
            condition.replace(start..end, &with_blanks, at);
            next = start + length + 1;
            used = true;
            // A text this large is refused by the parser.
            if condition.text.len() > CONDITION_BYTES_MAX {
                break;
            }
        }
        found = find(&condition.text, next + 1);
    }
    used
}

fn joined_items(items: &[String]) -> String {
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push_str(", ");
        }
        push_quoted(&mut out, item);
        if out.len() > CONDITION_BYTES_MAX {
            break;
        }
    }
    out
}

/// Adds an item, in quotes if it holds a blank and has none.
fn push_quoted(out: &mut String, item: &str) {
    if item.contains(' ') && !item.starts_with(['"', '\'']) {
        out.push('"');
        out.push_str(item);
        out.push('"');
    } else {
        out.push_str(item);
    }
}

/// The condition of a rule with its exceptions: `(condition) and not …`.
pub(crate) fn with_exceptions(
    mut condition: SourcedText,
    exceptions: &[Exception],
) -> Result<SourcedText, Problem> {
    if exceptions.is_empty() {
        return Ok(condition);
    }
    condition.prefix("(");
    let end = exceptions.first().map_or_else(Place::default, |e| e.place);
    condition.push_generated(")", end);
    for exception in exceptions {
        let text = if exception.fields.is_list {
            rows_condition(exception)?
        } else {
            set_condition(exception)?
        };
        if !text.is_empty() {
            condition.push_generated(&format!(" and not {text}"), exception.place);
        }
        if condition.text.len() > CONDITION_BYTES_MAX {
            let message = format!("condition is larger than {CONDITION_BYTES_MAX} bytes");
            return Err(Problem::error(code::VALIDATE, exception.place, message));
        }
    }
    Ok(condition)
}

/// `(field comp (a, b, …))`.
fn set_condition(exception: &Exception) -> Result<String, Problem> {
    let mut out = String::new();
    for value in &exception.values {
        if value.is_list {
            return Err(Problem::error(
                code::VALIDATE,
                exception.place,
                "Expected values array to contain a list of strings",
            ));
        }
        if out.is_empty() {
            out = format!("({} {} (", exception.fields.item, exception.comps.item);
        } else {
            out.push_str(", ");
        }
        push_quoted(&mut out, &value.item);
    }
    if !out.is_empty() {
        out.push_str("))");
    }
    Ok(out)
}

/// `((f1 c1 v1 and f2 c2 v2) or (…))`.
fn rows_condition(exception: &Exception) -> Result<String, Problem> {
    let mut rows = Vec::with_capacity(exception.values.len());
    for row in &exception.values {
        if row.items.len() != exception.fields.items.len() {
            return Err(Problem::error(
                code::VALIDATE,
                exception.place,
                "Fields and values lists must have equal length",
            ));
        }
        let mut checks = Vec::with_capacity(row.items.len());
        for ((field, comp), value) in
            exception.fields.items.iter().zip(&exception.comps.items).zip(&row.items)
        {
            let value = row_value(value, &comp.item);
            checks.push(format!(" {} {} {value}", field.item, comp.item));
        }
        rows.push(format!("({})", checks.join(" and ")));
    }
    if rows.is_empty() { Ok(String::new()) } else { Ok(format!("({})", rows.join(" or "))) }
}

fn row_value(value: &Entry, comp: &str) -> String {
    let mut out = String::new();
    if value.is_list {
        out.push('(');
        for (i, item) in value.items.iter().enumerate() {
            out.push_str(if i == 0 { "" } else { ", " });
            push_quoted(&mut out, &item.item);
        }
        out.push(')');
    } else if comp_takes_list(comp) {
        if value.item.starts_with('(') {
            out.push_str(&value.item);
        } else {
            out = format!("({})", value.item);
        }
    } else {
        push_quoted(&mut out, &value.item);
    }
    out
}

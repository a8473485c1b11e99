//! Definitions of all files, merged in the order in which they were read.
//!
//! A later definition replaces an earlier one of the same name but keeps its position.
//! The order numbers (`index`, `visibility`) decide which macros and lists a macro or a
//! list may refer to, as in Falco: those that were first defined before it was last
//! touched.

use std::collections::{BTreeSet, HashMap};

use crate::action::Action;
use crate::ast::{Quantifier, Relation};
use crate::priority::Priority;
use crate::report::{Problem, Report, SourcedText, code};
use crate::stateful::StatefulInfo;
use crate::yaml::Place;

/// Rules, macros or lists of one load.
pub const DEFINITIONS_MAX: usize = 1 << 15;

/// Values in order, found by name.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) values: Vec<T>,
    by_name: HashMap<String, usize>,
}

impl<T> Named<T> {
    pub(crate) fn new() -> Self {
        Self { values: vec![], by_name: HashMap::new() }
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.values.get(self.position(name)?)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let position = self.position(name)?;
        self.values.get_mut(position)
    }

    pub(crate) fn insert(&mut self, name: &str, value: T) {
        self.by_name.insert(name.to_owned(), self.values.len());
        self.values.push(value);
    }
}

/// When an item was first defined and last touched.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    pub(crate) index: u32,
    pub(crate) visibility: u32,
}

#[derive(Debug)]
pub(crate) struct ListInfo {
    pub(crate) name: String,
    pub(crate) items: Vec<String>,
    pub(crate) place: Place,
    pub(crate) order: Order,
}

#[derive(Debug)]
pub(crate) struct MacroInfo {
    pub(crate) name: String,
    pub(crate) condition: SourcedText,
    pub(crate) place: Place,
    pub(crate) order: Order,
}

/// A scalar or a list of an exception.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) item: String,
    pub(crate) items: Vec<Entry>,
    pub(crate) is_list: bool,
}

impl Entry {
    pub(crate) fn scalar(item: &str) -> Self {
        Self { item: item.to_owned(), items: vec![], is_list: false }
    }

    /// Whether it was written at all.
    pub(crate) fn is_valid(&self) -> bool {
        if self.is_list { !self.items.is_empty() } else { !self.item.is_empty() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub(crate) name: String,
    pub(crate) fields: Entry,
    pub(crate) comps: Entry,
    pub(crate) values: Vec<Entry>,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) struct RuleInfo {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) source: String,
    pub(crate) unknown_source: bool,
    pub(crate) condition: SourcedText,
    pub(crate) output: String,
    pub(crate) output_place: Place,
    pub(crate) description: String,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) priority: Priority,
    pub(crate) capture: bool,
    pub(crate) capture_duration_ms: u32,
    pub(crate) enabled: bool,
    pub(crate) actions: Vec<Action>,
    pub(crate) warn_evttypes: bool,
    pub(crate) skip_if_unknown_filter: bool,
    /// What makes it a stateful rule.
    pub(crate) stateful: Option<StatefulInfo>,
}

/// What `append` or `override` changes of a rule.
#[derive(Debug, Default)]
pub(crate) struct RuleUpdate {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) source: String,
    pub(crate) condition: Option<SourcedText>,
    pub(crate) output: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Option<BTreeSet<String>>,
    pub(crate) exceptions: Option<Vec<Exception>>,
    pub(crate) priority: Option<Priority>,
    pub(crate) capture: Option<bool>,
    pub(crate) capture_duration_ms: Option<u32>,
    pub(crate) enabled: Option<bool>,
    pub(crate) warn_evttypes: Option<bool>,
    pub(crate) skip_if_unknown_filter: Option<bool>,
    pub(crate) actions: Option<Vec<Action>>,
}

impl RuleUpdate {
    fn has_any(&self) -> bool {
        self.condition.is_some()
            || self.output.is_some()
            || self.description.is_some()
            || self.tags.is_some()
            || self.exceptions.is_some()
            || self.priority.is_some()
            || self.capture.is_some()
            || self.capture_duration_ms.is_some()
            || self.enabled.is_some()
            || self.warn_evttypes.is_some()
            || self.skip_if_unknown_filter.is_some()
            || self.actions.is_some()
    }
}

/// A plugin that the rules need, with what may stand in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRequirement {
    /// `(name, version)`: the plugin, then its alternatives.
    pub alternatives: Vec<(String, String)>,
}

/// What a field name may be asked; the schemas, seen from the collector.
pub(crate) trait KnownFields {
    /// Whether there is a source of this name.
    fn knows_source(&self, source: &str) -> bool;
    /// Whether `field` may stand on the left of a comparison of rules of `source`.
    fn is_left_side(&self, source: &str, field: &str) -> bool;
}

pub(crate) struct Collector<'k> {
    pub(crate) lists: Named<ListInfo>,
    pub(crate) macros: Named<MacroInfo>,
    pub(crate) rules: Named<RuleInfo>,
    pub(crate) plugins: Vec<PluginRequirement>,
    known: &'k dyn KnownFields,
    n_orders: u32,
}

type Outcome = Result<(), Problem>;

pub(crate) const ERROR_NO_PREVIOUS_RULE_APPEND: &str =
    "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists";
pub(crate) const ERROR_NO_PREVIOUS_RULE_REPLACE: &str =
    "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists";
pub(crate) const ERROR_NO_PREVIOUS_MACRO: &str = "Macro uses 'append' or 'override.condition: \
     append' but no macro by that name already exists";
pub(crate) const ERROR_NO_PREVIOUS_LIST: &str =
    "List uses 'append' or 'override.items: append' but no list by that name already exists";

fn invalid(place: Place, message: impl Into<String>) -> Problem {
    Problem::error(code::VALIDATE, place, message)
}

impl<'k> Collector<'k> {
    pub(crate) fn new(known: &'k dyn KnownFields) -> Self {
        Self {
            lists: Named::new(),
            macros: Named::new(),
            rules: Named::new(),
            plugins: vec![],
            known,
            n_orders: 0,
        }
    }

    fn next_order(&mut self) -> u32 {
        self.n_orders += 1;
        self.n_orders - 1
    }

    fn check_room(&self, place: Place) -> Outcome {
        let n = self.lists.values.len() + self.macros.values.len() + self.rules.values.len();
        if n >= DEFINITIONS_MAX {
            return Err(invalid(place, format!("more than {DEFINITIONS_MAX} definitions")));
        }
        Ok(())
    }

    pub(crate) fn define_list(&mut self, mut list: ListInfo) -> Outcome {
        self.check_room(list.place)?;
        let order = self.next_order();
        list.order = Order { index: order, visibility: order };
        match self.lists.get_mut(&list.name) {
            Some(previous) => {
                list.order.index = previous.order.index;
                *previous = list;
            }
            None => self.lists.insert(&list.name.clone(), list),
        }
        Ok(())
    }

    pub(crate) fn append_list(&mut self, list: ListInfo) -> Outcome {
        let order = self.next_order();
        let previous = self
            .lists
            .get_mut(&list.name)
            .ok_or_else(|| invalid(list.place, ERROR_NO_PREVIOUS_LIST))?;
        previous.items.extend(list.items);
        previous.order.visibility = order;
        Ok(())
    }

    pub(crate) fn define_macro(&mut self, mut definition: MacroInfo) -> Outcome {
        self.check_room(definition.place)?;
        let order = self.next_order();
        definition.order = Order { index: order, visibility: order };
        match self.macros.get_mut(&definition.name) {
            Some(previous) => {
                definition.order.index = previous.order.index;
                *previous = definition;
            }
            None => self.macros.insert(&definition.name.clone(), definition),
        }
        Ok(())
    }

    pub(crate) fn append_macro(&mut self, definition: &MacroInfo) -> Outcome {
        let order = self.next_order();
        let previous = self
            .macros
            .get_mut(&definition.name)
            .ok_or_else(|| invalid(definition.place, ERROR_NO_PREVIOUS_MACRO))?;
        previous.condition.append(&definition.condition);
        previous.order.visibility = order;
        Ok(())
    }

    fn check_same_source(&self, name: &str, source: &str, place: Place) -> Outcome {
        match self.rules.get(name) {
            Some(previous)
                if !previous.source.is_empty()
                    && !source.is_empty()
                    && previous.source != source =>
            {
                Err(invalid(place, "Rule has been re-defined with a different source"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn define_rule(&mut self, mut rule: RuleInfo, report: &mut Report<'_>) -> Outcome {
        self.check_room(rule.place)?;
        self.check_same_source(&rule.name, &rule.source, rule.place)?;
        if !self.known.knows_source(&rule.source) {
            rule.unknown_source = true;
            let message = format!("Unknown source {}, skipping", rule.source);
            report.push(Problem::warning(code::UNKNOWN_SOURCE, rule.place, message));
        }
        for exception in &mut rule.exceptions {
            if !exception.fields.is_valid() {
                return Err(invalid(
                    exception.place,
                    "Rule exception item must have fields property with a list of fields",
                ));
            }
            let source = (!rule.unknown_source).then_some(rule.source.as_str());
            validate_exception(self.known, source, exception)?;
        }
        match self.rules.get_mut(&rule.name) {
            Some(previous) => *previous = rule,
            None => self.rules.insert(&rule.name.clone(), rule),
        }
        Ok(())
    }

    pub(crate) fn enable_rule(&mut self, name: &str, enabled: bool, place: Place) -> Outcome {
        let previous = self.rules.get_mut(name).ok_or_else(|| {
            invalid(place, "Rule has 'enabled' key but no rule by that name already exists")
        })?;
        previous.enabled = enabled;
        Ok(())
    }

    pub(crate) fn append_rule(&mut self, update: RuleUpdate) -> Outcome {
        self.check_same_source(&update.name, &update.source, update.place)?;
        let known = self.known;
        let previous = self
            .rules
            .get_mut(&update.name)
            .ok_or_else(|| invalid(update.place, ERROR_NO_PREVIOUS_RULE_APPEND))?;
        if !update.has_any() {
            return Err(invalid(
                update.place,
                "Appended rule must have exceptions or condition property",
            ));
        }
        if let Some(condition) = &update.condition
            && !condition.text.is_empty()
        {
            previous.condition.append(condition);
        }
        append_text(&mut previous.output, update.output.as_deref());
        append_text(&mut previous.description, update.description.as_deref());
        previous.tags.extend(update.tags.into_iter().flatten());
        for exception in update.exceptions.into_iter().flatten() {
            append_exception(known, previous, exception)?;
        }
        Ok(())
    }

    pub(crate) fn replace_in_rule(&mut self, update: RuleUpdate) -> Outcome {
        self.check_same_source(&update.name, &update.source, update.place)?;
        let known = self.known;
        let previous = self
            .rules
            .get_mut(&update.name)
            .ok_or_else(|| invalid(update.place, ERROR_NO_PREVIOUS_RULE_REPLACE))?;
        if !update.has_any() {
            return Err(invalid(
                update.place,
                "The rule must have at least one field that can be replaced",
            ));
        }
        if let Some(mut exceptions) = update.exceptions {
            let source = (!previous.unknown_source).then_some(previous.source.as_str());
            for exception in &mut exceptions {
                validate_exception(known, source, exception)?;
            }
            previous.exceptions = exceptions;
        }
        if let Some(condition) = update.condition {
            previous.condition = condition;
        }
        replace(&mut previous.output, update.output);
        replace(&mut previous.description, update.description);
        replace(&mut previous.tags, update.tags);
        replace(&mut previous.priority, update.priority);
        replace(&mut previous.capture, update.capture);
        replace(&mut previous.capture_duration_ms, update.capture_duration_ms);
        replace(&mut previous.enabled, update.enabled);
        replace(&mut previous.warn_evttypes, update.warn_evttypes);
        replace(&mut previous.skip_if_unknown_filter, update.skip_if_unknown_filter);
        replace(&mut previous.actions, update.actions);
        Ok(())
    }
}

fn replace<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn append_text(target: &mut String, more: Option<&str>) {
    if let Some(more) = more
        && !more.is_empty()
    {
        target.push(' ');
        target.push_str(more);
    }
}

fn append_exception(
    known: &dyn KnownFields,
    rule: &mut RuleInfo,
    mut exception: Exception,
) -> Outcome {
    let place = exception.place;
    if let Some(previous) = rule.exceptions.iter_mut().find(|e| e.name == exception.name) {
        if exception.fields.is_valid() {
            return Err(invalid(
                place,
                "Can not append exception fields to existing exception, only values",
            ));
        }
        if exception.comps.is_valid() {
            return Err(invalid(
                place,
                "Can not append exception comps to existing exception, only values",
            ));
        }
        previous.values.extend(exception.values);
        return Ok(());
    }
    if !exception.fields.is_valid() {
        return Err(invalid(
            place,
            "Rule exception must have fields property with a list of fields",
        ));
    }
    if exception.values.is_empty() {
        return Err(invalid(
            place,
            "Rule exception must have values property with a list of values",
        ));
    }
    let source = (!rule.unknown_source).then_some(rule.source.as_str());
    validate_exception(known, source, &mut exception)?;
    rule.exceptions.push(exception);
    Ok(())
}

const RELATIONS: [Relation; 19] = [
    Relation::Equal,
    Relation::NotEqual,
    Relation::Less,
    Relation::LessOrEqual,
    Relation::Greater,
    Relation::GreaterOrEqual,
    Relation::Contains,
    Relation::IContains,
    Relation::BContains,
    Relation::StartsWith,
    Relation::BStartsWith,
    Relation::EndsWith,
    Relation::Glob,
    Relation::IGlob,
    Relation::Regex,
    Relation::In,
    Relation::Intersects,
    Relation::PMatch,
    Relation::Exists,
];

fn relation_named(name: &str) -> Option<Relation> {
    if name == "==" {
        return Some(Relation::Equal);
    }
    RELATIONS.into_iter().find(|relation| relation.name() == name)
}

/// Whether `text` is a relation with a quantifier: `startswith oneof`.
fn is_quantified(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(name, quantifier)| {
        Quantifier::ALL.iter().any(|(_, word)| *word == quantifier)
            && relation_named(name).is_some_and(Relation::takes_modifier)
    })
}

/// Whether the right side of `comp` is a list.
pub(crate) fn comp_takes_list(comp: &str) -> bool {
    relation_named(comp).is_some_and(Relation::takes_list) || is_quantified(comp)
}

fn validate_exception(
    known: &dyn KnownFields,
    source: Option<&str>,
    exception: &mut Exception,
) -> Outcome {
    let place = exception.place;
    let check_field = |field: &str| match source {
        Some(source) if !known.is_left_side(source, field) => {
            Err(invalid(place, format!("'{field}' is not a supported filter field")))
        }
        _ => Ok(()),
    };
    let trim = |entry: &mut Entry| {
        entry.item = entry.item.trim_matches([' ', '\t', '\r', '\n']).to_owned();
    };
    if exception.fields.is_list {
        if !exception.comps.is_valid() {
            let items = vec![Entry::scalar("="); exception.fields.items.len()];
            exception.comps = Entry { item: String::new(), items, is_list: true };
        }
        if exception.fields.items.len() != exception.comps.items.len() {
            return Err(invalid(place, "Fields and comps lists must have equal length"));
        }
        for comp in &mut exception.comps.items {
            trim(comp);
            if relation_named(&comp.item).is_none() && !is_quantified(&comp.item) {
                let message = format!("'{}' is not a supported comparison operator", comp.item);
                return Err(invalid(place, message));
            }
        }
        return exception.fields.items.iter().try_for_each(|field| check_field(&field.item));
    }
    if !exception.comps.is_valid() {
        exception.comps = Entry::scalar("in");
    }
    if exception.comps.is_list {
        return Err(invalid(place, "Fields and comps must both be strings"));
    }
    trim(&mut exception.comps);
    if !comp_takes_list(&exception.comps.item) {
        return Err(invalid(
            place,
            "When fields is a single value, comps must be one of (in, pmatch, intersects) or a \
             modifier operator (e.g. startswith oneof)",
        ));
    }
    check_field(&exception.fields.item)
}

//! The event types for which a condition can hold.
//!
//! Falco derives them from checks of `evt.type` alone: `and` intersects, `or` unites,
//! `not` is pushed down to the checks, and every other check says nothing.

use crate::ast::{Comparison, Expr, Operand, Relation, Right};
use crate::fields::Schema;

/// A set of event types of one schema, by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventTypes {
    words: Vec<u64>,
}

/// Whether this field is the type of the event.
pub(crate) fn is_event_type_field(name: &str) -> bool {
    name == "evt.type"
}

impl EventTypes {
    /// No event types.
    pub fn none() -> Self {
        Self::default()
    }

    /// All event types of a schema that have a name.
    pub fn all(schema: &dyn Schema) -> Self {
        let mut set = Self::none();
        for (number, name) in schema.event_types().iter().enumerate() {
            if !name.is_empty()
                && let Ok(number) = u16::try_from(number)
            {
                set.insert(number);
            }
        }
        set
    }

    /// Adds an event type.
    pub fn insert(&mut self, number: u16) {
        let word = usize::from(number) / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (number % 64);
    }

    /// Whether the event type is in the set.
    pub fn contains(&self, number: u16) -> bool {
        self.words
            .get(usize::from(number) / 64)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Adds all event types of another set.
    pub fn extend(&mut self, other: &Self) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// The event types, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.words.iter().enumerate().flat_map(|(i, word)| {
            (0..64_usize)
                .filter(move |bit| word & (1 << bit) != 0)
                .filter_map(move |bit| u16::try_from(i * 64 + bit).ok())
        })
    }

    /// The number of event types.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The event types for which a condition without macros can hold.
    pub fn of_condition(expr: &Expr, schema: &dyn Schema) -> Self {
        let all = Self::all(schema);
        Search { schema, all: &all }.expr(expr, false)
    }

    fn intersect(&mut self, other: &Self) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(i).copied().unwrap_or(0);
        }
    }

    fn inverted(&self, all: &Self) -> Self {
        let words = all.words.iter().enumerate();
        let words =
            words.map(|(i, word)| word & !self.words.get(i).copied().unwrap_or(0)).collect();
        Self { words }
    }
}

struct Search<'s> {
    schema: &'s dyn Schema,
    all: &'s EventTypes,
}

impl Search<'_> {
    fn expr(&self, expr: &Expr, negated: bool) -> EventTypes {
        match expr {
            Expr::Not(child, _) => self.expr(child, !negated),
            // De Morgan: a negated `and` is an `or` of negated children.
            Expr::And(children, _) if !negated => self.intersection(children, negated),
            Expr::Or(children, _) if negated => self.intersection(children, negated),
            Expr::And(children, _) | Expr::Or(children, _) => {
                let mut set = EventTypes::none();
                for child in children {
                    set.extend(&self.expr(child, negated));
                }
                set
            }
            Expr::Exists(operand, _) if is_event_type(operand) && negated => EventTypes::none(),
            Expr::Compare(comparison, _) if is_event_type(&comparison.left) => {
                self.comparison(comparison, negated)
            }
            Expr::Exists(..) | Expr::Compare(..) | Expr::Macro(..) => self.all.clone(),
        }
    }

    fn intersection(&self, children: &[Expr], negated: bool) -> EventTypes {
        let mut set = self.all.clone();
        for child in children {
            set.intersect(&self.expr(child, negated));
        }
        set
    }

    fn comparison(&self, comparison: &Comparison, negated: bool) -> EventTypes {
        let operator = comparison.operator;
        let is_set =
            matches!(operator.relation, Relation::Equal | Relation::NotEqual | Relation::In)
                && operator.quantifier.is_none();
        let names = match &comparison.right {
            Right::Value(name, _) if is_set => std::slice::from_ref(name),
            Right::List(names, _) if is_set => names.as_slice(),
            _ => return self.all.clone(),
        };
        let mut numbers = Vec::new();
        for name in names {
            self.schema.event_numbers(name, &mut numbers);
        }
        let mut set = EventTypes::none();
        for number in numbers {
            set.insert(number);
        }
        if negated != (operator.relation == Relation::NotEqual) {
            return set.inverted(self.all);
        }
        set
    }
}

fn is_event_type(operand: &Operand) -> bool {
    matches!(operand, Operand::Field(field)
        if field.argument.is_none() && matches!(field.name.as_str(), "evt.type" | "syscall.type"))
}

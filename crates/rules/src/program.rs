//! The compiled rules of one source and their evaluation.
//!
//! For each event type the rules that can match it are laid out once: checks of the
//! event's type are decided, what is left is grouped by common conjuncts (one false
//! check dismisses its whole group), and rules that need a text to be one of a few are
//! found by looking the text up. Results of nodes are remembered for the event.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::ast::Relation;
use crate::compile::Compiler;
use crate::event_types::EventTypes;
use crate::extract::{Extraction, Scratch};
use crate::fields::{Fields, Schema, Value};
use crate::graph::{CheckId, Graph, Node, NodeId, Over, Test};
use crate::matcher::{Matcher, WordHasher, compare_values};
use crate::operand::{OperandId, Operands};

/// A group is split by common conjuncts this many times at most.
const GROUP_DEPTH_MAX: usize = 8;

/// Conjuncts by which one group is split at most; laying out many rules stays linear.
const GROUP_GUARDS_MAX: usize = 64;

/// Fewer rules than this are not worth a look-up.
const LOOK_UP_RULES_MIN: usize = 4;

/// The compiled rules of one source.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) source: String,
    pub(crate) operands: Operands,
    graph: Graph,
    groups: Vec<Group>,
    /// The group of each event type; the first group is empty.
    group_of: Vec<u32>,
}

/// Rules that are looked at together.
#[derive(Debug, Default)]
struct Group {
    /// Rule and what is left of its condition.
    rules: Vec<(u32, NodeId)>,
    /// Rules below a common conjunct.
    guarded: Vec<(NodeId, Group)>,
    /// Rules found by the text of an operand.
    look_ups: Vec<LookUp>,
}

/// A rule and what is left of its condition.
type Candidate = (u32, NodeId);

#[derive(Debug)]
struct LookUp {
    operand: OperandId,
    rules_of: HashMap<Box<[u8]>, Vec<Candidate>, BuildHasherDefault<WordHasher>>,
}

/// Memory of evaluations, kept between events.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    scratch: Scratch,
    /// For each node twice the event's number, plus one if it holds.
    results: Vec<u32>,
    epoch: u32,
}

impl Program {
    /// Lays out `rules`, pairs of a rule's number and its condition. Also returns for
    /// each rule the event types for which it can hold.
    pub(crate) fn new(
        mut compiler: Compiler<'_>,
        rules: &[(u32, NodeId)],
    ) -> (Self, Vec<EventTypes>) {
        let schema = compiler.schema;
        let event_checks = event_checks(&compiler);
        let mut builder = Builder {
            event_types: vec![EventTypes::none(); rules.len()],
            groups: vec![Group::default()],
            by_decision: HashMap::new(),
            graph: std::mem::take(&mut compiler.graph),
        };
        let n_types = schema.event_types().len().min(usize::from(u16::MAX));
        let mut group_of = Vec::with_capacity(n_types);
        for number in 0..n_types as u16 {
            group_of.push(builder.group_for(number, schema, &event_checks, rules));
        }
        let mut operands = compiler.operands;
        operands.freeze();
        let program = Self {
            source: schema.source().to_owned(),
            operands,
            graph: builder.graph,
            groups: builder.groups,
            group_of,
        };
        (program, builder.event_types)
    }

    /// Appends the numbers of the rules that match `event`, in no order, with repetitions.
    pub(crate) fn evaluate<F: Fields + ?Sized>(
        &self,
        event: &F,
        memory: &mut Memory,
        matched: &mut Vec<u32>,
    ) {
        let group = self.group_of.get(usize::from(event.event_type())).copied().unwrap_or(0);
        if group == 0 {
            return;
        }
        if memory.results.len() < self.graph.nodes.len() {
            memory.results.resize(self.graph.nodes.len(), 0);
        }
        memory.epoch += 2;
        if memory.epoch >= u32::MAX - 2 {
            memory.results.fill(0);
            memory.epoch = 2;
        }
        let mut run = Run {
            program: self,
            results: &mut memory.results,
            epoch: memory.epoch,
            extraction: Extraction::new(&self.operands, event, &mut memory.scratch),
        };
        run.group(&self.groups[group as usize], matched);
        run.extraction.finish();
    }

    /// Numbers of distinct operands, checks and nodes.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.operands.len(), self.graph.checks.len(), self.graph.nodes.len())
    }
}

/// The checks that the event's type decides.
fn event_checks(compiler: &Compiler<'_>) -> Vec<CheckId> {
    (0..compiler.graph.checks.len())
        .filter_map(|i| u32::try_from(i).ok())
        .map(CheckId)
        .filter(|id| {
            let check = compiler.graph.check(*id);
            compiler.is_event_type(check.operand) && !matches!(check.test, Test::Operand(..))
        })
        .collect()
}

struct Builder {
    event_types: Vec<EventTypes>,
    groups: Vec<Group>,
    /// Event types that decide the same checks the same way share a group.
    by_decision: HashMap<Option<Vec<bool>>, (u32, Vec<usize>)>,
    graph: Graph,
}

impl Builder {
    fn group_for(
        &mut self,
        number: u16,
        schema: &dyn Schema,
        event_checks: &[CheckId],
        rules: &[(u32, NodeId)],
    ) -> u32 {
        let name = schema.event_types().get(usize::from(number)).copied().unwrap_or_default();
        let decision = if schema.event_names_itself(number) {
            None
        } else if name.is_empty() {
            return 0;
        } else {
            let value = Value::Text(name.as_bytes());
            let decide = |id: &CheckId| match &self.graph.check(*id).test {
                Test::Exists => true,
                Test::Match(_, matcher) => matcher.holds(value),
                Test::Operand(..) => false,
            };
            Some(event_checks.iter().map(decide).collect::<Vec<bool>>())
        };
        if let Some((group, members)) = self.by_decision.get(&decision) {
            for rule in members {
                self.event_types[*rule].insert(number);
            }
            return *group;
        }
        let decided: HashMap<CheckId, bool> = match &decision {
            None => HashMap::new(),
            Some(decision) => event_checks.iter().copied().zip(decision.iter().copied()).collect(),
        };
        let mut memo = HashMap::new();
        let mut members = Vec::new();
        let mut left = Vec::new();
        for (i, (rule, root)) in rules.iter().enumerate() {
            let node =
                self.graph.specialise(*root, &|check| decided.get(&check).copied(), &mut memo);
            if node != Graph::FALSE {
                self.event_types[i].insert(number);
                members.push(i);
                left.push((*rule, self.conjuncts(node)));
            }
        }
        let group = if left.is_empty() {
            0
        } else {
            let group = self.group(left, 0);
            self.groups.push(group);
            u32::try_from(self.groups.len() - 1).unwrap_or(0)
        };
        self.by_decision.insert(decision, (group, members));
        group
    }

    fn conjuncts(&self, node: NodeId) -> Vec<NodeId> {
        match self.graph.node(node) {
            Node::And(children) => children.to_vec(),
            Node::True => vec![],
            _ => vec![node],
        }
    }

    /// Groups rules by what they have in common, the most common first.
    fn group(&mut self, mut rules: Vec<(u32, Vec<NodeId>)>, depth: usize) -> Group {
        let mut group = Group::default();
        while group.guarded.len() < GROUP_GUARDS_MAX
            && let Some(guard) = most_common(&rules, depth)
        {
            let mut below = Vec::new();
            rules.retain_mut(|(rule, conjuncts)| {
                let Some(at) = conjuncts.iter().position(|node| *node == guard) else {
                    return true;
                };
                conjuncts.remove(at);
                below.push((*rule, std::mem::take(conjuncts)));
                false
            });
            let inner = self.group(below, depth + 1);
            group.guarded.push((guard, inner));
        }
        self.add_look_ups(&mut rules, &mut group);
        for (rule, conjuncts) in rules {
            let node = self.graph.and(conjuncts);
            group.rules.push((rule, node));
        }
        group
    }

    /// Moves the rules that need a text to be one of some into look-ups.
    fn add_look_ups(&mut self, rules: &mut Vec<(u32, Vec<NodeId>)>, group: &mut Group) {
        while let Some(operand) = self.best_look_up(rules) {
            let mut look_up = LookUp { operand, rules_of: HashMap::default() };
            let mut kept = Vec::new();
            for (rule, mut conjuncts) in std::mem::take(rules) {
                let found =
                    conjuncts.iter().position(|node| self.text_operand(*node) == Some(operand));
                let Some(at) = found else {
                    kept.push((rule, conjuncts));
                    continue;
                };
                let texts = self.texts(conjuncts.remove(at));
                let rest = self.graph.and(conjuncts);
                for text in texts {
                    look_up.rules_of.entry(text).or_default().push((rule, rest));
                }
            }
            *rules = kept;
            group.look_ups.push(look_up);
        }
    }

    /// The operand by whose text most rules can be found, if it is worth it.
    fn best_look_up(&self, rules: &[(u32, Vec<NodeId>)]) -> Option<OperandId> {
        let mut counts: HashMap<OperandId, usize> = HashMap::new();
        for (_, conjuncts) in rules {
            let mut operands: Vec<OperandId> =
                conjuncts.iter().filter_map(|node| self.text_operand(*node)).collect();
            operands.sort();
            operands.dedup();
            for operand in operands {
                *counts.entry(operand).or_default() += 1;
            }
        }
        let best = counts.into_iter().max_by_key(|(operand, n)| (*n, std::cmp::Reverse(*operand)));
        best.filter(|(_, n)| *n >= LOOK_UP_RULES_MIN).map(|(operand, _)| operand)
    }

    /// The operand, if the node asks whether its text is one of some.
    fn text_operand(&self, node: NodeId) -> Option<OperandId> {
        let Node::Check(id) = self.graph.node(node) else {
            return None;
        };
        let check = self.graph.check(*id);
        match &check.test {
            Test::Match(Over::Any, Matcher::TextSet(_)) => Some(check.operand),
            Test::Match(Over::Any, Matcher::Constant(Relation::Equal, constant)) => {
                constant.bytes().map(|_| check.operand)
            }
            _ => None,
        }
    }

    /// The texts of such a node.
    fn texts(&self, node: NodeId) -> Vec<Box<[u8]>> {
        let Node::Check(id) = self.graph.node(node) else {
            return vec![];
        };
        match &self.graph.check(*id).test {
            Test::Match(_, Matcher::TextSet(set)) => set.iter().map(Into::into).collect(),
            Test::Match(_, Matcher::Constant(_, constant)) => {
                constant.bytes().map(Into::into).into_iter().collect()
            }
            _ => vec![],
        }
    }
}

/// The conjunct that most rules share, if any two share one.
fn most_common(rules: &[(u32, Vec<NodeId>)], depth: usize) -> Option<NodeId> {
    if depth >= GROUP_DEPTH_MAX {
        return None;
    }
    let mut counts: HashMap<NodeId, usize> = HashMap::new();
    for (_, conjuncts) in rules {
        for node in conjuncts {
            *counts.entry(*node).or_default() += 1;
        }
    }
    let (node, n) = counts.into_iter().max_by_key(|(node, n)| (*n, std::cmp::Reverse(*node)))?;
    (n >= 2).then_some(node)
}

struct Run<'p, 'e, F: Fields + ?Sized> {
    program: &'p Program,
    results: &'p mut [u32],
    epoch: u32,
    extraction: Extraction<'p, 'e, F>,
}

impl<F: Fields + ?Sized> Run<'_, '_, F> {
    fn group(&mut self, group: &Group, matched: &mut Vec<u32>) {
        for (rule, node) in &group.rules {
            if self.holds(*node) {
                matched.push(*rule);
            }
        }
        for look_up in &group.look_ups {
            let Some(slot) = self.extraction.slot(look_up.operand) else {
                continue;
            };
            for i in 0..slot.n_values() {
                let (Value::Text(text) | Value::Bytes(text)) = self.extraction.value(slot, i)
                else {
                    continue;
                };
                let Some(rules) = look_up.rules_of.get(text) else {
                    continue;
                };
                for (rule, node) in rules {
                    if self.holds(*node) {
                        matched.push(*rule);
                    }
                }
            }
        }
        for (guard, inner) in &group.guarded {
            if self.holds(*guard) {
                self.group(inner, matched);
            }
        }
    }

    fn holds(&mut self, id: NodeId) -> bool {
        let known = self.results[id.0 as usize];
        if known & !1 == self.epoch {
            return known & 1 == 1;
        }
        let program = self.program;
        let result = match program.graph.node(id) {
            Node::False => false,
            Node::True => true,
            Node::Check(check) => self.check(*check),
            Node::Not(child) => !self.holds(*child),
            Node::And(children) => children.iter().all(|child| self.holds(*child)),
            Node::Or(children) => children.iter().any(|child| self.holds(*child)),
        };
        self.results[id.0 as usize] = self.epoch | u32::from(result);
        result
    }

    fn check(&mut self, id: CheckId) -> bool {
        let check = self.program.graph.check(id);
        let Some(slot) = self.extraction.slot(check.operand) else {
            return false;
        };
        let n = slot.n_values();
        match &check.test {
            Test::Exists => true,
            Test::Match(Over::Any, matcher) => {
                (0..n).any(|i| matcher.holds(self.extraction.value(slot, i)))
            }
            Test::Match(Over::All, matcher) => {
                n > 0 && (0..n).all(|i| matcher.holds(self.extraction.value(slot, i)))
            }
            Test::Match(Over::AllOrNone, matcher) => {
                (0..n).all(|i| matcher.holds(self.extraction.value(slot, i)))
            }
            Test::Operand(relation, right) => self.compare(check.operand, slot, *relation, *right),
        }
    }

    fn compare(
        &mut self,
        left_operand: OperandId,
        left: crate::extract::Slot,
        relation: Relation,
        right: OperandId,
    ) -> bool {
        let Some(right) = self.extraction.slot(right) else {
            return false;
        };
        let extraction = &self.extraction;
        let is_in = |i: usize| {
            let value = extraction.value(left, i);
            (0..right.n_values())
                .any(|j| compare_values(Relation::Equal, value, extraction.value(right, j)))
        };
        if self.program.operands.info(left_operand).is_list {
            return match relation {
                Relation::In => (0..left.n_values()).all(is_in),
                Relation::Intersects => (0..left.n_values()).any(is_in),
                _ => false,
            };
        }
        if matches!(relation, Relation::In | Relation::Intersects) {
            return (0..left.n_values()).any(is_in);
        }
        if right.n_values() == 0 {
            return false;
        }
        let with = extraction.value(right, 0);
        (0..left.n_values()).any(|i| compare_values(relation, extraction.value(left, i), with))
    }
}

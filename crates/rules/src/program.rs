//! The compiled rules of one source and their evaluation.
//!
//! Results of nodes are remembered for the event, and so is what each
//! [`TextIndex`](crate::text_index::TextIndex) found.

use crate::ast::Relation;
use crate::compile::Compiler;
use crate::event_types::EventTypes;
use crate::extract::{Extraction, Scratch};
use crate::fields::{Fields, Value};
use crate::graph::{CheckId, Graph, Node, NodeId, Over, Test};
use crate::layout::{Builder, Candidate, Group, Layout};
use crate::matcher::compare_values;
use crate::operand::{OperandId, Operands};
use crate::text_index::{IndexId, TextIndexes};

/// The compiled rules of one source.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) source: String,
    pub(crate) operands: Operands,
    graph: Graph,
    indexes: TextIndexes,
    layout: Layout,
    /// The node of each check.
    node_of: Vec<NodeId>,
    /// The parts of stateful rules, which stand behind the rules, from [`PART_BASE`].
    pub(crate) parts: Vec<Part>,
}

/// Numbers from here on are parts of stateful rules.
pub(crate) const PART_BASE: u32 = 1 << 31;

/// One of the conditions of a stateful rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The rule's number.
    pub(crate) rule: u32,
    /// Which of its conditions.
    pub(crate) step: usize,
}

/// Memory of evaluations, kept between events.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    scratch: Scratch,
    /// For each node twice the event's number, plus one if it holds.
    results: Vec<u32>,
    /// For each index the number of the last event for which it was asked, and where what
    /// it found stands.
    found: Vec<Found>,
    /// The checks that indexes found to hold.
    holding: Vec<CheckId>,
    epoch: u32,
}

/// The checks of an index that hold for an event.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    epoch: u32,
    start: u32,
    end: u32,
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
        let graph = std::mem::take(&mut compiler.graph);
        let mut operands = compiler.operands;
        let indexes = TextIndexes::new(&graph, &operands);
        let mut builder = Builder::new(graph, &operands, &indexes, rules.len());
        let layout = builder.build(schema, &event_checks, rules);
        let Builder { mut graph, event_types, .. } = builder;
        let node_of = graph.nodes_of_checks();
        graph.freeze();
        operands.freeze();
        let source = schema.source().to_owned();
        (Self { source, operands, graph, indexes, layout, node_of, parts: vec![] }, event_types)
    }

    /// Appends the numbers of the rules that match `event`, in no order, with repetitions.
    pub(crate) fn evaluate<F: Fields + ?Sized>(
        &self,
        event: &F,
        memory: &mut Memory,
        matched: &mut Vec<u32>,
    ) {
        let group = self.layout.group_of.get(usize::from(event.event_type())).copied();
        let Some(group @ 1..) = group else { return };
        if memory.results.len() < self.graph.nodes.len() {
            memory.results.resize(self.graph.nodes.len(), 0);
            memory.found.resize(self.indexes.len(), Found::default());
        }
        memory.epoch += 2;
        if memory.epoch >= u32::MAX - 2 {
            memory.results.fill(0);
            memory.found.fill(Found::default());
            memory.epoch = 2;
        }
        memory.holding.clear();
        let mut run = Run {
            program: self,
            results: &mut memory.results,
            found: &mut memory.found,
            holding: &mut memory.holding,
            epoch: memory.epoch,
            extraction: Extraction::new(&self.operands, event, &mut memory.scratch),
        };
        run.group(&self.layout.groups[group as usize], matched);
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

struct Run<'p, 'e, F: Fields + ?Sized> {
    program: &'p Program,
    results: &'p mut [u32],
    found: &'p mut [Found],
    holding: &'p mut Vec<CheckId>,
    epoch: u32,
    extraction: Extraction<'p, 'e, F>,
}

impl<F: Fields + ?Sized> Run<'_, '_, F> {
    fn group(&mut self, group: &Group, matched: &mut Vec<u32>) {
        self.candidates(&group.rules, matched);
        for hook in &group.hooks {
            let found = self.ask(hook.index);
            for at in found.start..found.end {
                let check = self.holding[at as usize];
                self.candidates(hook.candidates(check), matched);
            }
        }
        for (guard, inner) in &group.guarded {
            if self.holds(*guard) {
                self.group(inner, matched);
            }
        }
    }

    fn candidates(&mut self, candidates: &[Candidate], matched: &mut Vec<u32>) {
        for candidate in candidates {
            if self.holds(candidate.node) {
                matched.extend_from_slice(&candidate.rules);
            }
        }
    }

    /// The checks of an index that hold; their nodes are remembered to.
    fn ask(&mut self, id: IndexId) -> Found {
        let known = self.found[id.0 as usize];
        if known.epoch == self.epoch {
            return known;
        }
        let start = u32::try_from(self.holding.len()).unwrap_or(u32::MAX);
        let index = self.program.indexes.get(id);
        if let Some(slot) = self.extraction.slot(index.operand) {
            let (results, holding) = (&mut *self.results, &mut *self.holding);
            let (program, epoch) = (self.program, self.epoch);
            let mut note = |check: CheckId| {
                let result = &mut results[program.node_of[check.0 as usize].0 as usize];
                // What was evaluated alone before stands in no list yet.
                if *result != epoch | 1 || !holding[start as usize..].contains(&check) {
                    *result = epoch | 1;
                    holding.push(check);
                }
            };
            for i in 0..slot.n_values() {
                if let Value::Text(text) | Value::Bytes(text) = self.extraction.value(slot, i) {
                    index.look_up(text, &mut note);
                }
            }
        }
        let end = u32::try_from(self.holding.len()).unwrap_or(u32::MAX);
        let found = Found { epoch: self.epoch, start, end };
        self.found[id.0 as usize] = found;
        found
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
        if let Some(index) = self.program.indexes.of(id)
            && self.found[index.0 as usize].epoch == self.epoch
        {
            // It would have been found, and remembered.
            return false;
        }
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

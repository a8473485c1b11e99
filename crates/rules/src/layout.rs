//! In which order rules are looked at for each event type.
//!
//! Checks of the event's type are decided beforehand. What is left of the rules is grouped
//! by what they have in common, so that one false check dismisses its whole group; and
//! where many rules need a text to be one of some, to begin with one, or the like, they
//! hang on the checks of a [`TextIndex`](crate::text_index::TextIndex): only those whose
//! check holds are looked at, however many there are.

use std::collections::{BTreeMap, HashMap};

use crate::event_types::EventTypes;
use crate::fields::{Schema, Value};
use crate::graph::{CheckId, Graph, Node, NodeId, Test};
use crate::operand::Operands;
use crate::text_index::{IndexId, TextIndexes, frequency};

/// A group is split by common conjuncts this many times at most.
const GROUP_DEPTH_MAX: usize = 8;

/// Conjuncts by which one group is split at most; laying out many rules stays linear.
const GROUP_GUARDS_MAX: usize = 64;

/// Fewer rules than this are not worth the look-up of a text.
const HOOKED_RULES_MIN: usize = 4;

/// A group of more rules than this is split only by what at least a quarter of them share,
/// as long as they can hang on texts instead.
const LARGE_GROUP_RULES: usize = 32;

/// Rules that are looked at together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Those that are always looked at.
    pub(crate) rules: Vec<Candidate>,
    /// Rules below a common conjunct.
    pub(crate) guarded: Vec<(NodeId, Group)>,
    /// Rules that hang on the checks of an index.
    pub(crate) hooks: Vec<Hook>,
}

/// Rules of which the same is left, by their numbers.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) rules: Box<[u32]>,
}

/// The rules that are looked at when checks of an index hold.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) index: IndexId,
    /// Sorted by the check.
    pub(crate) candidates_of: Vec<(CheckId, Box<[Candidate]>)>,
}

impl Hook {
    /// The rules that hang on `check`.
    pub(crate) fn candidates(&self, check: CheckId) -> &[Candidate] {
        match self.candidates_of.binary_search_by_key(&check, |(check, _)| *check) {
            Ok(at) => &self.candidates_of[at].1,
            Err(_) => &[],
        }
    }
}

/// The groups of one source's rules.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) groups: Vec<Group>,
    /// The group of each event type; the first group is empty.
    pub(crate) group_of: Vec<u32>,
}

/// Rules of which the same must hold, and what that is, apart from the guards that they lie
/// below.
type Rest = (Vec<u32>, Vec<NodeId>);

/// Checks of which one must hold for a rule.
#[derive(Debug, Clone, Default)]
struct Hooks {
    checks: Vec<CheckId>,
    /// How often one of them is expected to hold, in comparison with others.
    frequency: u32,
}

/// Lays rules out.
pub(crate) struct Builder<'b> {
    pub(crate) graph: Graph,
    pub(crate) operands: &'b Operands,
    pub(crate) indexes: &'b TextIndexes,
    pub(crate) event_types: Vec<EventTypes>,
    groups: Vec<Group>,
    /// Event types that decide the same checks the same way share a group.
    by_decision: HashMap<Option<Vec<bool>>, (u32, Vec<usize>)>,
    hooks_of: HashMap<NodeId, Option<Hooks>>,
}

impl<'b> Builder<'b> {
    pub(crate) fn new(
        graph: Graph,
        operands: &'b Operands,
        indexes: &'b TextIndexes,
        n_rules: usize,
    ) -> Self {
        Self {
            graph,
            operands,
            indexes,
            event_types: vec![EventTypes::none(); n_rules],
            groups: vec![Group::default()],
            by_decision: HashMap::new(),
            hooks_of: HashMap::new(),
        }
    }

    /// Lays out `rules` for every event type of `schema`, of which `event_checks` ask.
    pub(crate) fn build(
        &mut self,
        schema: &dyn Schema,
        event_checks: &[CheckId],
        rules: &[(u32, NodeId)],
    ) -> Layout {
        let n_types = schema.event_types().len().min(usize::from(u16::MAX));
        let mut group_of = Vec::with_capacity(n_types);
        for number in 0..n_types as u16 {
            group_of.push(self.group_for(number, schema, event_checks, rules));
        }
        Layout { groups: std::mem::take(&mut self.groups), group_of }
    }

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
        let mut left: Vec<Rest> = Vec::new();
        let mut known: HashMap<NodeId, usize> = HashMap::new();
        for (i, (rule, root)) in rules.iter().enumerate() {
            let node =
                self.graph.specialise(*root, &|check| decided.get(&check).copied(), &mut memo);
            if node != Graph::FALSE {
                self.event_types[i].insert(number);
                members.push(i);
                let at = *known.entry(node).or_insert_with(|| {
                    left.push((Vec::new(), self.conjuncts(node)));
                    left.len() - 1
                });
                left[at].0.push(*rule);
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

    /// Splits rules by what most of them have in common, hangs them on texts, and keeps
    /// the others for always.
    fn group(&mut self, mut rules: Vec<Rest>, depth: usize) -> Group {
        let mut group = Group::default();
        let n_shared_min = |n_rules: usize| match n_rules {
            LARGE_GROUP_RULES.. => n_rules / 4,
            _ => 2,
        };
        while let Some((guard, n)) = self.most_common(&rules, depth)
            && n >= n_shared_min(rules.len())
            && group.guarded.len() < GROUP_GUARDS_MAX
        {
            let below = take_guarded(&mut rules, guard);
            let inner = self.group(below, depth + 1);
            group.guarded.push((guard, inner));
        }
        self.add_hooks(&mut rules, &mut group);
        while let Some((guard, _)) = self.most_common(&rules, depth)
            && group.guarded.len() < GROUP_GUARDS_MAX
        {
            let below = take_guarded(&mut rules, guard);
            let inner = self.group(below, depth + 1);
            group.guarded.push((guard, inner));
        }
        for (rules, conjuncts) in rules {
            let node = self.graph.and(conjuncts);
            group.rules.push(Candidate { node, rules: rules.into() });
        }
        group
    }

    /// The conjunct that most rules share, if any two share one. What must not hold is left
    /// out: it hardly ever dismisses a rule, and is remembered once it was looked at.
    fn most_common(&self, rules: &[Rest], depth: usize) -> Option<(NodeId, usize)> {
        if depth >= GROUP_DEPTH_MAX {
            return None;
        }
        let mut counts: HashMap<NodeId, usize> = HashMap::new();
        for (_, conjuncts) in rules {
            for node in conjuncts {
                if !matches!(self.graph.node(*node), Node::Not(_)) {
                    *counts.entry(*node).or_default() += 1;
                }
            }
        }
        let most = counts.into_iter().max_by_key(|(node, n)| (*n, std::cmp::Reverse(*node)))?;
        (most.1 >= 2).then_some(most)
    }

    /// Moves the rules that hang on enough texts with others into hooks.
    fn add_hooks(&mut self, rules: &mut Vec<Rest>, group: &mut Group) {
        if rules.len() < HOOKED_RULES_MIN {
            return;
        }
        let choices: Vec<Vec<(usize, Hooks)>> = rules
            .iter()
            .map(|(_, conjuncts)| {
                let hooks = conjuncts.iter().enumerate();
                hooks.filter_map(|(at, node)| Some((at, self.hooks(*node)?))).collect()
            })
            .collect();
        // How many rules could hang on each index: a look-up that serves many is cheap.
        let mut popularity: BTreeMap<IndexId, usize> = BTreeMap::new();
        for choices in &choices {
            let mut indexes: Vec<IndexId> =
                choices.iter().flat_map(|(_, hooks)| self.indexes_of(hooks)).collect();
            indexes.sort_unstable();
            indexes.dedup();
            for index in indexes {
                *popularity.entry(index).or_default() += 1;
            }
        }
        let cost = |hooks: &Hooks| {
            let look_ups: usize = self
                .indexes_of(hooks)
                .map(|index| 256 / popularity.get(&index).copied().unwrap_or(1))
                .sum();
            (look_ups as u64 + u64::from(hooks.frequency), hooks.checks.len())
        };
        let mut chosen: Vec<Option<&Hooks>> = choices
            .iter()
            .map(|choices| choices.iter().map(|(_, hooks)| hooks).min_by_key(|hooks| cost(hooks)))
            .collect();
        // An index that serves too few after all is given up, and with it their other hooks.
        loop {
            let mut n_served: BTreeMap<IndexId, usize> = BTreeMap::new();
            for hooks in chosen.iter().flatten() {
                for index in self.indexes_of(hooks) {
                    *n_served.entry(index).or_default() += 1;
                }
            }
            let is_idle =
                |index: IndexId| n_served.get(&index).is_some_and(|n| *n < HOOKED_RULES_MIN);
            let mut changed = false;
            for hooks in &mut chosen {
                if hooks.is_some_and(|hooks| self.indexes_of(hooks).any(is_idle)) {
                    (*hooks, changed) = (None, true);
                }
            }
            if !changed {
                break;
            }
        }
        let chosen: Vec<Option<Vec<CheckId>>> =
            chosen.into_iter().map(|hooks| hooks.map(|hooks| hooks.checks.clone())).collect();
        let mut by_index: BTreeMap<IndexId, BTreeMap<CheckId, Vec<Candidate>>> = BTreeMap::new();
        let mut kept = Vec::new();
        for ((numbers, conjuncts), checks) in std::mem::take(rules).into_iter().zip(chosen) {
            let Some(checks) = checks else {
                kept.push((numbers, conjuncts));
                continue;
            };
            // The whole rule is looked at: when one check holds, others may not.
            let candidate = Candidate { node: self.graph.and(conjuncts), rules: numbers.into() };
            for check in checks {
                if let Some(index) = self.indexes.of(check) {
                    let of_check = by_index.entry(index).or_default();
                    of_check.entry(check).or_default().push(candidate.clone());
                }
            }
        }
        *rules = kept;
        for (index, of_check) in by_index {
            let candidates_of = of_check
                .into_iter()
                .map(|(check, candidates)| (check, candidates.into_boxed_slice()))
                .collect();
            group.hooks.push(Hook { index, candidates_of });
        }
    }

    /// The indexes that hold some checks, each once.
    fn indexes_of<'h>(&'h self, hooks: &'h Hooks) -> impl Iterator<Item = IndexId> + 'h {
        let mut indexes: Vec<IndexId> =
            hooks.checks.iter().filter_map(|check| self.indexes.of(*check)).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.into_iter()
    }

    /// Checks of indexes of which one must hold for `node` to hold, if there are such.
    fn hooks(&mut self, node: NodeId) -> Option<Hooks> {
        if let Some(known) = self.hooks_of.get(&node) {
            return known.clone();
        }
        let found = match self.graph.node(node).clone() {
            Node::Check(check) => self.indexes.of(check).map(|_| Hooks {
                checks: vec![check],
                frequency: frequency(self.graph.check(check), self.operands),
            }),
            Node::Or(children) => {
                let mut all = Some(Hooks::default());
                for child in children {
                    let hooks = self.hooks(child);
                    all = all.zip(hooks).map(|(mut all, hooks)| {
                        all.checks.extend(hooks.checks);
                        all.frequency = all.frequency.saturating_add(hooks.frequency);
                        all
                    });
                }
                all
            }
            Node::And(children) => {
                let hooks: Vec<Hooks> =
                    children.iter().filter_map(|child| self.hooks(*child)).collect();
                hooks.into_iter().min_by_key(|hooks| (hooks.frequency, hooks.checks.len()))
            }
            Node::False | Node::True | Node::Not(_) => None,
        };
        let found = found.map(|mut hooks| {
            hooks.checks.sort_unstable();
            hooks.checks.dedup();
            hooks
        });
        self.hooks_of.insert(node, found.clone());
        found
    }
}

/// Takes the rules that have the conjunct `guard` out of `rules`, without it.
fn take_guarded(rules: &mut Vec<Rest>, guard: NodeId) -> Vec<Rest> {
    let mut below = Vec::new();
    rules.retain_mut(|(numbers, conjuncts)| {
        let Some(at) = conjuncts.iter().position(|node| *node == guard) else {
            return true;
        };
        conjuncts.remove(at);
        below.push((std::mem::take(numbers), std::mem::take(conjuncts)));
        false
    });
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;
    use crate::compile::Compiler;
    use crate::fields::{ArgumentRule, FieldDefinition, FieldId};

    struct OneText([FieldDefinition; 2]);

    impl Schema for OneText {
        fn source(&self) -> &'static str {
            "test"
        }

        fn fields(&self) -> &[FieldDefinition] {
            &self.0
        }

        fn event_types(&self) -> &[&'static str] {
            &["", "open"]
        }
    }

    fn schema() -> OneText {
        let field = |name, value_type| FieldDefinition {
            name,
            value_type,
            is_list: false,
            argument: ArgumentRule::None,
            filterable: true,
            description: "",
        };
        OneText([
            field("fd.name", crate::fields::ValueType::Text),
            field("fd.num", crate::fields::ValueType::Int),
        ])
    }

    /// The layout of rules with these conditions, for the event type 1.
    fn lay_out(conditions: &[String]) -> (Layout, u32) {
        let schema = schema();
        assert_eq!(schema.field("fd.num").map(|(id, _)| id), Some(FieldId(1)));
        let mut compiler = Compiler::new(&schema);
        let mut warnings = Vec::new();
        let mut compile = |text: &String| {
            let tree: Expr = crate::parser::parse_condition(text).unwrap();
            compiler.condition(&tree, &mut warnings).unwrap()
        };
        let roots: Vec<_> = (0..).zip(conditions.iter().map(&mut compile)).collect();
        let graph = std::mem::take(&mut compiler.graph);
        let indexes = TextIndexes::new(&graph, &compiler.operands);
        let mut builder = Builder::new(graph, &compiler.operands, &indexes, roots.len());
        let layout = builder.build(&schema, &[], &roots);
        let group = layout.group_of[1];
        (layout, group)
    }

    #[test]
    fn many_rules_hang_on_the_texts_that_they_need() {
        let kinds = ["=", "startswith", "endswith", "contains"];
        let conditions: Vec<String> = (0..400)
            .map(|i| {
                let kind = kinds[i % 4];
                format!(
                    "fd.num > 3 and (fd.name {kind} /x{i} or fd.name = y{i}) and not fd.name = z{i}"
                )
            })
            .collect();
        let (layout, group) = lay_out(&conditions);
        let group = &layout.groups[group as usize];
        assert!(group.rules.is_empty() && group.hooks.is_empty(), "{group:?}");
        let [(_, inner)] = &group.guarded[..] else { panic!("{} guards", group.guarded.len()) };
        assert!(inner.rules.is_empty(), "no rule is looked at for every event");
        assert_eq!(inner.hooks.len(), 4, "one look for each kind of question");
        let n_checks: usize = inner.hooks.iter().map(|hook| hook.candidates_of.len()).sum();
        // Of those that ask for equality, both texts are one check.
        assert_eq!(n_checks, 400 + 300);
    }

    #[test]
    fn equal_rules_are_one_candidate() {
        let (layout, group) = lay_out(&vec!["fd.num > 3 or fd.name exists".to_owned(); 50]);
        let group = &layout.groups[group as usize];
        let [candidate] = &group.rules[..] else { panic!("{group:?}") };
        assert_eq!(candidate.rules.len(), 50);
    }

    #[test]
    fn few_rules_are_looked_at_one_by_one() {
        let conditions: Vec<String> = (0..3).map(|i| format!("fd.name = y{i}")).collect();
        let (layout, group) = lay_out(&conditions);
        assert_eq!(layout.groups[group as usize].rules.len(), 3);
    }
}

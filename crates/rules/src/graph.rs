//! All conditions of one source as one graph of distinct checks.
//!
//! Nodes are numbered and equal nodes share a number, across rules: what two rules have
//! in common is looked at once per event. Children always have smaller numbers than
//! their parents, so the graph cannot be cyclic.

use std::collections::HashMap;

use crate::ast::{Quantifier, Relation};
use crate::matcher::Matcher;
use crate::operand::OperandId;

/// Number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// Number of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CheckId(pub(crate) u32);

/// A boolean expression over checks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    False,
    True,
    Check(CheckId),
    Not(NodeId),
    And(Box<[NodeId]>),
    Or(Box<[NodeId]>),
}

/// How the values of an operand decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Over {
    /// Any value satisfies the matcher.
    Any,
    /// There is a value and all satisfy it.
    All,
    /// The operand is there, whatever its values: lists may be empty and yet hold.
    AllOrNone,
}

/// What makes two checks the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CheckKey {
    pub(crate) operand: OperandId,
    pub(crate) relation: Relation,
    pub(crate) quantifier: Option<Quantifier>,
    pub(crate) right: RightKey,
}

/// The right side of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RightKey {
    /// Constants as written; sorted where their order does not matter.
    Constants(Vec<String>),
    Operand(OperandId),
}

/// What a check does with the values of its operand.
#[derive(Debug)]
pub(crate) enum Test {
    /// The operand has a value.
    Exists,
    /// The matcher decides over the values.
    Match(Over, Matcher),
    /// The values are compared with another operand's.
    Operand(Relation, OperandId),
}

/// A distinct question about an event.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) operand: OperandId,
    pub(crate) test: Test,
    pub(crate) key: CheckKey,
}

/// The checks and nodes of one source.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) checks: Vec<Check>,
    pub(crate) nodes: Vec<Node>,
    by_key: HashMap<CheckKey, CheckId>,
    by_node: HashMap<Node, NodeId>,
}

impl Graph {
    pub(crate) const FALSE: NodeId = NodeId(0);
    pub(crate) const TRUE: NodeId = NodeId(1);

    pub(crate) fn new() -> Self {
        let mut graph = Self::default();
        graph.intern(Node::False);
        graph.intern(Node::True);
        graph
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn check(&self, id: CheckId) -> &Check {
        &self.checks[id.0 as usize]
    }

    fn intern(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.by_node.get(&node) {
            return *id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.by_node.insert(node.clone(), id);
        self.nodes.push(node);
        id
    }

    /// The check of `key`, made by `build` if there is none yet.
    pub(crate) fn add_check<E>(
        &mut self,
        key: CheckKey,
        build: impl FnOnce() -> Result<Test, E>,
    ) -> Result<NodeId, E> {
        let id = if let Some(id) = self.by_key.get(&key) {
            *id
        } else {
            let test = build()?;
            let id = CheckId(u32::try_from(self.checks.len()).unwrap_or(u32::MAX));
            self.by_key.insert(key.clone(), id);
            self.checks.push(Check { operand: key.operand, test, key });
            id
        };
        Ok(self.intern(Node::Check(id)))
    }

    pub(crate) fn not(&mut self, child: NodeId) -> NodeId {
        match self.node(child) {
            Node::False => Self::TRUE,
            Node::True => Self::FALSE,
            Node::Not(inner) => *inner,
            _ => self.intern(Node::Not(child)),
        }
    }

    pub(crate) fn and(&mut self, children: impl IntoIterator<Item = NodeId>) -> NodeId {
        self.join(
            children,
            Self::TRUE,
            Self::FALSE,
            |node| match node {
                Node::And(children) => Some(children),
                _ => None,
            },
            Node::And,
        )
    }

    pub(crate) fn or(&mut self, children: impl IntoIterator<Item = NodeId>) -> NodeId {
        self.join(
            children,
            Self::FALSE,
            Self::TRUE,
            |node| match node {
                Node::Or(children) => Some(children),
                _ => None,
            },
            Node::Or,
        )
    }

    /// Joins children: neutral ones go, a deciding one decides, nested ones of the same
    /// kind are merged, repeated ones are kept once.
    fn join(
        &mut self,
        children: impl IntoIterator<Item = NodeId>,
        neutral: NodeId,
        deciding: NodeId,
        nested: fn(&Node) -> Option<&[NodeId]>,
        make: fn(Box<[NodeId]>) -> Node,
    ) -> NodeId {
        let mut flat: Vec<NodeId> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for child in children {
            let one = [child];
            for id in nested(self.node(child)).unwrap_or(&one) {
                if *id == deciding {
                    return deciding;
                }
                if *id != neutral && seen.insert(*id) {
                    flat.push(*id);
                }
            }
        }
        match flat[..] {
            [] => neutral,
            [only] => only,
            _ => self.intern(make(flat.into())),
        }
    }

    /// The node of each check.
    pub(crate) fn nodes_of_checks(&self) -> Vec<NodeId> {
        let mut nodes = vec![Self::FALSE; self.checks.len()];
        for (node, number) in self.nodes.iter().zip(0..) {
            if let Node::Check(check) = node {
                nodes[check.0 as usize] = NodeId(number);
            }
        }
        nodes
    }

    /// Forgets what only adding needs.
    pub(crate) fn freeze(&mut self) {
        self.by_key = HashMap::new();
        self.by_node = HashMap::new();
        self.nodes.shrink_to_fit();
        self.checks.shrink_to_fit();
    }

    /// `node` with some checks decided.
    pub(crate) fn specialise(
        &mut self,
        node: NodeId,
        decide: &dyn Fn(CheckId) -> Option<bool>,
        memo: &mut HashMap<NodeId, NodeId>,
    ) -> NodeId {
        if let Some(done) = memo.get(&node) {
            return *done;
        }
        let result = match self.node(node).clone() {
            Node::False | Node::True => node,
            Node::Check(check) => match decide(check) {
                Some(true) => Self::TRUE,
                Some(false) => Self::FALSE,
                None => node,
            },
            Node::Not(child) => {
                let child = self.specialise(child, decide, memo);
                self.not(child)
            }
            Node::And(children) => {
                let children: Vec<NodeId> =
                    children.iter().map(|child| self.specialise(*child, decide, memo)).collect();
                self.and(children)
            }
            Node::Or(children) => {
                let children: Vec<NodeId> =
                    children.iter().map(|child| self.specialise(*child, decide, memo)).collect();
                self.or(children)
            }
        };
        memo.insert(node, result);
        result
    }
}

//! All positive text checks of one operand, answered by one look at its value.
//!
//! Rules ask the same text many questions: is it one of these, does it start with that.
//! An index answers the questions of one kind together, so that the time depends on the
//! length of the text and on the answers that are yes, hardly on how many are asked. It
//! only names the checks that hold; every other check of its kind does not.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use aho_corasick::automaton::{Automaton as _, OverlappingState};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, Input};

use crate::ast::{Quantifier, Relation};
use crate::fields::ValueType;
use crate::graph::{Check, CheckId, Graph, Over, RightKey, Test};
use crate::matcher::WordHasher;
use crate::operand::{OperandId, Operands};

/// The questions that one index answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Equal to one of some texts.
    Exact,
    /// Starts with one of them.
    Prefix,
    /// Ends with one of them.
    Suffix,
    /// Contains one of them.
    Part,
    /// The same, ASCII letters of either case.
    FoldedPart,
}

/// Number of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IndexId(pub(crate) u32);

/// The checks of one kind over one operand.
#[derive(Debug)]
pub(crate) struct TextIndex {
    pub(crate) operand: OperandId,
    texts: Texts,
    /// The checks of each text.
    checks: Vec<Box<[CheckId]>>,
}

#[derive(Debug)]
enum Texts {
    Exact {
        numbers: HashMap<Box<[u8]>, u32, BuildHasherDefault<WordHasher>>,
        length_max: usize,
    },
    Prefix(Trie),
    Suffix(Trie),
    /// The automaton numbers its patterns as they were given.
    Part(Box<NFA>),
}

/// The indexes of one source's checks.
#[derive(Debug, Default)]
pub(crate) struct TextIndexes {
    indexes: Vec<TextIndex>,
    /// The index that answers each check, if one does.
    index_of: Vec<Option<IndexId>>,
}

/// A check, and the texts that it asks about.
type Question<'g> = (CheckId, &'g [String]);

/// The texts that a check asks about, if an index can answer it.
fn question<'g>(check: &'g Check, operands: &Operands) -> Option<(Kind, &'g [String])> {
    let Test::Match(Over::Any, _) = check.test else { return None };
    let RightKey::Constants(texts) = &check.key.right else { return None };
    let info = operands.info(check.operand);
    if !matches!(info.value_type, ValueType::Text | ValueType::Path) {
        return None;
    }
    let kind = match (check.key.relation, check.key.quantifier) {
        (Relation::Equal, None | Some(Quantifier::Any))
        | (Relation::In | Relation::Intersects, None) => Kind::Exact,
        (Relation::StartsWith, None | Some(Quantifier::Any)) => Kind::Prefix,
        (Relation::EndsWith, None | Some(Quantifier::Any)) => Kind::Suffix,
        (Relation::Contains, None | Some(Quantifier::Any)) => Kind::Part,
        (Relation::IContains, None | Some(Quantifier::Any)) => Kind::FoldedPart,
        _ => return None,
    };
    Some((kind, texts))
}

/// How often a check that an index answers is expected to hold, in comparison with others:
/// texts that must be all of a value hold rarely, short parts often.
pub(crate) fn frequency(check: &Check, operands: &Operands) -> u32 {
    let Some((kind, texts)) = question(check, operands) else { return u32::MAX };
    let of_text = |text: &String| match (kind, text.len()) {
        (Kind::Exact, _) => 1,
        (_, 0..=1) => 64,
        (Kind::Prefix, 2..=5) => 8,
        (Kind::Part | Kind::FoldedPart, 2..=3) => 12,
        (Kind::Part | Kind::FoldedPart, _) => 4,
        (Kind::Prefix, _) => 3,
        (Kind::Suffix, _) => 2,
    };
    texts.iter().map(of_text).fold(0, u32::saturating_add)
}

impl TextIndexes {
    /// The indexes of the checks of `graph`.
    pub(crate) fn new(graph: &Graph, operands: &Operands) -> Self {
        let mut groups: HashMap<(OperandId, Kind), Vec<Question<'_>>> = HashMap::new();
        for (number, check) in graph.checks.iter().enumerate() {
            if let Some((kind, texts)) = question(check, operands) {
                let id = CheckId(u32::try_from(number).unwrap_or(u32::MAX));
                groups.entry((check.operand, kind)).or_default().push((id, texts));
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        let mut all = Self { indexes: Vec::new(), index_of: vec![None; graph.checks.len()] };
        for ((operand, kind), members) in groups {
            let Some(index) = TextIndex::new(operand, kind, &members) else { continue };
            let id = IndexId(u32::try_from(all.indexes.len()).unwrap_or(u32::MAX));
            all.indexes.push(index);
            for (check, _) in members {
                all.index_of[check.0 as usize] = Some(id);
            }
        }
        all
    }

    /// The index that answers `check`, if one does.
    pub(crate) fn of(&self, check: CheckId) -> Option<IndexId> {
        self.index_of.get(check.0 as usize).copied().flatten()
    }

    pub(crate) fn get(&self, id: IndexId) -> &TextIndex {
        &self.indexes[id.0 as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.indexes.len()
    }
}

impl TextIndex {
    fn new(operand: OperandId, kind: Kind, members: &[Question<'_>]) -> Option<Self> {
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        let (mut texts, mut checks) = (Vec::<&[u8]>::new(), Vec::<Vec<CheckId>>::new());
        for (check, asked) in members {
            for text in *asked {
                let text = text.as_bytes();
                let number = *numbers.entry(text).or_insert_with(|| {
                    texts.push(text);
                    checks.push(Vec::new());
                    texts.len() - 1
                });
                if checks[number].last() != Some(check) {
                    checks[number].push(*check);
                }
            }
        }
        let numbered = || texts.iter().zip(0_u32..);
        let texts = match kind {
            Kind::Exact => Texts::Exact {
                numbers: numbered().map(|(text, number)| ((*text).into(), number)).collect(),
                length_max: texts.iter().map(|text| text.len()).max().unwrap_or(0),
            },
            Kind::Prefix => Texts::Prefix(Trie::new(
                numbered().map(|(text, number)| (text.iter().copied(), number)),
            )),
            Kind::Suffix => Texts::Suffix(Trie::new(
                numbered().map(|(text, number)| (text.iter().rev().copied(), number)),
            )),
            Kind::Part | Kind::FoldedPart => {
                let mut builder = NFA::builder();
                builder.ascii_case_insensitive(kind == Kind::FoldedPart);
                Texts::Part(Box::new(builder.build(&texts).ok()?))
            }
        };
        let checks = checks.into_iter().map(Vec::into_boxed_slice).collect();
        Some(Self { operand, texts, checks })
    }

    /// Passes each check that holds for `text` to `found`; one may be passed repeatedly.
    pub(crate) fn look_up(&self, text: &[u8], found: &mut impl FnMut(CheckId)) {
        let mut pass = |number: u32| {
            if let Some(checks) = self.checks.get(number as usize) {
                checks.iter().copied().for_each(&mut *found);
            }
        };
        match &self.texts {
            Texts::Exact { numbers, length_max } => {
                if text.len() <= *length_max
                    && let Some(number) = numbers.get(text)
                {
                    pass(*number);
                }
            }
            Texts::Prefix(trie) => trie.walk(text.iter().copied(), &mut pass),
            Texts::Suffix(trie) => trie.walk(text.iter().rev().copied(), &mut pass),
            Texts::Part(automaton) => {
                let input = Input::new(text).anchored(Anchored::No);
                let mut state = OverlappingState::start();
                while automaton.try_find_overlapping(&input, &mut state).is_ok()
                    && let Some(at) = state.get_match()
                {
                    pass(at.pattern().as_u32());
                }
            }
        }
    }
}

/// Texts by their first bytes.
#[derive(Debug)]
struct Trie {
    nodes: Vec<TrieNode>,
}

#[derive(Debug, Default)]
struct TrieNode {
    /// The next bytes, sorted, and the nodes that they lead to.
    bytes: Vec<u8>,
    next: Vec<u32>,
    /// The number of the text that ends here.
    text: Option<u32>,
}

impl Trie {
    fn new<T: Iterator<Item = u8>>(texts: impl Iterator<Item = (T, u32)>) -> Self {
        let mut nodes = vec![TrieNode::default()];
        for (text, number) in texts {
            let mut at = 0;
            for byte in text {
                at = match nodes[at].bytes.binary_search(&byte) {
                    Ok(i) => nodes[at].next[i] as usize,
                    Err(i) => {
                        let new = nodes.len();
                        nodes[at].bytes.insert(i, byte);
                        nodes[at].next.insert(i, u32::try_from(new).unwrap_or(u32::MAX));
                        nodes.push(TrieNode::default());
                        new
                    }
                };
            }
            nodes[at].text = Some(number);
        }
        Self { nodes }
    }

    /// Passes the numbers of the texts that `bytes` begin with.
    fn walk(&self, mut bytes: impl Iterator<Item = u8>, found: &mut impl FnMut(u32)) {
        let mut node = &self.nodes[0];
        loop {
            if let Some(number) = node.text {
                found(number);
            }
            let Some(byte) = bytes.next() else { return };
            // Most nodes have one byte, and few more than a dozen.
            let Some(i) = node.bytes.iter().position(|next| *next == byte) else { return };
            node = &self.nodes[node.next[i] as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, asked: &[&[&str]], text: &str, expected: &[u32]) {
        let owned: Vec<Vec<String>> =
            asked.iter().map(|texts| texts.iter().map(ToString::to_string).collect()).collect();
        let members: Vec<Question<'_>> =
            owned.iter().enumerate().map(|(i, texts)| (CheckId(i as u32), &texts[..])).collect();
        let index = TextIndex::new(OperandId(0), kind, &members).unwrap();
        let mut found = Vec::new();
        index.look_up(text.as_bytes(), &mut |check| found.push(check.0));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected, "{kind:?} {text}");
    }

    #[test]
    fn every_check_that_holds_is_found_and_no_other() {
        let asked: &[&[&str]] = &[&["/etc", "ssh"], &["/etc/"], &["ssh", "/"], &["", "x"]];
        check(Kind::Exact, asked, "ssh", &[0, 2]);
        check(Kind::Exact, asked, "", &[3]);
        check(Kind::Exact, asked, "ssh ", &[]);
        check(Kind::Prefix, asked, "/etc/ssh", &[0, 1, 2, 3]);
        check(Kind::Prefix, asked, "/et", &[2, 3]);
        check(Kind::Suffix, asked, "/usr/bin/ssh", &[0, 2, 3]);
        check(Kind::Suffix, asked, "/etc", &[0, 3]);
        check(Kind::Part, asked, "a/etc/b", &[0, 1, 2, 3]);
        check(Kind::Part, &[&["ssh"], &["sshd"], &["h"]], "xsshdx", &[0, 1, 2]);
        check(Kind::FoldedPart, &[&["SSH"], &["telnet"]], "openSsh", &[0]);
        check(Kind::Part, &[&["a"]], "", &[]);
    }
}

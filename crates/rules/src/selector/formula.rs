//! Formulas over atoms, and their disjunctive normal form.

use std::collections::BTreeMap;

use super::{ATOMS_MAX, Atom, TERMS_MAX, Term};

/// A condition, specialised to one type of events, with negations at its leaves.
#[derive(Debug, Clone)]
pub(super) enum Formula {
    Constant(bool),
    /// An atom's number, and whether it must not hold.
    Literal(usize, bool),
    /// What the kernel cannot decide: the number of the obstacle.
    Unknown(usize),
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// The atoms of one event, each once.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    list: Vec<Atom>,
    numbers: BTreeMap<Atom, usize>,
}

/// A bound was hit; the words name it.
pub(super) struct TooLarge(pub(super) &'static str, pub(super) usize);

impl Atoms {
    /// The number of an atom.
    pub(super) fn add(&mut self, atom: Atom) -> usize {
        let next = self.list.len();
        let number = *self.numbers.entry(atom.clone()).or_insert(next);
        if number == next {
            self.list.push(atom);
        }
        number
    }
}

impl Formula {
    /// A literal of an atom.
    pub(super) fn atom(atoms: &mut Atoms, atom: Atom, negated: bool) -> Self {
        Self::Literal(atoms.add(atom), negated)
    }

    /// All of `parts`.
    pub(super) fn and(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, true)
    }

    /// One of `parts`.
    pub(super) fn or(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, false)
    }

    /// `and` absorbs what is true and ends at what is false, `or` the other way round.
    fn joined(parts: impl IntoIterator<Item = Self>, is_and: bool) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Constant(value) if value == is_and => {}
                Self::Constant(value) => return Self::Constant(value),
                Self::And(children) if is_and => kept.extend(children),
                Self::Or(children) if !is_and => kept.extend(children),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Constant(is_and),
            1 => kept.remove(0),
            _ if is_and => Self::And(kept),
            _ => Self::Or(kept),
        }
    }

    /// The first obstacle left.
    pub(super) fn unknown(&self) -> Option<usize> {
        match self {
            Self::Unknown(number) => Some(*number),
            Self::And(children) | Self::Or(children) => children.iter().find_map(Self::unknown),
            Self::Constant(_) | Self::Literal(..) => None,
        }
    }

    /// The formula with every obstacle taken for true: it holds whenever the other does.
    pub(super) fn relaxed(self) -> Self {
        match self {
            Self::Unknown(_) => Self::Constant(true),
            Self::And(children) => Self::and(children.into_iter().map(Self::relaxed)),
            Self::Or(children) => Self::or(children.into_iter().map(Self::relaxed)),
            leaf => leaf,
        }
    }

    /// The disjunctive normal form; no terms if the formula is false. What is left unknown
    /// is false. Also returns the atoms that the terms name, numbered anew.
    pub(super) fn terms(&self, atoms: &Atoms) -> Result<(Vec<Atom>, Vec<Term>), TooLarge> {
        let sets = self.sets()?;
        // Numbers are given in the order of use, so that those of dropped atoms do not count.
        let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
        let mut used = Vec::new();
        for literal in sets.iter().flatten() {
            let next = u32::try_from(used.len()).unwrap_or(u32::MAX);
            let number = *numbers.entry(*literal.0).or_insert(next);
            if number == next
                && let Some(atom) = atoms.list.get(*literal.0)
            {
                used.push(atom.clone());
            }
        }
        if used.len() > ATOMS_MAX {
            return Err(TooLarge("questions", ATOMS_MAX));
        }
        let mut terms: Vec<Term> = sets.iter().map(|set| term(set, &numbers)).collect();
        terms.sort_unstable();
        Ok((used, terms))
    }

    fn sets(&self) -> Result<Vec<Set>, TooLarge> {
        match self {
            Self::Constant(true) => Ok(vec![Set::new()]),
            Self::Constant(false) | Self::Unknown(_) => Ok(Vec::new()),
            Self::Literal(atom, negated) => Ok(vec![Set::from([(*atom, *negated)])]),
            Self::Or(children) => {
                let mut sets = Vec::new();
                for child in children {
                    for set in child.sets()? {
                        add(&mut sets, set)?;
                    }
                }
                Ok(sets)
            }
            Self::And(children) => {
                let mut sets = vec![Set::new()];
                for child in children {
                    let right = child.sets()?;
                    let mut product = Vec::new();
                    for (left, right) in
                        sets.iter().flat_map(|left| right.iter().map(move |right| (left, right)))
                    {
                        if let Some(set) = united(left, right) {
                            add(&mut product, set)?;
                        }
                    }
                    sets = product;
                }
                Ok(sets)
            }
        }
    }
}

/// A conjunction of literals.
type Set = BTreeMap<usize, bool>;

/// Both conjunctions; nothing if they contradict each other.
fn united(left: &Set, right: &Set) -> Option<Set> {
    let mut set = left.clone();
    for (atom, negated) in right {
        if set.insert(*atom, *negated).is_some_and(|before| before != *negated) {
            return None;
        }
    }
    Some(set)
}

/// Adds a conjunction unless a shorter one covers it, and drops those that it covers.
fn add(sets: &mut Vec<Set>, new: Set) -> Result<(), TooLarge> {
    let covers = |short: &Set, long: &Set| short.iter().all(|(a, n)| long.get(a) == Some(n));
    if sets.iter().any(|set| covers(set, &new)) {
        return Ok(());
    }
    sets.retain(|set| !covers(&new, set));
    if sets.len() >= TERMS_MAX {
        return Err(TooLarge("alternatives", TERMS_MAX));
    }
    sets.push(new);
    Ok(())
}

fn term(set: &Set, numbers: &BTreeMap<usize, u32>) -> Term {
    let mut term = Term { need: 0, forbid: 0 };
    for (atom, negated) in set {
        let bit = numbers.get(atom).map_or(0, |number| 1 << number);
        if *negated {
            term.forbid |= bit;
        } else {
            term.need |= bit;
        }
    }
    term
}

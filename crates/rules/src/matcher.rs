//! One compiled check over the values of an operand.
//!
//! Everything that depends on the constant alone (parsing, hashing, automata) happens
//! here once; [`Matcher::holds`] allocates nothing.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, Input, StartKind};
use ipnet::IpNet;
use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::ast::{Quantifier, Relation};
use crate::constant::Constant;
use crate::fields::Value;
use crate::glob::Glob;
use crate::prefix::PathSet;

/// A check of a value against constants.
#[derive(Debug)]
pub(crate) enum Matcher {
    /// No value satisfies it: a quantifier over nothing.
    Never,
    /// A relation with one constant that needs no preparation.
    Constant(Relation, Constant),
    /// Text that contains a needle.
    Contains(Box<Finder<'static>>),
    /// Text that contains a needle, ASCII letters of either case; or one of several
    /// needles.
    ContainsAny(Box<AhoCorasick>),
    /// Text that starts with one of several.
    StartsWithAny(Box<AhoCorasick>),
    /// Text that ends with one of several.
    EndsWithAny(Vec<Box<[u8]>>),
    /// One of some texts.
    TextSet(ByteSet),
    /// One of some other constants.
    ConstantSet(Vec<Constant>),
    /// fnmatch(3).
    Glob(Glob),
    /// A pattern for the whole value.
    Regex(Box<Regex>),
    /// `pmatch`.
    Paths(PathSet),
    /// How many of the parts hold.
    Quantified(Quantifier, Vec<Self>),
}

/// A set of byte strings that is quick to refuse.
#[derive(Debug)]
pub(crate) struct ByteSet {
    members: HashSet<Box<[u8]>, BuildHasherDefault<WordHasher>>,
    length_min: usize,
    length_max: usize,
}

impl ByteSet {
    pub(crate) fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut set = Self { members: HashSet::default(), length_min: usize::MAX, length_max: 0 };
        for value in values {
            set.length_min = set.length_min.min(value.len());
            set.length_max = set.length_max.max(value.len());
            set.members.insert(value.into());
        }
        set
    }

    pub(crate) fn contains(&self, value: &[u8]) -> bool {
        (self.length_min..=self.length_max).contains(&value.len()) && self.members.contains(value)
    }
}

/// A hash over words. The sets' members come from rules, never from events, so nobody
/// who could choose collisions gains by it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct WordHasher(u64);

impl WordHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0_u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    fn write_u32(&mut self, n: u32) {
        self.add(u64::from(n));
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

impl Matcher {
    /// Compiles a relation with constants of one type.
    pub(crate) fn new(
        relation: Relation,
        quantifier: Option<Quantifier>,
        constants: &[Constant],
    ) -> Result<Self, String> {
        if let Some(quantifier) = quantifier {
            return Self::quantified(relation, quantifier, constants);
        }
        match relation {
            Relation::In | Relation::Intersects => Ok(Self::set(constants)),
            Relation::PMatch => {
                Ok(Self::Paths(PathSet::new(constants.iter().filter_map(Constant::bytes))))
            }
            _ => match constants.first() {
                Some(constant) => Self::single(relation, constant),
                None => Ok(Self::Never),
            },
        }
    }

    fn quantified(
        relation: Relation,
        quantifier: Quantifier,
        constants: &[Constant],
    ) -> Result<Self, String> {
        if constants.is_empty() {
            return Ok(Self::Never);
        }
        if quantifier == Quantifier::Any && relation == Relation::Equal {
            return Ok(Self::set(constants));
        }
        let texts: Option<Vec<&[u8]>> = constants.iter().map(Constant::bytes).collect();
        if let (Quantifier::Any, Some(texts)) = (quantifier, texts)
            && let Some(matcher) = Self::any_of(relation, &texts)
        {
            return Ok(matcher);
        }
        let parts = constants
            .iter()
            .map(|constant| Self::single(relation, constant))
            .collect::<Result<_, _>>()?;
        Ok(Self::Quantified(quantifier, parts))
    }

    fn set(constants: &[Constant]) -> Self {
        if constants.iter().all(|constant| constant.bytes().is_some()) {
            Self::TextSet(ByteSet::new(constants.iter().filter_map(Constant::bytes)))
        } else {
            Self::ConstantSet(constants.to_vec())
        }
    }

    fn single(relation: Relation, constant: &Constant) -> Result<Self, String> {
        let Some(bytes) = constant.bytes() else {
            return Ok(Self::Constant(relation, constant.clone()));
        };
        Ok(match relation {
            Relation::Contains | Relation::BContains => {
                Self::Contains(Box::new(Finder::new(bytes).into_owned()))
            }
            Relation::IContains => Self::ContainsAny(automaton(&[bytes], true, false)?),
            Relation::Glob => Self::Glob(Glob::new(bytes, false)),
            Relation::IGlob => Self::Glob(Glob::new(bytes, true)),
            Relation::Regex => {
                let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
                let regex = crate::pattern::compile(text)
                    .map_err(|error| format!("invalid regex pattern: {error}"))?;
                Self::Regex(Box::new(regex))
            }
            _ => Self::Constant(relation, constant.clone()),
        })
    }

    /// One check for several of the same relation joined by `or`, if that is quicker.
    pub(crate) fn any_of(relation: Relation, texts: &[&[u8]]) -> Option<Self> {
        match relation {
            Relation::StartsWith => automaton(texts, false, true).ok().map(Self::StartsWithAny),
            Relation::Contains => automaton(texts, false, false).ok().map(Self::ContainsAny),
            Relation::EndsWith => {
                Some(Self::EndsWithAny(texts.iter().map(|text| (*text).into()).collect()))
            }
            Relation::Equal | Relation::In => {
                Some(Self::TextSet(ByteSet::new(texts.iter().copied())))
            }
            _ => None,
        }
    }

    /// Whether `value` satisfies the check.
    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Self::Never => false,
            Self::Constant(relation, constant) => constant.compare(*relation, value),
            Self::ConstantSet(constants) => {
                constants.iter().any(|constant| constant.compare(Relation::Equal, value))
            }
            Self::Quantified(quantifier, parts) => {
                let mut holding = parts.iter().filter(|part| part.holds(value));
                match quantifier {
                    Quantifier::One => holding.next().is_some() && holding.next().is_none(),
                    Quantifier::Any => holding.next().is_some(),
                    Quantifier::All => parts.iter().all(|part| part.holds(value)),
                }
            }
            _ => match value {
                Value::Text(bytes) | Value::Bytes(bytes) => self.holds_bytes(bytes),
                _ => false,
            },
        }
    }

    fn holds_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Contains(finder) => finder.find(bytes).is_some(),
            Self::ContainsAny(automaton) => automaton.is_match(bytes),
            Self::StartsWithAny(automaton) => {
                automaton.find(Input::new(bytes).anchored(Anchored::Yes)).is_some()
            }
            Self::EndsWithAny(ends) => ends.iter().any(|end| bytes.ends_with(end)),
            Self::TextSet(set) => set.contains(bytes),
            Self::Glob(glob) => glob.matches(bytes),
            Self::Regex(regex) => regex.is_match(bytes),
            Self::Paths(paths) => paths.matches(bytes),
            Self::Never | Self::Constant(..) | Self::ConstantSet(_) | Self::Quantified(..) => false,
        }
    }
}

fn automaton(needles: &[&[u8]], fold: bool, anchored: bool) -> Result<Box<AhoCorasick>, String> {
    AhoCorasick::builder()
        .ascii_case_insensitive(fold)
        .start_kind(if anchored { StartKind::Anchored } else { StartKind::Unanchored })
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(needles)
        .map(Box::new)
        .map_err(|error| error.to_string())
}

/// Compares two values of one type, for a field on each side.
pub(crate) fn compare_values(relation: Relation, left: Value<'_>, right: Value<'_>) -> bool {
    match Constant::of_value(right) {
        // Borrowed text is compared without a copy.
        None => match (left, right) {
            (Value::Text(l) | Value::Bytes(l), Value::Text(r) | Value::Bytes(r)) => {
                compare_bytes(relation, l, r)
            }
            _ => false,
        },
        Some(constant) => constant.compare(relation, left),
    }
}

/// Compares texts or buffers.
pub(crate) fn compare_bytes(relation: Relation, left: &[u8], right: &[u8]) -> bool {
    match relation {
        Relation::Equal | Relation::In | Relation::Intersects => left == right,
        Relation::NotEqual => left != right,
        Relation::Less => left < right,
        Relation::LessOrEqual => left <= right,
        Relation::Greater => left > right,
        Relation::GreaterOrEqual => left >= right,
        Relation::Contains | Relation::BContains => memchr::memmem::find(left, right).is_some(),
        Relation::IContains => {
            right.is_empty()
                || left.windows(right.len()).any(|window| window.eq_ignore_ascii_case(right))
        }
        Relation::StartsWith | Relation::BStartsWith => left.starts_with(right),
        Relation::EndsWith => left.ends_with(right),
        Relation::Glob => Glob::new(right, false).matches(left),
        Relation::IGlob => Glob::new(right, true).matches(left),
        // Refused when the rule is compiled.
        Relation::Regex | Relation::PMatch => false,
        Relation::Exists => true,
    }
}

/// Compares an address with an address.
pub(crate) fn compare_ip(relation: Relation, left: IpAddr, right: IpAddr) -> bool {
    match relation {
        Relation::NotEqual => left != right,
        Relation::Equal | Relation::In | Relation::Intersects => left == right,
        _ => false,
    }
}

/// Compares an address with a network; another family is not in it.
pub(crate) fn compare_net(relation: Relation, left: IpAddr, right: &IpNet) -> bool {
    match relation {
        Relation::NotEqual => !right.contains(&left),
        Relation::Equal | Relation::In | Relation::Intersects => right.contains(&left),
        _ => false,
    }
}

//! What a rule costs, estimated from its condition.
//!
//! The engine asks each distinct predicate at most once an event, whatever the number of
//! rules that ask it, and stops as soon as a rule is decided. An estimate therefore ranks
//! rules; it does not say how long an event takes. `measure` does.

use std::collections::BTreeMap;

use palisade_rules::ast::Relation;
use palisade_rules::{Predicate, Rule, RuleSet, predicates};

/// The estimate of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Estimate {
    /// Predicates as often as they are written.
    pub(super) n_written: usize,
    /// Distinct predicates.
    pub(super) predicates: Vec<Predicate>,
    /// Those of them that another rule that is on asks as well, with the number of such rules.
    pub(super) shared: Vec<(String, usize)>,
    /// Costly predicates by kind.
    pub(super) costly: BTreeMap<&'static str, Vec<String>>,
    /// Units of work if every predicate is asked; one unit is one comparison of a number.
    pub(super) units: u64,
    /// Place among the rules that are on and this one, the dearest first, from 1.
    pub(super) rank: usize,
    /// How many rules were ranked.
    pub(super) n_ranked: usize,
}

/// Estimates `rule`, which must have kept its expression.
pub(super) fn estimate(set: &RuleSet, rule: &Rule) -> Option<Estimate> {
    let own = predicates(rule.expression.as_ref()?);
    let mut n_rules_by_text: BTreeMap<String, usize> = BTreeMap::new();
    let mut units_of_others = Vec::new();
    for other in set.rules().iter().filter(|other| other.enabled && other.name != rule.name) {
        let Some(expr) = &other.expression else { continue };
        let others = predicates(expr);
        units_of_others.push(units(&others));
        for predicate in others {
            *n_rules_by_text.entry(predicate.text).or_default() += 1;
        }
    }
    let shared = own
        .iter()
        .filter_map(|p| n_rules_by_text.get(&p.text).map(|n| (p.text.clone(), *n)))
        .collect();
    let mut costly: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for predicate in &own {
        for kind in costly_kinds(predicate) {
            costly.entry(kind).or_default().push(predicate.text.clone());
        }
    }
    let units = units(&own);
    Some(Estimate {
        n_written: own.iter().map(|p| p.n_uses).sum(),
        shared,
        costly,
        units,
        rank: 1 + units_of_others.iter().filter(|other| **other > units).count(),
        n_ranked: 1 + units_of_others.len(),
        predicates: own,
    })
}

fn units(predicates: &[Predicate]) -> u64 {
    predicates.iter().map(unit).sum()
}

/// Work of one predicate: of its operator, for each value that its field may have.
fn unit(predicate: &Predicate) -> u64 {
    use Relation as R;
    let operator = match predicate.relation {
        R::Exists
        | R::Equal
        | R::NotEqual
        | R::Less
        | R::LessOrEqual
        | R::Greater
        | R::GreaterOrEqual
        | R::StartsWith
        | R::BStartsWith
        | R::EndsWith => 1,
        R::In | R::Intersects => 2,
        R::Contains | R::BContains | R::PMatch => 4,
        R::Glob | R::IContains => 6,
        R::IGlob => 8,
        R::Regex => 12,
    };
    let values = if predicate.fields.iter().any(|field| walks_ancestors(field)) { 4 } else { 1 };
    operator * values
}

/// Why a predicate is costly, if it is.
fn costly_kinds(predicate: &Predicate) -> Vec<&'static str> {
    use Relation as R;
    let mut kinds = Vec::new();
    match predicate.relation {
        R::Regex => kinds.push("regular expression"),
        R::Glob | R::IGlob => kinds.push("glob"),
        R::Contains | R::IContains | R::BContains => kinds.push("search in text"),
        _ => {}
    }
    if predicate.fields.iter().any(|field| walks_ancestors(field)) {
        kinds.push("walk over the ancestors");
    }
    if predicate.fields.iter().any(|field| is_long(field)) {
        kinds.push("long text");
    }
    kinds
}

/// Fields whose values come from the ancestors.
const ANCESTOR_FIELDS: [&str; 8] = [
    "proc.aname",
    "proc.aexe",
    "proc.aexepath",
    "proc.aargs",
    "proc.acmdline",
    "proc.aenv",
    "proc.apid",
    "proc.loginshellid",
];

/// Fields that are put together from much.
const LONG_FIELDS: [&str; 6] =
    ["proc.env", "proc.aenv", "evt.args", "evt.info", "evt.buffer", "container.mounts"];

fn is_one_of(field: &str, names: &[&str]) -> bool {
    names.contains(&field.split('[').next().unwrap_or_default())
}

fn walks_ancestors(field: &str) -> bool {
    is_one_of(field, &ANCESTOR_FIELDS)
}

fn is_long(field: &str) -> bool {
    is_one_of(field, &LONG_FIELDS)
}

#[cfg(test)]
mod tests {
    use palisade_rules::{LoadOptions, fields::Schema as _};
    use palisade_sensor::SyscallSchema;

    use super::*;

    const RULES: &str = r"
- rule: Cheap
  desc: d
  condition: evt.type = open and proc.name = a
  output: o
  priority: INFO
- rule: Dear
  desc: d
  condition: evt.type = open and (proc.aname in (a, b) or proc.cmdline regex '.*a.*b' or not proc.aname in (b, a)) and fd.name glob /x*
  output: o
  priority: INFO
- rule: Off
  desc: d
  condition: evt.type = open and fd.name glob /x* and fd.num = 1
  output: o
  priority: INFO
  enabled: false
";

    fn set() -> RuleSet {
        let options = LoadOptions { keep_expressions: true, ..LoadOptions::default() };
        let (set, problems) = RuleSet::load(&[("f", RULES)], &[&SyscallSchema], &options);
        assert!(!problems.has_errors(), "{problems}");
        set
    }

    #[test]
    fn a_rule_is_taken_apart_and_ranked() {
        let set = set();
        let dear = estimate(&set, set.find("Dear").unwrap().1).unwrap();
        assert_eq!((dear.n_written, dear.predicates.len()), (5, 4));
        assert_eq!(dear.shared, [("evt.type = open".to_string(), 1)]);
        let kinds: Vec<&str> = dear.costly.keys().copied().collect();
        assert_eq!(kinds, ["glob", "regular expression", "walk over the ancestors"]);
        assert_eq!(dear.units, 1 + 2 * 4 + 12 + 6);
        assert_eq!((dear.rank, dear.n_ranked), (1, 2));
        let off = estimate(&set, set.find("Off").unwrap().1).unwrap();
        assert_eq!((off.rank, off.n_ranked), (2, 3));
        let shared: Vec<&str> = off.shared.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(shared, ["evt.type = open", "fd.name glob /x*"]);
    }

    #[test]
    fn every_listed_field_exists() {
        for field in ANCESTOR_FIELDS.iter().chain(&LONG_FIELDS) {
            assert!(SyscallSchema.field(field).is_some(), "{field}");
        }
    }
}

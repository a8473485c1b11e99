//! What a condition asks, piece by piece: for explanations, never for evaluation.

use std::collections::BTreeMap;

use crate::ast::{Expr, Operand, Relation, Right};
use crate::pretty::one_line;

/// A distinct question that a condition asks of an event: an existence check or a
/// comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate {
    /// The question in a form in which equal ones are equal text: lists sorted, repeated
    /// values left out.
    pub text: String,
    /// What is asked.
    pub relation: Relation,
    /// How many constants it is compared with; 0 with another field.
    pub n_constants: usize,
    /// The fields that it needs, with their arguments.
    pub fields: Vec<String>,
    /// How often the condition asks it.
    pub n_uses: usize,
}

/// The distinct predicates of a condition without macros, in the order in which they are
/// first asked.
pub fn predicates(expr: &Expr) -> Vec<Predicate> {
    let mut found: Vec<Predicate> = Vec::new();
    let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
    expr.visit_leaves(&mut |leaf| {
        let Some(predicate) = predicate(leaf) else { return };
        if let Some(at) = by_text.get(&predicate.text) {
            found[*at].n_uses += 1;
        } else {
            by_text.insert(predicate.text.clone(), found.len());
            found.push(predicate);
        }
    });
    found
}

fn predicate(leaf: &Expr) -> Option<Predicate> {
    let (relation, n_constants, right, left) = match leaf {
        Expr::Exists(operand, _) => (Relation::Exists, 0, None, operand),
        Expr::Compare(comparison, _) => {
            let (n, right) = match &comparison.right {
                Right::Value(..) => (1, None),
                Right::List(values, _) => (values.len(), None),
                Right::Operand(operand) => (0, Some(operand)),
            };
            (comparison.operator.relation, n, right, &comparison.left)
        }
        Expr::And(..) | Expr::Or(..) | Expr::Not(..) | Expr::Macro(..) => return None,
    };
    let mut fields = Vec::new();
    let mut add = |operand: &Operand| {
        operand.visit_fields(&mut |field| {
            let name = field.to_string();
            if !fields.contains(&name) {
                fields.push(name);
            }
        });
    };
    add(left);
    right.into_iter().for_each(add);
    Some(Predicate { text: one_line(&normalised(leaf)), relation, n_constants, fields, n_uses: 1 })
}

/// A leaf with its list sorted, where order and repetition do not matter.
fn normalised(leaf: &Expr) -> Expr {
    let mut leaf = leaf.clone();
    if let Expr::Compare(comparison, _) = &mut leaf {
        comparison.operator.doubled = false;
        // Exactly one of a list: a repeated value counts twice there.
        let is_set = comparison.operator.quantifier != Some(crate::ast::Quantifier::One);
        if let Right::List(values, _) = &mut comparison.right {
            values.sort();
            if is_set {
                values.dedup();
            }
        }
    }
    leaf
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse_condition;

    #[test]
    fn equal_questions_are_one_predicate() {
        let condition = "a.b in (y, x, x) and (c.d == 1 or not a.b in (x, y)) and c.d = 1 \
                         and e.f contains val(g.h) and a.b exists";
        let found = predicates(&parse_condition(condition).unwrap());
        let shown: Vec<(&str, usize, usize)> =
            found.iter().map(|p| (p.text.as_str(), p.n_constants, p.n_uses)).collect();
        assert_eq!(
            shown,
            [
                ("a.b in (x, y)", 3, 2),
                ("c.d = 1", 1, 2),
                ("e.f contains val(g.h)", 0, 1),
                ("a.b exists", 0, 1),
            ]
        );
        assert_eq!(found[2].fields, ["e.f", "g.h"]);
        assert_eq!(found[2].relation, Relation::Contains);
    }
}

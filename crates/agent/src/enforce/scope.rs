//! Which containers a rule can concern at all, by what its condition says of them.
//!
//! A container that no rule can concern is left alone: its programs are not asked about, and
//! wait for nobody. The answer errs to yes.

use palisade_rules::ast::{Comparison, Expr, Operand, Relation, Right};
use palisade_sensor::identity::Facts;

/// Whether `condition` may hold for some event of a container.
pub(super) fn may_concern(condition: &Expr, facts: &Facts) -> bool {
    holds(condition, facts) != Some(false)
}

/// Splits a condition into what it says of the container alone, which is known once for
/// each, and the rest, which is asked of every event.
pub(super) fn split(condition: &Expr) -> (Vec<Expr>, Expr) {
    let Expr::And(parts, position) = condition else {
        return (Vec::new(), condition.clone());
    };
    let (of_container, rest) = parts.iter().cloned().partition(is_of_container);
    (of_container, Expr::And(rest, *position))
}

/// Whether all parts are certain to hold in a container.
pub(super) fn hold(parts: &[Expr], facts: &Facts) -> bool {
    all(parts, facts, true) == Some(true)
}

/// Whether an expression asks for nothing but what is known of containers.
fn is_of_container(expr: &Expr) -> bool {
    let mut is_all = true;
    expr.visit_leaves(&mut |leaf| {
        is_all &= match leaf {
            Expr::Compare(comparison, _) => {
                matches!(&comparison.left, Operand::Field(field)
                    if field.argument.is_none() && FIELDS.contains(&field.name.as_str()))
                    && !matches!(comparison.right, Right::Operand(_))
            }
            _ => false,
        };
    });
    is_all
}

/// What [`known`] answers.
const FIELDS: [&str; 6] = [
    "container.id",
    "container.full_id",
    "container.name",
    "container.image",
    "container.image.repository",
    "container.image.tag",
];

/// Whether an expression holds for every event of the container, for none, or for some.
fn holds(expr: &Expr, facts: &Facts) -> Option<bool> {
    match expr {
        Expr::And(parts, _) => all(parts, facts, true),
        Expr::Or(parts, _) => all(parts, facts, false),
        Expr::Not(inner, _) => holds(inner, facts).map(|held| !held),
        Expr::Compare(comparison, _) => compare(comparison, facts),
        Expr::Macro(..) | Expr::Exists(..) => None,
    }
}

/// `wanted` when all parts are known to be so, its opposite when one is known to be that.
fn all(parts: &[Expr], facts: &Facts, wanted: bool) -> Option<bool> {
    let mut is_known = true;
    for part in parts {
        match holds(part, facts) {
            Some(held) if held != wanted => return Some(!wanted),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(wanted)
}

fn compare(comparison: &Comparison, facts: &Facts) -> Option<bool> {
    let Operand::Field(field) = &comparison.left else { return None };
    if field.argument.is_some() || comparison.operator.quantifier.is_some() {
        return None;
    }
    let text = known(&field.name, facts)?;
    Some(match (comparison.operator.relation, &comparison.right) {
        (Relation::Equal, Right::Value(value, _)) => text == value,
        (Relation::NotEqual, Right::Value(value, _)) => text != value,
        (Relation::StartsWith, Right::Value(value, _)) => text.starts_with(value),
        (Relation::EndsWith, Right::Value(value, _)) => text.ends_with(value),
        (Relation::Contains, Right::Value(value, _)) => text.contains(value),
        (Relation::In, Right::List(values, _)) => values.iter().any(|value| value == text),
        _ => return None,
    })
}

/// What is certain of the container; what an engine may still say is not.
fn known<'f>(field: &str, facts: &'f Facts) -> Option<&'f str> {
    let text = match field {
        "container.id" => facts.id.as_str(),
        "container.full_id" => &facts.full_id,
        // Of a container that no engine knows yet the id stands for the name.
        "container.name" if facts.container.name != facts.full_id => &facts.container.name,
        "container.image" => &facts.image,
        "container.image.repository" => &facts.image_repository,
        "container.image.tag" => &facts.image_tag,
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use palisade_model::ImageIdentity;
    use palisade_rules::parse_condition;

    use super::*;

    #[test]
    fn conditions_are_split() {
        let check = |condition: &str, n_of_container: usize, rest: &str| {
            let (of_container, left) = split(&parse_condition(condition).unwrap());
            assert_eq!((of_container.len(), left.to_string().as_str()), (n_of_container, rest));
        };
        check("evt.type = a and container.name = b", 1, "(evt.type = a)");
        check(
            "container.id != host and (container.name = b or container.image = c) and proc.name = d and proc.pid = 1",
            2,
            "(proc.name = d and proc.pid = 1)",
        );
        check("evt.type = a or container.name = b", 0, "(evt.type = a or container.name = b)");
        check(
            "evt.type = a and (proc.name = d or container.name = b)",
            0,
            "(evt.type = a and (proc.name = d or container.name = b))",
        );
        let facts = Facts::of(crate::testing::container("0123456789abcdef"));
        let parts = |text: &str| split(&parse_condition(text).unwrap()).0;
        assert!(hold(&parts("container.id = 0123456789ab and evt.type = a"), &facts));
        assert!(!hold(&parts("container.name = b and evt.type = a"), &facts));
        assert!(!hold(&parts("container.name glob b* and evt.type = a"), &facts), "not known");
        assert!(hold(&[], &facts));
    }

    #[test]
    fn only_what_is_certain_excludes() {
        let mut container = crate::testing::container("0123456789abcdef");
        container.name = "shop".into();
        container.image = Some(ImageIdentity { reference: "r/shop:1".into(), digest: None });
        let facts = Facts::of(container.clone());
        container.name.clone_from(&container.id);
        container.image = None;
        let bare = Facts::of(container);
        let check = |condition: &str, of_facts: bool, of_bare: bool| {
            let condition = parse_condition(condition).unwrap();
            assert_eq!(may_concern(&condition, &facts), of_facts, "{condition}");
            assert_eq!(may_concern(&condition, &bare), of_bare, "{condition}");
        };
        check("evt.type = execve", true, true);
        check("evt.type = execve and container.name = shop", true, true);
        check("evt.type = execve and container.name = db", false, true);
        check("container.name = db or container.name = cache", false, true);
        check("container.name = db or proc.pname = sh", true, true);
        check("not container.name = shop", false, true);
        check("not (container.name = db and proc.pname = sh)", true, true);
        check("not (container.name = shop or proc.pname = sh)", false, true);
        check("container.name in (db, cache)", false, true);
        check("container.image startswith r/ and container.image.tag != 1", false, true);
        check("container.image.repository endswith shop", true, true);
        check("container.id != host", true, true);
        check("container.id = host", false, false);
        check("container.name exists", true, true);
        check("container.name glob s*", true, true);
        check("container.label[a] = b", true, true);
    }
}

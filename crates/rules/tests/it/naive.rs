//! The plainest evaluator of conditions: walks the tree, reads constants anew each time,
//! remembers nothing. The compiled graph must give the same verdicts.

use std::net::IpAddr;

use palisade_rules::ast::{Comparison, Expr, Operand, Quantifier, Relation, Right, Transformer};
use palisade_rules::fields::{FieldArgument, Fields, Schema, Value, ValueType, Values};

use crate::schema::{Owned, TestEvent, TestSchema};

/// The values of an operand, its type and whether it is a list; nothing if it is missing.
struct Answer {
    values: Option<Vec<Owned>>,
    value_type: ValueType,
    is_list: bool,
}

/// Whether `event` satisfies `expr`.
pub(crate) fn holds(expr: &Expr, schema: &'static TestSchema, event: &TestEvent) -> bool {
    match expr {
        Expr::And(children, _) => children.iter().all(|child| holds(child, schema, event)),
        Expr::Or(children, _) => children.iter().any(|child| holds(child, schema, event)),
        Expr::Not(child, _) => !holds(child, schema, event),
        Expr::Macro(name, _) => panic!("macro {name} was not replaced"),
        Expr::Exists(operand, _) => answer(operand, schema, event).values.is_some(),
        Expr::Compare(comparison, _) => compare(comparison, schema, event),
    }
}

fn bytes(value: &Owned) -> &[u8] {
    match value {
        Owned::Text(bytes) | Owned::Bytes(bytes) => bytes,
        other => panic!("{other:?} is not text"),
    }
}

fn answer(operand: &Operand, schema: &'static TestSchema, event: &TestEvent) -> Answer {
    match operand {
        Operand::Field(field) => {
            let (id, definition) = schema.field(&field.name).unwrap();
            let argument = match &field.argument {
                None => FieldArgument::None,
                Some(text) => text.parse().map_or_else(
                    |_| FieldArgument::Key(text.as_str().into()),
                    FieldArgument::Index,
                ),
            };
            let mut out = Values::new();
            event.extract(id, &argument, &mut out);
            let values: Vec<Owned> = out.iter().map(|value| own(*value)).collect();
            Answer {
                values: (!values.is_empty()).then_some(values),
                value_type: definition.value_type,
                is_list: definition.is_list,
            }
        }
        Operand::Transform(transform) => {
            let mut inner = answer(&transform.arguments[0], schema, event);
            let apply = |values: Vec<Owned>, f: &dyn Fn(&[u8]) -> Vec<u8>| {
                values.iter().map(|value| Owned::Text(f(bytes(value)))).collect::<Vec<_>>()
            };
            inner.values = inner.values.map(|values| match transform.transformer {
                Transformer::Val => values,
                Transformer::ToLower => apply(values, &|text| text.to_ascii_lowercase()),
                Transformer::ToUpper => apply(values, &|text| text.to_ascii_uppercase()),
                Transformer::Basename => {
                    apply(values, &|text| text.rsplit(|b| *b == b'/').next().unwrap().to_vec())
                }
                Transformer::Len if inner.is_list => vec![Owned::Uint(values.len() as u64)],
                Transformer::Len => vec![Owned::Uint(bytes(&values[0]).len() as u64)],
                other => panic!("{} is not generated", other.name()),
            });
            if transform.transformer == Transformer::Len {
                inner.value_type = ValueType::Uint;
                inner.is_list = false;
            }
            inner
        }
        other => panic!("{other} is not generated"),
    }
}

fn own(value: Value<'_>) -> Owned {
    match value {
        Value::Int(n) => Owned::Int(n),
        Value::Uint(n) => Owned::Uint(n),
        Value::Double(n) => Owned::Double(n),
        Value::Bool(b) => Owned::Bool(b),
        Value::Text(text) => Owned::Text(text.to_vec()),
        Value::Bytes(bytes) => Owned::Bytes(bytes.to_vec()),
        Value::Ip(address) => Owned::Ip(address),
        Value::Net(network) => Owned::Ip(network.addr()),
    }
}

fn compare(comparison: &Comparison, schema: &'static TestSchema, event: &TestEvent) -> bool {
    let left = answer(&comparison.left, schema, event);
    let Some(values) = left.values else {
        return false;
    };
    let relation = comparison.operator.relation;
    let constants: Vec<Owned> = match &comparison.right {
        Right::Value(text, _) => vec![constant(text, left.value_type)],
        Right::List(texts, _) => texts.iter().map(|t| constant(t, left.value_type)).collect(),
        Right::Operand(operand) => match answer(operand, schema, event).values {
            Some(values) => values,
            None => return false,
        },
    };
    let is_equal = |value: &Owned, constant: &Owned| pair(Relation::Equal, value, constant);
    let in_set = |value: &Owned| constants.iter().any(|constant| is_equal(value, constant));
    if left.is_list {
        return match relation {
            Relation::In => values.iter().all(in_set),
            _ => values.iter().any(in_set),
        };
    }
    let one = |value: &Owned| match (relation, comparison.operator.quantifier) {
        (Relation::In | Relation::Intersects, _) => in_set(value),
        (Relation::PMatch, _) => constants.iter().any(|path| is_parent(bytes(path), bytes(value))),
        (_, None) => constants.first().is_some_and(|constant| pair(relation, value, constant)),
        (_, Some(quantifier)) => {
            let n = constants.iter().filter(|constant| pair(relation, value, constant)).count();
            match quantifier {
                Quantifier::One => n == 1,
                Quantifier::Any => n > 0,
                Quantifier::All => n == constants.len() && n > 0,
            }
        }
    };
    let all = relation == Relation::NotEqual
        && matches!(left.value_type, ValueType::Ip | ValueType::Net | ValueType::Port)
        && !matches!(comparison.right, Right::Operand(_));
    if all { values.iter().all(one) } else { values.iter().any(one) }
}

/// Networks are kept as text: only this evaluator reads them.
fn constant(text: &str, value_type: ValueType) -> Owned {
    match value_type {
        ValueType::Int => Owned::Int(text.parse().unwrap()),
        ValueType::Uint | ValueType::Port => Owned::Uint(text.parse().unwrap()),
        ValueType::Double => Owned::Double(text.parse().unwrap()),
        ValueType::Bool => Owned::Bool(text == "true"),
        ValueType::Ip => Owned::Ip(text.parse().unwrap()),
        _ => Owned::Text(text.as_bytes().to_vec()),
    }
}

fn in_network(address: IpAddr, network: &[u8]) -> bool {
    let (base, length) = std::str::from_utf8(network).unwrap().split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    match (address, base.parse().unwrap()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            length == 0 || (a.to_bits() ^ b.to_bits()) >> (32 - length) == 0
        }
        _ => false,
    }
}

fn pair(relation: Relation, value: &Owned, constant: &Owned) -> bool {
    let order = match (value, constant) {
        (Owned::Int(a), Owned::Int(b)) => a.partial_cmp(b),
        (Owned::Uint(a), Owned::Uint(b)) => a.partial_cmp(b),
        (Owned::Double(a), Owned::Double(b)) => a.partial_cmp(b),
        (Owned::Bool(a), Owned::Bool(b)) => a.partial_cmp(b),
        (Owned::Ip(a), Owned::Ip(b)) => {
            return match relation {
                Relation::NotEqual => a != b,
                _ => a == b,
            };
        }
        (Owned::Ip(a), Owned::Text(network)) => {
            return in_network(*a, network) != (relation == Relation::NotEqual);
        }
        _ => return text_pair(relation, bytes(value), bytes(constant)),
    };
    let order = order.unwrap();
    match relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::LessOrEqual => order.is_le(),
        Relation::Greater => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn text_pair(relation: Relation, value: &[u8], constant: &[u8]) -> bool {
    let contains = |value: &[u8], part: &[u8]| {
        part.is_empty() || value.windows(part.len()).any(|window| window == part)
    };
    match relation {
        Relation::Equal => value == constant,
        Relation::NotEqual => value != constant,
        Relation::Less => value < constant,
        Relation::LessOrEqual => value <= constant,
        Relation::Greater => value > constant,
        Relation::GreaterOrEqual => value >= constant,
        Relation::Contains => contains(value, constant),
        Relation::IContains => {
            contains(&value.to_ascii_lowercase(), &constant.to_ascii_lowercase())
        }
        Relation::StartsWith => value.starts_with(constant),
        Relation::EndsWith => value.ends_with(constant),
        Relation::Glob => glob(constant, value),
        Relation::IGlob => glob(&constant.to_ascii_lowercase(), &value.to_ascii_lowercase()),
        other => panic!("{} is not generated", other.name()),
    }
}

/// Stars and question marks only.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        (Some((b'?', pattern)), Some((_, text))) => glob(pattern, text),
        (Some((a, pattern)), Some((b, text))) => a == b && glob(pattern, text),
        _ => false,
    }
}

fn is_parent(parent: &[u8], path: &[u8]) -> bool {
    let parts = |path: &[u8]| {
        path.split(|b| *b == b'/')
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    parts(path).starts_with(&parts(parent))
}

//! The grammar: what it accepts, refuses, means and prints.

use palisade_rules::ast::{Expr, Operand, Quantifier, Relation, Right};
use palisade_rules::parse_condition;

use super::Table;
use crate::schema::read_json;

fn strings(path: &str) -> Option<Vec<String>> {
    let rows = read_json(path)?;
    Some(rows.as_array().unwrap().iter().map(|row| row.as_str().unwrap().to_owned()).collect())
}

#[test]
fn accepts() {
    let Some(rows) = strings("tables/filter_parser_accept.json") else {
        return;
    };
    let mut table = Table::new("filter_parser_accept");
    for row in rows {
        let result = parse_condition(&row);
        table.row(result.is_ok(), || format!("`{row}`: {result:?}"));
    }
    table.finish();
}

#[test]
fn rejects() {
    let Some(rows) = strings("tables/filter_parser_reject.json") else {
        return;
    };
    let mut table = Table::new("filter_parser_reject");
    for row in rows {
        let result = parse_condition(&row);
        table.row(result.is_err(), || format!("`{row}` was accepted"));
    }
    table.finish();
}

/// A tree as nested words: the reference is written out for each row of the table.
fn tree(expr: &Expr) -> String {
    let all = |word: &str, children: &[Expr]| {
        let children: Vec<String> = children.iter().map(tree).collect();
        format!("{word}({})", children.join(" "))
    };
    match expr {
        Expr::And(children, _) => all("and", children),
        Expr::Or(children, _) => all("or", children),
        Expr::Not(child, _) => format!("not({})", tree(child)),
        Expr::Macro(name, _) => format!("macro:{name}"),
        Expr::Exists(operand, _) => format!("exists({})", operand_tree(operand)),
        Expr::Compare(comparison, _) => {
            let relation = match comparison.operator.relation {
                Relation::Equal => "eq",
                Relation::NotEqual => "ne",
                Relation::In => "in",
                Relation::Contains => "contains",
                Relation::StartsWith => "startswith",
                other => other.name(),
            };
            let quantifier = match comparison.operator.quantifier {
                None => "",
                Some(Quantifier::One) => "-one",
                Some(Quantifier::Any) => "-any",
                Some(Quantifier::All) => "-all",
            };
            let right = match &comparison.right {
                Right::Value(value, _) => format!("'{value}'"),
                Right::List(values, _) => format!("{values:?}"),
                Right::Operand(operand) => operand_tree(operand),
            };
            format!("{relation}{quantifier}({} {right})", operand_tree(&comparison.left))
        }
    }
}

fn operand_tree(operand: &Operand) -> String {
    match operand {
        Operand::Field(field) => format!("{}{:?}", field.name, field.argument),
        Operand::Literal(text, _) => format!("'{text}'"),
        Operand::List(elements, _) => {
            format!("{:?}", elements.iter().map(operand_tree).collect::<Vec<_>>())
        }
        Operand::Transform(transform) => {
            let arguments: Vec<_> = transform.arguments.iter().map(operand_tree).collect();
            format!("{}({})", transform.transformer.name(), arguments.join(" "))
        }
    }
}

const TREES: [(&str, &str); 9] = [
    (
        "evt.name exists and evt.type in (a, b) or proc.name=cat",
        "or(and(exists(evt.nameNone) in(evt.typeNone [\"a\", \"b\"])) eq(proc.nameNone 'cat'))",
    ),
    (
        "b64(evt.name) exists and tolower(toupper(evt.type)) in val(some.field) or \
         proc.name=b64(tolower(some.field))",
        "or(and(exists(b64(evt.nameNone)) in(tolower(toupper(evt.typeNone)) \
         val(some.fieldNone))) eq(proc.nameNone b64(tolower(some.fieldNone))))",
    ),
    ("not not not not not(not not(not not_macro))", "not(not(macro:not_macro))"),
    ("proc.name != anyof (cat, nginx)", "ne-any(proc.nameNone [\"cat\", \"nginx\"])"),
    ("proc.name == oneof ()", "eq-one(proc.nameNone [])"),
    (
        "proc.name == oneof (cat, nginx) and fd.name exists",
        "and(eq-one(proc.nameNone [\"cat\", \"nginx\"]) exists(fd.nameNone))",
    ),
    ("proc.name == anyof and fd.name exists", "and(eq(proc.nameNone 'anyof') exists(fd.nameNone))"),
    (
        "proc.name == oneof (cat) and proc.name == anyof",
        "and(eq-one(proc.nameNone [\"cat\"]) eq(proc.nameNone 'anyof'))",
    ),
    ("proc.name contains oneof (cat, nginx)", "contains-one(proc.nameNone [\"cat\", \"nginx\"])"),
];

#[test]
fn builds_exact_trees() {
    let Some(rows) = read_json("tables/filter_parser_ast.json") else {
        return;
    };
    let mut table = Table::new("filter_parser_ast");
    for row in rows.as_array().unwrap() {
        let text = row[0].as_str().unwrap();
        let built = tree(&parse_condition(text).unwrap());
        let expected = match TREES.iter().find(|(condition, _)| *condition == text) {
            Some((_, expected)) => (*expected).to_owned(),
            None if text == "proc.name startswith anyof (/etc/, /tmp/)" => {
                "startswith-any(proc.nameNone [\"/etc/\", \"/tmp/\"])".to_owned()
            }
            None => {
                table.skip(format!("no tree was written for `{text}`"));
                continue;
            }
        };
        table.row(built == expected, || format!("`{text}`\n  is {built}\n  not {expected}"));
    }
    table.finish();
}

#[test]
fn prints_canonically() {
    let Some(rows) = read_json("tables/string_visitor.json") else {
        return;
    };
    let mut table = Table::new("string_visitor");
    for row in rows.as_array().unwrap() {
        let text = row["in"].as_str().unwrap();
        let expr = parse_condition(text).unwrap();
        let printed = expr.to_string();
        // Without an expected text the printed one must mean the same and be stable.
        let again = parse_condition(&printed).unwrap();
        let stable = tree(&again) == tree(&expr) && again.to_string() == printed;
        let expected = row["out"].as_str().unwrap_or(&printed);
        table.row(stable && printed == expected, || format!("`{text}` is printed `{printed}`"));
    }
    table.finish();
}

//! Conditions over what an attestation says: a path, a comparison, a JSON value.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::document::matches;

/// Members and elements of a path.
const STEPS_MAX: usize = 32;
/// Values that one path may lead to.
const VALUES_MAX: usize = 65_536;

/// A condition: `buildDefinition.buildType == "https://ci.example/v1"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: String,
    path: Vec<Step>,
    operator: Operator,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
    Every,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

/// As they are written, those first that begin like another.
const OPERATORS: [(&str, Operator); 7] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("like", Operator::Like),
];

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Reads a condition; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, rest) = text.trim().split_once(char::is_whitespace).ok_or_else(|| {
            "a condition is a path, a comparison and a value, with spaces between".to_string()
        })?;
        let rest = rest.trim_start();
        let found = OPERATORS.iter().find_map(|(name, it)| Some((it, rest.strip_prefix(name)?)));
        let Some((operator, value)) = found else {
            return Err("the comparison is none of ==, !=, <, <=, >, >=, like".into());
        };
        let value: Value = serde_json::from_str(value.trim()).map_err(|_| {
            format!("`{:.60}` is no JSON value; texts stand in double quotes", value.trim())
        })?;
        let is_order = !matches!(operator, Operator::Equal | Operator::Unequal | Operator::Like);
        if *operator == Operator::Like && !value.is_string()
            || is_order && !value.is_string() && !value.is_number()
            || value.is_array()
            || value.is_object()
        {
            return Err("such a value cannot be compared in this way".into());
        }
        Ok(Self { text: text.trim().into(), path: steps(path)?, operator: *operator, value })
    }

    /// Why `content` does not fulfil it, if it does not. What is not there fulfils nothing.
    pub fn lacks(&self, content: &Value) -> Option<String> {
        let mut found = vec![content];
        for step in &self.path {
            let mut next = Vec::new();
            for value in found {
                match step {
                    Step::Member(name) => next.push(value.get(name)),
                    Step::Element(i) => next.push(value.get(i)),
                    Step::Every => next.extend(value.as_array().into_iter().flatten().map(Some)),
                }
            }
            if next.is_empty() || next.len() > VALUES_MAX || next.contains(&None) {
                return Some(format!("`{self}`: there is no such value"));
            }
            found = next.into_iter().flatten().collect();
        }
        let bad = found.into_iter().find(|value| !self.holds(value))?;
        Some(format!("`{self}`: it is {:.80}", bad.to_string()))
    }

    fn holds(&self, value: &Value) -> bool {
        match self.operator {
            Operator::Equal => order(value, &self.value) == Some(Ordering::Equal),
            // Of another type is not the same as unequal: a list is no name that is allowed.
            Operator::Unequal => {
                order(value, &self.value).is_some_and(|order| order != Ordering::Equal)
            }
            Operator::Less => order(value, &self.value) == Some(Ordering::Less),
            Operator::Greater => order(value, &self.value) == Some(Ordering::Greater),
            Operator::LessOrEqual => order(value, &self.value).is_some_and(Ordering::is_le),
            Operator::GreaterOrEqual => order(value, &self.value).is_some_and(Ordering::is_ge),
            Operator::Like => match (value.as_str(), self.value.as_str()) {
                (Some(text), Some(pattern)) => matches(pattern, text),
                _ => false,
            },
        }
    }
}

/// How two values of the same type stand to each other.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => None,
    }
}

/// `runDetails.builder.id`, `results[*].severity`. Members whose names have dots or brackets
/// cannot be named.
fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !name.is_empty() {
            steps.push(Step::Member(name.into()));
        } else if rest.is_empty() {
            return Err(format!("the path `{path:.80}` has an empty member"));
        }
        while !rest.is_empty() {
            let bad = || format!("the path `{path:.80}` has brackets without a number or `*`");
            let (inner, after) =
                rest.strip_prefix('[').and_then(|it| it.split_once(']')).ok_or_else(bad)?;
            steps.push(match inner {
                "*" => Step::Every,
                number => Step::Element(number.parse().map_err(|_| bad())?),
            });
            rest = after;
        }
    }
    if steps.len() > STEPS_MAX {
        return Err(format!("a path has at most {STEPS_MAX} members"));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_or_say_why_not() {
        let content = json!({
            "builder": {"id": "https://ci.example/a"},
            "level": 3,
            "ratio": 0.5,
            "ok": true,
            "none": null,
            "results": [{"severity": 2}, {"severity": 4}],
            "empty": [],
        });
        let check = |text: &str, expected: Result<(), &str>| match (
            Condition::parse(text).unwrap().lacks(&content),
            expected,
        ) {
            (None, Ok(())) => {}
            (Some(why), Err(wanted)) => assert!(why.contains(wanted), "{text}: {why}"),
            (found, expected) => panic!("{text}: {found:?} is not {expected:?}"),
        };
        check(r#"builder.id == "https://ci.example/a""#, Ok(()));
        check(r#"builder.id == "https://ci.example/b""#, Err("it is \"https://ci.example/a\""));
        check(r#"builder.id != "x""#, Ok(()));
        check(r#"builder.id like "https://ci.example/*""#, Ok(()));
        check(r#"builder.id like "https://ci.example""#, Err("it is"));
        check("level >= 3", Ok(()));
        check("level > 3", Err("it is 3"));
        check("level < 3.5", Ok(()));
        check("ratio <= 0.5", Ok(()));
        check("ok == true", Ok(()));
        check("none == null", Ok(()));
        check("results[*].severity < 5", Ok(()));
        check("results[*].severity < 4", Err("it is 4"));
        check("results[0].severity == 2", Ok(()));
        check("results[7].severity == 2", Err("no such value"));
        // What is not there, or is of another type, fulfils nothing.
        check("empty[*].severity < 5", Err("no such value"));
        check("missing.member != 1", Err("no such value"));
        check(r#"level != "3""#, Err("it is 3"));
        check(r#"results like "*""#, Err("it is"));
        check(r#"builder.id.deeper == "x""#, Err("no such value"));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let check = |text: &str, why: &str| {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        };
        check("", "a path, a comparison and a value");
        check("a", "a path, a comparison and a value");
        check("a = 1", "none of ==");
        check("a == x", "no JSON value");
        check("a == [1]", "cannot be compared");
        check("a < true", "cannot be compared");
        check("a like 5", "cannot be compared");
        check("a..b == 1", "empty member");
        check("a[x] == 1", "brackets");
        check("a[1 == 1", "brackets");
        check(&format!("{} == 1", vec!["a"; STEPS_MAX + 1].join(".")), "at most");
        assert!(Condition::parse(&format!("{} == 1", vec!["a"; STEPS_MAX].join("."))).is_ok());
    }
}

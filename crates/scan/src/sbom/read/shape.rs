//! The structure of a document as data: types with fields, checked with the place of every
//! problem. `cyclonedx.shape` says how a structure is written.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Problems of one document that are named.
pub const PROBLEMS_MAX: usize = 100;
/// Text of the document in a message is cut here, in characters.
const QUOTE_CHARS_MAX: usize = 60;

/// Something that is not as the standard has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a JSON pointer (RFC 6901): `/components/0/type`.
    pub pointer: String,
    /// What is wrong, without a full stop.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// What a value must be.
#[derive(Debug)]
enum Type {
    Any,
    Object,
    Text {
        needs_one: bool,
    },
    Time,
    Date,
    Bool,
    Number {
        is_whole: bool,
        min: f64,
        max: f64,
    },
    OneOf(Vec<&'static str>),
    Match(Box<Regex>),
    /// An identifier of SPDX's list of licences, or of its exceptions.
    Licence,
    List {
        item: Box<Type>,
        needs_one: bool,
    },
    Named(&'static str),
    Either(Vec<Type>),
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    is_mandatory: bool,
    kind: Type,
}

#[derive(Debug)]
enum Rule {
    /// Just one of these groups of fields is there.
    ExactlyOne(Vec<Vec<&'static str>>),
    AtLeastOne(Vec<Vec<&'static str>>),
    AtMostOne(Vec<Vec<&'static str>>),
    /// The first field may be there only if the second is `true`.
    OnlyIfTrue(&'static str, &'static str),
}

#[derive(Debug)]
enum Definition {
    Alias(Type),
    Record { fields: Vec<Field>, rules: Vec<Rule>, others_allowed: bool },
}

/// The structure of a kind of document.
#[derive(Debug)]
pub(crate) struct Structure {
    definitions: HashMap<&'static str, Definition>,
}

impl Structure {
    /// Reads a structure. Types that are named and not defined are found by
    /// [`Structure::undefined`], which a test asks.
    pub(crate) fn parse(text: &'static str) -> Option<Self> {
        let mut definitions = HashMap::new();
        let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
        while let Some(name) = lines.next() {
            let mut fields = Vec::new();
            let mut rules = Vec::new();
            let mut others_allowed = false;
            let mut alias = None;
            while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                let line = line.trim();
                let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                match word {
                    "=" => alias = Some(Type::parse(rest)?),
                    "others-allowed" => others_allowed = true,
                    "exactly-one" => rules.push(Rule::ExactlyOne(groups(rest))),
                    "at-least-one" => rules.push(Rule::AtLeastOne(groups(rest))),
                    "at-most-one" => rules.push(Rule::AtMostOne(groups(rest))),
                    "only-if-true" => {
                        let (field, condition) = rest.split_once(' ')?;
                        rules.push(Rule::OnlyIfTrue(field, condition));
                    }
                    _ => fields.push(Field {
                        name: word.trim_end_matches('!'),
                        is_mandatory: word.ends_with('!'),
                        kind: Type::parse(rest)?,
                    }),
                }
            }
            let definition = match alias {
                Some(kind) => Definition::Alias(kind),
                None => Definition::Record { fields, rules, others_allowed },
            };
            definitions.insert(name, definition);
        }
        Some(Self { definitions })
    }

    /// What is wrong with `value` as a `name`; at most [`PROBLEMS_MAX`] problems.
    pub(crate) fn check(&self, name: &str, value: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.named(name, value, &mut String::new(), &mut problems);
        problems
    }

    /// Names of types that are used and not defined.
    #[cfg(test)]
    pub(crate) fn undefined(&self) -> Vec<&'static str> {
        fn names(kind: &Type, out: &mut Vec<&'static str>) {
            match kind {
                Type::Named(name) => out.push(name),
                Type::List { item, .. } => names(item, out),
                Type::Either(kinds) => kinds.iter().for_each(|kind| names(kind, out)),
                _ => {}
            }
        }
        let mut used = Vec::new();
        for definition in self.definitions.values() {
            match definition {
                Definition::Alias(kind) => names(kind, &mut used),
                Definition::Record { fields, .. } => {
                    for field in fields {
                        names(&field.kind, &mut used);
                    }
                }
            }
        }
        used.retain(|name| !self.definitions.contains_key(name));
        used
    }

    fn named(&self, name: &str, value: &Value, at: &mut String, problems: &mut Vec<Problem>) {
        match self.definitions.get(name) {
            Some(Definition::Alias(kind)) => self.value(kind, value, at, problems),
            Some(Definition::Record { fields, rules, others_allowed }) => {
                let Value::Object(map) = value else {
                    return report(
                        problems,
                        at,
                        format!("expected an object, found {}", kind_of(value)),
                    );
                };
                self.record(fields, rules, *others_allowed, map, at, problems);
            }
            None => {}
        }
    }

    fn record(
        &self,
        fields: &[Field],
        rules: &[Rule],
        others_allowed: bool,
        map: &Map<String, Value>,
        at: &mut String,
        problems: &mut Vec<Problem>,
    ) {
        for field in fields.iter().filter(|field| field.is_mandatory) {
            if !map.contains_key(field.name) {
                report(problems, at, format!("`{}` is missing", field.name));
            }
        }
        for (name, value) in map {
            if problems.len() >= PROBLEMS_MAX {
                return;
            }
            match fields.iter().find(|field| field.name == name) {
                Some(field) => {
                    within(at, name, |at| self.value(&field.kind, value, at, problems));
                }
                None if others_allowed => {}
                None => {
                    let names = fields.iter().map(|field| field.name);
                    let near = palisade_base::suggest::nearest(name, names);
                    let hint = near.map(|near| format!(", did you mean `{near}`?"));
                    let name = quote(name);
                    let message = format!("unknown field `{name}`{}", hint.unwrap_or_default());
                    report(problems, at, message);
                }
            }
        }
        for rule in rules {
            if let Some(message) = rule.broken(map) {
                report(problems, at, message);
            }
        }
    }

    fn value(&self, kind: &Type, value: &Value, at: &mut String, problems: &mut Vec<Problem>) {
        match kind {
            Type::Named(name) => self.named(name, value, at, problems),
            Type::List { item, needs_one } => {
                let Value::Array(items) = value else {
                    return report(
                        problems,
                        at,
                        format!("expected a list, found {}", kind_of(value)),
                    );
                };
                if *needs_one && items.is_empty() {
                    report(problems, at, "the list is empty".into());
                }
                for (index, element) in items.iter().enumerate() {
                    if problems.len() >= PROBLEMS_MAX {
                        return;
                    }
                    within(at, &index.to_string(), |at| self.value(item, element, at, problems));
                }
            }
            Type::Either(kinds) => self.either(kinds, value, at, problems),
            simple => {
                if let Some(message) = simple.mismatch(value) {
                    report(problems, at, message);
                }
            }
        }
    }

    /// Of several types the one that fits best says what is wrong.
    fn either(&self, kinds: &[Type], value: &Value, at: &mut String, problems: &mut Vec<Problem>) {
        let mut best: Option<(usize, Vec<Problem>)> = None;
        for kind in kinds {
            let mut found = Vec::new();
            self.value(kind, value, at, &mut found);
            if found.is_empty() {
                return;
            }
            let strangeness = self.strangeness(kind, value);
            let score = strangeness * PROBLEMS_MAX + found.len();
            if best.as_ref().is_none_or(|(known, _)| score < *known) {
                best = Some((score, found));
            }
        }
        let room = PROBLEMS_MAX.saturating_sub(problems.len());
        problems.extend(best.into_iter().flat_map(|(_, found)| found).take(room));
    }

    /// How little `value` looks like a `kind`: 0 where its fields are known.
    fn strangeness(&self, kind: &Type, value: &Value) -> usize {
        match (kind, value) {
            (Type::Named(name), _) => match (self.definitions.get(name), value) {
                (Some(Definition::Alias(kind)), _) => self.strangeness(kind, value),
                (Some(Definition::Record { fields, .. }), Value::Object(map)) => {
                    let is_known = |name: &&String| fields.iter().any(|f| f.name == name.as_str());
                    map.keys().filter(|name| !is_known(name)).count()
                }
                _ => 100,
            },
            (Type::List { .. }, Value::Array(_)) => 0,
            (Type::List { .. }, _) | (_, Value::Object(_) | Value::Array(_)) => 100,
            _ => 1,
        }
    }
}

impl Rule {
    fn broken(&self, map: &Map<String, Value>) -> Option<String> {
        let n_there = |groups: &[Vec<&str>]| {
            let is_there = |group: &&Vec<&str>| group.iter().all(|name| map.contains_key(*name));
            groups.iter().filter(is_there).count()
        };
        let list = |groups: &[Vec<&str>]| {
            let names: Vec<String> =
                groups.iter().map(|group| format!("`{}`", group.join("` with `"))).collect();
            names.join(", ")
        };
        match self {
            Self::ExactlyOne(groups) => match n_there(groups) {
                1 => None,
                0 => Some(format!("one of {} is missing", list(groups))),
                _ => Some(format!("only one of {} may be there", list(groups))),
            },
            Self::AtLeastOne(groups) => {
                (n_there(groups) == 0).then(|| format!("one of {} is missing", list(groups)))
            }
            Self::AtMostOne(groups) => {
                (n_there(groups) > 1).then(|| format!("only one of {} may be there", list(groups)))
            }
            Self::OnlyIfTrue(field, condition) => {
                let holds = map.get(*condition) == Some(&Value::Bool(true));
                (map.contains_key(*field) && !holds)
                    .then(|| format!("`{field}` may be there only if `{condition}` is true"))
            }
        }
    }
}

impl Type {
    fn parse(text: &'static str) -> Option<Self> {
        let text = text.trim();
        if let Some(pattern) = text.strip_prefix("match ") {
            return Some(Self::Match(Box::new(Regex::new(pattern).ok()?)));
        }
        if text.contains(" / ") {
            let kinds: Option<Vec<Self>> = text.split(" / ").map(Self::parse).collect();
            return kinds.map(Self::Either);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inner, needs_one) = match rest.strip_suffix("]+") {
                Some(inner) => (inner, true),
                None => (rest.strip_suffix(']')?, false),
            };
            return Some(Self::List { item: Box::new(Self::parse(inner)?), needs_one });
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "any" => Self::Any,
            "object" => Self::Object,
            "text" => Self::Text { needs_one: false },
            "text1" => Self::Text { needs_one: true },
            "time" => Self::Time,
            "date" => Self::Date,
            "bool" => Self::Bool,
            "spdx-licence" => Self::Licence,
            "one-of" => Self::OneOf(rest.split(' ').collect()),
            "integer" | "number" => {
                let (min, max) = rest.split_once("..").unwrap_or(("", ""));
                Self::Number {
                    is_whole: word == "integer",
                    min: min.parse().unwrap_or(f64::NEG_INFINITY),
                    max: max.parse().unwrap_or(f64::INFINITY),
                }
            }
            name => Self::Named(name),
        })
    }

    /// What is wrong with a value that has no parts.
    fn mismatch(&self, value: &Value) -> Option<String> {
        let expected = |what: &str| Some(format!("expected {what}, found {}", kind_of(value)));
        match (self, value) {
            (Self::Any, _)
            | (Self::Object, Value::Object(_))
            | (Self::Text { needs_one: false }, Value::String(_))
            | (Self::Bool, Value::Bool(_)) => None,
            (Self::Object, _) => expected("an object"),
            (Self::Bool, _) => expected("true or false"),
            (Self::Number { is_whole, min, max }, Value::Number(number)) => {
                let found = number.as_f64().unwrap_or(f64::NAN);
                let is_whole_number = !*is_whole || found.fract() == 0.0;
                let holds = is_whole_number && (*min..=*max).contains(&found);
                (!holds).then(|| format!("{number} is not allowed"))
            }
            (Self::Number { .. }, _) => expected("a number"),
            (kind, Value::String(text)) => kind.bad_text(text),
            _ => expected("text"),
        }
    }

    fn bad_text(&self, text: &str) -> Option<String> {
        let bad = |what: &str| Some(format!("`{}` is {what}", quote(text)));
        match self {
            Self::Text { needs_one: true } if text.is_empty() => Some("the text is empty".into()),
            Self::Time if text.parse::<jiff::Timestamp>().is_err() => {
                bad("no time with a zone, like 2026-01-31T12:00:00Z")
            }
            Self::Date if text.parse::<jiff::civil::Date>().is_err() => {
                bad("no date, like 2026-01-31")
            }
            Self::OneOf(words) if !words.contains(&text) => {
                match palisade_base::suggest::nearest(text, words.iter().copied()) {
                    Some(near) => bad(&format!("not allowed, did you mean `{near}`?")),
                    None if words.len() > 12 => bad("not one of the values that are allowed"),
                    None => bad(&format!("not one of {}", words.join(", "))),
                }
            }
            Self::Match(pattern) if !pattern.is_match(text) => {
                bad(&format!("not of the form {}", pattern.as_str()))
            }
            Self::Licence
                if spdx::license_id(text).is_none() && spdx::exception_id(text).is_none() =>
            {
                bad("not an identifier of SPDX's list of licences; others are a `name`")
            }
            _ => None,
        }
    }
}

fn groups(text: &'static str) -> Vec<Vec<&'static str>> {
    text.split(' ').map(|group| group.split('+').collect()).collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn quote(text: &str) -> String {
    let text = crate::report::printable(text);
    if text.chars().count() <= QUOTE_CHARS_MAX {
        return text.into_owned();
    }
    text.chars().take(QUOTE_CHARS_MAX - 1).chain(['…']).collect()
}

fn report(problems: &mut Vec<Problem>, at: &str, message: String) {
    if problems.len() < PROBLEMS_MAX {
        problems.push(Problem { pointer: at.to_string(), message });
    }
}

/// Goes one step down the pointer for as long as `visit` takes.
fn within(at: &mut String, step: &str, visit: impl FnOnce(&mut String)) {
    let before = at.len();
    at.push('/');
    at.push_str(&crate::report::printable(step).replace('~', "~0").replace('/', "~1"));
    visit(at);
    at.truncate(before);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "# a remark
root
  name! text1
  kind one-of library framework
  when time
  parts [part]+
  who person / text
  n integer 0..6
  exactly-one a b+c
  a any
  b any
  c any
part
  = match ^[a-z]+$
person
  first! text
";

    fn check(value: &Value, expected: &[&str]) {
        let structure = Structure::parse(TEXT).unwrap();
        let found: Vec<String> =
            structure.check("root", value).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn problems_have_places() {
        check(&json!({ "name": "x", "a": 1 }), &[]);
        check(&json!({ "name": "x", "b": 1, "c": 1, "who": "me", "n": 6.0 }), &[]);
        check(&json!([]), &["/: expected an object, found a list"]);
        check(
            &json!({ "a": 1, "b": 1, "c": 1, "nmae": "" }),
            &[
                "/: `name` is missing",
                "/: unknown field `nmae`, did you mean `name`?",
                "/: only one of `a`, `b` with `c` may be there",
            ],
        );
        check(
            &json!({ "name": "", "b": 1, "kind": "librari", "when": "2020-01-01", "n": 7,
                     "parts": ["ok", "NOT", 3], "who": { "frist": "x" } }),
            &[
                "/name: the text is empty",
                "/kind: `librari` is not allowed, did you mean `library`?",
                "/when: `2020-01-01` is no time with a zone, like 2026-01-31T12:00:00Z",
                "/n: 7 is not allowed",
                "/parts/1: `NOT` is not of the form ^[a-z]+$",
                "/parts/2: expected text, found a number",
                "/who: `first` is missing",
                "/who: unknown field `frist`, did you mean `first`?",
                "/: one of `a`, `b` with `c` is missing",
            ],
        );
        check(&json!({ "name": "x", "a": 1, "parts": [] }), &["/parts: the list is empty"]);
    }

    #[test]
    fn problems_are_bounded() {
        let structure = Structure::parse(TEXT).unwrap();
        let value = json!({ "name": "x", "a": 1, "parts": vec![1; 1_000] });
        assert_eq!(structure.check("root", &value).len(), PROBLEMS_MAX);
    }
}

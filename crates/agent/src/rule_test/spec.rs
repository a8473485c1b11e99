//! What a test file says.

use std::fmt;
use std::path::PathBuf;

use palisade_base::Location;
use palisade_rules::{Priority, RuleMatching, RuleSelection};

/// A test file beyond this size is refused.
pub const SPEC_BYTES_MAX: u64 = 1 << 20;

/// The version of the form that this reader knows.
pub const VERSION: u64 = 1;

/// The word by which a test names the rules that come with the product.
pub const BUILTIN: &str = "builtin";

/// A test file.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The file as the user named it.
    pub file: String,
    /// Its name; by default the file's.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Its cases, in order.
    pub cases: Vec<Case>,
}

/// Rules over captures, and what must come of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Where it stands.
    pub location: Location,
    /// Rule files in order, relative to the test file; [`BUILTIN`] is the built-in rules.
    pub rules: Vec<(String, Location)>,
    /// Captures, relative to the test file; each begins with a fresh state.
    pub captures: Vec<(PathBuf, Location)>,
    /// Which of several rules that match one event count.
    pub matching: RuleMatching,
    /// Rules of less urgent priorities are off.
    pub priority: Option<Priority>,
    /// Rules turned off and on, in order.
    pub select: Vec<RuleSelection>,
    /// What must come.
    pub expect: Vec<Expectation>,
    /// Rules that must not fire.
    pub forbid: Vec<(String, Location)>,
    /// Whether every alert must be one that `expect` names.
    pub forbids_others: bool,
    /// Whether a damaged capture counts as far as it goes.
    pub allows_damage: bool,
}

/// Alerts of one rule that must come, or must not.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The rule.
    pub rule: String,
    /// Where it stands.
    pub location: Location,
    /// How many.
    pub count: Count,
    /// Fields of the event, and what each must be for an alert to count.
    pub fields: Vec<(String, ValueTest)>,
    /// What the output must be for an alert to count.
    pub output: Option<ValueTest>,
}

/// How many alerts there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// At least so many.
    pub min: u64,
    /// At most so many.
    pub max: u64,
}

impl Count {
    /// Whether `n` is right.
    pub fn holds(self, n: u64) -> bool {
        (self.min..=self.max).contains(&n)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alerts = |n: u64| if n == 1 { "alert" } else { "alerts" };
        match *self {
            Self { max: 0, .. } => f.write_str("no alert"),
            Self { min, max } if min == max => write!(f, "exactly {min} {}", alerts(min)),
            Self { min, max: u64::MAX } => write!(f, "at least {min} {}", alerts(min)),
            Self { min: 0, max } => write!(f, "at most {max} {}", alerts(max)),
            Self { min, max } => write!(f, "{min} to {max} alerts"),
        }
    }
}

/// What a text must be.
#[derive(Debug, Clone)]
pub enum ValueTest {
    /// One of these.
    Equals(Vec<String>),
    /// The event lacks the field.
    Absent,
    /// It holds this text.
    Contains(String),
    /// It begins so.
    StartsWith(String),
    /// It ends so.
    EndsWith(String),
    /// The regular expression is found in it.
    Matches(regex::Regex),
}

impl ValueTest {
    /// Whether `value` is right; nothing stands for a field that the event lacks.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return matches!(self, Self::Absent) };
        match self {
            Self::Absent => false,
            Self::Equals(texts) => texts.iter().any(|text| text == value),
            Self::Contains(text) => value.contains(text),
            Self::StartsWith(text) => value.starts_with(text),
            Self::EndsWith(text) => value.ends_with(text),
            Self::Matches(pattern) => pattern.is_match(value),
        }
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Equals(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
                f.write_str(&texts.join(" or "))
            }
            Self::Contains(text) => write!(f, "text with {text:?} in it"),
            Self::StartsWith(text) => write!(f, "text that begins with {text:?}"),
            Self::EndsWith(text) => write!(f, "text that ends with {text:?}"),
            Self::Matches(pattern) => write!(f, "text that matches {:?}", pattern.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_say_what_they_want() {
        let check = |min, max, shown: &str, right: &[u64], wrong: &[u64]| {
            let count = Count { min, max };
            assert_eq!(count.to_string(), shown);
            assert!(right.iter().all(|n| count.holds(*n)));
            assert!(!wrong.iter().any(|n| count.holds(*n)));
        };
        check(0, 0, "no alert", &[0], &[1]);
        check(1, 1, "exactly 1 alert", &[1], &[0, 2]);
        check(2, u64::MAX, "at least 2 alerts", &[2, 9], &[1]);
        check(0, 3, "at most 3 alerts", &[0, 3], &[4]);
        check(2, 3, "2 to 3 alerts", &[2, 3], &[1, 4]);
    }

    #[test]
    fn values_are_compared_as_text() {
        let check = |test: ValueTest, right: &[Option<&str>], wrong: &[Option<&str>]| {
            assert!(right.iter().all(|value| test.holds(*value)), "{test}");
            assert!(!wrong.iter().any(|value| test.holds(*value)), "{test}");
        };
        check(ValueTest::Absent, &[None], &[Some(""), Some("x")]);
        let either = ValueTest::Equals(vec!["a".into(), "0".into()]);
        check(either, &[Some("a"), Some("0")], &[None, Some("b")]);
        check(ValueTest::Contains("b".into()), &[Some("abc")], &[None, Some("ac")]);
        check(ValueTest::StartsWith("b".into()), &[Some("bc")], &[Some("ab")]);
        check(ValueTest::EndsWith("b".into()), &[Some("ab")], &[Some("bc")]);
        let pattern = regex::Regex::new("^a+$").unwrap();
        check(ValueTest::Matches(pattern), &[Some("aa")], &[Some("ab"), None]);
    }
}

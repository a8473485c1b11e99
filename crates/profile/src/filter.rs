//! Reads a seccomp section again and says what it decides.
//!
//! What libseccomp makes of contradictory rules depends on their order; here a call is allowed if
//! any rule that matches allows it, and otherwise gets the action of the first rule that matches.

use std::collections::{BTreeMap, BTreeSet};

use palisade_harden::seccomp::{Argument, RULES_MAX};
use serde_json::Value;

use crate::error::FilterError;
use crate::syscalls::Machine;

/// Names in all rules together.
pub const NAMES_MAX: usize = 65_536;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is made.
    Allow,
    /// It is made, and logged.
    Log,
    /// It answers this error number.
    Errno(u32),
    /// The process or thread is killed, trapped, traced or asked about: the rule's own word.
    Other(String),
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Log => f.write_str("allowed and logged"),
            Self::Errno(1) => f.write_str("EPERM"),
            Self::Errno(38) => f.write_str("ENOSYS"),
            Self::Errno(number) => write!(f, "error {number}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// An action and the rule that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub action: Action,
    /// The place of the rule in `syscalls`; `None` is the default action.
    pub rule: Option<usize>,
}

#[derive(Debug, Clone)]
struct Rule {
    at: usize,
    args: Vec<Argument>,
    action: Action,
}

/// A filter, by name of the call.
#[derive(Debug, Clone)]
pub struct Filter {
    default: Action,
    rules: BTreeMap<String, Vec<Rule>>,
}

impl Filter {
    /// Reads the section `linux.seccomp`, without Docker's `includes` and `excludes`
    /// ([`palisade_harden::seccomp::from_document`] decides those).
    pub fn parse(section: &Value) -> Result<Self, FilterError> {
        let invalid = |at: &str, problem: &str| FilterError::Invalid {
            at: at.chars().take(120).collect(),
            problem: problem.chars().take(120).collect(),
        };
        let object = section.as_object().ok_or_else(|| invalid("/", "it is not an object"))?;
        let word = |value: Option<&Value>, at: &str| -> Result<String, FilterError> {
            let word = value.and_then(Value::as_str);
            word.map(str::to_string).ok_or_else(|| invalid(at, "an action is missing"))
        };
        let default_errno = errno(object.get("defaultErrnoRet"));
        let default = action(&word(object.get("defaultAction"), "/defaultAction")?, default_errno);
        let list = match object.get("syscalls") {
            None | Some(Value::Null) => &Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(invalid("/syscalls", "it is not a list")),
        };
        if list.len() > RULES_MAX {
            return Err(invalid("/syscalls", "it has too many rules"));
        }
        let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        let mut n_names = 0_usize;
        for (at, rule) in list.iter().enumerate() {
            let place = format!("/syscalls/{at}");
            let names = rule
                .get("names")
                .and_then(Value::as_array)
                .ok_or_else(|| invalid(&place, "`names` is not a list"))?;
            let action = action(&word(rule.get("action"), &place)?, errno(rule.get("errnoRet")));
            let args: Vec<Argument> = match rule.get("args") {
                None | Some(Value::Null) => Vec::new(),
                Some(args) => serde_json::from_value(args.clone())
                    .map_err(|error| invalid(&format!("{place}/args"), &error.to_string()))?,
            };
            n_names += names.len();
            if n_names > NAMES_MAX {
                return Err(invalid(&place, "the rules have too many names"));
            }
            for name in names {
                let name =
                    name.as_str().ok_or_else(|| invalid(&place, "a name is not a string"))?;
                let rule = Rule { at, args: args.clone(), action: action.clone() };
                rules.entry(name.to_string()).or_default().push(rule);
            }
        }
        Ok(Self { default, rules })
    }

    /// What happens to the call `name` with these arguments. One that is not known matches no
    /// condition on it but `SCMP_CMP_NE`.
    pub fn decide(&self, name: &str, arguments: &[Option<u64>; 6]) -> Decision {
        let mut found: Option<&Rule> = None;
        for rule in self.rules.get(name).into_iter().flatten() {
            if !rule.args.iter().all(|argument| matches(argument, arguments)) {
                continue;
            }
            if rule.action == Action::Allow {
                return Decision { action: Action::Allow, rule: Some(rule.at) };
            }
            found = found.or(Some(rule));
        }
        match found {
            Some(rule) => Decision { action: rule.action.clone(), rule: Some(rule.at) },
            None => Decision { action: self.default.clone(), rule: None },
        }
    }

    /// Calls of `machine` that are allowed, with some arguments at least.
    pub fn allowed(&self, machine: Machine) -> BTreeSet<&'static str> {
        let is_allowed = |name: &str| match self.rules.get(name) {
            Some(rules) => rules.iter().any(|rule| rule.action == Action::Allow),
            None => self.default == Action::Allow,
        };
        machine.calls().map(|(_, name)| name).filter(|name| is_allowed(name)).collect()
    }

    /// Calls that are allowed whatever their arguments.
    pub fn allowed_plainly(&self, machine: Machine) -> BTreeSet<&'static str> {
        let is_plain = |name: &str| match self.rules.get(name) {
            Some(rules) => {
                rules.iter().any(|rule| rule.action == Action::Allow && rule.args.is_empty())
            }
            None => self.default == Action::Allow,
        };
        machine.calls().map(|(_, name)| name).filter(|name| is_plain(name)).collect()
    }

    /// The places of arguments that rules of the call `name` look at, at most two of them; `None`
    /// if they are more.
    pub fn watched(&self, name: &str) -> Option<[Option<u8>; 2]> {
        let places: BTreeSet<u8> = self
            .rules
            .get(name)
            .into_iter()
            .flatten()
            .flat_map(|rule| rule.args.iter().filter_map(|a| u8::try_from(a.index).ok()))
            .collect();
        let mut places = places.into_iter();
        let watched = [places.next(), places.next()];
        places.next().is_none().then_some(watched)
    }
}

/// The same filter in log mode: nothing is refused, and what would be is logged by the kernel.
pub fn in_log_mode(section: &Value) -> Value {
    let mut out = section.clone();
    let relax = |object: &mut serde_json::Map<String, Value>, action: &str, errno: &str| {
        if let Some(value) = object.get_mut(action)
            && value != "SCMP_ACT_ALLOW"
        {
            *value = "SCMP_ACT_LOG".into();
            object.shift_remove(errno);
        }
    };
    if let Some(object) = out.as_object_mut() {
        relax(object, "defaultAction", "defaultErrnoRet");
        for rule in object.get_mut("syscalls").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(rule) = rule.as_object_mut() {
                relax(rule, "action", "errnoRet");
            }
        }
    }
    out
}

/// The calls by which a process ends, or becomes another program.
pub const LAST_CALLS: [&str; 3] = ["exit_group", "execve", "execveat"];

/// The filter in log mode, which asks at the socket `listener` before each of the
/// [`LAST_CALLS`]: a process can so be looked at before its memory is gone.
pub fn in_log_mode_holding(section: &Value, listener: &str) -> Value {
    let mut out = in_log_mode(section);
    let Some(object) = out.as_object_mut() else { return out };
    object.insert("listenerPath".into(), listener.into());
    let rules = object.entry("syscalls").or_insert_with(|| Value::Array(Vec::new()));
    if rules.is_null() {
        *rules = Value::Array(Vec::new());
    }
    let Some(rules) = rules.as_array_mut() else { return out };
    // A call has one answer.
    for rule in rules.iter_mut() {
        if let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) {
            names.retain(|name| !LAST_CALLS.iter().any(|call| name == call));
        }
    }
    let is_empty =
        |rule: &Value| rule.get("names").and_then(Value::as_array).is_some_and(Vec::is_empty);
    rules.retain(|rule| !is_empty(rule));
    rules.push(serde_json::json!({"names": LAST_CALLS, "action": "SCMP_ACT_NOTIFY"}));
    out
}

fn errno(value: Option<&Value>) -> Option<u32> {
    value.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
}

fn action(word: &str, errno: Option<u32>) -> Action {
    match word {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        other => Action::Other(other.chars().take(64).collect()),
    }
}

/// `libseccomp`'s comparisons: of 64 bits, without sign.
fn matches(argument: &Argument, values: &[Option<u64>; 6]) -> bool {
    let Some(value) = values.get(argument.index as usize).copied().flatten() else {
        return argument.op == "SCMP_CMP_NE";
    };
    match argument.op.as_str() {
        "SCMP_CMP_EQ" => value == argument.value,
        "SCMP_CMP_NE" => value != argument.value,
        "SCMP_CMP_LT" => value < argument.value,
        "SCMP_CMP_LE" => value <= argument.value,
        "SCMP_CMP_GT" => value > argument.value,
        "SCMP_CMP_GE" => value >= argument.value,
        "SCMP_CMP_MASKED_EQ" => value & argument.value == argument.value_two,
        _ => false,
    }
}

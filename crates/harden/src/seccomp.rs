//! System-call filters as data: every entry of our profiles has a reason, and compiles to
//! the seccomp section of an OCI runtime configuration.
//!
//! A call that a profile does not name answers `ENOSYS`, so that libraries fall back to
//! an older one; one that is known and refused answers `EPERM`. A test holds the lists
//! against the kernel's own table, so that no call is undecided.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::Explain;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const DEFAULT_JSON: &str = include_str!("../seccomp/default.json");
const STRICT_JSON: &str = include_str!("../seccomp/strict.json");

/// Error number of a call that is known and refused.
const EPERM: u32 = 1;
/// Error number of a call that the profile does not know.
const ENOSYS: u32 = 38;
/// The call that starts the program: without it no filter lets anything begin.
const START_CALL: &str = "execve";
/// What runC 1.1.5 was seen to call, and other versions and crun are taken to call, between the load
/// of the filter and the program's first instruction, when no new privileges are allowed: the filter
/// is then loaded last. The Go run-time of runC may preempt, collect garbage or start a thread
/// there, which is seen now and then only.
pub const FLOOR: &[&str] = &[
    "clock_gettime",
    "clone",
    "close",
    "close_range",
    "dup3",
    "epoll_ctl",
    "epoll_pwait",
    "execve",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getdents64",
    "getpid",
    "getppid",
    "gettid",
    "mmap",
    "munmap",
    "newfstatat",
    "openat",
    "prctl",
    "read",
    "readlinkat",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "set_robust_list",
    "sigaltstack",
    "tgkill",
    "write",
];
/// Rules that a profile file may have.
pub const RULES_MAX: usize = 4096;

/// A profile that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// No list of architectures for this machine.
    #[error("the seccomp profile has no rules for machine `{0}`")]
    Architecture(String),
    /// A profile file is not of OCI or Docker form.
    #[error("the seccomp profile is not valid: {0}")]
    Invalid(String),
    /// It lets no program start.
    #[error("under this seccomp profile no program can start: it denies {}", .0.join(", "))]
    NoStart(Vec<&'static str>),
    /// A built-in profile does not parse; a defect of this program.
    #[error("the built-in seccomp profile is damaged: {0}")]
    BuiltIn(String),
}

impl Explain for SeccompError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Architecture(_) => "run on x86_64 or aarch64, or name a profile file",
                Self::Invalid(_) => {
                    "use the form of Docker's default.json or of the OCI runtime spec"
                }
                Self::NoStart(_) => {
                    "allow these calls in the profile: the runtime makes them under the filter to \
                     start the program; palisade profile verify PROFILE IMAGE names those that the \
                     program makes and the profile denies"
                }
                Self::BuiltIn(_) => "reinstall palisade",
            }
            .into(),
        )
    }
}

/// A group of calls with the reason for their place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Why, for people.
    pub reason: String,
    /// Names of the calls.
    pub calls: Vec<String>,
    /// Error number instead of the usual one.
    #[serde(default)]
    pub errno: Option<u32>,
}

/// A call that depends on its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Name of the call.
    pub call: String,
    /// All of these must hold.
    pub args: Vec<Argument>,
    /// Why, for people.
    pub reason: String,
    /// Error number, for refusals.
    #[serde(default)]
    pub errno: Option<u32>,
}

/// A comparison of one argument, as in the OCI runtime spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Argument {
    /// Position, from 0.
    pub index: u32,
    /// Compared with this; for `SCMP_CMP_MASKED_EQ` the mask.
    pub value: u64,
    /// For `SCMP_CMP_MASKED_EQ`: the value after masking.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub value_two: u64,
    /// `SCMP_CMP_EQ` and so on.
    pub op: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Calls that a capability brings with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithCapability {
    /// Name without `CAP_`.
    pub capability: String,
    /// Why, for people.
    pub reason: String,
    /// Names of the calls.
    pub calls: Vec<String>,
}

/// One of our own profiles, as data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `default` or `strict`.
    pub name: String,
    /// The profile that this one narrows.
    #[serde(default)]
    pub extends: Option<String>,
    /// One sentence for people.
    pub description: String,
    /// Filter architectures by machine.
    pub architectures: BTreeMap<String, Vec<String>>,
    /// Allowed whatever the arguments.
    #[serde(default)]
    pub allow: Vec<Group>,
    /// Taken from what `extends` allows.
    #[serde(default)]
    pub remove: Vec<Group>,
    /// Allowed with certain arguments; any of a call's entries suffices.
    #[serde(default)]
    pub allow_when: Vec<Condition>,
    /// Refused with certain arguments by another error number than `ENOSYS`.
    #[serde(default)]
    pub deny_when: Vec<Condition>,
    /// Allowed when the policy leaves the capability.
    #[serde(default)]
    pub allow_with_capability: Vec<WithCapability>,
    /// Known and refused with `EPERM`.
    #[serde(default)]
    pub deny: Vec<Group>,
    /// Known, and answered with `ENOSYS` on purpose.
    #[serde(default)]
    pub unsupported: Vec<Group>,
}

/// Our default profile.
pub fn default_profile() -> Result<Profile, SeccompError> {
    serde_json::from_str(DEFAULT_JSON).map_err(|error| SeccompError::BuiltIn(error.to_string()))
}

/// Our strict profile, with what it inherits.
pub fn strict_profile() -> Result<Profile, SeccompError> {
    let strict: Profile = serde_json::from_str(STRICT_JSON)
        .map_err(|error| SeccompError::BuiltIn(error.to_string()))?;
    let mut out = default_profile()?;
    let removed: BTreeSet<&str> = calls(&strict.remove).collect();
    let conditional: BTreeSet<&str> =
        strict.allow_when.iter().map(|condition| condition.call.as_str()).collect();
    for group in &mut out.allow {
        group.calls.retain(|call| !removed.contains(call.as_str()));
    }
    out.allow.retain(|group| !group.calls.is_empty());
    for mut group in strict.remove {
        group.calls.retain(|call| !conditional.contains(call.as_str()));
        match group.errno {
            _ if group.calls.is_empty() => {}
            Some(ENOSYS) => out.unsupported.push(group),
            _ => out.deny.push(group),
        }
    }
    out.allow_when.extend(strict.allow_when);
    out.deny_when.extend(strict.deny_when);
    out.name = strict.name;
    out.extends = None;
    out.description = strict.description;
    out.architectures = strict.architectures;
    Ok(out)
}

fn calls(groups: &[Group]) -> impl Iterator<Item = &str> {
    groups.iter().flat_map(|group| group.calls.iter().map(String::as_str))
}

impl Profile {
    /// The seccomp section of an OCI runtime configuration for `architecture` (as `uname
    /// -m` says) and a container that keeps `capabilities` (names without `CAP_`).
    pub fn compile(
        &self,
        architecture: &str,
        capabilities: &[String],
    ) -> Result<Value, SeccompError> {
        let architectures = self
            .architectures
            .get(architecture)
            .ok_or_else(|| SeccompError::Architecture(architecture.to_string()))?;
        let brought: BTreeSet<&str> = self
            .allow_with_capability
            .iter()
            .filter(|entry| capabilities.contains(&entry.capability))
            .flat_map(|entry| entry.calls.iter().map(String::as_str))
            .collect();
        let mut allowed: BTreeSet<&str> = calls(&self.allow).collect();
        allowed.extend(&brought);
        let mut rules = vec![json!({"names": allowed, "action": "SCMP_ACT_ALLOW"})];
        for condition in &self.allow_when {
            rules.push(json!({
                "names": [condition.call], "action": "SCMP_ACT_ALLOW", "args": condition.args,
            }));
        }
        for condition in &self.deny_when {
            rules.push(json!({
                "names": [condition.call],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": condition.errno.unwrap_or(EPERM),
                "args": condition.args,
            }));
        }
        let denied: BTreeSet<&str> =
            calls(&self.deny).filter(|call| !brought.contains(call)).collect();
        rules.push(json!({"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}));
        Ok(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": ENOSYS,
            "architectures": architectures,
            "syscalls": rules,
        }))
    }

    /// Names that are allowed whatever their arguments.
    pub fn allowed(&self) -> BTreeSet<&str> {
        calls(&self.allow).collect()
    }

    /// Names that are allowed with some arguments.
    pub fn conditional(&self) -> BTreeSet<&str> {
        self.allow_when.iter().map(|condition| condition.call.as_str()).collect()
    }

    /// Names that are known and never allowed (without a capability that brings them).
    pub fn refused(&self) -> BTreeSet<&str> {
        calls(&self.deny).chain(calls(&self.unsupported)).collect()
    }
}

/// Turns a profile file into the seccomp section of an OCI runtime configuration.
///
/// Takes the OCI form as it is, and Docker's form with `archMap`, `includes` and
/// `excludes` (by architecture and capability; `minKernel` is taken as met, since no
/// supported kernel is older than the versions in use).
pub fn from_document(
    document: &Value,
    architecture: &str,
    capabilities: &[String],
) -> Result<Value, SeccompError> {
    let invalid = |what: &str| SeccompError::Invalid(what.to_string());
    let object = document.as_object().ok_or_else(|| invalid("it is not an object"))?;
    if !object.get("defaultAction").is_some_and(Value::is_string) {
        return Err(invalid("`defaultAction` is missing"));
    }
    let rules = match object.get("syscalls") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(rules)) => rules,
        Some(_) => return Err(invalid("`syscalls` is not a list")),
    };
    if rules.len() > RULES_MAX {
        return Err(SeccompError::Invalid(format!("it has more than {RULES_MAX} rules")));
    }
    let mut out = object.clone();
    let mut kept = Vec::with_capacity(rules.len());
    for rule in rules {
        let mut rule =
            rule.as_object().cloned().ok_or_else(|| invalid("a rule is not an object"))?;
        let (includes, excludes) = (rule.shift_remove("includes"), rule.shift_remove("excludes"));
        rule.shift_remove("comment");
        if includes.is_some_and(|filter| !filter_matches(&filter, architecture, capabilities, true))
            || excludes
                .is_some_and(|filter| filter_matches(&filter, architecture, capabilities, false))
        {
            continue;
        }
        // Docker's oldest form has one `name`.
        if let (Some(name), None) = (rule.shift_remove("name"), rule.get("names")) {
            rule.insert("names".into(), json!([name]));
        }
        if !rule.get("names").is_some_and(Value::is_array)
            || !rule.get("action").is_some_and(Value::is_string)
        {
            return Err(invalid("a rule lacks `names` or `action`"));
        }
        rule.retain(|_, value| !value.is_null());
        kept.push(Value::Object(rule));
    }
    out.insert("syscalls".into(), Value::Array(kept));
    if let Some(map) = out.shift_remove("archMap") {
        let wanted = format!("SCMP_ARCH_{}", architecture.to_uppercase());
        let entry = map
            .as_array()
            .and_then(|list| {
                list.iter().find(|e| e.get("architecture").and_then(Value::as_str) == Some(&wanted))
            })
            .ok_or_else(|| SeccompError::Architecture(architecture.to_string()))?;
        let mut architectures = vec![json!(wanted)];
        architectures.extend(
            entry.get("subArchitectures").and_then(Value::as_array).into_iter().flatten().cloned(),
        );
        out.insert("architectures".into(), Value::Array(architectures));
    }
    let out = Value::Object(out);
    let denied = denied_of_floor(&out);
    if denied.first() == Some(&START_CALL) {
        return Err(SeccompError::NoStart(denied));
    }
    Ok(out)
}

/// Calls of the [`FLOOR`] that the seccomp section of a configuration denies whatever their
/// arguments, the one that starts the program first. What a runtime does without them hangs on its
/// version: it may say that it could not start the program, die of a signal, or do well.
pub fn denied_of_floor(section: &Value) -> Vec<&'static str> {
    let denies = |action: Option<&Value>| {
        let action = action.and_then(Value::as_str).unwrap_or_default();
        ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"]
            .iter()
            .any(|denial| action.starts_with(denial))
    };
    let rules = section.get("syscalls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_denied = |call: &&str| {
        let names = |rule: &&Value| {
            let names = rule.get("names").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|name| name == call))
        };
        // Arguments that no rule is about are left to the default.
        let of_call: Vec<&Value> = rules.iter().filter(names).collect();
        let is_plain =
            |rule: &&Value| rule.get("args").and_then(Value::as_array).is_none_or(Vec::is_empty);
        of_call.iter().all(|rule| denies(rule.get("action")))
            && (of_call.iter().any(is_plain) || denies(section.get("defaultAction")))
    };
    let mut denied: Vec<&'static str> = FLOOR.iter().copied().filter(is_denied).collect();
    denied.sort_by_key(|call| *call != START_CALL);
    denied
}

/// Whether Docker's `includes` (all must match) or `excludes` (any) filter matches.
fn filter_matches(filter: &Value, architecture: &str, capabilities: &[String], all: bool) -> bool {
    let strings = |key: &str| -> Vec<&str> {
        filter
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    };
    let go_name = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let has = |name: &str| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        capabilities.iter().any(|known| known == short)
    };
    let (arches, caps) = (strings("arches"), strings("caps"));
    let arch_matches = arches.contains(&go_name);
    if all {
        (arches.is_empty() || arch_matches) && caps.into_iter().all(has)
    } else {
        arch_matches || caps.into_iter().any(has)
    }
}

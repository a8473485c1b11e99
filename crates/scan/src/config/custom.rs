//! Checks of the user's own: conditions over the normalised settings.
//!
//! A condition is a sentence, `FIELD OPERATOR VALUE`, over one field of [`FIELDS`]. A field has
//! any number of values: none where nothing is known, several where a setting is a list. All
//! conditions of a check must hold. There is no "or": that is two checks.

use palisade_base::yaml::Place;
use palisade_model::finding::{Misconfiguration, SourceLocation};
use palisade_policy::CustomCheck as Written;

use super::build::Base;
use super::checks::{Hit, is_known_name};
use super::settings::{Container, Limit, Placed, Profile, Role, Setting, VariableValue};

/// A check, compiled.
#[derive(Debug, Clone)]
pub struct CustomCheck {
    /// Its name.
    pub id: String,
    written: Written,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
struct Condition {
    field: Field,
    operator: Operator,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Like,
    NotLike,
    HasNot,
    Set,
    Unset,
}

/// Why a check cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("check `{check}` of the policy: {problem}")]
pub struct CompileCheckError {
    check: String,
    problem: String,
    help: String,
}

impl palisade_base::Explain for CompileCheckError {
    fn hint(&self) -> Option<String> {
        Some(self.help.clone())
    }
}

/// A field's values, each with its place where it has one of its own.
type Values = Vec<(String, Option<Place>)>;
type Field = fn(&Container) -> Values;

fn truth(setting: &Setting<bool>) -> Values {
    setting.effective().map(|value| (value.to_string(), place(setting))).into_iter().collect()
}

fn place<T>(setting: &Setting<T>) -> Option<Place> {
    setting.known().map(|(_, place)| place)
}

fn text<T>(setting: &Setting<T>, show: impl Fn(&T) -> String) -> Values {
    setting.effective().map(|value| (show(value), place(setting))).into_iter().collect()
}

fn list<T>(items: &[Placed<T>], show: impl Fn(&T) -> Option<String>) -> Values {
    items.iter().filter_map(|item| Some((show(&item.value)?, Some(item.place)))).collect()
}

fn limit(setting: &Setting<Limit>) -> Values {
    match setting {
        Setting::Known(Limit::AtMost(text), place) => vec![(text.clone(), Some(*place))],
        _ => Vec::new(),
    }
}

fn profile(setting: &Setting<Profile>) -> Values {
    text(setting, |profile| match profile {
        Profile::Unconfined => "unconfined".to_string(),
        Profile::RuntimeDefault => "default".to_string(),
        Profile::Custom(name) => name.clone(),
    })
}

fn plain(text: &str) -> Values {
    vec![(text.to_string(), None)]
}

fn pair(name: &str, value: &VariableValue) -> String {
    match value {
        VariableValue::Literal(text) => format!("{name}={text}"),
        _ => name.to_string(),
    }
}

/// The fields, with what they hold.
pub const FIELDS: &[(&str, &str, Field)] = &[
    ("platform", "dockerfile, compose, kubernetes, ecs, scc, oci-spec, engine", |c| {
        plain(c.platform.as_str())
    }),
    ("resource", "what it belongs to: `Deployment/shop`, `service web`", |c| plain(&c.resource)),
    ("name", "the container's name", |c| c.name.iter().map(|name| (name.clone(), None)).collect()),
    ("role", "main, job, init, ephemeral, allowed", |c| {
        plain(match c.role {
            Role::Main => "main",
            Role::Job => "job",
            Role::Init => "init",
            Role::Ephemeral => "ephemeral",
            Role::Allowed => "allowed",
        })
    }),
    ("image", "image reference", |c| text(&c.image, Clone::clone)),
    ("base", "base images of a Dockerfile", |c| {
        let stages = c.build.iter().flat_map(|build| &build.stages);
        let bases = stages.filter_map(|stage| stage.base.as_ref());
        bases
            .filter_map(|base| match &base.value {
                Base::Image(name) => Some((name.clone(), Some(base.place))),
                _ => None,
            })
            .collect()
    }),
    ("run", "text of each `RUN`", |c| {
        let steps = c.build.iter().flat_map(super::build::Build::instructions);
        steps.filter(|i| i.keyword == "RUN").map(|i| (i.text.clone(), Some(i.place))).collect()
    }),
    ("privileged", "true or false", |c| truth(&c.privileged)),
    ("user", "user, as written", |c| text(&c.user, |user| user.name.clone())),
    ("run_as_non_root", "true or false", |c| truth(&c.run_as_non_root)),
    ("group", "primary group", |c| text(&c.group, ToString::to_string)),
    ("capabilities_added", "names without `CAP_`", |c| {
        list(&c.capabilities_added, |n| Some(n.clone()))
    }),
    ("capabilities_dropped", "names without `CAP_`, `ALL`", |c| {
        list(&c.capabilities_dropped, |n| Some(n.clone()))
    }),
    ("no_new_privileges", "true or false", |c| truth(&c.no_new_privileges)),
    ("seccomp", "unconfined, default, or the profile's name", |c| profile(&c.seccomp)),
    ("apparmor", "unconfined, default, or the profile's name", |c| profile(&c.apparmor)),
    ("read_only_root", "true or false", |c| truth(&c.read_only_root)),
    ("host_pid", "true or false", |c| truth(&c.host_pid)),
    ("host_ipc", "true or false", |c| truth(&c.host_ipc)),
    ("host_network", "true or false", |c| truth(&c.host_network)),
    ("host_paths", "paths of the host that are mounted", |c| {
        list(&c.mounts, |m| m.host_path.clone())
    }),
    ("mounts", "mount points in the container", |c| list(&c.mounts, |m| Some(m.target.clone()))),
    ("devices", "devices of the host", |c| list(&c.devices, |d| Some(d.clone()))),
    ("memory_limit", "as written", |c| limit(&c.memory_limit)),
    ("cpu_limit", "as written", |c| limit(&c.cpu_limit)),
    ("pids_limit", "as written", |c| limit(&c.pids_limit)),
    ("host_ports", "ports of the host", |c| list(&c.ports, |p| p.host_port.map(|n| n.to_string()))),
    ("sysctls", "names", |c| list(&c.sysctls, |s| Some(s.name.clone()))),
    ("env", "names of environment variables", |c| list(&c.env, |v| Some(v.name.clone()))),
    ("env_values", "`NAME=value`", |c| list(&c.env, |v| Some(pair(&v.name, &v.value)))),
    ("labels", "names of an image's labels", |c| list(&c.labels, |v| Some(v.name.clone()))),
    ("exposed", "ports that an image declares", |c| list(&c.exposed, |p| Some(p.clone()))),
    ("volumes", "volumes that an image declares", |c| list(&c.volumes, |v| Some(v.clone()))),
];

/// Compiles the checks of a policy.
pub fn compile(written: &[Written]) -> Result<Vec<CustomCheck>, CompileCheckError> {
    written.iter().map(compile_one).collect()
}

fn compile_one(written: &Written) -> Result<CustomCheck, CompileCheckError> {
    let refuse = |problem: String, help: String| CompileCheckError {
        check: written.id.clone(),
        problem,
        help,
    };
    if is_known_name(&written.id) {
        return Err(refuse("a built-in check has this name".into(), "choose another one".into()));
    }
    let conditions = written.when.iter().map(|text| {
        condition(text).map_err(|(problem, help)| refuse(format!("`{text}`: {problem}"), help))
    });
    Ok(CustomCheck {
        id: written.id.clone(),
        conditions: conditions.collect::<Result<_, _>>()?,
        written: written.clone(),
    })
}

fn condition(text: &str) -> Result<Condition, (String, String)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let name = words.first().copied().unwrap_or_default();
    let Some((_, _, field)) = FIELDS.iter().find(|(known, ..)| *known == name) else {
        let names = FIELDS.iter().map(|(known, ..)| *known);
        let help = match palisade_base::suggest::nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("fields are {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err((format!("there is no field `{name}`"), help));
    };
    let (operator, rest) = match words.get(1..).unwrap_or_default() {
        ["is", "unset"] => (Operator::Unset, &[][..]),
        ["is", "set"] => (Operator::Set, &[][..]),
        ["is", "not", rest @ ..] => (Operator::IsNot, rest),
        ["has", "not", rest @ ..] => (Operator::HasNot, rest),
        ["is" | "has", rest @ ..] => (Operator::Is, rest),
        ["not", "like", rest @ ..] => (Operator::NotLike, rest),
        ["like", rest @ ..] => (Operator::Like, rest),
        _ => {
            let help = "operators are is, is not, like, not like, has, has not, is set, is unset";
            return Err(("there is no operator".into(), help.into()));
        }
    };
    let needs_value = !matches!(operator, Operator::Set | Operator::Unset);
    if needs_value && rest.is_empty() {
        return Err(("there is no value".into(), "write what the field is compared with".into()));
    }
    Ok(Condition { field: *field, operator, value: rest.join(" ") })
}

impl Condition {
    /// Whether it holds, and where what makes it hold stands.
    #[expect(clippy::option_option, reason = "held without a place of its own")]
    fn holds(&self, container: &Container) -> Option<Option<Place>> {
        let values = (self.field)(container);
        let first = values.first().and_then(|(_, place)| *place);
        let equal = |text: &str| text.eq_ignore_ascii_case(&self.value);
        let find = |test: &dyn Fn(&str) -> bool| {
            values.iter().find(|(text, _)| test(text)).map(|(_, place)| *place)
        };
        match self.operator {
            Operator::Is => find(&equal),
            Operator::Like => find(&|text| is_like(text, &self.value)),
            // What is not known is not judged.
            Operator::IsNot => find(&|text| !equal(text)).filter(|_| find(&equal).is_none()),
            Operator::NotLike => find(&|text| !is_like(text, &self.value)),
            Operator::HasNot => find(&equal).is_none().then_some(None),
            Operator::Set => (!values.is_empty()).then_some(first),
            Operator::Unset => values.is_empty().then_some(None),
        }
    }
}

impl CustomCheck {
    /// The violation of a container, if it is one.
    pub fn judge(&self, container: &Container) -> Option<Hit> {
        let mut place = None;
        for condition in &self.conditions {
            place = condition.holds(container)?.or(place);
        }
        Some(Hit {
            place: place.unwrap_or(container.place),
            message: self.written.title.clone(),
            severity: None,
        })
    }

    /// The finding of a violation.
    pub fn finding(
        &self,
        hit: &Hit,
        location: SourceLocation,
        resource: String,
    ) -> Misconfiguration {
        let fix = if self.written.fix.is_empty() {
            "see the policy".to_string()
        } else {
            self.written.fix.clone()
        };
        Misconfiguration {
            check: self.id.clone(),
            title: hit.message.clone(),
            fix,
            why: self.written.why.clone(),
            severity: self.written.severity,
            resource: Some(resource),
            location: Some(location),
            ..Misconfiguration::default()
        }
    }
}

/// Whether `text` has the form of `pattern`, in which `*` stands for any characters.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Platform;
    use super::*;

    fn container() -> Container {
        let mut c = Container::new(Platform::Kubernetes, "Deployment/a", Place::START);
        c.image = Setting::Known("evil.io/a:1".into(), Place { line: 4, column: 2 });
        c.privileged = Setting::Default(false);
        let at = |line| Place { line, column: 1 };
        c.capabilities_added = vec![Placed::new("A".into(), at(7)), Placed::new("B".into(), at(8))];
        c
    }

    fn check(when: &[&str]) -> Option<Place> {
        let written = Written {
            id: "ours".into(),
            title: "t".into(),
            when: when.iter().map(ToString::to_string).collect(),
            ..Written::default()
        };
        compile(&[written]).unwrap()[0].judge(&container()).map(|hit| hit.place)
    }

    #[test]
    fn conditions_hold_of_what_is_known() {
        let at = |line, column| Some(Place { line, column });
        assert_eq!(check(&["image not like ghcr.io/*", "platform is kubernetes"]), at(4, 2));
        assert_eq!(check(&["image like evil.io/*:1"]), at(4, 2));
        assert_eq!(check(&["capabilities_added has b"]), at(8, 1));
        assert_eq!(check(&["capabilities_added has not C"]), at(1, 1));
        assert_eq!(check(&["capabilities_added has not A"]), None);
        assert_eq!(check(&["privileged is not true"]), at(1, 1));
        assert_eq!(check(&["privileged is true"]), None);
        assert_eq!(check(&["memory_limit is unset"]), at(1, 1));
        assert_eq!(check(&["image is set"]), at(4, 2));
        assert_eq!(check(&["user is not root"]), None);
        assert_eq!(check(&["image is x", "platform is kubernetes"]), None);
    }

    #[test]
    fn what_cannot_be_a_condition_is_said() {
        let error = |id: &str, when: &str| {
            let written = Written { id: id.into(), when: vec![when.into()], ..Written::default() };
            compile(&[written]).unwrap_err()
        };
        assert_eq!(error("x", "imag is y").help, "did you mean `image`?");
        assert!(error("x", "image").problem.ends_with("there is no operator"));
        assert!(error("x", "image like").problem.ends_with("there is no value"));
        assert!(error("x", "image has not").problem.ends_with("there is no value"));
        assert!(error("privileged", "image is a").problem.contains("built-in"));
    }

    #[test]
    fn patterns_have_stars() {
        for (text, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "a*", true),
            ("abc", "*c", true),
            ("abc", "a*c", true),
            ("abc", "*b*", true),
            ("abc", "ab", false),
            ("a", "a*a", false),
            ("abab", "ab*ab", true),
            ("", "*", true),
            ("x", "", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
        }
    }
}

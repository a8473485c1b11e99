//! Checks of secrets: in environments, build arguments, labels, build steps, ConfigMaps.

use palisade_base::yaml::Node;
use palisade_model::Severity;

use super::super::build::Step;
use super::super::kubernetes::Object;
use super::super::settings::{Container, Placed, Platform, Variable, VariableValue};
use super::super::tree::Look;
use super::{Check, DOCKERFILE_DOCS, Facts, Judge, Sink, shown};

const BUILD_SECRETS: &str = "https://docs.docker.com/build/building/secrets/";
const GOOD_PRACTICES: &str = "https://kubernetes.io/docs/concepts/security/secrets-good-practices/";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "secret-in-environment",
        id: "IMG-005",
        title: "an environment variable or build argument of the image holds a secret",
        why: "Everybody who can pull the image can read its environment and the arguments of its build.",
        fix: "pass it when the container starts, from a secret store; in a build use `RUN --mount=type=secret`; revoke this one",
        references: &[BUILD_SECRETS],
        judge: Judge::Container(secret_in_image_environment),
    },
    Check {
        name: "secret-in-label",
        id: "IMG-005",
        title: "a label holds a secret",
        why: "Labels are public to everybody who can pull the image.",
        fix: "remove the label and revoke the secret",
        references: &[BUILD_SECRETS],
        judge: Judge::Container(|c, facts, sink| {
            for label in &c.labels {
                if let VariableValue::Literal(value) = &label.value.value
                    && facts.holds_secret(value)
                {
                    let message = format!("label `{}` holds a secret", shown(&label.value.name));
                    sink.add(label.place, message);
                }
            }
        }),
    },
    Check {
        name: "secret-in-history",
        id: "IMG-005",
        title: "a build step shows a secret",
        why: "The text of every build step is kept in the image's history.",
        fix: "use build secrets (`RUN --mount=type=secret`) and revoke this one",
        references: &[BUILD_SECRETS],
        judge: Judge::Container(|c, facts, sink| {
            let Some(build) = &c.build else { return };
            for step in build.instructions() {
                let bodies = step.heredocs.iter().map(|heredoc| heredoc.text.as_str());
                let mut texts = std::iter::once(step.text.as_str()).chain(bodies);
                let judged_elsewhere = matches!(step.keyword.as_str(), "ENV" | "ARG" | "LABEL");
                if !judged_elsewhere && texts.any(|text| facts.holds_secret(text)) {
                    sink.add(step.place, "shows a secret");
                }
            }
            for Placed { value: (name, value), place } in &build.shown {
                if is_secret(facts, name, value) {
                    sink.add(*place, format!("shows the value of `{}`", shown(name)));
                }
            }
        }),
    },
    Check {
        name: "password-set-in-build",
        id: "IMG-023",
        title: "a build step sets a password",
        why: "The password, or its hash, is in every copy of the image.",
        fix: "leave accounts locked; nobody logs in to a container",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, _, sink| {
            let Some(build) = &c.build else { return };
            for step in build.instructions().filter(|i| i.keyword == "RUN") {
                for Step { command, place } in step.commands() {
                    let sets = match command.program() {
                        "chpasswd" => true,
                        "passwd" => command.has_any(&["--stdin", "-d", "--delete"]),
                        "usermod" | "useradd" => command.has_any(&["-p", "--password"]),
                        _ => false,
                    };
                    if sets {
                        sink.add(place, "sets a password");
                    }
                }
            }
        }),
    },
    Check {
        name: "empty-password",
        id: "IMG-023",
        title: "an account of the image has no password",
        why: "Anybody in the container becomes that user.",
        fix: "lock it: `passwd -l`",
        references: &[],
        judge: Judge::Container(|c, facts, sink| {
            if facts.image.is_some_and(|image| image.empty_password) {
                sink.add(c.place, "an account in /etc/shadow has no password");
            }
        }),
    },
    Check {
        name: "secret-in-workload",
        id: "RUN-027",
        title: "an environment variable of the container holds a secret",
        why: "What stands in the file is in its repository; an environment is shown by `inspect`, inherited by every child and written into crash reports.",
        fix: "mount it from a secret store as a file",
        references: &[GOOD_PRACTICES],
        judge: Judge::Container(secret_in_workload),
    },
    Check {
        name: "secret-in-configmap",
        id: "K8S-007",
        title: "a ConfigMap holds a secret",
        why: "ConfigMaps are not encrypted at rest and are readable by everybody who may read the namespace.",
        fix: "use a Secret, encrypted at rest, or an external secret store",
        references: &[GOOD_PRACTICES],
        judge: Judge::Object(secret_in_configmap),
    },
];

/// Names whose value is a secret whatever it looks like.
const SECRET_NAMES: [&str; 11] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "SECRET_KEY",
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIALS",
];

/// Whether a variable of this name holds a secret: `DB_PASSWORD`, not `DB_PASSWORD_FILE`.
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase().replace(['-', '.'], "_");
    SECRET_NAMES.iter().any(|word| upper == *word || upper.ends_with(&format!("_{word}")))
}

/// Values below this length are not taken for secrets by their name.
const SECRET_CHARS_MIN: usize = 6;

/// Whether the value under a telling name is the secret itself, not a hint where it is.
fn is_literal_secret(value: &str) -> bool {
    let points_elsewhere = value.starts_with(['/', '$', '<', '{', '%'])
        || value.contains("${")
        || value.contains("$(")
        || value.contains("{{")
        // `vault:secret/data/x#y`, `arn:aws:secretsmanager:…`, `op://vault/item`.
        || ["vault:", "arn:", "op://", "ref+", "file:"].iter().any(|p| value.starts_with(p));
    let is_switch = ["true", "false", "enabled", "disabled", "required", "optional"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    value.len() >= SECRET_CHARS_MIN && !points_elsewhere && !is_switch
}

fn is_secret(facts: &Facts<'_>, name: &str, value: &str) -> bool {
    (is_secret_name(name) && is_literal_secret(value))
        || facts.holds_secret(&format!("{name}={value}"))
}

fn secret_in_image_environment(c: &Container, facts: &Facts<'_>, sink: &mut Sink) {
    if !matches!(c.platform, Platform::Dockerfile | Platform::Image) {
        return;
    }
    for Placed { value: Variable { name, value }, place } in &c.env {
        match value {
            VariableValue::Literal(text) if is_secret(facts, name, text) => {
                sink.add(*place, format!("environment variable `{}` holds a secret", shown(name)));
            }
            VariableValue::Elsewhere if is_secret_name(name) => {
                let message = format!("build argument `{}` takes a secret", shown(name));
                sink.add_as(Severity::High, *place, message);
            }
            _ => {}
        }
    }
}

fn secret_in_workload(c: &Container, facts: &Facts<'_>, sink: &mut Sink) {
    if matches!(c.platform, Platform::Dockerfile | Platform::Image) {
        return;
    }
    for Placed { value: Variable { name, value }, place } in &c.env {
        match value {
            VariableValue::Literal(text) if is_secret(facts, name, text) => {
                sink.add(*place, format!("environment variable `{}` holds a secret", shown(name)));
            }
            VariableValue::Secret(secret) => {
                // Better than a literal, worse than a file (CIS Kubernetes 5.4.1).
                let message =
                    format!("has the secret `{}` in its environment, not as a file", shown(secret));
                sink.add_as(Severity::Low, *place, message);
            }
            _ => {}
        }
    }
}

fn secret_in_configmap(object: &Object<'_>, facts: &Facts<'_>, sink: &mut Sink) {
    if object.kind != "ConfigMap" {
        return;
    }
    let texts = object.node.get("data").entries();
    for (key, value) in texts {
        let text = value.text().unwrap_or_default();
        if is_secret(facts, &key.text, text) || has_secret_line(facts, value) {
            sink.add(value.place, format!("key `{}` holds a secret", shown(&key.text)));
        }
    }
}

/// Whether a file within a value has a line `password = …` with a secret.
fn has_secret_line(facts: &Facts<'_>, value: &Node) -> bool {
    /// Lines of one value that are looked at.
    const LINES_MAX: usize = 10_000;
    let text = value.text().unwrap_or_default();
    text.contains('\n')
        && (facts.holds_secret(text)
            || text.lines().take(LINES_MAX).any(|line| {
                let Some((name, value)) = line.split_once(['=', ':']) else { return false };
                let value = value.trim().trim_matches(['"', '\'']);
                is_secret_name(name.trim()) && is_literal_secret(value)
            }))
}

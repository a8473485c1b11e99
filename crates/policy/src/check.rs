//! Settings that contradict each other, or can have no effect.

use palisade_base::Severity;
use palisade_model::Priority;

use crate::capability;
use crate::code::Code;
use crate::document::{Action, ImageVerification, ResponseRule, Seccomp, UserMode, UserNamespace};
use crate::read::Reader;
use crate::yaml::Place;

/// Adds the problems that no single key has.
pub(crate) fn check(reader: &mut Reader) {
    images(reader);
    containers(reader);
    runtime(reader);
    for i in 0..reader.policy.response.len() {
        response(reader, i);
    }
    crate::trust::check(reader);
    crate::engines::check(reader);
    crate::enforce::check(reader);
    crate::sinks::check(reader);
    crate::checks::check(reader);
}

/// Adds a problem at the place of `path`.
pub(crate) fn note(
    reader: &mut Reader,
    code: Code,
    severity: Severity,
    path: &str,
    what: &str,
    help: &str,
) {
    let place = reader.place(path).unwrap_or(Place::START);
    reader.problem(code, severity, place, what.to_string(), Some(help.to_string()));
}

fn warn(reader: &mut Reader, code: Code, path: &str, what: &str, help: &str) {
    note(reader, code, Severity::Warning, path, what, help);
}

fn conflict(reader: &mut Reader, path: &str, what: &str, help: &str) {
    note(reader, Code::Conflict, Severity::Error, path, what, help);
}

fn images(reader: &mut Reader) {
    let images = reader.policy.images.clone();
    match images.verify {
        ImageVerification::Required
            if reader.says("images.verify", "required")
                && reader.says("images.keys", "[]")
                && images.trust.is_empty() =>
        {
            warn(
                reader,
                Code::NoKeys,
                "images.verify",
                "signatures are demanded and `images.keys` is empty",
                "list the public keys in `images.keys`, or give one with each command: --key FILE",
            );
        }
        ImageVerification::Off if !images.keys.is_empty() => warn(
            reader,
            Code::NoEffect,
            "images.keys",
            "keys are listed, but `images.verify` is `off`",
            "set `images.verify` to `required` or `warn`, or remove the keys",
        ),
        _ => {}
    }
    if images.gate.fixed_only && images.gate.severity.is_none() && images.gate.epss_ppm.is_none() {
        warn(
            reader,
            Code::NoEffect,
            "images.gate.fixed_only",
            "`fixed_only` narrows `images.gate.severity`, which is `none`",
            "set `severity`, for example to `critical`",
        );
    }
}

fn containers(reader: &mut Reader) {
    let containers = reader.policy.containers.clone();
    let has_fallback = reader.place("containers.fallback_user").is_some();
    if has_fallback && !matches!(containers.user, UserMode::Fallback(_)) {
        conflict(
            reader,
            "containers.fallback_user",
            "a `fallback_user` is given, but `containers.user` is not `fallback`",
            "`non_root` refuses root where `fallback` replaces it: choose one of them",
        );
    }
    for (i, tmpfs) in containers.tmpfs.iter().enumerate() {
        let twice = containers.tmpfs[..i].iter().any(|other| other.path == tmpfs.path);
        if twice && !tmpfs.path.is_empty() {
            let what = format!("two temporary file systems are mounted on `{}`", tmpfs.path);
            conflict(reader, &format!("containers.tmpfs[{i}].path"), &what, "remove one of them");
        }
    }
    let tmpfs_bytes: u64 =
        containers.tmpfs.iter().fold(0, |sum, item| sum.saturating_add(item.size_bytes));
    if containers.limits.memory_bytes.is_some_and(|limit| tmpfs_bytes > limit) {
        warn(
            reader,
            Code::NoEffect,
            "containers.tmpfs",
            "the temporary file systems together are larger than the memory limit that they count against",
            "raise `containers.limits.memory` or make them smaller",
        );
    }
    if containers.user_namespace == UserNamespace::Host {
        dangerous_capabilities(reader, &containers.capabilities);
    }
    if containers.seccomp == Seccomp::Unconfined
        && !containers.no_new_privileges
        && containers.user_namespace == UserNamespace::Host
        && !containers.mask_paths
    {
        conflict(
            reader,
            "containers.seccomp",
            "no filter, no masked paths, the host's user ids and new privileges: nothing confines the container",
            "set at least one of `seccomp`, `mask_paths`, `user_namespace` and `no_new_privileges`",
        );
    }
}

fn dangerous_capabilities(reader: &mut Reader, capabilities: &[String]) {
    for name in capabilities {
        if capability::DANGEROUS.contains(&name.as_str()) {
            let what =
                format!("with {name} and the host's user ids a container can take over the host");
            let help = "remove it, or set `user_namespace: private`";
            warn(reader, Code::DangerousCapability, "containers.capabilities", &what, help);
        }
    }
}

fn runtime(reader: &mut Reader) {
    let runtime = &reader.policy.runtime;
    if !runtime.builtin_rules && runtime.rules.is_empty() && !reader.policy.response.is_empty() {
        warn(
            reader,
            Code::NoEffect,
            "response",
            "no rules are loaded, so that there is no alert to respond to",
            "set `runtime.builtin_rules: true` or list files in `runtime.rules`",
        );
    }
}

fn response(reader: &mut Reader, i: usize) {
    let Some(rule) = reader.policy.response.get(i).cloned() else {
        return;
    };
    let path = format!("response[{i}]");
    let actions = format!("{path}.actions");
    // An error in an item of `actions` leaves gaps; conclusions from the rest would mislead.
    let place = |action| rule.actions.iter().position(|known| *known == action);
    if rule.actions.is_empty() {
        if reader.place(&actions).is_some() && reader.place(&format!("{actions}[0]")).is_none() {
            let help = "list freeze, isolate, evidence, kill, or remove the entry";
            conflict(reader, &actions, "a response without actions", help);
        }
        return;
    }
    if let Some(kill) = place(Action::Kill) {
        if [Action::Freeze, Action::Isolate, Action::Evidence]
            .into_iter()
            .any(|action| place(action).is_some_and(|at| at > kill))
        {
            conflict(
                reader,
                &actions,
                "actions follow `kill`, when nothing is left to act on",
                "put `kill` last",
            );
        } else if place(Action::Freeze).is_none() {
            warn(
                reader,
                Code::KillWithoutFreeze,
                &actions,
                "the container is killed without being frozen first",
                "put `freeze` first, so that no process can act, fork or erase traces meanwhile",
            );
        }
    }
    let earlier = &reader.policy.response[..i];
    if earlier.iter().any(|other| !rule.name.is_empty() && other.name == rule.name) {
        let what = format!("two responses are called `{}`", rule.name);
        conflict(reader, &format!("{path}.name"), &what, "the name tells them apart in timelines");
    }
    let earlier = &reader.policy.response[..i];
    if let Some(other) = earlier.iter().find(|other| covers(other, &rule)) {
        let what =
            format!("never reached: `{}` answers every alert that this one does", other.name);
        warn(reader, Code::NoEffect, &path, &what, "put the narrower response first");
    }
    let least = reader.policy.runtime.priority_min;
    if rule.priority < least && reader.place(&format!("{path}.priority")).is_some() {
        let what = format!(
            "it answers alerts from {} on, but alerts below {} are not raised",
            lower(rule.priority),
            lower(least)
        );
        let help = "lower `runtime.priority_min`, or raise `priority`";
        warn(reader, Code::NoEffect, &format!("{path}.priority"), &what, help);
    }
}

fn lower(priority: Priority) -> String {
    priority.as_str().to_ascii_lowercase()
}

/// Whether `first` matches every alert that `second` matches.
fn covers(first: &ResponseRule, second: &ResponseRule) -> bool {
    let wider = |a: &[String], b: &[String]| {
        a.is_empty() || (!b.is_empty() && b.iter().all(|name| a.contains(name)))
    };
    first.priority <= second.priority
        && wider(&first.rules, &second.rules)
        && wider(&first.tags, &second.tags)
}

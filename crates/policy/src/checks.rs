//! The keys of `checks`: what the checks of configuration demand, and of whom they do not.

use palisade_base::{Severity as Level, Timestamp};
use palisade_model::Severity;

use crate::check::note;
use crate::code::Code;
use crate::document::{CheckException, Checks, CustomCheck, Policy, SeverityChange};
use crate::read::Reader;
use crate::table::{Choice, Default, ITEMS_MAX, Key, Kind, TextRule};

/// Exceptions of one policy.
const EXCEPTIONS_MAX: usize = 1_000;
/// Conditions of one check.
const CONDITIONS_MAX: usize = 16;

const GATE: &[Choice] = &[
    Choice { name: "none", meaning: "nothing is refused", set: |p| p.checks.gate = None },
    Choice {
        name: "critical",
        meaning: "critical ones are refused",
        set: |p| p.checks.gate = Some(Severity::Critical),
    },
    Choice {
        name: "high",
        meaning: "high and above",
        set: |p| p.checks.gate = Some(Severity::High),
    },
    Choice {
        name: "medium",
        meaning: "medium and above",
        set: |p| p.checks.gate = Some(Severity::Medium),
    },
    Choice { name: "low", meaning: "low and above", set: |p| p.checks.gate = Some(Severity::Low) },
];

fn change(policy: &mut Policy, set: impl FnOnce(&mut SeverityChange)) {
    if let Some(item) = policy.checks.severity.last_mut() {
        set(item);
    }
}

fn exception(policy: &mut Policy, set: impl FnOnce(&mut CheckException)) {
    if let Some(item) = policy.checks.except.last_mut() {
        set(item);
    }
}

fn custom(policy: &mut Policy, set: impl FnOnce(&mut CustomCheck)) {
    if let Some(item) = policy.checks.custom.last_mut() {
        set(item);
    }
}

/// The words for a severity, each with what it sets.
macro_rules! severities {
    ($set:expr) => {
        &[
            Choice { name: "critical", meaning: "worst", set: |p| $set(p, Severity::Critical) },
            Choice { name: "high", meaning: "bad", set: |p| $set(p, Severity::High) },
            Choice { name: "medium", meaning: "worth mending", set: |p| $set(p, Severity::Medium) },
            Choice { name: "low", meaning: "worth knowing", set: |p| $set(p, Severity::Low) },
            Choice {
                name: "negligible",
                meaning: "practically harmless",
                set: |p| $set(p, Severity::Negligible),
            },
        ]
    };
}

const CHANGED: &[Choice] = severities!(|p: &mut Policy, to| change(p, |item| item.severity = to));
const CUSTOM: &[Choice] = severities!(|p: &mut Policy, to| custom(p, |item| item.severity = to));

/// A date (until its end in UTC) or an RFC 3339 time.
fn date(text: &str) -> Option<Timestamp> {
    if text.len() == 10 { format!("{text}T23:59:59Z").parse().ok() } else { text.parse().ok() }
}

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    Key {
        path: "checks",
        kind: Kind::Section,
        default: Default::Nothing,
        doc: "What the checks of configuration demand: of Dockerfiles, Compose files, Kubernetes \
              manifests, ECS task definitions and images.",
        example: "",
    },
    Key {
        path: "checks.gate",
        kind: Kind::Choice(GATE),
        default: Default::Value("none"),
        doc: "Refuse (exit code 1) when a check finds something of this severity or above.",
        example: "high",
    },
    Key {
        path: "checks.off",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| p.checks.off = texts,
        },
        default: Default::Values(&[]),
        doc: "Checks that are not made, by name or number.",
        example: "[no-healthcheck, RUN-031]",
    },
    Key {
        path: "checks.registries",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| p.checks.registries = texts,
        },
        default: Default::Values(&[]),
        doc: "Registries, or parts of them, from which images may come; empty for all.",
        example: "[ghcr.io/example, docker.io/library]",
    },
    Key {
        path: "checks.severity",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| {
                p.checks
                    .severity
                    .push(SeverityChange { check: String::new(), severity: Severity::Unknown });
            },
        },
        default: Default::Nothing,
        doc: "Checks whose findings are worse, or less bad, than the catalogue says.",
        example: "[{check: writable-root, to: high}]",
    },
    Key {
        path: "checks.severity[].check",
        kind: Kind::Text(TextRule::Sentence, |p, text| change(p, |item| item.check = text)),
        default: Default::Required,
        doc: "The check, by name or number.",
        example: "writable-root",
    },
    Key {
        path: "checks.severity[].to",
        kind: Kind::Choice(CHANGED),
        default: Default::Required,
        doc: "The severity of its findings.",
        example: "high",
    },
    Key {
        path: "checks.except",
        kind: Kind::Items {
            n_max: EXCEPTIONS_MAX,
            begin: |p| p.checks.except.push(CheckException::default()),
        },
        default: Default::Nothing,
        doc: "Findings that are accepted for a reason, for a while.",
        example: "[{check: host-network, path: \"node/*\", reason: it is a router, expires: 2027-06-30}]",
    },
    Key {
        path: "checks.except[].check",
        kind: Kind::Text(TextRule::Sentence, |p, text| exception(p, |item| item.check = text)),
        default: Default::Required,
        doc: "The check, by name or number.",
        example: "host-network",
    },
    Key {
        path: "checks.except[].path",
        kind: Kind::Text(TextRule::Sentence, |p, text| exception(p, |item| item.path = text)),
        default: Default::Value(""),
        doc: "Files in which it is accepted, with `*` for any characters; empty for all.",
        example: "\"deploy/*.yaml\"",
    },
    Key {
        path: "checks.except[].resource",
        kind: Kind::Text(TextRule::Sentence, |p, text| exception(p, |item| item.resource = text)),
        default: Default::Value(""),
        doc: "What it is accepted of, as findings name it, with `*` for any characters; empty for \
              everything.",
        example: "\"DaemonSet/router*\"",
    },
    Key {
        path: "checks.except[].reason",
        kind: Kind::Text(TextRule::Sentence, |p, text| exception(p, |item| item.reason = text)),
        default: Default::Required,
        doc: "Why it is accepted.",
        example: "it is a router",
    },
    Key {
        path: "checks.except[].expires",
        kind: Kind::Text(TextRule::Sentence, |p, text| {
            exception(p, |item| {
                item.expires = date(&text).unwrap_or(Timestamp::from_nanos(0));
            });
        }),
        default: Default::Required,
        doc: "The last day on which it is accepted, or a time (RFC 3339).",
        example: "2027-06-30",
    },
    Key {
        path: "checks.custom",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| p.checks.custom.push(CustomCheck::default()),
        },
        default: Default::Nothing,
        doc: "Checks of your own, over the settings that every input is turned into.",
        example: "[{id: ours-team, title: no team is named, when: [labels has not team]}]",
    },
    Key {
        path: "checks.custom[].id",
        kind: Kind::Text(TextRule::Name, |p, text| custom(p, |item| item.id = text)),
        default: Default::Required,
        doc: "Name of the check, unlike those of all others.",
        example: "ours-registry",
    },
    Key {
        path: "checks.custom[].title",
        kind: Kind::Text(TextRule::Sentence, |p, text| custom(p, |item| item.title = text)),
        default: Default::Required,
        doc: "What is wrong, in a few words.",
        example: "the image is not ours",
    },
    Key {
        path: "checks.custom[].when",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: CONDITIONS_MAX,
            set: |p, texts| custom(p, |item| item.when = texts),
        },
        default: Default::Required,
        doc: "Conditions that must all hold for a finding: `FIELD is VALUE`, `is not`, `like \
              PATTERN`, `not like`, `has VALUE`, `has not`, `is unset`, `is set`.",
        example: "[image not like ghcr.io/ours/*, platform is kubernetes]",
    },
    Key {
        path: "checks.custom[].severity",
        kind: Kind::Choice(CUSTOM),
        default: Default::Value("medium"),
        doc: "How bad it is.",
        example: "high",
    },
    Key {
        path: "checks.custom[].why",
        kind: Kind::Text(TextRule::Sentence, |p, text| custom(p, |item| item.why = text)),
        default: Default::Value(""),
        doc: "Why it matters.",
        example: "other images are not scanned",
    },
    Key {
        path: "checks.custom[].fix",
        kind: Kind::Text(TextRule::Sentence, |p, text| custom(p, |item| item.fix = text)),
        default: Default::Value(""),
        doc: "What to do about it.",
        example: "use the mirror",
    },
];

/// Adds the problems that no single key has.
pub(crate) fn check(reader: &mut Reader) {
    let Checks { except, custom, .. } = reader.policy.checks.clone();
    for (i, exception) in except.iter().enumerate() {
        let path = format!("checks.except[{i}].expires");
        let unread = exception.expires == Timestamp::from_nanos(0);
        if unread && reader.place(&path).is_some() {
            let what = format!("`{path}` is not a date");
            let help = "write a date such as 2027-06-30";
            note(reader, Code::BadValue, Level::Error, &path, &what, help);
        }
    }
    for (i, check) in custom.iter().enumerate() {
        let is_known = |other: &CustomCheck| !check.id.is_empty() && other.id == check.id;
        if custom[..i].iter().any(is_known) {
            let what = format!("two checks are called `{}`", check.id);
            let path = format!("checks.custom[{i}].id");
            note(reader, Code::Conflict, Level::Error, &path, &what, "rename one of them");
        }
    }
}

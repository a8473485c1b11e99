//! The keys of `enforce`: whether actions of rules are carried out, which rules get one
//! besides those that say so themselves, and which containers are excepted.

use palisade_base::Severity;
use palisade_model::EnforcementAction;

use crate::check::note;
use crate::code::Code;
use crate::document::{EnforceException, EnforceMode, EnforceRule, Policy};
use crate::read::Reader;
use crate::table::{Choice, Default, ITEMS_MAX, Key, Kind, TextRule, section};

fn rule(policy: &mut Policy, set: impl FnOnce(&mut EnforceRule)) {
    if let Some(item) = policy.enforce.rules.last_mut() {
        set(item);
    }
}

fn exception(policy: &mut Policy, set: impl FnOnce(&mut EnforceException)) {
    if let Some(item) = policy.enforce.exceptions.last_mut() {
        set(item);
    }
}

const MODE: &[Choice] = &[
    Choice {
        name: "off",
        meaning: "rules only raise alerts",
        set: |p| p.enforce.mode = EnforceMode::Off,
    },
    Choice {
        name: "dry-run",
        meaning: "alerts say what would have been done",
        set: |p| p.enforce.mode = EnforceMode::DryRun,
    },
    Choice {
        name: "on",
        meaning: "actions are carried out in containers",
        set: |p| p.enforce.mode = EnforceMode::On,
    },
];

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    section(
        "enforce",
        "What is done at an event itself: processes of containers are refused a call or killed. \
         Processes of the host never are.",
    ),
    Key {
        path: "enforce.mode",
        kind: Kind::Choice(MODE),
        default: Default::Value("off"),
        doc: "Whether the actions of rules are carried out. The option `--enforce` of `palisade \
              watch` comes first.",
        example: "dry-run",
    },
    Key {
        path: "enforce.rules",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| p.enforce.rules.push(EnforceRule::default()),
        },
        default: Default::Nothing,
        doc: "Actions of rules, in place of what their files say. The first entry that names a \
              rule decides.",
        example: "[{rules: [Reverse shell], action: [kill]}]",
    },
    Key {
        path: "enforce.rules[].rules",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| rule(p, |item| item.rules = texts),
        },
        default: Default::Values(&[]),
        doc: "Names of rules.",
        example: "[Reverse shell]",
    },
    Key {
        path: "enforce.rules[].tags",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| rule(p, |item| item.tags = texts),
        },
        default: Default::Values(&[]),
        doc: "Tags of rules: a rule is meant that carries one of them, or is named.",
        example: "[T1105]",
    },
    Key {
        path: "enforce.rules[].action",
        kind: Kind::Texts {
            rule: TextRule::EnforcementAction,
            n_max: EnforcementAction::ALL.len(),
            set: |p, texts| {
                rule(p, |item| {
                    item.actions = texts.iter().filter_map(|text| text.parse().ok()).collect();
                });
            },
        },
        default: Default::Required,
        doc: "What to do: the first that the host can do for the rule. `deny` refuses the call, \
              `kill` kills the process. An empty list takes the action away.",
        example: "[deny, kill]",
    },
    Key {
        path: "enforce.exceptions",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| p.enforce.exceptions.push(EnforceException::default()),
        },
        default: Default::Nothing,
        doc: "Containers in which actions are not carried out; alerts say so.",
        example: "[{images: [\"registry.example/legacy:*\"], reason: moved in June, expires: \
                  \"2027-06-30\"}]",
    },
    Key {
        path: "enforce.exceptions[].images",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| exception(p, |item| item.images = texts),
        },
        default: Default::Values(&[]),
        doc: "References of images; `*` stands for any text.",
        example: "[\"registry.example/legacy:*\"]",
    },
    Key {
        path: "enforce.exceptions[].containers",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| exception(p, |item| item.containers = texts),
        },
        default: Default::Values(&[]),
        doc: "Names or ids of containers; `*` stands for any text.",
        example: "[debug-*]",
    },
    Key {
        path: "enforce.exceptions[].rules",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| exception(p, |item| item.rules = texts),
        },
        default: Default::Values(&[]),
        doc: "Names of the rules that are excepted there; empty for all.",
        example: "[Reverse shell]",
    },
    Key {
        path: "enforce.exceptions[].reason",
        kind: Kind::Text(TextRule::Sentence, |p, text| exception(p, |item| item.reason = text)),
        default: Default::Required,
        doc: "Why; alerts repeat it.",
        example: "moved in June",
    },
    Key {
        path: "enforce.exceptions[].expires",
        kind: Kind::Text(TextRule::Date, |p, text| {
            exception(p, |item| {
                item.expires = format!("{text}T23:59:59.999999999Z").parse().unwrap_or_default();
            });
        }),
        default: Default::Required,
        doc: "The last day (UTC) of the exception.",
        example: "\"2027-06-30\"",
    },
];

/// Adds the problems that no single key has.
pub(crate) fn check(reader: &mut Reader) {
    for (i, item) in reader.policy.enforce.rules.clone().iter().enumerate() {
        if item.rules.is_empty() && item.tags.is_empty() {
            conflict(
                reader,
                &format!("enforce.rules[{i}]"),
                "an action for no rule",
                "name `rules` or `tags`",
            );
        }
    }
    for (i, item) in reader.policy.enforce.exceptions.clone().iter().enumerate() {
        if item.images.is_empty() && item.containers.is_empty() {
            conflict(
                reader,
                &format!("enforce.exceptions[{i}]"),
                "an exception for no container",
                "name `images` or `containers`; `enforce.mode: off` excepts everything",
            );
        }
    }
}

fn conflict(reader: &mut Reader, path: &str, what: &str, help: &str) {
    note(reader, Code::Conflict, Severity::Error, path, what, help);
}

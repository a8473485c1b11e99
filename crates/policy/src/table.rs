//! Every key of a policy, once.
//!
//! This table alone decides what a policy may say: the reader, `policy explain`, the
//! JSON Schema and the reference page are all made from it, so they cannot disagree.
//! Adding a key is adding an entry here and a field in [`crate::document`].

use std::path::PathBuf;

use palisade_model::Priority;

use crate::capability;
use crate::choices::{NETWORK, ROOTLESS_IDS, ROOTLESS_LIMITS, SECURITY_MODULE, USER_NAMESPACE};
use crate::document::{Action, EndOfLife, Policy, ResponseRule, Seccomp, Tmpfs, UserMode};
pub(crate) use crate::key::{Choice, Default, Key, Kind, TextRule, section};

/// The only version of the format.
pub(crate) const VERSION: u64 = 1;
/// Items of one list: keys, rules, tags, responses.
pub(crate) const ITEMS_MAX: usize = 256;
/// Temporary file systems of a container.
pub(crate) const TMPFS_MAX: usize = 32;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const TIB: u64 = 1 << 40;

fn item_tmpfs(policy: &mut Policy, set: impl FnOnce(&mut Tmpfs)) {
    if let Some(item) = policy.containers.tmpfs.last_mut() {
        set(item);
    }
}

fn item_response(policy: &mut Policy, set: impl FnOnce(&mut ResponseRule)) {
    if let Some(item) = policy.response.last_mut() {
        set(item);
    }
}

pub(crate) fn narrow(value: Option<u64>) -> Option<u32> {
    value.map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

const USER: &[Choice] = &[
    Choice {
        name: "image",
        meaning: "as the image says, root included",
        set: |p| p.containers.user = UserMode::Image,
    },
    Choice {
        name: "non_root",
        meaning: "as the image says; an image that says root, or nothing, is refused",
        set: |p| p.containers.user = UserMode::RequireNonRoot,
    },
    Choice {
        name: "fallback",
        meaning: "as the image says; root, or nothing, becomes `fallback_user`",
        // The number is set by its own key, which comes after this one in the table.
        set: |p| p.containers.user = UserMode::Fallback(FALLBACK_USER),
    },
];

/// The id that distroless images and others use for "nobody in particular".
const FALLBACK_USER: u32 = 65_532;

const SECCOMP: &[Choice] = &[
    Choice {
        name: "default",
        meaning: "Palisade's default profile",
        set: |p| p.containers.seccomp = Seccomp::Default,
    },
    Choice {
        name: "strict",
        meaning: "the default without what only development tools need",
        set: |p| p.containers.seccomp = Seccomp::Strict,
    },
    Choice {
        name: "unconfined",
        meaning: "no filter",
        set: |p| p.containers.seccomp = Seccomp::Unconfined,
    },
];

/// The words for a lowest priority, each with what it sets.
macro_rules! priorities {
    ($set:expr) => {
        &[
            Choice { name: "debug", meaning: "everything", set: |p| $set(p, Priority::Debug) },
            Choice {
                name: "informational",
                meaning: "informational and above",
                set: |p| $set(p, Priority::Informational),
            },
            Choice {
                name: "notice",
                meaning: "notice and above",
                set: |p| $set(p, Priority::Notice),
            },
            Choice {
                name: "warning",
                meaning: "warning and above",
                set: |p| $set(p, Priority::Warning),
            },
            Choice { name: "error", meaning: "error and above", set: |p| $set(p, Priority::Error) },
            Choice {
                name: "critical",
                meaning: "critical and above",
                set: |p| $set(p, Priority::Critical),
            },
            Choice { name: "alert", meaning: "alert and above", set: |p| $set(p, Priority::Alert) },
            Choice {
                name: "emergency",
                meaning: "emergency alone",
                set: |p| $set(p, Priority::Emergency),
            },
        ]
    };
}

pub(crate) use priorities;

const PRIORITY_MIN: &[Choice] = priorities!(|p: &mut Policy, to| p.runtime.priority_min = to);
const RESPONSE_PRIORITY: &[Choice] =
    priorities!(|p: &mut Policy, to| item_response(p, |rule| rule.priority = to));

/// Keys there are.
pub(crate) const N_KEYS: usize = KEYS.len()
    + crate::limits::KEYS.len()
    + KEYS_AFTER_LIMITS.len()
    + crate::enforce::KEYS.len()
    + crate::trust::KEYS.len()
    + crate::predicate::KEYS.len()
    + crate::engines::KEYS.len()
    + crate::sinks::KEYS.len()
    + crate::checks::KEYS.len()
    + crate::scan::KEYS.len()
    + crate::evidence::KEYS.len()
    + crate::network::KEYS.len();

/// Every key, in the order in which a policy is written and explained.
pub(crate) fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
        .chain(crate::limits::KEYS)
        .chain(KEYS_AFTER_LIMITS)
        .chain(crate::trust::KEYS)
        .chain(crate::predicate::KEYS)
        .chain(crate::engines::KEYS)
        .chain(crate::enforce::KEYS)
        .chain(crate::sinks::KEYS)
        .chain(crate::checks::KEYS)
        .chain(crate::scan::KEYS)
        .chain(crate::evidence::KEYS)
        .chain(crate::network::KEYS)
}

/// Every key but those of the sections that stand in tables of their own.
const KEYS: &[Key] = &[
    Key {
        path: "version",
        kind: Kind::Version,
        default: Default::Required,
        doc: "Version of the format. This release reads version 1.",
        example: "1",
    },
    Key {
        path: "name",
        kind: Kind::Text(TextRule::Name, |p, text| p.name = text),
        default: Default::Required,
        doc: "Name of the policy, shown with every decision that it makes.",
        example: "web-frontends",
    },
    Key {
        path: "description",
        kind: Kind::Text(TextRule::Sentence, |p, text| p.description = text),
        default: Default::Value(""),
        doc: "One sentence for people.",
        example: "Services that face the internet.",
    },
    section("images", "Which images may run."),
    Key {
        path: "images.verify",
        kind: Kind::Choice(crate::gate::VERIFY),
        default: Default::Value("warn"),
        doc: "Whether a signature is demanded. The manifest, the configuration and every layer \
              are checked against their digests in any case.",
        example: "required",
    },
    Key {
        path: "images.keys",
        kind: Kind::Texts {
            rule: TextRule::File,
            n_max: ITEMS_MAX,
            set: |p, texts| p.images.keys = texts.into_iter().map(PathBuf::from).collect(),
        },
        default: Default::Values(&[]),
        doc: "Public keys (PEM files) of which one must have signed. A relative path starts at \
              the folder of the policy file.",
        example: "[keys/release.pub]",
    },
    section(
        "images.gate",
        "What a scan must not find in an image that is to run. A gate that could not be \
         evaluated is never taken for passed.",
    ),
    Key {
        path: "images.gate.severity",
        kind: Kind::Choice(crate::gate::GATE_SEVERITY),
        default: Default::Value("none"),
        doc: "Refuse an image with a vulnerability of this severity or above.",
        example: "critical",
    },
    Key {
        path: "images.gate.fixed_only",
        kind: Kind::Bool(|p, on| p.images.gate.fixed_only = on),
        default: Default::Value("false"),
        doc: "Let `severity` and `epss_percent` count only vulnerabilities for which a fixed \
              version exists, so that a refusal can always be answered by an update.",
        example: "true",
    },
    Key {
        path: "images.gate.skip_absent_symbols",
        kind: Kind::Bool(|p, on| p.images.gate.skip_absent_symbols = on),
        default: Default::Value("false"),
        doc: "Let `severity`, `epss_percent` and `known_exploited` leave vulnerabilities out whose \
              functions, which the advisory names, are known to be absent from the program. By \
              default they count: the advisory may name too few functions, and the next build may \
              use them.",
        example: "true",
    },
    Key {
        path: "images.gate.known_exploited",
        kind: Kind::Bool(|p, on| p.images.gate.known_exploited = on),
        default: Default::Value("false"),
        doc: "Refuse any vulnerability that CISA lists as exploited, whatever its severity.",
        example: "true",
    },
    Key {
        path: "images.gate.epss_percent",
        kind: Kind::Integer {
            min: 1,
            max: 100,
            optional: true,
            set: |p, n| p.images.gate.epss_ppm = narrow(n.map(|percent| percent * 10_000)),
        },
        default: Default::Value("none"),
        doc: "Refuse a vulnerability that is exploited within 30 days with at least this \
              probability in percent, by FIRST's EPSS. The database must have the scores.",
        example: "50",
    },
    Key {
        path: "images.gate.secrets",
        kind: Kind::Bool(|p, on| p.images.gate.secrets = on),
        default: Default::Value("false"),
        doc: "Refuse an image that holds a secret: a key, a token, a password.",
        example: "true",
    },
    Key {
        path: "images.gate.malware",
        kind: Kind::Bool(|p, on| p.images.gate.malware = on),
        default: Default::Value("false"),
        doc: "Refuse an image in which a rule or a list of hashes finds malware, of a severity \
              above low.",
        example: "true",
    },
    Key {
        path: "images.gate.licences",
        kind: Kind::Bool(|p, on| p.images.gate.licences = on),
        default: Default::Value("false"),
        doc: "Refuse an image with a package whose licence `scan.licences` denies.",
        example: "true",
    },
    Key {
        path: "images.gate.other_severity",
        kind: Kind::Choice(crate::gate::GATE_OTHER_SEVERITY),
        default: Default::Value("none"),
        doc: "Refuse an image with any other finding of this severity or above: a dangerous \
              file, malware, a licence, a weak setting.",
        example: "critical",
    },
    Key {
        path: "images.gate.end_of_life",
        kind: Kind::Bool(|p, on| p.images.gate.end_of_life = on),
        default: Default::Value("false"),
        doc: "Refuse an image whose distribution, or a run-time in it, gets no security fixes \
              any more.",
        example: "true",
    },
    Key {
        path: "images.gate.end_of_life_dates",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| p.images.gate.end_of_life_dates.push(EndOfLife::default()),
        },
        default: Default::Nothing,
        doc: "When releases get their last fixes, where you know better than the built-in table: \
              by a contract, or of a distribution of your own. Asked for by `end_of_life`.",
        example: "[{product: debian, release: \"12\", date: \"2026-06-10\"}]",
    },
    Key {
        path: "images.gate.end_of_life_dates[].product",
        kind: Kind::Text(TextRule::Name, |p, text| {
            crate::gate::end_of_life(p, |item| item.product = text);
        }),
        default: Default::Required,
        doc: "The distribution, by the `ID` of its `os-release`, or the run-time: `python`, \
              `nodejs`, `php`, `ruby`, `perl`, `java`, `go`.",
        example: "debian",
    },
    Key {
        path: "images.gate.end_of_life_dates[].release",
        kind: Kind::Text(TextRule::Sentence, |p, text| {
            crate::gate::end_of_life(p, |item| item.release = text);
        }),
        default: Default::Required,
        doc: "The release: `12`, `3.18`. The longest that a version begins with counts.",
        example: "\"12\"",
    },
    Key {
        path: "images.gate.end_of_life_dates[].date",
        kind: Kind::Text(TextRule::Date, |p, text| {
            crate::gate::end_of_life(p, |item| item.date = text);
        }),
        default: Default::Required,
        doc: "The last day on which it gets fixes.",
        example: "\"2026-06-10\"",
    },
    Key {
        path: "images.gate.database_age_days_max",
        kind: Kind::Integer {
            min: 1,
            max: 3650,
            optional: true,
            set: |p, n| p.images.gate.database_age_days_max = narrow(n),
        },
        default: Default::Value("none"),
        doc: "Refuse to decide on an advisory database that is older than this many days.",
        example: "7",
    },
    Key {
        path: "images.gate.database_age_days_warn",
        kind: Kind::Integer {
            min: 1,
            max: 3650,
            optional: true,
            set: |p, n| p.images.gate.database_age_days_warn = narrow(n),
        },
        default: Default::Value("14"),
        doc: "Warn of an advisory database that is older than this many days, also with `--quiet`. `none` never warns.",
        example: "3",
    },
    Key {
        path: "images.gate.database_key_age_days_max",
        kind: Kind::Integer {
            min: 1,
            max: 3650,
            optional: true,
            set: |p, n| p.images.gate.database_key_age_days_max = narrow(n),
        },
        default: Default::Value("none"),
        doc: "Refuse to decide on an advisory database whose signing key is older than this \
              many days. The date is that of the line `Created:` in the file of `--db-key`; \
              without one, or without `--db-key`, the gate has no answer, which is not a pass.",
        example: "365",
    },
    Key {
        path: "images.gate.ignore",
        kind: Kind::Texts {
            rule: TextRule::File,
            n_max: ITEMS_MAX,
            set: |p, texts| p.images.gate.ignore = texts.into_iter().map(PathBuf::from).collect(),
        },
        default: Default::Values(&[]),
        doc: "Ignore files: findings that somebody decided to live with, each with a reason and \
              an end. They do not count for `scan`, `patch`, `run` and `promote` under this \
              policy. A relative path starts at the folder of the policy file; a file that cannot \
              be read is an error.",
        example: "[exceptions.yaml]",
    },
    Key {
        path: "images.gate.vex",
        kind: Kind::Texts {
            rule: TextRule::File,
            n_max: ITEMS_MAX,
            set: |p, texts| p.images.gate.vex = texts.into_iter().map(PathBuf::from).collect(),
        },
        default: Default::Values(&[]),
        doc: "VEX documents (OpenVEX, CSAF, CycloneDX): what they say is not affected or fixed \
              does not count, as with `ignore`.",
        example: "[vex/openssl.json]",
    },
    section("containers", "How containers are confined."),
    Key {
        path: "containers.user",
        kind: Kind::Choice(USER),
        default: Default::Value("image"),
        doc: "Which user the program runs as.",
        example: "non_root",
    },
    Key {
        path: "containers.fallback_user",
        kind: Kind::Integer {
            min: 1,
            max: 65_535,
            optional: false,
            set: |p, id| {
                if let (UserMode::Fallback(to), Some(id)) = (&mut p.containers.user, narrow(id)) {
                    *to = id;
                }
            },
        },
        default: Default::Value("65532"),
        doc: "The user id that takes root's place with `user: fallback`.",
        example: "10001",
    },
    Key {
        path: "containers.user_namespace",
        kind: Kind::Choice(USER_NAMESPACE),
        default: Default::Value("private"),
        doc: "Whether the container has its own range of user ids.",
        example: "private",
    },
    Key {
        path: "containers.capabilities",
        kind: Kind::Texts {
            rule: TextRule::Capability,
            n_max: capability::ALL.len(),
            set: |p, texts| p.containers.capabilities = texts,
        },
        default: Default::Values(capability::BASELINE),
        doc: "Capabilities that are left to the container; all others are taken from it, also \
              from its bounding set. Names as in capabilities(7), with or without `CAP_`.",
        example: "[NET_BIND_SERVICE]",
    },
    Key {
        path: "containers.read_only_root",
        kind: Kind::Bool(|p, on| p.containers.read_only_root = on),
        default: Default::Value("false"),
        doc: "Whether the root file system is read only. What must be written goes to `tmpfs` or \
              to a volume.",
        example: "true",
    },
    Key {
        path: "containers.tmpfs",
        kind: Kind::Items {
            n_max: TMPFS_MAX,
            begin: |p| {
                p.containers.tmpfs.push(Tmpfs { path: String::new(), size_bytes: 0, exec: false });
            },
        },
        default: Default::Nothing,
        doc: "Writable temporary file systems in memory.",
        example: "[{path: /tmp, size: 64Mi}]",
    },
    Key {
        path: "containers.tmpfs[].path",
        kind: Kind::Text(TextRule::MountPoint, |p, text| {
            item_tmpfs(p, |item| item.path = text);
        }),
        default: Default::Required,
        doc: "Mount point in the container, absolute.",
        example: "/tmp",
    },
    Key {
        path: "containers.tmpfs[].size",
        kind: Kind::Size {
            min: 4 * KIB,
            max: TIB,
            optional: false,
            set: |p, n| item_tmpfs(p, |item| item.size_bytes = n.unwrap_or(0)),
        },
        default: Default::Value("64Mi"),
        doc: "Its size. What it holds counts as memory of the container.",
        example: "16Mi",
    },
    Key {
        path: "containers.tmpfs[].exec",
        kind: Kind::Bool(|p, on| item_tmpfs(p, |item| item.exec = on)),
        default: Default::Value("false"),
        doc: "Whether programs on it may be executed.",
        example: "false",
    },
    Key {
        path: "containers.no_new_privileges",
        kind: Kind::Bool(|p, on| p.containers.no_new_privileges = on),
        default: Default::Value("true"),
        doc: "Whether `no_new_privs` is set: setuid programs and file capabilities then give \
              nothing.",
        example: "true",
    },
    Key {
        path: "containers.seccomp",
        kind: Kind::ChoiceOrFile(SECCOMP, |p, path| {
            p.containers.seccomp = Seccomp::File(path);
        }),
        default: Default::Value("default"),
        doc: "The system-call filter: a name, or a profile file (`….json`) in OCI or Docker form, \
              relative to the policy file.",
        example: "strict",
    },
    Key {
        path: "containers.network",
        kind: Kind::Choice(NETWORK),
        default: Default::Value("none"),
        doc: "Network of a container of `palisade run`, which `--network` may narrow. An engine's \
              containers keep the network that the engine made; only `host` lets them have the \
              host's.",
        example: "bridge",
    },
    Key {
        path: "containers.shared_networks",
        kind: Kind::Texts {
            rule: TextRule::Name,
            n_max: ITEMS_MAX,
            set: |p, texts| p.containers.shared_networks = texts,
        },
        default: Default::Values(&[]),
        doc: "Networks that a container of `palisade run` may share with others of the same \
              network (`--network bridge:NAME`), where `network` allows a bridge.",
        example: "[backend]",
    },
];

/// Those that follow the limits of resources.
const KEYS_AFTER_LIMITS: &[Key] = &[
    Key {
        path: "containers.mask_paths",
        kind: Kind::Bool(|p, on| p.containers.mask_paths = on),
        default: Default::Value("true"),
        doc: "Whether the files of `/proc` and `/sys` that runtimes mask or make read only stay so.",
        example: "true",
    },
    Key {
        path: "containers.security_module",
        kind: Kind::Choice(SECURITY_MODULE),
        default: Default::Value("auto"),
        doc: "Whether containers of `palisade run` get an AppArmor profile of their own, which holds \
              the same limits in another part of the kernel.",
        example: "required",
    },
    Key {
        path: "containers.selinux",
        kind: Kind::Text(TextRule::Selinux, |p, text| {
            if let Ok(label) = text.parse() {
                p.containers.selinux = label;
            }
        }),
        default: Default::Value("auto"),
        doc: "SELinux's label of containers of `palisade run`. `auto`: `container_t` with two \
              categories of each container's own, where the machine's policy knows it. A label that \
              is named is required. Files get the label's user and level with the type \
              `container_file_t`.",
        example: "\"system_u:system_r:web_palisade.process:s0\"",
    },
    Key {
        path: "containers.deny_drift",
        kind: Kind::Bool(|p, on| p.containers.deny_drift = on),
        default: Default::Value("false"),
        doc: "Whether programs that are not the image's are refused in containers of `palisade run` \
              while they run: added or changed since, or on another file system. Root's alone.",
        example: "true",
    },
    section("containers.rootless", "Containers of `palisade run` that an ordinary user starts."),
    Key {
        path: "containers.rootless.ids",
        kind: Kind::Choice(ROOTLESS_IDS),
        default: Default::Value("range"),
        doc: "Which user and group ids a container with `user_namespace: private` has.",
        example: "single",
    },
    Key {
        path: "containers.rootless.limits",
        kind: Kind::Choice(ROOTLESS_LIMITS),
        default: Default::Value("warn"),
        doc: "What becomes of a limit whose control group controller was not delegated to the \
              user.",
        example: "require",
    },
    section("runtime", "What is watched."),
    Key {
        path: "runtime.builtin_rules",
        kind: Kind::Bool(|p, on| p.runtime.builtin_rules = on),
        default: Default::Value("true"),
        doc: "Whether the built-in rules are loaded.",
        example: "true",
    },
    Key {
        path: "runtime.rules",
        kind: Kind::Texts {
            rule: TextRule::File,
            n_max: ITEMS_MAX,
            set: |p, texts| p.runtime.rules = texts.into_iter().map(PathBuf::from).collect(),
        },
        default: Default::Values(&[]),
        doc: "Further rule files in Falco's language, relative to the policy file. They are loaded \
              after the built-in ones and may override them.",
        example: "[rules/web.yaml]",
    },
    Key {
        path: "runtime.priority_min",
        kind: Kind::Choice(PRIORITY_MIN),
        default: Default::Value("notice"),
        doc: "Alerts below this priority are not raised.",
        example: "warning",
    },
    Key {
        path: "response",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| {
                p.response.push(ResponseRule {
                    name: String::new(),
                    priority: Priority::Emergency,
                    rules: Vec::new(),
                    tags: Vec::new(),
                    actions: Vec::new(),
                });
            },
        },
        default: Default::Nothing,
        doc: "What is done about an alert. The first entry that matches decides; an alert that \
              none matches is reported and nothing else.",
        example: "[{name: contain, priority: critical, actions: [freeze, evidence, kill]}]",
    },
    Key {
        path: "response[].name",
        kind: Kind::Text(TextRule::Name, |p, text| {
            item_response(p, |rule| rule.name = text);
        }),
        default: Default::Required,
        doc: "Name of the entry, shown in the timeline of an incident.",
        example: "contain",
    },
    Key {
        path: "response[].priority",
        kind: Kind::Choice(RESPONSE_PRIORITY),
        default: Default::Value("critical"),
        doc: "The lowest priority that it answers.",
        example: "critical",
    },
    Key {
        path: "response[].rules",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| item_response(p, |rule| rule.rules = texts),
        },
        default: Default::Values(&[]),
        doc: "Names of the rules whose alerts it answers; empty for all.",
        example: "[Read sensitive file untrusted]",
    },
    Key {
        path: "response[].tags",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| item_response(p, |rule| rule.tags = texts),
        },
        default: Default::Values(&[]),
        doc: "Tags of which the alert must carry at least one; empty for any.",
        example: "[mitre_execution]",
    },
    Key {
        path: "response[].actions",
        kind: Kind::Texts {
            rule: TextRule::Action,
            n_max: Action::ALL.len(),
            set: |p, texts| {
                item_response(p, |rule| {
                    rule.actions = texts.iter().filter_map(|text| action(text)).collect();
                });
            },
        },
        default: Default::Required,
        doc: "What to do, in this order: `freeze` stops every process of the container where it \
              stands, `isolate` denies all its network traffic, `evidence` collects a signed \
              evidence bundle, `kill` kills it.",
        example: "[freeze, isolate, evidence, kill]",
    },
];

/// The action of that name.
pub(crate) fn action(name: &str) -> Option<Action> {
    Action::ALL.into_iter().find(|action| action.as_str() == name)
}

/// The keys that stand directly in `parent`, in table order.
pub(crate) fn children(parent: &str) -> impl Iterator<Item = &'static Key> {
    keys().filter(move |key| key.parent() == parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unique_and_their_parents_come_first() {
        let keys: Vec<&Key> = keys().collect();
        for (i, key) in keys.iter().enumerate() {
            let before = &keys[..i];
            assert!(before.iter().all(|other| other.path != key.path), "{} twice", key.path);
            let parent = key.parent().trim_end_matches("[]");
            assert!(
                parent.is_empty() || before.iter().any(|other| other.path == parent),
                "{} has no parent",
                key.path
            );
        }
    }

    #[test]
    fn every_key_is_documented() {
        for key in keys() {
            assert!(key.doc.ends_with('.') && !key.doc.contains("  "), "{}", key.path);
            assert!(key.is_section() || !key.example.is_empty(), "{}", key.path);
        }
    }
}

//! The keys of `sinks`, and what of them contradicts itself.

use std::path::PathBuf;

use palisade_base::Severity;
use palisade_model::Priority;

use crate::check::note;
use crate::code::Code;
use crate::document::{Policy, Sink, SinkFormat};
use crate::endpoint::{Endpoint, SyslogTransport};
use crate::read::Reader;
use crate::table::{Choice, Default, Key, Kind, TextRule, priorities};

/// Sinks of one policy.
pub(crate) const SINKS_MAX: usize = 16;
/// Files of headers or certificates of one sink.
const FILES_MAX: usize = 16;
/// Alerts that may wait in one sink.
const QUEUE_MAX: u64 = 1_000_000;

const MIB: u64 = 1 << 20;

fn item(policy: &mut Policy, set: impl FnOnce(&mut Sink)) {
    if let Some(sink) = policy.sinks.last_mut() {
        set(sink);
    }
}

fn number(value: Option<u64>) -> u32 {
    value.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX)
}

macro_rules! format_choice {
    ($form:ident, $meaning:literal) => {
        Choice {
            name: SinkFormat::$form.as_str(),
            meaning: $meaning,
            set: |p| item(p, |sink| sink.format = SinkFormat::$form),
        }
    };
}

const FORMAT: &[Choice] = &[
    format_choice!(Auto, "Falco's line for syslog, versioned JSON for everything else"),
    format_choice!(Json, "versioned JSON"),
    format_choice!(Falco, "Falco's line: time, priority, output"),
    format_choice!(FalcoJson, "Falco's JSON"),
    format_choice!(Ocsf, "OCSF 1.8.0, Detection Finding"),
    format_choice!(Cef, "ArcSight Common Event Format, version 0"),
];

macro_rules! facility {
    ($name:literal, $number:literal, $meaning:literal) => {
        Choice { name: $name, meaning: $meaning, set: |p| item(p, |sink| sink.facility = $number) }
    };
}

const FACILITY: &[Choice] = &[
    facility!("user", 1, "1, messages of programs; what Falco uses"),
    facility!("daemon", 3, "3, system services"),
    facility!("auth", 4, "4, security"),
    facility!("authpriv", 10, "10, security, not for everybody's eyes"),
    facility!("local0", 16, "16, of the site"),
    facility!("local1", 17, "17, of the site"),
    facility!("local2", 18, "18, of the site"),
    facility!("local3", 19, "19, of the site"),
    facility!("local4", 20, "20, of the site"),
    facility!("local5", 21, "21, of the site"),
    facility!("local6", 22, "22, of the site"),
    facility!("local7", 23, "23, of the site"),
];

const PRIORITY: &[Choice] = priorities!(|p: &mut Policy, to| item(p, |sink| sink.priority = to));

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    Key {
        path: "sinks",
        kind: Kind::Items {
            n_max: SINKS_MAX,
            begin: |p| p.sinks.push(Sink::new("", Endpoint::File(PathBuf::new()))),
        },
        default: Default::Nothing,
        doc: "Where `watch` sends alerts. Each sink reads the journal of alerts at its own pace: \
              what its receiver has not taken waits on the disk, across restarts.",
        example: "[{name: siem, to: \"syslog+tcp://siem.example:601\", priority: warning}]",
    },
    Key {
        path: "sinks[].name",
        kind: Kind::Text(TextRule::Name, |p, text| item(p, |sink| sink.name = text)),
        default: Default::Required,
        doc: "Name of the sink. Its place in the journal is kept under this name, so a sink that \
              keeps its name keeps its queue when the rest of its entry changes.",
        example: "siem",
    },
    Key {
        path: "sinks[].to",
        kind: Kind::Text(TextRule::Endpoint, |p, text| {
            if let Ok(endpoint) = text.parse() {
                item(p, |sink| sink.to = endpoint);
            }
        }),
        default: Default::Required,
        doc: "The receiver: `https://HOST/PATH` or `http://HOST/PATH` (a webhook: HTTP POST), \
              `syslog:/dev/log` (the local socket), `syslog+udp://HOST:PORT`, \
              `syslog+tcp://HOST:PORT` (octet counting, RFC 6587), `syslog+tls://HOST:PORT` \
              (RFC 5425), or `file:/PATH`.",
        example: "\"https://hooks.example/alerts\"",
    },
    Key {
        path: "sinks[].format",
        kind: Kind::Choice(FORMAT),
        default: Default::Value("auto"),
        doc: "The form of an alert.",
        example: "ocsf",
    },
    Key {
        path: "sinks[].priority",
        kind: Kind::Choice(PRIORITY),
        default: Default::Value("debug"),
        doc: "The lowest priority that is sent, of the alerts that are raised at all.",
        example: "error",
    },
    Key {
        path: "sinks[].queue",
        kind: Kind::Integer {
            min: 1,
            max: QUEUE_MAX,
            optional: false,
            set: |p, n| item(p, |sink| sink.queue_max = number(n)),
        },
        default: Default::Value("10000"),
        doc: "How many alerts may wait for the receiver. When there are more the oldest are \
              dropped, counted and said; they stay in the journal.",
        example: "50000",
    },
    Key {
        path: "sinks[].batch",
        kind: Kind::Integer {
            min: 1,
            max: 1000,
            optional: false,
            set: |p, n| item(p, |sink| sink.batch_max = number(n)),
        },
        default: Default::Value("1"),
        doc: "Alerts of one request of a webhook. With 1 the body is one document; with more it \
              is always an array (of JSON forms) or lines (of the others).",
        example: "50",
    },
    Key {
        path: "sinks[].headers",
        kind: Kind::Texts {
            rule: TextRule::File,
            n_max: FILES_MAX,
            set: |p, texts| {
                item(p, |sink| sink.headers = texts.into_iter().map(PathBuf::from).collect());
            },
        },
        default: Default::Values(&[]),
        doc: "Files of HTTP header lines (`Authorization: Bearer …`), relative to the policy \
              file, so that secrets stand neither in a policy nor on a command line. They are \
              read at the start, and again after the receiver answers 401 or 403.",
        example: "[siem.headers]",
    },
    Key {
        path: "sinks[].ca",
        kind: Kind::Texts {
            rule: TextRule::File,
            n_max: FILES_MAX,
            set: |p, texts| {
                item(p, |sink| sink.ca = texts.into_iter().map(PathBuf::from).collect());
            },
        },
        default: Default::Values(&[]),
        doc: "Certificates of authorities (PEM files) that the receiver's certificate must lead \
              to, relative to the policy file; empty for those of the system.",
        example: "[ca.pem]",
    },
    Key {
        path: "sinks[].timeout",
        kind: Kind::Integer {
            min: 1,
            max: 300,
            optional: false,
            set: |p, n| item(p, |sink| sink.timeout_seconds = number(n)),
        },
        default: Default::Value("10"),
        doc: "Seconds that one delivery may take before it counts as failed.",
        example: "30",
    },
    Key {
        path: "sinks[].facility",
        kind: Kind::Choice(FACILITY),
        default: Default::Value("authpriv"),
        doc: "Facility of syslog messages.",
        example: "local0",
    },
    Key {
        path: "sinks[].size",
        kind: Kind::Size {
            min: MIB,
            max: 1 << 40,
            optional: false,
            set: |p, n| item(p, |sink| sink.rotate_bytes = n.unwrap_or(u64::MAX)),
        },
        default: Default::Value("100Mi"),
        doc: "Size at which a file is rotated: it becomes `FILE.1`, and a new one begins.",
        example: "10Mi",
    },
    Key {
        path: "sinks[].keep",
        kind: Kind::Integer {
            min: 1,
            max: 100,
            optional: false,
            set: |p, n| item(p, |sink| sink.n_kept = number(n)),
        },
        default: Default::Value("5"),
        doc: "Rotated files that are kept.",
        example: "10",
    },
];

/// Adds the problems that no single key has.
pub(crate) fn check(reader: &mut Reader) {
    for i in 0..reader.policy.sinks.len() {
        let Some(sink) = reader.policy.sinks.get(i).cloned() else { return };
        let path = format!("sinks[{i}]");
        let earlier = &reader.policy.sinks[..i];
        if earlier.iter().any(|other| !sink.name.is_empty() && other.name == sink.name) {
            let what = format!("two sinks are called `{}`", sink.name);
            let help = "the name tells their queues apart";
            note(reader, Code::Conflict, Severity::Error, &format!("{path}.name"), &what, help);
        }
        // Without a valid endpoint nothing is known about what has an effect.
        if reader.says(&format!("{path}.to"), &shown(&sink)) {
            no_effect(reader, &path, &sink);
        }
    }
}

/// The endpoint as the reader notes it.
fn shown(sink: &Sink) -> String {
    crate::read::quote(&sink.to.to_string())
}

/// Keys that the transport does not look at.
fn no_effect(reader: &mut Reader, path: &str, sink: &Sink) {
    let is_webhook = matches!(sink.to, Endpoint::Webhook { .. });
    let is_tls = matches!(
        sink.to,
        Endpoint::Webhook { is_tls: true, .. } | Endpoint::Syslog(SyslogTransport::Tls(_))
    );
    let is_syslog = matches!(sink.to, Endpoint::Syslog(_));
    let is_file = matches!(sink.to, Endpoint::File(_));
    let all = [
        ("batch", is_webhook, "a webhook"),
        ("headers", is_webhook, "a webhook"),
        ("ca", is_tls, "`https` and `syslog+tls`"),
        ("facility", is_syslog, "syslog"),
        ("size", is_file, "a file"),
        ("keep", is_file, "a file"),
        ("timeout", !is_file, "what is sent over a network or a socket"),
    ];
    for (key, applies, what) in all {
        let key = format!("{path}.{key}");
        if !applies && reader.place(&key).is_some() {
            let message = format!("`{key}` only matters to {what}");
            note(reader, Code::NoEffect, Severity::Warning, &key, &message, "remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_a_sink_made_by_hand() {
        let text = "version: 1\nname: x\nsinks:\n  - {name: a, to: \"https://h\"}\n";
        let loaded = crate::parse(text, "x", std::path::Path::new("")).unwrap();
        let by_hand = Sink::new("a", "https://h".parse().unwrap());
        assert_eq!(loaded.policy.sinks, [by_hand]);
        assert_eq!(Sink::new("a", "https://h".parse().unwrap()).priority, Priority::Debug);
    }
}

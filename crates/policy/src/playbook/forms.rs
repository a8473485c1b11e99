//! The actions of playbooks and their parameters: one row each, for reader and reference.

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// Text without control characters.
    Text,
    /// A process id.
    Pid,
    /// `sha256:` and 64 hexadecimal digits.
    Digest,
    /// A list of addresses.
    Addresses,
    /// An address, or a network with its prefix length.
    Network,
    /// Program and arguments, the program an absolute path.
    Command,
    /// `https://…`, or `http://…`.
    Url,
}

/// A parameter of an action.
#[derive(Debug)]
pub struct Parameter {
    /// Its key.
    pub name: &'static str,
    /// What it may be.
    pub kind: ParameterKind,
    /// Whether it must be there.
    pub required: bool,
}

/// An action.
#[derive(Debug)]
pub struct Form {
    /// Its name.
    pub name: &'static str,
    /// The parameter that stands for all when the action has a plain value.
    pub short: Option<&'static str>,
    /// Its parameters.
    pub parameters: &'static [Parameter],
}

const fn must(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name, kind, required: true }
}

const fn may(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name, kind, required: false }
}

const fn plain(name: &'static str) -> Form {
    Form { name, short: None, parameters: &[] }
}

use ParameterKind::{Addresses, Command, Digest, Network, Pid, Text, Url};

const PID: &[Parameter] = &[may("pid", Pid)];
const SHA256: &[Parameter] = &[must("sha256", Digest)];
const IMAGE: &[Parameter] = &[may("digest", Digest)];
const TO: &[Parameter] = &[must("to", Network)];
const NODE: &[Parameter] = &[must("node", Text)];
const ROLE: &[Parameter] = &[must("role", Text)];
const KEY: &[Parameter] = &[must("account", Text), must("key", Text)];
const INSTANCE: &[Parameter] = &[must("instance", Text)];
const GCP_INSTANCE: &[Parameter] =
    &[must("project", Text), must("zone", Text), must("instance", Text)];

const fn short(name: &'static str, short: &'static str, parameters: &'static [Parameter]) -> Form {
    Form { name, short: Some(short), parameters }
}

/// Every action.
pub const FORMS: &[Form] = &[
    plain("freeze"),
    plain("unfreeze"),
    short("isolate", "allow", &[may("allow", Addresses)]),
    plain("unisolate"),
    short("kill-process", "pid", PID),
    short("kill-tree", "pid", PID),
    plain("kill"),
    plain("evidence"),
    plain("snapshot"),
    short("quarantine-image", "digest", IMAGE),
    short("release-image", "digest", IMAGE),
    short("block-executable", "sha256", SHA256),
    short("unblock-executable", "sha256", SHA256),
    short("block-destination", "to", TO),
    short("unblock-destination", "to", TO),
    plain("protect"),
    plain("unprotect"),
    short("cordon", "node", NODE),
    short("uncordon", "node", NODE),
    Form {
        name: "label-node",
        short: None,
        parameters: &[must("node", Text), must("key", Text), must("value", Text)],
    },
    Form {
        name: "unlabel-node",
        short: None,
        parameters: &[must("node", Text), must("key", Text)],
    },
    short("revoke-service-account", "account", &[must("account", Text), may("namespace", Text)]),
    short("revoke-aws-sessions", "role", ROLE),
    short("allow-aws-sessions", "role", ROLE),
    Form { name: "disable-gcp-key", short: None, parameters: KEY },
    Form { name: "enable-gcp-key", short: None, parameters: KEY },
    short("protect-aws-instance", "instance", INSTANCE),
    short("unprotect-aws-instance", "instance", INSTANCE),
    Form { name: "protect-gcp-instance", short: None, parameters: GCP_INSTANCE },
    Form { name: "unprotect-gcp-instance", short: None, parameters: GCP_INSTANCE },
    short("hook", "command", &[must("command", Command)]),
    short("notify", "url", &[must("url", Url), may("text", Text)]),
];

/// The action of that name.
pub fn form(name: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.name == name)
}

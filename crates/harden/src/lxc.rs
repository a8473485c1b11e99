//! LXC containers: a configuration (`lxc.container.conf(5)`, LXC 3 and later) audited against a
//! policy and written anew, line by line, with what a container besides needs of its host.
//!
//! Unlike an application's container one of LXC usually runs a whole system, so what a policy
//! says of users, seccomp profiles and read-only roots is not asked of it; what is asked is what
//! keeps such a system from its host: ids of its own, capabilities, the security module, a list
//! of closed system calls, mounts, devices, limits and forged addresses on its bridge.
//!
//! Files that a configuration includes are not read; each is named.

mod limits;
mod network;
mod rules;
mod usernet;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_base::Explain;
use palisade_policy::Containers;
use serde::Serialize;

pub use usernet::{Usernet, harden_usernet};

/// Bytes of a configuration.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Lines of a configuration.
pub const LINES_MAX: usize = 10_000;

/// System calls that no container's system needs and that reach the host's kernel, each with its
/// reason. A system inside goes on when they answer `EPERM`.
const CLOSED_CALLS: [(&str, &str); 19] = [
    ("init_module", "loads code into the host's kernel"),
    ("finit_module", "loads code into the host's kernel"),
    ("delete_module", "takes drivers from the host"),
    ("kexec_load", "replaces the host's kernel"),
    ("kexec_file_load", "replaces the host's kernel"),
    ("open_by_handle_at", "opens files of the host by their numbers (Shocker)"),
    ("bpf", "runs programs in the host's kernel"),
    ("perf_event_open", "a large interface with a history of escapes"),
    ("userfaultfd", "holds the kernel still in the middle of a race"),
    ("io_uring_setup", "a second way to system calls that no filter sees"),
    ("io_uring_enter", "as io_uring_setup"),
    ("io_uring_register", "as io_uring_setup"),
    ("add_key", "the kernel's keys are not divided among containers"),
    ("request_key", "as add_key"),
    ("keyctl", "as add_key"),
    ("swapon", "the host's memory"),
    ("swapoff", "the host's memory"),
    ("iopl", "the host's devices, past its kernel"),
    ("ioperm", "as iopl"),
];

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LxcLevel {
    /// Nothing is changed: what a person should look at.
    Note,
    /// It helps an attacker.
    Low,
    /// It is half of a way out.
    Medium,
    /// It is a way to the host.
    High,
}

/// Something in a configuration, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LxcFinding {
    /// The line, from 1; 0 for what is missing.
    pub line: usize,
    /// The key.
    pub key: String,
    /// How bad it is.
    pub level: LxcLevel,
    /// What it opens.
    pub message: String,
    /// What was written instead, or is to be done.
    pub fix: String,
}

/// What must be known besides the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LxcFacts {
    /// The container's name, for the names of its interfaces.
    pub name: String,
    /// First of 65,536 host ids that are its own.
    pub first_id: u32,
    /// Where the list of closed calls will be.
    pub seccomp_path: String,
    /// `/etc/subuid`, where `newuidmap` is installed: LXC then maps ids by it, for root, too.
    pub subuid: Option<String>,
    /// `/etc/subgid`, where `newgidmap` is installed.
    pub subgid: Option<String>,
    /// `net.ipv6.conf.LINK.accept_ra` of this machine's bridges, where it has them.
    pub accept_ra: BTreeMap<String, u8>,
}

/// A hardened configuration, with the files that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LxcHardened {
    /// The configuration.
    pub config: String,
    /// The list of closed system calls, in LXC's form.
    pub seccomp: String,
    /// Rules for `nft -f`: no forged addresses and no router advertisements from its interfaces;
    /// empty without an interface that can be named.
    pub filter: String,
    /// Settings for `sysctl.d`: bridges believe no router advertisements.
    pub sysctl: String,
    /// Lines that `/etc/subuid` and `/etc/subgid` lack, where LXC maps ids by them.
    pub subids: String,
    /// What was found, in the order of the rules.
    pub findings: Vec<LxcFinding>,
}

/// A configuration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LxcError {
    /// It is larger than any configuration.
    #[error("the configuration has more than {CONFIG_BYTES_MAX} bytes or {LINES_MAX} lines")]
    TooLarge,
    /// A line is no `key = value`.
    #[error("line {line}: `{text}` is no `key = value`")]
    Line {
        /// The line, from 1.
        line: usize,
        /// The beginning of it.
        text: String,
    },
    /// Keys of LXC 2.
    #[error("line {line}: `{key}` is a key of LXC 2")]
    Old {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
}

impl Explain for LxcError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::TooLarge => "give the configuration of one container",
                Self::Line { .. } => "see lxc.container.conf(5)",
                Self::Old { .. } => "write today's keys first: lxc-update-config -c CONFIG",
            }
            .into(),
        )
    }
}

/// One line of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    number: usize,
    /// As it will be written; none when it is taken out.
    text: Option<String>,
    key: String,
    value: String,
}

/// A configuration being hardened.
struct Work {
    lines: Vec<Line>,
    added: Vec<String>,
    findings: Vec<LxcFinding>,
}

/// Audits the configuration `text` and writes what `policy` allows of it.
pub fn harden_lxc(
    text: &str,
    policy: &Containers,
    facts: &LxcFacts,
) -> Result<LxcHardened, LxcError> {
    let mut work = Work { lines: read(text)?, added: Vec::new(), findings: Vec::new() };
    work.ids(facts);
    work.capabilities(policy);
    work.security_module();
    work.seccomp(facts);
    work.privileges(policy);
    work.automatic_mounts();
    work.mounts();
    work.devices();
    work.namespaces();
    work.limits(policy);
    work.elsewhere();
    let (filter, sysctl) = work.network(facts);
    let subids = work.delegation(facts);
    let mut config = String::new();
    for line in work
        .lines
        .iter()
        .filter_map(|line| line.text.as_deref())
        .chain((!work.added.is_empty()).then_some("\n# Added by palisade harden."))
    {
        config.push_str(line);
        config.push('\n');
    }
    for line in &work.added {
        config.push_str(line);
        config.push('\n');
    }
    let mut seccomp = String::from("2\ndenylist\n[all]\n");
    for (call, reason) in CLOSED_CALLS {
        let _ = writeln!(seccomp, "# {reason}\n{call} errno 1");
    }
    Ok(LxcHardened { config, seccomp, filter, sysctl, subids, findings: work.findings })
}

fn read(text: &str) -> Result<Vec<Line>, LxcError> {
    if text.len() > CONFIG_BYTES_MAX || text.lines().count() > LINES_MAX {
        return Err(LxcError::TooLarge);
    }
    let mut lines = Vec::new();
    for (i, raw) in text.lines().enumerate() {
        // At the end of a text without an end of line too, where `lines` leaves it.
        let raw = raw.trim_end_matches('\r');
        let number = i + 1;
        let trimmed = raw.trim();
        let (key, value) = if trimmed.is_empty() || trimmed.starts_with('#') {
            (String::new(), String::new())
        } else {
            let (key, value) = trimmed.split_once('=').ok_or_else(|| LxcError::Line {
                line: number,
                text: trimmed.chars().take(60).collect(),
            })?;
            (key.trim().to_string(), unquoted(value.trim()).to_string())
        };
        let old =
            ["lxc.id_map", "lxc.network.", "lxc.aa_", "lxc.utsname", "lxc.seccomp", "lxc.tty"];
        let is_new = key.starts_with("lxc.seccomp.") || key.starts_with("lxc.tty.");
        if !is_new && old.iter().any(|old| key.starts_with(old)) {
            return Err(LxcError::Old { line: number, key });
        }
        lines.push(Line { number, text: Some(raw.to_string()), key, value });
    }
    Ok(lines)
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

impl Work {
    fn find(&mut self, line: usize, key: &str, level: LxcLevel, [message, fix]: [&str; 2]) {
        let (key, message, fix) = (key.to_string(), message.to_string(), fix.to_string());
        self.findings.push(LxcFinding { line, key, level, message, fix });
    }

    /// Where what is said of `key` begins to count: an empty value takes back what was said
    /// before of its key and of those below it, and is none itself.
    fn since(&self, key: &str) -> usize {
        let takes_back = |line: &Line| {
            let rest = key.strip_prefix(line.key.as_str());
            line.text.is_some()
                && line.value.is_empty()
                && !line.key.is_empty()
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.lines.iter().rposition(takes_back).map_or(0, |at| at + 1)
    }

    /// Lines of `key` that count: index, number and value.
    fn of(&self, key: &str) -> Vec<(usize, usize, String)> {
        let all = self.lines.iter().enumerate().skip(self.since(key));
        let kept = all.filter(|(_, line)| line.key == key && line.text.is_some());
        kept.map(|(i, line)| (i, line.number, line.value.clone())).collect()
    }

    /// The value that holds: the last one.
    fn last(&self, key: &str) -> Option<(usize, usize, String)> {
        self.of(key).pop()
    }

    fn replace(&mut self, index: usize, value: &str) {
        if let Some(line) = self.lines.get_mut(index) {
            line.value = value.to_string();
            line.text = Some(format!("{} = {value}", line.key));
        }
    }

    /// Writes a line of its own before the one at `index`; those after it move on.
    fn insert(&mut self, index: usize, key: &str, value: &str) {
        let text = Some(format!("{key} = {value}"));
        let line = Line { number: 0, text, key: key.to_string(), value: value.to_string() };
        self.lines.insert(index.min(self.lines.len()), line);
    }

    fn remove(&mut self, index: usize) {
        if let Some(line) = self.lines.get_mut(index) {
            line.text =
                Some(format!("# Taken out by palisade harden: {} = {}", line.key, line.value));
            line.key.clear();
        }
    }

    fn add(&mut self, key: &str, value: &str) {
        self.added.push(format!("{key} = {value}"));
    }
}

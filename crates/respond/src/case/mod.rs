//! What a bundle tells: processes, connections, changed files, in one picture.
//!
//! [`read`] verifies the bundle and takes the documents out of it that tell the story;
//! [`timeline`] puts what they say into order, [`diff`] compares two bundles of one container.
//! A document that is missing or cannot be read is named in [`Case::unread`], never guessed.

mod diff;
mod timeline;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use palisade_base::{Digest, Timestamp};
use palisade_model::Incident;
use palisade_model::wire::Envelope;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::bundle::{BundleError, Opening, Verified, visit};

pub use diff::{Difference, diff};
pub use timeline::{EVENTS_MAX, Event, EventKind, timeline};

/// Largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// Documents in all, in bytes.
pub const DOCUMENTS_BYTES_MAX: u64 = 256 << 20;
/// Clock ticks of a second in `/proc` (`USER_HZ` is 100 on every architecture of today).
const TICK_NS: u64 = 10_000_000;

/// A process of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number on the host.
    pub pid: u32,
    /// Its parent's.
    #[serde(default)]
    pub ppid: u32,
    /// Its name (`comm`).
    #[serde(default)]
    pub name: String,
    /// Effective user id.
    #[serde(default)]
    pub uid: String,
    /// When it started, in clock ticks since boot.
    #[serde(default)]
    pub start_ticks: u64,
    /// Its program; ` (deleted)` when no name leads to it any more.
    #[serde(default)]
    pub exe: String,
    /// Its arguments, secrets taken out.
    #[serde(default)]
    pub command: Vec<String>,
    /// Digest of its program, where it was taken.
    #[serde(default)]
    pub exe_sha256: Option<Digest>,
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Its descriptor.
    pub fd: u32,
}

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// `tcp`, `tcp6`, `udp`, `udp6`, `unix`.
    pub protocol: String,
    /// Its own address, or its name.
    #[serde(default)]
    pub local: String,
    /// The other end, when there is one.
    #[serde(default)]
    pub remote: Option<String>,
    /// `established`, `listen`, ….
    #[serde(default)]
    pub state: String,
    /// Who holds it.
    #[serde(default)]
    pub owners: Vec<Owner>,
}

/// An entry that the container changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Path within the container.
    pub path: String,
    /// `file`, `folder`, `link`, `deleted`, `device`, ….
    #[serde(default)]
    pub kind: String,
    /// Permissions in octal.
    #[serde(default)]
    pub mode: String,
    /// Size in bytes.
    #[serde(default)]
    pub size: u64,
    /// When its content changed, nanoseconds since the epoch.
    #[serde(default)]
    pub modified_ns: i128,
    /// When its inode changed.
    #[serde(default)]
    pub changed_ns: i128,
    /// Digest of its content.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// Item of the bundle with its content.
    #[serde(default)]
    pub item: Option<String>,
    /// Where a link leads.
    #[serde(default)]
    pub link: Option<String>,
}

/// A file to which no name led any more: a deleted program, a memfd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nameless {
    /// Item of the bundle with its content.
    pub item: String,
    /// Where it was held: `/proc/4711/exe`.
    pub source: String,
    /// What it was: `executable`, `/memfd:payload (deleted)`.
    pub what: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of its content.
    pub sha256: Digest,
}

/// What a bundle tells.
#[derive(Debug)]
pub struct Case {
    /// The bundle, verified.
    pub verified: Verified,
    /// Processes, in the order of the tree.
    pub processes: Vec<Process>,
    /// Sockets of all its network namespaces.
    pub sockets: Vec<Socket>,
    /// What it changed, by path.
    pub changes: Vec<Change>,
    /// Files without a name.
    pub nameless: Vec<Nameless>,
    /// The incident as it stood.
    pub incident: Option<Incident>,
    /// When the machine was started, as far as the bundle says.
    pub booted: Option<Timestamp>,
    /// Documents that are missing or could not be read, with the reason.
    pub unread: Vec<String>,
}

impl Case {
    /// When a process started.
    pub fn started(&self, process: &Process) -> Option<Timestamp> {
        let since_boot = process.start_ticks.checked_mul(TICK_NS)?;
        Some(Timestamp::from_nanos(self.booted?.as_nanos().checked_add(since_boot)?))
    }
}

/// The part of `processes/PID/links.json` that is used.
#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    exe_sha256: Option<Digest>,
}

fn is_told(name: &str) -> bool {
    matches!(
        name,
        "processes/tree.json" | "upper/index.json" | "context/incident.json" | "host/proc-uptime"
    ) || (name.starts_with("network/") && name.ends_with("-sockets.json"))
        || (name.starts_with("processes/") && name.ends_with("/links.json"))
}

/// Verifies the bundle at `path` and reads what it tells.
///
/// # Errors
///
/// The bundle is not whole, or not signed as the verifier demands.
pub fn read(path: &Path, opening: Opening<'_>) -> Result<Case, BundleError> {
    let mut documents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut unread = Vec::new();
    let mut n_left = DOCUMENTS_BYTES_MAX;
    let verified = visit(path, opening, &mut |name, size, content| {
        if !is_told(name) {
            return Ok(());
        }
        if size > DOCUMENT_BYTES_MAX.min(n_left) {
            unread.push(format!("{name}: {size} bytes are too many"));
            return Ok(());
        }
        let mut bytes = Vec::new();
        content.take(size).read_to_end(&mut bytes)?;
        n_left -= bytes.len() as u64;
        documents.insert(name.to_string(), bytes);
        Ok(())
    })?;
    let mut this = Case {
        processes: parse(&documents, "processes/tree.json", &mut unread).unwrap_or_default(),
        sockets: Vec::new(),
        changes: Vec::new(),
        nameless: nameless(&verified),
        incident: None,
        booted: booted(&verified, &documents),
        unread: Vec::new(),
        verified,
    };
    for name in documents.keys().filter(|name| name.starts_with("network/")) {
        let found: Option<Vec<Socket>> = parse(&documents, name, &mut unread);
        this.sockets.extend(found.unwrap_or_default());
    }
    let has = |name: &str| documents.contains_key(name);
    if has("upper/index.json") {
        this.changes = parse(&documents, "upper/index.json", &mut unread).unwrap_or_default();
    }
    if has("context/incident.json") {
        let envelope: Option<Envelope<Incident>> =
            parse(&documents, "context/incident.json", &mut unread);
        this.incident = envelope.map(|envelope| envelope.body);
    }
    for process in &mut this.processes {
        let name = format!("processes/{}/links.json", process.pid);
        if documents.contains_key(&name) {
            let links: Option<Links> = parse(&documents, &name, &mut unread);
            process.exe_sha256 = links.and_then(|links| links.exe_sha256);
        }
    }
    this.unread = unread;
    Ok(this)
}

fn parse<T: DeserializeOwned>(
    documents: &BTreeMap<String, Vec<u8>>,
    name: &str,
    unread: &mut Vec<String>,
) -> Option<T> {
    let Some(bytes) = documents.get(name) else {
        unread.push(format!("{name}: it is not in the bundle"));
        return None;
    };
    serde_json::from_slice(bytes).inspect_err(|error| unread.push(format!("{name}: {error}"))).ok()
}

fn nameless(verified: &Verified) -> Vec<Nameless> {
    let items = verified.manifest.items.iter().filter(|item| item.path.starts_with("nameless/"));
    items
        .map(|item| Nameless {
            item: item.path.clone(),
            source: item.source.clone(),
            what: item.note.clone().unwrap_or_default(),
            size: item.size,
            sha256: item.sha256,
        })
        .collect()
}

/// From the host's uptime, and the time at which it was read.
fn booted(verified: &Verified, documents: &BTreeMap<String, Vec<u8>>) -> Option<Timestamp> {
    let name = "host/proc-uptime";
    let text = std::str::from_utf8(documents.get(name)?).ok()?;
    let (seconds, parts) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = parts.get(..2)?.parse().ok()?;
    let ns = seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)? + hundredths * TICK_NS;
    let item = verified.manifest.items.iter().find(|item| item.path == name)?;
    item.time.as_nanos().checked_sub(ns).map(Timestamp::from_nanos)
}

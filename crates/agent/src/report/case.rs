//! The evidence report: what a bundle tells, as one HTML file for people who were not there.
//!
//! It needs nothing else and runs nothing, as the incident report; it prints.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use palisade_base::Timestamp;
use palisade_respond::bundle::Seal;
use palisade_respond::case::{Case, EventKind, Process, Socket, timeline};

use super::view::clean;
use super::{PROCESSES_MAX, ROWS_MAX, ReportError};

/// Sockets shown.
const SOCKETS_MAX: usize = 500;
/// Changed files shown.
const CHANGES_MAX: usize = 2000;
/// Files without a name shown.
const NAMELESS_MAX: usize = 500;
/// Gaps shown.
const GAPS_MAX: usize = 500;

/// The report of `case` as one HTML document.
///
/// # Errors
///
/// The page cannot be written.
pub fn case_html(case: &Case, now: Timestamp) -> Result<String, ReportError> {
    Ok(Page::new(case, now).render()?)
}

#[derive(Template)]
#[template(path = "case.html")]
struct Page {
    container: String,
    hostname: String,
    generated: String,
    incident: String,
    seal_class: &'static str,
    sentence: String,
    figures: Vec<(usize, &'static str)>,
    facts: Vec<(&'static str, String)>,
    events: Vec<EventRow>,
    n_events_hidden: usize,
    tree: Vec<TreeRow>,
    n_processes_hidden: usize,
    sockets: Vec<SocketRow>,
    n_sockets_hidden: usize,
    nameless: Vec<NamelessRow>,
    changes: Vec<ChangeRow>,
    n_changes_hidden: usize,
    gaps: Vec<(String, String)>,
    n_gaps_hidden: u64,
}

struct EventRow {
    time: String,
    kind: &'static str,
    class: &'static str,
    what: String,
}

struct TreeRow {
    depth: usize,
    name: String,
    pid: u32,
    uid: String,
    command: String,
    exe: String,
    is_deleted: bool,
    sha256: String,
}

struct SocketRow {
    protocol: String,
    state: String,
    local: String,
    remote: String,
    owners: String,
}

struct NamelessRow {
    what: String,
    source: String,
    size: u64,
    sha256: String,
}

struct ChangeRow {
    path: String,
    kind: String,
    mode: String,
    size: u64,
    time: String,
    sha256: String,
}

impl Page {
    fn new(case: &Case, now: Timestamp) -> Self {
        let manifest = &case.verified.manifest;
        let (seal_class, seal) = match case.verified.seal {
            Seal::Signed => ("good", "every bit is verified and the signature is valid"),
            Seal::SignatureUnchecked => ("warn", "every bit is verified; its signature is not"),
            Seal::Unsigned => ("warn", "every bit is verified; it is not signed"),
        };
        let frozen = if manifest.case.frozen {
            "The container stood frozen while it was collected"
        } else {
            "The container was not frozen throughout"
        };
        let (events, n_left_out) = timeline(case);
        let n_events = events.len();
        let n_events_hidden = n_events.saturating_sub(ROWS_MAX) + n_left_out;
        let remote = |socket: &&Socket| socket.remote.is_some();
        let (tree, n_processes_hidden) = tree(&case.processes);
        let sockets = sockets(&case.sockets);
        let gaps: Vec<(String, String)> = manifest
            .gaps
            .iter()
            .map(|gap| (clean(&gap.source), clean(&gap.reason)))
            .chain(case.unread.iter().map(|text| (clean(text), "not shown here".to_string())))
            .take(GAPS_MAX)
            .collect();
        let n_gaps = manifest.gaps.len() as u64 + manifest.n_gaps_unlisted;
        Self {
            container: clean(&manifest.case.container.name),
            hostname: clean(&manifest.case.hostname),
            generated: now.rfc3339(),
            incident: clean(manifest.case.incident.as_deref().unwrap_or("by hand")),
            seal_class,
            sentence: format!("{frozen}; {seal}."),
            figures: vec![
                (case.processes.len(), "processes"),
                (case.sockets.iter().filter(remote).count(), "connections"),
                (case.changes.len(), "changed entries"),
                (case.nameless.len(), "files without a name"),
                (manifest.items.len(), "items"),
                (usize::try_from(n_gaps).unwrap_or(usize::MAX), "missing"),
            ],
            facts: facts(case),
            events: events
                .into_iter()
                .skip(n_events.saturating_sub(ROWS_MAX))
                .map(|event| EventRow {
                    time: event.time.rfc3339(),
                    kind: event.kind.as_str(),
                    class: match event.kind {
                        EventKind::Incident => "critical",
                        EventKind::Action => "action",
                        EventKind::Process => "detected",
                        EventKind::File | EventKind::Collection => "note",
                    },
                    what: clean(&event.what),
                })
                .collect(),
            n_events_hidden,
            tree,
            n_processes_hidden,
            n_sockets_hidden: case.sockets.len() - sockets.len(),
            sockets,
            nameless: case
                .nameless
                .iter()
                .take(NAMELESS_MAX)
                .map(|file| NamelessRow {
                    what: clean(&file.what),
                    source: clean(&file.source),
                    size: file.size,
                    sha256: file.sha256.hex(),
                })
                .collect(),
            changes: changes(case),
            n_changes_hidden: case.changes.len().saturating_sub(CHANGES_MAX),
            n_gaps_hidden: n_gaps.saturating_sub(gaps.len() as u64),
            gaps,
        }
    }
}

fn facts(case: &Case) -> Vec<(&'static str, String)> {
    let manifest = &case.verified.manifest;
    let container = &manifest.case.container;
    let mut facts = vec![
        ("container", clean(&container.id)),
        ("collected", format!("{} to {}", manifest.case.started, manifest.ended)),
        ("by", clean(&manifest.case.tool)),
        ("bytes", case.verified.n_bytes.to_string()),
        ("manifest", case.verified.manifest_sha256.to_string()),
        ("Merkle root", manifest.merkle_root.to_string()),
    ];
    if let Some(image) = &container.image {
        facts.insert(1, ("image", clean(&image.reference)));
    }
    if let Some(booted) = case.booted {
        facts.push(("host started", booted.rfc3339()));
    }
    facts
}

/// The processes, each below its parent.
fn tree(processes: &[Process]) -> (Vec<TreeRow>, usize) {
    let known: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    let mut open: Vec<(usize, &Process)> = Vec::new();
    for process in processes {
        if known.contains(&process.ppid) && process.ppid != process.pid {
            children.entry(process.ppid).or_default().push(process);
        } else {
            open.push((0, process));
        }
    }
    open.reverse();
    let (mut rows, mut shown) = (Vec::new(), BTreeSet::new());
    while let Some((depth, process)) = open.pop() {
        // A bundle may say that two are each other's parents.
        if rows.len() >= PROCESSES_MAX || !shown.insert(process.pid) {
            continue;
        }
        rows.push(TreeRow {
            depth: depth.min(24),
            name: clean(&process.name),
            pid: process.pid,
            uid: clean(&process.uid),
            command: clean(&process.command.join(" ")),
            exe: clean(&process.exe),
            is_deleted: process.exe.ends_with(" (deleted)") || process.exe.starts_with("/memfd:"),
            sha256: process.exe_sha256.map_or_else(String::new, |digest| digest.to_string()),
        });
        let below = children.get(&process.pid).into_iter().flatten();
        open.extend(below.rev().map(|child| (depth + 1, *child)));
    }
    let n_hidden = processes.len() - rows.len();
    (rows, n_hidden)
}

/// Connections first, then what listens, then the rest.
fn sockets(sockets: &[Socket]) -> Vec<SocketRow> {
    let rank = |socket: &Socket| match (&socket.remote, socket.state.as_str()) {
        (Some(_), _) => 0,
        (None, "listen") => 1,
        _ => 2,
    };
    let mut sorted: Vec<&Socket> = sockets.iter().collect();
    sorted.sort_by_key(|socket| rank(socket));
    sorted
        .into_iter()
        .take(SOCKETS_MAX)
        .map(|socket| SocketRow {
            protocol: clean(&socket.protocol),
            state: clean(&socket.state),
            local: clean(&socket.local),
            remote: clean(socket.remote.as_deref().unwrap_or("")),
            owners: socket
                .owners
                .iter()
                .take(8)
                .map(|owner| format!("{} ({})", owner.pid, owner.fd))
                .collect::<Vec<_>>()
                .join(", "),
        })
        .collect()
}

/// The last changed first.
fn changes(case: &Case) -> Vec<ChangeRow> {
    let mut sorted: Vec<_> = case.changes.iter().collect();
    sorted.sort_by_key(|change| std::cmp::Reverse(change.changed_ns));
    sorted
        .into_iter()
        .take(CHANGES_MAX)
        .map(|change| ChangeRow {
            path: match &change.link {
                Some(link) => clean(&format!("{} → {link}", change.path)),
                None => clean(&change.path),
            },
            kind: clean(&change.kind),
            mode: clean(&change.mode),
            size: change.size,
            time: u64::try_from(change.changed_ns)
                .map_or_else(|_| String::new(), |ns| Timestamp::from_nanos(ns).rfc3339()),
            sha256: change.sha256.map_or_else(String::new, |digest| digest.hex()),
        })
        .collect()
}

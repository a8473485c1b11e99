//! What happened when, from all that a bundle knows of time.

use palisade_base::Timestamp;
use palisade_model::incident::TimelineEvent;
use serde::Serialize;

use super::Case;

/// Most events; the latest are kept, because the intrusion is at the end.
pub const EVENTS_MAX: usize = 20_000;

/// Where an event is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The start of a process that lived when it was collected.
    Process,
    /// A change of a file that was not changed again later.
    File,
    /// An alert or a note of the incident.
    Incident,
    /// What a response did.
    Action,
    /// The collection itself.
    Collection,
}

impl EventKind {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::File => "file",
            Self::Incident => "incident",
            Self::Action => "action",
            Self::Collection => "collection",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, by the host's clock. Starts of processes are known to 10 ms.
    pub time: Timestamp,
    /// Where it is known from.
    pub kind: EventKind,
    /// What.
    pub what: String,
}

/// All events of `case`, oldest first, and how many were left out.
pub fn timeline(case: &Case) -> (Vec<Event>, usize) {
    let mut events = Vec::new();
    for process in &case.processes {
        let Some(time) = case.started(process) else { continue };
        let command = process.command.join(" ");
        let text = format!("pid {} of {} starts: {command}", process.pid, process.ppid);
        events.push(Event { time, kind: EventKind::Process, what: text });
    }
    for change in &case.changes {
        let content = time(change.modified_ns);
        let text = match &change.link {
            Some(link) => format!("{} {} to {link}", change.kind, change.path),
            None => format!("{} {} ({} bytes)", change.kind, change.path, change.size),
        };
        events.extend(content.map(|time| Event {
            time,
            kind: EventKind::File,
            what: format!("content of {text}"),
        }));
        // An attacker can set the time of the content back, not that of the inode.
        if change.changed_ns != change.modified_ns {
            events.extend(time(change.changed_ns).map(|time| Event {
                time,
                kind: EventKind::File,
                what: format!("inode of {text}"),
            }));
        }
    }
    for entry in case.incident.iter().flat_map(|incident| &incident.timeline) {
        let (kind, what) = match &entry.what {
            TimelineEvent::Action { action, result, detail, .. } => {
                (EventKind::Action, format!("{action}: {result:?}: {detail}"))
            }
            TimelineEvent::Note { text } => (EventKind::Incident, text.clone()),
            TimelineEvent::Alert { rule, priority, verdict, output, .. } => {
                let word = format!("{verdict:?}").to_lowercase();
                (EventKind::Incident, format!("{rule} ({priority}, {word}): {output}"))
            }
        };
        events.push(Event { time: entry.time, kind, what });
    }
    let manifest = &case.verified.manifest;
    for (time, what) in
        [(manifest.case.started, "collection begins"), (manifest.ended, "collection ends")]
    {
        events.push(Event { time, kind: EventKind::Collection, what: what.into() });
    }
    events.sort_by_key(|event| (event.time, event.kind));
    let n_left_out = events.len().saturating_sub(EVENTS_MAX);
    events.drain(..n_left_out);
    (events, n_left_out)
}

fn time(ns: i128) -> Option<Timestamp> {
    u64::try_from(ns).ok().filter(|ns| *ns > 0).map(Timestamp::from_nanos)
}

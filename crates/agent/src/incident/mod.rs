//! Alerts joined into incidents, and what becomes of them.
//!
//! All alerts of one container belong to one incident, as do alerts of one process tree
//! on the host, until a person closes it or nothing happened for [`JOIN_WINDOW`].
//! An alert in another place joins it when something connects the two: a connection between two
//! containers, a process tree, one rule in containers of one image, one user of the host; the
//! [`Link`] says what was seen ([`join`]).
//! A state moves only forward: open, responding, contained (or open again when the
//! response did not contain it), closed.

mod desk;
mod join;
mod mounts;
pub mod network;
mod score;
mod stages;
pub mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::incident::{BlastRadius, Link, Score, TimelineEntry, TimelineEvent};
use palisade_model::{Alert, Incident, IncidentState, Process};

pub use desk::SurveyDesk;
pub(crate) use desk::someone_of;
use join::{HOST, Places};
use network::NetView;
pub use stages::techniques;

/// How long after its last change an incident takes further alerts.
pub const JOIN_WINDOW: Duration = Duration::from_hours(1);
/// Incidents held in memory; the oldest is let go first (its file stays).
pub const INCIDENTS_MAX: usize = 1024;
/// Timeline entries of an incident; further ones are counted.
pub const TIMELINE_MAX: usize = 10_000;
/// Processes of an incident; further ones are counted.
pub const PROCESSES_MAX: usize = 1000;
/// Containers and links of an incident; further ones are counted.
pub const REACHED_MAX: usize = 1000;

/// Where an alert went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The incident.
    pub incident: String,
    /// Whether the alert opened it.
    pub is_new: bool,
}

/// Why an incident is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// It is not known.
    #[error("no incident `{0}`")]
    Unknown(String),
    /// A response to it is running.
    #[error("a response to {0} is running")]
    Responding(String),
}

impl palisade_base::Explain for ChangeRefusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown(_) => "`palisade respond list` names them".into(),
            Self::Responding(_) => "wait for it to end".into(),
        })
    }
}

/// Longest note of a person, in characters; the rest is cut off.
pub const NOTE_CHARS_MAX: usize = 2000;

/// Closes `incident` at the word of a person.
pub fn close(incident: &mut Incident, time: Timestamp, text: &str) -> Result<(), ChangeRefusal> {
    if incident.state == IncidentState::Responding {
        return Err(ChangeRefusal::Responding(incident.id.clone()));
    }
    incident.state = IncidentState::Closed;
    note(incident, time, text);
    Ok(())
}

/// Puts a person's note on the timeline of `incident`.
pub fn note(incident: &mut Incident, time: Timestamp, text: &str) {
    let text = text.chars().take(NOTE_CHARS_MAX).collect();
    push(incident, TimelineEntry { time, what: TimelineEvent::Note { text } });
}

/// All incidents that can still change.
#[derive(Debug, Default)]
pub struct IncidentBook {
    incidents: BTreeMap<String, Incident>,
    places: Places,
    /// Containers that can do no more harm, by incident.
    contained: BTreeMap<String, BTreeSet<String>>,
    changed: BTreeSet<String>,
}

impl IncidentBook {
    /// A book with the incidents that were kept by an earlier run.
    pub fn with(incidents: impl IntoIterator<Item = Incident>) -> Self {
        let mut book = Self::default();
        for incident in incidents {
            book.make_room();
            book.places.note_incident(&incident);
            if incident.state == IncidentState::Contained {
                let ids = incident.containers().map(|container| container.id.clone()).collect();
                book.contained.insert(incident.id.clone(), ids);
            }
            book.incidents.insert(incident.id.clone(), incident);
        }
        book
    }

    /// The incident `id`.
    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.incidents.get(id)
    }

    /// All incidents, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// Incidents whose response is not over and that nobody closed.
    pub fn n_open(&self) -> usize {
        let open =
            |i: &&Incident| matches!(i.state, IncidentState::Open | IncidentState::Responding);
        self.incidents.values().filter(open).count()
    }

    /// Whether `alert` comes from a container of which no open incident knows: its network is to
    /// be looked at before it is joined ([`IncidentBook::note_network`]).
    pub fn is_new_place(&self, alert: &Alert) -> bool {
        alert.container.as_ref().is_some_and(|container| {
            self.places.of_container(&container.id).is_none_or(|id| !self.takes(id, alert.time))
        })
    }

    /// Keeps what is known of a container's network.
    pub fn note_network(&mut self, container: &str, view: NetView) {
        self.places.note_network(container, view);
    }

    /// Adds `alert` to the incident that it belongs to, or opens one.
    pub fn join(&mut self, alert: &Alert) -> Joined {
        let found = self.places.find(alert, &|id| self.takes(id, alert.time));
        let is_new = found.is_none();
        let (id, link) = match found {
            Some(found) => (found.incident, found.link),
            None => (self.open(alert), None),
        };
        if let Some(incident) = self.incidents.get_mut(&id) {
            let n_places = incident.reached.len() + incident.links.len();
            add_alert(incident, alert, link);
            // What was contained has got to another place.
            let has_spread = incident.reached.len() + incident.links.len() > n_places;
            if has_spread && incident.state == IncidentState::Contained {
                incident.state = IncidentState::Open;
            }
            self.places.note(alert, &id);
            self.changed.insert(id.clone());
        }
        Joined { incident: id, is_new }
    }

    /// Whether incident `id` takes an alert of `time`.
    fn takes(&self, id: &str, time: Timestamp) -> bool {
        self.incidents.get(id).is_some_and(|incident| {
            incident.state != IncidentState::Closed && time.since(incident.updated) < JOIN_WINDOW
        })
    }

    /// Puts what a survey found into incident `id`, in place of what was known of the same
    /// container; `false` when the incident is not known.
    pub fn set_blast(&mut self, id: &str, blast: BlastRadius) -> bool {
        let Some(incident) = self.incidents.get_mut(id) else {
            return false;
        };
        let n_known = incident.blast.len();
        match incident.blast.iter_mut().find(|known| known.container == blast.container) {
            Some(known) => merge_blast(known, blast),
            None if n_known <= REACHED_MAX => incident.blast.push(blast),
            None => incident.n_dropped += 1,
        }
        self.changed.insert(id.to_string());
        true
    }

    /// Adds a line to the timeline of incident `id`; `false` when it is not known.
    pub fn record(&mut self, id: &str, entry: TimelineEntry) -> bool {
        let Some(incident) = self.incidents.get_mut(id) else {
            return false;
        };
        push(incident, entry);
        self.changed.insert(id.to_string());
        true
    }

    /// Closes incident `id` at the word of a person.
    pub fn close(
        &mut self,
        id: &str,
        time: Timestamp,
        text: &str,
    ) -> Result<IncidentState, ChangeRefusal> {
        self.change(id, |incident| close(incident, time, text))
    }

    /// Puts a person's note on the timeline of incident `id`.
    pub fn note(
        &mut self,
        id: &str,
        time: Timestamp,
        text: &str,
    ) -> Result<IncidentState, ChangeRefusal> {
        self.change(id, |incident| {
            note(incident, time, text);
            Ok(())
        })
    }

    fn change(
        &mut self,
        id: &str,
        by: impl FnOnce(&mut Incident) -> Result<(), ChangeRefusal>,
    ) -> Result<IncidentState, ChangeRefusal> {
        let incident =
            self.incidents.get_mut(id).ok_or_else(|| ChangeRefusal::Unknown(id.to_string()))?;
        by(incident)?;
        self.changed.insert(id.to_string());
        Ok(incident.state)
    }

    /// Moves incident `id` to `state` and notes it; `false` when it is there already or
    /// a person closed it.
    pub fn advance(&mut self, id: &str, state: IncidentState, time: Timestamp) -> bool {
        let Some(incident) = self.incidents.get_mut(id) else {
            return false;
        };
        if incident.state == state || incident.state == IncidentState::Closed {
            return false;
        }
        incident.state = state;
        let text = match state {
            IncidentState::Open => "not contained",
            IncidentState::Responding => "response begins",
            IncidentState::Contained => "contained",
            IncidentState::Closed => "closed",
        };
        push(incident, TimelineEntry { time, what: TimelineEvent::Note { text: text.into() } });
        self.changed.insert(id.to_string());
        true
    }

    /// Notes that the response to incident `id` ended in `container`, and whether that can do no
    /// more harm there. The answer says how far the incident is: contained when all its
    /// containers are, and nothing of it is on the host, on which nobody acts.
    pub fn note_response(
        &mut self,
        id: &str,
        container: &str,
        is_contained: bool,
    ) -> IncidentState {
        let contained = self.contained.entry(id.to_string()).or_default();
        if is_contained {
            contained.insert(container.to_string());
        } else {
            contained.remove(container);
        }
        let is_over = self.incidents.get(id).is_some_and(|incident| {
            let is_on_host = |link: &Link| link.from == HOST || link.to == HOST;
            incident.containers().all(|c| contained.contains(&c.id))
                && !incident.links.iter().any(is_on_host)
        });
        if is_over && is_contained { IncidentState::Contained } else { IncidentState::Open }
    }

    /// Incidents changed since the last call.
    pub fn take_changed(&mut self) -> Vec<Incident> {
        let ids = std::mem::take(&mut self.changed);
        ids.iter().filter_map(|id| self.scored(id)).collect()
    }

    /// Incident `id` as it stands, with its score: that is not kept up with every alert of a
    /// storm.
    pub fn scored(&mut self, id: &str) -> Option<Incident> {
        let incident = self.incidents.get_mut(id)?;
        incident.score = score::score(incident);
        Some(incident.clone())
    }

    /// Incidents changed since [`IncidentBook::take_changed`].
    pub fn n_changed(&self) -> usize {
        self.changed.len()
    }

    /// Marks an incident as changed again: it could not be written.
    pub fn mark_changed(&mut self, id: &str) {
        if self.incidents.contains_key(id) {
            self.changed.insert(id.to_string());
        }
    }

    fn open(&mut self, alert: &Alert) -> String {
        self.make_room();
        let mut nanos = alert.time.as_nanos();
        let mut id = format!("INC-{nanos:016x}");
        while self.incidents.contains_key(&id) {
            nanos += 1;
            id = format!("INC-{nanos:016x}");
        }
        let incident = Incident {
            id: id.clone(),
            state: IncidentState::Open,
            opened: alert.time,
            updated: alert.time,
            priority: alert.priority,
            container: alert.container.clone(),
            reached: Vec::new(),
            links: Vec::new(),
            root: None,
            processes: Vec::new(),
            timeline: Vec::new(),
            techniques: Vec::new(),
            stages: Vec::new(),
            score: Score::default(),
            blast: Vec::new(),
            n_dropped: 0,
        };
        self.incidents.insert(id.clone(), incident);
        id
    }

    /// Lets the oldest incident go when there are too many: closed ones first.
    fn make_room(&mut self) {
        if self.incidents.len() < INCIDENTS_MAX {
            return;
        }
        let is_over = |i: &&Incident| {
            matches!(i.state, IncidentState::Closed | IncidentState::Contained)
                && !self.changed.contains(&i.id)
        };
        let oldest = self
            .incidents
            .values()
            .find(is_over)
            .or_else(|| self.incidents.values().next())
            .map(|incident| incident.id.clone());
        if let Some(id) = oldest {
            self.incidents.remove(&id);
            self.changed.remove(&id);
            self.contained.remove(&id);
            self.places.forget(&id);
        }
    }
}

/// A later look, in which what has gone meanwhile is still there: connections that ended and
/// neighbours that stopped were within reach.
fn merge_blast(known: &mut BlastRadius, fresh: BlastRadius) {
    fn add<T: PartialEq>(known: &mut Vec<T>, fresh: Vec<T>) {
        for row in fresh {
            if known.len() < survey::ROWS_MAX && !known.contains(&row) {
                known.push(row);
            }
        }
    }
    known.surveyed = fresh.surveyed;
    known.host_network |= fresh.host_network;
    add(&mut known.addresses, fresh.addresses);
    add(&mut known.same_image, fresh.same_image);
    add(&mut known.shared_mounts, fresh.shared_mounts);
    add(&mut known.same_network, fresh.same_network);
    add(&mut known.credentials, fresh.credentials);
    add(&mut known.connections, fresh.connections);
    add(&mut known.gaps, fresh.gaps);
}

fn push(incident: &mut Incident, entry: TimelineEntry) {
    incident.updated = incident.updated.max(entry.time);
    if incident.timeline.len() >= TIMELINE_MAX {
        incident.n_dropped += 1;
        return;
    }
    // Entries come nearly sorted: an alert may be read after one that happened later.
    let at = incident.timeline.iter().rposition(|e| e.time <= entry.time).map_or(0, |i| i + 1);
    incident.timeline.insert(at, entry);
}

fn add_alert(incident: &mut Incident, alert: &Alert, link: Option<Link>) {
    // After a crash an alert is read again that may have been joined already.
    let is_known = incident.timeline.iter().any(
        |entry| matches!(&entry.what, TimelineEvent::Alert { alert: id, .. } if *id == alert.id),
    );
    if is_known {
        return;
    }
    incident.priority = incident.priority.max(alert.priority);
    note_place(incident, alert, link);
    let chain: Vec<&Process> = alert.process.iter().chain(&alert.ancestors).collect();
    incident.root = common_root(incident, &chain);
    for process in &chain {
        add_process(incident, process);
    }
    for technique in techniques(&alert.tags) {
        if let Err(at) = incident.techniques.binary_search_by(|id| id.as_str().cmp(technique)) {
            incident.techniques.insert(at, technique.to_string());
        }
    }
    stages::add(&mut incident.stages, alert);
    let what = TimelineEvent::Alert {
        alert: alert.id.clone(),
        rule: alert.rule.clone(),
        priority: alert.priority,
        verdict: alert.verdict(),
        output: alert.output.clone(),
        pid: alert.process.as_ref().map(|process| process.pid),
        latency_ns: u64::try_from(alert.latency().as_nanos()).unwrap_or(u64::MAX),
    };
    push(incident, TimelineEntry { time: alert.time, what });
}

/// Puts the container of `alert` among those of the incident, and `link` among its links.
fn note_place(incident: &mut Incident, alert: &Alert, link: Option<Link>) {
    // An incident that began on the host keeps that it did: its first alert has no container.
    let began_on_host = incident.container.is_none() && !incident.timeline.is_empty();
    let is_first = incident.container.is_none() && !began_on_host;
    if let Some(container) = &alert.container {
        if is_first {
            incident.container = Some(container.clone());
        } else if !incident.containers().any(|known| known.id == container.id) {
            if incident.reached.len() < REACHED_MAX {
                incident.reached.push(container.clone());
            } else {
                incident.n_dropped += 1;
            }
        }
    }
    let Some(link) = link else { return };
    let is_known =
        incident.links.iter().any(|known| known.to == link.to && known.kind == link.kind);
    if !is_known && incident.links.len() < REACHED_MAX {
        let text = format!("reached {} by {}: {}", link.to, link.kind.as_str(), link.detail);
        push(incident, TimelineEntry { time: link.time, what: TimelineEvent::Note { text } });
        incident.links.push(link);
    }
}

fn same(a: &Process, b: &Process) -> bool {
    (a.pid, a.start) == (b.pid, b.start)
}

/// The oldest process that all alerts so far and `chain` (child first) have in common.
fn common_root(incident: &Incident, chain: &[&Process]) -> Option<Process> {
    let Some(root) = &incident.root else {
        // The first alert decides alone; later ones that share nothing leave it as it is.
        let is_first = incident.timeline.is_empty();
        return chain.last().filter(|_| is_first).map(|process| (*process).clone());
    };
    if chain.iter().any(|process| same(process, root)) {
        return Some(root.clone());
    }
    let shared = chain.iter().rev().find(|p| incident.processes.iter().any(|known| same(known, p)));
    Some(shared.map_or_else(|| root.clone(), |process| (*process).clone()))
}

fn add_process(incident: &mut Incident, process: &Process) {
    if let Some(known) = incident.processes.iter_mut().find(|known| same(known, process)) {
        // The same process after an exec: what it became is what matters.
        if known.exe != process.exe {
            known.clone_from(process);
        }
    } else if incident.processes.len() < PROCESSES_MAX {
        incident.processes.push(process.clone());
    } else {
        incident.n_dropped += 1;
    }
}

#[cfg(test)]
mod tests;

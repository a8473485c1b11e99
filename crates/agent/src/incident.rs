//! Alerts joined into incidents, and what becomes of them.
//!
//! All alerts of one container belong to one incident, as do alerts of one process tree
//! on the host, until a person closes it or nothing happened for [`JOIN_WINDOW`].
//! A state moves only forward: open, responding, contained (or open again when the
//! response did not contain it), closed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::incident::{TimelineEntry, TimelineEvent};
use palisade_model::{Alert, Incident, IncidentState, Process};

/// How long after its last change an incident takes further alerts.
pub const JOIN_WINDOW: Duration = Duration::from_hours(1);
/// Incidents held in memory; the oldest is let go first (its file stays).
pub const INCIDENTS_MAX: usize = 1024;
/// Timeline entries of an incident; further ones are counted.
pub const TIMELINE_MAX: usize = 10_000;
/// Processes of an incident; further ones are counted.
pub const PROCESSES_MAX: usize = 1000;

/// Where an alert went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The incident.
    pub incident: String,
    /// Whether the alert opened it.
    pub is_new: bool,
}

/// All incidents that can still change.
#[derive(Debug, Default)]
pub struct IncidentBook {
    incidents: BTreeMap<String, Incident>,
    by_container: BTreeMap<String, String>,
    by_process: BTreeMap<(u32, Timestamp), String>,
    changed: BTreeSet<String>,
}

impl IncidentBook {
    /// A book with the incidents that were kept by an earlier run.
    pub fn with(incidents: impl IntoIterator<Item = Incident>) -> Self {
        let mut book = Self::default();
        for incident in incidents {
            book.make_room();
            book.index(&incident);
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

    /// Adds `alert` to the incident that it belongs to, or opens one.
    pub fn join(&mut self, alert: &Alert) -> Joined {
        let known = self.find(alert);
        let is_new = known.is_none();
        let id = known.unwrap_or_else(|| self.open(alert));
        if let Some(incident) = self.incidents.get_mut(&id) {
            add_alert(incident, alert);
            for process in join_keys(alert) {
                self.by_process.insert(process, id.clone());
            }
            if let Some(container) = &alert.container {
                self.by_container.insert(container.id.clone(), id.clone());
            }
            self.changed.insert(id.clone());
        }
        Joined { incident: id, is_new }
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
            IncidentState::Open => "the response ended without containing the container",
            IncidentState::Responding => "response begins",
            IncidentState::Contained => "contained",
            IncidentState::Closed => "closed",
        };
        push(incident, TimelineEntry { time, what: TimelineEvent::Note { text: text.into() } });
        self.changed.insert(id.to_string());
        true
    }

    /// Incidents changed since the last call.
    pub fn take_changed(&mut self) -> Vec<Incident> {
        let ids = std::mem::take(&mut self.changed);
        ids.iter().filter_map(|id| self.incidents.get(id).cloned()).collect()
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

    /// The incident that takes `alert`, if there is one.
    fn find(&self, alert: &Alert) -> Option<String> {
        let open = |id: &&String| {
            self.incidents.get(*id).is_some_and(|incident| {
                incident.state != IncidentState::Closed
                    && alert.time.since(incident.updated) < JOIN_WINDOW
            })
        };
        if let Some(container) = &alert.container {
            return self.by_container.get(&container.id).filter(open).cloned();
        }
        join_keys(alert).find_map(|key| self.by_process.get(&key).filter(open).cloned())
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
            root: None,
            processes: Vec::new(),
            timeline: Vec::new(),
            techniques: Vec::new(),
            n_dropped: 0,
        };
        self.incidents.insert(id.clone(), incident);
        id
    }

    fn index(&mut self, incident: &Incident) {
        if let Some(container) = &incident.container {
            self.by_container.insert(container.id.clone(), incident.id.clone());
        } else {
            for process in incident.processes.iter().filter(|process| process.ppid > 2) {
                self.by_process.insert((process.pid, process.start), incident.id.clone());
            }
        }
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
            self.by_container.retain(|_, incident| *incident != id);
            self.by_process.retain(|_, incident| *incident != id);
        }
    }
}

/// The processes by which alerts of the host are joined: the acting one and its ancestors,
/// but not those that the machine's first process started: an SSH server is the ancestor
/// of every login, and two logins are not one intrusion.
fn join_keys(alert: &Alert) -> impl Iterator<Item = (u32, Timestamp)> {
    let ancestors = alert.ancestors.iter().filter(|ancestor| ancestor.ppid > 2);
    alert.process.iter().chain(ancestors).map(|process| (process.pid, process.start))
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

fn add_alert(incident: &mut Incident, alert: &Alert) {
    // After a crash an alert is read again that may have been joined already.
    let is_known = incident.timeline.iter().any(
        |entry| matches!(&entry.what, TimelineEvent::Alert { alert: id, .. } if *id == alert.id),
    );
    if is_known {
        return;
    }
    incident.priority = incident.priority.max(alert.priority);
    if incident.container.is_none() {
        incident.container.clone_from(&alert.container);
    }
    let chain: Vec<&Process> = alert.process.iter().chain(&alert.ancestors).collect();
    incident.root = common_root(incident, &chain);
    for process in &chain {
        add_process(incident, process);
    }
    for technique in techniques(&alert.tags) {
        if let Err(at) = incident.techniques.binary_search(&technique) {
            incident.techniques.insert(at, technique);
        }
    }
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

/// ATT&CK technique identifiers among `tags`: `T1059` or `T1059.004`.
pub fn techniques(tags: &[String]) -> impl Iterator<Item = String> {
    tags.iter().filter(|tag| is_technique(tag)).cloned()
}

fn is_technique(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix('T') else {
        return false;
    };
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    match rest.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alert, container, process};

    fn host_alert(chain: &[(u32, u32)], nanos: u64) -> Alert {
        let mut alert = alert("Rule", None);
        alert.id = format!("{nanos}");
        alert.time = Timestamp::from_nanos(nanos);
        let mut chain = chain.iter().map(|(pid, ppid)| process(*pid, *ppid));
        alert.process = chain.next();
        alert.ancestors = chain.collect();
        alert
    }

    #[test]
    fn a_container_is_one_incident() {
        let mut book = IncidentBook::default();
        let first = book.join(&alert("Rule", Some(container("aaaa"))));
        let again = book.join(&alert("Other", Some(container("aaaa"))));
        let other = book.join(&alert("Rule", Some(container("bbbb"))));
        assert!(first.is_new && !again.is_new && other.is_new);
        assert_eq!(first.incident, again.incident);
        assert_ne!(first.incident, other.incident);
        assert_eq!(book.take_changed().len(), 2);
        assert_eq!(book.take_changed().len(), 0);
    }

    #[test]
    fn the_host_joins_by_process_tree() {
        let mut book = IncidentBook::default();
        let sshd = (100, 1);
        let login = (200, 100);
        let first = book.join(&host_alert(&[(300, 200), login, sshd], 1));
        let sibling = book.join(&host_alert(&[(301, 200), login, sshd], 2));
        let child = book.join(&host_alert(&[(302, 300), (300, 200), login, sshd], 3));
        let other_login = book.join(&host_alert(&[(400, 201), (201, 100), sshd], 4));
        assert_eq!(first.incident, sibling.incident);
        assert_eq!(first.incident, child.incident);
        assert_ne!(first.incident, other_login.incident);
        let incident = book.get(&first.incident).unwrap();
        assert_eq!(incident.root.as_ref().unwrap().pid, 100);
        assert_eq!(incident.processes.len(), 5);
        assert_eq!(incident.timeline.len(), 3);
    }

    #[test]
    fn an_incident_ends_with_its_window_or_by_hand() {
        let mut book = IncidentBook::default();
        let first = book.join(&host_alert(&[(300, 200)], 1));
        let late = u64::try_from(JOIN_WINDOW.as_nanos()).unwrap() + 10;
        let second = book.join(&host_alert(&[(300, 200)], late));
        assert_ne!(first.incident, second.incident);
        book.advance(&second.incident, IncidentState::Closed, Timestamp::from_nanos(late));
        assert!(book.join(&host_alert(&[(300, 200)], late + 1)).is_new);
        assert!(!book.advance(&second.incident, IncidentState::Open, Timestamp::from_nanos(late)));
    }

    #[test]
    fn an_alert_that_is_read_again_is_not_counted_twice() {
        let mut book = IncidentBook::default();
        let alert = alert("Rule", Some(container("aaaa")));
        let joined = book.join(&alert);
        let kept = book.take_changed();
        let mut book = IncidentBook::with(kept);
        assert_eq!(book.join(&alert), Joined { incident: joined.incident.clone(), is_new: false });
        assert_eq!(book.get(&joined.incident).unwrap().timeline.len(), 1);
    }

    #[test]
    fn bounds_hold_and_are_counted() {
        let mut book = IncidentBook::default();
        let mut id = String::new();
        for i in 0..TIMELINE_MAX + 5 {
            let mut alert = alert("Rule", Some(container("aaaa")));
            alert.id = format!("{i}");
            alert.process = Some(process(u32::try_from(i).unwrap() + 10, 5));
            if i > PROCESSES_MAX {
                alert.process = None;
            }
            // Adding directly keeps this test linear.
            if id.is_empty() {
                id = book.join(&alert).incident;
            } else {
                let what = TimelineEvent::Note { text: "x".into() };
                book.record(&id, TimelineEntry { time: alert.time, what });
            }
        }
        let incident = book.get(&id).unwrap();
        assert_eq!((incident.timeline.len(), incident.n_dropped), (TIMELINE_MAX, 5));
        for i in 0..INCIDENTS_MAX + 3 {
            book.join(&alert("Rule", Some(container(&format!("c{i}")))));
        }
        assert_eq!(book.iter().count(), INCIDENTS_MAX);
    }

    #[test]
    fn techniques_are_told_from_other_tags() {
        for (tag, expected) in [
            ("T1059", true),
            ("T1059.004", true),
            ("TA0011", false),
            ("T105", false),
            ("T1059.4", false),
            ("container", false),
        ] {
            assert_eq!(is_technique(tag), expected, "{tag}");
        }
    }
}

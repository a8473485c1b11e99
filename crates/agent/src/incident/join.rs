//! Which incident an alert belongs to.
//!
//! In this order: the container's own; that of a process of which the acting one descends; that
//! of a container with which this one is connected; that of another container of the same image
//! in which the same rule matched; that of the same user of the host.
//! The first two are certain. The others are what an analyst would join, and each is written
//! down with what was seen, so that a person can judge it.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::incident::{Link, LinkKind};
use palisade_model::{Alert, Container, Incident, Priority, Process};

use super::network::{CONNECTIONS_MAX, NetView};

/// Networks of containers that are remembered; the least recently noted are forgotten.
pub(super) const NETWORKS_MAX: usize = 1024;
/// Processes, images and users that are remembered.
pub(super) const KEYS_MAX: usize = 65_536;
/// How long one rule in several containers of an image, or one user, is one incident.
const NEAR: Duration = Duration::from_mins(10);
/// The lowest priority that is joined by image or user: what happens every day says little of
/// what belongs together.
const PRIORITY_MIN: Priority = Priority::Warning;
/// Users of people, not of the system (login.defs(5), `UID_MIN` and `UID_MAX`).
const PEOPLE: std::ops::Range<u32> = 1000..60_000;
/// The place of alerts outside containers.
pub(super) const HOST: &str = "host";

/// The incident that takes an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) incident: String,
    /// What connects it with a place where the incident was not yet.
    pub(super) link: Option<Link>,
}

/// Where incidents were, by all that connects places.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_container: BTreeMap<String, String>,
    by_process: BTreeMap<(u32, Timestamp), Seat>,
    by_image: BTreeMap<(String, String), Seat>,
    by_user: BTreeMap<u32, Seat>,
    networks: BTreeMap<String, (u64, NetView)>,
    n_networks: u64,
}

/// An incident, where in it, and when.
#[derive(Debug, Clone)]
struct Seat {
    incident: String,
    place: String,
    time: Timestamp,
}

impl Places {
    /// The incident of a container.
    pub(super) fn of_container(&self, container: &str) -> Option<&str> {
        self.by_container.get(container).map(String::as_str)
    }

    /// Keeps the network of a container.
    pub(super) fn note_network(&mut self, container: &str, mut view: NetView) {
        self.n_networks += 1;
        if let Some((_, known)) = self.networks.remove(container) {
            // A connection that has ended was one; what stands goes before it.
            let room = CONNECTIONS_MAX.saturating_sub(view.connections.len());
            view.connections.extend(known.connections.into_iter().take(room));
        }
        if self.networks.len() >= NETWORKS_MAX {
            let oldest = self.networks.iter().min_by_key(|(_, (number, _))| *number);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.networks.remove(&oldest);
            }
        }
        self.networks.insert(container.to_string(), (self.n_networks, view));
    }

    /// The incident that takes `alert`; `takes` says whether one is still open to it.
    pub(super) fn find(&self, alert: &Alert, takes: &dyn Fn(&str) -> bool) -> Option<Found> {
        let place = place_of(alert);
        if let Some(container) = &alert.container
            && let Some(incident) = self.by_container.get(&container.id).filter(|id| takes(id))
        {
            return Some(Found { incident: incident.clone(), link: None });
        }
        self.by_descent(alert, place, takes)
            .or_else(|| self.by_connection(alert, takes))
            .or_else(|| self.by_image(alert, takes))
            .or_else(|| self.by_user(alert, takes))
    }

    fn by_descent(
        &self,
        alert: &Alert,
        place: &str,
        takes: &dyn Fn(&str) -> bool,
    ) -> Option<Found> {
        join_keys(alert).find_map(|process| {
            let seat = self.by_process.get(&(process.pid, process.start))?;
            if !takes(&seat.incident) {
                return None;
            }
            let link = (seat.place != place).then(|| Link {
                time: alert.time,
                kind: LinkKind::ProcessTree,
                from: seat.place.clone(),
                to: place.to_string(),
                detail: format!("{} [{}]", process.name, process.pid),
            });
            Some(Found { incident: seat.incident.clone(), link })
        })
    }

    fn by_connection(&self, alert: &Alert, takes: &dyn Fn(&str) -> bool) -> Option<Found> {
        let container = alert.container.as_ref()?;
        let (_, own) = self.networks.get(&container.id)?;
        self.networks.iter().find_map(|(other, (_, view))| {
            if *other == container.id {
                return None;
            }
            let incident = self.by_container.get(other).filter(|id| takes(id))?;
            let (from, to) = match view.connection_with(own) {
                Some(seen) => (seen.local, seen.remote),
                None => own.connection_with(view).map(|seen| (seen.remote, seen.local))?,
            };
            let link = Link {
                time: alert.time,
                kind: LinkKind::Connection,
                from: other.clone(),
                to: container.id.clone(),
                detail: format!("{from} and {to}"),
            };
            Some(Found { incident: incident.clone(), link: Some(link) })
        })
    }

    fn by_image(&self, alert: &Alert, takes: &dyn Fn(&str) -> bool) -> Option<Found> {
        let container = alert.container.as_ref()?;
        let seat = self.by_image.get(&image_key(container, alert)?)?;
        Self::near(alert, seat, takes).map(|incident| Found {
            incident,
            link: Some(Link {
                time: alert.time,
                kind: LinkKind::Image,
                from: seat.place.clone(),
                to: container.id.clone(),
                detail: format!("rule `{}` in both", alert.rule),
            }),
        })
    }

    fn by_user(&self, alert: &Alert, takes: &dyn Fn(&str) -> bool) -> Option<Found> {
        let uid = user_key(alert)?;
        let seat = self.by_user.get(&uid)?;
        Self::near(alert, seat, takes).map(|incident| Found {
            incident,
            link: Some(Link {
                time: alert.time,
                kind: LinkKind::User,
                from: seat.place.clone(),
                to: HOST.into(),
                detail: format!("user id {uid}"),
            }),
        })
    }

    fn near(alert: &Alert, seat: &Seat, takes: &dyn Fn(&str) -> bool) -> Option<String> {
        let is_near = alert.time.since(seat.time) < NEAR && alert.priority >= PRIORITY_MIN;
        (is_near && takes(&seat.incident)).then(|| seat.incident.clone())
    }

    /// Notes that `alert` belongs to `incident`.
    pub(super) fn note(&mut self, alert: &Alert, incident: &str) {
        let place = place_of(alert);
        let seat =
            || Seat { incident: incident.to_string(), place: place.to_string(), time: alert.time };
        for process in join_keys(alert) {
            insert(&mut self.by_process, (process.pid, process.start), seat());
        }
        if let Some(container) = &alert.container {
            insert(&mut self.by_container, container.id.clone(), incident.to_string());
            if alert.priority >= PRIORITY_MIN
                && let Some(key) = image_key(container, alert)
            {
                insert(&mut self.by_image, key, seat());
            }
        } else if alert.priority >= PRIORITY_MIN
            && let Some(uid) = user_key(alert)
        {
            insert(&mut self.by_user, uid, seat());
        }
    }

    /// Notes what an incident of an earlier run says of its places.
    pub(super) fn note_incident(&mut self, incident: &Incident) {
        for container in incident.containers() {
            insert(&mut self.by_container, container.id.clone(), incident.id.clone());
        }
        let place = incident.container.as_ref().map_or(HOST, |container| &container.id);
        for process in incident.processes.iter().filter(|process| process.ppid > 2) {
            let seat = Seat {
                incident: incident.id.clone(),
                place: place.to_string(),
                time: incident.updated,
            };
            insert(&mut self.by_process, (process.pid, process.start), seat);
        }
    }

    /// Forgets an incident.
    pub(super) fn forget(&mut self, incident: &str) {
        let containers: Vec<String> = self
            .by_container
            .iter()
            .filter(|(_, id)| *id == incident)
            .map(|(container, _)| container.clone())
            .collect();
        for container in containers {
            self.by_container.remove(&container);
            self.networks.remove(&container);
        }
        self.by_process.retain(|_, seat| seat.incident != incident);
        self.by_image.retain(|_, seat| seat.incident != incident);
        self.by_user.retain(|_, seat| seat.incident != incident);
    }
}

/// Inserts into a table that holds at most [`KEYS_MAX`] entries.
fn insert<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, value: V) {
    if table.len() >= KEYS_MAX && !table.contains_key(&key) {
        table.pop_first();
    }
    table.insert(key, value);
}

fn place_of(alert: &Alert) -> &str {
    alert.container.as_ref().map_or(HOST, |container| &container.id)
}

/// The image and the rule; images without a digest are told by their reference.
fn image_key(container: &Container, alert: &Alert) -> Option<(String, String)> {
    let image = container.image.as_ref()?;
    let name = image.digest.map_or_else(|| image.reference.clone(), |digest| digest.to_string());
    (!name.is_empty()).then(|| (name, alert.rule.clone()))
}

fn user_key(alert: &Alert) -> Option<u32> {
    let process = alert.process.as_ref().filter(|_| alert.container.is_none())?;
    PEOPLE.contains(&process.uid).then_some(process.uid)
}

/// The processes by which alerts are joined: the acting one and its ancestors, but not those
/// that the machine's first process started: an SSH server is the ancestor of every login, and
/// two logins are not one intrusion.
fn join_keys(alert: &Alert) -> impl Iterator<Item = &Process> {
    let ancestors = alert.ancestors.iter().filter(|ancestor| ancestor.ppid > 2);
    alert.process.iter().chain(ancestors)
}

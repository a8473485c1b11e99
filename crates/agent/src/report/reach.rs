//! How grave an incident is and what it reaches, for the report.

use palisade_model::Incident;
use palisade_model::incident::{BlastRadius, Neighbour};

use super::ROWS_MAX;
use super::view::clean;

/// What can be reached from one container.
pub(super) struct ReachView {
    /// The container.
    pub(super) container: String,
    /// What kind of thing, and what.
    pub(super) rows: Vec<(&'static str, String)>,
    /// Rows that are only in the incident's file.
    pub(super) n_hidden: usize,
}

/// The parts of the score: points and reason, the sum first.
pub(super) fn score(incident: &Incident) -> Vec<(String, String)> {
    if incident.score.parts.is_empty() {
        return Vec::new();
    }
    let sum = (incident.score.value.to_string(), "of 100".to_string());
    let parts = &incident.score.parts;
    let parts = parts.iter().map(|part| (format!("{:+}", part.points), clean(&part.reason)));
    std::iter::once(sum).chain(parts).collect()
}

pub(super) fn views(incident: &Incident) -> Vec<ReachView> {
    incident.blast.iter().map(|blast| view(incident, blast)).collect()
}

fn view(incident: &Incident, blast: &BlastRadius) -> ReachView {
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    if blast.host_network {
        rows.push(("Network", "the host's own".into()));
    }
    let neighbour = |n: &Neighbour| {
        let id = n.id.get(..12).unwrap_or(&n.id);
        format!("{} ({id}), {}", n.name, n.by)
    };
    rows.extend(blast.same_network.iter().map(|n| ("On its network", neighbour(n))));
    rows.extend(blast.same_image.iter().map(|n| ("Of its image", neighbour(n))));
    rows.extend(blast.shared_mounts.iter().map(|mount| {
        let mode = if mount.writable { "writable" } else { "read only" };
        let with: Vec<&str> = mount.with.iter().map(|n| n.name.as_str()).collect();
        let also = if with.is_empty() { "" } else { ", also in " };
        let with = with.join(", ");
        ("Of the host", format!("{} is {} ({mode}){also}{with}", mount.path, mount.source))
    }));
    let credentials = blast.credentials.iter();
    rows.extend(credentials.map(|c| ("Credential", format!("{}: {}", c.place, c.what))));
    rows.extend(blast.connections.iter().map(|c| {
        let direction = if c.inbound { "Connection from" } else { "Connection to" };
        (direction, format!("{}, own end {}", c.remote, c.local))
    }));
    rows.extend(blast.gaps.iter().map(|gap| ("Not seen", gap.clone())));
    let n_hidden = rows.len().saturating_sub(ROWS_MAX);
    rows.truncate(ROWS_MAX);
    for (_, text) in &mut rows {
        *text = clean(text);
    }
    let name = incident.containers().find(|c| c.id == blast.container);
    let container = name.map_or_else(|| clean(&blast.container), |c| clean(&c.name));
    ReachView { container, rows, n_hidden }
}

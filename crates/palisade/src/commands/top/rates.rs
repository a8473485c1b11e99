//! Two looks make rates.

use std::collections::BTreeMap;

use palisade_agent::control::protocol::{LastAlert, Top, TopContainer, TopProcess};
use palisade_agent::losses::LossStatus;
use palisade_base::Timestamp;
use serde::Serialize;

/// What is shown: the later look, with what happened since the earlier one.
pub(super) struct Frame<'t> {
    pub(super) top: &'t Top,
    seconds: f64,
    n_events: u64,
    n_alerts: u64,
    cpu_ns: u64,
    containers: BTreeMap<&'t str, u64>,
    cpu_times: BTreeMap<u32, u64>,
}

/// The document of `--format json`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'t> {
    time: Timestamp,
    started: Timestamp,
    events_per_second: f64,
    n_events: u64,
    n_alerts: u64,
    n_rules: usize,
    cpu_percent: f64,
    resident_bytes: Option<u64>,
    losses: &'t [LossStatus],
    containers: Vec<ContainerRow<'t>>,
    container: Option<&'t str>,
    processes: Vec<ProcessRow<'t>>,
    n_processes_more: u64,
}

#[derive(Debug, Serialize)]
struct ContainerRow<'t> {
    id: &'t str,
    name: &'t str,
    image: &'t str,
    events_per_second: f64,
    n_events: u64,
    n_alerts: u64,
    n_processes: u64,
    last_alert: Option<&'t LastAlert>,
}

#[derive(Debug, Serialize)]
struct ProcessRow<'t> {
    pid: u32,
    ppid: u32,
    uid: u32,
    name: &'t str,
    cmdline: &'t str,
    cpu_percent: Option<f64>,
    last_alert: Option<&'t LastAlert>,
}

impl<'t> Frame<'t> {
    pub(super) fn new(before: Option<&'t Top>, top: &'t Top) -> Self {
        // Another agent's counters say nothing of this one.
        let before = before.filter(|before| before.started == top.started);
        let seconds = before.map_or(0.0, |before| top.time.since(before.time).as_secs_f64());
        let since = |now: u64, then: fn(&Top) -> u64| {
            before.map_or(0, |before| now.saturating_sub(then(before)))
        };
        let then: BTreeMap<&str, u64> = before
            .iter()
            .flat_map(|before| &before.containers)
            .map(|one| (one.id.as_str(), one.n_events))
            .collect();
        let containers = top
            .containers
            .iter()
            .map(|one| {
                let then = then.get(one.id.as_str()).copied().filter(|then| *then <= one.n_events);
                (one.id.as_str(), one.n_events - then.unwrap_or(0))
            })
            .collect();
        let cpu_times = before
            .iter()
            .flat_map(|before| &before.processes)
            .filter_map(|process| Some((process.pid, process.cpu_ns?)))
            .collect();
        Self {
            top,
            seconds,
            n_events: since(top.n_events, |top| top.n_events),
            n_alerts: since(top.n_alerts, |top| top.n_alerts),
            cpu_ns: since(top.cpu_ns, |top| top.cpu_ns),
            containers,
            cpu_times,
        }
    }

    fn per_second(&self, n: u64) -> f64 {
        if self.seconds > 0.0 { n as f64 / self.seconds } else { 0.0 }
    }

    pub(super) fn events_per_second(&self) -> f64 {
        self.per_second(self.n_events)
    }

    pub(super) fn alerts_per_second(&self) -> f64 {
        self.per_second(self.n_alerts)
    }

    /// Of one processor, in percent.
    pub(super) fn cpu_percent(&self) -> f64 {
        self.per_second(self.cpu_ns) / 1e7
    }

    pub(super) fn container_rate(&self, container: &TopContainer) -> f64 {
        self.per_second(self.containers.get(container.id.as_str()).copied().unwrap_or(0))
    }

    pub(super) fn process_percent(&self, process: &TopProcess) -> Option<f64> {
        let then = self.cpu_times.get(&process.pid)?;
        Some(self.per_second(process.cpu_ns?.saturating_sub(*then)) / 1e7)
    }

    /// The container with most events; of equals the first.
    pub(super) fn busiest(&self) -> Option<&'t str> {
        let events = |one: &&TopContainer| self.containers.get(one.id.as_str()).copied();
        let own = self.top.containers.iter().rev().filter(|one| one.id != "host");
        own.max_by_key(events).or(self.top.containers.first()).map(|one| one.id.as_str())
    }

    pub(super) fn document(&self) -> Document<'t> {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let top = self.top;
        Document {
            time: top.time,
            started: top.started,
            events_per_second: rounded(self.events_per_second()),
            n_events: top.n_events,
            n_alerts: top.n_alerts,
            n_rules: top.n_rules,
            cpu_percent: rounded(self.cpu_percent()),
            resident_bytes: top.resident_bytes,
            losses: &top.losses,
            containers: top
                .containers
                .iter()
                .map(|one| ContainerRow {
                    id: &one.id,
                    name: &one.name,
                    image: &one.image,
                    events_per_second: rounded(self.container_rate(one)),
                    n_events: one.n_events,
                    n_alerts: one.n_alerts,
                    n_processes: one.n_processes,
                    last_alert: one.last_alert.as_ref(),
                })
                .collect(),
            container: top.container.as_deref(),
            processes: top
                .processes
                .iter()
                .map(|one| ProcessRow {
                    pid: one.pid,
                    ppid: one.ppid,
                    uid: one.uid,
                    name: &one.name,
                    cmdline: &one.cmdline,
                    cpu_percent: self.process_percent(one).map(rounded),
                    last_alert: one.last_alert.as_ref(),
                })
                .collect(),
            n_processes_more: top.n_processes_more,
        }
    }
}

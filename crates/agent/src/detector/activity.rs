//! What happens, by container, for those who look: counted only while somebody does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_model::Container;
use palisade_sensor::EventView;
use palisade_sensor::state::State;

use crate::control::protocol::{Activity, Sample, TopContainer, TopProcess};

/// Containers that are counted apart.
pub const CONTAINERS_MAX: usize = 4096;
/// Processes of a container that are shown.
pub const PROCESSES_MAX: usize = 512;
/// Events of a second that become samples.
const SAMPLES_PER_SECOND: u32 = 40;
/// Samples that wait to be taken.
const SAMPLES_MAX: usize = 256;
/// The id under which what is in no container is counted.
const HOST: &str = "host";

/// A container, none for the host, and its events.
type Counted = (Option<Arc<Container>>, u64);

/// Counts events by container.
#[derive(Debug, Default)]
pub(super) struct Counter {
    is_on: bool,
    by_container: HashMap<Arc<[u8]>, Counted>,
    samples: VecDeque<Sample>,
    second: Option<Instant>,
    n_in_second: u32,
}

impl Counter {
    /// Begins or ends to count; counters begin at nothing.
    pub(super) fn set(&mut self, on: bool) {
        if self.is_on != on {
            *self = Self { is_on: on, ..Self::default() };
        }
    }

    /// Counts an event.
    #[inline]
    pub(super) fn note(&mut self, event: &EventView<'_>, number: u64) {
        if self.is_on {
            self.count(event, number);
        }
    }

    fn count(&mut self, event: &EventView<'_>, number: u64) {
        let Some(thread) = event.thread() else { return };
        let id = &thread.container_id;
        if let Some((_, n)) = self.by_container.get_mut(id) {
            *n += 1;
        } else if self.by_container.len() < CONTAINERS_MAX {
            self.by_container.insert(Arc::clone(id), (event.container(), 1));
        }
        let second = *self.second.get_or_insert_with(Instant::now);
        // The clock is looked at only when the second's share is used up or a sample is due.
        if self.n_in_second >= SAMPLES_PER_SECOND {
            if second.elapsed() < Duration::from_secs(1) {
                return;
            }
            (self.second, self.n_in_second) = (Some(Instant::now()), 0);
        }
        self.n_in_second += 1;
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        let process = event.process();
        self.samples.push_back(Sample {
            time: event.time(),
            event_type: event.type_name().to_string(),
            number,
            pid: process.as_ref().map_or(0, |process| process.pid),
            process: process.map(|process| process.name).unwrap_or_default(),
            container: String::from_utf8_lossy(id).into_owned(),
            object: event
                .fd()
                .map(|fd| String::from_utf8_lossy(fd.name()).chars().take(256).collect())
                .unwrap_or_default(),
        });
    }

    pub(super) fn take_samples(&mut self, sink: &mut dyn FnMut(Sample)) {
        self.samples.drain(..).for_each(sink);
    }

    /// Everything, with the processes of the container `wanted` (its whole or its short id).
    pub(super) fn activity(&self, state: &State, wanted: Option<&str>) -> Activity {
        let mut activity = Activity::default();
        let full = |container: Option<&Container>| {
            container.map_or_else(|| HOST.to_string(), |container| container.id.clone())
        };
        for (container, n) in self.by_container.values() {
            let entry = activity
                .containers
                .entry(full(container.as_deref()))
                .or_insert_with(|| (container.as_deref().cloned(), TopContainer::default()));
            entry.1.n_events += n;
        }
        let mut processes: BTreeMap<u32, TopProcess> = BTreeMap::new();
        for thread in state.threads().filter(|thread| thread.is_main() && !thread.is_dead()) {
            let container = state.container_of(thread);
            let id = full(container.as_deref());
            if !activity.containers.contains_key(&id) && activity.containers.len() >= CONTAINERS_MAX
            {
                continue;
            }
            let entry = activity
                .containers
                .entry(id.clone())
                .or_insert_with(|| (container.as_deref().cloned(), TopContainer::default()));
            entry.1.n_processes += 1;
            if wanted != Some(id.as_str()) {
                continue;
            }
            if processes.len() >= PROCESSES_MAX {
                activity.n_processes_more += 1;
                continue;
            }
            let process = state.process_of(thread);
            processes.insert(
                process.pid,
                TopProcess {
                    pid: process.pid,
                    ppid: process.ppid,
                    uid: process.uid,
                    name: process.name,
                    cmdline: process.cmdline.chars().take(512).collect(),
                    cpu_ns: None,
                    last_alert: None,
                },
            );
        }
        if let Some((_, host)) = activity.containers.get_mut(HOST) {
            host.name = HOST.into();
        }
        activity.processes = processes.into_values().collect();
        activity
    }
}

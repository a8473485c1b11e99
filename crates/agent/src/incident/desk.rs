//! Surveys on a thread of their own, so that watching goes on meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use palisade_model::{Alert, Container};
use palisade_sensor::identity::HostPaths;

use super::survey::{Survey, Surveyor};

/// Surveys that the thread has room for.
pub(super) const QUEUE_MAX: usize = 64;
/// Surveys that wait besides; further ones are refused and counted.
pub(super) const BACKLOG_MAX: usize = 4096;
/// Containers whose last survey is remembered.
const LAST_MAX: usize = 4096;
/// How long a container is not looked at again.
const INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Order {
    incident: String,
    container: Container,
    pid: u32,
}

/// Where surveys are asked for.
#[derive(Debug)]
pub struct SurveyDesk {
    orders: SyncSender<Order>,
    surveys: Receiver<(String, Survey)>,
    /// Orders for which the thread had no room.
    backlog: VecDeque<Order>,
    last: BTreeMap<String, Instant>,
    n_refused: u64,
}

impl SurveyDesk {
    /// Starts the surveying thread, which reads below `paths`. It ends when the desk is dropped.
    pub fn start(paths: HostPaths) -> std::io::Result<Self> {
        let (orders, queue) = sync_channel::<Order>(QUEUE_MAX);
        let (answers, surveys) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("palisade-survey".into()).spawn(move || {
            let mut surveyor = Surveyor::new(paths);
            for Order { incident, container, pid } in queue {
                if answers.send((incident, surveyor.survey(&container, pid))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, surveys, backlog: VecDeque::new(), last: BTreeMap::new(), n_refused: 0 })
    }

    /// Asks for a survey of the container of `alert`, unless it was looked at a moment ago.
    pub fn ask(&mut self, incident: &str, alert: &Alert) {
        let Some((container, pid)) = someone_of(alert) else { return };
        let now = Instant::now();
        let is_fresh = |last: &Instant| now.duration_since(*last) < INTERVAL;
        if self.last.get(&container.id).is_some_and(is_fresh) {
            return;
        }
        if self.backlog.len() >= BACKLOG_MAX {
            self.n_refused += 1;
            return;
        }
        if self.last.len() >= LAST_MAX {
            self.last.retain(|_, last| is_fresh(last));
        }
        if self.last.len() < LAST_MAX {
            self.last.insert(container.id.clone(), now);
        }
        let (incident, container) = (incident.to_string(), container.clone());
        self.backlog.push_back(Order { incident, container, pid });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(order) = self.backlog.pop_front() {
            match self.orders.try_send(order) {
                Ok(()) => {}
                Err(TrySendError::Full(order)) => {
                    self.backlog.push_front(order);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.n_refused += 1,
            }
        }
    }

    /// What was found since the last call, each with its incident.
    pub fn take(&mut self) -> impl Iterator<Item = (String, Survey)> {
        self.drain();
        self.surveys.try_iter()
    }

    /// Surveys that were not made because too many waited.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }
}

/// The container of an alert and a process of it: its first one, or the acting one.
pub(crate) fn someone_of(alert: &Alert) -> Option<(&Container, u32)> {
    let container = alert.container.as_ref()?;
    let pid = container.init_pid.or_else(|| Some(alert.process.as_ref()?.pid))?;
    Some((container, pid))
}

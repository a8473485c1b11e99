//! Where processes came from, after their parents are gone.
//!
//! The kernel gives an orphan a new parent, and rules see that one. An alert wants to show
//! who started the process: each process that exits leaves a short record for a while.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_base::Timestamp;
use palisade_model::Process;

use super::fd::NumberMap;
use super::{ANCESTORS_MAX, NO_ID, State, Thread};
use crate::identity::Facts;

/// Exited processes that are remembered.
pub(super) const GRAVES_MAX: usize = 16_384;

/// How long they are remembered.
const GRACE_NS: u64 = 600_000_000_000;

/// What is left of a process.
#[derive(Debug, Clone)]
pub(crate) struct Grave {
    pub(super) process: Process,
    pub(super) origin: i64,
    pub(super) container: Option<Arc<Facts>>,
    pub(super) exited_ns: u64,
}

impl Grave {
    /// A grave to be read into.
    pub(super) fn nobody() -> Self {
        let text = String::new;
        let process = Process {
            pid: 0,
            vpid: None,
            ppid: 0,
            start: Timestamp::from_nanos(0),
            name: text(),
            exe: text(),
            cmdline: text(),
            cwd: text(),
            uid: 0,
        };
        Self { process, origin: -1, container: None, exited_ns: 0 }
    }
}

/// Exited processes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    by_pid: NumberMap<i64, Grave>,
    order: VecDeque<(i64, u64)>,
}

impl Graveyard {
    fn bury(&mut self, pid: i64, grave: Grave) {
        let now_ns = grave.exited_ns;
        while let Some((oldest, exited_ns)) = self.order.front().copied() {
            let fits = self.order.len() < GRAVES_MAX;
            if fits && now_ns.saturating_sub(exited_ns) < GRACE_NS {
                break;
            }
            self.order.pop_front();
            // The number may have been used and buried again since.
            if self.by_pid.get(&oldest).is_some_and(|grave| grave.exited_ns == exited_ns) {
                self.by_pid.remove(&oldest);
            }
        }
        self.order.push_back((pid, now_ns));
        self.by_pid.insert(pid, grave);
    }

    /// The graves that can still be found, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Grave)> {
        self.order.iter().filter_map(|(pid, exited_ns)| {
            let grave = self.by_pid.get(pid)?;
            (grave.exited_ns == *exited_ns).then_some((*pid, grave))
        })
    }

    /// Puts back what [`Self::iter`] gave.
    pub(super) fn restore(&mut self, pid: i64, grave: Grave) {
        self.bury(pid, grave);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_pid.len()
    }
}

impl State {
    /// A process as alerts show it.
    pub fn process_of(&self, thread: &Thread) -> Process {
        let main = self.main_of(thread).unwrap_or(thread);
        let number = |id: i64| u32::try_from(id).unwrap_or(0);
        let text = |bytes: &[u8]| crate::text::printable(bytes).into_owned();
        let start = if main.cloned_ns != 0 { main.cloned_ns } else { main.started_ns };
        Process {
            pid: number(main.pid),
            vpid: u32::try_from(main.vpid).ok(),
            ppid: number(self.threads.get(&main.ptid).map_or(main.ptid, |parent| parent.pid)),
            start: Timestamp::from_nanos(start),
            name: text(&main.comm),
            exe: text(if main.exe_path.is_empty() { &main.exe } else { &main.exe_path }),
            cmdline: text(&main.cmdline),
            cwd: text(&main.cwd),
            uid: if main.uid == NO_ID { 0 } else { main.uid },
        }
    }

    /// Remembers a process at its exit.
    pub(crate) fn bury(&mut self, tid: i64, now_ns: u64) {
        let Some(thread) = self.threads.get(&tid).filter(|thread| thread.is_main()) else {
            return;
        };
        if thread.is_invalid() {
            return;
        }
        let grave = Grave {
            process: self.process_of(thread),
            origin: thread.origin,
            container: thread.container.clone(),
            exited_ns: now_ns,
        };
        self.graveyard.bury(thread.pid, grave);
    }

    /// The ancestors of a thread's process, parent first, each with its container: who
    /// started it, even if they have exited since.
    pub fn lineage(&self, thread: &Thread) -> Vec<(Process, Option<Arc<Facts>>)> {
        let mut found = Vec::new();
        let Some(mut current) = self.main_of(thread) else { return found };
        let mut next = if current.origin > 0 { current.origin } else { current.ptid };
        let mut last = (current.pid, current.cloned_ns.max(current.started_ns));
        while found.len() < ANCESTORS_MAX && next > 0 && next != last.0 {
            // A living process with this number is the parent only if it is older.
            let alive =
                self.threads.get(&next).and_then(|parent| self.main_of(parent)).filter(|parent| {
                    let start = parent.cloned_ns.max(parent.started_ns);
                    last.1 == 0 || start <= last.1
                });
            if let Some(parent) = alive {
                found.push((self.process_of(parent), parent.container.clone()));
                current = parent;
                last = (current.pid, current.cloned_ns.max(current.started_ns));
                next = if current.origin > 0 { current.origin } else { current.ptid };
            } else if let Some(grave) = self.graveyard.by_pid.get(&next) {
                found.push((grave.process.clone(), grave.container.clone()));
                last = (next, grave.process.start.as_nanos());
                next = grave.origin;
            } else {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graves_are_bounded() {
        let mut yard = Graveyard::default();
        let state = State::new();
        let grave = Grave {
            process: state.process_of(&Thread::unknown(1)),
            origin: 1,
            container: None,
            exited_ns: 5,
        };
        for pid in 0..GRAVES_MAX as i64 + 10 {
            yard.bury(pid, grave.clone());
        }
        assert_eq!(yard.len(), GRAVES_MAX);
        yard.bury(1, Grave { exited_ns: 5 + GRACE_NS, ..grave });
        assert_eq!(yard.len(), 1, "old graves are cleared");
    }
}

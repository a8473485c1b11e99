//! Follows containers: marks the mounts from which their programs start.
//!
//! A container is seen for the first time when its runtime's helper joins its control group,
//! and its mounts are there some milliseconds later, when the helper has entered its root;
//! until then it is looked at every millisecond. Programs that start before the marks are
//! made are not asked about. Later mounts, and further mount namespaces of the container, are
//! found when a program has started in them.
//!
//! Marks go away with the mounts that carry them: nothing has to be undone.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_sensor::identity::Facts;
use palisade_sys::Hierarchies;
use palisade_sys::fanotify::{ForeignMounts, MountError, MountNamespace};

use super::gate::Link;

/// Mounts that are marked on behalf of all containers.
pub(super) const MARKS_MAX: usize = 16_384;
/// Containers that are waited for at once.
pub(super) const PENDING_MAX: usize = 256;
/// What waits to be looked at.
const SEEN_MAX: usize = 1024;
/// How long a container may take to enter its root.
const ENTER_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const ENTER_INTERVAL: Duration = Duration::from_millis(1);
/// How often the mounts of one namespace are looked at again, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long one wait lasts at most.
const WAIT: Duration = Duration::from_millis(100);

/// The marked mounts by number, and the container to which each belongs.
pub(super) type Guarded = Arc<RwLock<BTreeMap<u64, Arc<Facts>>>>;

/// What is to be known of the container with an id: why programs are not asked about, or
/// which mounts are not covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// Guarded, but for these mounts.
    Guarded(Vec<String>),
    /// Not guarded.
    Unguarded(String),
}

type Notes = Arc<Mutex<BTreeMap<String, Note>>>;

/// A process of a container.
struct Seen {
    facts: Arc<Facts>,
    pid: u32,
}

/// The thread that marks.
#[derive(Debug)]
pub(super) struct Warden {
    /// None once it is to end.
    seen: Option<SyncSender<Seen>>,
    notes: Notes,
    thread: Option<JoinHandle<()>>,
}

impl Warden {
    /// Starts the thread.
    pub(super) fn start(link: Link, guarded: Guarded) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(SEEN_MAX);
        let notes = Notes::default();
        let work = Work {
            link,
            guarded,
            notes: Arc::clone(&notes),
            known: BTreeMap::new(),
            pending: Vec::new(),
            generation: 0,
            hierarchies: Hierarchies::detect().ok(),
            marks_max: MARKS_MAX,
        };
        let thread = std::thread::Builder::new()
            .name("palisade-warden".into())
            .spawn(move || work.run(&receiver))?;
        Ok(Self { seen: Some(sender), notes, thread: Some(thread) })
    }

    /// Has the mounts of a process looked at; false when too many wait.
    pub(super) fn see(&self, facts: &Arc<Facts>, pid: u32) -> bool {
        let seen = Seen { facts: Arc::clone(facts), pid };
        self.seen.as_ref().is_some_and(|sender| sender.try_send(seen).is_ok())
    }

    /// What is to be known of containers, by their full id.
    pub(super) fn notes(&self) -> BTreeMap<String, Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same of one container.
    pub(super) fn note(&self, container: &str) -> Option<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned()
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.seen = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// A mount namespace that was looked at.
struct Known {
    facts: Arc<Facts>,
    pid: u32,
    looked: Instant,
}

/// A process that has not entered its root.
struct Pending {
    seen: Seen,
    until: Instant,
}

struct Work {
    link: Link,
    guarded: Guarded,
    notes: Notes,
    known: BTreeMap<MountNamespace, Known>,
    pending: Vec<Pending>,
    generation: u64,
    hierarchies: Option<Hierarchies>,
    marks_max: usize,
}

impl Work {
    fn run(mut self, receiver: &Receiver<Seen>) {
        loop {
            let wait = if self.pending.is_empty() { WAIT } else { ENTER_INTERVAL };
            match receiver.recv_timeout(wait) {
                Ok(seen) => self.take(seen),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_at_pending();
            self.renew();
        }
    }

    fn take(&mut self, seen: Seen) {
        let Ok(namespace) = MountNamespace::of(seen.pid) else { return };
        if let Some(known) = self.known.get_mut(&namespace)
            && known.looked.elapsed() < LOOK_AGAIN
            && Arc::ptr_eq(&known.facts, &seen.facts)
        {
            known.pid = seen.pid;
            return;
        }
        self.look(seen, Instant::now() + ENTER_DEADLINE);
    }

    /// Marks the mounts of a process, or waits for it to enter its root.
    fn look(&mut self, seen: Seen, until: Instant) {
        match ForeignMounts::of(seen.pid) {
            Ok(mounts) => self.mark(&seen, &mounts),
            Err(MountError::Ours(_) | MountError::NotEntered(_)) if Instant::now() < until => {
                // Threads of one helper wait as one.
                let is_new = self.pending.iter().all(|p| p.seen.pid != seen.pid);
                if is_new && self.pending.len() < PENDING_MAX {
                    self.pending.push(Pending { seen, until });
                }
            }
            Err(error @ (MountError::Ours(_) | MountError::NotEntered(_))) => {
                self.note(&seen.facts, Note::Unguarded(error.to_string()));
            }
            // It has ended; the container's next program brings another process.
            Err(MountError::Io { .. }) => {}
        }
    }

    fn look_at_pending(&mut self) {
        for Pending { seen, until } in std::mem::take(&mut self.pending) {
            self.look(seen, until);
        }
    }

    fn mark(&mut self, seen: &Seen, mounts: &ForeignMounts) {
        let (gate, _) = self.link.current();
        let mut unasked: Vec<String> =
            mounts.unasked().map(|(point, kind)| format!("{} ({kind})", point.display())).collect();
        let mut failure = None;
        for mount in mounts.executable() {
            if !self.remember(mount.id(), &seen.facts) {
                failure = Some(format!("more than {} mounts are marked", self.marks_max));
                break;
            }
            // The number is known before the first question about it can come.
            if let Err(error) = gate.mark(&mount) {
                failure = Some(format!("mark {}: {error}", mount.point().display()));
            }
        }
        unasked.sort();
        let note = failure.map_or(Note::Guarded(unasked), Note::Unguarded);
        self.note(&seen.facts, note);
        let known = Known { facts: Arc::clone(&seen.facts), pid: seen.pid, looked: Instant::now() };
        self.known.insert(mounts.namespace(), known);
    }

    /// Notes whose mount it is; false when there is no room, not even after forgetting
    /// containers that have ended.
    fn remember(&mut self, mount: u64, facts: &Arc<Facts>) -> bool {
        let is_full = {
            let mut guarded = self.guarded.write().unwrap_or_else(PoisonError::into_inner);
            let has_room = guarded.len() < self.marks_max || guarded.contains_key(&mount);
            if has_room {
                guarded.insert(mount, Arc::clone(facts));
            }
            !has_room
        };
        if !is_full {
            return true;
        }
        self.forget_ended();
        let mut guarded = self.guarded.write().unwrap_or_else(PoisonError::into_inner);
        let has_room = guarded.len() < self.marks_max;
        if has_room {
            guarded.insert(mount, Arc::clone(facts));
        }
        has_room
    }

    /// Forgets containers whose control group is gone.
    fn forget_ended(&mut self) {
        let Some(hierarchies) = &self.hierarchies else { return };
        let exists = |facts: &Facts| {
            let path = facts.container.cgroup.as_deref();
            // What cannot be told is kept.
            path.is_none_or(|path| hierarchies.group(path).map_or(true, |group| group.exists()))
        };
        self.known.retain(|_, known| exists(&known.facts));
        let alive: std::collections::BTreeSet<&str> =
            self.known.values().map(|known| known.facts.full_id.as_str()).collect();
        self.guarded
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, facts| alive.contains(facts.full_id.as_str()));
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, _| alive.contains(id.as_str()));
    }

    fn note(&self, facts: &Facts, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MARKS_MAX || notes.contains_key(&facts.full_id) {
            notes.insert(facts.full_id.clone(), note);
        }
    }

    /// Marks everything again when the gate is another one.
    fn renew(&mut self) {
        let (_, generation) = self.link.current();
        if generation == self.generation {
            return;
        }
        let is_first = self.generation == 0;
        self.generation = generation;
        if is_first {
            return;
        }
        for (_, known) in std::mem::take(&mut self.known) {
            let pid = self.living(&known);
            let Some(pid) = pid else { continue };
            self.look(Seen { facts: known.facts, pid }, Instant::now() + ENTER_DEADLINE);
        }
    }

    /// A process of the namespace, or of its container, that lives.
    fn living(&self, known: &Known) -> Option<u32> {
        if std::path::Path::new(&format!("/proc/{}/ns/mnt", known.pid)).exists() {
            return Some(known.pid);
        }
        let path = known.facts.container.cgroup.as_deref()?;
        let group = self.hierarchies.as_ref()?.group(path).ok()?;
        group.processes().ok()?.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::Gate;
    use super::*;

    #[test]
    fn marks_are_bounded_and_room_is_made_by_forgetting_what_has_ended() {
        if !palisade_sys::facts::is_privileged() {
            return; // the gate itself needs root
        }
        let (sender, _receiver) = sync_channel(1);
        let gate = Gate::start(Box::new(|_| None), sender, Duration::from_secs(1)).unwrap();
        let facts = |id: &str, cgroup: Option<&str>| {
            let mut container = crate::testing::container(id);
            container.cgroup = cgroup.map(str::to_string);
            Arc::new(Facts::of(container))
        };
        let mut work = Work {
            link: gate.link(),
            guarded: Guarded::default(),
            notes: Notes::default(),
            known: BTreeMap::new(),
            pending: Vec::new(),
            generation: 0,
            hierarchies: Hierarchies::detect().ok(),
            marks_max: 2,
        };
        let ended = facts("ended", Some("/palisade-test-no-such-group"));
        let alive = facts("alive", None);
        assert!(work.remember(1, &ended) && work.remember(2, &alive));
        assert!(work.remember(2, &alive), "what is there needs no room");
        let own = MountNamespace::of(std::process::id()).unwrap();
        let known = Known { facts: Arc::clone(&alive), pid: 1, looked: Instant::now() };
        work.known.insert(own, known);
        assert!(work.remember(3, &alive), "the ended one is forgotten");
        assert!(!work.remember(4, &alive));
        let marks: Vec<u64> = work.guarded.read().unwrap().keys().copied().collect();
        assert_eq!(marks, [2, 3]);
    }
}

//! Programs that no container starts, by what is in them.
//!
//! `block-executable` writes a digest into the file of standing orders. While there is one, every
//! program that a container starts is asked about, as for rules with `action: deny`, and one
//! with such a digest is refused. Without one there is neither gate nor mark.
//!
//! A file is read once; its digest is remembered by inode and time of change. Files larger than
//! [`BYTES_MAX`] are let pass, because an answer that is late opens the gate for everything; each
//! is told. Not asked about, and so not refused: a program that a loader maps by itself
//! (`ld.so FILE`), one without a file (`memfd_create`), and one whose file is written between the
//! answer and the start.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use palisade_base::{Digest, DigestReader};
use palisade_policy::standing::Standing;
use palisade_sensor::EventView;
use palisade_sensor::identity::Facts;
use palisade_sensor::state::ANCESTORS_MAX;
use palisade_sys::fanotify::{ContentKey, Request};

use super::attempt::{self, Ancestor, Attempt, seen_from};
use super::gate::{ANSWER_DEADLINE, Decide, Denial, Gate};
use super::membership::is_member;
use super::warden::{Guarded, Warden};

/// Largest program whose digest is taken, in bytes: what is read and digested well within the time
/// that an answer may take.
pub const BYTES_MAX: u64 = 64 << 20;
/// Digests that are remembered; beyond it all are taken anew.
const DIGESTS_MAX: usize = 16_384;
/// Refusals that wait to become alerts.
const DENIALS_MAX: usize = 1024;
/// Containers remembered as followed; beyond it they are looked at again.
const FOLLOWED_MAX: usize = 16_384;
/// How often the file of standing orders is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// When a gate that did not open is tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(10);
/// Bytes read at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Problems that are kept until somebody asks for them.
const PROBLEMS_MAX: usize = 64;

/// The name under which refusals are told; no rule file has it.
pub const BLOCKED_RULE: &str = "Blocked program started";

type Digests = Arc<RwLock<BTreeSet<Digest>>>;
type Problems = Arc<Mutex<Vec<String>>>;

/// Keeps blocked programs from starting.
#[derive(Debug)]
pub(super) struct Blocklist {
    path: PathBuf,
    /// Length and time of the file when it was read.
    seen: Option<(u64, SystemTime)>,
    looked: Option<Instant>,
    digests: Digests,
    gate: Option<(Gate, Warden)>,
    failed: Option<Instant>,
    problems: Problems,
    denials: Receiver<Denial>,
    denied: SyncSender<Denial>,
    last: Option<Arc<Facts>>,
    followed: HashMap<String, Arc<Facts>>,
}

impl Blocklist {
    /// Heeds the standing orders in the file `path`.
    pub(super) fn new(path: &Path) -> Self {
        let (denied, denials) = sync_channel(DENIALS_MAX);
        Self {
            path: path.to_path_buf(),
            seen: None,
            looked: None,
            digests: Digests::default(),
            gate: None,
            failed: None,
            problems: Problems::default(),
            denials,
            denied,
            last: None,
            followed: HashMap::new(),
        }
    }

    /// Reads the file if it changed, and opens or closes the gate. `running` are the containers
    /// that run, asked for when they are needed.
    pub(super) fn tick(&mut self, running: impl FnOnce() -> Vec<(Arc<Facts>, u32)>) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        let stamp = std::fs::metadata(&self.path)
            .ok()
            .and_then(|found| Some((found.len(), found.modified().ok()?)));
        if stamp != self.seen {
            self.seen = stamp;
            self.read();
        }
        let is_empty = self.digests.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        let may_try = self.failed.is_none_or(|failed| failed.elapsed() >= REOPEN_AFTER);
        match (&self.gate, is_empty) {
            // Its marks go with it.
            (Some(_), true) => self.gate = None,
            (None, false) if may_try => self.open(running()),
            _ => {}
        }
    }

    fn read(&mut self) {
        match Standing::read(&self.path) {
            Ok(standing) => {
                let digests = standing.executables.iter().map(|entry| entry.what).collect();
                *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests;
            }
            // What was blocked stays so: who damages the file gains nothing.
            Err(error) => {
                let text = palisade_base::render_chain(&error, None).trim().replace('\n', "; ");
                say(&self.problems, format!("blocked programs stay as they were: {text}"));
            }
        }
    }

    fn open(&mut self, running: Vec<(Arc<Facts>, u32)>) {
        let guarded = Guarded::default();
        let mut judge = Judge {
            guarded: Arc::clone(&guarded),
            digests: Arc::clone(&self.digests),
            known: BTreeMap::new(),
            problems: Arc::clone(&self.problems),
        };
        let decide: Decide = Box::new(move |request| judge.decide(request));
        let opened = Gate::start(decide, self.denied.clone(), ANSWER_DEADLINE)
            .and_then(|gate| Ok((Warden::start(gate.link(), guarded)?, gate)));
        match opened {
            Ok((warden, gate)) => {
                for (facts, pid) in running {
                    // What does not fit is found at its next event.
                    let _seen = warden.see(&facts, pid);
                }
                self.failed = None;
                self.gate = Some((gate, warden));
            }
            Err(error) => {
                say(&self.problems, format!("blocked programs start all the same: {error}"));
                self.failed = Some(Instant::now());
            }
        }
        self.followed.clear();
        self.last = None;
    }

    /// Follows containers by their events: the first, and each program that starts.
    pub(super) fn follow(&mut self, event: &EventView<'_>) {
        let Some((_, warden)) = &self.gate else { return };
        let Some(thread) = event.thread() else { return };
        let Some(facts) = event.state().facts_of(thread) else { return };
        let is_last = self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, facts));
        let is_program = event.type_name() == attempt::EVENTS[0];
        if (is_last && !is_program) || facts.is_host() {
            return;
        }
        self.last = Some(Arc::clone(facts));
        let is_known = self.followed.get(&facts.full_id).is_some_and(|f| Arc::ptr_eq(f, facts));
        if is_known && !is_program {
            return;
        }
        let pid = u32::try_from(thread.pid).unwrap_or(0);
        // What does not fit now is tried again at the container's next event.
        if pid > 1 && warden.see(facts, pid) {
            if self.followed.len() >= FOLLOWED_MAX {
                self.followed.clear();
            }
            self.followed.insert(facts.full_id.clone(), Arc::clone(facts));
        } else {
            self.last = None;
        }
    }

    /// What was refused since the last call.
    pub(super) fn next_denial(&self) -> Option<Denial> {
        self.denials.try_recv().ok()
    }

    /// Problems since the last call.
    pub(super) fn problems(&self, sink: &mut dyn FnMut(String)) {
        let own =
            std::mem::take(&mut *self.problems.lock().unwrap_or_else(PoisonError::into_inner));
        let gate = self.gate.iter().flat_map(|(gate, _)| gate.take_problems());
        own.into_iter().chain(gate).for_each(sink);
    }
}

fn say(problems: &Problems, text: String) {
    let mut problems = problems.lock().unwrap_or_else(PoisonError::into_inner);
    if problems.len() < PROBLEMS_MAX {
        problems.push(text);
    }
}

/// Decides before programs.
struct Judge {
    guarded: Guarded,
    digests: Digests,
    known: BTreeMap<ContentKey, Digest>,
    problems: Problems,
}

impl Judge {
    fn decide(&mut self, request: &Request) -> Option<(Vec<String>, Attempt)> {
        let pid = request.pid();
        let mount = request.mount_id().ok()?;
        let facts = {
            let guarded = self.guarded.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(guarded.get(&mount)?)
        };
        // A process of the host that uses the container's mounts is not the container's.
        if pid <= 1 || pid == std::process::id() || !is_member(pid, &facts.container) {
            return None;
        }
        let digest = self.digest(request, &facts)?;
        if !self.digests.read().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return None;
        }
        let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| "/".into());
        let path = seen_from(&request.path().ok()?, &root);
        let caller = Ancestor::read(pid)?;
        let ancestors = caller.above(ANCESTORS_MAX);
        let uid = std::fs::metadata(format!("/proc/{pid}")).map_or(0, |entry| entry.uid());
        Some((
            vec![digest.to_string()],
            Attempt { caller, uid, path, ancestors, facts, is_upper: None },
        ))
    }

    fn digest(&mut self, request: &Request, facts: &Facts) -> Option<Digest> {
        let key = request.content_key().ok()?;
        if let Some(digest) = self.known.get(&key) {
            return Some(*digest);
        }
        if key.n_bytes > BYTES_MAX {
            let path = request.path().unwrap_or_default();
            say(
                &self.problems,
                format!(
                    "`{}` in container {} has {} MiB and is not compared with blocked programs",
                    path.display(),
                    facts.id,
                    key.n_bytes >> 20
                ),
            );
            return None;
        }
        let digest = digest_of(request).ok()?;
        if self.known.len() >= DIGESTS_MAX {
            self.known.clear();
        }
        self.known.insert(key, digest);
        Some(digest)
    }
}

/// The file of a request, from its beginning.
struct Content<'r> {
    request: &'r Request,
    offset: u64,
}

impl std::io::Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.request.read_at(buffer, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

fn digest_of(request: &Request) -> std::io::Result<Digest> {
    // One that grows meanwhile is digested no further than it may be large.
    let content = Content { request, offset: 0 }.take(BYTES_MAX + 1);
    let mut reader = DigestReader::new(content);
    let mut chunk = vec![0; CHUNK_BYTES];
    while reader.read(&mut chunk)? > 0 {}
    Ok(reader.finish().0)
}

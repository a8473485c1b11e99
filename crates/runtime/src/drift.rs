//! Refuses programs that are not the image's, while a container runs.
//!
//! Each execution of a file on a mount of the container waits for a thread of this process, which
//! compares the file with the image's layers ([`Layers`]). The container alone waits: nothing else
//! is marked. If an answer is late, the gate is given up, which lets pass what waits, and the
//! container is to be ended: it would run on unguarded otherwise.
//!
//! Not asked about: programs in memory (memfd), what an interpreter reads, libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_sys::fanotify::{
    ContentKey, ExecGate, ForeignMounts, Layers, MountError, Origin, REQUESTS_MAX, Request,
};

/// How long an answer may take: a program of some gigabytes is compared in that time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How long one wait for questions lasts, and how often the deadline is looked at.
const WAIT: Duration = Duration::from_millis(50);
/// How often the container's mounts are looked at anew.
const RENEW: Duration = Duration::from_millis(500);
/// Contents that are remembered.
const KNOWN_MAX: usize = 16_384;
/// Refusals that are kept for the report.
const DENIALS_MAX: usize = 64;

/// Why the image's programs cannot be told from others.
#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    /// The gate before programs.
    #[error("ask before programs start")]
    Gate(#[source] std::io::Error),
    /// The layers.
    #[error("the image has more layers than an overlay takes")]
    Layers,
    /// The container's mounts.
    #[error(transparent)]
    Mounts(#[from] MountError),
    /// A mount that could not be marked.
    #[error("ask about programs on `{}`", point.display())]
    Mark {
        /// Where it is mounted in the container.
        point: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The container's root is not the mount that was made for it.
    #[error("the root of process {0} is no mount of its own")]
    NoRoot(u32),
}

/// A program that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriftDenial {
    /// Its path in the container.
    pub path: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
}

/// What is told of a container's programs when it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriftReport {
    /// Programs that were asked about.
    pub n_asked: u64,
    /// Executions that were refused.
    pub n_denied: u64,
    /// What was refused, each once, as far as it is kept.
    pub denials: BTreeSet<DriftDenial>,
    /// What went wrong.
    pub problems: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    n_asked: AtomicU64,
    n_denied: AtomicU64,
    denials: Mutex<BTreeSet<DriftDenial>>,
    problems: Mutex<Vec<String>>,
    /// Milliseconds since the start at which an answer was begun, plus one; 0 without one.
    busy_since: AtomicU64,
}

impl Shared {
    fn problem(&self, text: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < DENIALS_MAX {
            problems.push(text);
        }
    }
}

/// The gate, while it stands.
#[derive(Debug)]
pub(crate) struct DriftGate {
    gate: Arc<ExecGate>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl DriftGate {
    /// Guards the container whose first process is `init`, which has entered its root and has not
    /// started its program. `lowers` are the image's layers, top first.
    pub(crate) fn start(
        init: u32,
        lowers: &[PathBuf],
        upper: &std::path::Path,
    ) -> Result<Self, DriftError> {
        let mounts = ForeignMounts::of(init)?;
        let gate = ExecGate::open().map_err(DriftError::Gate)?;
        let mut root = None;
        for mount in mounts.executable() {
            if mount.point() == std::path::Path::new("/") {
                root = Some(mount.id());
            }
            gate.mark(&mount).map_err(|source| DriftError::Mark {
                point: mount.point().to_path_buf(),
                source,
            })?;
        }
        let root = root.ok_or(DriftError::NoRoot(init))?;
        let layers = Layers::new(root, lowers.to_vec(), upper.to_path_buf());
        let layers = layers.ok_or(DriftError::Layers)?;
        let shared = Arc::new(Shared::default());
        let mut out = Self { gate, shared, threads: Vec::new() };
        let clock = Instant::now();
        let (gate, shared) = (Arc::clone(&out.gate), Arc::clone(&out.shared));
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let answering = named("palisade-drift")
            .spawn(move || answer(&gate, &shared, &layers, init, clock))
            .map_err(DriftError::Gate)?;
        out.threads.push(answering);
        let (gate, shared) = (Arc::clone(&out.gate), Arc::clone(&out.shared));
        let watching = named("palisade-driftdog")
            .spawn(move || watch(&gate, &shared, clock))
            .map_err(DriftError::Gate)?;
        out.threads.push(watching);
        Ok(out)
    }

    /// Whether the container is still guarded.
    pub(crate) fn stands(&self) -> bool {
        self.gate.is_open()
    }

    /// Ends the guard and says what it did.
    pub(crate) fn finish(mut self) -> DriftReport {
        self.close();
        let shared = &self.shared;
        DriftReport {
            n_asked: shared.n_asked.load(Ordering::Relaxed),
            n_denied: shared.n_denied.load(Ordering::Relaxed),
            denials: shared.denials.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            problems: shared.problems.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn close(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Whatever the threads do: from here on nobody waits.
        let _given_up = self.gate.abandon();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl Drop for DriftGate {
    fn drop(&mut self) {
        self.close();
    }
}

fn now_ms(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Gives the gate up when an answer is late.
fn watch(gate: &ExecGate, shared: &Shared, clock: Instant) {
    let deadline_ms = u64::try_from(ANSWER_DEADLINE.as_millis()).unwrap_or(u64::MAX);
    while !shared.stop.load(Ordering::Relaxed) && gate.is_open() {
        let since = shared.busy_since.load(Ordering::Acquire);
        if since != 0 && now_ms(clock).saturating_sub(since - 1) > deadline_ms {
            shared.problem(format!(
                "an answer before a program took more than {deadline_ms} ms: the container is no longer guarded"
            ));
            let _given_up = gate.abandon();
        }
        std::thread::sleep(WAIT);
    }
}

fn answer(gate: &Arc<ExecGate>, shared: &Shared, layers: &Layers, init: u32, clock: Instant) {
    let mut known: BTreeMap<(ContentKey, PathBuf), Origin> = BTreeMap::new();
    let mut requests: Vec<Request> = Vec::with_capacity(REQUESTS_MAX);
    let mut renewed = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) && gate.is_open() {
        // Mounts that were made since, by whoever in the container may.
        if renewed.elapsed() >= RENEW {
            renew(gate, shared, init);
            renewed = Instant::now();
        }
        match gate.wait(WAIT) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                shared.problem(format!("wait before programs: {error}"));
                let _given_up = gate.abandon();
                return;
            }
        }
        shared.busy_since.store(now_ms(clock) + 1, Ordering::Release);
        if let Err(error) = gate.take(&mut requests) {
            shared.problem(format!("read questions before programs: {error}"));
        }
        for request in requests.drain(..) {
            shared.busy_since.store(now_ms(clock) + 1, Ordering::Release);
            shared.n_asked.fetch_add(1, Ordering::Relaxed);
            answer_one(shared, layers, &mut known, request);
        }
        shared.busy_since.store(0, Ordering::Release);
    }
}

/// Marks what was mounted since: a mark that stands is made anew without harm.
fn renew(gate: &ExecGate, shared: &Shared, init: u32) {
    // It has ended, or ends.
    let Ok(mounts) = ForeignMounts::of(init) else { return };
    for mount in mounts.executable() {
        if let Err(error) = gate.mark(&mount)
            && gate.is_open()
        {
            shared.problem(format!("ask about programs on {}: {error}", mount.point().display()));
        }
    }
}

fn answer_one(
    shared: &Shared,
    layers: &Layers,
    known: &mut BTreeMap<(ContentKey, PathBuf), Origin>,
    request: Request,
) {
    let origin = origin(layers, known, &request);
    let (path, origin) = match origin {
        Ok((_, Origin::Image)) => {
            let _nobody_waits = request.allow();
            return;
        }
        Ok(found) => found,
        Err(error) => {
            // Whoever wants the image's programs alone does not want one that cannot be compared.
            shared.problem(format!("compare a program with the image: {error}; it was refused"));
            let _nobody_waits = request.deny();
            shared.n_denied.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    if request.deny().is_err() {
        return;
    }
    shared.n_denied.fetch_add(1, Ordering::Relaxed);
    let mut denials = shared.denials.lock().unwrap_or_else(PoisonError::into_inner);
    if denials.len() < DENIALS_MAX {
        denials.insert(DriftDenial { path, origin });
    }
}

fn origin(
    layers: &Layers,
    known: &mut BTreeMap<(ContentKey, PathBuf), Origin>,
    request: &Request,
) -> std::io::Result<(PathBuf, Origin)> {
    let path = request.path()?;
    // What is elsewhere is told by its mount alone, which the key does not hold.
    if request.mount_id()? != layers.mount() {
        return Ok((path, Origin::Elsewhere));
    }
    let key = (request.content_key()?, path.clone());
    if let Some(origin) = known.get(&key) {
        return Ok((path, *origin));
    }
    let origin = layers.origin(request)?;
    // The image's layers do not change, and a content has one key; but a name in the writable
    // layer may come to be covered, so that only what was found the image's is remembered.
    if origin == Origin::Image {
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, origin);
    }
    Ok((path, origin))
}

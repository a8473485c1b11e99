//! The threads of the gate: one answers before programs start, one watches that it does.
//!
//! The thread that answers waits for nothing but questions. If an answer is late all the
//! same, the gate is given up, which lets everything pass that waits, and opened anew after
//! a while: a machine on which nothing can be started is worse than one that is only watched.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_sys::fanotify::{ExecGate, REQUESTS_MAX, Request};

use super::attempt::Attempt;

/// How long an answer may take.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_millis(500);
/// How long a gate that was given up stays so.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// How long one wait for questions lasts at most, and how often the end is looked for.
const WAIT: Duration = Duration::from_millis(50);
/// Problems that are kept until somebody asks for them.
const PROBLEMS_MAX: usize = 64;

/// A program that was refused.
#[derive(Debug)]
pub(super) struct Denial {
    /// When it was asked about.
    pub(super) time: Timestamp,
    /// The names of the rules that refused it.
    pub(super) rules: Vec<String>,
    /// The program.
    pub(super) attempt: Attempt,
    /// From question to answer, in nanoseconds.
    pub(super) latency_ns: u64,
}

/// Decides about a request: the names of the rules that refuse it and what they saw, or nothing.
pub(super) type Decide = Box<dyn FnMut(&Request) -> Option<(Vec<String>, Attempt)> + Send>;

/// What is counted.
#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    denied: AtomicU64,
    unreported: AtomicU64,
    late: AtomicU64,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Programs that were asked about.
    pub(super) asked: u64,
    /// Programs that were refused.
    pub(super) denied: u64,
    /// Refusals that nobody is told of, because too many wait.
    pub(super) unreported: u64,
    /// How often an answer was late.
    pub(super) late: u64,
}

#[derive(Debug)]
struct Shared {
    gate: Mutex<Arc<ExecGate>>,
    /// Goes up with each gate that is opened: marks are to be made anew.
    generation: AtomicU64,
    /// Milliseconds since `clock` at which the answers under way were begun, plus one; 0
    /// when there are none.
    busy_since: AtomicU64,
    clock: Instant,
    stop: AtomicBool,
    counters: Counters,
    problems: Mutex<Vec<String>>,
}

impl Shared {
    fn current(&self) -> Arc<ExecGate> {
        Arc::clone(&self.gate.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn problem(&self, text: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < PROBLEMS_MAX {
            problems.push(text);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Gives the gate up when the answers under way are older than `deadline`.
    fn check(&self, deadline: Duration) {
        let busy_since = self.busy_since.load(Ordering::Acquire);
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        if busy_since == 0 || self.now_ms().saturating_sub(busy_since - 1) <= deadline_ms {
            return;
        }
        let gate = self.current();
        if !gate.is_open() {
            return;
        }
        match gate.abandon() {
            Ok(()) => {
                self.counters.late.fetch_add(1, Ordering::Relaxed);
                self.problem(format!(
                    "an answer before a program was later than {deadline_ms} ms: programs are let pass for a while"
                ));
            }
            Err(error) => {
                self.problem(format!("the gate before programs cannot be given up: {error}"));
            }
        }
    }
}

/// The gate before programs, while it stands.
#[derive(Debug)]
pub(super) struct Gate {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Gate {
    /// Opens the gate; `decide` is asked on a thread of its own, and what it refuses goes to
    /// `denials`.
    pub(super) fn start(
        decide: Decide,
        denials: SyncSender<Denial>,
        deadline: Duration,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            gate: Mutex::new(ExecGate::open()?),
            generation: AtomicU64::new(1),
            busy_since: AtomicU64::new(0),
            clock: Instant::now(),
            stop: AtomicBool::new(false),
            counters: Counters::default(),
            problems: Mutex::new(Vec::new()),
        });
        let mut gate = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let watched = Arc::clone(&shared);
        gate.threads.push(named("palisade-gatedog").spawn(move || {
            while !watched.stop.load(Ordering::Relaxed) {
                watched.check(deadline);
                std::thread::sleep(deadline / 10);
            }
        })?);
        gate.threads.push(named("palisade-gate").spawn(move || answer(&shared, decide, &denials))?);
        Ok(gate)
    }

    /// A link to the gate for whoever marks.
    pub(super) fn link(&self) -> Link {
        Link(Arc::clone(&self.shared))
    }

    /// What was counted.
    pub(super) fn counts(&self) -> Counts {
        let Counters { asked, denied, unreported, late } = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            asked: read(asked),
            denied: read(denied),
            unreported: read(unreported),
            late: read(late),
        }
    }

    /// Problems since the last call.
    pub(super) fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Whatever the threads do: from here on nobody waits.
        let _given_up = self.shared.current().abandon();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// What of a gate outlives borrows of it.
#[derive(Debug, Clone)]
pub(super) struct Link(Arc<Shared>);

impl Link {
    /// The gate as it stands, and its generation.
    pub(super) fn current(&self) -> (Arc<ExecGate>, u64) {
        // In this order a mark may be made twice and is never missed.
        let generation = self.0.generation.load(Ordering::Acquire);
        (self.0.current(), generation)
    }
}

fn answer(shared: &Shared, mut decide: Decide, denials: &SyncSender<Denial>) {
    let mut requests: Vec<Request> = Vec::with_capacity(REQUESTS_MAX);
    while !shared.stop.load(Ordering::Relaxed) {
        let gate = shared.current();
        if !gate.is_open() {
            reopen(shared);
            continue;
        }
        match gate.wait(WAIT) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                shared.problem(format!("wait before programs: {error}"));
                let _given_up = gate.abandon();
                continue;
            }
        }
        shared.busy_since.store(shared.now_ms() + 1, Ordering::Release);
        if let Err(error) = gate.take(&mut requests) {
            shared.problem(format!("read questions before programs: {error}"));
        }
        for request in requests.drain(..) {
            answer_one(shared, request, &mut decide, denials);
        }
        shared.busy_since.store(0, Ordering::Release);
    }
}

fn answer_one(
    shared: &Shared,
    request: Request,
    decide: &mut Decide,
    denials: &SyncSender<Denial>,
) {
    let (time, clock) = (Timestamp::now(), Instant::now());
    shared.counters.asked.fetch_add(1, Ordering::Relaxed);
    // A panic costs this one answer, which is then yes.
    let decided = catch_unwind(AssertUnwindSafe(|| decide(&request)));
    if decided.is_err() {
        shared.problem("deciding about a program panicked: it was let pass".into());
    }
    let Ok(Some((rules, attempt))) = decided else {
        let _nobody_waits = request.allow();
        return;
    };
    if request.deny().is_err() {
        return;
    }
    shared.counters.denied.fetch_add(1, Ordering::Relaxed);
    let latency_ns = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
    match denials.try_send(Denial { time, rules, attempt, latency_ns }) {
        Ok(()) => {}
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
            shared.counters.unreported.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits, and puts a new gate in the place of one that was given up.
fn reopen(shared: &Shared) {
    let end = Instant::now() + REOPEN_AFTER;
    while Instant::now() < end && !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(WAIT);
    }
    if shared.stop.load(Ordering::Relaxed) {
        return;
    }
    match ExecGate::open() {
        Ok(gate) => {
            *shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
            shared.generation.fetch_add(1, Ordering::Release);
            // Somebody may have given up the old one when the new one was there already.
            if shared.stop.load(Ordering::Relaxed) {
                let _given_up = shared.current().abandon();
            }
        }
        Err(error) => shared.problem(format!("open the gate before programs anew: {error}")),
    }
}

//! Alerts on their way to sinks.
//!
//! The journal of alerts is the queue: an alert is in it before anything else happens, so
//! there is no moment at which a crash could lose it for a sink. Each sink has a thread, a
//! transport, a place in the journal that survives a crash ([`cursor`]), and in memory the
//! numbers of the records that wait ([`queue`]). Whoever raises alerts pushes a number and
//! never waits for a disk or a network.
//!
//! Delivery is at least once and in order: a record is passed when its receiver has taken
//! it, and what a crash interrupts is sent again with the same identifier. ADR 0010 has the
//! reasons.

pub mod backoff;
pub mod cursor;
pub mod queue;
pub mod render;
mod shared;
pub mod status;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_base::Explain;
use palisade_model::{Alert, Repeats};
use palisade_policy::Sink;
use palisade_sinks::{Item, OpenError, Transport};

use self::backoff::Backoff;
use self::cursor::Cursor;
use self::queue::{Entry, Held, What};
use self::shared::Shared;
use self::status::SinkStatus;
use self::worker::Worker;

/// Folder of the sinks' places, within the state folder.
pub const SINKS_FOLDER: &str = "sinks";

/// Why delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The configuration of a sink is wrong.
    #[error("open sink `{name}`")]
    Open {
        /// The sink.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// No thread could be started.
    #[error("start the thread of sink `{name}`")]
    Thread {
        /// The sink.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Explain for DeliveryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } => source.hint(),
            Self::Thread { .. } => None,
        }
    }
}

/// What delivery is told at its start.
#[derive(Debug, Clone)]
pub struct DeliverySettings {
    /// The state folder: the journal and the folder of the sinks' places are in it.
    pub state: PathBuf,
    /// Name of the journal's file in it.
    pub journal: &'static str,
    /// Version of the program, for documents.
    pub version: String,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// The number that the next record of the journal will have.
    pub next_number: u64,
}

/// The sinks at work.
#[derive(Debug, Default)]
pub struct Delivery {
    sinks: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    sink: Sink,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Delivery {
    /// Opens the sinks and starts a thread for each. Receivers are not contacted before
    /// there is something to send.
    pub fn start(sinks: &[Sink], settings: &DeliverySettings) -> Result<Self, DeliveryError> {
        // All of them before the first thread: a mistake leaves nothing behind.
        let mut opened = Vec::new();
        for sink in sinks {
            let transport = palisade_sinks::open(sink, &settings.version)
                .map_err(|source| DeliveryError::Open { name: sink.name.clone(), source })?;
            opened.push((sink, transport));
        }
        let mut this = Self::default();
        for (sink, transport) in opened {
            this.sinks.push(run(sink, transport, settings, None)?);
        }
        Ok(this)
    }

    /// Puts other sinks to work. Those that are what they were go on untouched; one that is
    /// gone ends, and keeps its place for the day when it comes back; one that changed begins
    /// where the old one ends. Returns the names of those that are new, changed or gone.
    ///
    /// Never waits. A sink whose thread cannot be started is named in a problem.
    pub fn replace(
        &mut self,
        sinks: Vec<(Sink, Box<dyn Transport>)>,
        settings: &DeliverySettings,
    ) -> (Vec<String>, Vec<DeliveryError>) {
        let mut before = std::mem::take(&mut self.sinks);
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for (sink, transport) in sinks {
            let at = before.iter().position(|running| running.sink.name == sink.name);
            let old = match at.map(|at| before.remove(at)) {
                Some(same) if same.sink == sink => {
                    self.sinks.push(same);
                    continue;
                }
                old => old,
            };
            changed.push(sink.name.clone());
            let old = old.map(|old| {
                old.shared.halt();
                Arc::clone(&old.shared)
            });
            match run(&sink, transport, settings, old) {
                Ok(running) => self.sinks.push(running),
                Err(error) => failed.push(error),
            }
        }
        for gone in before {
            gone.shared.halt();
            changed.push(gone.sink.name);
        }
        (changed, failed)
    }

    /// Offers an alert, which is in the journal as record `number`, or in no journal.
    pub fn offer(&self, number: Option<u64>, alert: &Alert) {
        self.push(number, Item::Alert(alert), &|| Held::Alert(Box::new(alert.clone())));
    }

    /// Offers repeats of an alert, likewise.
    pub fn offer_repeats(&self, number: Option<u64>, repeats: &Repeats) {
        self.push(number, Item::Repeats(repeats), &|| Held::Repeats(Box::new(repeats.clone())));
    }

    fn push(&self, number: Option<u64>, item: Item<'_>, hold: &dyn Fn() -> Held) {
        let mut held: Option<Arc<Held>> = None;
        for sink in &self.sinks {
            if item.priority() < sink.sink.priority {
                if let Some(number) = number {
                    sink.shared.pass(number);
                }
                continue;
            }
            let what = match number {
                Some(number) => What::Logged(number),
                None => What::Held(Arc::clone(held.get_or_insert_with(|| Arc::new(hold())))),
            };
            sink.shared.push(Entry { what, time: item.time() });
        }
    }

    /// What the operator is to be told, since the last call.
    pub fn take_problems(&self) -> Vec<String> {
        self.sinks.iter().flat_map(|sink| sink.shared.take_said()).collect()
    }

    /// How each sink is doing.
    pub fn status(&self) -> Vec<SinkStatus> {
        self.sinks.iter().map(|sink| sink.shared.status()).collect()
    }

    /// Lets each sink send what it can within `deadline`, as long as nothing fails, and
    /// ends. What is not sent is sent after the next start.
    pub fn stop(&mut self, deadline: Duration) {
        for sink in &self.sinks {
            sink.shared.stop();
        }
        let end = Instant::now() + deadline;
        for sink in &mut self.sinks {
            let left = end.saturating_duration_since(Instant::now());
            // A thread in the middle of a delivery is left to it: the process ends, and
            // what was not confirmed is sent again.
            if sink.shared.wait_until_ended(left)
                && let Some(thread) = sink.thread.take()
            {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        for sink in &self.sinks {
            sink.shared.halt();
        }
    }
}

/// Starts the thread of a sink, which waits for the end of `before`: both have the same place
/// in the journal.
fn run(
    sink: &Sink,
    transport: Box<dyn Transport>,
    settings: &DeliverySettings,
    before: Option<Arc<Shared>>,
) -> Result<Running, DeliveryError> {
    let shared = Arc::new(Shared::new(sink));
    let path = cursor_path(&settings.state, &sink.name);
    let (theirs, sink, settings) = (Arc::clone(&shared), sink.clone(), settings.clone());
    let begin = {
        let theirs = Arc::clone(&shared);
        move |sink: &Sink| {
            let (cursor, notes) = Cursor::open(&path, settings.next_number);
            for note in notes {
                theirs.say(&note);
            }
            theirs.begin(&cursor.record());
            Worker::new(sink, &settings, theirs, transport, cursor)
        }
    };
    let failed = |source| DeliveryError::Thread { name: sink.name.clone(), source };
    let thread = std::thread::Builder::new().name(format!("sink-{}", sink.name));
    let thread = match before {
        None => {
            // Its place is known before the first alert is offered.
            let worker = begin(&sink);
            thread.spawn(move || worker.run()).map_err(failed)?
        }
        Some(before) => {
            let sink = sink.clone();
            let spawned = thread.spawn(move || {
                // A delivery that is under way is confirmed or fails first.
                while !before.wait_until_ended(Duration::from_mins(1)) {}
                let worker = begin(&sink);
                before.pass_held_to(&theirs);
                worker.run();
            });
            spawned.map_err(failed)?
        }
    };
    Ok(Running { sink, shared, thread: Some(thread) })
}

/// The file of a sink's place in the journal.
pub fn cursor_path(state: &Path, name: &str) -> PathBuf {
    state.join(SINKS_FOLDER).join(format!("{name}.cursor"))
}

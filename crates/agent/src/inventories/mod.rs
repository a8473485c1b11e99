//! What became vulnerable: alerts about images that were scanned before, when the advisory
//! database is replaced (ADR 36).
//!
//! ```text
//! another database ─► watcher: looks at the stored inventories (a thread of its own, low priority)
//!                        │ one draft for each image with something new, a few at a time
//!                        ▼
//!                     event thread: adds id, host, running containers; writes, shows, delivers
//!                        │ all of them are in the journal
//!                        ▼
//!                     watcher: puts the journal on the disk, then notes that the look was told
//! ```
//!
//! What is not noted is told again by the next look, so that a kill in between loses nothing.
//! The agent knows neither advisories nor inventories: the program brings who does
//! ([`Inventories`]).

mod news;
mod watcher;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use palisade_base::Timestamp;
use palisade_model::Container;
use palisade_model::finding::Vulnerability;
use palisade_model::package::Subject;
use serde::{Deserialize, Serialize};

pub(crate) use news::Draft;
pub use news::{IMAGES_MAX, IMAGES_NAMED_MAX, NAMED_MAX};

use watcher::Watcher;

/// The source of alerts about images that became vulnerable.
pub const ADVISORIES_SOURCE: &str = "advisories";
/// Their rule; no rule file has it.
pub const VULNERABLE_RULE: &str = "Palisade advisories: image became vulnerable";
/// The rule of the one alert about more images than are told one by one.
pub const MANY_VULNERABLE_RULE: &str = "Palisade advisories: many images became vulnerable";

/// Reports that wait for the event thread; the watcher waits for room.
const REPORTS_MAX: usize = 8;

/// Takes an image and what became known of it.
pub type OnImage<'n> = &'n mut dyn FnMut(&Subject, Vec<Vulnerability>);

/// The images that were scanned, and what is known of their packages now.
pub trait Inventories: Send {
    /// Asks the database about everything that is stored. The error says why not.
    fn look(&mut self, on_image: OnImage<'_>) -> Result<Looked, String>;

    /// Notes that what the look at `time` found was told. The error says why not.
    fn acknowledge(&mut self, time: Timestamp) -> Result<(), String>;
}

/// A look that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Its time, by which it is acknowledged.
    pub time: Timestamp,
    /// Time of the newest data in the database.
    pub database: Timestamp,
    /// Inventories that could be read.
    pub n_inventories: u64,
    /// Those that could not.
    pub n_unreadable: u64,
    /// One of them and why, when there is one.
    pub unreadable: Option<String>,
}

/// What is known of looks, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InventoryStatus {
    /// Whether a look is under way.
    pub is_looking: bool,
    /// Looks that came to their end since the start.
    pub n_looks: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LookStatus>,
    /// What is wrong, until a look goes well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A look that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookStatus {
    /// When it ended.
    pub time: Timestamp,
    /// How long it took in nanoseconds.
    pub duration_ns: u64,
    /// Time of the newest data in the database.
    pub database: Timestamp,
    /// Inventories that were looked at.
    pub n_inventories: u64,
    /// Inventories that could not be read.
    pub n_unreadable: u64,
    /// Images of which something became known.
    pub n_images: u64,
    /// What became known of them.
    pub n_new: u64,
    /// Alerts about it.
    pub n_alerts: u64,
    /// Whether it is noted that it was told. If not, the next look tells it again.
    pub is_noted: bool,
}

/// What the watcher tells.
#[derive(Debug)]
pub(crate) enum Report {
    /// An alert to be raised.
    Alert(Box<Draft>),
    /// The look has no more of them: the watcher waits for the answer.
    End,
    /// How it stands.
    Status(InventoryStatus),
    /// Something went wrong that the operator must know.
    Problem(String),
}

/// What the watcher is told about the alerts of a look.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All are in the journal, which is to be put on the disk by this handle.
    Journalled(File),
    /// Some had to be let go.
    Lost,
}

/// The event thread's end.
#[derive(Debug)]
pub struct InventoryDesk {
    reports: Receiver<Report>,
    answers: SyncSender<Answer>,
    pub(crate) status: InventoryStatus,
    /// Alerts of the look that is being told.
    pub(crate) waiting: Vec<String>,
    /// Alerts that the journal had let go when the first of them was raised.
    pub(crate) n_forgotten: u64,
    pub(crate) is_ended: bool,
    /// The containers that ran when the first of them was raised.
    pub(crate) containers: Option<Vec<Arc<Container>>>,
}

/// Starts the thread that looks at the start, and whenever the file `database` is another.
pub fn start(database: &Path, inventories: Box<dyn Inventories>) -> std::io::Result<InventoryDesk> {
    let (sender, reports) = sync_channel(REPORTS_MAX);
    let (answers, answered) = sync_channel(1);
    let watcher = Watcher::new(inventories, database, sender, answered);
    // It ends when the desk is gone; a look that is under way is of no use then, and ends with
    // the process.
    std::thread::Builder::new().name("inventories".into()).spawn(|| watcher.run())?;
    Ok(InventoryDesk {
        reports,
        answers,
        status: InventoryStatus::default(),
        waiting: Vec::new(),
        n_forgotten: 0,
        is_ended: false,
        containers: None,
    })
}

impl InventoryDesk {
    /// The next report, without waiting.
    pub(crate) fn take(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Answers the watcher and begins anew.
    pub(crate) fn answer(&mut self, answer: Answer) {
        // There is room: one look, one answer. A watcher that is gone is not to be told.
        let _gone = self.answers.try_send(answer);
        self.waiting.clear();
        self.is_ended = false;
        self.containers = None;
    }
}

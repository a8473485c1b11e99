//! Playbooks that alerts start.
//!
//! ```text
//! event thread: alert has joined its incident ─► Candidate ─► runner: which playbooks are for it,
//!               timeline, incident's state   ◄─  PlaybookReport      orders, steps, audit log
//! ```
//!
//! The event thread never waits: it hands an alert over with its incident's score, and puts on the
//! timeline what it is told. The runner has the audit log of orders given by hand, so that all that
//! lists, approves, undoes and releases those works for these: it opens the log for the moment in
//! which it needs it. An alert stays pending in its journal until the runner has written down what
//! follows from it, so one that was raised before a crash starts its playbooks after it.
//!
//! Nothing can loop: one playbook runs once for one container of an incident, its caps count over
//! restarts, and alerts about the agent itself are nobody's candidates.

mod podman;
mod runner;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use palisade_base::Timestamp;
use palisade_model::{Alert, Priority};
use palisade_policy::playbook::Playbook;
use palisade_respond::Hands;
use palisade_respond::order::{RunState, StepOutcome};
use palisade_sensor::identity::HostPaths;
use serde::{Deserialize, Serialize};

pub use runner::{ORDERS_MAX, PlaybookRunner};

/// What waits for the runner; an alert that finds no room is counted and told.
pub const WORDS_MAX: usize = 256;
/// Reports that wait for the event thread.
const REPORTS_MAX: usize = 1024;
/// Incidents whose last alert is kept, to be looked at again when their score rises.
const LAST_MAX: usize = 256;

/// An alert that has joined its incident.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) alert: Box<Alert>,
    pub(crate) incident: String,
    pub(crate) score: u8,
    /// Whether the alert waits for the answer in its journal.
    pub(crate) is_due: bool,
}

/// What the runner is told.
#[derive(Debug)]
pub(crate) enum Word {
    Candidate(Candidate),
    Replace(Vec<Playbook>),
    Orders { client: u64 },
    Answer { client: u64, answer: Answer },
}

/// A person's answer to what an order asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) order: String,
    pub(crate) step: Option<String>,
    pub(crate) by: String,
    pub(crate) granted: bool,
}

/// What is known of an order, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub order: String,
    /// The playbook, unless it was given by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// The incident; empty without one.
    pub incident: String,
    /// The container's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// When it was taken on.
    pub begun: Timestamp,
    /// Where it stands.
    pub state: RunState,
    /// Steps whose change is in force.
    pub held: Vec<String>,
    /// The question that it asks, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asking>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The step.
    pub step: String,
    /// What is asked.
    pub question: String,
    /// Until when.
    pub until: Timestamp,
}

/// What the runner tells.
#[derive(Debug)]
pub(crate) enum PlaybookReport {
    /// All that follows from the alert is written down.
    Considered { alert: String },
    /// Something for the timeline of an incident.
    Note { incident: String, time: Timestamp, text: String },
    /// What would be done.
    Planned { incident: String, text: String },
    /// A step ended, or was undone.
    Step { incident: String, playbook: String, step: String, undone: bool, outcome: StepOutcome },
    /// An order ended.
    Ended { incident: String, container: Option<String>, is_contained: bool },
    /// An answer for a client.
    Orders { client: u64, orders: Vec<OrderView> },
    /// An answer for a client: the order, or why not.
    Answered { client: u64, result: Result<String, String> },
    /// Something went wrong that the operator must know.
    Problem(String),
}

/// How playbooks are run.
#[derive(Debug, Clone)]
pub struct PlaybookSettings {
    /// Folder of the audit log.
    pub folder: PathBuf,
    /// Whether orders are only told.
    pub is_dry_run: bool,
    /// Where engines keep the labels of their containers.
    pub host_paths: HostPaths,
}

/// What the runner cannot do by itself.
pub trait Tools {
    /// Lets `act` work with hands; the error says why there are none.
    fn with_hands(&mut self, act: &mut dyn FnMut(&mut dyn Hands)) -> Result<(), String>;
    /// An order that holds something for a time is about to begin: should this process die, its
    /// hold is to end all the same.
    fn guard(&mut self, order: &str);
}

/// The event thread's end.
#[derive(Debug)]
pub struct PlaybookDesk {
    words: SyncSender<Word>,
    reports: Receiver<PlaybookReport>,
    /// The lowest priority that any playbook is for.
    lowest: Option<Priority>,
    /// Whether any asks for a score.
    asks_score: bool,
    last: BTreeMap<String, Box<Alert>>,
    n_refused: u64,
}

/// Both ends: the desk for the agent, the runner for a thread of its own.
pub fn start(
    settings: PlaybookSettings,
    playbooks: Vec<Playbook>,
) -> (PlaybookDesk, PlaybookRunner) {
    let (words, taken) = sync_channel(WORDS_MAX);
    let (sender, reports) = sync_channel(REPORTS_MAX);
    let (lowest, asks_score) = reach(&playbooks);
    let desk =
        PlaybookDesk { words, reports, lowest, asks_score, last: BTreeMap::new(), n_refused: 0 };
    (desk, PlaybookRunner::new(settings, playbooks, taken, sender))
}

fn reach(playbooks: &[Playbook]) -> (Option<Priority>, bool) {
    (
        playbooks.iter().map(|playbook| playbook.on.priority).min(),
        playbooks.iter().any(|playbook| playbook.on.score > 0),
    )
}

impl PlaybookDesk {
    /// Whether a playbook may be for the alert.
    pub(crate) fn wants(&self, alert: &Alert) -> bool {
        self.lowest.is_some_and(|lowest| alert.priority >= lowest)
    }

    /// Hands an alert over; false when the runner has no room.
    pub(crate) fn offer(&mut self, alert: &Alert, incident: &str, score: u8) -> bool {
        let alert = Box::new(alert.clone());
        if self.asks_score {
            if self.last.len() >= LAST_MAX && !self.last.contains_key(incident) {
                self.last.pop_first();
            }
            self.last.insert(incident.to_string(), alert.clone());
        }
        let incident = incident.to_string();
        self.say(Word::Candidate(Candidate { alert, incident, score, is_due: true }))
    }

    /// The score of an incident may have risen without an alert.
    pub(crate) fn offer_again(&mut self, incident: &str, score: u8) {
        if let Some(alert) = self.last.get(incident).cloned() {
            let incident = incident.to_string();
            self.say(Word::Candidate(Candidate { alert, incident, score, is_due: false }));
        }
    }

    /// Whether scores that rise are to be told.
    pub(crate) fn asks_score(&self) -> bool {
        self.asks_score
    }

    /// Playbooks that take the place of those before; false when the runner has no room.
    pub(crate) fn replace(&mut self, playbooks: Vec<Playbook>) -> bool {
        (self.lowest, self.asks_score) = reach(&playbooks);
        self.say(Word::Replace(playbooks))
    }

    /// Says something to the runner; false when it has no room.
    pub(crate) fn say(&mut self, word: Word) -> bool {
        match self.words.try_send(word) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.n_refused += 1;
                false
            }
        }
    }

    /// What was reported since the last call.
    pub(crate) fn take(&self) -> Vec<PlaybookReport> {
        self.reports.try_iter().collect()
    }

    /// Alerts and requests for which the runner had no room.
    pub(crate) fn n_refused(&self) -> u64 {
        self.n_refused
    }
}

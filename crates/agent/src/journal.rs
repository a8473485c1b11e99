//! The journal of alerts: written before anything else acts on an alert or shows it.
//!
//! An alert is pending from the moment it is raised until its incident is on the disk and
//! its response, if it has one, has ended. After a crash the pending ones are taken up
//! again; none that was raised is lost. An alert that a full disk did not take is pending
//! as well, and is written when there is room again.
//!
//! The journal is what sinks read: each has a place in it (see [`crate::delivery`]).

use std::collections::BTreeMap;
use std::path::Path;

use palisade_model::{Alert, Repeats};
use palisade_policy::Action;
use palisade_respond::journal::{Journal, JournalError, Recovery, Sync, read_records};
use serde::{Deserialize, Serialize};

/// The journal's file within its folder.
pub const JOURNAL_FILE: &str = "alerts.jsonl";
/// Size at which the journal is rotated, in bytes.
pub const JOURNAL_BYTES_MAX: u64 = 32 << 20;
/// Pending alerts remembered; the oldest are let go first, and counted.
pub const PENDING_MAX: usize = 4096;

/// One record of `alerts.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AlertRecord {
    /// An alert was raised.
    Raised {
        /// The alert.
        alert: Box<Alert>,
        /// Whether the line repeats one of an older file, because the alert was still
        /// pending when the file was rotated.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        carried: bool,
    },
    /// It was raised again this often within its window.
    Repeated {
        /// The alert.
        alert: String,
        /// How often.
        n_repeats: u64,
        /// The same with what is needed to report it; older journals lack it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repeats: Option<Box<Repeats>>,
    },
    /// Its container is about to be frozen or isolated, before any plan is on the disk. Should
    /// we die in between, the next run carries on what was begun, whatever its policy says.
    Begun {
        /// The alert.
        alert: String,
        /// What is done.
        begun: Begun,
    },
    /// Its incident is on the disk and its response has ended.
    Handled {
        /// The alert.
        alert: String,
    },
}

/// What is done to a container at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Name of the response rule.
    pub response: String,
    /// Names of the actions.
    actions: Vec<String>,
}

impl Begun {
    /// `actions` of the response rule `response`.
    pub fn new(response: &str, actions: &[Action]) -> Self {
        let actions = actions.iter().map(|action| action.as_str().to_string()).collect();
        Self { response: response.to_string(), actions }
    }

    /// The actions.
    pub fn actions(&self) -> impl Iterator<Item = Action> {
        let is_named = |action: &Action| self.actions.iter().any(|name| name == action.as_str());
        Action::ALL.into_iter().filter(is_named)
    }
}

/// An alert of the journal, and how often it was repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAlert {
    /// The alert.
    pub alert: Alert,
    /// Repeats that were only counted.
    pub n_repeats: u64,
}

/// The alerts of the journal in `folder`, oldest first, read while somebody may be writing.
pub fn read_alerts(folder: &Path) -> Result<(Vec<StoredAlert>, Recovery), JournalError> {
    let (records, recovery) = read_records(&folder.join(JOURNAL_FILE))?;
    let mut alerts: Vec<StoredAlert> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for record in records {
        match record {
            // An alert that rotation carried over stands in the journal twice.
            AlertRecord::Raised { alert, .. } if !places.contains_key(&alert.id) => {
                places.insert(alert.id.clone(), alerts.len());
                alerts.push(StoredAlert { alert: *alert, n_repeats: 0 });
            }
            AlertRecord::Repeated { alert, n_repeats, .. } => {
                if let Some(stored) = places.get(&alert).and_then(|at| alerts.get_mut(*at)) {
                    stored.n_repeats += n_repeats;
                }
            }
            AlertRecord::Raised { .. }
            | AlertRecord::Begun { .. }
            | AlertRecord::Handled { .. } => {}
        }
    }
    Ok((alerts, recovery))
}

#[derive(Debug)]
struct Pending {
    alert: Box<Alert>,
    incident: Option<String>,
    begun: Option<Begun>,
    kept: bool,
    /// Responses that have not ended.
    n_due: u8,
    /// Whether it stands in the journal.
    written: bool,
}

/// The journal and what is pending in it.
#[derive(Debug)]
pub struct AlertJournal {
    journal: Journal<AlertRecord>,
    pending: BTreeMap<String, Pending>,
    n_forgotten: u64,
    /// Pending alerts that the disk did not take.
    n_unwritten: usize,
}

impl AlertJournal {
    /// Opens `alerts.jsonl` in `folder` and returns the alerts that are still pending.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Alert>, Recovery), JournalError> {
        let (journal, records, recovery) =
            Journal::open(&folder.join(JOURNAL_FILE), JOURNAL_BYTES_MAX)?;
        let mut this = Self { journal, pending: BTreeMap::new(), n_forgotten: 0, n_unwritten: 0 };
        for record in records {
            match record {
                AlertRecord::Raised { alert, .. } => this.remember(alert, true),
                AlertRecord::Handled { alert } => drop(this.pending.remove(&alert)),
                AlertRecord::Begun { alert, begun } => {
                    if let Some(pending) = this.pending.get_mut(&alert) {
                        pending.begun = Some(begun);
                    }
                }
                AlertRecord::Repeated { .. } => {}
            }
        }
        let alerts = this.pending.values().map(|pending| (*pending.alert).clone()).collect();
        Ok((this, alerts, recovery))
    }

    /// Writes a new alert. It survives this process when the call returns; the disk sees
    /// it at the next [`AlertJournal::sync`], because waiting for a disk would delay the
    /// response by more than the response takes. Returns the number of the record.
    pub fn raise(&mut self, alert: &Alert) -> Result<u64, JournalError> {
        self.write_unwritten();
        let alert = Box::new(alert.clone());
        let record = AlertRecord::Raised { alert, carried: false };
        let written = self.append(&record);
        // Remembered even when the disk is full: it is written later. One that no line can
        // hold never will be.
        let is_final = matches!(written, Ok(()) | Err(JournalError::TooLong(_)));
        if let AlertRecord::Raised { alert, .. } = record {
            self.remember(alert, is_final);
        }
        written.map(|()| self.journal.next_number() - 1)
    }

    /// Writes what is about to be done at once about a pending alert. As with
    /// [`AlertJournal::raise`], it survives this process when the call returns.
    pub fn begin(&mut self, alert: &str, begun: Begun) -> Result<(), JournalError> {
        let written =
            self.append(&AlertRecord::Begun { alert: alert.to_string(), begun: begun.clone() });
        if let Some(pending) = self.pending.get_mut(alert) {
            pending.begun = Some(begun);
        }
        written
    }

    /// What was begun about a pending alert.
    pub fn begun(&self, alert: &str) -> Option<&Begun> {
        self.pending.get(alert)?.begun.as_ref()
    }

    /// Writes what the disk did not take before, oldest first, as far as it takes it now.
    pub fn write_unwritten(&mut self) {
        if self.n_unwritten == 0 {
            return;
        }
        let unwritten = self.pending.iter().filter(|(_, pending)| !pending.written);
        let ids: Vec<String> = unwritten.map(|(id, _)| id.clone()).collect();
        for id in ids {
            let Some(pending) = self.pending.get(&id) else { continue };
            // Rotation, which an append may begin with, writes them all.
            if !pending.written {
                let alert = pending.alert.clone();
                if self.append(&AlertRecord::Raised { alert, carried: false }).is_err() {
                    return;
                }
            }
            self.note_written(&id);
        }
        self.n_unwritten = 0;
    }

    fn note_written(&mut self, id: &str) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.written = true;
        }
        let _ = self.progress(&[id.to_string()], |_| {});
    }

    /// Writes that an alert was repeated. Returns the number of the record.
    pub fn repeated(&mut self, repeats: &Repeats) -> Result<u64, JournalError> {
        self.append(&AlertRecord::Repeated {
            alert: repeats.alert.clone(),
            n_repeats: repeats.n_repeats,
            repeats: Some(Box::new(repeats.clone())),
        })?;
        Ok(self.journal.next_number() - 1)
    }

    /// The number that the next record will have.
    pub fn next_number(&self) -> u64 {
        self.journal.next_number()
    }

    /// Whether a raised alert stands in the journal, unless it was let go.
    pub fn is_written(&self, alert: &str) -> bool {
        self.pending.get(alert).is_none_or(|pending| pending.written)
    }

    /// Notes to which incident a pending alert belongs, and how many responses are due.
    pub fn assign(&mut self, alert: &str, incident: &str, n_due: u8) {
        if let Some(pending) = self.pending.get_mut(alert) {
            pending.incident = Some(incident.to_string());
            pending.n_due = n_due;
        }
    }

    /// Pending alerts of `incident` whose incident is not known to be on the disk.
    pub fn unkept(&self, incident: &str) -> Vec<String> {
        let of = |pending: &Pending| !pending.kept && pending.incident.as_deref() == Some(incident);
        self.pending.iter().filter(|(_, p)| of(p)).map(|(id, _)| id.clone()).collect()
    }

    /// Notes that the incidents of `alerts` are on the disk.
    pub fn kept(&mut self, alerts: &[String]) -> Result<(), JournalError> {
        self.progress(alerts, |pending| pending.kept = true)
    }

    /// Notes that a response to `alert` has ended.
    pub fn answered(&mut self, alert: &str) -> Result<(), JournalError> {
        self.progress(&[alert.to_string()], |pending| {
            pending.n_due = pending.n_due.saturating_sub(1);
        })
    }

    /// Alerts that are pending.
    pub fn n_pending(&self) -> usize {
        self.pending.len()
    }

    /// Pending alerts that were let go because there were too many.
    pub fn n_forgotten(&self) -> u64 {
        self.n_forgotten
    }

    /// A handle by which another thread puts the journal on the disk; `None` when the
    /// system has no descriptor left.
    pub fn disk_handle(&self) -> Option<std::fs::File> {
        self.journal.disk_handle().ok()
    }

    /// Puts everything on the disk.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.journal.sync()
    }

    fn progress(
        &mut self,
        alerts: &[String],
        note: impl Fn(&mut Pending),
    ) -> Result<(), JournalError> {
        for id in alerts {
            let Some(pending) = self.pending.get_mut(id) else {
                continue;
            };
            note(pending);
            if pending.kept && pending.n_due == 0 && pending.written {
                self.pending.remove(id);
                self.append(&AlertRecord::Handled { alert: id.clone() })?;
            }
        }
        Ok(())
    }

    fn append(&mut self, record: &AlertRecord) -> Result<(), JournalError> {
        if self.journal.is_full() {
            let raised = |pending: &Pending| AlertRecord::Raised {
                alert: pending.alert.clone(),
                carried: pending.written,
            };
            let begun = |pending: &Pending| {
                let alert = pending.alert.id.clone();
                pending.begun.clone().map(|begun| AlertRecord::Begun { alert, begun })
            };
            let of = |pending| std::iter::once(raised(pending)).chain(begun(pending));
            let carried: Vec<AlertRecord> = self.pending.values().flat_map(of).collect();
            self.journal.rotate(&carried)?;
            self.pending.values_mut().for_each(|pending| pending.written = true);
        }
        self.journal.append(record, Sync::No)
    }

    fn remember(&mut self, alert: Box<Alert>, written: bool) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_first();
            self.n_forgotten += 1;
        }
        self.n_unwritten += usize::from(!written);
        let id = alert.id.clone();
        // Until it is known, something is due.
        let (incident, begun, kept, n_due) = (None, None, false, 1);
        let pending = Pending { alert, incident, begun, kept, n_due, written };
        self.pending.insert(id, pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alert;

    fn numbered(n: usize) -> Alert {
        let mut alert = alert("Rule", None);
        alert.id = format!("{n:08}");
        alert
    }

    #[test]
    fn only_what_is_handled_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _, _) = AlertJournal::open(folder.path()).unwrap();
        for n in 0..4 {
            journal.raise(&numbered(n)).unwrap();
            journal.assign(&numbered(n).id, "INC-1", u8::from(n == 3));
        }
        assert_eq!(journal.unkept("INC-1").len(), 4);
        let ids: Vec<String> = [0, 1, 3].iter().map(|n| numbered(*n).id).collect();
        journal.kept(&ids).unwrap();
        drop(journal);
        let (mut journal, pending, _) = AlertJournal::open(folder.path()).unwrap();
        let ids: Vec<&str> = pending.iter().map(|alert| alert.id.as_str()).collect();
        assert_eq!(ids, ["00000002", "00000003"], "not kept, and not answered");
        journal.assign("00000003", "INC-1", 1);
        journal.kept(&["00000003".into()]).unwrap();
        journal.answered("00000003").unwrap();
        assert_eq!(journal.n_pending(), 1);
    }

    #[test]
    fn what_was_begun_is_known_after_a_crash_and_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Begun::new("stop", &[Action::Isolate, Action::Freeze]);
        let actions: Vec<Action> = begun.actions().collect();
        assert_eq!(actions, [Action::Freeze, Action::Isolate]);
        {
            let (mut journal, _, _) = AlertJournal::open(folder.path()).unwrap();
            journal.raise(&numbered(1)).unwrap();
            journal.begin("00000001", begun.clone()).unwrap();
        }
        let (mut journal, pending, _) = AlertJournal::open(folder.path()).unwrap();
        assert_eq!((pending.len(), journal.begun("00000001")), (1, Some(&begun)));
        let mut large = numbered(2);
        large.output = "x".repeat(700 << 10);
        while journal.journal.n_bytes() < JOURNAL_BYTES_MAX {
            journal.raise(&large).unwrap();
        }
        journal.raise(&numbered(3)).unwrap();
        assert!(journal.journal.n_bytes() < JOURNAL_BYTES_MAX, "rotated");
        drop(journal);
        let (journal, _, _) = AlertJournal::open(folder.path()).unwrap();
        assert_eq!(journal.begun("00000001"), Some(&begun));
    }

    #[test]
    fn cut_at_any_byte_every_whole_alert_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.jsonl");
        let (mut journal, _, _) = AlertJournal::open(folder.path()).unwrap();
        for n in 0..3 {
            journal.raise(&numbered(n)).unwrap();
        }
        drop(journal);
        let bytes = std::fs::read(&path).unwrap();
        for n in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..n]).unwrap();
            let (_, pending, _) = AlertJournal::open(folder.path()).unwrap();
            let n_whole = bytes[..n].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(pending.len(), n_whole, "cut at {n}");
        }
    }

    #[test]
    fn pending_alerts_are_bounded_and_the_loss_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _, _) = AlertJournal::open(folder.path()).unwrap();
        for n in 0..PENDING_MAX + 3 {
            journal.raise(&numbered(n)).unwrap();
        }
        assert_eq!((journal.n_pending(), journal.n_forgotten()), (PENDING_MAX, 3));
    }
}

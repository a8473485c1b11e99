//! What becomes part of an incident: alerts, what was done, and where else it reaches.

use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::incident::{TimelineEntry, TimelineEvent};
use palisade_model::{Alert, IncidentState};
use palisade_respond::ActionOutcome;

use super::{Agent, Notice, OnNotice};
use crate::control::protocol::{IncidentChange, Response};
use crate::incident::network::{NetView, shares_host_network};
use crate::incident::someone_of;

impl Agent {
    /// Joins `alert` to its incident, whose id is returned, and has its container looked at.
    pub(super) fn join(&mut self, alert: &Alert) -> String {
        if self.book.is_new_place(alert) {
            self.look_at_network(alert);
        }
        let id = self.book.join(alert).incident;
        self.surveys.ask(&id, alert);
        id
    }

    /// The network of a container that is new to all incidents, at once: with whom it is
    /// connected decides what it belongs to, and the attacker may be gone a moment later.
    fn look_at_network(&mut self, alert: &Alert) {
        let Some((container, pid)) = someone_of(alert) else { return };
        let proc = Path::new("/proc");
        // A process that has gone, or one in the host's network, tells nothing.
        if !shares_host_network(proc, pid).unwrap_or(true)
            && let Ok(view) = NetView::of_process(proc, pid)
        {
            self.book.note_network(&container.id, view);
        }
    }

    /// Does to an incident what a person asked for at the control socket.
    pub(super) fn change_incident(&mut self, id: &str, change: &IncidentChange) -> Response {
        let time = Timestamp::now();
        let changed = match change {
            IncidentChange::Close { text } => self.book.close(id, time, text),
            IncidentChange::Note { text } => self.book.note(id, time, text),
        };
        match changed {
            Ok(state) => Response::Incident { incident: id.to_string(), state },
            Err(refusal) => Response::Error { message: refusal.to_string() },
        }
    }

    /// Puts into the incidents what surveys found.
    pub(super) fn take_surveys(&mut self) {
        let found: Vec<_> = self.surveys.take().collect();
        for (incident, survey) in found {
            if let Some(view) = survey.view {
                self.book.note_network(&survey.blast.container, view);
            }
            self.book.set_blast(&incident, survey.blast);
            self.offer_score(&incident);
        }
    }

    /// Puts what was done about the event itself on the timeline, once.
    pub(super) fn note_enforcement(&mut self, incident: &str, alert: &Alert) {
        let Some(entry) = crate::enforce::timeline_entry(alert) else { return };
        let known = self.book.get(incident).is_some_and(|known| known.timeline.contains(&entry));
        if !known {
            self.book.record(incident, entry);
        }
    }

    /// Puts the recording of an alert on the timeline, once for each file.
    pub(super) fn note_recording(&mut self, incident: &str, alert: &Alert) {
        let Some(file) = &alert.recording else { return };
        let what = TimelineEvent::Note { text: format!("recorded in {file}") };
        let known = self
            .book
            .get(incident)
            .is_some_and(|incident| incident.timeline.iter().rev().any(|entry| entry.what == what));
        if !known {
            self.book.record(incident, TimelineEntry { time: alert.raised, what });
        }
    }

    /// Puts an outcome on the timeline once, however often it is reported.
    pub(super) fn record_outcome(
        &mut self,
        id: &str,
        outcome: &ActionOutcome,
        on_notice: OnNotice<'_>,
    ) {
        let entry = outcome.timeline_entry();
        let is_known = self.book.get(id).is_none_or(|incident| incident.timeline.contains(&entry));
        if !is_known {
            self.book.record(id, entry);
            on_notice(Notice::Action { incident: id, outcome });
        }
    }

    pub(super) fn advance(
        &mut self,
        id: &str,
        state: IncidentState,
        time: Timestamp,
        on_notice: OnNotice<'_>,
    ) {
        if self.book.advance(id, state, time)
            && let Some(incident) = self.book.get(id)
        {
            on_notice(Notice::Incident { incident });
        }
    }
}
